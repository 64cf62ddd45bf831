//! Butterworth filters as second-order sections, run forwards and backwards so that nothing is shifted in time.

use crate::{Error, Result};
use num_complex::Complex64;
use std::f64::consts::PI;

/// Corner of the high-pass that strain needs before it fits f32, in Hz: below it the detectors' noise rises by many
/// orders of magnitude, and no search looks there.
pub const HIGH_PASS_HZ: f64 = 15.0;
/// Order of that high-pass.
pub const HIGH_PASS_ORDER: usize = 8;
/// Strain is multiplied by 2 to this power before it becomes f32: samples of 1e-21 become about 10, and the power
/// spectral density (1e-47 to 1e-40 per Hz), which f32 cannot hold, becomes 1e-3 to 1e4.
pub const STRAIN_SCALE_LOG2: i32 = 73;

/// One second-order section: (b0 + b1 z⁻¹ + b2 z⁻²) / (1 + a1 z⁻¹ + a2 z⁻²).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Section {
    /// Numerator.
    pub b: [f64; 3],
    /// Denominator, without its leading 1.
    pub a: [f64; 2],
}

/// A filter in second-order sections, to be run in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The sections, poles farthest from the unit circle first.
    pub sections: Vec<Section>,
    order: usize,
}

/// The high-pass and scale that make strain fit f32: eighth-order Butterworth at 15 Hz, zero phase, times 2^73.
///
/// Give it one segment without gaps. Errors: [`Error::InvalidArgument`] if the segment is shorter than the filter's
/// padding or the sample rate does not reach twice the corner.
pub fn condition(values: &[f64], sample_rate_hz: f64) -> Result<Vec<f64>> {
    Ok(scaled(Filter::high_pass(HIGH_PASS_ORDER, HIGH_PASS_HZ, sample_rate_hz)?.zero_phase(values)?))
}

/// As [`condition`], by one pass forwards: a sample depends on those before it and on itself alone, and the phase is
/// that of the filter.
pub fn condition_causally(values: &[f64], sample_rate_hz: f64) -> Result<Vec<f64>> {
    Ok(scaled(Filter::high_pass(HIGH_PASS_ORDER, HIGH_PASS_HZ, sample_rate_hz)?.causal(values)?))
}

fn scaled(mut values: Vec<f64>) -> Vec<f64> {
    let scale = 2f64.powi(STRAIN_SCALE_LOG2);
    values.iter_mut().for_each(|v| *v *= scale);
    values
}

impl Filter {
    /// Butterworth high-pass of the given order whose amplitude at `corner_hz` is 1/√2.
    ///
    /// Errors: [`Error::InvalidArgument`] if the order is not 1 to 32 or the corner not within 0 and half the sample rate.
    pub fn high_pass(order: usize, corner_hz: f64, sample_rate_hz: f64) -> Result<Self> {
        check(order, &[corner_hz], sample_rate_hz)?;
        let corner = warp(corner_hz, sample_rate_hz);
        let poles = prototype(order).map(|p| corner / p).collect();
        // All zeros at f = 0; unit gain at half the sample rate.
        Ok(Self::from_poles(order, poles, &[1.0; 2], Complex64::new(-1.0, 0.0)))
    }

    /// Butterworth band-pass from a low-pass of the given order: its own order is twice that. The amplitude at both
    /// corners is 1/√2.
    ///
    /// Errors: [`Error::InvalidArgument`] if the order is not 1 to 32, or the corners not ascending within 0 and half
    /// the sample rate.
    pub fn band_pass(order: usize, low_hz: f64, high_hz: f64, sample_rate_hz: f64) -> Result<Self> {
        check(order, &[low_hz, high_hz], sample_rate_hz)?;
        let (low, high) = (warp(low_hz, sample_rate_hz), warp(high_hz, sample_rate_hz));
        let (half_width, centre_squared) = ((high - low) / 2.0, low * high);
        let poles = prototype(order)
            .flat_map(|p| {
                let p = p * half_width;
                let root = (p * p - centre_squared).sqrt();
                [p + root, p - root]
            })
            .collect();
        // Half of the zeros at f = 0, half at half the sample rate; unit gain at the geometric centre.
        let centre = Complex64::from_polar(1.0, 2.0 * centre_squared.sqrt().atan());
        Ok(Self::from_poles(2 * order, poles, &[1.0, -1.0], centre))
    }

    /// Pairs the analogue poles of a filter, maps them by the bilinear transform (with s in units of 2/T), gives every
    /// section the zeros, and sets the gain at `unit_gain_at` on the unit circle to 1.
    fn from_poles(order: usize, poles: Vec<Complex64>, zeros: &[f64; 2], unit_gain_at: Complex64) -> Self {
        let digital = poles.into_iter().map(|s| (1.0 + s) / (1.0 - s));
        let (complex, mut real): (Vec<Complex64>, Vec<Complex64>) = digital.partition(|z| z.im.abs() > 1e-14);
        let pairs = |a: Complex64, b: Complex64| Section {
            b: [1.0, -(zeros[0] + zeros[1]), zeros[0] * zeros[1]],
            a: [-(a + b).re, (a * b).re],
        };
        let mut sections: Vec<Section> =
            complex.into_iter().filter(|z| z.im > 0.0).map(|z| pairs(z, z.conj())).collect();
        real.sort_by(|a, b| a.re.total_cmp(&b.re));
        sections.extend(real.chunks(2).map(|pair| match *pair {
            [a, b] => pairs(a, b),
            // An odd high-pass has one real pole left, with one zero.
            _ => Section { b: [1.0, -zeros[0], 0.0], a: [-pair[0].re, 0.0] },
        }));
        // Sharp resonances last, where the signal they see is already limited.
        sections.sort_by(|x, y| x.a[1].abs().total_cmp(&y.a[1].abs()));
        let mut filter = Self { sections, order };
        let gain = filter.response(unit_gain_at).norm();
        filter.sections[0].b.iter_mut().for_each(|b| *b /= gain);
        filter
    }

    /// The filter's response at `z`; on the unit circle, z = exp(2πi f / sample rate).
    fn response(&self, z: Complex64) -> Complex64 {
        let w = z.inv();
        self.sections.iter().map(|s| (s.b[0] + w * (s.b[1] + w * s.b[2])) / (1.0 + w * (s.a[0] + w * s.a[1]))).product()
    }

    /// The amplitude response at `frequency_hz`, of one pass. [`Filter::zero_phase`] applies its square.
    pub fn amplitude(&self, frequency_hz: f64, sample_rate_hz: f64) -> f64 {
        self.response(Complex64::from_polar(1.0, 2.0 * PI * frequency_hz / sample_rate_hz)).norm()
    }

    /// Runs the filter forwards, then backwards: zero phase, squared amplitude.
    ///
    /// The ends are padded by odd reflection over three times the filter's order + 1 samples, and each pass starts in
    /// the steady state of its first sample, so that a constant offset makes no transient (F. Gustafsson, IEEE Trans.
    /// Signal Process. 44, 988 (1996), in the padded form that SciPy's `sosfiltfilt` uses).
    ///
    /// Errors: [`Error::InvalidArgument`] if there are no more samples than the padding has, or a sample is not finite.
    pub fn zero_phase(&self, values: &[f64]) -> Result<Vec<f64>> {
        let padding = self.padding();
        if values.len() <= padding {
            let why = format!("{} are too few for a filter that pads {padding} on each side", values.len());
            return Err(Error::invalid("samples", why));
        }
        check_finite(values)?;
        let (first, last) = (values[0], values[values.len() - 1]);
        let mut padded = Vec::with_capacity(values.len() + 2 * padding);
        padded.extend(values[1..=padding].iter().rev().map(|v| 2.0 * first - v));
        padded.extend_from_slice(values);
        padded.extend(values[values.len() - 1 - padding..values.len() - 1].iter().rev().map(|v| 2.0 * last - v));
        for _ in 0..2 {
            self.run(&mut padded);
            padded.reverse();
        }
        padded.truncate(padding + values.len());
        padded.drain(..padding);
        Ok(padded)
    }

    /// Samples by which [`Filter::zero_phase`] pads each end; a stretch must be longer.
    pub fn padding(&self) -> usize {
        3 * (self.order + 1)
    }

    /// Runs the filter forwards once, from the steady state of the first sample: no output depends on a later sample.
    ///
    /// Errors: [`Error::InvalidArgument`] if there is no sample, or one that is not finite.
    pub fn causal(&self, values: &[f64]) -> Result<Vec<f64>> {
        if values.is_empty() {
            return Err(Error::invalid("samples", "there are none"));
        }
        check_finite(values)?;
        let mut filtered = values.to_vec();
        self.run(&mut filtered);
        Ok(filtered)
    }

    /// One causal pass in place, from the steady state of the first sample.
    fn run(&self, values: &mut [f64]) {
        let mut level = values[0];
        for section in &self.sections {
            let Section { b, a } = *section;
            let gain = b.iter().sum::<f64>() / (1.0 + a[0] + a[1]);
            // The states of the transposed direct form II at rest on the constant `level`.
            let mut s1 = (gain - b[0]) * level;
            let mut s2 = (b[2] - a[1] * gain) * level;
            for value in values.iter_mut() {
                let x = *value;
                let y = b[0] * x + s1;
                s1 = b[1] * x - a[0] * y + s2;
                s2 = b[2] * x - a[1] * y;
                *value = y;
            }
            level *= gain;
        }
    }
}

fn check_finite(values: &[f64]) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(Error::invalid("samples", format!("sample {i} is not finite; filter the segments one by one"))),
        None => Ok(()),
    }
}

fn check(order: usize, corners: &[f64], sample_rate_hz: f64) -> Result<()> {
    if !(1..=32).contains(&order) {
        return Err(Error::invalid("filter order", format!("{order} is not within 1 and 32")));
    }
    let mut below = 0.0;
    for &corner in corners {
        if !(corner > below && corner < sample_rate_hz / 2.0) {
            let nyquist = sample_rate_hz / 2.0;
            return Err(Error::invalid(
                "corner frequency",
                format!("{corner} Hz is not within {below} and {nyquist} Hz"),
            ));
        }
        below = corner;
    }
    Ok(())
}

/// A frequency before the bilinear transform bends it, in units of 2/T.
fn warp(frequency_hz: f64, sample_rate_hz: f64) -> f64 {
    (PI * frequency_hz / sample_rate_hz).tan()
}

/// The poles of the analogue Butterworth low-pass with corner 1, on the left half of the unit circle.
fn prototype(order: usize) -> impl Iterator<Item = Complex64> {
    (0..order).map(move |k| Complex64::from_polar(1.0, PI * (2 * k + 1 + order) as f64 / (2 * order) as f64))
}
