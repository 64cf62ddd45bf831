//! Projections whose edges are in SONATA files.

use std::borrow::Cow;

use super::{Distribution, Edges, Network, Rule};
use crate::io::sonata::EdgePopulation;
use crate::{Error, Result};

impl Network {
    /// The network with the edges of files in it: each [`Rule::Sonata`] has become [`Rule::Edges`], with the file's
    /// weights (times its numbers of synapses) and delays where it has them. Node i of the file is neuron i of the
    /// population.
    ///
    /// # Errors
    /// `File` for what cannot be read; `InvalidArgument` where a file has numbers of synapses, and weights are drawn.
    pub fn with_files(&self) -> Result<Cow<'_, Self>> {
        if !self.projections.iter().any(|p| matches!(p.rule, Rule::Sonata { .. })) {
            return Ok(Cow::Borrowed(self));
        }
        let mut network = self.clone();
        for (number, projection) in network.projections.iter_mut().enumerate() {
            let Rule::Sonata { edges: file, population, edge_types } = &projection.rule else { continue };
            let found = EdgePopulation::read(file, population.as_deref(), edge_types.as_deref())?;
            if let Some(delays) = found.delays {
                projection.delay = Distribution::Values(delays);
            }
            let n = found.sources.len();
            let weights = match (found.weights, &projection.weight) {
                (Some(weights), _) => Some(weights),
                (None, Distribution::Constant(weight)) => Some(vec![*weight; n]),
                (None, _) => None,
            };
            match (weights, found.synapses) {
                (Some(weights), Some(synapses)) => {
                    let together = weights.iter().zip(synapses).map(|(w, n)| w * n).collect();
                    projection.weight = Distribution::Values(together);
                }
                (Some(weights), None) => projection.weight = Distribution::Values(weights),
                (None, Some(_)) => {
                    let why = format!("{} has numbers of synapses and no weights; give one weight", file.display());
                    return Err(Error::invalid(format!("weight of projection {number}"), why));
                }
                // They are drawn.
                (None, None) => {}
            }
            projection.rule = Rule::Edges(Edges { sources: found.sources, targets: found.targets });
        }
        Ok(Cow::Owned(network))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{BuildOptions, Connectivity, IafPscExp, Neuron, Population, Projection};
    use hdf5_pure::FileBuilder;

    #[test]
    fn edges_of_a_file_become_synapses() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = FileBuilder::new();
        let mut edges = file.create_group("edges");
        let mut population = edges.create_group("p");
        population.create_dataset("source_node_id").with_u64_data(&[2, 0, 1]);
        population.create_dataset("target_node_id").with_u64_data(&[1, 2, 0]);
        let mut group = population.create_group("0");
        group.create_dataset("delay").with_f64_data(&[0.1, 0.2, 0.3]);
        group.create_dataset("nsyns").with_u32_data(&[1, 2, 4]);
        population.add_group(group.finish());
        edges.add_group(population.finish());
        file.add_group(edges.finish());
        let path = folder.path().join("edges.h5");
        std::fs::write(&path, file.finish().unwrap()).unwrap();
        let neuron = Neuron::IafPscExp(IafPscExp::default());
        let population = Population { name: "A".into(), size: 3, neuron, v_initial: None, lattice_shape: None };
        let mut network = Network {
            populations: vec![population],
            projections: vec![Projection {
                source: "A".into(),
                target: "A".into(),
                rule: Rule::Sonata { edges: path, population: None, edge_types: None },
                weight: (-3.0).into(),
                delay: Distribution::default(),
                autapses: true,
                multapses: true,
                plasticity: None,
            }],
            ..Network::default()
        };
        network.check().unwrap();
        let built = Connectivity::build(&network, &BuildOptions::default()).unwrap();
        let table = &built.tables[0];
        let unit = 1 << built.exponents[0];
        let found: Vec<_> = (0..3).map(|i| (table.target(i), table.weight(i, i) / unit, table.delay(i))).collect();
        assert_eq!(found, [(2, -6, 2), (0, -12, 3), (1, -3, 1)]);
        // Numbers of synapses of weights that are drawn mean nothing; a node that is not there is refused.
        network.projections[0].weight = Distribution::normal(0.0, 1.0);
        let error = network.with_files().unwrap_err().to_string();
        assert!(error.contains("weight of projection 0") && error.contains("give one weight"), "{error}");
        network.projections[0].weight = 1.0.into();
        network.populations[0].size = 2;
        let error = Connectivity::build(&network, &BuildOptions::default()).unwrap_err().to_string();
        assert!(error.contains("edge 0 has source 2; the population has 2 neurons"), "{error}");
    }
}
