//! Twin of `shaders/extremum.wgsl`.

use rayon::prelude::*;

use super::parallel::{multiversioned, per_task};
use crate::kernel::extremum::{Host, Params};

const CHUNK: usize = 4096;

/// Larger for the element to prefer: NaN, then by value with −0 equal to +0.
#[inline(always)]
fn rank(bits: u32, flip: u32) -> u32 {
    let key = if bits > 0x8000_0000 { !bits } else { bits | 0x8000_0000 };
    if bits & 0x7fff_ffff > 0x7f80_0000 { u32::MAX } else { key ^ flip }
}

multiversioned! {
    /// The first of the preferred elements. The answer does not depend on the order in which they are looked at.
    fn preferred(x: &[u32], smallest: bool) -> usize {
        let flip = if smallest { u32::MAX } else { 0 };
        let mut best = 0;
        for bits in x {
            best = best.max(rank(*bits, flip));
        }
        x.iter().position(|bits| rank(*bits, flip) == best).unwrap_or(0)
    }
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, chunks, smallest) = (p.n as usize, p.chunks as usize, p.smallest != 0);
    let least = per_task(n.min(CHUNK));
    a.y.par_iter_mut().zip(a.yi.par_iter_mut()).with_min_len(least).enumerate().for_each(|(i, (y, yi))| {
        let (row, from) = (i / chunks, i % chunks * CHUNK);
        let at = from + preferred(&a.x[row * n + from..row * n + n.min(from + CHUNK)], smallest);
        *y = a.x[row * n + at];
        *yi = if p.position != 0 { at as u32 } else { a.xi[row * n + at] };
    });
}
