//! The sparsely connected network of excitatory and inhibitory neurons.

use super::scaled;
use crate::network::{Distribution, IafPscDelta, Input, Network, Neuron, Population, Projection, Rule};
use crate::{Error, Result};

/// Amplitude of excitatory potentials, mV.
const J: f64 = 0.1;
/// Excitatory and inhibitory synapses onto a neuron.
const DEGREES: [u32; 2] = [1000, 250];

/// States of the network: the panels of figure 8 of Brunel (2000).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrunelState {
    /// Almost synchronous at high rates, neurons regular: g = 3, η = 2.
    A,
    /// Fast oscillation, neurons irregular: g = 6, η = 4.
    B,
    /// Stationary activity, neurons irregular: g = 5, η = 2.
    C,
    /// Slow oscillation at low rates, neurons irregular: g = 4.5, η = 0.9.
    D,
}

impl BrunelState {
    /// g and η.
    pub fn parameters(self) -> (f64, f64) {
        match self {
            Self::A => (3.0, 2.0),
            Self::B => (6.0, 4.0),
            Self::C => (5.0, 2.0),
            Self::D => (4.5, 0.9),
        }
    }
}

impl std::str::FromStr for BrunelState {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s.to_ascii_uppercase().as_str() {
            "A" => Ok(Self::A),
            "B" => Ok(Self::B),
            "C" => Ok(Self::C),
            "D" => Ok(Self::D),
            _ => Err(Error::invalid("state", format!("\"{s}\"; a, b, c or d"))),
        }
    }
}

/// Options of [`brunel`].
#[derive(Debug, Clone, PartialEq)]
pub struct BrunelOptions {
    /// Factor of the numbers of neurons; in-degrees stay.
    pub scale: f64,
    /// Inhibitory amplitudes by excitatory ones.
    pub g: f64,
    /// External rate by that which alone drives the mean potential to the threshold.
    pub eta: f64,
    /// The network's seed.
    pub seed: u64,
}

impl BrunelOptions {
    /// Those of a state.
    pub fn of(state: BrunelState) -> Self {
        let (g, eta) = state.parameters();
        Self { scale: 1.0, g, eta, seed: 0 }
    }
}

impl Default for BrunelOptions {
    /// Those of state C.
    fn default() -> Self {
        Self::of(BrunelState::C)
    }
}

/// 10,000 excitatory and 2,500 inhibitory neurons whose membrane jumps with each input: N. Brunel, J. Comput. Neurosci.
/// 8 (2000) 183, model A. 1,000 excitatory synapses of 0.1 mV and 250 inhibitory ones of `−g · 0.1 mV` onto each
/// neuron, a delay of 1.5 ms, and Poisson input of `η · θ/(J·τ)` spikes/s, θ the threshold and τ the time constant.
/// The membrane is reset to 10 mV, as in the paper; NEST's example `brunel_delta_nest.py` resets it to 0.
///
/// # Errors
/// `InvalidArgument` for a scale that is not above zero, or at which a population has no neuron; for a g or an η that
/// is not a number from zero on.
pub fn brunel(options: &BrunelOptions) -> Result<Network> {
    for (name, value) in [("g", options.g), ("eta", options.eta)] {
        if !(value >= 0.0 && value.is_finite()) {
            return Err(Error::invalid(name, format!("{value}; a number from zero on")));
        }
    }
    let neuron = IafPscDelta::<f64>::default();
    let sizes = [scaled("E", 10_000, options.scale)?, scaled("I", 2_500, options.scale)?];
    let named = ["E", "I"];
    let populations = named.into_iter().zip(sizes).map(|(name, size)| Population {
        name: name.into(),
        size,
        neuron: Neuron::IafPscDelta(IafPscDelta::default()),
        v_initial: None,
        lattice_shape: None,
    });
    let weights = [J, -options.g * J];
    let projections = (0..4).map(|i| Projection {
        source: named[i % 2].into(),
        target: named[i / 2].into(),
        rule: Rule::FixedInDegree(DEGREES[i % 2]),
        weight: Distribution::from(weights[i % 2]),
        delay: 1.5.into(),
        autapses: true,
        multapses: true,
        plasticity: None,
    });
    let rate = 1e3 * options.eta * neuron.v_threshold / (J * neuron.tau_mem);
    let inputs =
        named.map(|target| Input::Poisson { target: target.into(), rate, weight: J, start: 0.0, stop: f64::INFINITY });
    Ok(Network {
        name: format!("Brunel, g {}, eta {}", options.g, options.eta),
        dt: 0.1,
        seed: options.seed,
        populations: populations.collect(),
        projections: projections.collect(),
        inputs: if rate > 0.0 { inputs.to_vec() } else { Vec::new() },
        probes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_drive_the_network_as_published() {
        for (state, g, rate) in [
            (BrunelState::A, 3.0, 20_000.0),
            (BrunelState::B, 6.0, 40_000.0),
            (BrunelState::C, 5.0, 20_000.0),
            (BrunelState::D, 4.5, 9_000.0),
        ] {
            let network = brunel(&BrunelOptions::of(state)).unwrap();
            let Input::Poisson { rate: found, weight, .. } = &network.inputs[0] else { panic!() };
            assert!((found - rate).abs() < 1e-8 && *weight == J, "{state:?}: {found}");
            let inhibitory = network.projections.iter().find(|p| p.source == "I" && p.target == "E").unwrap();
            assert_eq!(inhibitory.weight.constant(), Some(-g * J));
            assert_eq!(inhibitory.rule, Rule::FixedInDegree(250));
            assert_eq!(network.populations.iter().map(|p| p.size).sum::<u32>(), 12_500);
        }
        for bad in
            [BrunelOptions { g: -1.0, ..Default::default() }, BrunelOptions { eta: f64::NAN, ..Default::default() }]
        {
            assert!(brunel(&bad).unwrap_err().to_string().contains("from zero on"));
        }
    }
}
