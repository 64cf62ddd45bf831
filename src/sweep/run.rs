//! Running a sweep: for each problem the reference, then every device in turn.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cases::{self, Agreement, Problem};
use super::ceiling::{self, Ceilings, Took, clock, timed};
use super::config::{Build, Config, EVERY, Job, LEAST_SAMPLES};
use super::record::{self, Adapter, Control as Ratio, Folder, Header, KernelId, Key, Line, Point, Spread, Status};
use super::{machine, report, source};
use crate::device::gpu::{self, AdapterReport, Quirk};
use crate::device::{CancelToken, Choice, Control, DeviceOptions, Prepared, parse_size};
use crate::io::Fingerprint;
use crate::{Device, Error, Result};

/// The problem that is measured twice.
const CONTROL: (&str, usize) = ("unary", 1 << 20);
/// Samples of each of the two.
const CONTROL_SAMPLES: usize = 31;

/// Kernels' time from which on one run is a sample, in seconds: clocks step by some 10 ns. Runs that make one at most.
const SAMPLE: f64 = 20e-6;
const MOST_REPEATS: f64 = 100.0;

/// Is told the points done, all points, and the next one's name.
pub type OnPoint<'a> = dyn Fn(usize, usize, &str) + Sync + 'a;

/// Changes the references of a job.
#[doc(hidden)]
pub type Alter<'a> = dyn Fn(&Job, &mut Vec<Vec<u8>>) + Sync + 'a;

/// What a sweep's caller decides.
#[derive(Default)]
pub struct Options<'a> {
    /// Stops the sweep; the folder stays usable.
    pub cancel: CancelToken,
    /// Called with the points done, all points, and the next one's name.
    pub progress: Option<&'a OnPoint<'a>>,
    /// Called with what somebody should know at once.
    pub notice: Option<&'a (dyn Fn(&str) + Sync)>,
    /// Changes the references before results are compared with them: a test's way to a wrong result.
    #[doc(hidden)]
    pub alter: Option<&'a Alter<'a>>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

/// What came of a sweep, the starts before this one included.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Points that are right.
    pub right: usize,
    /// Points with wrong results, and how they are wrong.
    pub wrong: Vec<String>,
    /// Points that gave an error.
    pub failed: Vec<String>,
    /// Points that a device cannot do.
    pub refused: Vec<String>,
    /// Controls outside of the band: the times of these devices are not to be trusted.
    pub untrusted: Vec<String>,
    /// Points that were there already and have not failed.
    pub before: usize,
    /// What was written.
    pub files: Vec<PathBuf>,
}

impl Summary {
    /// Whether every result that there is agrees with the reference, and no device failed.
    pub fn is_right(&self) -> bool {
        self.wrong.is_empty() && self.failed.is_empty()
    }
}

/// A device of the sweep.
struct Target {
    name: String,
    build: Build,
    device: Device,
    about: Adapter,
    ceilings: Option<Ceilings>,
    /// Why it is lost for the rest of the sweep.
    gone: Option<String>,
}

fn quirk(quirk: &Quirk) -> String {
    match quirk {
        Quirk::LoopLimit64k => "loop_limit_64k".into(),
        Quirk::NoTimestamps => "no_timestamps".into(),
        Quirk::Wrong { test, .. } => format!("wrong: {test}"),
    }
}

impl Target {
    fn open(name: String, build: Build, options: &DeviceOptions) -> Result<Self> {
        let device = Device::open(options)?;
        let mut about = Adapter { name: name.clone(), build: build.name().into(), ..Adapter::default() };
        match &device {
            Device::Cpu(_) => {
                about.kind = "native".into();
                let threads = options.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
                let threads = threads.map_or("threads unknown".into(), |n| format!("{n} threads"));
                about.driver = format!("{}, {threads}", machine::processor());
            }
            Device::Gpu(gpu) => {
                let adapter = gpu.adapter();
                about.kind = adapter.kind.into();
                about.driver = adapter.driver_text();
                about.quirks = gpu.quirks().iter().map(quirk).collect();
            }
        }
        Ok(Self { name, build, device, about, ceilings: None, gone: None })
    }

    /// After an error: opens this very device again if it was lost.
    fn mend(&mut self, error: &Error, options: &Options<'_>) {
        if matches!(self.device, Device::Cpu(_)) || !matches!(error, Error::DeviceLost { .. } | Error::Corrupted { .. })
        {
            return;
        }
        match self.device.reopen() {
            Ok(device) => self.device = device,
            Err(error) => {
                let why = format!("{} was lost and does not open again: {error}", self.name);
                options.say(&format!("{why}; the rest of its points fail"));
                self.gone = Some(why);
            }
        }
    }

    /// Measures the ceilings, and keeps them as those of the device.
    fn measure(&mut self, options: &Options<'_>) -> Result<()> {
        match ceiling::measure(&self.device, &options.control()) {
            Ok(ceilings) => {
                self.ceilings = Some(ceilings);
                self.about.bandwidth = Some(ceilings.bandwidth);
                self.about.arithmetic = Some(ceilings.arithmetic);
            }
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                options.say(&format!("{}: no ceilings: {error}", self.name));
                self.mend(&error, options);
            }
        }
        Ok(())
    }
}

/// The devices that a configuration names, by their names, and whether each was asked for by itself.
fn names(config: &Config, options: &Options<'_>) -> Result<Vec<(String, bool)>> {
    let mut names: Vec<(String, bool)> = Vec::new();
    let mut add = |name: String, asked| {
        if !names.iter().any(|(known, _)| *known == name) {
            names.push((name, asked));
        }
    };
    for adapter in &config.adapters {
        match adapter.parse::<Choice>()? {
            Choice::Named(name) if name.to_lowercase() == EVERY => {
                add("cpu".into(), false);
                gpu::adapters().iter().for_each(|adapter| add(adapter.choose_by(), false));
            }
            Choice::Cpu => add("cpu".into(), true),
            Choice::Named(name) => {
                let meant = gpu::meant(&Choice::Named(name.clone()))?;
                let names: Vec<String> = meant.iter().map(AdapterReport::choose_by).collect();
                let Some((first, others)) = names.split_first() else { continue };
                if !others.is_empty() {
                    let others = others.join("\", \"");
                    options.say(&format!("\"{name}\" means \"{others}\" too; taken is \"{first}\""));
                }
                add(first.clone(), true);
            }
            Choice::Auto | Choice::Gpu => add(adapter.trim().to_owned(), true),
        }
    }
    Ok(names)
}

/// Opens every device in every build.
fn open(config: &Config, options: &Options<'_>) -> Result<(Vec<Target>, Vec<Adapter>)> {
    let mut targets: Vec<Target> = Vec::new();
    let mut closed = Vec::new();
    for (name, asked) in names(config, options)? {
        for build in &config.builds {
            let choice: Choice = name.parse()?;
            // Twins have bounds checks of their own, always.
            if choice == Choice::Cpu && *build != config.builds[0] {
                continue;
            }
            let options_of = DeviceOptions {
                choice,
                memory_budget: config.memory_budget.as_deref().map(parse_size).transpose()?,
                threads: config.threads,
                force: config.force,
                checked: *build == Build::Checked,
                // Never at a time of its own among the samples.
                specialise: Some(*build == Build::Specialised),
                ..DeviceOptions::default()
            };
            let opened = Target::open(name.clone(), *build, &options_of);
            match opened {
                Ok(mut target) => {
                    // What `gpu` means has a name.
                    let whole = match &target.device {
                        Device::Cpu(_) => "cpu".to_owned(),
                        Device::Gpu(gpu) => gpu.adapter().choose_by(),
                    };
                    target.name.clone_from(&whole);
                    target.about.name.clone_from(&whole);
                    if !targets.iter().any(|t| t.name == whole && t.build == *build) {
                        targets.push(target);
                    }
                }
                Err(error) if asked => return Err(error),
                Err(error) => {
                    options.say(&format!("{name} is left out: {error}"));
                    let (build, error) = (build.name().into(), Some(error.to_string()));
                    closed.push(Adapter { name: name.clone(), build, error, ..Adapter::default() });
                }
            }
        }
    }
    Ok((targets, closed))
}

impl Options<'_> {
    fn say(&self, text: &str) {
        if let Some(notice) = self.notice {
            notice(text);
        }
    }

    fn control(&self) -> Control<'_> {
        Control { cancel: self.cancel.clone(), ..Control::default() }
    }

    fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// Runs what the folder does not have yet or what failed, and writes the report and the pictures.
///
/// # Errors
/// As [`Folder::open`]; what opening a device that is named gives; `Cancelled`, after which the same call goes on. What
/// goes wrong on a device is a point's status and not an error.
pub fn run(config: &Config, output: &Path, options: &Options<'_>) -> Result<Summary> {
    let mut folder = Folder::open(output, &Header::new(config), &|text| options.say(text))?;
    let before = folder.points().filter(|p| p.status != Status::Failed).count();
    let result = points(config, &mut folder, options);
    if !matches!(result, Ok(()) | Err(Error::Cancelled)) {
        return result.map(|()| Summary::default());
    }
    let mut summary = Summary { before, ..summarise(&folder.lines) };
    summary.files = report::write(output, &folder.lines)?;
    result.map(|()| summary)
}

/// What lines come to.
fn summarise(lines: &[Line]) -> Summary {
    let mut summary = Summary::default();
    for p in record::points(lines) {
        let said = format!("{}: {}", p.key(), p.detail.as_deref().unwrap_or_default());
        match p.status {
            Status::Right => summary.right += 1,
            Status::Wrong => summary.wrong.push(said),
            Status::Failed => summary.failed.push(said),
            Status::Refused => summary.refused.push(said),
        }
    }
    for line in lines {
        if let Line::Control(c) = line
            && !c.holds()
        {
            let Ratio { when, ratio, band, .. } = c;
            let device = report::title(&c.adapter, &c.build);
            summary.untrusted.push(format!("{device}, {when}: {ratio:.3}, must be within {band} of 1"));
        }
    }
    summary
}

fn points(config: &Config, folder: &mut Folder, options: &Options<'_>) -> Result<()> {
    let jobs = config.jobs();
    let tell = |done: usize, all: usize, text: &str| {
        if let Some(progress) = options.progress {
            progress(done, all, text);
        }
    };
    tell(0, jobs.len(), "opening devices");
    let (mut targets, closed) = open(config, options)?;
    // What failed is run again.
    let done: HashSet<Key> = folder.points().filter(|p| p.status != Status::Failed).map(Point::key).collect();
    let is_done = |target: &Target, job: &Job| done.contains(&Key::new(&target.name, target.build, job));
    for target in &targets {
        let of = |a: &Adapter| a.name == target.name && a.build == target.about.build && a.error.is_none();
        let known = |line: &&Line| matches!(line, Line::Adapter(a) if of(a));
        if let Some(Line::Adapter(before)) = folder.lines.iter().find(known)
            && before.driver != target.about.driver
        {
            let (name, here, there) = (&target.name, &target.about.driver, &before.driver);
            let why = format!("\"{here}\" now, and \"{there}\" when the sweep began: name another folder");
            return Err(Error::invalid(format!("the driver of {name}"), why));
        }
    }
    if targets.iter().all(|t| jobs.iter().all(|job| is_done(t, job))) {
        return Ok(());
    }
    folder.append(Line::Machine(machine::now("start")))?;
    for adapter in closed {
        folder.append(Line::Adapter(adapter))?;
    }
    let reference = DeviceOptions { threads: config.threads, ..DeviceOptions::new(Choice::Cpu) };
    let reference = Device::open(&reference)?;
    // Times are asked for.
    let timing = config.samples >= LEAST_SAMPLES;
    let all = jobs.len() * targets.len();
    for target in &mut targets {
        options.check()?;
        if timing {
            tell(0, all, &format!("ceilings of {}", target.name));
            target.measure(options)?;
        }
        folder.append(Line::Adapter(target.about.clone()))?;
    }
    if timing {
        tell(0, all, "controls");
        controls(config, &mut targets, "start", folder, options)?;
    }
    let mut at = 0;
    let context = Context { config, options };
    for job in &jobs {
        let mut expected = None;
        for target in &mut targets {
            options.check()?;
            tell(at, all, &format!("{} on {}", job.name(), target.name));
            at += 1;
            if is_done(target, job) {
                continue;
            }
            if expected.is_none() {
                let mut results = reference_of(&reference, job, options)?;
                if let Some(alter) = options.alter {
                    alter(job, &mut results);
                }
                expected = Some(results);
            }
            let Some(expected) = &expected else { continue };
            let was_gone = target.gone.is_some();
            let (point, error) = context.point(target, job, expected)?;
            if !was_gone && matches!(point.status, Status::Wrong | Status::Failed) {
                let what = if point.status == Status::Wrong { "WRONG RESULT" } else { "FAILED" };
                options.say(&format!("{what}: {}: {}", point.key(), point.detail.as_deref().unwrap_or_default()));
            }
            folder.append(Line::Point(Box::new(point)))?;
            if let Some(error) = error {
                target.mend(&error, options);
            }
        }
        targets.iter().for_each(|t| t.device.trim());
        reference.trim();
    }
    if timing {
        // Once more: a machine that is busy at the start, or throttled at the end, has lower ceilings than it had.
        for target in targets.iter_mut().filter(|t| t.gone.is_none()) {
            options.check()?;
            tell(all, all, &format!("ceilings of {}", target.name));
            target.measure(options)?;
            folder.append(Line::Adapter(target.about.clone()))?;
        }
        tell(all, all, "controls");
        controls(config, &mut targets, "end", folder, options)?;
    }
    folder.append(Line::Machine(machine::now("end")))?;
    if let Some(progress) = options.progress {
        progress(all, all, "");
    }
    Ok(())
}

/// The native path's results.
fn reference_of(device: &Device, job: &Job, options: &Options<'_>) -> Result<Vec<Vec<u8>>> {
    let problem = job.case.problem(device.capabilities(), job.size, job.variant)?;
    let outputs = device.prepare(&problem.recording)?.run(&problem.feeds(), &options.control())?;
    Ok(problem.results(&outputs)?.into_iter().map(<[u8]>::to_vec).collect())
}

/// Measures one point twice on each device, in turns.
fn controls(
    config: &Config,
    targets: &mut [Target],
    when: &str,
    folder: &mut Folder,
    options: &Options<'_>,
) -> Result<()> {
    let (name, size) = CONTROL;
    let case = cases::find(name).ok_or_else(|| Error::Internal(format!("no case {name}")))?;
    for target in targets.iter_mut().filter(|t| t.gone.is_none()) {
        let ratio = (|| {
            let problem = case.problem(target.device.capabilities(), size, case.variants[0])?;
            let mut pair = [target.device.prepare(&problem.recording)?, target.device.prepare(&problem.recording)?];
            let mut times = [Vec::new(), Vec::new()];
            if target.build == Build::Specialised {
                pair.iter_mut().for_each(Prepared::settle);
            }
            for sample in 0..CONTROL_SAMPLES + config.warmup {
                // First one, then the other.
                for i in [sample % 2, 1 - sample % 2] {
                    let (_, took) = timed(&target.device, &mut pair[i], &problem.feeds(), &options.control())?;
                    if sample >= config.warmup {
                        times[i].push(took.kernels.unwrap_or(took.wall).as_secs_f64());
                    }
                }
            }
            let median = |times: &[f64]| Spread::of(times).map_or(f64::NAN, |s| s.median);
            Ok(median(&times[0]) / median(&times[1]))
        })();
        match ratio {
            Ok(ratio) => {
                let control = Ratio {
                    adapter: target.name.clone(),
                    build: target.about.build.clone(),
                    when: when.into(),
                    point: format!("{name} {} {size}", case.variants[0]),
                    ratio,
                    band: config.control_band,
                };
                // At the end the summary says it.
                if !control.holds() && when == "start" {
                    options.say(&format!(
                        "the times of {} are not to be trusted: a point against itself has the ratio {ratio:.3} at the \
                         {when} of the sweep, which must be within {} of 1",
                        target.name, config.control_band
                    ));
                }
                folder.append(Line::Control(control))?;
            }
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                options.say(&format!("{}: no control point: {error}", target.name));
                target.mend(&error, options);
            }
        }
    }
    Ok(())
}

struct Context<'a> {
    config: &'a Config,
    options: &'a Options<'a>,
}

/// What was measured of a point.
struct Measured {
    problem: Problem,
    took: Vec<Took>,
    repeats: usize,
    checksum: String,
    deviation: f64,
    detail: Option<String>,
    specialised: usize,
}

impl Context<'_> {
    /// What comes of a job on a device, and the error if it gave one.
    fn point(&self, target: &Target, job: &Job, expected: &[Vec<u8>]) -> Result<(Point, Option<Error>)> {
        let mut point = Point {
            adapter: target.name.clone(),
            build: target.about.build.clone(),
            case: job.case.name.into(),
            variant: job.variant.into(),
            size: job.size,
            unit: job.case.unit.into(),
            kernels: Vec::new(),
            status: Status::Failed,
            deviation: None,
            detail: None,
            checksum: None,
            reference: Some(checksum(expected.iter().map(|o| &o[..]))),
            kernel_us: None,
            clock: None,
            wall_us: None,
            samples: 0,
            repeats: 1,
            bytes: 0,
            operations: 0,
            dispatches: 0,
            specialised: None,
            bandwidth: None,
            arithmetic: None,
            bandwidth_share: None,
            arithmetic_share: None,
            driver: target.about.driver.clone(),
            quirks: target.about.quirks.clone(),
            wgpu: source::wgpu_version().into(),
            commit: source::commit().into(),
        };
        let mut failed = None;
        if let Some(why) = &target.gone {
            point.detail = Some(why.clone());
        } else {
            match self.measure(target, job, expected) {
                Ok(measured) => fill(&mut point, target, &measured),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    let refused = matches!(error, Error::Unsupported { .. } | Error::OverBudget { .. });
                    point.status = if refused { Status::Refused } else { Status::Failed };
                    point.detail = Some(error.to_string());
                    failed = Some(error);
                }
            }
        }
        if point.kernels.is_empty()
            && let Ok(problem) = job.case.problem(target.device.capabilities(), job.case.sizes[0], job.variant)
        {
            point.kernels = kernels(&problem);
        }
        Ok((point, failed))
    }

    fn measure(&self, target: &Target, job: &Job, expected: &[Vec<u8>]) -> Result<Measured> {
        let device = &target.device;
        let control = self.options.control();
        let problem = job.case.problem(device.capabilities(), job.size, job.variant)?;
        let mut prepared = device.prepare(&problem.recording)?;
        let feeds = problem.feeds();
        let (first, mut fastest) = timed(device, &mut prepared, &feeds, &control)?;
        let results = problem.results(&first)?;
        let (deviation, mut detail) = compare(&problem, expected, &results);
        // Compiled and proved now, and not while others are timed.
        if target.build == Build::Specialised && detail.is_none() {
            prepared.settle();
        }
        let mut took = Vec::with_capacity(self.config.samples);
        // A wrong result has no time.
        let runs = if detail.is_some() { 0 } else { self.config.warmup.saturating_sub(1) + self.config.samples };
        let mut repeats = 1;
        for run in 0..runs {
            let sample = run + self.config.samples >= runs;
            if sample && took.is_empty() {
                let seconds = fastest.kernels.unwrap_or(fastest.wall).as_secs_f64();
                repeats = (SAMPLE / seconds.max(1e-9)).ceil().clamp(1.0, MOST_REPEATS) as usize;
            }
            let mut sum = Took { kernels: Some(Duration::ZERO), wall: Duration::ZERO };
            for _ in 0..if sample { repeats } else { 1 } {
                let (outputs, time) = timed(device, &mut prepared, &feeds, &control)?;
                if problem.results(&outputs)? != results {
                    detail = Some(format!("run {} gives something else than the first", run + 2));
                    break;
                }
                sum = Took { kernels: sum.kernels.zip(time.kernels).map(|(a, b)| a + b), wall: sum.wall + time.wall };
            }
            if detail.is_some() {
                break;
            }
            if sample {
                let mean = |time: Duration| time.div_f64(repeats as f64);
                took.push(Took { kernels: sum.kernels.map(mean), wall: mean(sum.wall) });
            } else if sum.kernels.unwrap_or(sum.wall) < fastest.kernels.unwrap_or(fastest.wall) {
                fastest = sum;
            }
        }
        let checksum = checksum(results.into_iter());
        drop(feeds);
        let specialised = prepared.specialised();
        Ok(Measured { problem, took, repeats, checksum, deviation, detail, specialised })
    }
}

/// Takes over what was measured.
fn fill(point: &mut Point, target: &Target, m: &Measured) {
    point.kernels = kernels(&m.problem);
    point.bytes = m.problem.bytes;
    point.operations = m.problem.operations;
    point.dispatches = m.problem.recording.dispatches().count();
    point.specialised = (target.build == Build::Specialised).then_some(m.specialised);
    point.deviation = Some(m.deviation).filter(|d| d.is_finite());
    point.checksum = Some(m.checksum.clone());
    point.detail.clone_from(&m.detail);
    point.status = if m.detail.is_some() { Status::Wrong } else { Status::Right };
    if m.detail.is_some() {
        return;
    }
    point.samples = m.took.len();
    point.repeats = m.repeats;
    if m.took.len() < LEAST_SAMPLES {
        return;
    }
    let us = |times: Vec<f64>| if times.len() == m.took.len() { Spread::of(&times) } else { None };
    point.wall_us = us(m.took.iter().map(|t| t.wall.as_secs_f64() * 1e6).collect());
    point.kernel_us = us(m.took.iter().filter_map(|t| Some(t.kernels?.as_secs_f64() * 1e6)).collect());
    point.clock = point.kernel_us.and(clock(&target.device)).map(Into::into);
    // Nanoseconds.
    let Some(time) = point.kernel_us.map(|s| s.median * 1e3).filter(|t| *t > 0.0) else { return };
    point.bandwidth = Some(m.problem.bytes as f64 / time);
    point.arithmetic = Some(m.problem.operations as f64 / time);
    point.bandwidth_share = point.bandwidth.zip(target.ceilings).map(|(b, c)| b / c.bandwidth);
    point.arithmetic_share = point.arithmetic.zip(target.ceilings).map(|(a, c)| a / c.arithmetic);
}

fn kernels(problem: &Problem) -> Vec<KernelId> {
    let id = |k: &'static crate::kernel::Kernel| KernelId { label: k.label().into(), hash: format!("{:016x}", k.hash) };
    problem.kernels().into_iter().map(id).collect()
}

fn checksum<'a>(outputs: impl Iterator<Item = &'a [u8]>) -> String {
    let mut sign = Fingerprint::default();
    for output in outputs {
        sign.number(output.len() as u64);
        let words = output.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        words.for_each(|word| sign.word(word));
    }
    format!("{:016x}", sign.value())
}

/// The worst output's deviation, and what is wrong with it if it is above 1.
fn compare(problem: &Problem, expected: &[Vec<u8>], results: &[&[u8]]) -> (f64, Option<String>) {
    let mut worst: (f64, Option<String>) = (0.0, None);
    if expected.len() != results.len() {
        return (f64::INFINITY, Some(format!("{} outputs, the reference has {}", results.len(), expected.len())));
    }
    for (((tensor, agreement), expected), got) in problem.outputs.iter().zip(expected).zip(results) {
        let deviation = agreement.deviation(expected, got);
        if deviation <= worst.0 {
            continue;
        }
        let detail = (deviation > 1.0).then(|| {
            let name = problem.recording.info(*tensor).map_or("", |info| &info.name);
            let model = match agreement {
                Agreement::Bits => "must be equal bit for bit".into(),
                Agreement::Within(x) => format!("{deviation:.3} times the {x:e} of its largest value that are allowed"),
            };
            let words = || expected.chunks_exact(4).zip(got.chunks_exact(4)).enumerate().filter(|(_, (e, g))| e != g);
            let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            let first = words().next().map_or(String::new(), |(i, (e, g))| {
                let (e, g) = (word(e), word(g));
                format!(
                    ", word {i} first: {e:#010x} ({}) expected, {g:#010x} ({}) found",
                    f32::from_bits(e),
                    f32::from_bits(g)
                )
            });
            format!("\"{name}\" {model}; {} of {} words differ{first}", words().count(), expected.len() / 4)
        });
        worst = (deviation, detail);
    }
    worst
}
