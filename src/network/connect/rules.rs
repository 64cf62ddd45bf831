//! Who is connected to whom: how many synapses each source has, and then their targets.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use super::{Wire, Work, atomics, zeroed};
use crate::network::{Edges, Rule};
use crate::random::{Purpose, Words, below, ln, ln_complement, uniform};
use crate::{Error, Result};

/// Draws between two looks at the token.
const CHUNK: u64 = 1 << 20;

/// Random words of one place, one after the other.
struct Sequence {
    words: Words,
    row: u32,
    index: u32,
    block: [u32; 4],
    used: usize,
}

impl Sequence {
    fn new(words: Words, row: u32) -> Self {
        Self { words, row, index: 0, block: [0; 4], used: 4 }
    }

    fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.block = self.words.at(self.row, self.index);
            self.index = self.index.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }
}

/// Draws `k` different numbers below `n`, in no particular order. (R. W. Floyd's algorithm, in J. Bentley, Commun. ACM
/// 30, 1987, doi:10.1145/30401.315746.) `taken` is a bit for each of `n`, zero before and after.
fn distinct(sequence: &mut Sequence, n: u32, k: u32, taken: &mut [u64], out: &mut Vec<u32>) {
    let start = out.len();
    let mut take = |i: u32| {
        let (word, bit) = (&mut taken[i as usize / 64], 1 << (i % 64));
        let free = *word & bit == 0;
        *word |= bit;
        free
    };
    for last in n - k..n {
        let drawn = below(sequence.word(), last + 1);
        out.push(if take(drawn) {
            drawn
        } else {
            take(last);
            last
        });
    }
    for &i in &out[start..] {
        taken[i as usize / 64] = 0;
    }
}

/// What a source's targets come from, made ready for all sources of a projection.
pub(super) enum Ends {
    /// Drawn one by one, together with the weight and the delay.
    Drawn,
    /// Every target, the one with the source's number, each with a probability, so many different ones.
    All,
    Same,
    Probable(f64),
    Distinct(u32),
    /// Sorted by source: where the sources begin, and targets.
    Targets(Vec<usize>, Vec<AtomicU32>),
    /// The same of numbers of edges.
    Listed(Vec<usize>, Vec<AtomicU32>),
    /// `source · row_targets + target`, ascending; those that are there, or (`true`) those that are not.
    Pairs(Vec<u64>, bool),
}

/// Takes a value of a source, from many threads.
type Place<'a> = &'a (dyn Fn(u32, u32) + Sync);

/// What a thread needs again and again.
#[derive(Default)]
pub(super) struct Scratch {
    /// Targets of a source and their numbers, by which given weights and delays are found.
    pub ends: Vec<(u32, u32)>,
    found: Vec<u32>,
    taken: Vec<u64>,
}

impl Scratch {
    /// Room for `n` bits.
    fn room(&mut self, n: u32) {
        let words = (n as usize).div_ceil(64);
        if self.taken.len() < words {
            self.taken.resize(words, 0);
        }
    }
}

fn offsets(counts: &[u32]) -> Vec<usize> {
    let ends = counts.iter().scan(0, |sum, &n| {
        *sum += n as usize;
        Some(*sum)
    });
    std::iter::once(0).chain(ends).collect()
}

fn values(atomics: Vec<AtomicU32>) -> Vec<u32> {
    atomics.into_iter().map(AtomicU32::into_inner).collect()
}

fn chunks(n: u64) -> impl IndexedParallelIterator<Item = Range<u64>> {
    (0..n.div_ceil(CHUNK) as usize).into_par_iter().map(move |c| {
        let start = c as u64 * CHUNK;
        start..(start + CHUNK).min(n)
    })
}

impl Wire<'_> {
    /// Number `i` of the neurons that `except` may be connected to, as a neuron.
    pub fn skip(&self, i: u32, except: u32) -> u32 {
        i + u32::from(self.skip_self && i >= except)
    }

    /// How many synapses each source has.
    pub fn count(&self, work: &Work) -> Result<Vec<u32>> {
        work.check()?;
        let sources = self.sources as usize;
        let words = Words::new(work.seed, Purpose::Sources, self.number);
        match self.rule {
            Rule::AllToAll => Ok(vec![self.row_targets; sources]),
            Rule::OneToOne => Ok(vec![u32::from(!self.skip_self); sources]),
            Rule::FixedOutDegree(k) => Ok(vec![*k; sources]),
            Rule::FixedProbability(p) => (0..self.sources)
                .into_par_iter()
                .map_init(Vec::new, |found, source| {
                    if source % 256 == 0 {
                        work.check()?;
                    }
                    found.clear();
                    self.probable(*p, source, work, found);
                    Ok(found.len() as u32)
                })
                .collect(),
            Rule::FixedTotalNumber(n) if self.multapses => {
                let counts: Vec<AtomicU32> = atomics(sources)?;
                chunks(*n).try_for_each(|chunk| {
                    work.check()?;
                    // A chunk begins with a word 0.
                    for block in chunk.start / 4..chunk.end.div_ceil(4) {
                        let drawn = words.at((block >> 32) as u32, block as u32);
                        for word in &drawn[..(chunk.end - block * 4).min(4) as usize] {
                            counts[below(*word, self.sources) as usize].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                })?;
                Ok(values(counts))
            }
            Rule::FixedTotalNumber(_) => {
                let (pairs, absent) = self.pairs(work)?;
                let mut counts = vec![if absent { self.row_targets } else { 0 }; sources];
                for pair in pairs {
                    let count = &mut counts[(pair / u64::from(self.row_targets)) as usize];
                    *count = if absent { *count - 1 } else { *count + 1 };
                }
                Ok(counts)
            }
            Rule::FixedInDegree(k) => {
                let counts: Vec<AtomicU32> = atomics(sources)?;
                self.columns(*k, work, |source, _| {
                    counts[source as usize].fetch_add(1, Ordering::Relaxed);
                })?;
                Ok(values(counts))
            }
            Rule::Edges(edges) => {
                let mut counts = vec![0; sources];
                for &source in &edges.sources {
                    counts[source as usize] += 1;
                }
                Ok(counts)
            }
            Rule::Sonata { edges, .. } => Err(Error::file(edges, "must be read before the network is built")),
        }
    }

    /// Makes ready what the targets of each source come from.
    pub fn ends(&self, work: &Work) -> Result<Ends> {
        match self.rule {
            Rule::AllToAll => Ok(Ends::All),
            Rule::OneToOne => Ok(Ends::Same),
            Rule::FixedProbability(p) => Ok(Ends::Probable(*p)),
            Rule::FixedOutDegree(k) if !self.multapses => Ok(Ends::Distinct(*k)),
            Rule::FixedOutDegree(_) => Ok(Ends::Drawn),
            Rule::FixedTotalNumber(_) if self.multapses => Ok(Ends::Drawn),
            Rule::FixedTotalNumber(_) => self.pairs(work).map(|(pairs, absent)| Ends::Pairs(pairs, absent)),
            Rule::FixedInDegree(k) => {
                let (offsets, targets) = self.scatter(|place| self.columns(*k, work, place))?;
                Ok(Ends::Targets(offsets, targets))
            }
            Rule::Edges(Edges { sources, .. }) => {
                let (offsets, numbers) = self.scatter(|place| {
                    sources.par_iter().enumerate().for_each(|(i, &source)| place(source, i as u32));
                    Ok(())
                })?;
                Ok(Ends::Listed(offsets, numbers))
            }
            Rule::Sonata { edges, .. } => Err(Error::file(edges, "must be read before the network is built")),
        }
    }

    /// The targets of one source, with the numbers by which given weights and delays are found; not for
    /// [`Ends::Drawn`].
    pub fn row(&self, ends: &Ends, source: u32, work: &Work, scratch: &mut Scratch) {
        scratch.room(self.row_targets);
        let Scratch { ends: out, found, taken } = scratch;
        out.clear();
        found.clear();
        let load = |i: &AtomicU32| i.load(Ordering::Relaxed);
        let row = source as usize;
        match ends {
            Ends::Drawn => {}
            Ends::All => {
                let first = source.wrapping_mul(self.row_targets);
                out.extend((0..self.row_targets).map(|i| (self.skip(i, source), first.wrapping_add(i))));
            }
            Ends::Same if self.skip_self => {}
            Ends::Same => out.push((source, source)),
            Ends::Probable(p) => self.probable(*p, source, work, found),
            Ends::Distinct(k) => {
                let words = Words::new(work.seed, Purpose::Targets, self.number);
                distinct(&mut Sequence::new(words, source), self.row_targets, *k, taken, found);
            }
            Ends::Targets(offsets, targets) => {
                out.extend(targets[offsets[row]..offsets[row + 1]].iter().map(|t| (load(t), 0)));
                // In which order threads put them there must not matter.
                out.sort_unstable();
            }
            Ends::Listed(offsets, numbers) => {
                let Rule::Edges(edges) = self.rule else { return };
                let numbers = numbers[offsets[row]..offsets[row + 1]].iter().map(load);
                out.extend(numbers.map(|i| (edges.targets[i as usize], i)));
                out.sort_unstable();
            }
            Ends::Pairs(pairs, absent) => {
                let first = u64::from(source) * u64::from(self.row_targets);
                let start = pairs.partition_point(|&p| p < first);
                let row = pairs[start..].iter().map(|p| p - first).take_while(|&t| t < u64::from(self.row_targets));
                if *absent {
                    let mut next = 0;
                    for t in row {
                        found.extend(next..t as u32);
                        next = t as u32 + 1;
                    }
                    found.extend(next..self.row_targets);
                } else {
                    found.extend(row.map(|t| t as u32));
                }
            }
        }
        out.extend(found.iter().map(|&i| (self.skip(i, source), 0)));
    }

    /// The targets of a source that has each with probability `p`: the gaps between them are geometric.
    fn probable(&self, p: f64, source: u32, work: &Work, out: &mut Vec<u32>) {
        if p >= 1.0 {
            out.extend(0..self.row_targets);
        } else if p > 0.0 {
            let mut sequence = Sequence::new(Words::new(work.seed, Purpose::Targets, self.number), source);
            let scale = ln_complement(p);
            let mut next = 0u64;
            loop {
                let low = sequence.word();
                // The conversion saturates; the minimum leaves room for the sum.
                next += ((ln(uniform(low, sequence.word())) / scale) as u64).min(1 << 40);
                if next >= u64::from(self.row_targets) {
                    return;
                }
                out.push(next as u32);
                next += 1;
            }
        }
    }

    /// Calls `each` with source and target of every synapse of a fixed in-degree, from many threads.
    fn columns(&self, k: u32, work: &Work, each: impl Fn(u32, u32) + Sync) -> Result<()> {
        let words = Words::new(work.seed, Purpose::Sources, self.number);
        (0..self.targets).into_par_iter().try_for_each_init(Scratch::default, |scratch, target| {
            if target % 256 == 0 {
                work.check()?;
            }
            let mut sequence = Sequence::new(words, target);
            if self.multapses {
                for _ in 0..k {
                    each(self.skip(below(sequence.word(), self.column_sources), target), target);
                }
            } else {
                scratch.room(self.column_sources);
                scratch.found.clear();
                distinct(&mut sequence, self.column_sources, k, &mut scratch.taken, &mut scratch.found);
                scratch.found.iter().for_each(|&source| each(self.skip(source, target), target));
            }
            Ok(())
        })
    }

    /// Sorts by source what `all` hands out together with its source; within a source in any order.
    fn scatter(&self, all: impl FnOnce(Place) -> Result<()>) -> Result<(Vec<usize>, Vec<AtomicU32>)> {
        let offsets = offsets(&self.counts);
        let used: Vec<AtomicU32> = atomics(self.counts.len())?;
        let sorted: Vec<AtomicU32> = atomics(offsets[self.counts.len()])?;
        all(&|source, value| {
            let at = offsets[source as usize] + used[source as usize].fetch_add(1, Ordering::Relaxed) as usize;
            sorted[at].store(value, Ordering::Relaxed);
        })?;
        Ok((offsets, sorted))
    }

    /// A fixed total number of different pairs: drawn until there are enough; where more than half of all are wanted,
    /// those that are left out.
    fn pairs(&self, work: &Work) -> Result<(Vec<u64>, bool)> {
        let Rule::FixedTotalNumber(n) = self.rule else { return Ok((Vec::new(), false)) };
        let all = u64::from(self.sources) * u64::from(self.row_targets);
        let absent = *n > all / 2;
        let wanted = if absent { all - n } else { *n };
        let words = Words::new(work.seed, Purpose::Sources, self.number);
        let mut pairs: Vec<u64> = zeroed(wanted as usize, "drawing pairs")?;
        let (mut have, mut drawn) = (0, 0);
        while have < wanted as usize {
            work.check()?;
            // As many as are missing: whether each is new does not depend on their order.
            let missing = &mut pairs[have..];
            missing.par_iter_mut().enumerate().for_each(|(i, pair)| {
                let i = drawn + i as u64;
                let [low, high, ..] = words.at((i >> 32) as u32, i as u32);
                let word = u128::from(high) << 32 | u128::from(low);
                *pair = ((word * u128::from(all)) >> 64) as u64;
            });
            drawn += missing.len() as u64;
            pairs.par_sort_unstable();
            pairs.dedup();
            have = pairs.len();
            pairs.resize(wanted as usize, 0);
        }
        Ok((pairs, absent))
    }
}
