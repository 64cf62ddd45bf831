//! `spikewave sweep`.

use std::path::{Path, PathBuf};

use serde_json::json;
use spikewave::sweep::cases::{self, Case};
use spikewave::sweep::{self, Config, Options, Summary};
use spikewave::{Error, Result};

use super::{interrupt, print, print_json, progress, say};

/// What a configuration can look like.
const EXAMPLE: &str = "\
A configuration; all but `kernels` may be left out:
(
    adapters: [\"all\"], // and \"cpu\", \"gpu\", or parts of names
    kernels: [
        (kernel: \"fft\", sizes: [4096, 65536], variants: [\"forward\"]),
        (kernel: \"gemm\"), // in all sizes and variants
        (kernel: \"all\", smallest: true),
    ],
    builds: [unchecked, specialised], // and checked
    samples: 9,
    warmup: 2,
    control_band: 0.1,
    memory_budget: \"2GB\",
    threads: 2,
    force: false,
)";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLE)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to sweep over: quick (under 2 minutes on 2 cores), full (every case), lanes (every case once, untimed), or a
    /// RON file as below.
    #[arg(required_unless_present = "list", value_name = "CONFIG")]
    config: Option<PathBuf>,
    /// Lists kernels with their sizes and variants, instead of running them.
    #[arg(long)]
    list: bool,
    /// The folder for points.jsonl, report.md and pictures; a sweep that was left off there goes on. [default:
    /// sweep-NAME in the current folder, for a configuration NAME.ron]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Runs on these adapters in place of the configuration's: all, cpu, gpu, or part of a name. May be given again.
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Says which points of the sweep B are slower or faster than in A beyond the noise.
    Compare(Compare),
    /// Prints a table of kernels and sweeps: which agree with the native path.
    Agreement(Agreement),
}

#[derive(Debug, clap::Args)]
struct Compare {
    /// The folder of a sweep.
    a: PathBuf,
    /// The folder of a later one.
    b: PathBuf,
    /// Exits with status 1 if something is slower, not right any more or missing, or if that cannot be told: nothing to
    /// compare, controls that do not hold, points slower by no more than the machine itself became.
    #[arg(long)]
    fail_on_slower: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Agreement {
    /// Folders of sweeps, or of other programs' points.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// The exit status.
pub fn run(args: &Args) -> Result<u8> {
    match &args.command {
        Some(Command::Compare(args)) => compare(args),
        Some(Command::Agreement(args)) => agreement(args),
        None if args.list => list(args.json),
        None => sweep(args),
    }
}

/// Every case.
fn list(json: bool) -> Result<u8> {
    if json {
        let case = |c: &Case| json!({ "kernel": c.name, "sizes": c.sizes, "unit": c.unit, "variants": c.variants });
        print_json(&cases::ALL.iter().map(case).collect::<Vec<_>>())?;
        return Ok(0);
    }
    let mut text = String::new();
    for Case { name, sizes, unit, variants, .. } in cases::ALL {
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        let variants = if variants.len() == 1 { String::new() } else { format!("; {}", variants.join(", ")) };
        text += &format!("{name:<22} {} {unit}{variants}\n", sizes.join(", "));
    }
    print(&text)?;
    Ok(0)
}

/// The configuration of this name or in this file.
fn read(path: &Path) -> Result<Config> {
    if let Some(config) = path.to_str().and_then(Config::built_in) {
        return Ok(config);
    }
    if !path.exists() {
        let names: Vec<&str> = sweep::BUILT_IN.iter().map(|(name, _)| *name).collect();
        return Err(Error::file(path, format_args!("there is no such file, nor is it one of {}", names.join(", "))));
    }
    Config::from_ron(path)
}

/// The line of a configuration that names an adapter, for people.
fn line_of(path: &Path, adapter: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().position(|line| line.contains(&format!("\"{adapter}\"")))?;
    Some(format!("{}: line {} names \"{adapter}\", which is not here", path.display(), line + 1))
}

/// The folder that belongs to a configuration.
fn folder_of(config: &Path) -> PathBuf {
    format!("sweep-{}", config.file_stem().unwrap_or_default().to_string_lossy()).into()
}

fn sweep(args: &Args) -> Result<u8> {
    let Some(path) = &args.config else { return Err(Error::invalid("arguments", "no configuration is given")) };
    let mut config = read(path)?;
    if !args.device.is_empty() {
        config.adapters.clone_from(&args.device);
    }
    let folder = args.output.clone().unwrap_or_else(|| folder_of(path));
    let bar = progress();
    let notice = |text: &str| bar.suspend(|| say(text));
    let report = |done: usize, all: usize, next: &str| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_message(next.to_owned());
    };
    let options = Options { cancel: interrupt(), progress: Some(&report), notice: Some(&notice), ..Options::default() };
    let result = sweep::run(&config, &folder, &options);
    bar.finish_and_clear();
    if result == Err(Error::Cancelled) {
        say(&format!("stopped; the same command goes on in {}", folder.display()));
    }
    if let Err(Error::NoAdapter { wanted, .. }) = &result
        && args.device.is_empty()
        && let Some(line) = line_of(path, wanted)
    {
        say(&line);
    }
    let summary = result?;
    if args.json {
        print_json(&summary)?;
    } else {
        print(&text(&summary))?;
    }
    Ok(u8::from(!summary.is_right()))
}

fn text(summary: &Summary) -> String {
    let Summary { right, wrong, failed, refused, untrusted, before, files } = summary;
    let points = if *right == 1 { "point is" } else { "points are" };
    let mut text = format!("{right} {points} right");
    for (n, what) in [(wrong.len(), "wrong"), (failed.len(), "failed"), (refused.len(), "refused")] {
        if n > 0 {
            text += &format!(", {n} {what}");
        }
    }
    if *before > 0 {
        text += &format!(" ({before} in all were there already)");
    }
    text.push('\n');
    for (what, lines) in
        [("WRONG", wrong), ("FAILED", failed), ("refused", refused), ("TIMES NOT TO BE TRUSTED", untrusted)]
    {
        for line in lines {
            text += &format!("{what}: {line}\n");
        }
    }
    for file in files {
        text += &format!("written: {}\n", file.display());
    }
    text
}

fn compare(args: &Compare) -> Result<u8> {
    let comparison = sweep::compare(&args.a, &args.b)?;
    if args.json {
        print_json(&comparison)?;
    } else {
        print(&comparison.text())?;
    }
    let objections = comparison.objections();
    if args.fail_on_slower && !objections.is_empty() {
        say(&objections.join("; "));
    }
    Ok(u8::from(args.fail_on_slower && !objections.is_empty()))
}

fn agreement(args: &Agreement) -> Result<u8> {
    let table = sweep::agreement(&args.folders)?;
    if args.json {
        print_json(&table.json())?;
        return Ok(u8::from(!table.is_right()));
    }
    print(&table.markdown())?;
    say(
        "✓ the same bits as the native path's; a number: how far the cases that dispatch the kernel are apart at most, in \
         units of what each allows",
    );
    for (at, column) in table.columns().iter().enumerate() {
        let about = [&*column.folder, &*column.adapter, &*column.driver];
        let about: Vec<&str> = about.into_iter().filter(|text| !text.is_empty()).collect();
        say(&format!("{}: {}", column.name, about.join(", ")));
        let missing = table.missing(at);
        if !missing.is_empty() {
            let names = if missing.len() > 8 { String::new() } else { format!(": {}", missing.join(", ")) };
            say(&format!("  no point dispatches {} of the kernels{names}", missing.len()));
        }
    }
    Ok(u8::from(!table.is_right()))
}
