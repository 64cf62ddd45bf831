//! `gemm` of matrices that are not transposed and whose rows are whole fours, for drivers that compute on the CPU: an
//! invocation computes 16 × 16 without workgroup memory, and all invocations of a workgroup read the same of a, which
//! such a driver then reads once. The part of the sum is whole fours.
//! stage: dense
//! import: gemm grid
const TILE_M: u32 = 16u;
const TILE_N: u32 = 128u;

@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;

// A four of four rows of b.
fn four(at: u32, n: u32) -> mat4x4<f32> {
    return mat4x4<f32>(b[at], b[at + n], b[at + 2u * n], b[at + 3u * n]);
}

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
    let row8 = a0 + min(m0 + 8u, last) * k;
    let row9 = a0 + min(m0 + 9u, last) * k;
    let row10 = a0 + min(m0 + 10u, last) * k;
    let row11 = a0 + min(m0 + 11u, last) * k;
    let row12 = a0 + min(m0 + 12u, last) * k;
    let row13 = a0 + min(m0 + 13u, last) * k;
    let row14 = a0 + min(m0 + 14u, last) * k;
    let row15 = a0 + min(m0 + 15u, last) * k;
    let q1 = min(q0, n - 1u);
    let q2 = min(q0 + 8u, n - 1u);
    let q3 = min(q0 + 16u, n - 1u);
    let q4 = min(q0 + 24u, n - 1u);
    var at = matrix * (p.b_batch / 4u) + p.k_first * n;
    var s0 = mat4x4<f32>();
    var s1 = mat4x4<f32>();
    var s2 = mat4x4<f32>();
    var s3 = mat4x4<f32>();
    var s4 = mat4x4<f32>();
    var s5 = mat4x4<f32>();
    var s6 = mat4x4<f32>();
    var s7 = mat4x4<f32>();
    var s8 = mat4x4<f32>();
    var s9 = mat4x4<f32>();
    var s10 = mat4x4<f32>();
    var s11 = mat4x4<f32>();
    var s12 = mat4x4<f32>();
    var s13 = mat4x4<f32>();
    var s14 = mat4x4<f32>();
    var s15 = mat4x4<f32>();
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
        let a8 = a[row8 + i];
        let a9 = a[row9 + i];
        let a10 = a[row10 + i];
        let a11 = a[row11 + i];
        let a12 = a[row12 + i];
        let a13 = a[row13 + i];
        let a14 = a[row14 + i];
        let a15 = a[row15 + i];
        // Four terms of a result before those of the next: it stays in a register meanwhile.
        let b0 = four(at + q1, n);
        s0[0] += b0 * a0;
        s1[0] += b0 * a1;
        s2[0] += b0 * a2;
        s3[0] += b0 * a3;
        s4[0] += b0 * a4;
        s5[0] += b0 * a5;
        s6[0] += b0 * a6;
        s7[0] += b0 * a7;
        s8[0] += b0 * a8;
        s9[0] += b0 * a9;
        s10[0] += b0 * a10;
        s11[0] += b0 * a11;
        s12[0] += b0 * a12;
        s13[0] += b0 * a13;
        s14[0] += b0 * a14;
        s15[0] += b0 * a15;
        let b1 = four(at + q2, n);
        s0[1] += b1 * a0;
        s1[1] += b1 * a1;
        s2[1] += b1 * a2;
        s3[1] += b1 * a3;
        s4[1] += b1 * a4;
        s5[1] += b1 * a5;
        s6[1] += b1 * a6;
        s7[1] += b1 * a7;
        s8[1] += b1 * a8;
        s9[1] += b1 * a9;
        s10[1] += b1 * a10;
        s11[1] += b1 * a11;
        s12[1] += b1 * a12;
        s13[1] += b1 * a13;
        s14[1] += b1 * a14;
        s15[1] += b1 * a15;
        let b2 = four(at + q3, n);
        s0[2] += b2 * a0;
        s1[2] += b2 * a1;
        s2[2] += b2 * a2;
        s3[2] += b2 * a3;
        s4[2] += b2 * a4;
        s5[2] += b2 * a5;
        s6[2] += b2 * a6;
        s7[2] += b2 * a7;
        s8[2] += b2 * a8;
        s9[2] += b2 * a9;
        s10[2] += b2 * a10;
        s11[2] += b2 * a11;
        s12[2] += b2 * a12;
        s13[2] += b2 * a13;
        s14[2] += b2 * a14;
        s15[2] += b2 * a15;
        let b3 = four(at + q4, n);
        s0[3] += b3 * a0;
        s1[3] += b3 * a1;
        s2[3] += b3 * a2;
        s3[3] += b3 * a3;
        s4[3] += b3 * a4;
        s5[3] += b3 * a5;
        s6[3] += b3 * a6;
        s7[3] += b3 * a7;
        s8[3] += b3 * a8;
        s9[3] += b3 * a9;
        s10[3] += b3 * a10;
        s11[3] += b3 * a11;
        s12[3] += b3 * a12;
        s13[3] += b3 * a13;
        s14[3] += b3 * a14;
        s15[3] += b3 * a15;
        at += 4u * n;
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
    finish(m0 + 8u, q0, c0, s8);
    finish(m0 + 9u, q0, c0, s9);
    finish(m0 + 10u, q0, c0, s10);
    finish(m0 + 11u, q0, c0, s11);
    finish(m0 + 12u, q0, c0, s12);
    finish(m0 + 13u, q0, c0, s13);
    finish(m0 + 14u, q0, c0, s14);
    finish(m0 + 15u, q0, c0, s15);
}
