//! `spikewave warmup`.

use spikewave::gw::search;
use spikewave::{Result, kernel};

use super::{DeviceArgs, gw::announce, print, print_json, progress};

/// The shape of the application's stage: the search of two detectors' 32 s at 4096 Hz.
const SAMPLES: usize = 131_072;
const RATE_HZ: f64 = 4096.0;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    announce(&device);
    let recordings = search::recordings(&device, SAMPLES, RATE_HZ)?;
    let bar = progress();
    bar.set_length(kernel::ALL.len() as u64);
    let report = device.warmup(&recordings.iter().collect::<Vec<_>>(), &|p| {
        bar.set_message(format!("{}: {}", p.stage, p.kernel));
        bar.set_position(p.done as u64);
    })?;
    bar.finish_and_clear();
    if args.json {
        return print_json(&report);
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
    print(&text)
}
