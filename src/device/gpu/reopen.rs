//! Opening a device of our own again after it was lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{AdapterReport, Gpu};
use crate::device::recover::MOST;
use crate::device::{Choice, DeviceOptions};
use crate::{Error, Result};

/// A device that is lost more often than [`MOST`] times within this stays closed.
const WITHIN: Duration = Duration::from_secs(60);

/// Where a device of our own came from.
#[derive(Debug)]
pub(super) struct Origin {
    adapter: wgpu::Adapter,
    /// As it was listed.
    pub(super) about: AdapterReport,
    /// When it was opened again, of late.
    reopened: Vec<Instant>,
}

impl Origin {
    pub(super) fn new(adapter: &wgpu::Adapter, about: &AdapterReport) -> Self {
        Self { adapter: adapter.clone(), about: about.clone(), reopened: Vec::new() }
    }
}

impl Gpu {
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
        let mut gpu = Self::from_adapter(&origin.adapter, &origin.about, &self.shared.options).or_else(|_| {
            let about = self.adapter();
            let open = |name| Self::open(&DeviceOptions { choice: Choice::Named(name), ..self.shared.options.clone() });
            // What told it from another of its name may have changed with that.
            open(about.choose_by()).or_else(|_| open(AdapterReport { distinction: None, ..about }.choose_by()))
        })?;
        gpu.reason = self.reason.clone();
        reopened.push(Instant::now());
        let shared = Arc::get_mut(&mut gpu.shared).ok_or_else(|| Error::Internal("the device is in use".into()))?;
        shared.options = self.shared.options.clone();
        if let Some(new) = &mut shared.origin {
            new.reopened = reopened;
        }
        gpu.generation = self.generation + 1;
        gpu.request(&asked)?;
        Ok(gpu)
    }
}
