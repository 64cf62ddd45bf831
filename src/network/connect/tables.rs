//! Which synapses share a table, and the tables' content.

use std::ops::Range;

use rayon::prelude::*;

use super::exponents::{Load, rescale};
use super::rules::{Ends, Scratch};
use super::{Draw, Layout, Wire, Work, in_units, zeroed};
use crate::ops::{Delays, PlasticTable, SynapseTable, Targets, Weights};
use crate::random::{Purpose, Words, below, coarse_uniform, uniform};
use crate::{Error, Result};

// Targets and delays are written as u16 and u8 into arrays of words.
const _: () = assert!(cfg!(target_endian = "little"));

/// What every device can bind.
const PORTABLE: u64 = 128 << 20;
/// How many neurons 16 bits count.
const NARROW: u32 = 1 << 16;
/// Synapses that one thread makes at a time.
const BLOCK: usize = 1 << 15;

/// What a table's weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One a synapse.
    Each,
    /// One a row.
    Row,
    /// One a synapse, as an f32 by its bits: it changes.
    Plastic,
}

/// A finished table.
pub(super) enum Table {
    Static(SynapseTable),
    Plastic(PlasticTable),
}

/// What goes into one table, or into several that are cut from it.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub kind: Kind,
    /// By target population, then in the order of projections.
    pub wires: Vec<usize>,
    first_target: u32,
    target_span: u32,
    /// The delay of all, if it is the same.
    delay: Option<u8>,
}

/// A delay in steps.
fn steps(delay: f64, dt: f64) -> u8 {
    (delay / dt).round() as u8
}

/// Puts as many projections as possible into one table: its targets lie within 16 bits, or are one population.
pub(super) fn plan(wires: &[Wire], layout: &Layout, dt: f64) -> Vec<Spec> {
    let spec = |kind, wires_of: Vec<usize>| {
        let (first, last) = (wires_of.first()?, wires_of.last()?);
        let first_target = layout.first[wires[*first].target];
        let delays = wires_of.iter().map(|&w| match wires[w].delay {
            Draw::Constant(delay) => Some(steps(delay, dt)),
            _ => None,
        });
        Some(Spec {
            kind,
            first_target,
            target_span: layout.range(wires[*last].target).end - first_target,
            delay: delays.reduce(|a, b| if a == b { a } else { None }).flatten(),
            wires: wires_of,
        })
    };
    let there = (0..wires.len()).filter(|&w| wires[w].synapses() > 0);
    let (plastic, mut ordered): (Vec<usize>, Vec<usize>) = there.partition(|&w| wires[w].plastic.is_some());
    ordered.sort_by_key(|&w| (wires[w].target, w));
    let mut specs = Vec::new();
    while let Some(&first) = ordered.first() {
        let start = layout.first[wires[first].target];
        let within = |w: &usize| layout.range(wires[*w].target).end - start <= NARROW;
        let n = ordered.iter().take_while(|w| within(w)).count();
        let alone = ordered.iter().take_while(|w| wires[**w].target == wires[first].target).count();
        let group: Vec<usize> = ordered.drain(..n.max(alone)).collect();
        // One weight a row: where the projections that a source has here agree.
        let mut weight_of = vec![None; layout.first.len()];
        let (rows, each): (Vec<usize>, Vec<usize>) = group.iter().partition(|w| match wires[**w].weight {
            Draw::Constant(weight) => *weight_of[wires[**w].source].get_or_insert(weight) == weight,
            _ => false,
        });
        let synapses = |wires_of: &[usize]| wires_of.iter().map(|&w| wires[w].synapses()).sum::<u64>();
        // A table of its own costs a dispatch at every step: not for a small part of the synapses.
        let parts = if synapses(&rows) < synapses(&each) / 4 { [group, vec![]] } else { [each, rows] };
        specs
            .extend(parts.into_iter().zip([Kind::Each, Kind::Row]).filter_map(|(wires_of, kind)| spec(kind, wires_of)));
    }
    specs.extend(plastic.into_iter().filter_map(|w| spec(Kind::Plastic, vec![w])));
    specs
}

/// A table in the making. Weights are in provisional units until all of them are known.
pub(super) struct Builder {
    spec: Spec,
    first_source: u32,
    row_offsets: Vec<u32>,
    targets: Vec<u32>,
    weights: Vec<i32>,
    delays: Vec<u32>,
}

/// Rows that become one table.
pub(super) struct Cut {
    spec: Spec,
    first_source: u32,
    /// Synapses of each row.
    lengths: Vec<u32>,
}

/// Cuts what goes into one table by rows, so that no array is larger than `most` bytes.
pub(super) fn cut(spec: &Spec, wires: &[Wire], layout: &Layout, most: u64) -> Result<Vec<Cut>> {
    // The weights of plastic synapses are state: the same cuts on every device, so that a checkpoint fits any.
    let most = if spec.kind == Kind::Plastic { most.min(PORTABLE) } else { most };
    let mut lengths: Vec<u64> = zeroed(layout.stride as usize, "counting synapses")?;
    for &w in &spec.wires {
        let first = layout.first[wires[w].source] as usize;
        lengths[first..].iter_mut().zip(&wires[w].counts).for_each(|(sum, &n)| *sum += u64::from(n));
    }
    let wide = spec.target_span > NARROW;
    let largest = if wide || spec.kind != Kind::Row { 4 } else { 2 };
    // Whole words.
    let (rows, synapses) = ((most / 4).saturating_sub(1), (most / 4 * 4 / largest).min(u32::MAX.into()));
    let mut cuts: Vec<(Range<usize>, u64)> = Vec::new();
    for (row, &n) in lengths.iter().enumerate().filter(|(_, n)| **n > 0) {
        if n > synapses || rows == 0 {
            return Err(Error::Unsupported {
                what: "the synapses of one neuron".into(),
                need: crate::bytes(n * largest),
                have: format!("{} for one tensor", crate::bytes(most)),
            });
        }
        match cuts.last_mut() {
            Some((range, sum)) if *sum + n <= synapses && ((row - range.start) as u64) < rows => {
                range.end = row + 1;
                *sum += n;
            }
            _ => cuts.push((row..row + 1, n)),
        }
    }
    let cut = |(rows, _): (Range<usize>, u64)| Cut {
        spec: spec.clone(),
        first_source: rows.start as u32,
        lengths: lengths[rows].iter().map(|&n| n as u32).collect(),
    };
    Ok(cuts.into_iter().map(cut).collect())
}

impl Cut {
    fn synapses(&self) -> usize {
        self.lengths.iter().map(|&n| n as usize).sum()
    }

    /// Words of targets, weights and delays.
    fn words(&self) -> [usize; 3] {
        let (n, spec) = (self.synapses(), &self.spec);
        [
            if spec.target_span > NARROW { n } else { n.div_ceil(2) },
            if spec.kind == Kind::Row { 0 } else { n },
            if spec.delay.is_some() { 0 } else { n.div_ceil(4) },
        ]
    }

    /// Bytes of the table on a device.
    pub fn bytes(&self) -> u64 {
        let rows = if self.spec.kind == Kind::Row { 2 } else { 1 } * self.lengths.len();
        4 * (self.words().iter().sum::<usize>() + rows + 1) as u64
    }

    /// Makes room for it.
    pub fn build(self) -> Result<Builder> {
        let [targets, weights, delays] = self.words();
        let mut row_offsets = zeroed::<u32>(self.lengths.len() + 1, "synapses")?;
        for (i, n) in self.lengths.iter().enumerate() {
            row_offsets[i + 1] = row_offsets[i] + n;
        }
        Ok(Builder {
            spec: self.spec,
            first_source: self.first_source,
            row_offsets,
            targets: zeroed(targets, "synapses")?,
            weights: zeroed(weights, "synapses")?,
            delays: zeroed(delays, "synapses")?,
        })
    }
}

/// Part of an array, narrow or wide.
enum TargetsMut<'a> {
    U16(&'a mut [u16]),
    U32(&'a mut [u32]),
}

/// Some rows of a table: those of one population of sources, or a part of them.
struct Block<'a> {
    /// The first row's neuron.
    first_source: u32,
    /// Where rows begin, one more than rows.
    offsets: &'a [u32],
    targets: TargetsMut<'a>,
    /// Empty where there is one a row.
    weights: &'a mut [i32],
    /// Empty where it is one for all.
    delays: &'a mut [u8],
}

/// Splits off the first `n`, or nothing from an array that is not there.
fn take<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let n = n.min(rest.len());
    let (head, tail) = std::mem::take(rest).split_at_mut(n);
    *rest = tail;
    head
}

impl Builder {
    /// The rows of neurons `sources`, in blocks.
    fn blocks(&mut self, sources: Range<u32>) -> Vec<Block<'_>> {
        let rows = (self.row_offsets.len() - 1) as u32;
        let row = |neuron: u32| neuron.saturating_sub(self.first_source).min(rows) as usize;
        let (start, end) = (row(sources.start), row(sources.end));
        let offsets = &self.row_offsets[start..=end];
        let range = offsets[0] as usize..offsets[end - start] as usize;
        let wide = self.spec.target_span > NARROW;
        let (mut wide_targets, mut targets): (&mut [u32], &mut [u16]) =
            if wide { (&mut self.targets, &mut []) } else { (&mut [], bytemuck::cast_slice_mut(&mut self.targets)) };
        let (mut weights, mut delays) = (&mut self.weights[..], bytemuck::cast_slice_mut(&mut self.delays));
        // What lies before.
        take(&mut wide_targets, range.start);
        take(&mut targets, range.start);
        take(&mut weights, range.start);
        take(&mut delays, range.start);
        let mut blocks = Vec::new();
        let mut first = 0;
        while first < end - start {
            let until = offsets[first] as usize + BLOCK;
            let last = offsets.partition_point(|&o| (o as usize) < until).min(end - start).max(first + 1);
            let n = (offsets[last] - offsets[first]) as usize;
            blocks.push(Block {
                first_source: self.first_source + (start + first) as u32,
                offsets: &offsets[first..=last],
                targets: match wide {
                    true => TargetsMut::U32(take(&mut wide_targets, n)),
                    false => TargetsMut::U16(take(&mut targets, n)),
                },
                weights: take(&mut weights, n),
                delays: take(&mut delays, n),
            });
            first = last;
        }
        blocks
    }

    /// The projection of a table of plastic synapses.
    pub fn projection(&self) -> Option<usize> {
        self.spec.wires.first().copied()
    }

    /// The table, with weights in the units of the populations that they reach.
    pub fn finish(self, wires: &[Wire], layout: &Layout, load: &Load, exponents: &[i32]) -> Table {
        let Self { spec, first_source, row_offsets, targets, mut weights, delays } = self;
        let Spec { kind, wires: wires_of, first_target, target_span, delay } = spec;
        let delays = delay.map_or(Delays::Each(delays), |delay| Delays::All(delay.into()));
        let weights = match kind {
            Kind::Each => {
                // Bits that are too many, for each target.
                let mut shifts = vec![0u32; target_span as usize];
                for target in wires_of.iter().map(|&w| wires[w].target) {
                    let Range { start, end } = layout.range(target);
                    let shift = load.scale(target) - exponents[target];
                    shifts[(start - first_target) as usize..(end - first_target) as usize].fill(shift as u32);
                }
                if target_span > NARROW {
                    weights.par_iter_mut().zip(&targets).for_each(|(w, t)| *w = rescale(*w, shifts[*t as usize]));
                } else {
                    let narrow: &[u16] = bytemuck::cast_slice(&targets);
                    weights.par_iter_mut().zip(narrow).for_each(|(w, t)| *w = rescale(*w, shifts[*t as usize]));
                }
                Weights::Each(weights)
            }
            Kind::Row => {
                let mut rows = vec![0; row_offsets.len() - 1];
                for wire in wires_of.iter().map(|&w| &wires[w]) {
                    let Draw::Constant(weight) = wire.weight else { continue };
                    let weight = in_units(weight, exponents[wire.target]);
                    for source in (0..wire.sources).filter(|&s| wire.counts[s as usize] > 0) {
                        // Other rows are in another part of a table that was cut.
                        let row = (layout.first[wire.source] + source).wrapping_sub(first_source);
                        if let Some(row) = rows.get_mut(row as usize) {
                            *row = weight;
                        }
                    }
                }
                Weights::Row(rows)
            }
            Kind::Plastic => Weights::Each(weights),
        };
        let targets = if target_span > NARROW { Targets::U32(targets) } else { Targets::U16(targets) };
        if let (Weights::Each(weights), [wire]) = (&weights, &wires_of[..])
            && let Some(stdp) = wires[*wire].plastic
        {
            return Table::Plastic(PlasticTable {
                first_source,
                first_target,
                target_span,
                row_offsets,
                targets,
                delays,
                weights: weights.iter().map(|&w| f32::from_bits(w as u32)).collect(),
                exponent: exponents[wires[*wire].target],
                stdp: stdp.clone(),
            });
        }
        Table::Static(SynapseTable { first_source, first_target, target_span, row_offsets, targets, weights, delays })
    }
}

/// A synapse as one number: sorted by target, then delay, then the weight's bits.
trait Key: Ord + Copy + Send {
    fn new(target: u32, delay: u8, weight: i32) -> Self;
    fn parts(self) -> (u32, u8, i32);
}

impl Key for u64 {
    /// For targets of at most 24 bits.
    fn new(target: u32, delay: u8, weight: i32) -> Self {
        Self::from(target) << 40 | Self::from(delay) << 32 | Self::from(weight as u32)
    }

    fn parts(self) -> (u32, u8, i32) {
        ((self >> 40) as u32, (self >> 32) as u8, self as i32)
    }
}

impl Key for u128 {
    fn new(target: u32, delay: u8, weight: i32) -> Self {
        Self::from(target) << 40 | Self::from(delay) << 32 | Self::from(weight as u32)
    }

    fn parts(self) -> (u32, u8, i32) {
        ((self >> 40) as u32, (self >> 32) as u8, self as i32)
    }
}

/// What rows are made with.
struct Maker<'a> {
    spec: &'a Spec,
    wires: &'a [Wire<'a>],
    /// Of each projection, if it is from this population.
    ends: &'a [Option<Ends>],
    /// The population's first neuron.
    first: u32,
    layout: &'a Layout,
    dt: f64,
    load: &'a Load,
    work: &'a Work<'a>,
}

/// Writes the rows of one population of sources into all tables.
#[allow(clippy::too_many_arguments)]
pub(super) fn fill(
    builders: &mut [Builder],
    source: usize,
    wires: &[Wire],
    ends: &[Option<Ends>],
    layout: &Layout,
    dt: f64,
    load: &Load,
    work: &Work,
) -> Result<()> {
    for builder in builders {
        if !builder.spec.wires.iter().any(|&w| wires[w].source == source) {
            continue;
        }
        let spec = builder.spec.clone();
        let maker = Maker { spec: &spec, wires, ends, first: layout.first[source], layout, dt, load, work };
        let blocks = builder.blocks(layout.range(source));
        if spec.target_span <= 1 << 24 {
            maker.all::<u64>(blocks)?;
        } else {
            maker.all::<u128>(blocks)?;
        }
    }
    Ok(())
}

impl Maker<'_> {
    fn all<K: Key>(&self, blocks: Vec<Block>) -> Result<()> {
        blocks.into_par_iter().try_for_each_init(
            || (Vec::new(), Scratch::default()),
            |(keys, scratch), block| {
                self.work.check()?;
                self.block::<K>(block, keys, scratch);
                Ok(())
            },
        )
    }

    fn block<K: Key>(&self, mut block: Block, keys: &mut Vec<K>, scratch: &mut Scratch) {
        let mut at = 0;
        let mut longest = 0;
        for neuron in (block.first_source..).take(block.offsets.len() - 1) {
            let mut wires = self.spec.wires.iter().map(|&w| &self.wires[w]).filter(|w| self.comes(w)).peekable();
            keys.clear();
            while let Some(wire) = wires.next() {
                self.synapses(wire, neuron - self.first, scratch, keys);
                // All that go to one population are sorted together.
                if wires.peek().is_some_and(|next| next.target == wire.target) {
                    continue;
                }
                keys.sort_unstable();
                // What these synapses can at most add up to, where it is not their weight.
                let bounds = match (self.spec.kind, wire.weight, wire.plastic) {
                    (Kind::Row, Draw::Constant(weight), _) => Some((weight, weight)),
                    (_, _, Some(stdp)) => Some((stdp.w_min, stdp.w_max)),
                    _ => None,
                };
                let bounds = bounds.map(|(low, high)| {
                    let unit = |w: f64| self.load.provisional(wire.target, w);
                    (unit(low.min(0.0)), unit(high.max(0.0)))
                });
                for key in keys.drain(..) {
                    let (target, delay, weight) = key.parts();
                    match &mut block.targets {
                        TargetsMut::U16(targets) => targets[at] = target as u16,
                        TargetsMut::U32(targets) => targets[at] = target,
                    }
                    if let Some(slot) = block.delays.get_mut(at) {
                        *slot = delay;
                    }
                    if let Some(slot) = block.weights.get_mut(at) {
                        *slot = weight;
                    }
                    let (low, high) = bounds.unwrap_or((weight.min(0), weight.max(0)));
                    self.load.add(self.spec.first_target + target, low, high);
                    longest = longest.max(delay);
                    at += 1;
                }
            }
        }
        self.load.delayed(longest.into());
        self.work.advance(at as u64);
    }

    /// Whether a projection comes from this population.
    fn comes(&self, wire: &Wire) -> bool {
        self.ends[wire.number as usize].is_some()
    }

    /// The synapses of one source and projection.
    fn synapses<K: Key>(&self, wire: &Wire, source: u32, scratch: &mut Scratch, keys: &mut Vec<K>) {
        let Some(ends) = &self.ends[wire.number as usize] else { return };
        let words = Words::new(self.work.seed, Purpose::Synapses, wire.number);
        let drawn = matches!(ends, Ends::Drawn);
        wire.row(ends, source, self.work, scratch);
        let first_target = self.layout.first[wire.target] - self.spec.first_target;
        let random = drawn || wire.weight.is_random() || wire.delay.is_random();
        for i in 0..wire.counts[source as usize] {
            let block = if random { words.at(source, i) } else { [0; 4] };
            let again = |attempt| if attempt == 0 { block } else { words.again(source, i, attempt) };
            let (target, number) = match drawn {
                true => (wire.skip(below(block[0], wire.row_targets), source), 0),
                false => scratch.ends[i as usize],
            };
            let delay = wire.delay.value(number as usize, |attempt| coarse_uniform(again(attempt)[2]));
            let weight = || {
                wire.weight.value(number as usize, |attempt| {
                    let [_, low, _, high] = again(attempt);
                    uniform(low, high)
                })
            };
            let weight = match self.spec.kind {
                Kind::Row => 0,
                Kind::Each => self.load.provisional(wire.target, weight()),
                Kind::Plastic => (weight() as f32).to_bits() as i32,
            };
            keys.push(K::new(first_target + target, steps(delay, self.dt), weight));
        }
    }
}
