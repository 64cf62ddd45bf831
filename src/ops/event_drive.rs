//! From spike trains to the input of neurons.

use super::event_words;
use crate::kernel::{self, Tensor, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

/// Appends y\[t, k\] = Σ_r weight\[r\]·spike(k·rows + r, t) for the packed trains `events` `[neurons · rows, ceil(time / 32)]`
/// of an encoder, `rows = weight.len()` of them a neuron; returns y `[time, neurons]`, as a population takes its drive.
///
/// # Errors
/// `InvalidArgument` if a length does not fit, or for more trains a neuron than the device's loops may visit.
pub fn event_drive(
    rec: &mut Recording,
    events: Tensor<u32>,
    neurons: usize,
    time: usize,
    weight: &[f32],
) -> Result<Tensor<f32>> {
    let (rows, words) = (weight.len(), event_words(time));
    let most = rec.capabilities().max_loop as usize / 33;
    if rows > most {
        return Err(Error::invalid("event weights", format!("{rows}; at most {most} trains a neuron on this device")));
    }
    let size = rows.checked_mul(words).and_then(|n| n.checked_mul(neurons));
    if neurons == 0 || time == 0 || Some(events.len()) != size {
        let why = format!("{} words for {neurons} neurons × {rows} trains × {words}", events.len());
        return Err(Error::invalid("events", why));
    }
    let y = rec.scratch("drive", time * neurons)?;
    let weight = rec.constant("event weights", weight)?;
    let params = kernel::event_drive::Params {
        neurons: neurons as u32,
        rows: rows as u32,
        time: time as u32,
        words: words as u32,
    };
    let args = kernel::event_drive::Args { events, weight, y };
    let work = (time * neurons * rows) as u64;
    rec.dispatch(kernel::event_drive::dispatch(params, args, workgroups(words * neurons, 64)).work(work))?;
    Ok(y)
}
