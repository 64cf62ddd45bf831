//! Synaptic events on the native path. `cargo test --bench propagate` runs small ones once.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::{
    Bus, Delays, PlasticSynapses, PlasticTable, Stdp, StdpRule, SynapseTable, Synapses, Targets, Weights,
};
use spikewave::random::Random;
use spikewave::recording::Recording;

const STEPS: u32 = 200;

/// A fiftieth, except where times are asked for.
fn sized(synapses: u32) -> u32 {
    if std::env::args().any(|arg| arg == "--bench") { synapses } else { synapses / 50 }
}

/// Rows of equal length, targets drawn uniformly, delays from 1 to 31 steps.
fn table(neurons: u32, synapses: u32) -> SynapseTable {
    let each = synapses / neurons;
    let mut random = Random::new(1, 0);
    let mut below = |n: u32| ((u64::from(random.word()) * u64::from(n)) >> 32) as u32;
    let n = (neurons * each) as usize;
    let (mut targets, mut delays) = (vec![0u32; n.div_ceil(2)], vec![0u32; n.div_ceil(4)]);
    let (mut weights, mut row) = (Vec::with_capacity(n), vec![0; each as usize]);
    for i in 0..n {
        if i % each as usize == 0 {
            row.fill_with(|| below(neurons));
            row.sort_unstable();
        }
        targets[i / 2] |= row[i % each as usize] << (i % 2 * 16);
        delays[i / 4] |= (1 + below(31)) << (i % 4 * 8);
        weights.push(below(200_000) as i32 - 40_000);
    }
    SynapseTable {
        first_source: 0,
        first_target: 0,
        target_span: neurons,
        row_offsets: (0..=neurons).map(|i| i * each).collect(),
        targets: Targets::U16(targets),
        weights: Weights::Each(weights),
        delays: Delays::Each(delays),
    }
}

/// Times a recording of [`STEPS`] steps with `spikes` spikes in each.
fn steps(
    c: &mut Criterion,
    name: &str,
    (neurons, events): (u32, u32),
    spikes: u32,
    record: impl FnOnce(&mut Recording, &Bus) -> Box<dyn Fn(&mut Recording, &Bus, u32)>,
) {
    let device = Device::open(&DeviceOptions::new(Choice::Cpu)).expect("the native path always opens");
    let mut rec = device.recording(name);
    let bus = Bus::new(&mut rec, neurons.next_multiple_of(32), STEPS, 31, 1, false).expect("sound sizes");
    let mut random = Random::new(2, 0);
    let lists: Vec<u32> = (0..STEPS)
        .flat_map(|_| {
            let mut list: Vec<u32> = (0..spikes).map(|_| random.word() % neurons).collect();
            list.sort_unstable();
            list
        })
        .collect();
    let counts = rec.constant("counts", &vec![spikes; STEPS as usize]).expect("not empty");
    let lists = rec.constant("lists", &lists).expect("not empty");
    let step = record(&mut rec, &bus);
    rec.copy(counts, 0, bus.spikes, 0, STEPS as usize).expect("it fits");
    for k in 0..STEPS {
        rec.copy(lists, (k * spikes) as usize, bus.spikes, STEPS as usize, spikes as usize).expect("it fits");
        step(&mut rec, &bus, k);
    }
    let mut prepared = device.prepare(&rec).expect("it fits");
    drop(rec);
    let clock = Bus::clock(0, STEPS, 0);
    let mut group = c.benchmark_group("synaptic events");
    group.sample_size(10);
    group.throughput(Throughput::Elements(u64::from(STEPS) * u64::from(events)));
    group.bench_function(name, |b| {
        b.iter(|| prepared.run(&[bus.clock.feed(&clock)], &Control::default()).expect("the clock is given"));
    });
    group.finish();
}

fn constant(c: &mut Criterion) {
    for (neurons, synapses, spikes) in
        [(7_717, 3_000_000, 3), (7_717, 3_000_000, 100), (40_000, 100_000_000, 12), (40_000, 100_000_000, 100)]
    {
        let synapses = sized(synapses);
        let name = format!("{synapses} synapses of {neurons} neurons, {spikes} spikes a step");
        steps(c, &name, (neurons, synapses / neurons * spikes), spikes, |rec, bus| {
            let synapses = Synapses::new(rec, bus, table(neurons, synapses)).expect("a sound table");
            Box::new(move |rec, bus, k| synapses.step(rec, bus, k).expect("steps fit"))
        });
    }
}

fn plastic(c: &mut Criterion) {
    let (neurons, synapses, spikes) = (7_717, sized(3_000_000), 3);
    let name = format!("{synapses} plastic synapses of {neurons} neurons, {spikes} spikes a step");
    steps(c, &name, (neurons, 2 * (synapses / neurons) * spikes), spikes, |rec, bus| {
        let SynapseTable { first_source, first_target, target_span, row_offsets, targets, delays, weights } =
            table(neurons, synapses);
        let Weights::Each(weights) = weights else { unreachable!("one a synapse") };
        let stdp = Stdp {
            tau_plus: 20.0,
            tau_minus: 20.0,
            a_plus: 0.1,
            a_minus: 0.105,
            w_min: -400.0,
            w_max: 2000.0,
            rule: StdpRule::Additive,
        };
        let weights = weights.into_iter().map(|w| w as f32 / 100.0).collect();
        let table = PlasticTable {
            first_source,
            first_target,
            target_span,
            row_offsets,
            targets,
            delays,
            weights,
            exponent: 10,
            stdp,
        };
        let synapses = PlasticSynapses::new(rec, bus, "plastic", table, 0.1).expect("a sound table");
        Box::new(move |rec, bus, k| synapses.step(rec, bus, k).expect("steps fit"))
    });
}

criterion_group!(benches, constant, plastic);
criterion_main!(benches);
