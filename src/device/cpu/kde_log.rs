//! Twin of `shaders/kde_log.wgsl`.

use rayon::prelude::*;

use super::kde_peak::{log_terms, slots};
use super::parallel::{Scattered, multiversioned};
use crate::kernel::kde_log::{Host, Params};

const LOG_EPS: f32 = -34.538_776;
/// As in the shader.
const SAFE: f32 = 1.0 / (1u64 << 48) as f32;
/// Terms this far below the largest, in powers of two, cannot be seen in a sum of 2^23.
const UNSEEN: f32 = -60.0;

/// log2 of what `kde` added up, without its factor 2^104.
fn log2_sum(sum: f32) -> f32 {
    if sum > 1.0 { (sum * 2f32.powi(-104)).log2() } else { sum.log2() - 104.0 }
}

multiversioned! {
    /// `z[i] = terms[i] − |sites[i] − center|²`; returns the largest.
    fn exponents(z: &mut [f32], terms: &[f32], sites: &[f32], center: &[f32]) -> f32 {
        match *center {
            [c] => {
                for ((z, term), x) in z.iter_mut().zip(terms).zip(sites) {
                    *z = term - (x - c) * (x - c);
                }
            }
            _ => {
                for ((z, term), x) in z.iter_mut().zip(terms).zip(sites.chunks_exact(center.len())) {
                    *z = term - x.iter().zip(center).map(|(x, c)| (x - c) * (x - c)).sum::<f32>();
                }
            }
        }
        let mut lanes = [f32::MIN; 16];
        let chunks = z.chunks_exact(16);
        let rest = chunks.remainder().iter().copied().fold(f32::MIN, f32::max);
        for chunk in chunks {
            for (most, z) in lanes.iter_mut().zip(chunk) {
                *most = if *z > *most { *z } else { *most };
            }
        }
        lanes.into_iter().fold(rest, f32::max)
    }
}

/// log2 Σ 2^z.
fn log2_sum_exp2(z: &[f32], most: f32) -> f32 {
    let seen = z.iter().map(|z| z - most).filter(|d| *d > UNSEEN);
    (f64::from(most) + seen.map(|d| f64::from(d.exp2())).sum::<f64>().log2()) as f32
}

/// A native device has one part, and one dispatch for all encoding spikes.
pub(super) fn run(p: &Params, a: Host<'_>) {
    let (bins, dims, ln_2) = (p.bins as usize, p.dims as usize, std::f32::consts::LN_2);
    let (centers, bin_constants) = a.centers.split_at(bins * dims);
    let weights = &a.sites[p.weights_at as usize..];
    let out = Scattered::new(a.log_intensity);
    a.tiles.par_chunks_exact(2).for_each(|tile| {
        let (from, n) = (tile[0][2] as usize, tile[0][3] as usize);
        let constant = f32::from_bits(tile[1][2]);
        let sites = &a.sites[from * dims..][..n * dims];
        let safe = (n as f32 * SAFE).max(SAFE);
        let (mut terms, mut z) = (Vec::new(), Vec::new());
        for slot in slots(tile) {
            // SAFETY: no two tiles share a slot.
            let out = unsafe { out.part(slot * bins, bins) };
            terms.clear();
            for (bin, (out, sum)) in out.iter_mut().zip(&a.sums[slot * bins..]).enumerate() {
                let base = constant + bin_constants[bin];
                if n == 0 || bin_constants[bin] > 3.0e38 {
                    *out = LOG_EPS.max(p.floor);
                    continue;
                }
                let at_least = base + (log2_sum(sum.max(safe)) + a.peaks[slot]) * ln_2;
                if *sum >= safe || at_least + 0.01 < p.floor {
                    *out = at_least.max(p.floor);
                    continue;
                }
                if terms.is_empty() {
                    terms.resize(n, 0.0);
                    z.resize(n, 0.0);
                    log_terms(&mut terms, tile, slot, (a.encoding, weights, a.marks, p.spikes as usize));
                }
                let most = exponents(&mut z, &terms, sites, &centers[bin * dims..][..dims]);
                *out = (base + log2_sum_exp2(&z, most) * ln_2).max(p.floor);
            }
        }
    });
}
