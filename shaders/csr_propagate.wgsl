//! The spikes of one step through rows of synapses: each adds its weight to the input of its target, after its delay.
//!
//! How many spikes there are is known on the device only. A fixed number of teams of invocations goes through them:
//! team t takes part `t % parts` of the rows of spikes `t / parts`, `t / parts + at_once`, …, an invocation a synapse.
//! Sums are of integers, so that the order of additions does not matter.
//! stage: spiking
//! import: grid synapses teams
const GROUP: u32 = 256u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// The step of the recording.
    k: u32,
    /// Steps of the recording.
    steps: u32,
    /// Neurons' index space.
    stride: u32,
    first_source: u32,
    rows: u32,
    first_target: u32,
    /// Spikes that all teams take at once.
    at_once: u32,
    /// See `shared/synapses.wgsl`.
    form: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> clock: array<u32>;
@group(0) @binding(2) var<storage, read> spikes: array<u32>;
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
@group(0) @binding(4) var<storage, read> targets: array<u32>;
@group(0) @binding(5) var<storage, read> weights: array<i32>;
@group(0) @binding(6) var<storage, read> delays: array<u32>;
@group(0) @binding(7) var<storage, read_write> ring: array<atomic<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let team = team_of(p.wg_base + g, lid);
    var i = team.first;
    if (i >= p.at_once) { return; }
    // The next source is fetched ahead of knowing whether there is one: three fetches wait at the same time.
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
                var units = 0;
                if ((p.form & WEIGHT_A_ROW) != 0u) { units = weights[row]; } else { units = weights[s]; }
                deliver(step, s, target_of(s), units);
            }
        }
    }
}
