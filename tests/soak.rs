//! Mixed jobs from four threads on one engine: every result is right, memory stays flat, and nothing is left behind.
//!
//! A few seconds for each engine as a test. For as long as one likes, with a line a minute:
//!
//! ```text
//! SPIKEWAVE_SOAK_MINUTES=30 SPIKEWAVE_SOAK_ENGINE=llvmpipe cargo test --release --test soak -- --nocapture
//! ```
//!
//! `SPIKEWAVE_SOAK_ENGINE` is any part of `cpu`, `vulkan:NAME, its own device` or `vulkan:NAME, a lent device`.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::SplitMix;
use num_complex::Complex32;
use spikewave::device::{CancelToken, Choice, Control, Feed, Gpu, GpuParts, Outputs, Prepared, gpu};
use spikewave::kernel::{Elem, Tensor};
use spikewave::ops::lif::{Adaptation, Drive, Lif, LifParams, PerNeuron, Spikes, Synapse, spike_words};
use spikewave::ops::{self, Conv1d, Filters, Gemm, Kde, KdeCapacity, KdeElectrode, KdeInputs, KdeModel, KdeRows};
use spikewave::ops::{Events, Padding, Reduction, Scan, TemporalContrast};
use spikewave::recording::Recording;
use spikewave::{Device, DeviceOptions, Error, Result, wgpu};

const THREADS: u64 = 4;
/// Runs after which a job's states are as at first.
const RUNS: usize = 3;
const BUDGET: u64 = 256 << 20;

/// How far a result may be from the native path's, in units of the largest value. On one engine all runs agree in
/// every bit.
const TOLERANCE: f64 = 1e-5;

/// What a run takes.
enum Inputs {
    Words(Vec<(Tensor<u32>, Vec<u32>)>),
    Kde(Box<KdeInputs>),
}

/// What a job has recorded.
struct Recorded {
    inputs: Inputs,
    /// States with what they hold at first.
    states: Vec<(Tensor<u32>, Vec<u32>)>,
    /// Downloads, and whether they are the same on every device.
    outputs: Vec<(Tensor<u32>, bool)>,
}

impl Recorded {
    fn new() -> Self {
        Self { inputs: Inputs::Words(Vec::new()), states: Vec::new(), outputs: Vec::new() }
    }

    fn input<T: Elem>(&mut self, rec: &mut Recording, data: &[T]) -> Result<Tensor<T>> {
        let tensor = rec.input("input", data.len())?;
        if let Inputs::Words(inputs) = &mut self.inputs {
            inputs.push((words(tensor), bytemuck::cast_slice(data).to_vec()));
        }
        Ok(tensor)
    }

    fn output<T: Elem>(&mut self, rec: &mut Recording, tensor: Tensor<T>, exact: bool) -> Result<()> {
        rec.download(tensor)?;
        self.outputs.push((words(tensor), exact));
        Ok(())
    }

    fn feeds(&self) -> Vec<Feed<'_>> {
        match &self.inputs {
            Inputs::Words(inputs) => inputs.iter().map(|(tensor, data)| tensor.feed(data)).collect(),
            Inputs::Kde(inputs) => inputs.feeds(),
        }
    }

    fn results(&self, out: &Outputs) -> Result<Vec<Vec<u32>>> {
        self.outputs.iter().map(|(tensor, _)| out.get(*tensor).map(<[u32]>::to_vec)).collect()
    }
}

fn words<T: Elem>(tensor: Tensor<T>) -> Tensor<u32> {
    tensor.cast().expect("elements are whole words")
}

type Record = Box<dyn Fn(&mut Recording) -> Result<Recorded> + Send + Sync>;

/// A job, and the results of its runs in turn.
struct Job {
    name: &'static str,
    record: Record,
    expected: Vec<Vec<Vec<u32>>>,
}

/// Values that depend on the seed alone.
fn values(seed: usize, n: usize) -> Vec<f32> {
    SplitMix(seed as u64).values(n, 1.0)
}

fn jobs() -> Vec<(&'static str, Record)> {
    let mut all: Vec<(&'static str, Record)> = Vec::new();
    for n in [1000, 300_000] {
        all.push((
            "fill and copy",
            Box::new(move |rec| {
                let mut r = Recorded::new();
                let x = r.input(rec, &values(n, n))?;
                let y = rec.scratch::<f32>("y", 2 * n)?;
                ops::fill(rec, y, 3.0)?;
                rec.copy(x, 0, y, n / 2, n)?;
                r.output(rec, y, true)?;
                Ok(r)
            }),
        ));
        all.push((
            "prefix sums",
            Box::new(move |rec| {
                let mut r = Recorded::new();
                let x: Vec<u32> = (0..n as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
                let x = r.input(rec, &x)?;
                let y = rec.scratch("y", n)?;
                ops::scan(rec, Scan::Inclusive, x, 4, y)?;
                r.output(rec, y, true)?;
                Ok(r)
            }),
        ));
        all.push((
            "reductions",
            Box::new(move |rec| {
                let mut r = Recorded::new();
                let x = r.input(rec, &values(n, n))?;
                let (sum, most, at) = (rec.scratch("sum", 5)?, rec.scratch("most", 5)?, rec.scratch("at", 5)?);
                ops::reduce(rec, Reduction::SumSquares, x, 5, sum)?;
                ops::argmax(rec, x, 5, most, at)?;
                r.output(rec, sum, true)?;
                r.output(rec, most, true)?;
                r.output(rec, at, true)?;
                Ok(r)
            }),
        ));
    }
    for (points, rows) in [(1024, 48), (1009, 5), (6000, 3)] {
        all.push((
            "fft",
            Box::new(move |rec| {
                let mut r = Recorded::new();
                let x = r.input(rec, &values(points, points * rows))?;
                let y = rec.scratch::<Complex32>("y", (points / 2 + 1) * rows)?;
                ops::rfft(rec, points, x, y)?;
                r.output(rec, y, false)?;
                Ok(r)
            }),
        ));
    }
    for (length, channels, taps) in [(2000, 3, 31), (4096, 16, 9)] {
        all.push((
            "conv1d",
            Box::new(move |rec| {
                let mut r = Recorded::new();
                let conv = Conv1d { padding: Padding::Same, ..Conv1d::new(2, length, channels, 2 * channels, taps) };
                let filters = Filters::new(rec, conv, &values(taps, 2 * channels * channels * taps), None)?;
                let x = r.input(rec, &values(length, 2 * channels * length))?;
                let y = rec.scratch("y", 4 * channels * length)?;
                ops::conv1d(rec, &filters, x, y)?;
                r.output(rec, y, false)?;
                Ok(r)
            }),
        ));
    }
    for (m, n, k) in [(96, 130, 70), (300, 200, 257)] {
        all.push((
            "gemm",
            Box::new(move |rec| {
                let mut r = Recorded::new();
                let (a, b) = (r.input(rec, &values(m, m * k))?, r.input(rec, &values(n, k * n))?);
                let c = rec.scratch("c", m * n)?;
                ops::gemm(rec, &Gemm::new(1, m, n, k), a, b, c)?;
                r.output(rec, c, false)?;
                Ok(r)
            }),
        ));
    }
    for (neurons, steps) in [(1000, 200), (20_000, 40)] {
        all.push((
            "lif",
            Box::new(move |rec| {
                let mut r = Recorded::new();
                let params = LifParams {
                    t_ref: 3.0.into(),
                    offset: PerNeuron::Each((0..neurons).map(|i| (i % 97) as f64 / 60.0).collect()),
                    synapse: Some(Synapse { tau: 5.0.into(), gain: 0.2.into(), order: Default::default() }),
                    adaptation: Some(Adaptation { tau: 50.0.into(), increment: 0.1.into() }),
                    ..LifParams::default()
                };
                let lif = Lif::new(rec, neurons, &params)?;
                let drive = r.input(rec, &values(neurons, neurons))?;
                let spikes = rec.scratch("spikes", steps * spike_words(neurons))?;
                lif.run(rec, steps, Drive::Constant(drive), Spikes::Packed(spikes), None)?;
                r.output(rec, spikes, true)?;
                r.output(rec, lif.v(), true)?;
                let others = [lif.v(), lif.i_syn().expect("a synapse"), lif.adaptation().expect("adaptation")];
                r.states =
                    others.into_iter().map(words).chain([lif.refractory()]).map(|t| (t, vec![0; t.len()])).collect();
                Ok(r)
            }),
        ));
    }
    for (channels, time) in [(4, 3000), (32, 4096)] {
        all.push((
            "temporal contrast",
            Box::new(move |rec| {
                let mut r = Recorded::new();
                let x = r.input(rec, &values(time, channels * time))?;
                let encoder = TemporalContrast { normalise: true, ..TemporalContrast::phase_preserving() };
                let events = rec.scratch("events", channels * encoder.rows() * ops::event_words(time))?;
                ops::temporal_contrast(rec, x, channels, &encoder, Events::Packed(events))?;
                r.output(rec, events, true)?;
                Ok(r)
            }),
        ));
    }
    all.push((
        "kde",
        Box::new(|rec| {
            let mut r = Recorded::new();
            let (encoding, spikes, bins) = (700, 40, 60);
            let sides: Vec<_> = (0..3).map(|e| (values(e, 4 * encoding), values(10 + e, encoding))).collect();
            let electrodes: Vec<_> = sides
                .iter()
                .map(|(marks, positions)| KdeElectrode { marks, dims: 4, positions, log2_weights: &[], constant: -3.0 })
                .collect();
            let centres: Vec<f32> = (0..bins).map(|i| i as f32 / 10.0 - 3.0).collect();
            let (constant, baseline) = (vec![0.5; bins], vec![-1.0; bins]);
            let model = KdeModel {
                electrodes: &electrodes,
                position_dims: 1,
                bins: &centres,
                bin_constant: &constant,
                baseline: &baseline,
                floor: None,
            };
            let kde = Kde::record(rec, &model, KdeCapacity { spikes: 3 * spikes, rows: 5 })?;
            let decoding: Vec<_> = (0..3).map(|e| values(20 + e, 4 * spikes)).collect();
            let decoding: Vec<&[f32]> = decoding.iter().map(|d| &d[..]).collect();
            let members: Vec<[u32; 2]> = (0..3 * spikes as u32).map(|i| [i % 3, i / 3]).collect();
            let offsets = [0, 10, 10, 50, 100, 3 * spikes as u32];
            r.inputs =
                Inputs::Kde(Box::new(kde.pack(&decoding, KdeRows { offsets: &offsets, spikes: &members }, None)?));
            r.outputs.push((words(kde.log_likelihood), false));
            Ok(r)
        }),
    ));
    // Whole numbers, so exact; long enough to be cancelled on its way.
    all.push((
        LONG,
        Box::new(|rec| {
            let mut r = Recorded::new();
            let x: Vec<f32> = (0..200_000).map(|i| (i % 1000) as f32).collect();
            let x = r.input(rec, &x)?;
            let y = rec.scratch("y", x.len())?;
            for _ in 0..100 {
                ops::scale_offset(rec, x, 1.0, 1.0, y)?;
                ops::scale_offset(rec, y, 1.0, 1.0, x)?;
            }
            r.output(rec, x, true)?;
            Ok(r)
        }),
    ));
    all
}

const LONG: &str = "long";

/// A job that is ready to run, and how many runs it has done.
struct Ready<'a> {
    job: &'a Job,
    recorded: Recorded,
    prepared: Prepared,
    done: usize,
}

impl<'a> Ready<'a> {
    fn new(device: &Device, job: &'a Job) -> Result<Self> {
        let mut rec = device.recording(job.name);
        let recorded = (job.record)(&mut rec)?;
        let prepared = device.prepare(&rec)?;
        Ok(Self { job, recorded, prepared, done: 0 })
    }

    fn results(&mut self, control: &Control<'_>) -> Result<Vec<Vec<u32>>> {
        let out = self.prepared.run(&self.recorded.feeds(), control)?;
        self.recorded.results(&out)
    }

    /// The next run, whose results are right; after the last one the states are set back.
    fn run(&mut self, control: &Control<'_>) -> Result<()> {
        let found = self.results(control)?;
        self.judge(&found)
    }

    /// The same as a future, which may be dropped on its way.
    fn run_pending(&mut self, dropped: bool) -> Result<()> {
        let feeds = self.recorded.feeds();
        let pending = self.prepared.start(&feeds)?;
        if dropped {
            drop(pending);
            return self.set_back();
        }
        let found = self.recorded.results(&pollster::block_on(pending)?)?;
        self.judge(&found)
    }

    fn judge(&mut self, found: &[Vec<u32>]) -> Result<()> {
        assert!(
            found == self.job.expected[self.done],
            "{}: run {} differs from the first time",
            self.job.name,
            self.done
        );
        self.done = (self.done + 1) % RUNS;
        if self.done == 0 {
            self.set_back()?;
        }
        Ok(())
    }

    /// States as at first: after a run that was given up they hold anything.
    fn set_back(&mut self) -> Result<()> {
        self.done = 0;
        for (tensor, content) in &self.recorded.states {
            self.prepared.write(*tensor, content)?;
            assert!(
                self.prepared.read(*tensor)? == *content,
                "{}: a state reads otherwise than written",
                self.job.name
            );
        }
        Ok(())
    }
}

/// Whether floats agree within the tolerance.
fn close(found: &[u32], expected: &[u32]) -> bool {
    let floats = |words: &[u32]| words.iter().map(|w| f64::from(f32::from_bits(*w))).collect::<Vec<_>>();
    let (found, expected) = (floats(found), floats(expected));
    let most = expected.iter().fold(0f64, |most, x| most.max(x.abs()));
    found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= TOLERANCE * most)
}

/// The jobs with what this engine makes of them alone, which must be what the native path makes of them.
fn reference(device: &Device) -> Vec<Job> {
    let native = Device::open(&DeviceOptions::new(Choice::Cpu)).expect("the native path always opens");
    let results = |device: &Device, job: &Job| {
        let mut ready = Ready::new(device, job).expect("the job fits");
        let runs: Vec<_> = (0..RUNS).map(|_| ready.results(&Control::default()).expect("it runs")).collect();
        (runs, ready.recorded.outputs)
    };
    let mut all = Vec::new();
    for (name, record) in jobs() {
        let mut job = Job { name, record, expected: Vec::new() };
        let (expected, outputs) = results(&native, &job);
        job.expected = results(device, &job).0;
        for (found, expected) in job.expected.iter().zip(&expected) {
            for ((found, expected), (_, exact)) in found.iter().zip(expected).zip(&outputs) {
                assert!(found == expected || !exact && close(found, expected), "{name} differs from the native path");
            }
        }
        all.push(job);
    }
    all
}

/// How often each thing has happened.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    fn count(&self, what: &'static str) {
        *self.0.lock().expect("no thread has panicked").entry(what).or_default() += 1;
    }

    fn of(&self, what: &str) -> u64 {
        self.0.lock().expect("no thread has panicked").get(what).copied().unwrap_or(0)
    }
}

/// One thread's part until the time is up: jobs replayed, made anew, cancelled, late, dropped on their way, refused.
fn work(device: &Device, jobs: &[Job], seed: u64, until: Instant, tally: &Tally) -> Result<()> {
    let mut random = SplitMix(seed);
    let mut below = |n: usize| (random.next() * n as f64) as usize;
    let mut kept: HashMap<usize, Ready<'_>> = HashMap::new();
    let long = jobs.iter().position(|job| job.name == LONG).expect("there is one");
    while Instant::now() < until {
        let at = below(jobs.len());
        match below(18) {
            0..8 => {
                let ready = match kept.entry(at) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(Ready::new(device, &jobs[at])?),
                };
                for _ in 0..=below(2 * RUNS) {
                    ready.run(&Control::default())?;
                    tally.count("replays");
                }
            }
            8..11 => {
                let mut ready = Ready::new(device, &jobs[at])?;
                (0..RUNS).try_for_each(|_| ready.run(&Control::default()))?;
                tally.count("made anew");
            }
            // Another thread cancels; what is prepared is then dropped on its way, or runs again.
            11 | 12 => {
                let mut ready = Ready::new(device, &jobs[if below(4) > 0 { long } else { at }])?;
                let cancel = CancelToken::new();
                let delay = Duration::from_micros(below(20_000) as u64);
                let control = Control { cancel: cancel.clone(), ..Control::default() };
                let ended = std::thread::scope(|scope| {
                    scope.spawn(|| {
                        std::thread::sleep(delay);
                        cancel.cancel();
                    });
                    ready.run(&control)
                });
                again(ready, ended, "cancelled", below(2) == 0, tally)?;
            }
            13 => {
                let mut ready = Ready::new(device, &jobs[if below(4) > 0 { long } else { at }])?;
                let timeout = Some(Duration::from_micros(below(20_000) as u64));
                let ended = ready.run(&Control { timeout, ..Control::default() });
                again(ready, ended, "late", below(2) == 0, tally)?;
            }
            14 => {
                let mut rec = device.recording("too much");
                let tensors: Vec<_> = (0..4).map(|_| rec.scratch::<f32>("y", 18 << 20)).collect::<Result<_>>()?;
                tensors.iter().try_for_each(|y| ops::fill(&mut rec, *y, 1.0))?;
                tensors.iter().try_for_each(|y| rec.download(*y))?;
                assert!(matches!(device.prepare(&rec), Err(Error::OverBudget { .. })), "over the budget");
                tally.count("refused");
            }
            15 | 16 => {
                let mut ready = Ready::new(device, &jobs[at])?;
                let dropped = below(2) == 0;
                ready.run_pending(dropped)?;
                ready.run(&Control::default())?;
                tally.count(if dropped { "futures dropped" } else { "futures" });
            }
            _ => {
                let mut ready = Ready::new(device, &jobs[at])?;
                let foreign = device.recording("foreign").input::<u32>("x", 1)?;
                let ended = ready.prepared.run(&[foreign.feed(&[0])], &Control::default());
                assert!(matches!(ended, Err(Error::InvalidArgument { .. })), "a foreign input");
                // Nothing has run, so nothing is undefined.
                ready.run(&Control::default())?;
                tally.count("bad input");
            }
        }
    }
    Ok(())
}

/// After a run that may have been given up: dropped there and then, or set back and run again.
fn again(mut ready: Ready<'_>, ended: Result<()>, what: &'static str, rerun: bool, tally: &Tally) -> Result<()> {
    match ended {
        Ok(()) => tally.count("in time"),
        Err(Error::Cancelled | Error::Timeout { .. }) => tally.count(what),
        Err(error) => return Err(error),
    }
    if rerun {
        ready.set_back()?;
        ready.run(&Control::default())?;
    }
    Ok(())
}

/// Gives what the system's allocator keeps for itself back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> i32;
    }
    malloc_trim(0);
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

/// Bytes of this process in memory, where the system says so.
fn resident() -> Option<u64> {
    give_back();
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

/// An engine and, where it is on a device of this test, what tells what that device holds.
struct Engine {
    name: String,
    device: Device,
    host: Option<(wgpu::Instance, wgpu::Device)>,
}

/// What is held while no job is there.
#[derive(Debug, Clone, Default, PartialEq)]
struct Held {
    /// Leased and idle, of the pool.
    pool: u64,
    /// Allocated by wgpu.
    allocated: u64,
    /// Buffers, bind groups, command encoders and query sets alive in wgpu.
    objects: usize,
}

impl Engine {
    /// Everything given back, and nothing pending.
    fn held(&self) -> Held {
        self.device.trim();
        let memory = self.device.stats().memory;
        let mut held = Held { pool: memory.leased_bytes + memory.idle_bytes, ..Held::default() };
        if let Some((instance, device)) = &self.host {
            let status = device.poll(wgpu::PollType::Poll).expect("the device is there");
            // What was given up may still be under way, but not for long.
            if !status.is_queue_empty() {
                let timeout = Some(Duration::from_secs(10));
                device.poll(wgpu::PollType::Wait { submission_index: None, timeout }).expect("no work is left behind");
            }
            held.allocated = device.generate_allocator_report().map_or(0, |report| report.total_allocated_bytes);
            let report = instance.generate_report().expect("not in a browser");
            let hub = report.hub_report();
            let kinds = [&hub.buffers, &hub.bind_groups, &hub.command_encoders, &hub.command_buffers, &hub.query_sets];
            held.objects = kinds.into_iter().map(|kind| kind.num_kept_from_user).sum();
        }
        held
    }
}

fn engines() -> Vec<Engine> {
    let wanted = std::env::var("SPIKEWAVE_SOAK_ENGINE").unwrap_or_default().to_lowercase();
    let options = |choice| DeviceOptions {
        choice,
        cache_dir: common::cache_dir(),
        memory_budget: Some(BUDGET),
        ..DeviceOptions::default()
    };
    let mut all = Vec::new();
    let mut add = |name: String, open: &dyn Fn() -> (Device, Option<(wgpu::Instance, wgpu::Device)>)| {
        if name.to_lowercase().contains(&wanted) {
            let (device, host) = open();
            all.push(Engine { name, device, host });
        }
    };
    let own = |choice: Choice| (Device::open(&options(choice)).expect("it opens"), None);
    add("cpu".into(), &|| own(Choice::Cpu));
    if !common::skipped() {
        for adapter in common::adapters() {
            let name = adapter.choose_by();
            add(format!("{name}, its own device"), &|| own(Choice::Named(name.clone())));
        }
        let backends = wgpu::Backends::PRIMARY;
        let instance = || {
            let without = wgpu::InstanceDescriptor::new_without_display_handle();
            wgpu::Instance::new(wgpu::InstanceDescriptor { backends, ..without })
        };
        for adapter in pollster::block_on(instance().enumerate_adapters(backends)) {
            let info = adapter.get_info();
            add(format!("{}:{}, a lent device", info.backend.to_str(), info.name), &|| {
                // An instance of its own, whose report is of this device alone.
                let instance = instance();
                let adapters = pollster::block_on(instance.enumerate_adapters(backends));
                let adapter = adapters.into_iter().find(|a| a.get_info() == info).expect("it was there before");
                let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
                    required_features: gpu::required_features() | gpu::optional_features(&adapter),
                    required_limits: gpu::required_limits(&adapter),
                    ..Default::default()
                }))
                .expect("it opens");
                let parts = GpuParts { poll: true, adapter: Some(adapter), ..GpuParts::new(device.clone(), queue) };
                let gpu = Gpu::from_wgpu(parts, &options(Choice::Auto)).expect("it has what is needed");
                (Device::Gpu(gpu), Some((instance, device)))
            });
        }
    }
    assert!(!all.is_empty(), "no engine is called \"{wanted}\"");
    all
}

fn soak(engine: &Engine, minutes: Option<f64>) {
    let total = minutes.map_or(Duration::from_secs(2), |m| Duration::from_secs_f64(60.0 * m));
    let each = (total / 8).min(Duration::from_secs(60));
    let jobs = reference(&engine.device);
    let tally = Tally::default();
    let (begun, mut rounds) = (Instant::now(), Vec::new());
    while begun.elapsed() < total || rounds.len() < 4 {
        let (first, until) = (THREADS * rounds.len() as u64, Instant::now() + each);
        std::thread::scope(|scope| {
            let (jobs, tally) = (&jobs, &tally);
            let threads: Vec<_> = (0..THREADS)
                .map(|i| scope.spawn(move || work(&engine.device, jobs, first + i, until, tally)))
                .collect();
            for thread in threads {
                match thread.join() {
                    Ok(ended) => ended.expect("every job ends as it should"),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        let late = until.elapsed();
        let (held, resident) = (engine.held(), resident());
        rounds.push((held.clone(), resident));
        if minutes.is_some() {
            let mut line = format!("{} min, {}:", begun.elapsed().as_secs() / 60, engine.name);
            for (what, count) in tally.0.lock().expect("no thread has panicked").iter() {
                let _ = write!(line, " {count} {what},");
            }
            let resident = resident.map_or("unknown".into(), spikewave::bytes);
            println!("{line} resident {resident}, held {held:?}, last job {late:.1?} over the time");
        }
    }
    // A long run has seen everything.
    for what in ["replays", "made anew", "cancelled", "late", "refused", "bad input", "futures"] {
        assert!(minutes.is_none() || tally.of(what) > 0, "{what}: never in all the time");
    }
    assert!(tally.of("replays") > 0 && tally.of("made anew") > 0);

    // Flat: the first third warms up.
    let (warm, rest) = rounds.split_at(rounds.len().div_ceil(3));
    let of = |rounds: &[(Held, Option<u64>)], what: fn(&Held) -> u64| rounds.iter().map(|(held, _)| what(held)).max();
    for (name, what) in [
        ("the pool holds", (|held| held.pool) as fn(&Held) -> u64),
        ("wgpu has allocated", |held| held.allocated),
        ("wgpu objects are", |held| held.objects as u64),
    ] {
        let (before, after) = (of(warm, what), of(rest, what));
        assert!(after <= before, "{}: {name} {after:?} at the end, {before:?} while warming up", engine.name);
    }
    // Of the resident memory the medians of the two halves after that: threads leave more or less of it unused.
    let median = |rounds: &[(Held, Option<u64>)]| {
        let mut all: Vec<u64> = rounds.iter().filter_map(|(_, resident)| *resident).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    };
    let (before, after) = rest.split_at(rest.len() / 2);
    if let (Some(before), Some(after)) = (median(before), median(after)) {
        let growth = after as f64 / before as f64 - 1.0;
        println!("{}: resident memory {:+.2} % after warming up", engine.name, 100.0 * growth);
        // A few seconds do not warm up the system's allocator; the long run is what counts.
        assert!(minutes.is_none_or(|m| m < 5.0) || growth < 0.02, "{}: {before} became {after} bytes", engine.name);
    }
}

#[test]
fn mixed_jobs_from_four_threads_leave_nothing_behind() {
    let minutes = std::env::var("SPIKEWAVE_SOAK_MINUTES")
        .ok()
        .map(|m| m.parse().expect("SPIKEWAVE_SOAK_MINUTES is a number of minutes"));
    for engine in engines() {
        soak(&engine, minutes);
    }
}
