//! Traces from one step to the next: up by one for each spike, then down by a step's decay.
//! stage: spiking
//! import: grid pin flush

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    k: u32,
    /// Words of a step's spikes in the raster.
    words: u32,
    first_source: u32,
    sources: u32,
    first_target: u32,
    targets: u32,
    decay_sources: f32,
    decay_targets: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> clock: array<u32>;
@group(0) @binding(2) var<storage, read> raster: array<u32>;
/// Of the sources, then of the targets.
@group(0) @binding(3) var<storage, read_write> traces: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let i = (p.wg_base + g) * 64u + lid;
    if (i >= p.sources + p.targets || p.k >= clock[1]) { return; }
    let source = i < p.sources;
    let neuron = select(p.first_target + i - p.sources, p.first_source + i, source);
    let decay = select(p.decay_targets, p.decay_sources, source);
    let spiked = (raster[p.k * p.words + (neuron >> 5u)] >> (neuron & 31u)) & 1u;
    traces[i] = flush(pin(pin(traces[i] + select(0.0, 1.0, spiked == 1u)) * decay));
}
