//! Finds a binary merger in the strain of two detectors: the library's first job, in one page.
//!
//! ```text
//! cargo run --release --example find_gravitational_wave [H1.hdf5 L1.hdf5 [DEVICE]]
//! ```
//!
//! Without arguments: the simulated pair under `assets/gw`. DEVICE is auto (default), cpu, gpu or part of an adapter's name.

use std::path::PathBuf;

use spikewave::device::{Control, Device, DeviceOptions};
use spikewave::gw::bank::Bank;
use spikewave::gw::search::{Search, Templates};
use spikewave::gw::strain::Strain;
use spikewave::{Error, Result};

const BUNDLED: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/assets/gw/H-H1_SIMULATED_4_V1-1400000000-32.hdf5"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/assets/gw/L-L1_SIMULATED_4_V1-1400000000-32.hdf5"),
];

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [h1, l1] = match args.as_slice() {
        [] => BUNDLED.map(PathBuf::from),
        [h1, l1, ..] => [h1, l1].map(PathBuf::from),
        [_] => return Err(Error::invalid("arguments", "one file; give both detectors' files, or none")),
    };
    let choice = args.get(2).map_or("auto", String::as_str).parse()?;

    let strains = [Strain::read(h1)?, Strain::read(l1)?];
    // 256 inspiral-merger-ringdown chirps, component masses from 5 to 80 solar masses.
    let templates = Templates::Bank(Bank::new(256)?);
    let device = Device::open(&DeviceOptions::new(choice))?;
    println!("on {} ({})", device.name(), device.reason());

    // Everything that needs memory or compilation happens here, within the device's budget.
    let mut search = Search::new(&device, [&strains[0], &strains[1]], &templates, None)?;
    // The run then creates nothing on the device. `Control` could cancel it, bound its time or watch it.
    let result = search.run(&Control::default(), &|_, _| ())?;

    for (name, found) in result.names.iter().zip(&result.found) {
        println!("{name}: signal-to-noise ratio {:6.3}, merger at GPS {:.4}", found.snr, found.gps_time);
    }
    println!(
        "together {:.2}, {} arrives {:+.2} ms after {}",
        result.network_snr, result.names[1], result.delay_ms, result.names[0]
    );
    let [mass1, mass2] = result.template.masses;
    println!("best of {} templates: {mass1:.1} + {mass2:.1} solar masses", templates.count());
    println!(
        "{:.0} template-seconds a second, {} of memory",
        result.template_seconds / result.run_s,
        spikewave::bytes(result.peak_bytes)
    );
    Ok(())
}
