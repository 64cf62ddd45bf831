//! peaks\[part\]\[slot\] = the largest log2 w_i − |m_i − m_s|² over the encoding spikes i of one part, and −3e38 for a part
//! without any. A workgroup takes 128 slots of one electrode, an invocation every other encoding spike for one slot.
//! The bound is the arithmetic: 2 operations a dimension for each pair of spikes; encoding marks are read once for all
//! invocations that run together.
//! stage: dense
//! import: grid
struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Tiles of slots, used or not.
    tiles: u32,
    /// Slots, from one row of `marks` and `peaks` to the next.
    spikes: u32,
    /// Encoding spikes of a part.
    part_len: u32,
    /// Where in `sites` the log2 weights begin.
    weights_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// As in `kde.wgsl`, and so are all tensors.
@group(0) @binding(1) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> encoding: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> sites: array<f32>;
@group(0) @binding(4) var<storage, read> marks: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> peaks: array<f32>;

var<workgroup> other: array<f32, 128>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let tile = wg % p.tiles;
    let part = wg / p.tiles;
    let head = tiles[2u * tile];
    let more = tiles[2u * tile + 1u];
    let count = head.y;
    if (count == 0u) { return; }
    let begin = part * p.part_len;
    let end = min(begin + p.part_len, head.w);
    let quads = more.y;
    let s = lid % 128u;
    let half = lid / 128u;
    let slot = head.x + min(s, count - 1u);

    var peak = vec4<f32>(-3.0e38);
    // Four encoding spikes at a time share what is read of the slot's mark; past the end the last one counts again.
    for (var i = begin + half; i < end; i += 8u) {
        let at = min(vec4<u32>(i, i + 2u, i + 4u, i + 6u), vec4<u32>(end - 1u));
        let mark = more.x + at * quads;
        var d = vec4<f32>();
        for (var q = 0u; q < quads; q += 1u) {
            let m = marks[slot + q * p.spikes];
            let ea = encoding[mark.x + q] - m;
            let eb = encoding[mark.y + q] - m;
            let ec = encoding[mark.z + q] - m;
            let ed = encoding[mark.w + q] - m;
            d += vec4<f32>(dot(ea, ea), dot(eb, eb), dot(ec, ec), dot(ed, ed));
        }
        let w = p.weights_at + head.z + at;
        peak = max(peak, vec4<f32>(sites[w.x], sites[w.y], sites[w.z], sites[w.w]) - d);
    }
    let best = max(max(peak.x, peak.y), max(peak.z, peak.w));
    if (half == 1u) { other[s] = best; }
    workgroupBarrier();
    if (half == 0u && s < count) { peaks[part * p.spikes + slot] = max(best, other[s]); }
}
