//! Opening a device of our own again after it was lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Gpu;
use crate::device::{Choice, DeviceOptions};
use crate::{Error, Result};

/// A device that is lost more often than so many times within [`WITHIN`] stays closed.
const MOST: usize = 3;
const WITHIN: Duration = Duration::from_secs(60);

/// How a device was opened, and its past.
#[derive(Debug)]
pub(super) struct Origin {
    adapter: wgpu::Adapter,
    options: DeviceOptions,
    generation: u32,
    /// When it was opened again, of late.
    reopened: Vec<Instant>,
}

impl Gpu {
    /// How often the device has been opened again: 0 at first, and always for a lent one.
    pub fn generation(&self) -> u32 {
        self.shared.origin.as_ref().map_or(0, |origin| origin.generation)
    }

    /// Makes it a device of our own.
    pub(super) fn own(&mut self, adapter: &wgpu::Adapter, options: &DeviceOptions) -> Result<()> {
        let shared = Arc::get_mut(&mut self.shared).ok_or_else(|| Error::Internal("the device is in use".into()))?;
        let (adapter, options) = (adapter.clone(), options.clone());
        shared.origin = Some(Origin { adapter, options, generation: 0, reopened: Vec::new() });
        shared.poll = true;
        Ok(())
    }

    /// As [`crate::Device::reopen`].
    pub(in crate::device) fn reopen(&self) -> Result<Self> {
        let lost = |why: &str| {
            let found = self.shared.health.check().err();
            let reason = match found {
                Some(Error::DeviceLost { reason }) => format!("{reason}; "),
                _ => String::new(),
            };
            Error::DeviceLost { reason: format!("{reason}{why}") }
        };
        let Some(origin) = &self.shared.origin else {
            return Err(lost("it is the host application's, which lends the next one"));
        };
        let mut reopened = origin.reopened.clone();
        reopened.retain(|at| at.elapsed() < WITHIN);
        if reopened.len() >= MOST {
            return Err(lost("it was lost again and again within a minute and stays closed"));
        }
        let asked = self.shared.pipelines.asked();
        self.trim();
        // A driver that was reset, or a GPU that was plugged in again, may be seen by a new instance only.
        let mut gpu = Self::from_adapter(&origin.adapter, &origin.options).or_else(|_| {
            let choice = Choice::Named(self.adapter().choose_by());
            Self::open(&DeviceOptions { choice, ..origin.options.clone() })
        })?;
        gpu.reason = self.reason.clone();
        reopened.push(Instant::now());
        let shared = Arc::get_mut(&mut gpu.shared).ok_or_else(|| Error::Internal("the device is in use".into()))?;
        if let Some(new) = &mut shared.origin {
            (new.generation, new.reopened) = (origin.generation + 1, reopened);
            new.options = origin.options.clone();
        }
        gpu.request(&asked)?;
        Ok(gpu)
    }
}
