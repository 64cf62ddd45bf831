//! Twin of `shaders/weighted_power.wgsl`: the same order of summation.

use rayon::prelude::*;

use crate::kernel::weighted_power::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let keep = p.keep as usize;
    let rows = a.h.par_chunks(p.stride as usize).zip(a.norm.par_chunks_mut(p.every as usize));
    rows.for_each(|(h, norm)| {
        let mut sums = [0.0f32; 256];
        for (h, w) in h[..keep].chunks(256).zip(a.w[..keep].chunks(256)) {
            for ((sum, h), w) in sums.iter_mut().zip(h).zip(w) {
                *sum += (h.re * h.re + h.im * h.im) * w;
            }
        }
        let mut step = 128;
        while step > 0 {
            let (low, high) = sums.split_at_mut(step);
            low.iter_mut().zip(high.iter()).for_each(|(a, b)| *a += b);
            step /= 2;
        }
        norm[p.offset as usize] = p.scale / sums[0];
    });
}
