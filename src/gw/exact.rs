//! The matched filter in f64: the reference that the search on a device is compared against.
//!
//! This is the recipe of the GWOSC event tutorial (after B. Allen et al., Phys. Rev. D 85, 122006 (2012)).

use super::spectrum::{Psd, Symmetry, Window};
use crate::{Error, Result};
use num_complex::Complex64;
use rustfft::FftPlanner;

/// Fraction of the data and of the template that is tapered before the transform.
pub const TAPER: f64 = 1.0 / 8.0;

/// Signal-to-noise against time, for one template and one detector.
#[derive(Debug, Clone, PartialEq)]
pub struct SnrSeries {
    /// The complex signal-to-noise ratio: real part for the plus polarisation, imaginary part for the cross
    /// polarisation. Its index is the sample of the data on which the middle of the template lies.
    pub snr: Vec<Complex64>,
    /// The template's signal-to-noise ratio at 1 Mpc. A signal with ratio ρ is at an effective distance of σ/ρ Mpc.
    pub sigma: f64,
}

/// The loudest sample of an [`SnrSeries`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// Its index.
    pub index: usize,
    /// The signal-to-noise ratio.
    pub snr: f64,
    /// The phase of the signal against the template, in radians.
    pub phase: f64,
    /// The effective distance in Mpc: that of an optimally placed and oriented source as loud.
    pub effective_distance_mpc: f64,
}

impl SnrSeries {
    /// The loudest sample within `range`, or `None` if it is empty.
    pub fn peak_within(&self, range: std::ops::Range<usize>) -> Option<Peak> {
        let end = range.end.min(self.snr.len());
        let index =
            (range.start.min(end)..end).max_by(|&i, &j| self.snr[i].norm_sqr().total_cmp(&self.snr[j].norm_sqr()))?;
        let (snr, phase) = self.snr[index].to_polar();
        Some(Peak { index, snr, phase, effective_distance_mpc: self.sigma / snr })
    }

    /// The loudest sample of all.
    pub fn peak(&self) -> Option<Peak> {
        self.peak_within(0..self.snr.len())
    }
}

/// Correlates one stretch of strain with a template whose merger is in its middle, both weighted by the noise.
///
/// `plus` and `cross` are strain at 1 Mpc, as long as the data and at their rate; `psd` is the one-sided density of the
/// data. Errors: [`Error::InvalidArgument`] if lengths differ, a value is not finite, or the density is not positive.
pub fn matched_filter(data: &[f64], plus: &[f64], cross: &[f64], sample_rate_hz: f64, psd: &Psd) -> Result<SnrSeries> {
    let n = data.len();
    if n < 2 || plus.len() != n || cross.len() != n {
        let why = format!("{} and {} samples do not fit the data's {n}", plus.len(), cross.len());
        return Err(Error::invalid("template", why));
    }
    if let Some(i) = (0..n).find(|&i| !(data[i] + plus[i] + cross[i]).is_finite()) {
        return Err(Error::invalid("samples", format!("sample {i} of the data or the template is not finite")));
    }
    psd.check_positive(0.0, sample_rate_hz / 2.0)?;

    let mut planner = FftPlanner::<f64>::new();
    let forward = planner.plan_fft_forward(n);
    let taper = Window::Tukey(TAPER).samples(n, Symmetry::Symmetric);
    let transform = |sample: &dyn Fn(usize) -> Complex64| {
        let mut buffer: Vec<Complex64> = (0..n).map(|i| sample(i) * taper[i] / sample_rate_hz).collect();
        forward.process(&mut buffer);
        buffer
    };
    let data = transform(&|i| Complex64::from(data[i]));
    let template = transform(&|i| Complex64::new(plus[i], cross[i]));

    let df_hz = sample_rate_hz / n as f64;
    let density = psd.resample(n, sample_rate_hz);
    let mut sigma_squared = 0.0;
    let mut correlation: Vec<Complex64> = (0..n)
        .map(|k| {
            let density = density[k.min(n - k)];
            sigma_squared += template[k].norm_sqr() / density * df_hz;
            data[k] * template[k].conj() / density
        })
        .collect();
    planner.plan_fft_inverse(n).process(&mut correlation);

    let sigma = sigma_squared.sqrt();
    if !(sigma > 0.0 && sigma.is_finite()) {
        return Err(Error::invalid("template", "it has no power where the detector can see"));
    }
    // The template's middle, not its first sample, marks the time.
    correlation.rotate_right(n / 2);
    let scale = 2.0 * df_hz / sigma;
    correlation.iter_mut().for_each(|z| *z *= scale);
    Ok(SnrSeries { snr: correlation, sigma })
}
