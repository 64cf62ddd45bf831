//! Leaky integrate-and-fire neurons.
//!
//! One step of a neuron with membrane v, waiting time w (steps), input x, and, where asked for, synaptic current i and
//! threshold adaptation a:
//!
//! 1. current: `i' = decay_i·i + gain_i·x`; the drive d is x without a synapse, else i' (or i, see [`CurrentOrder`]);
//! 2. if w = 0: `v' = v + α·((v_rest − v) + R·d)`, and the neuron spikes if `v' ≥ v_threshold + a` (or `>`), which sets
//!    v' to the reset value (or subtracts it) and w to the refractory steps less one; if w > 0: v stays, w falls by one;
//! 3. `a' = decay_a·a + increment·spike`.
//!
//! α is `1 − exp(−dt/tau_mem)` for exact integration (the input is held over the step) and `dt/tau_mem` for forward
//! Euler; the decays are `exp(−dt/tau)` and `1 − dt/tau`. With exact integration a synaptic current decays within the
//! step too, as in Rotter & Diesmann, Biol. Cybern. 81 (1999): R·d is scaled by the propagator of the pair.
//!
//! **Refractory time** is counted in whole steps, `round(t_ref/dt)`: 5.0 ms at 0.1 ms are 50. A neuron that spikes at
//! step s is integrated, and can spike, again at step s + 50. (NEST keeps 50 steps silent between: add one dt to
//! `t_ref` to have that.) The synaptic current and the adaptation go on meanwhile.
//!
//! **Rounding** is the same on every device: f32, each operation rounded by itself, coefficients computed in f64 and
//! rounded once, magnitudes below 1e-30 set to zero after each product. Spikes are equal bit for bit.
//!
//! **What is not finite**: where the drive or v' is NaN or infinite, v' is `v_rest` and the neuron does not spike in
//! that step; a synaptic current that is not finite, or whose input is not, becomes 0.

use crate::kernel::lif::{Args, Params};
use crate::kernel::{self, Tensor, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

/// Neurons of a workgroup of `shaders/lif.wgsl`.
const GROUP: usize = 256;
/// Rows of the parameter table, in the order of `shaders/lif.wgsl`.
const ROWS: usize = 10;

const CONSTANT_DRIVE: u32 = 1;
const STRICT: u32 = 2;
const SUBTRACT: u32 = 4;
const SYNAPSE: u32 = 8;
const PREVIOUS_CURRENT: u32 = 16;
const ADAPTATION: u32 = 32;
const DENSE: u32 = 64;
const TRACE: u32 = 128;

/// Elementary operations of a neuron's step.
const OPERATIONS: u64 = 16;
/// Largest gain: times a subnormal it stays below 1e-30, which is zero on every device.
const LARGEST_GAIN: f64 = 1e7;
/// Largest other parameter, so that no coefficient overflows.
const LARGEST: f64 = 1e30;
/// Longest refractory time in steps: the largest count that f32 holds exactly.
const LONGEST_REFRACTORY: f64 = (1 << 24) as f64;

/// A neuron parameter: one for all, or one each.
#[derive(Debug, Clone, PartialEq)]
pub enum PerNeuron {
    /// The same for all neurons.
    Shared(f64),
    /// One a neuron.
    Each(Vec<f64>),
}

impl From<f64> for PerNeuron {
    fn from(value: f64) -> Self {
        Self::Shared(value)
    }
}

impl From<Vec<f64>> for PerNeuron {
    fn from(values: Vec<f64>) -> Self {
        Self::Each(values)
    }
}

impl From<&[f32]> for PerNeuron {
    fn from(values: &[f32]) -> Self {
        Self::Each(values.iter().map(|&v| v.into()).collect())
    }
}

impl PerNeuron {
    pub(super) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Shared(v) => Self::Shared(f(*v)),
            Self::Each(v) => Self::Each(v.iter().map(|v| f(*v)).collect()),
        }
    }

    /// The value of neuron `i`.
    pub fn at(&self, i: usize) -> f64 {
        match self {
            Self::Shared(v) => *v,
            Self::Each(v) => v[i],
        }
    }
}

/// How the membrane follows its differential equation over a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Integration {
    /// The exact solution for an input that is constant over the step.
    #[default]
    Exact,
    /// Forward Euler, beta = 1 − dt/tau, as training libraries and NIR's runtimes use it.
    Euler,
}

/// When the membrane has reached its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThresholdRule {
    /// `v >= threshold`.
    #[default]
    AtOrAbove,
    /// `v > threshold`.
    Above,
}

/// What a spike does to the membrane, in the same step.
#[derive(Debug, Clone, PartialEq)]
pub enum Reset {
    /// Sets it to this value.
    To(PerNeuron),
    /// Subtracts this amount.
    Subtract(PerNeuron),
}

/// Which synaptic current drives the membrane in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CurrentOrder {
    /// The one that includes this step's input (Norse, snnTorch).
    #[default]
    Updated,
    /// The one before it (NEST, NIR's reference).
    Previous,
}

/// A synaptic current that decays exponentially.
#[derive(Debug, Clone, PartialEq)]
pub struct Synapse {
    /// Its time constant.
    pub tau: PerNeuron,
    /// What one unit of input adds to it. NIR's `w_in` with forward Euler is `w_in·dt/tau`.
    pub gain: PerNeuron,
    /// When the membrane sees it.
    pub order: CurrentOrder,
}

/// A threshold that rises with every spike and falls back exponentially.
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptation {
    /// Its time constant.
    pub tau: PerNeuron,
    /// What a spike adds to the threshold.
    pub increment: PerNeuron,
}

/// The parameters of a population. Times share one unit, and so do potentials; `resistance` is potential per input.
#[derive(Debug, Clone, PartialEq)]
pub struct LifParams {
    /// The time step.
    pub dt: f64,
    /// The membrane's time constant.
    pub tau_mem: PerNeuron,
    /// The membrane's resistance R.
    pub resistance: PerNeuron,
    /// The resting potential; also the start.
    pub v_rest: PerNeuron,
    /// The threshold.
    pub v_threshold: PerNeuron,
    /// `>=` or `>`.
    pub rule: ThresholdRule,
    /// The reset.
    pub reset: Reset,
    /// The refractory time, rounded to whole steps.
    pub t_ref: PerNeuron,
    /// A constant input that is added to the drive.
    pub offset: PerNeuron,
    /// Exact or Euler.
    pub integration: Integration,
    /// A synaptic current between input and membrane; `None`: the input drives the membrane directly.
    pub synapse: Option<Synapse>,
    /// An adapting threshold.
    pub adaptation: Option<Adaptation>,
}

impl Default for LifParams {
    /// Dimensionless: threshold 1, rest and reset 0, R = 1, tau_mem = 20 dt, exact.
    fn default() -> Self {
        Self {
            dt: 1.0,
            tau_mem: 20.0.into(),
            resistance: 1.0.into(),
            v_rest: 0.0.into(),
            v_threshold: 1.0.into(),
            rule: ThresholdRule::default(),
            reset: Reset::To(0.0.into()),
            t_ref: 0.0.into(),
            offset: 0.0.into(),
            integration: Integration::default(),
            synapse: None,
            adaptation: None,
        }
    }
}

/// Steps that one dispatch of a kernel takes which is serial in time: a step is two to four iterations, and spikes are
/// packed by 32. A workgroup cannot be cut into slices, and a step takes a GPU up to a microsecond.
pub(super) fn steps_a_dispatch(rec: &Recording) -> usize {
    (rec.capabilities().max_loop as usize / 4 / 32 * 32).clamp(32, 1 << 14)
}

/// The whole steps of a refractory time.
///
/// # Errors
/// `InvalidArgument` for a negative or non-finite time, a step that is not positive, or more than 2^24 steps.
pub fn refractory_steps(t_ref: f64, dt: f64) -> Result<u32> {
    let steps = (t_ref / dt).round();
    if !(dt > 0.0 && dt.is_finite() && t_ref >= 0.0 && steps <= LONGEST_REFRACTORY) {
        let why = format!("{t_ref} in steps of {dt}; it must be from 0 to 2^24 positive steps");
        return Err(Error::invalid("t_ref", why));
    }
    Ok(steps as u32)
}

/// A magnitude below 1e-30 is zero in every kernel.
fn settled(value: f64) -> f32 {
    if value.abs() < 1e-30 { 0.0 } else { value as f32 }
}

/// `(e^z − 1)/z`.
pub(super) fn phi(z: f64) -> f64 {
    if z.abs() < 1e-9 { 1.0 + z / 2.0 } else { z.exp_m1() / z }
}

impl LifParams {
    /// The parameter table of `n` neurons: the shared value of every row, then the rows with a value a neuron, and
    /// which rows those are.
    fn table(&self, n: usize) -> Result<(Vec<f32>, u32)> {
        let Self { dt, tau_mem, resistance, v_rest, v_threshold, t_ref, offset, .. } = self;
        let dt = *dt;
        if !(dt > 0.0 && dt <= LARGEST) {
            return Err(Error::invalid("dt", format!("{dt}; it must be positive")));
        }
        let (Reset::To(reset) | Reset::Subtract(reset)) = &self.reset;
        let none = PerNeuron::Shared(0.0);
        let euler = self.integration == Integration::Euler;
        let (tau_syn, syn_gain) = self.synapse.as_ref().map_or((&none, &none), |s| (&s.tau, &s.gain));
        let (tau_adapt, increment) = self.adaptation.as_ref().map_or((&none, &none), |a| (&a.tau, &a.increment));
        let named = [
            ("tau_mem", tau_mem),
            ("resistance", resistance),
            ("v_rest", v_rest),
            ("v_threshold", v_threshold),
            ("reset", reset),
            ("t_ref", t_ref),
            ("offset", offset),
            ("synapse.tau", tau_syn),
            ("synapse.gain", syn_gain),
            ("adaptation.tau", tau_adapt),
            ("adaptation.increment", increment),
        ];
        for (name, parameter) in named {
            let values = match parameter {
                PerNeuron::Shared(v) => std::slice::from_ref(v),
                PerNeuron::Each(v) if v.len() == n => v,
                PerNeuron::Each(v) => {
                    return Err(Error::invalid(
                        name,
                        format!("{} values; one, or one for each of {n} neurons", v.len()),
                    ));
                }
            };
            let used = match name {
                "synapse.tau" => self.synapse.is_some(),
                "adaptation.tau" => self.adaptation.is_some(),
                _ => true,
            };
            let most = if name.ends_with("gain") || name == "resistance" { LARGEST_GAIN } else { LARGEST };
            for &v in values {
                let time = name.contains("tau") && used;
                let why = match v {
                    _ if v.is_nan() || v.abs() > most => format!("must be a number of at most {most:e}"),
                    _ if time && v <= 0.0 => "must be positive".into(),
                    _ if time && euler && v < dt => format!("must be at least dt = {dt} for forward Euler"),
                    _ => continue,
                };
                return Err(Error::invalid(name, format!("{v}; it {why}")));
            }
        }
        let steps = |i: usize| refractory_steps(t_ref.at(i), dt);
        for i in 0..if matches!(t_ref, PerNeuron::Each(_)) { n } else { 1 } {
            steps(i)?;
        }

        let kept = |tau: f64| if euler { 1.0 - dt / tau } else { (-dt / tau).exp() };
        let moved = |tau: f64| if euler { dt / tau } else { -(-dt / tau).exp_m1() };
        let gain = |i: usize| {
            let (r, tau) = (resistance.at(i), tau_mem.at(i));
            match &self.synapse {
                // Over the step, ∫ e^{-(dt-s)/tau} e^{-s/tau_syn} ds / tau in place of α = ∫ e^{-(dt-s)/tau} ds / tau.
                Some(synapse) if !euler => {
                    let z = dt / tau - dt / synapse.tau.at(i);
                    // Of the two equal forms the one whose exponential cannot overflow.
                    let (longer, z) = if z > 0.0 { (synapse.tau.at(i), -z) } else { (tau, z) };
                    r * dt / tau * (-dt / longer).exp() * phi(z) / moved(tau)
                }
                _ => r,
            }
        };
        type Row<'a> = (Vec<&'a PerNeuron>, Box<dyn Fn(usize) -> f64 + 'a>);
        let rows: [Row<'_>; ROWS] = [
            (vec![tau_mem], Box::new(|i| moved(tau_mem.at(i)))),
            (vec![resistance, tau_mem, tau_syn], Box::new(gain)),
            (vec![v_rest, resistance, offset], Box::new(|i| v_rest.at(i) + resistance.at(i) * offset.at(i))),
            (vec![v_threshold], Box::new(|i| v_threshold.at(i))),
            (vec![reset], Box::new(|i| reset.at(i))),
            (vec![t_ref], Box::new(|i| f64::from(steps(i).unwrap_or(0).max(1) - 1))),
            (vec![tau_syn], Box::new(|i| kept(tau_syn.at(i)))),
            (vec![syn_gain], Box::new(|i| syn_gain.at(i))),
            (vec![tau_adapt], Box::new(|i| kept(tau_adapt.at(i)))),
            (vec![increment], Box::new(|i| increment.at(i))),
        ];
        let mut table = vec![0.0; ROWS];
        let mut each = 0;
        for (r, (of, value)) in rows.iter().enumerate() {
            // Rows that belong to an absent synapse or adaptation stay zero.
            let absent = (r == 6 || r == 7) && self.synapse.is_none() || r >= 8 && self.adaptation.is_none();
            if absent {
                continue;
            }
            if of.iter().any(|p| matches!(p, PerNeuron::Each(_))) {
                each |= 1 << r;
                table.extend((0..n).map(|i| settled(value(i))));
            } else {
                table[r] = settled(value(0));
            }
        }
        Ok((table, each))
    }
}

/// The input of every step.
#[derive(Debug, Clone, Copy)]
pub enum Drive {
    /// `[neurons]`, the same at every step.
    Constant(Tensor<f32>),
    /// `[steps, neurons]`.
    Each(Tensor<f32>),
}

/// Where spikes go.
#[derive(Debug, Clone, Copy)]
pub enum Spikes {
    /// `[steps, ceil(neurons / 32)]`: neuron n of a step is bit n % 32 of word n / 32; the last word's spare bits are 0.
    Packed(Tensor<u32>),
    /// `[steps, neurons]`: 1.0 or 0.0.
    Dense(Tensor<f32>),
}

/// The words of one step's packed spikes.
pub const fn spike_words(neurons: usize) -> usize {
    neurons.div_ceil(32)
}

/// A population of a recording: parameters and state.
#[derive(Debug, Clone, Copy)]
pub struct Lif {
    neurons: usize,
    table: Tensor<f32>,
    each: u32,
    flags: u32,
    v: Tensor<f32>,
    refractory: Tensor<u32>,
    i_syn: Option<Tensor<f32>>,
    adaptation: Option<Tensor<f32>>,
}

impl Lif {
    /// A population of `neurons` at rest. Its state goes on from run to run.
    ///
    /// # Errors
    /// `InvalidArgument` naming the parameter that is out of its domain.
    pub fn new(rec: &mut Recording, neurons: usize, params: &LifParams) -> Result<Self> {
        if neurons == 0 {
            return Err(Error::invalid("neurons", "0; at least one"));
        }
        params.table(neurons)?;
        let rest: Vec<f32> = (0..neurons).map(|i| settled(params.v_rest.at(i))).collect();
        let v = rec.state("v", &rest)?;
        let refractory = rec.state("refractory", &vec![0u32; neurons])?;
        Self::with_state(rec, params, v, refractory)
    }

    /// A population whose membranes (potential) and remaining refractory steps are the given tensors, for example
    /// inputs of every run. Synaptic currents and adaptation start at zero and go on from run to run.
    ///
    /// # Errors
    /// `InvalidArgument` naming the parameter that is out of its domain, or for tensors of different lengths.
    pub fn with_state(
        rec: &mut Recording,
        params: &LifParams,
        v: Tensor<f32>,
        refractory: Tensor<u32>,
    ) -> Result<Self> {
        let neurons = v.len();
        if refractory.len() != neurons {
            return Err(Error::invalid("refractory", format!("{} elements for {neurons} neurons", refractory.len())));
        }
        let (table, each) = params.table(neurons)?;
        let mut flags = 0;
        for (flag, set) in [
            (STRICT, params.rule == ThresholdRule::Above),
            (SUBTRACT, matches!(params.reset, Reset::Subtract(_))),
            (SYNAPSE, params.synapse.is_some()),
            (PREVIOUS_CURRENT, params.synapse.as_ref().is_some_and(|s| s.order == CurrentOrder::Previous)),
            (ADAPTATION, params.adaptation.is_some()),
        ] {
            if set {
                flags |= flag;
            }
        }
        let mut zeros = |name: &str, used: bool| used.then(|| rec.state(name, &vec![0f32; neurons])).transpose();
        let i_syn = zeros("i_syn", params.synapse.is_some())?;
        let adaptation = zeros("adaptation", params.adaptation.is_some())?;
        let table = rec.constant("neuron parameters", &table)?;
        Ok(Self { neurons, table, each, flags, v, refractory, i_syn, adaptation })
    }

    /// Neurons.
    pub fn neurons(&self) -> usize {
        self.neurons
    }

    /// `[neurons]`: the membrane potential after the last step.
    pub fn v(&self) -> Tensor<f32> {
        self.v
    }

    /// `[neurons]`: the steps for which a neuron will still not be integrated.
    pub fn refractory(&self) -> Tensor<u32> {
        self.refractory
    }

    /// `[neurons]`: the synaptic current, if there is a synapse.
    pub fn i_syn(&self) -> Option<Tensor<f32>> {
        self.i_syn
    }

    /// `[neurons]`: what adaptation adds to the threshold, if there is one.
    pub fn adaptation(&self) -> Option<Tensor<f32>> {
        self.adaptation
    }

    /// One step with `current` `[neurons]`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn step(&self, rec: &mut Recording, current: Tensor<f32>, spikes: Spikes) -> Result<()> {
        self.run(rec, 1, Drive::Constant(current), spikes, None)
    }

    /// `steps` steps, up to 16,384 in one dispatch. `trace`
    /// (`[steps, neurons]`) receives the membrane potential after each step's reset.
    ///
    /// # Errors
    /// `InvalidArgument` for a tensor whose length does not fit; as [`Recording::dispatch`].
    pub fn run(
        &self,
        rec: &mut Recording,
        steps: usize,
        drive: Drive,
        spikes: Spikes,
        trace: Option<Tensor<f32>>,
    ) -> Result<()> {
        let n = self.neurons;
        let size = |what: &str, len: usize, per_step: usize, rows: usize| {
            if Some(len) == per_step.checked_mul(rows) {
                return Ok(());
            }
            Err(Error::invalid(what, format!("{len} elements; {rows} step(s) of {n} neurons have {per_step} each")))
        };
        let mut flags = self.flags;
        let current = match drive {
            Drive::Constant(t) => {
                flags |= CONSTANT_DRIVE;
                size("drive", t.len(), n, 1)?;
                t
            }
            Drive::Each(t) => {
                size("drive", t.len(), n, steps)?;
                t
            }
        };
        let spikes = match spikes {
            Spikes::Packed(t) => {
                size("spikes", t.len(), spike_words(n), steps)?;
                t
            }
            Spikes::Dense(t) => {
                flags |= DENSE;
                size("spikes", t.len(), n, steps)?;
                t.cast::<u32>().ok_or_else(|| Error::Internal("not whole words".into()))?
            }
        };
        if let Some(trace) = trace {
            flags |= TRACE;
            size("trace", trace.len(), n, steps)?;
        }
        let mut unused = |name: &str, t: Option<Tensor<f32>>| t.map_or_else(|| rec.scratch(name, 1), Ok);
        let args = Args {
            current,
            table: self.table,
            v: self.v,
            refractory: self.refractory,
            i_syn: unused("no synapse", self.i_syn)?,
            adaptation: unused("no adaptation", self.adaptation)?,
            spikes,
            trace: unused("no trace", trace)?,
        };
        let most = steps_a_dispatch(rec);
        for first in (0..steps).step_by(most) {
            let count = most.min(steps - first);
            let params =
                Params { neurons: n as u32, steps: count as u32, first_step: first as u32, each: self.each, flags };
            let work = OPERATIONS * n as u64 * count as u64;
            rec.dispatch(kernel::lif::dispatch(params, args, workgroups(n, GROUP)).work(work))?;
        }
        Ok(())
    }
}
