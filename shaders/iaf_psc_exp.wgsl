//! One step of leaky integrate-and-fire neurons with exponentially decaying synaptic currents, integrated exactly.
//!
//! Membrane, currents and adaptation are each the sum of two f32, see `src/ops/neurons/mod.rs`.
//! stage: spiking
//! import: grid pin neuron

/// Parameter rows; a coefficient has two, the second what rounding took from the first.
const ALPHA = 0u;
const GAIN_EX = 2u;
const GAIN_IN = 4u;
const OFFSET = 6u;
const BETA_EX = 8u;
const BETA_IN = 10u;
const THRESHOLD = 12u;
const RESET = 14u;
const SILENT = 16u;
const GAMMA = 17u;
const INCREMENT = 19u;

/// State rows, likewise. Inhibitory currents have rows of their own where there are two planes; adaptation is last.
const V = 1u;
const WAITING = 3u;
const I_EX = 4u;
const I_IN = 6u;

/// In `options`: thresholds adapt.
const ADAPTING = 1u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count || p.k >= clock[1]) { return; }
    let t = tile_of(p.wg_base + g, lid);
    let scale = unit(t);
    let waiting = state[state_at(t, WAITING)];
    let integrates = waiting == 0u;
    var v = load_pair(t, V);

    let gain = pair(t, GAIN_EX);
    let offset = pair(t, OFFSET);
    let alpha = pair(t, ALPHA);
    var i_ex = load_pair(t, I_EX);
    var high = pin(offset.x - pin(alpha.x * v.x));
    var low = pin(offset.y - pin(alpha.y * v.x));
    high = pin(high + pin(gain.x * i_ex.x));
    low = pin(low + pin(gain.y * i_ex.x));
    i_ex = decayed(i_ex, pair(t, BETA_EX), exact(take(t, 0u), scale));
    if (t.live) { store_pair(t, I_EX, i_ex); }
    if (p.planes == 2u) {
        let gain_in = pair(t, GAIN_IN);
        var i_in = load_pair(t, I_IN);
        high = pin(high + pin(gain_in.x * i_in.x));
        low = pin(low + pin(gain_in.y * i_in.x));
        i_in = decayed(i_in, pair(t, BETA_IN), exact(take(t, 1u), scale));
        if (t.live) { store_pair(t, I_IN, i_in); }
    }
    let moved = two_sum(v.x, pin(high + pin(low + v.y)));
    v = vec2<f32>(settle(moved.x), moved.y);

    let threshold = pair(t, THRESHOLD);
    var above = pin(v.x - threshold.x);
    var least = pin(threshold.y - v.y);
    let adapting = (p.options & ADAPTING) != 0u;
    let adapt_row = I_EX + 2u * p.planes;
    var raised = vec2<f32>(0.0, 0.0);
    if (adapting) {
        raised = decayed(load_pair(t, adapt_row), pair(t, GAMMA), vec2<f32>(0.0, 0.0));
        above = pin(above - raised.x);
        least = pin(least + raised.y);
    }
    let spike = t.live && integrates && above >= least;
    if (adapting && t.live) {
        if (spike) { raised = decayed(raised, vec2<f32>(0.0, 0.0), pair(t, INCREMENT)); }
        store_pair(t, adapt_row, raised);
    }
    if (t.live && integrates) {
        if (spike) { v = pair(t, RESET); }
        store_pair(t, V, v);
    }
    if (t.live && (spike || !integrates)) {
        state[state_at(t, WAITING)] = select(waiting - 1u, word(t, SILENT), spike);
    }
    emit(t, lid, spike);
}
