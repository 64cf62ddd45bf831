//! LIF neurons: known spike times, an f64 oracle, a scalar reference in f32, and equal bits on every device.

mod common;

use proptest::prelude::*;
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::lif::{
    Adaptation, CurrentOrder, Drive, Integration, Lif, LifParams, PerNeuron, Reset, Spikes, Synapse, ThresholdRule,
    refractory_steps, spike_words,
};

/// What a run leaves behind.
#[derive(Clone, PartialEq)]
struct Run {
    /// `[steps][neurons]`.
    spikes: Vec<Vec<bool>>,
    /// `[steps][neurons]`, as bits.
    trace: Vec<Vec<u32>>,
    v: Vec<u32>,
    refractory: Vec<u32>,
    i_syn: Vec<u32>,
    adaptation: Vec<u32>,
}

impl Run {
    fn spike_steps(&self, neuron: usize) -> Vec<usize> {
        (0..self.spikes.len()).filter(|&t| self.spikes[t][neuron]).collect()
    }

    fn membrane(&self, step: usize, neuron: usize) -> f32 {
        f32::from_bits(self.trace[step][neuron])
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Runs `current` (`[neurons]`, or `[steps, neurons]`) on a device, packed and dense, and insists that both agree.
fn on(device: &Device, params: &LifParams, neurons: usize, steps: usize, current: &[f32]) -> Run {
    let runs = [true, false].map(|packed| {
        let mut rec = device.recording("lif");
        let x = rec.input::<f32>("current", current.len()).unwrap();
        let drive = if current.len() == neurons && steps > 1 { Drive::Constant(x) } else { Drive::Each(x) };
        let lif = Lif::new(&mut rec, neurons, params).unwrap();
        let trace = rec.scratch::<f32>("trace", steps * neurons).unwrap();
        let words = spike_words(neurons);
        let (bit, dense) =
            (rec.scratch::<u32>("bits", steps * words).unwrap(), rec.scratch::<f32>("dense", steps * neurons).unwrap());
        let out = if packed { Spikes::Packed(bit) } else { Spikes::Dense(dense) };
        lif.run(&mut rec, steps, drive, out, Some(trace)).unwrap();
        for t in [Some(trace), Some(lif.v()), lif.i_syn(), lif.adaptation()].into_iter().flatten() {
            rec.download(t).unwrap();
        }
        rec.download(lif.refractory()).unwrap();
        if packed {
            rec.download(bit).unwrap()
        } else {
            rec.download(dense).unwrap()
        }
        let out = device.prepare(&rec).unwrap().run(&[x.feed(current)], &Control::default()).unwrap();
        let spikes = if packed {
            let all = out.get(bit).unwrap();
            let spare = if neurons.is_multiple_of(32) { 0 } else { !0 << (neurons % 32) };
            assert!(all.chunks(words).all(|w| w[words - 1] & spare == 0), "spare bits are set on {}", device.name());
            all.chunks(words).map(|w| (0..neurons).map(|i| w[i / 32] >> (i % 32) & 1 == 1).collect()).collect()
        } else {
            let all = out.get(dense).unwrap();
            assert!(all.iter().all(|s| *s == 0.0 || *s == 1.0), "neither 0 nor 1 on {}", device.name());
            all.chunks(neurons).map(|row| row.iter().map(|s| *s == 1.0).collect()).collect()
        };
        Run {
            spikes,
            trace: out.get(trace).unwrap().chunks(neurons).map(bits).collect(),
            v: bits(out.get(lif.v()).unwrap()),
            refractory: out.get(lif.refractory()).unwrap().to_vec(),
            i_syn: lif.i_syn().map_or(Vec::new(), |t| bits(out.get(t).unwrap())),
            adaptation: lif.adaptation().map_or(Vec::new(), |t| bits(out.get(t).unwrap())),
        }
    });
    assert!(runs[0] == runs[1], "packed and dense differ on {}", device.name());
    let [run, _] = runs;
    run
}

fn golden(integration: Integration) -> LifParams {
    LifParams {
        dt: 1.0,
        tau_mem: 20.0.into(),
        v_rest: (-65.0).into(),
        v_threshold: (-50.0).into(),
        reset: Reset::To((-70.0).into()),
        t_ref: 5.0.into(),
        integration,
        ..LifParams::default()
    }
}

#[test]
fn known_spike_times() {
    for device in common::devices() {
        for (integration, current, expected) in [
            (Integration::Euler, 20.0, vec![27, 63, 99, 135, 171]),
            (Integration::Exact, 20.0, vec![27, 64, 101, 138, 175]),
            (Integration::Euler, 16.0, vec![54, 118, 182, 246]),
        ] {
            // 70 neurons: whole words, a rest, and every one alike.
            let run = on(&device, &golden(integration), 70, expected[expected.len() - 1] + 5, &[current; 70]);
            for neuron in 0..70 {
                assert_eq!(run.spike_steps(neuron), expected, "{integration:?} {current} on {}", device.name());
            }
        }
    }
}

#[test]
fn refractory_time_is_whole_steps() {
    assert_eq!(refractory_steps(5.0, 0.1).unwrap(), 50);
    assert_eq!(refractory_steps(3.0, 0.1).unwrap(), 30);
    assert_eq!(refractory_steps(0.5, 0.1).unwrap(), 5);
    assert_eq!(refractory_steps(2.0, 0.05).unwrap(), 40);
    assert_eq!(refractory_steps(0.0, 0.1).unwrap(), 0);
    for (t_ref, dt) in [(-1.0, 0.1), (f64::NAN, 0.1), (1.0, 0.0), (1.0, -0.1), (1e9, 0.1), (0.0, f64::NAN)] {
        assert!(refractory_steps(t_ref, dt).is_err(), "{t_ref}/{dt}");
    }
    // Driven far over the threshold, a neuron spikes exactly every 50 steps; without a refractory time at every step.
    for device in common::devices() {
        for (t_ref, every) in [(5.0, 50), (0.1, 1), (0.0, 1)] {
            let params = LifParams { dt: 0.1, t_ref: t_ref.into(), ..golden(Integration::Euler) };
            let run = on(&device, &params, 3, 160, &[1e6; 3]);
            let expected: Vec<usize> = (0..160).step_by(every).collect();
            assert_eq!(run.spike_steps(1), expected, "{t_ref} ms on {}", device.name());
        }
    }
}

#[test]
fn threshold_rule_decides_on_the_threshold_itself() {
    // alpha = 0.5: v goes 0.5, 0.75, …; the threshold is hit exactly at the second step.
    for device in common::devices() {
        for (rule, expected) in [(ThresholdRule::AtOrAbove, vec![1]), (ThresholdRule::Above, vec![2])] {
            let params = LifParams {
                tau_mem: 2.0.into(),
                v_threshold: 0.75.into(),
                integration: Integration::Euler,
                rule,
                ..LifParams::default()
            };
            let run = on(&device, &params, 1, 3, &[1.0, 1.0, 1.0]);
            assert_eq!(run.spike_steps(0), expected, "{rule:?} on {}", device.name());
        }
    }
}

#[test]
fn what_is_not_finite_rests() {
    let mut current = vec![20.0f32; 40 * 3];
    for (step, bad) in [(3, f32::NAN), (9, f32::INFINITY), (15, f32::NEG_INFINITY), (33, -f32::NAN), (35, f32::MAX)] {
        current[step * 3 + 1] = bad;
    }
    for device in common::devices() {
        for synaptic in [false, true] {
            let mut params = golden(Integration::Euler);
            // Twice the largest f32 overflows.
            params.resistance = 2.0.into();
            params.synapse =
                synaptic.then(|| Synapse { tau: 5.0.into(), gain: 0.2.into(), order: CurrentOrder::Updated });
            let run = on(&device, &params, 3, 40, &current);
            for step in [3, 9, 15, 33] {
                let rest = if synaptic { None } else { Some(-65.0) };
                let v = run.membrane(step, 1);
                assert!(v.is_finite() && rest.is_none_or(|r| v == r), "step {step}: {v} on {}", device.name());
                assert!(synaptic || !run.spikes[step][1], "a spike at step {step} on {}", device.name());
            }
            assert!(run.trace.iter().flatten().all(|v| f32::from_bits(*v).is_finite()), "on {}", device.name());
            assert_eq!(run.spike_steps(0), run.spike_steps(2), "a neighbour was touched on {}", device.name());
        }
    }
}

#[test]
fn a_membrane_far_faster_than_the_step_follows_its_current() {
    // The current falls to 1/e within the step, and the membrane with it.
    let params = LifParams {
        tau_mem: 1e-3.into(),
        v_threshold: 10.0.into(),
        synapse: Some(Synapse { tau: 1.0.into(), gain: 1.0.into(), order: CurrentOrder::Updated }),
        ..LifParams::default()
    };
    for device in common::devices() {
        let v = on(&device, &params, 1, 1, &[1.0]).membrane(0, 0);
        assert!((v - (-1f32).exp()).abs() < 1e-3, "{v} on {}", device.name());
    }
}

/// The neuron in f64, written from its equations and not from the kernel: (spikes, membranes).
fn oracle(params: &LifParams, steps: usize, current: impl Fn(usize) -> f64) -> (Vec<bool>, Vec<f64>) {
    let at = |p: &PerNeuron| match p {
        PerNeuron::Shared(v) => *v,
        PerNeuron::Each(v) => v[0],
    };
    let (dt, tau, r) = (params.dt, at(&params.tau_mem), at(&params.resistance));
    let exact = params.integration == Integration::Exact;
    let keep = |tau: f64| if exact { (-dt / tau).exp() } else { 1.0 - dt / tau };
    let silent = (at(&params.t_ref) / dt).round().max(1.0) as usize;
    let (mut v, mut i, mut a, mut last) = (at(&params.v_rest), 0.0, 0.0, None::<usize>);
    let mut out = (Vec::new(), Vec::new());
    for step in 0..steps {
        let x = current(step);
        let rest = at(&params.v_rest) + r * at(&params.offset);
        let pull = match &params.synapse {
            None => (1.0 - keep(tau)) * r * x,
            Some(s) => {
                let ts = at(&s.tau);
                let before = i;
                i = keep(ts) * i + at(&s.gain) * x;
                let used = if s.order == CurrentOrder::Updated { i } else { before };
                // The propagator with R = tau/C in its textbook form, singular where the two constants are equal.
                let beta = ts * tau / (tau - ts);
                let p21 = r / tau * beta * (-dt / ts).exp() * (dt / beta).exp_m1();
                if exact { p21 * used } else { dt / tau * r * used }
            }
        };
        let mut spike = false;
        if last.is_none_or(|l| step - l >= silent) {
            v = rest + (v - rest) * keep(tau) + pull;
            let over = v - at(&params.v_threshold) - a;
            spike = if params.rule == ThresholdRule::Above { over > 0.0 } else { over >= 0.0 };
            if spike {
                last = Some(step);
                match &params.reset {
                    Reset::To(to) => v = at(to),
                    Reset::Subtract(by) => v -= at(by),
                }
            }
        }
        if let Some(adaptation) = &params.adaptation {
            a = keep(at(&adaptation.tau)) * a + if spike { at(&adaptation.increment) } else { 0.0 };
        }
        out.0.push(spike);
        out.1.push(v);
    }
    out
}

/// Every combination of the options, with constants in millivolts and milliseconds.
fn combinations() -> Vec<LifParams> {
    let mut all = Vec::new();
    for integration in [Integration::Exact, Integration::Euler] {
        for reset in [Reset::To((-70.0).into()), Reset::Subtract(15.0.into())] {
            for synapse in [None, Some(CurrentOrder::Updated), Some(CurrentOrder::Previous)] {
                for adapting in [false, true] {
                    let synapse = synapse.map(|order| Synapse { tau: 5.0.into(), gain: 0.25.into(), order });
                    let adaptation = adapting.then(|| Adaptation { tau: 80.0.into(), increment: 1.5.into() });
                    let params =
                        LifParams { dt: 0.5, reset: reset.clone(), synapse, adaptation, ..golden(integration) };
                    all.push(params);
                }
            }
        }
    }
    all
}

#[test]
fn follows_the_f64_oracle() {
    let cpu = Device::open(&DeviceOptions::new(Choice::Cpu)).unwrap();
    let steps = 600;
    let drive = |step: usize| 22.0 + 9.0 * (step as f64 / 17.0).sin();
    let current: Vec<f32> = (0..steps).map(|t| drive(t) as f32).collect();
    let mut spikes = 0;
    for params in combinations() {
        let run = on(&cpu, &params, 1, steps, &current);
        let (expected, membrane) = oracle(&params, steps, |t| f64::from(current[t]));
        let steps_of = |s: &[bool]| (0..steps).filter(|&t| s[t]).collect::<Vec<_>>();
        assert_eq!(run.spike_steps(0), steps_of(&expected), "{params:?}");
        spikes += expected.iter().filter(|s| **s).count();
        // A step rounds four times at up to 70 mV, and the membrane forgets over 40 steps: 4 · 40 · 70 · 2^-24 mV.
        for (t, v) in membrane.iter().enumerate() {
            let error = (f64::from(run.membrane(t, 0)) - v).abs();
            assert!(error < 7e-4, "step {t}: {error} mV off with {params:?}");
        }
    }
    assert!(spikes > 200, "the drive must make them spike");
}

/// The kernel's arithmetic, one neuron, plain f32.
#[allow(clippy::too_many_lines)]
fn reference(params: &LifParams, neuron: usize, steps: usize, current: impl Fn(usize) -> f32) -> Vec<(bool, u32)> {
    let at = |p: &PerNeuron| match p {
        PerNeuron::Shared(v) => *v,
        PerNeuron::Each(v) => v[neuron],
    };
    let flush = |x: f32| if x.abs() < 1e-30 { 0.0 } else { x };
    let euler = params.integration == Integration::Euler;
    let keep = |tau: f64| (if euler { 1.0 - params.dt / tau } else { (-params.dt / tau).exp() }) as f32;
    let tau = at(&params.tau_mem);
    let alpha = (if euler { params.dt / tau } else { 1.0 - (-params.dt / tau).exp() }) as f32;
    let rest = at(&params.v_rest) as f32;
    let silent = refractory_steps(at(&params.t_ref), params.dt).unwrap().max(1) - 1;
    let (mut v, mut w, mut i, mut a) = (rest, 0u32, 0.0f32, 0.0f32);
    (0..steps)
        .map(|t| {
            let x = current(t);
            let mut drive = x;
            if let Some(s) = &params.synapse {
                let before = i;
                i = flush(keep(at(&s.tau)) * i) + flush(at(&s.gain) as f32 * x);
                if !i.is_finite() || !x.is_finite() {
                    i = 0.0;
                }
                drive = if s.order == CurrentOrder::Updated { i } else { before };
            }
            let slope = (rest - v) + flush(at(&params.resistance) as f32 * drive);
            let moved = v + flush(alpha * slope);
            let threshold = at(&params.v_threshold) as f32 + a;
            let over = if params.rule == ThresholdRule::Above { moved > threshold } else { moved >= threshold };
            let spike = w == 0 && moved.is_finite() && over;
            if w == 0 {
                v = if moved.is_finite() { moved } else { rest };
            }
            w = w.saturating_sub(1);
            if spike {
                w = silent;
                v = match &params.reset {
                    Reset::To(to) => at(to) as f32,
                    Reset::Subtract(by) => moved - at(by) as f32,
                };
            }
            if let Some(s) = &params.adaptation {
                a = flush(keep(at(&s.tau)) * a) + if spike { at(&s.increment) as f32 } else { 0.0 };
            }
            (spike, v.to_bits())
        })
        .collect()
}

fn per_neuron(low: f64, high: f64, neurons: usize) -> impl Strategy<Value = PerNeuron> {
    // f32 values, so that the reference's own rounding of a coefficient is the kernel's.
    let value = move || (low..high).prop_map(|v| f64::from(v as f32));
    prop_oneof![value().prop_map(PerNeuron::Shared), prop::collection::vec(value(), neurons).prop_map(PerNeuron::Each)]
}

prop_compose! {
    fn population()(neurons in prop_oneof![1usize..70, 500usize..530, Just(1100)])(
        neurons in Just(neurons),
        tau_mem in per_neuron(2.0, 40.0, neurons),
        resistance in per_neuron(0.5, 2.0, neurons),
        v_rest in per_neuron(-66.0, -64.0, neurons),
        v_threshold in per_neuron(-55.0, -50.0, neurons),
        reset in (any::<bool>(), per_neuron(-72.0, -66.0, neurons)),
        t_ref in per_neuron(0.0, 8.0, neurons),
        synapse in prop::option::of((per_neuron(1.5, 9.0, neurons), per_neuron(0.1, 1.0, neurons), any::<bool>())),
        adaptation in prop::option::of((per_neuron(20.0, 200.0, neurons), per_neuron(0.0, 3.0, neurons))),
        strict in any::<bool>(),
        seed in any::<u64>(),
        steps in prop_oneof![1usize..70, Just(257)],
        constant in any::<bool>(),
    ) -> (LifParams, usize, usize, Vec<f32>) {
        let (subtract, reset) = reset;
        let params = LifParams {
            dt: 1.0,
            tau_mem, resistance, v_rest, v_threshold, t_ref,
            reset: if subtract { Reset::Subtract(15.0.into()) } else { Reset::To(reset) },
            rule: if strict { ThresholdRule::Above } else { ThresholdRule::AtOrAbove },
            synapse: synapse.map(|(tau, gain, updated)| Synapse {
                tau, gain, order: if updated { CurrentOrder::Updated } else { CurrentOrder::Previous },
            }),
            adaptation: adaptation.map(|(tau, increment)| Adaptation { tau, increment }),
            // Exact synaptic gains are not the resistance, which the reference here takes; the oracle covers those.
            integration: Integration::Euler,
            ..LifParams::default()
        };
        let len = if constant { neurons } else { neurons * steps };
        let mut state = seed | 1;
        let current = (0..len).map(|_| {
            state ^= state << 13; state ^= state >> 7; state ^= state << 17;
            match state % 97 {
                0 => f32::NAN,
                1 => f32::from_bits((state >> 32) as u32),
                2 => 1e-38,
                _ => (state >> 40) as f32 / (1u64 << 24) as f32 * 60.0,
            }
        }).collect();
        (params, neurons, steps, current)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn every_device_gives_the_same_bits((params, neurons, steps, current) in population()) {
        let devices = common::devices();
        let native = on(&devices[0], &params, neurons, steps, &current);
        for neuron in 0..neurons {
            let constant = current.len() == neurons && steps > 1;
            let x = |t: usize| current[if constant { neuron } else { t * neurons + neuron }];
            for (t, (spike, v)) in reference(&params, neuron, steps, x).into_iter().enumerate() {
                prop_assert_eq!(native.spikes[t][neuron], spike, "neuron {} step {}", neuron, t);
                prop_assert_eq!(native.trace[t][neuron], v, "neuron {} step {}", neuron, t);
            }
        }
        for device in &devices[1..] {
            prop_assert!(on(device, &params, neurons, steps, &current) == native, "on {}", device.name());
        }
    }
}

#[test]
fn long_runs_are_split_and_keep_their_state() {
    // Twice what one dispatch may loop; the last spikes come from far behind the cut.
    let steps = 33_000;
    let params = LifParams {
        adaptation: Some(Adaptation { tau: 400.0.into(), increment: 0.5.into() }),
        ..golden(Integration::Exact)
    };
    let current: Vec<f32> = (0..33).map(|i| 15.5 + i as f32 * 0.3).collect();
    let devices = common::devices();
    let native = on(&devices[0], &params, 33, steps, &current);
    assert!(native.spike_steps(32).last().unwrap() > &32_900);
    for device in &devices[1..] {
        assert!(on(device, &params, 33, steps, &current) == native, "on {}", device.name());
    }
}

#[test]
fn single_steps_equal_one_run() {
    for device in common::devices() {
        let (n, steps) = (130, 60);
        let current: Vec<f32> = (0..n * steps).map(|i| 15.0 + (i * 7919 % 100) as f32 * 0.2).collect();
        let params = golden(Integration::Exact);
        let whole = on(&device, &params, n, steps, &current);
        let mut rec = device.recording("steps");
        let x = rec.input::<f32>("current", n).unwrap();
        let lif = Lif::new(&mut rec, n, &params).unwrap();
        let spikes = rec.scratch::<u32>("spikes", spike_words(n)).unwrap();
        lif.step(&mut rec, x, Spikes::Packed(spikes)).unwrap();
        rec.download(spikes).unwrap();
        rec.download(lif.v()).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        for (t, row) in current.chunks(n).enumerate() {
            let out = prepared.run(&[x.feed(row)], &Control::default()).unwrap();
            let words = out.get(spikes).unwrap();
            for i in 0..n {
                assert_eq!(words[i / 32] >> (i % 32) & 1 == 1, whole.spikes[t][i], "step {t} on {}", device.name());
            }
            assert_eq!(bits(out.get(lif.v()).unwrap()), whole.trace[t], "step {t} on {}", device.name());
        }
    }
}

#[test]
fn a_changed_input_is_caught() {
    for device in common::devices() {
        let params = golden(Integration::Euler);
        let (n, steps) = (600, 100);
        let current = vec![20.0f32; n * steps];
        let before = on(&device, &params, n, steps, &current);
        for at in [0, 333, 599] {
            let mut changed = current.clone();
            // 5e-5 mV, a dozen units in the membrane's last place.
            changed[50 * n + at] = 20.001;
            let after = on(&device, &params, n, steps, &changed);
            assert!(before != after, "on {}", device.name());
            let differs = |i: usize| (0..steps).any(|t| before.trace[t][i] != after.trace[t][i]);
            assert!((0..n).all(|i| differs(i) == (i == at)), "another neuron than {at} changed on {}", device.name());
        }
    }
}

#[test]
fn bounds_checks_do_not_change_the_bits() {
    // With the shader compiler's checks every index is clamped: equal bits show that none ever left its tensor.
    let params = combinations().pop().unwrap();
    let (n, steps) = (300, 70);
    let current: Vec<f32> = (0..n * steps).map(|i| 10.0 + (i * 31 % 977) as f32 * 0.03).collect();
    let native = on(&common::devices()[0], &params, n, steps, &current);
    for device in &common::open_all(&DeviceOptions { checked: true, poison: true, ..DeviceOptions::default() })[1..] {
        assert!(on(device, &params, n, steps, &current) == native, "on {}", device.name());
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    let params = combinations().pop().unwrap();
    let current: Vec<f32> = (0..5000).map(|i| 10.0 + (i * 31 % 977) as f32 * 0.03).collect();
    let run = |threads| {
        let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) };
        on(&Device::open(&options).unwrap(), &params, 5000, 200, &current)
    };
    assert!(run(1) == run(3));
}

#[test]
fn arguments_out_of_their_domain() {
    let device = &common::devices()[0];
    let mut rec = device.recording("bad");
    let mut refused = |params: LifParams, word: &str| {
        let error = Lif::new(&mut rec, 4, &params).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    let ok = || golden(Integration::Euler);
    refused(LifParams { dt: 0.0, ..ok() }, "dt");
    refused(LifParams { dt: f64::NAN, ..ok() }, "dt");
    refused(LifParams { tau_mem: 0.5.into(), ..ok() }, "at least dt");
    refused(LifParams { tau_mem: vec![20.0, 20.0, -1.0, 20.0].into(), ..ok() }, "positive");
    refused(LifParams { v_rest: vec![0.0; 3].into(), ..ok() }, "3 values");
    refused(LifParams { resistance: 1e8.into(), ..ok() }, "resistance");
    refused(LifParams { v_threshold: f64::INFINITY.into(), ..ok() }, "v_threshold");
    refused(LifParams { t_ref: (-1.0).into(), ..ok() }, "t_ref");
    let synapse = Synapse { tau: 0.0.into(), gain: 1.0.into(), order: CurrentOrder::Updated };
    refused(LifParams { synapse: Some(synapse), ..ok() }, "synapse.tau");
    assert!(Lif::new(&mut rec, 0, &ok()).is_err());

    let lif = Lif::new(&mut rec, 4, &ok()).unwrap();
    let x = rec.input::<f32>("x", 4).unwrap();
    let wrong = rec.scratch::<u32>("wrong", 2).unwrap();
    let error = lif.step(&mut rec, x, Spikes::Packed(wrong)).unwrap_err().to_string();
    assert!(error.contains("spikes"), "{error}");
    assert!(lif.run(&mut rec, 3, Drive::Each(x), Spikes::Packed(wrong), None).is_err());
}
