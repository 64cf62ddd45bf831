//! Power spectral densities by Welch's method, and how far a detector with a given one can see.

use super::waveform::{MEGAPARSEC, SOLAR_MASS_SECONDS, SPEED_OF_LIGHT};
use crate::{Error, Result};
use realfft::RealFftPlanner;
use std::f64::consts::PI;

/// Shapes that taper a stretch of samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Window {
    /// Raised cosine.
    Hann,
    /// Blackman's three terms, 0.42, 0.5 and 0.08.
    Blackman,
    /// Flat, with a raised cosine over this fraction of the length, half of it at each end.
    Tukey(f64),
    /// Flat.
    Boxcar,
}

/// Where a window's last sample lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symmetry {
    /// The last sample mirrors the first (NumPy's `hanning` and `blackman`).
    Symmetric,
    /// The sample after the last mirrors the first (SciPy's default for spectra).
    Periodic,
}

impl Window {
    /// The window's `n` samples, at most 1.
    pub fn samples(self, n: usize, symmetry: Symmetry) -> Vec<f64> {
        let span = match symmetry {
            Symmetry::Symmetric => n.saturating_sub(1),
            Symmetry::Periodic => n,
        };
        // Too short to taper.
        if span == 0 {
            return vec![1.0; n];
        }
        let cosine = |x: f64| (2.0 * PI * x).cos();
        (0..n)
            .map(|i| {
                let x = i as f64 / span as f64;
                match self {
                    Self::Hann => 0.5 - 0.5 * cosine(x),
                    Self::Blackman => 0.42 - 0.5 * cosine(x) + 0.08 * cosine(2.0 * x),
                    Self::Tukey(fraction) => {
                        let edge = x.min(1.0 - x);
                        if edge < fraction / 2.0 { 0.5 - 0.5 * cosine(edge / fraction) } else { 1.0 }
                    }
                    Self::Boxcar => 1.0,
                }
            })
            .collect()
    }
}

/// How the periodograms of a Welch estimate are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// Their mean.
    Mean,
    /// Their median, divided by its bias for a finite number of them (B. Allen et al., Phys. Rev. D 85, 122006 (2012),
    /// appendix B). A loud transient does not move it.
    Median,
}

/// Welch's method (P. Welch, IEEE Trans. Audio Electroacoust. 15, 70 (1967)): the average of windowed periodograms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Welch {
    /// Samples in a window.
    pub length: usize,
    /// Samples that consecutive windows share; less than `length`.
    pub overlap: usize,
    /// The taper.
    pub window: Window,
    /// Where the taper's last sample lies.
    pub symmetry: Symmetry,
    /// How periodograms are combined.
    pub average: Average,
    /// Whether each window's mean is removed first.
    pub detrend: bool,
}

/// A one-sided power spectral density: f = 0, Δf, 2Δf, … up to half the sample rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Psd {
    /// The spacing Δf in Hz.
    pub df_hz: f64,
    /// The density, in units² per Hz.
    pub values: Vec<f64>,
}

impl Welch {
    /// The spectrum that the whitening and the range of the GWOSC event tutorial use: windows of 4 s, Hann, without
    /// overlap.
    pub fn official(sample_rate_hz: f64) -> Self {
        let length = (4.0 * sample_rate_hz).round() as usize;
        let (window, symmetry) = (Window::Hann, Symmetry::Symmetric);
        Self { length, overlap: 0, window, symmetry, average: Average::Mean, detrend: false }
    }

    /// The spectrum that the matched filter of the GWOSC event tutorial uses: windows of 4 s, Blackman, half overlapping.
    pub fn matched_filter(sample_rate_hz: f64) -> Self {
        let official = Self::official(sample_rate_hz);
        Self { overlap: official.length / 2, window: Window::Blackman, ..official }
    }

    /// The one-sided density of samples, averaged over all windows that fit into the given stretches.
    ///
    /// No window crosses from one stretch into the next. Errors: [`Error::InvalidArgument`] if no stretch is as long as
    /// a window, a sample is not finite, or the settings make no sense.
    pub fn estimate(&self, stretches: &[&[f64]], sample_rate_hz: f64) -> Result<Psd> {
        self.check(sample_rate_hz)?;
        let taper = self.window.samples(self.length, self.symmetry);
        let fft = RealFftPlanner::<f64>::new().plan_fft_forward(self.length);
        let (mut input, mut output, mut scratch) =
            (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
        let power: f64 = taper.iter().map(|w| w * w).sum();
        let bins = output.len();
        let mut periodograms = Vec::new();
        for stretch in stretches {
            for start in self.starts(stretch.len()) {
                let window = &stretch[start..start + self.length];
                if let Some(i) = window.iter().position(|v| !v.is_finite()) {
                    return Err(Error::invalid("samples", format!("sample {} is not finite", start + i)));
                }
                let mean = if self.detrend { window.iter().sum::<f64>() / self.length as f64 } else { 0.0 };
                for ((x, v), w) in input.iter_mut().zip(window).zip(&taper) {
                    *x = (v - mean) * w;
                }
                fft.process_with_scratch(&mut input, &mut output, &mut scratch)
                    .map_err(|e| Error::Internal(format!("real FFT of {} samples: {e}", self.length)))?;
                periodograms.extend(output.iter().enumerate().map(|(k, z)| {
                    // Every frequency but 0 and half the sample rate stands for its negative as well.
                    let sides = if k == 0 || 2 * k == self.length { 1.0 } else { 2.0 };
                    sides * z.norm_sqr() / (sample_rate_hz * power)
                }));
            }
        }
        let count = periodograms.len() / bins;
        if count == 0 {
            return Err(self.too_short(stretches.iter().map(|s| s.len())));
        }
        let column = |k: usize| periodograms[k..].iter().step_by(bins);
        let values = match self.average {
            Average::Mean => (0..bins).map(|k| column(k).sum::<f64>() / count as f64).collect(),
            Average::Median => {
                let bias = median_bias(count);
                (0..bins).map(|k| median(column(k).copied().collect()) / bias).collect()
            }
        };
        Ok(Psd { df_hz: sample_rate_hz / self.length as f64, values })
    }

    pub(crate) fn check(&self, sample_rate_hz: f64) -> Result<()> {
        if self.length < 2 || self.overlap >= self.length || !(sample_rate_hz > 0.0 && sample_rate_hz.is_finite()) {
            let (length, overlap) = (self.length, self.overlap);
            let why =
                format!("windows of {length} samples with {overlap} shared at {sample_rate_hz} Hz are not possible");
            return Err(Error::invalid("Welch settings", why));
        }
        Ok(())
    }

    /// The first samples of the windows that fit into a stretch of so many.
    pub fn starts(&self, samples: usize) -> impl Iterator<Item = usize> + use<> {
        let length = self.length;
        (0..).step_by(length.saturating_sub(self.overlap).max(1)).take_while(move |start| start + length <= samples)
    }

    /// The error for stretches of these lengths, none of which holds a window.
    pub(crate) fn too_short(&self, lengths: impl Iterator<Item = usize>) -> Error {
        let longest = lengths.max().unwrap_or(0);
        let why = format!(
            "the longest stretch without gaps has {longest}, and one window takes {}; take shorter windows",
            self.length
        );
        Error::invalid("samples", why)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

/// The expectation of the median of `n` exponentially distributed values of mean 1: the alternating harmonic series.
/// For an even `n` it is that of `n` − 1, as is usual.
pub(crate) fn median_bias(n: usize) -> f64 {
    (1..=(n - 1) / 2).fold(1.0, |bias, k| bias + 1.0 / (2 * k + 1) as f64 - 1.0 / (2 * k) as f64)
}

impl Psd {
    /// The density at `frequency_hz`: linear between bins, constant beyond the ends.
    pub fn at(&self, frequency_hz: f64) -> f64 {
        let last = self.values.len() - 1;
        let position = (frequency_hz.abs() / self.df_hz).clamp(0.0, last as f64);
        let bin = (position as usize).min(last.saturating_sub(1));
        let next = self.values[(bin + 1).min(last)];
        self.values[bin] + (position - bin as f64) * (next - self.values[bin])
    }

    /// The amplitude spectral density at `frequency_hz`, in units per √Hz: the root of [`Psd::at`].
    pub fn asd(&self, frequency_hz: f64) -> f64 {
        self.at(frequency_hz).sqrt()
    }

    /// The density at the n/2 + 1 frequencies of a real transform of `n` samples.
    pub fn resample(&self, n: usize, sample_rate_hz: f64) -> Vec<f64> {
        (0..=n / 2).map(|k| self.at(k as f64 * sample_rate_hz / n as f64)).collect()
    }

    /// Checks that the density can be divided by between two frequencies.
    pub(crate) fn check_positive(&self, from_hz: f64, to_hz: f64) -> Result<()> {
        let bins = (from_hz / self.df_hz) as usize..=(to_hz / self.df_hz).ceil() as usize;
        let bad = self.values.iter().enumerate().find(|(k, v)| bins.contains(k) && !(v.is_finite() && **v > 0.0));
        match bad {
            Some((k, v)) => {
                let why = format!("{v} at {} Hz cannot be divided by", k as f64 * self.df_hz);
                Err(Error::invalid("power spectral density", why))
            }
            None if self.values.is_empty() => Err(Error::invalid("power spectral density", "it is empty")),
            None => Ok(()),
        }
    }

    /// The horizon distance in Mpc: where an optimally placed and oriented binary of these masses (in solar masses)
    /// has a signal-to-noise ratio of 8 (see [`Psd::range_mpc`]).
    ///
    /// Errors: [`Error::InvalidArgument`] if a mass is not positive, the inspiral lies outside the spectrum, or the
    /// spectrum is not positive there.
    pub fn horizon_mpc(&self, mass1: f64, mass2: f64) -> Result<f64> {
        if !(mass1 > 0.0 && mass2 > 0.0 && mass1.is_finite() && mass2.is_finite()) {
            return Err(Error::invalid("masses", format!("{mass1} and {mass2} solar masses must be positive")));
        }
        let total = (mass1 + mass2) * SOLAR_MASS_SECONDS;
        let chirp = total * (mass1 * mass2 / (mass1 + mass2).powi(2)).powf(0.6);
        let isco_hz = 1.0 / (6f64.powf(1.5) * PI * total);
        let end_hz = isco_hz.min((self.values.len() - 1) as f64 * self.df_hz);
        if end_hz <= LOWEST_HZ + self.df_hz {
            let why = format!("an inspiral that ends at {end_hz:.1} Hz has no part above {LOWEST_HZ} Hz");
            return Err(Error::invalid("masses", why));
        }
        self.check_positive(LOWEST_HZ, end_hz)?;
        // |h(f)| at 1 Mpc in the stationary-phase approximation, face-on and overhead.
        let amplitude =
            (5.0 / 24.0f64).sqrt() * PI.powf(-2.0 / 3.0) * chirp.powf(5.0 / 6.0) * SPEED_OF_LIGHT / MEGAPARSEC;
        let sum: f64 = (self.values.iter().enumerate())
            .map(|(k, psd)| (k as f64 * self.df_hz, psd))
            .filter(|(f, _)| *f > LOWEST_HZ && *f < end_hz)
            .map(|(f, psd)| f.powf(-7.0 / 3.0) / psd)
            .sum();
        Ok(amplitude * (4.0 * sum * self.df_hz).sqrt() / 8.0)
    }

    /// The range in Mpc for these masses: the horizon averaged over sky position and orientation (its 2.2648th part).
    ///
    /// The signal is the leading-order inspiral from 20 Hz to the innermost stable orbit, 4400 Hz / (total mass in
    /// solar masses): B. Allen et al., Phys. Rev. D 85, 122006 (2012); L. Finn and D. Chernoff, Phys. Rev. D 47, 2198
    /// (1993) for the average. For 1.4 + 1.4 solar masses it is the usual binary-neutron-star range.
    pub fn range_mpc(&self, mass1: f64, mass2: f64) -> Result<f64> {
        Ok(self.horizon_mpc(mass1, mass2)? / 2.2648)
    }
}

/// Where the inspiral enters, in Hz.
const LOWEST_HZ: f64 = 20.0;
