//! Networks on every device: the same spikes everywhere, whatever the submissions; checkpoints; what is refused.

mod common;

use common::{SplitMix, devices};
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::network::models::{Drive, InitialPotential, MicrocircuitOptions, microcircuit};
use spikewave::network::{
    Distribution, Edges, IafPscDelta, IafPscExp, Input, Network, Neuron, Population, Probe, Projection, Record, Rule,
    Simulation, SimulationOptions, Stdp, StdpRule, Variable,
};
use spikewave::{Error, Result};

fn cpu(threads: usize) -> Device {
    Device::open(&DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) }).unwrap()
}

fn simulate(device: &Device, network: &Network, ms: f64, steps_per_run: Option<u32>) -> Simulation {
    let options = SimulationOptions { steps_per_run, ..SimulationOptions::default() };
    let mut simulation = Simulation::new(device, network, &options).unwrap();
    simulation.run(ms, &Control::default()).unwrap();
    simulation
}

/// A device that binds at most 128 MiB cuts a table of more than 33 million weights.
#[test]
#[ignore = "builds 36 million synapses twice"]
fn a_checkpoint_fits_a_device_that_cuts_tables() {
    let network = microcircuit(&MicrocircuitOptions { scale: 0.35, ..MicrocircuitOptions::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.npz");
    let mut first = simulate(&cpu(2), &network, 5.0, None);
    first.checkpoint(&path).unwrap();
    for device in devices() {
        Simulation::new(&device, &network, &SimulationOptions::default()).unwrap().restore(&path).unwrap();
    }
}

fn hash(simulation: &Simulation) -> u64 {
    simulation.raster().unwrap().hash()
}

/// 1,544 neurons, 119,548 synapses. With direct current they are silent when scaled down so far, in NEST too, unless
/// they start scattered around the threshold.
fn small(drive: Drive) -> Network {
    microcircuit(&MicrocircuitOptions { scale: 0.02, drive, seed: 7, v0: InitialPotential::Original }).unwrap()
}

#[test]
fn every_device_and_any_threads_give_the_same_spikes() {
    for drive in [Drive::Dc, Drive::Poisson] {
        let network = small(drive);
        let first = simulate(&cpu(1), &network, 200.0, None);
        let spikes = first.raster().unwrap().spikes();
        assert!(spikes > 150, "{drive:?}: {spikes} spikes");
        for device in devices().into_iter().chain([cpu(2), cpu(3)]) {
            let other = simulate(&device, &network, 200.0, None);
            assert_eq!(hash(&other), hash(&first), "{drive:?} on {}", device.name());
        }
        let mut other_seed = network.clone();
        other_seed.seed = 8;
        assert_ne!(hash(&simulate(&cpu(2), &other_seed, 200.0, None)), hash(&first));
    }
}

#[test]
fn submissions_of_any_length_give_the_same_spikes() {
    let network = small(Drive::Poisson);
    let whole = simulate(&cpu(2), &network, 60.0, None);
    for steps in [1, 3, 7, 600] {
        assert_eq!(hash(&simulate(&cpu(2), &network, 60.0, Some(steps))), hash(&whole), "{steps} steps a submission");
    }
    let mut pieces = Simulation::new(&cpu(2), &network, &SimulationOptions::default()).unwrap();
    for ms in [0.1, 12.3, 40.0, 7.6] {
        pieces.run(ms, &Control::default()).unwrap();
    }
    assert_eq!(pieces.step(), 600);
    assert_eq!(hash(&pieces), hash(&whole));
}

/// Every kind of thing in one network.
fn mixed() -> Network {
    let population =
        |name: &str, size, neuron| Population { name: name.into(), size, neuron, v_initial: None, lattice_shape: None };
    let project = |source: &str, target: &str, rule, weight: Distribution, delay: Distribution| Projection {
        source: source.into(),
        target: target.into(),
        rule,
        weight,
        delay,
        autapses: true,
        multapses: true,
        plasticity: None,
    };
    let mut random = SplitMix(5);
    let times = (0..9).map(|_| {
        let mut t = 0.0;
        let mut next = || {
            t += 0.1 * (1.0 + (random.next() * 90.0).floor());
            t
        };
        (0..60).map(|_| next()).collect()
    });
    let exp = IafPscExp {
        tau_syn_ex: 2.0.into(),
        tau_syn_in: 5.0.into(),
        i_offset: Distribution::uniform(330.0, 420.0),
        adapt_increment: 0.5.into(),
        ..IafPscExp::default()
    };
    Network {
        name: "mixed".into(),
        seed: 3,
        populations: vec![
            population("excitatory", 130, Neuron::IafPscExp(exp.clone())),
            population("sources", 70, Neuron::PoissonSource { rate: 40.0 }),
            population("inhibitory", 33, Neuron::IafPscExp(exp)),
            population("delta", 20, Neuron::IafPscDelta(Default::default())),
            population("conductance", 31, Neuron::IafCondExp(Default::default())),
            population("izhikevich", 40, Neuron::Izhikevich(Default::default())),
            population("given", 9, Neuron::SpikeSource { times: times.collect() }),
        ],
        projections: vec![
            project(
                "excitatory",
                "inhibitory",
                Rule::FixedProbability(0.2),
                Distribution::truncated(60.0, 12.0, 0.0, f64::INFINITY),
                Distribution::truncated(1.5, 0.75, 0.1, f64::INFINITY),
            ),
            project("inhibitory", "excitatory", Rule::FixedInDegree(8), (-120.0).into(), 0.8.into()),
            project("excitatory", "excitatory", Rule::FixedTotalNumber(900), 30.0.into(), 25.5.into()),
            Projection {
                plasticity: Some(Stdp {
                    tau_plus: 20.0,
                    tau_minus: 20.0,
                    a_plus: 0.8,
                    a_minus: 0.7,
                    w_min: 0.0,
                    w_max: 120.0,
                    rule: StdpRule::Additive,
                }),
                ..project("sources", "excitatory", Rule::FixedOutDegree(20), 50.0.into(), 1.0.into())
            },
            project("given", "delta", Rule::AllToAll, 6.0.into(), 0.1.into()),
            project("excitatory", "conductance", Rule::FixedInDegree(12), 5.0.into(), 1.2.into()),
            project("inhibitory", "conductance", Rule::FixedInDegree(4), (-9.0).into(), 1.2.into()),
            project("sources", "izhikevich", Rule::FixedInDegree(10), 2.0.into(), 1.0.into()),
        ],
        inputs: vec![
            Input::Poisson { target: "delta".into(), rate: 9000.0, weight: 0.15, start: 0.0, stop: 90.0 },
            Input::Poisson { target: "excitatory".into(), rate: 800.0, weight: 25.0, start: 10.0, stop: f64::INFINITY },
            Input::Dc { target: "izhikevich".into(), amplitude: 6.0, start: 20.0, stop: 70.5 },
            Input::Dc { target: "conductance".into(), amplitude: 150.0, start: 0.0, stop: f64::INFINITY },
        ],
        probes: vec![
            Probe { population: "excitatory".into(), variable: Variable::V, neurons: vec![0, 129], interval: None },
            Probe {
                population: "izhikevich".into(),
                variable: Variable::Recovery,
                neurons: vec![5],
                interval: Some(1.0),
            },
        ],
        ..Network::default()
    }
}

#[test]
fn a_checkpoint_goes_on_with_the_same_spikes_on_any_device() {
    let network = mixed();
    let folder = tempfile::tempdir().unwrap();
    let mut whole = simulate(&cpu(2), &network, 120.0, None);
    for population in &network.populations {
        let neurons = whole.neurons_of(&population.name).unwrap();
        let spikes: u32 = whole.raster().unwrap().counts(neurons).iter().sum();
        assert!(spikes > 10, "{}: {spikes} spikes", population.name);
    }
    let rest: Vec<_> = whole.raster().unwrap().between(50.3, 120.0).collect();
    let weights = whole.weights(3).unwrap();
    assert!(weights.iter().any(|w| (w - 50.0).abs() > 1.0), "nothing was learnt");
    for (i, device) in devices().into_iter().enumerate() {
        let path = folder.path().join(format!("state{i}.npz"));
        let mut half = simulate(&device, &network, 50.3, Some(11));
        half.checkpoint(&path).unwrap();
        drop(half);
        for other in devices() {
            let mut on = Simulation::new(&other, &network, &SimulationOptions::default()).unwrap();
            on.restore(&path).unwrap();
            on.run(69.7, &Control::default()).unwrap();
            let spikes: Vec<_> = on.raster().unwrap().iter().collect();
            assert_eq!(spikes, rest, "from {} to {}", device.name(), other.name());
            assert_eq!(on.weights(3).unwrap(), weights, "from {} to {}", device.name(), other.name());
            assert_eq!(on.probe(0).unwrap().1, &whole.probe(0).unwrap().1[503 * 2..]);
            assert_eq!(on.probe(1).unwrap().1, &whole.probe(1).unwrap().1[50..]);
        }
    }
    // Of another network, and no checkpoint at all.
    let path = folder.path().join("state0.npz");
    let mut other = network.clone();
    other.seed = 4;
    let mut on = Simulation::new(&cpu(1), &other, &SimulationOptions::default()).unwrap();
    let error = on.restore(&path).unwrap_err().to_string();
    assert!(error.contains("another network"), "{error}");
    spikewave::io::npy::write(folder.path().join("x.npy"), &[1], &[1f32]).unwrap();
    assert!(matches!(on.restore(folder.path().join("x.npy")), Err(Error::File { .. })));
}

#[test]
fn rates_probes_and_values_agree_with_the_raster() {
    let network = mixed();
    let options = SimulationOptions { record: Record::From(30.0), ..SimulationOptions::default() };
    let mut simulation = Simulation::new(&cpu(2), &network, &options).unwrap();
    assert!(simulation.raster().is_none());
    simulation.run(100.0, &Control::default()).unwrap();
    let raster = simulation.raster().unwrap().clone();
    assert_eq!(raster.steps(), 700);
    for (name, rate) in simulation.rates().unwrap() {
        let neurons = simulation.neurons_of(&name).unwrap();
        let spikes: u32 = raster.counts(neurons.clone()).iter().sum();
        let expected = f64::from(spikes) / neurons.len() as f64 / 0.07;
        assert!((rate - expected).abs() < 1e-9, "{name}: {rate}, {expected} by the raster");
    }
    // The last sample of a probe is what is there now.
    let v = simulation.values("excitatory", Variable::V).unwrap();
    let (times, samples) = simulation.probe(0).unwrap();
    assert_eq!((times.len(), samples.len()), (1000, 2000));
    assert!((times[999] - 100.0).abs() < 1e-9);
    assert_eq!(samples[1998..], [v[0], v[129]]);
    let (times, _) = simulation.probe(1).unwrap();
    assert_eq!(times.len(), 100);
    assert!((times[0] - 1.0).abs() < 1e-9);

    let options = SimulationOptions { record: Record::Nothing, ..SimulationOptions::default() };
    let mut unrecorded = Simulation::new(&cpu(2), &network, &options).unwrap();
    unrecorded.run(100.0, &Control::default()).unwrap();
    assert!(unrecorded.raster().is_none());
    let all = simulate(&cpu(2), &network, 100.0, None).rates().unwrap();
    assert_eq!(unrecorded.rates().unwrap(), all);
}

#[test]
fn the_profile_changes_nothing() {
    let network = mixed();
    for device in devices() {
        // Recording starts, and a current is switched on, within what is profiled.
        let options = SimulationOptions { record: Record::From(12.3), ..SimulationOptions::default() };
        let mut simulation = Simulation::new(&device, &network, &options).unwrap();
        simulation.run(5.0, &Control::default()).unwrap();
        let phases = simulation.profile(20.0, &Control::default()).unwrap();
        for phase in ["neurons", "propagation", "plasticity", "input", "recording"] {
            assert!(phases.iter().any(|p| p.phase == phase && p.dispatches > 0), "{}: no {phase}", device.name());
        }
        simulation.run(5.0, &Control::default()).unwrap();
        let mut plain = Simulation::new(&cpu(2), &network, &options).unwrap();
        plain.run(30.0, &Control::default()).unwrap();
        assert_eq!(simulation.raster(), plain.raster(), "{}", device.name());
        assert_eq!(simulation.rates().unwrap(), plain.rates().unwrap(), "{}", device.name());
    }
}

#[test]
fn memory_is_planned_to_the_byte_and_bounded() -> Result<()> {
    let network = small(Drive::Dc);
    let plan = Simulation::plan_of(&cpu(2), &network, &SimulationOptions::default())?;
    assert_eq!((plan.neurons, plan.synapses), (1544, 119_548));
    assert_eq!(plan.parts.iter().map(|(_, bytes)| bytes).sum::<u64>(), plan.planned_bytes);
    let synapses = plan.parts.iter().find(|(name, _)| name == "synapses").unwrap().1;
    assert!(synapses as f64 <= 1.15 * 7.0 * 119_548.0 + 4.0 * 8192.0, "{synapses} bytes of synapses");
    let device = cpu(2);
    let simulation = Simulation::new(&device, &network, &SimulationOptions::default())?;
    assert_eq!(device.stats().memory.peak_bytes, plan.planned_bytes);
    drop(simulation);
    for budget in [64 << 10, plan.planned_bytes * 9 / 10] {
        let tight = DeviceOptions { memory_budget: Some(budget), ..DeviceOptions::new(Choice::Cpu) };
        let refused = Simulation::new(&Device::open(&tight)?, &network, &SimulationOptions::default()).map(drop);
        assert!(matches!(refused, Err(Error::OverBudget { .. })), "{refused:?}");
    }
    // The full network is refused before it is built.
    let full = microcircuit(&MicrocircuitOptions::default())?;
    let tight = DeviceOptions { memory_budget: Some(1 << 30), ..DeviceOptions::new(Choice::Cpu) };
    let started = std::time::Instant::now();
    let refused = Simulation::new(&Device::open(&tight)?, &full, &SimulationOptions::default()).map(drop);
    assert!(matches!(refused, Err(Error::OverBudget { needed, .. }) if needed > 2_000_000_000), "{refused:?}");
    assert!(started.elapsed().as_secs() < 5);
    let enough = DeviceOptions { memory_budget: Some(plan.planned_bytes), ..DeviceOptions::new(Choice::Cpu) };
    Simulation::new(&Device::open(&enough)?, &network, &SimulationOptions::default()).map(drop)
}

#[test]
fn what_is_refused() {
    let network = mixed();
    let mut simulation = Simulation::new(&cpu(1), &network, &SimulationOptions::default()).unwrap();
    for (ms, why) in [(0.0, "positive"), (-1.0, "positive"), (f64::NAN, "positive"), (0.25, "multiple of the step")] {
        let error = simulation.run(ms, &Control::default()).unwrap_err().to_string();
        assert!(error.contains("duration") && error.contains(why), "{error}");
    }
    assert!(simulation.probe(2).is_err());
    assert!(simulation.values("nobody", Variable::V).unwrap_err().to_string().contains("nobody"));
    assert!(simulation.values("sources", Variable::V).is_err());
    assert!(simulation.weights(0).unwrap_err().to_string().contains("plastic"));
    let control = Control::default();
    control.cancel.cancel();
    assert_eq!(simulation.run(10.0, &control), Err(Error::Cancelled));
    // It can go on.
    simulation.run(30.0, &Control::default()).unwrap();
    assert_eq!(hash(&simulation), hash(&simulate(&cpu(2), &network, 30.0, None)));
}

/// A spike takes exactly its delay, with the shortest and the longest, through itself and several synapses of a pair.
#[test]
fn delays_autapses_and_multapses_arrive_when_and_as_often_as_they_should() {
    let delta = |size| Population {
        name: "delta".into(),
        size,
        neuron: Neuron::IafPscDelta(Default::default()),
        v_initial: None,
        lattice_shape: None,
    };
    let network = Network {
        populations: vec![
            Population {
                neuron: Neuron::SpikeSource { times: vec![vec![1.0, 30.0]] },
                name: "given".into(),
                ..delta(1)
            },
            delta(3),
        ],
        projections: vec![
            Projection {
                source: "given".into(),
                target: "delta".into(),
                // 25 mV, twice 10.5 mV at once, and 10.5 mV twice at different times, which is not enough.
                rule: Rule::Edges(Edges { sources: vec![0; 5], targets: vec![0, 1, 1, 2, 2] }),
                weight: vec![25.0, 10.5, 10.5, 10.5, 10.5].into(),
                delay: vec![25.5, 0.1, 0.1, 0.1, 20.0].into(),
                autapses: true,
                multapses: true,
                plasticity: None,
            },
            Projection {
                source: "delta".into(),
                target: "delta".into(),
                rule: Rule::Edges(Edges { sources: vec![0], targets: vec![0] }),
                weight: 25.0.into(),
                delay: 5.0.into(),
                autapses: true,
                multapses: true,
                plasticity: None,
            },
        ],
        ..Network::default()
    };
    for device in devices() {
        let simulation = simulate(&device, &network, 45.0, None);
        let spikes: Vec<(u32, u32)> =
            simulation.raster().unwrap().iter().map(|(t, n)| ((t * 10.0).round() as u32, n)).collect();
        // Neuron 1 fires 25.5 ms after each given spike, and through itself every 5 ms; neuron 2 at once.
        let expected = [(10, 0), (11, 2), (265, 1), (300, 0), (301, 2), (315, 1), (365, 1), (415, 1)];
        assert_eq!(spikes, expected, "{}", device.name());
    }
}

/// A network recorded in NEST by `benches/peers/nest_traces.py`, as a description, with the stamps of its spikes.
fn from_nest(name: &str) -> (Network, Vec<Vec<u64>>) {
    let path = format!("{}/tests/data/nest/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let case: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let neurons = case["neurons"].as_array().unwrap();
    let each =
        |key: &str| -> Distribution { neurons.iter().map(|n| n[key].as_f64().unwrap()).collect::<Vec<f64>>().into() };
    let size = neurons.len() as u32;
    let neuron = match case["model"].as_str().unwrap() {
        "iaf_psc_exp" => Neuron::IafPscExp(IafPscExp {
            c_mem: each("C_m"),
            tau_mem: each("tau_m"),
            v_rest: each("E_L"),
            v_threshold: each("V_th"),
            v_reset: each("V_reset"),
            t_ref: each("t_ref"),
            tau_syn_ex: each("tau_syn_ex"),
            tau_syn_in: each("tau_syn_in"),
            i_offset: each("I_e"),
            ..IafPscExp::default()
        }),
        _ => Neuron::IafPscDelta(IafPscDelta {
            c_mem: each("C_m"),
            tau_mem: each("tau_m"),
            v_rest: each("E_L"),
            v_threshold: each("V_th"),
            v_reset: each("V_reset"),
            t_ref: each("t_ref"),
            i_offset: each("I_e"),
        }),
    };
    let stamps = |list: &serde_json::Value| -> Vec<u64> {
        list.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
    };
    let population = |name: &str, size, neuron, v_initial| Population {
        name: name.into(),
        size,
        neuron,
        v_initial,
        lattice_shape: None,
    };
    // (source, target, weight, delay in steps)
    let project = |source: &str, edges: Vec<(u32, u32, f64, f64)>| Projection {
        source: source.into(),
        target: "neurons".into(),
        rule: Rule::Edges(Edges {
            sources: edges.iter().map(|e| e.0).collect(),
            targets: edges.iter().map(|e| e.1).collect(),
        }),
        weight: edges.iter().map(|e| e.2).collect::<Vec<_>>().into(),
        delay: edges.iter().map(|e| 0.1 * e.3).collect::<Vec<_>>().into(),
        autapses: true,
        multapses: true,
        plasticity: None,
    };
    let number = |v: &serde_json::Value| v.as_f64().unwrap();
    let connections = case["connections"].as_array().unwrap().iter();
    let connections = connections.map(|c| (number(&c[0]) as u32, number(&c[1]) as u32, number(&c[2]), number(&c[3])));
    let inputs = case["inputs"].as_array().unwrap();
    // A train may have several spikes in a step; a source has one: the n-th of a step is that of the train's n-th source.
    let (mut trains, mut from_outside) = (Vec::new(), Vec::new());
    for input in inputs {
        let steps = stamps(&input["steps"]);
        for copy in 0..3 {
            let nth = |i: &usize| (0..*i).rev().take_while(|k| steps[*k] == steps[*i]).count() == copy;
            let times: Vec<f64> = (0..steps.len()).filter(nth).map(|i| 0.1 * steps[i] as f64).collect();
            let source = trains.len() as u32;
            trains.push(times);
            from_outside.push((
                source,
                number(&input["target"]) as u32,
                number(&input["weight"]),
                number(&input["delay_steps"]),
            ));
        }
    }
    let network = Network {
        populations: vec![
            population("neurons", size, neuron, Some(each("V_m"))),
            population("outside", trains.len() as u32, Neuron::SpikeSource { times: trains }, None),
        ],
        projections: vec![project("neurons", connections.collect()), project("outside", from_outside)],
        ..Network::default()
    };
    (network, case["spike_steps"].as_array().unwrap().iter().map(stamps).collect())
}

#[test]
fn small_networks_fire_in_the_steps_in_which_they_fire_in_nest() {
    for name in ["psc_exp_network", "psc_delta_network"] {
        let (network, expected) = from_nest(name);
        let spikes: usize = expected.iter().map(Vec::len).sum();
        assert!(spikes > 500, "{name}: {spikes} spikes");
        for device in devices() {
            let simulation = simulate(&device, &network, 10_000.0, None);
            let mut stamps = vec![Vec::new(); expected.len()];
            for (time, neuron) in simulation.raster().unwrap().iter() {
                if let Some(of) = stamps.get_mut(neuron as usize) {
                    of.push((time / 0.1).round() as u64);
                }
            }
            assert!(stamps == expected, "{name} on {}", device.name());
        }
    }
}
