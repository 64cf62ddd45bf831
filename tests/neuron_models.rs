//! Conductance-based and Izhikevich's neurons (`iaf_cond_exp`, `izhikevich`): NEST's traces, f64 oracles, and equal bits
//! on every device.

mod common;

use common::SplitMix;
use common::network::{Net, Ran};
use proptest::prelude::*;
use serde_json::Value;
use spikewave::device::{Choice, Device, DeviceOptions};
use spikewave::ops::lif::PerNeuron;
use spikewave::ops::{Bus, IafCondExp, Izhikevich, NeuronModel, NeuronPopulation, NeuronVariable, Neurons};

/// Units of input in these tests: 2^-16 nS or mV.
const EXPONENT: i32 = 16;
const UNIT: f64 = 65_536.0;

fn native() -> Device {
    Device::open(&DeviceOptions { poison: true, ..DeviceOptions::new(Choice::Cpu) }).unwrap()
}

fn population(size: u32, v_initial: Option<PerNeuron>, model: NeuronModel) -> NeuronPopulation {
    NeuronPopulation { first: 0, size, exponent: EXPONENT, v_initial, model }
}

/// A recorded neuron of NEST: its parameters, input by step and sign, spikes (steps from 0), membrane after each step.
struct Recorded {
    neuron: Value,
    input: [Vec<f64>; 2],
    spikes: Vec<u32>,
    v: Vec<f64>,
}

fn recorded(name: &str) -> Recorded {
    let path = format!("{}/tests/data/nest/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let steps = file["steps"].as_u64().unwrap() as usize;
    let mut input = [vec![0.0; steps + 1], vec![0.0; steps + 1]];
    for train in file["inputs"].as_array().unwrap() {
        assert_eq!(train["target"], 0);
        let weight = train["weight"].as_f64().unwrap();
        for stamp in train["steps"].as_array().unwrap() {
            // The update that ends at step n is our step n − 1.
            let at = (stamp.as_u64().unwrap() + train["delay_steps"].as_u64().unwrap()) as usize - 1;
            if at < steps {
                input[usize::from(weight < 0.0)][at] += weight;
            }
        }
    }
    let spikes = file["spike_steps"][0].as_array().unwrap();
    Recorded {
        neuron: file["neurons"][0].clone(),
        input,
        spikes: spikes.iter().map(|n| n.as_u64().unwrap() as u32 - 1).collect(),
        v: file["v_m"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect(),
    }
}

impl Recorded {
    fn number(&self, name: &str) -> f64 {
        self.neuron[name].as_f64().unwrap_or_else(|| panic!("no {name}"))
    }

    /// Runs it for the steps that NEST ran it, with its membrane probed.
    fn run(&self, model: NeuronModel, planes: u32) -> Ran {
        let v_initial = Some(self.number("V_m").into());
        // Weights of a few nS or mV to 5e-9.
        let population = NeuronPopulation { exponent: 24, ..population(1, v_initial, model) };
        let net = Net { dt: 0.1, planes, seed: 0, populations: vec![population] };
        let units = |step: u32, plane: usize| (self.input[plane][step as usize] * f64::from(1 << 24)).round() as i32;
        let input = |step: u32, plane: u32, n: u32| match (n, planes) {
            (0, 2) => units(step, plane as usize),
            (0, _) => units(step, 0) + units(step, 1),
            _ => 0,
        };
        net.run(&native(), self.input[0].len() as u32 - 1, 2000, &[(0, NeuronVariable::V, 0)], &input)
    }
}

#[test]
fn conductances_as_in_nest() {
    let nest = recorded("cond_exp_input");
    let n = |name: &str| PerNeuron::from(nest.number(name));
    let model = IafCondExp {
        c_mem: n("C_m"),
        g_leak: n("g_L"),
        v_rest: n("E_L"),
        v_threshold: n("V_th"),
        v_reset: n("V_reset"),
        t_ref: n("t_ref"),
        e_ex: n("E_ex"),
        e_in: n("E_in"),
        tau_syn_ex: n("tau_syn_ex"),
        tau_syn_in: n("tau_syn_in"),
        i_offset: n("I_e"),
    };
    let ran = nest.run(NeuronModel::IafCondExp(model), 2);
    assert_eq!(ran.steps_of(0), nest.spikes, "spike steps over 10 s");
    assert!(nest.spikes.len() > 100);
    for (k, (v, expected)) in ran.trace(0).iter().zip(&nest.v).enumerate() {
        let v = f64::from(*v) + nest.number("E_L");
        assert!((v - expected).abs() < 1e-5, "step {k}: {v}, NEST has {expected}");
    }
}

#[test]
fn izhikevich_as_in_nest() {
    let nest = recorded("izhikevich_input");
    let n = |name: &str| PerNeuron::from(nest.number(name));
    // What starts at b·v does so in NEST's run too.
    assert!((nest.number("U_m") - nest.number("b") * nest.number("V_m")).abs() < 1e-12);
    let model = Izhikevich { a: n("a"), b: n("b"), c: n("c"), d: n("d"), v_threshold: n("V_th"), i_offset: n("I_e") };
    let ran = nest.run(NeuronModel::Izhikevich(model), 1);
    // An error of 1e-8 in f64 moves NEST's 26th spike by a step too, and then its successors, whose distance from the
    // right ones stays within the scatter of one interval.
    let spikes = ran.steps_of(0);
    assert_eq!(spikes[..24], nest.spikes[..24], "spike steps");
    assert_eq!(spikes.len(), nest.spikes.len(), "spikes over 10 s");
    let furthest = spikes.iter().zip(&nest.spikes).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(spikes.len() > 100 && furthest < 30, "{furthest} steps");
    for (k, (v, expected)) in ran.trace(0).iter().zip(&nest.v).enumerate() {
        // An error is one of time, and seen in the membrane as far as that moves.
        let moves = if k == 0 { 0.0 } else { (expected - nest.v[k - 1]).abs() };
        let v = f64::from(*v) - 62.5;
        assert!((v - expected).abs() < 1e-5 + 1e-4 * moves, "step {k}: {v}, NEST has {expected}");
    }
}

fn random_input(seed: u64, step: u32, plane: u32, n: u32, rate: f64, size: f64) -> i32 {
    let mut random = SplitMix(seed ^ u64::from(step) << 40 ^ u64::from(plane) << 32 ^ u64::from(n));
    let (hit, size) = (random.next() < rate, random.next() * size * UNIT);
    if hit { size as i32 } else { 0 }
}

/// Parameters of conductance-based neurons, one each.
fn conductances(size: u32, seed: u64) -> Vec<IafCondExp<f64>> {
    let mut random = SplitMix(seed);
    let mut of = |from: f64, to: f64| from + (to - from) * random.next();
    (0..size)
        .map(|_| IafCondExp {
            c_mem: of(100.0, 300.0),
            g_leak: of(5.0, 20.0),
            v_rest: of(-75.0, -60.0),
            v_threshold: of(-55.0, -45.0),
            v_reset: of(-80.0, -60.0),
            t_ref: (of(0.0, 6.0) * 10.0).round() / 10.0,
            e_ex: of(-10.0, 10.0),
            e_in: of(-90.0, -70.0),
            tau_syn_ex: of(0.5, 8.0),
            tau_syn_in: of(1.0, 12.0),
            i_offset: of(0.0, 300.0),
        })
        .collect()
}

fn each<T>(of: &[T], value: impl Fn(&T) -> f64) -> PerNeuron {
    of.iter().map(value).collect::<Vec<f64>>().into()
}

fn per_neuron(m: &[IafCondExp<f64>]) -> NeuronModel {
    NeuronModel::IafCondExp(IafCondExp {
        c_mem: each(m, |m| m.c_mem),
        g_leak: each(m, |m| m.g_leak),
        v_rest: each(m, |m| m.v_rest),
        v_threshold: each(m, |m| m.v_threshold),
        v_reset: each(m, |m| m.v_reset),
        t_ref: each(m, |m| m.t_ref),
        e_ex: each(m, |m| m.e_ex),
        e_in: each(m, |m| m.e_in),
        tau_syn_ex: each(m, |m| m.tau_syn_ex),
        tau_syn_in: each(m, |m| m.tau_syn_in),
        i_offset: each(m, |m| m.i_offset),
    })
}

/// A conductance-based neuron in f64, its equations solved by the classical Runge–Kutta method in `parts` of a step.
struct Oracle {
    m: IafCondExp<f64>,
    v: f64,
    g: [f64; 2],
    waiting: u32,
}

impl Oracle {
    fn step(&mut self, dt: f64, parts: u32, input: [f64; 2]) -> bool {
        let m = &self.m;
        let h = dt / f64::from(parts);
        let [mut ex, mut inh] = self.g;
        let mut v = self.v;
        for _ in 0..parts {
            let slope = |v: f64, t: f64| {
                let (ex, inh) = (ex * (-t / m.tau_syn_ex).exp(), inh * (-t / m.tau_syn_in).exp());
                (m.g_leak * (m.v_rest - v) + ex * (m.e_ex - v) + inh * (m.e_in - v) + m.i_offset) / m.c_mem
            };
            let k1 = slope(v, 0.0);
            let k2 = slope(v + h / 2.0 * k1, h / 2.0);
            let k3 = slope(v + h / 2.0 * k2, h / 2.0);
            let k4 = slope(v + h * k3, h);
            v += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4);
            ex *= (-h / m.tau_syn_ex).exp();
            inh *= (-h / m.tau_syn_in).exp();
        }
        self.g = [ex + input[0], inh - input[1]];
        if self.waiting > 0 {
            self.waiting -= 1;
            return false;
        }
        self.v = v;
        let spike = v >= m.v_threshold;
        if spike {
            self.v = m.v_reset;
            self.waiting = (m.t_ref / dt).round() as u32;
        }
        spike
    }
}

#[test]
fn conductances_follow_an_oracle_in_f64() {
    let (size, total) = (70, 3000);
    let m = conductances(size, 21);
    let v_initial = m.iter().map(|m| m.v_rest + 3.0).collect::<Vec<f64>>();
    let input = |step: u32, plane: u32, n: u32| {
        let units = random_input(5, step, plane, n, 0.05, if plane == 0 { 8.0 } else { 20.0 });
        if plane == 0 { units } else { -units }
    };
    let net = Net {
        dt: 0.1,
        planes: 2,
        seed: 0,
        populations: vec![population(size, Some(v_initial.into()), per_neuron(&m))],
    };
    let probes: Vec<_> = [NeuronVariable::V, NeuronVariable::Excitatory, NeuronVariable::Inhibitory]
        .iter()
        .flat_map(|variable| (0..size).map(move |n| (0, *variable, n)))
        .collect();
    let ran = net.run(&native(), total, 500, &probes, &input);
    let (mut spikes, mut worst) = (0, 0.0f64);
    for n in 0..size {
        let model = m[n as usize].clone();
        let mut oracle = Oracle { v: model.v_rest + 3.0, m: model, g: [0.0; 2], waiting: 0 };
        let mut steps = Vec::new();
        for step in 0..total {
            let input = [0, 1].map(|plane| f64::from(input(step, plane, n)) / UNIT);
            if oracle.step(net.dt, 8, input) {
                steps.push(step);
            }
            let value = |row: u32| f64::from(f32::from_bits(ran.traces[step as usize][(row * size + n) as usize]));
            let v = value(0) + oracle.m.v_rest;
            worst = worst.max((v - oracle.v).abs());
            for (row, g) in [(1, oracle.g[0]), (2, oracle.g[1])] {
                assert!((value(row) - g).abs() < 1e-6 * (1.0 + g), "neuron {n}, step {step}: {} nS, {g}", value(row));
            }
        }
        assert_eq!(ran.steps_of(n), steps, "spikes of neuron {n}");
        spikes += steps.len();
    }
    assert!(spikes > 300, "{spikes} spikes");
    assert!(worst < 1e-4, "{worst} mV");
}

#[test]
fn conductances_however_large_pull_the_membrane_to_equilibrium() {
    // A step's discharge from 1e-3 to 3e4 times the membrane's charge, and none at all.
    let jumps = [0.0, 2.0, 60.0, 900.0, 2000.0, 2500.0, 10_000.0];
    let m: Vec<IafCondExp<f64>> = jumps
        .iter()
        .enumerate()
        .map(|(i, _)| IafCondExp {
            v_threshold: 100.0,
            c_mem: if i == 6 { 0.03 } else { 200.0 },
            ..IafCondExp::default()
        })
        .collect();
    let net = Net { dt: 0.1, planes: 2, seed: 0, populations: vec![population(7, None, per_neuron(&m))] };
    for inhibition in [0.0, 0.5] {
        let input = |step: u32, plane: u32, n: u32| match (step, plane, n < 7) {
            (0, 0, true) => (jumps[n as usize] * UNIT) as i32,
            (0, 1, true) => -(jumps[n as usize] * inhibition * UNIT) as i32,
            _ => 0,
        };
        let probes: Vec<_> = (0..7).map(|n| (0, NeuronVariable::V, n)).collect();
        let ran = net.run(&native(), 30, 30, &probes, &input);
        for (n, m) in m.iter().enumerate() {
            let mut oracle = Oracle { v: m.v_rest, m: m.clone(), g: [0.0; 2], waiting: 0 };
            for step in 0..30 {
                let input = [0, 1].map(|plane| f64::from(input(step, plane, n as u32)) / UNIT);
                // Explicit steps of the oracle must be short where the membrane is fast.
                oracle.step(net.dt, if n == 6 { 40_000 } else { 64 }, input);
                let v = f64::from(f32::from_bits(ran.traces[step as usize][n])) + m.v_rest;
                // Small steps: the fourth order. Large ones: what conductances change in a step.
                let least = if n < 4 { 2e-4 } else { 0.2 };
                assert!((v - oracle.v).abs() < least, "{} nS, step {step}: {v} mV, {}", jumps[n], oracle.v);
            }
        }
    }
}

/// A step of Izhikevich's equations as written, in f64: v and u after it, and whether there was a spike; how near it was.
fn izhikevich_step(m: &Izhikevich<f64>, dt: f64, [v, u]: [f64; 2], input: f64) -> ([f64; 2], bool, f64) {
    let moved = v + dt * (0.04 * v * v + 5.0 * v + 140.0 - u + m.i_offset) + input;
    let follows = u + dt * m.a * (m.b * v - u);
    let spike = moved >= m.v_threshold;
    let after = if spike { [m.c, follows + m.d] } else { [moved, follows] };
    (after, spike, (moved - m.v_threshold).abs())
}

#[test]
fn every_step_of_izhikevich_is_that_of_an_oracle_in_f64() {
    // Regularly spiking, intrinsically bursting, chattering, fast spiking, low-threshold, resonator (Izhikevich 2003).
    let known = [
        (0.02, 0.2, -65.0, 8.0),
        (0.02, 0.2, -55.0, 4.0),
        (0.02, 0.2, -50.0, 2.0),
        (0.1, 0.2, -65.0, 2.0),
        (0.02, 0.25, -65.0, 2.0),
        (0.1, 0.26, -65.0, 2.0),
    ];
    let (size, total) = (66u32, 2000);
    let m: Vec<Izhikevich<f64>> = (0..size)
        .map(|n| {
            let (a, b, c, d) = known[n as usize % 6];
            Izhikevich { a, b, c, d, i_offset: 4.0 + f64::from(n) * 0.15, ..Izhikevich::default() }
        })
        .collect();
    let model = NeuronModel::Izhikevich(Izhikevich {
        a: each(&m, |m| m.a),
        b: each(&m, |m| m.b),
        c: each(&m, |m| m.c),
        d: each(&m, |m| m.d),
        v_threshold: each(&m, |m| m.v_threshold),
        i_offset: each(&m, |m| m.i_offset),
    });
    for (planes, dt) in [(1, 0.1), (2, 0.25)] {
        let input = |step: u32, plane: u32, n: u32| {
            let units = random_input(9, step, plane, n, 0.02, 2.0);
            if plane == 0 { units } else { -units }
        };
        let v_initial = (0..size).map(|n| -70.0 + f64::from(n % 10)).collect::<Vec<f64>>();
        let net = Net {
            dt,
            planes,
            seed: 0,
            populations: vec![population(size, Some(v_initial.clone().into()), model.clone())],
        };
        let probes: Vec<_> = [NeuronVariable::V, NeuronVariable::Recovery]
            .iter()
            .flat_map(|variable| (0..size).map(move |n| (0, *variable, n)))
            .collect();
        let ran = net.run(&native(), total, 500, &probes, &input);
        let mut count = 0;
        for n in 0..size {
            let m = &m[n as usize];
            let spikes = ran.steps_of(n);
            let mut now = [v_initial[n as usize], m.b * v_initial[n as usize]];
            for (step, row) in ran.traces.iter().enumerate() {
                // From where the kernel was: errors grow a thousandfold from spike to spike.
                let input: f64 = (0..planes).map(|plane| f64::from(input(step as u32, plane, n)) / UNIT).sum();
                let (expected, spike, distance) = izhikevich_step(m, dt, now, input);
                let value = |variable: u32| f64::from(f32::from_bits(row[(variable * size + n) as usize]));
                let next = [value(0) - 62.5, value(1) - 62.5 * m.b];
                // Half a place of w and r as probed, before and after, and their increments' rounding.
                let bound = 2f64.powi(-24) * (64.0 + 6.0 * (now[0] + 62.5).abs() + (expected[0] - now[0]).abs());
                let spiked = spikes.binary_search(&(step as u32)).is_ok();
                assert!(spiked == spike || distance < bound, "neuron {n}, step {step} of {dt} ms");
                if spiked == spike {
                    let error = [0, 1].map(|i: usize| (next[i] - expected[i]).abs());
                    assert!(error[0] < bound, "neuron {n}, step {step} of {dt} ms: {next:?}, {expected:?}");
                    assert!(error[1] < 4e-6, "neuron {n}, step {step} of {dt} ms: {next:?}, {expected:?}");
                }
                now = next;
                count += u32::from(spiked);
            }
        }
        assert!(count > 400, "{count} spikes");
    }
}

/// Populations of both models around the sizes of vectors, words and tiles, one with values a neuron, one without.
fn mixed() -> Vec<NeuronPopulation> {
    let m = conductances(301, 8);
    let shared = IafCondExp::<PerNeuron> { i_offset: 250.0.into(), ..IafCondExp::default() };
    let cell = Izhikevich::<PerNeuron> { i_offset: 9.0.into(), ..Izhikevich::default() };
    let fast = Izhikevich {
        a: PerNeuron::from((0..65).map(|n| 0.02 + 0.001 * f64::from(n)).collect::<Vec<f64>>()),
        d: 2.0.into(),
        ..cell.clone()
    };
    let place = |first: u32, p: NeuronPopulation| NeuronPopulation { first, ..p };
    vec![
        place(0, population(301, None, per_neuron(&m))),
        place(320, population(1, Some((-52.0).into()), NeuronModel::IafCondExp(shared.clone()))),
        place(352, population(257, None, NeuronModel::Izhikevich(cell))),
        place(640, population(65, None, NeuronModel::Izhikevich(fast))),
        place(736, population(33, None, NeuronModel::IafCondExp(shared))),
    ]
}

fn mixed_input(step: u32, plane: u32, n: u32) -> i32 {
    // nS to the one model, mV to the other; now and then more than discharges a membrane in a step.
    let izhikevich = (352..736).contains(&n);
    let size = if izhikevich {
        3.0
    } else if n % 50 == 7 {
        8000.0
    } else {
        12.0
    };
    let units = random_input(31, step, plane, n, 0.06, size);
    if plane == 0 { units } else { -units }
}

#[test]
fn the_same_bits_on_every_device_and_however_steps_are_cut() {
    let net = Net { dt: 0.1, planes: 2, seed: 0, populations: mixed() };
    let first = net.run(&native(), 400, 400, &[], &mixed_input);
    assert!(first.spikes.len() > 500, "{} spikes", first.spikes.len());
    for n in [3, 320, 360, 650, 740] {
        assert!(!first.steps_of(n).is_empty(), "neuron {n} is silent");
    }
    for device in common::devices() {
        for steps in [400, 37] {
            let ran = net.run(&device, 400, steps, &[], &mixed_input);
            assert!(ran.spikes == first.spikes, "spikes in recordings of {steps} on {}", device.name());
            assert!(ran.states == first.states, "states in recordings of {steps} on {}", device.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_parameters_give_the_same_bits(seed in any::<u64>(), size in 1u32..80, dt in prop::sample::select(vec![0.05, 0.1, 1.0])) {
        let net = Net {
            dt,
            planes: 2,
            seed: 0,
            populations: vec![population(size, None, per_neuron(&conductances(size, seed)))],
        };
        let input = |step: u32, plane: u32, n: u32| {
            let units = random_input(seed, step, plane, n, 0.1, 300.0);
            if plane == 0 { units } else { -units }
        };
        let first = net.run(&native(), 60, 60, &[], &input);
        for device in common::devices() {
            prop_assert!(net.run(&device, 60, 60, &[], &input) == first, "{}", device.name());
        }
    }
}

#[test]
fn constant_input_can_be_changed_between_runs() {
    for (at, population) in mixed().into_iter().enumerate() {
        let device = native();
        let mut rec = device.recording("offsets");
        let bus = Bus::new(&mut rec, 1024, 1, 1, 2, false).unwrap();
        let neurons = Neurons::new(&mut rec, &bus, 0.1, std::slice::from_ref(&population)).unwrap();
        // As with the extra current in the model itself.
        let more = |p: &PerNeuron| match p {
            PerNeuron::Shared(v) => (v + 25.0).into(),
            PerNeuron::Each(v) => v.iter().map(|v| v + 25.0).collect::<Vec<f64>>().into(),
        };
        let model = match population.model.clone() {
            NeuronModel::IafCondExp(m) => NeuronModel::IafCondExp(IafCondExp { i_offset: more(&m.i_offset), ..m }),
            NeuronModel::Izhikevich(m) => NeuronModel::Izhikevich(Izhikevich { i_offset: more(&m.i_offset), ..m }),
            other => other,
        };
        let raised = NeuronPopulation { model, ..population };
        let mut other = device.recording("raised");
        let other_bus = Bus::new(&mut other, 1024, 1, 1, 2, false).unwrap();
        let other_neurons = Neurons::new(&mut other, &other_bus, 0.1, &[raised]).unwrap();
        let rewrite = neurons.set_offset(0, 25.0).unwrap();
        let expected = other_neurons.set_offset(0, 0.0).unwrap();
        assert_eq!((rewrite.first, rewrite.words), (expected.first, expected.words), "population {at}");
    }
}

#[test]
fn parameters_out_of_their_domain_are_refused() {
    let device = native();
    let mut rec = device.recording("bad");
    let bus = Bus::new(&mut rec, 64, 4, 1, 2, false).unwrap();
    let single = Bus::new(&mut rec, 64, 4, 1, 1, false).unwrap();
    let cond = IafCondExp::<PerNeuron>::default;
    let izhikevich = Izhikevich::<PerNeuron>::default;
    let conductance = |m: IafCondExp<PerNeuron>| population(3, None, NeuronModel::IafCondExp(m));
    let cell = |m: Izhikevich<PerNeuron>| population(3, None, NeuronModel::Izhikevich(m));
    for (p, word) in [
        (conductance(IafCondExp { c_mem: 0.0.into(), ..cond() }), "c_mem"),
        (conductance(IafCondExp { g_leak: (-1.0).into(), ..cond() }), "g_leak"),
        (conductance(IafCondExp { tau_syn_ex: 0.0.into(), ..cond() }), "tau_syn_ex"),
        (conductance(IafCondExp { tau_syn_in: f64::NAN.into(), ..cond() }), "tau_syn_in"),
        (conductance(IafCondExp { e_ex: 1e7.into(), ..cond() }), "e_ex"),
        (conductance(IafCondExp { v_reset: (-50.0).into(), ..cond() }), "v_reset"),
        (conductance(IafCondExp { t_ref: (-1.0).into(), ..cond() }), "t_ref"),
        (conductance(IafCondExp { e_in: vec![1.0, 2.0].into(), ..cond() }), "e_in"),
        (NeuronPopulation { exponent: -20, ..conductance(cond()) }, "discharges"),
        (cell(Izhikevich { a: 11.0.into(), ..izhikevich() }), "a"),
        (cell(Izhikevich { a: (-0.1).into(), ..izhikevich() }), "forward Euler"),
        (cell(Izhikevich { b: 1e4.into(), ..izhikevich() }), "b"),
        (cell(Izhikevich { c: 30.0.into(), ..izhikevich() }), "threshold"),
        (cell(Izhikevich { d: f64::INFINITY.into(), ..izhikevich() }), "d"),
        (NeuronPopulation { v_initial: Some(vec![1.0].into()), ..cell(izhikevich()) }, "v_initial"),
    ] {
        let error = Neurons::new(&mut rec, &bus, 0.1, &[p]).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let error = Neurons::new(&mut rec, &single, 0.1, &[conductance(cond())]).unwrap_err().to_string();
    assert!(error.contains("planes"), "{error}");
}
