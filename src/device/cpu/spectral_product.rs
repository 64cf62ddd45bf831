//! Twin of `shaders/spectral_product.wgsl`.

use num_complex::Complex32;
use rayon::prelude::*;

use super::parallel::{Scattered, multiversioned};
use crate::kernel::spectral_product::{Host, Params};

/// Bins that a task takes: of 64 channels and 16 blocks they fill a second-level cache, so that every filter is read
/// from memory once.
const BINS: usize = 64;

multiversioned! {
    /// `y = Σ_c x[c]·conj(w[c])` for channels that are `step` apart, filters that are `bins` apart.
    fn products(x: &[Complex32], step: usize, w: &[Complex32], bins: usize, c_in: usize, y: &mut [Complex32]) {
        // Real and imaginary parts apart: whole registers of each.
        let (mut re, mut im) = ([0f32; BINS], [0f32; BINS]);
        for c in 0..c_in {
            let (x, w) = (&x[c * step..][..y.len()], &w[c * bins..][..y.len()]);
            for (((re, im), x), w) in re.iter_mut().zip(&mut im).zip(x).zip(w) {
                *re += x.re * w.re + x.im * w.im;
                *im += x.im * w.re - x.re * w.im;
            }
        }
        for ((y, re), im) in y.iter_mut().zip(&re).zip(&im) {
            *y = Complex32::new(*re, *im);
        }
    }
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (bins, blocks, c_in, c_out) = (p.bins as usize, p.blocks as usize, p.c_in as usize, p.c_out as usize);
    let channels = p.groups as usize * c_out;
    let rows = a.y.len() / (blocks * bins);
    let target = Scattered::new(a.y);
    (0..bins.div_ceil(BINS)).into_par_iter().for_each(|tile| {
        let from = tile * BINS;
        let count = BINS.min(bins - from);
        for local in 0..rows {
            let row = p.row as usize + local;
            let (b, m) = (row / channels, row % channels);
            let first = (b * p.groups as usize + m / c_out) * c_in;
            for block in 0..blocks {
                // SAFETY: tasks have bins of their own.
                let y = unsafe { target.part((local * blocks + block) * bins + from, count) };
                let x = &a.x[(first * blocks + block) * bins + from..];
                products(x, blocks * bins, &a.w[m * c_in * bins + from..], bins, c_in, y);
            }
        }
    });
}
