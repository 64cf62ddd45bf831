//! Writes the simulated session that comes with the crate, anew and the same every time.
//!
//! `cargo run --release --example make_bundled_session [FILE]`, `assets/decode/simulated_session.npz` by default.

use std::path::PathBuf;

use spikewave::decode::simulate::Simulation;

fn main() -> spikewave::Result<()> {
    let path = std::env::args_os().nth(1).map_or_else(|| "assets/decode/simulated_session.npz".into(), PathBuf::from);
    let (session, events) = Simulation::bundled().session()?;
    session.write(&path)?;
    println!("{}", path.display());
    for event in events {
        println!("  {:.2} to {:.2} s: {:?}", event.start, event.end, event.content);
    }
    Ok(())
}
