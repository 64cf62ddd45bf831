//! Twin of `shaders/iaf_psc_exp.wgsl`: the same operations in the same order on vectors of neurons.

use super::lanes::{Lanes, on_best_lanes};
use super::neuron::{Job, Pair, TILE, Tile, exact, job, two_sum};
use crate::kernel::iaf_psc_exp::{Host, Params};

/// Parameter rows.
const ALPHA: usize = 0;
const GAIN_EX: usize = 2;
const GAIN_IN: usize = 4;
const OFFSET: usize = 6;
const BETA_EX: usize = 8;
const BETA_IN: usize = 10;
const THRESHOLD: usize = 12;
const RESET: usize = 14;
const SILENT: usize = 16;
const GAMMA: usize = 17;
const INCREMENT: usize = 19;

/// State rows.
const V: usize = 1;
const WAITING: usize = 3;
const I_EX: usize = 4;
const I_IN: usize = 6;

const ADAPTING: u32 = 1;

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
    unsafe {
        match (job.shape.planes == 2, t.each(u32::MAX)) {
            (false, false) => tile_of::<L, false, false>(job, t),
            (false, true) => tile_of::<L, false, true>(job, t),
            (true, false) => tile_of::<L, true, false>(job, t),
            (true, true) => tile_of::<L, true, true>(job, t),
        }
    }
}

/// # Safety
/// As [`tile_on`].
#[inline(always)]
unsafe fn tile_of<L: Lanes, const TWO: bool, const EACH: bool>(job: &Job<'_>, t: &Tile<'_>) {
    let words = |row: usize| t.words(job.table, row);
    let pair = |row: usize| [words(row), words(row + 1)];
    let (alpha, gain_ex, gain_in, offset) = (pair(ALPHA), pair(GAIN_EX), pair(GAIN_IN), pair(OFFSET));
    let (beta_ex, beta_in, threshold, reset) = (pair(BETA_EX), pair(BETA_IN), pair(THRESHOLD), pair(RESET));
    let (silent, gamma, increment) = (words(SILENT), pair(GAMMA), pair(INCREMENT));
    let rows = |row: usize| [job.state_f(t, row), job.state_f(t, row + 1)];
    let (v_at, i_ex_at, waiting_at) = (rows(V), rows(I_EX), job.state(t, WAITING));
    let i_in_at = if TWO { rows(I_IN) } else { i_ex_at };
    let adapting = job.shape.options & ADAPTING != 0;
    let raised_at = if adapting { rows(I_EX + 2 * job.shape.planes) } else { i_ex_at };
    let (input_ex, input_in) = (job.input(t, 0), job.input(t, usize::from(TWO)));
    let mut fired = [0u64; TILE / 64];
    // SAFETY: the caller's promise; vectors stay within the padded tile.
    unsafe {
        // Closures do not inherit a caller's target features; macros do.
        macro_rules! pair {
            ($words:expr, $i:expr) => {
                Pair::<L>($words[0].f::<L, EACH>($i), $words[1].f::<L, EACH>($i))
            };
        }
        let scale = L::splat(t.unit());
        let none = Pair::<L>(L::splat(0.0), L::splat(0.0));
        let mut i = 0;
        while i < t.padded() {
            let waiting = L::load_u(waiting_at.add(i));
            let integrates = L::is_zero(waiting);
            let before = Pair::<L>::load(v_at[0], v_at[1], i);
            let i_ex = Pair::<L>::load(i_ex_at[0], i_ex_at[1], i);
            let (alpha, offset, gain) = (pair!(alpha, i), pair!(offset, i), pair!(gain_ex, i));
            let mut high = L::sub(offset.0, L::mul(alpha.0, before.0));
            let mut low = L::sub(offset.1, L::mul(alpha.1, before.0));
            high = L::add(high, L::mul(gain.0, i_ex.0));
            low = L::add(low, L::mul(gain.1, i_ex.0));
            let input = exact::<L>(input_ex.take::<L>(i), scale);
            i_ex.decayed(pair!(beta_ex, i), input).store(i_ex_at[0], i_ex_at[1], i);
            if TWO {
                let i_in = Pair::<L>::load(i_in_at[0], i_in_at[1], i);
                let gain = pair!(gain_in, i);
                high = L::add(high, L::mul(gain.0, i_in.0));
                low = L::add(low, L::mul(gain.1, i_in.0));
                let input = exact::<L>(input_in.take::<L>(i), scale);
                i_in.decayed(pair!(beta_in, i), input).store(i_in_at[0], i_in_at[1], i);
            }
            let moved = two_sum::<L>(before.0, L::add(high, L::add(low, before.1))).settled();

            let threshold = pair!(threshold, i);
            let mut above = L::sub(moved.0, threshold.0);
            let mut least = L::sub(threshold.1, moved.1);
            let mut raised = none;
            if adapting {
                raised = Pair::<L>::load(raised_at[0], raised_at[1], i).decayed(pair!(gamma, i), none);
                above = L::sub(above, raised.0);
                least = L::add(least, raised.1);
            }
            let spike = L::and(integrates, L::ge(above, least));
            if adapting {
                let higher = raised.decayed(none, pair!(increment, i));
                Pair::select(spike, higher, raised).store(raised_at[0], raised_at[1], i);
            }
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
