//! Point neurons of networks: an f64 oracle, known answers, and equal bits on every device.

mod common;
#[path = "common/neurons.rs"]
mod harness;

use common::SplitMix;
use harness::{Run, Setup, at, cpu, on};
use spikewave::Error;
use spikewave::device::Control;
use spikewave::ops::lif::PerNeuron;
use spikewave::ops::{Bus, IafPscDelta, IafPscExp, NeuronModel, NeuronPopulation, NeuronVariable, Neurons};

/// Ten seconds at 0.1 ms.
const LONG: u32 = 100_000;
const EXPONENT: i32 = 18;

fn exp(change: impl FnOnce(&mut IafPscExp<PerNeuron>)) -> NeuronModel {
    let mut model = IafPscExp::default();
    change(&mut model);
    NeuronModel::IafPscExp(model)
}

fn delta(change: impl FnOnce(&mut IafPscDelta<PerNeuron>)) -> NeuronModel {
    let mut model = IafPscDelta::default();
    change(&mut model);
    NeuronModel::IafPscDelta(model)
}

/// Spike steps, and membranes in mV after each step, of one neuron by the formulas in f64: NEST's order of operations.
struct Oracle {
    spikes: Vec<u32>,
    membranes: Vec<f64>,
}

/// P21 of Rotter & Diesmann; near equal time constants its series.
fn p21(h: f64, tau_m: f64, tau_s: f64, c: f64) -> f64 {
    if tau_m == tau_s {
        return h / c * (-h / tau_m).exp();
    }
    let beta = tau_s * tau_m / (tau_m - tau_s);
    beta / c * (-h / tau_s).exp() * (h / beta).exp_m1()
}

fn oracle_exp(
    m: &IafPscExp<f64>,
    h: f64,
    v0: Option<f64>,
    steps: u32,
    planes: u32,
    input: impl Fn(u32, u32) -> f64,
) -> Oracle {
    let p22 = (-h / m.tau_mem).exp();
    let p20 = m.tau_mem / m.c_mem * -(-h / m.tau_mem).exp_m1();
    let taus = [m.tau_syn_ex, m.tau_syn_in];
    let gain = taus.map(|tau| p21(h, m.tau_mem, tau, m.c_mem));
    let kept = taus.map(|tau| (-h / tau).exp());
    let adapt = (-h / m.tau_adapt).exp();
    let (theta, reset) = (m.v_threshold - m.v_rest, m.v_reset - m.v_rest);
    let silent = (m.t_ref / h).round() as u32;
    let (mut v, mut i, mut a, mut r) = (v0.unwrap_or(m.v_rest) - m.v_rest, [0.0; 2], 0.0, 0);
    let mut out = Oracle { spikes: Vec::new(), membranes: Vec::new() };
    for step in 0..steps {
        let mut now = false;
        if r == 0 {
            v = v * p22 + i[0] * gain[0] + i[1] * gain[1] + m.i_offset * p20;
            now = true;
        } else {
            r -= 1;
        }
        for plane in 0..planes as usize {
            i[plane] = i[plane] * kept[plane] + input(step, plane as u32);
        }
        a *= adapt;
        if now && v >= theta + a {
            out.spikes.push(step);
            v = reset;
            r = silent;
            a += m.adapt_increment;
        }
        out.membranes.push(v + m.v_rest);
    }
    out
}

fn oracle_delta(
    m: &IafPscDelta<f64>,
    h: f64,
    v0: Option<f64>,
    steps: u32,
    planes: u32,
    input: impl Fn(u32, u32) -> f64,
) -> Oracle {
    let p33 = (-h / m.tau_mem).exp();
    let p30 = m.tau_mem / m.c_mem * -(-h / m.tau_mem).exp_m1();
    let (theta, reset) = (m.v_threshold - m.v_rest, m.v_reset - m.v_rest);
    let silent = (m.t_ref / h).round() as u32;
    let (mut v, mut r) = (v0.unwrap_or(m.v_rest) - m.v_rest, 0);
    let mut out = Oracle { spikes: Vec::new(), membranes: Vec::new() };
    for step in 0..steps {
        if r == 0 {
            v = p30 * m.i_offset + p33 * v + (0..planes).map(|plane| input(step, plane)).sum::<f64>();
            if v >= theta {
                out.spikes.push(step);
                v = reset;
                r = silent;
            }
        } else {
            r -= 1;
        }
        out.membranes.push(v + m.v_rest);
    }
    out
}

fn oracle(setup: &Setup, p: &NeuronPopulation, n: u32, steps: u32, input: harness::Input<'_>) -> Oracle {
    let value = |v: &PerNeuron| Ok(at(v, n as usize));
    let unit = 2f64.powi(-p.exponent);
    let events = |step: u32, plane: u32| f64::from(input(step, plane, p.first + n)) * unit;
    let v0 = p.v_initial.as_ref().map(|v| at(v, n as usize));
    match &p.model {
        NeuronModel::IafPscExp(m) => {
            oracle_exp(&m.try_map(|_, v| value(v)).unwrap(), setup.dt, v0, steps, setup.planes, events)
        }
        NeuronModel::IafPscDelta(m) => {
            oracle_delta(&m.try_map(|_, v| value(v)).unwrap(), setup.dt, v0, steps, setup.planes, events)
        }
        other => panic!("no oracle for {other:?}"),
    }
}

/// Asserts that every neuron spikes in the oracle's steps, and that membranes are within `tolerance` of the oracle's as
/// long as they are known.
fn assert_as_oracle(run: &Run, setup: &Setup, steps: u32, tolerance: f64, input: harness::Input<'_>) {
    let mut worst = 0f64;
    for (at, p) in setup.populations.iter().enumerate() {
        for n in 0..p.size {
            let oracle = oracle(setup, p, n, steps, input);
            assert_eq!(run.of(p.first + n), oracle.spikes, "spikes of neuron {n} of population {at}");
            for (known, v) in run.membranes.iter().zip(&oracle.membranes) {
                worst = worst.max((known[at][n as usize] - v).abs());
            }
        }
    }
    eprintln!("{} spikes, membranes within {worst:e} mV", run.spikes.len());
    assert!(worst <= tolerance, "membranes are {worst} mV off");
}

/// Events of about `weight` pA or mV at about `rate` a step, the same for everybody who asks.
fn events(step: u32, plane: u32, n: u32, rate: f64, weight: f64) -> i32 {
    let mut random = SplitMix((u64::from(step) << 32 | u64::from(n)) * 2 + u64::from(plane));
    random.next();
    if random.next() >= rate {
        return 0;
    }
    let sign = if plane == 1 { -0.5 } else { 1.0 };
    (sign * weight * (0.8 + 0.4 * random.next()) * 2f64.powi(EXPONENT)).round() as i32
}

fn each(n: u32, value: impl Fn(f64) -> f64) -> PerNeuron {
    (0..n).map(|i| value(f64::from(i))).collect::<Vec<_>>().into()
}

/// Currents and jumps, parameters shared and one a neuron, adaptation, delays of refractoriness, initial potentials.
fn mixture(planes: u32) -> Setup {
    let two = planes == 2;
    let mut setup = Setup::new(
        planes,
        EXPONENT,
        vec![
            (1, exp(|m| m.i_offset = 562.0.into())),
            (5, exp(|m| m.i_offset = 300.0.into())),
            (
                4,
                exp(|m| {
                    (m.c_mem, m.tau_mem, m.t_ref) = (200.0.into(), 20.0.into(), 5.0.into());
                    (m.v_rest, m.v_threshold, m.v_reset) = ((-49.0).into(), (-50.0).into(), (-60.0).into());
                    (m.tau_syn_ex, m.tau_syn_in) = (5.0.into(), if two { 10.0 } else { 5.0 }.into());
                }),
            ),
            (
                33,
                exp(|m| {
                    m.v_threshold = each(33, |i| -51.3 + 0.07 * i);
                    m.tau_mem = each(33, |i| 8.1 + 0.2 * i);
                    m.i_offset = each(33, |i| 320.0 + 3.0 * i);
                    m.t_ref = each(33, |i| 0.1 * i);
                    m.tau_syn_ex = 10.1.into();
                    m.tau_syn_in = if two { 0.3 } else { 10.1 }.into();
                }),
            ),
            (
                3,
                exp(|m| {
                    m.i_offset = 650.0.into();
                    (m.adapt_increment, m.tau_adapt) = (each(3, |i| 1.7 * i), 83.0.into());
                }),
            ),
            (2, delta(|m| m.i_offset = 300.0.into())),
            (
                7,
                delta(|m| {
                    m.v_rest = (-65.3).into();
                    m.v_threshold = (-45.1).into();
                    m.v_reset = each(7, |i| -60.0 + i);
                    m.i_offset = 180.0.into();
                }),
            ),
        ],
    );
    setup.populations[1].v_initial = Some(each(5, |i| -64.1 + 2.3 * i));
    setup.populations[6].v_initial = Some((-50.7).into());
    setup
}

/// Input for [`mixture`]: none for the first population, mV to the last two, pA to the others.
fn mixed(setup: &Setup) -> impl Fn(u32, u32, u32) -> i32 + use<> {
    let first: Vec<u32> = setup.populations.iter().map(|p| p.first).collect();
    move |step, plane, n| match first.iter().rposition(|f| *f <= n) {
        Some(0) | None => 0,
        Some(5 | 6) => events(step, plane, n, 0.1, 1.3),
        Some(1) => events(step, plane, n, 0.3, 300.0),
        Some(_) => events(step, plane, n, 0.05, 90.0),
    }
}

#[test]
fn ten_seconds_as_in_f64() {
    for (planes, driven) in [(1, false), (2, true)] {
        let setup = Setup { driven, ..mixture(planes) };
        let input = mixed(&setup);
        let run = on(&cpu(1), &setup, (LONG, 256), true, &input);
        assert_as_oracle(&run, &setup, LONG, 2e-5, &input);
        // tests/nest.rs has ten seconds on every device.
        let second = on(&cpu(1), &setup, (LONG / 10, 256), false, &input);
        for device in common::devices() {
            let other = on(&device, &setup, (LONG / 10, 256), false, &input);
            assert!(other == second, "{planes} planes on {}", device.name());
        }
    }
}

#[test]
fn refractory_times_are_whole_silent_steps() {
    // A jump above the threshold in each step: a neuron fires whenever it may.
    let times = [0.0, 0.1, 0.5, 2.0, 3.0, 4.0, 5.0];
    let model = |t_ref: f64| delta(|m| m.t_ref = t_ref.into());
    let setup = Setup::new(1, 20, times.map(|t| (3, model(t))).to_vec());
    let input = |_: u32, _: u32, _: u32| 30 << 20;
    for device in common::devices() {
        let run = on(&device, &setup, (256, 256), true, &input);
        for (p, silent) in setup.populations.iter().zip([0, 1, 5, 20, 30, 40, 50]) {
            let expected: Vec<u32> = (0..256).step_by(silent + 1).collect();
            assert_eq!(run.of(p.first + 2), expected, "{silent} steps on {}", device.name());
        }
    }
}

/// Sizes around the edges of words, vectors and tiles.
fn edges() -> Setup {
    let sizes = [1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 513];
    let model = |n: u32| match n % 3 {
        0 => exp(|m| m.i_offset = each(n, |i| 380.0 + i)),
        1 => exp(|m| (m.i_offset, m.adapt_increment) = (500.0.into(), 1.5.into())),
        _ => delta(|m| m.i_offset = 300.0.into()),
    };
    Setup::new(2, EXPONENT, sizes.map(|n| (n, model(n))).to_vec())
}

fn crowd(step: u32, plane: u32, n: u32) -> i32 {
    events(step, plane, n, 0.2, 60.0)
}

#[test]
fn bits_are_the_same_on_every_device_whatever_the_steps_of_a_recording() {
    let mut setup = edges();
    let run = on(&cpu(1), &setup, (300, 256), true, &crowd);
    assert!(run.spikes.len() > 500, "{} spikes", run.spikes.len());
    for device in common::devices() {
        let other = on(&device, &setup, (300, 256), true, &crowd);
        assert!(other == run, "{}", device.name());
        setup.steps = 37;
        let other = on(&device, &setup, (300, 29), true, &crowd);
        assert!(other == run, "in short recordings on {}", device.name());
        setup.steps = 256;
        // One unit more of input, once, shows.
        let more =
            |step: u32, plane: u32, n: u32| crowd(step, plane, n) + i32::from(step == 50 && n == 40 && plane == 0);
        assert!(on(&device, &setup, (300, 256), true, &more) != run, "one unit is lost on {}", device.name());
    }
}

#[test]
fn many_neurons_are_the_same_on_any_number_of_threads() {
    let size = 70_001;
    let model = exp(|m| m.i_offset = each(size, |i| 380.0 + 0.01 * i));
    let mut setup = Setup::new(1, EXPONENT, vec![(size, model), (1, exp(|_| ()))]);
    setup.populations[0].v_initial = Some(each(size, |i| -65.0 + 15.1 * (i * 0.618_034).fract()));
    setup.steps = 8;
    let input = |step: u32, plane: u32, n: u32| events(step, plane, n, 0.5, 80.0);
    let run = on(&cpu(1), &setup, (24, 8), true, &input);
    assert!(run.spikes.len() > 1000, "{} spikes", run.spikes.len());
    assert!(on(&cpu(2), &setup, (24, 8), true, &input) == run);
    for device in common::devices() {
        assert!(on(&device, &setup, (24, 8), true, &input) == run, "{}", device.name());
    }
}

#[test]
fn steps_behind_the_clock_touch_nothing() {
    for device in common::devices() {
        let setup = edges();
        let stride = setup.stride();
        let mut rec = device.recording("neurons");
        let bus = Bus::new(&mut rec, stride, 8, 7, 2, false).unwrap();
        let neurons = Neurons::new(&mut rec, &bus, 0.1, &setup.populations).unwrap();
        let words = bus.ring.len();
        let feed = rec.input::<u32>("input", words).unwrap();
        rec.copy(feed, 0, bus.ring, 0, words).unwrap();
        for k in 0..8 {
            neurons.step(&mut rec, &bus, k).unwrap();
        }
        rec.download(bus.ring).unwrap();
        rec.download(bus.spikes).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        let values: Vec<u32> = (0..words as u32).map(|i| (i % 1000) << EXPONENT).collect();
        // Steps 13 to 15: slots 5 to 7 of the ring.
        let clock = Bus::clock(13, 3, 0);
        let out = prepared.run(&[bus.clock.feed(&clock), feed.feed(&values)], &Control::default()).unwrap();
        let (ring, slot) = (out.get(bus.ring).unwrap(), 2 * stride as usize);
        assert!(ring[..5 * slot] == values[..5 * slot], "input of other steps is taken on {}", device.name());
        for n in setup.neurons() {
            let taken = (0..6).all(|row| ring[5 * slot + row * stride as usize + n as usize] == 0);
            assert!(taken, "input of neuron {n} is left on {}", device.name());
        }
        let counts = &out.get(bus.spikes).unwrap()[..8];
        assert!(counts[..3].iter().any(|c| *c > 0) && counts[3..].iter().all(|c| *c == 0), "{counts:?}");
    }
}

#[test]
fn constant_input_between_runs_is_that_of_a_model_that_has_it() {
    let words = |setup: &Setup, extra: f64| {
        let device = cpu(1);
        let mut rec = device.recording("neurons");
        let bus = Bus::new(&mut rec, setup.stride(), 1, 1, setup.planes, false).unwrap();
        let neurons = Neurons::new(&mut rec, &bus, setup.dt, &setup.populations).unwrap();
        let rewrites: Vec<_> = (0..setup.populations.len()).map(|p| neurons.set_offset(p, extra).unwrap()).collect();
        let mut tables: Vec<_> = rewrites.iter().map(|r| r.tensor).collect();
        tables.dedup_by_key(|t| t.erase());
        neurons.step(&mut rec, &bus, 0).unwrap();
        for t in &tables {
            rec.download(*t).unwrap();
        }
        let mut prepared = device.prepare(&rec).unwrap();
        let out = prepared.run(&[bus.clock.feed(&Bus::clock(0, 1, 0))], &Control::default()).unwrap();
        let mut words: Vec<Vec<u32>> = tables.iter().map(|t| out.get(*t).unwrap().to_vec()).collect();
        for rewrite in rewrites {
            let table = tables.iter().position(|t| t.erase() == rewrite.tensor.erase()).unwrap();
            words[table][rewrite.first..][..rewrite.words.len()].copy_from_slice(&rewrite.words);
        }
        words
    };
    for planes in [1, 2] {
        let setup = mixture(planes);
        let mut more = setup.clone();
        for p in &mut more.populations {
            let raised = |v: &PerNeuron| match v {
                PerNeuron::Shared(v) => PerNeuron::Shared(v + 64.0),
                PerNeuron::Each(v) => PerNeuron::Each(v.iter().map(|v| v + 64.0).collect()),
            };
            match &mut p.model {
                NeuronModel::IafPscExp(m) => m.i_offset = raised(&m.i_offset),
                NeuronModel::IafPscDelta(m) => m.i_offset = raised(&m.i_offset),
                _ => {}
            }
        }
        assert!(words(&setup, 64.0) == words(&more, 0.0));
        assert!(words(&setup, 64.0) != words(&setup, 0.0));
    }
}

#[test]
fn variables_are_found_where_a_model_has_them() {
    let setup = mixture(2);
    let device = cpu(1);
    let mut rec = device.recording("neurons");
    let bus = Bus::new(&mut rec, setup.stride(), 1, 1, 2, false).unwrap();
    let neurons = Neurons::new(&mut rec, &bus, 0.1, &setup.populations).unwrap();
    neurons.step(&mut rec, &bus, 0).unwrap();
    for (_, t) in neurons.states() {
        rec.download(t).unwrap();
    }
    let mut prepared = device.prepare(&rec).unwrap();
    // No step is carried out: membranes are as given.
    let out = prepared.run(&[bus.clock.feed(&Bus::clock(0, 0, 0))], &Control::default()).unwrap();
    for (i, p) in setup.populations.iter().enumerate() {
        let v = neurons.value(i, NeuronVariable::V).unwrap();
        for n in 0..p.size as usize {
            let word = out.get(v.tensor).unwrap()[v.first + n];
            let rest = at(&v.offset, n);
            let given = p.v_initial.as_ref().map_or(rest, |v| at(v, n));
            assert!((f64::from(f32::from_bits(word)) + rest - given).abs() < 1e-6, "neuron {n} of population {i}");
        }
        let has = |variable| neurons.value(i, variable).is_some();
        let currents = matches!(p.model, NeuronModel::IafPscExp(_));
        assert_eq!(has(NeuronVariable::Excitatory), currents);
        assert_eq!(has(NeuronVariable::Inhibitory), currents);
        assert_eq!(has(NeuronVariable::Recovery), currents);
    }
    assert!(neurons.value(setup.populations.len(), NeuronVariable::V).is_none());
}

#[test]
fn mistakes_are_named() {
    let refused = |setup: &Setup, words: &[&str]| {
        let device = cpu(1);
        let mut rec = device.recording("neurons");
        let bus = Bus::new(&mut rec, 64, 4, 3, setup.planes, false).unwrap();
        let error = Neurons::new(&mut rec, &bus, setup.dt, &setup.populations).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "no \"{word}\" in: {error}");
        }
    };
    let one = |model| Setup::new(1, 11, vec![(8, model)]);
    refused(&one(exp(|m| m.tau_mem = 0.0.into())), &["tau_mem", "0"]);
    refused(&one(exp(|m| m.tau_mem = f64::NAN.into())), &["tau_mem", "NaN"]);
    refused(&one(exp(|m| m.tau_mem = 1e6.into())), &["tau_mem", "million"]);
    refused(&one(exp(|m| m.c_mem = (-1.0).into())), &["c_mem", "-1"]);
    refused(&one(exp(|m| m.c_mem = vec![250.0; 7].into())), &["c_mem", "7", "8"]);
    refused(&one(exp(|m| m.v_reset = (-50.0).into())), &["v_reset", "threshold", "-50"]);
    refused(&one(exp(|m| m.v_rest = f64::INFINITY.into())), &["v_rest", "inf"]);
    refused(&one(exp(|m| m.t_ref = (-1.0).into())), &["t_ref", "-1"]);
    refused(&one(exp(|m| m.tau_syn_in = 5.0.into())), &["tau_syn_in", "two planes"]);
    refused(&one(exp(|m| m.adapt_increment = (-0.5).into())), &["adapt_increment", "-0.5"]);
    refused(&one(delta(|m| m.tau_mem = (-3.0).into())), &["tau_mem", "-3"]);
    refused(&one(delta(|m| m.v_threshold = 9.0.into())), &["v_reset", "9"]);
    refused(&Setup { dt: 0.0, ..one(exp(|_| ())) }, &["dt", "0"]);
    let changed = |change: fn(&mut NeuronPopulation)| {
        let mut setup = Setup::new(1, 11, vec![(8, exp(|_| ())), (8, delta(|_| ()))]);
        change(&mut setup.populations[1]);
        setup
    };
    refused(&changed(|p| p.first = 16), &["population", "16", "32"]);
    refused(&changed(|p| p.first = 0), &["population", "neuron 0"]);
    refused(&changed(|p| p.size = 0), &["population", "0"]);
    refused(&changed(|p| p.size = 33), &["population", "33", "64"]);
    refused(&changed(|p| p.exponent = 60), &["exponent", "60"]);
    refused(&changed(|p| p.v_initial = Some(vec![0.0; 3].into())), &["v_initial", "3", "8"]);
}
