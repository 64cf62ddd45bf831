//! Twin of `shaders/iaf_cond_exp.wgsl`: the same operations in the same order on vectors of neurons.

use super::lanes::{Lanes, on_best_lanes};
use super::neuron::{FLOOR, Job, Pair, TILE, Tile, exact, job, two_sum};
use crate::kernel::iaf_cond_exp::{Host, Params};

/// Parameter rows.
const SCALE: usize = 0;
const LEAK: usize = 1;
const OFFSET: usize = 2;
const REVERSAL_EX: usize = 3;
const REVERSAL_IN: usize = 4;
const MEAN_EX: usize = 5;
const MEAN_IN: usize = 6;
const BETA_EX: usize = 7;
const BETA_IN: usize = 9;
const THRESHOLD: usize = 11;
const RESET: usize = 13;
const SILENT: usize = 15;

/// State rows.
const V: usize = 1;
const WAITING: usize = 3;
const G_EX: usize = 4;
const G_IN: usize = 6;

/// Coefficients of (1 − e^−y)/y, from the seventh down to the first.
const SERIES: [f32; 7] =
    [-0.000_024_801_588, 0.000_198_412_7, -0.001_388_888_9, 0.008_333_334, -0.041_666_668, 0.166_666_67, -0.5];
const TWELFTH: f32 = 0.083_333_336;

pub(super) fn run(p: &Params, a: Host<'_>) {
    if let Some((job, spikes)) = job!(p, a) {
        job.run(spikes, tile);
    }
}

on_best_lanes! {
    /// One step of a tile.
    fn tile = tile_on(job: &Job<'_>, t: &Tile<'_>)
}

/// # Safety
/// As [`Lanes`]; no other thread has the tile.
#[inline(always)]
unsafe fn tile_on<L: Lanes>(job: &Job<'_>, t: &Tile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { if t.each(u32::MAX) { tile_of::<L, true>(job, t) } else { tile_of::<L, false>(job, t) } }
}

/// (1 − e^−z)/z for z from 0 on: halved until it is small, and doubled again.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn phi<L: Lanes>(z: L::F) -> L::F {
    // SAFETY: the caller's promise.
    unsafe {
        let (half, one, zero) = (L::splat(0.5), L::splat(1.0), L::splat(0.0));
        let mut y = z;
        let mut doublings = zero;
        for _ in 0..40 {
            let large = L::ge(y, half);
            if L::bits(large) == 0 {
                break;
            }
            y = L::select(large, L::mul(y, half), y);
            doublings = L::select(large, L::add(doublings, one), doublings);
        }
        let mut f = L::splat(SERIES[0]);
        for c in &SERIES[1..] {
            f = L::add(L::splat(*c), L::mul(f, y));
        }
        f = L::add(one, L::mul(f, y));
        loop {
            let more = L::ge(doublings, one);
            if L::bits(more) == 0 {
                return f;
            }
            let doubled = L::mul(f, L::sub(one, L::mul(L::mul(f, y), half)));
            f = L::select(more, doubled, f);
            y = L::add(y, y);
            doublings = L::sub(doublings, one);
        }
    }
}

/// # Safety
/// As [`tile_on`].
#[inline(always)]
unsafe fn tile_of<L: Lanes, const EACH: bool>(job: &Job<'_>, t: &Tile<'_>) {
    let words = |row: usize| t.words(job.table, row);
    let pair = |row: usize| [words(row), words(row + 1)];
    let (scale, leak, offset, silent) = (words(SCALE), words(LEAK), words(OFFSET), words(SILENT));
    let (e_ex, e_in, mean_of_ex, mean_of_in) = (words(REVERSAL_EX), words(REVERSAL_IN), words(MEAN_EX), words(MEAN_IN));
    let (beta_ex, beta_in, threshold, reset) = (pair(BETA_EX), pair(BETA_IN), pair(THRESHOLD), pair(RESET));
    let rows = |row: usize| [job.state_f(t, row), job.state_f(t, row + 1)];
    let (v_at, g_ex_at, g_in_at, waiting_at) = (rows(V), rows(G_EX), rows(G_IN), job.state(t, WAITING));
    let (input_ex, input_in) = (job.input(t, 0), job.input(t, 1));
    let mut fired = [0u64; TILE / 64];
    // SAFETY: the caller's promise; vectors stay within the padded tile.
    unsafe {
        // Closures do not inherit a caller's target features; macros do.
        macro_rules! pair {
            ($words:expr, $i:expr) => {
                Pair::<L>($words[0].f::<L, EACH>($i), $words[1].f::<L, EACH>($i))
            };
        }
        macro_rules! settled {
            ($x:expr) => {
                L::cut($x, FLOOR)
            };
        }
        let (one, twelfth) = (L::splat(1.0), L::splat(TWELFTH));
        let (unit, minus_unit) = (L::splat(t.unit()), L::splat(-t.unit()));
        let mut i = 0;
        while i < t.padded() {
            let waiting = L::load_u(waiting_at.add(i));
            let integrates = L::is_zero(waiting);
            let before = Pair::<L>::load(v_at[0], v_at[1], i);
            let g_ex = Pair::<L>::load(g_ex_at[0], g_ex_at[1], i);
            let g_in = Pair::<L>::load(g_in_at[0], g_in_at[1], i);
            let scale = scale.f::<L, EACH>(i);
            let (leak, offset) = (leak.f::<L, EACH>(i), offset.f::<L, EACH>(i));
            let (e_ex, e_in) = (e_ex.f::<L, EACH>(i), e_in.f::<L, EACH>(i));
            let (beta_ex, beta_in) = (pair!(beta_ex, i), pair!(beta_in, i));

            let ex = settled!(L::mul(scale, g_ex.0));
            let in_ = settled!(L::mul(scale, g_in.0));
            let start = settled!(L::add(L::add(leak, ex), in_));
            let start_drive = settled!(L::add(L::add(offset, L::mul(ex, e_ex)), L::mul(in_, e_in)));
            let fall_ex = settled!(L::mul(ex, beta_ex.0));
            let fall_in = settled!(L::mul(in_, beta_in.0));
            let fall = settled!(L::add(fall_ex, fall_in));
            let fall_drive = settled!(L::add(L::mul(fall_ex, e_ex), L::mul(fall_in, e_in)));
            let mean_ex = settled!(L::mul(ex, mean_of_ex.f::<L, EACH>(i)));
            let mean_in = settled!(L::mul(in_, mean_of_in.f::<L, EACH>(i)));
            let mean = settled!(L::add(L::add(leak, mean_ex), mean_in));
            let drive = L::add(L::add(offset, L::mul(mean_ex, e_ex)), L::mul(mean_in, e_in));
            let turn = settled!(L::sub(L::mul(start_drive, fall), L::mul(start, fall_drive)));
            let drive = L::select(L::ge(mean, one), drive, L::add(drive, L::mul(turn, twelfth)));
            let slope = settled!(L::sub(drive, L::mul(mean, before.0)));
            let moved = two_sum::<L>(before.0, L::add(L::mul(phi::<L>(mean), slope), before.1)).settled();

            let input = exact::<L>(input_ex.take::<L>(i), unit);
            g_ex.decayed(beta_ex, input).store(g_ex_at[0], g_ex_at[1], i);
            let input = exact::<L>(input_in.take::<L>(i), minus_unit);
            g_in.decayed(beta_in, input).store(g_in_at[0], g_in_at[1], i);

            let threshold = pair!(threshold, i);
            let (above, least) = (L::sub(moved.0, threshold.0), L::sub(threshold.1, moved.1));
            let spike = L::and(integrates, L::ge(above, least));
            let after = Pair::select(spike, pair!(reset, i), Pair::select(integrates, moved, before));
            after.store(v_at[0], v_at[1], i);
            let bits = L::bits(spike);
            if bits != 0 || L::bits(integrates) != (1 << L::N) - 1 {
                let left = L::select_u(spike, silent.u::<L, EACH>(i), L::decrement(waiting));
                L::store_u(waiting_at.add(i), left);
            }
            fired[i / 64] |= bits << (i % 64);
            i += L::N;
        }
        job.emit(t, &fired);
    }
}
