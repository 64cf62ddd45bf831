//! Going on after a device was lost.

use super::Device;
use crate::{Error, Result};

/// So many losses are made good within a minute, and within one job.
pub(super) const MOST: usize = 3;

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
    /// Of a software driver's device, whose threads may still be at work, the queue and what that work uses stay in
    /// memory. The native path cannot be lost: there it is a clone.
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
/// runs the job again, three times at most. What happened is logged as a warning.
///
/// The job prepares its recordings itself, for they go with the device, and keeps what it has finished, so that it need
/// not do that again.
///
/// # Errors
/// The job's, other than those; the loss itself where the device cannot be [opened again](Device::reopen), the job has
/// met three before, or the device is the native path, which cannot be lost and would only repeat it.
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
    job: impl FnMut(&Device) -> Result<T>,
) -> Result<T> {
    let again = |device: &mut Device, error: &Error| {
        if matches!(device, Device::Cpu(_)) {
            return Ok(false);
        }
        *device = device.reopen()?;
        told(&Loss { error, device });
        Ok(true)
    };
    repeat(device, again, job)
}

/// Runs a job until it ends by something else than a loss, or has met [`MOST`] that `again` made good and one more.
/// However long each attempt took: a job that kills its device each time must end.
fn repeat<D, T>(
    device: &mut D,
    mut again: impl FnMut(&mut D, &Error) -> Result<bool>,
    mut job: impl FnMut(&D) -> Result<T>,
) -> Result<T> {
    let mut losses = 0;
    loop {
        let error = match job(device) {
            Err(error @ (Error::DeviceLost { .. } | Error::Corrupted { .. })) => error,
            other => return other,
        };
        if losses == MOST {
            let words = format!("after {MOST} other losses under the same job, which is given up");
            return Err(match error {
                Error::DeviceLost { reason } => Error::DeviceLost { reason: format!("{reason}; {words}") },
                Error::Corrupted { detail } => Error::Corrupted { detail: format!("{detail}; {words}") },
                other => other,
            });
        }
        if !again(device, &error)? {
            return Err(error);
        }
        losses += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The device is the number of losses that were made good, and no time passes here.
    #[test]
    fn a_job_that_always_loses_its_device_ends() {
        let mut device = 0;
        let again = |device: &mut usize, _: &Error| {
            *device += 1;
            Ok(true)
        };
        let lost = |at: &usize| Err::<(), _>(Error::DeviceLost { reason: format!("loss {at}") });
        let error = repeat(&mut device, again, lost).unwrap_err().to_string();
        assert!(error.contains("loss 3") && error.contains("given up"), "{error}");
        assert_eq!(device, MOST);
        let corrupted = |_: &usize| Err::<(), _>(Error::Corrupted { detail: "pretended".into() });
        let error = repeat(&mut 0, again, corrupted).unwrap_err();
        assert!(matches!(&error, Error::Corrupted { detail } if detail.contains("pretended; after 3")), "{error}");
        let third = |at: &usize| if *at < MOST { Err(Error::DeviceLost { reason: String::new() }) } else { Ok(*at) };
        assert_eq!(repeat(&mut 0, again, third), Ok(MOST), "three are survived");
    }

    #[test]
    fn what_is_not_made_good_is_handed_back_at_once() {
        let mut attempts = 0;
        let error = Error::Corrupted { detail: "pretended".into() };
        let found = repeat(
            &mut (),
            |(), _| Ok(false),
            |()| {
                attempts += 1;
                Err::<(), _>(error.clone())
            },
        );
        assert_eq!((found, attempts), (Err(error), 1));
        let closed = Error::DeviceLost { reason: "stays closed".into() };
        let lost = || Error::DeviceLost { reason: "first".into() };
        assert_eq!(repeat(&mut (), |(), _| Err(closed.clone()), |()| Err::<(), _>(lost())), Err(closed.clone()));
    }
}
