//! `gemm` of matrices that are not transposed and whose rows are whole fours, for drivers that compute on the CPU: an
//! invocation computes 8 × 16 without workgroup memory, and all invocations of a workgroup read the same of a, which
//! such a driver then reads once.
//! stage: dense
//! import: grid
const TILE_M: u32 = 8u;
const TILE_N: u32 = 128u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    m: u32,
    n: u32,
    k: u32,
    /// The part of the sum that this dispatch adds: whole fours.
    k_first: u32,
    k_count: u32,
    /// Elements from one matrix to the next; 0: all share one.
    a_batch: u32,
    b_batch: u32,
    alpha: f32,
    beta: f32,
    /// 4: c holds values to keep.
    flags: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;

fn put(at: u32, inside: bool, v: vec4<f32>) {
    if (!inside) { return; }
    var r = p.alpha * v;
    if ((p.flags & 4u) != 0u) { r += p.beta * c[at]; }
    c[at] = r;
}

fn finish(m: u32, q: u32, c0: u32, v: mat4x4<f32>) {
    let n = p.n / 4u;
    let at = c0 + m * n + q;
    let row = m < p.m;
    put(at, row && q < n, v[0]);
    put(at + 8u, row && q + 8u < n, v[1]);
    put(at + 16u, row && q + 16u < n, v[2]);
    put(at + 24u, row && q + 24u < n, v[3]);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    var wg = p.wg_base + g;
    let tiles_m = (p.m + TILE_M - 1u) / TILE_M;
    let tiles_n = (p.n + TILE_N - 1u) / TILE_N;
    let m0 = (wg % tiles_m) * TILE_M;
    wg = wg / tiles_m;
    let q0 = (wg % tiles_n) * (TILE_N / 4u) + lid;
    let matrix = wg / tiles_n;
    // Lengths and places in fours. What lies past an edge repeats the last row or column, and is not kept.
    let k = p.k / 4u;
    let n = p.n / 4u;
    let last = p.m - 1u;
    let a0 = matrix * (p.a_batch / 4u) + p.k_first / 4u;
    let row0 = a0 + min(m0, last) * k;
    let row1 = a0 + min(m0 + 1u, last) * k;
    let row2 = a0 + min(m0 + 2u, last) * k;
    let row3 = a0 + min(m0 + 3u, last) * k;
    let row4 = a0 + min(m0 + 4u, last) * k;
    let row5 = a0 + min(m0 + 5u, last) * k;
    let row6 = a0 + min(m0 + 6u, last) * k;
    let row7 = a0 + min(m0 + 7u, last) * k;
    let q1 = min(q0, n - 1u);
    let q2 = min(q0 + 8u, n - 1u) - q1;
    let q3 = min(q0 + 16u, n - 1u) - q1;
    let q4 = min(q0 + 24u, n - 1u) - q1;
    var at = matrix * (p.b_batch / 4u) + p.k_first * n + q1;
    var s0 = mat4x4<f32>();
    var s1 = mat4x4<f32>();
    var s2 = mat4x4<f32>();
    var s3 = mat4x4<f32>();
    var s4 = mat4x4<f32>();
    var s5 = mat4x4<f32>();
    var s6 = mat4x4<f32>();
    var s7 = mat4x4<f32>();
    let steps = p.k_count / 4u;
    for (var i = 0u; i < steps; i += 1u) {
        let a0 = a[row0 + i];
        let a1 = a[row1 + i];
        let a2 = a[row2 + i];
        let a3 = a[row3 + i];
        let a4 = a[row4 + i];
        let a5 = a[row5 + i];
        let a6 = a[row6 + i];
        let a7 = a[row7 + i];
        let vx = mat4x4<f32>(b[at], b[at + q2], b[at + q3], b[at + q4]);
        at += n;
        s0 += a0.x * vx;
        s1 += a1.x * vx;
        s2 += a2.x * vx;
        s3 += a3.x * vx;
        s4 += a4.x * vx;
        s5 += a5.x * vx;
        s6 += a6.x * vx;
        s7 += a7.x * vx;
        let vy = mat4x4<f32>(b[at], b[at + q2], b[at + q3], b[at + q4]);
        at += n;
        s0 += a0.y * vy;
        s1 += a1.y * vy;
        s2 += a2.y * vy;
        s3 += a3.y * vy;
        s4 += a4.y * vy;
        s5 += a5.y * vy;
        s6 += a6.y * vy;
        s7 += a7.y * vy;
        let vz = mat4x4<f32>(b[at], b[at + q2], b[at + q3], b[at + q4]);
        at += n;
        s0 += a0.z * vz;
        s1 += a1.z * vz;
        s2 += a2.z * vz;
        s3 += a3.z * vz;
        s4 += a4.z * vz;
        s5 += a5.z * vz;
        s6 += a6.z * vz;
        s7 += a7.z * vz;
        let vw = mat4x4<f32>(b[at], b[at + q2], b[at + q3], b[at + q4]);
        at += n;
        s0 += a0.w * vw;
        s1 += a1.w * vw;
        s2 += a2.w * vw;
        s3 += a3.w * vw;
        s4 += a4.w * vw;
        s5 += a5.w * vw;
        s6 += a6.w * vw;
        s7 += a7.w * vw;
    }
    let c0 = matrix * p.m * n;
    finish(m0, q0, c0, s0);
    finish(m0 + 1u, q0, c0, s1);
    finish(m0 + 2u, q0, c0, s2);
    finish(m0 + 3u, q0, c0, s3);
    finish(m0 + 4u, q0, c0, s4);
    finish(m0 + 5u, q0, c0, s5);
    finish(m0 + 6u, q0, c0, s6);
    finish(m0 + 7u, q0, c0, s7);
}
