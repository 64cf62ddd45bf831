use num_complex::Complex32;
use spikewave::kernel::Elem;
use spikewave::ops::{self, Destination, Source};

use super::common::devices;
use super::{refusal, run};

/// Numbers that tell every element apart.
fn ramp(n: usize) -> Vec<u32> {
    (1..=n as u32).collect()
}

/// The definition, element by element.
fn copied(x: &[u32], s: Source, y: &mut [u32], d: Destination, [batch, rows, cols]: [usize; 3]) {
    for (b, r, c) in (0..batch).flat_map(|b| (0..rows).flat_map(move |r| (0..cols).map(move |c| (b, r, c)))) {
        let at = s.first + (r * s.row_stride + c) as i64;
        let value = if at >= 0 && at < s.valid as i64 { x[s.offset + b * s.batch_stride + at as usize] } else { 0 };
        y[d.offset + b * d.batch_stride + r * d.row_stride + c] = value;
    }
}

fn check(s: Source, d: Destination, shape: [usize; 3]) {
    let [batch, rows, cols] = shape;
    let x = ramp(s.offset + (batch - 1) * s.batch_stride + s.valid + 1);
    let m = d.offset + (batch - 1) * d.batch_stride + (rows - 1) * d.row_stride + cols + 2;
    let mut expected = vec![7u32; m];
    copied(&x, s, &mut expected, d, shape);
    for device in devices() {
        let got = run(&device, |rec| {
            let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", m)?);
            ops::fill(rec, y, 7u32)?;
            ops::copy2d(rec, x, s, y, d, shape).map(|()| y)
        });
        assert_eq!(got, expected, "{s:?} {d:?} {shape:?} on {}", device.name());
    }
}

#[test]
fn copies_small_shapes() {
    for batch in 1..=2 {
        for rows in 1..=3 {
            for cols in [1, 2, 5] {
                for first in -6..=3 {
                    for row_stride in [0, 1, 4] {
                        let s = Source { offset: 2, batch_stride: 5, row_stride, first, valid: 4 };
                        let block = (rows - 1) * (cols + 1) + cols;
                        let d = Destination { offset: 1, batch_stride: block + 2, row_stride: cols + 1 };
                        check(s, d, [batch, rows, cols]);
                    }
                }
            }
        }
    }
}

#[test]
fn copies_frames_of_long_signals() {
    // Overlapping frames with zeros on both sides, as a windowed transform needs them.
    let s = Source { offset: 0, batch_stride: 5000, row_stride: 100, first: -77, valid: 5000 };
    check(s, Destination { offset: 0, batch_stride: 53 * 256, row_stride: 256 }, [3, 53, 256]);
    let s = Source { offset: 9, batch_stride: 0, row_stride: 1, first: 0, valid: 70_000 };
    check(s, Destination { offset: 3, batch_stride: 0, row_stride: 70_000 }, [1, 1, 70_000]);
}

#[test]
fn pads_and_crops_rows_of_wide_elements() {
    let x: Vec<Complex32> = (0..15).map(|i| Complex32::new(i as f32 + 1.0, -(i as f32) - 1.0)).collect();
    for device in devices() {
        for before in -6i64..=4 {
            for m in 1usize..=8 {
                let got = run(&device, |rec| {
                    let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", 3 * m)?);
                    ops::pad_rows(rec, x, 3, before, y).map(|()| y)
                });
                for (i, g) in got.iter().enumerate() {
                    let at = (i % m) as i64 - before;
                    let e = if (0..5).contains(&at) { x[i / m * 5 + at as usize] } else { Complex32::default() };
                    assert_eq!(*g, e, "{before} before, rows of {m} on {}", device.name());
                }
            }
        }
    }
}

#[test]
fn impossible_copies_are_refused() {
    let d = |row_stride| Destination { offset: 0, batch_stride: 0, row_stride };
    let copy = |s: Source, d: Destination, shape: [usize; 3]| {
        refusal(|rec| {
            let (x, y) = (rec.constant("x", &[0u32; 8])?, rec.scratch("y", 8)?);
            ops::copy2d(rec, x, s, y, d, shape)
        })
    };
    let s = Source { valid: 8, ..Source::default() };
    assert!(copy(Source { offset: 1, ..s }, d(4), [1, 2, 4]).contains("ends at element 9 of 8"));
    assert!(copy(s, d(5), [1, 2, 4]).contains("ends at element 9 of 8"));
    assert!(copy(s, d(3), [1, 2, 4]).contains("overlap"));
    assert!(copy(s, d(4), [1, 0, 4]).contains("at least 1"));
    assert!(copy(Source { first: i64::MIN, ..s }, d(4), [1, 2, 4]).contains("below 2^31"));
    assert!(copy(Source { row_stride: usize::MAX, ..s }, d(4), [1, 2, 4]).contains("below 2^31"));
}

fn transposes<T: Elem + PartialEq + std::fmt::Debug>(batch: usize, rows: usize, cols: usize, make: impl Fn(u32) -> T) {
    let x: Vec<T> = (0..(batch * rows * cols) as u32).map(make).collect();
    let expected: Vec<T> = (0..x.len())
        .map(|i| {
            let (b, c, r) = (i / (rows * cols), i / rows % cols, i % rows);
            x[(b * rows + r) * cols + c]
        })
        .collect();
    for device in devices() {
        let got = run(&device, |rec| {
            let (x, y) = (rec.constant("x", &x)?, rec.scratch("y", x.len())?);
            ops::transpose(rec, x, [batch, rows, cols], y).map(|()| y)
        });
        assert!(got == expected, "{batch} × {rows} × {cols} on {}", device.name());
    }
}

#[test]
fn transposes_every_small_shape_and_tile_edges() {
    let sides = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65];
    for rows in sides {
        for cols in sides {
            transposes(1 + rows % 2, rows, cols, |i| i);
            transposes(1 + cols % 2, rows, cols, |i| Complex32::new(i as f32, -1.0));
            transposes(1, rows, cols, |i| [i, i + 1, i + 2, i + 3]);
        }
    }
    transposes(2, 513, 301, |i| i as f32);
    let why = refusal(|rec| {
        let (x, y) = (rec.constant("x", &[0u32; 6])?, rec.scratch("y", 6)?);
        ops::transpose(rec, x, [1, 2, 4], y)
    });
    assert!(why.contains("1 × 2 × 4 does not fit"));
}
