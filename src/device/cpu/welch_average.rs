//! Twin of `shaders/welch_average.wgsl`.

use rayon::prelude::*;

use crate::kernel::welch_average::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (rows, bins) = (p.rows as usize, p.bins as usize);
    a.psd[..bins].par_iter_mut().enumerate().with_min_len(512).for_each_init(
        Vec::new,
        |powers: &mut Vec<f32>, (bin, psd)| {
            powers.clear();
            powers.extend((0..rows).map(|row| a.x[row * bins + bin].norm_sqr()));
            let value = if p.median == 1 {
                let (low, middle, _) = powers.select_nth_unstable_by(rows / 2, f32::total_cmp);
                let middle = *middle;
                let below = if rows.is_multiple_of(2) { low.iter().copied().fold(0.0, f32::max) } else { middle };
                0.5 * (below + middle)
            } else {
                powers.iter().sum::<f32>() / rows as f32
            };
            let edge = bin == 0 || (p.nyquist == 1 && bin + 1 == bins);
            *psd = value * p.scale * if edge { 1.0 } else { 2.0 };
        },
    );
}
