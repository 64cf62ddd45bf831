//! One step of neurons that fire at random: each with its own word of Philox, four neighbours from one counter.
//! stage: spiking
//! import: grid pin neuron philox

/// Parameter rows: what a word must be below for a spike; which stream the words are from.
const LIMIT = 0u;
const STREAM = 1u;

/// The last word of the counters, see `src/ops/neurons/sources.rs`.
const TAG = 0x80000002u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count || p.k >= clock[1]) { return; }
    let t = tile_of(p.wg_base + g, lid);
    let counter = vec4<u32>(clock[0] + p.k, t.within / 4u, word(t, STREAM), TAG);
    let words = philox4x32(counter, vec2<u32>(clock[2], clock[3]));
    emit(t, lid, t.live && words[t.within % 4u] < word(t, LIMIT));
}
