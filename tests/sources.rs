//! Neurons that fire by themselves (`poisson_source`, `spike_source`): exactly when they should, on every device.

mod common;

use common::SplitMix;
use common::network::Net;
use spikewave::ops::{Bus, NeuronModel, NeuronPopulation, Neurons};
use spikewave::random::philox4x32;

const SEED: u64 = 0xfeed_0000_0007;

fn population(first: u32, size: u32, model: NeuronModel) -> NeuronPopulation {
    NeuronPopulation { first, size, exponent: 0, v_initial: None, model }
}

fn listed(first: u32, steps: Vec<Vec<u32>>) -> NeuronPopulation {
    population(first, steps.len() as u32, NeuronModel::SpikeSource { steps })
}

fn net(populations: Vec<NeuronPopulation>) -> Net {
    Net { dt: 0.1, planes: 1, seed: SEED, populations }
}

#[test]
fn spike_sources_fire_at_the_listed_steps() {
    let total = 90;
    let mut random = SplitMix(11);
    let mut lists = |size: usize, probability: f64| -> Vec<Vec<u32>> {
        (0..size).map(|_| (0..total + 20).filter(|_| random.next() < probability).collect()).collect()
    };
    let mut sparse = lists(300, 0.02);
    // None at all; the first and the last step; every step; only beyond the end.
    sparse[0] = Vec::new();
    sparse[1] = vec![0, total - 1];
    sparse[2] = (0..total).collect();
    sparse[299] = vec![total, u32::MAX - 1];
    let sets = [sparse, vec![vec![7]], lists(33, 0.5), vec![Vec::new(); 3]];
    let firsts = [0, 320, 352, 416];
    let populations = sets.iter().zip(firsts).map(|(lists, first)| listed(first, lists.clone())).collect();
    let mut expected: Vec<(u32, u32)> = Vec::new();
    for (lists, first) in sets.iter().zip(firsts) {
        for (neuron, steps) in lists.iter().enumerate() {
            expected.extend(steps.iter().filter(|s| **s < total).map(|s| (*s, first + neuron as u32)));
        }
    }
    expected.sort_unstable();
    let net = net(populations);
    for device in common::devices() {
        for steps in [1, 32, total] {
            let ran = net.run(&device, total, steps, &[], &|_, _, _| 0);
            assert!(ran.spikes == expected, "recordings of {steps} steps on {}", device.name());
        }
    }
}

#[test]
fn a_population_without_any_spike_is_silent() {
    let net = net(vec![listed(0, vec![Vec::new(); 40])]);
    for device in common::devices() {
        assert!(net.run(&device, 20, 8, &[], &|_, _, _| 0).spikes.is_empty(), "{}", device.name());
    }
}

#[test]
fn poisson_sources_fire_as_the_contract_says() {
    // Probabilities of 0.05, 0.95, one, none and one in 5000.
    let sources =
        [(0, 257, 512.93, 0), (288, 5, 29_957.0, 1), (320, 32, 1e12, 2), (352, 3, 0.0, 3), (384, 600, 2.0, 9)];
    let populations = sources
        .iter()
        .map(|&(first, size, rate, stream)| population(first, size, NeuronModel::PoissonSource { rate, stream }));
    let net = net(populations.collect());
    let total = 150;
    let mut expected = Vec::new();
    for step in 0..total {
        for (first, size, rate, stream) in sources {
            let limit = (-(-rate * 1e-4f64).exp_m1() * 4_294_967_296.0).round().min(4_294_967_295.0);
            for i in 0..size {
                let words = philox4x32([step, i / 4, stream, 0x8000_0002], [SEED as u32, (SEED >> 32) as u32]);
                if f64::from(words[(i % 4) as usize]) < limit {
                    expected.push((step, first + i));
                }
            }
        }
    }
    assert!(expected.len() > 7000);
    for device in common::devices() {
        for steps in [1, 41, total] {
            let ran = net.run(&device, total, steps, &[], &|_, _, _| 0);
            assert!(ran.spikes == expected, "recordings of {steps} steps on {}", device.name());
        }
    }
}

#[test]
fn rates_of_poisson_sources_and_their_independence() {
    // 1000 neurons for 2 s at 50 spikes/s, twice: two streams.
    let (size, total, rate) = (1000, 20_000, 50.0);
    let source = |first, stream| population(first, size, NeuronModel::PoissonSource { rate, stream });
    let net = net(vec![source(0, 4), source(1024, 5)]);
    let ran = net.run(&common::devices()[0], total, 1000, &[], &|_, _, _| 0);
    let p = -(-rate * 1e-4f64).exp_m1();
    let draws = f64::from(size * total);
    let mut of_neuron = vec![0.0; 2048];
    let mut both = 0.0;
    let spiked: std::collections::HashSet<_> = ran.spikes.iter().copied().collect();
    for (step, neuron) in &ran.spikes {
        of_neuron[*neuron as usize] += 1.0;
        both += f64::from(*neuron < 1024 && spiked.contains(&(*step, neuron + 1024)));
    }
    for (what, counts) in [("first", &of_neuron[..1000]), ("second", &of_neuron[1024..2024])] {
        let all: f64 = counts.iter().sum();
        assert!((all - draws * p).abs() < 4.5 * (draws * p * (1.0 - p)).sqrt(), "{what}: {all} spikes");
        let expected = f64::from(total) * p;
        let chi_square: f64 = counts.iter().map(|n| (n - expected).powi(2) / (expected * (1.0 - p))).sum();
        let z = (chi_square - f64::from(size)) / f64::from(2 * size).sqrt();
        assert!(z.abs() < 4.5, "{what}: scatter of neurons {z}");
    }
    // Neurons of equal number in two streams meet by chance alone.
    assert!((both - draws * p * p).abs() < 4.5 * (draws * p * p).sqrt(), "{both} coincidences");
}

#[test]
fn bad_sources_are_refused() {
    let device = &common::devices()[0];
    let mut rec = device.recording("sources");
    let bus = Bus::new(&mut rec, 64, 4, 1, 1, false).unwrap();
    let poisson = |rate| population(0, 5, NeuronModel::PoissonSource { rate, stream: 0 });
    let with_membrane = NeuronPopulation { v_initial: Some(1.0.into()), ..poisson(1.0) };
    let short = NeuronPopulation { size: 2, ..listed(0, vec![vec![1]]) };
    for (p, word) in [
        (poisson(-1.0), "rate"),
        (poisson(f64::NAN), "rate"),
        (poisson(f64::INFINITY), "rate"),
        (with_membrane, "membrane"),
        (short, "1 lists for 2 neurons"),
        (listed(0, vec![vec![3], vec![5, 5]]), "neuron 1 has step 5 behind step 5"),
        (listed(0, vec![vec![5, 4]]), "neuron 0 has step 4 behind step 5"),
        (listed(0, vec![vec![u32::MAX]]), "2^32"),
    ] {
        let error = Neurons::new(&mut rec, &bus, 0.1, &[p]).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let neurons = Neurons::new(&mut rec, &bus, 0.1, &[poisson(1.0)]).unwrap();
    assert!(neurons.set_offset(0, 1.0).is_err());
}
