//! Balanced networks with self-sustained activity.

use super::scaled;
use crate::Result;
use crate::network::{Distribution, Edges, IafCondExp, IafPscExp, Network, Neuron, Population, Projection, Rule};
use crate::random::Random;

const STEP: f64 = 0.1;
/// Neurons that are kicked.
const KICKED: u32 = 50;

/// Options of [`cuba`] and [`coba`].
#[derive(Debug, Clone, PartialEq)]
pub struct VogelsAbbottOptions {
    /// Factor of the numbers of neurons; a neuron has 80 synapses at any size.
    pub scale: f64,
    /// The network's seed.
    pub seed: u64,
}

impl Default for VogelsAbbottOptions {
    fn default() -> Self {
        Self { scale: 1.0, seed: 0 }
    }
}

/// The current-based network of T. Vogels and L. Abbott, J. Neurosci. 25 (2005) 10786, as benchmark 2 of R. Brette et
/// al., J. Comput. Neurosci. 23 (2007) 349: 3,200 excitatory and 800 inhibitory neurons that rest above their
/// threshold.
///
/// As NEST's example `brette_et_al_2007/cuba.py`: 64 excitatory and 16 inhibitory synapses onto each neuron, 16.2 and
/// −139.5 pA, a delay of 0.1 ms; 50 excitatory neurons get Poisson spikes of 300/s from 1 to 51 ms, which are drawn
/// here and come from a population `stimulus`.
///
/// # Errors
/// `InvalidArgument` for a scale that is not above zero, or at which a population has no neuron.
pub fn cuba(options: &VogelsAbbottOptions) -> Result<Network> {
    let neuron: IafPscExp<Distribution> = IafPscExp {
        c_mem: 200.0.into(),
        tau_mem: 20.0.into(),
        v_rest: (-49.0).into(),
        v_threshold: (-50.0).into(),
        v_reset: (-60.0).into(),
        t_ref: 5.0.into(),
        tau_syn_ex: 5.0.into(),
        tau_syn_in: 10.0.into(),
        ..IafPscExp::default()
    };
    balanced("CUBA", &Neuron::IafPscExp(neuron), [16.2, -139.5], options)
}

/// The conductance-based network of T. Vogels and L. Abbott, as benchmark 1 of R. Brette et al.: see [`cuba`]. Weights
/// are 6 and −67 nS; as NEST's example `brette_et_al_2007/coba.py`.
///
/// # Errors
/// As [`cuba`].
pub fn coba(options: &VogelsAbbottOptions) -> Result<Network> {
    balanced("COBA", &Neuron::IafCondExp(IafCondExp::default()), [6.0, -67.0], options)
}

fn balanced(name: &str, neuron: &Neuron, weights: [f64; 2], options: &VogelsAbbottOptions) -> Result<Network> {
    let sizes = [scaled("E", 3200, options.scale)?, scaled("I", 800, options.scale)?];
    let kicked = KICKED.min(sizes[0]);
    let named = ["E", "I"];
    let population = |i: usize| Population {
        name: named[i].into(),
        size: sizes[i],
        neuron: neuron.clone(),
        v_initial: None,
        lattice_shape: None,
    };
    let stimulus = Population {
        name: "stimulus".into(),
        size: kicked,
        neuron: Neuron::SpikeSource { times: (0..kicked).map(|i| kick(options.seed, i)).collect() },
        v_initial: None,
        lattice_shape: None,
    };
    let projection = |source: &str, target: &str, rule: Rule, weight: f64| Projection {
        source: source.into(),
        target: target.into(),
        rule,
        weight: weight.into(),
        delay: STEP.into(),
        autapses: true,
        multapses: true,
        plasticity: None,
    };
    let mut projections = Vec::new();
    for target in named {
        projections.push(projection("E", target, Rule::FixedInDegree(64), weights[0]));
        projections.push(projection("I", target, Rule::FixedInDegree(16), weights[1]));
    }
    let pairs = Edges { sources: (0..kicked).collect(), targets: (0..kicked).collect() };
    projections.push(projection("stimulus", "E", Rule::Edges(pairs), weights[0]));
    Ok(Network {
        name: if options.scale == 1.0 { name.into() } else { format!("{name}, scale {}", options.scale) },
        dt: STEP,
        seed: options.seed,
        populations: vec![population(0), population(1), stimulus],
        projections,
        inputs: Vec::new(),
        probes: Vec::new(),
    })
}

/// Times of a Poisson process of 300/s from 1 to 51 ms, at most one in a step of 0.1 ms.
fn kick(seed: u64, neuron: u32) -> Vec<f64> {
    // A stream of its own: the network's are those of its projections and populations.
    let mut random = Random::new(seed, u64::from_be_bytes(*b"kick\0\0\0\0") | u64::from(neuron));
    (10..510).filter(|_| random.uniform() < 0.3 * STEP).map(|step| f64::from(step) * STEP).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_synapses_are_those_of_the_benchmark() {
        for (network, weights) in [
            (cuba(&VogelsAbbottOptions::default()).unwrap(), [16.2, -139.5]),
            (coba(&VogelsAbbottOptions::default()).unwrap(), [6.0, -67.0]),
        ] {
            let sizes: Vec<u32> = network.populations.iter().map(|p| p.size).collect();
            assert_eq!(sizes, [3200, 800, 50]);
            let onto = |target: &str| {
                let degree = |p: &&Projection| match p.rule {
                    Rule::FixedInDegree(n) if p.target == target => Some(n),
                    _ => None,
                };
                network.projections.iter().filter_map(|p| degree(&p)).sum::<u32>()
            };
            assert_eq!((onto("E"), onto("I")), (80, 80));
            let mut found: Vec<f64> = network.projections.iter().filter_map(|p| p.weight.constant()).collect();
            found.dedup();
            assert_eq!(found, [weights[0], weights[1], weights[0], weights[1], weights[0]]);
        }
    }

    #[test]
    fn the_kick_is_of_the_seed_and_of_its_rate() {
        let network = cuba(&VogelsAbbottOptions { seed: 3, ..VogelsAbbottOptions::default() }).unwrap();
        let Neuron::SpikeSource { times } = &network.populations[2].neuron else { panic!() };
        let n: usize = times.iter().map(Vec::len).sum();
        // 50 neurons, 50 ms, 300/s: 750 with a standard deviation of 27.
        assert!((640..860).contains(&n), "{n}");
        assert!(times.iter().flatten().all(|t| (1.0..51.0).contains(t)));
        assert!(times.iter().all(|t| t.windows(2).all(|w| w[0] < w[1])));
        assert_eq!(network, cuba(&VogelsAbbottOptions { seed: 3, scale: 1.0 }).unwrap());
        assert_ne!(network, cuba(&VogelsAbbottOptions { seed: 4, scale: 1.0 }).unwrap());
        let large = cuba(&VogelsAbbottOptions { scale: 10.0, seed: 3 }).unwrap();
        assert_eq!((large.populations[0].size, large.populations[2].size), (32_000, 50));
    }
}
