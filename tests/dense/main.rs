//! The dense kernels on every device, against their twins and f64.
//! Kernels: unary, unary_wide, binary, binary_wide, complex_scale, complex_abs, complex_binary, reduce, reduce_wide,
//! extremum, scan, scan_add, transpose, copy2d, gemm, gemm_wide, conv1d, conv1d_wide, spectral_product, overlap_save.

#[path = "../common/mod.rs"]
mod common;

mod conv1d;
mod elementwise;
mod gemm;
mod layout;
mod reduce;

use spikewave::device::{Control, Device};
use spikewave::kernel::{Elem, Tensor};
use spikewave::recording::{Capabilities, Recording};

/// What a recording's tensor holds after one run.
fn run<T: Elem>(device: &Device, record: impl FnOnce(&mut Recording) -> spikewave::Result<Tensor<T>>) -> Vec<T> {
    finish(device, device.recording("test"), record)
}

fn finish<T: Elem>(
    device: &Device,
    mut rec: Recording,
    record: impl FnOnce(&mut Recording) -> spikewave::Result<Tensor<T>>,
) -> Vec<T> {
    let y = record(&mut rec).unwrap();
    rec.download(y).unwrap();
    device.prepare(&rec).unwrap().run(&[], &Control::default()).unwrap().get(y).unwrap().to_vec()
}

/// As [`run`], with the kernels that a software driver gets, or with those of all other devices, wherever it runs.
fn run_as<T: Elem>(
    device: &Device,
    software: bool,
    record: impl FnOnce(&mut Recording) -> spikewave::Result<Tensor<T>>,
) -> Vec<T> {
    let capabilities = Capabilities { software, native: false, ..device.capabilities().clone() };
    finish(device, Recording::new("test", &capabilities), record)
}

/// How often a recording dispatches the kernel of this name.
fn uses(rec: &Recording, name: &str) -> usize {
    rec.dispatches().filter(|d| d.kernel().name == name).count()
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

/// The kernels of software drivers are taken there, where the sizes allow them, and nowhere else.
#[test]
fn software_drivers_have_kernels_of_their_own() {
    use spikewave::ops::{self, Conv1d, Filters, Gemm, Reduction};
    let record = |software: bool, n: usize, stride: usize| {
        let mut rec = Recording::new("test", &Capabilities { software, ..Capabilities::default() });
        let (a, b, c) = (rec.constant("a", &vec![0.5f32; n * n])?, rec.constant("b", &vec![0.5f32; n * n])?, n * n);
        let (c, sum) = (rec.scratch("c", c)?, rec.scratch("sum", 1)?);
        ops::gemm(&mut rec, &Gemm::new(1, n, n, n), a, b, c)?;
        ops::reduce(&mut rec, Reduction::Sum, c, 1, sum)?;
        ops::abs(&mut rec, a, c)?;
        ops::add(&mut rec, a, b, c)?;
        let conv = Conv1d { stride, ..Conv1d::new(1, n * n, 1, 2, 3) };
        let filters = Filters::new(&mut rec, conv, &[0.5; 6], None)?;
        let y = rec.scratch("y", 2 * conv.output_length()?)?;
        ops::conv1d(&mut rec, &filters, a, y)?;
        let of = |names: [&str; 5]| names.map(|name| uses(&rec, name));
        Ok::<_, spikewave::Error>((
            of(["gemm", "reduce", "unary", "binary", "conv1d"]),
            of(["gemm_wide", "reduce_wide", "unary_wide", "binary_wide", "conv1d_wide"]),
        ))
    };
    assert_eq!(record(true, 8, 1), Ok(([0; 5], [1; 5])));
    assert_eq!(record(false, 8, 1), Ok(([1, 1, 0, 0, 1], [0, 0, 1, 1, 0])));
    assert_eq!(record(true, 7, 1), Ok(([1, 1, 1, 1, 0], [0, 0, 0, 0, 1])));
    let only: Vec<_> = spikewave::kernel::ALL.iter().filter(|k| !k.is_for(false)).map(|k| k.label()).collect();
    assert_eq!(only, ["conv1d_wide", "gemm_wide", "reduce_wide"]);
    assert_eq!(record(true, 8, 2), Ok(([0, 0, 0, 0, 1], [1, 1, 1, 1, 0])));
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
