//! The spikes of one step seen from their targets: the weight of each synapse onto a neuron that spikes rises by what
//! the trace of its source says. Teams of invocations as in `csr_propagate.wgsl`, over columns in place of rows.
//! stage: spiking
//! import: grid pin flush
const GROUP: u32 = 256u;
const MULTIPLICATIVE: u32 = 0x8000u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    k: u32,
    steps: u32,
    stride: u32,
    first_target: u32,
    columns: u32,
    at_once: u32,
    /// As in `shared/synapses.wgsl`.
    form: u32,
    a_plus: f32,
    w_min: f32,
    w_max: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> clock: array<u32>;
@group(0) @binding(2) var<storage, read> spikes: array<u32>;
/// Where columns begin in `synapses` and `sources`.
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
@group(0) @binding(4) var<storage, read> synapses: array<u32>;
/// Row of each.
@group(0) @binding(5) var<storage, read> sources: array<u32>;
@group(0) @binding(6) var<storage, read_write> weights: array<f32>;
@group(0) @binding(7) var<storage, read> traces: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let team_bits = p.form & 15u;
    let part_bits = (p.form >> 4u) & 15u;
    let team = ((p.wg_base + g) * GROUP + lid) >> team_bits;
    let part = team & ((1u << part_bits) - 1u);
    let own = (part << team_bits) + (lid & ((1u << team_bits) - 1u));
    let apart = 1u << (team_bits + part_bits);
    var i = team >> part_bits;
    if (i >= p.at_once) { return; }
    var neuron = spikes[p.steps + min(i, p.stride - 1u)];
    var count = min(spikes[p.k], p.stride);
    if (p.k >= clock[1]) { count = 0u; }
    while (i < count) {
        let column = neuron - p.first_target;
        i += p.at_once;
        neuron = spikes[p.steps + min(i, p.stride - 1u)];
        if (column < p.columns) {
            let end = offsets[column + 1u];
            for (var c = offsets[column] + own; c < end; c += apart) {
                let s = synapses[c];
                let w = weights[s];
                var reach = p.a_plus;
                if ((p.form & MULTIPLICATIVE) != 0u) { reach = flush(pin(reach * flush(pin(p.w_max - w)))); }
                let higher = flush(pin(w + flush(pin(reach * traces[sources[c]]))));
                weights[s] = clamp(higher, p.w_min, p.w_max);
            }
        }
    }
}
