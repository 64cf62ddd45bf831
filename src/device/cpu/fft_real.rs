//! Twin of `shaders/fft_real.wgsl`, and the native real transforms of any length by realfft.

use std::sync::{LazyLock, Mutex, PoisonError};

use num_complex::Complex32;
use rayon::prelude::*;
use realfft::RealFftPlanner;

use super::fft::{load, with_buffer};
use crate::kernel::fft_real::{Host, Params};

const SPLIT: u32 = 0;
const MERGE: u32 = 1;
const WIDEN: u32 = 2;
const HALVE: u32 = 3;
const MIRROR: u32 = 4;
const NARROW: u32 = 5;
/// Points to bins as a whole.
const FORWARD: u32 = 6;
/// Bins to points as a whole.
const INVERSE: u32 = 7;
const FINE: usize = 1024;

/// Rows a task: about 64 KiB of points.
fn rows_a_task(n: usize) -> usize {
    ((1 << 14) / n).max(1)
}

fn planner<R>(f: impl FnOnce(&mut RealFftPlanner<f32>) -> R) -> R {
    static PLANNER: LazyLock<Mutex<RealFftPlanner<f32>>> = LazyLock::new(|| Mutex::new(RealFftPlanner::new()));
    f(&mut PLANNER.lock().unwrap_or_else(PoisonError::into_inner))
}

fn forward(p: &Params, a: Host<'_>) {
    let (n, count) = (p.n as usize, p.count as usize);
    let bins = n / 2 + 1;
    let fft = planner(|planner| planner.plan_fft_forward(n));
    let rows = rows_a_task(n);
    let scratch = fft.get_scratch_len();
    let y: &mut [Complex32] = bytemuck::cast_slice_mut(&mut a.y[..2 * bins * count]);
    y.par_chunks_mut(rows * bins).zip(a.x[..n * count].par_chunks(rows * n)).for_each(|(y, x)| {
        with_buffer(n.div_ceil(2) + scratch, |buffer| {
            let (points, scratch) = buffer.split_at_mut(n.div_ceil(2));
            let points = &mut bytemuck::cast_slice_mut::<_, f32>(points)[..n];
            for (y, x) in y.chunks_exact_mut(bins).zip(x.chunks_exact(n)) {
                points.iter_mut().zip(x).for_each(|(to, x)| *to = x * p.scale);
                // It can only fail on lengths, and these are its own.
                let done = fft.process_with_scratch(points, y, scratch);
                debug_assert!(done.is_ok(), "{done:?}");
            }
        });
    });
}

fn inverse(p: &Params, a: Host<'_>) {
    let (n, count) = (p.n as usize, p.count as usize);
    let bins = n / 2 + 1;
    let fft = planner(|planner| planner.plan_fft_inverse(n));
    let rows = rows_a_task(n);
    let scratch = fft.get_scratch_len();
    let x: &[Complex32] = bytemuck::cast_slice(&a.x[..2 * bins * count]);
    a.y[..n * count].par_chunks_mut(rows * n).zip(x.par_chunks(rows * bins)).for_each(|(y, x)| {
        with_buffer(bins + scratch, |buffer| {
            let (spectrum, scratch) = buffer.split_at_mut(bins);
            for (y, x) in y.chunks_exact_mut(n).zip(x.chunks_exact(bins)) {
                load(spectrum, x, None, p.scale, false);
                spectrum[0].im = 0.0;
                if n.is_multiple_of(2) {
                    spectrum[bins - 1].im = 0.0;
                }
                // It can only fail on lengths, and these are its own, or on imaginary edge bins.
                let done = fft.process_with_scratch(spectrum, y, scratch);
                debug_assert!(done.is_ok(), "{done:?}");
            }
        });
    });
}

/// Row by row with `f(outputs, inputs)`.
fn each_row(y: &mut [f32], y_row: usize, x: &[f32], x_row: usize, f: impl Fn(&mut [f32], &[f32]) + Sync) {
    y.par_chunks_mut(y_row).zip(x.par_chunks(x_row)).for_each(|(y, x)| f(y, x));
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, count, scale) = (p.n as usize, p.count as usize, p.scale);
    let (half, bins) = (n / 2, n / 2 + 1);
    let root = |k: usize| a.table[FINE + k / FINE] * a.table[k % FINE];
    let complex = bytemuck::cast_slice::<f32, Complex32>;
    let complex_mut = bytemuck::cast_slice_mut::<f32, Complex32>;
    match p.mode {
        SPLIT => each_row(&mut a.y[..2 * bins * count], 2 * bins, &a.x[..n * count], n, |y, z| {
            let (y, z) = (complex_mut(y), complex(z));
            y[0] = Complex32::new(z[0].re + z[0].im, 0.0) * scale;
            y[half] = Complex32::new(z[0].re - z[0].im, 0.0) * scale;
            for k in 1..half {
                let (a, b) = (z[k], z[half - k].conj());
                let d = root(k) * (a - b);
                y[k] = (a + b + Complex32::new(d.im, -d.re)) * (0.5 * scale);
            }
        }),
        MERGE => each_row(&mut a.y[..n * count], n, &a.x[..2 * bins * count], 2 * bins, |z, x| {
            let (z, x) = (complex_mut(z), complex(x));
            z[0] = Complex32::new(x[0].re + x[half].re, x[0].re - x[half].re) * scale;
            for k in 1..half {
                let (a, b) = (x[k], x[half - k].conj());
                let d = root(k).conj() * (a - b);
                z[k] = (a + b + Complex32::new(-d.im, d.re)) * scale;
            }
        }),
        WIDEN => each_row(&mut a.y[..2 * n * count], 2 * n, &a.x[..n * count], n, |y, x| {
            complex_mut(y).iter_mut().zip(x).for_each(|(y, x)| *y = Complex32::new(x * scale, 0.0));
        }),
        HALVE => each_row(&mut a.y[..2 * bins * count], 2 * bins, &a.x[..2 * n * count], 2 * n, |y, x| {
            let y = complex_mut(y);
            load(y, &complex(x)[..bins], None, scale, false);
            y[0].im = 0.0;
        }),
        MIRROR => each_row(&mut a.y[..2 * n * count], 2 * n, &a.x[..2 * bins * count], 2 * bins, |y, x| {
            let (y, x) = (complex_mut(y), complex(x));
            load(&mut y[..bins], x, None, scale, false);
            y[0].im = 0.0;
            for k in bins..n {
                y[k] = x[n - k].conj() * scale;
            }
        }),
        NARROW => each_row(&mut a.y[..n * count], n, &a.x[..2 * n * count], 2 * n, |y, x| {
            y.iter_mut().zip(complex(x)).for_each(|(y, x)| *y = x.re * scale);
        }),
        FORWARD => forward(p, a),
        INVERSE => inverse(p, a),
        _ => debug_assert!(false, "unknown mode {}", p.mode),
    }
}
