//! Every mistake that a description can have, found before anything is built.

use std::collections::HashSet;

use super::connect::planes;
use super::{Distribution, Edges, Input, Layout, Network, Neuron, Population, Projection, Rule, Variable};
use crate::ops::{MAX_DELAY, MAX_POISSON_MEAN};
use crate::{Error, Result};

/// Times in ms, capacitances in pF, conductances in nS.
const POSITIVE: (f64, f64) = (1e-6, 1e9);
/// Potentials in mV; parameters without a domain.
const POTENTIAL: (f64, f64) = (-1e6, 1e6);
/// Currents in pA, weights.
const CURRENT: (f64, f64) = (-1e9, 1e9);
/// Spikes/s.
const RATE: (f64, f64) = (0.0, 1e9);
/// The longest refractory time in steps.
const LONGEST_REFRACTORY: f64 = (1 << 24) as f64;
/// The most synapses of a projection that each of its sources has on average.
const MOST_SYNAPSES: u64 = 1 << 30;
/// Steps that a network can count.
const MOST_STEPS: f64 = u32::MAX as f64;

fn within(what: impl FnOnce() -> String, value: f64, (least, most): (f64, f64), unit: &str) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(what(), format!("{value}{unit}; it must be from {least} to {most}{unit}")))
}

impl Network {
    /// Checks the whole description: names, sizes, parameters, rules, weights, delays, inputs and probes.
    ///
    /// # Errors
    /// `InvalidArgument` for the first mistake, with the name or number of the population, projection, input or probe.
    pub fn check(&self) -> Result<()> {
        if !(self.dt > 0.0 && self.dt.is_finite()) {
            return Err(Error::invalid("dt", format!("{} ms; a positive time", self.dt)));
        }
        if self.populations.is_empty() {
            return Err(Error::invalid("populations", "there are none; a network has at least one"));
        }
        let mut names = HashSet::new();
        for population in &self.populations {
            if population.name.is_empty() {
                return Err(Error::invalid("populations", "a name is empty"));
            }
            if !names.insert(population.name.as_str()) {
                return Err(Error::invalid("populations", format!("two are called \"{}\"", population.name)));
            }
            population.check(self.dt)?;
        }
        Layout::new(self.populations.iter().map(|p| p.size))?;
        for (i, projection) in self.projections.iter().enumerate() {
            self.check_projection(i, projection)?;
        }
        self.inputs.iter().enumerate().try_for_each(|(i, input)| self.check_input(i, input))?;
        (0..self.probes.len()).try_for_each(|i| self.check_probe(i))
    }

    /// The population of this name that takes input.
    fn receiver(&self, what: &str, name: &str) -> Result<&Population> {
        let found = self.population(name).map_err(|e| prefixed(what, e))?;
        let population = &self.populations[found];
        if matches!(population.neuron, Neuron::PoissonSource { .. } | Neuron::SpikeSource { .. }) {
            return Err(Error::invalid(what, format!("population \"{name}\" is a source, which takes no input")));
        }
        Ok(population)
    }

    fn check_projection(&self, number: usize, projection: &Projection) -> Result<()> {
        let what = format!("projection {number} (\"{}\" to \"{}\")", projection.source, projection.target);
        let bad = |why: String| Err(Error::invalid(&what, why));
        let source = &self.populations[self.population(&projection.source).map_err(|e| prefixed(&what, e))?];
        let target = self.receiver(&what, &projection.target)?;
        let itself = source.name == target.name;
        let skipped = u32::from(itself && !projection.autapses);
        let (sources, targets) = (source.size - skipped, target.size - skipped);
        let pairs = u64::from(source.size) * u64::from(targets);
        let given = [("weight", &projection.weight), ("delay", &projection.delay)];
        // How many synapses there are, where they have an order in which values can be given.
        let mut ordered = None;
        match &projection.rule {
            Rule::AllToAll => ordered = Some(pairs),
            Rule::OneToOne => {
                if source.size != target.size {
                    return bad(format!("one to one, from {} neurons to {}", source.size, target.size));
                }
                if skipped > 0 {
                    return bad("one to one within a population are autapses, which are excluded".into());
                }
                ordered = Some(source.size.into());
            }
            Rule::FixedTotalNumber(0) => {}
            Rule::FixedTotalNumber(n) => {
                if pairs == 0 {
                    return bad(format!("{n} synapses, and no two neurons that they could connect"));
                }
                if !projection.multapses && *n > pairs {
                    return bad(format!("{n} synapses without multapses; there are {pairs} pairs of neurons"));
                }
                let most = MOST_SYNAPSES * u64::from(source.size);
                if *n > most {
                    return bad(format!("{n} synapses; at most {most} from {} neurons", source.size));
                }
            }
            Rule::FixedInDegree(k) => {
                degree(&what, "in-degree", *k, sources, "sources", projection.multapses)?;
                let (n, most) = (u64::from(*k) * u64::from(target.size), MOST_SYNAPSES * u64::from(source.size));
                if n > most {
                    return bad(format!("{n} synapses; at most {most} from {} neurons", source.size));
                }
            }
            Rule::FixedOutDegree(k) => degree(&what, "out-degree", *k, targets, "targets", projection.multapses)?,
            Rule::FixedProbability(p) if (0.0..=1.0).contains(p) => {}
            Rule::FixedProbability(p) => return bad(format!("a probability of {p}; from 0 to 1")),
            Rule::Edges(edges) => {
                check_edges(&what, edges, projection, source.size, target.size, itself)?;
                ordered = Some(edges.sources.len() as u64);
            }
            // The file decides about weights and delays; those of the projection are for what it lacks.
            Rule::Sonata { .. } => {
                let any = (f64::NEG_INFINITY, f64::INFINITY);
                for (name, values) in given {
                    if !missing(values) {
                        values.check(&format!("{name}s of {what}"), 1, any)?;
                    }
                }
                return projection.plasticity.as_ref().map_or(Ok(()), |stdp| stdp.check());
            }
        }
        for (name, values) in given {
            if missing(values) {
                return bad(format!("its {name} is missing, or not a number"));
            }
            let Distribution::Values(values) = values else { continue };
            match ordered {
                None => return bad(format!("a list of {name}s needs a rule whose synapses have an order")),
                Some(n) if n != values.len() as u64 => {
                    return bad(format!("{} {name}s are given for {n} synapses", values.len()));
                }
                Some(_) => {}
            }
        }
        let size = |d: &Distribution| if let Distribution::Values(v) = d { v.len() } else { 1 };
        let (weight, delay) = (&projection.weight, &projection.delay);
        weight.check(&format!("weights of {what}"), size(weight), CURRENT)?;
        let delays = format!("delays of {what}");
        delay.check(&delays, size(delay), (f64::NEG_INFINITY, f64::INFINITY))?;
        if size(delay) > 0 {
            let (low, high) = delay.bounds();
            for ms in [low, high] {
                let steps = (ms / self.dt).round();
                if !(1.0..=f64::from(MAX_DELAY)).contains(&steps) {
                    let longest = f64::from(MAX_DELAY) * self.dt;
                    return Err(Error::invalid(
                        delays,
                        format!(
                            "{ms} ms may occur, which is {steps} steps of {} ms; from 1 step to {MAX_DELAY} ({longest} ms)",
                            self.dt
                        ),
                    ));
                }
            }
        }
        if let Some(stdp) = &projection.plasticity {
            stdp.check().map_err(|e| prefixed(&what, e))?;
            weight.check(&format!("plastic weights of {what}"), size(weight), (stdp.w_min, stdp.w_max))?;
            within(|| format!("w_min of {what}"), stdp.w_min, CURRENT, "")?;
            within(|| format!("w_max of {what}"), stdp.w_max, CURRENT, "")?;
        }
        Ok(())
    }

    fn check_input(&self, number: usize, input: &Input) -> Result<()> {
        let (Input::Poisson { target, start, stop, .. } | Input::Dc { target, start, stop, .. }) = input;
        let what = format!("input {number} (to \"{target}\")");
        self.receiver(&what, target)?;
        if !(*start >= 0.0 && start.is_finite() && stop > start) {
            let why = format!("from {start} ms until before {stop} ms; a time, and a later one");
            return Err(Error::invalid(what, why));
        }
        match input {
            Input::Poisson { rate, weight, .. } => {
                within(|| format!("weight of {what}"), *weight, CURRENT, "")?;
                let most = MAX_POISSON_MEAN / self.dt * 1e3;
                within(|| format!("rate of {what}"), *rate, (0.0, most), " spikes/s")
            }
            Input::Dc { amplitude, .. } => within(|| format!("amplitude of {what}"), *amplitude, CURRENT, " pA"),
        }
    }

    fn check_probe(&self, number: usize) -> Result<()> {
        let probe = &self.probes[number];
        let what = format!("probe {number} (of \"{}\")", probe.population);
        let population = &self.populations[self.population(&probe.population).map_err(|e| prefixed(&what, e))?];
        let bad = |why: String| Err(Error::invalid(&what, why));
        let has = match (&population.neuron, probe.variable) {
            (Neuron::PoissonSource { .. } | Neuron::SpikeSource { .. }, _) => false,
            (_, Variable::V) => true,
            (Neuron::IafCondExp(_), Variable::Excitatory | Variable::Inhibitory) => true,
            (Neuron::IafPscExp(_), Variable::Excitatory | Variable::Inhibitory) if planes(self) == 1 => {
                return bad(format!(
                    "there is no {:?} where both kinds of currents have one time constant and are kept as one; take \
                     Synaptic",
                    probe.variable
                ));
            }
            (Neuron::IafPscExp(_), Variable::Excitatory | Variable::Inhibitory) => true,
            (Neuron::IafPscExp(_), Variable::Synaptic) if planes(self) == 2 => {
                return bad("there is no Synaptic where both kinds of currents are kept apart; take Excitatory".into());
            }
            (Neuron::IafPscExp(_), Variable::Synaptic) => true,
            (Neuron::IafPscExp(n), Variable::Recovery) => n.adapt_increment.constant() != Some(0.0),
            (Neuron::Izhikevich(_), Variable::Recovery) => true,
            _ => false,
        };
        if !has {
            return bad(format!("its neurons have no variable {:?}", probe.variable));
        }
        if probe.neurons.is_empty() {
            return bad("it lists no neurons".into());
        }
        if let Some(i) = probe.neurons.iter().find(|&&i| i >= population.size) {
            return bad(format!("neuron {i} is not among the {} of the population", population.size));
        }
        if let Some(interval) = probe.interval {
            let steps = (interval / self.dt).round();
            if !((1.0..=MOST_STEPS).contains(&steps) && (interval / self.dt - steps).abs() < 1e-6 * steps) {
                return bad(format!("an interval of {interval} ms is not a multiple of the step of {} ms", self.dt));
            }
        }
        Ok(())
    }
}

/// Whether a description did not give it.
fn missing(values: &Distribution) -> bool {
    values.constant().is_some_and(f64::is_nan)
}

/// An error with the place put before its words.
fn prefixed(place: &str, error: Error) -> Error {
    match error {
        Error::InvalidArgument { what, why } => Error::invalid(place, format!("{what}: {why}")),
        other => other,
    }
}

fn degree(what: &str, name: &str, k: u32, n: u32, of: &str, multapses: bool) -> Result<()> {
    if k > 0 && n == 0 {
        return Err(Error::invalid(what, format!("{name} {k}, and there are no {of}")));
    }
    if k > n && !multapses {
        return Err(Error::invalid(what, format!("{name} {k} without multapses; there are {n} {of}")));
    }
    Ok(())
}

fn check_edges(
    what: &str,
    edges: &Edges,
    projection: &Projection,
    sources: u32,
    targets: u32,
    itself: bool,
) -> Result<()> {
    let bad = |why: String| Err(Error::invalid(what, why));
    let n = edges.sources.len();
    if n != edges.targets.len() {
        return bad(format!("{n} sources and {} targets are listed", edges.targets.len()));
    }
    if n >= u32::MAX as usize {
        return bad(format!("{n} edges; at most {}", u32::MAX - 1));
    }
    for (name, ends, size) in [("source", &edges.sources, sources), ("target", &edges.targets, targets)] {
        if let Some(i) = ends.iter().position(|&e| e >= size) {
            return bad(format!("edge {i} has {name} {}; the population has {size} neurons", ends[i]));
        }
    }
    let pair = |i: usize| (edges.sources[i], edges.targets[i]);
    if itself
        && !projection.autapses
        && let Some(i) = (0..n).find(|&i| pair(i).0 == pair(i).1)
    {
        return bad(format!("edge {i} connects neuron {} to itself, and autapses are excluded", pair(i).0));
    }
    if !projection.multapses {
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_unstable_by_key(|&i| (pair(i as usize), i));
        if let Some(two) = order.windows(2).find(|w| pair(w[0] as usize) == pair(w[1] as usize)) {
            return bad(format!(
                "edges {} and {} are between the same neurons, and multapses are excluded",
                two[0], two[1]
            ));
        }
    }
    Ok(())
}

impl Population {
    fn check(&self, dt: f64) -> Result<()> {
        let what = |name: &str| format!("{name} of population \"{}\"", self.name);
        if self.size == 0 {
            return Err(Error::invalid(what("size"), "0; at least one neuron"));
        }
        if let Some(shape) = &self.lattice_shape {
            let sites = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d.into()));
            if !(1..=4).contains(&shape.len()) || sites != Some(self.size.into()) {
                let why = format!("{shape:?}; up to four axes whose product is the size, {}", self.size);
                return Err(Error::invalid(what("lattice_shape"), why));
            }
        }
        let n = self.size as usize;
        let range = |name: &str| match name {
            "c_mem" | "tau_mem" | "tau_syn_ex" | "tau_syn_in" | "tau_adapt" | "g_leak" => POSITIVE,
            "t_ref" => (0.0, LONGEST_REFRACTORY * dt),
            "i_offset" => CURRENT,
            "adapt_increment" => (0.0, POTENTIAL.1),
            _ => POTENTIAL,
        };
        let parameter = |name: &'static str, d: &Distribution| d.check(&what(name), n, range(name));
        let below = |reset: &str, low: &Distribution, high: &Distribution| {
            let fine = match (low, high) {
                (Distribution::Values(low), Distribution::Values(high)) => low.iter().zip(high).all(|(a, b)| a < b),
                _ => low.bounds().1 < high.bounds().0,
            };
            let (low, high) = (low.bounds().1, high.bounds().0);
            let why = || format!("{low} mV may occur, and a v_threshold of {high} mV; it must be below");
            if fine { Ok(()) } else { Err(Error::invalid(what(reset), why())) }
        };
        match &self.neuron {
            Neuron::IafPscExp(neuron) => {
                neuron.try_map(parameter)?;
                below("v_reset", &neuron.v_reset, &neuron.v_threshold)?;
            }
            Neuron::IafPscDelta(neuron) => {
                neuron.try_map(parameter)?;
                below("v_reset", &neuron.v_reset, &neuron.v_threshold)?;
            }
            Neuron::IafCondExp(neuron) => {
                neuron.try_map(parameter)?;
                below("v_reset", &neuron.v_reset, &neuron.v_threshold)?;
            }
            Neuron::Izhikevich(neuron) => {
                neuron.try_map(parameter)?;
                below("c", &neuron.c, &neuron.v_threshold)?;
            }
            Neuron::PoissonSource { rate } => within(|| what("rate"), *rate, RATE, " spikes/s")?,
            Neuron::SpikeSource { times } => self.check_times(times, dt)?,
        }
        match (&self.v_initial, &self.neuron) {
            (Some(_), Neuron::PoissonSource { .. } | Neuron::SpikeSource { .. }) => {
                Err(Error::invalid(what("v_initial"), "it is given, and sources have no membrane"))
            }
            (Some(v), _) => v.check(&what("v_initial"), n, POTENTIAL),
            (None, _) => Ok(()),
        }
    }

    fn check_times(&self, times: &[Vec<f64>], dt: f64) -> Result<()> {
        let bad = |why: String| Err(Error::invalid(format!("times of population \"{}\"", self.name), why));
        if times.len() != self.size as usize {
            return bad(format!("{} lists are given for {} neurons", times.len(), self.size));
        }
        for (i, times) in times.iter().enumerate() {
            let mut before = 0.0;
            for &time in times {
                let step = (time / dt).round();
                if !(1.0..=MOST_STEPS).contains(&step) {
                    return bad(format!("neuron {i} fires at {time} ms; the first step ends at {dt} ms"));
                }
                if step <= before {
                    return bad(format!("neuron {i} fires at {time} ms, no step after its spike before"));
                }
                before = step;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Probe;
    use crate::ops::{IafCondExp, IafPscDelta, IafPscExp, Izhikevich, Stdp, StdpRule};

    fn population(name: &str, size: u32, neuron: Neuron) -> Population {
        Population { name: name.into(), size, neuron, v_initial: None, lattice_shape: None }
    }

    fn network() -> Network {
        let projection = |source: &str, target: &str, rule| Projection {
            source: source.into(),
            target: target.into(),
            rule,
            weight: 1.0.into(),
            delay: 1.5.into(),
            autapses: false,
            multapses: false,
            plasticity: None,
        };
        Network {
            populations: vec![
                population("E", 8, Neuron::IafPscExp(IafPscExp::default())),
                population("I", 2, Neuron::IafPscDelta(IafPscDelta::default())),
                population("C", 8, Neuron::IafCondExp(IafCondExp::default())),
                population("Z", 1, Neuron::Izhikevich(Izhikevich::default())),
                population("noise", 3, Neuron::PoissonSource { rate: 10.0 }),
                population("given", 2, Neuron::SpikeSource { times: vec![vec![0.1, 0.2], vec![]] }),
            ],
            projections: vec![
                projection("E", "I", Rule::FixedInDegree(8)),
                projection("E", "C", Rule::OneToOne),
                projection("E", "E", Rule::Edges(Edges { sources: vec![0, 1], targets: vec![1, 0] })),
            ],
            inputs: vec![Input::Poisson { target: "E".into(), rate: 8000.0, weight: 87.8, start: 0.0, stop: 5.0 }],
            probes: vec![Probe {
                population: "E".into(),
                variable: Variable::V,
                neurons: vec![0, 7],
                interval: Some(0.3),
            }],
            ..Network::default()
        }
    }

    type Case = (&'static str, fn(&mut Network));

    /// Each change must be refused with words that contain the text.
    fn refused(cases: &[Case]) {
        network().check().unwrap();
        for (words, change) in cases {
            let mut network = network();
            change(&mut network);
            let error = network.check().expect_err(words).to_string();
            assert!(error.contains(words), "{error} does not say {words}");
            assert!(!error.contains('\n') && error.len() < 220, "{error}");
        }
    }

    #[test]
    fn mistakes_of_the_network_and_its_populations() {
        refused(&[
            ("invalid dt: 0 ms", |n| n.dt = 0.0),
            ("invalid dt: NaN", |n| n.dt = f64::NAN),
            ("there are none", |n| n.populations.clear()),
            ("two are called \"E\"", |n| n.populations[1].name = "E".into()),
            ("a name is empty", |n| n.populations[1].name.clear()),
            ("size of population \"I\": 0", |n| n.populations[1].size = 0),
            ("more than 2147483648 neurons", |n| {
                n.populations[1].size = u32::MAX;
            }),
            ("lattice_shape of population \"E\": [2, 2]", |n| n.populations[0].lattice_shape = Some(vec![2, 2])),
            ("up to four axes", |n| n.populations[0].lattice_shape = Some(vec![2, 2, 2, 1, 1])),
            ("tau_mem of population \"E\"", |n| {
                n.populations[0].neuron = Neuron::IafPscExp(IafPscExp { tau_mem: 0.0.into(), ..Default::default() });
            }),
            ("c_mem of population \"C\": 2 values are given for 8", |n| {
                n.populations[2].neuron =
                    Neuron::IafCondExp(IafCondExp { c_mem: vec![1.0, 2.0].into(), ..Default::default() });
            }),
            ("t_ref of population \"I\"", |n| {
                n.populations[1].neuron =
                    Neuron::IafPscDelta(IafPscDelta { t_ref: Distribution::normal(2.0, 1.0), ..Default::default() });
            }),
            ("i_offset of population \"Z\": NaN", |n| {
                n.populations[3].neuron =
                    Neuron::Izhikevich(Izhikevich { i_offset: f64::NAN.into(), ..Default::default() });
            }),
            ("v_reset of population \"I\": 20 mV may occur", |n| {
                n.populations[1].neuron =
                    Neuron::IafPscDelta(IafPscDelta { v_reset: 20.0.into(), ..Default::default() });
            }),
            ("c of population \"Z\"", |n| {
                n.populations[3].neuron = Neuron::Izhikevich(Izhikevich { c: 31.0.into(), ..Default::default() });
            }),
            ("rate of population \"noise\": -1", |n| n.populations[4].neuron = Neuron::PoissonSource { rate: -1.0 }),
            ("1 lists are given for 2", |n| n.populations[5].neuron = Neuron::SpikeSource { times: vec![vec![]] }),
            ("neuron 1 fires at 0 ms", |n| {
                n.populations[5].neuron = Neuron::SpikeSource { times: vec![vec![], vec![0.0]] };
            }),
            ("neuron 0 fires at 0.32 ms, no step after", |n| {
                n.populations[5].neuron = Neuron::SpikeSource { times: vec![vec![0.3, 0.32], vec![]] };
            }),
            ("v_initial of population \"noise\"", |n| n.populations[4].v_initial = Some(0.0.into())),
            ("v_initial of population \"E\"", |n| n.populations[0].v_initial = Some(f64::INFINITY.into())),
        ]);
    }

    #[test]
    fn mistakes_of_projections() {
        refused(&[
            ("projection 0 (\"X\" to \"I\"): population: \"X\" is unknown; there are E, I, C", |n| {
                n.projections[0].source = "X".into();
            }),
            ("\"X\" is unknown", |n| n.projections[0].target = "X".into()),
            ("\"noise\" is a source", |n| n.projections[0].target = "noise".into()),
            ("one to one, from 8 neurons to 2", |n| n.projections[0].rule = Rule::OneToOne),
            ("are autapses", |n| n.projections[2].rule = Rule::OneToOne),
            ("in-degree 9 without multapses; there are 8 sources", |n| {
                n.projections[0].rule = Rule::FixedInDegree(9);
            }),
            ("in-degree 8 without multapses; there are 7 sources", |n| {
                n.projections[2].rule = Rule::FixedInDegree(8);
            }),
            ("out-degree 3 without multapses; there are 2 targets", |n| {
                n.projections[0].rule = Rule::FixedOutDegree(3);
            }),
            ("57 synapses without multapses; there are 56 pairs", |n| {
                n.projections[2].rule = Rule::FixedTotalNumber(57);
            }),
            ("no two neurons", |n| {
                n.projections[0].source = "Z".into();
                n.projections[0].target = "Z".into();
                n.projections[0].rule = Rule::FixedTotalNumber(1);
            }),
            ("there are no sources", |n| {
                n.projections[0].source = "Z".into();
                n.projections[0].target = "Z".into();
                n.projections[0].multapses = true;
                n.projections[0].rule = Rule::FixedInDegree(1);
            }),
            ("at most 8589934592", |n| {
                n.projections[0].multapses = true;
                n.projections[0].rule = Rule::FixedTotalNumber(1 << 40);
            }),
            ("at most 1073741824 from 1 neurons", |n| {
                n.projections[0].source = "Z".into();
                n.projections[0].multapses = true;
                n.projections[0].rule = Rule::FixedInDegree(1 << 30);
            }),
            ("a probability of 1.5", |n| n.projections[0].rule = Rule::FixedProbability(1.5)),
            ("a probability of NaN", |n| n.projections[0].rule = Rule::FixedProbability(f64::NAN)),
            ("1 sources and 2 targets", |n| {
                n.projections[2].rule = Rule::Edges(Edges { sources: vec![0], targets: vec![0, 1] });
            }),
            ("edge 1 has target 8; the population has 8", |n| {
                n.projections[2].rule = Rule::Edges(Edges { sources: vec![0, 1], targets: vec![1, 8] });
            }),
            ("edge 1 connects neuron 3 to itself", |n| {
                n.projections[2].rule = Rule::Edges(Edges { sources: vec![0, 3], targets: vec![1, 3] });
            }),
            ("edges 0 and 2 are between the same neurons", |n| {
                n.projections[2].rule = Rule::Edges(Edges { sources: vec![0, 3, 0], targets: vec![1, 1, 1] });
            }),
            ("3 weights are given for 2 synapses", |n| n.projections[2].weight = vec![1.0, 2.0, 3.0].into()),
            ("a list of delays needs a rule", |n| n.projections[0].delay = vec![1.0].into()),
            ("projection 0 (\"E\" to \"I\"): its weight is missing, or not a number", |n| {
                n.projections[0].weight = f64::NAN.into()
            }),
            ("they must be from -1000000000", |n| n.projections[0].weight = 2e9.into()),
            ("weights of projection 2 (\"E\" to \"E\"): inf", |n| {
                n.projections[2].weight = vec![1.0, f64::INFINITY].into()
            }),
            ("delays of projection 0 (\"E\" to \"I\"): 0 ms may occur, which is 0 steps of 0.1 ms", |n| {
                n.projections[0].delay = 0.0.into();
            }),
            ("which is 256 steps", |n| n.projections[0].delay = 25.6.into()),
            ("which is -49 steps", |n| n.projections[0].delay = Distribution::normal(1.5, 0.75)),
            ("0.04 ms may occur", |n| n.projections[2].delay = vec![1.0, 0.04].into()),
            ("w_min: 2 is above w_max, 1", |n| n.projections[0].plasticity = Some(stdp(2.0, 1.0))),
            ("plastic weights of projection 0", |n| n.projections[0].plasticity = Some(stdp(0.0, 0.5))),
            ("tau_plus: 0 ms", |n| n.projections[0].plasticity = Some(Stdp { tau_plus: 0.0, ..stdp(0.0, 2.0) })),
        ]);
        let mut fine = network();
        fine.projections[0].plasticity = Some(stdp(0.0, 1.0));
        fine.projections[0].delay = 25.5.into();
        fine.projections[2].delay = Distribution::truncated(1.5, 0.75, 0.05, 25.0);
        fine.check().unwrap();
    }

    fn stdp(w_min: f64, w_max: f64) -> Stdp {
        let rule = StdpRule::Additive;
        Stdp { tau_plus: 20.0, tau_minus: 20.0, a_plus: 0.1, a_minus: 0.1, w_min, w_max, rule }
    }

    #[test]
    fn mistakes_of_inputs_and_probes() {
        fn input(n: &mut Network, rate: f64, weight: f64, start: f64, stop: f64) {
            n.inputs[0] = Input::Poisson { target: "E".into(), rate, weight, start, stop };
        }
        refused(&[
            ("rate of input 0 (to \"E\"): -1 spikes/s", |n| input(n, -1.0, 1.0, 0.0, 1.0)),
            ("rate of input 0 (to \"E\"): 10000001 spikes/s", |n| input(n, 10_000_001.0, 1.0, 0.0, 1.0)),
            ("weight of input 0 (to \"E\"): NaN", |n| input(n, 1.0, f64::NAN, 0.0, 1.0)),
            ("from 2 ms until before 1 ms", |n| input(n, 1.0, 1.0, 2.0, 1.0)),
            ("from -1 ms", |n| input(n, 1.0, 1.0, -1.0, 1.0)),
            ("input 0 (to \"X\"): population: \"X\" is unknown", |n| {
                n.inputs[0] = Input::Dc { target: "X".into(), amplitude: 1.0, start: 0.0, stop: 1.0 };
            }),
            ("\"given\" is a source", |n| {
                n.inputs[0] = Input::Dc { target: "given".into(), amplitude: 1.0, start: 0.0, stop: 1.0 };
            }),
            ("amplitude of input 0 (to \"E\"): inf pA", |n| {
                n.inputs[0] = Input::Dc { target: "E".into(), amplitude: f64::INFINITY, start: 0.0, stop: 1.0 };
            }),
            ("probe 0 (of \"X\"): population: \"X\" is unknown", |n| n.probes[0].population = "X".into()),
            ("no variable V", |n| n.probes[0].population = "noise".into()),
            ("no variable Excitatory", |n| {
                n.probes[0].population = "Z".into();
                n.probes[0].variable = Variable::Excitatory;
            }),
            ("it lists no neurons", |n| n.probes[0].neurons.clear()),
            ("neuron 8 is not among the 8", |n| n.probes[0].neurons.push(8)),
            ("an interval of 0.25 ms", |n| n.probes[0].interval = Some(0.25)),
            ("an interval of 0 ms", |n| n.probes[0].interval = Some(0.0)),
        ]);
    }
}
