use num_complex::Complex32;
use spikewave::ops::{self, Conjugate};
use spikewave::recording::Recording;

use super::common::devices;
use super::{noise, refusal, run, run_as};

/// Around the workgroup's 1024 elements and the task of the native path.
const SIZES: [usize; 13] = [1, 2, 3, 4, 255, 257, 1023, 1024, 1025, 1028, 16_385, 70_000, 70_001];

fn complex(seed: u64, n: usize) -> Vec<Complex32> {
    noise(seed, 2 * n).chunks(2).map(|v| Complex32::new(v[0], v[1])).collect()
}

#[test]
fn unary_gives_the_same_bits_everywhere() {
    for device in devices() {
        for n in SIZES {
            let x = noise(n as u64, n);
            let apply = |f: &dyn Fn(f32) -> f32| x.iter().map(|v| f(*v)).collect::<Vec<f32>>();
            let got = run(&device, |rec| {
                let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", n)?);
                ops::scale_offset(rec, x, 1.7, -0.3, y).map(|()| y)
            });
            assert_eq!(got, apply(&|v| 1.7 * v - 0.3), "scale_offset of {n} on {}", device.name());
            // On the native path the twin of the kernel that only other devices use.
            let got = run_as(&device, false, |rec| {
                let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", n)?);
                ops::abs(rec, x, y).map(|()| y)
            });
            assert_eq!(got, apply(&f32::abs), "abs of {n} on {}", device.name());
            let got = run(&device, |rec| {
                let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", n)?);
                ops::square(rec, x, 0.7, y).map(|()| y)
            });
            assert_eq!(got, apply(&|v| 0.7 * (v * v)), "square of {n} on {}", device.name());
        }
    }
}

/// Every row length of short tensors, then long ones with rows that straddle workgroups and tasks.
fn row_lengths() -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize)> =
        (1..=24).flat_map(|n| (1..=n).filter(move |r| n % r == 0).map(move |r| (n, r))).collect();
    all.extend([(1024, 1024), (2050, 1025), (3 * 1023, 1023), (70_000, 7), (70_000, 35_000), (99_999, 99_999)]);
    all
}

#[test]
fn binary_gives_the_same_bits_everywhere() {
    for device in devices() {
        for (n, row) in row_lengths() {
            let (a, b) = (noise(1, n), noise(2, row));
            let apply = |f: &dyn Fn(f32, f32) -> f32| -> Vec<f32> {
                a.iter().enumerate().map(|(i, u)| f(*u, b[i % row])).collect()
            };
            for (op, expected) in [
                ("axpby", apply(&|u, v| 0.3 * u + -1.9 * v)),
                ("add", apply(&|u, v| u + v)),
                ("sub", apply(&|u, v| u - v)),
                ("mul", apply(&|u, v| 1.3 * (u * v))),
            ] {
                let record = |rec: &mut Recording| {
                    let (a, b, y) = (rec.constant("a", &a)?, rec.constant("b", &b)?, rec.scratch("y", n)?);
                    match op {
                        "axpby" => ops::axpby(rec, 0.3, a, -1.9, b, y),
                        "add" => ops::add(rec, a, b, y),
                        "sub" => ops::sub(rec, a, b, y),
                        _ => ops::mul(rec, a, b, 1.3, y),
                    }
                    .map(|()| y)
                };
                // On the native path the twin of the kernel that only other devices use.
                assert_eq!(
                    run_as(&device, false, record),
                    expected,
                    "{op} of {n} in rows of {row} on {}",
                    device.name()
                );
                let got = run(&device, record);
                assert_eq!(got, expected, "{op} of {n} in rows of {row} on {}", device.name());
            }
        }
    }
}

#[test]
fn complex_binary_gives_the_same_bits_everywhere() {
    let product = |u: Complex32, v: Complex32| {
        Complex32::new(0.9 * (u.re * v.re - u.im * v.im), 0.9 * (u.re * v.im + u.im * v.re))
    };
    for device in devices() {
        for (n, row) in row_lengths() {
            let (a, b) = (complex(1, n), complex(2, row));
            let apply = |f: &dyn Fn(Complex32, Complex32) -> Complex32| -> Vec<Complex32> {
                a.iter().enumerate().map(|(i, u)| f(*u, b[i % row])).collect()
            };
            for (conjugate, expected) in [
                (None, apply(&|u, v| Complex32::new(0.3 * u.re + -1.9 * v.re, 0.3 * u.im + -1.9 * v.im))),
                (Some(Conjugate::None), apply(&product)),
                (Some(Conjugate::Second), apply(&|u, v| product(u, v.conj()))),
                (Some(Conjugate::First), apply(&|u, v| product(u.conj(), v))),
            ] {
                let got = run(&device, |rec| {
                    let (a, b, y) = (rec.constant("a", &a)?, rec.constant("b", &b)?, rec.scratch("y", n)?);
                    match conjugate {
                        None => ops::complex_axpby(rec, 0.3, a, -1.9, b, y),
                        Some(c) => ops::complex_mul(rec, a, b, c, 0.9, y),
                    }
                    .map(|()| y)
                });
                assert_eq!(got, expected, "{conjugate:?} of {n} in rows of {row} on {}", device.name());
            }
        }
    }
}

#[test]
fn complex_with_real() {
    for device in devices() {
        for (n, row) in row_lengths() {
            let (a, b) = (complex(1, n), noise(2, row));
            let got = run(&device, |rec| {
                let (a, b, y) = (rec.constant("a", &a)?, rec.constant("b", &b)?, rec.scratch("y", n)?);
                ops::complex_scale(rec, a, b, 0.6, y).map(|()| y)
            });
            let expected: Vec<Complex32> = (0..n).map(|i| (a[i] * b[i % row]) * 0.6).collect();
            assert_eq!(got, expected, "complex_scale of {n} in rows of {row} on {}", device.name());
        }
        for n in SIZES {
            let x = complex(3, n);
            let got = run(&device, |rec| {
                let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", n)?);
                ops::complex_norm_sqr(rec, x, 0.6, y).map(|()| y)
            });
            let expected: Vec<f32> = x.iter().map(|v| 0.6 * (v.re * v.re + v.im * v.im)).collect();
            assert_eq!(got, expected, "complex_norm_sqr of {n} on {}", device.name());
            let got = run(&device, |rec| {
                let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", n)?);
                ops::complex_abs(rec, x, 2.0, y).map(|()| y)
            });
            // A square root may be 2.5 ulp off (WGSL: as 1 / inverseSqrt), its argument and the scaling 1 each.
            for (g, v) in got.iter().zip(&x) {
                let e = 2.0 * f64::from(v.re).hypot(f64::from(v.im));
                assert!(
                    (f64::from(*g) - e).abs() <= 4.5 * f64::from(f32::EPSILON) * e,
                    "{g} for {e} on {}",
                    device.name()
                );
            }
        }
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let why = refusal(|rec| {
        let (x, y) = (rec.constant("x", &[0f32; 3])?, rec.scratch("y", 4)?);
        ops::abs(rec, x, y)
    });
    assert_eq!(why, "invalid abs: y: 4 elements, must be 3 as the first argument");
    let why = refusal(|rec| {
        let (a, b, y) = (rec.constant("a", &[0f32; 6])?, rec.constant("b", &[0f32; 4])?, rec.scratch("y", 6)?);
        ops::add(rec, a, b, y)
    });
    assert_eq!(why, "invalid add: b: 4 elements, must be as long as a (6) or one row of it");
}
