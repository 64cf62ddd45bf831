//! Portable GPU kernels for spikes and waveforms.

#![warn(missing_docs)]

pub mod device;
mod error;
pub mod gw;
pub mod io;
pub mod kernel;
pub mod ops;
pub mod random;
pub mod recording;

pub use device::{Device, DeviceOptions};
pub use error::{Error, Result};
pub use wgpu;

/// A byte count for people: `1.5 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
