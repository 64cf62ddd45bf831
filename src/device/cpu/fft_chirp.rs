//! Twin of `shaders/fft_chirp.wgsl`.

use num_complex::Complex32;
use rayon::prelude::*;

use crate::kernel::fft_chirp::{Host, Params};

const SWAP_IN: u32 = 2;
const SWAP_OUT: u32 = 4;
const CONJUGATE: u32 = 32;

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, from_n, to_n, count) = (p.n as usize, p.from_n as usize, p.to_n as usize, p.count as usize);
    let swap = |flag: u32, v: Complex32| if p.flags & flag == 0 { v } else { Complex32::new(v.im, v.re) };
    a.y[..to_n * count].par_chunks_mut(to_n).zip(a.x[..from_n * count].par_chunks(from_n)).for_each(|(y, x)| {
        let (used, rest) = y.split_at_mut(n);
        for ((y, &x), f) in used.iter_mut().zip(x).zip(a.factors) {
            let x = if p.flags & CONJUGATE == 0 { x } else { x.conj() };
            *y = swap(SWAP_OUT, swap(SWAP_IN, x) * f * p.scale);
        }
        rest.fill(Complex32::ZERO);
    });
}
