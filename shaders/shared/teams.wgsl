// Teams of invocations that go through the rows (or columns) of one step's spikes, as `csr_propagate.wgsl` describes. A
// kernel that imports this has GROUP, the tensors `clock` and `spikes`, and `p.k`, `p.steps`, `p.stride`, `p.at_once` and
// `p.form`, of which bits 0-3 are log2 of the invocations of a team, 4-7 log2 of the parts that a row is cut into.
struct Team {
    // The invocation's first synapse within a row, and how far apart its synapses are.
    own: u32,
    apart: u32,
    // The team's first spike.
    first: u32,
}

fn team_of(workgroup: u32, lid: u32) -> Team {
    let team_bits = p.form & 15u;
    let part_bits = (p.form >> 4u) & 15u;
    let team = (workgroup * GROUP + lid) >> team_bits;
    let part = team & ((1u << part_bits) - 1u);
    let own = (part << team_bits) + (lid & ((1u << team_bits) - 1u));
    return Team(own, 1u << (team_bits + part_bits), team >> part_bits);
}

// The neuron of spike i, or of another where there is no such spike: it can be fetched ahead of knowing.
fn spike(i: u32) -> u32 {
    return spikes[p.steps + min(i, p.stride - 1u)];
}

// Spikes of the step; none where the clock says that it is not carried out.
fn spike_count() -> u32 {
    if (p.k >= clock[1]) { return 0u; }
    return min(spikes[p.k], p.stride);
}
