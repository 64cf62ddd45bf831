//! One step of neurons that fire at listed steps.
//! stage: spiking
//! import: grid pin neuron

/// Parameter row: behind a neuron's last step in the population's lists.
const END = 0u;

/// State rows: behind the next step in the lists, and that step itself, or the largest word where there is none.
const CURSOR = 1u;
const NEXT = 2u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count || p.k >= clock[1]) { return; }
    let t = tile_of(p.wg_base + g, lid);
    let spike = t.live && state[state_at(t, NEXT)] == clock[0] + p.k;
    if (spike) {
        let cursor = state[state_at(t, CURSOR)];
        var next = 0xffffffffu;
        if (cursor < word(t, END)) { next = table[lists(t) + cursor]; }
        state[state_at(t, CURSOR)] = cursor + 1u;
        state[state_at(t, NEXT)] = next;
    }
    emit(t, lid, spike);
}
