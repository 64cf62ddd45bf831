//! Synapses as arrays: compressed rows by source.

use crate::{Error, Result};

use super::MAX_DELAY;

/// Targets of synapses, counted from the table's `first_target`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Two a word, the first in the low half; where the table spans at most 65,536 targets.
    U16(Vec<u32>),
    /// One a word.
    U32(Vec<u32>),
}

/// Weights in whole units of `2^-exponent` of the target population.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weights {
    /// One a synapse.
    Each(Vec<i32>),
    /// One a row: all synapses of a source have it.
    Row(Vec<i32>),
}

/// Delays in steps, from 1 to [`MAX_DELAY`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delays {
    /// One a synapse, four a word, the first in the low byte.
    Each(Vec<u32>),
    /// The same for all.
    All(u32),
}

/// Synapses sorted by source, then target, then delay.
///
/// Bytes a synapse: 2 or 4 for the target, 4 or 0 for the weight, 1 or 0 for the delay; and 4 a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynapseTable {
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
    /// Weights.
    pub weights: Weights,
    /// Delays.
    pub delays: Delays,
}

impl SynapseTable {
    /// Rows.
    pub fn rows(&self) -> usize {
        self.row_offsets.len().saturating_sub(1)
    }

    /// Synapses.
    pub fn synapses(&self) -> usize {
        self.row_offsets.last().map_or(0, |&n| n as usize)
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        let (Targets::U16(targets) | Targets::U32(targets)) = &self.targets;
        let (Weights::Each(weights) | Weights::Row(weights)) = &self.weights;
        let delays = if let Delays::Each(delays) = &self.delays { delays.len() } else { 0 };
        4 * (self.row_offsets.len() + targets.len() + weights.len() + delays) as u64
    }

    /// The target of synapse `i`, as a neuron.
    pub fn target(&self, i: usize) -> u32 {
        self.first_target
            + match &self.targets {
                Targets::U16(t) => t[i / 2] >> (i % 2 * 16) & 0xffff,
                Targets::U32(t) => t[i],
            }
    }

    /// The weight of synapse `i` of row `row`.
    pub fn weight(&self, row: usize, i: usize) -> i32 {
        match &self.weights {
            Weights::Each(w) => w[i],
            Weights::Row(w) => w[row],
        }
    }

    /// The delay of synapse `i`.
    pub fn delay(&self, i: usize) -> u32 {
        match &self.delays {
            Delays::Each(d) => d[i / 4] >> (i % 4 * 8) & 0xff,
            Delays::All(d) => *d,
        }
    }

    /// Checks lengths, order and ranges.
    ///
    /// # Errors
    /// `InvalidArgument` that names the row or synapse.
    pub fn check(&self) -> Result<()> {
        let bad = |why: String| Err(Error::invalid("synapses", why));
        let n = self.synapses();
        if self.row_offsets.first() != Some(&0) {
            return bad("row_offsets must begin with 0".into());
        }
        if let Some(row) = self.row_offsets.windows(2).position(|w| w[0] > w[1]) {
            return bad(format!("row {row} ends before it begins"));
        }
        let (targets, words) = match &self.targets {
            Targets::U16(t) => (t.len(), n.div_ceil(2)),
            Targets::U32(t) => (t.len(), n),
        };
        if targets != words {
            return bad(format!("{targets} words of targets; {words} for {n} synapses"));
        }
        if let Some(i) = (0..n).find(|&i| self.target(i) - self.first_target >= self.target_span) {
            return bad(format!("synapse {i} has target {}, outside the table's targets", self.target(i)));
        }
        let (weights, expected) = match &self.weights {
            Weights::Each(w) => (w.len(), n),
            Weights::Row(w) => (w.len(), self.rows()),
        };
        if weights != expected {
            return bad(format!("{weights} weights; {expected} are needed"));
        }
        match &self.delays {
            Delays::Each(d) if d.len() != n.div_ceil(4) => {
                return bad(format!("{} words of delays; {} for {n} synapses", d.len(), n.div_ceil(4)));
            }
            _ => {}
        }
        let range = 1..=MAX_DELAY;
        if matches!(self.delays, Delays::All(_)) && !range.contains(&self.delay(0)) {
            return bad(format!("a delay of {} steps; from 1 to {MAX_DELAY}", self.delay(0)));
        }
        if let Some(i) = (0..n).find(|&i| !range.contains(&self.delay(i))) {
            return bad(format!("synapse {i} has a delay of {} steps; from 1 to {MAX_DELAY}", self.delay(i)));
        }
        Ok(())
    }
}
