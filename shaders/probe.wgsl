//! Copies chosen words of a state to the row of `samples` that belongs to a step, where that is one to be sampled.
//! stage: spiking
//! import: grid

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// The recording's step.
    k: u32,
    interval: u32,
    /// Words of a sample.
    n: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// First step, steps.
@group(0) @binding(1) var<storage, read> clock: array<u32>;
/// Which words of `state`.
@group(0) @binding(2) var<storage, read> elements: array<u32>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> samples: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let done = clock[0] + p.k + 1u;
    // Behind step 2^32 - 2 the sum wraps.
    if (p.k >= clock[1] || done <= clock[0] || done % p.interval != 0u) { return; }
    let row = done / p.interval - clock[0] / p.interval - 1u;
    let i = (p.wg_base + g) * 256u + lid;
    if (i < p.n) { samples[row * p.n + i] = state[elements[i]]; }
}
