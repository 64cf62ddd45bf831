//! Averages the periodograms of `rows` windows, bin by bin: mean or median of |x|², times `scale`, doubled between the
//! edge bins (one-sided density).
//! stage: temporal
//! import: grid

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    rows: u32,
    /// Bins: n/2 + 1 of the real transform.
    bins: u32,
    /// 1: the median of the windows; 0: their mean.
    median: u32,
    /// 1: the last bin is the Nyquist frequency, which is not doubled.
    nyquist: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> psd: array<f32>;

fn power(row: u32, bin: u32) -> f32 {
    let v = x[row * p.bins + bin];
    return v.x * v.x + v.y * v.y;
}

// The rank-th smallest power: powers are not negative, so their bits are ordered as they are. One bit a pass, 31 passes,
// whatever the number of rows, and no memory.
fn nth(bin: u32, rank: u32) -> u32 {
    var found = 0u;
    for (var bit = 31u; bit > 0u; bit -= 1u) {
        let trial = found | (1u << (bit - 1u));
        var below = 0u;
        for (var row = 0u; row < p.rows; row += 1u) {
            below += select(0u, 1u, bitcast<u32>(power(row, bin)) < trial);
        }
        if (below <= rank) { found = trial; }
    }
    return found;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let bin = (p.wg_base + g) * 64u + lid;
    if (bin >= p.bins) { return; }
    var value = 0.0;
    if (p.median == 1u) {
        let low = nth(bin, (p.rows - 1u) / 2u);
        var high = low;
        if (p.rows % 2u == 0u) {
            // The next in order: the same value if it occurs often enough, else the smallest above it.
            var at_most = 0u;
            var above = 0x7f800000u;
            for (var row = 0u; row < p.rows; row += 1u) {
                let bits = bitcast<u32>(power(row, bin));
                if (bits <= low) { at_most += 1u; } else { above = min(above, bits); }
            }
            if (at_most <= p.rows / 2u) { high = above; }
        }
        value = 0.5 * (bitcast<f32>(low) + bitcast<f32>(high));
    } else {
        for (var row = 0u; row < p.rows; row += 1u) { value += power(row, bin); }
        value = value / f32(p.rows);
    }
    let edge = bin == 0u || (p.nyquist == 1u && bin + 1u == p.bins);
    psd[bin] = value * p.scale * select(2.0, 1.0, edge);
}
