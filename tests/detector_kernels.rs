//! The spiking detector's own kernels on every device, against plain references.
//!
//! Evidence and weights are small integers, whose sums and products f32 holds exactly: equal scores are equal on every
//! device, and the first of equals is one and the same. Roots and sums of other weights are compared within rounding.

mod common;

use std::ops::Range;

use spikewave::device::{Control, Device};
use spikewave::ops::{self, event_words, lif::spike_words};
use spikewave::random::Random;
use spikewave::recording::Recording;

/// Bits that are set with this probability; those past `length` in a row's last word are set, and mean nothing.
fn trains(random: &mut Random, rows: usize, length: usize, probability: f64) -> Vec<u32> {
    let words = length.div_ceil(32);
    let mut out = vec![0; rows * words];
    for (i, word) in out.iter_mut().enumerate() {
        for bit in 0..32 {
            let past = i % words * 32 + bit >= length;
            *word |= u32::from(past || random.uniform() < probability) << bit;
        }
    }
    out
}

/// y\[t, k\] in f64.
fn drive_reference(events: &[u32], neurons: usize, time: usize, weight: &[f32]) -> Vec<f64> {
    let words = event_words(time);
    let spiked = |row: usize, t: usize| events[row * words + t / 32] >> (t % 32) & 1 == 1;
    let sum = |t: usize, k: usize| {
        let rows = weight.iter().enumerate().filter(|(r, _)| spiked(k * weight.len() + r, t));
        rows.map(|(_, w)| f64::from(*w)).sum::<f64>()
    };
    (0..time * neurons).map(|i| sum(i / neurons, i % neurons)).collect()
}

fn drive(device: &Device, events: &[u32], neurons: usize, time: usize, weight: &[f32]) -> Vec<f32> {
    let mut rec = device.recording("events to drive");
    let input = rec.input("events", events.len()).unwrap();
    let y = ops::event_drive(&mut rec, input, neurons, time, weight).unwrap();
    rec.download(y).unwrap();
    let out = device.prepare(&rec).unwrap().run(&[input.feed(events)], &Control::default()).unwrap();
    out.get(y).unwrap().to_vec()
}

/// Rounding of a sum of `rows` f32, in units of the sum of magnitudes.
fn drive_agrees(got: &[f32], want: &[f64], weight: &[f32]) -> bool {
    let magnitude: f64 = weight.iter().map(|w| f64::from(w.abs())).sum();
    let tolerance = weight.len() as f64 * f64::from(f32::EPSILON) * magnitude;
    got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (f64::from(*g) - w).abs() <= tolerance)
}

#[test]
fn events_become_the_drive_of_neurons() {
    for device in common::devices() {
        let mut random = Random::new(11, 0);
        for (neurons, rows, time) in
            [(1, 1, 1), (1, 1, 32), (3, 2, 31), (2, 5, 33), (7, 12, 64), (64, 1, 65), (65, 3, 100), (32, 12, 4097)]
        {
            let events = trains(&mut random, neurons * rows, time, 0.1);
            let exact: Vec<f32> = (0..rows).map(|r| r as f32 - 2.0).collect();
            let rounded: Vec<f32> = (0..rows).map(|_| random.normal() as f32).collect();
            for weight in [exact, rounded] {
                let got = drive(&device, &events, neurons, time, &weight);
                let want = drive_reference(&events, neurons, time, &weight);
                let case = format!("{neurons} × {rows} × {time} on {}", device.name());
                assert!(drive_agrees(&got, &want, &weight), "{case}");
            }
        }
    }
}

#[test]
fn neurons_without_events_are_not_driven() {
    for device in common::devices() {
        let got = drive(&device, &vec![0; 5 * 4 * event_words(77)], 5, 77, &[1.0, 2.0, 3.0, 4.0]);
        assert!(got.len() == 5 * 77 && got.iter().all(|v| v.to_bits() == 0), "{}", device.name());
    }
}

#[test]
fn one_changed_event_changes_the_drive() {
    let (neurons, rows, time) = (5, 3, 70);
    let weight = [1.0, 2.0, 4.0];
    let mut events = trains(&mut Random::new(12, 0), neurons * rows, time, 0.1);
    let before = drive_reference(&events, neurons, time, &weight);
    // Neuron 3, its last train, sample 69.
    events[(3 * rows + 2) * event_words(time) + 2] ^= 1 << 5;
    for device in common::devices() {
        let got = drive(&device, &events, neurons, time, &weight);
        assert!(!drive_agrees(&got, &before, &weight), "{}", device.name());
        assert!(drive_agrees(&got, &drive_reference(&events, neurons, time, &weight), &weight), "{}", device.name());
        let changed: Vec<usize> = (0..got.len()).filter(|i| f64::from(got[*i]) != before[*i]).collect();
        assert_eq!(changed, [69 * neurons + 3], "{}", device.name());
    }
}

/// What `triggers` is asked for.
#[derive(Debug, Clone)]
struct Case {
    neurons: usize,
    time: usize,
    range: Range<usize>,
    window: usize,
    reach: usize,
}

impl Case {
    fn new(neurons: usize, time: usize, range: Range<usize>, window: usize, reach: usize) -> Self {
        Self { neurons, time, range, window, reach }
    }
}

/// Score, neuron, the two places and the spike's of one window.
type Best = (f64, [u32; 4]);

/// Every pair looked at; integer evidence makes the comparison of products exact.
fn triggers_reference(case: &Case, spikes: &[u32], evidence: [&[f32]; 2]) -> Vec<Best> {
    let Case { neurons, range, window, reach, .. } = case.clone();
    let words = spike_words(neurons);
    let mut out = Vec::new();
    for begin in range.clone().step_by(window) {
        let mut best: (f64, [u32; 4]) = (0.0, [0, begin as u32, begin as u32, begin as u32]);
        for t in begin..(begin + window).min(range.end) {
            for k in (0..neurons).filter(|k| spikes[t * words + k / 32] >> (k % 32) & 1 == 1) {
                let near = t.saturating_sub(reach).max(range.start)..(t + reach + 1).min(range.end);
                let highest = |e: &[f32]| {
                    let first_of = |a: usize, b: usize| if e[b * neurons + k] > e[a * neurons + k] { b } else { a };
                    let at = near.clone().reduce(first_of).unwrap();
                    (f64::from(e[at * neurons + k]).max(0.0), at as u32)
                };
                let ((a, at_a), (b, at_b)) = (highest(evidence[0]), highest(evidence[1]));
                if a * b > best.0 {
                    best = (a * b, [k as u32, at_a, at_b, t as u32]);
                }
            }
        }
        out.push((best.0.sqrt(), best.1));
    }
    out
}

fn triggers(device: &Device, case: &Case, spikes: &[u32], evidence: [&[f32]; 2]) -> Vec<Best> {
    let mut rec = device.recording("triggers");
    let tensors = evidence.map(|e| rec.input::<f32>("evidence", e.len()).unwrap());
    let input = rec.input("spikes", spikes.len()).unwrap();
    let Case { neurons, range, window, reach, .. } = case.clone();
    let found = ops::triggers(&mut rec, input, tensors, neurons, range, window, reach).unwrap();
    rec.download(found.score).unwrap();
    rec.download(found.at).unwrap();
    let feeds = [input.feed(spikes), tensors[0].feed(evidence[0]), tensors[1].feed(evidence[1])];
    let out = device.prepare(&rec).unwrap().run(&feeds, &Control::default()).unwrap();
    let (score, at) = (out.get(found.score).unwrap(), out.get(found.at).unwrap());
    assert_eq!((score.len(), at.len()), (found.windows, 4 * found.windows));
    score.iter().zip(at.chunks(4)).map(|(s, at)| (f64::from(*s), [at[0], at[1], at[2], at[3]])).collect()
}

/// Places equal, scores within the rounding of a root (WGSL inherits it from 1/inversesqrt: a few units).
fn triggers_agree(got: &[Best], want: &[Best]) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g.0 - w.0).abs() <= 1e-6 * w.0 && g.1 == w.1)
}

/// Evidence from a few integers, so that ties are common; some negative.
fn evidence(random: &mut Random, n: usize) -> Vec<f32> {
    (0..n).map(|_| (random.uniform() * 24.0).floor() as f32 - 2.0).collect()
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(1, 1, 0..1, 1, 0),
        Case::new(1, 50, 0..50, 50, 3),
        Case::new(3, 100, 7..93, 16, 5),
        Case::new(31, 257, 1..256, 128, 0),
        Case::new(32, 500, 20..480, 33, 61),
        Case::new(33, 300, 0..300, 1, 2),
        Case::new(65, 999, 100..901, 250, 9),
        Case::new(32, 9000, 512..8488, 256, 61),
        // A window longer than the range, a reach beyond both of its ends.
        Case::new(5, 60, 20..40, 1000, 100),
    ]
}

#[test]
fn the_best_coincidence_of_each_window_is_found_and_ties_go_to_the_first() {
    for device in common::devices() {
        let mut random = Random::new(13, 0);
        for case in cases() {
            for probability in [0.01, 0.5] {
                let mut spikes = Vec::new();
                for _ in 0..case.time {
                    spikes.extend(trains(&mut random, 1, case.neurons, probability));
                }
                let (a, b) =
                    (evidence(&mut random, case.time * case.neurons), evidence(&mut random, case.time * case.neurons));
                let got = triggers(&device, &case, &spikes, [&a, &b]);
                let want = triggers_reference(&case, &spikes, [&a, &b]);
                assert!(triggers_agree(&got, &want), "{case:?} on {}:\n{got:?}\n{want:?}", device.name());
            }
        }
    }
}

#[test]
fn windows_without_a_spike_or_without_evidence_have_no_score() {
    for device in common::devices() {
        for case in cases() {
            let n = case.time * case.neurons;
            let quiet: Vec<Best> =
                case.range.clone().step_by(case.window).map(|b| (0.0, [0, b as u32, b as u32, b as u32])).collect();
            let words = case.time * spike_words(case.neurons);
            let (none, all) = (vec![0; words], vec![u32::MAX; words]);
            let (loud, silent, negative) = (vec![9.0; n], vec![0.0; n], vec![-3.0; n]);
            // No spike; no evidence in one detector; less than none in both, whose product is positive.
            for (spikes, a, b) in [(&none, &loud, &loud), (&all, &loud, &silent), (&all, &negative, &negative)] {
                let got = triggers(&device, &case, spikes, [a, b]);
                assert!(triggers_agree(&got, &quiet), "{case:?} on {}: {got:?}", device.name());
            }
        }
    }
}

#[test]
fn one_changed_spike_or_evidence_changes_the_trigger() {
    let case = Case::new(33, 400, 50..350, 100, 4);
    let n = case.time * case.neurons;
    let (words, mut random) = (spike_words(case.neurons), Random::new(14, 0));
    let (a, b) = (evidence(&mut random, n), evidence(&mut random, n));
    let spikes = vec![0; case.time * words];
    let before = triggers_reference(&case, &spikes, [&a, &b]);
    // Neuron 32 at sample 200, the first of the second window; then the loudest evidence at the edge of its reach.
    let mut one_more = spikes.clone();
    one_more[200 * words + 1] |= 1;
    let mut louder = a.clone();
    louder[204 * case.neurons + 32] = 100.0;
    let mut too_far = a.clone();
    too_far[205 * case.neurons + 32] = 100.0;
    for device in common::devices() {
        let got = triggers(&device, &case, &one_more, [&a, &b]);
        assert!(!triggers_agree(&got, &before), "{}", device.name());
        let one = triggers_reference(&case, &one_more, [&a, &b]);
        assert!(triggers_agree(&got, &one), "{}", device.name());
        let got = triggers(&device, &case, &one_more, [&louder, &b]);
        assert!(!triggers_agree(&got, &one) && got[1].1[1] == 204, "{}", device.name());
        assert!(triggers_agree(&triggers(&device, &case, &one_more, [&too_far, &b]), &one), "{}", device.name());
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let mut rec = Recording::new("shapes", &Default::default());
    let events = rec.input::<u32>("events", 4 * 2 * event_words(64)).unwrap();
    assert!(ops::event_drive(&mut rec, events, 4, 64, &[1.0, 1.0]).is_ok());
    for (neurons, time, weight) in [
        (0, 64, &[1.0][..]),
        (4, 0, &[1.0, 1.0]),
        (4, 65, &[1.0, 1.0]),
        (3, 64, &[1.0, 1.0]),
        (4, 64, &[1.0]),
        (4, 64, &[]),
    ] {
        assert!(ops::event_drive(&mut rec, events, neurons, time, weight).is_err(), "{neurons} {time} {weight:?}");
    }
    let (neurons, time) = (40, 100);
    let spikes = rec.input::<u32>("spikes", time * spike_words(neurons)).unwrap();
    let a = rec.input::<f32>("a", time * neurons).unwrap();
    let short = rec.input::<f32>("short", time * neurons - 1).unwrap();
    assert!(ops::triggers(&mut rec, spikes, [a, a], neurons, 0..100, 10, 3).is_ok());
    assert!(ops::triggers(&mut rec, spikes, [a, a], 0, 0..100, 10, 3).is_err());
    assert!(ops::triggers(&mut rec, spikes, [a, a], neurons, 0..101, 10, 3).is_err());
    assert!(ops::triggers(&mut rec, spikes, [a, a], neurons, 50..50, 10, 3).is_err());
    assert!(ops::triggers(&mut rec, spikes, [a, a], neurons, 0..100, 0, 3).is_err());
    assert!(ops::triggers(&mut rec, spikes, [a, short], neurons, 0..100, 10, 3).is_err());
    // However long, a window ends with the range, and so does the reach.
    assert!(ops::triggers(&mut rec, spikes, [a, a], neurons, 0..100, usize::MAX, usize::MAX).is_ok());
    // More than a device may loop over in one go.
    let spikes = rec.input::<u32>("long spikes", 9000 * spike_words(neurons)).unwrap();
    let a = rec.input::<f32>("long evidence", 9000 * neurons).unwrap();
    assert!(ops::triggers(&mut rec, spikes, [a, a], neurons, 0..9000, 1000, 90).is_ok());
    assert!(ops::triggers(&mut rec, spikes, [a, a], neurons, 0..9000, 1000, 900).is_err());
}
