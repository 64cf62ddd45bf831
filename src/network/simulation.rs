//! A network on a device, step after step.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::connect::{BuildOptions, Connectivity, Layout, in_units, poisson_mean};
use super::{Input, Network, Population, Raster, Variable};
use crate::device::{CancelToken, Control, Device, Feed, KernelTime, Outputs, Prepared, room};
use crate::io::Fingerprint;
use crate::kernel::Tensor;
use crate::ops::{
    Bus, NeuronPopulation, NeuronVariable, Neurons, PlasticSynapses, PoissonInput, StateProbe, Synapses, poisson_drive,
};
use crate::recording::{Capabilities, Recording};
use crate::{Error, Result};

/// Bytes of one run's spikes and Poisson input at most: enough steps to make a submission long, little beside synapses.
const RUN_BYTES: u64 = 32 << 20;

/// How a network is simulated.
#[derive(Clone, Default)]
pub struct SimulationOptions<'a> {
    /// Whether spikes are kept: counts of spikes always are.
    pub record: Record,
    /// Steps of one submission; `None`: as the device likes it. Results do not depend on it.
    pub steps_per_run: Option<u32>,
    /// Called while the network is built, with what is done and what is to do.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
    /// Stops the building.
    pub cancel: CancelToken,
}

/// Which spikes are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Record {
    /// Those after this time, ms.
    From(f64),
    /// None; rates are then over the whole time.
    Nothing,
}

impl Default for Record {
    fn default() -> Self {
        Self::From(0.0)
    }
}

/// What a simulation needs, before it runs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SimulationPlan {
    /// Neurons of all populations.
    pub neurons: u64,
    /// Synapses of all projections.
    pub synapses: u64,
    /// Synapses of each projection.
    pub synapses_of: Vec<u64>,
    /// Bytes on the device by part.
    pub parts: Vec<(String, u64)>,
    /// Bytes on the device in all.
    pub planned_bytes: u64,
    /// The smallest budget with which it runs, to the same result; where [`Simulation::plan_of`] was asked, and the
    /// network is so small that building it once more takes no time. The synapses are a table that every step reads:
    /// no budget is below it.
    pub least_bytes: Option<u64>,
}

/// Time spent in a phase of the steps.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PhaseTime {
    /// `neurons`, `propagation`, `plasticity`, `input` or `recording`.
    pub phase: &'static str,
    /// Kernel launches.
    pub dispatches: u64,
    /// In all of the profiled steps.
    pub time: Duration,
    /// `timestamps` of the device, or `wall clock`.
    pub clock: &'static str,
}

/// The phase that a kernel belongs to.
fn phase_of(kernel: &str) -> &'static str {
    match kernel {
        "poisson_drive" => "input",
        "csr_propagate" => "propagation",
        kernel if kernel.starts_with("stdp") => "plasticity",
        "probe" => "recording",
        _ => "neurons",
    }
}

/// A probe in the recording, and what it has recorded.
struct ProbeData {
    op: StateProbe,
    interval: u32,
    /// What is to be added to the state of each neuron.
    offsets: Vec<f64>,
    /// Step and values of each sample.
    steps: Vec<u32>,
    values: Vec<f32>,
}

/// A current that is switched on and off.
struct Switch {
    population: usize,
    amplitude: f64,
    on: u32,
    off: u32,
}

/// A network that is ready to run, or running.
pub struct Simulation {
    network: Network,
    layout: Layout,
    plan: SimulationPlan,
    fingerprint: u64,
    bus: Bus,
    neurons: Neurons,
    /// With the projection of each.
    plastic: Vec<(usize, PlasticSynapses)>,
    /// Everything that a checkpoint holds.
    states: Vec<(String, Tensor<u32>)>,
    probes: Vec<ProbeData>,
    switches: Vec<Switch>,
    prepared: Prepared,
    step: u32,
    raster: Option<Raster>,
    record: Record,
    /// Spikes of each population before `counted_from`.
    counted: Vec<u64>,
    counted_from: u32,
    /// Whether the state on the device is that after `step` steps.
    sound: bool,
    build_time: Duration,
    warmup_time: Duration,
}

/// Everything but the memory: the recording of a network's steps.
struct Assembly {
    recording: Recording,
    layout: Layout,
    plan: SimulationPlan,
    fingerprint: u64,
    bus: Bus,
    neurons: Neurons,
    /// With the projection of each.
    plastic: Vec<(usize, PlasticSynapses)>,
    states: Vec<(String, Tensor<u32>)>,
    probes: Vec<ProbeData>,
    switches: Vec<Switch>,
}

/// Rows of every seventh neuron, if there is a synapse in them.
fn signed_rows(first_source: u32, offsets: &[u32]) -> impl Iterator<Item = usize> {
    let filled = move |row: &usize| (first_source as usize + row).is_multiple_of(7) && offsets[*row] < offsets[row + 1];
    (0..offsets.len().saturating_sub(1)).filter(filled)
}

/// What tells networks apart: the description, and a part of what was made of it (files may change).
fn fingerprint(network: &Network, built: &Connectivity) -> Result<u64> {
    let mut sign = Fingerprint::default();
    // Probes read, and names of networks are for reports.
    let described = Network { name: String::new(), probes: Vec::new(), ..network.clone() };
    let text = serde_json::to_string(&described).map_err(|e| Error::Internal(e.to_string()))?;
    sign.text(&text);
    built.synapses_of.iter().for_each(|&n| sign.number(n));
    // Devices may cut a table by rows in different places: rows are signed by their neurons.
    for table in &built.tables {
        for row in signed_rows(table.first_source, &table.row_offsets) {
            let at = table.row_offsets[row] as usize;
            sign.word(table.first_source + row as u32);
            sign.word(table.row_offsets[row + 1] - at as u32);
            sign.word(table.target(at));
            sign.word(table.weight(row, at) as u32);
            sign.word(table.delay(at));
        }
    }
    for table in &built.plastic {
        for row in signed_rows(table.first_source, &table.row_offsets) {
            let at = table.row_offsets[row] as usize;
            sign.word(table.first_source + row as u32);
            sign.word(table.row_offsets[row + 1] - at as u32);
            sign.f32s(&table.weights[at..table.row_offsets[row + 1] as usize]);
        }
    }
    Ok(sign.value())
}

/// A time in steps, to the nearest; a time beyond all steps is the last.
fn steps_at(time_ms: f64, dt: f64) -> u32 {
    (time_ms / dt).round().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// The whole steps of a duration.
///
/// # Errors
/// `InvalidArgument` for a duration that is not positive or not a multiple of the step.
pub fn steps_of(duration_ms: f64, dt: f64) -> Result<u32> {
    let steps = (duration_ms / dt).round();
    if !(duration_ms > 0.0 && duration_ms.is_finite()) {
        return Err(Error::invalid("duration", format!("{duration_ms} ms; it must be positive")));
    }
    if (duration_ms - steps * dt).abs() > 1e-6 * dt + 4.0 * f64::EPSILON * duration_ms || steps < 1.0 {
        let why = format!("{duration_ms} ms is not a multiple of the step of {dt} ms");
        return Err(Error::invalid("duration", why));
    }
    if steps > f64::from(u32::MAX) {
        return Err(Error::invalid("duration", format!("{steps:e} steps; at most 2^32 - 1")));
    }
    Ok(steps as u32)
}

/// Bytes of a recording by part: each tensor belongs to the part that was current when it was made.
struct Parts {
    list: Vec<(&'static str, usize)>,
}

impl Parts {
    fn end(&mut self, name: &'static str, recording: &Recording) {
        self.list.push((name, recording.tensors.len()));
    }

    /// The bytes of each part, and the rest of the plan.
    fn bytes(&self, recording: &Recording) -> (Vec<(String, u64)>, u64) {
        let plan = recording.plan();
        let mut parts: Vec<(String, u64)> = Vec::new();
        // Tensors may share memory, which then belongs to the first.
        let mut counted = vec![false; plan.slots.len()];
        let mut first = 0;
        for &(name, end) in &self.list {
            let mut bytes = 0;
            for slot in plan.slot_of[first..end].iter().flatten() {
                if !std::mem::replace(&mut counted[*slot], true) {
                    bytes += plan.slots[*slot].bytes;
                }
            }
            first = end;
            match parts.iter_mut().find(|(n, _)| n == name) {
                Some((_, sum)) => *sum += bytes,
                None => parts.push((name.into(), bytes)),
            }
        }
        let peak = plan.peak_bytes();
        let rest = peak.saturating_sub(parts.iter().map(|(_, bytes)| bytes).sum());
        parts.push(("transfers and parameters".into(), rest));
        parts.retain(|(_, bytes)| *bytes > 0);
        (parts, peak)
    }
}

/// Networks that need no more than this are built once more, to find out with how little they could do.
const SMALL: u64 = 256 << 20;

/// As many steps a run as the device likes; one, which takes the least memory, where there is no room for more.
fn assemble(device: &Device, network: &Network, options: &SimulationOptions<'_>) -> Result<Assembly> {
    let room = room(device);
    let over = match assemble_within(device, network, options, device.capabilities().budget_bytes) {
        Ok(assembly) if assembly.plan.planned_bytes <= room => return Ok(assembly),
        Ok(assembly) if assembly.bus.steps == 1 => return Ok(assembly),
        Ok(_) => None,
        Err(error @ Error::OverBudget { needed, .. }) if needed > SMALL => return Err(error),
        Err(error @ Error::OverBudget { .. }) => Some(error),
        Err(error) => return Err(error),
    };
    let fewest = SimulationOptions { steps_per_run: Some(1), cancel: options.cancel.clone(), ..*options };
    let assembly = assemble_within(device, network, &fewest, u64::MAX)?;
    let least = assembly.plan.planned_bytes;
    if least <= room {
        return Ok(assembly);
    }
    let in_use = device.stats().memory.leased_bytes;
    let (tensor, tensor_bytes) = assembly.recording.plan().largest;
    let tensor = format!("{tensor}, which every step reads");
    let limit = device.capabilities().budget_bytes;
    let error = Error::OverBudget { needed: least, in_use, limit, tensor, tensor_bytes, least: None };
    Err(over.unwrap_or(error).with_least(least + in_use))
}

fn assemble_within(
    device: &Device,
    network: &Network,
    options: &SimulationOptions<'_>,
    budget_bytes: u64,
) -> Result<Assembly> {
    match device {
        Device::Cpu(cpu) => cpu.install(|| assemble_here(device, network, options, budget_bytes)),
        Device::Gpu(_) => assemble_here(device, network, options, budget_bytes),
    }
}

/// The populations with their parameters drawn, without their places and units. Each is put alone into a recording that
/// is thrown away: what its neurons cannot take is said before the synapses are made, and with its name.
fn populations(network: &Network) -> Result<Vec<NeuronPopulation>> {
    let one = |(i, p): (usize, &Population)| {
        let v_initial = network.initial_potential(i);
        let alone =
            NeuronPopulation { first: 0, size: p.size, exponent: 0, v_initial, model: network.neuron_model(i)? };
        let mut rec = Recording::new("population", &Capabilities { max_tensor_bytes: u64::MAX, ..Default::default() });
        let tried = Bus::new(&mut rec, p.size.next_multiple_of(32), 1, 1, 2, false)
            .and_then(|bus| Neurons::new(&mut rec, &bus, network.dt, std::slice::from_ref(&alone)));
        match tried {
            Ok(_) => Ok(alone),
            Err(Error::InvalidArgument { what, why }) => {
                Err(Error::invalid(format!("{what} of population \"{}\"", p.name), why))
            }
            Err(other) => Err(other),
        }
    };
    network.populations.iter().enumerate().map(one).collect()
}

fn assemble_here(
    device: &Device,
    network: &Network,
    options: &SimulationOptions<'_>,
    budget_bytes: u64,
) -> Result<Assembly> {
    network.check()?;
    let mut populations = populations(network)?;
    let capabilities = device.capabilities();
    let built = Connectivity::build(
        network,
        &BuildOptions {
            max_tensor_bytes: capabilities.max_tensor_bytes,
            budget_bytes,
            progress: options.progress,
            cancel: options.cancel.clone(),
        },
    )?;
    let fingerprint = fingerprint(network, &built)?;
    let synapses = built.synapses();
    let Connectivity {
        layout,
        tables,
        plastic: plastic_tables,
        plastic_of,
        exponents,
        planes,
        max_delay,
        synapses_of,
        ..
    } = built;
    let dt = network.dt;

    let poisson: Vec<(usize, &Input)> =
        network.inputs.iter().enumerate().filter(|(_, i)| matches!(i, Input::Poisson { .. })).collect();
    let steps = options.steps_per_run.unwrap_or_else(|| {
        let liked: u64 = match (capabilities.native, capabilities.slice_work) {
            (true, _) => 64,
            // A software driver's steps are long.
            (_, work) if work <= crate::recording::SLICE_WORK => 32,
            _ => 512,
        };
        let drive = if poisson.is_empty() { 0 } else { 4 * u64::from(planes) };
        // A bit of each neuron for its spikes.
        let step_bytes = u64::from(layout.stride / 32) * (4 + 32 * drive);
        liked.min(RUN_BYTES / step_bytes.max(1)).max(4) as u32
    });

    let mut rec = device.recording(if network.name.is_empty() { "network" } else { &network.name });
    let mut parts = Parts { list: Vec::new() };
    let bus = Bus::new(&mut rec, layout.stride, steps, max_delay, planes, !poisson.is_empty())?;
    parts.end("input in flight and spikes", &rec);

    for ((population, &first), &exponent) in populations.iter_mut().zip(&layout.first).zip(&exponents) {
        (population.first, population.exponent) = (first, exponent);
    }
    let neurons = Neurons::new(&mut rec, &bus, dt, &populations)?;
    drop(populations);
    parts.end("neurons", &rec);
    let mut static_synapses = Vec::with_capacity(tables.len());
    for table in tables {
        static_synapses.push(Synapses::new(&mut rec, &bus, table)?);
    }
    parts.end("synapses", &rec);
    let mut plastic = Vec::with_capacity(plastic_tables.len());
    for (i, (table, projection)) in plastic_tables.into_iter().zip(plastic_of).enumerate() {
        let synapses = PlasticSynapses::new(&mut rec, &bus, format!("plastic {i}"), table, dt)?;
        plastic.push((projection, synapses));
    }
    parts.end("plastic synapses", &rec);

    for (stream, input) in poisson {
        let Input::Poisson { target, rate, weight, start, stop } = input else { continue };
        let p = network.population(target)?;
        let input = PoissonInput {
            first: layout.first[p],
            size: layout.size[p],
            stream: stream as u32,
            mean: poisson_mean(*rate, dt),
            weight: in_units(*weight, exponents[p]),
            plane: u32::from(planes == 2 && *weight < 0.0),
            start: steps_at(*start, dt),
            stop: steps_at(*stop, dt),
        };
        poisson_drive(&mut rec, &bus, &input)?;
    }
    parts.end("input", &rec);

    let mut probes = Vec::new();
    for probe in &network.probes {
        let p = network.population(&probe.population)?;
        let interval = probe.interval.map_or(1, |ms| steps_at(ms, dt).max(1));
        let at = neurons.value(p, probe.variable.into());
        let at = at.ok_or_else(|| {
            let why = format!("neurons of \"{}\" have no {:?}", probe.population, probe.variable);
            Error::invalid("probe", why)
        })?;
        let elements: Vec<u32> = probe.neurons.iter().map(|&n| at.first as u32 + n).collect();
        let op = StateProbe::new(&mut rec, &bus, at.tensor, &elements, interval)?;
        let offsets = probe.neurons.iter().map(|&n| at.offset.at(n as usize)).collect();
        probes.push(ProbeData { op, interval, offsets, steps: Vec::new(), values: Vec::new() });
    }

    for k in 0..steps {
        neurons.step(&mut rec, &bus, k)?;
        for synapses in &static_synapses {
            synapses.step(&mut rec, &bus, k)?;
        }
        for (_, synapses) in &plastic {
            synapses.step(&mut rec, &bus, k)?;
        }
        for probe in &probes {
            probe.op.step(&mut rec, &bus, k)?;
        }
    }
    if options.record != Record::Nothing {
        rec.download(bus.raster)?;
    }
    for probe in &probes {
        rec.download(probe.op.samples())?;
    }
    parts.end("probes", &rec);

    let mut states = vec![("ring".to_owned(), bus.ring)];
    states.extend(neurons.states());
    for (_, synapses) in &plastic {
        states.extend(synapses.states());
    }
    let mut switches = Vec::new();
    for input in &network.inputs {
        let Input::Dc { target, amplitude, start, stop } = input else { continue };
        switches.push(Switch {
            population: network.population(target)?,
            amplitude: *amplitude,
            on: steps_at(*start, dt),
            off: steps_at(*stop, dt),
        });
    }
    let (parts, planned_bytes) = parts.bytes(&rec);
    let neuron_count = layout.size.iter().map(|&n| u64::from(n)).sum();
    let plan = SimulationPlan { neurons: neuron_count, synapses, synapses_of, parts, planned_bytes, least_bytes: None };
    Ok(Assembly { recording: rec, layout, plan, fingerprint, bus, neurons, plastic, states, probes, switches })
}

impl Simulation {
    /// What a simulation of the network would need on the device. The network is built for it, and dropped.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn plan_of(device: &Device, network: &Network, options: &SimulationOptions<'_>) -> Result<SimulationPlan> {
        let mut plan = assemble(device, network, options)?.plan;
        if plan.planned_bytes <= SMALL {
            let fewest = SimulationOptions { steps_per_run: Some(1), cancel: options.cancel.clone(), ..*options };
            plan.least_bytes = Some(assemble_within(device, network, &fewest, u64::MAX)?.plan.planned_bytes);
        }
        Ok(plan)
    }

    /// Builds the network, takes the device's memory and compiles the kernels.
    ///
    /// # Errors
    /// `InvalidArgument` that names what is wrong with the description; `OverBudget` with the numbers, before the device's
    /// memory is taken, and with the least that would do unless the synapses alone are over both the budget and 256 MiB;
    /// `Cancelled`.
    pub fn new(device: &Device, network: &Network, options: &SimulationOptions<'_>) -> Result<Self> {
        let started = Instant::now();
        let assembly = assemble(device, network, options)?;
        let build_time = started.elapsed();
        let started = Instant::now();
        let prepared = device.prepare(&assembly.recording)?;
        let Assembly { layout, plan, fingerprint, bus, neurons, plastic, states, probes, switches, .. } = assembly;
        let populations = layout.size.len();
        let mut simulation = Self {
            network: network.clone(),
            layout,
            plan,
            fingerprint,
            bus,
            neurons,
            plastic,
            states,
            probes,
            switches,
            prepared,
            step: 0,
            raster: None,
            record: options.record,
            counted: vec![0; populations],
            counted_from: 0,
            sound: true,
            build_time,
            warmup_time: started.elapsed(),
        };
        simulation.switch(true)?;
        Ok(simulation)
    }

    /// The description.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What it needs.
    pub fn plan(&self) -> &SimulationPlan {
        &self.plan
    }

    /// How long it took to build the network.
    pub fn build_time(&self) -> Duration {
        self.build_time
    }

    /// How long it took to bring it to the device and to compile what was not compiled.
    pub fn warmup_time(&self) -> Duration {
        self.warmup_time
    }

    /// Steps done.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// The simulated time, ms.
    pub fn time_ms(&self) -> f64 {
        f64::from(self.step) * self.network.dt
    }

    fn check_sound(&self) -> Result<()> {
        if self.sound {
            return Ok(());
        }
        Err(Error::invalid("simulation", "it was interrupted within a step; restore a checkpoint or build it again"))
    }

    /// The step at which recording starts, where it does.
    fn record_step(&self) -> Option<u32> {
        match self.record {
            Record::From(ms) => Some(steps_at(ms, self.network.dt)),
            Record::Nothing => None,
        }
    }

    /// Simulates `duration_ms` more. Cancelled or out of time, it stops between submissions and can go on.
    ///
    /// # Errors
    /// `InvalidArgument` for a duration that is not a positive multiple of the step; `Cancelled`, `Timeout`; or what
    /// befell the device, after which the state is lost.
    pub fn run(&mut self, duration_ms: f64, control: &Control<'_>) -> Result<()> {
        // A submission is short, and half a submission would leave a state between two steps: it is not cancelled.
        self.submit(duration_ms, control, |prepared, feed| prepared.run(&[feed], &Control::default()))
    }

    /// [`run`](Self::run) with a clock on each phase. Results are the same; the clocks take time.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile(&mut self, duration_ms: f64, control: &Control<'_>) -> Result<Vec<PhaseTime>> {
        let mut phases: Vec<PhaseTime> = Vec::new();
        self.submit(duration_ms, control, |prepared, feed| {
            let (out, times) = prepared.profile(&[feed], &Control::default())?;
            for KernelTime { kernel, dispatches, time, clock } in times {
                let phase = phase_of(kernel);
                match phases.iter_mut().find(|p| p.phase == phase) {
                    Some(p) => {
                        p.dispatches += dispatches;
                        p.time += time;
                    }
                    None => phases.push(PhaseTime { phase, dispatches, time, clock }),
                }
            }
            Ok(out)
        })?;
        Ok(phases)
    }

    fn submit(
        &mut self,
        duration_ms: f64,
        control: &Control<'_>,
        mut run: impl FnMut(&mut Prepared, Feed<'_>) -> Result<Outputs>,
    ) -> Result<()> {
        self.check_sound()?;
        let steps = steps_of(duration_ms, self.network.dt)?;
        let end = self
            .step
            .checked_add(steps)
            .ok_or_else(|| Error::invalid("duration", format!("{duration_ms} ms more would be step 2^32 or later")))?;
        let (started, first) = (Instant::now(), self.step);
        while self.step < end {
            control.check(started)?;
            if self.record_step() == Some(self.step) {
                self.count_from_here()?;
            }
            self.switch(false)?;
            let turns = self.switches.iter().flat_map(|s| [s.on, s.off]).chain(self.record_step());
            let until = turns.filter(|&turn| turn > self.step).fold(end, u32::min);
            let count = self.bus.steps.min(until - self.step);
            let clock = Bus::clock(self.step, count, self.network.seed);
            self.sound = false;
            let out = run(&mut self.prepared, self.bus.clock.feed(&clock))?;
            self.collect(&out, count)?;
            self.step += count;
            self.sound = true;
            control.report(u64::from(self.step - first), u64::from(steps));
        }
        Ok(())
    }

    fn collect(&mut self, out: &Outputs, count: u32) -> Result<()> {
        if self.record_step().is_some_and(|from| from <= self.step) {
            let raster = self.raster.get_or_insert_with(|| Raster::new(self.network.dt, self.step));
            let words = self.bus.stride as usize / 32;
            let bits = out.get(self.bus.raster)?;
            for row in bits.chunks_exact(words).take(count as usize) {
                raster.push(self.layout.first.iter().zip(&self.layout.size).map(|(&first, &size)| {
                    let first = first as usize / 32;
                    (&row[first..first + size.div_ceil(32) as usize], size)
                }));
            }
        }
        for probe in &mut self.probes {
            let words = out.get(probe.op.samples())?;
            let rows = words.chunks_exact(probe.offsets.len()).take(probe.op.rows(self.step, count));
            // Samples are taken where the steps done are a multiple of the interval.
            let interval = u64::from(probe.interval);
            let first = (u64::from(self.step) + 1).next_multiple_of(interval) - 1;
            for (row, step) in rows.zip((first..).step_by(probe.interval as usize)) {
                probe.steps.push(step as u32);
                let real = |(word, offset): (&u32, &f64)| (f64::from(f32::from_bits(*word)) + offset) as f32;
                probe.values.extend(row.iter().zip(&probe.offsets).map(real));
            }
        }
        Ok(())
    }

    /// Puts the currents of this step in place: all of them, or those that turn now.
    fn switch(&mut self, all: bool) -> Result<()> {
        let (switches, step) = (&self.switches, self.step);
        for p in 0..self.layout.size.len() {
            let of_p = || switches.iter().filter(|s| s.population == p);
            if all && of_p().next().is_some() || of_p().any(|s| s.on == step || s.off == step) {
                let amplitude = of_p().filter(|s| s.on <= step && step < s.off).map(|s| s.amplitude).sum();
                let rewrite = self.neurons.set_offset(p, amplitude)?;
                let mut table = self.prepared.read(rewrite.tensor)?;
                table[rewrite.first..][..rewrite.words.len()].copy_from_slice(&rewrite.words);
                self.prepared.write(rewrite.tensor, &table)?;
            }
        }
        Ok(())
    }

    /// The spikes of each population since the start.
    fn spike_counts(&mut self) -> Result<Vec<u64>> {
        let mut counts = Vec::with_capacity(self.layout.size.len());
        // Populations of one model share a tensor.
        let mut read: Vec<(Tensor<u32>, Vec<u32>)> = Vec::new();
        for (p, &size) in self.layout.size.iter().enumerate() {
            let at = self.neurons.value(p, NeuronVariable::SpikeCount);
            let at = at.ok_or_else(|| Error::Internal("a population does not count its spikes".into()))?;
            if read.iter().all(|(tensor, _)| tensor.erase() != at.tensor.erase()) {
                read.push((at.tensor, self.prepared.read(at.tensor)?));
            }
            let state = read.iter().find(|(tensor, _)| tensor.erase() == at.tensor.erase());
            let state = state.map_or(&[][..], |(_, words)| words);
            counts.push(state[at.first..][..size as usize].iter().map(|&n| u64::from(n)).sum());
        }
        Ok(counts)
    }

    /// Rates count from now on.
    fn count_from_here(&mut self) -> Result<()> {
        self.counted = self.spike_counts()?;
        self.counted_from = self.step;
        Ok(())
    }

    /// Mean rate of each population in spikes/s, since recording started.
    ///
    /// # Errors
    /// What befell the device.
    pub fn rates(&mut self) -> Result<Vec<(String, f64)>> {
        self.check_sound()?;
        let counts = self.spike_counts()?;
        let seconds = f64::from(self.step - self.counted_from) * self.network.dt / 1000.0;
        let of = |p: usize, name: &str| {
            let spikes = (counts[p] - self.counted[p]) as f64;
            let rate = if seconds > 0.0 { spikes / f64::from(self.layout.size[p]) / seconds } else { 0.0 };
            (name.to_owned(), rate)
        };
        Ok(self.network.populations.iter().enumerate().map(|(p, population)| of(p, &population.name)).collect())
    }

    /// The recorded spikes; `None` before recording has started.
    pub fn raster(&self) -> Option<&Raster> {
        self.raster.as_ref()
    }

    /// The neurons of a population as [`Raster`] numbers them.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown name.
    pub fn neurons_of(&self, population: &str) -> Result<Range<u32>> {
        let p = self.network.population(population)?;
        let first = self.layout.size[..p].iter().sum();
        Ok(first..first + self.layout.size[p])
    }

    /// What probe number `i` has recorded: times in ms, and for each time a value of every neuron.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such probe.
    pub fn probe(&self, i: usize) -> Result<(Vec<f64>, &[f32])> {
        let probe =
            self.probes.get(i).ok_or_else(|| Error::invalid("probe", format!("{i} of {}", self.probes.len())))?;
        let times = probe.steps.iter().map(|&n| (f64::from(n) + 1.0) * self.network.dt).collect();
        Ok((times, &probe.values))
    }

    /// The present values of a state variable of a population.
    ///
    /// # Errors
    /// `InvalidArgument` if its neurons have no such variable.
    pub fn values(&mut self, population: &str, variable: Variable) -> Result<Vec<f32>> {
        self.check_sound()?;
        let p = self.network.population(population)?;
        let at = self.neurons.value(p, variable.into());
        let at =
            at.ok_or_else(|| Error::invalid("variable", format!("neurons of \"{population}\" have no {variable:?}")))?;
        let words = self.prepared.read(at.tensor)?;
        let words = &words[at.first..][..self.layout.size[p] as usize];
        Ok(words.iter().enumerate().map(|(i, &w)| (f64::from(f32::from_bits(w)) + at.offset.at(i)) as f32).collect())
    }

    /// The present weights of a plastic projection, synapse by synapse, sorted by source, then target, then delay.
    ///
    /// # Errors
    /// `InvalidArgument` if it is not plastic.
    pub fn weights(&mut self, projection: usize) -> Result<Vec<f32>> {
        self.check_sound()?;
        let described = self.network.projections.get(projection);
        if described.is_none_or(|p| p.plasticity.is_none()) {
            return Err(Error::invalid("projection", format!("number {projection} is not a plastic one")));
        }
        let mut weights = Vec::new();
        for (_, synapses) in self.plastic.iter().filter(|(p, _)| *p == projection) {
            if let Some(tensor) = synapses.weights() {
                weights.extend(self.prepared.read(tensor)?);
            }
        }
        Ok(weights)
    }

    /// What tells this network's checkpoints from others'.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The names and lengths of all state.
    pub(super) fn state_lengths(&self) -> Vec<(String, usize)> {
        self.states.iter().map(|(name, tensor)| (name.clone(), tensor.len())).collect()
    }

    pub(super) fn read_states(&mut self) -> Result<Vec<(String, Vec<u32>)>> {
        self.check_sound()?;
        self.states.iter().map(|(name, tensor)| Ok((name.clone(), self.prepared.read(*tensor)?))).collect()
    }

    /// Replaces all state, as it was after `step` steps.
    pub(super) fn write_states(&mut self, step: u32, states: &[Vec<u32>]) -> Result<()> {
        self.sound = false;
        for ((_, tensor), words) in self.states.iter().zip(states) {
            self.prepared.write(*tensor, words)?;
        }
        self.step = step;
        self.raster = None;
        for probe in &mut self.probes {
            probe.steps.clear();
            probe.values.clear();
        }
        self.switch(true)?;
        self.count_from_here()?;
        self.sound = true;
        Ok(())
    }
}
