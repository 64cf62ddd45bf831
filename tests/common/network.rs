//! Neurons without synapses, run for many steps.
#![allow(dead_code, reason = "each test binary uses a part")]

use spikewave::device::{Control, Device};
use spikewave::ops::{Bus, NeuronPopulation, NeuronVariable, Neurons, StateProbe};

/// What is simulated.
pub struct Net {
    pub dt: f64,
    pub planes: u32,
    pub seed: u64,
    pub populations: Vec<NeuronPopulation>,
}

/// What a run leaves behind.
#[derive(Clone, PartialEq)]
pub struct Ran {
    /// (step, neuron), ascending.
    pub spikes: Vec<(u32, u32)>,
    /// The words of all states, by name.
    pub states: Vec<(String, Vec<u32>)>,
    /// The probed values after each step, as bits.
    pub traces: Vec<Vec<u32>>,
}

impl Ran {
    pub fn steps_of(&self, neuron: u32) -> Vec<u32> {
        self.spikes.iter().filter(|s| s.1 == neuron).map(|s| s.0).collect()
    }

    /// Probe `i` after each step.
    pub fn trace(&self, i: usize) -> Vec<f32> {
        self.traces.iter().map(|row| f32::from_bits(row[i])).collect()
    }
}

impl Net {
    /// Runs `total` steps in recordings of `steps`, with `input(step, plane, neuron)` and probes of (population,
    /// variable, neuron of the population).
    pub fn run(
        &self,
        device: &Device,
        total: u32,
        steps: u32,
        probes: &[(usize, NeuronVariable, u32)],
        input: &dyn Fn(u32, u32, u32) -> i32,
    ) -> Ran {
        let stride = self.populations.iter().map(|p| (p.first + p.size).next_multiple_of(32)).max().unwrap();
        let planes = self.planes;
        let mut rec = device.recording("net");
        let bus = Bus::new(&mut rec, stride, steps, 1, planes, true).unwrap();
        let neurons = Neurons::new(&mut rec, &bus, self.dt, &self.populations).unwrap();
        let words = (planes * steps * stride) as usize;
        let feed = rec.input::<i32>("input", words).unwrap();
        rec.copy(feed, 0, bus.drive.unwrap(), 0, words).unwrap();
        let state_probes: Vec<StateProbe> = probes
            .iter()
            .map(|&(population, variable, neuron)| {
                let at = neurons.value(population, variable).unwrap();
                StateProbe::new(&mut rec, &bus, at.tensor, &[at.first as u32 + neuron], 1).unwrap()
            })
            .collect();
        for k in 0..steps {
            neurons.step(&mut rec, &bus, k).unwrap();
            state_probes.iter().for_each(|probe| probe.step(&mut rec, &bus, k).unwrap());
        }
        rec.download(bus.raster).unwrap();
        neurons.states().iter().for_each(|(_, t)| rec.download(*t).unwrap());
        state_probes.iter().for_each(|probe| rec.download(probe.samples()).unwrap());
        let mut prepared = device.prepare(&rec).unwrap();
        let mut ran = Ran { spikes: Vec::new(), states: Vec::new(), traces: Vec::new() };
        for first in (0..total).step_by(steps as usize) {
            let count = steps.min(total - first);
            let mut values = vec![0i32; words];
            for (plane, k) in (0..planes).flat_map(|plane| (0..count).map(move |k| (plane, k))) {
                for n in 0..stride {
                    values[((plane * steps + k) * stride + n) as usize] = input(first + k, plane, n);
                }
            }
            let clock = Bus::clock(first, count, self.seed);
            let out = prepared.run(&[bus.clock.feed(&clock), feed.feed(&values)], &Control::default()).unwrap();
            let raster = out.get(bus.raster).unwrap();
            for k in 0..steps {
                let row = &raster[(k * stride / 32) as usize..][..(stride / 32) as usize];
                let spiked = (0..stride).filter(|n| row[(n / 32) as usize] >> (n % 32) & 1 == 1);
                ran.spikes.extend(spiked.map(|n| (first + k, n)));
                if k < count {
                    let row = state_probes.iter().map(|p| out.get(p.samples()).unwrap()[k as usize]);
                    ran.traces.push(row.collect());
                }
            }
            ran.states = neurons.states().into_iter().map(|(s, t)| (s, out.get(t).unwrap().to_vec())).collect();
        }
        ran
    }
}
