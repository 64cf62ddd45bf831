//! Transforms and spectra.

use num_complex::Complex32;

use super::Agreement::{Bits, Within};
use super::{Case, Draft};
use crate::Result;
use crate::ops::{self, Average, Bins, Fft, Weight, WelchWindows};

/// Samples of all rows of a transform together, at least.
const SAMPLES: usize = 1 << 16;
const POINTS: &str = "points of a transform; as many of these as make 65,536";
/// Twice 1e-6, the error of a transform.
const TRANSFORM: f64 = 2e-6;
/// Samples of a window of a spectrum.
const WINDOW: usize = 2048;

pub const FFT: Case = Case {
    name: "fft",
    sizes: &[256, 4096, 65_536, 1 << 20],
    unit: POINTS,
    variants: &["forward", "inverse"],
    make: fft,
};
pub const FFT_CHIRP: Case =
    Case { name: "fft_chirp", sizes: &[1009, 65_537], unit: POINTS, variants: &["default"], make: fft };
pub const FFT_REAL: Case = Case {
    name: "fft_real",
    sizes: &[256, 4096, 65_536, 1 << 20],
    unit: POINTS,
    variants: &["forward", "inverse"],
    make: fft_real,
};
pub const FFT_PEAK: Case =
    Case { name: "fft_peak", sizes: &[1024, 16_384, 131_072], unit: POINTS, variants: &["default"], make: fft_peak };
pub const WELCH: Case = Case {
    name: "welch",
    sizes: &[1 << 14, 1 << 17, 1 << 20],
    unit: "samples",
    variants: &["mean", "median"],
    make: welch,
};
pub const SPECTRAL_WEIGHT: Case = Case {
    name: "spectral_weight",
    sizes: &[1 << 14, 1 << 18, 1 << 21],
    unit: "bins",
    variants: &["whiten", "inverse"],
    make: spectral_weight,
};

/// The usual count: 5·n·log2 n.
fn operations(n: usize, rows: usize) -> usize {
    (5.0 * (n * rows) as f64 * (n as f64).log2()) as usize
}

fn fft(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let rows = SAMPLES.div_ceil(n);
    let x = d.complex("x", n * rows)?;
    let y = d.rec.scratch("y", n * rows)?;
    let op = if variant == "inverse" { ops::ifft } else { ops::fft };
    op(&mut d.rec, n, x, y)?;
    d.cost(16 * n * rows, operations(n, rows));
    d.output(y, Within(TRANSFORM))
}

fn fft_real(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let rows = SAMPLES.div_ceil(n);
    let bins = (n / 2 + 1) * rows;
    d.cost(4 * n * rows + 8 * bins, operations(n, rows) / 2);
    if variant == "inverse" {
        let x = d.complex("x", bins)?;
        let y = d.rec.scratch("y", n * rows)?;
        ops::irfft(&mut d.rec, n, x, y)?;
        return d.output(y, Within(TRANSFORM));
    }
    let x = d.noise("x", n * rows)?;
    let y = d.rec.scratch("y", bins)?;
    ops::rfft(&mut d.rec, n, x, y)?;
    d.output(y, Within(TRANSFORM))
}

/// Tones in noise, whose bins no rounding can take from them.
fn fft_peak(d: &mut Draft, n: usize, _: &str) -> Result<()> {
    let rows = SAMPLES.div_ceil(n);
    let mut x = Vec::with_capacity(n * rows);
    for row in 0..rows {
        let bin = (row * 37 + 11) % n;
        for i in 0..n {
            let turn = std::f64::consts::TAU * (i * bin % n) as f64 / n as f64;
            let noise = Complex32::new(d.number(), d.number());
            x.push(Complex32::new(turn.cos() as f32, turn.sin() as f32) + noise * 0.5);
        }
    }
    let x = d.rec.constant_owned("x", x)?;
    let (power, at) = (d.rec.scratch("power", rows)?, d.rec.scratch("at", rows)?);
    Fft::forward(n).record_peaks(&mut d.rec, x, 0..n, power, at)?;
    d.cost(8 * n * rows, operations(n, rows) + 3 * n * rows);
    // Squared.
    d.output(power, Within(2.0 * TRANSFORM))?;
    d.output(at, Bits)
}

fn welch(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let x = d.noise("x", n)?;
    let starts: Vec<u32> = (0..=n - WINDOW).step_by(WINDOW / 2).map(|s| s as u32).collect();
    let turn = std::f64::consts::TAU / WINDOW as f64;
    let window: Vec<f32> = (0..WINDOW).map(|i| (0.5 - 0.5 * (turn * i as f64).cos()) as f32).collect();
    let average = if variant == "median" { Average::Median } else { Average::Mean };
    let windows = WelchWindows { starts: &starts, window: &window, average, scale: 1e-3 };
    let psd = ops::welch(&mut d.rec, x, &windows)?;
    d.cost(4 * n, operations(WINDOW, starts.len()) / 2);
    d.output(psd, Within(2.0 * TRANSFORM))
}

fn spectral_weight(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let psd: Vec<f32> = (0..=WINDOW / 2).map(|_| 0.25 + d.number().abs()).collect();
    let psd = d.rec.constant_owned("psd", psd)?;
    let weight = match variant {
        "inverse" => Weight::Inverse { scale: 2.0 },
        _ => Weight::InverseRoot { scale: 2.0 },
    };
    // Lengths are powers of two, so that places between two bins of the density are exact.
    let y = ops::spectral_weight(&mut d.rec, psd, WINDOW, n, Bins::TwoSided, weight, 20.0..=1000.0)?;
    d.cost(4 * (n + WINDOW / 2 + 1), 8 * n);
    d.output(y, Within(1e-6))
}
