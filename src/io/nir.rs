//! NIR, the neuromorphic intermediate representation: spiking networks as graphs in HDF5.
//!
//! J. E. Pedersen et al., Nature Communications 15, 8122 (2024). A graph is continuous in time: it names no time step,
//! no refractory time and no kind of reset; [`RunOptions`] does. [`Graph::read`] reads it, [`Graph::record`] appends a
//! chain of layers to a [`Recording`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::hdf5::{Array, Reader};
use crate::kernel::Tensor;
use crate::ops::lif::{CurrentOrder, Drive, Integration, Lif, LifParams, Reset, Spikes, Synapse, ThresholdRule};
use crate::ops::{Conv1d, Filters, Padding, conv1d};
use crate::recording::Recording;
use crate::{Error, Result};

/// What a node does. Parameters are one a neuron (or a feature), in the graph's own units; `τ dv/dt` as in NIR.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Where data enters.
    Input {
        /// Its extents without time and batch.
        shape: Vec<u64>,
    },
    /// Where data leaves.
    Output {
        /// Its extents without time and batch.
        shape: Vec<u64>,
    },
    /// `W x + b`.
    Affine {
        /// (out, in).
        weight: Array<f64>,
        /// (out); zeros for NIR's `Linear`.
        bias: Vec<f64>,
    },
    /// `s x`.
    Scale {
        /// s.
        scale: Vec<f64>,
    },
    /// 1 where x > threshold.
    Threshold {
        /// The threshold.
        threshold: Vec<f64>,
    },
    /// `x(t − delay)`.
    Delay {
        /// The delay.
        delay: Vec<f64>,
    },
    /// `dv/dt = r x`: an integrator, which spikes where it has a threshold (NIR's `I` and `IF`).
    Integrator {
        /// r.
        r: Vec<f64>,
        /// What makes it spike.
        spike: Option<Spike>,
    },
    /// `tau dv/dt = (v_leak − v) + r x`: a leaky integrator (NIR's `LI` and `LIF`).
    Leaky {
        /// Membrane time constant.
        tau: Vec<f64>,
        /// Resistance.
        r: Vec<f64>,
        /// Resting potential.
        v_leak: Vec<f64>,
        /// What makes it spike.
        spike: Option<Spike>,
    },
    /// `tau_syn di/dt = −i + w_in x`, `tau_mem dv/dt = (v_leak − v) + r i` (NIR's `CubaLI` and `CubaLIF`).
    Cuba {
        /// Synaptic time constant.
        tau_syn: Vec<f64>,
        /// Membrane time constant.
        tau_mem: Vec<f64>,
        /// Resistance.
        r: Vec<f64>,
        /// Resting potential.
        v_leak: Vec<f64>,
        /// Input weight.
        w_in: Vec<f64>,
        /// What makes it spike.
        spike: Option<Spike>,
    },
}

/// The spiking half of a neuron: above the threshold it spikes and goes to the reset value.
#[derive(Debug, Clone, PartialEq)]
pub struct Spike {
    /// Threshold.
    pub v_threshold: Vec<f64>,
    /// Reset value; 0 where the file has none.
    pub v_reset: Vec<f64>,
}

/// A node of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name, unique in the graph.
    pub name: String,
    /// What it does.
    pub kind: Kind,
}

/// A spiking network.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    path: PathBuf,
    /// The format's version, as the file states it.
    pub version: String,
    /// The nodes, in the file's order.
    pub nodes: Vec<Node>,
    /// From node to node, by their index; no edge twice.
    pub edges: Vec<(usize, usize)>,
}

/// Types that [`Graph::read`] reads.
const TYPES: &str = "Input, Output, Affine, Linear, Scale, Threshold, Delay, I, IF, LI, LIF, CubaLI, CubaLIF";

/// A node's parameters in the file.
struct Parameters<'a> {
    reader: &'a Reader,
    /// `/node/nodes/NAME`.
    group: String,
}

impl Parameters<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.group)
    }

    fn array(&self, name: &str) -> Result<Array<f64>> {
        let array = self.reader.numbers(&self.path(name))?;
        match array.values.iter().position(|v| !v.is_finite()) {
            None if !array.values.is_empty() => Ok(array),
            None => Err(self.reader.error(format_args!("dataset {}: is empty", self.path(name)))),
            Some(i) => {
                let (path, value) = (self.path(name), array.values[i]);
                Err(self.reader.error(format_args!("dataset {path}: element {i} is {value}; it must be finite")))
            }
        }
    }

    fn vector(&self, name: &str) -> Result<Vec<f64>> {
        self.array(name).map(|a| a.values)
    }

    fn extents(&self, name: &str) -> Result<Vec<u64>> {
        let extents = self.vector(name)?;
        if extents.iter().any(|e| !(*e >= 1.0 && *e <= 2f64.powi(32) && e.fract() == 0.0)) {
            return Err(self.reader.error(format_args!("dataset {}: {extents:?} are no extents", self.path(name))));
        }
        Ok(extents.iter().map(|e| *e as u64).collect())
    }

    fn spike(&self) -> Result<Option<Spike>> {
        let v_threshold = self.vector("v_threshold")?;
        // Files before NIR 1.0 have no reset value; its specification then takes 0.
        let v_reset = match self.reader.has(&self.group, "v_reset")? {
            true => self.vector("v_reset")?,
            false => vec![0.0; v_threshold.len()],
        };
        Ok(Some(Spike { v_threshold, v_reset }))
    }

    fn affine(&self, bias: bool) -> Result<Kind> {
        let weight = self.array("weight")?;
        let [out, _] = weight.shape[..] else {
            let (path, shape) = (self.path("weight"), &weight.shape);
            return Err(self.reader.error(format_args!("dataset {path}: shape {shape:?}; it must be (out, in)")));
        };
        let bias = if bias { self.vector("bias")? } else { vec![0.0; out as usize] };
        if bias.len() as u64 != out {
            let (path, n) = (self.path("bias"), bias.len());
            return Err(self.reader.error(format_args!("dataset {path}: {n} values for {out} rows of weights")));
        }
        Ok(Kind::Affine { weight, bias })
    }

    fn kind(&self) -> Result<Kind> {
        let name = text(self.reader, &self.path("type"))?;
        Ok(match name.as_str() {
            "Input" => Kind::Input { shape: self.extents("shape")? },
            "Output" => Kind::Output { shape: self.extents("shape")? },
            "Affine" => self.affine(true)?,
            "Linear" => self.affine(false)?,
            "Scale" => Kind::Scale { scale: self.vector("scale")? },
            "Threshold" => Kind::Threshold { threshold: self.vector("threshold")? },
            "Delay" => Kind::Delay { delay: self.vector("delay")? },
            "I" | "IF" => {
                Kind::Integrator { r: self.vector("r")?, spike: if name == "IF" { self.spike()? } else { None } }
            }
            "LI" | "LIF" => Kind::Leaky {
                tau: self.vector("tau")?,
                r: self.vector("r")?,
                v_leak: self.vector("v_leak")?,
                spike: if name == "LIF" { self.spike()? } else { None },
            },
            "CubaLI" | "CubaLIF" => Kind::Cuba {
                tau_syn: self.vector("tau_syn")?,
                tau_mem: self.vector("tau_mem")?,
                r: self.vector("r")?,
                v_leak: self.vector("v_leak")?,
                w_in: self.vector("w_in")?,
                spike: if name == "CubaLIF" { self.spike()? } else { None },
            },
            other => {
                let message = format_args!("node {} is of type \"{other}\"; types that are read: {TYPES}", self.group);
                return Err(self.reader.error(message));
            }
        })
    }
}

/// The one text of a dataset.
fn text(reader: &Reader, name: &str) -> Result<String> {
    let mut texts = reader.texts(name)?;
    match (texts.pop(), texts.is_empty()) {
        (Some(text), true) => Ok(text),
        _ => Err(reader.error(format_args!("dataset {name}: does not hold one text"))),
    }
}

impl Kind {
    /// The vectors of parameters that have one value a neuron, by name.
    fn vectors(&self) -> Vec<(&'static str, &Vec<f64>)> {
        let (mut all, spike) = match self {
            Self::Input { .. } | Self::Output { .. } | Self::Affine { .. } => (vec![], &None),
            Self::Scale { scale } => (vec![("scale", scale)], &None),
            Self::Threshold { threshold } => (vec![("threshold", threshold)], &None),
            Self::Delay { delay } => (vec![("delay", delay)], &None),
            Self::Integrator { r, spike } => (vec![("r", r)], spike),
            Self::Leaky { tau, r, v_leak, spike } => (vec![("tau", tau), ("r", r), ("v_leak", v_leak)], spike),
            Self::Cuba { tau_syn, tau_mem, r, v_leak, w_in, spike } => {
                (vec![("tau_syn", tau_syn), ("tau_mem", tau_mem), ("r", r), ("v_leak", v_leak), ("w_in", w_in)], spike)
            }
        };
        if let Some(spike) = spike {
            all.extend([("v_threshold", &spike.v_threshold), ("v_reset", &spike.v_reset)]);
        }
        all
    }
}

/// What a graph leaves open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunOptions {
    /// The time step, in the graph's unit of time.
    pub dt: f64,
    /// Forward Euler is what NIR's other runtimes do.
    pub integration: Integration,
    /// A spike subtracts the threshold and leaves `v_reset` aside; else the membrane goes to `v_reset`.
    pub subtract: bool,
}

impl RunOptions {
    /// Forward Euler with a reset to `v_reset`.
    pub fn new(dt: f64) -> Self {
        Self { dt, integration: Integration::Euler, subtract: false }
    }
}

/// The tensors of a recorded chain.
#[derive(Debug, Clone, Copy)]
pub struct Recorded {
    /// `[steps, features]`: what reaches the output node.
    pub output: Tensor<f32>,
    /// `[steps, neurons]`: the membrane of the last spiking layer after each step's reset, if there is one.
    pub membrane: Option<Tensor<f32>>,
}

impl Graph {
    /// Reads a `.nir` file.
    ///
    /// # Errors
    /// `File` if it is missing, damaged or no NIR graph, holds a node type that is not read, or contradicts itself; the
    /// message names the dataset or node.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_reader(&Reader::open(path)?)
    }

    /// Reads a graph from a file in memory; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        Self::from_reader(&Reader::from_bytes(path, bytes)?)
    }

    fn from_reader(reader: &Reader) -> Result<Self> {
        if !reader.has("", "node")? || text(reader, "node/type")? != "NIRGraph" {
            return Err(reader.error("is not a NIR graph: /node/type is not \"NIRGraph\""));
        }
        let version = text(reader, "version")?;
        let mut nodes = Vec::new();
        for name in reader.groups("node/nodes")? {
            let parameters = Parameters { reader, group: format!("node/nodes/{name}") };
            let kind = parameters.kind()?;
            let vectors = kind.vectors();
            if let Some((first, n)) = vectors.first().map(|(first, v)| (first, v.len()))
                && let Some((other, m)) = vectors.iter().map(|(k, v)| (k, v.len())).find(|(_, m)| *m != n)
            {
                let message = format_args!("node {name}: {first} has {n} values and {other} has {m}");
                return Err(reader.error(message));
            }
            nodes.push(Node { name, kind });
        }
        let index: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
        let names = reader.texts("node/edges")?;
        let mut edges = BTreeSet::new();
        for pair in names.chunks(2) {
            let [source, target] = pair else {
                return Err(reader.error("dataset node/edges: its names do not come in pairs"));
            };
            let find = |name: &String| {
                let known = index.get(name.as_str()).copied();
                known.ok_or_else(|| reader.error(format_args!("an edge names node \"{name}\", which there is not")))
            };
            edges.insert((find(source)?, find(target)?));
        }
        Ok(Self { path: reader.path().to_path_buf(), version, nodes, edges: edges.into_iter().collect() })
    }

    fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::file(&self.path, message)
    }

    /// The nodes from input to output, if the graph is a chain.
    ///
    /// # Errors
    /// `File` naming the node at which it branches, ends or turns back.
    pub fn chain(&self) -> Result<Vec<&Node>> {
        let mut inputs = (0..self.nodes.len()).filter(|&i| matches!(self.nodes[i].kind, Kind::Input { .. }));
        let (Some(mut at), None) = (inputs.next(), inputs.next()) else {
            return Err(self.error("a chain has one input node"));
        };
        let mut order = vec![at];
        while !matches!(self.nodes[at].kind, Kind::Output { .. }) {
            let name = &self.nodes[at].name;
            let mut next = self.edges.iter().filter(|(source, _)| *source == at).map(|(_, target)| *target);
            let (Some(target), None) = (next.next(), next.next()) else {
                return Err(self.error(format_args!("not a chain: node {name} has not exactly one successor")));
            };
            if order.contains(&target) {
                return Err(self.error(format_args!("not a chain: node {name} leads back to an earlier one")));
            }
            order.push(target);
            at = target;
        }
        if order.len() != self.nodes.len() {
            let absent = self.nodes.iter().enumerate().find(|(i, _)| !order.contains(i)).map_or("", |(_, n)| &n.name);
            return Err(self.error(format_args!("not a chain: node {absent} is not on the way to the output")));
        }
        Ok(order.into_iter().map(|i| &self.nodes[i]).collect())
    }

    /// Appends `steps` steps of the graph, a chain of affine and spiking layers, to a recording. `input` is
    /// `[steps, features]`. Membranes start at `v_leak`, currents at 0, and both go on from run to run. A neuron spikes
    /// above its threshold (`>`); a synaptic current reaches the membrane one step later, as in NIR's reference.
    ///
    /// # Errors
    /// `File` if the graph is no chain, its layers do not fit together, or a node is neither affine nor a spiking LIF;
    /// `InvalidArgument` for an input of another length, or a parameter that [`Lif`] refuses.
    pub fn record(
        &self,
        rec: &mut Recording,
        steps: usize,
        input: Tensor<f32>,
        options: &RunOptions,
    ) -> Result<Recorded> {
        let mut at = input;
        let mut features: Option<usize> = None;
        let mut membrane = None;
        for node in self.chain()? {
            let name = &node.name;
            let mut fits = |has: u64, gives: usize| {
                let expected = features.replace(gives);
                match expected {
                    Some(n) if n as u64 != has => {
                        Err(self.error(format_args!("node {name} takes {has} features and is given {n}")))
                    }
                    _ => Ok(()),
                }
            };
            match &node.kind {
                Kind::Input { shape } | Kind::Output { shape } => {
                    let n = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).unwrap_or(u64::MAX);
                    fits(n, usize::try_from(n).unwrap_or(usize::MAX))?;
                    if matches!(node.kind, Kind::Input { .. })
                        && Some(input.len() as u64) != n.checked_mul(steps as u64)
                    {
                        let why = format!("{} elements; {steps} steps of {n} features expected", input.len());
                        return Err(Error::invalid("input", why));
                    }
                }
                Kind::Affine { weight, bias } => {
                    let (out, n) = (weight.shape[0] as usize, weight.shape[1]);
                    fits(n, out)?;
                    // A product with a matrix is a convolution of one tap, each step an element of the batch.
                    let conv = Conv1d {
                        batch: steps,
                        length: 1,
                        channels_in: n as usize,
                        channels_out: out,
                        taps: 1,
                        groups: 1,
                        stride: 1,
                        dilation: 1,
                        padding: Padding::Explicit(0, 0),
                    };
                    let f32s = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<_>>();
                    let filters = Filters::new(rec, conv, &f32s(&weight.values), Some(&f32s(bias)))?;
                    let y = rec.scratch(format!("{name}.output"), steps * out)?;
                    conv1d(rec, &filters, at, y)?;
                    at = y;
                }
                Kind::Leaky { spike: Some(spike), .. } | Kind::Cuba { spike: Some(spike), .. } => {
                    let n = spike.v_threshold.len();
                    fits(n as u64, n)?;
                    let params = params(&node.kind, spike, options);
                    let lif = Lif::new(rec, n, &params)
                        .map_err(|e| self.error(format_args!("node {name} cannot be run: {e}")))?;
                    let spikes = rec.scratch(format!("{name}.spikes"), steps * n)?;
                    let trace = rec.scratch(format!("{name}.membrane"), steps * n)?;
                    lif.run(rec, steps, Drive::Each(at), Spikes::Dense(spikes), Some(trace))?;
                    (at, membrane) = (spikes, Some(trace));
                }
                _ => {
                    let message = "only Affine, Linear, LIF and CubaLIF nodes are run";
                    return Err(self.error(format_args!("node {name} cannot be run: {message}")));
                }
            }
        }
        Ok(Recorded { output: at, membrane })
    }
}

/// The parameters of a spiking node. Nodes of other kinds have none of their own and never come here.
fn params(kind: &Kind, spike: &Spike, options: &RunOptions) -> LifParams {
    let common = LifParams {
        dt: options.dt,
        v_threshold: spike.v_threshold.clone().into(),
        rule: ThresholdRule::Above,
        reset: if options.subtract {
            Reset::Subtract(spike.v_threshold.clone().into())
        } else {
            Reset::To(spike.v_reset.clone().into())
        },
        integration: options.integration,
        ..LifParams::default()
    };
    let (tau, r, v_leak, synapse) = match kind {
        Kind::Leaky { tau, r, v_leak, .. } => (tau, r, v_leak, None),
        Kind::Cuba { tau_syn, tau_mem, r, v_leak, w_in, .. } => {
            // A step moves the current towards w_in x by this share of the way.
            let share = |tau: f64| match options.integration {
                Integration::Euler => options.dt / tau,
                Integration::Exact => -(-options.dt / tau).exp_m1(),
            };
            let gain = w_in.iter().zip(tau_syn).map(|(w, tau)| w * share(*tau)).collect::<Vec<_>>();
            let order = CurrentOrder::Previous;
            (tau_mem, r, v_leak, Some(Synapse { tau: tau_syn.clone().into(), gain: gain.into(), order }))
        }
        _ => return common,
    };
    LifParams {
        tau_mem: tau.clone().into(),
        resistance: r.clone().into(),
        v_rest: v_leak.clone().into(),
        synapse,
        ..common
    }
}
