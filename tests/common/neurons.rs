//! Populations of neurons as tests run them: input from a function, everything they leave behind as data.
#![allow(dead_code, reason = "each test binary uses a part")]

use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::{Bus, NeuronModel, NeuronPopulation, NeuronVariable, Neurons};

/// What is simulated.
#[derive(Clone)]
pub struct Setup {
    pub dt: f64,
    pub planes: u32,
    /// Input comes through the drive instead of the ring.
    pub driven: bool,
    /// Steps of a recording.
    pub steps: u32,
    pub populations: Vec<NeuronPopulation>,
}

impl Setup {
    /// Models one behind the other, at the next multiple of 32 each.
    pub fn new(planes: u32, exponent: i32, models: Vec<(u32, NeuronModel)>) -> Self {
        let mut setup = Self { dt: 0.1, planes, driven: false, steps: 256, populations: Vec::new() };
        for (size, model) in models {
            let population = NeuronPopulation { first: setup.stride(), size, exponent, v_initial: None, model };
            setup.populations.push(population);
        }
        setup
    }

    pub fn stride(&self) -> u32 {
        self.populations.iter().map(|p| (p.first + p.size).next_multiple_of(32)).max().unwrap_or(0)
    }

    /// The populations' neurons.
    pub fn neurons(&self) -> impl Iterator<Item = u32> + use<'_> {
        self.populations.iter().flat_map(|p| p.first..p.first + p.size)
    }
}

/// What a run leaves behind.
#[derive(Clone, PartialEq)]
pub struct Run {
    /// (step, neuron) in order.
    pub spikes: Vec<(u32, u32)>,
    /// The words of all states, by name.
    pub states: Vec<(String, Vec<u32>)>,
    /// `[steps][populations][size]` membranes, if asked for.
    pub membranes: Vec<Vec<Vec<f64>>>,
}

impl Run {
    /// The spikes of a neuron.
    pub fn of(&self, neuron: u32) -> Vec<u32> {
        self.spikes.iter().filter(|s| s.1 == neuron).map(|s| s.0).collect()
    }
}

/// Input to (step, plane, neuron) in units.
pub type Input<'a> = &'a dyn Fn(u32, u32, u32) -> i32;

/// Runs `total` steps, at most `at_once` of them in a run of the recording; `detailed`: with membranes and spike lists.
pub fn on(device: &Device, setup: &Setup, (total, at_once): (u32, u32), detailed: bool, input: Input<'_>) -> Run {
    let (stride, planes, recorded) = (setup.stride(), setup.planes, setup.steps);
    let slots = recorded.next_power_of_two().max(2);
    let mut rec = device.recording("neurons");
    let bus = Bus::new(&mut rec, stride, recorded, slots - 1, planes, setup.driven).unwrap();
    let neurons = Neurons::new(&mut rec, &bus, setup.dt, &setup.populations).unwrap();
    let words = (if setup.driven { recorded } else { slots } * planes * stride) as usize;
    let feed = rec.input::<u32>("input", words).unwrap();
    match bus.drive {
        Some(drive) => rec.copy(feed.cast::<i32>().unwrap(), 0, drive, 0, words).unwrap(),
        None => rec.copy(feed, 0, bus.ring, 0, words).unwrap(),
    }
    let row = stride as usize;
    let lists = rec.scratch::<u32>("lists", recorded as usize * row).unwrap();
    let trace = rec.scratch::<u32>("membranes", recorded as usize * row).unwrap();
    rec.clear(lists).unwrap();
    rec.clear(trace).unwrap();
    let v = |p: usize| neurons.value(p, NeuronVariable::V).unwrap();
    for k in 0..recorded {
        neurons.step(&mut rec, &bus, k).unwrap();
        let at = k as usize * row;
        if detailed {
            rec.copy(bus.spikes, recorded as usize, lists, at, row).unwrap();
            for (i, p) in setup.populations.iter().enumerate() {
                rec.copy(v(i).tensor, v(i).first, trace, at + p.first as usize, p.size as usize).unwrap();
            }
        }
    }
    for t in [bus.raster, bus.spikes, bus.ring, lists, trace] {
        rec.download(t).unwrap();
    }
    for (_, t) in neurons.states() {
        rec.download(t).unwrap();
    }
    let mut prepared = device.prepare(&rec).unwrap();
    let mut run = Run { spikes: Vec::new(), states: Vec::new(), membranes: Vec::new() };
    let mut counts: Vec<Vec<u32>> = Vec::new();
    let mut first = 0;
    while first < total {
        let steps = at_once.min(total - first).min(recorded);
        let mut values = vec![0u32; words];
        for (k, plane) in (0..steps).flat_map(|k| (0..planes).map(move |plane| (k, plane))) {
            let slot = (first + k) % slots;
            let line = if setup.driven { plane * recorded + k } else { slot * planes + plane };
            let base = line as usize * row;
            for n in setup.neurons() {
                values[base + n as usize] = input(first + k, plane, n) as u32;
            }
        }
        let clock = Bus::clock(first, steps, 0);
        let out = prepared.run(&[bus.clock.feed(&clock), feed.feed(&values)], &Control::default()).unwrap();
        assert!(out.get(bus.ring).unwrap().iter().all(|w| *w == 0), "input is left behind on {}", device.name());
        let (raster, spikes) = (out.get(bus.raster).unwrap(), out.get(bus.spikes).unwrap());
        for k in 0..recorded as usize {
            let bits = &raster[k * row / 32..][..row / 32];
            let now: Vec<u32> = (0..stride).filter(|n| bits[*n as usize / 32] >> (n % 32) & 1 == 1).collect();
            assert_eq!(spikes[k] as usize, now.len(), "spikes of step {k} from {first} on {}", device.name());
            if k >= steps as usize {
                assert!(now.is_empty(), "a spike behind the clock's end on {}", device.name());
                continue;
            }
            if detailed {
                let mut list = out.get(lists).unwrap()[k * row..][..now.len()].to_vec();
                let kinds = neurons.states().len();
                if !matches!(device, Device::Cpu(_)) || kinds > 1 {
                    list.sort_unstable();
                }
                assert_eq!(list, now, "the list of step {k} on {}", device.name());
                let membranes = setup.populations.iter().enumerate().map(|(i, p)| {
                    let of = |n: u32| f32::from_bits(out.get(trace).unwrap()[k * row + (p.first + n) as usize]);
                    (0..p.size).map(|n| f64::from(of(n)) + at(&v(i).offset, n as usize)).collect()
                });
                run.membranes.push(membranes.collect());
            }
            run.spikes.extend(now.into_iter().map(|n| (first + k as u32, n)));
        }
        first += steps;
        run.states = neurons.states().into_iter().map(|(s, t)| (s, out.get(t).unwrap().to_vec())).collect();
        counts = (setup.populations.iter().enumerate())
            .map(|(i, p)| {
                let at = neurons.value(i, NeuronVariable::SpikeCount).unwrap();
                out.get(at.tensor).unwrap()[at.first..][..p.size as usize].to_vec()
            })
            .collect();
    }
    for (p, counts) in setup.populations.iter().zip(counts) {
        for (n, count) in counts.into_iter().enumerate() {
            let spikes = run.spikes.iter().filter(|s| s.1 == p.first + n as u32).count();
            assert_eq!(count as usize, spikes, "the count of neuron {n} on {}", device.name());
        }
    }
    run
}

/// A parameter of a neuron.
pub fn at(parameter: &spikewave::ops::lif::PerNeuron, i: usize) -> f64 {
    match parameter {
        spikewave::ops::lif::PerNeuron::Shared(v) => *v,
        spikewave::ops::lif::PerNeuron::Each(v) => v[i],
    }
}

/// The native path on so many threads.
pub fn cpu(threads: usize) -> Device {
    Device::open(&DeviceOptions { poison: true, threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) }).unwrap()
}
