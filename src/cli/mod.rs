//! The program: one file a subcommand. No logic of its own beyond reading arguments and printing results.

mod bench;
mod decode;
mod devices;
mod gw;
mod gw_condition;
mod gw_detect;
mod memory;
mod simulate;
mod sweep;
mod warmup;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use spikewave::device::{CancelToken, Choice, DeviceOptions, parse_size};
use spikewave::{Device, Error, Result};

/// Portable GPU kernels for spikes and waveforms.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the devices of this machine, which one `auto` chooses, and why.
    Devices(devices::Args),
    /// Compiles and tries every kernel, in six stages.
    Warmup(warmup::Args),
    /// Gravitational waves: reads strain, conditions it, and searches it.
    #[command(subcommand)]
    Gw(gw::Command),
    /// Decodes the position of an animal from unsorted spikes. Without a session: the bundled simulated one.
    Decode(Box<decode::Args>),
    /// Simulates a network of spiking neurons.
    Simulate(Box<simulate::Args>),
    /// Runs every kernel on every adapter, checks and times it; or compares such sweeps.
    Sweep(sweep::Args),
    /// Runs one benchmark on the inputs of a peer (see benches/peers/README.md).
    Bench(bench::Args),
}

/// Which device runs it, and within what memory.
#[derive(Debug, Args)]
struct DeviceArgs {
    /// auto, cpu, gpu (hardware only), or part of an adapter's name or driver as `spikewave devices` prints them.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// The most memory to use, such as 512MiB or 2GB.
    #[arg(long, value_name = "SIZE")]
    memory_budget: Option<String>,
    /// Threads of the native path and of shader compilation.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Uses a driver even if it fails a known answer.
    #[arg(long)]
    force: bool,
}

impl DeviceArgs {
    fn options(&self) -> Result<DeviceOptions> {
        Ok(DeviceOptions {
            choice: self.device.parse::<Choice>()?,
            memory_budget: self.memory_budget.as_deref().map(parse_size).transpose()?,
            threads: self.threads,
            force: self.force,
            ..DeviceOptions::default()
        })
    }

    fn open(&self) -> Result<Device> {
        let options = self.options()?;
        Device::open(&options).or_else(|error| match error {
            // A driver that was just reset is there again.
            Error::DeviceLost { reason } => {
                say(&format!("spikewave: the device was lost while it was opened ({reason}); trying once more"));
                Device::open(&options)
            }
            other => Err(other),
        })
    }
}

/// Whether Ctrl-C ends the program at once.
static AT_ONCE: AtomicBool = AtomicBool::new(false);

/// Long work that cannot look at the token of [`interrupt`] and leaves nothing half written: there Ctrl-C ends the program
/// at once.
fn at_once<T>(work: impl FnOnce() -> T) -> T {
    AT_ONCE.store(true, Ordering::Relaxed);
    let result = work();
    AT_ONCE.store(false, Ordering::Relaxed);
    result
}

/// The token that Ctrl-C cancels. A second Ctrl-C ends the program at once.
fn interrupt() -> CancelToken {
    static TOKEN: OnceLock<CancelToken> = OnceLock::new();
    TOKEN
        .get_or_init(|| {
            let token = CancelToken::new();
            let handler = token.clone();
            let installed = ctrlc::set_handler(move || {
                if handler.is_cancelled() || AT_ONCE.load(Ordering::Relaxed) {
                    say(&format!("spikewave: {}", Error::Cancelled));
                    std::process::exit(130);
                }
                handler.cancel();
            });
            if let Err(error) = installed {
                log::warn!("Ctrl-C will not be handled gracefully: {error}");
            }
            token
        })
        .clone()
}

/// Runs a job on a device, and when the device is lost says so, opens it again and runs the job again.
fn survive<T>(device: &mut Device, job: impl FnMut(&Device) -> Result<T>) -> Result<T> {
    spikewave::device::survive_with(device, |loss| say(&format!("spikewave: {loss}")), job)
}

/// A progress bar on a terminal, nothing in a pipe. Shown only when the work takes longer than a blink.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    // Of unknown length until somebody says it: neither done nor soon to be.
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{msg:<28} [{bar:40}] {percent:>3}% {left:>4}") {
        let left = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            _ = if state.pos() == 0 { out.write_str("–") } else { write!(out, "{:#}", HumanDuration(state.eta())) };
        };
        bar.set_style(style.with_key("left", left).progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The most resident memory of this process so far, where the system says it.
fn resident_peak() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Prints a line to standard error; nobody need be there to read it.
fn say(line: &str) {
    _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// `1 block`, `2 blocks`.
fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Prints to standard output; a reader that has gone away is not an error.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::file("standard output", e)),
        _ => Ok(()),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::Internal(e.to_string()))?;
    print(&(text + "\n"))
}

/// The exit status of an error: 2 arguments, 3 input, 4 no such device, 5 memory, 6 the device failed, 130 interrupted.
fn status(error: &Error) -> u8 {
    match error {
        Error::InvalidArgument { .. } | Error::Unsupported { .. } => 2,
        Error::File { .. } => 3,
        Error::NoAdapter { .. } | Error::DriverBroken { .. } => 4,
        Error::OverBudget { .. } | Error::OutOfMemory { .. } => 5,
        Error::DeviceLost { .. } | Error::Corrupted { .. } | Error::Timeout { .. } | Error::Kernel { .. } => 6,
        Error::Cancelled => 130,
        _ => 1,
    }
}

pub fn main() -> ExitCode {
    let mut code = 0;
    let result = match Cli::parse().command {
        Command::Devices(args) => devices::run(&args),
        Command::Warmup(args) => warmup::run(&args).map(|status| code = status),
        Command::Gw(command) => gw::run(&command),
        Command::Decode(args) => decode::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Sweep(args) => sweep::run(&args).map(|status| code = status),
    };
    match result {
        Ok(()) => ExitCode::from(code),
        Err(error) => {
            say(&format!("spikewave: {error}"));
            ExitCode::from(status(&error))
        }
    }
}
