//! Twin of `shaders/kde.wgsl`.

use rayon::prelude::*;

use super::kde_peak::{log_terms, slots};
use super::parallel::{Scattered, multiversioned};
use crate::kernel::kde::{Host, Params};

/// Encoding spikes whose bin factors are kept at once.
const BLOCK: usize = 256;

/// 2^52·2^z, and 0 where the shader has 0.
fn operand(z: f32) -> f32 {
    if z > -177.0 { ((0.5 * z).exp2() * (1u64 << 52) as f32) * (0.5 * z).exp2() } else { 0.0 }
}

multiversioned! {
    /// `sums += Σ_i left[i]·right[i]`.
    fn product(sums: &mut [f32], left: &[f32], right: &[f32]) {
        for (l, right) in left.iter().zip(right.chunks_exact(sums.len())) {
            for (sum, r) in sums.iter_mut().zip(right) {
                *sum += l * r;
            }
        }
    }
}

/// A native device has one part.
pub(super) fn run(p: &Params, a: Host<'_>) {
    let (bins, dims) = (p.bins as usize, p.dims as usize);
    let sums = Scattered::new(a.sums);
    let weights = &a.sites[p.weights_at as usize..];
    a.tiles.par_chunks_exact(2).for_each(|tile| {
        let (from, n) = (tile[0][2] as usize, tile[0][3] as usize);
        if slots(tile).is_empty() || n == 0 {
            return;
        }
        let mut left = vec![0.0; slots(tile).len() * n];
        for (slot, left) in slots(tile).zip(left.chunks_exact_mut(n)) {
            log_terms(left, tile, slot, (a.encoding, weights, a.marks, p.spikes as usize));
            left.iter_mut().for_each(|z| *z = operand(*z - a.peaks[slot]));
        }
        // SAFETY: no two tiles share a slot.
        let sums = unsafe { sums.part(slots(tile).start * bins, slots(tile).len() * bins) };
        sums.fill(0.0);
        let mut right = vec![0.0; BLOCK * bins];
        for first in (0..n).step_by(BLOCK) {
            let count = BLOCK.min(n - first);
            for (i, right) in right.chunks_exact_mut(bins).take(count).enumerate() {
                let x = &a.sites[(from + first + i) * dims..][..dims];
                for (right, center) in right.iter_mut().zip(a.centers.chunks_exact(dims)) {
                    *right = operand(-x.iter().zip(center).map(|(x, c)| (x - c) * (x - c)).sum::<f32>());
                }
            }
            for (sums, left) in sums.chunks_exact_mut(bins).zip(left.chunks_exact(n)) {
                product(sums, &left[first..first + count], &right[..count * bins]);
            }
        }
    });
}
