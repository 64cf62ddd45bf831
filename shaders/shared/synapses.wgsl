// Rows of synapses, and the ring they deliver to. A kernel that imports this has the tensors `targets`, `delays` and
// `ring`, and `p.stride`, `p.first_target` and `p.form`, the bits of which are:
// 0-7: see `teams.wgsl`. 8-11: log2 of the ring's slots.
const TWO_PLANES: u32 = 0x1000u;
const WIDE_TARGETS: u32 = 0x2000u;
const WEIGHT_A_ROW: u32 = 0x4000u;
const MULTIPLICATIVE: u32 = 0x8000u;
// 24-31: the delay of all synapses; 0: each has its own.

fn target_of(s: u32) -> u32 {
    if ((p.form & WIDE_TARGETS) != 0u) { return targets[s]; }
    return (targets[s >> 1u] >> ((s & 1u) * 16u)) & 0xffffu;
}

// Adds what synapse s onto `to` transmits at step `step`.
fn deliver(step: u32, s: u32, to: u32, units: i32) {
    var delay = p.form >> 24u;
    if (delay == 0u) { delay = (delays[s >> 2u] >> ((s & 3u) * 8u)) & 0xffu; }
    var row = (step + delay) & ((1u << ((p.form >> 8u) & 15u)) - 1u);
    if ((p.form & TWO_PLANES) != 0u) { row = row * 2u + select(0u, 1u, units < 0); }
    atomicAdd(&ring[row * p.stride + p.first_target + to], bitcast<u32>(units));
}
