//! Portable GPU kernels for spikes and waveforms: hand-written WGSL, run through wgpu on Vulkan, Metal or DX12, with a
//! fast native twin of every kernel where there is no GPU.
//!
//! [`ops`] append commands to a [`Recording`](recording::Recording), which is plain data: every byte that it needs is
//! known before anything runs. A [`Device`] prepares it once and runs it many times; a run creates nothing on the device.
//!
//! ```
//! use spikewave::device::{Choice, Control, Device, DeviceOptions};
//! use spikewave::ops;
//!
//! # fn main() -> spikewave::Result<()> {
//! let device = Device::open(&DeviceOptions::new(Choice::Cpu))?;
//! let mut rec = device.recording("spectrum");
//! let x = rec.input::<f32>("x", 1024)?;
//! let y = rec.scratch("y", 513)?;
//! ops::rfft(&mut rec, 1024, x, y)?;
//! rec.download(y)?;
//! assert!(rec.plan().peak_bytes() < 100_000);
//!
//! let mut prepared = device.prepare(&rec)?;
//! let out = prepared.run(&[x.feed(&[1.0; 1024])], &Control::default())?;
//! assert_eq!(out.get(y)?[0].re, 1024.0);
//! # Ok(())
//! # }
//! ```
//!
//! - [`device`]: choosing a device, memory budgets, warmup, and lending one of your own ([`device::Gpu::from_wgpu`]).
//! - [`ops`]: transforms, convolutions, reductions, spike encoders, neurons.
//! - [`decode`]: clusterless decoding of position from unsorted spikes.
//! - [`gw`]: gravitational waves, from strain files to the search and the spiking detector.
//! - [`network`]: spiking networks.
//! - [`sweep`]: every kernel on every adapter, how fast and whether right.
//! - [`kernel`]: the contracts that the build step reflects from the shaders.
//!
//! Spikes and integers are the same on every device, bit for bit. Floats repeat on one device, whatever its threads, and
//! agree across devices within stated tolerances. Nothing panics on input, on a lost device or on a failed allocation:
//! see [`Error`].

#![warn(missing_docs)]

pub mod decode;
pub mod device;
mod error;
pub mod gw;
pub mod io;
pub mod kernel;
mod memory;
pub mod network;
pub mod ops;
mod plot;
pub mod random;
pub mod recording;
pub mod sweep;

pub use device::{Device, DeviceOptions};
pub use error::{Error, Result};
pub use wgpu;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// A byte count for people: `1.5 MiB`.
pub fn bytes(n: u64) -> String {
    in_units(n, f64::round)
}

/// The same, no less than the count: what can be given as a budget.
pub fn bytes_at_least(n: u64) -> String {
    in_units(n, f64::ceil)
}

/// In tenths of the largest unit that is not more.
fn in_units(n: u64, round: fn(f64) -> f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{:.1} {}", round(10.0 * value) / 10.0, UNITS[unit]) }
}
