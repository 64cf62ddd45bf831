//! Spike encoders: published vectors, a plain reference, an f64 oracle, and equal spikes on every device.

mod common;

use proptest::prelude::*;
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::lif::ThresholdRule::{Above, AtOrAbove};
use spikewave::ops::{
    Events, First, Start, StepForward, TemporalContrast, difference_std, event_words, step_forward, temporal_contrast,
};

/// `[channels * rows][time]`
type Train = Vec<Vec<bool>>;

enum Encoder<'a> {
    Contrast(&'a TemporalContrast),
    Step(&'a StepForward),
}

/// Encodes on a device, packed and dense, and insists that both agree. Also the levels after a step-forward.
fn on(device: &Device, x: &[f32], channels: usize, encoder: &Encoder<'_>) -> (Train, Vec<u32>) {
    let time = x.len() / channels;
    let rows = channels
        * match encoder {
            Encoder::Contrast(c) => c.rows(),
            Encoder::Step(_) => 2,
        };
    let [packed, dense] = [true, false].map(|packed| {
        let mut rec = device.recording("encoder");
        let input = rec.input::<f32>("x", x.len()).unwrap();
        let words = rec.scratch::<u32>("words", rows * event_words(time)).unwrap();
        let floats = rec.scratch::<f32>("floats", rows * time).unwrap();
        let level = rec.scratch::<f32>("level", channels).unwrap();
        let events = if packed { Events::Packed(words) } else { Events::Dense(floats) };
        match encoder {
            Encoder::Contrast(c) => temporal_contrast(&mut rec, input, channels, c, events).unwrap(),
            Encoder::Step(s) => {
                step_forward(&mut rec, input, channels, s, level, events).unwrap();
                rec.download(level).unwrap();
            }
        }
        if packed {
            rec.download(words).unwrap()
        } else {
            rec.download(floats).unwrap()
        }
        let out = device.prepare(&rec).unwrap().run(&[input.feed(x)], &Control::default()).unwrap();
        let train: Train = if packed {
            let row = event_words(time);
            let spare = if time.is_multiple_of(32) { 0 } else { !0 << (time % 32) };
            let all = out.get(words).unwrap();
            assert!(all.chunks(row).all(|w| w[row - 1] & spare == 0), "spare bits are set on {}", device.name());
            all.chunks(row).map(|w| (0..time).map(|t| w[t / 32] >> (t % 32) & 1 == 1).collect()).collect()
        } else {
            let all = out.get(floats).unwrap();
            assert!(all.iter().all(|s| *s == 0.0 || *s == 1.0), "neither 0 nor 1 on {}", device.name());
            all.chunks(time).map(|row| row.iter().map(|s| *s == 1.0).collect()).collect()
        };
        let levels = match encoder {
            Encoder::Contrast(_) => Vec::new(),
            Encoder::Step(_) => out.get(level).unwrap().iter().map(|l| l.to_bits()).collect(),
        };
        (train, levels)
    });
    assert!(packed == dense, "packed and dense differ on {}", device.name());
    packed
}

/// ON minus OFF of one threshold's rows.
fn signed(train: &Train) -> Vec<i32> {
    train[0].iter().zip(&train[1]).map(|(on, off)| i32::from(*on) - i32::from(*off)).collect()
}

#[test]
fn published_vectors_of_the_first_difference() {
    // snnTorch, spikegen.delta: threshold 1, previous value of the first sample 0.
    let mut encoder = TemporalContrast { first: First::Zero, ..TemporalContrast::new(1.0) };
    for device in common::devices() {
        let train = on(&device, &[1.0, 2.0, 2.9, 3.0, 3.9], 1, &Encoder::Contrast(&encoder)).0;
        assert_eq!(signed(&train), [1, 1, 0, 0, 0], "on {}", device.name());
        let train = on(&device, &[1.0, 2.0, 0.0, 2.0, 2.9], 1, &Encoder::Contrast(&encoder)).0;
        assert_eq!(signed(&train), [1, 1, -1, 1, 0], "on {}", device.name());
    }
    // With padding the first sample is compared with itself; `>` does not take a difference of exactly the threshold.
    for device in common::devices() {
        encoder.first = First::Itself;
        encoder.rule = AtOrAbove;
        let signal = [1.0, 2.0, 0.0, 2.0, 2.9];
        assert_eq!(signed(&on(&device, &signal, 1, &Encoder::Contrast(&encoder)).0), [0, 1, -1, 1, 0]);
        encoder.rule = Above;
        assert_eq!(signed(&on(&device, &signal, 1, &Encoder::Contrast(&encoder)).0), [0, 0, -1, 1, 0]);
    }
}

#[test]
fn a_jump_spikes_at_every_threshold_that_it_passes() {
    let encoder = TemporalContrast::phase_preserving();
    for device in common::devices() {
        let x = [0.0, 0.15, 0.4, 0.4, -0.6, f32::NAN, 1.0, 1.5];
        let train = on(&device, &x, 1, &Encoder::Contrast(&encoder)).0;
        let at = |t: usize| (0..8).filter(|&r| train[r][t]).collect::<Vec<_>>();
        // Rows 0, 2, 4, 6 are ON at 0.1, 0.2, 0.4, 0.8, the others OFF.
        let expected = [vec![], vec![0], vec![0, 2], vec![], vec![1, 3, 5, 7], vec![], vec![], vec![0, 2, 4]];
        for (t, expected) in expected.iter().enumerate() {
            assert_eq!(&at(t), expected, "sample {t} on {}", device.name());
        }
    }
}

#[test]
fn a_level_follows_by_one_threshold_a_sample() {
    for device in common::devices() {
        // A jump over two and a half thresholds takes two samples; exactly one threshold needs `>=`.
        let x = [0.0, 2.5, 2.5, 2.5, 1.5, 0.5, 0.5, f32::NAN, -9.0];
        let mut encoder = StepForward::new(1.0);
        assert_eq!(signed(&on(&device, &x, 1, &Encoder::Step(&encoder)).0), [0, 1, 1, 0, 0, -1, 0, 0, -1]);
        let x = [0.0, 1.0, 1.0, 0.0];
        assert_eq!(signed(&on(&device, &x, 1, &Encoder::Step(&encoder)).0), [0, 0, 0, 0]);
        encoder.rule = AtOrAbove;
        let (train, level) = on(&device, &x, 1, &Encoder::Step(&encoder));
        assert_eq!((signed(&train), level), (vec![0, 1, 0, -1], vec![0]), "on {}", device.name());
        // Speech2Spikes starts at round(x_0): 2.5 goes to 2 (ties to even), and 2.5 > 2 + 1 is false.
        encoder = StepForward { start: Start::RoundedFirstSample, ..StepForward::new(1.0) };
        let (train, level) = on(&device, &[f32::INFINITY, 2.5, 3.1, 3.1, 1.9], 1, &Encoder::Step(&encoder));
        assert_eq!((signed(&train), level), (vec![0, 0, 1, 0, -1], vec![2f32.to_bits()]), "on {}", device.name());
        encoder.start = Start::Value(0.0);
        assert_eq!(signed(&on(&device, &[2.5, 2.5, 2.5], 1, &Encoder::Step(&encoder)).0), [1, 1, 0]);
    }
}

#[test]
fn a_level_goes_on_from_call_to_call() {
    let x: Vec<f32> = (0..3 * 200).map(|i| ((i * i) as f32 * 0.01).sin() * 5.0).collect();
    let encoder = StepForward::new(0.5);
    for device in common::devices() {
        let (whole, _) = on(&device, &x, 3, &Encoder::Step(&encoder));
        let mut rec = device.recording("stream");
        let input = rec.input::<f32>("x", 3 * 50).unwrap();
        let level = rec.state("level", &[f32::NAN; 3]).unwrap();
        let events = rec.scratch::<f32>("events", 6 * 50).unwrap();
        let encoder = StepForward { start: Start::Continue, ..encoder };
        step_forward(&mut rec, input, 3, &encoder, level, Events::Dense(events)).unwrap();
        rec.download(events).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        for part in 0..4 {
            let piece: Vec<f32> = (0..3).flat_map(|c| x[c * 200 + part * 50..][..50].to_vec()).collect();
            let out = prepared.run(&[input.feed(&piece)], &Control::default()).unwrap();
            for (row, spikes) in out.get(events).unwrap().chunks(50).enumerate() {
                for (t, spike) in spikes.iter().enumerate() {
                    assert_eq!(*spike == 1.0, whole[row][part * 50 + t], "row {row} on {}", device.name());
                }
            }
        }
    }
}

fn flush(x: f32) -> f32 {
    if x.abs() < 1e-30 { 0.0 } else { x }
}

/// One channel by the definition, sample after sample.
fn reference(x: &[f32], encoder: &Encoder<'_>, scale: f32) -> Vec<Vec<bool>> {
    match encoder {
        Encoder::Contrast(c) => {
            let mut train = vec![vec![false; x.len()]; c.rows()];
            for t in 0..x.len() {
                let before = if t > 0 {
                    x[t - 1]
                } else if c.first == First::Zero {
                    0.0
                } else {
                    x[0]
                };
                let d = flush(x[t]) - flush(before);
                for (k, &threshold) in c.thresholds.iter().enumerate() {
                    let level = if c.normalise { flush(threshold * scale) } else { threshold };
                    let over = |d: f32| if c.rule == Above { d > level } else { d >= level };
                    train[2 * k][t] = level > 0.0 && d.is_finite() && over(d);
                    train[2 * k + 1][t] = level > 0.0 && d.is_finite() && over(-d);
                }
            }
            train
        }
        Encoder::Step(s) => {
            let mut train = vec![vec![false; x.len()]; 2];
            let step = if s.normalise { flush(s.threshold * scale) } else { s.threshold };
            let mut level = if let Start::Value(v) = s.start { Some(flush(v)) } else { None };
            for (t, &raw) in x.iter().enumerate() {
                if !raw.is_finite() {
                    continue;
                }
                let x = flush(raw);
                let Some(l) = level else {
                    let rounded = s.start == Start::RoundedFirstSample;
                    level = Some(if rounded { flush(x.round_ties_even()) } else { x });
                    continue;
                };
                let strict = s.rule == Above;
                if step > 0.0 && (x > l + step || !strict && x == l + step) {
                    train[0][t] = true;
                    level = Some(l + step);
                } else if step > 0.0 && (x < l - step || !strict && x == l - step) {
                    train[1][t] = true;
                    level = Some(l - step);
                }
            }
            train
        }
    }
}

fn std_on(device: &Device, x: &[f32], channels: usize) -> Vec<f32> {
    let mut rec = device.recording("std");
    let input = rec.input::<f32>("x", x.len()).unwrap();
    let std = rec.scratch::<f32>("std", channels).unwrap();
    difference_std(&mut rec, input, channels, std).unwrap();
    rec.download(std).unwrap();
    let out = device.prepare(&rec).unwrap().run(&[input.feed(x)], &Control::default()).unwrap();
    out.get(std).unwrap().to_vec()
}

/// Numbers with a fixed start, spread over [-1, 1).
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

#[test]
fn the_deviation_of_differences_against_f64() {
    // Strain-like 1e-21, ordinary, huge; with an offset that the mean must take out; with samples missing.
    let time = 5000;
    let mut x = Vec::new();
    for (channel, size) in [1e-21f32, 1.0, 3e37, 1.0, 1.0].into_iter().enumerate() {
        let slope = if channel == 3 { 2.0 } else { 0.0 };
        x.extend(noise(channel as u64 + 1, time).iter().enumerate().map(|(t, v)| size * (v + slope * t as f32 * 0.01)));
    }
    for t in [0, 77, 78, 4999] {
        x[4 * time + t] = f32::NAN;
    }
    x.extend(vec![3.25; time]);
    let native = std_on(&common::devices()[0], &x, 6);
    for (channel, row) in x.chunks(time).enumerate() {
        let d: Vec<f64> = row.windows(2).map(|w| f64::from(w[1]) - f64::from(w[0])).filter(|d| d.is_finite()).collect();
        let mean = d.iter().sum::<f64>() / d.len() as f64;
        let expected = (d.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / d.len() as f64).sqrt();
        let error = (f64::from(native[channel]) - expected).abs();
        assert!(error <= 2e-6 * expected, "channel {channel}: {} for {expected}", native[channel]);
    }
    assert_eq!(native[5], 0.0);
    for device in &common::devices()[1..] {
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&std_on(device, &x, 6)), bits(&native), "on {}", device.name());
    }
}

prop_compose! {
    fn signal()(channels in prop_oneof![1usize..5, 15usize..19, 63usize..70])(
        channels in Just(channels),
        time in prop_oneof![1usize..70, 250usize..260, Just(1025)],
        seed in any::<u64>(),
        special in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(1e-38), Just(0.0),
            Just(f32::MAX), Just(f32::MIN), any::<u32>().prop_map(f32::from_bits),
        ]), 0..12),
    ) -> (usize, Vec<f32>) {
        let mut x = noise(seed, channels * time);
        for (at, value) in special {
            let at = at.index(x.len());
            x[at] = value;
        }
        (channels, x)
    }
}

fn rule() -> impl Strategy<Value = spikewave::ops::lif::ThresholdRule> {
    prop_oneof![Just(Above), Just(AtOrAbove)]
}

fn check(channels: usize, x: &[f32], encoder: &Encoder<'_>) -> Result<(), TestCaseError> {
    let devices = common::devices();
    let (native, levels) = on(&devices[0], x, channels, encoder);
    let time = x.len() / channels;
    let std = std_on(&devices[0], x, channels);
    let expected: Train = (0..channels).flat_map(|c| reference(&x[c * time..][..time], encoder, std[c])).collect();
    prop_assert!(native == expected, "the native path differs from the definition");
    for device in &devices[1..] {
        let (train, on_it) = on(device, x, channels, encoder);
        prop_assert!(train == native, "spikes on {}", device.name());
        // Which NaN stands for "no level yet" is the driver's affair.
        let same = |(a, b): (&u32, &u32)| a == b || f32::from_bits(*a).is_nan() && f32::from_bits(*b).is_nan();
        prop_assert!(levels.iter().zip(&on_it).all(same), "levels on {}", device.name());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn contrast_on_every_device(
        (channels, x) in signal(),
        thresholds in prop::collection::vec(0.01f32..1.5, 1..5),
        rule in rule(),
        zero in any::<bool>(),
        normalise in any::<bool>(),
    ) {
        let first = if zero { First::Zero } else { First::Itself };
        check(channels, &x, &Encoder::Contrast(&TemporalContrast { thresholds, rule, first, normalise }))?;
    }

    #[test]
    fn step_forward_on_every_device(
        (channels, x) in signal(),
        threshold in 0.01f32..1.0,
        rule in rule(),
        start in prop_oneof![
            Just(Start::FirstSample), Just(Start::RoundedFirstSample), (-1f32..1.0).prop_map(Start::Value),
        ],
        normalise in any::<bool>(),
    ) {
        check(channels, &x, &Encoder::Step(&StepForward { threshold, rule, start, normalise }))?;
    }
}

#[test]
fn long_signals_are_split_and_keep_their_level() {
    let x = noise(5, 2 * 40_000);
    let encoder = StepForward::new(0.3);
    let devices = common::devices();
    let native = on(&devices[0], &x, 2, &Encoder::Step(&encoder));
    assert!(native.0[0][39_000..].iter().any(|s| *s));
    for device in &devices[1..] {
        assert!(on(device, &x, 2, &Encoder::Step(&encoder)) == native, "on {}", device.name());
    }
}

#[test]
fn a_changed_sample_is_caught() {
    let (channels, time) = (3, 400);
    // Up and down by exactly the threshold, sample after sample.
    let x: Vec<f32> = (0..channels * time).map(|i| (i % 12).min(12 - i % 12) as f32).collect();
    let contrast = TemporalContrast::new(1.0);
    let step = StepForward { rule: AtOrAbove, ..StepForward::new(1.0) };
    for device in common::devices() {
        for encoder in [Encoder::Contrast(&contrast), Encoder::Step(&step)] {
            let before = on(&device, &x, channels, &encoder).0;
            let mut changed = x.clone();
            // A sample of channel 1 on the way up falls short of the threshold by the least f32.
            let at = time + (350..time).find(|t| (time + t) % 12 == 3).unwrap();
            changed[at] = changed[at].next_down();
            let after = on(&device, &changed, channels, &encoder).0;
            let differ: Vec<usize> = (0..before.len()).filter(|&r| before[r] != after[r]).collect();
            // A level that lags turns later, too: its OFF row changes with the ON row.
            let expected: &[usize] = if matches!(encoder, Encoder::Step(_)) { &[2, 3] } else { &[2] };
            assert_eq!(differ, expected, "rows that changed on {}", device.name());
        }
    }
}

#[test]
fn bounds_checks_do_not_change_the_bits() {
    // With the shader compiler's checks every index is clamped: equal bits show that none ever left its tensor.
    let x = noise(3, 67 * 333);
    let contrast = TemporalContrast { normalise: true, ..TemporalContrast::phase_preserving() };
    let step = StepForward { normalise: true, ..StepForward::new(0.5) };
    for encoder in [Encoder::Contrast(&contrast), Encoder::Step(&step)] {
        let native = on(&common::devices()[0], &x, 67, &encoder);
        for device in &common::open_all(&DeviceOptions { checked: true, poison: true, ..DeviceOptions::default() })[1..]
        {
            assert!(on(device, &x, 67, &encoder) == native, "on {}", device.name());
        }
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    let x = noise(9, 7 * 30_000);
    let run = |threads| {
        let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) };
        let device = Device::open(&options).unwrap();
        let encoder = TemporalContrast { normalise: true, ..TemporalContrast::phase_preserving() };
        (on(&device, &x, 7, &Encoder::Contrast(&encoder)), std_on(&device, &x, 7).iter().sum::<f32>().to_bits())
    };
    assert!(run(1) == run(3));
}

#[test]
fn arguments_out_of_their_domain() {
    let device = &common::devices()[0];
    let mut rec = device.recording("bad");
    let x = rec.input::<f32>("x", 12).unwrap();
    let words = rec.scratch::<u32>("words", 6).unwrap();
    let level = rec.scratch::<f32>("level", 3).unwrap();
    let events = Events::Packed(words);
    let mut refused = |channels: usize, thresholds: Vec<f32>, word: &str| {
        let encoder = TemporalContrast { thresholds, ..TemporalContrast::new(1.0) };
        let error = temporal_contrast(&mut rec, x, channels, &encoder, events).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(5, vec![1.0], "channels");
    refused(0, vec![1.0], "channels");
    refused(3, vec![], "thresholds");
    refused(3, vec![1.0; 5], "thresholds");
    refused(3, vec![0.0], "threshold");
    refused(3, vec![f32::NAN], "threshold");
    refused(3, vec![1.0, 2.0], "events");
    let mut refused = |encoder: StepForward, level, word: &str| {
        let error = step_forward(&mut rec, x, 3, &encoder, level, events).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(StepForward::new(-1.0), level, "threshold");
    refused(StepForward { start: Start::Value(f32::NAN), ..StepForward::new(1.0) }, level, "start");
    refused(StepForward::new(1.0), x, "level");
}
