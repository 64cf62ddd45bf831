//! The cortical microcircuit.

use super::scaled;
use crate::network::{Distribution, IafPscExp, Input, Network, Neuron, Population, Projection, Rule};
use crate::ops::rounded;
use crate::random::ln;
use crate::{Error, Result};

const POPULATIONS: [&str; 8] = ["L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I"];
const NEURONS: [u32; 8] = [20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948];
/// Probability that two neurons have a synapse; a row for each target, a column for each source.
const PROBABILITY: [[f64; 8]; 8] = [
    [0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0, 0.0076, 0.0],
    [0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0, 0.0042, 0.0],
    [0.0077, 0.0059, 0.0497, 0.135, 0.0067, 0.0003, 0.0453, 0.0],
    [0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0, 0.1057, 0.0],
    [0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0],
    [0.0548, 0.0269, 0.0257, 0.0022, 0.06, 0.3158, 0.0086, 0.0],
    [0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252],
    [0.0364, 0.001, 0.0034, 0.0005, 0.0277, 0.008, 0.0658, 0.1443],
];
/// External synapses of a neuron.
const EXTERNAL: [f64; 8] = [1600.0, 1500.0, 2100.0, 1900.0, 2000.0, 1900.0, 2900.0, 2100.0];
/// Spikes/s of an external synapse.
const EXTERNAL_RATE: f64 = 8.0;
/// Spikes/s of the full network, as NEST's `microcircuit` package assumes them.
const RATES: [f64; 8] = [0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829];
/// Mean and standard deviation of the membrane potential in the full network, mV.
const SETTLED: [(f64, f64); 8] = [
    (-68.28, 5.36),
    (-63.16, 4.57),
    (-63.33, 4.74),
    (-63.45, 4.94),
    (-63.11, 4.94),
    (-61.66, 4.55),
    (-66.72, 5.46),
    (-61.43, 4.48),
];
/// Excitatory postsynaptic potential, mV.
const PSP: f64 = 0.15;
/// Inhibitory weights by excitatory ones.
const G: f64 = -4.0;
const STEP: f64 = 0.1;

/// What stands for the rest of the brain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drive {
    /// A constant current of the same mean.
    #[default]
    Dc,
    /// Poisson spikes of 8/s on each external synapse.
    Poisson,
}

/// Membrane potentials at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InitialPotential {
    /// Normal, with mean and standard deviation of each population as they are in the running network.
    #[default]
    Optimized,
    /// Normal, −58 ± 10 mV, as published; the network starts with a volley.
    Original,
}

/// Options of [`microcircuit`].
#[derive(Debug, Clone, PartialEq)]
pub struct MicrocircuitOptions {
    /// Factor of the numbers of neurons and of their in-degrees.
    pub scale: f64,
    /// What stands for the rest of the brain.
    pub drive: Drive,
    /// Membrane potentials at the start.
    pub v0: InitialPotential,
    /// The network's seed.
    pub seed: u64,
}

impl Default for MicrocircuitOptions {
    fn default() -> Self {
        Self { scale: 1.0, drive: Drive::Dc, v0: InitialPotential::Optimized, seed: 0 }
    }
}

/// The current in pA whose postsynaptic potential has a peak of 1 mV: with
/// `V(t) = J/C · τm·τs/(τm − τs) · (exp(−t/τm) − exp(−t/τs))`, at `t = τm·τs/(τm − τs) · ln(τm/τs)`. To 36 bits, which
/// are the same on every machine.
fn current_of_potential(c_mem: f64, tau_mem: f64, tau_syn: f64) -> f64 {
    let tau = tau_mem * tau_syn / (tau_mem - tau_syn);
    let peak = tau * ln(tau_mem / tau_syn);
    rounded(c_mem / (tau * ((-peak / tau_mem).exp() - (-peak / tau_syn).exp())))
}

/// Synapses of the full network from a population of `sources` neurons to one of `targets` so that two neurons have one
/// with this probability, since several are allowed: `ln(1 − p) / ln(1 − 1/(sources·targets))`. Not rounded.
fn full_synapses(probability: f64, sources: u32, targets: u32) -> f64 {
    let pairs = f64::from(sources) * f64::from(targets);
    ln(1.0 - probability) / ln((pairs - 1.0) / pairs)
}

/// The microcircuit under 1 mm² of cortex: four layers, each with excitatory and inhibitory neurons. Full size: 77,169
/// neurons, 298,880,968 synapses.
///
/// T. Potjans and M. Diesmann, Cereb. Cortex 24 (2014) 785, doi:10.1093/cercor/bhs358. Numbers, rounding and scaling as
/// in the package `microcircuit` 1.0 of NEST's authors: a scale s multiplies neurons by s and synapses by s²; weights
/// grow by `1/√s`, and a constant current makes up for what the mean input loses, so that mean and variance of the
/// input stay (S. van Albada, M. Helias and M. Diesmann, PLoS Comput. Biol. 11 (2015) e1004490). Weights vary by 10 %
/// and are drawn again where the sign is wrong; delays by 50 %, drawn again below half a step.
///
/// # Errors
/// `InvalidArgument` for a scale that is not above zero, or at which a population has no neuron.
pub fn microcircuit(options: &MicrocircuitOptions) -> Result<Network> {
    let scale = options.scale;
    let root = scale.sqrt();
    let neuron = IafPscExp::<f64>::default();
    let psc = PSP * current_of_potential(neuron.c_mem, neuron.tau_mem, neuron.tau_syn_ex);
    let mut populations = Vec::new();
    let mut projections = Vec::new();
    let mut inputs = Vec::new();
    for (i, name) in POPULATIONS.iter().enumerate() {
        let size = scaled(name, NEURONS[i], scale)?;
        // Spikes/s times pA, before scaling.
        let mut recurrent = 0.0;
        for (j, source) in POPULATIONS.iter().enumerate() {
            let full = full_synapses(PROBABILITY[i][j], NEURONS[j], NEURONS[i]);
            let (mut mean, delay) = if j % 2 == 0 { (psc, 1.5) } else { (G * psc, 0.75) };
            if (i, j) == (0, 2) {
                mean *= 2.0;
            }
            recurrent += mean * full / f64::from(NEURONS[i]) * RATES[j];
            let synapses = (full * scale * scale).round_ties_even() as u64;
            if synapses == 0 {
                continue;
            }
            let (mean, std) = (mean / root, 0.1 * (mean / root).abs());
            let (low, high) = if mean < 0.0 { (f64::NEG_INFINITY, 0.0) } else { (0.0, f64::INFINITY) };
            projections.push(Projection {
                source: (*source).into(),
                target: (*name).into(),
                rule: Rule::FixedTotalNumber(synapses),
                weight: Distribution::truncated(mean, std, low, high),
                delay: Distribution::truncated(delay, 0.5 * delay, 0.5 * STEP, f64::INFINITY),
                autapses: true,
                multapses: true,
                plasticity: None,
            });
        }
        // A synapse carries the charge weight × time constant; 1e-3 takes spikes/s to spikes/ms.
        let charge = 1e-3 * neuron.tau_syn_ex;
        let external = psc * EXTERNAL[i] * EXTERNAL_RATE;
        let mut current = charge * (1.0 - root) * recurrent;
        match options.drive {
            Drive::Dc => current += charge * external,
            Drive::Poisson => {
                current += charge * (1.0 - root) * external;
                inputs.push(Input::Poisson {
                    target: (*name).into(),
                    rate: EXTERNAL_RATE * (EXTERNAL[i] * scale).round_ties_even(),
                    weight: psc / root,
                    start: 0.0,
                    stop: f64::INFINITY,
                });
            }
        }
        let (mean, std) = match options.v0 {
            InitialPotential::Optimized => SETTLED[i],
            InitialPotential::Original => (-58.0, 10.0),
        };
        populations.push(Population {
            name: (*name).into(),
            size,
            neuron: Neuron::IafPscExp(IafPscExp { i_offset: current.into(), ..IafPscExp::default() }),
            v_initial: Some(Distribution::normal(mean, std)),
            lattice_shape: None,
        });
    }
    Ok(Network {
        name: format!("microcircuit, scale {scale}"),
        dt: STEP,
        seed: options.seed,
        populations,
        projections,
        inputs,
        probes: Vec::new(),
    })
}

impl std::str::FromStr for Drive {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "dc" => Ok(Self::Dc),
            "poisson" => Ok(Self::Poisson),
            _ => Err(Error::invalid("drive", format!("\"{s}\"; dc or poisson"))),
        }
    }
}

impl std::str::FromStr for InitialPotential {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "optimized" => Ok(Self::Optimized),
            "original" => Ok(Self::Original),
            _ => Err(Error::invalid("initial potential", format!("\"{s}\"; optimized or original"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scale: f64, drive: Drive) -> Network {
        microcircuit(&MicrocircuitOptions { scale, drive, ..MicrocircuitOptions::default() }).unwrap()
    }

    fn synapses(network: &Network) -> Vec<u64> {
        let of = |p: &Projection| match p.rule {
            Rule::FixedTotalNumber(n) => n,
            _ => panic!("{:?}", p.rule),
        };
        network.projections.iter().map(of).collect()
    }

    fn neuron(network: &Network, i: usize) -> &IafPscExp<Distribution> {
        match &network.populations[i].neuron {
            Neuron::IafPscExp(neuron) => neuron,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_of_neurons_and_synapses_are_those_of_the_reference() {
        for (scale, neurons, n_synapses) in
            [(1.0, 77_169, 298_880_968), (0.1, 7_717, 2_988_807), (0.2, 15_435, 11_955_239), (0.5, 38_586, 74_720_239)]
        {
            let network = of(scale, Drive::Dc);
            assert_eq!(network.populations.iter().map(|p| p.size).sum::<u32>(), neurons, "{scale}");
            assert_eq!(synapses(&network).iter().sum::<u64>(), n_synapses, "{scale}");
        }
        // Halves go to the even number, as numpy rounds: 2191.5 and 106.5.
        let network = of(0.1, Drive::Dc);
        assert_eq!((network.populations[2].size, network.populations[5].size), (2192, 106));
        // The blocks, row by row.
        let full = of(1.0, Drive::Dc);
        assert_eq!(full.projections.len(), 55);
        let n = synapses(&full);
        assert_eq!(n[..6], [45_499_805, 22_323_577, 20_253_647, 9_670_918, 3_293_578, 2_271_404]);
        assert_eq!(n[47..], [2_260_836, 17_207, 220_033, 8_078, 401_638, 25_218, 2_888_426, 1_354_320]);
    }

    #[test]
    fn weights_and_currents_are_those_of_the_reference() {
        let psc = PSP * current_of_potential(250.0, 10.0, 0.5);
        assert!((psc - 87.8085).abs() < 5e-5, "{psc}");
        let full = of(1.0, Drive::Dc);
        let dc = [562.0, 526.9, 737.6, 667.3, 702.5, 667.3, 1018.6, 737.6];
        for (i, expected) in dc.into_iter().enumerate() {
            let current = neuron(&full, i).i_offset.constant().unwrap();
            assert!((current - expected).abs() <= 0.05, "{current} {expected}");
        }
        assert!(full.inputs.is_empty());
        let mean = |d: &Distribution| match d {
            Distribution::Normal { mean, .. } => *mean,
            other => panic!("{other:?}"),
        };
        let weight = |target: &str, source: &str| {
            mean(&full.projections.iter().find(|p| p.target == target && p.source == source).unwrap().weight)
        };
        assert!((weight("L4E", "L6E") - psc).abs() < 1e-12);
        assert!((weight("L23E", "L4E") - 2.0 * psc).abs() < 1e-12);
        assert!((weight("L5I", "L5I") + 4.0 * psc).abs() < 1e-12);
    }

    /// Mean and variance of the input are those of the full network at the reference rates.
    #[test]
    fn scaling_keeps_mean_and_variance_of_the_input() {
        let input = |network: &Network, i: usize| {
            let target = &network.populations[i];
            let of_projection = |p: &Projection| {
                let source = POPULATIONS.iter().position(|name| *name == p.source).unwrap();
                let Rule::FixedTotalNumber(n) = p.rule else { panic!() };
                let Distribution::Normal { mean, .. } = p.weight else { panic!() };
                (mean, n as f64 / f64::from(target.size) * RATES[source])
            };
            let of_input = |input: &Input| match input {
                Input::Poisson { target: name, rate, weight, .. } if *name == target.name => Some((*weight, *rate)),
                _ => None,
            };
            let recurrent = network.projections.iter().filter(|p| p.target == target.name).map(of_projection);
            let all: Vec<(f64, f64)> = recurrent.chain(network.inputs.iter().filter_map(of_input)).collect();
            let mean = 0.5e-3 * all.iter().map(|(w, rate)| w * rate).sum::<f64>();
            let variance = all.iter().map(|(w, rate)| w * w * rate).sum::<f64>();
            (mean + neuron(network, i).i_offset.constant().unwrap(), variance)
        };
        for drive in [Drive::Dc, Drive::Poisson] {
            let (full, small) = (of(1.0, drive), of(0.2, drive));
            for i in 0..8 {
                let ((mean, variance), (m, v)) = (input(&full, i), input(&small, i));
                // Sizes are rounded to whole neurons.
                assert!((mean - m).abs() < 2.0 && (variance / v - 1.0).abs() < 3e-3, "{i}: {mean} {m} {variance} {v}");
            }
        }
        let full = of(1.0, Drive::Poisson);
        let Input::Poisson { rate, .. } = full.inputs[6] else { panic!() };
        assert_eq!(rate, 23_200.0);
        assert!(neuron(&full, 6).i_offset.constant().unwrap().abs() < 1e-9);
    }

    #[test]
    fn scales_that_cannot_be() {
        for (scale, word) in [(0.0, "above zero"), (-1.0, "above zero"), (f64::NAN, "above zero"), (4e-4, "L5I")] {
            let options = MicrocircuitOptions { scale, ..MicrocircuitOptions::default() };
            assert!(microcircuit(&options).unwrap_err().to_string().contains(word), "{scale}");
        }
    }
}
