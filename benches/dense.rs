//! The dense kernels on the native path: `cargo bench --bench dense`.
//!
//! Reported in elements (bytes for copies, multiply-adds for products) a second, to hold against the machine's bounds.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use num_complex::Complex32;
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::{self, Conjugate, Conv1d, Filters, Gemm, Method, Padding, Reduction, Scan};
use spikewave::recording::Recording;

/// Elements: 64 MiB a tensor, far beyond the caches; `cargo test` runs a smoke size.
fn size() -> usize {
    if std::env::args().any(|a| a == "--bench") { 1 << 24 } else { 1 << 12 }
}

fn bench(
    c: &mut Criterion,
    id: BenchmarkId,
    throughput: Throughput,
    record: impl FnOnce(&mut Recording) -> spikewave::Result<()>,
) {
    let device = Device::open(&DeviceOptions::new(Choice::Cpu)).expect("the native path opens");
    let mut rec = device.recording("bench");
    record(&mut rec).expect("the sizes fit");
    let mut prepared = device.prepare(&rec).expect("the memory is there");
    let mut group = c.benchmark_group("dense");
    group.sample_size(10).throughput(throughput);
    group.bench_function(id, |b| b.iter(|| prepared.run(&[], &Control::default()).expect("it runs")));
    group.finish();
}

fn memory_bound(c: &mut Criterion) {
    let n = size();
    let x = vec![0.5f32; n];
    let name = |op: &str| BenchmarkId::new(op, n);
    // Bytes that must move: read once, write once.
    bench(c, name("axpby"), Throughput::Bytes(12 * n as u64), |rec| {
        let (a, b, y) = (rec.state("a", &x)?, rec.state("b", &x)?, rec.scratch("y", n)?);
        ops::axpby(rec, 0.5, a, 2.0, b, y)
    });
    bench(c, name("complex_mul by a row"), Throughput::Bytes(8 * n as u64), |rec| {
        let a = rec.state("a", &vec![Complex32::new(0.5, 1.0); n / 2])?;
        let b = rec.state("b", &vec![Complex32::new(0.5, 1.0); n / 64])?;
        let y = rec.scratch("y", n / 2)?;
        ops::complex_mul(rec, a, b, Conjugate::Second, 1.0, y)
    });
    bench(c, name("sum"), Throughput::Bytes(4 * n as u64), |rec| {
        let (x, y) = (rec.state("x", &x)?, rec.scratch("y", 16)?);
        ops::reduce(rec, Reduction::Sum, x, 16, y)
    });
    bench(c, name("argmax"), Throughput::Bytes(4 * n as u64), |rec| {
        let (x, v, i) = (rec.state("x", &x)?, rec.scratch("v", 16)?, rec.scratch("i", 16)?);
        ops::argmax(rec, x, 16, v, i)
    });
    bench(c, name("scan"), Throughput::Bytes(8 * n as u64), |rec| {
        let (x, y) = (rec.state("x", &x)?, rec.scratch("y", n)?);
        ops::scan(rec, Scan::Inclusive, x, 1, y)
    });
    bench(c, name("transpose"), Throughput::Bytes(8 * n as u64), |rec| {
        let (x, y) = (rec.state("x", &x)?, rec.scratch("y", n)?);
        ops::transpose(rec, x, [1, 64, n / 64], y)
    });
    bench(c, name("transpose square"), Throughput::Bytes(8 * n as u64), |rec| {
        let side = n.isqrt();
        let (x, y) = (rec.state("x", &x[..side * side])?, rec.scratch("y", side * side)?);
        ops::transpose(rec, x, [1, side, side], y)
    });
    bench(c, name("pad_rows"), Throughput::Bytes(8 * n as u64), |rec| {
        let (x, y) = (rec.state("x", &x)?, rec.scratch("y", n + 64)?);
        ops::pad_rows(rec, x, 16, 2, y)
    });
}

fn products(c: &mut Criterion) {
    let n = size().isqrt() / 4;
    bench(c, BenchmarkId::new("gemm", n), Throughput::Elements(n.pow(3) as u64), |rec| {
        let x = vec![0.5f32; n * n];
        let (a, b, y) = (rec.state("a", &x)?, rec.state("b", &x)?, rec.scratch("c", n * n)?);
        ops::gemm(rec, &Gemm::new(1, n, n, n), a, b, y)
    });
    // Equivalent multiply-adds, whatever the method.
    let length = size() / 128;
    for (channels_in, channels_out) in [(1, 1), (1, 64), (64, 64)] {
        for taps in [9, 65, 257, 513, 1025, 2049, 4097] {
            let conv = Conv1d { padding: Padding::Same, ..Conv1d::new(1, length, channels_in, channels_out, taps) };
            let work = channels_in * channels_out * taps * length;
            if work > 1 << 35 || (work > 1 << 22 && size() < 1 << 20) {
                continue;
            }
            let mut methods = vec![Method::Direct];
            methods.extend([8192usize, 32_768].into_iter().filter(|p| *p > taps).map(Method::OverlapSave));
            for method in methods {
                let id = BenchmarkId::new(format!("conv1d {channels_in}->{channels_out} {method:?}"), taps);
                bench(c, id, Throughput::Elements(work as u64), |rec| {
                    let w = vec![0.1f32; channels_in * channels_out * taps];
                    let filters = Filters::with_method(rec, conv, method, &w, None)?;
                    let x = rec.state("x", &vec![0.5f32; channels_in * length])?;
                    let y = rec.scratch("y", channels_out * length)?;
                    ops::conv1d(rec, &filters, x, y)
                });
            }
        }
    }
}

criterion_group!(benches, memory_bound, products);
criterion_main!(benches);
