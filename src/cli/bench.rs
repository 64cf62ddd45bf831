//! `spikewave bench NAME`: our side of the benchmarks of `benches/peers`, on the inputs that it hands over.

mod bank;
mod conv1d;
mod csr;
mod lif;
mod sizes;
mod state_space;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use spikewave::device::{Choice, DeviceOptions};
use spikewave::{Device, Error, Result};

use super::{DeviceArgs, print, print_json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// conv1d, bank, lif, lif_fused, csr; or state-space, which brings its own input.
    name: String,
    /// The folder with bench.json and the arrays.
    #[arg(long)]
    input: Option<PathBuf>,
    /// The folder for the results.
    #[arg(long)]
    output: Option<PathBuf>,
    /// With lif: steps so many neurons on one thread, on all threads and on a GPU, and says from which number on the GPU
    /// is faster. It brings its own input.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', conflicts_with_all = ["input", "output"])]
    sizes: Vec<usize>,
    /// With --sizes: auto, gpu (hardware only), or part of an adapter's name.
    #[arg(long, value_name = "DEVICE", requires = "sizes")]
    device: Option<String>,
    /// With --sizes: what all threads are.
    #[arg(long, value_name = "N", requires = "sizes")]
    threads: Option<usize>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// `bench.json`: what to run and how often.
struct Bench {
    path: PathBuf,
    input: PathBuf,
    output: PathBuf,
    value: Value,
}

impl Bench {
    fn read(input: &Path, output: &Path) -> Result<Self> {
        let path = input.join("bench.json");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::file(&path, e))?;
        let value = serde_json::from_str(&text).map_err(|e| Error::file(&path, e))?;
        Ok(Self { path, input: input.into(), output: output.into(), value })
    }

    fn number(&self, key: &str) -> Result<f64> {
        self.value[key].as_f64().ok_or_else(|| Error::file(&self.path, format_args!("\"{key}\" must be a number")))
    }

    /// A whole number that may be zero.
    fn count(&self, key: &str) -> Result<usize> {
        let n = self.value[key].as_u64().and_then(|n| usize::try_from(n).ok());
        n.ok_or_else(|| Error::file(&self.path, format_args!("\"{key}\" must be a whole number")))
    }

    fn text(&self, key: &str) -> Result<&str> {
        self.value[key].as_str().ok_or_else(|| Error::file(&self.path, format_args!("\"{key}\" must be a text")))
    }

    /// Milliseconds a call: `samples` of the mean of `repeats` calls, after one that is not counted.
    fn time(&self, mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
        let (samples, repeats) = (self.count("samples")?.max(1), self.count("repeats")?.max(1));
        call()?;
        (0..samples)
            .map(|_| {
                let started = Instant::now();
                for _ in 0..repeats {
                    call()?;
                }
                Ok(started.elapsed().as_secs_f64() * 1e3 / repeats as f64)
            })
            .collect()
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

pub fn run(args: &Args) -> Result<()> {
    if !args.sizes.is_empty() {
        if args.name != "lif" {
            return Err(Error::invalid("sizes", format!("{} has none; lif has", args.name)));
        }
        let device = args.device.clone().unwrap_or_else(|| "auto".into());
        let device = DeviceArgs { device, memory_budget: None, threads: args.threads, force: false };
        return sizes::run(&args.sizes, &device, args.json);
    }
    if args.name == "state-space" {
        return state_space::run(args.json);
    }
    let (Some(input), Some(output)) = (&args.input, &args.output) else {
        return Err(Error::invalid("arguments", format!("{} needs --input and --output", args.name)));
    };
    let bench = Bench::read(input, output)?;
    let threads = bench.count("threads")?;
    let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) };
    let device = Device::open(&options)?;
    let (times, more) = match args.name.as_str() {
        "conv1d" => conv1d::run(&bench, &device)?,
        "bank" => bank::run(&bench, &device)?,
        "csr" => csr::run(&bench, &device)?,
        "lif" | "lif_fused" => lif::run(&bench, &device)?,
        other => {
            return Err(Error::invalid(
                "benchmark",
                format!("\"{other}\"; one of conv1d, bank, lif, lif_fused, csr, state-space"),
            ));
        }
    };
    let mut document = json!({
        "name": args.name,
        "device": device.name(),
        "threads": threads,
        "samples": times,
        "median_ms": median(&times),
        "min_ms": times.iter().copied().fold(f64::INFINITY, f64::min),
    });
    if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
        document.extend(more);
    }
    if args.json {
        print_json(&document)
    } else {
        print(&format!("{}: median {:.3} ms on {}\n", args.name, median(&times), device.name()))
    }
}
