//! `spikewave warmup`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use spikewave::device::{Device, DeviceOptions, FirstUse, WarmupReport};
use spikewave::gw::search;
use spikewave::{Error, Result};

use super::{DeviceArgs, at_once, gw::announce, interrupt, print, print_json, progress};

/// The shape of the application's stage: the search of two detectors' 32 s at 4096 Hz.
const SAMPLES: usize = 131_072;
const RATE_HZ: f64 = 4096.0;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    /// As on a machine that never ran it: with empty folders for compiled kernels, the driver's own (Mesa, NVIDIA, AMD)
    /// too, and in processes of its own, for drivers keep what they compiled in memory.
    #[arg(long)]
    cold: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// One part of a cold start, printed as JSON.
    #[arg(long, hide = true, requires = "cache")]
    part: Option<Part>,
    /// The folder of that part.
    #[arg(long, hide = true)]
    cache: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Part {
    FirstUse,
    Stages,
}

impl Part {
    fn measure(self, options: &DeviceOptions) -> Result<Value> {
        let value = match self {
            Self::FirstUse => serde_json::to_value(first_use(options)?),
            Self::Stages => serde_json::to_value(stages(options)?),
        };
        value.map_err(|e| Error::Internal(e.to_string()))
    }
}

/// What drivers call the folders of their own caches.
const CACHES: [&str; 5] = [
    "XDG_CACHE_HOME",
    "MESA_SHADER_CACHE_DIR",
    "MESA_GLSL_CACHE_DIR",
    "__GL_SHADER_DISK_CACHE_PATH",
    "AMD_SHADER_DISK_CACHE_PATH",
];

/// The exit status.
pub fn run(args: &Args) -> Result<u8> {
    if let Some(part) = args.part {
        let options = DeviceOptions { cache_dir: args.cache.clone(), ..args.device.options()? };
        return print_json(&part.measure(&options)?).map(|()| 0);
    }
    interrupt();
    let mut values = [Value::Null, Value::Null];
    for (value, part) in values.iter_mut().zip([Part::Stages, Part::FirstUse]) {
        *value = if args.cold {
            match in_an_empty_folder(|folder| elsewhere(part, folder))? {
                Ok(value) => value,
                Err(status) => return Ok(status),
            }
        } else {
            let options = args.device.options()?;
            // A compiler cannot be asked to stop.
            at_once(|| part.measure(&options))?
        };
    }
    let [mut report, first] = values;
    if args.json {
        report["cold"] = json!(args.cold);
        report["first_use"] = first;
        print_json(&report)?;
    } else {
        print(&text(&report, &first, args.cold))?;
    }
    Ok(0)
}

fn text(report: &Value, first: &Value, cold: bool) -> String {
    let mut text = String::from("stage                 kernels   compile ms   first ms   second ms\n");
    let time = |t: &Value| t.as_f64().map_or("-".into(), |t| format!("{t:.2}"));
    for s in report["stages"].as_array().into_iter().flatten() {
        text += &format!(
            "{:<20} {:>8} {:>12.1} {:>10} {:>11}\n",
            s["name"].as_str().unwrap_or_default(),
            s["kernels"].as_array().map_or(0, Vec::len),
            s["compile_ms"].as_f64().unwrap_or_default(),
            time(&s["first_dispatch_ms"]),
            time(&s["second_dispatch_ms"])
        );
    }
    text += &match report["cache"]["path"].as_str() {
        Some(_) if cold => "\npipeline cache: new, and gone again\n".into(),
        Some(path) => {
            let hit = report["cache"]["hit"].as_bool() == Some(true);
            format!("\npipeline cache: {path} ({})\n", if hit { "hit" } else { "new" })
        }
        None => "\npipeline cache: none on this device\n".into(),
    };
    let ms = |key: &str| first[key].as_f64().unwrap_or_default();
    let special = &first["specialised"];
    text + &format!(
        "\nthe application's recordings, {}\n  first result after {:.0} ms: {:.0} to open the device, {:.0} to run\n  \
         full speed after {:.0} ms: {:.1} ms a run with generic kernels, {:.1} with {} specialised ones ({} refused)\n",
        if cold { "cold" } else { "with the cache" },
        ms("first_result_ms"),
        ms("open_ms"),
        ms("first_run_ms"),
        ms("full_speed_ms"),
        ms("generic_ms"),
        ms("specialised_ms"),
        special["swapped"],
        special["refused"]
    )
}

/// Calls it with a folder that is new and this user's alone, and gone afterwards.
fn in_an_empty_folder<T>(call: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let folder = std::env::temp_dir().join(format!("spikewave-cold-{}-{now}", std::process::id()));
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    // What is there already would not be cold, nor ours to remove.
    builder.create(&folder).map_err(|e| Error::file(&folder, e))?;
    let result = call(&folder);
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => log::warn!("{} stays: {e}", folder.display()),
        _ => {}
    }
    result
}

/// This command's part in a process of its own whose caches are in the folder: what it measured, or the exit status of one
/// that has said what is wrong.
fn elsewhere(part: Part, folder: &Path) -> Result<std::result::Result<Value, u8>> {
    let cancel = interrupt();
    let failed = |what: &dyn std::fmt::Display| Error::Internal(format!("a cold start: {what}"));
    let program = std::env::current_exe().map_err(|e| failed(&e))?;
    let name = clap::ValueEnum::to_possible_value(&part).ok_or_else(|| failed(&"no such part"))?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).args(["--part", name.get_name(), "--cache"]).arg(folder);
    command.envs(CACHES.map(|variable| (variable, folder))).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| failed(&e))?;
    let mut out = child.stdout.take().ok_or_else(|| failed(&"no output"))?;
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        out.read_to_end(&mut text).map(|_| text)
    });
    let status = loop {
        if cancel.is_cancelled() {
            // Ctrl-C may have come to this process alone.
            _ = child.kill();
        }
        match child.try_wait().map_err(|e| failed(&e))? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    if status.success() {
        let text = reader.join().map_err(|_| failed(&"its output cannot be read"))?.map_err(|e| failed(&e))?;
        return serde_json::from_slice(&text).map(Ok).map_err(|e| failed(&e));
    }
    // Ctrl-C on a terminal comes to both, to the other one maybe first.
    std::thread::sleep(Duration::from_millis(100));
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        _ if cancel.is_cancelled() => Err(Error::Cancelled),
        Some(code) => Ok(Err(code)),
        None => Err(Error::DeviceLost { reason: format!("the process that used it ended with {status}") }),
    }
}

fn stages(options: &DeviceOptions) -> Result<WarmupReport> {
    let device = Device::open(options)?;
    announce(&device);
    let recordings = search::recordings(&device, SAMPLES, RATE_HZ)?;
    let bar = progress();
    bar.set_message("warming up");
    let report = device.warmup(&recordings.iter().collect::<Vec<_>>(), &|p| {
        bar.set_message(format!("{}: {}", p.stage, p.kernel));
        bar.set_length(p.total as u64);
        bar.set_position(p.done as u64);
    })?;
    bar.finish_and_clear();
    Ok(report)
}

fn first_use(options: &DeviceOptions) -> Result<FirstUse> {
    let bar = progress();
    bar.set_message("the application's recordings");
    let begun = Instant::now();
    let device = Device::open(options)?;
    let recordings = search::recordings(&device, SAMPLES, RATE_HZ)?;
    let first = device.first_use(&recordings.iter().collect::<Vec<_>>(), begun);
    bar.finish_and_clear();
    first
}
