//! Packed spike trains as the input of neurons: y[t·neurons + k] = Σ_r weight[r] · spike(row k·rows + r, t).
//! stage: spiking
//! import: grid

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    neurons: u32,
    /// Spike trains of a neuron.
    rows: u32,
    time: u32,
    /// Words of a packed train: ceil(time / 32).
    words: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> events: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// An invocation has one neuron and one word of 32 samples; neighbours have neighbouring neurons, so that y is written
// side by side.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let i = (p.wg_base + g) * 64u + lid;
    let word = i / p.neurons;
    let k = i % p.neurons;
    if (word >= p.words) { return; }
    let end = min(32u, p.time - word * 32u);
    for (var bit = 0u; bit < end; bit += 1u) {
        var sum = 0.0;
        for (var r = 0u; r < p.rows; r += 1u) {
            let spiked = (events[(k * p.rows + r) * p.words + word] >> bit) & 1u;
            sum += select(0.0, weight[r], spiked == 1u);
        }
        y[(word * 32u + bit) * p.neurons + k] = sum;
    }
}
