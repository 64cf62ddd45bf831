//! Neurons beside NEST's: spike steps over ten seconds, membranes over the first 100 ms, as `benches/peers/nest_traces.py`
//! has recorded them.

mod common;
#[path = "common/neurons.rs"]
mod harness;

use std::path::Path;

use harness::{Run, Setup, cpu, on};
use serde::Deserialize;
use spikewave::ops::{IafPscDelta, IafPscExp, NeuronModel, NeuronPopulation};

/// pA or mV to units: 2^31 units are 8 nA.
const EXPONENT: i32 = 18;
/// Steps with membranes.
const TRACED: u32 = 1000;

#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    resolution_ms: f64,
    steps: u32,
    neurons: Vec<Parameters>,
    inputs: Vec<Train>,
    /// Source, target, weight, delay in steps.
    connections: Vec<(usize, usize, f64, u32)>,
    spike_steps: Vec<Vec<u32>>,
    v_m: Vec<f64>,
}

#[derive(Deserialize)]
#[allow(non_snake_case, reason = "NEST's names")]
struct Parameters {
    C_m: f64,
    tau_m: f64,
    E_L: f64,
    V_th: f64,
    V_reset: f64,
    t_ref: f64,
    #[serde(default)]
    tau_syn_ex: f64,
    #[serde(default)]
    tau_syn_in: f64,
    I_e: f64,
    V_m: f64,
}

/// Spikes to a neuron from outside.
#[derive(Deserialize)]
struct Train {
    target: usize,
    weight: f64,
    delay_steps: u32,
    steps: Vec<u32>,
}

impl Case {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nest").join(name).with_extension("json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let case: Self = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(case.steps == 100_000 && case.resolution_ms == 0.1 && case.v_m.len() == TRACED as usize);
        assert_eq!(case.spike_steps.len(), case.neurons.len());
        assert!(case.spike_steps[0].len() > 10, "{name} is silent");
        case
    }

    /// All neurons as a population, with a value a neuron where they differ.
    fn population(&self, first: u32) -> NeuronPopulation {
        let all = |of: fn(&Parameters) -> f64| {
            let values: Vec<f64> = self.neurons.iter().map(of).collect();
            if values.iter().all(|v| *v == values[0]) { values[0].into() } else { values.into() }
        };
        let (c_mem, tau_mem) = (all(|p| p.C_m), all(|p| p.tau_m));
        let (v_rest, v_threshold, v_reset) = (all(|p| p.E_L), all(|p| p.V_th), all(|p| p.V_reset));
        let (t_ref, i_offset) = (all(|p| p.t_ref), all(|p| p.I_e));
        let model = match self.model.as_str() {
            "iaf_psc_exp" => NeuronModel::IafPscExp(IafPscExp {
                c_mem,
                tau_mem,
                v_rest,
                v_threshold,
                v_reset,
                t_ref,
                i_offset,
                tau_syn_ex: all(|p| p.tau_syn_ex),
                tau_syn_in: all(|p| p.tau_syn_in),
                ..IafPscExp::default()
            }),
            "iaf_psc_delta" => {
                NeuronModel::IafPscDelta(IafPscDelta { c_mem, tau_mem, v_rest, v_threshold, v_reset, t_ref, i_offset })
            }
            other => panic!("no model for {other}"),
        };
        let v_initial = Some(all(|p| p.V_m));
        NeuronPopulation { first, size: self.neurons.len() as u32, exponent: EXPONENT, v_initial, model }
    }

    /// Every event as (step, plane, neuron, units). NEST's stamp n is our step n − 1; a spike with stamp n arrives in the
    /// update that ends at n + delay. Spikes of the network's own neurons are NEST's: if ours are the same, so is what
    /// they would have sent.
    fn events(&self, planes: u32) -> Vec<(u32, u32, usize, i32)> {
        let outside = self.inputs.iter().map(|t| (&t.steps, t.target, t.weight, t.delay_steps));
        let inside = self
            .connections
            .iter()
            .map(|&(source, target, weight, delay)| (&self.spike_steps[source], target, weight, delay));
        let mut events = Vec::new();
        for (stamps, target, weight, delay) in outside.chain(inside) {
            let plane = u32::from(planes == 2 && weight < 0.0);
            let units = (weight * 2f64.powi(EXPONENT)).round() as i32;
            events.extend(stamps.iter().map(|n| (n + delay - 1, plane, target, units)));
        }
        events
    }
}

/// All cases side by side, and the sums of their input: `[step][plane][neuron]`.
fn together(cases: &[Case], planes: u32) -> (Setup, Vec<i32>) {
    let mut setup = Setup { dt: 0.1, planes, driven: false, steps: 256, populations: Vec::new() };
    for case in cases {
        let population = case.population(setup.stride());
        setup.populations.push(population);
    }
    let (row, steps) = ((planes * setup.stride()) as usize, cases[0].steps);
    let mut input = vec![0i32; row * steps as usize];
    for (case, p) in cases.iter().zip(&setup.populations) {
        for (step, plane, target, units) in case.events(planes).into_iter().filter(|e| e.0 < steps) {
            let at = (plane * setup.stride() + p.first) as usize + target;
            input[step as usize * row + at] += units;
        }
    }
    (setup, input)
}

fn assert_spikes(cases: &[Case], setup: &Setup, run: &Run, on: &str) {
    for (case, p) in cases.iter().zip(&setup.populations) {
        // In a network a neuron may be silent.
        assert!(case.spike_steps.iter().map(Vec::len).sum::<usize>() > 20, "{}: hardly a spike", case.name);
        for (n, expected) in case.spike_steps.iter().enumerate() {
            let stamps: Vec<u32> = run.of(p.first + n as u32).iter().map(|step| step + 1).collect();
            assert!(stamps == *expected, "{}: neuron {n} on {on}", case.name);
        }
    }
}

fn compare(names: &[&str], planes: u32) {
    let cases: Vec<Case> = names.iter().map(|n| Case::read(n)).collect();
    let (setup, input) = together(&cases, planes);
    let (stride, total) = (setup.stride(), cases[0].steps);
    let input = |step: u32, plane: u32, n: u32| input[((step * planes + plane) * stride + n) as usize];
    let run = on(&cpu(1), &setup, (total, 256), false, &input);
    assert_spikes(&cases, &setup, &run, "the native path");
    let traced = on(&cpu(1), &setup, (TRACED, 256), true, &input);
    for (at, case) in cases.iter().enumerate() {
        let ours = traced.membranes.iter().map(|m| m[at][0]);
        let worst = ours.zip(&case.v_m).map(|(v, nest)| (v - nest).abs()).fold(0.0, f64::max);
        // NEST's are written with six decimals.
        eprintln!("{}: {} spikes, membrane within {worst:.1e} mV", case.name, case.spike_steps[0].len());
        assert!(worst < 5e-6, "{}: a membrane is {worst} mV off", case.name);
    }
    for device in common::devices() {
        let other = on(&device, &setup, (total, 256), false, &input);
        assert_spikes(&cases, &setup, &other, device.name());
        assert!(other == run, "states on {}", device.name());
        assert!(on(&device, &setup, (TRACED, 256), true, &input) == traced, "membranes on {}", device.name());
    }
}

#[test]
fn as_nest_with_two_planes() {
    let names = [
        "psc_exp_dc",
        "psc_exp_dc_cuba",
        "psc_exp_input",
        "psc_exp_input_cuba",
        "psc_exp_input_singular",
        "psc_exp_network",
        "psc_delta_dc",
        "psc_delta_input",
        "psc_delta_network",
    ];
    compare(&names, 2);
}

#[test]
fn as_nest_with_one_plane() {
    let names = [
        "psc_exp_dc",
        "psc_exp_input",
        "psc_exp_input_singular",
        "psc_exp_network",
        "psc_delta_dc",
        "psc_delta_input",
        "psc_delta_network",
    ];
    compare(&names, 1);
}
