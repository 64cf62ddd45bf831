//! What a sweep leaves behind: `points.jsonl`, an object a line, each line written at once.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::{Build, Config};
use crate::{Error, Result};

/// The name of the file of points in a sweep's folder.
pub const POINTS: &str = "points.jsonl";
/// The version of its lines.
const FORMAT: u32 = 1;
/// How often, a tenth of a second apart, a folder is asked for that another sweep writes into.
const LOCK_TRIES: u32 = 30;

/// A line of `points.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The first line: which sweep it is.
    Sweep(Header),
    /// The machine, at every start and end.
    Machine(Machine),
    /// A device that was opened, with its ceilings; again for every start and end.
    Adapter(Adapter),
    /// A point measured twice.
    Control(Control),
    /// A point.
    Point(Box<Point>),
}

/// Which sweep it is. A sweep goes on only in a folder whose header is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the lines.
    pub format: u32,
    /// Of this crate.
    pub version: String,
    /// Of the source at the first start; `unknown` if that cannot be told. The points say their own.
    pub commit: String,
    /// Of the texts of all kernels, hexadecimal.
    pub shaders: String,
    /// Of wgpu.
    pub wgpu: String,
    /// As the configuration names them.
    pub adapters: Vec<String>,
    /// How shaders are compiled.
    pub builds: Vec<String>,
    /// Runs that are timed.
    pub samples: usize,
    /// Runs before those.
    pub warmup: usize,
    /// How far from 1 the ratio of the control points may be.
    pub control_band: f64,
    /// Drivers that fail a known answer are used too.
    pub force: bool,
    /// Threads; `None`: all cores.
    pub threads: Option<usize>,
    /// The most memory to use on each device.
    pub memory_budget: Option<String>,
    /// Case, variant and size of every point of an adapter.
    pub points: Vec<String>,
}

impl Header {
    /// The header of a sweep on these adapters, by this program.
    pub fn new(config: &Config) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            commit: super::source::commit().into(),
            shaders: super::source::shaders(),
            wgpu: super::source::wgpu_version().into(),
            adapters: config.adapters.clone(),
            builds: config.builds.iter().map(|b| b.name().into()).collect(),
            samples: config.samples,
            warmup: config.warmup,
            control_band: config.control_band,
            force: config.force,
            threads: config.threads,
            memory_budget: config.memory_budget.clone(),
            points: config.jobs().iter().map(super::config::Job::name).collect(),
        }
    }

    /// What differs between this header and the one of a folder, for people.
    fn difference(&self, there: &Self) -> Option<String> {
        let (Ok(Value::Object(here)), Ok(Value::Object(other))) =
            (serde_json::to_value(self), serde_json::to_value(there))
        else {
            return None;
        };
        let differing = |(key, value): (&String, &Value)| {
            let found = other.get(key).unwrap_or(&Value::Null);
            // Kernels that are the same may come of a later commit.
            if value == found || key == "commit" {
                return None;
            }
            if key == "points" {
                let only = |a: &[String], b: &[String]| a.iter().find(|p| !b.contains(p)).cloned();
                let first = match (only(&self.points, &there.points), only(&there.points, &self.points)) {
                    (Some(p), _) => format!("; \"{p}\" is only here"),
                    (_, Some(p)) => format!("; \"{p}\" is only there"),
                    _ => "; in another order".into(),
                };
                return Some(format!("points: {} there, {} here{first}", there.points.len(), self.points.len()));
            }
            Some(format!("{key}: {found} there, {value} here"))
        };
        let all: Vec<String> = here.iter().filter_map(differing).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Where and when a sweep ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// `start` or `end` of the sweep, or of what a later start added to it.
    pub when: String,
    /// In UTC, `2015-09-14 09:50:45`.
    pub date: String,
    /// The machine's name, where the system says it.
    pub host: Option<String>,
    /// The processor's name.
    pub processor: String,
    /// The operating system and its version.
    pub system: String,
    /// Tasks that ran or wanted to, on average of the last minute, where the system says it.
    pub load: Option<f64>,
}

/// A device and what it can do at most.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    /// As `--device` takes it.
    pub name: String,
    /// How its shaders are compiled.
    pub build: String,
    /// `native`, or what kind of GPU it is.
    pub kind: String,
    /// The driver and its version; the processor and its threads for the native path.
    pub driver: String,
    /// What the self-test found.
    pub quirks: Vec<String>,
    /// GB/s of the copy kernel (bytes read and written).
    pub bandwidth: Option<f64>,
    /// GFLOP/s of the multiply-add kernel.
    pub arithmetic: Option<f64>,
    /// Why it cannot be used.
    pub error: Option<String>,
}

/// The same point under two names, run in turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// The device.
    pub adapter: String,
    /// How its shaders are compiled.
    pub build: String,
    /// `start` or `end` of the sweep.
    pub when: String,
    /// The point.
    pub point: String,
    /// Median of one over median of the other; should be 1.
    pub ratio: f64,
    /// How far from 1 it may be.
    pub band: f64,
}

impl Control {
    /// Whether the harness can be trusted by it.
    pub fn holds(&self) -> bool {
        (self.ratio - 1.0).abs() <= self.band
    }
}

/// What came of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Results agree with the reference.
    Right,
    /// They do not: no times are stated.
    Wrong,
    /// The device gave an error.
    Failed,
    /// The device cannot do it: too large, over the budget.
    Refused,
}

/// A kernel and its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelId {
    /// Its name and variant.
    pub label: String,
    /// FNV-1a of its text, hexadecimal.
    #[serde(default)]
    pub hash: String,
}

/// Microseconds of several samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half are below.
    pub median: f64,
    /// A quarter is below.
    pub q1: f64,
    /// Three quarters are below.
    pub q3: f64,
    /// Median of the distances from the median.
    pub mad: f64,
    /// The shortest.
    pub min: f64,
}

/// The value below which a share of sorted values lies, between its neighbours linearly.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

impl Spread {
    /// Of at least one sample.
    pub fn of(samples: &[f64]) -> Option<Self> {
        if samples.is_empty() {
            return None;
        }
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        let values = sorted(samples.to_vec());
        let median = quantile(&values, 0.5);
        let off = sorted(values.iter().map(|v| (v - median).abs()).collect());
        Some(Self {
            median,
            q1: quantile(&values, 0.25),
            q3: quantile(&values, 0.75),
            mad: quantile(&off, 0.5),
            min: values[0],
        })
    }
}

/// A case in one variant and size on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The device, as `--device` takes it.
    pub adapter: String,
    /// How its shaders were compiled.
    pub build: String,
    /// The case.
    pub case: String,
    /// Its variant.
    pub variant: String,
    /// Its size.
    pub size: usize,
    /// What the size counts.
    pub unit: String,
    /// What was dispatched.
    pub kernels: Vec<KernelId>,
    /// Whether it is right.
    pub status: Status,
    /// The worst output's distance from the reference, in units of what is allowed; `None` where there is none, or where
    /// it is infinite.
    pub deviation: Option<f64>,
    /// What is wrong, or why there is nothing.
    pub detail: Option<String>,
    /// Of the results, hexadecimal.
    pub checksum: Option<String>,
    /// Of the native path's results.
    pub reference: Option<String>,
    /// Time of the kernels alone.
    pub kernel_us: Option<Spread>,
    /// What that was measured by: `timestamps`, or on the native path the `wall clock`.
    pub clock: Option<String>,
    /// From the call to the results on the host.
    pub wall_us: Option<Spread>,
    /// Samples of each.
    pub samples: usize,
    /// Runs that a sample is the mean of.
    #[serde(default = "one")]
    pub repeats: usize,
    /// Least bytes that have to be read and written.
    pub bytes: u64,
    /// Operations.
    pub operations: u64,
    /// Kernel dispatches of a run.
    pub dispatches: usize,
    /// How many of its kernels ran specialised; `None` where none are asked for.
    #[serde(default)]
    pub specialised: Option<usize>,
    /// Bytes over the kernels' time, GB/s.
    pub bandwidth: Option<f64>,
    /// Operations over the kernels' time, GFLOP/s.
    pub arithmetic: Option<f64>,
    /// Share of the copy kernel's bandwidth on this device when the sweep was started; above 1 where a cache holds the
    /// data. The report takes the best of all measurements of that bandwidth.
    pub bandwidth_share: Option<f64>,
    /// Share of the multiply-add kernel's rate.
    pub arithmetic_share: Option<f64>,
    /// The device's driver.
    pub driver: String,
    /// What its self-test found.
    pub quirks: Vec<String>,
    /// Of wgpu.
    pub wgpu: String,
    /// Of the source.
    pub commit: String,
}

fn one() -> usize {
    1
}

/// What tells a point from others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The device.
    pub adapter: String,
    /// How its shaders are compiled.
    pub build: String,
    /// The case.
    pub case: String,
    /// Its variant.
    pub variant: String,
    /// Its size.
    pub size: usize,
}

impl Key {
    /// Of a job on a device.
    pub fn new(adapter: &str, build: Build, job: &super::config::Job) -> Self {
        Self {
            adapter: adapter.into(),
            build: build.name().into(),
            case: job.case.name.into(),
            variant: job.variant.into(),
            size: job.size,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { adapter, build, case, variant, size } = self;
        let build = if build == Build::Unchecked.name() { String::new() } else { format!(", {build}") };
        write!(f, "{case} {variant} {size} on {adapter}{build}")
    }
}

impl Point {
    /// What tells it from others.
    pub fn key(&self) -> Key {
        Key {
            adapter: self.adapter.clone(),
            build: self.build.clone(),
            case: self.case.clone(),
            variant: self.variant.clone(),
            size: self.size,
        }
    }

    /// The kernels' time, or where that is not known the wall clock's.
    pub fn time(&self) -> Option<Spread> {
        self.kernel_us.or(self.wall_us)
    }
}

/// The folder of a sweep that is being run.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    file: File,
    /// What it holds.
    pub lines: Vec<Line>,
}

/// The whole lines of a file; a last one that was cut off, maybe within a letter, does not count.
pub(super) fn whole<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str> {
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    std::str::from_utf8(&bytes[..end]).map_err(|e| Error::file(path, e))
}

/// What is wrong in a line, told by the line of the file and not of the text that was read.
pub(super) fn mistake(path: &Path, line: usize, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    let column = if error.column() > 0 { format!(", column {}", error.column()) } else { String::new() };
    Error::file(path, format_args!("line {line}{column}: {what}"))
}

fn parse(path: &Path, text: &str) -> Result<Vec<Line>> {
    let line = |(i, line): (usize, &str)| serde_json::from_str(line).map_err(|e| mistake(path, i + 1, &e));
    text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).map(line).collect()
}

impl Folder {
    /// A new folder for this sweep, or the one of a sweep with this header that was left off. Says so when it waits for
    /// another sweep to let go of it.
    ///
    /// # Errors
    /// `File` for a folder of something else, of another sweep with what differs, one in which a sweep runs, or one that
    /// cannot be written.
    pub fn open(path: &Path, header: &Header, say: &dyn Fn(&str)) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| Error::file(path, e))?;
        let points = path.join(POINTS);
        if !points.exists() {
            let mut entries = std::fs::read_dir(path).map_err(|e| Error::file(path, e))?;
            if entries.next().is_some() {
                let why = "holds something else than a sweep; name a new or empty folder";
                return Err(Error::file(path, why));
            }
        }
        let fail = |e: std::io::Error| Error::file(&points, e);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&points).map_err(fail)?;
        // A sweep that was killed a moment ago may not be gone yet.
        let mut left = LOCK_TRIES;
        while let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
            if left == LOCK_TRIES {
                say(&format!("another sweep holds {}; waiting a moment", path.display()));
            }
            if left == 0 {
                return Err(Error::file(path, "another sweep is writing there; wait for it, or name another folder"));
            }
            left -= 1;
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail)?;
        let text = whole(&points, &bytes)?;
        let mut lines = parse(&points, text)?;
        let mut end = text.len() as u64;
        // A sweep that never came to a point, because its device did not open say, holds no folder.
        let begun = lines.iter().any(|line| matches!(line, Line::Point(_)));
        if matches!(lines.first(), Some(Line::Sweep(there)) if !begun && header.difference(there).is_some()) {
            (lines, end) = (Vec::new(), 0);
        }
        file.set_len(end).map_err(fail)?;
        file.seek(SeekFrom::End(0)).map_err(fail)?;
        let mut folder = Self { path: path.into(), file, lines };
        match folder.lines.first() {
            None => folder.append(Line::Sweep(header.clone()))?,
            Some(Line::Sweep(there)) => {
                if let Some(difference) = header.difference(there) {
                    let why = format!("is the folder of another sweep ({difference}); name another one");
                    return Err(Error::file(path, why));
                }
            }
            Some(_) => return Err(Error::file(points, "line 1 does not say which sweep it is")),
        }
        Ok(folder)
    }

    /// Adds a line, whole or not at all as far as readers see it.
    ///
    /// # Errors
    /// `File` when it cannot be written.
    pub fn append(&mut self, line: Line) -> Result<()> {
        let fail =
            |e: &dyn std::fmt::Display| Error::file(self.path.join(POINTS), format_args!("cannot be written ({e})"));
        let mut text = serde_json::to_string(&line).map_err(|e| fail(&e))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()).map_err(|e| fail(&e))?;
        self.lines.push(line);
        Ok(())
    }

    /// The points so far.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        points(&self.lines)
    }
}

/// The points among lines, each as it was measured last: what failed may have been run again.
pub fn points(lines: &[Line]) -> impl Iterator<Item = &Point> {
    let all = || lines.iter().filter_map(|line| if let Line::Point(point) = line { Some(&**point) } else { None });
    let last: HashMap<Key, usize> = all().enumerate().map(|(i, point)| (point.key(), i)).collect();
    all().enumerate().filter(move |(i, point)| last.get(&point.key()) == Some(i)).map(|(_, point)| point)
}

/// The lines of a sweep's folder; a last one that was cut off does not count.
///
/// # Errors
/// `File` for a folder that is none of a sweep, with the line that cannot be read.
pub fn read(folder: &Path) -> Result<Vec<Line>> {
    let path = folder.join(POINTS);
    let bytes = std::fs::read(&path)
        .map_err(|e| Error::file(&path, format_args!("cannot be read ({e}); name the folder of a sweep")))?;
    let lines = parse(&path, whole(&path, &bytes)?)?;
    match lines.first() {
        Some(Line::Sweep(_)) => Ok(lines),
        _ => Err(Error::file(path, "line 1 does not say which sweep it is")),
    }
}
