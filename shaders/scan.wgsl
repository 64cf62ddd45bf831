//! Prefix sums within chunks of 1024 of rows × n words, with each chunk's total: words are u32 (wrapping), or f32 if
//! `real` is set. Lane l of 256 adds elements 4l..4l+3 in order; lanes are combined in doubling steps, so that the
//! order of additions is fixed by n alone.
//! stage: dense
//! import: grid pin
const CHUNK: u32 = 1024u;
const LANES: u32 = 256u;
const EACH: u32 = 4u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    /// Chunks of a row.
    chunks: u32,
    inclusive: u32,
    real: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@group(0) @binding(3) var<storage, read_write> total: array<u32>;

var<workgroup> lane: array<u32, 512>;

fn add(a: u32, b: u32) -> u32 {
    if (p.real != 0u) { return bitcast<u32>(pin(bitcast<f32>(a) + bitcast<f32>(b))); }
    return a + b;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let row = wg / p.chunks;
    let start = (wg - row * p.chunks) * CHUNK;
    let count = min(CHUNK, p.n - start);
    let first = row * p.n + start;
    var s = 0u;
    for (var k = 0u; k < EACH; k += 1u) {
        let i = lid * EACH + k;
        if (i < count) { s = add(s, x[first + i]); }
    }
    var src = 0u;
    lane[lid] = s;
    for (var d = 1u; d < LANES; d = d * 2u) {
        workgroupBarrier();
        var v = lane[src + lid];
        if (lid >= d) { v = add(lane[src + lid - d], v); }
        src = LANES - src;
        lane[src + lid] = v;
    }
    workgroupBarrier();
    s = 0u;
    if (lid > 0u) { s = lane[src + lid - 1u]; }
    for (var k = 0u; k < EACH; k += 1u) {
        let i = lid * EACH + k;
        if (i < count) {
            let next = add(s, x[first + i]);
            if (p.inclusive != 0u) { y[first + i] = next; } else { y[first + i] = s; }
            s = next;
        }
    }
    if (lid == LANES - 1u) { total[wg] = lane[src + lid]; }
}
