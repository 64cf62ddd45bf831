//! Networks as RON files.

use std::path::{Path, PathBuf};

use ron::ser::PrettyConfig;

use super::{Network, Rule};
use crate::io::{ron_text, write_atomically};
use crate::{Error, Result};

impl Network {
    /// Reads a description. Paths in it that are relative are relative to the file.
    ///
    /// # Errors
    /// `File` with line, column and the field's name for anything that is missing, unknown or of the wrong type.
    pub fn from_ron(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        let mut network = ron_text::parse::<Self>(&text).map_err(|message| Error::file(path, message))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        network.move_files(|file| folder.join(file));
        Ok(network)
    }

    /// Writes the description, so that [`Network::from_ron`] gives it back. Files that it names and that lie in the
    /// folder of `path` are named relative to it, others by their absolute paths.
    ///
    /// # Errors
    /// `File` when it cannot be written; then what was there stays.
    pub fn to_ron(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let absolute = |file: &Path| std::path::absolute(file).map_err(|e| Error::file(file, e));
        let target = absolute(path)?;
        let folder = target.parent().unwrap_or(Path::new(""));
        let mut written = self.clone();
        let mut failed = None;
        written.move_files(|file| match absolute(file) {
            Ok(file) => file.strip_prefix(folder).map(Path::to_path_buf).unwrap_or(file),
            Err(error) => {
                failed = Some(error);
                file.into()
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let pretty = PrettyConfig::new().compact_arrays(true).indentor("    ");
        let text = ron_text::options().to_string_pretty(&written, pretty);
        let text = text.map_err(|e| Error::file(path, format_args!("cannot be written ({e})")))?;
        write_atomically(path, |file| std::io::Write::write_all(file, (text + "\n").as_bytes()))
    }

    fn move_files(&mut self, mut to: impl FnMut(&Path) -> PathBuf) {
        for projection in &mut self.projections {
            if let Rule::Sonata { edges, edge_types, .. } = &mut projection.rule {
                for file in std::iter::once(edges).chain(edge_types) {
                    *file = to(file);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::models::{self, BrunelOptions, MicrocircuitOptions, VogelsAbbottOptions};
    use crate::network::{Distribution, Input, Neuron};

    const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/networks/balanced.ron");

    #[test]
    fn the_example_is_read_as_it_is_written() {
        let network = Network::from_ron(EXAMPLE).unwrap();
        assert_eq!(network.populations.iter().map(|p| p.size).sum::<u32>(), 1000);
        let Neuron::IafPscExp(neuron) = &network.populations[0].neuron else { panic!() };
        assert_eq!(neuron.tau_mem, Distribution::truncated(10.0, 0.5, 5.0, f64::INFINITY));
        assert_eq!(neuron.c_mem, Distribution::Constant(250.0));
        assert_eq!(network.populations[1].v_initial, Some(Distribution::uniform(-65.0, -50.0)));
        assert!(!network.projections[3].autapses && network.projections[0].autapses);
        assert!(matches!(network.inputs[0], Input::Poisson { stop, .. } if stop == f64::INFINITY));
        assert_eq!(network.probes[0].interval, Some(1.0));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.ron");
        for network in [
            Network::from_ron(EXAMPLE).unwrap(),
            models::microcircuit(&MicrocircuitOptions { scale: 0.01, ..Default::default() }).unwrap(),
            models::cuba(&VogelsAbbottOptions::default()).unwrap(),
            models::coba(&VogelsAbbottOptions::default()).unwrap(),
            models::brunel(&BrunelOptions::default()).unwrap(),
        ] {
            network.to_ron(&path).unwrap();
            assert_eq!(Network::from_ron(&path).unwrap(), network);
        }
    }

    #[test]
    fn files_are_beside_the_network() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.ron");
        let text = "(populations: [], projections: [(source: \"a\", target: \"a\", \
                    weight: 1.0, delay: 1.0, rule: Sonata(edges: \"sub/edges.h5\", edge_types: \"/types.csv\"))])";
        std::fs::write(&path, text).unwrap();
        let network = Network::from_ron(&path).unwrap();
        let Rule::Sonata { edges, edge_types, population } = &network.projections[0].rule else { panic!() };
        assert_eq!(*edges, folder.path().join("sub/edges.h5"));
        assert_eq!((edge_types.as_deref(), population), (Some(Path::new("/types.csv")), &None));
        // Moved along with its folder, they still are; moved away, they stay.
        network.to_ron(&path).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.contains("edges: \"sub/edges.h5\"") && written.contains("\"/types.csv\""), "{written}");
        assert_eq!(Network::from_ron(&path).unwrap(), network);
        let other = tempfile::tempdir().unwrap();
        network.to_ron(other.path().join("n.ron")).unwrap();
        assert_eq!(Network::from_ron(other.path().join("n.ron")).unwrap(), network);
    }

    #[test]
    fn mistakes_are_told_with_line_and_field() {
        let population = |fields: &str| format!("(\n  populations: [\n    ({fields}),\n  ],\n)");
        let mut wrong = Vec::new();
        for (text, words) in [
            (population("name: \"E\", neuron: IafPscExp()"), &["line 3", "populations[0]", "\"size\" is missing"][..]),
            (
                population("name: \"E\", size: \"a\", neuron: IafPscExp()"),
                &["line 3", "column 23", "populations[0].size"],
            ),
            (population("name: \"E\", size: -5, neuron: IafPscExp()"), &["line 3", "populations[0].size"]),
            (population("name: \"E\", size: 1.5, neuron: IafPscExp()"), &["line 3", "populations[0]"]),
            (
                population("name: \"E\", size: 5, neuron: IafPscExp(tau_m: 1.0)"),
                &["line 3", "populations[0].neuron", "no field \"tau_m\"", "tau_mem"],
            ),
            (
                population("name: \"E\", size: 5, neuron: IafPscExp(tau_mem: \"a\")"),
                &["line 3", "populations[0].neuron", "tau_mem", "a number, a list of numbers", "\"a\""],
            ),
            (
                population("name: \"E\", size: 5, neuron: IafPscExp(tau_mem: (mean: 1.0))"),
                &["line 3", "tau_mem", "mean and std, or low and high"],
            ),
            (
                population("name: \"E\", size: 5, neuron: IafPscExp(tau_mem: (meen: 1.0))"),
                &["line 3", "tau_mem", "\"meen\" is not one of"],
            ),
            (
                population("name: \"E\", size: 5, neuron: Iaf()"),
                &["line 3", "populations[0].neuron", "\"Iaf\" is none of", "IafPscExp"],
            ),
            (population("name: \"E\", size: 5, size: 6, neuron: IafPscExp()"), &["line 3", "\"size\" is given twice"]),
            ("(\n populations: [\n (name: \"E\", size: 5,".into(), &["line 3", "ends too early"]),
            (String::new(), &["line 1, column 1", "opening `(`"]),
            ("()".into(), &["line 1", "\"populations\" is missing"]),
            ("(populations: []) x".into(), &["line 1", "follows behind"]),
            (
                "(populations: [],\n projections: [(source: \"a\", target: \"b\", rule: FixedInDegree(-1))])".into(),
                &["line 2", "projections[0].rule"],
            ),
            (
                "(populations: [],\n inputs: [Poisson(target: \"a\", weight: 1.0)])".into(),
                &["line 2", "inputs[0]", "\"rate\" is missing"],
            ),
            (
                "(populations: [],\n inputs: [Dc(target: \"a\", amplitude: 1.0, strat: 5.0)])".into(),
                &["line 2", "inputs[0]", "no field \"strat\"", "start"],
            ),
            (
                "(populations: [],\n projections: [(source: \"a\", target: \"b\", rule: Sonata(edge: \"x\"))])".into(),
                &["line 2", "projections[0].rule", "no field \"edge\""],
            ),
            (
                population("name: \"E\", size: 5, neuron: PoissonSource(rate: 1.0, rat: 2.0)"),
                &["line 3", "populations[0].neuron", "no field \"rat\""],
            ),
        ] {
            let told = ron_text::parse::<Network>(&text).unwrap_err();
            if words.iter().any(|word| !told.contains(word)) {
                wrong.push(format!("{text}: {words:?} are not all in: {told}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let missing = Network::from_ron("no/such.ron").unwrap_err();
        assert!(missing.to_string().starts_with("no/such.ron: "), "{missing}");
    }
}
