//! Neurons that fire by themselves: parameter and state rows of `shaders/poisson_source.wgsl` and
//! `shaders/spike_source.wgsl`.

use super::{Description, NeuronPopulation, Row, Setting};
use crate::ops::{MAX_POISSON_MEAN, PoissonTable};
use crate::{Error, Result};

/// Neurons that fire with probability `1 − exp(−rate·dt)` a step: where a uniform word of 32 bits is below that.
///
/// Neuron i of the population takes word i % 4 of Philox4x32-10 of the counter `[step, i / 4, stream, tag]`.
pub(super) fn poisson(rate: f64, stream: u32, p: &NeuronPopulation, setting: &Setting) -> Result<Description> {
    no_membrane(p)?;
    if !(rate >= 0.0 && rate.is_finite()) {
        return Err(Error::invalid("rate", format!("{rate} spikes/s; a number from 0 on")));
    }
    let none = PoissonTable::new((rate * setting.dt * 1e-3).min(MAX_POISSON_MEAN))?;
    let limit = match none.thresholds.first() {
        _ if none.base > 0 => u32::MAX,
        // 2^32 less the threshold, which is not zero.
        Some(threshold) => threshold.wrapping_neg(),
        None => 0,
    };
    Ok(Description { parameters: vec![Row::Shared(limit), Row::Shared(stream)], ..Description::default() })
}

/// Neurons that fire at listed steps.
pub(super) fn listed(steps: &[Vec<u32>], p: &NeuronPopulation) -> Result<Description> {
    no_membrane(p)?;
    if steps.len() != p.size as usize {
        let why = format!("{} lists for {} neurons; one each", steps.len(), p.size);
        return Err(Error::invalid("spike source", why));
    }
    let (mut lists, mut ends, mut next) = (Vec::new(), Vec::new(), Vec::new());
    let mut cursors = Vec::new();
    for (neuron, steps) in steps.iter().enumerate() {
        if let Some(w) = steps.windows(2).find(|w| w[0] >= w[1]) {
            let why = format!("neuron {neuron} has step {} behind step {}; they must ascend", w[1], w[0]);
            return Err(Error::invalid("spike source", why));
        }
        if steps.last() == Some(&u32::MAX) {
            return Err(Error::invalid(
                "spike source",
                format!("neuron {neuron} has a step beyond the last, 2^32 - 2"),
            ));
        }
        cursors.push(lists.len() as u32 + 1);
        next.push(*steps.first().unwrap_or(&u32::MAX));
        lists.extend(steps);
        let Ok(end) = u32::try_from(lists.len()) else {
            return Err(Error::invalid("spike source", "more than 2^32 spikes in one population"));
        };
        ends.push(end);
    }
    let state = vec![Row::Each(cursors), Row::Each(next)];
    Ok(Description { parameters: vec![Row::Each(ends)], state, lists, ..Description::default() })
}

fn no_membrane(p: &NeuronPopulation) -> Result<()> {
    match p.v_initial {
        None => Ok(()),
        Some(_) => Err(Error::invalid("v_initial", "a source of spikes has no membrane")),
    }
}
