//! Twin of `shaders/izhikevich.wgsl`: the same operations in the same order on vectors of neurons.

use super::lanes::{Lanes, on_best_lanes};
use super::neuron::{Job, Pair, TILE, Tile, exact, job, two_sum};
use crate::kernel::izhikevich::{Host, Params};

/// Parameter rows.
const SQUARE: usize = 0;
const STEP: usize = 2;
const OFFSET: usize = 4;
const RECOVERY_V: usize = 6;
const RECOVERY: usize = 8;
const THRESHOLD: usize = 10;
const RESET: usize = 12;
const JUMP: usize = 14;

/// State rows.
const V: usize = 1;
const U: usize = 3;

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
    let pair = |row: usize| [t.words(job.table, row), t.words(job.table, row + 1)];
    let (square, step, offset, jump) = (pair(SQUARE), pair(STEP), pair(OFFSET), pair(JUMP));
    let (recovery_v, recovery) = (pair(RECOVERY_V), pair(RECOVERY));
    let (threshold, reset) = (pair(THRESHOLD), pair(RESET));
    let rows = |row: usize| [job.state_f(t, row), job.state_f(t, row + 1)];
    let (v_at, u_at) = (rows(V), rows(U));
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
        let unit = L::splat(t.unit());
        let mut i = 0;
        while i < t.padded() {
            let mut sum = first.take::<L>(i);
            if two {
                sum = L::add_u(sum, second.take::<L>(i));
            }
            let input = exact::<L>(sum, unit);
            let v = Pair::<L>::load(v_at[0], v_at[1], i);
            let u = Pair::<L>::load(u_at[0], u_at[1], i);
            let (square, step, offset) = (pair!(square, i), pair!(step, i), pair!(offset, i));
            let (recovery_v, recovery) = (pair!(recovery_v, i), pair!(recovery, i));
            let v_squared = L::mul(v.0, v.0);
            let v_high = L::add(L::sub(offset.0, L::mul(step.0, u.0)), L::mul(square.0, v_squared));
            let v_low = L::add(L::sub(offset.1, L::mul(step.1, u.0)), L::mul(square.1, v_squared));
            let u_high = L::sub(L::mul(recovery_v.0, v.0), L::mul(recovery.0, u.0));
            let u_low = L::sub(L::mul(recovery_v.1, v.0), L::mul(recovery.1, u.0));
            let moved = L::add(L::add(v_high, input.0), L::add(L::add(v_low, v.1), input.1));
            let next = two_sum::<L>(v.0, moved).settled();
            let follows = two_sum::<L>(u.0, L::add(u_high, L::add(u_low, u.1))).settled();

            let threshold = pair!(threshold, i);
            let spike = L::ge(L::sub(next.0, threshold.0), L::sub(threshold.1, next.1));
            let jump = pair!(jump, i);
            let jumped = two_sum::<L>(follows.0, L::add(jump.0, L::add(jump.1, follows.1))).settled();
            Pair::select(spike, pair!(reset, i), next).store(v_at[0], v_at[1], i);
            Pair::select(spike, jumped, follows).store(u_at[0], u_at[1], i);
            fired[i / 64] |= L::bits(spike) << (i % 64);
            i += L::N;
        }
        job.emit(t, &fired);
    }
}
