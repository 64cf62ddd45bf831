//! Conditioning of strain on a device: power spectral densities and whitening in f32.
//!
//! Strain and its density do not fit f32 as they are. Each segment first passes a 15 Hz high-pass in f64 on the host and is
//! scaled by 2^73 (see [`super::filter`]); what follows works on that conditioned strain. Densities that come out and go
//! in are those of the strain itself, in strain² per Hz: filter and scale are divided out, and put back where conditioned
//! strain is divided by them. Below [`LOW_HZ`], where the high-pass leaves nothing, a density is not known; its value at
//! that frequency stands there.
//!
//! The high-pass also keeps the official whitening from what spoils it near the ends of raw strain: the step that the slow
//! drift of the detectors makes where the transform takes the data as periodic.
//!
//! The same quantities in f64, on the host alone, are [`reference_psd`] and [`reference_whiten`].

use num_complex::Complex32;

use super::density::Density;
use super::filter::{self, Filter, HIGH_PASS_HZ, HIGH_PASS_ORDER, STRAIN_SCALE_LOG2};
use super::spectrum::{Average, Psd, Welch, median_bias};
use super::strain::{Segment, Strain};
use super::whiten::{self, Method, Response, Whitened};
use crate::device::{Control, Device, MemoryPlan, room};
use crate::kernel::Tensor;
use crate::ops::{self, Bins, Conjugate, Weight, WelchWindows};
use crate::recording::Recording;
use crate::{Error, Result};

/// The lowest frequency of which densities and whitened strain hold anything, in Hz.
pub const LOW_HZ: f64 = 10.0;
/// The band in which a device is held to the f64 reference, in Hz.
pub const CHECKED_HZ: [f64; 2] = [20.0, 1800.0];

/// What conditioning does to power at a frequency, when the high-pass runs once or twice.
fn power_gain(sample_rate_hz: f64, passes: i32) -> Result<impl Fn(f64) -> f64> {
    let high_pass = Filter::high_pass(HIGH_PASS_ORDER, HIGH_PASS_HZ, sample_rate_hz)?;
    let scale = 2f64.powi(2 * STRAIN_SCALE_LOG2);
    Ok(move |frequency_hz| scale * high_pass.amplitude(frequency_hz, sample_rate_hz).powi(2 * passes))
}

/// The density of strain from that of strain conditioned by two passes.
fn unconditioned(mut psd: Psd, sample_rate_hz: f64) -> Result<Psd> {
    let gain = power_gain(sample_rate_hz, 2)?;
    let low = low_bin(&psd);
    for (k, value) in psd.values.iter_mut().enumerate().skip(low) {
        *value /= gain(k as f64 * psd.df_hz);
    }
    let held = psd.values[low];
    psd.values[..low].fill(held);
    Ok(psd)
}

/// The density of conditioned strain from that of strain.
fn conditioned(psd: &Psd, sample_rate_hz: f64, passes: i32) -> Result<Psd> {
    psd.check_positive(LOW_HZ, sample_rate_hz / 2.0)?;
    let gain = power_gain(sample_rate_hz, passes)?;
    let low = low_bin(psd);
    let value = |(k, value): (usize, &f64)| value * gain(k.max(low) as f64 * psd.df_hz);
    let mut values: Vec<f64> = psd.values.iter().enumerate().map(value).collect();
    let held = values[low];
    values[..low].fill(held);
    Ok(Psd { df_hz: psd.df_hz, values })
}

/// The first bin of a density that holds something.
fn low_bin(psd: &Psd) -> usize {
    ((LOW_HZ / psd.df_hz).ceil() as usize).min(psd.values.len() - 1)
}

/// The segments that hold a window, each conditioned in f64.
fn stretches(strain: &Strain, segments: &[Segment], welch: &Welch) -> Result<Vec<Vec<f64>>> {
    welch.check(strain.sample_rate_hz)?;
    let long: Vec<&Segment> = segments.iter().filter(|s| s.samples() >= welch.length).collect();
    if long.is_empty() {
        return Err(welch.too_short(segments.iter().map(Segment::samples)));
    }
    long.into_iter().map(|s| filter::condition(s.of(&strain.values), strain.sample_rate_hz)).collect()
}

/// Conditioned strain as f32. Its squares, summed over a long window, must not overflow.
fn narrow(values: &[f64]) -> Result<Vec<f32>> {
    let most = 1e-8 * 2f64.powi(STRAIN_SCALE_LOG2);
    match values.iter().position(|v| v.is_nan() || v.abs() > most) {
        Some(i) => Err(Error::invalid("samples", format!("about sample {i} they exceed 1e-8, which no strain does"))),
        None => Ok(values.iter().map(|v| *v as f32).collect()),
    }
}

/// Welch's method on these segments, planned for what the device has room for.
fn plan_density(device: &Device, strain: &Strain, segments: &[Segment], welch: &Welch) -> Result<Density> {
    welch.check(strain.sample_rate_hz)?;
    let (mut samples, mut starts) = (0, Vec::new());
    for segment in segments.iter().filter(|s| s.samples() >= welch.length) {
        starts.extend(welch.starts(segment.samples()).map(|start| (samples + start) as u32));
        samples += segment.samples();
    }
    if starts.is_empty() {
        return Err(welch.too_short(segments.iter().map(Segment::samples)));
    }
    Density::plan(device, samples, starts, (welch, strain.sample_rate_hz), room(device))
}

/// What [`psd`] takes of the device's memory: all windows at once, or as many as fit.
///
/// # Errors
/// `InvalidArgument` if no segment holds a window; as [`ops::welch`].
pub fn psd_plan(device: &Device, strain: &Strain, segments: &[Segment], welch: &Welch) -> Result<MemoryPlan> {
    Ok(plan_density(device, strain, segments, welch)?.memory)
}

/// The density of the strain in these segments by Welch's method on the device. No window crosses from one segment into
/// the next. `detrend` makes no difference here: the high-pass has removed what it would. Where the budget is too small
/// for all windows they come in pieces, with the same bits.
///
/// # Errors
/// `InvalidArgument` if no segment holds a window, or a sample in them is not finite or no strain (above 1e-8);
/// `OverBudget` with the least that would do; as [`ops::welch`] and [`crate::device::Prepared::run`].
pub fn psd(
    device: &Device,
    strain: &Strain,
    segments: &[Segment],
    welch: &Welch,
    control: &Control<'_>,
) -> Result<Psd> {
    let rate = strain.sample_rate_hz;
    let density = plan_density(device, strain, segments, welch)?;
    density.memory.check(device)?;
    let mut samples: Vec<f32> = Vec::new();
    for stretch in stretches(strain, segments, welch)? {
        samples.extend(narrow(&stretch)?);
    }
    let values = density.run(device, &samples, control)?.into_iter().map(f64::from).collect();
    unconditioned(Psd { df_hz: rate / welch.length as f64, values }, rate)
}

/// The taper of the windows.
pub(super) fn taper(welch: &Welch) -> Vec<f32> {
    welch.window.samples(welch.length, welch.symmetry).iter().map(|w| *w as f32).collect()
}

/// How the periodograms of so many windows are combined, and their scale.
pub(super) fn average_of(welch: &Welch, windows: usize, sample_rate_hz: f64) -> (ops::Average, f32) {
    let power: f64 = welch.window.samples(welch.length, welch.symmetry).iter().map(|w| w * w).sum();
    let (average, bias) = match welch.average {
        Average::Mean => (ops::Average::Mean, 1.0),
        Average::Median => (ops::Average::Median, median_bias(windows.max(1))),
    };
    (average, (1.0 / (sample_rate_hz * power * bias)) as f32)
}

/// Appends Welch's method on a series, for windows that begin at `starts`: the one-sided density of the series, in its
/// units² per Hz.
///
/// # Errors
/// `InvalidArgument` if the settings make no sense; as [`ops::welch`].
pub fn record_psd(
    rec: &mut Recording,
    x: Tensor<f32>,
    starts: &[u32],
    welch: &Welch,
    sample_rate_hz: f64,
) -> Result<Tensor<f32>> {
    welch.check(sample_rate_hz)?;
    let (average, scale) = average_of(welch, starts.len(), sample_rate_hz);
    let window = taper(welch);
    ops::welch(rec, x, &WelchWindows { starts, window: &window, average, scale })
}

/// Whitening of one stretch, planned.
struct Stretch {
    segment: Segment,
    way: Way,
    memory: MemoryPlan,
}

/// How a stretch is whitened, from the fastest way to the one that takes least. All give the same bits.
enum Way {
    Whole,
    /// So many blocks of the response at once.
    Blocks(usize),
    /// A recording for each step of a block.
    Steps,
}

/// How the segments are whitened with what the device has room for.
fn plan_stretches(
    device: &Device,
    segments: &[Segment],
    whitening: &Whitening,
    method: Method,
) -> Result<Vec<Stretch>> {
    let room = room(device);
    let plan = |segment: Segment| {
        let n = segment.samples();
        let record = |samples: usize| match whitening.recording(device, samples).map(|(rec, ..)| rec.plan()) {
            Err(Error::Unsupported { .. }) => Ok(None),
            other => other.map(|plan| Some((plan.peak_bytes(), plan.largest))),
        };
        let whole = record(n)?;
        let (steps, largest) = whitening.steps_plan(device, n)?;
        let least = whole.as_ref().map_or(steps, |(bytes, _)| steps.min(*bytes));
        let memory = |part: String, bytes, largest| MemoryPlan::new(device, least, vec![(part, bytes)], largest);
        let fits = |sized: Option<(u64, (String, u64))>| sized.filter(|(bytes, _)| *bytes <= room.max(least));
        if let Some((bytes, largest)) = fits(whole) {
            return Ok(Stretch { segment, way: Way::Whole, memory: memory("a segment".into(), bytes, largest) });
        }
        if let Some(response) = &whitening.response {
            let all = response.blocks(n);
            let mut blocks = all / 2;
            while blocks > 0 {
                if let Some((bytes, largest)) = fits(record(response.samples(blocks))?) {
                    let part = format!("{blocks} of {all} blocks of a segment");
                    return Ok(Stretch { segment, way: Way::Blocks(blocks), memory: memory(part, bytes, largest) });
                }
                blocks /= 2;
            }
        }
        let part = "one transform of a segment, or of a block of it, at a time".into();
        Ok(Stretch { segment, way: Way::Steps, memory: memory(part, steps, largest) })
    };
    long_enough(method, segments, whitening.sample_rate_hz)?.into_iter().map(plan).collect()
}

/// What [`whiten`](fn@whiten) takes of the device's memory, for a density with so many bins. A finite response goes over
/// the segments in as many pieces as the budget needs, at last one transform of a block at a time. The official recipe is
/// one transform over a whole segment: its points and its bins are the least, for a transform cut into others would
/// round differently.
///
/// # Errors
/// As [`whiten`](fn@whiten).
pub fn whiten_plan(
    device: &Device,
    (segments, sample_rate_hz): (&[Segment], f64),
    window: usize,
    method: Method,
) -> Result<MemoryPlan> {
    // Sizes do not depend on what the density is.
    let values = vec![1e-46; window / 2 + 1];
    let psd = Psd { df_hz: sample_rate_hz / window as f64, values };
    let whitening = Whitening::new(&psd, sample_rate_hz, method)?;
    let stretches = plan_stretches(device, segments, &whitening, method)?;
    stretches.into_iter().map(|s| s.memory).reduce(MemoryPlan::then).ok_or_else(|| Error::invalid("segments", "none"))
}

/// Whitens every segment by itself on the device; `start` of each result counts from the beginning of the strain.
///
/// `psd` is the density of the strain. Nothing below [`LOW_HZ`] comes out. Segments that are too short for the method's
/// response are left out. With [`Method::Causal`], see [`Whitening::record`] for what is promised of the past. Where the
/// budget is too small for that it is done in pieces as [`whiten_plan`] says, with the same bits.
///
/// # Errors
/// `InvalidArgument` if no segment is long enough, or as [`Whitening::new`]; `OverBudget` with the least that would do; as
/// [`crate::device::Prepared::run`].
pub fn whiten(
    device: &Device,
    strain: &Strain,
    segments: &[Segment],
    psd: &Psd,
    method: Method,
    control: &Control<'_>,
) -> Result<Vec<Whitened<f32>>> {
    let whitening = Whitening::new(psd, strain.sample_rate_hz, method)?;
    let one = |stretch: Stretch| {
        stretch.memory.check(device)?;
        let samples = whitening.condition(stretch.segment.of(&strain.values))?;
        let values = match stretch.way {
            Way::Whole => whitening.whole(device, &samples, control)?,
            Way::Blocks(blocks) => whitening.in_blocks(device, &samples, blocks, control)?,
            Way::Steps => whitening.in_steps(device, &samples, control)?,
        };
        // The next one has other sizes.
        device.trim();
        match values.iter().position(|v| !v.is_finite()) {
            Some(i) => {
                let detail = format!("{} at whitened sample {i}", values[i]);
                // The native path does what it is told: there it is the data.
                Err(match device {
                    Device::Cpu(_) => Error::invalid("strain", format!("{detail}, which f32 cannot hold")),
                    Device::Gpu(_) => Error::Corrupted { detail },
                })
            }
            None => Ok(Whitened { start: stretch.segment.start + whitening.start(), values }),
        }
    };
    plan_stretches(device, segments, &whitening, method)?.into_iter().map(one).collect()
}

/// As [`Method::long_enough`], and longer than the high-pass pads.
fn long_enough(method: Method, segments: &[Segment], sample_rate_hz: f64) -> Result<Vec<Segment>> {
    let padding = Filter::high_pass(HIGH_PASS_ORDER, HIGH_PASS_HZ, sample_rate_hz)?.padding();
    let padded: Vec<Segment> = segments.iter().copied().filter(|s| s.samples() > padding).collect();
    method.long_enough(if padded.is_empty() { segments } else { &padded }, sample_rate_hz)
}

/// A method of whitening, made for the density of one detector's noise.
#[derive(Debug, Clone)]
pub struct Whitening {
    sample_rate_hz: f64,
    causal: bool,
    /// The density of conditioned strain.
    density: Psd,
    response: Option<Response>,
}

impl Whitening {
    /// For noise of this density, of strain.
    ///
    /// # Errors
    /// `InvalidArgument` if the density is not positive from [`LOW_HZ`] up, does not reach half the sample rate, or the
    /// method's high-pass is below [`LOW_HZ`].
    pub fn new(psd: &Psd, sample_rate_hz: f64, method: Method) -> Result<Self> {
        let window = sample_rate_hz / psd.df_hz;
        if !(window >= 2.0 && (window - window.round()).abs() < 1e-6 * window)
            || psd.values.len() != window.round() as usize / 2 + 1
        {
            let why = format!(
                "{} bins of {} Hz are not those of windows at {sample_rate_hz} samples a second",
                psd.values.len(),
                psd.df_hz
            );
            return Err(Error::invalid("power spectral density", why));
        }
        if let Method::Truncated { high_pass_hz, .. } | Method::Causal { high_pass_hz, .. } = method
            && (high_pass_hz.is_nan() || high_pass_hz < LOW_HZ)
        {
            return Err(Error::invalid("high-pass corner", format!("{high_pass_hz} Hz; at least {LOW_HZ} Hz")));
        }
        let causal = matches!(method, Method::Causal { .. });
        let density = conditioned(psd, sample_rate_hz, if causal { 1 } else { 2 })?;
        let response = method.response(sample_rate_hz, &density)?;
        Ok(Self { sample_rate_hz, causal, density, response })
    }

    /// Samples at the beginning of a stretch that cannot be whitened.
    pub fn start(&self) -> usize {
        self.response.as_ref().map_or(0, Response::start)
    }

    /// What [`Whitening::record`] takes: strain behind the high-pass, scaled. For the causal method the high-pass runs
    /// forwards alone.
    ///
    /// # Errors
    /// `InvalidArgument` if a sample is not finite or no strain (above 1e-8), or there are fewer than the filter pads.
    pub fn condition(&self, strain: &[f64]) -> Result<Vec<f32>> {
        narrow(&self.condition_f64(strain)?)
    }

    fn condition_f64(&self, strain: &[f64]) -> Result<Vec<f64>> {
        match self.causal {
            true => filter::condition_causally(strain, self.sample_rate_hz),
            false => filter::condition(strain, self.sample_rate_hz),
        }
    }

    /// Appends the whitening of one stretch of conditioned strain. With the official recipe as many samples come out as
    /// go in; with a finite response, those whose response lies within the stretch, from [`Whitening::start`] on.
    ///
    /// A finite response is applied by transforms of overlapping blocks, four to eight times as long as itself, on a grid
    /// that begins with the stretch. So a sample of the causal whitening depends on later input through rounding alone,
    /// by some 1e-4 standard deviations for noise as loud as the density says, and only within its block: blocks that end
    /// earlier are the same to the last bit. [`whiten::whiten`] in f64 promises that of every sample.
    ///
    /// # Errors
    /// `InvalidArgument` if the stretch is shorter than the response; `Unsupported` if it exceeds a binding.
    pub fn record(&self, rec: &mut Recording, x: Tensor<f32>) -> Result<Tensor<f32>> {
        match &self.response {
            None => self.record_official(rec, x),
            Some(response) => record_response(rec, x, response),
        }
    }

    /// The whitening of so many samples alone.
    fn recording(&self, device: &Device, samples: usize) -> Result<(Recording, Tensor<f32>, Tensor<f32>)> {
        let mut rec = device.recording("whitening");
        let x = rec.input("strain", samples)?;
        let y = self.record(&mut rec, x)?;
        rec.download(y)?;
        Ok((rec, x, y))
    }

    fn whole(&self, device: &Device, x: &[f32], control: &Control<'_>) -> Result<Vec<f32>> {
        let (rec, input, output) = self.recording(device, x.len())?;
        Ok(device.prepare(&rec)?.run(&[input.feed(x)], control)?.get(output)?.to_vec())
    }

    /// By so many blocks of the response at once.
    fn in_blocks(&self, device: &Device, x: &[f32], blocks: usize, control: &Control<'_>) -> Result<Vec<f32>> {
        let Some(response) = &self.response else { return self.whole(device, x, control) };
        let (rec, input, output) = self.recording(device, response.samples(blocks))?;
        let mut prepared = device.prepare(&rec)?;
        let (outputs, step) = (x.len() - response.reach(), blocks * response.fresh());
        let mut values = Vec::with_capacity(outputs);
        let mut piece = vec![0.0; input.len()];
        for first in (0..outputs).step_by(step) {
            padded(&x[first..], &mut piece);
            let out = prepared.run(&[input.feed(&piece)], control)?;
            values.extend_from_slice(&out.get(output)?[..step.min(outputs - first)]);
        }
        Ok(values)
    }

    /// By one transform, product or inverse transform after the other, with what is between them on the host.
    fn in_steps(&self, device: &Device, x: &[f32], control: &Control<'_>) -> Result<Vec<f32>> {
        let (points, reach) = self.block(x.len());
        let (bins, fresh, outputs) = (points / 2 + 1, points - reach, x.len() - reach);
        let mut spectra = Vec::with_capacity(outputs.div_ceil(fresh) * bins);
        {
            let (rec, input, output) = forward_step(device, points)?;
            let mut prepared = device.prepare(&rec)?;
            let mut block = vec![0.0; points];
            for first in (0..outputs).step_by(fresh) {
                padded(&x[first..], &mut block);
                spectra.extend_from_slice(prepared.run(&[input.feed(&block)], control)?.get(output)?);
            }
        }
        device.trim();
        let factors = match &self.response {
            Some(response) => bytemuck::cast_slice(&response.spectrum()?).to_vec(),
            None => {
                let (rec, weight) = self.weight_step(device, points)?;
                device.prepare(&rec)?.run(&[], control)?.get(weight)?.to_vec()
            }
        };
        device.trim();
        {
            let (rec, inputs, output) = self.product_step(device, bins)?;
            let mut prepared = device.prepare(&rec)?;
            let mut piece = vec![Complex32::ZERO; inputs.0.len()];
            let mut by = vec![0.0; inputs.1.len()];
            for spectrum in spectra.chunks_exact_mut(bins) {
                for (spectrum, factors) in spectrum.chunks_mut(piece.len()).zip(factors.chunks(by.len())) {
                    // What stands behind the end of the last piece is no matter.
                    piece[..spectrum.len()].copy_from_slice(spectrum);
                    by[..factors.len()].copy_from_slice(factors);
                    let out = prepared.run(&[inputs.0.feed(&piece), inputs.1.feed(&by)], control)?;
                    spectrum.copy_from_slice(&out.get(output)?[..spectrum.len()]);
                }
            }
        }
        device.trim();
        let (rec, input, output) = inverse_step(device, points)?;
        let mut prepared = device.prepare(&rec)?;
        let mut values = Vec::with_capacity(outputs);
        for spectrum in spectra.chunks_exact(bins) {
            let out = prepared.run(&[input.feed(spectrum)], control)?;
            let count = fresh.min(outputs - values.len());
            values.extend_from_slice(&out.get(output)?[reach..reach + count]);
        }
        Ok(values)
    }

    /// What the largest of the steps takes for a stretch of so many samples.
    fn steps_plan(&self, device: &Device, samples: usize) -> Result<(u64, (String, u64))> {
        let (points, _) = self.block(samples);
        let mut all = vec![forward_step(device, points)?.0, self.product_step(device, points / 2 + 1)?.0];
        if self.response.is_none() {
            all.push(self.weight_step(device, points)?.0);
        }
        all.push(inverse_step(device, points)?.0);
        let sizes = all.iter().map(Recording::plan).map(|plan| (plan.peak_bytes(), plan.largest));
        Ok(sizes.max_by_key(|(bytes, _)| *bytes).unwrap_or_default())
    }

    /// Points of a transform for a stretch of so many samples, and how many of its first results are of no use.
    fn block(&self, samples: usize) -> (usize, usize) {
        self.response.as_ref().map_or((samples, 0), |response| (response.points(), response.reach()))
    }

    fn weight_step(&self, device: &Device, points: usize) -> Result<(Recording, Tensor<f32>)> {
        let mut rec = device.recording("whitening: weight");
        rec.in_pieces();
        let weight = self.record_weight(&mut rec, points)?;
        rec.download(weight)?;
        Ok((rec, weight))
    }

    /// A part of a spectrum times the same part of the factors, which are the response's or real.
    #[expect(clippy::type_complexity, reason = "the tensors of a recording")]
    fn product_step(
        &self,
        device: &Device,
        bins: usize,
    ) -> Result<(Recording, (Tensor<Complex32>, Tensor<f32>), Tensor<Complex32>)> {
        let part = bins.div_ceil(8);
        let mut rec = device.recording("whitening: product");
        rec.in_pieces();
        let x = rec.input("part of a spectrum", part)?;
        let y = rec.scratch("part of a whitened spectrum", part)?;
        let factors = match self.response {
            Some(_) => {
                let response: Tensor<Complex32> = rec.input("part of the response", part)?;
                ops::complex_mul(&mut rec, x, response, Conjugate::None, 1.0, y)?;
                response.cast().ok_or_else(|| Error::Internal("complex numbers are two words".into()))?
            }
            None => {
                let weight = rec.input("part of the weight", part)?;
                ops::complex_scale(&mut rec, x, weight, 1.0, y)?;
                weight
            }
        };
        rec.download(y)?;
        Ok((rec, (x, factors), y))
    }

    /// The weight of the official recipe on the bins of so many samples.
    fn record_weight(&self, rec: &mut Recording, n: usize) -> Result<Tensor<f32>> {
        let density: Vec<f32> = self.density.values.iter().map(|v| *v as f32).collect();
        let density = rec.constant("density", &density)?;
        let window = (self.sample_rate_hz / self.density.df_hz).round() as usize;
        let weight = Weight::InverseRoot { scale: (2.0 / self.sample_rate_hz) as f32 };
        let band = (LOW_HZ / self.density.df_hz) as f32..=f32::MAX;
        ops::spectral_weight(rec, density, window, n, Bins::OneSided, weight, band)
    }

    fn record_official(&self, rec: &mut Recording, x: Tensor<f32>) -> Result<Tensor<f32>> {
        let n = x.len();
        let weight = self.record_weight(rec, n)?;
        let spectrum = rec.scratch("spectrum", n / 2 + 1)?;
        let white = rec.scratch("whitened spectrum", n / 2 + 1)?;
        let y = rec.scratch("whitened", n)?;
        ops::rfft(rec, n, x, spectrum)?;
        ops::complex_scale(rec, spectrum, weight, 1.0, white)?;
        ops::irfft(rec, n, white, y)?;
        Ok(y)
    }
}

/// The samples, and zeros behind them.
fn padded(samples: &[f32], to: &mut [f32]) {
    let have = to.len().min(samples.len());
    to[..have].copy_from_slice(&samples[..have]);
    to[have..].fill(0.0);
}

fn forward_step(device: &Device, points: usize) -> Result<(Recording, Tensor<f32>, Tensor<Complex32>)> {
    let mut rec = device.recording("whitening: transform");
    rec.in_pieces();
    let x = rec.input("strain", points)?;
    let spectrum = rec.scratch("spectrum", points / 2 + 1)?;
    ops::rfft(&mut rec, points, x, spectrum)?;
    rec.download(spectrum)?;
    Ok((rec, x, spectrum))
}

fn inverse_step(device: &Device, points: usize) -> Result<(Recording, Tensor<Complex32>, Tensor<f32>)> {
    let mut rec = device.recording("whitening: inverse transform");
    rec.in_pieces();
    let spectrum = rec.input("whitened spectrum", points / 2 + 1)?;
    let y = rec.scratch("whitened", points)?;
    ops::irfft(&mut rec, points, spectrum, y)?;
    rec.download(y)?;
    Ok((rec, spectrum, y))
}

impl Response {
    /// The transform of a block's length.
    fn spectrum(&self) -> Result<Vec<Complex32>> {
        let spectrum = whiten::real_transform(&self.taps, self.points())?;
        Ok(spectrum.into_iter().map(|z| Complex32::new(z.re as f32, z.im as f32)).collect())
    }

    /// Samples before an output that it depends on.
    fn reach(&self) -> usize {
        self.taps.len() - 1
    }

    /// Points of a block, four to eight times as long as itself.
    fn points(&self) -> usize {
        (4 * self.taps.len()).next_power_of_two()
    }

    /// Outputs of a block.
    fn fresh(&self) -> usize {
        self.points() - self.reach()
    }

    /// Blocks that cover so many samples.
    fn blocks(&self, samples: usize) -> usize {
        (samples - self.reach()).div_ceil(self.fresh())
    }

    /// Samples of so many blocks.
    fn samples(&self, blocks: usize) -> usize {
        (blocks - 1) * self.fresh() + self.points()
    }
}

/// Appends y\[i\] = Σ taps\[k\]·x\[i + taps − 1 − k\], by overlapping blocks.
fn record_response(rec: &mut Recording, x: Tensor<f32>, response: &Response) -> Result<Tensor<f32>> {
    let (taps, reach) = (&response.taps, response.reach());
    if x.len() <= reach {
        return Err(Error::invalid(
            "samples",
            format!("{} are fewer than the {} of the response", x.len(), taps.len()),
        ));
    }
    let outputs = x.len() - reach;
    let (block, fresh, rows) = (response.points(), response.fresh(), response.blocks(x.len()));

    let padded = rec.scratch("padded strain", response.samples(rows))?;
    rec.clear(padded)?;
    rec.copy(x, 0, padded, 0, x.len())?;
    let starts: Vec<u32> = (0..rows).map(|row| (row * fresh) as u32).collect();
    let blocks = ops::windowed(rec, padded, &starts, &vec![1.0; block])?;

    let bins = block / 2 + 1;
    let response = rec.constant("response", &response.spectrum()?)?;
    let spectra = rec.scratch("block spectra", rows * bins)?;
    let products = rec.scratch("filtered spectra", rows * bins)?;
    let filtered = rec.scratch("filtered blocks", rows * block)?;
    ops::rfft(rec, block, blocks, spectra)?;
    ops::complex_mul(rec, spectra, response, Conjugate::None, 1.0, products)?;
    ops::irfft(rec, block, products, filtered)?;

    let y = rec.scratch("whitened", outputs)?;
    for row in 0..rows {
        let at = row * fresh;
        rec.copy(filtered, row * block + reach, y, at, fresh.min(outputs - at))?;
    }
    Ok(y)
}

/// [`psd`] in f64 on the host.
///
/// # Errors
/// As [`psd`].
pub fn reference_psd(strain: &Strain, segments: &[Segment], welch: &Welch) -> Result<Psd> {
    let stretches = stretches(strain, segments, welch)?;
    let stretches: Vec<&[f64]> = stretches.iter().map(Vec::as_slice).collect();
    unconditioned(welch.estimate(&stretches, strain.sample_rate_hz)?, strain.sample_rate_hz)
}

/// [`whiten`](fn@whiten) in f64 on the host.
///
/// # Errors
/// As [`whiten`](fn@whiten).
pub fn reference_whiten(strain: &Strain, segments: &[Segment], psd: &Psd, method: Method) -> Result<Vec<Whitened>> {
    let rate = strain.sample_rate_hz;
    let whitening = Whitening::new(psd, rate, method)?;
    long_enough(method, segments, rate)?
        .into_iter()
        .map(|segment| {
            let samples = whitening.condition_f64(segment.of(&strain.values))?;
            let whitened = whiten::whiten(&samples, rate, &whitening.density, method)?;
            Ok(Whitened { start: segment.start + whitened.start, ..whitened })
        })
        .collect()
}

/// The largest relative difference of two densities within [`CHECKED_HZ`].
pub fn largest_difference(found: &Psd, reference: &Psd) -> f64 {
    (found.values.iter().zip(&reference.values).enumerate())
        .filter(|(k, _)| (CHECKED_HZ[0]..=CHECKED_HZ[1]).contains(&(*k as f64 * found.df_hz)))
        .map(|(_, (found, reference))| (found / reference - 1.0).abs())
        .fold(0.0, nan_max)
}

/// The largest difference of two stretches of whitened strain, in standard deviations of the noise, after frequencies
/// outside [`CHECKED_HZ`] have been taken out of it.
///
/// # Errors
/// `InvalidArgument` if they are not of one length.
pub fn largest_in_band(found: &[f32], reference: &[f64], sample_rate_hz: f64) -> Result<f64> {
    let n = found.len();
    if n != reference.len() || n == 0 {
        return Err(Error::invalid("whitened strain", format!("{n} samples against {}", reference.len())));
    }
    let difference: Vec<f64> = found.iter().zip(reference).map(|(a, b)| f64::from(*a) - b).collect();
    let mut spectrum = whiten::real_transform(&difference, n)?;
    for (k, z) in spectrum.iter_mut().enumerate() {
        if !(CHECKED_HZ[0]..=CHECKED_HZ[1]).contains(&(k as f64 * sample_rate_hz / n as f64)) {
            *z = 0.0.into();
        }
    }
    Ok(whiten::inverse_real_transform(&mut spectrum, n)?.into_iter().map(f64::abs).fold(0.0, nan_max))
}

/// The larger, or NaN if there is one.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}
