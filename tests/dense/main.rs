//! The dense kernels on every device, against their twins and f64.
//! Kernels: unary, binary, complex_scale, complex_abs, complex_binary, reduce, extremum, scan, scan_add, transpose,
//! copy2d, gemm, conv1d, spectral_product, overlap_save.

#[path = "../common/mod.rs"]
mod common;

mod conv1d;
mod elementwise;
mod gemm;
mod layout;
mod reduce;

use spikewave::device::{Control, Device};
use spikewave::kernel::{Elem, Tensor};
use spikewave::recording::Recording;

/// What a recording's tensor holds after one run.
fn run<T: Elem>(device: &Device, record: impl FnOnce(&mut Recording) -> spikewave::Result<Tensor<T>>) -> Vec<T> {
    let mut rec = device.recording("test");
    let y = record(&mut rec).unwrap();
    rec.download(y).unwrap();
    device.prepare(&rec).unwrap().run(&[], &Control::default()).unwrap().get(y).unwrap().to_vec()
}

/// The cause of a refused recording.
fn refusal(record: impl FnOnce(&mut Recording) -> spikewave::Result<()>) -> String {
    let device = &common::devices()[0];
    record(&mut device.recording("refused")).unwrap_err().to_string()
}

/// Evenly distributed numbers in −1..1 (splitmix64).
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The largest distance from `expected` in units of `scale`, with its place; NaN counts as infinitely far.
fn worst(got: &[f32], expected: &[f64], scale: impl Fn(usize) -> f64) -> (f64, usize) {
    assert_eq!(got.len(), expected.len());
    let mut worst = (0.0, 0);
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let d = (f64::from(*g) - e).abs() / scale(i);
        if d.is_nan() || d > worst.0 {
            worst = (if d.is_nan() { f64::INFINITY } else { d }, i);
        }
    }
    worst
}

#[test]
fn a_changed_element_is_caught() {
    let x = noise(1, 1000);
    let exact: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    assert_eq!(worst(&x, &exact, |_| 1.0).0, 0.0);
    let mut changed = x.clone();
    changed[777] += 1e-3;
    let (d, at) = worst(&changed, &exact, |_| 1.0);
    assert!(at == 777 && (d - 1e-3).abs() < 1e-6);
    changed[3] = f32::NAN;
    assert_eq!(worst(&changed, &exact, |_| 1.0), (f64::INFINITY, 3));
}
