//! log_intensity\[slot\]\[bin\] = max(constant + bin constant + ln 2·log2 Σ_i 2^(a_is − |x_i − p|²), floor), with the sum over i
//! as `kde` left it, and where a term that `kde` flushed to zero could be seen in it, term by term.
//!
//! A workgroup takes 64 bins of one slot. Where no bin is far the bound is the bytes: a sum read for each part and a
//! result written. A far bin costs an exponential for each encoding spike.
//! stage: dense
//! import: grid
struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Slots, from one row of `marks`, `peaks` and `sums` to the next.
    spikes: u32,
    bins: u32,
    /// Dimensions of a position.
    dims: u32,
    /// Encoding spikes of a part of `sums`.
    part_len: u32,
    /// Rows of `peaks`.
    peak_parts: u32,
    /// Where in `sites` the log2 weights begin.
    weights_at: u32,
    /// The encoding spikes whose terms this dispatch adds in far bins: every dispatch but the first goes on where the
    /// one before stopped, and the last one makes the result.
    first: u32,
    range: u32,
    last: u32,
    floor: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// As in `kde.wgsl`, and so are all tensors.
@group(0) @binding(1) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> encoding: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> sites: array<f32>;
/// Then one constant a bin.
@group(0) @binding(4) var<storage, read> centers: array<f32>;
@group(0) @binding(5) var<storage, read> marks: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> peaks: array<f32>;
@group(0) @binding(7) var<storage, read> sums: array<f32>;
@group(0) @binding(8) var<storage, read_write> log_intensity: array<f32>;

const LN_2: f32 = 0.69314718056;
/// ln 1e-15: an electrode without encoding spikes, or a bin without occupancy.
const LOG_EPS: f32 = -34.538776395;
/// A flushed term is below 2^-73 in the sum's unit: n of them stay below 2^-25 of a sum of n·2^-48.
const SAFE: f32 = 3.5527136788e-15;
/// 2^-104.
const UNIT: f32 = 4.930380657631324e-32;

/// log2 of what `kde` added up, without its factor.
fn log2_sum(sum: f32) -> f32 {
    // A scaled sum is nearer to 1 and its logarithm more exact; a small one would no longer be a normal number.
    if (sum > 1.0) { return log2(sum * UNIT); }
    return log2(sum) - 104.0;
}

var<workgroup> terms: array<f32, 256>;
var<workgroup> most: array<f32, 256>;
var<workgroup> total: array<f32, 256>;
var<workgroup> far_bins: atomic<u32>;
var<workgroup> far_any: u32;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    var wg = p.wg_base + g;
    let bin_tiles = (p.bins + 63u) / 64u;
    let bin0 = (wg % bin_tiles) * 64u;
    wg = wg / bin_tiles;
    let head = tiles[2u * (wg / 128u)];
    let more = tiles[2u * (wg / 128u) + 1u];
    let n = head.w;
    if (wg % 128u >= head.y) { return; }
    let slot = head.x + wg % 128u;

    // Invocations 0..64 own a bin each; all 256 share the terms of far bins, a quarter of the spikes each.
    let quarter = lid / 64u;
    let bin = min(bin0 + lid % 64u, p.bins - 1u);
    let owns = quarter == 0u && bin0 + lid < p.bins;
    let at = slot * p.bins + bin;
    let bin_constant = centers[p.bins * p.dims + bin];
    let empty = n == 0u || bin_constant > 3.0e38;
    var peak = -3.0e38;
    for (var i = 0u; i < p.peak_parts; i += 1u) { peak = max(peak, peaks[slot + i * p.spikes]); }
    var sum = 0.0;
    for (var i = 0u; i * p.part_len < n; i += 1u) { sum += sums[(i * p.spikes + slot) * p.bins + bin]; }
    let safe = f32(n) * SAFE;
    let base = bitcast<f32>(more.z) + bin_constant;
    // Far bins that cannot rise to the floor need not be known.
    let visible = base + (log2_sum(max(safe, SAFE)) + peak) * LN_2 + 0.01 >= p.floor;
    let far = !empty && sum < safe && visible;
    if (owns && p.last != 0u && !far) {
        var v = LOG_EPS;
        if (!empty) { v = base + (log2_sum(max(max(sum, safe), SAFE)) + peak) * LN_2; }
        log_intensity[at] = max(v, p.floor);
    }

    if (lid == 0u) { atomicStore(&far_bins, 0u); }
    workgroupBarrier();
    if (owns && far) { atomicStore(&far_bins, 1u); }
    workgroupBarrier();
    if (lid == 0u) { far_any = atomicLoad(&far_bins); }
    if (workgroupUniformLoad(&far_any) == 0u) { return; }

    // A running maximum and the sum relative to it, for one bin and a quarter of the spikes.
    var m = -3.0e38;
    var s = 0.0;
    let end = min(p.first + p.range, n);
    for (var i0 = p.first; i0 < end; i0 += 256u) {
        let i = min(i0 + lid, end - 1u);
        var d = 0.0;
        for (var q = 0u; q < more.y; q += 1u) {
            let e = encoding[more.x + i * more.y + q] - marks[slot + q * p.spikes];
            d += dot(e, e);
        }
        terms[lid] = sites[p.weights_at + head.z + i] - d;
        workgroupBarrier();
        let mine = min(i0 + quarter * 64u, end);
        let count = min(end - mine, 64u);
        for (var j = 0u; j < count; j += 1u) {
            var z = terms[quarter * 64u + j];
            for (var k = 0u; k < p.dims; k += 1u) {
                let x = sites[(head.z + mine + j) * p.dims + k] - centers[bin * p.dims + k];
                z -= x * x;
            }
            let d = z - m;
            let e = select(0.0, exp2(-abs(d)), abs(d) < 120.0);
            s = select(s + e, s * e + 1.0, d > 0.0);
            m = max(m, z);
        }
        workgroupBarrier();
    }
    most[lid] = m;
    total[lid] = s;
    workgroupBarrier();
    if (!(owns && far)) { return; }
    for (var i = lid + 64u; i < 256u; i += 64u) { m = max(m, most[i]); }
    s = 0.0;
    for (var i = lid; i < 256u; i += 64u) {
        let d = most[i] - m;
        s += select(0.0, total[i] * exp2(d), d > -120.0);
    }
    if (p.first > 0u) {
        // The dispatches before left log2 of their terms' sum.
        let before = log_intensity[at];
        let both = max(m, before);
        s = select(0.0, s * exp2(m - both), m - both > -120.0)
            + select(0.0, exp2(before - both), before - both > -120.0);
        m = both;
    }
    var v = -3.0e38;
    if (s > 0.0) { v = m + log2(s); }
    if (p.last != 0u) { v = max(base + v * LN_2, p.floor); }
    log_intensity[at] = v;
}
