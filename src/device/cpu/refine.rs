//! Twin of `shaders/refine.wgsl`.

use num_complex::Complex32;
use rayon::prelude::*;

use crate::kernel::refine::{Host, Params};

/// As in the shader.
const BLOCK: usize = 32;

/// Σ s and Σ s·(j − 16) for s = x·w·conj(h)·inner over one block.
#[inline(always)]
fn block_sum(x: &[Complex32], w: &[f32], h: &[Complex32], inner: &[Complex32; BLOCK]) -> (Complex32, Complex32) {
    let (mut sum, mut moment) = (Complex32::ZERO, Complex32::ZERO);
    for (j, (((x, w), h), u)) in x.iter().zip(w).zip(h).zip(inner).enumerate() {
        let x = x * w;
        let s = Complex32::new(x.re * h.re + x.im * h.im, x.im * h.re - x.re * h.im);
        let s = Complex32::new(s.re * u.re - s.im * u.im, s.re * u.im + s.im * u.re);
        sum += s;
        moment += s * (j as f32 - 16.0);
    }
    (sum, moment)
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, keep) = (p.n as usize, p.keep as usize);
    let coarse = n.div_ceil(1024);
    let phase = |m: usize| a.turn[m / 1024] * a.turn[coarse + m % 1024];
    a.z.par_chunks_mut(9).zip(a.query.par_chunks(2)).for_each(|(z, query)| {
        let (row, t) = (query[0] as usize, query[1] as usize % n);
        if query[0] == u32::MAX {
            return z.fill(Complex32::ZERO);
        }
        let h = &a.h[row * p.stride as usize..][..keep];
        let inner: [Complex32; BLOCK] = std::array::from_fn(|j| phase(j * t % n));
        let mut total = [Complex32::ZERO; 9];
        let blocks = a.x[..keep].chunks(BLOCK).zip(a.w[..keep].chunks(BLOCK)).zip(h.chunks(BLOCK));
        for (block, ((x, w), h)) in blocks.enumerate() {
            let first = block * BLOCK;
            let (sum, moment) = block_sum(x, w, h, &inner);
            let start = phase(first % n * t % n);
            let sum = sum * start;
            let moment = Complex32::new(-moment.im, moment.re) * start * p.step;
            let u1 = phase((first + BLOCK / 2) % n);
            let mut u = Complex32::ONE;
            total[4] += sum;
            for i in 1..=4 {
                u *= u1;
                let shifted = moment * i as f32;
                total[4 + i] += (sum + shifted) * u;
                total[4 - i] += (sum - shifted) * u.conj();
            }
        }
        z.copy_from_slice(&total);
    });
}
