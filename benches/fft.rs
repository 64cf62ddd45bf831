//! Transforms on the native path: the bank of a matched filter in three ways, and single long ones.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use num_complex::Complex32;
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::{self, Fft};

fn values(n: usize) -> Vec<Complex32> {
    (0..n).map(|i| Complex32::new((i % 1013) as f32 / 1013.0 - 0.5, (i % 977) as f32 / 977.0 - 0.5)).collect()
}

fn bank(c: &mut Criterion) {
    let device = Device::open(&DeviceOptions::new(Choice::Cpu)).expect("the native path always opens");
    // cargo passes --bench when it measures; otherwise everything runs once.
    let rows = if std::env::args().any(|a| a == "--bench") { 256 } else { 4 };
    for n in [32_768, 131_072] {
        let mut group = c.benchmark_group(format!("bank of {rows} x {n}"));
        group.sample_size(10).throughput(Throughput::Elements((rows * n) as u64));
        let (spectra, filter) = (values(n * rows), values(n));
        for how in ["inverse", "multiply, inverse", "peaks"] {
            let mut rec = device.recording("bank");
            let x = rec.state("spectra", &spectra).expect("it fits");
            let h = rec.constant("filter", &filter).expect("it fits");
            let mut fft = Fft::inverse(n);
            if how != "inverse" {
                fft = fft.factors(h);
            }
            if how == "peaks" {
                let power = rec.scratch("power", rows).expect("it fits");
                let at = rec.scratch("at", rows).expect("it fits");
                fft.record_peaks(&mut rec, x, 0..n, power, at).expect("valid");
                rec.download(power).expect("written");
            } else {
                let y = rec.scratch("y", n * rows).expect("it fits");
                fft.record(&mut rec, x, y).expect("valid");
            }
            let mut prepared = device.prepare(&rec).expect("it fits");
            group.bench_function(how, |b| b.iter(|| prepared.run(&[], &Control::default()).expect("it runs")));
        }
        group.finish();
    }
}

fn single(c: &mut Criterion) {
    let device = Device::open(&DeviceOptions::new(Choice::Cpu)).expect("the native path always opens");
    let mut group = c.benchmark_group("one transform");
    for n in [131_072, 1 << 20, 1_000_000, 999_983] {
        let mut rec = device.recording("one");
        let x = rec.state("x", &values(n)).expect("it fits");
        let y = rec.scratch("y", n).expect("it fits");
        ops::fft(&mut rec, n, x, y).expect("valid");
        let mut prepared = device.prepare(&rec).expect("it fits");
        group.sample_size(10).throughput(Throughput::Elements(n as u64));
        group.bench_function(n.to_string(), |b| b.iter(|| prepared.run(&[], &Control::default()).expect("it runs")));
    }
    group.finish();
}

criterion_group!(benches, bank, single);
criterion_main!(benches);
