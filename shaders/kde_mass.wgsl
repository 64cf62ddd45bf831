//! mass\[part\]\[slot\] = Σ_i 2^(log2 w_i − |m_i − m_s|² − peak_s) over the encoding spikes i of one part, and 0 for a part
//! without any. A workgroup takes 128 slots of one electrode, an invocation every other encoding spike for one slot.
//! The bound is the arithmetic: 2 operations a dimension and an exponential for each pair of spikes.
//! stage: dense
//! import: grid
struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Tiles of slots, used or not.
    tiles: u32,
    /// Slots, from one row of `marks`, `peaks` and `mass` to the next.
    spikes: u32,
    /// Encoding spikes of a part.
    part_len: u32,
    /// Rows of `peaks` and of `mass`.
    parts: u32,
    /// Where in `sites` the log2 weights begin.
    weights_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// As in `kde.wgsl`, and so are all tensors.
@group(0) @binding(1) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> encoding: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> sites: array<f32>;
@group(0) @binding(4) var<storage, read> marks: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> peaks: array<f32>;
@group(0) @binding(6) var<storage, read_write> mass: array<f32>;

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
    var peak = -3.0e38;
    for (var i = 0u; i < p.parts; i += 1u) { peak = max(peak, peaks[slot + i * p.spikes]); }

    var sum = vec4<f32>();
    for (var i = begin + half; i < end; i += 8u) {
        let place = vec4<u32>(i, i + 2u, i + 4u, i + 6u);
        let at = min(place, vec4<u32>(end - 1u));
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
        let z = (vec4<f32>(sites[w.x], sites[w.y], sites[w.z], sites[w.w]) - d) - peak;
        // What is below 2^-120 of the largest term cannot be seen in the sum.
        sum += select(vec4<f32>(), exp2(min(z, vec4<f32>(8.0))), (z > vec4<f32>(-120.0)) & (place < vec4<u32>(end)));
    }
    let own = (sum.x + sum.y) + (sum.z + sum.w);
    if (half == 1u) { other[s] = own; }
    workgroupBarrier();
    if (half == 0u && s < count) { mass[part * p.spikes + slot] = own + other[s]; }
}
