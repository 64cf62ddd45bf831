//! Twin of `shaders/correlate.wgsl`. Bound by the bytes of the templates and of the products.

use num_complex::Complex32;
use rayon::prelude::*;

use crate::kernel::correlate::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, stride, keep) = (p.n as usize, p.stride as usize, p.keep as usize);
    a.y[..n * p.rows as usize].par_chunks_mut(n).enumerate().for_each(|(row, y)| {
        let (kept, rest) = y.split_at_mut(keep);
        for (((y, x), w), h) in kept.iter_mut().zip(&a.x[..keep]).zip(&a.w[..keep]).zip(&a.h[row * stride..][..keep]) {
            let x = x * w;
            *y = Complex32::new(x.re * h.re + x.im * h.im, x.im * h.re - x.re * h.im);
        }
        rest.fill(Complex32::ZERO);
    });
}
