//! Poisson input of a population: adds weight times a draw to `drive` for every step of a recording.
//!
//! A draw is the number of thresholds of the cumulative distribution that a 32-bit word reaches. An invocation has one
//! neuron and the four steps (of the network, from a multiple of four) that share a counter of Philox; neighbours have
//! neighbouring neurons.
//! stage: spiking
//! import: grid philox
const GROUP: u32 = 256u;
/// Thresholds at most, see `src/ops/poisson.rs`.
const MOST: u32 = 512u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// The element of `drive` that is the first neuron's at the recording's first step.
    first: u32,
    size: u32,
    stride: u32,
    /// Network steps in which there is input: from `start`, before `stop`.
    start: u32,
    stop: u32,
    stream: u32,
    tag: u32,
    weight: i32,
    /// Thresholds that every word reaches, and which are not in the table.
    base: u32,
    thresholds: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// First step, steps, seed.
@group(0) @binding(1) var<storage, read> clock: array<u32>;
/// Ascending.
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> drive: array<i32>;

var<workgroup> thresholds: array<u32, MOST>;

/// How many thresholds are at most `word`.
fn reached(word: u32) -> u32 {
    var found = 0u;
    for (var half = 1u << firstLeadingBit(p.thresholds); half > 0u; half >>= 1u) {
        let next = found + half;
        if (next <= p.thresholds && thresholds[next - 1u] <= word) { found = next; }
    }
    return found;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    for (var i = lid; i < p.thresholds; i += GROUP) { thresholds[i] = table[i]; }
    workgroupBarrier();
    let i = (p.wg_base + g) * GROUP + lid;
    let neuron = i % p.size;
    let now = clock[0];
    let block = now / 4u + i / p.size;
    let first = max(max(block * 4u, now), p.start);
    // Neither sum may wrap.
    let begin = min(block * 4u, 0xfffffffbu);
    let end = min(min(begin + 4u, now + min(clock[1], ~now)), p.stop);
    if (first >= end) { return; }
    let words = philox4x32(vec4<u32>(block, neuron, p.stream, p.tag), vec2<u32>(clock[2], clock[3]));
    for (var n = first; n < end; n++) {
        let events = p.base + reached(words[n % 4u]);
        let at = p.first + (n - now) * p.stride + neuron;
        drive[at] += p.weight * i32(events);
    }
}
