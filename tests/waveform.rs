//! The waveform model against the template files of the event tutorials, its bank against the real event, and the
//! bundled simulation against its generator.

#[path = "common/data.rs"]
mod data;

use std::sync::LazyLock;

use data::data;
use num_complex::Complex64;
use rayon::prelude::*;
use rustfft::FftPlanner;
use spikewave::gw::bank::Bank;
use spikewave::gw::strain::{Strain, TemplateFile};
use spikewave::gw::synthetic::{HANFORD, LIVINGSTON, Simulation, bundled, design_psd};
use spikewave::gw::waveform::Chirp;
use spikewave::random::Random;

const RATE: f64 = 4096.0;

static BANK: LazyLock<Bank> = LazyLock::new(|| Bank::new(256).unwrap());

fn forward(x: &[f64]) -> Vec<Complex64> {
    let mut x: Vec<Complex64> = x.iter().map(|&x| Complex64::from(x)).collect();
    FftPlanner::new().plan_fft_forward(x.len()).process(&mut x);
    x
}

/// One-sided Welch PSD: mean over half-overlapping segments of 4 s under a symmetric Blackman window, interpolated to
/// the bins of a transform of all samples.
fn welch(x: &[f64]) -> Vec<f64> {
    let segment = 4 * RATE as usize;
    let window: Vec<f64> = (0..segment)
        .map(|i| {
            let angle = 2.0 * std::f64::consts::PI * i as f64 / (segment - 1) as f64;
            0.42 - 0.5 * angle.cos() + 0.08 * (2.0 * angle).cos()
        })
        .collect();
    let power: f64 = window.iter().map(|w| w * w).sum();
    let mut mean = vec![0.0; segment / 2 + 1];
    let starts: Vec<usize> = (0..=x.len() - segment).step_by(segment / 2).collect();
    for &start in &starts {
        let windowed: Vec<f64> = x[start..start + segment].iter().zip(&window).map(|(x, w)| x * w).collect();
        for (mean, value) in mean.iter_mut().zip(forward(&windowed)) {
            *mean += 2.0 * value.norm_sqr() / (power * RATE * starts.len() as f64);
        }
    }
    let step = segment as f64 / x.len() as f64;
    (0..=x.len() / 2)
        .map(|k| {
            let position = k as f64 * step;
            let low = (position as usize).min(mean.len() - 2);
            mean[low] + (position - low as f64) * (mean[low + 1] - mean[low])
        })
        .collect()
}

/// Bins from 20 Hz to 1800 Hz of a transform of `n` samples.
fn band(n: usize) -> std::ops::Range<usize> {
    (20.0 * n as f64 / RATE) as usize..(1800.0 * n as f64 / RATE) as usize
}

/// `4 ∫ |h|²/S df`, the squared norm.
fn norm_sqr(h: &[Complex64], psd: &[f64], n: usize) -> f64 {
    band(n).map(|k| 4.0 * h[k].norm_sqr() / psd[k] * RATE / n as f64).sum()
}

/// Complex matched-filter output of `data` with the template `h`, both one-sided spectra in strain per hertz: its size
/// is the signal-to-noise ratio at each sample.
fn filter(data: &[Complex64], h: &[Complex64], psd: &[f64], n: usize) -> Vec<Complex64> {
    let sigma = norm_sqr(h, psd, n).sqrt();
    let mut z = vec![Complex64::ZERO; n];
    for k in band(n) {
        z[k] = data[k] * h[k].conj() / psd[k] * (4.0 * RATE / n as f64 / sigma);
    }
    FftPlanner::new().plan_fft_inverse(n).process(&mut z);
    z
}

fn strain(name: &str) -> Option<Vec<f64>> {
    Some(Strain::read(data(name)?).unwrap().values)
}

#[test]
fn the_model_matches_the_template_files() {
    for (file, noise) in [
        ("GW150914_4_template.hdf5", "H-H1_LOSC_4_V2-1126259446-32.hdf5"),
        ("GW170104_4_template.hdf5", "H-H1_LOSC_4_V1-1167559920-32.hdf5"),
    ] {
        let (Some(path), Some(noise)) = (data(file), strain(noise)) else { return };
        let theirs = TemplateFile::read(path).unwrap();
        let ([m1, m2], [s1, s2]) = (theirs.masses, theirs.spins);
        let theirs: Vec<Complex64> = forward(&theirs.plus).into_iter().map(|h| h / RATE).collect();
        let n = noise.len();
        let psd = welch(&noise);
        let ours = Chirp::new(m1, m2, s1, s2).unwrap().spectrum(n, RATE, 20.0).unwrap();
        let sigma = norm_sqr(&theirs, &psd, n).sqrt();
        let overlap = filter(&theirs, &ours, &psd, n);
        let (peak, value) =
            overlap.iter().map(|z| z.norm() / sigma).enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        let scale = norm_sqr(&ours, &psd, n).sqrt() / sigma;
        println!("{file}: match {value:.4} at {:.4} s, amplitude ratio {scale:.4}", peak as f64 / RATE);
        assert!(value >= 0.97, "{file}: match {value}");
        assert!((scale - 1.0).abs() < 0.05, "{file}: amplitude ratio {scale}");
    }
}

/// The loudest pair of samples of two detectors within 10 ms of each other: network SNR, and both SNRs with their samples.
fn coincidence(h1: &[f64], l1: &[f64]) -> (f64, [(usize, f64); 2]) {
    let peak = |snr: &[f64], range: std::ops::Range<usize>| {
        range.map(|i| (i, snr[i])).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    };
    let reach = (0.010 * RATE) as usize;
    // Two seconds at each end are filter transients.
    let edge = 2 * RATE as usize;
    (edge..h1.len() - edge)
        // Only samples that can carry a pair louder than a one-detector background.
        .filter(|&i| h1[i] > 4.0)
        .map(|i| ((i, h1[i]), peak(l1, i - reach..i + reach + 1)))
        .map(|(a, b)| (a.1.hypot(b.1), [a, b]))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((0.0, [(0, 0.0); 2]))
}

/// Tukey window over an eighth of the data, so that their ends meet at zero and long templates see no step.
fn tapered(x: &[f64]) -> Vec<f64> {
    let n = x.len();
    let ramp = n / 16;
    let weight = |i: usize| {
        let edge = i.min(n - 1 - i);
        if edge < ramp { 0.5 - 0.5 * (std::f64::consts::PI * edge as f64 / ramp as f64).cos() } else { 1.0 }
    };
    x.iter().enumerate().map(|(i, x)| x * weight(i)).collect()
}

/// The best template of the bank: its index, network SNR, and the SNRs and samples of both detectors.
fn search(strains: [&[f64]; 2]) -> (usize, f64, [(usize, f64); 2]) {
    let n = strains[0].len();
    let psds = strains.map(welch);
    let spectra = strains.map(|x| forward(&tapered(x)).into_iter().map(|h| h / RATE).collect::<Vec<_>>());
    (0..BANK.templates().len())
        .into_par_iter()
        .map(|i| {
            let h = BANK.templates()[i].spectrum(n, RATE, 20.0).unwrap();
            let snr = [0, 1].map(|d| filter(&spectra[d], &h, &psds[d], n).iter().map(|z| z.norm()).collect::<Vec<_>>());
            let (network, peaks) = coincidence(&snr[0], &snr[1]);
            (i, network, peaks)
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap()
}

#[test]
fn a_bank_of_256_finds_the_real_event() {
    let (Some(h1), Some(l1)) =
        (strain("H-H1_LOSC_4_V2-1126259446-32.hdf5"), strain("L-L1_LOSC_4_V2-1126259446-32.hdf5"))
    else {
        return;
    };
    let (best, network, [h, l]) = search([&h1, &l1]);
    let binary = BANK.templates()[best].binary();
    println!("template {best} {binary:?}: H1 {:.3} L1 {:.3} network {network:.3}", h.1, l.1);
    println!("H1 at {:.4} s, delay {:.2} ms", h.0 as f64 / RATE, (l.0 as f64 - h.0 as f64) / RATE * 1e3);
    assert!(network >= 20.0, "network SNR {network}");
    assert!((h.0 as f64 / RATE - 16.42).abs() < 0.02, "the peak lies at {} s", h.0 as f64 / RATE);
}

#[test]
fn a_bank_of_256_matches_any_binary_without_spin() {
    // A coarse grid in frequency will do: the phase of one waveform relative to another is smooth.
    let n = 16384;
    let psd: Vec<f64> = (0..=n / 2).map(|k| design_psd(k as f64 * RATE / n as f64)).collect();
    let templates: Vec<_> = BANK.templates().par_iter().map(|t| t.spectrum(n, RATE, 20.0).unwrap()).collect();
    let mut random = Random::new(5, 80);
    let mut matches: Vec<f64> = (0..15)
        .map(|_| {
            let [m1, m2] = [0, 1].map(|_| 5.0 + 75.0 * random.uniform());
            let signal = Chirp::new(m1, m2, 0.0, 0.0).unwrap().spectrum(n, RATE, 20.0).unwrap();
            let norm = norm_sqr(&signal, &psd, n).sqrt();
            let overlap = |t: &Vec<Complex64>| filter(&signal, t, &psd, n).iter().map(|z| z.norm()).fold(0.0, f64::max);
            templates.par_iter().map(|t| overlap(t) / norm).reduce(|| 0.0, f64::max)
        })
        .collect();
    matches.sort_by(f64::total_cmp);
    println!("matches {matches:.3?}");
    assert!(matches[0] >= 0.85 && matches[7] >= 0.95, "{matches:?}");
}

#[test]
fn the_bundled_pair_is_what_its_generator_makes() {
    let simulation = Simulation::bundled();
    for (site, file) in [HANFORD, LIVINGSTON].into_iter().zip(bundled().unwrap()) {
        let mut made = simulation.strain(&site).unwrap();
        // Mathematical functions differ in the last bit between systems, so that a sample may round to the next f32.
        for (i, (made, stored)) in made.values.iter_mut().zip(&file.values).enumerate() {
            assert!((*made - stored).abs() <= f64::from(f32::EPSILON) * stored.abs(), "sample {i}: {made} {stored}");
            *made = *stored;
        }
        assert_eq!(made, file);
    }
}

#[test]
fn a_bank_of_256_finds_the_bundled_binary() {
    let simulation = Simulation::bundled();
    let injection = simulation.injection.unwrap();
    let [h1, l1] = bundled().unwrap().map(|strain| strain.values);
    let (best, network, [h, l]) = search([&h1, &l1]);
    println!("template {best}: H1 {:.3} L1 {:.3} network {network:.3}", h.1, l.1);
    assert!(network > 20.0, "network SNR {network}");
    for (site, (sample, _)) in [(HANFORD, h), (LIVINGSTON, l)] {
        let expected = injection.gps_time_at(&site) - simulation.gps_start as f64;
        assert!((sample as f64 / RATE - expected).abs() < 0.01, "{}: {sample} {expected}", site.detector);
    }
    // With its own parameters: the time to a sample, and the amplitude to the noise.
    let n = h1.len();
    let own = Chirp::new(36.0, 29.0, 0.0, 0.0).unwrap().spectrum(n, RATE, 20.0).unwrap();
    for (site, strain) in [(HANFORD, &h1), (LIVINGSTON, &l1)] {
        let psd: Vec<f64> = (0..=n / 2).map(|k| design_psd(k as f64 * RATE / n as f64)).collect();
        let spectrum: Vec<Complex64> = forward(&tapered(strain)).into_iter().map(|h| h / RATE).collect();
        let z = filter(&spectrum, &own, &psd, n);
        let peak = (0..n).max_by(|&a, &b| z[a].norm().total_cmp(&z[b].norm())).unwrap();
        let response = injection.response(&site);
        let optimal = response.norm() * norm_sqr(&own, &psd, n).sqrt();
        println!("{}: SNR {:.3}, optimal {optimal:.3}", site.detector, z[peak].norm());
        let expected = injection.gps_time_at(&site) - simulation.gps_start as f64;
        assert!((peak as f64 / RATE - expected).abs() < 1e-3);
        assert!((z[peak].norm() - optimal).abs() < 4.0);
        // The phase of the peak is the phase of the response, to a few times 1/SNR.
        let turn = (z[peak] / response).arg();
        assert!(turn.abs() < 0.5, "{}: phase {turn}", site.detector);
    }
}
