//! Twin of `shaders/temporal_contrast.wgsl`: whole words of 32 samples from vector comparisons.

use rayon::prelude::*;

use super::lanes::{Lanes, flush, on_best_lanes};
use crate::kernel::temporal_contrast::{Host, Params};

const STRICT: u32 = 1;
const FROM_ZERO: u32 = 2;
const NORMALISE: u32 = 4;
const DENSE: u32 = 8;

/// Words of a piece of work.
const PIECE: usize = 512;

/// One channel's words `first..first + count`, and where they go.
#[derive(Clone, Copy)]
struct Piece<'a> {
    p: &'a Params,
    /// The whole channel.
    x: &'a [f32],
    levels: [f32; 4],
    first: usize,
    count: usize,
    /// The channel's rows.
    to: *mut u32,
}

// SAFETY: pieces write disjoint words.
unsafe impl Send for Piece<'_> {}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let time = p.time as usize;
    let (words, rows) = (time.div_ceil(32), 2 * p.count as usize);
    let row = if p.flags & DENSE != 0 { time } else { words };
    let channels = a.x.len() / time;
    // The op has made them so; a raw pointer follows.
    assert!(a.spikes.len() >= channels * rows * row && p.count <= 4, "spikes are too short");
    let to = a.spikes.as_mut_ptr() as usize;
    let pieces = words.div_ceil(PIECE);
    (0..channels * pieces).into_par_iter().for_each(|i| {
        let (channel, first) = (i / pieces, i % pieces * PIECE);
        let thresholds = [p.threshold_0, p.threshold_1, p.threshold_2, p.threshold_3];
        let normalised = p.flags & NORMALISE != 0;
        piece(&Piece {
            p,
            x: &a.x[channel * time..][..time],
            levels: thresholds.map(|t| if normalised { flush(t * a.scale[channel]) } else { t }),
            first,
            count: PIECE.min(words - first),
            to: (to as *mut u32).wrapping_add(channel * rows * row),
        });
    });
}

on_best_lanes! {
    fn piece = piece_on(piece: &Piece<'_>)
}

/// # Safety
/// As [`Lanes`]; `to` has room for the channel, and no other thread writes these words.
#[inline(always)]
unsafe fn piece_on<L: Lanes>(piece: &Piece<'_>) {
    let &Piece { p, x, levels, first, count, to } = piece;
    let (time, words) = (x.len(), x.len().div_ceil(32));
    let (strict, dense) = (p.flags & STRICT != 0, p.flags & DENSE != 0);
    // SAFETY: the caller's promise; the buffer is as long as a word's samples and the one before.
    unsafe {
        let (zero, one) = (L::splat(0.0), L::splat(1.0));
        for word in first..first + count {
            let t = word * 32;
            let valid = 32.min(time - t);
            let mut edge = [f32::NAN; 33];
            let from = if t > 0 && valid == 32 {
                x.as_ptr().add(t - 1)
            } else {
                let start = if p.flags & FROM_ZERO != 0 { 0.0 } else { x[0] };
                edge[0] = if t > 0 { x[t - 1] } else { start };
                edge[1..=valid].copy_from_slice(&x[t..t + valid]);
                edge.as_ptr()
            };
            for (k, &level) in levels[..p.count as usize].iter().enumerate() {
                let (mut bits, mut floats) = ([0u64; 2], [[0f32; 32]; 2]);
                // A channel without variation has the level 0, and is silent.
                if level > 0.0 {
                    let level = L::splat(level);
                    for i in (0..32).step_by(L::N) {
                        let (before, now) = (L::load(from.add(i)), L::load(from.add(i + 1)));
                        let d = L::sub(L::flush(now), L::flush(before));
                        for (s, d) in [d, L::sub(zero, d)].into_iter().enumerate() {
                            let over = if strict { L::gt(d, level) } else { L::ge(d, level) };
                            // Not finite is what a sample that is not finite leaves.
                            let spike = L::and(over, L::finite(d));
                            bits[s] |= L::bits(spike) << i;
                            L::store(floats[s].as_mut_ptr().add(i), L::select(spike, one, zero));
                        }
                    }
                }
                for s in 0..2 {
                    if dense {
                        let row = to.add((2 * k + s) * time + t).cast::<f32>();
                        std::ptr::copy_nonoverlapping(floats[s].as_ptr(), row, valid);
                    } else {
                        to.add((2 * k + s) * words + word).write(bits[s] as u32);
                    }
                }
            }
        }
    }
}
