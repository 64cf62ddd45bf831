//! Coefficients of exact integration, and numbers as the sum of two f32.

use crate::ops::lif::{PerNeuron, phi};
use crate::{Error, Result};

use super::Row;

/// Below this a state or coefficient is zero; `settle` of `shaders/shared/neuron.wgsl`.
const FLOOR: f64 = 1e-15;
/// Largest potential (mV) and largest other parameter.
const LARGEST_V: f64 = 1e6;
const LARGEST: f64 = 1e9;
/// Longest time constant in steps, so that no sum of inputs overflows.
const LONGEST: f64 = 1e6;

/// Two f32, by their bits, whose sum is `x` to 48 bits.
pub(super) fn pair(x: f64) -> [u32; 2] {
    let settled = |x: f64| if x.abs() < FLOOR { 0.0 } else { x as f32 };
    let high = settled(x);
    [high.to_bits(), settled(x - f64::from(high)).to_bits()]
}

/// Two f32, by their bits, whose sum is `x` to 36 bits: what is left of a value in whose last bits mathematics libraries
/// differ.
pub(super) fn coefficient(x: f64) -> [u32; 2] {
    // Veltkamp's splitting.
    let c = x * ((1u64 << 17) + 1) as f64;
    pair(c - (c - x))
}

/// `1 − exp(−dt/tau)`: what decays in a step.
pub(super) fn decay(dt: f64, tau: f64) -> f64 {
    -(-dt / tau).exp_m1()
}

/// P20: what a constant current of 1 pA adds to the membrane in a step, mV.
pub(super) fn constant_gain(dt: f64, tau_mem: f64, c_mem: f64) -> f64 {
    tau_mem / c_mem * decay(dt, tau_mem)
}

/// P21: what a current of 1 pA that decays with `tau_syn` adds to the membrane in a step, mV.
///
/// `1/C ∫ exp(−(dt − s)/tau_mem) exp(−s/tau_syn) ds` over the step: `dt/C · exp(−dt/a) · φ(z)` with
/// `φ(z) = (e^z − 1)/z` and `z = dt/a − dt/b`; it has no singularity at equal time constants, where the form of Rotter &
/// Diesmann, Biol. Cybern. 81 (1999), has one.
pub(super) fn current_gain(dt: f64, tau_mem: f64, tau_syn: f64, c_mem: f64) -> f64 {
    // The two are alike; of the two forms the one whose exponential cannot overflow.
    let (longer, shorter) = if tau_mem > tau_syn { (tau_mem, tau_syn) } else { (tau_syn, tau_mem) };
    dt / c_mem * (-dt / longer).exp() * phi(dt / longer - dt / shorter)
}

/// Checks that a parameter is a number, and one for all or one for each of `size` neurons.
pub(super) fn check(name: &str, parameter: &PerNeuron, size: usize) -> Result<()> {
    let values = match parameter {
        PerNeuron::Shared(v) => std::slice::from_ref(v),
        PerNeuron::Each(v) if v.len() == size => v,
        PerNeuron::Each(v) => {
            let why = format!("{} values; one, or one for each of {size} neurons", v.len());
            return Err(Error::invalid(name, why));
        }
    };
    let most = if name.starts_with("v_") { LARGEST_V } else { LARGEST };
    match values.iter().find(|v| !(v.abs() <= most)) {
        Some(v) => Err(Error::invalid(name, format!("{v}; a number of at most {most:e}"))),
        None => Ok(()),
    }
}

/// Checks that a parameter is above zero.
pub(super) fn positive(name: &str, value: f64) -> Result<()> {
    if value >= 1e-9 { Ok(()) } else { Err(Error::invalid(name, format!("{value}; it must be at least 1e-9"))) }
}

/// Checks a time constant.
pub(super) fn time_constant(name: &str, tau: f64, dt: f64) -> Result<()> {
    positive(name, tau)?;
    if tau > LONGEST * dt {
        return Err(Error::invalid(name, format!("{tau} ms; at most a million steps of {dt} ms")));
    }
    Ok(())
}

/// Checks that a spike leaves the membrane below the threshold.
pub(super) fn reset_below(v_reset: f64, v_threshold: f64) -> Result<()> {
    if v_reset < v_threshold {
        return Ok(());
    }
    Err(Error::invalid("v_reset", format!("{v_reset} mV; it must be below the threshold of {v_threshold} mV")))
}

/// The two rows of the membrane relative to rest.
pub(super) fn membrane(initial: Option<&PerNeuron>, v_rest: &PerNeuron, size: usize) -> Result<Vec<Row>> {
    let Some(initial) = initial else { return Ok(vec![Row::Shared(0); 2]) };
    check("v_initial", initial, size)?;
    let each = is_each(initial) || is_each(v_rest);
    super::rows(size, each, |i| Ok(pair(initial.at(i) - v_rest.at(i))))
}

/// Whether there is a value a neuron.
pub(super) fn is_each(parameter: &PerNeuron) -> bool {
    matches!(parameter, PerNeuron::Each(_))
}
