//! A power spectral density as a weight on the bins of a transform of another length: 1/S (`root` 0) or
//! sqrt(`scale`/S) (`root` 1), linearly interpolated, and zero outside [`low`, `high`] in units of the density's bins.
//! stage: temporal
//! import: grid

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Bins of the weight.
    n: u32,
    /// The transform's length if the weight covers both signs of frequency (bin k stands for min(k, fold − k)), else 0.
    fold: u32,
    psd_bins: u32,
    root: u32,
    /// Density bins per bin of the weight.
    ratio: f32,
    scale: f32,
    low: f32,
    high: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> psd: array<f32>;
@group(0) @binding(2) var<storage, read_write> weight: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let k = (p.wg_base + g) * 256u + lid;
    if (k >= p.n) { return; }
    let folded = select(k, min(k, p.fold - k), p.fold > 0u);
    let at = f32(folded) * p.ratio;
    let i = min(u32(at), p.psd_bins - 2u);
    let s = psd[i] + (psd[i + 1u] - psd[i]) * (at - f32(i));
    var w = 0.0;
    if (at >= p.low && at <= p.high) {
        if (p.root == 1u) { w = sqrt(p.scale / s); } else { w = p.scale / s; }
    }
    weight[k] = w;
}
