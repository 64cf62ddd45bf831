//! The matched-filter search of two detectors.
//!
//! Per segment of data that both detectors have: the noise's spectrum and the data's spectrum are made on the device
//! (`Network`); then each template is correlated with both detectors' data, and the loudest joint peak within the
//! light's travel time is looked for. A single template runs at the full rate. A bank runs at a lower rate first, which
//! loses only the part of each template's power above that band, and the loudest templates are then evaluated again at
//! the full rate and over the full band, so the result is that of a full search of those.
//!
//! The recipe is that of the GWOSC event tutorial (see [`super::exact`]), with two differences, both below 0.002 in the
//! signal-to-noise ratio of the events tested: data and template pass a 15 Hz high-pass before they become f32, and
//! frequencies below 10 Hz do not count.

use num_complex::{Complex32, Complex64};
use rayon::prelude::*;
use rustfft::FftPlanner;
use serde::Serialize;

use super::bank::Bank;
use super::condition;
use super::density::Density;
use super::exact::TAPER;
use super::filter::{self, Filter};
use super::spectrum::{Symmetry, Welch, Window};
use super::strain::{Strain, TemplateFile};
use crate::device::{Control, Device, MemoryPlan, Prepared, Sets, Stats, room};
use crate::kernel::{Kernel, Tensor};
use crate::ops::{self, Bins, Fft, Weight};
use crate::recording::Recording;
use crate::{Error, Result};

/// Frequencies below this do not count, in Hz: the detectors' noise rises steeply, and the high-pass has removed it.
const LOW_HZ: f64 = 10.0;
/// Where the templates of a bank begin, in Hz.
const BANK_LOW_HZ: f64 = 20.0;
/// The sample rate of a bank's first pass, in Hz. Complex samples at this rate hold all frequencies below it.
const COARSE_HZ: f64 = 1024.0;
/// The longest stretch that is searched at once, in seconds; longer data are cut into overlapping ones, each with its own
/// spectrum of the noise, which drifts over minutes.
const BLOCK_S: f64 = 64.0;
/// The rate of most strain files, in Hz.
const USUAL_HZ: f64 = 4096.0;
/// The shortest stretch that is searched, in seconds: fewer than three windows give no spectrum worth the name.
const LEAST_S: f64 = 8.0;
/// A detector whose samples do not change for so long is dead, in seconds: windows in which it is would make its noise
/// smaller than it is, and the median of mostly dead ones is zero.
const DEAD_S: f64 = 1.0;
/// The light's travel time between Hanford and Livingston, in seconds.
pub const LIGHT_TRAVEL_S: f64 = 0.010;
/// Templates whose first-pass network power is within this of the loudest are evaluated again at the full rate.
const AGAIN: f32 = 0.94;
/// At most so many.
const AGAIN_MOST: usize = 16;
/// Templates that are filtered at once, at most: on the native path their series then stay within the caches.
const TILE: usize = 16;

/// What the data are compared with.
#[derive(Debug, Clone)]
pub enum Templates {
    /// The waveform of a template file.
    File(Box<TemplateFile>),
    /// A bank of chirps.
    Bank(Bank),
}

impl Templates {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::File(_) => 1,
            Self::Bank(bank) => bank.templates().len(),
        }
    }

    /// What is known of one.
    pub fn describe(&self, index: usize) -> TemplateInfo {
        match self {
            Self::File(file) => TemplateInfo {
                source: "file",
                index,
                masses: file.masses,
                spins: file.spins,
                model: file.approximant.clone().unwrap_or_else(|| "unknown".into()),
            },
            Self::Bank(bank) => {
                let b = bank.templates()[index].binary();
                TemplateInfo {
                    source: "bank",
                    index,
                    masses: [b.mass1, b.mass2],
                    spins: [b.spin1, b.spin2],
                    model: "IMRPhenomD".into(),
                }
            }
        }
    }

    /// Twice the plus polarisation's spectrum at 1 Mpc, in strain per Hz, for the positive frequencies of `n` samples, with
    /// the merger at sample 0 and behind the high-pass that the data have passed.
    pub(super) fn spectrum(&self, index: usize, n: usize, rate: f64) -> Result<Vec<Complex64>> {
        match self {
            Self::File(file) => file_spectrum(file, n, rate),
            Self::Bank(bank) => {
                let mut spectrum = bank.templates()[index].spectrum(n, rate, BANK_LOW_HZ)?;
                let high_pass = Filter::high_pass(filter::HIGH_PASS_ORDER, filter::HIGH_PASS_HZ, rate)?;
                for (k, value) in spectrum.iter_mut().enumerate() {
                    // Above the tenth harmonic of its corner the filter is 1 to 1e-16.
                    let f = k as f64 * rate / n as f64;
                    let gain = if f < 10.0 * filter::HIGH_PASS_HZ { high_pass.amplitude(f, rate).powi(2) } else { 1.0 };
                    *value *= 2.0 * gain;
                }
                Ok(spectrum)
            }
        }
    }
}

/// A template file's spectrum; see [`Templates::spectrum`].
fn file_spectrum(file: &TemplateFile, n: usize, rate: f64) -> Result<Vec<Complex64>> {
    let have = file.plus.len();
    // The merger is in the middle, and stays there.
    let length = have.min(n);
    let (from, to) = ((have - length) / 2, (n - length) / 2);
    let taper = Window::Tukey(TAPER).samples(length, Symmetry::Symmetric);
    let high_pass = Filter::high_pass(filter::HIGH_PASS_ORDER, filter::HIGH_PASS_HZ, rate)?;
    let (plus, cross) = (high_pass.zero_phase(&file.plus)?, high_pass.zero_phase(&file.cross)?);
    let mut buffer = vec![Complex64::ZERO; n];
    for (i, taper) in taper.iter().enumerate() {
        buffer[to + i] = Complex64::new(plus[from + i], cross[from + i]) * taper / rate;
    }
    buffer.rotate_left(to + have / 2 - from);
    FftPlanner::new().plan_fft_forward(n).process(&mut buffer);
    // Quarter-cycle polarisations put all of h₊ + i h× on one side of the spectrum.
    let half = n / 2 + 1;
    let positive: Vec<Complex64> = buffer[..half].to_vec();
    let negative: Vec<Complex64> = (0..half).map(|k| buffer[(n - k) % n].conj()).collect();
    let power = |s: &[Complex64]| s.iter().map(Complex64::norm_sqr).sum::<f64>();
    let (p, m) = (power(&positive), power(&negative));
    if p.min(m) > 1e-3 * p.max(m) {
        return Err(Error::invalid(
            "template",
            "its polarisations are not a quarter cycle apart, as those of a binary whose spins are aligned",
        ));
    }
    if !(p.max(m) > 0.0) {
        return Err(Error::invalid("template", "it is zero"));
    }
    Ok(if p > m { positive } else { negative })
}

/// What a search found.
#[derive(Debug, Clone, Serialize)]
pub struct TemplateInfo {
    /// `file` or `bank`.
    pub source: &'static str,
    /// Its number in the bank.
    pub index: usize,
    /// Component masses in the detector frame, in solar masses.
    pub masses: [f64; 2],
    /// Aligned spins, dimensionless.
    pub spins: [f64; 2],
    /// The waveform model.
    pub model: String,
}

/// One detector's part of the loudest joint peak.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// Signal-to-noise ratio.
    pub snr: f64,
    /// GPS time of the peak: of the merger for a chirp of the bank, of the middle of the waveform for a template file
    /// (in the files of the GWOSC tutorials the merger is about 16 ms before it).
    pub gps_time: f64,
    /// Distance of an optimally placed and oriented source as loud, in Mpc.
    pub effective_distance_mpc: f64,
    /// Distance to which the detector sees a neutron-star binary (1.4 + 1.4 solar masses, SNR 8, sky average), in Mpc.
    pub range_mpc: f64,
    /// Phase of the signal against the template, in radians.
    pub phase: f64,
}

/// The two series of the winning template about its peak, for pictures.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// GPS time of the first sample.
    pub gps_start: f64,
    /// Signal-to-noise ratio of each detector at the full rate.
    pub snr: [Vec<f32>; 2],
    /// Twice the plus spectrum of the winning template; see [`Templates`].
    pub template: Vec<Complex64>,
}

/// The result of a search.
#[derive(Debug, Clone)]
pub struct SearchResult {
    /// Names of the two detectors.
    pub names: [String; 2],
    /// What each saw.
    pub found: [Found; 2],
    /// Arrival at the second detector minus arrival at the first, in ms.
    pub delay_ms: f64,
    /// Root of the sum of the squared signal-to-noise ratios.
    pub network_snr: f64,
    /// Signal-to-noise ratio of the two detectors' data added with that delay and one sign, weighted by sensitivity: what a
    /// single amplitude and phase explain together.
    pub coherent_snr: f64,
    /// The sign with which the second detector's data are added: −1 for Hanford and Livingston means "seen upside down".
    pub coherent_sign: f64,
    /// The winning template.
    pub template: TemplateInfo,
    /// Seconds of coincident data that were searched.
    pub searched_s: f64,
    /// Templates times seconds of data, each detector counted.
    pub template_seconds: f64,
    /// The winning template's series.
    pub series: Series,
    /// Seconds: making the device's recordings ready, and running them.
    pub warmup_s: f64,
    /// See `warmup_s`.
    pub run_s: f64,
    /// What was planned, in bytes of the device's memory.
    pub planned_bytes: u64,
    /// The largest memory of the device during the search, in bytes.
    pub peak_bytes: u64,
    /// What the device created after its warmup: nothing, if all is well and everything was held ready.
    pub created: Created,
}

/// What a run created on the device.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq, Eq)]
pub struct Created {
    /// Pipelines.
    pub pipelines: u64,
    /// Buffers.
    pub buffers: u64,
    /// Bind groups.
    pub bind_groups: u64,
}

impl Created {
    /// What happened between two readings of the counters.
    pub fn between(before: &Stats, after: &Stats) -> Self {
        Self {
            pipelines: after.pipelines_created - before.pipelines_created,
            buffers: after.memory.buffers_created - before.memory.buffers_created,
            bind_groups: after.bind_groups_created - before.bind_groups_created,
        }
    }
}

/// The distance in Mpc to which a detector sees a binary of two neutron stars of 1.4 solar masses, averaged over the sky.
///
/// # Errors
/// `InvalidArgument` if there are not 4 s of good data in one stretch.
pub fn range_mpc(strain: &Strain) -> Result<f64> {
    let rate = strain.sample_rate_hz;
    let stretches: Vec<&[f64]> = strain.segments(None)?.iter().map(|s| s.of(&strain.values)).collect();
    Welch::official(rate).estimate(&stretches, rate)?.range_mpc(1.4, 1.4)
}

/// A stretch of data that both detectors have without a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// First sample in each detector's file.
    pub start: [usize; 2],
    /// Samples.
    pub n: usize,
    /// GPS time of the first.
    pub gps_start: f64,
}

/// The stretches of good data that both have, in order of time.
///
/// # Errors
/// `InvalidArgument` if the rates differ, or the files have no 8 s of good data in common.
pub fn coincident(strains: [&Strain; 2], flag: Option<&str>) -> Result<Vec<Stretch>> {
    let [a, b] = strains;
    let rate = a.sample_rate_hz;
    if rate != b.sample_rate_hz {
        let why = format!("{} has {rate} samples a second and {} has {}", a.detector, b.detector, b.sample_rate_hz);
        return Err(Error::invalid("strain", why));
    }
    let span = |s: &Strain| format!("{} covers GPS {} to {}", s.detector, s.gps_start, s.gps_start + s.duration_s());
    let shift = ((b.gps_start - a.gps_start) * rate).round() as i64;
    let mut out = Vec::new();
    for sa in a.segments(flag)? {
        for sb in b.segments(flag)? {
            let start = (sa.start as i64).max(sb.start as i64 + shift);
            let end = (sa.end as i64).min(sb.end as i64 + shift);
            if (end - start) as f64 >= LEAST_S * rate {
                let gps_start = a.gps_start + start as f64 / rate;
                let starts = [start as usize, (start - shift) as usize];
                out.push(Stretch { start: starts, n: (end - start) as usize, gps_start });
            }
        }
    }
    if out.is_empty() {
        let apart = b.gps_start >= a.gps_start + a.duration_s() || a.gps_start >= b.gps_start + b.duration_s();
        let what =
            if apart { "they do not overlap in time".into() } else { format!("no {LEAST_S} s of good data in common") };
        return Err(Error::invalid("strain", format!("{}; {}; {what}", span(a), span(b))));
    }
    out.sort_by(|x, y| x.gps_start.total_cmp(&y.gps_start));
    Ok(out)
}

/// The blocks of at most `most` samples in which the data that both have are worked on, and their lengths, each once.
pub(super) fn cut(strains: [&Strain; 2], flag: Option<&str>, most: usize) -> Result<(Vec<Stretch>, Vec<usize>)> {
    let rate = strains[0].sample_rate_hz;
    let all: Vec<Stretch> = coincident(strains, flag)?.iter().flat_map(|s| blocks(s, rate, most)).collect();
    let mut lengths: Vec<usize> = all.iter().map(|b| b.n).collect();
    lengths.sort_unstable();
    lengths.dedup();
    Ok((all, lengths))
}

/// Cuts a stretch into blocks of one length, at most `most` samples, that overlap by their tapers.
fn blocks(stretch: &Stretch, rate: f64, most: usize) -> Vec<Stretch> {
    let longest = ((BLOCK_S * rate) as usize).min(most);
    // An even length, of which the coarse rate is a whole fraction.
    let unit = 2 * coarse_factor(rate);
    if stretch.n <= longest {
        return vec![Stretch { n: stretch.n / unit * unit, ..stretch.clone() }];
    }
    let n = longest / unit * unit;
    let step = n - 2 * edge(n);
    let count = (stretch.n - n).div_ceil(step) + 1;
    (0..count)
        .map(|i| {
            let at = (i * step).min(stretch.n - n);
            Stretch { start: stretch.start.map(|s| s + at), n, gps_start: stretch.gps_start + at as f64 / rate }
        })
        .collect()
}

/// Seconds that blocks in order of time cover together, each without `margin(n)` samples at either end.
pub(super) fn covered_s(blocks: &[Stretch], rate: f64, margin: impl Fn(usize) -> usize) -> f64 {
    let (mut sum, mut end) = (0.0, f64::MIN);
    for block in blocks {
        let margin = margin(block.n) as f64 / rate;
        let (from, to) = (block.gps_start + margin, block.gps_start + block.n as f64 / rate - margin);
        sum += (to - from.max(end)).max(0.0);
        end = to.max(end);
    }
    sum
}

/// Samples on each side that the taper takes.
pub(super) fn edge(n: usize) -> usize {
    (n as f64 * TAPER / 2.0).ceil() as usize
}

/// Both detectors' samples of a block behind the high-pass, in the scale of [`filter::condition`].
///
/// # Errors
/// `InvalidArgument` if they are so small or so large that they cannot be strain (other units), or a sample stands
/// for [`DEAD_S`].
pub(super) fn conditioned(strains: [&Strain; 2], block: &Stretch, rate: f64) -> Result<Vec<Vec<f32>>> {
    let one = |i: usize| -> Result<Vec<f32>> {
        let strain = strains[i];
        let raw = &strain.values[block.start[i]..][..block.n];
        let still = raw.chunk_by(|a, b| a == b).map(<[f64]>::len).max().unwrap_or(0) as f64 / rate;
        if still >= DEAD_S {
            let why = format!(
                "{} after GPS {} is not strain: it stands still for {still:.1} s, a dead channel; mark what is no data as NaN",
                strain.detector, block.gps_start
            );
            return Err(Error::invalid("strain", why));
        }
        let values = filter::condition(raw, rate)?;
        let largest = values.iter().fold(0.0, |most: f64, v| if v.is_finite() { most.max(v.abs()) } else { f64::MAX });
        // Powers of these and their sums are still normal numbers of f32.
        if !(1e-12..1e12).contains(&largest) {
            let why = format!(
                "{} from GPS {} on is not strain: its largest sample behind the high-pass is {:e}, where 1e-21 is usual",
                strain.detector,
                block.gps_start,
                largest / 2f64.powi(filter::STRAIN_SCALE_LOG2)
            );
            return Err(Error::invalid("strain", why));
        }
        Ok(values.into_iter().map(|v| v as f32).collect())
    };
    (0..2).into_par_iter().map(one).collect()
}

fn coarse_factor(rate: f64) -> usize {
    ((rate / COARSE_HZ) as usize).max(1)
}

/// The recording that turns both detectors' conditioned strain into densities and spectra.
#[derive(Debug)]
struct Network {
    strain: [Tensor<f32>; 2],
    psd: [Tensor<f32>; 2],
    spectrum: [Tensor<Complex32>; 2],
}

/// Samples of a Welch window: 4 s, or a third of a shorter block's length, so that there are five windows.
fn welch_length(n: usize, rate: f64) -> usize {
    ((4.0 * rate) as usize).min(n / 3) / 2 * 2
}

/// The windows in which the noise's density is measured.
fn welch(n: usize, rate: f64) -> Welch {
    let length = welch_length(n, rate);
    Welch { length, overlap: length / 2, ..Welch::matched_filter(rate) }
}

/// The spectrum of tapered strain, which comes back.
fn tapered_spectrum(rec: &mut Recording, strain: Tensor<f32>, name: &str) -> Result<Tensor<Complex32>> {
    let n = strain.len();
    let tukey: Vec<f32> = Window::Tukey(TAPER).samples(n, Symmetry::Symmetric).iter().map(|w| *w as f32).collect();
    let tapered = ops::windowed(rec, strain, &[0], &tukey)?;
    let spectrum = rec.scratch(name, n / 2 + 1)?;
    ops::rfft(rec, n, tapered, spectrum)?;
    rec.download(spectrum)?;
    Ok(spectrum)
}

impl Network {
    fn record(rec: &mut Recording, n: usize, rate: f64) -> Result<Self> {
        let welch = welch(n, rate);
        let starts: Vec<u32> = welch.starts(n).map(|s| s as u32).collect();
        let mut one = |name: &str| -> Result<(Tensor<f32>, Tensor<f32>, Tensor<Complex32>)> {
            let strain = rec.input(format!("{name} strain"), n)?;
            let psd = condition::record_psd(rec, strain, &starts, &welch, rate)?;
            rec.download(psd)?;
            Ok((strain, psd, tapered_spectrum(rec, strain, &format!("{name} spectrum"))?))
        };
        let (a, b) = (one("first")?, one("second")?);
        Ok(Self { strain: [a.0, b.0], psd: [a.1, b.1], spectrum: [a.2, b.2] })
    }
}

/// The reciprocal of the noise's density on the bins of `n` samples, in the band that counts.
fn inverse_density(rec: &mut Recording, psd: Tensor<f32>, n: usize, rate: f64) -> Result<Tensor<f32>> {
    let length = welch_length(n, rate);
    let band = (LOW_HZ * length as f64 / rate) as f32..=(length / 2) as f32;
    ops::spectral_weight(rec, psd, length, n, Bins::OneSided, Weight::Inverse { scale: 1.0 }, band)
}

/// What makes the weighted power of a template the reciprocal of its norm in the series' units: 4Δf/n².
fn norm_scale(n: usize, rate: f64) -> f32 {
    (4.0 / (n as f64 * rate)) as f32
}

/// Where two series of each template are loudest together; all of it comes back.
fn coincident_peaks(
    rec: &mut Recording,
    [a, b]: [Tensor<Complex32>; 2],
    norm: Tensor<f32>,
    (n, rate): (usize, f64),
    (rows, factor): (usize, usize),
) -> Result<ops::CoincidentPeaks> {
    let m = n / factor;
    let reach = (LIGHT_TRAVEL_S * rate / factor as f64).ceil() as usize;
    let margin = edge(n) / factor;
    let peaks = ops::coincident_peak(rec, (a, b), norm, (rows, m), margin..m - margin, reach)?;
    rec.download(peaks.power)?;
    rec.download(peaks.at_a)?;
    rec.download(peaks.at_b)?;
    Ok(peaks)
}

/// The recording that filters a tile of templates.
#[derive(Debug)]
struct Tile {
    psd: [Tensor<f32>; 2],
    spectrum: [Tensor<Complex32>; 2],
    templates: Tensor<Complex32>,
    norm: Tensor<f32>,
    series: Option<[Tensor<Complex32>; 2]>,
    peaks: ops::CoincidentPeaks,
}

impl Tile {
    /// `factor` 1: the full rate, and the series come back; else the rate divided by it, peaks alone.
    fn record(rec: &mut Recording, n: usize, rate: f64, rows: usize, factor: usize) -> Result<Self> {
        let bins = n / 2 + 1;
        let length = welch_length(n, rate);
        let m = n / factor;
        let keep = bins.min(m);
        let templates = rec.input("templates", rows * bins)?;
        let norm = rec.scratch("norms", rows * 2)?;
        let mut one = |i: usize| -> Result<(Tensor<f32>, Tensor<Complex32>, Tensor<Complex32>)> {
            let psd = rec.input("density", length / 2 + 1)?;
            let x = rec.input("spectrum", bins)?;
            let weight = inverse_density(rec, psd, n, rate)?;
            ops::weighted_power(rec, templates, (bins, bins), weight, norm_scale(n, rate), norm, (2, i))?;
            // The series' factors: the data's spectrum over the noise's density, on the bins that this rate holds.
            let factors = rec.scratch("weighted spectrum", bins)?;
            ops::complex_scale(rec, x, weight, 1.0, factors)?;
            let z = rec.scratch("series", rows * m)?;
            Fft::inverse(m).scale(1.0).rows(bins, keep).conjugate().factors(factors).record(rec, templates, z)?;
            Ok((psd, x, z))
        };
        let (a, b) = (one(0)?, one(1)?);
        let peaks = coincident_peaks(rec, [a.2, b.2], norm, (n, rate), (rows, factor))?;
        rec.download(norm)?;
        let series = if factor == 1 {
            rec.download(a.2)?;
            rec.download(b.2)?;
            Some([a.2, b.2])
        } else {
            None
        };
        Ok(Self { psd: [a.0, b.0], spectrum: [a.1, b.1], templates, norm, series, peaks })
    }
}

/// One detector's part of a search in the least memory: a recording for each step.
#[derive(Debug)]
enum Step {
    Network(Network),
    Tile(Tile),
    /// Conditioned strain to its spectrum.
    Spectrum {
        strain: Tensor<f32>,
        spectrum: Tensor<Complex32>,
    },
    /// A density and a spectrum to the series' factors.
    Factors {
        psd: Tensor<f32>,
        spectrum: Tensor<Complex32>,
        factors: Tensor<Complex32>,
    },
    /// A template to its series and its norm.
    Filter(FilterStep),
    /// Two series to their joint peak.
    Peak {
        series: [Tensor<Complex32>; 2],
        norm: Tensor<f32>,
        peaks: ops::CoincidentPeaks,
    },
}

#[derive(Debug, Clone, Copy)]
struct FilterStep {
    psd: Tensor<f32>,
    factors: Tensor<Complex32>,
    template: Tensor<Complex32>,
    series: Tensor<Complex32>,
    norm: Tensor<f32>,
}

/// Which recording: what it does, and the length of the block that it does it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Network,
    /// So many templates at the low rate.
    Tile(usize),
    Full,
    Spectrum,
    Factors,
    /// At the rate divided by this.
    Filter(usize),
    /// The same.
    Peak(usize),
}

type Key = (Work, usize);

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Network => "strain to spectra",
            Self::Tile(_) => "a tile of templates",
            Self::Full => "one template",
            Self::Spectrum => "strain to spectrum",
            Self::Factors => "spectrum to factors",
            Self::Filter(_) => "one template in one detector",
            Self::Peak(_) => "coincident peak",
        }
    }
}

fn record(device: &Device, (work, n): Key, rate: f64) -> Result<(Step, Recording)> {
    let mut rec = device.recording(work.name());
    let r = &mut rec;
    if !matches!(work, Work::Network | Work::Tile(_) | Work::Full) {
        r.in_pieces();
    }
    let bins = n / 2 + 1;
    let psd = |r: &mut Recording| r.input("density", welch_length(n, rate) / 2 + 1);
    let step = match work {
        Work::Network => Step::Network(Network::record(r, n, rate)?),
        Work::Tile(rows) => Step::Tile(Tile::record(r, n, rate, rows, coarse_factor(rate))?),
        Work::Full => Step::Tile(Tile::record(r, n, rate, 1, 1)?),
        Work::Spectrum => {
            let strain = r.input("strain", n)?;
            Step::Spectrum { strain, spectrum: tapered_spectrum(r, strain, "spectrum")? }
        }
        Work::Factors => {
            let (psd, spectrum) = (psd(r)?, r.input("spectrum", bins)?);
            let weight = inverse_density(r, psd, n, rate)?;
            let factors = r.scratch("weighted spectrum", bins)?;
            ops::complex_scale(r, spectrum, weight, 1.0, factors)?;
            r.download(factors)?;
            Step::Factors { psd, spectrum, factors }
        }
        Work::Filter(factor) => {
            let (psd, factors) = (psd(r)?, r.input("factors", bins)?);
            let template = r.input("template", bins)?;
            let weight = inverse_density(r, psd, n, rate)?;
            let norm = r.scratch("norm", 1)?;
            ops::weighted_power(r, template, (bins, bins), weight, norm_scale(n, rate), norm, (1, 0))?;
            let m = n / factor;
            let series = r.scratch("series", m)?;
            let filter = Fft::inverse(m).scale(1.0).rows(bins, bins.min(m)).conjugate().factors(factors);
            filter.record(r, template, series)?;
            r.download(norm)?;
            r.download(series)?;
            Step::Filter(FilterStep { psd, factors, template, series, norm })
        }
        Work::Peak(factor) => {
            let series = [r.input("first series", n / factor)?, r.input("second series", n / factor)?];
            let norm = r.input("norms", 2)?;
            Step::Peak { series, norm, peaks: coincident_peaks(r, series, norm, (n, rate), (1, factor))? }
        }
    };
    Ok((step, rec))
}

fn unexpected() -> Error {
    Error::Internal("a recording does another work than its key says".into())
}

/// The densities and spectra of one block, on the host between two recordings.
#[derive(Default)]
struct Conditioned {
    psd: [Vec<f32>; 2],
    spectrum: [Vec<Complex32>; 2],
    /// Where detectors are worked on one by one.
    factors: [Vec<Complex32>; 2],
}

/// How a search is made to fit the memory, from the fastest way to the one that takes least. All give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// All recordings are ready from the start: a run creates nothing on the device.
    Everything,
    /// The recordings of a block are made ready one after the other.
    OneRecording,
    /// A recording a step, for one detector and one template.
    OneDetector,
}

/// What a search takes, known before it runs.
#[derive(Debug, Clone)]
pub struct SearchPlan {
    /// Bytes.
    pub memory: MemoryPlan,
    /// How it is made to fit.
    pub hold: Hold,
    /// Templates that are filtered at once.
    pub templates_at_once: usize,
    /// Blocks of data.
    pub blocks: usize,
    sets: Vec<Vec<Key>>,
    /// Of each length of block, where detectors are worked on one by one.
    densities: Vec<(usize, Density)>,
}

/// What is searched, without a device.
struct Problem<'a> {
    strains: [&'a Strain; 2],
    templates: &'a Templates,
    blocks: Vec<Stretch>,
    lengths: Vec<usize>,
}

impl<'a> Problem<'a> {
    fn new(strains: [&'a Strain; 2], templates: &'a Templates, flag: Option<&str>) -> Result<Self> {
        let rate = strains[0].sample_rate_hz;
        if rate < 4.0 * BANK_LOW_HZ {
            return Err(Error::invalid(
                "sample rate",
                format!("{rate} Hz cannot hold a signal above {BANK_LOW_HZ} Hz"),
            ));
        }
        let (blocks, lengths) = cut(strains, flag, usize::MAX)?;
        if let Templates::File(file) = templates
            && file.sample_rate_hz != rate
        {
            let why = format!("it has {} samples a second, and the data have {rate}", file.sample_rate_hz);
            return Err(Error::invalid("template", why));
        }
        Ok(Self { strains, templates, blocks, lengths })
    }

    fn rate(&self) -> f64 {
        self.strains[0].sample_rate_hz
    }

    /// The ways to do it, in the order in which they are tried; those that no budget makes possible are left out.
    fn plans(&self, device: &Device) -> Result<Vec<SearchPlan>> {
        let (rate, count) = (self.rate(), self.templates.count());
        let mut known: Vec<(Key, Option<Size>)> = Vec::new();
        let mut size = |key: Key| -> Result<Option<Size>> {
            if let Some((_, sized)) = known.iter().find(|(k, _)| *k == key) {
                return Ok(sized.clone());
            }
            let sized = match record(device, key, rate) {
                Ok((_, recording)) => {
                    let plan = recording.plan();
                    Some(Size { bytes: plan.peak_bytes(), largest: plan.largest })
                }
                Err(Error::Unsupported { .. }) if matches!(key.0, Work::Tile(2..)) => None,
                Err(error) => return Err(error),
            };
            known.push((key, sized.clone()));
            Ok(sized)
        };
        let rows: Vec<usize> = match count {
            1 => vec![1],
            _ => std::iter::successors(Some(TILE.min(count)), |rows| (*rows > 1).then_some(rows / 2)).collect(),
        };
        let mut plans = Vec::new();
        for hold in [Hold::Everything, Hold::OneRecording] {
            for &rows in &rows {
                let tile = (count > 1).then_some(Work::Tile(rows));
                let works = [Some(Work::Network), tile, Some(Work::Full)].into_iter().flatten();
                let keys: Vec<Key> =
                    self.lengths.iter().flat_map(|&n| works.clone().map(move |work| (work, n))).collect();
                let sets = match hold {
                    Hold::Everything => vec![keys],
                    _ => keys.into_iter().map(|key| vec![key]).collect(),
                };
                plans.push((hold, rows, sets, Vec::new()));
            }
        }
        let room = room(device);
        let (mut sets, mut densities): (Vec<Vec<Key>>, Vec<(usize, Density)>) = Default::default();
        for &n in &self.lengths {
            let welch = welch(n, rate);
            let starts = welch.starts(n).map(|s| s as u32).collect();
            densities.push((n, Density::plan(device, n, starts, (&welch, rate), room)?));
            let factors = if count > 1 { vec![coarse_factor(rate), 1] } else { vec![1] };
            let works = [Work::Spectrum, Work::Factors].into_iter();
            sets.extend(works.map(|work| vec![(work, n)]));
            sets.extend(factors.into_iter().flat_map(|f| [vec![(Work::Filter(f), n)], vec![(Work::Peak(f), n)]]));
        }
        plans.push((Hold::OneDetector, 1, sets, densities));
        let mut out = Vec::new();
        let mut least = 0;
        for (hold, rows, sets, densities) in plans.into_iter().rev() {
            let mut memory: Option<MemoryPlan> = None;
            let mut possible = true;
            for set in &sets {
                let mut parts = Vec::new();
                let mut largest = (String::new(), 0);
                for &key in set {
                    let Some(sized) = size(key)? else {
                        possible = false;
                        continue;
                    };
                    let name = format!("{}, {} samples", key.0.name(), key.1);
                    parts.push((name, sized.bytes));
                    if sized.largest.1 > largest.1 {
                        largest = sized.largest;
                    }
                }
                let plan = MemoryPlan::new(device, 0, parts, largest);
                memory = Some(memory.map_or(plan.clone(), |m| m.then(plan)));
            }
            let memory = densities.iter().fold(memory.unwrap_or_default(), |m, (_, d)| m.then(d.memory.clone()));
            if hold == Hold::OneDetector {
                let of_densities = densities.iter().map(|(_, d)| d.memory.least_bytes).max().unwrap_or(0);
                let of_sets = sets.iter().flatten().map(|k| size(*k)).collect::<Result<Vec<_>>>()?;
                least = of_sets.into_iter().flatten().map(|s| s.bytes).max().unwrap_or(0).max(of_densities);
            }
            let memory = MemoryPlan { least_bytes: least, ..memory };
            if possible {
                let blocks = self.blocks.len();
                out.push(SearchPlan { memory, hold, templates_at_once: rows, blocks, sets, densities });
            }
        }
        out.reverse();
        Ok(out)
    }

    /// The first way that the device has room for, and those that take less; the last one where there is room for none.
    fn fitting(&self, device: &Device) -> Result<Vec<SearchPlan>> {
        let mut plans = self.plans(device)?;
        let room = room(device);
        let first = plans.iter().position(|p| p.memory.planned_bytes <= room).unwrap_or(plans.len() - 1);
        Ok(plans.split_off(first))
    }
}

/// What a recording takes.
#[derive(Clone)]
struct Size {
    bytes: u64,
    largest: (String, u64),
}

/// A search that is ready to run.
pub struct Search<'a> {
    device: &'a Device,
    strains: [&'a Strain; 2],
    templates: &'a Templates,
    blocks: Vec<Stretch>,
    plan: SearchPlan,
    ready: Sets<Key, Step>,
    /// Seconds that making ready took.
    pub warmup_s: f64,
}

/// The loudest joint peak of one template in one block.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    power: f32,
    template: usize,
    block: usize,
}

impl<'a> Search<'a> {
    /// What a search takes: the fastest way that the device has room for.
    ///
    /// # Errors
    /// `InvalidArgument` for data that do not go together. A plan that does not fit is no error here.
    pub fn plan(
        device: &Device,
        strains: [&Strain; 2],
        templates: &Templates,
        flag: Option<&str>,
    ) -> Result<SearchPlan> {
        let mut plans = Problem::new(strains, templates, flag)?.fitting(device)?;
        Ok(plans.swap_remove(0))
    }

    /// Cuts the data, plans, and makes ready within the device's memory budget: fewer templates at once, then fewer
    /// recordings at once, then one detector at a time, with the same bits. Whatever is not ready from the start is made
    /// ready by [`Self::run`].
    ///
    /// # Errors
    /// `InvalidArgument` for data that do not go together, `OverBudget` with the least budget that would do.
    pub fn new(
        device: &'a Device,
        strains: [&'a Strain; 2],
        templates: &'a Templates,
        flag: Option<&str>,
    ) -> Result<Self> {
        let started = std::time::Instant::now();
        let problem = Problem::new(strains, templates, flag)?;
        let mut plans = problem.fitting(device)?.into_iter();
        let rate = problem.rate();
        let mut failed = None;
        // The system may have less than the budget.
        let (plan, ready) = loop {
            let Some(plan) = plans.next() else {
                return Err(failed.unwrap_or_else(|| Error::Internal("a search without a plan".into())));
            };
            plan.memory.check(device)?;
            let mut ready = Sets::new(plan.sets.clone());
            match ready.warm(device, |key| record(device, key, rate)) {
                Ok(()) => break (plan, ready),
                Err(error @ Error::OutOfMemory { .. }) => failed = Some(error),
                Err(error) => return Err(error),
            }
        };
        let blocks = problem.blocks;
        Ok(Self { device, strains, templates, blocks, plan, ready, warmup_s: started.elapsed().as_secs_f64() })
    }

    /// How it is made to fit.
    pub fn planned(&self) -> &SearchPlan {
        &self.plan
    }
}

/// The recordings of a search of `n` samples with a tile of templates as large as the device's budget allows: what a
/// warmup runs as the application's own.
///
/// # Errors
/// `InvalidArgument` if `n` is too short for a spectrum; `OverBudget` with the least that would do.
pub fn recordings(device: &Device, n: usize, rate: f64) -> Result<Vec<Recording>> {
    let mut rows = TILE;
    loop {
        let all = record_all(device, n, rate, rows)?;
        let needed: u64 = all.iter().map(|r| r.plan().peak_bytes()).sum();
        if needed <= device.capabilities().budget_bytes {
            return Ok(all.into());
        }
        if rows == 1 {
            let parts = all.iter().map(|r| (r.label().to_owned(), r.plan().peak_bytes())).collect();
            let largest = all.iter().map(|r| r.plan().largest).max_by_key(|(_, bytes)| *bytes).unwrap_or_default();
            MemoryPlan::new(device, needed, parts, largest).check(device)?;
            return Ok(all.into());
        }
        rows /= 2;
    }
}

/// Starts to compile the kernels of a search, those that are needed first before the others, and returns at once: to be
/// asked for as soon as a device is open, before the data are there.
///
/// # Errors
/// `Internal` if threads cannot be started.
pub fn request(device: &Device) -> Result<()> {
    let Device::Gpu(gpu) = device else { return Ok(()) };
    // Every usual length takes the same kernels; this one costs least to record.
    let all = record_all(device, (LEAST_S * USUAL_HZ) as usize, USUAL_HZ, 1)?;
    let mut kernels: Vec<&'static Kernel> = Vec::new();
    for dispatch in [&all[0], &all[2], &all[1]].into_iter().flat_map(Recording::dispatches) {
        if !kernels.contains(&dispatch.kernel()) {
            kernels.push(dispatch.kernel());
        }
    }
    gpu.request(&kernels)
}

fn record_all(device: &Device, n: usize, rate: f64, rows: usize) -> Result<[Recording; 3]> {
    let one = |work| record(device, (work, n), rate).map(|(_, recording)| recording);
    Ok([one(Work::Network)?, one(Work::Full)?, one(Work::Tile(rows))?])
}

/// The loudest part of each row: power, sample of the first series, sample of the second.
fn loudest(outputs: &crate::device::Outputs, peaks: &ops::CoincidentPeaks) -> Result<Vec<(f32, u32, u32)>> {
    let (power, at_a, at_b) = (outputs.get(peaks.power)?, outputs.get(peaks.at_a)?, outputs.get(peaks.at_b)?);
    Ok(power
        .chunks(peaks.parts)
        .enumerate()
        .map(|(row, parts)| {
            let (best, _) = parts.iter().enumerate().fold(
                (0, f32::MIN),
                |(b, most), (i, p)| {
                    if *p > most { (i, *p) } else { (b, most) }
                },
            );
            let i = row * peaks.parts + best;
            (power[i], at_a[i], at_b[i])
        })
        .collect())
}

pub(super) fn to_f32(spectrum: &[Complex64]) -> impl Iterator<Item = Complex32> + '_ {
    // The same power of two as the strain: the ratio of signal to noise does not see it, and f32 holds both.
    let scale = 2f64.powi(filter::STRAIN_SCALE_LOG2);
    spectrum.iter().map(move |v| Complex32::new((v.re * scale) as f32, (v.im * scale) as f32))
}

impl Search<'_> {
    fn rate(&self) -> f64 {
        self.strains[0].sample_rate_hz
    }

    /// The recording that does this, ready.
    fn ready(&mut self, key: Key) -> Result<(&Step, &mut Prepared)> {
        let (device, rate) = (self.device, self.rate());
        self.ready.get(device, key, |key| record(device, key, rate))
    }

    /// Conditions a block in f64 and makes its densities and spectra on the device.
    fn condition(&mut self, block: usize, control: &Control<'_>) -> Result<Conditioned> {
        let (rate, block) = (self.rate(), self.blocks[block].clone());
        let strain = conditioned(self.strains, &block, rate)?;
        if self.plan.hold == Hold::OneDetector {
            return self.condition_one_by_one(&strain, block.n, control);
        }
        let (Step::Network(network), prepared) = self.ready((Work::Network, block.n))? else {
            return Err(unexpected());
        };
        let feeds = [network.strain[0].feed(&strain[0]), network.strain[1].feed(&strain[1])];
        let out = prepared.run(&feeds, control)?;
        Ok(Conditioned {
            psd: [out.get(network.psd[0])?.to_vec(), out.get(network.psd[1])?.to_vec()],
            spectrum: [out.get(network.spectrum[0])?.to_vec(), out.get(network.spectrum[1])?.to_vec()],
            ..Conditioned::default()
        })
    }

    fn condition_one_by_one(&mut self, strain: &[Vec<f32>], n: usize, control: &Control<'_>) -> Result<Conditioned> {
        let mut data = Conditioned::default();
        self.ready.clear(self.device);
        let density = self.plan.densities.iter().find(|(m, _)| *m == n);
        let (_, density) = density.ok_or_else(|| Error::Internal("no density of this length".into()))?;
        for (psd, strain) in data.psd.iter_mut().zip(strain) {
            *psd = density.run(self.device, strain, control)?;
        }
        let (Step::Spectrum { strain: input, spectrum }, prepared) = self.ready((Work::Spectrum, n))? else {
            return Err(unexpected());
        };
        for (to, strain) in data.spectrum.iter_mut().zip(strain) {
            *to = prepared.run(&[input.feed(strain)], control)?.get(*spectrum)?.to_vec();
        }
        let (Step::Factors { psd, spectrum, factors }, prepared) = self.ready((Work::Factors, n))? else {
            return Err(unexpected());
        };
        for ((to, density), x) in data.factors.iter_mut().zip(&data.psd).zip(&data.spectrum) {
            *to = prepared.run(&[psd.feed(density), spectrum.feed(x)], control)?.get(*factors)?.to_vec();
        }
        Ok(data)
    }

    /// One template by recordings of one detector, at the rate divided by `factor`.
    fn one_by_one(
        &mut self,
        template: &[Complex32],
        (n, factor): (usize, usize),
        data: &Conditioned,
        control: &Control<'_>,
    ) -> Result<Measured> {
        let (Step::Filter(step), prepared) = self.ready((Work::Filter(factor), n))? else {
            return Err(unexpected());
        };
        let step = *step;
        let mut norm = [0.0; 2];
        let mut series = [Vec::new(), Vec::new()];
        for i in 0..2 {
            let feeds =
                [step.psd.feed(&data.psd[i]), step.factors.feed(&data.factors[i]), step.template.feed(template)];
            let out = prepared.run(&feeds, control)?;
            (norm[i], series[i]) = (out.get(step.norm)?[0], out.get(step.series)?.to_vec());
        }
        let (Step::Peak { series: inputs, norm: norms, peaks }, prepared) = self.ready((Work::Peak(factor), n))? else {
            return Err(unexpected());
        };
        let feeds = [inputs[0].feed(&series[0]), inputs[1].feed(&series[1]), norms.feed(&norm)];
        let peak = loudest(&prepared.run(&feeds, control)?, peaks)?[0];
        Ok(Measured { peak, norm, series })
    }

    /// The candidates of a bank in one block, by the coarse pass; none of a single template, which has no such pass.
    fn coarse(
        &mut self,
        block: usize,
        data: &Conditioned,
        control: &Control<'_>,
        done: &dyn Fn(usize),
    ) -> Result<Vec<Candidate>> {
        let (n, rate, templates) = (self.blocks[block].n, self.rate(), self.templates);
        let bins = n / 2 + 1;
        let at_once = self.plan.templates_at_once;
        if templates.count() == 1 {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        let mut spectra = vec![Complex32::ZERO; at_once * bins];
        for first in (0..templates.count()).step_by(at_once) {
            let count = at_once.min(templates.count() - first);
            spectra.par_chunks_mut(bins).enumerate().try_for_each(|(i, row)| -> Result<()> {
                // A last tile that is not full repeats its last template: every row of it is a valid one.
                let spectrum = templates.spectrum(first + i.min(count - 1), n, rate)?;
                row.iter_mut().zip(to_f32(&spectrum)).for_each(|(to, from)| *to = from);
                Ok(())
            })?;
            let rows = if self.plan.hold == Hold::OneDetector {
                vec![self.one_by_one(&spectra, (n, coarse_factor(rate)), data, control)?.peak]
            } else {
                let (Step::Tile(tile), prepared) = self.ready((Work::Tile(at_once), n))? else {
                    return Err(unexpected());
                };
                loudest(&prepared.run(&tile.feeds(data, &spectra), control)?, &tile.peaks)?
            };
            found.extend(rows[..count].iter().enumerate().map(|(i, (power, _, _))| Candidate {
                power: *power,
                template: first + i,
                block,
            }));
            done(first + count);
        }
        Ok(found)
    }

    /// Runs the search; `progress` is told templates done and in all, over all blocks.
    ///
    /// # Errors
    /// As [`Prepared::run`].
    pub fn run(&mut self, control: &Control<'_>, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<SearchResult> {
        let started = std::time::Instant::now();
        let before = self.device.stats();
        let count = self.templates.count();
        let total = count * self.blocks.len();
        let mut candidates = Vec::new();
        let mut best: Option<Full> = None;
        let mut kept: Option<(usize, Conditioned)> = None;
        for block in 0..self.blocks.len() {
            let data = self.condition(block, control)?;
            if count == 1 {
                let full = self.full(0, block, &data, control)?;
                progress(block + 1, total);
                if best.as_ref().is_none_or(|b| full.power > b.power) {
                    best = Some(full);
                }
            }
            candidates.extend(self.coarse(block, &data, control, &|done| progress(block * count + done, total))?);
            kept = Some((block, data));
        }
        candidates.sort_by(|a, b| b.power.total_cmp(&a.power).then(a.template.cmp(&b.template)));
        let most = candidates.first().map_or(0.0, |c| c.power);
        candidates.retain(|c| c.power >= most * AGAIN);
        candidates.truncate(AGAIN_MOST);

        for candidate in &candidates {
            let data = match kept.take() {
                Some((block, data)) if block == candidate.block => data,
                _ => self.condition(candidate.block, control)?,
            };
            let full = self.full(candidate.template, candidate.block, &data, control)?;
            kept = Some((candidate.block, data));
            if best.as_ref().is_none_or(|b| full.power > b.power) {
                best = Some(full);
            }
        }
        let best = best.ok_or_else(|| Error::Internal("a search without candidates".into()))?;
        let run_s = started.elapsed().as_secs_f64();
        let after = self.device.stats();
        let rate = self.rate();
        let searched = covered_s(&self.blocks, rate, |_| 0);
        let mut found = best.found;
        for (found, strain) in found.iter_mut().zip(self.strains) {
            found.range_mpc = range_mpc(strain)?;
        }
        Ok(SearchResult {
            names: self.strains.map(|s| s.detector.clone()),
            delay_ms: (found[1].gps_time - found[0].gps_time) * 1e3,
            network_snr: found.iter().map(|f| f.snr * f.snr).sum::<f64>().sqrt(),
            found,
            coherent_snr: best.coherent.0,
            coherent_sign: best.coherent.1,
            template: self.templates.describe(best.template),
            searched_s: searched,
            template_seconds: searched * 2.0 * count as f64,
            series: best.series,
            warmup_s: self.warmup_s,
            run_s,
            planned_bytes: self.plan.memory.planned_bytes,
            peak_bytes: after.memory.peak_bytes,
            created: Created::between(&before, &after),
        })
    }

    /// One template in one block at the full rate.
    fn full(&mut self, template: usize, block: usize, data: &Conditioned, control: &Control<'_>) -> Result<Full> {
        let (rate, block) = (self.rate(), self.blocks[block].clone());
        let spectrum = self.templates.spectrum(template, block.n, rate)?;
        let row: Vec<Complex32> = to_f32(&spectrum).collect();
        let measured = if self.plan.hold == Hold::OneDetector {
            self.one_by_one(&row, (block.n, 1), data, control)?
        } else {
            let (Step::Tile(tile), prepared) = self.ready((Work::Full, block.n))? else { return Err(unexpected()) };
            let out = prepared.run(&tile.feeds(data, &row), control)?;
            let [a, b] = tile.series.ok_or_else(|| Error::Internal("the full rate downloads its series".into()))?;
            let norm = out.get(tile.norm)?;
            let series = [out.get(a)?.to_vec(), out.get(b)?.to_vec()];
            Measured { peak: loudest(&out, &tile.peaks)?[0], norm: [norm[0], norm[1]], series }
        };
        let Measured { peak: (power, a, b), norm, series: z } = measured;
        let at = [a as usize, b as usize];
        // The scale of 4Δf/n² in the norm: σ² = Δf·Σ|T|²/S = Δf·(4/(n·rate))/norm.
        let sigma = [0, 1].map(|i| {
            let n = block.n as f64;
            ((rate / n) * 4.0 / (n * rate) / f64::from(norm[i])).sqrt()
        });
        let rho = |i: usize, t: usize| {
            let z = Complex64::new(f64::from(z[i][t].re), f64::from(z[i][t].im));
            z * f64::from(norm[i]).sqrt()
        };
        let found = [0, 1].map(|i| {
            let (snr, phase) = rho(i, at[i]).to_polar();
            Found {
                snr,
                gps_time: block.gps_start + at[i] as f64 / rate,
                effective_distance_mpc: sigma[i] / snr,
                range_mpc: 0.0,
                phase,
            }
        });
        // One amplitude and phase for both detectors, up to a sign: the series add with weights σ, for every delay.
        let reach = (LIGHT_TRAVEL_S * rate).ceil() as usize;
        let margin = edge(block.n);
        let near = |t: usize| t.saturating_sub(reach).max(margin)..(t + reach + 1).min(block.n - margin);
        let length = sigma[0].hypot(sigma[1]);
        let mut coherent = (0.0, 1.0);
        for t in near(at[0]) {
            for u in near(t) {
                for sign in [1.0, -1.0] {
                    let sum = (rho(0, t) * sigma[0] + rho(1, u) * sigma[1] * sign).norm() / length;
                    if sum > coherent.0 {
                        coherent = (sum, sign);
                    }
                }
            }
        }
        let snr = [0, 1].map(|i| z[i].iter().map(|v| v.norm() * norm[i].sqrt()).collect());
        let series = Series { gps_start: block.gps_start, snr, template: spectrum };
        Ok(Full { power, template, found, coherent, series })
    }
}

/// What the device found of one template in one block.
struct Measured {
    /// Network power, and its samples in the two series.
    peak: (f32, u32, u32),
    norm: [f32; 2],
    series: [Vec<Complex32>; 2],
}

/// One template in one block at the full rate.
struct Full {
    power: f32,
    template: usize,
    found: [Found; 2],
    coherent: (f64, f64),
    series: Series,
}

impl Tile {
    fn feeds<'d>(&self, data: &'d Conditioned, templates: &'d [Complex32]) -> [crate::device::Feed<'d>; 5] {
        [
            self.templates.feed(templates),
            self.psd[0].feed(&data.psd[0]),
            self.psd[1].feed(&data.psd[1]),
            self.spectrum[0].feed(&data.spectrum[0]),
            self.spectrum[1].feed(&data.spectrum[1]),
        ]
    }
}
