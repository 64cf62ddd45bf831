//! The description of a network.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Distribution;
use crate::ops::{IafCondExp, IafPscDelta, IafPscExp, Izhikevich, NeuronVariable, Stdp};
use crate::{Error, Result};

/// A network: what is simulated, as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// A name for reports.
    #[serde(default)]
    pub name: String,
    /// The time step in ms.
    #[serde(default = "default_dt")]
    pub dt: f64,
    /// The seed of everything that is drawn.
    #[serde(default)]
    pub seed: u64,
    /// Populations, in the order of their neurons.
    pub populations: Vec<Population>,
    /// Projections.
    #[serde(default)]
    pub projections: Vec<Projection>,
    /// What drives neurons beside synapses.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// State variables that are recorded.
    #[serde(default)]
    pub probes: Vec<Probe>,
}

fn default_dt() -> f64 {
    0.1
}

impl Default for Network {
    fn default() -> Self {
        Self {
            name: String::new(),
            dt: default_dt(),
            seed: 0,
            populations: Vec::new(),
            projections: Vec::new(),
            inputs: Vec::new(),
            probes: Vec::new(),
        }
    }
}

impl Network {
    /// The number of the population of this name.
    ///
    /// # Errors
    /// `InvalidArgument` with the names that there are.
    pub fn population(&self, name: &str) -> Result<usize> {
        self.populations.iter().position(|p| p.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.populations.iter().map(|p| p.name.as_str()).collect();
            Error::invalid("population", format!("\"{name}\" is unknown; there are {}", known.join(", ")))
        })
    }
}

/// Neurons of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// Its name, by which projections and inputs refer to it.
    pub name: String,
    /// Neurons.
    pub size: u32,
    /// The model and its parameters.
    pub neuron: Neuron,
    /// The membrane potential at the start, in mV; the model's resting potential if it is not given.
    #[serde(default)]
    pub v_initial: Option<Distribution>,
    /// The lattice on which the neurons sit, at most four axes, the last running fastest; for spatial orders.
    #[serde(default)]
    pub lattice_shape: Option<Vec<u32>>,
}

/// A neuron model with its parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Neuron {
    /// Leaky integrate-and-fire, exponential synaptic currents, integrated exactly.
    IafPscExp(IafPscExp<Distribution>),
    /// Leaky integrate-and-fire whose membrane jumps with each input.
    IafPscDelta(IafPscDelta<Distribution>),
    /// Leaky integrate-and-fire, exponential synaptic conductances.
    IafCondExp(IafCondExp<Distribution>),
    /// Izhikevich's quadratic neuron.
    Izhikevich(Izhikevich<Distribution>),
    /// Fires at random: in each step with probability `1 − exp(−rate·dt)`.
    PoissonSource {
        /// Spikes/s.
        rate: f64,
    },
    /// Fires when told to: for each neuron the times of its spikes in ms, ascending.
    SpikeSource {
        /// One list a neuron.
        times: Vec<Vec<f64>>,
    },
}

/// Synapses from one population to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// The name of the population whose spikes it carries.
    pub source: String,
    /// The name of the population that they reach.
    pub target: String,
    /// Who is connected to whom.
    pub rule: Rule,
    /// Weights: pA, mV or nS, as the target takes them; a negative one is inhibitory.
    #[serde(default = "missing")]
    pub weight: Distribution,
    /// Delays in ms, rounded to the nearest step; at least one step, at most 255.
    #[serde(default = "missing")]
    pub delay: Distribution,
    /// Whether a neuron may be connected to itself.
    #[serde(default = "yes")]
    pub autapses: bool,
    /// Whether two neurons may have several synapses.
    #[serde(default = "yes")]
    pub multapses: bool,
    /// Weights that change with the spikes of both sides; `None`: they do not.
    #[serde(default)]
    pub plasticity: Option<Stdp>,
}

/// What a description does not give; `Network::check` refuses it where no file gives it either.
fn missing() -> Distribution {
    Distribution::Constant(f64::NAN)
}

fn yes() -> bool {
    true
}

/// Who is connected to whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Rule {
    /// Every source to every target.
    AllToAll,
    /// Source i to target i.
    OneToOne,
    /// So many synapses, source and target of each drawn uniformly.
    FixedTotalNumber(u64),
    /// So many synapses onto each target, their sources drawn uniformly.
    FixedInDegree(u32),
    /// So many synapses from each source, their targets drawn uniformly.
    FixedOutDegree(u32),
    /// Each pair with this probability.
    FixedProbability(f64),
    /// Listed; `weight` and `delay` may be lists too.
    Edges(Edges),
    /// The edges of a population of a SONATA file; weights and delays are the file's where it has them.
    Sonata {
        /// The HDF5 file with `/edges`.
        edges: PathBuf,
        /// The population in `/edges`; may be left out where there is only one.
        #[serde(default)]
        population: Option<String>,
        /// The table of edge types, CSV.
        #[serde(default)]
        edge_types: Option<PathBuf>,
    },
}

/// Synapses one by one, by indices within the populations.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edges {
    /// Source of each synapse.
    pub sources: Vec<u32>,
    /// Target of each synapse.
    pub targets: Vec<u32>,
}

/// What drives neurons beside synapses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Input {
    /// Independent Poisson spikes to each neuron, through synapses of the given weight.
    Poisson {
        /// The population's name.
        target: String,
        /// Spikes/s to each neuron.
        rate: f64,
        /// pA, mV or nS, as the target takes them.
        weight: f64,
        /// From this time on, ms.
        #[serde(default)]
        start: f64,
        /// Until before this time, ms.
        #[serde(default = "forever")]
        stop: f64,
    },
    /// A current beside `i_offset`, switched on and off.
    Dc {
        /// The population's name.
        target: String,
        /// pA.
        amplitude: f64,
        /// From this time on, ms.
        #[serde(default)]
        start: f64,
        /// Until before this time, ms.
        #[serde(default = "forever")]
        stop: f64,
    },
}

fn forever() -> f64 {
    f64::INFINITY
}

/// A state variable of some neurons, recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The population's name.
    pub population: String,
    /// Which variable.
    pub variable: Variable,
    /// Indices within the population.
    pub neurons: Vec<u32>,
    /// Every so many ms; each step if it is not given.
    #[serde(default)]
    pub interval: Option<f64>,
}

/// A state variable of a neuron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Variable {
    /// Membrane potential, mV.
    V,
    /// Excitatory current (pA) or conductance (nS).
    Excitatory,
    /// Inhibitory current (pA) or conductance (nS).
    Inhibitory,
    /// The synaptic current, pA, in networks whose excitatory and inhibitory currents all have one time constant and are
    /// kept as one.
    Synaptic,
    /// Rise of the threshold (mV) or recovery variable.
    Recovery,
}

impl From<Variable> for NeuronVariable {
    fn from(variable: Variable) -> Self {
        match variable {
            Variable::V => Self::V,
            Variable::Excitatory => Self::Excitatory,
            Variable::Inhibitory => Self::Inhibitory,
            Variable::Synaptic => Self::Synaptic,
            Variable::Recovery => Self::Recovery,
        }
    }
}
