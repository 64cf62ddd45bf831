//! Twin of `shaders/kde_log.wgsl`.

use rayon::prelude::*;

use super::kde_peak::{log_terms, slots};
use super::parallel::{Scattered, multiversioned};
use super::vector::{Vector, for_each_instruction_set};
use crate::kernel::kde_log::{Host, Params};

const LOG_EPS: f32 = -34.538_776;
/// As in the shader.
const SAFE: f32 = 1.0 / (1u64 << 48) as f32;
/// Terms this far below the largest, in powers of two, cannot be seen in a sum of 2^23.
const UNSEEN: f32 = -60.0;

/// The row of one spike.
struct Row<'a> {
    sums: &'a [f32],
    bin_constants: &'a [f32],
    constant: f32,
    peak: f32,
    safe: f32,
    floor: f32,
}

#[inline(always)]
unsafe fn logarithms_body<V: Vector>(row: &Row<'_>, out: &mut [f32]) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let (safe, floor) = (V::splat(row.safe), V::splat(row.floor));
        let (constant, ln_2) = (V::splat(row.constant), V::splat(std::f32::consts::LN_2));
        // Sums carry 2^104.
        let (peak, lowered) = (V::splat(row.peak), V::splat(-104.0));
        let mut least = V::splat(f32::MAX);
        let n = row.sums.len().min(row.bin_constants.len()).min(out.len());
        let mut edge = [[0f32; 16]; 3];
        for at in (0..n).step_by(V::N) {
            let whole = at + V::N <= n;
            let (mut sums, mut bins, mut to) = (
                row.sums.as_ptr().wrapping_add(at),
                row.bin_constants.as_ptr().wrapping_add(at),
                out.as_mut_ptr().wrapping_add(at),
            );
            if !whole {
                edge[0][..n - at].copy_from_slice(&row.sums[at..n]);
                edge[0][n - at..].fill(f32::MAX);
                edge[1][..n - at].copy_from_slice(&row.bin_constants[at..n]);
                (sums, bins, to) = (edge[0].as_ptr(), edge[1].as_ptr(), edge[2].as_mut_ptr());
            }
            let sum = V::load(sums);
            least = least.min(sum);
            let log2 = sum.max(safe).log2(lowered).add(peak);
            constant.add(V::load(bins)).add_product(log2, ln_2).max(floor).store(to);
            if !whole {
                out[at..n].copy_from_slice(&edge[2][..n - at]);
            }
        }
        let mut lanes = [f32::MAX; 16];
        least.store(lanes.as_mut_ptr());
        lanes.iter().all(|l| *l >= row.safe)
    }
}
for_each_instruction_set! {
    /// L of every bin, as if no sum were smaller than the safe ones; returns whether none is.
    fn logarithms(row: &Row<'_>, out: &mut [f32]) -> bool = logarithms_body
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
    let bin_constants = &bin_constants[..bins];
    let weights = &a.sites[p.weights_at as usize..];
    let visited = bin_constants.iter().all(|c| *c < 3.0e38);
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
            if n == 0 {
                out.fill(LOG_EPS.max(p.floor));
                continue;
            }
            let sums = &a.sums[slot * bins..][..bins];
            let row = Row { sums, bin_constants, constant, peak: a.peaks[slot], safe, floor: p.floor };
            if logarithms(&row, out) && visited {
                continue;
            }
            terms.clear();
            for (bin, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
                if bin_constants[bin] > 3.0e38 {
                    *out = LOG_EPS.max(p.floor);
                    continue;
                }
                // What is computed so far is the most that it can be.
                if *sum >= safe || *out <= p.floor {
                    continue;
                }
                if terms.is_empty() {
                    terms.resize(n, 0.0);
                    z.resize(n, 0.0);
                    log_terms(&mut terms, tile, slot, (a.encoding, weights, a.marks, p.spikes as usize));
                }
                let most = exponents(&mut z, &terms, sites, &centers[bin * dims..][..dims]);
                *out = (constant + bin_constants[bin] + log2_sum_exp2(&z, most) * ln_2).max(p.floor);
            }
        }
    });
}
