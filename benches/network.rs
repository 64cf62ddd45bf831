//! Steps of a network's neurons and inputs on the native path, on one thread: `cargo bench --bench network`.
//!
//! Reported in neurons or draws a second.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::{
    Bus, IafCondExp, IafPscDelta, IafPscExp, Izhikevich, NeuronModel, NeuronPopulation, Neurons, PoissonInput,
    poisson_drive,
};
use spikewave::recording::Recording;

/// Neurons of the cortical microcircuit at a tenth of its size.
const NEURONS: u32 = 7717;
const STEPS: u32 = 64;

/// Times runs of a recording of 64 steps.
fn replay(c: &mut Criterion, name: &str, record: impl FnOnce(&mut Recording, &Bus)) {
    let options = DeviceOptions { threads: Some(1), ..DeviceOptions::new(Choice::Cpu) };
    let device = Device::open(&options).expect("the native path always opens");
    let mut rec = device.recording(name);
    let bus = Bus::new(&mut rec, NEURONS.next_multiple_of(32), STEPS, 16, 2, true).expect("a bus");
    record(&mut rec, &bus);
    let mut prepared = device.prepare(&rec).expect("it fits");
    let mut group = c.benchmark_group("network");
    group.throughput(Throughput::Elements(u64::from(NEURONS * STEPS)));
    let mut first = 0;
    group.bench_function(name, |b| {
        b.iter(|| {
            let clock = Bus::clock(first, STEPS, 1);
            first = (first + STEPS) % (1 << 30);
            prepared.run(&[bus.clock.feed(&clock)], &Control::default()).expect("it runs")
        });
    });
    group.finish();
}

fn inputs(c: &mut Criterion) {
    replay(c, "clears alone", |_, _| {});
    for mean in [1.28, 20.0, 500.0] {
        replay(c, &format!("Poisson input of {mean} events a step"), |rec, bus| {
            let input = PoissonInput {
                first: 0,
                size: NEURONS,
                stream: 0,
                mean,
                weight: 7,
                plane: 0,
                start: 0,
                stop: u32::MAX,
            };
            poisson_drive(rec, bus, &input).expect("sound input");
        });
    }
}

fn neurons(c: &mut Criterion) {
    let steps = (0..NEURONS).map(|n| (0..10_000).filter(|k| (k + n) % 997 == 0).collect()).collect();
    for (name, model) in [
        ("iaf_psc_exp", NeuronModel::IafPscExp(IafPscExp { i_offset: 500.0.into(), ..IafPscExp::default() })),
        ("iaf_psc_delta", NeuronModel::IafPscDelta(IafPscDelta { i_offset: 300.0.into(), ..IafPscDelta::default() })),
        ("iaf_cond_exp", NeuronModel::IafCondExp(IafCondExp { i_offset: 120.0.into(), ..IafCondExp::default() })),
        ("izhikevich", NeuronModel::Izhikevich(Izhikevich { i_offset: 10.0.into(), ..Izhikevich::default() })),
        ("poisson_source", NeuronModel::PoissonSource { rate: 10.0, stream: 0 }),
        ("spike_source", NeuronModel::SpikeSource { steps }),
    ] {
        replay(c, &format!("step of {name}"), |rec, bus| {
            let population = NeuronPopulation { first: 0, size: NEURONS, exponent: 11, v_initial: None, model };
            let neurons = Neurons::new(rec, bus, 0.1, &[population]).expect("sound parameters");
            (0..STEPS).for_each(|k| neurons.step(rec, bus, k).expect("a step"));
        });
    }
}

criterion_group!(benches, inputs, neurons);
criterion_main!(benches);
