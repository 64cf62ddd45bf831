//! What a device can do at most, by a kernel that only copies and one that only multiplies and adds.

use std::time::Duration;

use super::cases::{self, Problem};
use crate::device::gpu::Quirk;
use crate::device::{Control, Feed, Outputs, Prepared};
use crate::{Device, Error, Result};

/// Runs of each kernel, of which the fastest counts.
const RUNS: usize = 7;
/// Elements of the copy: far more than caches hold, and what the smallest devices can bind.
const COPIED: [usize; 2] = [1 << 24, 1 << 20];
/// Links of chains to begin with, and at most, and how long they should take.
const LINKS: (usize, usize) = (16, 1 << 16);
const ENOUGH: Duration = Duration::from_millis(10);

/// How long a run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    /// The kernels alone: on the native path by the wall clock, else by timestamps if the device has usable ones.
    pub kernels: Option<Duration>,
    /// From the call to the results.
    pub wall: Duration,
}

/// Whether a device's timestamps can be used.
pub(super) fn clock(device: &Device) -> Option<&'static str> {
    match device {
        Device::Cpu(_) => Some("wall clock"),
        Device::Gpu(gpu) if gpu.quirks().contains(&Quirk::NoTimestamps) => None,
        Device::Gpu(_) => Some("timestamps"),
    }
}

/// Runs a recording and says how long it took.
pub(super) fn timed(
    device: &Device,
    prepared: &mut Prepared,
    feeds: &[Feed<'_>],
    control: &Control<'_>,
) -> Result<(Outputs, Took)> {
    if matches!(device, Device::Cpu(_)) {
        let (outputs, kernels) = prepared.profile(feeds, control)?;
        let took = Took { kernels: Some(kernels.iter().map(|k| k.time).sum()), wall: outputs.timing().wall };
        return Ok((outputs, took));
    }
    let outputs = prepared.run(feeds, control)?;
    let timing = outputs.timing();
    let took = Took { kernels: timing.device.filter(|_| clock(device).is_some()), wall: timing.wall };
    Ok((outputs, took))
}

/// GB/s of a copy and GFLOP/s of multiply-adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ceilings {
    pub bandwidth: f64,
    pub arithmetic: f64,
}

fn problem(device: &Device, case: &str, size: usize) -> Result<Problem> {
    let case = cases::find(case).ok_or_else(|| Error::Internal(format!("no case {case}")))?;
    case.problem(device.capabilities(), size, case.variants[0])
}

/// The fastest of several runs.
fn fastest(device: &Device, problem: &Problem, control: &Control<'_>) -> Result<Duration> {
    let mut prepared = device.prepare(&problem.recording)?;
    let mut best = Duration::MAX;
    for _ in 0..=RUNS {
        let (_, took) = timed(device, &mut prepared, &problem.feeds(), control)?;
        best = best.min(took.kernels.unwrap_or(took.wall));
    }
    Ok(best.max(Duration::from_nanos(1)))
}

/// Measures a device.
pub(super) fn measure(device: &Device, control: &Control<'_>) -> Result<Ceilings> {
    let mut bandwidth = Err(Error::Internal("no copy".into()));
    for elements in COPIED {
        bandwidth = problem(device, "ceiling_copy", elements)
            .and_then(|p| Ok(p.bytes as f64 / fastest(device, &p, control)?.as_nanos() as f64));
        match &bandwidth {
            Err(Error::Unsupported { .. } | Error::OverBudget { .. } | Error::OutOfMemory { .. }) => {}
            _ => break,
        }
    }
    let mut links = LINKS.0;
    let arithmetic = loop {
        let p = problem(device, "ceiling_multiply_add", links)?;
        let best = fastest(device, &p, control)?;
        if best >= ENOUGH || links >= LINKS.1 / 2 {
            break p.operations as f64 / best.as_nanos() as f64;
        }
        let more = (ENOUGH.as_secs_f64() / best.as_secs_f64()).ceil().clamp(2.0, 16.0) as usize;
        links = (links * more).min(LINKS.1 / 2);
    };
    Ok(Ceilings { bandwidth: bandwidth?, arithmetic })
}
