//! Adds to every chunk of 1024 of rows × n words what precedes it in its row: the second half of a prefix sum.
//! stage: dense
//! import: grid
const CHUNK: u32 = 1024u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    /// Chunks of a row.
    chunks: u32,
    real: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let row = wg / p.chunks;
    let start = (wg - row * p.chunks) * CHUNK;
    let count = min(CHUNK, p.n - start);
    let first = row * p.n + start;
    let b = before[wg];
    for (var i = lid; i < count; i += 256u) {
        let v = y[first + i];
        var r = b + v;
        if (p.real != 0u) { r = bitcast<u32>(bitcast<f32>(b) + bitcast<f32>(v)); }
        y[first + i] = r;
    }
}
