//! `spikewave gw …`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use spikewave::device::Control;
use spikewave::gw::bank::Bank;
use spikewave::gw::search::{self, Created, Hold, Search, Templates};
use spikewave::gw::strain::{Strain, TemplateFile};
use spikewave::{Device, Error, Result};

use super::{DeviceArgs, at_once, interrupt, memory, plural, print, print_json, progress, say, survive};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Says what strain files hold: samples, times, quality, gaps.
    Info(InfoArgs),
    /// The power spectral density of a file's noise.
    ///
    /// A smaller --memory-budget gives the same result, to the last bit: windows then come in pieces, down to one.
    Psd(super::gw_condition::PsdArgs),
    /// The distance to which each detector sees a binary of neutron stars.
    Range(InfoArgs),
    /// The stretches of good data.
    Segments(SegmentsArgs),
    /// Whitens strain and writes it as NPY.
    ///
    /// A smaller --memory-budget gives the same result, to the last bit: a finite response goes over a segment in pieces
    /// of four to eight times its own length, at last one transform of one piece at a time. The official method is one
    /// transform over each segment, and the least is what that transform takes: cut up it would round differently.
    Whiten(super::gw_condition::WhitenArgs),
    /// Searches the strain of two detectors by matched filter. Without files: the bundled simulated pair.
    ///
    /// A smaller --memory-budget gives the same result, to the last bit, and takes longer: fewer templates at once, then
    /// one step after the other, then one detector after the other, down to about a tenth of what it takes without one
    /// (--plan says how much).
    Search(SearchArgs),
    /// Searches the strain of two detectors by a spiking detector. Without files: the bundled simulated pair.
    ///
    /// A smaller --memory-budget gives the same result, to the last bit, and takes longer: fewer chirps at once, down to
    /// about a twentieth of what it takes without one (--plan says how much).
    Detect(DetectArgs),
}

#[derive(Debug, Args)]
pub struct InfoArgs {
    /// GWOSC strain files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SegmentsArgs {
    /// A GWOSC strain file.
    file: PathBuf,
    /// The quality flag that must be set, by its name in the file.
    #[arg(long)]
    pub flag: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// Two detectors' files.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// Hanford's strain file.
    #[arg(long, requires = "l1")]
    h1: Option<PathBuf>,
    /// Livingston's strain file.
    #[arg(long, requires = "h1")]
    l1: Option<PathBuf>,
    /// The quality flag that must be set, by its name in the files.
    #[arg(long)]
    pub flag: Option<String>,
}

impl PairArgs {
    pub fn read(&self) -> Result<[Strain; 2]> {
        let (Some(h1), Some(l1)) = (&self.h1, &self.l1) else { return spikewave::gw::synthetic::bundled() };
        let read = |path: &PathBuf, detector: &str| {
            let strain = Strain::read(path)?;
            if strain.detector != detector {
                let why = format!("is a file of {}, where one of {detector} was expected", strain.detector);
                return Err(Error::file(path, why));
            }
            Ok(strain)
        };
        Ok([read(h1, "H1")?, read(l1, "L1")?])
    }
}

#[derive(Debug, Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pub pair: PairArgs,
    /// A template file: plus and cross polarisation at 1 Mpc.
    #[arg(long, conflicts_with = "bank")]
    template: Option<PathBuf>,
    /// So many chirps of 5 to 80 solar masses. The default, where there is no template file, is 256.
    #[arg(long, value_name = "N")]
    bank: Option<usize>,
    /// Says what it would take of the device's memory, and does nothing.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Draws whitened strain, template, signal-to-noise and time-frequency map as a PNG.
    #[arg(long, value_name = "OUT.png")]
    pub plot: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DetectArgs {
    #[command(flatten)]
    pub pair: PairArgs,
    /// Says what it would take of the device's memory, and does nothing.
    #[arg(long)]
    pub plan: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Draws spike rasters, scores and triggers as a PNG.
    #[arg(long, value_name = "OUT.png")]
    pub plot: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Info(args) => info(args),
        Command::Psd(args) => super::gw_condition::psd(args),
        Command::Range(args) => range(args),
        Command::Segments(args) => segments(args),
        Command::Whiten(args) => super::gw_condition::whiten(args),
        Command::Search(args) => search(args),
        Command::Detect(args) => super::gw_detect::run(args),
    }
}

/// `{name: fraction}` of a mask's bits.
fn fractions(mask: &spikewave::gw::strain::Mask) -> Value {
    mask.names
        .iter()
        .enumerate()
        .map(|(bit, name)| (name.clone(), json!(mask.fraction(bit))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn info(args: &InfoArgs) -> Result<()> {
    let mut all = Vec::new();
    let mut text = String::new();
    for file in &args.files {
        let s = Strain::read(file)?;
        let gaps: Vec<Value> =
            s.gaps().iter().map(|g| json!({"gps_start": g.gps_start, "gps_end": g.gps_end})).collect();
        text += &format!(
            "{}\n  detector {}, {} samples at {} Hz: {} s from GPS {}\n",
            file.display(),
            s.detector,
            s.values.len(),
            s.sample_rate_hz,
            s.duration_s(),
            s.gps_start
        );
        for (title, mask) in [("quality", Some(&s.quality)), ("injections", s.injections.as_ref())] {
            let Some(mask) = mask else { continue };
            let bits = mask.names.iter().enumerate();
            let list: Vec<String> = bits.map(|(i, n)| format!("{n} {:.0} %", 100.0 * mask.fraction(i))).collect();
            text += &format!("  {title}: {}\n", list.join(", "));
        }
        for gap in s.gaps() {
            text +=
                &format!("  gap: GPS {} to {} ({:.3} s)\n", gap.gps_start, gap.gps_end, gap.gps_end - gap.gps_start);
        }
        all.push(json!({
            "file": file.display().to_string(),
            "n": s.values.len(),
            "sample_rate_hz": s.sample_rate_hz,
            "gps_start": s.gps_start,
            "duration_s": s.duration_s(),
            "detector": s.detector,
            "dq": fractions(&s.quality),
            "injections": s.injections.as_ref().map(fractions),
            "gaps": gaps,
            "first": s.values.first().filter(|v| v.is_finite()),
            "last": s.values.last().filter(|v| v.is_finite()),
            "sum": s.values.iter().filter(|v| v.is_finite()).sum::<f64>(),
        }));
    }
    if !args.json {
        return print(&text);
    }
    // One file, one document; several, a list of them.
    if let [one] = all.as_slice() { print_json(one) } else { print_json(&all) }
}

fn range(args: &InfoArgs) -> Result<()> {
    let mut all = Vec::new();
    let mut text = String::from("detector   GPS start     BNS range\n");
    for file in &args.files {
        let s = Strain::read(file)?;
        let range = spikewave::gw::search::range_mpc(&s)?;
        text += &format!("{:<8} {:>12}  {range:>8.1} Mpc\n", s.detector, s.gps_start);
        all.push(json!({
            "file": file.display().to_string(),
            "detector": s.detector,
            "gps_start": s.gps_start,
            "range_mpc": range,
        }));
    }
    if args.json { print_json(&all) } else { print(&text) }
}

fn segments(args: &SegmentsArgs) -> Result<()> {
    let s = Strain::read(&args.file)?;
    let segments = s.segments(args.flag.as_deref())?;
    if args.json {
        let list: Vec<Value> = segments
            .iter()
            .map(|g| json!({"gps_start": g.gps_start, "gps_end": g.gps_end, "start": g.start, "end": g.end}))
            .collect();
        return print_json(&json!({"detector": s.detector, "flag": args.flag, "segments": list}));
    }
    let mut text = format!("{} stretches of good data\n", segments.len());
    for g in &segments {
        text += &format!(
            "  GPS {} to {}  ({} s, {} samples)\n",
            g.gps_start,
            g.gps_end,
            g.gps_end - g.gps_start,
            g.samples()
        );
    }
    print(&text)
}

/// Says which device runs and why, on standard error so that results stay alone on standard output.
pub fn announce(device: &spikewave::Device) {
    say(&format!("device: {} ({})", device.name(), device.reason()));
}

/// What a job took: the same lines for every job.
pub struct Cost {
    pub setup_ms: f64,
    pub warmup_s: f64,
    pub run_s: f64,
    pub total_ms: f64,
    pub planned_bytes: u64,
    pub peak_bytes: u64,
    pub budget_bytes: u64,
    pub created: Created,
}

impl Cost {
    pub fn timing(&self) -> Value {
        json!({
            "setup_ms": self.setup_ms,
            "warmup_ms": self.warmup_s * 1e3,
            "run_ms": self.run_s * 1e3,
            "total_ms": self.total_ms,
        })
    }

    pub fn memory(&self, device: &spikewave::Device) -> Value {
        memory::taken(device, self.planned_bytes, self.peak_bytes)
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (setup, warmup, run) = (self.setup_ms, self.warmup_s * 1e3, self.run_s * 1e3);
        let [planned, peak, budget] = [self.planned_bytes, self.peak_bytes, self.budget_bytes].map(spikewave::bytes);
        write!(
            f,
            "time: {setup:.0} ms to set up, {warmup:.0} ms to warm up, {run:.0} ms to run; memory: {planned} planned, \
             {peak} at its peak, of {budget}"
        )
    }
}

/// The strain and the templates.
fn inputs(args: &SearchArgs) -> Result<([Strain; 2], Templates)> {
    let strains = args.pair.read()?;
    let templates = match &args.template {
        Some(path) => Templates::File(Box::new(TemplateFile::read(path)?)),
        None => Templates::Bank(at_once(|| Bank::new(args.bank.unwrap_or(256)))?),
    };
    if let Some(path) = &args.plot {
        writable(path)?;
    }
    Ok((strains, templates))
}

fn search(args: &SearchArgs) -> Result<()> {
    let started = Instant::now();
    let cancel = interrupt();
    let options = args.device.options()?;
    // The device opens and compiles while files are read and templates are laid out.
    let (given, device) = std::thread::scope(|threads| {
        let device = threads.spawn(|| {
            let device = Device::open(&options)?;
            search::request(&device)?;
            Ok(device)
        });
        let given = inputs(args);
        let device = device.join().unwrap_or_else(|_| Err(Error::Internal("opening the device panicked".into())));
        (given, device)
    });
    let (strains, templates) = given?;
    let mut device = device?;
    announce(&device);
    if args.plan {
        let plan = Search::plan(&device, [&strains[0], &strains[1]], &templates, args.pair.flag.as_deref())?;
        let text = format!(
            "{}, {} at once; {} of data; {}\n",
            plural(templates.count(), "template"),
            plan.templates_at_once,
            plural(plan.blocks, "block"),
            match plan.hold {
                Hold::Everything => "everything is ready from the start",
                Hold::OneRecording => "recordings are made ready one after the other",
                Hold::OneDetector => "one detector and one step at a time",
            }
        );
        let job = json!({
            "templates": templates.count(),
            "templates_at_once": plan.templates_at_once,
            "blocks": plan.blocks,
            "hold": plan.hold,
        });
        return memory::say_plan(&device, &plan.memory, args.json, job, &text);
    }
    let first = OnceLock::new();
    let (setup_ms, result) = survive(&mut device, |device| {
        let mut search = Search::new(device, [&strains[0], &strains[1]], &templates, args.pair.flag.as_deref())?;
        let setup_ms = started.elapsed().as_secs_f64() * 1e3 - search.warmup_s * 1e3;
        let bar = progress();
        bar.set_message("templates");
        let control = Control { cancel: cancel.clone(), ..Control::default() };
        let result = search.run(&control, &|done, total| {
            first.get_or_init(|| started.elapsed());
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        Ok((setup_ms, result?))
    })?;
    if let Some(path) = &args.plot {
        spikewave::gw::figure::search([&strains[0], &strains[1]], &result, path)?;
    }
    let first_result_ms = first.get().map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let cost = Cost {
        setup_ms,
        warmup_s: result.warmup_s,
        run_s: result.run_s,
        total_ms: started.elapsed().as_secs_f64() * 1e3,
        planned_bytes: result.planned_bytes,
        peak_bytes: result.peak_bytes,
        budget_bytes: device.stats().memory.budget_bytes,
        created: result.created,
    };
    if args.json {
        let detectors: serde_json::Map<String, Value> = result
            .names
            .iter()
            .zip(&result.found)
            .map(|(name, found)| (name.clone(), serde_json::to_value(found).unwrap_or(Value::Null)))
            .collect();
        let mut timing = cost.timing();
        timing["first_result_ms"] = json!(first_result_ms);
        return print_json(&json!({
            "device": device.name(),
            "detectors": detectors,
            "delay_ms": result.delay_ms,
            "network_snr": result.network_snr,
            "coherent_snr": result.coherent_snr,
            "coherent_sign": result.coherent_sign,
            "template": result.template,
            "searched_s": result.searched_s,
            "template_seconds": result.template_seconds,
            "timing": timing,
            "memory": cost.memory(&device),
            "created_after_warmup": cost.created,
        }));
    }
    let t = &result.template;
    let mut text = format!(
        "{} template{} against {:.0} s of {} and {} data\n\n",
        templates.count(),
        if templates.count() == 1 { "" } else { "s" },
        result.searched_s,
        result.names[0],
        result.names[1]
    );
    text += "detector      SNR              GPS time   effective distance   BNS range\n";
    for (name, f) in result.names.iter().zip(&result.found) {
        text += &format!(
            "{name:<8} {:>8.3}      {:>15.4}          {:>6.0} Mpc    {:>5.1} Mpc\n",
            f.snr, f.gps_time, f.effective_distance_mpc, f.range_mpc
        );
    }
    text += &format!(
        "\nnetwork SNR {:.2}; coherent {:.2} with {} {}; {} - {}: {:+.2} ms\n",
        result.network_snr,
        result.coherent_snr,
        result.names[1],
        if result.coherent_sign < 0.0 { "upside down" } else { "upright" },
        result.names[1],
        result.names[0],
        result.delay_ms
    );
    text += &format!(
        "template: {:.1} + {:.1} solar masses, spins {:.2} and {:.2} ({}, {} {})\n",
        t.masses[0], t.masses[1], t.spins[0], t.spins[1], t.model, t.source, t.index
    );
    text += &format!(
        "{cost}; first templates searched after {first_result_ms:.0} ms; {:.0} template-seconds a second\n",
        result.template_seconds / result.run_s
    );
    if let Some(path) = &args.plot {
        text += &format!("picture: {}\n", path.display());
    }
    print(&text)
}

/// Refuses a path that cannot be written before the work is done, not after it.
pub fn writable(path: &Path) -> Result<()> {
    let target = spikewave::io::write_target(path)?;
    let folder = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    match std::fs::metadata(folder) {
        Ok(meta) if meta.is_dir() && !meta.permissions().readonly() => Ok(()),
        Ok(meta) if meta.is_dir() => Err(Error::file(path, "cannot be written: its folder is read-only")),
        Ok(_) => Err(Error::file(path, format!("cannot be written: {} is not a folder", folder.display()))),
        Err(e) => Err(Error::file(path, format!("cannot be written: {}: {e}", folder.display()))),
    }
}
