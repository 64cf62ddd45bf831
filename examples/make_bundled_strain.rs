//! Writes the simulated pair of strain files that comes with the crate, anew and the same every time.
//!
//! `cargo run --release --example make_bundled_strain [FOLDER]`, `assets/gw` by default.

use std::path::PathBuf;

use spikewave::gw::synthetic::{HANFORD, LIVINGSTON, Simulation};

fn main() -> spikewave::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("assets/gw"), PathBuf::from);
    let simulation = Simulation::bundled();
    for site in [HANFORD, LIVINGSTON] {
        let path = folder.join(simulation.file_name(&site));
        simulation.strain(&site)?.write(&path)?;
        println!("{}", path.display());
        if let Some(injection) = &simulation.injection {
            println!("  {}: merger at GPS {:.4}", site.detector, injection.gps_time_at(&site));
        }
    }
    Ok(())
}
