//! SONATA: edges and spikes of large networks in HDF5, types of edges as a table of text.
//!
//! K. Dai et al., PLoS Comput. Biol. 16, e1007696 (2020). Read are populations of edges, with the tables of their types,
//! and spikes, in their present and their first layout. A node's identifier is its index in its population.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

use super::hdf5::Reader;
use crate::{Error, Result};

/// The root attribute `magic` of a SONATA file.
const MAGIC: u64 = 0x0A7A;
/// Largest table of edge types that is read.
const LARGEST_TABLE: u64 = 64 << 20;

/// A population of edges. Lists have one element an edge, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgePopulation {
    /// Its name in the file.
    pub name: String,
    /// The population of nodes that edges come from, if the file names it.
    pub source_population: Option<String>,
    /// The population of nodes that they go to, if the file names it.
    pub target_population: Option<String>,
    /// Source nodes.
    pub sources: Vec<u32>,
    /// Target nodes.
    pub targets: Vec<u32>,
    /// `syn_weight`: of the edge's group, or else of its type.
    pub weights: Option<Vec<f64>>,
    /// `delay` in ms: of the edge's group, or else of its type.
    pub delays: Option<Vec<f64>>,
    /// `nsyns`, how many synapses of this weight an edge stands for: of its group, or else of its type.
    pub synapses: Option<Vec<f64>>,
}

impl EdgePopulation {
    /// Reads population `population` of `file`, or its only one, with the types of edges in the table `types`.
    ///
    /// # Errors
    /// `File` with the dataset or the line, and the edge or the field, for what is missing or contradicts itself.
    pub fn read(file: impl AsRef<Path>, population: Option<&str>, types: Option<&Path>) -> Result<Self> {
        let reader = Reader::open(file)?;
        check_file(&reader, "edges")?;
        let name = choose(&reader, "edges", population)?;
        let at = |dataset: &str| format!("edges/{name}/{dataset}");
        let sources = integers(&reader, &at("source_node_id"))?;
        let n = sources.len();
        let column = |dataset: &str| sized(&reader, &at(dataset), n);
        let targets = column("target_node_id")?;
        let group = format!("edges/{name}");
        let types = match types {
            Some(table) => {
                let types = EdgeTypes::read(table)?;
                Some((types.rows_of(&reader, &at("edge_type_id"), &column("edge_type_id")?)?, types))
            }
            None => None,
        };
        // Files with one group may leave out who is in which.
        let places = match reader.has(&group, "edge_group_id")? {
            true => Some((column("edge_group_id")?, column("edge_group_index")?)),
            false => None,
        };
        let attribute = |field: &str| attribute(&reader, &group, places.as_ref(), types.as_ref(), field, n);
        check_indices(&reader, &group, "source_to_target", "source_node_id", &sources)?;
        check_indices(&reader, &group, "target_to_source", "target_node_id", &targets)?;
        Ok(Self {
            source_population: text_attribute(&reader, &at("source_node_id"), "node_population")?,
            target_population: text_attribute(&reader, &at("target_node_id"), "node_population")?,
            weights: attribute("syn_weight")?,
            delays: attribute("delay")?,
            synapses: attribute("nsyns")?,
            name,
            sources,
            targets,
        })
    }
}

/// Spikes of a population of nodes, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Spikes {
    /// The population of nodes, if the file names it.
    pub population: Option<String>,
    /// Nodes.
    pub nodes: Vec<u32>,
    /// Times in ms.
    pub times: Vec<f64>,
}

impl Spikes {
    /// Reads the spikes of population `population` of `file`, or those of its only one.
    ///
    /// # Errors
    /// `File` with the dataset for what is missing or contradicts itself.
    pub fn read(file: impl AsRef<Path>, population: Option<&str>) -> Result<Self> {
        let reader = Reader::open(file)?;
        check_file(&reader, "spikes")?;
        // In the first layout nodes were called gids, and all populations were one.
        let (name, group, nodes) = if reader.has("spikes", "gids")? {
            if let Some(wanted) = population {
                return Err(reader.error(format_args!("/spikes has no populations, and \"{wanted}\" was asked for")));
            }
            (None, "spikes".to_string(), "gids")
        } else {
            let name = choose(&reader, "spikes", population)?;
            let group = format!("spikes/{name}");
            (Some(name), group, "node_ids")
        };
        let dataset = format!("{group}/timestamps");
        let times = reader.numbers(&dataset)?.values;
        if let Some(i) = times.iter().position(|t| !t.is_finite()) {
            return Err(reader.error(format_args!("dataset {dataset}: spike {i} is at {}", times[i])));
        }
        match text_attribute(&reader, &dataset, "units")?.as_deref() {
            None | Some("ms") => {}
            Some(other) => {
                return Err(reader.error(format_args!("dataset {dataset}: units are \"{other}\", not \"ms\"")));
            }
        }
        let nodes = sized(&reader, &format!("{group}/{nodes}"), times.len())?;
        Ok(Self { population: name, nodes, times })
    }

    /// The times of each of `n` nodes, ascending, as a source of spikes takes them.
    ///
    /// # Errors
    /// `InvalidArgument` for a spike of a node above.
    pub fn of_nodes(&self, n: u32) -> Result<Vec<Vec<f64>>> {
        let mut times = vec![Vec::new(); n as usize];
        for (&node, &time) in self.nodes.iter().zip(&self.times) {
            let Some(times) = times.get_mut(node as usize) else {
                return Err(Error::invalid("spikes", format!("node {node} spikes; there are {n} nodes")));
            };
            times.push(time);
        }
        times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
        Ok(times)
    }
}

/// Checks that this is a SONATA file with a group of this name.
fn check_file(reader: &Reader, group: &str) -> Result<()> {
    if !reader.has("", group)? {
        return Err(reader.error(format_args!("there is no group /{group}")));
    }
    // Old files and those of inputs often have none.
    match reader.group_attributes("/")?.get("magic").map(|magic| magic.as_u64()) {
        None | Some(Some(MAGIC)) => return Ok(()),
        _ => {}
    }
    Err(reader.error(format_args!("is not a SONATA file: its attribute \"magic\" is not {MAGIC}")))
}

/// The population of this name in a group, or the only one.
fn choose(reader: &Reader, group: &str, wanted: Option<&str>) -> Result<String> {
    let mut names = reader.groups(group)?;
    names.sort_unstable();
    let known = names.join(", ");
    match (wanted, &names[..]) {
        (Some(wanted), names) if names.iter().any(|n| n == wanted) => Ok(wanted.into()),
        (_, []) => Err(reader.error(format_args!("/{group} holds no population"))),
        (Some(wanted), _) => {
            Err(reader.error(format_args!("/{group} has no population \"{wanted}\"; there are {known}")))
        }
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(reader.error(format_args!("/{group} has several populations, {known}; name one"))),
    }
}

fn text_attribute(reader: &Reader, dataset: &str, name: &str) -> Result<Option<String>> {
    let found = reader.attributes(dataset)?.remove(name);
    Ok(found.and_then(|text| Some(text.as_str()?.trim_end_matches(['\0', ' ']).to_string())))
}

/// A one-dimensional dataset of numbers from 0 to 2^32 − 1.
fn integers(reader: &Reader, dataset: &str) -> Result<Vec<u32>> {
    let array = reader.numbers(dataset)?;
    if array.shape.len() != 1 {
        return Err(reader.error(format_args!("dataset {dataset} has shape {:?}; it must be a list", array.shape)));
    }
    let whole = |v: &f64| v.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(v);
    if let Some(i) = array.values.iter().position(|v| !whole(v)) {
        let value = array.values[i];
        return Err(
            reader.error(format_args!("dataset {dataset}: element {i} is {value}; a number from 0 to 2^32 - 1"))
        );
    }
    Ok(array.values.into_iter().map(|v| v as u32).collect())
}

/// The same with as many elements as there are edges or spikes.
fn sized(reader: &Reader, dataset: &str, n: usize) -> Result<Vec<u32>> {
    let values = integers(reader, dataset)?;
    if values.len() != n {
        return Err(reader.error(format_args!("dataset {dataset} has {} elements; {n} are needed", values.len())));
    }
    Ok(values)
}

/// A field of every edge: of its group, or else of its type; `None` where no edge has it.
fn attribute(
    reader: &Reader,
    population: &str,
    places: Option<&(Vec<u32>, Vec<u32>)>,
    types: Option<&(Vec<u32>, EdgeTypes)>,
    field: &str,
    n: usize,
) -> Result<Option<Vec<f64>>> {
    let mut groups: HashMap<u32, Option<Vec<f64>>> = HashMap::new();
    let mut values = Vec::with_capacity(n);
    let mut without = None;
    for i in 0..n {
        let (group, index) = places.map_or((0, i), |(groups, indices)| (groups[i], indices[i] as usize));
        let of_group = match groups.entry(group) {
            std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let path = format!("{population}/{group}");
                let there = reader.has(population, &group.to_string())? && reader.has(&path, field)?;
                new.insert(if there { Some(reader.numbers(&format!("{path}/{field}"))?.values) } else { None })
            }
        };
        let value = match (of_group, types) {
            (Some(of_group), _) => Some(*of_group.get(index).ok_or_else(|| {
                let n = of_group.len();
                reader.error(format_args!(
                    "dataset {population}/{group}/{field} has {n} elements; edge {i} is number {index}"
                ))
            })?),
            (None, Some((rows, types))) => types.value(rows[i], field),
            (None, None) => None,
        };
        match value {
            Some(value) if value.is_finite() => values.push(value),
            Some(value) => return Err(reader.error(format_args!("{field} of edge {i} of {population} is {value}"))),
            None => without = without.or(Some(i)),
        }
    }
    match without {
        None if n > 0 => Ok(Some(values)),
        Some(i) if !values.is_empty() => {
            Err(reader.error(format_args!("edge {i} of {population} has no {field}, and others have one")))
        }
        _ => Ok(None),
    }
}

/// Checks that an index, if there is one, lists each edge once, under its own node.
fn check_indices(reader: &Reader, population: &str, index: &str, column: &str, nodes: &[u32]) -> Result<()> {
    if !reader.has(population, "indices")? || !reader.has(&format!("{population}/indices"), index)? {
        return Ok(());
    }
    let group = format!("{population}/indices/{index}");
    // The guide has the plural, files have the singular.
    let plural = reader.has(&group, "node_id_to_ranges")?;
    let ranges_of = format!("{group}/node_id_to_range{}", if plural { "s" } else { "" });
    let edges_of = format!("{group}/range_to_edge_id");
    let (node_ranges, edge_ranges) = (ranges(reader, &ranges_of)?, ranges(reader, &edges_of)?);
    let mut listed = 0;
    for (node, range) in node_ranges.iter().enumerate() {
        let Some(of_node) = edge_ranges.get(range.clone()) else {
            let n = edge_ranges.len();
            return Err(reader.error(format_args!("dataset {ranges_of}: node {node} has ranges {range:?} of {n}")));
        };
        for range in of_node {
            let Some(edges) = nodes.get(range.clone()) else {
                let n = nodes.len();
                return Err(reader.error(format_args!("dataset {edges_of}: node {node} has edges {range:?} of {n}")));
            };
            if let Some(i) = edges.iter().position(|&e| e as usize != node) {
                return Err(reader.error(format_args!(
                    "dataset {edges_of} lists edge {} under node {node}; in {column} it has {}",
                    range.start + i,
                    edges[i]
                )));
            }
            listed += edges.len();
        }
    }
    // Ranges of different nodes hold different edges; those of one node might hold one edge twice.
    let mut all = edge_ranges;
    all.retain(|range| !range.is_empty());
    all.par_sort_unstable_by_key(|range| range.start);
    if let Some(two) = all.windows(2).find(|w| w[0].end > w[1].start) {
        return Err(reader.error(format_args!("dataset {edges_of} lists edge {} twice", two[1].start)));
    }
    if listed != nodes.len() {
        return Err(reader.error(format_args!("{group} lists {listed} edges of {}", nodes.len())));
    }
    Ok(())
}

/// A dataset of beginnings and ends; those of nothing are empty, whatever they are.
fn ranges(reader: &Reader, dataset: &str) -> Result<Vec<std::ops::Range<usize>>> {
    let array = reader.numbers(dataset)?;
    let [_, 2] = array.shape[..] else {
        return Err(reader.error(format_args!("dataset {dataset} has shape {:?}; it must be (n, 2)", array.shape)));
    };
    let range = |w: &[f64]| if w[0] < w[1] { w[0] as usize..w[1] as usize } else { 0..0 };
    Ok(array.values.chunks_exact(2).map(range).collect())
}

/// A table of edge types: text, one line a type, columns divided by a space, the first line with their names.
#[derive(Debug)]
struct EdgeTypes {
    columns: HashMap<String, usize>,
    /// Identifier and fields of each type; `None` where there is nothing.
    rows: Vec<Vec<Option<f64>>>,
    row_of: HashMap<u32, u32>,
    path: std::path::PathBuf,
}

/// The columns that are read.
const FIELDS: [&str; 3] = ["syn_weight", "delay", "nsyns"];

impl EdgeTypes {
    fn read(path: &Path) -> Result<Self> {
        let cannot = |e: std::io::Error| Error::file(path, format_args!("cannot be read ({e})"));
        let bytes = std::fs::metadata(path).map_err(cannot)?.len();
        if bytes > LARGEST_TABLE {
            let (is, most) = (crate::bytes(bytes), crate::bytes(LARGEST_TABLE));
            return Err(Error::file(path, format_args!("has {is}; the largest table that is read has {most}")));
        }
        let text = std::fs::read_to_string(path).map_err(cannot)?;
        let wrong = |line: usize, why: String| Error::file(path, format_args!("line {}: {why}", line + 1));
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let (at, header) = lines.next().ok_or_else(|| wrong(0, "the names of the columns are missing".into()))?;
        let header = split(header).map_err(|why| wrong(at, why))?;
        let mut columns = HashMap::new();
        for (i, name) in header.iter().enumerate() {
            if columns.insert(name.clone(), i).is_some() {
                return Err(wrong(at, format!("column {name} is there twice")));
            }
        }
        let Some(&identifier) = columns.get("edge_type_id") else {
            return Err(wrong(at, "there is no column edge_type_id".into()));
        };
        let (mut rows, mut row_of) = (Vec::new(), HashMap::new());
        for (at, line) in lines {
            let fields = split(line).map_err(|why| wrong(at, why))?;
            if fields.len() != header.len() {
                return Err(wrong(
                    at,
                    format!("there are {} fields; {} columns have names", fields.len(), header.len()),
                ));
            }
            let id = fields[identifier].parse::<u32>();
            let id = id.map_err(|_| wrong(at, format!("edge_type_id is \"{}\", not a number", fields[identifier])))?;
            if row_of.insert(id, rows.len() as u32).is_some() {
                return Err(wrong(at, format!("edge type {id} is there twice")));
            }
            let mut values = vec![None; header.len()];
            for (name, &i) in columns.iter().filter(|(name, _)| FIELDS.contains(&name.as_str())) {
                let text = fields[i].as_str();
                if !["", "NULL", "NaN", "nan", "None"].contains(&text) {
                    let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
                    let value = value.ok_or_else(|| wrong(at, format!("{name} is \"{text}\", not a number")))?;
                    values[i] = Some(value);
                }
            }
            rows.push(values);
        }
        Ok(Self { columns, rows, row_of, path: path.into() })
    }

    /// The row of each edge's type.
    fn rows_of(&self, reader: &Reader, dataset: &str, types: &[u32]) -> Result<Vec<u32>> {
        let row = |(i, id): (usize, &u32)| {
            self.row_of.get(id).copied().ok_or_else(|| {
                let table = self.path.display();
                reader.error(format_args!("dataset {dataset}: edge {i} has type {id}, which {table} does not list"))
            })
        };
        types.iter().enumerate().map(row).collect()
    }

    fn value(&self, row: u32, field: &str) -> Option<f64> {
        self.rows[row as usize][*self.columns.get(field)?]
    }
}

/// The fields of a line. Between double quotes a space is a character.
fn split(line: &str) -> std::result::Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.trim_end().chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => fields.push(String::new()),
            c => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    if quoted { Err("a double quote is not closed".into()) } else { Ok(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdf5_pure::{AttrValue, DatasetBuilder, FileBuilder};
    use std::path::PathBuf;

    /// Two groups: 0 with weights and delays, 1 with weights alone; by default those of a file without mistakes.
    struct File {
        magic: u32,
        sources: Vec<u64>,
        targets: Vec<u64>,
        types: Vec<u32>,
        group_index: Vec<u32>,
        weights: Vec<f32>,
        edge_ranges: Vec<i64>,
        units: &'static str,
        populations: Vec<&'static str>,
    }

    impl Default for File {
        fn default() -> Self {
            Self {
                magic: 0x0A7A,
                sources: vec![2, 0, 0, 1],
                targets: vec![1, 0, 3, 3],
                types: vec![100, 7, 7, 100],
                group_index: vec![0, 1, 0, 1],
                weights: vec![1.5, -2.0],
                edge_ranges: vec![1, 3, 3, 4, 0, 1],
                units: "ms",
                populations: vec!["a_to_b"],
            }
        }
    }

    const TABLE: &str = "edge_type_id target_query syn_weight delay\n100 \"ei == 'e'\" 9 2.5\n7 * NULL 1\n";

    impl File {
        fn write(&self, folder: &Path, table: &str) -> (PathBuf, PathBuf) {
            let mut file = FileBuilder::new();
            file.set_attr("magic", AttrValue::U32(self.magic));
            let mut edges = file.create_group("edges");
            for name in &self.populations {
                let mut population = edges.create_group(name);
                let ends = |dataset: &mut DatasetBuilder, values: &[u64], nodes: &str| {
                    dataset.with_u64_data(values).set_attr("node_population", AttrValue::VarLenString(nodes.into()));
                };
                ends(population.create_dataset("source_node_id"), &self.sources, "a");
                ends(population.create_dataset("target_node_id"), &self.targets, "b");
                population.create_dataset("edge_type_id").with_u32_data(&self.types);
                population.create_dataset("edge_group_id").with_u16_data(&[0, 0, 1, 1]);
                population.create_dataset("edge_group_index").with_u32_data(&self.group_index);
                let mut group = population.create_group("0");
                group.create_dataset("syn_weight").with_f32_data(&self.weights);
                group.create_dataset("delay").with_f64_data(&[0.5, 0.75]);
                population.add_group(group.finish());
                let mut group = population.create_group("1");
                group.create_dataset("syn_weight").with_f64_data(&[4.0, 8.0]);
                group.create_dataset("nsyns").with_u16_data(&[3, 5]);
                population.add_group(group.finish());
                let mut indices = population.create_group("indices");
                let mut index = indices.create_group("source_to_target");
                index.create_dataset("node_id_to_range").with_i64_data(&[0, 1, 1, 2, 2, 3, -1, -1]).with_shape(&[4, 2]);
                let ranges = self.edge_ranges.len() as u64 / 2;
                index.create_dataset("range_to_edge_id").with_i64_data(&self.edge_ranges).with_shape(&[ranges, 2]);
                indices.add_group(index.finish());
                population.add_group(indices.finish());
                edges.add_group(population.finish());
            }
            file.add_group(edges.finish());
            let mut spikes = file.create_group("spikes");
            let mut group = spikes.create_group("a");
            let units = AttrValue::VarLenString(self.units.into());
            group.create_dataset("timestamps").with_f64_data(&[3.0, 1.0, 2.0]).set_attr("units", units);
            group.create_dataset("node_ids").with_u64_data(&[1, 1, 0]);
            spikes.add_group(group.finish());
            file.add_group(spikes.finish());
            let (path, types) = (folder.join("edges.h5"), folder.join("types.csv"));
            std::fs::write(&path, file.finish().unwrap()).unwrap();
            std::fs::write(&types, table).unwrap();
            (path, types)
        }
    }

    #[test]
    fn edges_take_fields_from_their_group_or_type() {
        let folder = tempfile::tempdir().unwrap();
        // Without nsyns, which group 0 does not have.
        let table =
            TABLE.replace("delay\n", "delay nsyns\n").replace(" 2.5\n", " 2.5 2\n").replace("NULL 1\n", "NULL 1 1\n");
        let (file, types) = File::default().write(folder.path(), &table);
        let edges = EdgePopulation::read(&file, None, Some(&types)).unwrap();
        let expected = EdgePopulation {
            name: "a_to_b".into(),
            source_population: Some("a".into()),
            target_population: Some("b".into()),
            sources: vec![2, 0, 0, 1],
            targets: vec![1, 0, 3, 3],
            weights: Some(vec![1.5, -2.0, 4.0, 8.0]),
            // Edge 2 has type 7, edge 3 type 100.
            delays: Some(vec![0.5, 0.75, 1.0, 2.5]),
            synapses: Some(vec![2.0, 1.0, 3.0, 5.0]),
        };
        assert_eq!(edges, expected);
        assert_eq!(EdgePopulation::read(&file, Some("a_to_b"), Some(&types)).unwrap(), expected);
    }

    #[test]
    fn mistakes_of_edges_are_named_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |file: File, table: &str, population: Option<&str>, words: &str| {
            let (path, types) = file.write(folder.path(), table);
            let error = EdgePopulation::read(&path, population, Some(&types)).expect_err(words).to_string();
            assert!(error.contains(words), "{error} does not say {words}");
            assert!(error.contains("edges.h5: ") || error.contains("types.csv: "), "{error}");
        };
        let file = File::default;
        refused(File { magic: 1, ..file() }, TABLE, None, "not a SONATA file");
        refused(file(), TABLE, Some("b_to_a"), "no population \"b_to_a\"; there are a_to_b");
        refused(File { populations: vec!["y", "x"], ..file() }, TABLE, None, "several populations, x, y; name one");
        refused(File { populations: vec![], ..file() }, TABLE, None, "/edges holds no population");
        refused(
            File { sources: vec![2, 0, 0, 1 << 33], ..file() },
            TABLE,
            None,
            "dataset edges/a_to_b/source_node_id: element 3 is 8589934592",
        );
        refused(
            File { targets: vec![1, 0], ..file() },
            TABLE,
            None,
            "dataset edges/a_to_b/target_node_id has 2 elements; 4 are needed",
        );
        refused(File { types: vec![100, 7, 8, 7], ..file() }, TABLE, None, "edge_type_id: edge 2 has type 8, which");
        refused(
            File { group_index: vec![0, 2, 0, 1], ..file() },
            TABLE,
            None,
            "dataset edges/a_to_b/0/syn_weight has 2 elements; edge 1 is number 2",
        );
        refused(
            File { weights: vec![1.5, f32::NAN], ..file() },
            TABLE,
            None,
            "syn_weight of edge 1 of edges/a_to_b is NaN",
        );
        refused(file(), TABLE, None, "edge 0 of edges/a_to_b has no nsyns");
        refused(
            File { edge_ranges: vec![1, 3, 0, 1, 3, 4], ..file() },
            TABLE,
            None,
            "range_to_edge_id lists edge 0 under node 1; in source_node_id it has 2",
        );
        refused(File { edge_ranges: vec![1, 3, 3, 4, 0, 9], ..file() }, TABLE, None, "node 2 has edges 0..9 of 4");
        refused(File { edge_ranges: vec![1, 3, 3, 4, 0, 0], ..file() }, TABLE, None, "lists 3 edges of 4");
        refused(File { edge_ranges: vec![1, 3, 3, 4], ..file() }, TABLE, None, "node 2 has ranges 2..3 of 2");
        for (table, words) in [
            ("", "line 1: the names of the columns are missing"),
            ("id delay\n1 2\n", "line 1: there is no column edge_type_id"),
            ("edge_type_id delay delay\n", "line 1: column delay is there twice"),
            ("edge_type_id delay\n100 1\n\n7\n", "line 4: there are 1 fields; 2 columns have names"),
            ("edge_type_id delay\nx 1\n", "line 2: edge_type_id is \"x\", not a number"),
            ("edge_type_id delay\n100 1\n100 2\n", "line 3: edge type 100 is there twice"),
            ("edge_type_id delay\n100 1\n7 two\n", "line 3: delay is \"two\", not a number"),
            ("edge_type_id delay\n100 \"1\n", "line 2: a double quote is not closed"),
        ] {
            refused(file(), table, None, words);
        }
        let (path, _) = file().write(folder.path(), TABLE);
        let error = EdgePopulation::read(&path, None, Some(Path::new("/nowhere.csv"))).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere.csv: cannot be read"), "{error}");
    }

    #[test]
    fn files_without_groups_types_and_index_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = FileBuilder::new();
        let mut edges = file.create_group("edges");
        let mut population = edges.create_group("p");
        population.create_dataset("source_node_id").with_i64_data(&[0, 1]);
        population.create_dataset("target_node_id").with_i64_data(&[1, 0]);
        edges.add_group(population.finish());
        file.add_group(edges.finish());
        let path = folder.path().join("edges.h5");
        std::fs::write(&path, file.finish().unwrap()).unwrap();
        let edges = EdgePopulation::read(&path, None, None).unwrap();
        assert_eq!((edges.sources, edges.targets), (vec![0, 1], vec![1, 0]));
        assert_eq!((edges.weights, edges.delays, edges.synapses), (None, None, None));
        let error = Spikes::read(&path, None).unwrap_err().to_string();
        assert!(error.contains("there is no group /spikes"), "{error}");
    }

    #[test]
    fn spikes_are_read_in_both_layouts() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = File::default().write(folder.path(), TABLE);
        let spikes = Spikes::read(&path, None).unwrap();
        assert_eq!(spikes.population.as_deref(), Some("a"));
        assert_eq!((&spikes.nodes[..], &spikes.times[..]), (&[1, 1, 0][..], &[3.0, 1.0, 2.0][..]));
        assert_eq!(spikes.of_nodes(3).unwrap(), [vec![2.0], vec![1.0, 3.0], vec![]]);
        assert!(spikes.of_nodes(1).unwrap_err().to_string().contains("node 1 spikes; there are 1 nodes"));
        let (path, _) = File { units: "s", ..File::default() }.write(folder.path(), TABLE);
        let error = Spikes::read(&path, Some("a")).unwrap_err().to_string();
        assert!(error.contains("dataset spikes/a/timestamps: units are \"s\", not \"ms\""), "{error}");
        let mut file = FileBuilder::new();
        let mut group = file.create_group("spikes");
        group.create_dataset("timestamps").with_f64_data(&[1.0]);
        group.create_dataset("gids").with_u64_data(&[4]);
        file.add_group(group.finish());
        std::fs::write(&path, file.finish().unwrap()).unwrap();
        let spikes = Spikes::read(&path, None).unwrap();
        assert_eq!((spikes.population, spikes.nodes, spikes.times), (None, vec![4], vec![1.0]));
    }
}
