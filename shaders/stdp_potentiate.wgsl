//! The spikes of one step seen from their targets: the weight of each synapse onto a neuron that spikes rises by what
//! the trace of its source says. Teams of invocations as in `csr_propagate.wgsl`, over columns in place of rows.
//! stage: spiking
//! import: grid pin flush teams
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
    let team = team_of(p.wg_base + g, lid);
    var i = team.first;
    if (i >= p.at_once) { return; }
    var neuron = spike(i);
    let count = spike_count();
    while (i < count) {
        let column = neuron - p.first_target;
        i += p.at_once;
        neuron = spike(i);
        if (column < p.columns) {
            let end = offsets[column + 1u];
            for (var c = offsets[column] + team.own; c < end; c += team.apart) {
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
