//! Twin of `shaders/fft.wgsl`, and the native complex transform of any length.
//!
//! Transforms are rustfft's, which picks AVX at run time. A block of rows is copied to its place in the result (scaled
//! and multiplied on the way) and transformed there while it is in the cache, so that memory sees each row once in and
//! once out; out of place, the transform's scattered stores would meet lines that are not in the cache. Each thread keeps
//! scratch of one row.
//!
//! One transform is one thread's work. Split among threads by the four-step scheme it takes 2.0 (2^17 points) to 2.4
//! times (2^20) the processor time, measured on two Zen 5 cores: nothing to gain.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use num_complex::Complex32;
use rayon::prelude::*;
use rustfft::{Fft, FftDirection, FftPlanner};

use crate::kernel::fft::{Host, Params};

const COLUMNS: u32 = 1;
const SWAP_IN: u32 = 2;
const SWAP_OUT: u32 = 4;
const TWIDDLE: u32 = 8;
const FILTER: u32 = 16;
const CONJUGATE: u32 = 32;
const FINE: usize = 1024;

/// Elements of a block of rows: 128 KiB, so that it stays in a core's cache.
const BLOCK: usize = 1 << 14;

/// The plan for this length, made once a process.
pub(super) fn plan(n: usize, direction: FftDirection) -> Arc<dyn Fft<f32>> {
    static PLANNER: LazyLock<Mutex<FftPlanner<f32>>> = LazyLock::new(|| Mutex::new(FftPlanner::new()));
    PLANNER.lock().unwrap_or_else(PoisonError::into_inner).plan_fft(n, direction)
}

/// Runs `f` with `len` elements of this thread's own memory, of any content. Not to be nested.
pub(super) fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [Complex32]) -> R) -> R {
    thread_local! {
        static BUFFER: RefCell<Vec<Complex32>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, Complex32::ZERO);
        }
        f(&mut buffer[..len])
    })
}

#[inline(always)]
fn product(to: &mut [Complex32], x: &[Complex32], factors: Option<&[Complex32]>, scale: f32, conjugate: bool) {
    let sign = if conjugate { -scale } else { scale };
    match factors {
        Some(factors) => {
            for ((to, x), f) in to.iter_mut().zip(x).zip(factors) {
                let (a, b) = (x.re * scale, x.im * sign);
                *to = Complex32::new(a * f.re - b * f.im, a * f.im + b * f.re);
            }
        }
        None if scale == 1.0 && !conjugate => to.copy_from_slice(x),
        None => to.iter_mut().zip(x).for_each(|(to, x)| *to = Complex32::new(x.re * scale, x.im * sign)),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn product_avx2(to: &mut [Complex32], x: &[Complex32], factors: Option<&[Complex32]>, scale: f32, conjugate: bool) {
    product(to, x, factors, scale, conjugate);
}

/// `to = x·factors·scale` or `to = x̄·factors·scale`, elementwise over one row; 0 beyond the end of `x`.
pub(super) fn load(to: &mut [Complex32], x: &[Complex32], factors: Option<&[Complex32]>, scale: f32, conjugate: bool) {
    let (to, rest) = to.split_at_mut(x.len());
    rest.fill(Complex32::ZERO);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the features were just found.
        return unsafe { product_avx2(to, x, factors, scale, conjugate) };
    }
    product(to, x, factors, scale, conjugate);
}

/// Whole rows.
fn rows(fft: &dyn Fft<f32>, p: &Params, a: Host<'_>) {
    let (n, row, keep) = (p.n as usize, p.from_row as usize, p.keep as usize);
    let rows = (BLOCK / n).max(1);
    let factors = (p.flags & FILTER != 0).then_some(a.factors);
    let conjugate = p.flags & CONJUGATE != 0;
    a.y[..n * p.count as usize].par_chunks_mut(rows * n).zip(a.x.par_chunks(rows * row)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(n).zip(x.chunks(row)) {
            load(y, &x[..keep], factors, p.scale, conjugate);
        }
        with_buffer(fft.get_inplace_scratch_len(), |scratch| fft.process_with_scratch(y, scratch));
    });
}

/// One pass of a longer transform, as the shader does it.
fn pass(fft: &dyn Fft<f32>, p: &Params, a: Host<'_>) {
    let (n, c1, c2) = (p.n as usize, p.c1 as usize, p.c2 as usize);
    let stride = c1 * c2;
    let whole = n * stride;
    let all = n * p.count as usize;
    let is = |flag: u32| p.flags & flag != 0;
    let swap = |v: Complex32| Complex32::new(v.im, v.re);
    let scratch = fft.get_inplace_scratch_len();
    a.y[..all].par_chunks_mut(whole).zip(a.x.par_chunks(p.from_row as usize)).for_each(|(y, x)| {
        with_buffer(n + scratch, |buffer| {
            let (buffer, scratch) = buffer.split_at_mut(n);
            for t in 0..stride {
                let (lo, mid) = (t % c1, t / c1);
                let (base, step) = if is(COLUMNS) { (lo, stride) } else { ((lo * c2 + mid) * n, 1) };
                for (i, v) in buffer.iter_mut().enumerate() {
                    let at = base + i * step;
                    *v = if at < p.keep as usize { x[at] } else { Complex32::ZERO };
                    if is(CONJUGATE) {
                        *v = v.conj();
                    }
                    if is(FILTER) && at < p.keep as usize {
                        *v *= a.factors[at];
                    }
                    if is(SWAP_IN) {
                        *v = swap(*v);
                    }
                }
                fft.process_with_scratch(buffer, scratch);
                let base = lo + mid * c1;
                for (i, &v) in buffer.iter().enumerate() {
                    let mut v = v;
                    if is(TWIDDLE) {
                        let k = lo * i;
                        v *= a.table[n + FINE + k / FINE] * a.table[n + k % FINE];
                    }
                    v *= p.scale;
                    y[base + i * stride] = if is(SWAP_OUT) { swap(v) } else { v };
                }
            }
        });
    });
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let swaps = p.flags & (SWAP_IN | SWAP_OUT);
    let whole = p.c1 * p.c2 == 1 && p.flags & TWIDDLE == 0 && (swaps == 0 || swaps == SWAP_IN | SWAP_OUT);
    if whole {
        let direction = if swaps == 0 { FftDirection::Forward } else { FftDirection::Inverse };
        rows(&*plan(p.n as usize, direction), p, a);
    } else {
        pass(&*plan(p.n as usize, FftDirection::Forward), p, a);
    }
}
