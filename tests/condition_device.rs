//! Densities and whitening on every device, against f64; and the kernels under them against f64 and their twins.
//!
//! Error model: a transform in f32 is off by some 2e-7 of the root mean square of its input in every bin, so what is
//! divided by the density is off by that times the dynamic range that the high-pass leaves, about 1e3 in amplitude.

mod common;

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use num_complex::{Complex32, Complex64};
use spikewave::Error;
use spikewave::device::{Control, Device};
use spikewave::gw::condition::{self, CHECKED_HZ, LOW_HZ, Whitening};
use spikewave::gw::spectrum::{Average, Psd, Symmetry, Welch, Window};
use spikewave::gw::strain::{Mask, Segment, Strain};
use spikewave::gw::whiten::{Method, Whitened};
use spikewave::gw::{filter, whiten};
use spikewave::ops::{self, Bins, Weight, WelchWindows};

const RATE: f64 = 4096.0;
const FILES: [&str; 4] = [
    "H-H1_LOSC_4_V2-1126259446-32.hdf5",
    "L-L1_LOSC_4_V2-1126259446-32.hdf5",
    "H-H1_LOSC_4_V1-1167559920-32.hdf5",
    "L-L1_LOSC_4_V1-1167559920-32.hdf5",
];
const METHODS: [Method; 3] = [
    Method::Official,
    Method::Truncated { duration_s: 4.0, high_pass_hz: 20.0 },
    Method::Causal { duration_s: 4.0, high_pass_hz: 20.0 },
];

/// The file `name` of the gravitational-wave data, or `None` with a word on stderr when the data are not there.
fn data(name: &str) -> Option<PathBuf> {
    let root = std::env::var("SPIKEWAVE_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into());
    let path = Path::new(&root).join("gw").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there; set SPIKEWAVE_DATA to the folder that holds gw/", path.display());
    None
}

/// Normally distributed numbers of variance 1 (a linear congruential generator and Box and Muller's transform).
fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    (0..n).map(|_| (-2.0 * uniform().ln()).sqrt() * (TAU * uniform()).cos()).collect()
}

/// Strain with what real strain has: a floor, noise that rises towards low frequencies, and a line.
fn simulated(n: usize, seed: u64) -> Strain {
    let (floor, drive) = (noise(n, seed), noise(n, seed + 1));
    let mut red = 0.0;
    let values = (0..n)
        .map(|i| {
            red = 0.995 * red + drive[i];
            1e-22 * floor[i] + 2e-22 * red + 1e-20 * (TAU * 60.0 * i as f64 / RATE).sin()
        })
        .collect();
    let words = vec![1; (n as f64 / RATE).ceil() as usize];
    let quality = Mask { names: vec!["DATA".into()], descriptions: vec![String::new()], words, seconds_per_word: 1.0 };
    Strain { detector: "H1".into(), gps_start: 0.0, sample_rate_hz: RATE, values, quality, injections: None }
}

fn std(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[test]
fn densities_of_the_real_files() {
    for file in FILES {
        let Some(path) = data(file) else { return };
        let strain = Strain::read(path).unwrap();
        let segments = strain.segments(None).unwrap();
        for average in [Average::Mean, Average::Median] {
            for welch in [Welch::official(RATE), Welch::matched_filter(RATE)] {
                let welch = Welch { average, ..welch };
                let reference = condition::reference_psd(&strain, &segments, &welch).unwrap();
                let raw = welch.estimate(&[&strain.values], RATE).unwrap();
                eprintln!("raw {file} {:.2e}", condition::largest_difference(&reference, &raw));
                for device in common::devices() {
                    let psd = condition::psd(&device, &strain, &segments, &welch, &Control::default()).unwrap();
                    let worst = condition::largest_difference(&psd, &reference);
                    eprintln!("{} {file} {average:?} {:?}: {worst:.2e}", device.name(), welch.window);
                    assert!(worst <= 3e-4, "{worst:.2e} in {file} on {}", device.name());
                }
            }
        }
    }
}

#[test]
fn whitening_of_the_real_files() {
    for file in FILES {
        let Some(path) = data(file) else { return };
        let strain = Strain::read(path).unwrap();
        let segments = strain.segments(None).unwrap();
        let welch = Welch::official(RATE);
        let reference_psd = condition::reference_psd(&strain, &segments, &welch).unwrap();
        let raw = welch.estimate(&[&strain.values], RATE).unwrap();
        for method in METHODS {
            let reference = condition::reference_whiten(&strain, &segments, &reference_psd, method).unwrap();
            let as_is = whiten::whiten(&strain.values, RATE, &raw, method).unwrap();
            let narrow: Vec<f32> = reference[0].values.iter().map(|v| *v as f32).collect();
            eprintln!("raw {file}: {:.2e}; std {:.4}", condition::largest_in_band(&narrow, &as_is.values, RATE).unwrap(), std(&narrow));
            for device in common::devices() {
                let control = Control::default();
                let psd = condition::psd(&device, &strain, &segments, &welch, &control).unwrap();
                let found = condition::whiten(&device, &strain, &segments, &psd, method, &control).unwrap();
                assert_eq!((found.len(), found[0].start), (1, reference[0].start));
                let worst = condition::largest_in_band(&found[0].values, &reference[0].values, RATE).unwrap();
                let full = found[0].values.iter().zip(&reference[0].values).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                eprintln!("{} {file} {method:?}: {worst:.2e} full band {full:.2e} std {:.4}", device.name(), std(&found[0].values));
                assert!(worst <= 5e-4, "{worst:.2e} in {file} by {method:?} on {}", device.name());
            }
        }
    }
}
