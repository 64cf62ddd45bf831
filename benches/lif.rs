//! Neurons and encoders on the native path. `cargo bench --bench lif -- --test` runs each once.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::lif::{Drive, Integration, Lif, LifParams, Reset, Spikes, spike_words};
use spikewave::ops::{Events, StepForward, TemporalContrast, event_words, step_forward, temporal_contrast};
use spikewave::recording::Recording;

/// Times replays of what `record` records, `elements` a replay.
fn replay(c: &mut Criterion, name: &str, elements: usize, record: impl FnOnce(&mut Recording)) {
    let device = Device::open(&DeviceOptions::new(Choice::Cpu)).expect("the native path always opens");
    let mut rec = device.recording(name);
    record(&mut rec);
    let mut prepared = device.prepare(&rec).expect("it fits");
    let mut group = c.benchmark_group("spiking");
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function(name, |b| b.iter(|| prepared.run(&[], &Control::default()).expect("no input to miss")));
    group.finish();
}

fn neurons(c: &mut Criterion) {
    let params = LifParams {
        v_rest: (-65.0).into(),
        v_threshold: (-50.0).into(),
        reset: Reset::To((-70.0).into()),
        t_ref: 5.0.into(),
        integration: Integration::Euler,
        ..LifParams::default()
    };
    for (name, n, steps, driven) in [
        ("lif step, 2^22 neurons", 1usize << 22, 1usize, false),
        ("lif 256 steps, 2^16 neurons, constant drive", 1 << 16, 256, false),
        ("lif 256 steps, 2^16 neurons, driven each step", 1 << 16, 256, true),
    ] {
        replay(c, name, n * steps, |rec| {
            let len = if driven { n * steps } else { n };
            let current: Vec<f32> = (0..len).map(|i| 10.0 + (i * 7919 % 20_011) as f32 * 1e-3).collect();
            let x = rec.constant("current", &current).expect("not empty");
            let lif = Lif::new(rec, n, &params).expect("sound parameters");
            let spikes = rec.scratch("spikes", steps * spike_words(n)).expect("not empty");
            let drive = if driven { Drive::Each(x) } else { Drive::Constant(x) };
            lif.run(rec, steps, drive, Spikes::Packed(spikes), None).expect("shapes fit");
        });
    }
}

fn encoders(c: &mut Criterion) {
    let (channels, time) = (64, 1 << 16);
    let signal: Vec<f32> = (0..channels * time).map(|i| ((i * 31) as f32 * 1e-3).sin()).collect();
    let scratch = |rec: &mut Recording, rows: usize| {
        let x = rec.constant("x", &signal).expect("not empty");
        (x, Events::Packed(rec.scratch("events", channels * rows * event_words(time)).expect("not empty")))
    };
    for (name, normalise) in [("four thresholds", false), ("four thresholds, normalised", true)] {
        let encoder = TemporalContrast { normalise, ..TemporalContrast::phase_preserving() };
        replay(c, name, channels * time, |rec| {
            let (x, events) = scratch(rec, 8);
            temporal_contrast(rec, x, channels, &encoder, events).expect("shapes fit");
        });
    }
    replay(c, "step-forward", channels * time, |rec| {
        let (x, events) = scratch(rec, 2);
        let level = rec.scratch("level", channels).expect("not empty");
        step_forward(rec, x, channels, &StepForward::new(0.01), level, events).expect("shapes fit");
    });
}

criterion_group!(benches, neurons, encoders);
criterion_main!(benches);
