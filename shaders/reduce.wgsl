//! Sums of rows × n values in chunks of 4096: y[row · chunks + chunk], of the squares if `square` is set. The order of
//! additions is fixed by n alone: lane l of 256 adds elements l, l + 256, …; then lanes are halved.
//! stage: dense
//! specialise: n, chunks, square
//! import: grid pin
const CHUNK: u32 = 4096u;
const LANES: u32 = 256u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    /// Chunks of a row.
    chunks: u32,
    square: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> lane: array<f32, LANES>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let row = wg / p.chunks;
    let start = (wg - row * p.chunks) * CHUNK;
    let count = min(CHUNK, p.n - start);
    let first = row * p.n + start;
    var s = 0.0;
    for (var i = lid; i < count; i += LANES) {
        var v = x[first + i];
        if (p.square != 0u) { v = pin(v * v); }
        s = pin(s + v);
    }
    lane[lid] = s;
    for (var h = LANES / 2u; h > 0u; h = h / 2u) {
        workgroupBarrier();
        if (lid < h) { lane[lid] = pin(lane[lid] + lane[lid + h]); }
    }
    if (lid == 0u) { y[wg] = lane[0]; }
}
