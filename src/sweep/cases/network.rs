//! One step after the other of a spiking network: neurons, sources, synapses, plasticity, probes.

use super::Agreement::Bits;
use super::{Case, Draft};
use crate::kernel::Tensor;
use crate::ops::{
    self, Bus, Delays, IafCondExp, IafPscDelta, IafPscExp, Izhikevich, NeuronModel, NeuronPopulation, Neurons,
    PlasticSynapses, PlasticTable, PoissonInput, StateProbe, Stdp, StdpRule, SynapseTable, Synapses, Targets, Weights,
};
use crate::{Error, Result};

/// Steps of a recording.
const STEPS: u32 = 16;
/// Milliseconds of a step.
const DT: f64 = 0.1;
/// Input is counted in units of 2^-16.
const EXPONENT: i32 = 16;
/// Synapses of a source.
const FAN_OUT: usize = 64;
/// Longest delay in steps.
const LONGEST: u32 = 15;

const SIZES: &[usize] = &[1 << 8, 1 << 12, 1 << 16];

pub const NEURONS: Case = Case {
    name: "neurons",
    sizes: SIZES,
    unit: "neurons, 16 steps",
    variants: &["iaf_psc_exp", "iaf_psc_delta", "iaf_cond_exp", "izhikevich"],
    make: neurons,
};
pub const SOURCES: Case =
    Case { name: "sources", sizes: SIZES, unit: "neurons, 16 steps", variants: &["poisson", "listed"], make: sources };
pub const POISSON_DRIVE: Case = Case {
    name: "poisson_drive",
    sizes: SIZES,
    unit: "neurons, 16 steps",
    variants: &["default"],
    make: poisson_drive,
};
pub const PROBE: Case =
    Case { name: "probe", sizes: SIZES, unit: "neurons, 16 steps", variants: &["default"], make: probe };
pub const PROPAGATE: Case = Case {
    name: "csr_propagate",
    sizes: &[1 << 8, 1 << 12, 1 << 15],
    unit: "sources of 64 synapses, 16 steps",
    variants: &["u16", "u32", "weight_a_row"],
    make: propagate,
};
pub const STDP: Case = Case {
    name: "stdp",
    sizes: &[1 << 8, 1 << 12, 1 << 14],
    unit: "sources of 64 synapses, 16 steps",
    variants: &["additive", "multiplicative"],
    make: stdp,
};

/// The bus of so many neurons, its clock and its ring at the start.
fn bus(d: &mut Draft, neurons: usize, planes: u32, max_delay: u32, driven: bool) -> Result<Bus> {
    let Some(stride) = u32::try_from(neurons).ok().and_then(|n| n.checked_next_multiple_of(32)) else {
        return Err(Error::invalid("size", format!("{neurons} neurons; fewer than 2^32")));
    };
    let bus = Bus::new(&mut d.rec, stride, STEPS, max_delay, planes, driven)?;
    d.feed(bus.clock, &Bus::clock(0, STEPS, super::SEED));
    d.rec.clear(bus.ring)?;
    Ok(bus)
}

/// One population, its state as at the start.
fn population(d: &mut Draft, bus: &Bus, size: usize, model: NeuronModel) -> Result<(Neurons, Vec<Tensor<u32>>)> {
    let population = NeuronPopulation { first: 0, size: size as u32, exponent: EXPONENT, v_initial: None, model };
    let neurons = Neurons::new(&mut d.rec, bus, DT, &[population])?;
    let states: Vec<_> = neurons.states().into_iter().map(|(_, state)| state).collect();
    states.iter().try_for_each(|state| d.reset(*state))?;
    Ok((neurons, states))
}

/// Two events a step to every neuron, each of so many pA, mV or nS.
fn input(d: &mut Draft, bus: &Bus, size: usize, weight: f64) -> Result<()> {
    let weight = (weight * f64::from(EXPONENT).exp2()) as i32;
    let (size, stop) = (size as u32, u32::MAX);
    let input = PoissonInput { first: 0, size, stream: 1, mean: 2.0, weight, plane: 0, start: 0, stop };
    ops::poisson_drive(&mut d.rec, bus, &input)
}

/// What all networks give.
fn network(d: &mut Draft, bus: &Bus, states: &[Tensor<u32>]) -> Result<()> {
    d.output(bus.raster, Bits)?;
    states.iter().try_for_each(|state| d.output(*state, Bits))
}

fn neurons(d: &mut Draft, size: usize, variant: &str) -> Result<()> {
    let (planes, weight, model, operations) = match variant {
        "iaf_psc_delta" => (1, 2.0, NeuronModel::IafPscDelta(IafPscDelta::default()), 40),
        "iaf_cond_exp" => (2, 20.0, NeuronModel::IafCondExp(IafCondExp::default()), 200),
        "izhikevich" => (1, 5.0, NeuronModel::Izhikevich(Izhikevich::default()), 60),
        _ => (2, 500.0, NeuronModel::IafPscExp(IafPscExp::default()), 70),
    };
    let bus = bus(d, size, planes, 1, true)?;
    let (neurons, states) = population(d, &bus, size, model)?;
    input(d, &bus, size, weight)?;
    for k in 0..STEPS {
        neurons.step(&mut d.rec, &bus, k)?;
    }
    // In every step the state is read and written, and the input of each plane read from ring and drive.
    let words: usize = states.iter().map(|s| 2 * s.len()).sum::<usize>() + 3 * planes as usize * size;
    d.cost(4 * words * STEPS as usize, operations * size * STEPS as usize);
    network(d, &bus, &states)
}

fn sources(d: &mut Draft, size: usize, variant: &str) -> Result<()> {
    let model = if variant == "listed" {
        let steps = (0..size as u32).map(|n| (n % 5..STEPS).step_by(3 + n as usize % 4).collect()).collect();
        NeuronModel::SpikeSource { steps }
    } else {
        NeuronModel::PoissonSource { rate: 1000.0, stream: 3 }
    };
    let bus = bus(d, size, 1, 1, false)?;
    let (neurons, states) = population(d, &bus, size, model)?;
    for k in 0..STEPS {
        neurons.step(&mut d.rec, &bus, k)?;
    }
    let words: usize = states.iter().map(|s| 2 * s.len()).sum();
    d.cost(4 * words * STEPS as usize, 30 * size * STEPS as usize);
    network(d, &bus, &states)
}

fn poisson_drive(d: &mut Draft, size: usize, _: &str) -> Result<()> {
    let bus = bus(d, size, 1, 1, true)?;
    input(d, &bus, size, 1.0)?;
    let drive = bus.drive.ok_or_else(|| Error::Internal("a driven bus without drive".into()))?;
    d.cost(8 * size * STEPS as usize, 60 * size * STEPS as usize);
    d.output(drive, Bits)
}

fn probe(d: &mut Draft, size: usize, _: &str) -> Result<()> {
    let interval = 2;
    let bus = bus(d, size, 1, 1, true)?;
    let model = NeuronModel::IafPscDelta(IafPscDelta { i_offset: 300.0.into(), ..IafPscDelta::default() });
    let (neurons, states) = population(d, &bus, size, model)?;
    input(d, &bus, size, 1.0)?;
    // Every third word of the state.
    let elements: Vec<u32> = (0..states[0].len() as u32).step_by(3).collect();
    let probe = StateProbe::new(&mut d.rec, &bus, states[0], &elements, interval)?;
    for k in 0..STEPS {
        neurons.step(&mut d.rec, &bus, k)?;
        probe.step(&mut d.rec, &bus, k)?;
    }
    let words = 2 * states[0].len() + 3 * size + 3 * elements.len() / interval as usize;
    d.cost(4 * words * STEPS as usize, 40 * size * STEPS as usize);
    d.output(probe.samples(), Bits)?;
    network(d, &bus, &states)
}

/// Where the rows of synapses begin, and their targets, ascending in each row.
fn synapses(d: &mut Draft, neurons: usize) -> (Vec<u32>, Vec<u32>) {
    let offsets = (0..=neurons).map(|row| (row * FAN_OUT) as u32).collect();
    let apart = neurons / FAN_OUT;
    let targets = (0..neurons * FAN_OUT).map(|i| (i % FAN_OUT * apart + d.below(apart)) as u32).collect();
    (offsets, targets)
}

/// Sources that fire in one of ten steps.
fn firing() -> NeuronModel {
    NeuronModel::PoissonSource { rate: 1000.0, stream: 3 }
}

/// Two targets a word.
fn packed(targets: &[u32]) -> Targets {
    Targets::U16(targets.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |t| t << 16)).collect())
}

fn propagate(d: &mut Draft, size: usize, variant: &str) -> Result<()> {
    let bus = bus(d, size, 2, LONGEST, false)?;
    let (neurons, states) = population(d, &bus, size, firing())?;
    let (row_offsets, targets) = synapses(d, size);
    let count = targets.len();
    let weights = |d: &mut Draft, n: usize| (0..n).map(|_| d.below(2001) as i32 - 1000).collect();
    let delays = (0..count.div_ceil(4))
        .map(|_| (0..4).fold(0, |word, i| word | (1 + d.below(LONGEST as usize) as u32) << (8 * i)))
        .collect();
    let table = SynapseTable {
        first_source: 0,
        first_target: 0,
        target_span: size as u32,
        row_offsets,
        targets: if variant == "u32" { Targets::U32(targets) } else { packed(&targets) },
        weights: if variant == "weight_a_row" {
            Weights::Row(weights(d, size))
        } else {
            Weights::Each(weights(d, count))
        },
        delays: Delays::Each(delays),
    };
    let synapses = Synapses::new(&mut d.rec, &bus, table)?;
    for k in 0..STEPS {
        neurons.step(&mut d.rec, &bus, k)?;
        synapses.step(&mut d.rec, &bus, k)?;
    }
    // One synapse in ten transmits in a step: target, weight and delay, and the sum in the ring.
    let events = count * STEPS as usize / 10;
    d.cost(16 * events, 2 * events);
    d.output(bus.ring, Bits)?;
    network(d, &bus, &states)
}

fn stdp(d: &mut Draft, size: usize, variant: &str) -> Result<()> {
    let bus = bus(d, size, 1, 1, false)?;
    let (neurons, states) = population(d, &bus, size, firing())?;
    let (row_offsets, targets) = synapses(d, size);
    let count = targets.len();
    let rule = if variant == "multiplicative" { StdpRule::Multiplicative } else { StdpRule::Additive };
    let table = PlasticTable {
        first_source: 0,
        first_target: 0,
        target_span: size as u32,
        row_offsets,
        targets: packed(&targets),
        delays: Delays::All(1),
        weights: (0..count).map(|_| 1.0 + d.number()).collect(),
        exponent: EXPONENT,
        stdp: Stdp { tau_plus: 20.0, tau_minus: 20.0, a_plus: 0.01, a_minus: 0.012, w_min: 0.0, w_max: 2.0, rule },
    };
    let synapses = PlasticSynapses::new(&mut d.rec, &bus, "plastic", table, DT)?;
    for (_, state) in synapses.states() {
        d.reset(state)?;
    }
    for k in 0..STEPS {
        neurons.step(&mut d.rec, &bus, k)?;
        synapses.step(&mut d.rec, &bus, k)?;
    }
    // One synapse in ten is changed by its source's spike and one by its target's: weight, trace, and the ring.
    let events = count * STEPS as usize / 10;
    d.cost(40 * events, 12 * events);
    d.output(bus.ring, Bits)?;
    for (_, state) in synapses.states() {
        d.output(state, Bits)?;
    }
    network(d, &bus, &states)
}
