//! The kernels of the matched filter against f64, on every device.

mod common;

use num_complex::{Complex32, Complex64};
use spikewave::device::{Control, Device, Feed, Outputs};
use spikewave::ops::{self, Bins, Fft, Weight};
use spikewave::random::Random;
use spikewave::recording::Recording;

fn run(device: &Device, rec: &Recording, feeds: &[Feed<'_>]) -> Outputs {
    device.prepare(rec).unwrap().run(feeds, &Control::default()).unwrap()
}

fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut random = Random::new(seed, 0);
    (0..n).map(|_| random.normal() as f32).collect()
}

fn complex(seed: u64, n: usize) -> Vec<Complex32> {
    noise(seed, 2 * n).chunks(2).map(|v| Complex32::new(v[0], v[1])).collect()
}

fn wide(v: Complex32) -> Complex64 {
    Complex64::new(v.re.into(), v.im.into())
}

/// The largest difference, relative to the largest value.
fn worst(got: &[Complex32], want: &[Complex64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().map(|w| w.norm()).fold(0.0, f64::max);
    got.iter().zip(want).map(|(g, w)| (wide(*g) - w).norm()).fold(0.0, f64::max) / largest
}

#[test]
fn a_comparison_sees_one_changed_element() {
    let got = complex(1, 1000);
    let mut want: Vec<Complex64> = got.iter().copied().map(wide).collect();
    assert!(worst(&got, &want) == 0.0);
    want[777].im += 1e-4;
    assert!(worst(&got, &want) > 1e-6);
}

#[test]
fn coincident_peaks_match_a_search_of_all_pairs() {
    for device in common::devices() {
        for (rows, n, range, reach) in [
            (1, 1, 0..1, 0),
            (2, 50, 3..47, 4),
            (2, 4096, 0..4096, 1),
            (2, 9000, 500..8500, 11),
            (1, 4200, 10..4190, 41),
        ] {
            let (a, b) = (complex(6, rows * n), complex(7, rows * n));
            let norm: Vec<f32> = noise(8, rows * 2).iter().map(|v| v.abs() + 0.5).collect();
            let mut rec = device.recording("coincident");
            let (ta, tb, tn) = (
                rec.input("a", rows * n).unwrap(),
                rec.input("b", rows * n).unwrap(),
                rec.input("norm", rows * 2).unwrap(),
            );
            let peaks = ops::coincident_peak(&mut rec, (ta, tb), tn, (rows, n), range.clone(), reach).unwrap();
            for t in [peaks.at_a, peaks.at_b] {
                rec.download(t).unwrap();
            }
            rec.download(peaks.power).unwrap();
            let out = run(&device, &rec, &[ta.feed(&a), tb.feed(&b), tn.feed(&norm)]);
            let (power, at_a, at_b) =
                (out.get(peaks.power).unwrap(), out.get(peaks.at_a).unwrap(), out.get(peaks.at_b).unwrap());
            for row in 0..rows {
                let mut want = (0.0, 0, 0);
                for t in range.clone() {
                    for u in t.saturating_sub(reach).max(range.start)..(t + reach + 1).min(range.end) {
                        let e = wide(a[row * n + t]).norm_sqr() * f64::from(norm[row * 2])
                            + wide(b[row * n + u]).norm_sqr() * f64::from(norm[row * 2 + 1]);
                        if e > want.0 {
                            want = (e, t, u);
                        }
                    }
                }
                let parts = row * peaks.parts..(row + 1) * peaks.parts;
                let best = parts.reduce(|a, b| if power[b] > power[a] { b } else { a }).unwrap();
                assert_eq!(
                    (at_a[best] as usize, at_b[best] as usize),
                    (want.1, want.2),
                    "row {row} on {}",
                    device.name()
                );
                assert!((f64::from(power[best]) / want.0 - 1.0).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn weighted_power_normalises_rows() {
    for device in common::devices() {
        for (rows, stride, keep) in [(1, 1, 1), (3, 300, 255), (4, 257, 257), (2, 70_000, 65_537)] {
            let h = complex(11, rows * stride);
            let w: Vec<f32> = noise(12, keep).iter().map(|v| v.abs()).collect();
            let mut rec = device.recording("power");
            let (th, tw) = (rec.input("h", rows * stride).unwrap(), rec.input("w", keep).unwrap());
            let norm = rec.scratch("norm", rows * 2).unwrap();
            ops::weighted_power(&mut rec, th, (stride, keep), tw, 4.0, norm, (2, 0)).unwrap();
            ops::weighted_power(&mut rec, th, (stride, keep), tw, 1.0, norm, (2, 1)).unwrap();
            rec.download(norm).unwrap();
            let out = run(&device, &rec, &[th.feed(&h), tw.feed(&w)]);
            for (row, norm) in out.get(norm).unwrap().chunks(2).enumerate() {
                let sum: f64 = (0..keep).map(|k| wide(h[row * stride + k]).norm_sqr() * f64::from(w[k])).sum();
                for (got, scale) in norm.iter().zip([4.0, 1.0]) {
                    assert!((f64::from(*got) * sum / scale - 1.0).abs() < 3e-6, "row {row} on {}", device.name());
                }
            }
        }
    }
}

#[test]
fn spectral_weights_interpolate_and_respect_the_band() {
    for device in common::devices() {
        let psd: Vec<f32> = noise(13, 129).iter().map(|v| v.abs() + 0.1).collect();
        for (n, bins) in [(1024, Bins::TwoSided), (1024, Bins::OneSided), (1000, Bins::OneSided), (256, Bins::TwoSided)]
        {
            for weight in [Weight::Inverse { scale: 3.0 }, Weight::InverseRoot { scale: 2.0 }] {
                let mut rec = device.recording("weight");
                let tp = rec.input("psd", psd.len()).unwrap();
                let w = ops::spectral_weight(&mut rec, tp, 256, n, bins, weight, 5.0..=100.0).unwrap();
                rec.download(w).unwrap();
                let out = run(&device, &rec, &[tp.feed(&psd)]);
                for (k, got) in out.get(w).unwrap().iter().enumerate() {
                    let folded = if bins == Bins::TwoSided { k.min(n - k) } else { k };
                    let at = folded as f64 * 256.0 / n as f64;
                    let i = (at as usize).min(127);
                    let s = f64::from(psd[i]) + f64::from(psd[i + 1] - psd[i]) * (at - i as f64);
                    let want = match weight {
                        _ if !(5.0..=100.0).contains(&at) => 0.0,
                        Weight::Inverse { scale } => f64::from(scale) / s,
                        Weight::InverseRoot { scale } => (f64::from(scale) / s).sqrt(),
                    };
                    let error = (f64::from(*got) - want).abs();
                    // Rounding, and the rounding of the position times the slope.
                    let slope = f64::from(psd[i + 1] - psd[i]).abs() / s;
                    assert!(
                        error <= (1e-6 + 1.2e-7 * at * slope) * want,
                        "bin {k} of {n}: {got} for {want} on {}",
                        device.name()
                    );
                }
            }
        }
    }
}

#[test]
fn a_filtered_template_peaks_where_it_was_put() {
    // The chain of a search on white noise: transform, product with a template at a quarter of the rate, joint peak.
    for device in common::devices() {
        let (n, at) = (8192usize, [5000usize, 5012]);
        let mut template = vec![Complex32::ZERO; n / 2 + 1];
        for (k, v) in template.iter_mut().enumerate().skip(20).take(800) {
            *v = Complex32::from_polar(1.0, 1e-4 * (k * k) as f32);
        }
        let series = |seed: u64, at: usize| -> Vec<f32> {
            let mut s = vec![Complex64::ZERO; n];
            for (k, v) in template.iter().enumerate() {
                let turn = std::f64::consts::TAU * ((k * (n - at)) % n) as f64 / n as f64;
                s[k] = wide(*v) * Complex64::cis(turn) * 0.04;
            }
            rustfft::FftPlanner::new().plan_fft_inverse(n).process(&mut s);
            noise(seed, n).iter().zip(s).map(|(x, s)| x + s.re as f32).collect()
        };
        let data = [series(14, at[0]), series(15, at[1])];
        let mut rec = device.recording("chain");
        let th = rec.input("h", n / 2 + 1).unwrap();
        let (m, keep) = (n / 4, n / 4);
        let mut one = |name: &str| {
            let tx = rec.input(name, n).unwrap();
            let spectrum = rec.scratch("spectrum", n / 2 + 1).unwrap();
            ops::rfft(&mut rec, n, tx, spectrum).unwrap();
            let factors = rec.scratch("factors", m).unwrap();
            rec.copy(spectrum, 0, factors, 0, keep).unwrap();
            let z = rec.scratch("z", m).unwrap();
            let series = Fft::inverse(m).scale(1.0).rows(n / 2 + 1, keep).conjugate().factors(factors);
            series.record(&mut rec, th, z).unwrap();
            (tx, z)
        };
        let (a, b) = (one("a"), one("b"));
        let norm = rec.constant("norm", &[1.0f32, 1.0]).unwrap();
        let peaks = ops::coincident_peak(&mut rec, (a.1, b.1), norm, (1, m), 0..m, 10).unwrap();
        rec.download(peaks.at_a).unwrap();
        rec.download(peaks.at_b).unwrap();
        let out = run(&device, &rec, &[a.0.feed(&data[0]), b.0.feed(&data[1]), th.feed(&template)]);
        let found = [out.get(peaks.at_a).unwrap()[0], out.get(peaks.at_b).unwrap()[0]].map(|t| t as usize * 4);
        assert_eq!(found, at, "on {}", device.name());
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let mut rec = Recording::new("shapes", &Default::default());
    let z = rec.input::<Complex32>("z", 16).unwrap();
    let norm = rec.input::<f32>("norm", 4).unwrap();
    let mut peak =
        |rows, n, range, reach| ops::coincident_peak(&mut rec, (z, z), norm, (rows, n), range, reach).is_ok();
    assert!(peak(2, 8, 0..8, 2));
    assert!(!peak(3, 8, 0..8, 2), "more rows than there are");
    assert!(!peak(0, 8, 0..8, 2), "no row");
    assert!(!peak(2, 8, 3..3, 2), "no sample");
    assert!(!peak(2, 8, 0..9, 2), "samples beyond the row");
    assert!(!peak(2, 8, 0..8, 100_000), "a reach beyond the loop limit");
}
