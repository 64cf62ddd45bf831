//! c = alpha·op(a)·op(b) + beta·c for a batch of row-major matrices, op(a) m × k and op(b) k × n.
//! A workgroup computes 64 × 128, an invocation 8 × 4.
//! stage: dense
//! specialise: m, n, k, k_count, flags
//! import: gemm grid
const TILE_M: u32 = 64u;
const TILE_N: u32 = 128u;
const TILE_K: u32 = 16u;
// Odd: lanes that write a column go to different banks, and so do lanes that write a row.
const PITCH_M: u32 = 65u;
const PITCH_N: u32 = 129u;

@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

var<workgroup> left: array<f32, 1040>;
var<workgroup> right: array<f32, 2064>;

fn put(at: u32, inside: bool, v: f32) {
    if (!inside) { return; }
    var r = p.alpha * v;
    if ((p.flags & 4u) != 0u) { r += p.beta * c[at]; }
    c[at] = r;
}

fn finish(m: u32, n: u32, c0: u32, v: vec4<f32>) {
    let at = c0 + m * p.n + n;
    let row = m < p.m;
    put(at, row && n < p.n, v.x);
    put(at + 32u, row && n + 32u < p.n, v.y);
    put(at + 64u, row && n + 64u < p.n, v.z);
    put(at + 96u, row && n + 96u < p.n, v.w);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    var wg = p.wg_base + g;
    let tiles_m = (p.m + TILE_M - 1u) / TILE_M;
    let tiles_n = (p.n + TILE_N - 1u) / TILE_N;
    let m0 = (wg % tiles_m) * TILE_M;
    wg = wg / tiles_m;
    let n0 = (wg % tiles_n) * TILE_N;
    let matrix = wg / tiles_n;
    let a0 = matrix * p.a_batch;
    let b0 = matrix * p.b_batch;
    let k_end = p.k_first + p.k_count;
    let tx = lid % 32u;
    let ty = lid / 32u;

    // Scalars rather than an array: an array that a loop indexes may end up in memory.
    var acc0 = vec4<f32>();
    var acc1 = vec4<f32>();
    var acc2 = vec4<f32>();
    var acc3 = vec4<f32>();
    var acc4 = vec4<f32>();
    var acc5 = vec4<f32>();
    var acc6 = vec4<f32>();
    var acc7 = vec4<f32>();
    for (var k0 = p.k_first; k0 < k_end; k0 += TILE_K) {
        // Neighbouring lanes read neighbouring elements, whichever way a matrix is stored.
        for (var i = lid; i < TILE_M * TILE_K; i += 256u) {
            var r = i / TILE_K;
            var k = i % TILE_K;
            if ((p.flags & 1u) != 0u) { r = i % TILE_M; k = i / TILE_M; }
            var v = 0.0;
            if (m0 + r < p.m && k0 + k < k_end) {
                var at = (m0 + r) * p.k + k0 + k;
                if ((p.flags & 1u) != 0u) { at = (k0 + k) * p.m + m0 + r; }
                v = a[a0 + at];
            }
            left[k * PITCH_M + r] = v;
        }
        for (var i = lid; i < TILE_N * TILE_K; i += 256u) {
            var q = i % TILE_N;
            var k = i / TILE_N;
            if ((p.flags & 2u) != 0u) { q = i / TILE_K; k = i % TILE_K; }
            var v = 0.0;
            if (n0 + q < p.n && k0 + k < k_end) {
                var at = (k0 + k) * p.n + n0 + q;
                if ((p.flags & 2u) != 0u) { at = (n0 + q) * p.k + k0 + k; }
                v = b[b0 + at];
            }
            right[k * PITCH_N + q] = v;
        }
        workgroupBarrier();
        for (var k = 0u; k < TILE_K; k += 1u) {
            let at = k * PITCH_N + tx;
            let v = vec4<f32>(right[at], right[at + 32u], right[at + 64u], right[at + 96u]);
            let l = k * PITCH_M + ty * 8u;
            acc0 += left[l] * v;
            acc1 += left[l + 1u] * v;
            acc2 += left[l + 2u] * v;
            acc3 += left[l + 3u] * v;
            acc4 += left[l + 4u] * v;
            acc5 += left[l + 5u] * v;
            acc6 += left[l + 6u] * v;
            acc7 += left[l + 7u] * v;
        }
        workgroupBarrier();
    }

    let c0 = matrix * p.m * p.n;
    let m = m0 + ty * 8u;
    let n = n0 + tx;
    finish(m, n, c0, acc0);
    finish(m + 1u, n, c0, acc1);
    finish(m + 2u, n, c0, acc2);
    finish(m + 3u, n, c0, acc3);
    finish(m + 4u, n, c0, acc4);
    finish(m + 5u, n, c0, acc5);
    finish(m + 6u, n, c0, acc6);
    finish(m + 7u, n, c0, acc7);
}
