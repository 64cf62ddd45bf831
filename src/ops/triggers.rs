//! From coincidence spikes to a list of triggers.

use std::ops::Range;

use super::lif::spike_words;
use crate::kernel::{self, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// The best coincidence of each window of time.
#[derive(Debug, Clone, Copy)]
pub struct Triggers {
    /// `[windows]`: its score, 0 where no coincidence neuron spiked.
    pub score: Tensor<f32>,
    /// `[windows, 4]`: neuron, sample of the first detector's evidence, sample of the second's, sample of the spike.
    pub at: Tensor<u32>,
    /// Windows.
    pub windows: usize,
}

/// Appends, for each `window` samples of `range`, the best spike of `neurons` coincidence neurons: the root of the product
/// of the two detectors' largest evidence within `reach` samples of it. `spikes` is packed `[time, ceil(neurons / 32)]`,
/// `evidence` two tensors `[time, neurons]`.
///
/// # Errors
/// `InvalidArgument` if a length does not fit or the loops would be too long for the device.
pub fn triggers(
    rec: &mut Recording,
    spikes: Tensor<u32>,
    evidence: [Tensor<f32>; 2],
    neurons: usize,
    range: Range<usize>,
    window: usize,
    reach: usize,
) -> Result<Triggers> {
    let words = spike_words(neurons);
    let time = evidence[0].len().checked_div(neurons).unwrap_or(0);
    if time == 0
        || range.is_empty()
        || range.end > time
        || spikes.len() < time * words
        || evidence[1].len() < time * neurons
    {
        let why = format!("samples {range:?} of {time} of {neurons} neurons, {} words of spikes", spikes.len());
        return Err(Error::invalid("triggers", why));
    }
    // Beyond the range there is nothing to look at.
    let (window, reach) = (window.min(range.len()), reach.min(range.len()));
    let loops = (window * neurons).div_ceil(128).saturating_mul(2 * reach + 1);
    if window == 0 || loops > rec.capabilities().max_loop as usize {
        let why = format!("{window} samples of {neurons} neurons with a reach of {reach}; take a shorter window");
        return Err(Error::invalid("triggers", why));
    }
    let windows = range.len().div_ceil(window);
    let score = rec.scratch("trigger score", windows)?;
    let at = rec.scratch("trigger place", windows * 4)?;
    let params = kernel::triggers::Params {
        neurons: neurons as u32,
        words: words as u32,
        first: range.start as u32,
        end: range.end as u32,
        window: window as u32,
        reach: reach as u32,
    };
    let args = kernel::triggers::Args { spikes, a: evidence[0], b: evidence[1], score, where_at: at };
    let work = (range.len() * neurons) as u64 * 2;
    rec.dispatch(kernel::triggers::dispatch(params, args, windows as u64).work(work))?;
    Ok(Triggers { score, at, windows })
}
