use spikewave::device::{Device, DeviceOptions};
use spikewave::ops::{self, Reduction, Scan};
use spikewave::recording::Recording;

use super::common::devices;
use super::{noise, refusal, run, run_as, worst};

const EPS: f64 = 1.0 / (1 << 24) as f64;

/// Rows and their lengths: short ones, around 256 lanes and 4096 elements, over two and three levels.
fn shapes() -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize)> = (1..=9).flat_map(|n| [(1, n), (3, n)]).collect();
    for n in [127, 128, 129, 255, 256, 257, 511, 513, 1023, 1025, 4095, 4096, 4097, 8193] {
        all.push((2, n));
    }
    all.extend([(300, 33), (70_000, 1), (1, 1_000_003), (5, 40_961)]);
    // Whole fours.
    all.extend([(3, 28), (3, 32), (3, 36), (2, 260), (2, 4100), (3, 8192), (1, 1_000_000)]);
    all
}

#[test]
fn sums_are_accurate_and_the_same_bits_everywhere() {
    for (rows, n) in shapes() {
        let x = noise(n as u64, rows * n);
        for what in [Reduction::Sum, Reduction::SumSquares] {
            let term = |v: &f32| if what == Reduction::Sum { f64::from(*v) } else { f64::from(*v).powi(2) };
            let exact: Vec<f64> = x.chunks(n).map(|row| row.iter().map(term).sum()).collect();
            let size: Vec<f64> = x.chunks(n).map(|row| row.iter().map(|v| term(v).abs()).sum()).collect();
            // As `reduce` states, and one rounding for the square.
            let levels = 1.0 + (n as f64).log(4096.0).ceil().max(1.0);
            let bound = (1.0 + 24.0 * levels) * EPS;
            let mut first: Option<Vec<f32>> = None;
            for device in devices() {
                let record = |rec: &mut Recording| {
                    let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", rows)?);
                    ops::reduce(rec, what, x, rows, y).map(|()| y)
                };
                let got = run(&device, record);
                for software in [false, true] {
                    let by = run_as(&device, software, record);
                    assert!(by == got, "{what:?} {rows} × {n}, software {software}: other bits on {}", device.name());
                }
                let (d, at) = worst(&got, &exact, |i| size[i]);
                assert!(d <= bound, "{what:?} {rows} × {n}: row {at} is {d:e} off on {}", device.name());
                let first = first.get_or_insert_with(|| got.clone());
                assert!(got == *first, "{what:?} {rows} × {n}: other bits on {}", device.name());
            }
        }
    }
}

/// The definition of the order of preference.
fn best(row: &[f32], smallest: bool) -> usize {
    if let Some(at) = row.iter().position(|v| v.is_nan()) {
        return at;
    }
    let mut best = 0;
    for (i, v) in row.iter().enumerate() {
        if if smallest { *v < row[best] } else { *v > row[best] } {
            best = i;
        }
    }
    best
}

fn extremes(device: &Device, x: &[f32], rows: usize) {
    let n = x.len() / rows;
    for smallest in [false, true] {
        let expected: Vec<usize> = x.chunks(n).map(|row| best(row, smallest)).collect();
        let index = run(device, |rec| {
            let (x, value, index) = (rec.constant("x", x)?, rec.scratch("value", rows)?, rec.scratch("index", rows)?);
            let op = if smallest { ops::argmin } else { ops::argmax };
            op(rec, x, rows, value, index).map(|()| index)
        });
        let what = if smallest { Reduction::Min } else { Reduction::Max };
        let value = run(device, |rec| {
            let (x, y) = (rec.constant("x", x)?, rec.scratch("y", rows)?);
            ops::reduce(rec, what, x, rows, y).map(|()| y)
        });
        for (r, at) in expected.into_iter().enumerate() {
            assert_eq!(index[r] as usize, at, "{what:?}: row {r} of {rows} × {n} on {}", device.name());
            let (got, want) = (value[r], x[r * n + at]);
            assert!(got == want || (got.is_nan() && want.is_nan()), "{what:?} {got} for {want} on {}", device.name());
        }
    }
}

#[test]
fn extremes_prefer_the_lowest_index() {
    for device in devices() {
        for (rows, n) in shapes() {
            // Few distinct values: many ties.
            let x: Vec<f32> = noise(n as u64, rows * n).iter().map(|v| (v * 4.0).round() / 4.0).collect();
            extremes(&device, &x, rows);
            extremes(&device, &noise(3, rows * n), rows);
        }
        extremes(&device, &[0.0, -0.0, 0.0, -0.0, -0.0, 0.0], 2);
        extremes(&device, &[f32::MIN, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40], 1);
        extremes(&device, &[f32::NEG_INFINITY; 5], 1);
        extremes(&device, &[f32::INFINITY; 300], 1);
    }
}

#[test]
fn a_nan_is_reported_where_it_stands() {
    for device in devices() {
        for n in [3usize, 300, 4097, 20_000] {
            for at in [0, 1, n / 2, n - 1] {
                let mut x = noise(at as u64, 2 * n);
                x[n + at] = f32::NAN;
                x[2 * n - 1] = -f32::NAN;
                extremes(&device, &x, 2);
            }
        }
    }
}

#[test]
fn prefix_sums() {
    let shapes = [(1, 1), (3, 2), (2, 3), (2, 4), (2, 5), (4, 1023), (2, 1024), (2, 1025), (3, 5000), (1, 1_100_000)];
    for (rows, n) in shapes {
        for inclusive in [true, false] {
            let scan = if inclusive { Scan::Inclusive } else { Scan::Exclusive };
            let x: Vec<u32> = noise(n as u64, rows * n).iter().map(|v| v.to_bits()).collect();
            let mut expected = Vec::with_capacity(x.len());
            for row in x.chunks(n) {
                let mut s = 0u32;
                for v in row {
                    expected.push(if inclusive { s.wrapping_add(*v) } else { s });
                    s = s.wrapping_add(*v);
                }
            }
            let real = noise(5, rows * n);
            let (mut exact, mut size) = (Vec::new(), Vec::new());
            for row in real.chunks(n) {
                let (mut s, mut a) = (0.0, 0.0);
                for v in row.iter().map(|v| f64::from(*v)) {
                    exact.push(if inclusive { s + v } else { s });
                    (s, a) = (s + v, a + v.abs());
                    size.push(a);
                }
            }
            let mut first: Option<Vec<f32>> = None;
            for device in devices() {
                let got = run(&device, |rec| {
                    let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", x.len())?);
                    ops::scan(rec, scan, x, rows, y).map(|()| y)
                });
                assert!(got == expected, "{scan:?} {rows} × {n} of u32 on {}", device.name());
                let got = run(&device, |rec| {
                    let (x, y) = (rec.constant("x", &real)?, rec.scratch("y", real.len())?);
                    ops::scan(rec, scan, x, rows, y).map(|()| y)
                });
                // At most 3 + 8 + 4 additions within a chunk of each of three levels, and one to join it.
                let (d, at) = worst(&got, &exact, |i| size[i]);
                assert!(d <= 48.0 * EPS, "{scan:?} {rows} × {n}: element {at} is {d:e} off on {}", device.name());
                let first = first.get_or_insert_with(|| got.clone());
                assert!(got == *first, "{scan:?} {rows} × {n}: other bits on {}", device.name());
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let x = noise(9, 1_000_000);
    let on = |threads| {
        let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(spikewave::device::Choice::Cpu) };
        let device = Device::open(&options).unwrap();
        let sum = run(&device, |rec| {
            let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", 1)?);
            ops::reduce(rec, Reduction::Sum, x, 1, y).map(|()| y)
        });
        let scan = run(&device, |rec| {
            let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", x.len())?);
            ops::scan(rec, Scan::Inclusive, x, 1, y).map(|()| y)
        });
        (sum, scan)
    };
    assert!(on(1) == on(3));
}

#[test]
fn wrong_shapes_are_refused() {
    let why = refusal(|rec| {
        let (x, y) = (rec.constant("x", &[0f32; 7])?, rec.scratch("y", 2)?);
        ops::reduce(rec, Reduction::Sum, x, 2, y)
    });
    assert_eq!(why, "invalid reduce: x: 7 elements are not 2 whole rows");
    let why = refusal(|rec| {
        let (x, y) = (rec.constant("x", &[0f32; 8])?, rec.scratch("y", 3)?);
        ops::reduce(rec, Reduction::Max, x, 2, y)
    });
    assert_eq!(why, "invalid reduce: y: 3 elements, must be one for each of 2 rows");
    let why = refusal(|rec| {
        let (x, y) = (rec.constant("x", &[0f32; 8])?, rec.scratch("y", 9)?);
        ops::scan(rec, Scan::Inclusive, x, 0, y)
    });
    assert_eq!(why, "invalid scan: x: 8 elements are not 0 whole rows");
}
