//! The waveform model against the template files of the event tutorials, its bank against the real event, and the
//! bundled simulation against its generator.

use std::path::PathBuf;

use num_complex::Complex64;
use rustfft::FftPlanner;
use spikewave::gw::waveform::Chirp;

const RATE: f64 = 4096.0;

/// A file of the test data, or `None` (said on stderr) when it is absent.
fn data(name: &str) -> Option<hdf5_pure::File> {
    let root = std::env::var_os("SPIKEWAVE_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")), PathBuf::from);
    let path = root.join("gw").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is absent; set SPIKEWAVE_DATA to the folder of test data", path.display());
        return None;
    }
    Some(hdf5_pure::File::open(&path).expect("readable HDF5"))
}

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
    Some(data(name)?.dataset("strain/Strain").unwrap().read_f64().unwrap())
}

/// The spectrum of the plus polarisation of a template file, in strain per hertz.
fn template(name: &str) -> Option<Vec<Complex64>> {
    let both = data(name)?.dataset("template").unwrap().read_f32().unwrap();
    let plus: Vec<f64> = both[..both.len() / 2].iter().map(|&x| f64::from(x)).collect();
    Some(forward(&plus).into_iter().map(|h| h / RATE).collect())
}

#[test]
fn the_model_matches_the_template_files() {
    for (file, noise, [m1, m2, s1, s2]) in [
        ("GW150914_4_template.hdf5", "H-H1_LOSC_4_V2-1126259446-32.hdf5", [41.743, 29.237, 0.355, -0.769]),
        ("GW170104_4_template.hdf5", "H-H1_LOSC_4_V1-1167559920-32.hdf5", [33.64, 24.82, -0.236, 0.024]),
    ] {
        let (Some(theirs), Some(noise)) = (template(file), strain(noise)) else { return };
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
