//! Spikes from signals: temporal contrast and the delta modulator.
//!
//! Signals are `[channels, time]`. A spike train has two rows a threshold, ON and then OFF, see [`Events`]. The same
//! signal gives the same spikes on every device, bit for bit: differences and levels are f32 sums rounded one by one,
//! with samples below 1e-30 in magnitude taken as zero.
//!
//! A sample that is NaN or infinite gives no spike; nor does the difference to its successor, and a tracking level
//! passes over it.

use super::fill;
use super::lif::{ThresholdRule, steps_a_dispatch};
use crate::kernel::{self, Tensor, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

/// Samples of a workgroup of `shaders/temporal_contrast.wgsl`.
const GROUP: usize = 256;
/// Channels of a workgroup of `shaders/step_forward.wgsl`.
const CHANNELS: usize = 64;

const STRICT: u32 = 1;
const FROM_ZERO: u32 = 2;
const ROUND: u32 = 2;
const NORMALISE: u32 = 4;
const DENSE: u32 = 8;

/// Where spikes go. Row `2k` of a channel is ON at threshold k, row `2k + 1` OFF.
#[derive(Debug, Clone, Copy)]
pub enum Events {
    /// `[channels, 2 · thresholds, ceil(time / 32)]`: sample t is bit t % 32 of word t / 32; spare bits are 0.
    Packed(Tensor<u32>),
    /// `[channels, 2 · thresholds, time]`: 1.0 or 0.0.
    Dense(Tensor<f32>),
}

impl Events {
    /// The tensor as words, after its length is checked.
    fn words(self, rows: usize, time: usize) -> Result<(Tensor<u32>, u32)> {
        let (len, row, flag) = match self {
            Self::Packed(t) => (t.len(), event_words(time), 0),
            Self::Dense(t) => (t.len(), time, DENSE),
        };
        if Some(len) != rows.checked_mul(row) {
            return Err(Error::invalid("events", format!("{len} elements; {rows} rows have {row} each")));
        }
        let tensor = match self {
            Self::Packed(t) => Some(t),
            Self::Dense(t) => t.cast::<u32>(),
        };
        tensor.map(|t| (t, flag)).ok_or_else(|| Error::Internal("not whole words".into()))
    }
}

/// The words of a packed row of `time` samples.
pub fn event_words(time: usize) -> usize {
    time.div_ceil(32)
}

/// What the first sample is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum First {
    /// Itself: it gives no spike.
    #[default]
    Itself,
    /// Zero, as snnTorch's `spikegen.delta` does without padding.
    Zero,
}

/// Stateless temporal contrast: `d_t = x_t − x_{t−1}` spikes ON where `d_t ≥ θ` and OFF where `−d_t ≥ θ` (or `>`), at
/// each of up to four thresholds. A jump over several thresholds spikes at each of them, in the same sample.
#[derive(Debug, Clone, PartialEq)]
pub struct TemporalContrast {
    /// One to four positive thresholds.
    pub thresholds: Vec<f32>,
    /// `>=` or `>`.
    pub rule: ThresholdRule,
    /// What the first sample is compared with.
    pub first: First,
    /// Thresholds are multiples of the channel's own [`difference_std`]; a channel that never changes is silent.
    pub normalise: bool,
}

impl TemporalContrast {
    /// One threshold, `>=`, the first sample silent, not normalised.
    pub fn new(threshold: f32) -> Self {
        let first = First::default();
        Self { thresholds: vec![threshold], rule: ThresholdRule::AtOrAbove, first, normalise: false }
    }

    /// The phase-preserving encoder: four thresholds 0.1 · 2^i, `>`.
    pub fn phase_preserving() -> Self {
        let thresholds = (0..4).map(|i| 0.1 * (1 << i) as f32).collect();
        Self { thresholds, rule: ThresholdRule::Above, ..Self::new(0.1) }
    }

    /// Rows of a channel's spike train.
    pub fn rows(&self) -> usize {
        2 * self.thresholds.len()
    }
}

/// Samples of a channel.
fn samples(x: Tensor<f32>, channels: usize) -> Result<usize> {
    if channels == 0 || !x.len().is_multiple_of(channels) {
        let why = format!("{channels} for {} samples; it must divide them", x.len());
        return Err(Error::invalid("channels", why));
    }
    Ok(x.len() / channels)
}

fn positive(what: &str, value: f32) -> Result<()> {
    if (1e-30..=1e30).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(what, format!("{value}; it must be from 1e-30 to 1e30")))
}

/// The standard deviation of each channel's first difference, about its mean, over the differences whose two samples
/// are finite: `std` is `[channels]`, in the signal's unit; 0 for a channel that never changes. Relative error about
/// 1e-6, and every device gives the same bits.
///
/// # Errors
/// `InvalidArgument` for lengths that do not fit; `Unsupported` for channels longer than the device's kernels can loop
/// over (5 million samples on the portable floor).
pub fn difference_std(rec: &mut Recording, x: Tensor<f32>, channels: usize, std: Tensor<f32>) -> Result<()> {
    use kernel::difference_std::{Args, Params, dispatch};
    let time = samples(x, channels)?;
    if std.len() != channels {
        return Err(Error::invalid("std", format!("{} elements for {channels} channels", std.len())));
    }
    // Three passes, and the trees.
    let most = (rec.capabilities().max_loop as usize).saturating_sub(64) / 3 * 256;
    if time > most {
        let (need, have) = (format!("{time} samples a channel"), format!("room for {most}"));
        return Err(Error::Unsupported { what: "difference_std".into(), need, have });
    }
    let params = Params { time: time as u32 };
    rec.dispatch(dispatch(params, Args { x, deviation: std }, channels as u64).work(6 * x.len() as u64))
}

/// The scale that a normalising encoder multiplies its thresholds with, or a tensor that is not read.
fn scale(rec: &mut Recording, x: Tensor<f32>, channels: usize, normalise: bool) -> Result<Tensor<f32>> {
    if !normalise {
        return rec.constant("no scale", &[1f32]);
    }
    let std = rec.scratch("difference std", channels)?;
    difference_std(rec, x, channels, std)?;
    Ok(std)
}

/// Encodes `x` `[channels, time]` without state, see [`TemporalContrast`].
///
/// # Errors
/// `InvalidArgument` for lengths that do not fit or thresholds that are not one to four positive numbers; as
/// [`difference_std`] when normalising.
pub fn temporal_contrast(
    rec: &mut Recording,
    x: Tensor<f32>,
    channels: usize,
    encoder: &TemporalContrast,
    events: Events,
) -> Result<()> {
    use kernel::temporal_contrast::{Args, Params, dispatch};
    let time = samples(x, channels)?;
    let thresholds = &encoder.thresholds;
    if thresholds.is_empty() || thresholds.len() > 4 {
        return Err(Error::invalid("thresholds", format!("{} of them; one to four", thresholds.len())));
    }
    for &t in thresholds {
        positive("threshold", t)?;
    }
    let (spikes, mut flags) = events.words(channels * encoder.rows(), time)?;
    for (flag, set) in [
        (STRICT, encoder.rule == ThresholdRule::Above),
        (FROM_ZERO, encoder.first == First::Zero),
        (NORMALISE, encoder.normalise),
    ] {
        flags |= if set { flag } else { 0 };
    }
    let scale = scale(rec, x, channels, encoder.normalise)?;
    let groups = time.div_ceil(GROUP);
    let at = |k: usize| thresholds.get(k).copied().unwrap_or(0.0);
    let params = Params {
        time: time as u32,
        groups: groups as u32,
        count: thresholds.len() as u32,
        flags,
        threshold_0: at(0),
        threshold_1: at(1),
        threshold_2: at(2),
        threshold_3: at(3),
    };
    let work = x.len() as u64 * (4 + 4 * thresholds.len() as u64);
    rec.dispatch(dispatch(params, Args { x, scale, spikes }, (channels * groups) as u64).work(work))
}

/// Where the level of a [`StepForward`] starts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Start {
    /// At the first finite sample, which gives no spike.
    #[default]
    FirstSample,
    /// At the first finite sample rounded to the nearest integer, ties to even (Speech2Spikes); no spike.
    RoundedFirstSample,
    /// At this value.
    Value(f32),
    /// Where the level tensor stands: the signal goes on from an earlier call.
    Continue,
}

/// The step-forward encoder, or delta modulator: a level L follows the signal. Where `x_t ≥ L + θ` an ON spike raises L
/// by θ, where `x_t ≤ L − θ` an OFF spike lowers it (or `>` and `<`). At most one spike a sample: after a jump over
/// several thresholds the level follows over as many samples.
///
/// Petro, Kasabov & Kiss, IEEE Trans. Neural Netw. Learn. Syst. 31 (2020); Stewart et al., Speech2Spikes (2023).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepForward {
    /// θ, positive.
    pub threshold: f32,
    /// `>` is usual.
    pub rule: ThresholdRule,
    /// Where the level starts.
    pub start: Start,
    /// θ is a multiple of the channel's own [`difference_std`]; a channel that never changes is silent.
    pub normalise: bool,
}

impl StepForward {
    /// `>`, from the first sample, not normalised.
    pub fn new(threshold: f32) -> Self {
        Self { threshold, rule: ThresholdRule::Above, start: Start::default(), normalise: false }
    }
}

/// Encodes `x` `[channels, time]` by tracking, serial in time and parallel in channels, see [`StepForward`]. `level`
/// `[channels]` receives the levels after the last sample.
///
/// # Errors
/// `InvalidArgument` for lengths that do not fit or a threshold that is not positive; as [`difference_std`] when
/// normalising.
pub fn step_forward(
    rec: &mut Recording,
    x: Tensor<f32>,
    channels: usize,
    encoder: &StepForward,
    level: Tensor<f32>,
    events: Events,
) -> Result<()> {
    use kernel::step_forward::{Args, Params, dispatch};
    let time = samples(x, channels)?;
    positive("threshold", encoder.threshold)?;
    if level.len() != channels {
        return Err(Error::invalid("level", format!("{} elements for {channels} channels", level.len())));
    }
    let (spikes, mut flags) = events.words(2 * channels, time)?;
    for (flag, set) in [
        (STRICT, encoder.rule == ThresholdRule::Above),
        (ROUND, encoder.start == Start::RoundedFirstSample),
        (NORMALISE, encoder.normalise),
    ] {
        flags |= if set { flag } else { 0 };
    }
    match encoder.start {
        // A level that is not a number takes the next finite sample.
        Start::FirstSample | Start::RoundedFirstSample => fill(rec, level, f32::NAN)?,
        Start::Value(v) if v.is_finite() => fill(rec, level, v)?,
        Start::Value(v) => return Err(Error::invalid("start", format!("{v}; it must be finite"))),
        Start::Continue => {}
    }
    let scale = scale(rec, x, channels, encoder.normalise)?;
    let most = steps_a_dispatch(rec);
    for first in (0..time).step_by(most) {
        let count = most.min(time - first);
        let params = Params {
            channels: channels as u32,
            time: time as u32,
            first: first as u32,
            count: count as u32,
            flags,
            threshold: encoder.threshold,
        };
        let work = 8 * (channels * count) as u64;
        let args = Args { x, scale, level, spikes };
        rec.dispatch(dispatch(params, args, workgroups(channels, CHANNELS)).work(work))?;
    }
    Ok(())
}
