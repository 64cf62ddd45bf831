//! Spike-timing-dependent plasticity.

use serde::{Deserialize, Serialize};

use super::synapses::Rows;
use super::{Delays, Targets};
use crate::{Error, Result};

/// Pair-based spike-timing-dependent plasticity with exponential traces of all spikes.
///
/// Times are those at which neurons fire; the delay is that of the current alone. At a spike of the source: the weight
/// of before is transmitted, and then falls by `a_minus·y`, y the target's trace; at a spike of the target it rises by
/// `a_plus·x`, x the source's trace. Traces fall with `tau_minus` and `tau_plus`, and rise by one with each spike after
/// weights have been changed, so that spikes in the same step do not pair. Weights stay from `w_min` to `w_max`.
///
/// In full, for step n, with trace x of each source and y of each target:
/// 1. `x ← x·exp(−dt/tau_plus)`, `y ← y·exp(−dt/tau_minus)`.
/// 2. For each synapse whose source spikes in step n: its weight is transmitted, to arrive after its delay; then
///    `w ← clamp(w − a_minus·y)`.
/// 3. For each synapse whose target spikes in step n: `w ← clamp(w + a_plus·x)`.
/// 4. `x ← x + 1` of each source, `y ← y + 1` of each target that spikes in step n.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stdp {
    /// Time constant of potentiation, ms.
    pub tau_plus: f64,
    /// Time constant of depression, ms.
    pub tau_minus: f64,
    /// Amplitude of potentiation.
    pub a_plus: f64,
    /// Amplitude of depression.
    pub a_minus: f64,
    /// Lower bound of weights.
    pub w_min: f64,
    /// Upper bound of weights.
    pub w_max: f64,
    /// How changes depend on the weight.
    #[serde(default)]
    pub rule: StdpRule,
}

/// How changes depend on the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StdpRule {
    /// They do not: amplitudes are in units of the weight.
    #[default]
    Additive,
    /// Potentiation by `a_plus·(w_max − w)`, depression by `a_minus·(w − w_min)`.
    Multiplicative,
}

impl Stdp {
    /// Checks that every parameter is a number in its domain.
    ///
    /// # Errors
    /// `InvalidArgument` that names the parameter.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("tau_plus", self.tau_plus), ("tau_minus", self.tau_minus)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::invalid(format!("plasticity's {name}"), format!("{value} ms; a positive time")));
            }
        }
        let numbers =
            [("a_plus", self.a_plus), ("a_minus", self.a_minus), ("w_min", self.w_min), ("w_max", self.w_max)];
        for (name, value) in numbers {
            if !value.is_finite() {
                return Err(Error::invalid(format!("plasticity's {name}"), format!("{value}; a finite number")));
            }
        }
        if self.w_min > self.w_max {
            let why = format!("{} is above w_max, {}", self.w_min, self.w_max);
            return Err(Error::invalid("plasticity's w_min", why));
        }
        Ok(())
    }
}

/// Synapses whose weights change, sorted as those of a [`SynapseTable`](super::SynapseTable), onto one population.
#[derive(Debug, Clone, PartialEq)]
pub struct PlasticTable {
    /// The first row's neuron; rows are consecutive neurons.
    pub first_source: u32,
    /// The neuron that target 0 is.
    pub first_target: u32,
    /// How many neurons from `first_target` on may be targets.
    pub target_span: u32,
    /// Where the rows begin; one more than rows.
    pub row_offsets: Vec<u32>,
    /// Targets.
    pub targets: Targets,
    /// Delays.
    pub delays: Delays,
    /// Weights at the start, one a synapse, in the unit that the target's neurons take.
    pub weights: Vec<f32>,
    /// What is transmitted is the weight in whole units of `2^-exponent`, rounded half up.
    pub exponent: i32,
    /// How weights change.
    pub stdp: Stdp,
}

impl PlasticTable {
    /// Rows.
    pub fn rows(&self) -> usize {
        self.row_offsets.len().saturating_sub(1)
    }

    /// Synapses.
    pub fn synapses(&self) -> usize {
        self.weights.len()
    }

    /// Checks lengths, order and ranges.
    ///
    /// # Errors
    /// `InvalidArgument` that names the row, synapse or parameter.
    pub fn check(&self) -> Result<()> {
        self.stdp.check()?;
        let n = self.row_offsets.last().map_or(0, |&n| n as usize);
        if self.weights.len() != n {
            return Err(Error::invalid("synapses", format!("{} weights; {n} are needed", self.weights.len())));
        }
        let (low, high) = (self.stdp.w_min as f32, self.stdp.w_max as f32);
        if let Some(i) = self.weights.iter().position(|w| !(low..=high).contains(w)) {
            let why = format!("synapse {i} has the weight {}; from w_min, {low}, to w_max, {high}", self.weights[i]);
            return Err(Error::invalid("synapses", why));
        }
        if !(-126..=127).contains(&self.exponent)
            || f64::from(low.abs().max(high.abs())) * f64::from(self.exponent).exp2() >= f64::from(1u32 << 31)
        {
            let why = format!("units of 2^{} cannot hold weights from {low} to {high}", -self.exponent);
            return Err(Error::invalid("plasticity", why));
        }
        let Self { first_target, target_span, row_offsets, targets, delays, .. } = self;
        Rows { first_target: *first_target, target_span: *target_span, row_offsets, targets, delays }.check()
    }
}
