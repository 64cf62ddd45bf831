//! `spikewave sweep`.

use std::path::{Path, PathBuf};

use spikewave::sweep::{self, Config, Options, Summary};
use spikewave::{Error, Result};

use super::{interrupt, print, print_json, progress, say};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to sweep over: a RON file as those of assets/sweeps.
    #[arg(required = true, value_name = "CONFIG.ron")]
    config: Option<PathBuf>,
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
}

/// The exit status.
pub fn run(args: &Args) -> Result<u8> {
    match &args.command {
        Some(Command::Compare(args)) => compare(args),
        Some(Command::Agreement(args)) => agreement(&args.folders),
        None => sweep(args),
    }
}

/// The folder that belongs to a configuration.
fn folder_of(config: &Path) -> PathBuf {
    format!("sweep-{}", config.file_stem().unwrap_or_default().to_string_lossy()).into()
}

fn sweep(args: &Args) -> Result<u8> {
    let Some(path) = &args.config else { return Err(Error::invalid("arguments", "no configuration is given")) };
    let mut config = Config::from_ron(path)?;
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

fn agreement(folders: &[PathBuf]) -> Result<u8> {
    let table = sweep::agreement(folders)?;
    print(&table.markdown())?;
    for (column, missing) in table.missing() {
        say(&format!("{column}: no point dispatches {}", missing.join(", ")));
    }
    Ok(u8::from(!table.is_right()))
}
