//! Samples of a network's state.

use crate::kernel::{self, Tensor, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

use super::Bus;

/// Invocations of a workgroup of `shaders/probe.wgsl`.
const GROUP: usize = 256;

/// Chosen words of a state, sampled every so many steps of the network.
#[derive(Debug, Clone, Copy)]
pub struct StateProbe {
    state: Tensor<u32>,
    elements: Tensor<u32>,
    samples: Tensor<u32>,
    interval: u32,
}

impl StateProbe {
    /// A probe of these elements of `state`, which samples after every `interval` steps of the network, counted from
    /// its beginning: where n + 1 is a multiple of `interval` after step n, whose state is that of time (n + 1)·dt.
    ///
    /// # Errors
    /// `InvalidArgument` for no element, one that the state does not have, or an interval of zero; `Unsupported` where
    /// the samples of a recording exceed what the device can bind.
    pub fn new(rec: &mut Recording, bus: &Bus, state: Tensor<u32>, elements: &[u32], interval: u32) -> Result<Self> {
        if interval == 0 {
            return Err(Error::invalid("interval", "0 steps; at least one"));
        }
        if let Some(i) = elements.iter().find(|i| **i as usize >= state.len()) {
            return Err(Error::invalid("elements", format!("{i}; the state has {}", state.len())));
        }
        let rows = bus.steps.div_ceil(interval) as usize;
        let samples = rec.scratch("samples", rows.saturating_mul(elements.len()))?;
        let elements = rec.constant("probed elements", elements)?;
        Ok(Self { state, elements, samples, interval })
    }

    /// Samples after step `k` of the recording, if it is one to be sampled and the clock says that it is carried out.
    ///
    /// # Errors
    /// `InvalidArgument` for a step that the recording does not have.
    pub fn step(&self, rec: &mut Recording, bus: &Bus, k: u32) -> Result<()> {
        bus.has(k)?;
        let n = self.elements.len();
        let params = kernel::probe::Params { k, interval: self.interval, n: n as u32 };
        let args =
            kernel::probe::Args { clock: bus.clock, elements: self.elements, state: self.state, samples: self.samples };
        rec.dispatch(kernel::probe::dispatch(params, args, workgroups(n, GROUP)).work(4 * n as u64))
    }

    /// `[rows, elements]`, words as the state has them. Rows from [`Self::rows`] on hold nothing.
    pub fn samples(&self) -> Tensor<u32> {
        self.samples
    }

    /// How many rows a run of `steps` steps from step `first` of the network on fills.
    pub fn rows(&self, first: u32, steps: u32) -> usize {
        (first.saturating_add(steps) / self.interval - first / self.interval) as usize
    }
}
