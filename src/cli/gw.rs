//! `spikewave gw …`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use spikewave::device::Control;
use spikewave::gw::bank::Bank;
use spikewave::gw::search::{Search, Templates};
use spikewave::gw::strain::{Strain, TemplateFile};
use spikewave::{Error, Result};

use super::{DeviceArgs, interrupt, print, print_json, progress};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Says what strain files hold: samples, times, quality, gaps.
    Info(InfoArgs),
    /// The power spectral density of a file's noise.
    Psd(PsdArgs),
    /// The distance to which each detector sees a binary of neutron stars.
    Range(InfoArgs),
    /// The stretches of good data.
    Segments(SegmentsArgs),
    /// Whitens strain and writes it as NPY.
    Whiten(WhitenArgs),
    /// Searches the strain of two detectors by matched filter. Without files: the bundled simulated pair.
    Search(SearchArgs),
    /// Searches the strain of two detectors by a spiking detector. Without files: the bundled simulated pair.
    Detect(DetectArgs),
}

#[derive(Debug, Args)]
pub struct InfoArgs {
    /// GWOSC strain files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct PsdArgs {
    /// A GWOSC strain file.
    file: PathBuf,
    /// Seconds of a window.
    #[arg(long, default_value_t = 4.0)]
    window_s: f64,
    /// Combines windows by their median in place of their mean.
    #[arg(long)]
    median: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// Compares with the f64 reference and fails if they differ by more than 3e-4 between 20 and 1800 Hz.
    #[arg(long)]
    check: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct SegmentsArgs {
    /// A GWOSC strain file.
    file: PathBuf,
    /// The quality flag that must be set, by its name in the file.
    #[arg(long)]
    flag: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct WhitenArgs {
    /// A GWOSC strain file.
    file: PathBuf,
    /// official, truncated (inverse spectrum), or minimum-phase (causal).
    #[arg(long, default_value = "official")]
    method: String,
    /// A zero-phase band-pass after it, in Hz, such as 43-300.
    #[arg(long, value_name = "LOW-HIGH")]
    band: Option<String>,
    /// The NPY file to write: one row of f32 samples in units of the noise.
    #[arg(long)]
    output: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
    /// Compares with the f64 reference and fails if they differ by more than 5e-4 between 20 and 1800 Hz.
    #[arg(long)]
    check: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
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
    flag: Option<String>,
}

/// The simulated pair that comes with the program; see assets/gw/README.md.
const BUNDLED: [(&str, &[u8]); 2] = [
    ("bundled H1", include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/gw/H-H1_SIMULATED-1262304000-32.hdf5"))),
    ("bundled L1", include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/gw/L-L1_SIMULATED-1262304000-32.hdf5"))),
];

impl PairArgs {
    fn read(&self) -> Result<[Strain; 2]> {
        match (&self.h1, &self.l1) {
            (Some(h1), Some(l1)) => Ok([Strain::read(h1)?, Strain::read(l1)?]),
            _ => {
                let [a, b] = BUNDLED.map(|(name, bytes)| Strain::from_bytes(name, bytes.to_vec()));
                Ok([a?, b?])
            }
        }
    }
}

#[derive(Debug, Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pair: PairArgs,
    /// A template file: plus and cross polarisation at 1 Mpc.
    #[arg(long, conflicts_with = "bank")]
    template: Option<PathBuf>,
    /// So many chirps of 5 to 80 solar masses. The default, where there is no template file, is 256.
    #[arg(long, value_name = "N")]
    bank: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Draws whitened strain, template, signal-to-noise and time-frequency map as a PNG.
    #[arg(long, value_name = "OUT.png")]
    plot: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct DetectArgs {
    #[command(flatten)]
    pair: PairArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Draws spike rasters, scores and triggers as a PNG.
    #[arg(long, value_name = "OUT.png")]
    plot: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
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
