//! The spikes of one step through synapses that learn: each transmits its weight, in whole units of the ring, and then
//! falls by what the trace of its target says. Teams of invocations as in `csr_propagate.wgsl`.
//! stage: spiking
//! import: grid pin flush synapses teams
const GROUP: u32 = 256u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    k: u32,
    steps: u32,
    stride: u32,
    first_source: u32,
    rows: u32,
    first_target: u32,
    at_once: u32,
    form: u32,
    /// Units of a weight of one.
    scale: f32,
    a_minus: f32,
    w_min: f32,
    w_max: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> clock: array<u32>;
@group(0) @binding(2) var<storage, read> spikes: array<u32>;
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
@group(0) @binding(4) var<storage, read> targets: array<u32>;
@group(0) @binding(5) var<storage, read> delays: array<u32>;
@group(0) @binding(6) var<storage, read_write> weights: array<f32>;
/// Of the sources, then of the targets.
@group(0) @binding(7) var<storage, read> traces: array<f32>;
@group(0) @binding(8) var<storage, read_write> ring: array<atomic<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let team = team_of(p.wg_base + g, lid);
    var i = team.first;
    if (i >= p.at_once) { return; }
    var source = spike(i);
    let count = spike_count();
    let step = clock[0] + p.k;
    while (i < count) {
        let row = source - p.first_source;
        i += p.at_once;
        source = spike(i);
        if (row < p.rows) {
            let end = offsets[row + 1u];
            for (var s = offsets[row] + team.own; s < end; s += team.apart) {
                let to = target_of(s);
                let w = weights[s];
                deliver(step, s, to, i32(floor(pin(pin(w * p.scale) + 0.5))));
                var reach = p.a_minus;
                if ((p.form & MULTIPLICATIVE) != 0u) { reach = flush(pin(reach * flush(pin(w - p.w_min)))); }
                let lower = flush(pin(w - flush(pin(reach * traces[p.rows + to]))));
                weights[s] = clamp(lower, p.w_min, p.w_max);
            }
        }
    }
}
