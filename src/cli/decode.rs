//! `spikewave decode`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args as Arguments, ValueEnum};
use ndarray::{Array2, ArrayView2};
use serde_json::{Value, json};
use spikewave::decode::plot::{self, Curve, DecodeFigure, Reduced};
use spikewave::decode::state_space::{
    LogLikelihood, Model, Observation, Observed, Options as StateOptions, Plan as StatePlan, Rows, StateSpace, Task,
    no_spike_log_likelihood,
};
use spikewave::decode::{
    Bandwidth, BinEdges, Difference, EncodingModel, FitOptions, Likelihood, LikelihoodOptions, LikelihoodPlan,
    LocalLikelihood, Method, PositionError, REFERENCE_FLOOR, RunReport, Session, Spikes, TimeBins, most_likely_bins,
};
use spikewave::device::Control;
use spikewave::io::npy::{NpyRows, NpyStream};
use spikewave::io::{npz, same_file};
use spikewave::{Device, Error, Result};

use super::gw::{announce, writable};
use super::{DeviceArgs, at_once, interrupt, memory, plural, print, print_json, progress, resident_peak, say, survive};

/// Spikes a second of the no-spike state, as in the reference.
const NO_SPIKE_RATE: f64 = 1e-10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MethodName {
    /// Every pair of spikes at every bin.
    Exact,
    /// Marks scattered onto a grid, to a tolerance.
    Gridded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Floor {
    /// No floor.
    None,
    /// ln 1e-15, as non_local_detector.
    Reference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Edges {
    /// Bin k is [time k, time k+1), the last one too.
    HalfOpen,
    /// As non_local_detector: the last bin never receives a spike.
    Reference,
}

/// The end of the long help.
const ARRAYS: &str = "\
Arrays of OUT.npz (T time bins, P bins inside the track, K discrete states, d dimensions; * not with --likelihood-only):
  time (T), log_likelihood (T × P; T × 1 with --local), place_bin_centers (P × d), map_position (T × d)
  acausal_posterior* (T × P): probability of position, summed over the states that have one
  acausal_posterior_by_state* (T × states with a position × P): only with several such states, if the budget allows
  acausal_state_probabilities* (T × K), state_names* (K), mean_position* (T × d), log_evidence* (one number)
With --model nonlocal the posterior is that of the two non-local states, and map_position and mean_position are NaN where
these hold less than half of the probability.

Memory: a smaller --memory-budget gives the same result in more chunks. Without --output NAME.npy the log likelihood of all
time bins is held in memory, which no budget can be below; --plan and a refusal name the least that would do.

The constants of the models are those of non_local_detector's repository of April 2026, newer than release 0.6.9.";

#[derive(Debug, Arguments)]
#[command(after_long_help = ARRAYS)]
pub struct Args {
    /// A session (NPZ; its arrays are listed in the documentation of `spikewave::decode::Session`). Without it: the
    /// bundled simulated session.
    #[arg(long, value_name = "SESSION.npz")]
    data: Option<PathBuf>,
    /// Writes results. As .npz: log likelihood, posterior, discrete states and positions. As .npy: the log likelihood
    /// alone (time × bins, float32), streamed as it is computed and resumed if it was interrupted.
    #[arg(long, value_name = "OUT.npz|.npy")]
    output: Option<PathBuf>,
    /// The log likelihood of the animal's own position (time × 1) instead of every position. It needs decode_position.
    #[arg(long, conflicts_with_all = ["plot", "model", "likelihood_only", "chunk_bins"])]
    local: bool,
    /// How the sum over encoding spikes is computed.
    #[arg(long, value_enum, default_value = "exact")]
    method: MethodName,
    /// With `--method gridded`: the largest error of a spike's log intensity, in nats.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    tolerance: Option<f64>,
    /// How position moves: decoder (a random walk), contfrag (continuous or fragmented), or nonlocal (local, no spike,
    /// non-local continuous, non-local fragmented).
    #[arg(long, default_value = "decoder")]
    model: Model,
    /// Variance of the random walk, cm² a time bin. The default is 6.
    #[arg(long, value_name = "CM2", allow_negative_numbers = true)]
    movement_var: Option<f64>,
    /// Leaves the state space out: errors are then those of the most likely bin of each time bin.
    #[arg(long, conflicts_with_all = ["model", "movement_var"])]
    likelihood_only: bool,
    /// Bandwidth in position, cm, instead of the session's (or 6).
    #[arg(long, value_name = "CM", allow_negative_numbers = true)]
    position_std: Option<f64>,
    /// Bandwidth of the marks, µV, instead of the session's (or 24).
    #[arg(long, value_name = "UV", allow_negative_numbers = true)]
    waveform_std: Option<f64>,
    /// The least log intensity of a spike.
    #[arg(long, value_enum, default_value = "none")]
    log_intensity_floor: Floor,
    /// Which time bin a spike belongs to.
    #[arg(long, value_enum, default_value = "half-open")]
    bin_edges: Edges,
    /// Width of the time bins in seconds, where it differs from that of the position samples. Without it a time bin
    /// counts as one position sample, as in non_local_detector.
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    time_bin_size: Option<f64>,
    /// Time bins computed at once; by default as many as the memory budget allows.
    #[arg(long, value_name = "N")]
    chunk_bins: Option<usize>,
    /// Sorts spikes that are not in order of time, instead of refusing them.
    #[arg(long)]
    sort_spikes: bool,
    /// Computes the likelihood this many times more, and reports the median time instead of the first (for benchmarks).
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "local")]
    repeat: usize,
    /// Says what it would take, and does nothing.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// Draws spikes, posterior and true path as a PNG.
    #[arg(long, value_name = "OUT.png")]
    plot: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Which file is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Npz,
    Npy,
}

impl Args {
    fn output(&self) -> Result<Option<Output>> {
        let Some(path) = &self.output else { return Ok(None) };
        match path.extension().and_then(|e| e.to_str()) {
            Some(end) if end.eq_ignore_ascii_case("npz") => Ok(Some(Output::Npz)),
            Some(end) if end.eq_ignore_ascii_case("npy") => Ok(Some(Output::Npy)),
            _ => Err(Error::invalid("output", format!("{}; its name must end in .npz or .npy", path.display()))),
        }
    }

    /// Which file is written, once it is clear that all can be, and that none is another one.
    fn files(&self) -> Result<Option<Output>> {
        let output = self.output()?;
        if let Some(path) = &self.plot
            && !path.extension().is_some_and(|end| end.eq_ignore_ascii_case("png"))
        {
            return Err(Error::invalid("plot", format!("{}; its name must end in .png", path.display())));
        }
        let files = [("--data", &self.data), ("--output", &self.output), ("--plot", &self.plot)];
        for (i, (name, path)) in files.iter().enumerate() {
            for (other, second) in &files[i + 1..] {
                if let (Some(path), Some(second)) = (path, second)
                    && same_file(path, second)
                {
                    let why = format!("{} is the file of {name} too; give it another name", second.display());
                    return Err(Error::invalid(*other, why));
                }
            }
        }
        self.output.iter().chain(&self.plot).try_for_each(|path| writable(path))?;
        Ok(output)
    }

    fn likelihood_options(&self) -> Result<LikelihoodOptions> {
        if self.local && self.method == MethodName::Gridded {
            return Err(Error::invalid("method", "gridded; the local likelihood is always exact: leave --method out"));
        }
        let method = match (self.method, self.tolerance) {
            (MethodName::Exact, None) => Method::Exact,
            (MethodName::Gridded, Some(tolerance)) => Method::Gridded { tolerance },
            (MethodName::Exact, Some(_)) => {
                return Err(Error::invalid("tolerance", "the exact method has none; use --method gridded"));
            }
            (MethodName::Gridded, None) => {
                return Err(Error::invalid("tolerance", "missing; say how exact it must be, such as --tolerance 1e-3"));
            }
        };
        Ok(LikelihoodOptions {
            method,
            reserved_bytes: 0,
            log_intensity_floor: (self.log_intensity_floor == Floor::Reference).then_some(REFERENCE_FLOOR),
            time_bin_size: self.time_bin_size,
            chunk_bins: self.chunk_bins,
        })
    }

    fn fit_options(&self, session: &Session) -> FitOptions {
        let defaults = FitOptions::default();
        let choose = |asked: Option<f64>, held: &Option<Vec<f64>>, default: Bandwidth| match (asked, held.as_deref()) {
            (Some(std), _) => Bandwidth::from(std),
            (None, Some([one])) => Bandwidth::from(*one),
            (None, Some(many)) => Bandwidth::from(many.to_vec()),
            (None, None) => default,
        };
        FitOptions {
            position_std: choose(self.position_std, &session.position_std, defaults.position_std),
            waveform_std: choose(self.waveform_std, &session.waveform_std, defaults.waveform_std),
            weights: session.weights.clone(),
        }
    }

    /// Everything that the numbers depend on, as a text. How they are cut into chunks is not part of it.
    fn signature(&self, device: &Device, fit: &FitOptions, options: &LikelihoodOptions) -> String {
        let likelihood = LikelihoodOptions { chunk_bins: None, ..options.clone() };
        // Any number of threads makes the same numbers.
        let device = if matches!(device, Device::Cpu(_)) { "cpu" } else { device.name() };
        format!(
            "{} {device} local {} {fit:?} {likelihood:?} {:?}",
            env!("CARGO_PKG_VERSION"),
            self.local,
            self.bin_edges
        )
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

#[derive(Default)]
struct Timing {
    read_ms: f64,
    device_ms: f64,
    fit_ms: f64,
    plan_ms: f64,
    report: RunReport,
    state_space_ms: f64,
    write_ms: f64,
}

/// Where the log likelihood is, once it is computed.
enum Computed {
    Memory(Vec<f32>),
    File(NpyRows),
}

/// What the state space found.
struct Decoded {
    /// Probability of position (T × P), where it is to be written.
    posterior: Vec<f32>,
    /// The same of each state with a position (T × states × P), where it is to be written.
    by_state: Vec<f32>,
    /// How many states have a position.
    n_placed: usize,
    /// Where these hold half of the probability or more (T).
    is_placed: Vec<bool>,
    states: Vec<String>,
    state_probability: Array2<f32>,
    map: Vec<u32>,
    mean_position: Array2<f64>,
    log_evidence: f64,
    plan: StatePlan,
}

/// What is decoded, and with what.
struct Job<'a> {
    args: &'a Args,
    session: &'a Session,
    device: Device,
    model: &'a EncodingModel,
    bins: &'a TimeBins,
    options: LikelihoodOptions,
    signature: u64,
    /// Bytes of host memory that may be used, where that is limited.
    host_limit: Option<u64>,
}

/// Either likelihood.
enum Planned {
    NonLocal(Box<Likelihood>),
    Local(Box<LocalLikelihood>),
}

impl Planned {
    fn plan(&self) -> &LikelihoodPlan {
        match self {
            Self::NonLocal(l) => l.plan(),
            Self::Local(l) => l.plan(),
        }
    }

    fn move_to(&mut self, device: &Device) {
        match self {
            Self::NonLocal(l) => l.move_to(device),
            Self::Local(l) => l.move_to(device),
        }
    }
}

/// A refusal with what is in use beside.
fn beside(error: Error, held: u64) -> Error {
    match error {
        Error::OverBudget { needed, in_use, limit, tensor, tensor_bytes, least } => Error::OverBudget {
            needed,
            in_use: in_use + held,
            limit: limit + held,
            tensor,
            tensor_bytes,
            least: least.map(|least| least + held),
        },
        other => other,
    }
}

/// The least that a refusal names, or what a plan says of it.
fn least_of<T>(planned: Result<T>, least: impl FnOnce(T) -> u64) -> Result<u64> {
    match planned {
        Ok(plan) => Ok(least(plan)),
        Err(Error::OverBudget { least: Some(least), .. }) => Ok(least),
        Err(error) => Err(error),
    }
}

/// Watches a job with a progress bar.
fn watched<T>(message: &'static str, work: impl FnOnce(&Control<'_>) -> Result<T>) -> Result<T> {
    let bar = progress();
    bar.set_message(message);
    let watch = |done: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let result = work(&Control { cancel: interrupt(), progress: Some(&watch), ..Control::default() });
    bar.finish_and_clear();
    result
}

impl Job<'_> {
    /// Does a part of the job on the device, and does it again on the next one if that is lost.
    fn on_device<T>(&mut self, mut part: impl FnMut(&Self, &Device) -> Result<T>) -> Result<T> {
        let mut device = self.device.clone();
        let result = survive(&mut device, |device| part(self, device));
        self.device = device;
        result
    }

    fn local(&self, device: &Device) -> Result<LocalLikelihood> {
        let Some(truth) = &self.session.decode_trajectory else {
            let path = self.args.data.clone().unwrap_or_default();
            let why = "has no array \"decode_position\", which says where the animal was; a local likelihood needs it";
            return Err(Error::file(path, why));
        };
        let options = LikelihoodOptions { method: Method::Exact, chunk_bins: None, ..self.options.clone() };
        LocalLikelihood::new(device, self.model, self.bins, &self.session.decoding, truth, &options)
    }

    fn planned(&self, device: &Device) -> Result<Planned> {
        if self.args.local {
            return Ok(Planned::Local(Box::new(self.local(device)?)));
        }
        let likelihood = Likelihood::new(device, self.model, self.bins, &self.session.decoding, &self.options)?;
        Ok(Planned::NonLocal(Box::new(likelihood)))
    }

    fn space(&self) -> Result<StateSpace> {
        StateSpace::of_model(self.args.model, &self.session.environment, self.args.movement_var)
    }

    fn state_options(&self, held: u64) -> StateOptions {
        StateOptions { memory_budget: self.host_limit.map(|limit| limit.saturating_sub(held)), ..Default::default() }
    }

    /// The smallest budget for the whole job, which holds tables of `held` bytes beside the likelihood and of `kept`
    /// more beside the state space.
    fn least(&self, (held, kept): (u64, u64), with_states: bool) -> Result<u64> {
        let likelihood = least_of(self.planned(&self.device), |planned| planned.plan().least_bytes)?;
        let mut least = likelihood.max(held + kept + 1);
        if with_states {
            // With nothing at all it says what it needs.
            let options = StateOptions { memory_budget: Some(0), ..Default::default() };
            let states = self.space()?.plan(self.bins.len(), Task::Smooth, &options);
            least = least.max(held + kept + least_of(states, |plan| plan.peak_bytes())?);
        }
        Ok(least)
    }

    /// A refusal with the least of the whole job: what one part could do with is not always enough for the other.
    fn refused(&self, error: Error, tables: (u64, u64), with_states: bool) -> Error {
        match (&error, self.least(tables, with_states)) {
            (Error::OverBudget { .. }, Ok(least)) => error.with_least(least),
            _ => error,
        }
    }

    /// Computes the log likelihood, and writes it where it is streamed. Also the row that a file went on from, and the
    /// milliseconds of writing and of all else that is done with rows.
    fn likelihood(
        &mut self,
        planned: &mut Planned,
        output: Option<Output>,
        differences: &mut [(&str, Difference<'_>)],
        figure: &mut Option<Reduced>,
    ) -> Result<(Computed, RunReport, usize, f64)> {
        let (rows, columns) = (planned.plan().n_time, planned.plan().n_bins);
        let mut stream = match (&self.args.output, output) {
            (Some(path), Some(Output::Npy)) => Some(NpyStream::open(path, rows, columns, self.signature)?),
            _ => None,
        };
        let from = stream.as_ref().map_or(0, NpyStream::done);
        if let (1.., Some(stream)) = (from, &stream) {
            say(&format!("resumed: {from} of {rows} time bins are in {}", stream.partial().display()));
        }
        let mut memory = Vec::new();
        if stream.is_none() {
            let bytes = 4 * rows as u64 * columns as u64;
            let what = "the log likelihood; with --output NAME.npy it is streamed".to_owned();
            memory.try_reserve_exact(rows * columns).map_err(|_| Error::OutOfMemory { bytes, what })?;
        }
        let (mut taken_ms, mut next) = (0.0, from);
        let mut take = |first: usize, values: &[f32], next: &mut usize| {
            let taking = Instant::now();
            for (_, difference) in &mut *differences {
                difference.add(first, values);
            }
            if let Some(figure) = figure {
                let table = ArrayView2::from_shape((values.len() / columns, columns), values);
                figure.add_log_likelihood(first, table.map_err(|e| Error::Internal(e.to_string()))?)?;
            }
            match &mut stream {
                Some(stream) => stream.append(values)?,
                None => memory.extend_from_slice(values),
            }
            taken_ms += ms(taking);
            *next = first + values.len() / columns;
            Ok(())
        };
        // What was taken before a loss stays.
        let mut report = self.on_device(|_, device| {
            planned.move_to(device);
            watched("time bins", |control| match planned {
                Planned::NonLocal(l) => {
                    let first = next;
                    l.run(first, control, &mut |first, values| take(first, values, &mut next))
                }
                Planned::Local(l) => {
                    let (values, report) = l.run(control)?;
                    let first = next;
                    take(first, &values[first..], &mut next)?;
                    Ok(report)
                }
            })
        })?;
        if let (Planned::NonLocal(l), 1..) = (&mut *planned, self.args.repeat) {
            let again = |_| {
                Ok(l.run(0, &Control { cancel: interrupt(), ..Control::default() }, &mut |_, _| Ok(()))?.likelihood_ms)
            };
            let mut times = (0..self.args.repeat).map(again).collect::<Result<Vec<f64>>>()?;
            times.sort_by(f64::total_cmp);
            report.likelihood_ms = times[times.len() / 2];
        }
        let Some(stream) = stream else { return Ok((Computed::Memory(memory), report, 0, taken_ms)) };
        let finishing = Instant::now();
        stream.finish()?;
        let path = self.args.output.as_deref().unwrap_or(Path::new(""));
        let mut file = NpyRows::open(path)?;
        // What an earlier run left was not compared or drawn.
        let mut part = Vec::new();
        for first in (0..from).step_by(1 << 12) {
            let last = from.min(first + (1 << 12));
            part.resize((last - first) * columns, 0.0);
            file.read(first..last, &mut part)?;
            for (_, difference) in &mut *differences {
                difference.add(first, &part);
            }
            if let Some(figure) = figure {
                let table = ArrayView2::from_shape((last - first, columns), &part);
                figure.add_log_likelihood(first, table.map_err(|e| Error::Internal(e.to_string()))?)?;
            }
        }
        Ok((Computed::File(file), report, from, taken_ms + ms(finishing)))
    }

    /// The smoothed posterior.
    fn state_space(
        &mut self,
        computed: &mut Computed,
        (keep, keep_by_state): (bool, bool),
        figure: &mut Option<Reduced>,
    ) -> Result<Decoded> {
        let space = self.space()?;
        let local = match space.needs(Observation::Local) {
            true => {
                let local = |job: &Self, device: &Device| {
                    watched("local likelihood", |control| job.local(device)?.run(control))
                };
                Some(self.on_device(local)?.0)
            }
            false => None,
        };
        let no_spike = match space.needs(Observation::NoSpike) {
            true => Some(no_spike_log_likelihood(&self.session.decoding, self.bins, NO_SPIKE_RATE)?),
            false => None,
        };
        let (rows, columns) = (self.bins.len(), space.n_bins());
        let mut in_memory;
        let (source, held): (&mut dyn LogLikelihood, u64) = match computed {
            Computed::Memory(values) => {
                in_memory = Rows::new(values, columns)?;
                (&mut in_memory, 4 * values.len() as u64)
            }
            Computed::File(file) => (file, 0),
        };
        let kept = if keep { rows * columns } else { 0 };
        let mut posterior: Vec<f32> = Vec::new();
        let mut by_state: Vec<f32> = Vec::new();
        let n_placed = space.states().iter().filter(|s| s.observation == Observation::NonLocal).count();
        let split = if keep_by_state { kept * n_placed } else { 0 };
        for (table, size) in [(&mut posterior, kept), (&mut by_state, split)] {
            let oom = |_| Error::OutOfMemory { bytes: 4 * size as u64, what: "the posterior".into() };
            table.try_reserve_exact(size).map_err(oom)?;
            table.resize(size, 0.0);
        }
        let mut is_placed = vec![true; rows];
        let states: Vec<String> = space.states().iter().map(|s| s.name.clone()).collect();
        let mut probability = Array2::zeros((rows, states.len()));
        let mut map = vec![0; rows];
        let mut mean = Array2::zeros((rows, space.centers().ncols()));
        let placed: Vec<_> = space
            .states()
            .iter()
            .zip(space.ranges())
            .filter(|(s, _)| s.observation == Observation::NonLocal)
            .map(|(_, range)| range.clone())
            .collect();
        let mut data = Observed::new(source);
        (data.local, data.no_spike) = (local.as_deref(), no_spike.as_deref());
        let mut position = Vec::new();
        let options = self.state_options(held + 4 * (kept + split) as u64);
        let of_placed: Vec<usize> =
            (0..states.len()).filter(|s| space.states()[*s].observation == Observation::NonLocal).collect();
        let summary = watched("posterior", |control| {
            space.smooth(&mut data, &options, control, &mut |chunk| {
                let at = chunk.rows.clone();
                let shape = |n: usize| (at.len(), n);
                let view =
                    |values, n| ArrayView2::from_shape(shape(n), values).map_err(|e| Error::Internal(e.to_string()));
                let table = view(chunk.state_probability, states.len())?;
                probability.slice_mut(ndarray::s![at.clone(), ..]).assign(&table);
                map[at.clone()].copy_from_slice(chunk.most_probable_bin);
                let means = ArrayView2::from_shape(shape(mean.ncols()), chunk.mean_position);
                let means = means.map_err(|e| Error::Internal(e.to_string()))?;
                mean.slice_mut(ndarray::s![at.clone(), ..]).assign(&means);
                if n_placed < states.len() {
                    for (t, row) in at.clone().zip(table.rows()) {
                        is_placed[t] = of_placed.iter().map(|s| row[*s]).sum::<f32>() >= 0.5;
                        if !is_placed[t] {
                            mean.row_mut(t).fill(f64::NAN);
                        }
                    }
                }
                if figure.is_none() && !keep {
                    return Ok(());
                }
                position.clear();
                for row in chunk.posterior.chunks_exact(space.n_state_bins()) {
                    position.extend((0..columns).map(|p| placed.iter().map(|r| row[r.start + p]).sum::<f32>()));
                }
                if keep {
                    posterior[at.start * columns..at.end * columns].copy_from_slice(&position);
                }
                if split > 0 {
                    let to = by_state[at.start * n_placed * columns..].chunks_exact_mut(n_placed * columns);
                    for (to, row) in to.zip(chunk.posterior.chunks_exact(space.n_state_bins())) {
                        for (to, range) in to.chunks_exact_mut(columns).zip(&placed) {
                            to.copy_from_slice(&row[range.start..range.start + columns]);
                        }
                    }
                }
                if let Some(figure) = figure {
                    figure.add_posterior(at.start, view(&position, columns)?)?;
                    if states.len() > 1 {
                        figure.add_states(at.start, table)?;
                    }
                }
                Ok(())
            })
        })?;
        Ok(Decoded {
            posterior,
            by_state,
            n_placed,
            is_placed,
            states,
            state_probability: probability,
            map,
            mean_position: mean,
            log_evidence: summary.log_evidence,
            plan: summary.plan,
        })
    }
}

/// Makes the GNU allocator give large blocks back to the system when they are freed.
///
/// It keeps a block for reuse unless it is larger than every one freed so far. Results of a chunk come and go by the
/// dozen of MiB, in many threads, and without this a job held four times what it had planned.
fn give_back_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        const M_MMAP_THRESHOLD: c_int = -3;
        // SAFETY: the signature is that of malloc.h; the call may be made at any time.
        if unsafe { mallopt(M_MMAP_THRESHOLD, 4 << 20) } == 0 {
            log::debug!("the allocator takes no threshold");
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    give_back_large_blocks();
    interrupt();
    let mut options = args.likelihood_options()?;
    let output = args.files()?;
    if let Some(threads) = args.device.threads.filter(|n| *n > 0) {
        // What runs beside the device; a pool that is there already stays.
        _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    let session = at_once(|| match &args.data {
        Some(path) => Session::read(path, args.sort_spikes),
        None => Session::bundled(),
    })?;
    let edges = match args.bin_edges {
        Edges::HalfOpen => BinEdges::HalfOpen,
        Edges::Reference => BinEdges::Reference,
    };
    let bins = TimeBins::new(session.time.clone(), edges, args.time_bin_size)?;
    let mut timing = Timing { read_ms: ms(started), ..Timing::default() };
    for why in &session.left_out {
        say(&format!("warning: {why}"));
    }
    let opening = Instant::now();
    let device = args.device.open()?;
    announce(&device);
    timing.device_ms = ms(opening);

    let fitting = Instant::now();
    let fit = args.fit_options(&session);
    let model = at_once(|| EncodingModel::fit(&session.trajectory, &session.encoding, &session.environment, &fit));
    let model = model.map_err(|error| match (error, &args.data) {
        (Error::InvalidArgument { what, why }, Some(path)) if what == "place_bin_centers" => {
            Error::file(path, format!("array \"{what}\": {why}"))
        }
        (error, _) => error,
    })?;
    let never_visited = model.n_unvisited();
    if never_visited > 0 && !args.json {
        let of = plural(session.environment.n_interior(), "bin");
        say(&format!(
            "note: {never_visited} of {of} inside the track were never visited: all positions are farther than 6 position_std"
        ));
    }
    timing.fit_ms = ms(fitting);
    let planning = Instant::now();
    let mut signature = session.fingerprint();
    signature.text(&args.signature(&device, &fit, &options));
    let host_limit = match (&device, &args.device.memory_budget) {
        (Device::Cpu(_), _) | (_, Some(_)) => Some(device.stats().memory.budget_bytes),
        _ => None,
    };
    options.chunk_bins = args.chunk_bins;
    let mut job = Job {
        args,
        session: &session,
        device,
        model: &model,
        bins: &bins,
        options,
        signature: signature.value(),
        host_limit,
    };
    let with_states = !args.local && !args.likelihood_only;
    // What is held beside the likelihood's own memory, and beside the state space's.
    let columns = if args.local { 1 } else { session.environment.n_interior() };
    let table = 4 * session.time.len() as u64 * columns as u64;
    let held = if output == Some(Output::Npy) { 0 } else { table };
    let kept = if with_states && output == Some(Output::Npz) { table } else { 0 };
    if let Some(limit) = host_limit
        && held + kept >= limit
    {
        job.options.reserved_bytes = held;
        let tensor = "log_likelihood, which --output NAME.npy would stream".into();
        let least = Some(at_once(|| job.least((held, kept), with_states))?);
        return Err(Error::OverBudget { needed: held + kept, in_use: 0, limit, tensor, tensor_bytes: table, least });
    }
    job.options.reserved_bytes = held;
    let mut planned = at_once(|| job.on_device(|job, device| job.planned(device)))
        .map_err(|error| job.refused(error, (held, kept), with_states))?;
    let plan = planned.plan().clone();
    let mut kept_by_state = 0;
    let states = match with_states {
        true => {
            let space = job.space()?;
            let planned = |kept| space.plan(plan.n_time, Task::Smooth, &job.state_options(held + kept));
            let several = space.states().iter().filter(|s| s.observation == Observation::NonLocal).count();
            let wanted = if several > 1 { several as u64 * kept } else { 0 };
            Some(match (wanted > 0).then(|| planned(kept + wanted)) {
                Some(Ok(plan)) if host_limit.is_none_or(|limit| held + kept + wanted < limit) => {
                    kept_by_state = wanted;
                    plan
                }
                _ => {
                    planned(kept).map_err(|error| job.refused(beside(error, held + kept), (held, kept), with_states))?
                }
            })
        }
        false => None,
    };
    let keep_by_state = kept_by_state > 0;
    let likelihood_bytes = plan.device_bytes + plan.host_bytes + held;
    let state_bytes = states.map_or(0, |s| s.peak_bytes() + held + kept + kept_by_state);
    // The session and the model are there all the time, and the larger of the two steps.
    let mut parts = match &states {
        Some(s) if state_bytes > likelihood_bytes => vec![
            ("state space".to_owned(), s.peak_bytes()),
            ("posteriors of all time bins".to_owned(), kept + kept_by_state),
        ],
        _ => vec![
            ("likelihood, on the device".to_owned(), plan.device_bytes),
            ("likelihood, beside it".to_owned(), plan.host_bytes),
        ],
    };
    parts.push(("log likelihood of all time bins".to_owned(), held));
    parts.push(("session and model".to_owned(), session.bytes() + model.bytes()));
    parts.retain(|(_, bytes)| *bytes > 0);
    let planned_bytes: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    timing.plan_ms = ms(planning);
    if args.plan {
        let least = job.least((held, kept), with_states)?;
        return say_plan(args, &job.device, &session, &plan, states.as_ref(), (&parts, least));
    }

    let mut known: Vec<(&str, Difference<'_>)> = match args.local {
        true => vec![("reference_local_log_likelihood", session.reference_local_log_likelihood.as_ref())],
        false => vec![
            ("exact_log_likelihood", session.exact_log_likelihood.as_ref()),
            ("reference_log_likelihood", session.reference_log_likelihood.as_ref()),
        ],
    }
    .into_iter()
    .filter_map(|(name, table)| Some((name, Difference::from(table?))))
    .collect();
    let mut figure = args.plot.as_ref().map(|_| Reduced::new(&session.environment, &bins));
    let of_likelihood = &mut if with_states { None } else { figure.take() };
    let (mut computed, report, resumed_from, streamed_ms) =
        job.likelihood(&mut planned, output, &mut known, of_likelihood)?;
    if !with_states {
        figure = of_likelihood.take();
    }
    timing.report = report;
    drop(planned);
    job.device.trim();

    let stated = Instant::now();
    let decoded = match with_states {
        true => {
            if let Some(reduced) = figure.take() {
                let space = job.space()?;
                let names: Vec<&str> = space.states().iter().map(|s| s.name.as_str()).collect();
                let reduced = if names.len() > 1 { reduced.with_states(&names) } else { reduced };
                figure = Some(if args.model == Model::NonLocal { reduced.non_local() } else { reduced });
            }
            Some(job.state_space(&mut computed, (output == Some(Output::Npz), keep_by_state), &mut figure)?)
        }
        false => None,
    };
    timing.state_space_ms = if with_states { ms(stated) } else { 0.0 };

    let map = match (&decoded, &mut computed) {
        (Some(d), _) => Some(d.map.clone()),
        (None, _) if args.local => None,
        (None, Computed::Memory(values)) => Some(most_likely_bins(values, plan.n_bins)?),
        (None, Computed::File(file)) => Some(most_likely_of_file(file)?),
    };
    let interior = session.environment.interior();
    let positions = map.as_ref().map(|bins| {
        Array2::from_shape_fn((bins.len(), interior.ncols()), |(t, k)| {
            let known = decoded.as_ref().is_none_or(|d| d.is_placed[t]);
            if known { interior[[bins[t] as usize, k]] } else { f64::NAN }
        })
    });
    let error = match (&session.decode_trajectory, &positions) {
        (Some(truth), Some(positions)) => PositionError::of(truth, bins.time(), positions.view()),
        _ => None,
    };

    let writing = Instant::now();
    still_wanted()?;
    if let (Some(path), Some(Output::Npz), Computed::Memory(values)) = (&args.output, output, &computed) {
        write(path, &session, &plan, values, decoded.as_ref(), positions.as_ref())?;
    }
    still_wanted()?;
    if let (Some(path), Some(reduced)) = (&args.plot, &figure) {
        draw(args, &session, reduced, positions.as_ref(), error.as_ref(), path)?;
    }
    timing.write_ms = streamed_ms + ms(writing);

    let peak_bytes = report.peak_bytes;
    let budget_bytes = job.device.stats().memory.budget_bytes;
    let state_names = decoded.as_ref().map(|d| {
        let means = d.state_probability.mean_axis(ndarray::Axis(0)).unwrap_or_default();
        d.states.iter().cloned().zip(means).collect::<Vec<(String, f32)>>()
    });
    let non_local = with_states && args.model == Model::NonLocal;
    let what_of = if non_local {
        "the most probable bin of the smoothed non-local posterior, where the non-local states hold half of the \
         probability or more,"
    } else if with_states {
        "the most probable bin of the smoothed posterior"
    } else {
        "the most likely bin of each time bin"
    };
    if args.json {
        let difference = |name: &str| known.iter().find(|(n, _)| *n == name).map(|(_, d)| d);
        let compared: serde_json::Map<String, Value> = known
            .iter()
            .map(|(name, d)| ((*name).to_owned(), json!({"max_abs": d.max(), "median_abs": d.median()})))
            .collect();
        let main = difference(if args.local { "reference_local_log_likelihood" } else { "exact_log_likelihood" });
        return print_json(&json!({
            "device": job.device.name(),
            "method": method_name(&plan),
            "grid": plan.grid,
            "local": args.local,
            "model": with_states.then(|| args.model.name()),
            "n_time": plan.n_time,
            "n_bins": plan.n_bins,
            "n_spikes": plan.n_spikes,
            "n_encoding_spikes": plan.n_encoding_spikes,
            "median_error_cm": error.map(|e| e.median_cm),
            "error_of": (error.is_some() || non_local).then_some(what_of.trim_end_matches(',')),
            "error_n_time": error.map(|e| e.n_time).or(non_local.then_some(0)),
            "bins_never_visited": never_visited,
            "max_abs_difference": main.and_then(Difference::max),
            "differences": compared,
            "log_evidence": decoded.as_ref().map(|d| d.log_evidence),
            "states": state_names.map(|list| {
                list.into_iter().map(|(name, p)| json!({"name": name, "mean_probability": p})).collect::<Vec<_>>()
            }),
            "resumed_from": (resumed_from > 0).then_some(resumed_from),
            "timing": {
                "read_ms": timing.read_ms,
                "device_ms": timing.device_ms,
                "fit_ms": timing.fit_ms,
                "plan_ms": timing.plan_ms,
                "warmup_ms": report.warmup_ms,
                "first_ms": report.first_ms,
                "likelihood_ms": report.likelihood_ms,
                "state_space_ms": timing.state_space_ms,
                "write_ms": timing.write_ms,
                "total_ms": ms(started),
            },
            "memory": {
                "planned_bytes": plan.device_bytes,
                "peak_bytes": peak_bytes,
                "budget_bytes": budget_bytes,
                "planned_with_host_bytes": planned_bytes,
                "resident_peak_bytes": resident_peak(),
                "allocator": job.device.stats().allocator,
            },
            "plan": {"likelihood": plan, "state_space": decoded.as_ref().map(|d| d.plan)},
            "files": args.output.iter().chain(&args.plot).map(|p| p.display().to_string()).collect::<Vec<_>>(),
        }));
    }

    let mut text = described(&session, &plan);
    text += &format!(
        "{} likelihood: {}; {} of {} time bins\n",
        if args.local { "local" } else { "non-local" },
        method_text(args, &plan),
        plural(plan.chunks, "chunk"),
        plan.chunk_bins
    );
    if let Some(d) = &decoded {
        text += &format!("state space: {}, smoothed; log evidence {:.3}\n", args.model.name(), d.log_evidence);
        if non_local {
            let n = d.is_placed.iter().filter(|is| **is).count();
            text +=
                &format!("position: of the non-local posterior, in the {n} time bins where it holds half or more\n");
        }
    }
    if let Some(list) = state_names.filter(|list| list.len() > 1) {
        let parts: Vec<String> =
            list.iter().map(|(name, p)| format!("{name} {:.1} %", 100.0 * f64::from(*p))).collect();
        text += &format!("states: {} of the time\n", parts.join(", "));
    }
    match error {
        Some(e) => {
            let (cm, n, all) = (e.median_cm, e.n_time, plan.n_time);
            text +=
                &format!("error: median {cm:.2} cm, {what_of} against the true position in {n} of {all} time bins\n");
        }
        None if args.local => {}
        None if non_local => text += "error: none, since the non-local states never hold half of the probability\n",
        None => text += "error: not known, since the session does not hold the true position\n",
    }
    for (name, d) in &known {
        let (Some(max), Some(median)) = (d.max(), d.median()) else { continue };
        text += &format!("beside {name}: at most {max:.2e} nats apart, median {median:.2e}\n");
    }
    text += &format!(
        "time: {:.0} ms to read, {:.0} to open the device, {:.0} to fit, {:.0} to plan, {:.0} to warm up, {:.0} for the \
         likelihood, {:.0} for the state space, {:.0} to write\n",
        timing.read_ms,
        timing.device_ms,
        timing.fit_ms,
        timing.plan_ms,
        report.warmup_ms,
        report.likelihood_ms,
        timing.state_space_ms,
        timing.write_ms
    );
    let size = spikewave::bytes;
    text += &format!(
        "memory: {} planned on the device, {} at its peak, of {}\n",
        size(plan.device_bytes),
        size(peak_bytes),
        size(budget_bytes)
    );
    for (what, path) in [("output", &args.output), ("picture", &args.plot)] {
        if let Some(path) = path {
            text += &format!("{what}: {}\n", path.display());
        }
    }
    print(&text)
}

fn method_name(plan: &LikelihoodPlan) -> &'static str {
    match plan.method {
        Method::Exact => "exact",
        Method::Gridded { .. } => "gridded",
    }
}

/// Which method runs, and how right it is.
fn method_text(args: &Args, plan: &LikelihoodPlan) -> String {
    match (plan.method, &plan.grid) {
        (Method::Gridded { tolerance }, Some(grid)) => format!(
            "gridded to {tolerance} nats (splines of order {}, {} nodes a standard deviation; {:.1e} nats off at most in {})",
            grid.order,
            grid.nodes_per_std,
            grid.error,
            plural(grid.samples, "sampled spike")
        ),
        (Method::Gridded { tolerance }, None) => format!("gridded to {tolerance} nats"),
        (Method::Exact, _) if args.method == MethodName::Gridded => {
            "exact, since no grid keeps to the tolerance".into()
        }
        (Method::Exact, _) => "exact".into(),
    }
}

/// What is decoded from what.
fn described(session: &Session, plan: &LikelihoodPlan) -> String {
    let seconds = session.time[session.time.len() - 1] - session.time[0];
    format!(
        "{} ({seconds:.3} s) × {}: {} of {} decoded from {}\n",
        plural(plan.n_time, "time bin"),
        plural(plan.n_bins, "place bin"),
        plural(plan.n_spikes, "spike"),
        plural(session.encoding.len(), "electrode"),
        plural(plan.n_encoding_spikes, "encoding spike")
    )
}

/// Prints the plan.
fn say_plan(
    args: &Args,
    device: &Device,
    session: &Session,
    plan: &LikelihoodPlan,
    states: Option<&StatePlan>,
    (parts, least_bytes): (&[(String, u64)], u64),
) -> Result<()> {
    let planned_bytes: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    if args.json {
        return print_json(&json!({
            "device": device.name(),
            "reason": device.reason(),
            "method": method_name(plan),
            "likelihood": plan,
            "state_space": states,
            "memory": {
                "planned_bytes": plan.device_bytes,
                "planned_with_host_bytes": planned_bytes,
                "parts": memory::parts_json(parts),
                "least_bytes": least_bytes,
                "budget_bytes": plan.budget_bytes,
            },
        }));
    }
    let size = spikewave::bytes;
    let mut text = described(session, plan);
    text += &format!(
        "likelihood: {}; {} of {} time bins and at most {}, {} kernel dispatches each; {:.3e} operations in all\n",
        method_text(args, plan),
        plural(plan.chunks, "chunk"),
        plan.chunk_bins,
        plural(plan.chunk_spikes, "spike"),
        plan.dispatches,
        plan.operations
    );
    if let Some(s) = states {
        let (chunks, rows) = (plural(s.chunks, "chunk"), s.chunk_rows);
        text += &format!("state space: {}; {chunks} of {rows} time bins\n", args.model.name());
    }
    text += &format!(
        "memory: {} with the session; the budget for the rest is {}; the least that would do is {}\n{}",
        size(planned_bytes),
        size(plan.budget_bytes),
        spikewave::bytes_at_least(least_bytes),
        memory::parts(parts)
    );
    print(&text)
}

/// The most likely bin of every row of a file.
fn most_likely_of_file(file: &mut NpyRows) -> Result<Vec<u32>> {
    let (rows, columns) = file.shape();
    let mut all = Vec::with_capacity(rows);
    let mut part = Vec::new();
    for first in (0..rows).step_by(1 << 12) {
        let last = rows.min(first + (1 << 12));
        part.resize((last - first) * columns, 0.0);
        file.read(first..last, &mut part)?;
        all.extend(most_likely_bins(&part, columns)?);
    }
    Ok(all)
}

/// `Cancelled` after Ctrl-C.
fn still_wanted() -> Result<()> {
    if interrupt().is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
}

/// Writes the NPZ file.
fn write(
    path: &Path,
    session: &Session,
    plan: &LikelihoodPlan,
    log_likelihood: &[f32],
    decoded: Option<&Decoded>,
    positions: Option<&Array2<f64>>,
) -> Result<()> {
    npz::write(path, |file| {
        file.cancel_with(interrupt());
        file.array("time", &[session.time.len()], &session.time)?;
        file.array("log_likelihood", &[plan.n_time, plan.n_bins], log_likelihood)?;
        if let Some(d) = decoded {
            file.array("acausal_posterior", &[plan.n_time, plan.n_bins], &d.posterior)?;
            if !d.by_state.is_empty() {
                file.array("acausal_posterior_by_state", &[plan.n_time, d.n_placed, plan.n_bins], &d.by_state)?;
            }
            file.ndarray("acausal_state_probabilities", &d.state_probability)?;
            let names: Vec<&str> = d.states.iter().map(String::as_str).collect();
            file.texts("state_names", &names)?;
            file.ndarray("mean_position", &d.mean_position)?;
            file.array("log_evidence", &[], &[d.log_evidence])?;
        }
        if let Some(positions) = positions {
            file.ndarray("place_bin_centers", &session.environment.interior())?;
            file.ndarray("map_position", positions)?;
        }
        Ok(())
    })
}

/// Draws the picture.
fn draw(
    args: &Args,
    session: &Session,
    reduced: &Reduced,
    positions: Option<&Array2<f64>>,
    error: Option<&PositionError>,
    path: &Path,
) -> Result<()> {
    let name = match &args.data {
        Some(path) => path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
        None => "Simulated session".into(),
    };
    let title = match error {
        // That of the non-local posterior says how far the content is from the animal, not how wrong the decoder is.
        Some(e) if args.model != Model::NonLocal => format!("{name}: median error {:.1} cm", e.median_cm),
        _ => name,
    };
    let what =
        if args.likelihood_only { "normalised likelihood".into() } else { format!("model {}", args.model.name()) };
    let figure = DecodeFigure {
        title,
        subtitle: format!("{} electrodes, unsorted spikes; {what}", session.decoding.len()),
        spikes: session.decoding.iter().map(Spikes::times).collect(),
        posterior: reduced,
        position: session.decode_trajectory.as_ref().map(|truth| Curve {
            name: "true position".into(),
            times: truth.time(),
            positions: truth.position().view(),
        }),
        decoded: positions.map(|p| Curve { name: "decoded".into(), times: &session.time, positions: p.view() }),
    };
    plot::session(&figure, path)
}
