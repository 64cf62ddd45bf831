//! Discrete Fourier transforms of every length, batched.

mod plan;

use std::f64::consts::TAU;
use std::ops::Range;

use num_complex::{Complex, Complex32};
use rustfft::FftPlanner;

pub use plan::{Pass, Plan, plan};

use super::reduce::visits;
use crate::kernel::{Tensor, fft as passes, fft_chirp, fft_peak, fft_real, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

const COLUMNS: u32 = 1;
const SWAP_IN: u32 = 2;
const SWAP_OUT: u32 = 4;
const TWIDDLE: u32 = 8;
const FILTER: u32 = 16;
const CONJUGATE: u32 = 32;

/// Roots in the fine table of the shaders.
const FINE: usize = 1024;

/// Elements that a workgroup of `shaders/fft_real.wgsl` and `shaders/fft_chirp.wgsl` covers.
const ITEMS: usize = 1024;

/// Modes of `shaders/fft_real.wgsl`.
mod mode {
    pub const SPLIT: u32 = 0;
    pub const MERGE: u32 = 1;
    pub const WIDEN: u32 = 2;
    pub const HALVE: u32 = 3;
    pub const MIRROR: u32 = 4;
    pub const NARROW: u32 = 5;
    pub const FORWARD: u32 = 6;
    pub const INVERSE: u32 = 7;
}

/// A complex transform in all its options.
#[derive(Debug, Clone, Copy)]
pub struct Fft {
    /// Points of a transform.
    pub n: usize,
    /// The sign of the exponent is positive.
    pub inverse: bool,
    /// Multiplies every result.
    pub scale: f32,
    /// Elements from one row of the input to the next.
    pub row: usize,
    /// Elements of each row of the input that are used, at most `n`; the others are taken as 0.
    pub keep: usize,
    /// Transforms the conjugate of the input.
    pub conjugate: bool,
    /// At least `keep` factors by which every row (after conjugation) is multiplied.
    pub factors: Option<Tensor<Complex32>>,
}

impl Fft {
    /// X_k = Σ x_j e^(−2πi·jk/n).
    pub fn forward(n: usize) -> Self {
        Self { n, inverse: false, scale: 1.0, row: n, keep: n, conjugate: false, factors: None }
    }

    /// x_j = (1/n) Σ X_k e^(2πi·jk/n).
    pub fn inverse(n: usize) -> Self {
        Self { inverse: true, scale: 1.0 / n as f32, ..Self::forward(n) }
    }

    /// Of rows that begin every `row` elements, of which the first `keep` are used. Costs no pass over memory, nor do
    /// [`conjugate`](Self::conjugate) and [`factors`](Self::factors) but for lengths that take Bluestein's algorithm.
    #[must_use]
    pub fn rows(self, row: usize, keep: usize) -> Self {
        Self { row, keep, ..self }
    }

    /// Of the conjugate.
    #[must_use]
    pub fn conjugate(self) -> Self {
        Self { conjugate: true, ..self }
    }

    /// With these factors.
    #[must_use]
    pub fn factors(self, factors: Tensor<Complex32>) -> Self {
        Self { factors: Some(factors), ..self }
    }

    /// With this scale in place of 1 or 1/n.
    #[must_use]
    pub fn scale(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// Transforms every row of `x` into a row of `n` elements of `y`.
    ///
    /// One command on the native path; elsewhere one to three passes for lengths whose prime factors are 2, 3 and 5, and
    /// Bluestein's algorithm for others, with scratch of one or three times the (for Bluestein padded) batch.
    /// The relative L2 error of f32 arithmetic grows as √log n and stays below 1e-6 to 2^20 points.
    ///
    /// # Errors
    /// `InvalidArgument` when `x` and `y` are not equally many whole rows, `keep` exceeds `n`, `row` or the factors;
    /// `Unsupported` when the scratch exceeds a binding; as [`Recording::dispatch`].
    pub fn record(self, rec: &mut Recording, x: Tensor<Complex32>, y: Tensor<Complex32>) -> Result<()> {
        let n = self.n;
        let count = self.check(x)?;
        if y.len() != count * n {
            return Err(Error::invalid("fft result", format!("{} elements for {count} rows of {n}", y.len())));
        }
        if rec.capabilities().native {
            let one = rec.constant("fft.none", &[Complex32::ONE])?;
            let params = passes::Params {
                n: n as u32,
                group: 1,
                radices: 0,
                count: count as u32,
                c1: 1,
                c2: 1,
                flags: self.on_load() | if self.inverse { SWAP_OUT } else { 0 },
                scale: self.scale,
                from_row: self.row as u32,
                keep: self.keep as u32,
            };
            let args = passes::Args { x, y, table: one, factors: self.factors.unwrap_or(one) };
            return rec.dispatch(passes::dispatch(params, args, count as u64).work(operations(n, count)));
        }
        match plan(n)? {
            Plan::Passes(plan) => {
                let between = if plan.len() > 1 { Some(rec.scratch("fft.between", y.len())?) } else { None };
                transform(rec, &plan, count, self, x, y, between)
            }
            Plan::Bluestein { m, passes } => self.bluestein(rec, m, &passes, count, x, y),
        }
    }

    /// The peak of every row of the transform: the largest |y|² of elements `range` goes to `power`, one a row, and
    /// the first element that has it to `at`.
    ///
    /// On the native path the transform itself never leaves the cache: of a bank of spectra, multiplied by
    /// [`factors`](Self::factors), only the input is read from memory. Elsewhere the batch takes scratch of its own size
    /// beside that of [`record`](Self::record). A NaN counts as larger than every number.
    ///
    /// # Errors
    /// As [`Self::record`]; `InvalidArgument` for a range that is empty, ends after `n` or is longer than the device's
    /// loops may visit, and unless `power` and `at` have one element a row.
    pub fn record_peaks(
        self,
        rec: &mut Recording,
        x: Tensor<Complex32>,
        range: Range<usize>,
        power: Tensor<f32>,
        at: Tensor<u32>,
    ) -> Result<()> {
        let n = self.n;
        let count = self.check(x)?;
        if range.is_empty() || range.end > n {
            return Err(Error::invalid("peak range", format!("{range:?} of {n} elements")));
        }
        if power.len() != count || at.len() != count {
            let why = format!("{} powers and {} places for {count} rows", power.len(), at.len());
            return Err(Error::invalid("peaks", why));
        }
        let none = rec.constant("fft.none", &[Complex32::ONE])?;
        let mut params = fft_peak::Params {
            n: n as u32,
            count: count as u32,
            from_at: range.start as u32,
            to_at: range.end as u32,
            scale: 1.0,
            flags: 0,
            from_row: n as u32,
            keep: n as u32,
        };
        if rec.capabilities().native {
            (params.from_row, params.keep) = (self.row as u32, self.keep as u32);
            params.flags = if self.inverse { 2 } else { 1 } | self.on_load() & (FILTER | CONJUGATE);
            params.scale = self.scale;
            let args = fft_peak::Args { x, power, at, factors: self.factors.unwrap_or(none) };
            return rec.dispatch(fft_peak::dispatch(params, args, count as u64).work(operations(n, count)));
        }
        visits("peak range", range.len(), rec)?;
        let y = rec.scratch("fft.peaks", count * n)?;
        self.record(rec, x, y)?;
        rec.dispatch(fft_peak::dispatch(params, fft_peak::Args { x: y, power, at, factors: none }, count as u64))
    }

    /// Rows in `x`.
    fn check(&self, x: Tensor<Complex32>) -> Result<usize> {
        let factors = self.factors.map_or(self.keep, |f| f.len());
        if self.keep > self.n.min(self.row).min(factors) {
            let why = format!("{} of {} elements to {} points by {factors} factors", self.keep, self.row, self.n);
            return Err(Error::invalid("fft rows", why));
        }
        count("fft", self.n, x.len(), self.row)
    }

    /// What the first pass does to what it loads.
    fn on_load(&self) -> u32 {
        let flag = |is: bool, flag: u32| if is { flag } else { 0 };
        flag(self.inverse, SWAP_IN) | flag(self.factors.is_some(), FILTER) | flag(self.conjugate, CONJUGATE)
    }

    fn bluestein(
        self,
        rec: &mut Recording,
        m: usize,
        plan: &[Pass],
        count: usize,
        x: Tensor<Complex32>,
        y: Tensor<Complex32>,
    ) -> Result<()> {
        let n = self.n;
        let chirp = chirp(n);
        let spectrum = rec.constant("fft.chirp spectrum", &chirp_spectrum(&chirp, m))?;
        let chirp: Vec<Complex32> = chirp.into_iter().map(narrow).collect();
        let chirp = rec.constant("fft.chirp", &chirp)?;
        let padded = rec.scratch("fft.padded", m * count)?;
        let transformed = rec.scratch("fft.transformed", m * count)?;
        let between = if plan.len() > 1 { Some(rec.scratch("fft.between", m * count)?) } else { None };
        let (swap_in, swap_out) = if self.inverse { (SWAP_IN, SWAP_OUT) } else { (0, 0) };
        // What changes the input comes before the swap, the chirp after it.
        let x = if self.factors.is_some() || self.conjugate || (self.row, self.keep) != (n, n) {
            let factors = match self.factors {
                Some(factors) => factors,
                None => rec.constant("fft.ones", &vec![Complex32::ONE; self.keep.max(1)])?,
            };
            let product = rec.scratch("fft.product", n * count)?;
            let flags = self.on_load() & CONJUGATE;
            multiply(rec, (self.keep, self.row, n), count, flags, 1.0, (x, factors, product))?;
            product
        } else {
            x
        };
        multiply(rec, (n, n, m), count, swap_in, 1.0, (x, chirp, padded))?;
        transform(rec, plan, count, Fft::forward(m), padded, transformed, between)?;
        let back = Fft::inverse(m).factors(spectrum);
        transform(rec, plan, count, back, transformed, padded, between)?;
        multiply(rec, (n, m, n), count, swap_out, self.scale, (padded, chirp, y))
    }
}

/// Rows of `row` elements in a tensor of `len`.
fn count(what: &str, n: usize, len: usize, row: usize) -> Result<usize> {
    if n == 0 {
        return Err(Error::invalid(what, "transforms of 0 points; at least one point"));
    }
    if row == 0 || !len.is_multiple_of(row) {
        return Err(Error::invalid(what, format!("{len} elements are not whole rows of {row}")));
    }
    Ok(len / row)
}

fn operations(n: usize, count: usize) -> u64 {
    (n * count) as u64 * u64::from(5 * n.ilog2() + 5)
}

/// W_n^k = e^(−2πi·k/n).
fn root(k: usize, n: usize) -> Complex<f64> {
    Complex::from_polar(1.0, -TAU * (k % n) as f64 / n as f64)
}

fn narrow(v: Complex<f64>) -> Complex32 {
    Complex32::new(v.re as f32, v.im as f32)
}

/// The fine roots W_n^k and the coarse roots W_n^(FINE·k) for exponents below `n`.
fn two_level(n: usize) -> impl Iterator<Item = Complex32> {
    let fine = (0..FINE).map(move |k| narrow(root(k, n)));
    fine.chain((0..n.div_ceil(FINE)).map(move |k| narrow(root(k * FINE, n))))
}

/// e^(−πi·j²/n), with the phase reduced in integers.
fn chirp(n: usize) -> Vec<Complex<f64>> {
    (0..n as u64).map(|j| root((j * j % (2 * n as u64)) as usize, 2 * n)).collect()
}

/// The transform of the conjugate chirp, wrapped around `m` points.
fn chirp_spectrum(chirp: &[Complex<f64>], m: usize) -> Vec<Complex32> {
    let mut wrapped = vec![Complex::new(0.0, 0.0); m];
    for (j, c) in chirp.iter().enumerate() {
        wrapped[j] = c.conj();
        wrapped[(m - j) % m] = c.conj();
    }
    FftPlanner::new().plan_fft_forward(m).process(&mut wrapped);
    wrapped.into_iter().map(narrow).collect()
}

/// `fft_chirp` over rows: (used, from, to) lengths, tensors (from, factors, to).
fn multiply(
    rec: &mut Recording,
    (n, from_n, to_n): (usize, usize, usize),
    count: usize,
    flags: u32,
    scale: f32,
    (x, factors, y): (Tensor<Complex32>, Tensor<Complex32>, Tensor<Complex32>),
) -> Result<()> {
    let params =
        fft_chirp::Params { n: n as u32, from_n: from_n as u32, to_n: to_n as u32, count: count as u32, flags, scale };
    let args = fft_chirp::Args { x, y, factors };
    rec.dispatch(fft_chirp::dispatch(params, args, workgroups(to_n * count, ITEMS)))
}

/// The passes of a smooth length from `x` to `y`.
fn transform(
    rec: &mut Recording,
    plan: &[Pass],
    count: usize,
    fft: Fft,
    x: Tensor<Complex32>,
    y: Tensor<Complex32>,
    between: Option<Tensor<Complex32>>,
) -> Result<()> {
    let last = plan.len() - 1;
    // The last pass writes y; the ones before alternate so that none reads what it writes.
    let between = between.unwrap_or(y);
    let mut from = x;
    for (i, pass) in plan.iter().enumerate() {
        let to = if (last - i).is_multiple_of(2) { y } else { between };
        let mut roots: Vec<Complex32> = (0..pass.n).map(|k| narrow(root(k, pass.n))).collect();
        let mut flags = 0;
        if pass.columns {
            flags |= COLUMNS | TWIDDLE;
            roots.extend(two_level(pass.n * pass.c1));
        }
        if i == 0 {
            flags |= fft.on_load();
        }
        if i == last && fft.inverse {
            flags |= SWAP_OUT;
        }
        let table = rec.constant("fft.roots", &roots)?;
        let transforms = count * fft.n / pass.n;
        let params = passes::Params {
            n: pass.n as u32,
            group: pass.group as u32,
            radices: pass.radices.iter().rev().fold(0, |code, r| code << 4 | r),
            count: transforms as u32,
            c1: pass.c1 as u32,
            c2: pass.c2 as u32,
            flags,
            scale: if i == last { fft.scale } else { 1.0 },
            from_row: if i == 0 { fft.row } else { pass.n * pass.c1 * pass.c2 } as u32,
            keep: if i == 0 { fft.keep } else { pass.n * pass.c1 * pass.c2 } as u32,
        };
        let args = passes::Args { x: from, y: to, table, factors: fft.factors.unwrap_or(table) };
        let groups = workgroups(transforms, pass.group);
        rec.dispatch(passes::dispatch(params, args, groups).work(operations(pass.n, transforms)))?;
        from = to;
    }
    Ok(())
}

/// Complex transforms X_k = Σ x_j e^(−2πi·jk/n) of every row of `n` elements of `x`, unscaled, as numpy's.
///
/// # Errors
/// As [`Fft::record`].
pub fn fft(rec: &mut Recording, n: usize, x: Tensor<Complex32>, y: Tensor<Complex32>) -> Result<()> {
    Fft::forward(n).record(rec, x, y)
}

/// Inverse complex transforms x_j = (1/n) Σ X_k e^(2πi·jk/n) of every row of `n` elements, scaled by 1/n as numpy's.
///
/// # Errors
/// As [`Fft::record`].
pub fn ifft(rec: &mut Recording, n: usize, x: Tensor<Complex32>, y: Tensor<Complex32>) -> Result<()> {
    Fft::inverse(n).record(rec, x, y)
}

/// `fft_real` in one mode, `outputs` a row.
fn real_step(
    rec: &mut Recording,
    (n, count, mode, scale): (usize, usize, u32, f32),
    outputs: usize,
    x: Tensor<f32>,
    y: Tensor<f32>,
    table: Tensor<Complex32>,
) -> Result<()> {
    let params = fft_real::Params { n: n as u32, count: count as u32, mode, scale };
    let mut dispatch = fft_real::dispatch(params, fft_real::Args { x, y, table }, workgroups(outputs * count, ITEMS));
    if mode >= mode::FORWARD {
        dispatch = dispatch.work(operations(n, count));
    }
    rec.dispatch(dispatch)
}

fn words(t: Tensor<Complex32>) -> Result<Tensor<f32>> {
    t.cast().ok_or_else(|| Error::Internal("complex numbers are two words".into()))
}

fn check_real(what: &str, n: usize, points: usize, bins: usize) -> Result<usize> {
    let count = count(what, n, points, n)?;
    let want = count * (n / 2 + 1);
    if bins != want {
        let why = format!("{bins} bins for {count} rows of {n} points; {} a row, {want} in all", n / 2 + 1);
        return Err(Error::invalid(what, why));
    }
    Ok(count)
}

/// Real transforms: every row of `n` points of `x` gives ⌊n/2⌋ + 1 bins of `y`, unscaled, as numpy's `rfft`.
///
/// The imaginary part of bin 0, and of bin n/2 where `n` is even, is exactly 0.
///
/// # Errors
/// As [`Fft::record`].
pub fn rfft(rec: &mut Recording, n: usize, x: Tensor<f32>, y: Tensor<Complex32>) -> Result<()> {
    let count = check_real("rfft", n, x.len(), y.len())?;
    let bins = n / 2 + 1;
    let none = || [Complex32::ONE];
    if rec.capabilities().native {
        let table = rec.constant("fft.none", &none())?;
        return real_step(rec, (n, count, mode::FORWARD, 1.0), bins, x, words(y)?, table);
    }
    if n.is_multiple_of(2) {
        let packed = x.cast().ok_or_else(|| Error::Internal("an even number of points".into()))?;
        let z = rec.scratch("rfft.packed", packed.len())?;
        fft(rec, n / 2, packed, z)?;
        let table: Vec<_> = two_level(n).collect();
        let table = rec.constant("rfft.roots", &table)?;
        real_step(rec, (n, count, mode::SPLIT, 1.0), bins, words(z)?, words(y)?, table)
    } else {
        let table = rec.constant("fft.none", &none())?;
        let wide = rec.scratch("rfft.wide", x.len())?;
        let z = rec.scratch("rfft.all bins", x.len())?;
        real_step(rec, (n, count, mode::WIDEN, 1.0), n, x, words(wide)?, table)?;
        fft(rec, n, wide, z)?;
        real_step(rec, (n, count, mode::HALVE, 1.0), bins, words(z)?, words(y)?, table)
    }
}

/// Inverse real transforms: every row of ⌊n/2⌋ + 1 bins of `x` gives `n` points of `y`, scaled by 1/n, as numpy's
/// `irfft`. The imaginary part of bin 0, and of bin n/2 where `n` is even, is taken as 0.
///
/// # Errors
/// As [`Fft::record`].
pub fn irfft(rec: &mut Recording, n: usize, x: Tensor<Complex32>, y: Tensor<f32>) -> Result<()> {
    let count = check_real("irfft", n, y.len(), x.len())?;
    let scale = 1.0 / n as f32;
    let none = || [Complex32::ONE];
    if rec.capabilities().native {
        let table = rec.constant("fft.none", &none())?;
        return real_step(rec, (n, count, mode::INVERSE, scale), n, words(x)?, y, table);
    }
    if n.is_multiple_of(2) {
        let table: Vec<_> = two_level(n).collect();
        let table = rec.constant("irfft.roots", &table)?;
        let packed: Tensor<Complex32> = y.cast().ok_or_else(|| Error::Internal("an even number of points".into()))?;
        let z = rec.scratch("irfft.packed", packed.len())?;
        real_step(rec, (n, count, mode::MERGE, 1.0), n / 2, words(x)?, words(z)?, table)?;
        Fft::inverse(n / 2).scale(scale).record(rec, z, packed)
    } else {
        let table = rec.constant("fft.none", &none())?;
        let all = rec.scratch("irfft.all bins", y.len())?;
        let wide = rec.scratch("irfft.wide", y.len())?;
        real_step(rec, (n, count, mode::MIRROR, 1.0), n, words(x)?, words(all)?, table)?;
        Fft::inverse(n).record(rec, all, wide)?;
        real_step(rec, (n, count, mode::NARROW, 1.0), n, words(wide)?, y, table)
    }
}
