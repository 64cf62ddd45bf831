//! log_likelihood\[row\]\[bin\] = start + Σ_k log_intensity\[order\[k\]\]\[bin\] over the row's entries k, one after another: the
//! start is `carry` in the first row, which may go on from a chunk before, and `baseline` in all others.
//! The bound is the bytes: a log intensity read for each spike and bin. A workgroup takes 64 bins of one row.
//! stage: dense
//! import: grid
struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    bins: u32,
    /// The entries of each row that this dispatch adds, counted from the row's first.
    first: u32,
    range: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> log_intensity: array<f32>;
@group(0) @binding(2) var<storage, read> row_offsets: array<u32>;
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read> baseline: array<f32>;
@group(0) @binding(5) var<storage, read> carry: array<f32>;
@group(0) @binding(6) var<storage, read_write> log_likelihood: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let bin_tiles = (p.bins + 63u) / 64u;
    let bin = (wg % bin_tiles) * 64u + lid;
    let row = wg / bin_tiles;
    if (bin >= p.bins) { return; }
    let at = row * p.bins + bin;
    var sum = 0.0;
    if (p.first > 0u) { sum = log_likelihood[at]; }
    else if (row == 0u) { sum = carry[bin]; }
    else { sum = baseline[bin]; }
    // A row may have fewer entries than the dispatches before have added.
    let end = min(row_offsets[row] + p.first + p.range, row_offsets[row + 1u]);
    for (var k = row_offsets[row] + p.first; k < end; k += 1u) {
        sum += log_intensity[order[k] * p.bins + bin];
    }
    log_likelihood[at] = sum;
}
