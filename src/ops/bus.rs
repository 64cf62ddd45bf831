//! What the kernels of a spiking network share: the clock, the ring of synaptic input, spikes.
//!
//! **Indices.** The neurons of all populations have one index space; each population begins at a multiple of 32, so
//! that its spikes begin in a word of their own. `stride` is the length of that space, a multiple of 32.
//!
//! **Time.** A recording holds `steps` steps. The clock, an input of every run, says which step of the network the first
//! of them is and how many of them are carried out; kernels do nothing in the steps behind.
//!
//! **Input.** The ring has a slot for every step of delay, and in it a sum for each plane and neuron, in whole units of
//! `2^-exponent` of the population (i32 by its bits). A spike of step n with a delay of d steps is added to slot
//! `(n + d) % slots`; the neuron takes slot `n % slots` at the end of step n and leaves zero. Sums of integers do not
//! depend on their order, so that every device and any number of threads get the same.

use crate::kernel::Tensor;
use crate::recording::Recording;
use crate::{Error, Result};

/// Longest delay of a synapse in steps.
pub const MAX_DELAY: u32 = 255;

/// The tensors that the kernels of one network's recording share.
#[derive(Debug, Clone, Copy)]
pub struct Bus {
    /// `[first step, steps of this run, seed (low), seed (high)]`; fed at every run.
    pub clock: Tensor<u32>,
    /// `[slots][planes][stride]`; a state.
    pub ring: Tensor<u32>,
    /// `[planes][steps][stride]`, input of each step in the units of the ring; `None` where nothing drives neurons
    /// beside synapses. Zero where no input has been written.
    pub drive: Option<Tensor<i32>>,
    /// The number of spikes of each of the recording's steps, then the indices of the neurons of one step's spikes:
    /// `[steps][stride]` in one piece, `steps + stride` words. On a GPU their order is arbitrary.
    pub spikes: Tensor<u32>,
    /// `[steps][stride / 32]`: bit n % 32 of word n / 32 is the spike of neuron n.
    pub raster: Tensor<u32>,
    /// Length of the index space of neurons.
    pub stride: u32,
    /// Slots of the ring, a power of two above the longest delay.
    pub slots: u32,
    /// 1: excitatory and inhibitory input are added up. 2: plane 0 holds positive, plane 1 negative weights.
    pub planes: u32,
    /// Steps of the recording.
    pub steps: u32,
}

impl Bus {
    /// Makes the tensors.
    ///
    /// # Errors
    /// `InvalidArgument` for a stride that is not a multiple of 32, a delay above [`MAX_DELAY`], other than 1 or 2
    /// planes, no step, or more steps than 32-bit indices reach; `Unsupported` where a tensor exceeds what the device can bind.
    pub fn new(
        rec: &mut Recording,
        stride: u32,
        steps: u32,
        max_delay: u32,
        planes: u32,
        driven: bool,
    ) -> Result<Self> {
        if stride == 0 || !stride.is_multiple_of(32) {
            return Err(Error::invalid("stride", format!("{stride}; a positive multiple of 32")));
        }
        if max_delay == 0 || max_delay > MAX_DELAY {
            return Err(Error::invalid("delay", format!("{max_delay} steps; from 1 to {MAX_DELAY}")));
        }
        if !(1..=2).contains(&planes) {
            return Err(Error::invalid("planes", format!("{planes}; 1 or 2")));
        }
        if steps == 0 {
            return Err(Error::invalid("steps", "0; at least one"));
        }
        let slots = (max_delay + 1).next_power_of_two();
        // Kernels count elements in 32 bits.
        let rows = if driven { u64::from(planes) * u64::from(steps) } else { steps.into() };
        if rows.max((slots * planes).into()) * u64::from(stride) > u32::MAX.into() {
            let why = format!("{steps} steps of {stride} neurons have more than 2^32 elements: record fewer steps");
            return Err(Error::invalid("steps", why));
        }
        let plane = stride as usize;
        let clock = rec.input("clock", 4)?;
        let ring = rec.state("ring", &vec![0u32; slots as usize * planes as usize * plane])?;
        let drive = if driven {
            let drive = rec.scratch("drive", planes as usize * steps as usize * plane)?;
            rec.clear(drive)?;
            Some(drive)
        } else {
            None
        };
        let spikes = rec.scratch("spikes", steps as usize + plane)?;
        rec.clear(spikes)?;
        let raster = rec.scratch("raster", steps as usize * plane / 32)?;
        rec.clear(raster)?;
        Ok(Self { clock, ring, drive, spikes, raster, stride, slots, planes, steps })
    }

    /// Checks that the recording has a step `k`.
    pub(super) fn has(&self, k: u32) -> Result<()> {
        if k >= self.steps {
            return Err(Error::invalid("step", format!("{k} of a recording of {} steps", self.steps)));
        }
        Ok(())
    }

    /// The clock's content for a run of `steps` steps from step `first` on.
    pub fn clock(first: u32, steps: u32, seed: u64) -> [u32; 4] {
        [first, steps, seed as u32, (seed >> 32) as u32]
    }
}
