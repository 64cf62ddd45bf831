//! Whitens a strain file on the best device of this machine and says how loud its loudest second is.
//!
//! ```text
//! cargo run --release --example whiten_strain -- FILE.hdf5 OUT.npy [LOW_HZ HIGH_HZ]
//! ```
//!
//! Without arguments: the bundled simulated file, 43 to 300 Hz, nothing written.

use std::path::PathBuf;

use spikewave::device::{Control, Device, DeviceOptions};
use spikewave::gw::condition;
use spikewave::gw::filter::Filter;
use spikewave::gw::spectrum::Welch;
use spikewave::gw::strain::Strain;
use spikewave::gw::whiten::Method;
use spikewave::{Error, Result};

const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/gw/H-H1_SIMULATED_4_V1-1400000000-32.hdf5");

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let file = args.next().map_or(PathBuf::from(BUNDLED), PathBuf::from);
    let output = args.next();
    let mut corner = |otherwise: f64| match args.next() {
        Some(text) => text.parse().map_err(|_| Error::invalid("frequency", format!("\"{text}\" is not a number"))),
        None => Ok(otherwise),
    };
    let (low, high) = (corner(43.0)?, corner(300.0)?);

    let strain = Strain::read(file)?;
    let rate = strain.sample_rate_hz;
    let segments = strain.segments(None)?;
    let device = Device::open(&DeviceOptions::default())?;
    let control = Control::default();

    // The noise's density, then the strain divided by its root, segment by segment; both on the device.
    let psd = condition::psd(&device, &strain, &segments, &Welch::official(rate), &control)?;
    println!("{} on {}: {:.1e} per root Hz at 100 Hz", strain.detector, device.name(), psd.asd(100.0));
    let method = Method::Truncated { duration_s: 4.0, high_pass_hz: 20.0 };
    let whitened = condition::whiten(&device, &strain, &segments, &psd, method, &control)?;

    let band = Filter::band_pass(4, low, high, rate)?;
    let mut all: Vec<f32> = Vec::new();
    let mut loudest = (0.0, 0.0);
    for part in &whitened {
        let wide: Vec<f64> = part.values.iter().map(|v| f64::from(*v)).collect();
        let filtered = band.zero_phase(&wide)?;
        for (second, values) in filtered.chunks(rate as usize).enumerate() {
            let peak = values.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
            if peak > loudest.0 {
                loudest = (peak, strain.gps_start + part.start as f64 / rate + second as f64);
            }
        }
        all.extend(filtered.iter().map(|v| *v as f32));
    }
    println!("loudest from {low} to {high} Hz: {:.2} within a second of GPS {:.3}", loudest.0, loudest.1);
    if let Some(output) = output {
        spikewave::io::npy::write(&output, &[all.len()], &all)?;
        println!("{} samples written to {output}", all.len());
    }
    Ok(())
}
