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
use crate::device::{Control, Device, MemoryPlan, Outputs, Sets, room};
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
/// Budgets that the convolution is told of, in bytes: less and less scratch, down to one filter's results.
const TOLD: [u64; 4] = [1 << 30, 1 << 28, 1 << 26, 1 << 20];
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
    /// What was planned, in bytes of the device's memory.
    pub planned_bytes: u64,
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

/// The recording of some chirps in one block.
struct Network {
    chirps: usize,
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
fn population(rec: &mut Recording, params: &LifParams, chirps: usize) -> Result<Lif> {
    let v = rec.scratch("membranes", chirps)?;
    let refractory = rec.scratch("refractory steps", chirps)?;
    rec.clear(v)?;
    rec.clear(refractory)?;
    Lif::with_state(rec, params, v, refractory)
}

impl Network {
    /// Of so many chirps; none meets another one, so that they may be of a larger bank.
    fn record(rec: &mut Recording, n: usize, rate: f64, chirps: usize) -> Result<Self> {
        let bins = n / 2 + 1;
        let templates = rec.input("chirps", chirps * bins)?;
        let range = edge(n)..n - edge(n);
        let mut one = |name: &str| Self::detector(rec, name, templates, n, rate);
        let (a, b) = (one("first")?, one("second")?);
        // Neurons that have fired add their one spike; two within the window reach 1, one alone never does.
        let sum = rec.scratch("both detectors' spikes", n * chirps)?;
        ops::add(rec, a.fired, b.fired, sum)?;
        let weight = 1.0 / (1.0 + (-COINCIDENCE_S / MEMORY_S).exp());
        let neurons = population(rec, &integrator(rate, MEMORY_S, 1.0 / weight), chirps)?;
        let words = spike_words(chirps);
        let coincidences = rec.scratch("coincidences", n * words)?;
        neurons.run(rec, n, Drive::Each(sum), Spikes::Packed(coincidences), None)?;
        let reach = (COINCIDENCE_S * rate) as usize;
        let triggers = ops::triggers(rec, coincidences, [a.evidence, b.evidence], chirps, range, window(rate), reach)?;
        rec.download(triggers.score)?;
        rec.download(triggers.at)?;
        rec.download(coincidences)?;
        Ok(Self {
            chirps,
            strain: [a.strain, b.strain],
            templates,
            triggers,
            events: [a.events, b.events],
            coincidences,
        })
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
        let chirps = templates.len() / bins;
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
        let filters = rec.scratch("filters", 2 * chirps * taps)?;
        let white_chirps = rec.scratch("whitened chirps", chirps * bins)?;
        ops::complex_scale(rec, templates, weight, 1.0, white_chirps)?;
        let turned = rec.scratch("turned chirps", chirps * bins)?;
        let quarter = rec.constant("quarter cycle", &vec![Complex32::new(0.0, -1.0); bins])?;
        ops::complex_mul(rec, white_chirps, quarter, Conjugate::None, 1.0, turned)?;
        let in_time = rec.scratch("chirps in time", chirps * n)?;
        for (quadrature, spectra) in [white_chirps, turned].into_iter().enumerate() {
            ops::irfft(rec, n, spectra, in_time)?;
            // Time is circular, with the merger at sample 0: the end of the row is what comes before it.
            for (from, to, count) in [(n - (taps - after), 0, taps - after), (0, taps - after, after)] {
                let source = Source { offset: from, batch_stride: n, row_stride: 0, first: 0, valid: count };
                let offset = quadrature * taps + to;
                let destination = Destination { offset, batch_stride: 2 * taps, row_stride: 0 };
                ops::copy2d(rec, in_time, source, filters, destination, [chirps, 1, count])?;
            }
        }
        let conv = |chirps: usize| {
            let padding = Padding::Explicit(taps - after, after - 1);
            Conv1d { padding, ..Conv1d::new(1, n, 1, 2 * chirps, taps) }
        };
        // By the method of the whole bank, however few of its chirps are here.
        let method = conv(CHIRPS).method(rec.capabilities())?;
        let filters = Filters::from_tensor_with_method(rec, conv(chirps), method, filters, None)?;
        let filtered = rec.scratch("filtered strain", 2 * chirps * n)?;
        ops::conv1d(rec, &filters, white, filtered)?;

        let encoder = TemporalContrast {
            thresholds: THRESHOLDS.to_vec(),
            normalise: true,
            ..TemporalContrast::new(THRESHOLDS[0])
        };
        let events = rec.scratch(format!("{name} events"), 2 * chirps * encoder.rows() * ops::event_words(n))?;
        ops::temporal_contrast(rec, filtered, 2 * chirps, &encoder, Events::Packed(events))?;
        // The spikes themselves, for the picture: bits.
        rec.download(events)?;

        // ON and OFF, of both quadratures.
        let weights: Vec<f32> =
            (0..2).flat_map(|_| WEIGHTS.map(|w| w * (WEIGHED_HZ / rate) as f32)).flat_map(|w| [w, w]).collect();
        let drive = ops::event_drive(rec, events, chirps, n, &weights)?;
        let fired = rec.scratch(format!("{name} spikes"), n * chirps)?;
        population(rec, &integrator(rate, INTEGRATION_S, FIRES_AT), chirps)?.run(
            rec,
            n,
            Drive::Each(drive),
            Spikes::Dense(fired),
            None,
        )?;
        // The same neurons without a threshold: how much there was, not only that there was something.
        let evidence = rec.scratch(format!("{name} evidence"), n * chirps)?;
        let silent = rec.scratch("no spikes", n * spike_words(chirps))?;
        population(rec, &integrator(rate, INTEGRATION_S, 1e20), chirps)?.run(
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

/// What a detection takes, known before it runs.
#[derive(Debug, Clone)]
pub struct DetectPlan {
    /// Bytes.
    pub memory: MemoryPlan,
    /// Chirps that are listened for at once.
    pub chirps_at_once: usize,
    /// Blocks of data.
    pub blocks: usize,
    /// What the convolution is told of the budget.
    told: u64,
    /// Lengths of blocks, in sets of which one is ready at a time.
    sets: Vec<Vec<usize>>,
}

/// What is listened to, without a device.
struct Problem {
    rate: f64,
    blocks: Vec<Stretch>,
    lengths: Vec<usize>,
}

fn record(device: &Device, n: usize, rate: f64, (chirps, told): (usize, u64)) -> Result<(Network, Recording)> {
    let capabilities = Capabilities { budget_bytes: told, ..device.capabilities().clone() };
    let mut rec = Recording::new("spiking detector", &capabilities);
    Ok((Network::record(&mut rec, n, rate, chirps)?, rec))
}

impl Problem {
    fn new(device: &Device, strains: [&Strain; 2], flag: Option<&str>) -> Result<Self> {
        let rate = strains[0].sample_rate_hz;
        if rate * RINGDOWN_S < 2.0 {
            return Err(Error::invalid("sample rate", format!("{rate} Hz is too low for a merger")));
        }
        // The filters' output is the largest tensor: two f32 a chirp and sample.
        let most = device.capabilities().max_tensor_bytes as usize / (2 * CHIRPS * 4);
        let (blocks, lengths) = cut(strains, flag, most)?;
        Ok(Self { rate, blocks, lengths })
    }

    /// The plan with these settings.
    fn plan(&self, device: &Device, (chirps, told): (usize, u64), sets: Vec<Vec<usize>>) -> Result<DetectPlan> {
        let mut memory = MemoryPlan::default();
        for set in &sets {
            let (mut parts, mut largest) = (Vec::new(), (String::new(), 0));
            for &n in set {
                let plan = record(device, n, self.rate, (chirps, told))?.1.plan();
                parts.push((format!("{chirps} of {CHIRPS} chirps, {n} samples"), plan.peak_bytes()));
                if plan.largest.1 > largest.1 {
                    largest = plan.largest;
                }
            }
            memory = memory.then(MemoryPlan::new(device, 0, parts, largest));
        }
        Ok(DetectPlan { memory, chirps_at_once: chirps, blocks: self.blocks.len(), told, sets })
    }

    /// The fastest plan that the device has room for; the one that takes least where it has room for none.
    fn fitting(&self, device: &Device) -> Result<DetectPlan> {
        let one_by_one = || self.lengths.iter().map(|n| vec![*n]).collect();
        let least = self.plan(device, (1, TOLD[TOLD.len() - 1]), one_by_one())?;
        let (room, least_bytes) = (room(device), least.memory.planned_bytes);
        let with_least = |plan: DetectPlan| DetectPlan { memory: MemoryPlan { least_bytes, ..plan.memory }, ..plan };
        if least_bytes < room {
            let everything = vec![self.lengths.clone()];
            let groups = std::iter::successors(Some(CHIRPS), |chirps| (*chirps > 1).then_some(chirps / 2));
            let ways = std::iter::once((CHIRPS, everything)).chain(groups.map(|chirps| (chirps, one_by_one())));
            for (chirps, sets) in ways {
                for told in TOLD {
                    let plan = self.plan(device, (chirps, told), sets.clone())?;
                    if plan.memory.planned_bytes <= room {
                        return Ok(with_least(plan));
                    }
                }
            }
        }
        Ok(with_least(least))
    }
}

/// A detector that is ready to run.
pub struct Detector<'a> {
    device: &'a Device,
    strains: [&'a Strain; 2],
    templates: Templates,
    blocks: Vec<Stretch>,
    plan: DetectPlan,
    ready: Sets<usize, Network>,
    /// Seconds that making ready took.
    pub warmup_s: f64,
}

impl<'a> Detector<'a> {
    /// What a detection takes: the fastest way that the device has room for.
    ///
    /// # Errors
    /// `InvalidArgument` for data that do not go together. A plan that does not fit is no error here.
    pub fn plan(device: &Device, strains: [&Strain; 2], flag: Option<&str>) -> Result<DetectPlan> {
        Problem::new(device, strains, flag)?.fitting(device)
    }

    /// Cuts the data, plans, and makes ready within the device's memory budget: a smaller convolution at once, then blocks
    /// of one length at a time, then fewer chirps, with the same bits. Blocks of another length than the first are then
    /// made ready by [`Self::run`].
    ///
    /// # Errors
    /// As [`super::search::Search::new`].
    pub fn new(device: &'a Device, strains: [&'a Strain; 2], flag: Option<&str>) -> Result<Self> {
        let started = std::time::Instant::now();
        let problem = Problem::new(device, strains, flag)?;
        let plan = problem.fitting(device)?;
        plan.memory.check(device)?;
        let settings = (plan.chirps_at_once, plan.told);
        let mut ready = Sets::new(plan.sets.clone());
        ready.warm(device, |n| record(device, n, problem.rate, settings))?;
        let templates = Templates::Bank(Bank::new(CHIRPS)?);
        let (blocks, warmup_s) = (problem.blocks, started.elapsed().as_secs_f64());
        Ok(Self { device, strains, templates, blocks, plan, ready, warmup_s })
    }

    /// How it is made to fit.
    pub fn planned(&self) -> &DetectPlan {
        &self.plan
    }

    /// Listens to all data.
    ///
    /// # Errors
    /// As [`Prepared::run`](crate::device::Prepared::run).
    pub fn run(&mut self, control: &Control<'_>, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Detection> {
        let started = std::time::Instant::now();
        let before = self.device.stats();
        let (device, rate) = (self.device, self.strains[0].sample_rate_hz);
        let mut found: Vec<Trigger> = Vec::new();
        let mut figure = DetectFigure { neurons: CHIRPS, ..DetectFigure::default() };
        figure.rasters = self.strains.iter().map(|s| (s.detector.clone(), Vec::new())).collect();
        let (chirps, told) = (self.plan.chirps_at_once, self.plan.told);
        let groups = CHIRPS / chirps;
        let total = groups * self.blocks.len();
        // The chirps' spectra, for blocks of one length and from one chirp on.
        let mut spectra: ((usize, usize), Vec<Complex32>) = Default::default();
        for (i, block) in self.blocks.iter().enumerate() {
            let n = block.n;
            let strain = conditioned(self.strains, block, rate)?;
            let mut heard = Heard::new(block, rate);
            for group in 0..groups {
                let first = group * chirps;
                if spectra.0 != (n, first) {
                    let rows: Vec<Vec<Complex32>> = (first..first + chirps)
                        .into_par_iter()
                        .map(|k| Ok(to_f32(&self.templates.spectrum(k, n, rate)?).collect()))
                        .collect::<Result<_>>()?;
                    spectra = ((n, first), rows.concat());
                }
                let (network, prepared) = self.ready.get(device, n, |n| record(device, n, rate, (chirps, told)))?;
                let feeds = [
                    network.strain[0].feed(&strain[0]),
                    network.strain[1].feed(&strain[1]),
                    network.templates.feed(&spectra.1),
                ];
                let out = prepared.run(&feeds, control)?;
                heard.add(network, first, &out, &mut figure)?;
                progress(i * groups + group + 1, total);
            }
            heard.finish(&self.templates, &mut found, &mut figure);
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
            planned_bytes: self.plan.memory.planned_bytes,
            peak_bytes: after.memory.peak_bytes,
            created: Created::between(&before, &after),
            figure,
        })
    }
}

/// The best coincidence of a window so far.
#[derive(Clone, Copy, Default)]
struct Best {
    score: f32,
    chirp: u32,
    /// Samples of the largest evidence of each detector, and of the coincidence.
    at: [u32; 3],
}

/// What was heard in one block, group of chirps by group.
struct Heard<'a> {
    block: &'a Stretch,
    rate: f64,
    windows: Vec<Best>,
    /// Coincidences of each sample, a bit a chirp.
    coincidences: Vec<[u32; spike_words(CHIRPS)]>,
}

impl<'a> Heard<'a> {
    fn new(block: &'a Stretch, rate: f64) -> Self {
        let windows = (block.n - 2 * edge(block.n)).div_ceil(window(rate));
        let coincidences = vec![[0; spike_words(CHIRPS)]; block.n];
        Self { block, rate, windows: vec![Best::default(); windows], coincidences }
    }

    fn gps(&self, t: usize) -> f64 {
        self.block.gps_start + t as f64 / self.rate
    }

    /// Adds what the chirps from `first` on heard.
    fn add(&mut self, network: &Network, first: usize, out: &Outputs, figure: &mut DetectFigure) -> Result<()> {
        let n = self.block.n;
        let (scores, at) = (out.get(network.triggers.score)?, out.get(network.triggers.at)?);
        for ((best, score), at) in self.windows.iter_mut().zip(scores).zip(at.chunks_exact(4)) {
            // Of equals the first sample wins, then the first chirp, as it does on the device within a group.
            if *score > best.score || (*score == best.score && *score > 0.0 && at[3] < best.at[2]) {
                *best = Best { score: *score, chirp: first as u32 + at[0], at: [at[1], at[2], at[3]] };
            }
        }
        let words = ops::event_words(n);
        let rows = 2 * THRESHOLDS.len();
        let kept = edge(n)..n - edge(n);
        for (raster, events) in figure.rasters.iter_mut().zip(network.events) {
            let events = out.get(events)?;
            for k in 0..network.chirps {
                // The first quadrature at the lowest threshold: ON, then OFF.
                for (row, on) in [(2 * k * rows, true), (2 * k * rows + 1, false)] {
                    let train = &events[row * words..][..words];
                    let times = set_bits(train).filter(|t| kept.contains(t));
                    raster.1.extend(times.map(|t| Spike { gps: self.gps(t), neuron: first + k, on }));
                }
            }
        }
        let words = spike_words(network.chirps);
        for (all, some) in self.coincidences.iter_mut().zip(out.get(network.coincidences)?.chunks_exact(words)) {
            for k in set_bits(some) {
                all[(first + k) / 32] |= 1 << ((first + k) % 32);
            }
        }
        Ok(())
    }

    /// The block's triggers and coincidences.
    fn finish(self, templates: &Templates, found: &mut Vec<Trigger>, figure: &mut DetectFigure) {
        let n = self.block.n;
        for (i, best) in self.windows.iter().enumerate() {
            let middle = edge(n) + i * window(self.rate) + window(self.rate) / 2;
            figure.score.push((self.gps(middle), best.score));
            if best.score > 0.0 {
                let [h1_time, l1_time] = [best.at[0], best.at[1]].map(|t| self.gps(t as usize));
                let template = best.chirp as usize;
                found.push(Trigger {
                    gps_time: h1_time.max(l1_time),
                    rank: 0,
                    score: best.score,
                    template,
                    masses: templates.describe(template).masses,
                    h1_time,
                    l1_time,
                });
            }
        }
        let kept = edge(n)..n - edge(n);
        for (t, spikes) in self.coincidences.iter().enumerate().filter(|(t, _)| kept.contains(t)) {
            figure.coincidences.extend(set_bits(spikes).map(|neuron| Spike { gps: self.gps(t), neuron, on: true }));
        }
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
