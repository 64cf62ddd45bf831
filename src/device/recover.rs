//! Going on after a device was lost.

use super::Device;
use crate::{Error, Result};

/// A loss that has been made good: what [`survive_with`] tells before it runs the job again.
#[derive(Debug)]
pub struct Loss<'a> {
    /// What ended the job: `DeviceLost` or `Corrupted`.
    pub error: &'a Error,
    /// The device that takes its place.
    pub device: &'a Device,
}

impl std::fmt::Display for Loss<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.device.name();
        match self.error {
            Error::DeviceLost { reason } => write!(f, "{name} was lost ({reason})"),
            other => write!(f, "{name}: {other}"),
        }?;
        write!(f, "; it is open again, and what was unfinished on it starts over")
    }
}

impl Device {
    /// The same device once more, after it was lost: on the same adapter, or if that is gone with it on what a fresh
    /// look finds under its name, with the options that it was opened with. Kernels that had been asked for are
    /// compiled again in the background. Recordings have to be prepared anew; what states held is lost with the old one.
    ///
    /// The native path cannot be lost: there it is a clone.
    ///
    /// # Errors
    /// As [`open`](Self::open); `DeviceLost` for a device that a host lends, which has to lend the next one, and for one
    /// that was opened again three times within the last minute.
    pub fn reopen(&self) -> Result<Self> {
        match self {
            Self::Cpu(cpu) => Ok(Self::Cpu(cpu.clone())),
            Self::Gpu(gpu) => gpu.reopen().map(Self::Gpu),
        }
    }

    /// How often it has been opened again.
    pub fn generation(&self) -> u32 {
        match self {
            Self::Cpu(_) => 0,
            Self::Gpu(gpu) => gpu.generation(),
        }
    }
}

/// Runs a job; when the device is lost under it, or has reported work that it did not do, opens the device again and
/// runs the job again. What happened is logged as a warning.
///
/// The job prepares its recordings itself, for they go with the device, and keeps what it has finished, so that it need
/// not do that again.
///
/// # Errors
/// The job's, other than those; the loss itself where the device cannot be [opened again](Device::reopen), which is
/// tried three times a minute at most.
pub fn survive<T>(device: &mut Device, job: impl FnMut(&Device) -> Result<T>) -> Result<T> {
    survive_with(device, |loss| log::warn!("{loss}"), job)
}

/// As [`survive`], and calls `told` in place of logging, each time before the job is run again.
///
/// # Errors
/// As [`survive`].
pub fn survive_with<T>(
    device: &mut Device,
    mut told: impl FnMut(&Loss<'_>),
    mut job: impl FnMut(&Device) -> Result<T>,
) -> Result<T> {
    loop {
        let error = match job(device) {
            Err(error @ (Error::DeviceLost { .. } | Error::Corrupted { .. })) => error,
            other => return other,
        };
        *device = device.reopen()?;
        told(&Loss { error: &error, device });
    }
}
