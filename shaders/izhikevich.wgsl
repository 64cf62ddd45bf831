//! One step of Izhikevich's neurons by forward Euler, both variables from the values of before.
//!
//! Membrane and recovery are each the sum of two f32 and measured from where the equations are simplest, see
//! `src/ops/neurons/izhikevich.rs`.
//! stage: spiking
//! import: grid pin neuron

/// Parameter rows; of two, the second is what rounding took from the first.
const SQUARE = 0u;
const STEP = 2u;
const OFFSET = 4u;
const RECOVERY_V = 6u;
const RECOVERY = 8u;
const THRESHOLD = 10u;
const RESET = 12u;
const JUMP = 14u;

/// State rows, likewise.
const V = 1u;
const U = 3u;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count || p.k >= clock[1]) { return; }
    let t = tile_of(p.wg_base + g, lid);
    let input = exact(take_all(t), unit(t));
    let v = load_pair(t, V);
    let u = load_pair(t, U);

    let square = pair(t, SQUARE);
    let step = pair(t, STEP);
    let offset = pair(t, OFFSET);
    let recovery_v = pair(t, RECOVERY_V);
    let recovery = pair(t, RECOVERY);
    let v_squared = pin(v.x * v.x);
    let v_high = pin(pin(offset.x - pin(step.x * u.x)) + pin(square.x * v_squared));
    let v_low = pin(pin(offset.y - pin(step.y * u.x)) + pin(square.y * v_squared));
    let u_high = pin(pin(recovery_v.x * v.x) - pin(recovery.x * u.x));
    let u_low = pin(pin(recovery_v.y * v.x) - pin(recovery.y * u.x));
    var next = two_sum(v.x, pin(pin(v_high + input.x) + pin(pin(v_low + v.y) + input.y)));
    var follows = two_sum(u.x, pin(u_high + pin(u_low + u.y)));
    next.x = settle(next.x);
    follows.x = settle(follows.x);

    let threshold = pair(t, THRESHOLD);
    let spike = t.live && pin(next.x - threshold.x) >= pin(threshold.y - next.y);
    if (spike) {
        next = pair(t, RESET);
        let jump = pair(t, JUMP);
        follows = two_sum(follows.x, pin(jump.x + pin(jump.y + follows.y)));
        follows.x = settle(follows.x);
    }
    if (t.live) {
        store_pair(t, V, next);
        store_pair(t, U, follows);
    }
    emit(t, lid, spike);
}
