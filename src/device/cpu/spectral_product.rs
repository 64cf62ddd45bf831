//! Twin of `shaders/spectral_product.wgsl`.

use num_complex::Complex32;
use rayon::prelude::*;

use super::parallel::{multiversioned, per_task};
use crate::kernel::spectral_product::{Host, Params};

multiversioned! {
    /// `y += x·conj(w)`, or `y = x·conj(w)` for the first.
    fn add_products(x: &[Complex32], w: &[Complex32], y: &mut [Complex32], first: bool) {
        let product = |a: &Complex32, b: &Complex32| {
            Complex32::new(a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im)
        };
        if first {
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = product(x, w);
            }
        } else {
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y += product(x, w);
            }
        }
    }
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (bins, blocks, c_in, c_out) = (p.bins as usize, p.blocks as usize, p.c_in as usize, p.c_out as usize);
    let channels = p.groups as usize * c_out;
    let least = per_task(bins * c_in);
    a.y.par_chunks_exact_mut(bins).with_min_len(least).enumerate().for_each(|(i, y)| {
        let (row, block) = (p.row as usize + i / blocks, i % blocks);
        let (b, m) = (row / channels, row % channels);
        let first = (b * p.groups as usize + m / c_out) * c_in;
        for c in 0..c_in {
            let x = &a.x[((first + c) * blocks + block) * bins..][..bins];
            add_products(x, &a.w[(m * c_in + c) * bins..][..bins], y, c == 0);
        }
    });
}
