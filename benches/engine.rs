//! What the engine itself costs: recording, planning, memory from the pool, encoding and replay, a command at a time.
//!
//! `cargo bench --bench engine`; `cargo test --bench engine` runs each once. `benches/replay.rs` compares replay with
//! hand-written wgpu pair by pair.

mod by_hand;

use std::hint::black_box;

use by_hand::{ByHand, DISPATCHES, WORDS};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spikewave::device::{Choice, Control, Device, DeviceOptions, Gpu, GpuParts, gpu};
use spikewave::ops::{self, Gemm};
use spikewave::recording::{Capabilities, Recording};
use spikewave::{Result, wgpu};

/// Blocks of [`chain`], and the commands of a block.
const BLOCKS: usize = 250;
const BLOCK: usize = 4;

/// What applications record: ops with results of their own, whose memory is shared, and every kind of command.
fn chain(capabilities: &Capabilities) -> Result<Recording> {
    let mut rec = Recording::new("chain", capabilities);
    let mut x = rec.input::<f32>("x", 4096)?;
    let weights = rec.constant("weights", &[0.5; 4096])?;
    let sum = rec.state("sum", &[0f32; 4096])?;
    for _ in 0..BLOCKS {
        let (y, z) = (rec.scratch("y", 4096)?, rec.scratch("z", 4096)?);
        ops::mul(&mut rec, x, weights, 2.0, y)?;
        ops::gemm(&mut rec, &Gemm::new(1, 64, 64, 64), y, weights, z)?;
        rec.copy(z, 0, y, 2048, 2048)?;
        ops::add(&mut rec, y, sum, z)?;
        x = z;
    }
    rec.download(x)?;
    Ok(rec)
}

/// Results that are all needed until the end, so that no memory is shared.
fn kept(capabilities: &Capabilities) -> Result<Recording> {
    let mut rec = Recording::new("kept", capabilities);
    let first = rec.scratch::<f32>("first", 64)?;
    let tensors = (0..DISPATCHES / 2).map(|i| rec.scratch("y", 64 + i)).collect::<Result<Vec<_>>>()?;
    tensors.iter().try_for_each(|y| ops::fill(&mut rec, *y, 1.0))?;
    tensors.iter().try_for_each(|y| rec.copy(*y, 0, first, 0, 64))?;
    Ok(rec)
}

fn recording(c: &mut Criterion) {
    let mut group = c.benchmark_group("recording, a command");
    let capabilities = Capabilities::default();
    group.throughput(Throughput::Elements(DISPATCHES as u64));
    group.bench_function("fills", |b| b.iter(|| by_hand::recording(&capabilities)));
    group.throughput(Throughput::Elements((BLOCKS * BLOCK) as u64));
    group.bench_function("a chain of ops", |b| b.iter(|| chain(&capabilities).expect("valid ops")));
    group.finish();
}

fn planning(c: &mut Criterion) {
    let mut group = c.benchmark_group("planning, a command");
    for (backend, capabilities) in
        [("a GPU", Capabilities::default()), ("the native path", Capabilities { native: true, ..Default::default() })]
    {
        let recordings = [
            ("fills", by_hand::recording(&capabilities).0),
            ("a chain of ops", chain(&capabilities).expect("valid ops")),
            ("tensors kept to the end", kept(&capabilities).expect("valid ops")),
        ];
        for (name, rec) in recordings {
            group.throughput(Throughput::Elements(DISPATCHES as u64));
            group.bench_function(format!("{name}, for {backend}"), |b| b.iter(|| black_box(&rec).plan()));
        }
    }
    group.finish();
}

/// Every device of this machine under its name.
fn devices() -> Vec<(String, Device)> {
    let mut choices = vec![("cpu".into(), Choice::Cpu)];
    choices.extend(gpu::adapters().iter().map(|a| (a.choose_by(), Choice::Named(a.choose_by()))));
    let open = |(name, choice)| (name, Device::open(&DeviceOptions::new(choice)).expect("it opens"));
    choices.into_iter().map(open).collect()
}

/// A recording of one command made ready and dropped: all of its memory comes from the pool and goes back there.
fn pool(c: &mut Criterion) {
    let mut group = c.benchmark_group("memory from the pool");
    for (name, device) in devices() {
        let mut rec = device.recording("small");
        let tensor = rec.scratch::<u32>("t", WORDS).expect("a small tensor");
        ops::fill(&mut rec, tensor, 1).expect("a valid op");
        let prepare = || device.prepare(&rec).expect("it fits");
        drop(prepare());
        let before = device.stats().memory;
        group.bench_function(format!("prepare and drop on {name}"), |b| b.iter(|| drop(prepare())));
        assert_eq!(device.stats().memory.buffers_created, before.buffers_created, "all of it is reused");
    }
    group.finish();
}

/// 1,000 dispatches into the encoder of a host, which then drops them.
fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encoding, a dispatch");
    group.throughput(Throughput::Elements(DISPATCHES as u64));
    for adapter in by_hand::adapters() {
        let info = adapter.get_info();
        let name = format!("{}:{}", info.backend.to_str(), info.name);
        let host = ByHand::new(&adapter);
        let parts = GpuParts::new(host.device.clone(), host.queue.clone());
        let executor = Gpu::from_wgpu(parts, &DeviceOptions::default());
        let executor = executor.expect("it has what is needed");
        let (rec, _) = by_hand::recording(executor.capabilities());
        let mut prepared = executor.prepare(&rec).expect("it fits");
        let mut bench = |who: &str, encode: &mut dyn FnMut(&mut wgpu::CommandEncoder)| {
            group.bench_function(format!("{who} on {name}"), |b| {
                b.iter(|| {
                    let mut encoder = host.device.create_command_encoder(&Default::default());
                    encode(&mut encoder);
                    encoder.finish()
                });
            });
        };
        bench("by hand", &mut |encoder| host.encode(encoder));
        bench("a recording", &mut |encoder| prepared.encode(encoder, &[]).expect("no input to miss"));
    }
    group.finish();
}

/// The same submitted, waited for and read back.
fn replay(c: &mut Criterion) {
    let mut group = c.benchmark_group("replay, a dispatch");
    group.throughput(Throughput::Elements(DISPATCHES as u64));
    for (name, device) in devices() {
        let (rec, last) = by_hand::recording(device.capabilities());
        let mut prepared = device.prepare(&rec).expect("it fits");
        group.bench_function(format!("a recording on {name}"), |b| {
            b.iter(|| {
                let out = prepared.run(&[], &Control::default()).expect("it runs");
                assert_eq!(out.get(last).expect("it is downloaded")[WORDS - 1], DISPATCHES as u32 - 1);
            });
        });
    }
    for adapter in by_hand::adapters() {
        let info = adapter.get_info();
        let host = ByHand::new(&adapter);
        group.bench_function(format!("by hand on {}:{}", info.backend.to_str(), info.name), |b| {
            b.iter(|| assert_eq!(host.run(), DISPATCHES as u32 - 1));
        });
    }
    group.finish();
}

criterion_group!(benches, recording, planning, pool, encode, replay);
criterion_main!(benches);
