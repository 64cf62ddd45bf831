//! `spikewave warmup`.

use std::time::{Instant, SystemTime};

use serde_json::json;
use spikewave::device::{Device, DeviceOptions, FirstUse, WarmupReport};
use spikewave::gw::search;
use spikewave::{Error, Result};

use super::{DeviceArgs, gw::announce, print, print_json, progress};

/// The shape of the application's stage: the search of two detectors' 32 s at 4096 Hz.
const SAMPLES: usize = 131_072;
const RATE_HZ: f64 = 4096.0;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    /// As on a machine that never ran it: with an empty folder for compiled kernels.
    #[arg(long)]
    cold: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    // In a cold start what the application waits for comes first, for drivers keep what they compiled in memory too;
    // with the cache it comes last, when the file is whole.
    let (report, first) = if args.cold {
        let first = empty_folder(args, first_use)?;
        (empty_folder(args, stages)?, first)
    } else {
        let options = args.device.options()?;
        (stages(&options)?, first_use(&options)?)
    };
    if args.json {
        let mut value = serde_json::to_value(&report).map_err(|e| Error::Internal(e.to_string()))?;
        value["cold"] = json!(args.cold);
        value["first_use"] = json!(first);
        return print_json(&value);
    }
    let mut text = String::from("stage                 kernels   compile ms   first ms   second ms\n");
    let time = |t: Option<f64>| t.map_or("-".into(), |t| format!("{t:.2}"));
    for s in &report.stages {
        text += &format!(
            "{:<20} {:>8} {:>12.1} {:>10} {:>11}\n",
            s.name,
            s.kernels.len(),
            s.compile_ms,
            time(s.first_dispatch_ms),
            time(s.second_dispatch_ms)
        );
    }
    text += &match &report.cache {
        Some(c) => format!("\npipeline cache: {} ({})\n", c.path.display(), if c.hit { "hit" } else { "new" }),
        None => "\npipeline cache: none on this device\n".into(),
    };
    let special = &first.specialised;
    text += &format!(
        "\nthe application's recordings, {}\n  first result after {:.0} ms: {:.0} to open the device, {:.0} to run\n  \
         full speed after {:.0} ms: {:.1} ms a run with generic kernels, {:.1} with {} specialised ones ({} refused)\n",
        if args.cold { "cold" } else { "with the cache" },
        first.first_result_ms,
        first.open_ms,
        first.first_run_ms,
        first.full_speed_ms,
        first.generic_ms,
        first.specialised_ms,
        special.swapped,
        special.refused
    );
    print(&text)
}

/// Calls it with a folder for compiled kernels that is new and this user's alone, and gone afterwards.
fn empty_folder<T>(args: &Args, call: impl FnOnce(&DeviceOptions) -> Result<T>) -> Result<T> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let folder = std::env::temp_dir().join(format!("spikewave-cold-{}-{now}", std::process::id()));
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    // What is there already would not be cold, nor ours to remove.
    builder.create(&folder).map_err(|e| Error::file(&folder, e))?;
    let options = DeviceOptions { cache_dir: Some(folder.clone()), ..args.device.options()? };
    let result = call(&options);
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => log::warn!("{} stays: {e}", folder.display()),
        _ => {}
    }
    result
}

fn stages(options: &DeviceOptions) -> Result<WarmupReport> {
    let device = Device::open(options)?;
    announce(&device);
    let recordings = search::recordings(&device, SAMPLES, RATE_HZ)?;
    let bar = progress();
    let report = device.warmup(&recordings.iter().collect::<Vec<_>>(), &|p| {
        bar.set_message(format!("{}: {}", p.stage, p.kernel));
        bar.set_length(p.total as u64);
        bar.set_position(p.done as u64);
    })?;
    bar.finish_and_clear();
    Ok(report)
}

fn first_use(options: &DeviceOptions) -> Result<FirstUse> {
    let begun = Instant::now();
    let device = Device::open(options)?;
    let recordings = search::recordings(&device, SAMPLES, RATE_HZ)?;
    device.first_use(&recordings.iter().collect::<Vec<_>>(), begun)
}
