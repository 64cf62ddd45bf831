//! One step of leaky integrate-and-fire neurons with exponentially decaying synaptic conductances.
//!
//! The membrane and the conductances are each the sum of two f32, see `src/ops/neurons/mod.rs`; the scheme is that of
//! `src/ops/neurons/iaf_cond_exp.rs`.
//! stage: spiking
//! import: grid pin neuron

/// Parameter rows; of two, the second is what rounding took from the first.
const SCALE = 0u;
const LEAK = 1u;
const OFFSET = 2u;
const REVERSAL_EX = 3u;
const REVERSAL_IN = 4u;
const MEAN_EX = 5u;
const MEAN_IN = 6u;
const BETA_EX = 7u;
const BETA_IN = 9u;
const THRESHOLD = 11u;
const RESET = 13u;
const SILENT = 15u;

/// State rows, likewise.
const V = 1u;
const WAITING = 3u;
const G_EX = 4u;
const G_IN = 6u;

/// Coefficients of (1 − e^−y)/y below 1/2: (−1)^n/(n + 1)!.
const C1 = -0.5;
const C2 = 0.16666667;
const C3 = -0.041666668;
const C4 = 0.008333334;
const C5 = -0.0013888889;
const C6 = 0.0001984127;
const C7 = -0.000024801588;
const TWELFTH = 0.083333336;

/// (1 − e^−z)/z for z from 0 on: halved until it is small, and doubled again.
fn phi(z: f32) -> f32 {
    var y = z;
    var doublings = 0u;
    // Below 2^32, as the op sees to.
    while (y >= 0.5 && doublings < 40u) {
        y *= 0.5;
        doublings += 1u;
    }
    var f = pin(C6 + pin(C7 * y));
    f = pin(C5 + pin(f * y));
    f = pin(C4 + pin(f * y));
    f = pin(C3 + pin(f * y));
    f = pin(C2 + pin(f * y));
    f = pin(C1 + pin(f * y));
    f = pin(1.0 + pin(f * y));
    for (; doublings > 0u; doublings -= 1u) {
        f = pin(f * pin(1.0 - pin(pin(f * y) * 0.5)));
        y *= 2.0;
    }
    return f;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count || p.k >= clock[1]) { return; }
    let t = tile_of(p.wg_base + g, lid);
    let waiting = state[state_at(t, WAITING)];
    let integrates = waiting == 0u;
    var v = load_pair(t, V);
    var g_ex = load_pair(t, G_EX);
    var g_in = load_pair(t, G_IN);

    // Conductances, drive and their falls over the step, at its start and on the average; all times dt/C.
    let leak = parameter(t, LEAK);
    let offset = parameter(t, OFFSET);
    let e_ex = parameter(t, REVERSAL_EX);
    let e_in = parameter(t, REVERSAL_IN);
    let beta_ex = pair(t, BETA_EX);
    let beta_in = pair(t, BETA_IN);
    let scale = parameter(t, SCALE);
    let ex = settle(pin(scale * g_ex.x));
    let in_ = settle(pin(scale * g_in.x));
    let start = settle(pin(pin(leak + ex) + in_));
    let start_drive = settle(pin(pin(offset + pin(ex * e_ex)) + pin(in_ * e_in)));
    let fall_ex = settle(pin(ex * beta_ex.x));
    let fall_in = settle(pin(in_ * beta_in.x));
    let fall = settle(pin(fall_ex + fall_in));
    let fall_drive = settle(pin(pin(fall_ex * e_ex) + pin(fall_in * e_in)));
    let mean_ex = settle(pin(ex * parameter(t, MEAN_EX)));
    let mean_in = settle(pin(in_ * parameter(t, MEAN_IN)));
    let mean = settle(pin(pin(leak + mean_ex) + mean_in));
    var drive_mean = pin(pin(offset + pin(mean_ex * e_ex)) + pin(mean_in * e_in));
    let turn = settle(pin(pin(start_drive * fall) - pin(start * fall_drive)));
    if (mean < 1.0) { drive_mean = pin(drive_mean + pin(turn * TWELFTH)); }
    let slope = settle(pin(drive_mean - pin(mean * v.x)));
    let moved = two_sum(v.x, pin(pin(phi(mean) * slope) + v.y));
    v = vec2<f32>(settle(moved.x), moved.y);

    let one = unit(t);
    g_ex = decayed(g_ex, beta_ex, exact(take(t, 0u), one));
    // Inhibitory weights are negative, their conductances are not.
    g_in = decayed(g_in, beta_in, exact(take(t, 1u), -one));
    if (t.live) {
        store_pair(t, G_EX, g_ex);
        store_pair(t, G_IN, g_in);
    }
    let threshold = pair(t, THRESHOLD);
    let spike = t.live && integrates && pin(v.x - threshold.x) >= pin(threshold.y - v.y);
    if (t.live && integrates) {
        if (spike) { v = pair(t, RESET); }
        store_pair(t, V, v);
    }
    if (t.live && (spike || !integrates)) {
        state[state_at(t, WAITING)] = select(waiting - 1u, word(t, SILENT), spike);
    }
    emit(t, lid, spike);
}
