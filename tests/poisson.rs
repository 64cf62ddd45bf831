//! Poisson input: Philox's words, the distribution, independence, and equal numbers on every device.

mod common;

use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::{Bus, MAX_POISSON_MEAN, PoissonInput, PoissonTable, poisson_drive};
use spikewave::random::philox4x32;

const SEED: u64 = 0x0123_4567_89ab_cdef;

fn input(first: u32, size: u32) -> PoissonInput {
    PoissonInput { first, size, stream: 0, mean: 1.28, weight: 1, plane: 0, start: 0, stop: u32::MAX }
}

/// The drive of a recording of `steps` steps, of which a run carries out `count` from `first` on.
struct Drawn {
    stride: u32,
    planes: u32,
    steps: u32,
    first: u32,
    count: u32,
    seed: u64,
}

impl Default for Drawn {
    fn default() -> Self {
        Self { stride: 64, planes: 1, steps: 8, first: 0, count: 8, seed: SEED }
    }
}

impl Drawn {
    fn on(&self, device: &Device, inputs: &[PoissonInput]) -> Vec<i32> {
        let mut rec = device.recording("poisson");
        let bus = Bus::new(&mut rec, self.stride, self.steps, 1, self.planes, true).unwrap();
        for input in inputs {
            poisson_drive(&mut rec, &bus, input).unwrap();
        }
        let drive = bus.drive.unwrap();
        rec.download(drive).unwrap();
        let clock = Bus::clock(self.first, self.count, self.seed);
        let out = device.prepare(&rec).unwrap().run(&[bus.clock.feed(&clock)], &Control::default()).unwrap();
        out.get(drive).unwrap().to_vec()
    }
}

fn native() -> Device {
    Device::open(&DeviceOptions::new(Choice::Cpu)).unwrap()
}

/// What the contract says neuron `i` gets in step `n`: another way than either kernel's.
fn expected(input: &PoissonInput, seed: u64, n: u32, i: u32) -> i32 {
    if n < input.start || n >= input.stop {
        return 0;
    }
    let table = PoissonTable::new(input.mean).unwrap();
    let words = philox4x32([n / 4, i, input.stream, 0x8000_0001], [seed as u32, (seed >> 32) as u32]);
    let word = words[(n % 4) as usize];
    let events = table.base as usize + table.thresholds.iter().filter(|t| **t <= word).count();
    input.weight * events as i32
}

#[test]
fn words_of_keys_streams_and_steps_of_all_sizes_are_philoxs() {
    // Of the words, 400 thresholds show 8 bits; on the host, the generator gives the published answers.
    let mut random = common::SplitMix(5);
    let mut word = || ((random.next() * 4_294_967_296.0) as u32) >> (random.next() * 32.0) as u32;
    let seeds = [0, u64::MAX, 0x299f_31d0_a409_3822].into_iter();
    let cases: Vec<(u64, u32, u32)> = seeds
        .chain((0..30).map(|i| SEED.rotate_left(2 * i)))
        .map(|seed| (seed, word(), word().min(u32::MAX - 9)))
        .collect();
    for device in common::devices() {
        for &(seed, stream, first) in &cases {
            let input = PoissonInput { stream, mean: MAX_POISSON_MEAN, ..input(0, 64) };
            let drive = Drawn { seed, first, ..Drawn::default() }.on(&device, std::slice::from_ref(&input));
            for (i, found) in drive.iter().enumerate() {
                let (k, i) = (i as u32 / 64, i as u32 % 64);
                let what =
                    format!("seed {seed:x}, stream {stream}, step {first} + {k}, neuron {i} on {}", device.name());
                assert_eq!(*found, expected(&input, seed, first + k, i), "{what}");
            }
        }
    }
}

#[test]
fn the_last_steps_are_drawn_like_all_others() {
    // Of the step behind the last, 2^32 - 1, there is nothing: `stop` cannot be beyond it.
    for (first, steps, count) in [(u32::MAX - 6, 9, 6), (u32::MAX - 6, 9, 9), (u32::MAX - 1, 1, 1), (u32::MAX, 5, 5)] {
        let input = PoissonInput { mean: 50.0, ..input(0, 64) };
        let drawn = Drawn { first, steps, count, ..Drawn::default() };
        for device in common::devices() {
            let drive = drawn.on(&device, std::slice::from_ref(&input));
            for (at, found) in drive.iter().enumerate() {
                let (k, i) = (at as u32 / 64, at as u32 % 64);
                let step = first.checked_add(k).filter(|_| k < count);
                let must = step.map_or(0, |n| expected(&input, SEED, n, i));
                assert_eq!(
                    *found,
                    must,
                    "{count} of {steps} steps from {first}: step {k}, neuron {i} on {}",
                    device.name()
                );
            }
        }
    }
}

#[test]
fn every_device_draws_what_the_contract_says() {
    // Populations of every size around the vectors' and workgroups'; tables of one threshold to hundreds; both planes.
    let stride = 1184;
    let inputs = [
        PoissonInput { weight: 7, ..input(0, 1) },
        PoissonInput { stream: 1, weight: -3, mean: 0.0008, ..input(32, 33) },
        PoissonInput { stream: 2, weight: 100_000, mean: 2.32, ..input(96, 255) },
        PoissonInput { stream: 3, mean: 60.0, plane: 1, ..input(352, 257) },
        PoissonInput { stream: 4, weight: 1_500_000, mean: MAX_POISSON_MEAN, plane: 1, ..input(640, 16) },
        PoissonInput { stream: u32::MAX, mean: 1e-4, ..input(672, 512) },
    ];
    for (first, steps, count) in [(0, 1, 1), (3, 9, 9), (7, 6, 6), (1_000_001, 10, 7), (2, 5, 0)] {
        let drawn = Drawn { stride, planes: 2, steps, first, count, ..Drawn::default() };
        let mut oracle = vec![0; (2 * steps * stride) as usize];
        for input in &inputs {
            for k in 0..count {
                for i in 0..input.size {
                    let at = (input.plane * steps + k) * stride + input.first + i;
                    oracle[at as usize] = expected(input, SEED, first + k, i);
                }
            }
        }
        for device in common::devices() {
            let drive = drawn.on(&device, &inputs);
            assert!(drive == oracle, "steps {first}..{} on {}", first + count, device.name());
        }
    }
}

#[test]
fn large_populations_are_drawn_alike_by_any_number_of_threads() {
    let (stride, size) = (8192, 8191);
    let drawn = Drawn { stride, steps: 40, first: 5, count: 39, ..Drawn::default() };
    let inputs = [input(0, size), PoissonInput { stream: 1, mean: 300.0, weight: -2, ..input(0, size) }];
    let mut oracle = vec![0; (40 * stride) as usize];
    for k in 0..39 {
        for i in 0..size {
            let at = (k * stride + i) as usize;
            oracle[at] = inputs.iter().map(|input| expected(input, SEED, 5 + k, i)).sum();
        }
    }
    for threads in [1, 2, 5] {
        let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) };
        assert!(drawn.on(&Device::open(&options).unwrap(), &inputs) == oracle, "{threads} threads");
    }
    for device in common::devices() {
        assert!(drawn.on(&device, &inputs) == oracle, "{}", device.name());
    }
}

#[test]
fn the_same_numbers_however_steps_are_cut_into_recordings() {
    let inputs = [input(0, 50), PoissonInput { start: 6, stop: 21, stream: 1, weight: 1000, ..input(3, 40) }];
    for device in common::devices() {
        let whole = Drawn { steps: 30, count: 30, ..Drawn::default() }.on(&device, &inputs);
        for (steps, counts) in [(1, vec![1; 30]), (7, vec![7, 7, 7, 7, 2]), (16, vec![16, 14]), (30, vec![5, 13, 12])] {
            let mut first = 0;
            for count in counts {
                let part = Drawn { steps, first, count, ..Drawn::default() }.on(&device, &inputs);
                let (done, rest) = part.split_at(64 * count as usize);
                assert_eq!(done, &whole[64 * first as usize..][..done.len()], "{steps} on {}", device.name());
                assert!(rest.iter().all(|x| *x == 0), "{steps} on {}: steps behind the clock's", device.name());
                first += count;
            }
        }
    }
}

#[test]
fn input_starts_and_stops_and_adds_up() {
    for device in common::devices() {
        let drawn = Drawn { steps: 24, first: 10, count: 24, ..Drawn::default() };
        let one = PoissonInput { mean: 50.0, start: 13, stop: 27, ..input(5, 20) };
        let drive = drawn.on(&device, std::slice::from_ref(&one));
        for (k, row) in drive.chunks(64).enumerate() {
            let on = (13..27).contains(&(10 + k as u32));
            // A mean of 50 gives zero once in 10^21 draws.
            let driven = |i: usize| on && (5..25).contains(&i);
            assert!((0..64).all(|i| (row[i] != 0) == driven(i)), "step {} on {}", 10 + k, device.name());
        }
        let other = PoissonInput { stream: 9, weight: -4, ..input(0, 64) };
        let both = drawn.on(&device, &[one.clone(), other.clone()]);
        let alone = drawn.on(&device, &[other]);
        assert!(both.iter().zip(&drive).zip(&alone).all(|((both, a), b)| *both == a + b), "{}", device.name());
    }
}

/// Draws of `size` neurons and `steps` steps.
fn draws(stream: u32, seed: u64, mean: f64, size: u32, steps: u32) -> Vec<i32> {
    let drawn = Drawn { stride: size, steps, count: steps, seed, ..Drawn::default() };
    drawn.on(&native(), &[PoissonInput { stream, mean, ..input(0, size) }])
}

#[test]
fn moments_and_chi_square_of_the_distribution() {
    let (size, steps) = (1024, 1000);
    for (stream, mean) in [(0, 0.0008), (1, 0.3), (2, 1.28), (3, 2.32), (4, 17.5), (5, 250.0), (6, 1000.0)] {
        let x = draws(stream, SEED, mean, size, steps);
        let n = x.len() as f64;
        let average = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let central = |p: i32| x.iter().map(|x| (f64::from(*x) - mean).powi(p)).sum::<f64>() / n;
        // Five standard errors; the fourth and sixth central moments are m + 3 m² and m + 25 m² + 15 m³.
        let fourth = mean + 3.0 * mean * mean;
        let sixth = mean + 25.0 * mean * mean + 15.0 * mean * mean * mean;
        assert!((average - mean).abs() < 5.0 * (mean / n).sqrt(), "{mean}: mean {average}");
        assert!(
            (central(2) - mean).abs() < 5.0 * ((fourth - mean * mean) / n).sqrt(),
            "{mean}: variance {}",
            central(2)
        );
        assert!((central(3) - mean).abs() < 5.0 * ((sixth - mean * mean) / n).sqrt(), "{mean}: third {}", central(3));

        // Cells of at least 20 expected draws, the tails gathered in one each.
        let largest = *x.iter().max().unwrap() as usize;
        let mut observed = vec![0.0; largest + 2];
        x.iter().for_each(|k| observed[*k as usize] += 1.0);
        let (mut cell, mut chi_square, mut freedom) = ((0.0, 0.0), 0.0, -1.0);
        let (mut log_p, mut rest) = (-mean, n);
        for (k, count) in observed.iter().enumerate() {
            cell = (cell.0 + count, cell.1 + n * log_p.exp());
            rest -= n * log_p.exp();
            log_p += mean.ln() - ((k + 1) as f64).ln();
            if cell.1 >= 20.0 && rest >= 20.0 {
                chi_square += (cell.0 - cell.1).powi(2) / cell.1;
                freedom += 1.0;
                cell = (0.0, 0.0);
            }
        }
        cell.1 += rest;
        chi_square += (cell.0 - cell.1).powi(2) / cell.1;
        freedom += 1.0;
        assert!(freedom >= 1.0, "{mean}: one cell");
        // Wilson & Hilferty's normal approximation.
        let z = ((chi_square / freedom).cbrt() - (1.0 - 2.0 / (9.0 * freedom))) / (2.0 / (9.0 * freedom)).sqrt();
        assert!(z.abs() < 4.5, "{mean}: chi-square {chi_square} of {freedom} degrees, z {z}");
    }
}

#[test]
fn neurons_steps_streams_and_seeds_are_independent() {
    let (size, steps, mean) = (512u32, 512u32, 1.28);
    let x = draws(3, SEED, mean, size, steps);
    let n = size as usize;
    let correlation = |pairs: &mut dyn Iterator<Item = (i32, i32)>| {
        let (mut sum, mut count) = (0.0, 0.0);
        for (a, b) in pairs {
            sum += (f64::from(a) - mean) * (f64::from(b) - mean);
            count += 1.0;
        }
        sum / mean / f64::sqrt(count)
    };
    let at = |step: usize, neuron: usize| x[step * n + neuron];
    // Steps apart, within a block of four and beyond, and neurons apart.
    for (steps, neurons) in
        [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (8, 0), (0, 1), (0, 2), (0, 16), (1, 1), (4, 1), (3, 16)]
    {
        let mut pairs = (0..n - steps)
            .flat_map(|k| (0..n - neurons).map(move |i| (k, i)))
            .map(|(k, i)| (at(k, i), at(k + steps, i + neurons)));
        let z = correlation(&mut pairs);
        assert!(z.abs() < 4.5, "{steps} steps, {neurons} neurons apart: {z}");
    }
    // Every neuron's and every step's sum scatters as sums of independent draws do.
    for (what, sums) in [
        ("neurons", (0..n).map(|i| (0..n).map(|k| at(k, i)).sum()).collect::<Vec<i32>>()),
        ("steps", (0..n).map(|k| (0..n).map(|i| at(k, i)).sum()).collect()),
    ] {
        let expected = mean * n as f64;
        let chi_square: f64 = sums.iter().map(|s| (f64::from(*s) - expected).powi(2) / expected).sum();
        let z = (chi_square - n as f64) / (2.0 * n as f64).sqrt();
        assert!(z.abs() < 4.5, "{what}: {z}");
    }
    for (what, y) in [
        ("streams", draws(4, SEED, mean, size, steps)),
        ("seeds", draws(3, SEED + 1, mean, size, steps)),
        ("seeds' high words", draws(3, SEED + (1 << 32), mean, size, steps)),
    ] {
        let z = correlation(&mut x.iter().copied().zip(y.iter().copied()));
        assert!(z.abs() < 4.5, "{what}: {z}");
        assert!(x != y, "{what}");
    }
}

#[test]
fn bad_inputs_are_refused() {
    let device = native();
    let mut rec = device.recording("poisson");
    let bus = Bus::new(&mut rec, 64, 8, 1, 2, true).unwrap();
    for (input, word) in [
        (PoissonInput { mean: 1000.5, ..input(0, 8) }, "mean"),
        (PoissonInput { mean: f64::NAN, ..input(0, 8) }, "mean"),
        (PoissonInput { mean: -1.0, ..input(0, 8) }, "mean"),
        (input(0, 0), "neurons"),
        (input(60, 5), "neurons"),
        (input(u32::MAX, 5), "neurons"),
        (PoissonInput { plane: 2, ..input(0, 8) }, "plane"),
        (PoissonInput { weight: 1 << 28, ..input(0, 8) }, "weight"),
        (PoissonInput { weight: i32::MIN, ..input(0, 8) }, "weight"),
    ] {
        let error = poisson_drive(&mut rec, &bus, &input).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    // The largest weight whose largest draw still fits, on every device.
    let most = PoissonTable::new(1.28).unwrap().most();
    for weight in [i32::MAX / most as i32, -(i32::MAX / most as i32)] {
        let input = PoissonInput { weight, ..input(0, 64) };
        for device in common::devices() {
            let drive = Drawn::default().on(&device, std::slice::from_ref(&input));
            assert!((0..8).all(|k| (0..64).all(|i| drive[64 * k + i] == expected(&input, SEED, k as u32, i as u32))));
        }
    }
    let mut rec = device.recording("no drive");
    let bus = Bus::new(&mut rec, 64, 8, 1, 1, false).unwrap();
    assert!(poisson_drive(&mut rec, &bus, &input(0, 8)).unwrap_err().to_string().contains("driven"));
}
