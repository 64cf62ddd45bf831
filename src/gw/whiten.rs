//! Whitening: dividing strain by its amplitude spectral density, so that noise of every frequency weighs the same.
//!
//! All methods work on one stretch without gaps and return unit variance for stationary noise of the given density.

use super::spectrum::{Psd, Symmetry, Window};
use super::strain::{Segment, Strain};
use crate::{Error, Result};
use num_complex::Complex64;
use rayon::prelude::*;
use realfft::RealFftPlanner;

/// How to whiten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// One transform over the whole stretch, as in the GWOSC event tutorial: real transform, division by the root of the
    /// density × sample rate / 2, and back. Every sample comes out; the stretch is taken as periodic, so the first and
    /// last seconds (as long as the sharpest line rings) mix with each other.
    Official,
    /// The zero-phase response 1/√density, cut to a finite length with a Hann window (B. Allen et al., Phys. Rev. D 85,
    /// 122006 (2012), section VII D), and zero below a corner. An output sample depends on half of that length on either
    /// side; samples without it are left out.
    Truncated {
        /// Length of the response in seconds.
        duration_s: f64,
        /// The corner in Hz; 0 for none.
        high_pass_hz: f64,
    },
    /// The minimum-phase response of the same amplitude (A. Oppenheim and R. Schafer, Discrete-Time Signal Processing,
    /// chapter 12: by the folded cepstrum) with a fourth-order Butterworth high-pass, cut to a finite length by the falling
    /// half of a Hann window. An output sample depends on the input at its own time and before it, to the last bit; the
    /// first ones, whose past is not there, are left out.
    Causal {
        /// Length of the response in seconds.
        duration_s: f64,
        /// The corner in Hz; 0 for none.
        high_pass_hz: f64,
    },
}

/// Whitened samples of one stretch.
#[derive(Debug, Clone, PartialEq)]
pub struct Whitened<T = f64> {
    /// Index of the first one in what was given: the samples before it, and as many as are missing at the end, cannot be
    /// whitened.
    pub start: usize,
    /// The samples, in units of the noise's standard deviation. Never NaN.
    pub values: Vec<T>,
}

/// A finite response: the output at sample i is Σ taps\[k\]·x\[i + ahead − k\].
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub taps: Vec<f64>,
    /// Samples that it looks ahead.
    pub ahead: usize,
}

impl Response {
    /// The first sample whose output depends on no sample before the first.
    pub fn start(&self) -> usize {
        self.taps.len() - 1 - self.ahead
    }
}

/// Whitens one stretch of samples with the density `psd`.
///
/// Errors: [`Error::InvalidArgument`] if a sample is not finite, the stretch is not longer than the method's response,
/// or the density is not positive at a frequency that is divided by.
pub fn whiten(values: &[f64], sample_rate_hz: f64, psd: &Psd, method: Method) -> Result<Whitened> {
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        return Err(Error::invalid("samples", format!("sample {i} is not finite; whiten the segments one by one")));
    }
    let Some(response) = method.response(sample_rate_hz, psd)? else {
        return official(values, sample_rate_hz, psd);
    };
    let taps = &response.taps;
    if values.len() < taps.len() {
        let why = format!("{} are fewer than the {} of the response", values.len(), taps.len());
        return Err(Error::invalid("samples", why));
    }
    let values = match response.ahead {
        0 => convolve_directly(values, taps),
        _ => convolve_by_fft(values, taps)?,
    };
    Ok(Whitened { start: response.start(), values })
}

/// Whitens every segment by itself; `start` of each result counts from the beginning of the strain.
///
/// Segments that are too short for the method's response are left out. Errors: [`Error::InvalidArgument`] if none is
/// left, or as [`whiten`].
pub fn whiten_segments(strain: &Strain, segments: &[Segment], psd: &Psd, method: Method) -> Result<Vec<Whitened>> {
    let long = method.long_enough(segments, strain.sample_rate_hz)?;
    long.into_iter()
        .map(|segment| {
            let whitened = whiten(segment.of(&strain.values), strain.sample_rate_hz, psd, method)?;
            Ok(Whitened { start: segment.start + whitened.start, ..whitened })
        })
        .collect()
}

impl Method {
    /// The shortest stretch, in samples, of which anything comes out.
    pub fn least_samples(self, sample_rate_hz: f64) -> usize {
        match self {
            Self::Official => 2,
            Self::Truncated { duration_s, .. } => 2 * half_length(duration_s, sample_rate_hz) + 1,
            Self::Causal { duration_s, .. } => 2 * half_length(duration_s, sample_rate_hz),
        }
    }

    /// The segments of which anything comes out; an error if there are none.
    pub(crate) fn long_enough(self, segments: &[Segment], sample_rate_hz: f64) -> Result<Vec<Segment>> {
        let least = self.least_samples(sample_rate_hz);
        let long: Vec<Segment> = segments.iter().copied().filter(|s| s.samples() >= least).collect();
        if long.is_empty() {
            let longest = segments.iter().map(Segment::samples).max().unwrap_or(0);
            let why = format!("the longest segment has {longest} samples, and this whitening needs {least}");
            return Err(Error::invalid("segments", why));
        }
        Ok(long)
    }

    /// The finite response that whitens noise of this density; `None` for the official recipe, which has none.
    pub(crate) fn response(self, sample_rate_hz: f64, psd: &Psd) -> Result<Option<Response>> {
        Ok(match self {
            Self::Official => None,
            Self::Truncated { duration_s, high_pass_hz } => {
                let taps = truncated_response(sample_rate_hz, psd, duration_s, high_pass_hz)?;
                Some(Response { ahead: taps.len() / 2, taps })
            }
            Self::Causal { duration_s, high_pass_hz } => {
                let taps = minimum_phase_response(sample_rate_hz, psd, duration_s, high_pass_hz)?;
                Some(Response { ahead: 0, taps })
            }
        })
    }
}

fn half_length(duration_s: f64, sample_rate_hz: f64) -> usize {
    (duration_s * sample_rate_hz / 2.0).round() as usize
}

fn official(values: &[f64], sample_rate_hz: f64, psd: &Psd) -> Result<Whitened> {
    let n = values.len();
    if n < 2 {
        return Err(Error::invalid("samples", format!("{n} are too few to whiten")));
    }
    psd.check_positive(0.0, sample_rate_hz / 2.0)?;
    let mut spectrum = real_transform(values, n)?;
    for (z, density) in spectrum.iter_mut().zip(psd.resample(n, sample_rate_hz)) {
        *z /= (density * sample_rate_hz / 2.0).sqrt();
    }
    Ok(Whitened { start: 0, values: inverse_real_transform(&mut spectrum, n)? })
}

/// The transform length on which a response of `half` samples a side is designed: fine enough that its tail beyond the
/// cut has died before it wraps round, and at least as fine as the density.
fn design_length(half: usize, psd: &Psd) -> usize {
    (16 * half).max(4 * psd.values.len()).next_power_of_two()
}

fn check_design(sample_rate_hz: f64, duration_s: f64, high_pass_hz: f64) -> Result<usize> {
    let half = half_length(duration_s, sample_rate_hz);
    if !duration_s.is_finite() || !(1..=1 << 22).contains(&half) {
        return Err(Error::invalid(
            "whitening length",
            format!("{duration_s} s at {sample_rate_hz} Hz is not possible"),
        ));
    }
    if !(0.0..sample_rate_hz / 2.0).contains(&high_pass_hz) {
        let why = format!("{high_pass_hz} Hz is not within 0 and half the sample rate");
        return Err(Error::invalid("high-pass corner", why));
    }
    Ok(half)
}

/// The symmetric response, 2 × half + 1 samples around its centre.
fn truncated_response(sample_rate_hz: f64, psd: &Psd, duration_s: f64, high_pass_hz: f64) -> Result<Vec<f64>> {
    let half = check_design(sample_rate_hz, duration_s, high_pass_hz)?;
    psd.check_positive(high_pass_hz, sample_rate_hz / 2.0)?;
    let n = design_length(half, psd);
    let mut response: Vec<Complex64> = (psd.resample(n, sample_rate_hz).into_iter().enumerate())
        .map(|(k, density)| {
            // Nothing at f = 0 and at half the sample rate, where a one-sided density counts half.
            let kept = k > 0 && k < n / 2 && k as f64 * sample_rate_hz / n as f64 >= high_pass_hz;
            Complex64::from(if kept { (density * sample_rate_hz / 2.0).sqrt().recip() } else { 0.0 })
        })
        .collect();
    let impulse = inverse_real_transform(&mut response, n)?;
    let taper = Window::Hann.samples(2 * half + 1, Symmetry::Symmetric);
    Ok(taper.iter().enumerate().map(|(i, w)| w * impulse[(n + i - half) % n]).collect())
}

/// The causal response, 2 × half samples, the present first.
fn minimum_phase_response(sample_rate_hz: f64, psd: &Psd, duration_s: f64, high_pass_hz: f64) -> Result<Vec<f64>> {
    let half = check_design(sample_rate_hz, duration_s, high_pass_hz)?;
    psd.check_positive(0.0, sample_rate_hz / 2.0)?;
    let n = design_length(half, psd);
    let mut log_amplitude: Vec<Complex64> = (psd.resample(n, sample_rate_hz).into_iter().enumerate())
        .map(|(k, density)| {
            // The high-pass vanishes at f = 0, where its logarithm does not exist; half a bin stands in for it.
            let frequency = (k as f64).max(0.5) * sample_rate_hz / n as f64;
            let passed = (1.0 + (high_pass_hz / frequency).powi(8)).sqrt().recip();
            Complex64::from(passed.ln() - 0.5 * (density * sample_rate_hz / 2.0).ln())
        })
        .collect();
    let mut cepstrum = inverse_real_transform(&mut log_amplitude, n)?;
    cepstrum[1..n / 2].iter_mut().for_each(|c| *c *= 2.0);
    cepstrum[n / 2 + 1..].fill(0.0);
    let mut response: Vec<Complex64> = real_transform(&cepstrum, n)?.into_iter().map(|z| z.exp()).collect();
    let mut impulse = inverse_real_transform(&mut response, n)?;
    // The falling half of a Hann window. It leaves far less of the detectors' lines, which ring longer than any
    // practical response, than a window that stays flat for longer.
    let taper = Window::Hann.samples(4 * half + 1, Symmetry::Symmetric);
    impulse.truncate(2 * half);
    impulse.iter_mut().zip(&taper[2 * half..]).for_each(|(h, w)| *h *= w);
    Ok(impulse)
}

/// Σ taps[k] values[i − k] for every i whose taps all fall on values.
fn convolve_by_fft(values: &[f64], taps: &[f64]) -> Result<Vec<f64>> {
    // A circular convolution of this length wraps only into the samples that are left out.
    let n = fast_length(values.len());
    let mut spectrum = real_transform(values, n)?;
    spectrum.iter_mut().zip(real_transform(taps, n)?).for_each(|(z, h)| *z *= h);
    let mut all = inverse_real_transform(&mut spectrum, n)?;
    all.truncate(values.len());
    all.drain(..taps.len() - 1);
    Ok(all)
}

/// The same sum, term by term in a fixed order: no bit of an output depends on an input that comes later, nor on where a
/// stretch begins.
fn convolve_directly(values: &[f64], taps: &[f64]) -> Vec<f64> {
    const BLOCK: usize = 2048;
    let mut out = vec![0.0; values.len() + 1 - taps.len()];
    out.par_chunks_mut(BLOCK).enumerate().for_each(|(block, out)| {
        for (k, tap) in taps.iter().enumerate() {
            let from = block * BLOCK + taps.len() - 1 - k;
            for (y, x) in out.iter_mut().zip(&values[from..]) {
                *y += tap * x;
            }
        }
    });
    out
}

/// The next length of the form 2^a 3^b 5^c, even.
fn fast_length(least: usize) -> usize {
    let smooth = |mut n: usize| {
        for p in [2, 3, 5] {
            while n.is_multiple_of(p) {
                n /= p;
            }
        }
        n == 1
    };
    (least.max(2)..).find(|&n| n.is_multiple_of(2) && smooth(n)).unwrap_or(least)
}

/// The n/2 + 1 frequencies of `values`, padded with zeros to `n`.
pub(crate) fn real_transform(values: &[f64], n: usize) -> Result<Vec<Complex64>> {
    let fft = RealFftPlanner::<f64>::new().plan_fft_forward(n);
    let mut input = values.to_vec();
    input.resize(n, 0.0);
    let mut output = fft.make_output_vec();
    fft.process(&mut input, &mut output).map_err(|e| Error::Internal(format!("real FFT of {n} samples: {e}")))?;
    Ok(output)
}

/// The `n` real samples with these n/2 + 1 frequencies, scaled so that it undoes [`real_transform`].
pub(crate) fn inverse_real_transform(spectrum: &mut [Complex64], n: usize) -> Result<Vec<f64>> {
    let fft = RealFftPlanner::<f64>::new().plan_fft_inverse(n);
    // Real by definition; what rounding left there would be refused.
    spectrum[0].im = 0.0;
    if n.is_multiple_of(2) {
        spectrum[n / 2].im = 0.0;
    }
    let mut output = fft.make_output_vec();
    fft.process(spectrum, &mut output).map_err(|e| Error::Internal(format!("inverse FFT of {n} samples: {e}")))?;
    output.iter_mut().for_each(|v| *v /= n as f64);
    Ok(output)
}
