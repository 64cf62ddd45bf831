//! One step of leaky integrate-and-fire neurons whose membrane jumps by its input, integrated exactly.
//!
//! The membrane is the sum of two f32, see `src/ops/neurons/mod.rs`.
//! stage: spiking
//! import: grid pin neuron

/// Parameter rows; a coefficient has two, the second what rounding took from the first.
const ALPHA = 0u;
const OFFSET = 2u;
const THRESHOLD = 4u;
const RESET = 6u;
const SILENT = 8u;

/// State rows, likewise.
const V = 1u;
const WAITING = 3u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count || p.k >= clock[1]) { return; }
    let t = tile_of(p.wg_base + g, lid);
    let waiting = state[state_at(t, WAITING)];
    let integrates = waiting == 0u;
    // Input during refractoriness is taken and lost.
    let input = exact(take_all(t), unit(t));
    var v = load(t, V);
    var v_low = load(t, V + 1u);
    let leak = pin(parameter(t, OFFSET) - pin(parameter(t, ALPHA) * v));
    let leak_low = pin(parameter(t, OFFSET + 1u) - pin(parameter(t, ALPHA + 1u) * v));
    let low = pin(pin(leak_low + v_low) + input.y);
    let moved = two_sum(v, pin(pin(leak + input.x) + low));
    v = settle(moved.x);
    v_low = moved.y;
    let above = pin(v - parameter(t, THRESHOLD));
    let least = pin(parameter(t, THRESHOLD + 1u) - v_low);
    let spike = t.live && integrates && above >= least;
    if (t.live && integrates) {
        if (spike) {
            v = parameter(t, RESET);
            v_low = parameter(t, RESET + 1u);
        }
        store(t, V, v);
        store(t, V + 1u, v_low);
    }
    if (t.live && (spike || !integrates)) {
        state[state_at(t, WAITING)] = select(waiting - 1u, word(t, SILENT), spike);
    }
    emit(t, lid, spike);
}
