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

/// `x` to 36 bits: what is left of a value in whose last bits mathematics libraries differ.
pub(crate) fn rounded(x: f64) -> f64 {
    // Veltkamp's splitting.
    let c = x * ((1u64 << 17) + 1) as f64;
    c - (c - x)
}

/// Two f32, by their bits, whose sum is `x` to 36 bits.
pub(super) fn coefficient(x: f64) -> [u32; 2] {
    pair(rounded(x))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn value([high, low]: [u32; 2]) -> f64 {
        f64::from(f32::from_bits(high)) + f64::from(f32::from_bits(low))
    }

    #[test]
    fn propagators_of_potjans_and_diesmann() {
        let near = |x: f64, expected: f64| assert!((x / expected - 1.0).abs() < 1e-14, "{x} is not {expected}");
        near(1.0 - decay(0.1, 0.5), 0.818_730_753_077_981_8);
        near(1.0 - decay(0.1, 10.0), 0.990_049_833_749_168);
        near(current_gain(0.1, 10.0, 0.5, 250.0), 3.606_717_487_814_446_3e-4);
        near(constant_gain(0.1, 10.0, 250.0), 3.980_066_500_332_802e-4);
    }

    #[test]
    fn equal_time_constants_are_no_singularity() {
        let equal = 0.1 / 250.0 * (-0.01f64).exp();
        assert!((current_gain(0.1, 10.0, 10.0, 250.0) / equal - 1.0).abs() < 1e-15);
        for i in 0..40 {
            let off = 0.5f64.powi(i);
            let gain = current_gain(0.1, 10.0, 10.0 + off, 250.0);
            // In tau_syn = tau_mem + off it rises with h²/2·off/tau².
            let slope = (gain / equal - 1.0) / off;
            assert!((slope / 5e-4 - 1.0).abs() < off / 5.0 + 1e-12 / off, "{off}: {slope}");
            assert_eq!(gain, current_gain(0.1, 10.0 + off, 10.0, 250.0));
        }
        for [a, b] in [[1e-3, 100.0], [1e5, 1e-9]] {
            let gain = current_gain(0.1, a, b, 1.0);
            assert!(gain > 0.0 && gain <= 0.1, "{a} {b}: {gain}");
        }
    }

    #[test]
    fn numbers_as_two_floats() {
        for x in [0.1, -37.123_456_789_012, 1e6 / 3.0, 1e-9 / 7.0, 0.0] {
            let error = |y: f64| (y - x).abs();
            // Second parts below the floor are dropped.
            assert!(error(value(pair(x))) <= (x.abs() * 2f64.powi(-48)).max(FLOOR), "{x}");
            assert!(error(value(coefficient(x))) <= (x.abs() * 2f64.powi(-36)).max(FLOOR), "{x}");
            // The last place does not reach the coefficient, unless it stands on the edge of two.
            for last in [x.next_up(), x.next_down()] {
                assert!(x == 0.0 || coefficient(last) == coefficient(x), "{x}");
            }
        }
        assert_eq!(value(pair(9e-16)), 0.0);
    }
}
