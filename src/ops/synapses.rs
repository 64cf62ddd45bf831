//! Synapses as arrays: compressed rows by source.

use std::ops::Range;

use rayon::prelude::*;

use super::MAX_DELAY;
use crate::{Error, Result};

/// Targets of synapses, counted from the table's `first_target`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Two a word, the first in the low half; where the table spans at most 65,536 targets.
    U16(Vec<u32>),
    /// One a word.
    U32(Vec<u32>),
}

impl Targets {
    /// The target of synapse `i`.
    pub(super) fn at(&self, i: usize) -> u32 {
        match self {
            Self::U16(t) => t[i / 2] >> (i % 2 * 16) & 0xffff,
            Self::U32(t) => t[i],
        }
    }
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
    /// One a synapse, four a word, the first in the low byte; bytes behind the last synapse are zero.
    Each(Vec<u32>),
    /// The same for all.
    All(u32),
}

impl Delays {
    /// The longest, in steps.
    pub fn longest(&self) -> u32 {
        // Bytes behind the last synapse are zero.
        match self {
            Self::All(d) => *d,
            Self::Each(d) => {
                d.par_iter().map(|d| d.to_le_bytes().into_iter().max().unwrap_or(0)).max().unwrap_or(0).into()
            }
        }
    }
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
        self.first_target + self.targets.at(i)
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
        let (weights, expected) = match &self.weights {
            Weights::Each(w) => (w.len(), self.synapses()),
            Weights::Row(w) => (w.len(), self.rows()),
        };
        if weights != expected {
            return Err(Error::invalid("synapses", format!("{weights} weights; {expected} are needed")));
        }
        let Self { first_target, target_span, row_offsets, targets, delays, .. } = self;
        Rows { first_target: *first_target, target_span: *target_span, row_offsets, targets, delays }.check()
    }
}

/// What all tables have, whatever their weights.
pub(super) struct Rows<'a> {
    pub first_target: u32,
    pub target_span: u32,
    pub row_offsets: &'a [u32],
    pub targets: &'a Targets,
    pub delays: &'a Delays,
}

impl Rows<'_> {
    /// Checks lengths, order and ranges: kernels rely on them.
    pub fn check(&self) -> Result<()> {
        let bad = |why: String| Err(Error::invalid("synapses", why));
        if self.row_offsets.first() != Some(&0) {
            return bad("row_offsets must begin with 0".into());
        }
        if let Some(row) = self.row_offsets.windows(2).position(|w| w[0] > w[1]) {
            return bad(format!("row {row} ends before it begins"));
        }
        let n = self.row_offsets.last().map_or(0, |&n| n as usize);
        let (targets, words) = match &self.targets {
            Targets::U16(t) => (t.len(), n.div_ceil(2)),
            Targets::U32(t) => (t.len(), n),
        };
        if targets != words {
            return bad(format!("{targets} words of targets; {words} for {n} synapses"));
        }
        match self.delays {
            Delays::Each(d) if d.len() != n.div_ceil(4) => {
                return bad(format!("{} words of delays; {} for {n} synapses", d.len(), n.div_ceil(4)));
            }
            Delays::All(d) if !(1..=MAX_DELAY).contains(d) => {
                return bad(format!("a delay of {d} steps; from 1 to {MAX_DELAY}"));
            }
            _ => {}
        }
        let rows = self.row_offsets.par_windows(2).with_min_len(64);
        rows.enumerate().find_map_first(|(row, w)| self.defect(row, w[0] as usize..w[1] as usize)).map_or(Ok(()), bad)
    }

    /// What is wrong with a row's synapses.
    fn defect(&self, row: usize, synapses: Range<usize>) -> Option<String> {
        let mut before = 0;
        for i in synapses {
            let target = self.targets.at(i);
            if target >= self.target_span {
                let (first, span) = (self.first_target, self.target_span);
                return Some(format!("synapse {i} has target {first} + {target}, outside the table's {span} targets"));
            }
            if target < before {
                return Some(format!("row {row} is not sorted by target at synapse {i}"));
            }
            before = target;
            if let Delays::Each(d) = self.delays
                && d[i / 4] >> (i % 4 * 8) & 0xff == 0
            {
                return Some(format!("synapse {i} has a delay of 0 steps; from 1 to {MAX_DELAY}"));
            }
        }
        None
    }
}
