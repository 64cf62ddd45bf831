use spikewave::device::{Choice, Device, DeviceOptions};
use spikewave::kernel::Tensor;
use spikewave::ops::{self, Conv1d, Filters, Method, Padding};
use spikewave::recording::Recording;

use super::common::devices;
use super::{noise, refusal, run, run_as};

/// The definition, in f64.
fn exact(c: &Conv1d, pad: usize, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let n_out = c.output_length().unwrap();
    let (gi, go) = (c.channels_in / c.groups, c.channels_out / c.groups);
    let mut y = Vec::with_capacity(c.batch * c.channels_out * n_out);
    for b in 0..c.batch {
        for m in 0..c.channels_out {
            for t in 0..n_out {
                let mut s = bias.map_or(0.0, |v| f64::from(v[m]));
                for i in 0..gi {
                    let row = &x[(b * c.channels_in + m / go * gi + i) * c.length..][..c.length];
                    for j in 0..c.taps {
                        let at = t * c.stride + j * c.dilation;
                        if at >= pad && at - pad < c.length {
                            s += f64::from(w[(m * gi + i) * c.taps + j]) * f64::from(row[at - pad]);
                        }
                    }
                }
                y.push(s);
            }
        }
    }
    y
}

/// What to record for it.
fn convolution(
    c: Conv1d,
    method: Method,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    late: bool,
) -> impl Fn(&mut Recording) -> spikewave::Result<Tensor<f32>> {
    move |rec| {
        let filters = if late {
            let (w, bias) = (rec.constant("w", w)?, bias.map(|b| rec.constant("b", b)).transpose()?);
            Filters::from_tensor_with_method(rec, c, method, w, bias)?
        } else {
            Filters::with_method(rec, c, method, w, bias)?
        };
        let x = rec.constant("x", x)?;
        let y = rec.scratch("y", c.batch * c.channels_out * c.output_length()?)?;
        ops::conv1d(rec, &filters, x, y).map(|()| y)
    }
}

/// The root of the mean of the squares.
fn rms(x: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = x.len() as f64;
    (x.map(|v| v * v).sum::<f64>() / n).sqrt()
}

fn check(c: Conv1d, pad: usize, devices: &[Device]) {
    check_by(c, Method::Direct, pad, devices);
}

fn check_by(c: Conv1d, method: Method, pad: usize, devices: &[Device]) {
    let seed = (c.length * 31 + c.taps * 7 + c.channels_out) as u64;
    let x = noise(seed, c.batch * c.channels_in * c.length);
    let w = noise(seed + 1, c.channels_out * c.channels_in / c.groups * c.taps);
    let bias = (c.taps % 2 == 1).then(|| noise(seed + 2, c.channels_out));
    let expected = exact(&c, pad, &x, &w, bias.as_deref());
    let mut size = rms(expected.iter().copied()).max(1e-6);
    if method != Method::Direct {
        // Spectra round relative to the whole block, also where the sum is small.
        let filter = (c.channels_in / c.groups * c.taps) as f64;
        size = size.max(rms(x.iter().map(|v| f64::from(*v))) * rms(w.iter().map(|v| f64::from(*v))) * filter.sqrt());
    }
    for device in devices {
        let record = convolution(c, method, &x, &w, bias.as_deref(), c.length.is_multiple_of(2));
        let mut results = vec![("its own", run(device, &record))];
        // Where the kernels of a software driver and of a GPU differ.
        if method == Method::Direct && c.stride == 1 && c.dilation == 1 {
            results.push(("a GPU's", run_as(device, false, &record)));
            results.push(("a software driver's", run_as(device, true, &record)));
        }
        for (kernels, got) in results {
            assert_eq!(got.len(), expected.len());
            let d = rms(got.iter().zip(&expected).map(|(g, e)| f64::from(*g) - e)) / size;
            assert!(
                d <= 1e-6 * (c.taps as f64).sqrt(),
                "{c:?} {method:?} is {d:e} off on {} by {kernels} kernels",
                device.name()
            );
            // One wrong element of a large result could hide in the norm.
            for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
                assert!(
                    (f64::from(*g) - e).abs() <= 2e-5 * size,
                    "{c:?} {method:?}: {i} is {g} for {e} on {} by {kernels} kernels",
                    device.name()
                );
            }
        }
    }
}

#[test]
fn every_small_shape() {
    let all = devices();
    // The native path on the whole lattice, the adapters on a part that meets every value.
    let mut count = 0;
    for (channels_in, channels_out, groups) in [(1, 1, 1), (2, 3, 1), (4, 4, 2), (3, 9, 3), (2, 17, 1)] {
        for taps in 1..=4 {
            for stride in 1..=4 {
                for dilation in 1..=3 {
                    for (before, behind) in [(0, 0), (1, 0), (0, 2), (5, 4)] {
                        for length in [1, 2, 5, 10, 11] {
                            let padding = Padding::Explicit(before, behind);
                            let batch = 1 + length % 2;
                            let c = Conv1d {
                                batch,
                                length,
                                channels_in,
                                channels_out,
                                taps,
                                groups,
                                stride,
                                dilation,
                                padding,
                            };
                            if c.output_length().is_ok() {
                                count += 1;
                                check(c, before, if count % 61 == 0 { &all } else { &all[..1] });
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(count > 3000, "{count}");
}

#[test]
fn edges_of_tiles() {
    let all = devices();
    for channels_out in [7, 8, 9, 63, 64, 65] {
        for n_out in [15, 16, 17, 47, 48, 49, 127, 128, 129] {
            let c = Conv1d { padding: Padding::Same, ..Conv1d::new(1, n_out, 3, channels_out, 5) };
            check(c, 2, &all);
        }
    }
}

#[test]
fn layers_of_an_encoder_and_long_sums() {
    let all = devices();
    let layer = |batch, channels_in, channels_out, length| Conv1d {
        stride: 2,
        padding: Padding::Explicit(4, 4),
        ..Conv1d::new(batch, length, channels_in, channels_out, 9)
    };
    check(layer(2, 1, 64, 1030), 4, &all);
    check(layer(1, 64, 128, 700), 4, &all);
    check(layer(1, 128, 70, 333), 4, &all);
    // More terms than one dispatch of the shader adds, and more channels than one block of the native path.
    check(layer(1, 512, 24, 64), 4, &all);
    check(Conv1d::new(1, 5000, 2, 3, 3001), 0, &all);
    check(Conv1d { stride: 7, dilation: 3, ..Conv1d::new(1, 9000, 1, 2, 400) }, 0, &all);
    // One filter a channel.
    check(Conv1d { groups: 40, padding: Padding::Same, ..Conv1d::new(2, 500, 40, 40, 9) }, 4, &all);
}

#[test]
fn threads_change_no_bit() {
    let c = Conv1d { stride: 2, padding: Padding::Explicit(4, 4), ..Conv1d::new(1, 3000, 40, 100, 9) };
    let (x, w, b) = (noise(1, 40 * 3000), noise(2, 100 * 40 * 9), noise(3, 100));
    let on = |threads, method| {
        let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) };
        run(&Device::open(&options).unwrap(), convolution(c, method, &x, &w, Some(&b), false))
    };
    for method in [Method::Direct, Method::OverlapSave(64)] {
        let one = on(1, method);
        assert!(one == on(2, method) && one == on(5, method));
    }
}

#[test]
fn overlap_save_on_every_small_shape() {
    let all = devices();
    let mut count = 0;
    for (channels_in, channels_out, groups) in [(1, 1, 1), (2, 3, 1), (4, 6, 2)] {
        for taps in [1, 2, 5] {
            for stride in 1..=3 {
                for dilation in 1..=3 {
                    for (before, behind) in [(0, 0), (5, 4)] {
                        for length in [1, 11, 40] {
                            let padding = Padding::Explicit(before, behind);
                            let batch = 1 + length % 2;
                            let c = Conv1d {
                                batch,
                                length,
                                channels_in,
                                channels_out,
                                taps,
                                groups,
                                stride,
                                dilation,
                                padding,
                            };
                            if c.output_length().is_err() {
                                continue;
                            }
                            // Blocks that keep one or two positions, and a length of Bluestein's.
                            let span = (taps - 1) * dilation + 1;
                            for points in [span.next_multiple_of(2), 16, 34] {
                                count += 1;
                                let on = if count % 47 == 0 { &all } else { &all[..1] };
                                check_by(c, Method::OverlapSave(points), before, on);
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(count > 400, "{count}");
}

#[test]
fn overlap_save_of_long_filters() {
    let all = devices();
    check_by(Conv1d::new(1, 5000, 2, 3, 1001), Method::OverlapSave(2048), 0, &all);
    check_by(
        Conv1d { padding: Padding::Same, dilation: 2, ..Conv1d::new(2, 3000, 1, 9, 257) },
        Method::OverlapSave(1024),
        256,
        &all,
    );
    // More rows than one part of the scratch holds.
    let padding = Padding::Explicit(150, 150);
    let c = Conv1d { padding, stride: 4, ..Conv1d::new(1, 40_000, 1, 160, 301) };
    check_by(c, Method::OverlapSave(512), 150, &all);
}

#[test]
fn the_cheaper_method_is_taken() {
    for device in devices() {
        let choice = |taps, channels| {
            let c = Conv1d { padding: Padding::Same, ..Conv1d::new(1, 131_072, 1, channels, taps) };
            c.method(device.capabilities()).unwrap()
        };
        assert_eq!(choice(9, 64), Method::Direct, "{}", device.name());
        assert!(matches!(choice(16_384, 64), Method::OverlapSave(p) if p >= 16_384), "{}", device.name());
        // One crossover: longer filters never go back.
        let by: Vec<bool> = (3..15).map(|i| choice(1 << i, 64) != Method::Direct).collect();
        assert!(by.is_sorted(), "{by:?} on {}", device.name());
        // Both sides of it agree with f64.
        let at = 1 << (3 + by.iter().position(|b| *b).unwrap());
        for taps in [at / 2, at] {
            let c = Conv1d { padding: Padding::Same, ..Conv1d::new(1, 3000, 1, 2, taps) };
            let points = (2 * taps).next_power_of_two();
            check_by(c, Method::Direct, (taps - 1) / 2, std::slice::from_ref(&device));
            check_by(c, Method::OverlapSave(points), (taps - 1) / 2, std::slice::from_ref(&device));
        }
    }
}

#[test]
fn same_and_valid_lengths() {
    let c = Conv1d { dilation: 3, padding: Padding::Same, ..Conv1d::new(1, 20, 1, 1, 4) };
    assert_eq!(c.output_length(), Ok(20));
    check(c, 4, &devices()[..1]);
    assert_eq!(Conv1d { dilation: 3, ..Conv1d::new(1, 20, 1, 1, 4) }.output_length(), Ok(11));
}

#[test]
fn impossible_convolutions_are_refused() {
    let c = Conv1d::new(1, 20, 2, 4, 3);
    let length = |c: Conv1d| c.output_length().unwrap_err().to_string();
    assert_eq!(length(Conv1d { taps: 0, ..c }), "invalid conv1d: taps: 0, must be in 1..2^31");
    assert!(length(Conv1d { groups: 3, ..c }).contains("channels_in: 2 are not 3 whole groups"));
    assert!(length(Conv1d { stride: 2, padding: Padding::Same, ..c }).contains("Same needs stride 1"));
    assert!(length(Conv1d { taps: 21, ..c }).contains("they span 21 samples, and the padded signal has 20"));
    assert!(length(Conv1d { padding: Padding::Explicit(usize::MAX, 1), ..c }).contains("padded length"));
    assert!(refusal(|rec| Filters::new(rec, c, &[0.0; 23], None).map(drop)).contains("23 values, must be"));
    assert!(refusal(|rec| Filters::new(rec, c, &[0.0; 24], Some(&[0.0; 3])).map(drop)).contains("bias: 3 values"));
    let why = refusal(|rec| {
        let filters = Filters::new(rec, c, &[0.0; 24], None)?;
        let (x, y) = (rec.constant("x", &[0f32; 40])?, rec.scratch("y", 71)?);
        ops::conv1d(rec, &filters, x, y)
    });
    assert_eq!(why, "invalid conv1d: y: 71 elements, must be batch × channels × length = 1 × 4 × 18");
}
