//! The kernels of the matched filter against f64, on every device.

mod common;

use num_complex::{Complex32, Complex64};
use spikewave::device::{Control, Device, Feed, Outputs};
use spikewave::ops::{self, Bins, Correlate, Fft, REFINED, Weight};
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
fn correlate_multiplies_by_weight_and_conjugate() {
    for device in common::devices() {
        for (rows, stride, keep, n) in
            [(1, 1, 1, 1), (3, 7, 5, 6), (2, 1025, 1025, 2048), (5, 1300, 1024, 1024), (4, 2049, 2048, 4096)]
        {
            let (x, h, w) = (complex(2, stride), complex(3, rows * stride), noise(4, stride));
            let mut rec = device.recording("correlate");
            let (tx, th, tw) = (
                rec.input("x", stride).unwrap(),
                rec.input("h", rows * stride).unwrap(),
                rec.input("w", stride).unwrap(),
            );
            let c = Correlate { x: tx, weight: tw, templates: th, rows, stride, keep };
            let y = ops::correlate(&mut rec, c, n).unwrap();
            rec.download(y).unwrap();
            let out = run(&device, &rec, &[tx.feed(&x), th.feed(&h), tw.feed(&w)]);
            let want: Vec<Complex64> = (0..rows * n)
                .map(|i| {
                    let (row, k) = (i / n, i % n);
                    if k < keep {
                        wide(x[k]) * f64::from(w[k]) * wide(h[row * stride + k]).conj()
                    } else {
                        Complex64::ZERO
                    }
                })
                .collect();
            let error = worst(out.get(y).unwrap(), &want);
            assert!(error < 4e-7, "{error} at {rows}×{stride} keep {keep} to {n} on {}", device.name());
        }
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let mut rec = Recording::new("shapes", &Default::default());
    let x = rec.input::<Complex32>("x", 8).unwrap();
    let h = rec.input::<Complex32>("h", 16).unwrap();
    let weight = rec.input::<f32>("w", 8).unwrap();
    let good = Correlate { x, weight, templates: h, rows: 2, stride: 8, keep: 8 };
    assert!(ops::correlate(&mut rec, good, 8).is_ok());
    for bad in [
        Correlate { rows: 3, ..good },
        Correlate { rows: 0, ..good },
        Correlate { keep: 9, ..good },
        Correlate { keep: 0, ..good },
        Correlate { stride: 7, ..good },
    ] {
        assert!(ops::correlate(&mut rec, bad, 8).is_err(), "{bad:?}");
    }
    assert!(ops::correlate(&mut rec, good, 7).is_err());
    assert!(ops::peak(&mut rec, h, (2, 8), 3..3, 4).is_err());
    assert!(ops::peak(&mut rec, h, (2, 8), 0..9, 4).is_err());
    assert!(ops::peak(&mut rec, h, (3, 8), 0..8, 4).is_err());
}

#[test]
fn peaks_are_found_where_they_are_and_ties_go_to_the_first() {
    for device in common::devices() {
        for (rows, n, range) in
            [(1, 1, 0..1), (3, 100, 7..93), (2, 4096, 0..4096), (2, 4097, 0..4097), (3, 20_000, 1250..18_750)]
        {
            let mut z = complex(5, rows * n);
            if n == 20_000 {
                // Two equal peaks in the second row; one in the excluded edge of the third.
                z[n + 5000] = Complex32::new(30.0, 40.0);
                z[n + 9000] = Complex32::new(40.0, 30.0);
                z[2 * n + 100] = Complex32::new(90.0, 0.0);
            }
            let mut rec = device.recording("peak");
            let tz = rec.input("z", rows * n).unwrap();
            let peaks = ops::peak(&mut rec, tz, (rows, n), range.clone(), 4096).unwrap();
            rec.download(peaks.power).unwrap();
            rec.download(peaks.at).unwrap();
            let out = run(&device, &rec, &[tz.feed(&z)]);
            let (power, at) = (out.get(peaks.power).unwrap(), out.get(peaks.at).unwrap());
            for row in 0..rows {
                let want = range.clone().max_by(|a, b| {
                    let power = |i: usize| wide(z[row * n + i]).norm_sqr();
                    power(*a).total_cmp(&power(*b)).then(b.cmp(a))
                });
                let parts = row * peaks.parts..(row + 1) * peaks.parts;
                let best = parts.reduce(|a, b| if power[b] > power[a] { b } else { a }).unwrap();
                assert_eq!(Some(at[best] as usize), want, "row {row} of {rows}×{n} on {}", device.name());
            }
        }
    }
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
fn refined_values_are_those_of_the_full_transform() {
    for device in common::devices() {
        for (n, keep, rows) in [(4096, 2049, 3), (3000, 1501, 1), (131_072, 65_537, 2)] {
            let stride = keep + 3;
            let (x, h) = (complex(9, keep), complex(10, rows * stride));
            let w: Vec<f32> = (0..keep).map(|k| 1.0 / (1.0 + k as f32 / 100.0)).collect();
            let times: Vec<(usize, usize)> = (0..rows * 3).map(|i| (i % rows, (i * 7919 + 3) * 31 % n)).collect();
            let queries: Vec<u32> = times.iter().flat_map(|(row, t)| [*row as u32, *t as u32]).collect();
            let mut rec = device.recording("refine");
            let (tx, th) = (rec.input("x", keep).unwrap(), rec.input("h", rows * stride).unwrap());
            let (tw, tq) = (rec.input("w", keep).unwrap(), rec.input("q", queries.len()).unwrap());
            let c = Correlate { x: tx, weight: tw, templates: th, rows, stride, keep };
            let z = ops::refine(&mut rec, c, n, tq).unwrap();
            rec.download(z).unwrap();
            let out = run(&device, &rec, &[tx.feed(&x), th.feed(&h), tw.feed(&w), tq.feed(&queries)]);
            let mut want = Vec::new();
            for (row, t) in &times {
                let mut s = vec![Complex64::ZERO; n];
                for k in 0..keep {
                    s[k] = wide(x[k]) * f64::from(w[k]) * wide(h[row * stride + k]).conj();
                }
                rustfft::FftPlanner::new().plan_fft_inverse(n).process(&mut s);
                want.extend((0..REFINED).map(|i| s[(t + n + i - REFINED / 2) % n]));
            }
            // The second-order bound plus f32 rounding.
            let bound = 4.7e-6 * (131_072.0 / n as f64).powi(2) + 3e-6;
            let error = worst(out.get(z).unwrap(), &want);
            assert!(error < bound, "{error} over {bound} at n = {n} on {}", device.name());
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
    // The whole chain on white noise: transform, correlate at a quarter of the rate, inverse transform, peak, refine.
    for device in common::devices() {
        let (n, at) = (8192usize, 5003usize);
        let mut template = vec![Complex32::ZERO; n / 2 + 1];
        for (k, v) in template.iter_mut().enumerate().skip(20).take(800) {
            *v = Complex32::from_polar(1.0, 1e-4 * (k * k) as f32);
        }
        let mut series: Vec<f64> = noise(14, n).iter().map(|v| f64::from(*v)).collect();
        for (k, v) in template.iter().enumerate() {
            for (t, s) in series.iter_mut().enumerate() {
                let turn = std::f64::consts::TAU * ((k * (t + n - at)) % n) as f64 / n as f64;
                *s += (wide(*v) * Complex64::cis(turn)).re * 0.02;
            }
        }
        let x: Vec<f32> = series.iter().map(|v| *v as f32).collect();
        let mut rec = device.recording("chain");
        let tx = rec.input("x", n).unwrap();
        let th = rec.input("h", n / 2 + 1).unwrap();
        let tq = rec.input("q", 2).unwrap();
        let spectrum = rec.scratch("spectrum", n / 2 + 1).unwrap();
        ops::rfft(&mut rec, n, tx, spectrum).unwrap();
        let weight = rec.constant("w", &vec![1.0f32; n / 2 + 1]).unwrap();
        let m = n / 4;
        let c = Correlate { x: spectrum, weight, templates: th, rows: 1, stride: n / 2 + 1, keep: m };
        let product = ops::correlate(&mut rec, c, m).unwrap();
        let z = rec.scratch("z", m).unwrap();
        Fft::inverse(m).scale(1.0).record(&mut rec, product, z).unwrap();
        let peaks = ops::peak(&mut rec, z, (1, m), 0..m, 256).unwrap();
        let refined = ops::refine(&mut rec, Correlate { keep: n / 2 + 1, ..c }, n, tq).unwrap();
        rec.download(peaks.at).unwrap();
        rec.download(refined).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        let out = prepared.run(&[tx.feed(&x), th.feed(&template), tq.feed(&[0, 0])], &Control::default()).unwrap();
        let coarse = out.get(peaks.at).unwrap()[0] as usize * 4;
        assert!(coarse.abs_diff(at) <= 4, "{coarse} for {at} on {}", device.name());
        let query = [0, coarse as u32];
        let out = prepared.run(&[tx.feed(&x), th.feed(&template), tq.feed(&query)], &Control::default()).unwrap();
        let z = out.get(refined).unwrap();
        let best = (0..REFINED).max_by(|a, b| z[*a].norm_sqr().total_cmp(&z[*b].norm_sqr())).unwrap();
        assert_eq!(coarse + best - REFINED / 2, at, "on {}", device.name());
    }
}
