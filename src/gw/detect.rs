//! The spiking detector.
//!
//! Whitened strain runs through a bank of whitened chirps (a convolution, two filters a quarter cycle apart for each), and
//! each filter's output is turned into spikes where it changes fast: ON and OFF events at three thresholds, in units of
//! the output's own noise. A leaky integrate-and-fire neuron a chirp and detector adds these events up; one that fires has
//! seen several within a few milliseconds. Each chirp's coincidence neuron fires only if both detectors' neurons have fired
//! within the light's travel time. What the events added up to in both detectors is the score of the trigger.
//!
//! It works by design: the filters are the signals themselves, and the thresholds are set by the noise. Nothing is trained.
//! Between the upload of strain and the list of triggers everything stays on the device.

use num_complex::Complex32;
use rayon::prelude::*;
use serde::Serialize;

use super::bank::Bank;
use super::condition;
use super::plot::{DetectFigure, Spike, TriggerMark};
use super::search::{Created, LIGHT_TRAVEL_S, Stretch, Templates, conditioned, covered_s, cut, edge, to_f32};
use super::spectrum::{Average, Symmetry, Welch, Window};
use super::strain::Strain;
use crate::device::{Control, Device, Outputs, Prepared};
use crate::kernel::Tensor;
use crate::ops::lif::{Drive, Lif, LifParams, PerNeuron, Reset, Spikes, spike_words};
use crate::ops::{
    self, Bins, Conjugate, Conv1d, Destination, Events, Filters, Padding, Source, TemporalContrast, Weight,
};
use crate::recording::{Capabilities, Recording};
use crate::{Error, Result};

/// Chirps in the bank. A first part of a larger bank, so it covers the heavy, far-heard binaries first.
const CHIRPS: usize = 32;
/// Seconds of a chirp that are used: what of a heavy binary lies in the detectors' band.
const FILTER_S: f64 = 0.5;
/// Seconds of them after the merger, for the ringdown.
const RINGDOWN_S: f64 = 1.0 / 64.0;
/// The band in Hz below which nothing is listened to.
const LOW_HZ: f64 = 25.0;
/// Thresholds of the events, in standard deviations of the filter output's change from sample to sample. Gaussian noise
/// crosses the first about twice a second and filter at 4096 Hz; the loudest noise in 32 s and 64 filters reaches 5.7.
const THRESHOLDS: [f32; 3] = [3.5, 7.0, 14.0];
/// What an event at each threshold adds at [`WEIGHED_HZ`], so that their sum grows as the change itself.
const WEIGHTS: [f32; 3] = [1.0, 1.0, 2.0];
/// The sample rate that the weights are for. At twice the rate the same wave crosses a threshold at twice as many samples,
/// each of which then adds half as much.
const WEIGHED_HZ: f64 = 4096.0;
/// Over how long a neuron adds events up, in seconds: a few cycles of a merger.
const INTEGRATION_S: f64 = 0.003;
/// What events must add up to for a detector's neuron to fire: more than one lone crossing.
const FIRES_AT: f64 = 3.0;
/// Seconds between two arrivals that still coincide: light's travel time, and half a cycle at 100 Hz for the spikes of the
/// two detectors to begin at different cycles of one chirp.
const COINCIDENCE_S: f64 = LIGHT_TRAVEL_S + 0.005;
/// The memory of a coincidence neuron in seconds.
const MEMORY_S: f64 = 0.005;
/// A neuron that has fired is silent for so long, in seconds: one detector alone can then never bring a coincidence neuron
/// to its threshold.
const SILENT_S: f64 = 0.016;
/// Windows of time of which the best trigger is kept, in seconds.
const WINDOW_S: f64 = 1.0 / 16.0;
/// Samples of them at most: what an invocation looks through grows with the square of the rate, and loops are bounded.
const WINDOW_MOST: usize = 256;
/// Budgets that the ops are told of, as powers of two in bytes, the last one first.
const TOLD_LOG2: std::ops::RangeInclusive<u32> = 20..=30;
/// A trigger this close to a louder one is the same event, in seconds.
const SAME_S: f64 = 0.2;

/// A candidate event.
#[derive(Debug, Clone, Serialize)]
pub struct Trigger {
    /// GPS time at which both detectors had seen it.
    pub gps_time: f64,
    /// Place in the list, from 1.
    pub rank: usize,
    /// Root of the product of what the two detectors' events added up to.
    pub score: f32,
    /// The chirp's number in the bank.
    pub template: usize,
    /// Its component masses, in solar masses.
    pub masses: [f64; 2],
    /// GPS time at which the first detector's evidence was greatest.
    pub h1_time: f64,
    /// The same for the second.
    pub l1_time: f64,
}

/// What a detection run found.
#[derive(Debug, Clone)]
pub struct Detection {
    /// Names of the two detectors.
    pub names: [String; 2],
    /// The triggers, loudest first.
    pub triggers: Vec<Trigger>,
    /// Seconds of coincident data that were listened to, edges left out.
    pub searched_s: f64,
    /// Seconds: making ready, and running.
    pub warmup_s: f64,
    /// See `warmup_s`.
    pub run_s: f64,
    /// The largest memory of the device, in bytes.
    pub peak_bytes: u64,
    /// What the device created after its warmup.
    pub created: Created,
    /// The picture of it, without title.
    pub figure: DetectFigure,
}

/// Samples of a window.
fn window(rate: f64) -> usize {
    ((WINDOW_S * rate) as usize).clamp(1, WINDOW_MOST)
}

/// The recording of one block.
struct Network {
    strain: [Tensor<f32>; 2],
    templates: Tensor<Complex32>,
    triggers: ops::Triggers,
    events: [Tensor<u32>; 2],
    coincidences: Tensor<u32>,
}

/// Neurons that add their input up and forget it over `tau_s`: the drive is what a step adds to the membrane.
fn integrator(rate: f64, tau_s: f64, threshold: f64) -> LifParams {
    let alpha = -(-1.0 / (rate * tau_s)).exp_m1();
    LifParams {
        dt: 1.0 / rate,
        tau_mem: PerNeuron::Shared(tau_s),
        resistance: PerNeuron::Shared(1.0 / alpha),
        v_rest: PerNeuron::Shared(0.0),
        v_threshold: PerNeuron::Shared(threshold),
        reset: Reset::To(PerNeuron::Shared(0.0)),
        t_ref: PerNeuron::Shared(SILENT_S),
        ..LifParams::default()
    }
}

/// A neuron a chirp, at rest at the start of every run: one block knows nothing of the one before.
fn population(rec: &mut Recording, params: &LifParams) -> Result<Lif> {
    let v = rec.scratch("membranes", CHIRPS)?;
    let refractory = rec.scratch("refractory steps", CHIRPS)?;
    rec.clear(v)?;
    rec.clear(refractory)?;
    Lif::with_state(rec, params, v, refractory)
}

impl Network {
    fn record(rec: &mut Recording, n: usize, rate: f64) -> Result<Self> {
        let bins = n / 2 + 1;
        let templates = rec.input("chirps", CHIRPS * bins)?;
        let range = edge(n)..n - edge(n);
        let mut one = |name: &str| Self::detector(rec, name, templates, n, rate);
        let (a, b) = (one("first")?, one("second")?);
        // Neurons that have fired add their one spike; two within the window reach 1, one alone never does.
        let sum = rec.scratch("both detectors' spikes", n * CHIRPS)?;
        ops::add(rec, a.fired, b.fired, sum)?;
        let weight = 1.0 / (1.0 + (-COINCIDENCE_S / MEMORY_S).exp());
        let neurons = population(rec, &integrator(rate, MEMORY_S, 1.0 / weight))?;
        let words = spike_words(CHIRPS);
        let coincidences = rec.scratch("coincidences", n * words)?;
        neurons.run(rec, n, Drive::Each(sum), Spikes::Packed(coincidences), None)?;
        let reach = (COINCIDENCE_S * rate) as usize;
        let triggers = ops::triggers(rec, coincidences, [a.evidence, b.evidence], CHIRPS, range, window(rate), reach)?;
        rec.download(triggers.score)?;
        rec.download(triggers.at)?;
        // The spikes themselves, for the picture: bits.
        rec.download(a.events)?;
        rec.download(b.events)?;
        rec.download(coincidences)?;
        Ok(Self { strain: [a.strain, b.strain], templates, triggers, events: [a.events, b.events], coincidences })
    }

    /// From one detector's strain to its spikes.
    fn detector(
        rec: &mut Recording,
        name: &str,
        templates: Tensor<Complex32>,
        n: usize,
        rate: f64,
    ) -> Result<DetectorTensors> {
        let bins = n / 2 + 1;
        let strain = rec.input(format!("{name} strain"), n)?;
        // The median: an event does not raise the noise that it is measured against.
        let welch = Welch { average: Average::Median, ..Welch::matched_filter(rate) };
        let starts: Vec<u32> = welch.starts(n).map(|s| s as u32).collect();
        let psd = condition::record_psd(rec, strain, &starts, &welch, rate)?;
        let low = (LOW_HZ * welch.length as f64 / rate) as f32;
        let root = Weight::InverseRoot { scale: (2.0 / rate) as f32 };
        let band = low..=(welch.length / 2) as f32;
        let weight = ops::spectral_weight(rec, psd, welch.length, n, Bins::OneSided, root, band)?;

        let taper: Vec<f32> =
            Window::Tukey(super::exact::TAPER).samples(n, Symmetry::Symmetric).iter().map(|w| *w as f32).collect();
        let tapered = ops::windowed(rec, strain, &[0], &taper)?;
        let spectrum = rec.scratch("strain spectrum", bins)?;
        ops::rfft(rec, n, tapered, spectrum)?;
        let white_spectrum = rec.scratch("whitened spectrum", bins)?;
        ops::complex_scale(rec, spectrum, weight, 1.0, white_spectrum)?;
        let white = rec.scratch("whitened strain", n)?;
        ops::irfft(rec, n, white_spectrum, white)?;

        // The filters: whitened chirps in time, the last half second before the merger and a little after it. The
        // second quadrature is the same spectrum turned by a quarter cycle.
        let (taps, after) = ((FILTER_S * rate) as usize, (RINGDOWN_S * rate) as usize);
        let filters = rec.scratch("filters", 2 * CHIRPS * taps)?;
        let white_chirps = rec.scratch("whitened chirps", CHIRPS * bins)?;
        ops::complex_scale(rec, templates, weight, 1.0, white_chirps)?;
        let turned = rec.scratch("turned chirps", CHIRPS * bins)?;
        let quarter = rec.constant("quarter cycle", &vec![Complex32::new(0.0, -1.0); bins])?;
        ops::complex_mul(rec, white_chirps, quarter, Conjugate::None, 1.0, turned)?;
        let chirps = rec.scratch("chirps in time", CHIRPS * n)?;
        for (quadrature, spectra) in [white_chirps, turned].into_iter().enumerate() {
            ops::irfft(rec, n, spectra, chirps)?;
            // Time is circular, with the merger at sample 0: the end of the row is what comes before it.
            for (from, to, count) in [(n - (taps - after), 0, taps - after), (0, taps - after, after)] {
                let source = Source { offset: from, batch_stride: n, row_stride: 0, first: 0, valid: count };
                let offset = quadrature * taps + to;
                let destination = Destination { offset, batch_stride: 2 * taps, row_stride: 0 };
                ops::copy2d(rec, chirps, source, filters, destination, [CHIRPS, 1, count])?;
            }
        }
        let conv =
            Conv1d { padding: Padding::Explicit(taps - after, after - 1), ..Conv1d::new(1, n, 1, 2 * CHIRPS, taps) };
        let filters = Filters::from_tensor(rec, conv, filters, None)?;
        let filtered = rec.scratch("filtered strain", 2 * CHIRPS * n)?;
        ops::conv1d(rec, &filters, white, filtered)?;

        let encoder = TemporalContrast {
            thresholds: THRESHOLDS.to_vec(),
            normalise: true,
            ..TemporalContrast::new(THRESHOLDS[0])
        };
        let events = rec.scratch(format!("{name} events"), 2 * CHIRPS * encoder.rows() * ops::event_words(n))?;
        ops::temporal_contrast(rec, filtered, 2 * CHIRPS, &encoder, Events::Packed(events))?;

        // ON and OFF, of both quadratures.
        let weights: Vec<f32> =
            (0..2).flat_map(|_| WEIGHTS.map(|w| w * (WEIGHED_HZ / rate) as f32)).flat_map(|w| [w, w]).collect();
        let drive = ops::event_drive(rec, events, CHIRPS, n, &weights)?;
        let fired = rec.scratch(format!("{name} spikes"), n * CHIRPS)?;
        population(rec, &integrator(rate, INTEGRATION_S, FIRES_AT))?.run(
            rec,
            n,
            Drive::Each(drive),
            Spikes::Dense(fired),
            None,
        )?;
        // The same neurons without a threshold: how much there was, not only that there was something.
        let evidence = rec.scratch(format!("{name} evidence"), n * CHIRPS)?;
        let silent = rec.scratch("no spikes", n * spike_words(CHIRPS))?;
        population(rec, &integrator(rate, INTEGRATION_S, 1e20))?.run(
            rec,
            n,
            Drive::Each(drive),
            Spikes::Packed(silent),
            Some(evidence),
        )?;
        Ok(DetectorTensors { strain, events, fired, evidence })
    }
}

struct DetectorTensors {
    strain: Tensor<f32>,
    events: Tensor<u32>,
    fired: Tensor<f32>,
    evidence: Tensor<f32>,
}

/// A detector that is ready to run.
pub struct Detector<'a> {
    device: &'a Device,
    strains: [&'a Strain; 2],
    templates: Templates,
    blocks: Vec<Stretch>,
    ready: Vec<(usize, Network, Prepared)>,
    /// Seconds that making ready took.
    pub warmup_s: f64,
}

impl<'a> Detector<'a> {
    /// Cuts the data, records, and makes ready within the device's memory budget.
    ///
    /// # Errors
    /// As [`super::search::Search::new`].
    pub fn new(device: &'a Device, strains: [&'a Strain; 2], flag: Option<&str>) -> Result<Self> {
        let started = std::time::Instant::now();
        let rate = strains[0].sample_rate_hz;
        if rate * RINGDOWN_S < 2.0 {
            return Err(Error::invalid("sample rate", format!("{rate} Hz is too low for a merger")));
        }
        // The filters' output is the largest tensor: two f32 a chirp and sample.
        let most = device.capabilities().max_tensor_bytes as usize / (2 * CHIRPS * 4);
        let (blocks, lengths) = cut(strains, flag, most)?;
        let record = |budget_bytes: u64| -> Result<Vec<(usize, Network, Recording)>> {
            let capabilities = Capabilities { budget_bytes, ..device.capabilities().clone() };
            let one = |&n: &usize| {
                let mut rec = Recording::new("spiking detector", &capabilities);
                Ok((n, Network::record(&mut rec, n, rate)?, rec))
            };
            lengths.iter().map(one).collect()
        };
        let peak = |all: &[(usize, Network, Recording)]| all.iter().map(|(_, _, r)| r.plan().peak_bytes()).sum::<u64>();
        // The convolution takes scratch memory by the budget that it is told of: less and less, until the whole fits.
        let budget = device.capabilities().budget_bytes;
        let (mut least, mut recorded) = (u64::MAX, Vec::new());
        for told in TOLD_LOG2.rev().map(|log2| 1 << log2) {
            let all = record(told)?;
            let bytes = peak(&all);
            if bytes < least {
                (least, recorded) = (bytes, all);
            }
            if least <= budget {
                break;
            }
        }
        let mut ready = Vec::new();
        for (n, network, rec) in recorded {
            ready.push((n, network, device.prepare(&rec).map_err(|e| e.with_least(least))?));
        }
        let templates = Templates::Bank(Bank::new(CHIRPS)?);
        Ok(Self { device, strains, templates, blocks, ready, warmup_s: started.elapsed().as_secs_f64() })
    }

    /// Listens to all data.
    ///
    /// # Errors
    /// As [`Prepared::run`].
    pub fn run(&mut self, control: &Control<'_>, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Detection> {
        let started = std::time::Instant::now();
        let before = self.device.stats();
        let rate = self.strains[0].sample_rate_hz;
        let mut found: Vec<Trigger> = Vec::new();
        let mut figure = DetectFigure { neurons: CHIRPS, ..DetectFigure::default() };
        figure.rasters = self.strains.iter().map(|s| (s.detector.clone(), Vec::new())).collect();
        let mut spectra: (usize, Vec<Complex32>) = Default::default();
        let total = self.blocks.len();
        for (i, block) in self.blocks.iter().enumerate() {
            let n = block.n;
            if spectra.0 != n {
                let rows: Vec<Vec<Complex32>> = (0..CHIRPS)
                    .into_par_iter()
                    .map(|k| Ok(to_f32(&self.templates.spectrum(k, n, rate)?).collect()))
                    .collect::<Result<_>>()?;
                spectra = (n, rows.concat());
            }
            let strain = conditioned(self.strains, block, rate)?;
            let (_, network, prepared) = self
                .ready
                .iter_mut()
                .find(|(m, _, _)| *m == n)
                .ok_or_else(|| Error::Internal("no recording of this length".into()))?;
            let feeds = [
                network.strain[0].feed(&strain[0]),
                network.strain[1].feed(&strain[1]),
                network.templates.feed(&spectra.1),
            ];
            let out = prepared.run(&feeds, control)?;
            network.collect(&out, block, rate, &self.templates, &mut found, &mut figure)?;
            progress(i + 1, total);
        }
        let run_s = started.elapsed().as_secs_f64();
        let after = self.device.stats();
        let triggers = ranked(found);
        figure.reference_gps =
            triggers.first().map_or(self.blocks[0].gps_start, |t| (t.gps_time * 10.0).round() / 10.0);
        figure.triggers =
            triggers.iter().map(|t| TriggerMark { gps: t.gps_time, score: t.score, rank: t.rank }).collect();
        Ok(Detection {
            names: self.strains.map(|s| s.detector.clone()),
            triggers,
            searched_s: covered_s(&self.blocks, rate, edge),
            warmup_s: self.warmup_s,
            run_s,
            peak_bytes: after.memory.peak_bytes,
            created: Created::between(&before, &after),
            figure,
        })
    }
}

impl Network {
    /// Adds one block's triggers and spikes.
    fn collect(
        &self,
        out: &Outputs,
        block: &Stretch,
        rate: f64,
        templates: &Templates,
        found: &mut Vec<Trigger>,
        figure: &mut DetectFigure,
    ) -> Result<()> {
        let gps = |t: usize| block.gps_start + t as f64 / rate;
        let (scores, at) = (out.get(self.triggers.score)?, out.get(self.triggers.at)?);
        for (i, (score, at)) in scores.iter().zip(at.chunks(3)).enumerate() {
            let middle = edge(block.n) + i * window(rate) + window(rate) / 2;
            figure.score.push((gps(middle), *score));
            if *score > 0.0 {
                let (h1_time, l1_time) = (gps(at[1] as usize), gps(at[2] as usize));
                let template = at[0] as usize;
                found.push(Trigger {
                    gps_time: h1_time.max(l1_time),
                    rank: 0,
                    score: *score,
                    template,
                    masses: templates.describe(template).masses,
                    h1_time,
                    l1_time,
                });
            }
        }
        let words = ops::event_words(block.n);
        let rows = 2 * THRESHOLDS.len();
        let kept = edge(block.n)..block.n - edge(block.n);
        for (raster, events) in figure.rasters.iter_mut().zip(self.events) {
            let events = out.get(events)?;
            for k in 0..CHIRPS {
                // The first quadrature at the lowest threshold: ON, then OFF.
                for (row, on) in [(2 * k * rows, true), (2 * k * rows + 1, false)] {
                    let train = &events[row * words..][..words];
                    let times = set_bits(train).filter(|t| kept.contains(t));
                    raster.1.extend(times.map(|t| Spike { gps: gps(t), neuron: k, on }));
                }
            }
        }
        let words = spike_words(CHIRPS);
        for (t, spikes) in out.get(self.coincidences)?.chunks(words).enumerate().filter(|(t, _)| kept.contains(t)) {
            figure.coincidences.extend(set_bits(spikes).map(|neuron| Spike { gps: gps(t), neuron, on: true }));
        }
        Ok(())
    }
}

/// The places of the bits that are set.
fn set_bits(words: &[u32]) -> impl Iterator<Item = usize> + '_ {
    words
        .iter()
        .enumerate()
        .filter(|(_, w)| **w != 0)
        .flat_map(|(i, w)| (0..32).filter(move |b| w >> b & 1 == 1).map(move |b| i * 32 + b))
}

/// Loudest first, each event once.
fn ranked(mut found: Vec<Trigger>) -> Vec<Trigger> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.gps_time.total_cmp(&b.gps_time)));
    let mut kept: Vec<Trigger> = Vec::new();
    for trigger in found {
        if kept.iter().all(|k| (k.gps_time - trigger.gps_time).abs() > SAME_S) {
            kept.push(Trigger { rank: kept.len() + 1, ..trigger });
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_fit_the_portable_loop_bound_at_every_rate_of_open_data() {
        for rate in [1024usize, 4096, 16384] {
            let mut rec = Recording::new("triggers", &Capabilities::default());
            let spikes = rec.input("spikes", rate * spike_words(CHIRPS)).unwrap();
            let evidence = ["a", "b"].map(|name| rec.input(name, rate * CHIRPS).unwrap());
            let (window, reach) = (window(rate as f64), (COINCIDENCE_S * rate as f64) as usize);
            ops::triggers(&mut rec, spikes, evidence, CHIRPS, 0..rate, window, reach).unwrap();
        }
    }
}
