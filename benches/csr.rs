//! Sparse products on the native path. `cargo bench --bench csr -- --test` runs each once.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::csr::{Csr, Values};

fn products(c: &mut Criterion) {
    let device = Device::open(&DeviceOptions::new(Choice::Cpu)).expect("the native path always opens");
    let (n, degree) = (20_000usize, 200usize);
    // One row in a hundred has half of the nonzeros.
    let even = vec![degree; n];
    let skewed: Vec<usize> = (0..n).map(|r| if r % 100 == 0 { 50 * degree } else { degree / 2 }).collect();
    let mut group = c.benchmark_group("csr");
    for (name, degrees, k) in
        [("20,000 × 20,000 at 1 %", &even, 1), ("the same, skewed", &skewed, 1), ("times 64 columns", &even, 64)]
    {
        let mut offsets = vec![0u32];
        degrees.iter().for_each(|d| offsets.push(offsets[offsets.len() - 1] + *d as u32));
        let nonzeros = offsets[n] as usize;
        let indices: Vec<u32> = (0..nonzeros as u64).map(|j| (j * 2_654_435_761 % n as u64) as u32).collect();
        let values: Vec<f32> = (0..nonzeros).map(|j| (j as f32 * 0.37).sin()).collect();
        let mut rec = device.recording(name);
        let a = Csr::new(&mut rec, n, &offsets, &indices, Values::Each(&values)).expect("a sound matrix");
        let x = rec.constant("x", &vec![1.0f32; n * k]).expect("not empty");
        let y = rec.scratch("y", n * k).expect("not empty");
        a.matmul(&mut rec, x, k, y).expect("shapes fit");
        let mut prepared = device.prepare(&rec).expect("it fits");
        group.throughput(Throughput::Elements((nonzeros * k) as u64));
        group.bench_function(name, |b| b.iter(|| prepared.run(&[], &Control::default()).expect("no input to miss")));
    }
    group.finish();
}

criterion_group!(benches, products);
criterion_main!(benches);
