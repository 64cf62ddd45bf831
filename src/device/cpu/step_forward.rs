//! Twin of `shaders/step_forward.wgsl`: a vector of channels side by side, tiles of 32 samples turned to them.

use rayon::prelude::*;

use super::lanes::{Lanes, flush, on_best_lanes};
use crate::kernel::step_forward::{Host, Params};

const STRICT: u32 = 1;
const ROUND: u32 = 2;
const NORMALISE: u32 = 4;
const DENSE: u32 = 8;

/// Channels of a piece of work, a multiple of every vector's lanes.
const CHANNELS: usize = 16;

/// Channels `first..first + CHANNELS`, those that there are, and their memory.
#[derive(Clone, Copy)]
struct Piece<'a> {
    p: &'a Params,
    x: &'a [f32],
    /// One a channel of the piece.
    steps: [f32; CHANNELS],
    first: usize,
    level: *mut f32,
    spikes: *mut u32,
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (time, channels) = (p.time as usize, p.channels as usize);
    let row = if p.flags & DENSE != 0 { time } else { time.div_ceil(32) };
    // The op has made them so; raw pointers follow.
    assert!(a.x.len() >= channels * time && a.level.len() >= channels, "input is too short");
    assert!(a.spikes.len() >= channels * 2 * row && p.first + p.count <= p.time, "spikes are too short");
    let (level, spikes) = (a.level.as_mut_ptr() as usize, a.spikes.as_mut_ptr() as usize);
    (0..channels.div_ceil(CHANNELS)).into_par_iter().for_each(|i| {
        let mut steps = [p.threshold; CHANNELS];
        if p.flags & NORMALISE != 0 {
            for (step, scale) in steps.iter_mut().zip(&a.scale[i * CHANNELS..]) {
                *step = flush(p.threshold * scale);
            }
        }
        let (level, spikes) = (level as *mut f32, spikes as *mut u32);
        piece(&Piece { p, x: a.x, steps, first: i * CHANNELS, level, spikes });
    });
}

on_best_lanes! {
    fn piece = piece_on(piece: &Piece<'_>)
}

/// # Safety
/// As [`Lanes`]; the memory holds these channels, and no other thread writes them.
#[inline(always)]
unsafe fn piece_on<L: Lanes>(piece: &Piece<'_>) {
    let &Piece { p, x, steps, first, level, spikes } = piece;
    let (time, channels) = (p.time as usize, p.channels as usize);
    let words = time.div_ceil(32);
    let (strict, round, dense) = (p.flags & STRICT != 0, p.flags & ROUND != 0, p.flags & DENSE != 0);
    for c in (0..CHANNELS).step_by(L::N) {
        let base = first + c;
        if base >= channels {
            return;
        }
        let present = L::N.min(channels - base);
        // Lanes without a channel see nothing but NaN.
        let mut levels = [f32::NAN; CHANNELS];
        // SAFETY: the caller's promise.
        unsafe {
            let zero = L::splat(0.0);
            std::ptr::copy_nonoverlapping(level.add(base), levels.as_mut_ptr(), present);
            let step = L::load(steps.as_ptr().add(c));
            let mut at = L::flush(L::load(levels.as_ptr()));
            for t in (p.first as usize..(p.first + p.count) as usize).step_by(32) {
                let width = 32.min((p.first + p.count) as usize - t);
                let mut tile = [[f32::NAN; CHANNELS]; 32];
                for lane in 0..present {
                    for (k, now) in x[(base + lane) * time + t..][..width].iter().enumerate() {
                        tile[k][lane] = *now;
                    }
                }
                let (mut on, mut off) = (L::splat_u(0), L::splat_u(0));
                for (k, row) in tile[..width].iter().enumerate() {
                    let now = L::flush(L::load(row.as_ptr()));
                    let (higher, lower) = (L::add(at, step), L::sub(at, step));
                    let rises = if strict { L::gt(now, higher) } else { L::ge(now, higher) };
                    let falls = if strict { L::gt(lower, now) } else { L::ge(lower, now) };
                    let (sound, set) = (L::finite(now), L::finite(at));
                    let able = L::and(L::and(sound, set), L::gt(step, zero));
                    let (rises, falls) = (L::and(able, rises), L::and(able, falls));
                    let mut begin = [0f32; CHANNELS];
                    let mut next = L::select(rises, higher, L::select(falls, lower, at));
                    // Rare: some lane has no level yet.
                    if L::bits(set) & ((1 << present) - 1) != (1 << present) - 1 {
                        L::store(begin.as_mut_ptr(), now);
                        for value in &mut begin {
                            *value = if round { flush(value.round_ties_even()) } else { *value };
                        }
                        next = L::select(set, next, L::select(sound, L::load(begin.as_ptr()), at));
                    }
                    at = next;
                    let bit = L::splat_u(1 << k);
                    on = L::select_u(rises, L::or_u(on, bit), on);
                    off = L::select_u(rises, off, L::select_u(falls, L::or_u(off, bit), off));
                }
                let mut marks = [[0u32; CHANNELS]; 2];
                L::store_u(marks[0].as_mut_ptr(), on);
                L::store_u(marks[1].as_mut_ptr(), off);
                for (s, marks) in marks.iter().enumerate() {
                    for (lane, mark) in marks[..present].iter().enumerate() {
                        let row = (base + lane) * 2 + s;
                        if dense {
                            for k in 0..width {
                                let spike = if mark >> k & 1 == 1 { 1f32.to_bits() } else { 0 };
                                spikes.add(row * time + t + k).write(spike);
                            }
                        } else {
                            spikes.add(row * words + t / 32).write(*mark);
                        }
                    }
                }
            }
            L::store(levels.as_mut_ptr(), at);
            std::ptr::copy_nonoverlapping(levels.as_ptr(), level.add(base), present);
        }
    }
}
