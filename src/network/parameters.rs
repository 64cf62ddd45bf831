//! From the description of a population to the parameters of each neuron.

use super::{Distribution, Network, Neuron};
use crate::Result;
use crate::ops::NeuronModel;
use crate::ops::lif::PerNeuron;

impl Network {
    /// The values of parameter number `parameter` of population `p`.
    fn drawn(&self, p: usize, parameter: u32, values: &Distribution) -> PerNeuron {
        values.draw(self.populations[p].size as usize, self.seed, p as u32, parameter)
    }

    /// The membrane potentials at the start, mV.
    pub(super) fn initial_potential(&self, p: usize) -> Option<PerNeuron> {
        self.populations[p].v_initial.as_ref().map(|v| self.drawn(p, 0, v))
    }

    /// The model with its parameters drawn.
    pub(super) fn neuron_model(&self, p: usize) -> Result<NeuronModel> {
        let mut parameter = 0;
        let mut draw = |_: &'static str, values: &Distribution| {
            parameter += 1;
            Ok(self.drawn(p, parameter, values))
        };
        Ok(match &self.populations[p].neuron {
            Neuron::IafPscExp(m) => NeuronModel::IafPscExp(m.try_map(&mut draw)?),
            Neuron::IafPscDelta(m) => NeuronModel::IafPscDelta(m.try_map(&mut draw)?),
            Neuron::IafCondExp(m) => NeuronModel::IafCondExp(m.try_map(&mut draw)?),
            Neuron::Izhikevich(m) => NeuronModel::Izhikevich(m.try_map(&mut draw)?),
            Neuron::PoissonSource { rate } => NeuronModel::PoissonSource { rate: *rate, stream: p as u32 },
            // A spike at time t is one of the step that ends then.
            Neuron::SpikeSource { times } => {
                let step = |time: &f64| ((time / self.dt).round() - 1.0).max(0.0) as u32;
                NeuronModel::SpikeSource { steps: times.iter().map(|t| t.iter().map(step).collect()).collect() }
            }
        })
    }
}
