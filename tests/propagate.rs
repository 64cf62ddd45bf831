//! Spikes through synapses (`csr_propagate`, `stdp_depress`, `stdp_potentiate`, `stdp_trace`): every device against plain
//! sums over a list of synapses.

mod common;

use common::SplitMix;
use proptest::prelude::*;
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::kernel::Tensor;
use spikewave::ops::{
    Bus, Delays, MAX_DELAY, PlasticSynapses, PlasticTable, Stdp, StdpRule, SynapseTable, Synapses, Targets, Weights,
};
use spikewave::recording::Recording;

/// One synapse: neurons, whole units, steps.
#[derive(Debug, Clone, Copy)]
struct Synapse {
    source: u32,
    target: u32,
    weight: i32,
    delay: u32,
}

/// A network of synapses and the spikes that go through it.
#[derive(Debug, Clone)]
struct Case {
    stride: u32,
    first_source: u32,
    rows: u32,
    first_target: u32,
    span: u32,
    wide: bool,
    weight_a_row: bool,
    one_delay: bool,
    planes: u32,
    max_delay: u32,
    synapses: Vec<Synapse>,
    /// Neurons that spike in each step.
    spikes: Vec<Vec<u32>>,
    first_step: u32,
}

fn below(random: &mut SplitMix, n: u32) -> u32 {
    (random.next() * f64::from(n)) as u32
}

/// A random case: empty rows, rows of many synapses, multapses, autapses, the shortest and the longest delay; steps
/// without spikes and steps in which every neuron spikes.
fn case(seed: u64, longest_row: u32) -> Case {
    let mut random = SplitMix(seed);
    let r = &mut random;
    let stride = 32 * (1 + below(r, 12));
    let first_source = below(r, stride);
    let rows = 1 + below(r, stride - first_source);
    let first_target = below(r, stride);
    let span = 1 + below(r, stride - first_target);
    let max_delay = [1, 2, 15, 16, MAX_DELAY][below(r, 5) as usize];
    let (wide, weight_a_row, one_delay) = (below(r, 2) == 0, below(r, 3) == 0, below(r, 3) == 0);
    let (all, planes) = (1 + below(r, max_delay), 1 + below(r, 2));
    let mut synapses = Vec::new();
    for source in first_source..first_source + rows {
        let n = [0, 1, below(r, 8), below(r, longest_row)][below(r, 4) as usize];
        let of_row = below(r, 2001) as i32 - 1000;
        for _ in 0..n {
            let delay = match below(r, 4) {
                0 => 1,
                1 => max_delay,
                _ => 1 + below(r, max_delay),
            };
            synapses.push(Synapse {
                source,
                target: first_target + below(r, span),
                weight: if weight_a_row { of_row } else { (r.next() * 4e9 - 2e9) as i32 / 1024 },
                delay: if one_delay { all } else { delay },
            });
        }
    }
    synapses.sort_by_key(|s| (s.source, s.target, s.delay));
    let steps = 1 + below(r, 40);
    let spikes = (0..steps)
        .map(|_| {
            let share = [0.0, 0.05, 0.5, 1.0][below(r, 4) as usize];
            (0..stride).filter(|_| r.next() < share).collect()
        })
        .collect();
    Case {
        stride,
        first_source,
        rows,
        first_target,
        span,
        wide,
        weight_a_row,
        one_delay,
        planes,
        max_delay,
        synapses,
        spikes,
        first_step: [0, 1, 1000, u32::MAX - 20][below(r, 4) as usize],
    }
}

/// Values of `bits` bits each, the first in the lowest bits of a word.
fn packed(values: impl Iterator<Item = u32>, bits: usize) -> Vec<u32> {
    let values: Vec<u32> = values.collect();
    let word = |v: &[u32]| v.iter().enumerate().map(|(i, v)| v << (i * bits)).sum();
    values.chunks(32 / bits).map(word).collect()
}

impl Case {
    fn row_offsets(&self) -> Vec<u32> {
        let before = |row| self.synapses.iter().filter(|s| s.source < self.first_source + row).count() as u32;
        (0..=self.rows).map(before).collect()
    }

    fn targets(&self) -> Targets {
        let targets = self.synapses.iter().map(|s| s.target - self.first_target);
        if self.wide { Targets::U32(targets.collect()) } else { Targets::U16(packed(targets, 16)) }
    }

    fn delays(&self) -> Delays {
        match self.synapses.first() {
            Some(s) if self.one_delay => Delays::All(s.delay),
            _ => Delays::Each(packed(self.synapses.iter().map(|s| s.delay), 8)),
        }
    }

    fn table(&self) -> SynapseTable {
        let of_row = |row| self.synapses.iter().find(|s| s.source == self.first_source + row).map_or(0, |s| s.weight);
        SynapseTable {
            first_source: self.first_source,
            first_target: self.first_target,
            target_span: self.span,
            row_offsets: self.row_offsets(),
            targets: self.targets(),
            weights: if self.weight_a_row {
                Weights::Row((0..self.rows).map(of_row).collect())
            } else {
                Weights::Each(self.synapses.iter().map(|s| s.weight).collect())
            },
            delays: self.delays(),
        }
    }

    /// `[slots][planes][stride]` after all steps, from nothing taken.
    fn expected(&self) -> Vec<u32> {
        let slots = (self.max_delay + 1).next_power_of_two();
        let mut ring = vec![0i64; (slots * self.planes * self.stride) as usize];
        for (k, spikes) in self.spikes.iter().enumerate() {
            let n = u64::from(self.first_step) + k as u64;
            for s in self.synapses.iter().filter(|s| spikes.contains(&s.source)) {
                let slot = ((n + u64::from(s.delay)) % u64::from(slots)) as u32;
                let plane = u32::from(self.planes == 2 && s.weight < 0);
                ring[((slot * self.planes + plane) * self.stride + s.target) as usize] += i64::from(s.weight);
            }
        }
        // Modulo 2^32, as on the device: that sums stay in range is for whoever chooses the units.
        ring.into_iter().map(|sum| sum as u32).collect()
    }

    /// The ring after all steps, `length` steps a recording.
    fn on(&self, device: &Device, length: u32) -> Vec<u32> {
        let mut fed = Fed::new(device, self.stride, length, self.max_delay, self.planes);
        let synapses = Synapses::new(&mut fed.rec, &fed.bus, self.table()).unwrap();
        for k in 0..length {
            fed.spike(k);
            synapses.step(&mut fed.rec, &fed.bus, k).unwrap();
        }
        fed.rec.download(fed.bus.ring).unwrap();
        let (ring, mut last) = (fed.bus.ring, Vec::new());
        fed.run(device, self.first_step, &self.spikes, |out| last = out.get(ring).unwrap().to_vec());
        last
    }
}

/// A recording whose spikes are given.
struct Fed {
    rec: Recording,
    bus: Bus,
    counts: Tensor<u32>,
    lists: Tensor<u32>,
    raster: Tensor<u32>,
}

impl Fed {
    fn new(device: &Device, stride: u32, steps: u32, max_delay: u32, planes: u32) -> Self {
        let mut rec = device.recording("propagation");
        let bus = Bus::new(&mut rec, stride, steps, max_delay, planes, false).unwrap();
        let counts = rec.input("counts", steps as usize).unwrap();
        let lists = rec.input("lists", (steps * stride) as usize).unwrap();
        let raster = rec.input("spike bits", (steps * stride / 32) as usize).unwrap();
        rec.copy(raster, 0, bus.raster, 0, raster.len()).unwrap();
        Self { rec, bus, counts, lists, raster }
    }

    /// Step `k`'s spikes, as neurons would leave them.
    fn spike(&mut self, k: u32) {
        let (steps, stride, k) = (self.bus.steps as usize, self.bus.stride as usize, k as usize);
        self.rec.copy(self.counts, k, self.bus.spikes, k, 1).unwrap();
        self.rec.copy(self.lists, k * stride, self.bus.spikes, steps, stride).unwrap();
    }

    /// Runs all steps. In the recording's steps behind the last, every neuron seems to spike.
    fn run(
        &self,
        device: &Device,
        first_step: u32,
        spikes: &[Vec<u32>],
        mut after: impl FnMut(&spikewave::device::Outputs),
    ) {
        let (steps, stride) = (self.bus.steps as usize, self.bus.stride as usize);
        let mut prepared = device.prepare(&self.rec).unwrap();
        let mut random = SplitMix(5);
        for (i, part) in spikes.chunks(steps).enumerate() {
            let mut counts = vec![stride as u32; steps];
            let mut lists: Vec<u32> = (0..steps).flat_map(|_| 0..stride as u32).collect();
            let mut raster = vec![u32::MAX; steps * stride / 32];
            for (k, spikes) in part.iter().enumerate() {
                counts[k] = spikes.len() as u32;
                let row = &mut lists[k * stride..(k + 1) * stride];
                row.fill(u32::MAX);
                // In any order.
                for (j, &neuron) in spikes.iter().enumerate() {
                    row[j] = neuron;
                    row.swap(j, below(&mut random, j as u32 + 1) as usize);
                }
                let bits = &mut raster[k * stride / 32..(k + 1) * stride / 32];
                bits.fill(0);
                spikes.iter().for_each(|&neuron| bits[neuron as usize / 32] |= 1 << (neuron % 32));
            }
            let first = first_step.wrapping_add((i * steps) as u32);
            let clock = Bus::clock(first, part.len() as u32, 0);
            let feeds = [
                self.bus.clock.feed(&clock),
                self.counts.feed(&counts),
                self.lists.feed(&lists),
                self.raster.feed(&raster),
            ];
            after(&prepared.run(&feeds, &Control::default()).unwrap());
        }
    }
}

fn same(found: &[u32], expected: &[u32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    if let Some(i) = (0..found.len()).find(|&i| found[i] != expected[i]) {
        panic!("{what}: sum {i} is {}, must be {}", found[i] as i32, expected[i] as i32);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn sums_are_those_of_a_list_of_synapses(seed: u64) {
        let case = case(seed, 200);
        let expected = case.expected();
        for device in common::devices() {
            for length in [case.spikes.len() as u32, 7] {
                same(&case.on(&device, length), &expected, &format!("{}, {length} steps a recording", device.name()));
            }
        }
    }
}

/// 500 sources with up to 600 synapses each: above what the native path leaves to one thread.
fn large() -> Case {
    let mut random = SplitMix(11);
    let mut large = Case {
        stride: 512,
        first_source: 3,
        rows: 500,
        first_target: 100,
        span: 400,
        max_delay: 20,
        wide: false,
        weight_a_row: false,
        one_delay: false,
        planes: 2,
        ..case(1, 1)
    };
    large.synapses.clear();
    for source in 3..503 {
        for _ in 0..below(&mut random, 600) {
            large.synapses.push(Synapse {
                source,
                // Half of them onto a tenth of the targets.
                target: 100 + if random.next() < 0.5 { below(&mut random, 40) } else { below(&mut random, 400) },
                weight: below(&mut random, 20_001) as i32 - 10_000,
                delay: 1 + below(&mut random, 20),
            });
        }
    }
    large.synapses.sort_by_key(|s| (s.source, s.target, s.delay));
    large.spikes = [1.0, 0.0, 0.4, 1.0].map(|share| (0..512).filter(|_| random.next() < share).collect()).into();
    large
}

#[test]
fn many_spikes_on_any_number_of_threads() {
    let case = large();
    let expected = case.expected();
    for threads in 1..=5 {
        let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) };
        same(&case.on(&Device::open(&options).unwrap(), 2), &expected, &format!("{threads} threads"));
    }
    for device in common::devices() {
        for (wide, weight_a_row) in [(true, false), (false, true), (true, true)] {
            let mut case = Case { wide, weight_a_row, ..case.clone() };
            if weight_a_row {
                case.synapses.iter_mut().for_each(|s| s.weight = s.source as i32 - 250);
            }
            same(&case.on(&device, 4), &case.expected(), device.name());
        }
    }
}

#[test]
fn a_changed_synapse_is_seen() {
    let case = large();
    let expected = case.expected();
    for device in common::devices() {
        same(&case.on(&device, 4), &expected, device.name());
        let mut changed = case.clone();
        let at = changed.synapses.len() / 2;
        changed.synapses[at].weight ^= 1;
        assert!(changed.on(&device, 4) != expected, "weight on {}", device.name());
        let mut changed = case.clone();
        changed.synapses[at].delay ^= 1;
        assert!(changed.on(&device, 4) != expected, "delay on {}", device.name());
    }
}

#[test]
fn a_table_without_synapses_does_nothing() {
    for device in common::devices() {
        for rows in [0, 5] {
            let case = Case { synapses: Vec::new(), first_source: 0, rows, weight_a_row: false, ..large() };
            assert!(case.on(&device, 2).iter().all(|&sum| sum == 0), "{}", device.name());
        }
    }
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    let device = Device::open(&DeviceOptions::new(Choice::Cpu)).unwrap();
    let good = large();
    let refused = |what: &str, table: SynapseTable| {
        let mut rec = device.recording("refused");
        let bus = Bus::new(&mut rec, good.stride, 1, good.max_delay, 1, false).unwrap();
        let error = Synapses::new(&mut rec, &bus, table).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let table = good.table();
    refused("sources", SynapseTable { first_source: 13, ..table.clone() });
    refused("targets", SynapseTable { first_target: 113, ..table.clone() });
    refused("outside", SynapseTable { target_span: 10, ..table.clone() });
    refused("32 steps", SynapseTable { delays: Delays::All(32), ..table.clone() });
    refused("0 steps", SynapseTable { delays: Delays::All(0), ..table.clone() });
    refused("weights", SynapseTable { weights: Weights::Each(vec![1]), ..table.clone() });
    let mut offsets = table.row_offsets.clone();
    offsets.swap(10, 20);
    refused("ends before it begins", SynapseTable { row_offsets: offsets, ..table.clone() });
    let Targets::U16(mut words) = table.targets.clone() else { panic!("they are narrow") };
    words.reverse();
    refused("", SynapseTable { targets: Targets::U16(words), ..table });
}

/// What plasticity leaves after all steps.
#[derive(Debug, Clone, PartialEq)]
struct Learned {
    ring: Vec<u32>,
    weights: Vec<u32>,
    traces: Vec<u32>,
}

const DT: f64 = 0.1;
/// Units of 2^-10.
const EXPONENT: i32 = 10;

impl Case {
    /// The case with weights between the bounds in place of units.
    fn plastic(&self, stdp: &Stdp) -> PlasticTable {
        let mut random = SplitMix(3);
        let mut weight = || (stdp.w_min + random.next() * (stdp.w_max - stdp.w_min)) as f32;
        PlasticTable {
            first_source: self.first_source,
            first_target: self.first_target,
            target_span: self.span,
            row_offsets: self.row_offsets(),
            targets: self.targets(),
            delays: self.delays(),
            weights: self.synapses.iter().map(|_| weight()).collect(),
            exponent: EXPONENT,
            stdp: stdp.clone(),
        }
    }

    /// Weights, traces, and the ring with the number of events of each sum, by the rule as it is written, in f64.
    fn learned_f64(&self, stdp: &Stdp) -> (Vec<f64>, Vec<f64>, Vec<(f64, f64)>) {
        let mut w: Vec<f64> = self.plastic(stdp).weights.iter().map(|&w| w.into()).collect();
        let mut x = vec![0.0; self.rows as usize];
        let mut y = vec![0.0; self.span as usize];
        let slots = (self.max_delay + 1).next_power_of_two();
        let mut ring = vec![(0.0, 0.0); (slots * self.planes * self.stride) as usize];
        let multiplicative = stdp.rule == StdpRule::Multiplicative;
        for (k, spikes) in self.spikes.iter().enumerate() {
            let n = u64::from(self.first_step) + k as u64;
            x.iter_mut().for_each(|x| *x *= (-DT / stdp.tau_plus).exp());
            y.iter_mut().for_each(|y| *y *= (-DT / stdp.tau_minus).exp());
            for (s, w) in self.synapses.iter().zip(&mut w).filter(|(s, _)| spikes.contains(&s.source)) {
                let slot = ((n + u64::from(s.delay)) % u64::from(slots)) as u32;
                let units = (*w * f64::from(EXPONENT).exp2() + 0.5).floor();
                let plane = u32::from(self.planes == 2 && units < 0.0);
                for p in 0..self.planes {
                    let sum = &mut ring[((slot * self.planes + p) * self.stride + s.target) as usize];
                    // A weight near zero may fall on the other plane.
                    *sum = (sum.0 + if p == plane { units } else { 0.0 }, sum.1 + 1.0);
                }
                let reach = if multiplicative { *w - stdp.w_min } else { 1.0 };
                let y = y[(s.target - self.first_target) as usize];
                *w = (*w - stdp.a_minus * reach * y).clamp(stdp.w_min, stdp.w_max);
            }
            for (s, w) in self.synapses.iter().zip(&mut w).filter(|(s, _)| spikes.contains(&s.target)) {
                let reach = if multiplicative { stdp.w_max - *w } else { 1.0 };
                let x = x[(s.source - self.first_source) as usize];
                *w = (*w + stdp.a_plus * reach * x).clamp(stdp.w_min, stdp.w_max);
            }
            for &neuron in spikes {
                let of = |first: u32, n: u32| neuron.checked_sub(first).filter(|i| *i < n).map(|i| i as usize);
                of(self.first_source, self.rows).into_iter().for_each(|i| x[i] += 1.0);
                of(self.first_target, self.span).into_iter().for_each(|i| y[i] += 1.0);
            }
        }
        // What is kept is decayed to the next step.
        x.iter_mut().for_each(|x| *x *= (-DT / stdp.tau_plus).exp());
        y.iter_mut().for_each(|y| *y *= (-DT / stdp.tau_minus).exp());
        (w, [x, y].concat(), ring)
    }

    fn learned(&self, device: &Device, stdp: &Stdp, length: u32) -> Learned {
        let mut fed = Fed::new(device, self.stride, length, self.max_delay, self.planes);
        let synapses = PlasticSynapses::new(&mut fed.rec, &fed.bus, "a", self.plastic(stdp), DT).unwrap();
        for k in 0..length {
            fed.spike(k);
            synapses.step(&mut fed.rec, &fed.bus, k).unwrap();
        }
        let states = synapses.states();
        fed.rec.download(fed.bus.ring).unwrap();
        states.iter().for_each(|(_, tensor)| fed.rec.download(*tensor).unwrap());
        let names: Vec<&str> = states.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a: weights", "a: traces"]);
        let ring = fed.bus.ring;
        let mut last = None;
        fed.run(device, self.first_step, &self.spikes, |out| {
            let get = |tensor| out.get(tensor).unwrap().to_vec();
            last = Some(Learned { ring: get(ring), weights: get(states[0].1), traces: get(states[1].1) });
        });
        last.unwrap()
    }
}

fn rules(stdp: &Stdp) -> [Stdp; 2] {
    [StdpRule::Additive, StdpRule::Multiplicative].map(|rule| Stdp { rule, ..stdp.clone() })
}

fn rule_of(seed: u64) -> Stdp {
    let mut random = SplitMix(seed ^ 77);
    let w_min = [0.0, -3.0, 1.5][below(&mut random, 3) as usize];
    Stdp {
        tau_plus: 0.3 + 30.0 * random.next(),
        tau_minus: 0.3 + 30.0 * random.next(),
        a_plus: 0.2 * random.next().powi(4),
        a_minus: 0.2 * random.next().powi(4),
        w_min,
        w_max: w_min + 1.0 + 4.0 * random.next(),
        rule: StdpRule::Additive,
    }
}

/// An f32 sum, product or rounding errs by 6e-8 of the largest magnitude; a weight has at most some 100 changes here,
/// of four operations each: below 1e-5 of the range of weights.
fn near(found: &[u32], expected: &[f64], range: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let found = f64::from(f32::from_bits(*found));
        assert!((found - expected).abs() <= 1e-5 * range, "{what} {i} is {found}, must be {expected}");
    }
}

fn learns(case: &Case, stdp: &Stdp) {
    let (weights, traces, ring) = case.learned_f64(stdp);
    let range = stdp.w_min.abs().max(stdp.w_max.abs());
    let mut first: Option<Learned> = None;
    for device in common::devices() {
        for length in [case.spikes.len() as u32, 7] {
            let found = case.learned(&device, stdp, length);
            let name = format!("{}, {:?}, {length} steps a recording", device.name(), stdp.rule);
            near(&found.weights, &weights, range, &format!("{name}: weight"));
            near(&found.traces, &traces, case.spikes.len() as f64, &format!("{name}: trace"));
            for (i, (&found, &(expected, events))) in found.ring.iter().zip(&ring).enumerate() {
                // Each event may be rounded the other way, and has the weight's error.
                let error = (f64::from(found as i32) - expected).abs();
                let most = events * (1.0 + 1e-5 * range * f64::from(EXPONENT).exp2());
                assert!(error <= most, "{name}: sum {i} of {events} events is {}, must be {expected}", found as i32);
            }
            match &first {
                None => first = Some(found),
                Some(first) => assert!(found == *first, "{name}: other bits"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn weights_follow_the_rule(seed: u64) {
        let case = Case { weight_a_row: false, ..case(seed, 100) };
        prop_assume!(!case.synapses.is_empty());
        rules(&rule_of(seed)).iter().for_each(|stdp| learns(&case, stdp));
    }
}

#[test]
fn many_plastic_synapses_on_any_number_of_threads() {
    let case = large();
    for stdp in rules(&rule_of(4)) {
        let mut first: Option<Learned> = None;
        for threads in 1..=4 {
            let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) };
            let found = case.learned(&Device::open(&options).unwrap(), &stdp, 2);
            assert!(*first.get_or_insert_with(|| found.clone()) == found, "{threads} threads");
        }
        learns(&case, &stdp);
    }
}

/// One pair of neurons with a synapse each way that fire some steps apart, by hand.
#[test]
fn a_pair_of_spikes() {
    let stdp = Stdp {
        tau_plus: 20.0,
        tau_minus: 10.0,
        a_plus: 0.125,
        a_minus: 0.25,
        w_min: 0.0,
        w_max: 4.0,
        rule: StdpRule::Additive,
    };
    let synapse = |source, target, delay| Synapse { source, target, weight: 0, delay };
    let pair = |spikes: Vec<Vec<u32>>| Case {
        stride: 32,
        first_source: 0,
        rows: 2,
        first_target: 0,
        span: 2,
        max_delay: 255,
        planes: 1,
        first_step: 0,
        synapses: vec![synapse(0, 0, 1), synapse(0, 1, 1), synapse(1, 0, 255)],
        spikes,
        one_delay: false,
        ..large()
    };
    let after = |spikes: Vec<Vec<u32>>| {
        let case = pair(spikes);
        let start: Vec<f64> = case.plastic(&stdp).weights.iter().map(|&w| w.into()).collect();
        common::devices()
            .iter()
            .map(|device| {
                let found = case.learned(device, &stdp, 3).weights;
                let now = found.iter().map(|&w| f64::from(f32::from_bits(w)));
                now.zip(&start).map(|(now, start)| now - start).collect::<Vec<f64>>()
            })
            .collect::<Vec<_>>()
    };
    let close = |found: &[f64], expected: [f64; 3]| {
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{found:?}, must be {expected:?}");
    };
    // 0 before 1 by 5 steps: 0 → 1 rises, 1 → 0 falls.
    let mut spikes = vec![Vec::new(); 12];
    (spikes[3], spikes[8]) = (vec![0], vec![1]);
    let (rise, fall) = (0.125 * (-0.5f64 / 20.0).exp(), 0.25 * (-0.5f64 / 10.0).exp());
    after(spikes.clone()).iter().for_each(|w| close(w, [0.0, rise, -fall]));
    // Together: nothing, whatever the delay.
    (spikes[3], spikes[8]) = (vec![0, 1], vec![]);
    after(spikes.clone()).iter().for_each(|w| close(w, [0.0, 0.0, 0.0]));
    // An autapse sees each spike as both.
    (spikes[3], spikes[8]) = (vec![0], vec![0]);
    let both = 0.125 * (-0.5f64 / 20.0).exp() - 0.25 * (-0.5f64 / 10.0).exp();
    after(spikes).iter().for_each(|w| close(w, [both, 0.0, 0.0]));
}

#[test]
fn a_changed_spike_or_weight_changes_what_is_learned() {
    let (case, stdp) = (large(), Stdp { a_plus: 1e-3, a_minus: 1e-3, w_min: 0.0, w_max: 1.0, ..rule_of(4) });
    for device in common::devices() {
        let found = case.learned(&device, &stdp, 4);
        let mut changed = case.clone();
        changed.spikes[2].remove(17);
        assert!(changed.learned(&device, &stdp, 4).weights != found.weights, "{}", device.name());
        let other = Stdp { a_plus: stdp.a_plus * 1.001, ..stdp.clone() };
        assert!(case.learned(&device, &other, 4).weights != found.weights, "{}", device.name());
    }
}

/// Any command may write the list of spikes. A neuron that is in it twice is one that spikes, so that no two threads
/// have its synapses.
#[test]
fn a_neuron_that_is_listed_twice_spikes_once() {
    let stdp = Stdp {
        tau_plus: 20.0,
        tau_minus: 20.0,
        a_plus: 0.01,
        a_minus: 0.01,
        w_min: 0.0,
        w_max: 4.0,
        rule: StdpRule::Additive,
    };
    // 20,000 synapses of neuron 0 onto neuron 40, which is no source.
    let synapse = Synapse { source: 0, target: 40, weight: 0, delay: 1 };
    let case = |synapses: usize, last: Vec<u32>| Case {
        stride: 64,
        first_source: 0,
        rows: 32,
        first_target: 32,
        span: 32,
        max_delay: 1,
        planes: 1,
        first_step: 0,
        synapses: vec![synapse; synapses],
        spikes: vec![vec![0], last],
        ..large()
    };
    for synapses in [20, 20_000] {
        for threads in [1, 4] {
            let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) };
            let device = Device::open(&options).unwrap();
            let once = case(synapses, vec![40]).learned(&device, &stdp, 2);
            let start = case(synapses, vec![]).learned(&device, &stdp, 2);
            assert!(once.weights != start.weights);
            let twice = case(synapses, vec![40; 8]).learned(&device, &stdp, 2);
            assert!(twice.weights == once.weights, "{synapses} synapses, {threads} threads");
        }
    }
}

#[test]
fn plasticity_that_makes_no_sense_is_refused() {
    let device = Device::open(&DeviceOptions::new(Choice::Cpu)).unwrap();
    let (case, good) = (large(), rule_of(4));
    let refused = |what: &str, dt: f64, change: &dyn Fn(&mut PlasticTable)| {
        let mut rec = device.recording("refused");
        let bus = Bus::new(&mut rec, case.stride, 1, case.max_delay, 1, false).unwrap();
        let mut table = case.plastic(&good);
        change(&mut table);
        let error = PlasticSynapses::new(&mut rec, &bus, "a", table, dt).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    refused("dt", 0.0, &|_| {});
    refused("tau_plus", DT, &|t| t.stdp.tau_plus = 0.0);
    refused("tau_minus", DT, &|t| t.stdp.tau_minus = f64::NAN);
    refused("a_plus", DT, &|t| t.stdp.a_plus = f64::INFINITY);
    // Finite, but not as f32.
    refused("a_plus", DT, &|t| t.stdp.a_plus = 1e39);
    refused("a_minus", DT, &|t| t.stdp.a_minus = -1e39);
    refused("w_min", DT, &|t| t.stdp.w_min = t.stdp.w_max + 1.0);
    refused("synapse 7 ", DT, &|t| t.weights[7] = t.stdp.w_max as f32 + 1.0);
    refused("synapse 7 ", DT, &|t| t.weights[7] = f32::NAN);
    refused("weights", DT, &|t| t.weights.truncate(5));
    refused("units", DT, &|t| t.exponent = 31);
    refused("units", DT, &|t| t.exponent = 300);
    refused("sources", DT, &|t| t.first_source = 13);
}
