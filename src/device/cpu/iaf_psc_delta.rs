//! Twin of `shaders/iaf_psc_delta.wgsl`: the same operations in the same order on vectors of neurons.

use super::lanes::{Lanes, on_best_lanes};
use super::neuron::{Job, Pair, TILE, Tile, exact, job, two_sum};
use crate::kernel::iaf_psc_delta::{Host, Params};

/// Parameter rows.
const ALPHA: usize = 0;
const OFFSET: usize = 2;
const THRESHOLD: usize = 4;
const RESET: usize = 6;
const SILENT: usize = 8;

/// State rows.
const V: usize = 1;
const WAITING: usize = 3;

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

/// # Safety
/// As [`tile_on`].
#[inline(always)]
unsafe fn tile_of<L: Lanes, const EACH: bool>(job: &Job<'_>, t: &Tile<'_>) {
    let words = |row: usize| t.words(job.table, row);
    let pair = |row: usize| [words(row), words(row + 1)];
    let (alpha, offset, threshold, reset) = (pair(ALPHA), pair(OFFSET), pair(THRESHOLD), pair(RESET));
    let silent = words(SILENT);
    let (v_at, v_low_at, waiting_at) = (job.state_f(t, V), job.state_f(t, V + 1), job.state(t, WAITING));
    let two = job.shape.planes == 2;
    let (first, second) = (job.input(t, 0), job.input(t, usize::from(two)));
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
        let mut i = 0;
        while i < t.padded() {
            let waiting = L::load_u(waiting_at.add(i));
            let integrates = L::is_zero(waiting);
            let before = Pair::<L>::load(v_at, v_low_at, i);
            let mut sum = first.take::<L>(i);
            if two {
                sum = L::add_u(sum, second.take::<L>(i));
            }
            let input = exact::<L>(sum, scale);
            let (alpha, offset) = (pair!(alpha, i), pair!(offset, i));
            let leak = L::sub(offset.0, L::mul(alpha.0, before.0));
            let leak_low = L::sub(offset.1, L::mul(alpha.1, before.0));
            let low = L::add(L::add(leak_low, before.1), input.1);
            let moved = two_sum::<L>(before.0, L::add(L::add(leak, input.0), low)).settled();
            let threshold = pair!(threshold, i);
            let above = L::sub(moved.0, threshold.0);
            let least = L::sub(threshold.1, moved.1);
            let spike = L::and(integrates, L::ge(above, least));
            let after = Pair::select(spike, pair!(reset, i), Pair::select(integrates, moved, before));
            after.store(v_at, v_low_at, i);
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
