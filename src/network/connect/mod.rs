//! From the description of projections to tables of synapses.
//!
//! Everything that is drawn is found by its place: the projection, the source, and the synapse's number among those of
//! that source. So rows are made in parallel, in any order and by any number of threads, and are always the same. A
//! first pass draws only how many synapses each source has; then rows are written straight to where they stay, so that
//! construction takes little more memory than the network itself.

mod exponents;
mod rules;
mod tables;

use std::sync::atomic::{AtomicU64, Ordering};

use super::draw::Draw;
use super::{Network, Projection, Rule, Stdp};
use crate::device::CancelToken;
use crate::ops::{PlasticTable, SynapseTable};
use crate::{Error, Result};

/// Where the neurons of each population lie in the index space of all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// The first neuron of each population, a multiple of 32.
    pub first: Vec<u32>,
    /// The neurons of each population.
    pub size: Vec<u32>,
    /// The length of the index space, a multiple of 32.
    pub stride: u32,
}

impl Layout {
    /// Lays out populations of the given sizes.
    ///
    /// # Errors
    /// `InvalidArgument` for more than 2^31 neurons.
    pub fn new(sizes: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut layout = Self::default();
        for size in sizes {
            let end = u64::from(layout.stride) + u64::from(size).next_multiple_of(32);
            if end > 1 << 31 {
                return Err(Error::invalid("populations", format!("more than {} neurons", 1u32 << 31)));
            }
            layout.first.push(layout.stride);
            layout.size.push(size);
            layout.stride = end as u32;
        }
        Ok(layout)
    }

    /// The neurons of population `p`.
    pub fn range(&self, p: usize) -> std::ops::Range<u32> {
        self.first[p]..self.first[p] + self.size[p]
    }

    /// The population of a neuron and its index there; `None` between populations.
    pub fn locate(&self, neuron: u32) -> Option<(usize, u32)> {
        let p = self.first.partition_point(|&first| first <= neuron).checked_sub(1)?;
        // Empty populations share their beginning with the next; the last of them is found.
        let index = neuron - self.first[p];
        (index < self.size[p]).then_some((p, index))
    }
}

/// How a network's synapses are made.
#[derive(Clone)]
pub struct BuildOptions<'a> {
    /// No array of a table is larger than this; tables are cut by rows.
    pub max_tensor_bytes: u64,
    /// Tables that take more bytes than this are refused before they are made.
    pub budget_bytes: u64,
    /// Called from any thread with the synapses made and in all.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
    /// Stops it.
    pub cancel: CancelToken,
}

impl Default for BuildOptions<'_> {
    fn default() -> Self {
        Self { max_tensor_bytes: u64::MAX, budget_bytes: u64::MAX, progress: None, cancel: CancelToken::new() }
    }
}

/// A network's synapses as its kernels take them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connectivity {
    /// Where neurons lie.
    pub layout: Layout,
    /// The synapses whose weights stay.
    pub tables: Vec<SynapseTable>,
    /// Those whose weights change; those of a projection in one table, or in several where that would be too large.
    pub plastic: Vec<PlasticTable>,
    /// The projection of each of these.
    pub plastic_of: Vec<usize>,
    /// Of each population, so that inputs are in units of `2^-exponent`: as fine as the largest sum of inputs that its
    /// synapses and Poisson inputs can give in one step allows, at most 40.
    pub exponents: Vec<i32>,
    /// 1: excitatory and inhibitory inputs are added up; 2: they are kept apart.
    pub planes: u32,
    /// The longest delay in steps; 1 where there is no synapse.
    pub max_delay: u32,
    /// Synapses of each projection.
    pub synapses_of: Vec<u64>,
}

/// A projection made ready to be drawn.
struct Wire<'a> {
    /// The projection's number: its stream of random words.
    number: u32,
    source: usize,
    target: usize,
    sources: u32,
    targets: u32,
    /// Targets and sources that a neuron may be connected to: one less where it may not be connected to itself.
    row_targets: u32,
    column_sources: u32,
    skip_self: bool,
    multapses: bool,
    rule: &'a Rule,
    weight: Draw<'a>,
    delay: Draw<'a>,
    plastic: Option<&'a Stdp>,
    /// Synapses of each source.
    counts: Vec<u32>,
}

impl<'a> Wire<'a> {
    fn new(network: &'a Network, number: usize, projection: &'a Projection) -> Result<Self> {
        let [source, target] = [&projection.source, &projection.target].map(|name| network.population(name));
        let (source, target) = (source?, target?);
        let skip_self = source == target && !projection.autapses;
        let size = |p: usize| network.populations[p].size;
        Ok(Self {
            number: number as u32,
            source,
            target,
            sources: size(source),
            targets: size(target),
            row_targets: size(target).saturating_sub(skip_self.into()),
            column_sources: size(source).saturating_sub(skip_self.into()),
            skip_self,
            multapses: projection.multapses,
            rule: &projection.rule,
            weight: Draw::new(&projection.weight),
            delay: Draw::new(&projection.delay),
            plastic: projection.plasticity.as_ref(),
            counts: Vec::new(),
        })
    }

    fn synapses(&self) -> u64 {
        self.counts.iter().map(|&n| u64::from(n)).sum()
    }
}

/// What may stop the work, and who hears of it.
struct Work<'a> {
    options: &'a BuildOptions<'a>,
    seed: u64,
    done: AtomicU64,
    total: u64,
}

impl Work<'_> {
    fn check(&self) -> Result<()> {
        if self.options.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn advance(&self, synapses: u64) {
        let done = self.done.fetch_add(synapses, Ordering::Relaxed) + synapses;
        if let Some(progress) = self.options.progress {
            progress(done, self.total);
        }
    }
}

pub(super) use exponents::planes;

/// Events of a Poisson input in a step of `dt` ms, at `rate` spikes/s.
pub(super) fn poisson_mean(rate: f64, dt: f64) -> f64 {
    rate * dt * 1e-3
}

/// A weight in whole units of `2^-exponent`, to the nearest.
pub(super) fn in_units(weight: f64, exponent: i32) -> i32 {
    (weight * exponents::power(exponent)).round() as i32
}

/// `n` zeros, or `OutOfMemory`.
fn zeroed<T: Default + Clone>(n: usize, what: &str) -> Result<Vec<T>> {
    let mut memory = Vec::new();
    let bytes = n as u64 * size_of::<T>() as u64;
    memory.try_reserve_exact(n).map_err(|_| Error::OutOfMemory { bytes, what: what.into() })?;
    memory.resize(n, T::default());
    Ok(memory)
}

/// `n` atomic zeros, or `OutOfMemory`.
fn atomics<T: Default>(n: usize) -> Result<Vec<T>> {
    let mut memory = Vec::new();
    let bytes = n as u64 * size_of::<T>() as u64;
    memory.try_reserve_exact(n).map_err(|_| Error::OutOfMemory { bytes, what: "counting synapses".into() })?;
    memory.resize_with(n, T::default);
    Ok(memory)
}

impl Connectivity {
    /// Makes the synapses of a network, on the current pool of threads; the same for a seed on every machine.
    ///
    /// # Errors
    /// `File` for edges that cannot be read; `InvalidArgument` for what [`Network::check`] finds and for weights that are
    /// too unequal for whole units; `Unsupported` where the synapses of a single neuron exceed `max_tensor_bytes`; `OutOfMemory`; `Cancelled`.
    pub fn build(network: &Network, options: &BuildOptions<'_>) -> Result<Self> {
        let network = &*network.with_files()?;
        network.check()?;
        let refused = |needed: u64| {
            Err(Error::OverBudget {
                needed,
                in_use: 0,
                limit: options.budget_bytes,
                tensor: "synapses, which every step reads".into(),
                tensor_bytes: needed,
                least: None,
            })
        };
        // Counting takes time too. A target has two bytes; random numbers of synapses may be a little below the mean.
        let least = 0.98 * 2.0 * network.expected_synapses();
        if least > options.budget_bytes as f64 {
            return refused(least as u64);
        }
        let layout = Layout::new(network.populations.iter().map(|p| p.size))?;
        let mut work = Work { options, seed: network.seed, done: AtomicU64::new(0), total: 0 };
        let wires = network.projections.iter().enumerate().map(|(i, p)| Wire::new(network, i, p));
        let mut wires = wires.collect::<Result<Vec<_>>>()?;
        for wire in &mut wires {
            wire.counts = wire.count(&work)?;
        }
        let synapses_of: Vec<u64> = wires.iter().map(Wire::synapses).collect();
        work.total = synapses_of.iter().sum();

        let scales = exponents::scales(network, &wires);
        let load = exponents::Load::new(&layout, scales)?;
        let specs = tables::plan(&wires, &layout, network.dt);
        let mut plans = Vec::new();
        for spec in &specs {
            plans.extend(tables::cut(spec, &wires, &layout, options.max_tensor_bytes)?);
        }
        let needed = plans.iter().map(tables::Cut::bytes).sum();
        if needed > options.budget_bytes {
            return refused(needed);
        }
        let mut builders = plans.into_iter().map(tables::Cut::build).collect::<Result<Vec<_>>>()?;
        // One population of sources after the other, so that what some rules keep meanwhile is soon given back.
        for source in 0..network.populations.len() {
            let mut ready = Vec::with_capacity(wires.len());
            for wire in &wires {
                ready.push((wire.source == source).then(|| wire.ends(&work)).transpose()?);
            }
            tables::fill(&mut builders, source, &wires, &ready, &layout, network.dt, &load, &work)?;
        }
        let exponents = load.exponents(network, &wires, &specs)?;
        let (mut tables, mut plastic, mut plastic_of) = (Vec::new(), Vec::new(), Vec::new());
        for builder in builders {
            let projection = builder.projection();
            match builder.finish(&wires, &layout, &load, &exponents) {
                tables::Table::Static(table) => tables.push(table),
                tables::Table::Plastic(table) => {
                    plastic.push(table);
                    plastic_of.extend(projection);
                }
            }
        }
        Ok(Self {
            tables,
            plastic,
            plastic_of,
            exponents,
            planes: planes(network),
            max_delay: load.max_delay(),
            synapses_of,
            layout,
        })
    }

    /// Synapses in all.
    pub fn synapses(&self) -> u64 {
        self.synapses_of.iter().sum()
    }
}

#[cfg(test)]
mod tests;
