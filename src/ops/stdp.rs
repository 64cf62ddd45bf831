//! Spike-timing-dependent plasticity.

use serde::{Deserialize, Serialize};

use super::propagate::{MULTIPLICATIVE, Teams, form};
use super::synapses::Rows;
use super::{Bus, Delays, Targets};
use crate::kernel::{Tensor, stdp_depress, stdp_potentiate, stdp_trace, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

/// Largest amplitude and weight: no product of them with a trace is infinite in f32.
const LARGEST: f64 = 1e9;

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
            if !(value.abs() <= LARGEST) {
                let why = format!("{value}; a number from -{LARGEST:e} to {LARGEST:e}");
                return Err(Error::invalid(format!("plasticity's {name}"), why));
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

    /// The synapses by target: where each target's begin, their numbers, and their rows.
    fn columns(&self) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let target = |i: usize| self.targets.at(i) as usize;
        let n = self.synapses();
        let mut ends = vec![0u32; self.target_span as usize + 1];
        (0..n).for_each(|i| ends[target(i) + 1] += 1);
        for i in 1..ends.len() {
            ends[i] += ends[i - 1];
        }
        let offsets = ends.clone();
        let (mut synapses, mut rows) = (vec![0; n], vec![0; n]);
        for (row, w) in self.row_offsets.windows(2).enumerate() {
            for i in w[0]..w[1] {
                let at = &mut ends[target(i as usize)];
                synapses[*at as usize] = i;
                rows[*at as usize] = row as u32;
                *at += 1;
            }
        }
        (offsets, synapses, rows)
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

/// Synapses of a recording, their weights a state.
///
/// Weights and traces are f32, every operation rounded once in the order of [`Stdp`], so that all devices hold the same
/// bits, whatever the order of a step's spikes. Values below 1e-30 are zero.
#[derive(Debug, Clone)]
pub struct PlasticSynapses {
    name: String,
    table: Option<Table>,
}

#[derive(Debug, Clone)]
struct Table {
    depress: stdp_depress::Params,
    depress_args: stdp_depress::Args,
    row_teams: Teams,
    potentiate: stdp_potentiate::Params,
    potentiate_args: stdp_potentiate::Args,
    column_teams: Teams,
    trace: stdp_trace::Params,
    trace_args: stdp_trace::Args,
}

impl PlasticSynapses {
    /// Takes the table's arrays into the recording; `dt` in ms. The name tells the states of several tables apart.
    ///
    /// # Errors
    /// As [`PlasticTable::check`]; `InvalidArgument` for a step that is not positive, sources or targets outside the
    /// bus, or a delay that its ring does not hold; `Unsupported` where an array exceeds what the device can bind.
    pub fn new(rec: &mut Recording, bus: &Bus, name: impl Into<String>, table: PlasticTable, dt: f64) -> Result<Self> {
        let name = name.into();
        table.check()?;
        if !(dt > 0.0 && dt.is_finite()) {
            return Err(Error::invalid("dt", format!("{dt} ms; a positive time")));
        }
        let synapses = table.synapses();
        if synapses == 0 {
            return Ok(Self { name, table: None });
        }
        let (columns, column_synapses, column_sources) = table.columns();
        let PlasticTable { first_source, first_target, target_span, row_offsets, targets, delays, stdp, .. } = table;
        let rows = Rows { first_target, target_span, row_offsets: &row_offsets, targets: &targets, delays: &delays };
        rows.fit(bus, first_source)?;
        let rows = row_offsets.len() as u32 - 1;
        let row_teams = Teams::new(rec.capabilities(), &row_offsets, bus.stride)?;
        let column_teams = Teams::new(rec.capabilities(), &columns, bus.stride)?;
        let rule = if stdp.rule == StdpRule::Multiplicative { MULTIPLICATIVE } else { 0 };
        let row_form = row_teams.form() | form(bus, &targets, &delays) | rule;

        let offsets = rec.constant_owned(format!("{name}: rows"), row_offsets)?;
        let (Targets::U16(targets) | Targets::U32(targets)) = targets;
        let targets = rec.constant_owned(format!("{name}: targets"), targets)?;
        let delays = match delays {
            Delays::Each(delays) => rec.constant_owned(format!("{name}: delays"), delays)?,
            Delays::All(_) => offsets,
        };
        let columns = rec.constant_owned(format!("{name}: columns"), columns)?;
        let column_synapses = rec.constant_owned(format!("{name}: synapses by target"), column_synapses)?;
        let sources = rec.constant_owned(format!("{name}: sources by target"), column_sources)?;
        let weights: Vec<f32> = table.weights.into_iter().map(flush).collect();
        let weights = rec.state(format!("{name}: weights"), &weights)?;
        let traces = rec.state(format!("{name}: traces"), &vec![0f32; (rows + target_span) as usize])?;

        let (w_min, w_max) = (flush(stdp.w_min as f32), flush(stdp.w_max as f32));
        let depress = stdp_depress::Params {
            k: 0,
            steps: bus.steps,
            stride: bus.stride,
            first_source,
            rows,
            first_target,
            at_once: row_teams.at_once,
            form: row_form,
            scale: f32::from_bits(((table.exponent + 127) as u32) << 23),
            a_minus: flush(stdp.a_minus as f32),
            w_min,
            w_max,
        };
        let (clock, spikes) = (bus.clock, bus.spikes);
        let depress_args =
            stdp_depress::Args { clock, spikes, offsets, targets, delays, weights, traces, ring: bus.ring };
        let potentiate = stdp_potentiate::Params {
            k: 0,
            steps: bus.steps,
            stride: bus.stride,
            first_target,
            columns: target_span,
            at_once: column_teams.at_once,
            form: column_teams.form() | rule,
            a_plus: flush(stdp.a_plus as f32),
            w_min,
            w_max,
        };
        let potentiate_args = stdp_potentiate::Args {
            clock,
            spikes,
            offsets: columns,
            synapses: column_synapses,
            sources,
            weights,
            traces,
        };
        let trace = stdp_trace::Params {
            k: 0,
            words: bus.stride / 32,
            first_source,
            sources: rows,
            first_target,
            targets: target_span,
            decay_sources: flush((-dt / stdp.tau_plus).exp() as f32),
            decay_targets: flush((-dt / stdp.tau_minus).exp() as f32),
        };
        let trace_args = stdp_trace::Args { clock, raster: bus.raster, traces };
        let table =
            Table { depress, depress_args, row_teams, potentiate, potentiate_args, column_teams, trace, trace_args };
        Ok(Self { name, table: Some(table) })
    }

    /// Sends the spikes of the recording's step `k` through the synapses, and changes weights and traces.
    ///
    /// # Errors
    /// `InvalidArgument` for a step that the recording does not have; as [`Recording::dispatch`].
    pub fn step(&self, rec: &mut Recording, bus: &Bus, k: u32) -> Result<()> {
        bus.has(k)?;
        let Some(t) = &self.table else { return Ok(()) };
        let (rows, columns) = (&t.row_teams, &t.column_teams);
        let depress = stdp_depress::Params { k, ..t.depress };
        rec.dispatch(stdp_depress::dispatch(depress, t.depress_args, rows.workgroups()).work(rows.work()))?;
        let potentiate = stdp_potentiate::Params { k, ..t.potentiate };
        let dispatch = stdp_potentiate::dispatch(potentiate, t.potentiate_args, columns.workgroups());
        rec.dispatch(dispatch.work(columns.work()))?;
        let traces = t.trace_args.traces.len();
        let dispatch = stdp_trace::dispatch(stdp_trace::Params { k, ..t.trace }, t.trace_args, workgroups(traces, 64));
        rec.dispatch(dispatch.work(4 * traces as u64))
    }

    /// The weights, one a synapse, in the order of the table; `None` without a synapse.
    pub fn weights(&self) -> Option<Tensor<f32>> {
        self.table.as_ref().map(|t| t.depress_args.weights)
    }

    /// What a checkpoint must hold, by names that stay: weights, and traces of sources, then targets, as bits.
    pub fn states(&self) -> Vec<(String, Tensor<u32>)> {
        let tensors =
            self.table.iter().flat_map(|t| [("weights", t.depress_args.weights), ("traces", t.depress_args.traces)]);
        tensors.filter_map(|(what, tensor)| Some((format!("{}: {what}", self.name), tensor.cast()?))).collect()
    }
}

/// Zero below 1e-30, as in `shaders/shared/flush.wgsl`; never minus zero.
fn flush(x: f32) -> f32 {
    if x.abs() < 1e-30 { 0.0 } else { x }
}
