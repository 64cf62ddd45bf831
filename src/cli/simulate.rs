//! `spikewave simulate`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args as Arguments;
use serde_json::{Map, Value, json};
use spikewave::device::{Choice, Control, DeviceOptions};
use spikewave::io::{npz, same_file};
use spikewave::network::models::{self, BrunelOptions, BrunelState, Drive, MicrocircuitOptions, VogelsAbbottOptions};
use spikewave::network::plot::{self, NetworkFigure, PopulationRow};
use spikewave::network::{
    self, Network, Neuron, PhaseTime, Raster, Record, Simulation, SimulationOptions, SimulationPlan,
};
use spikewave::{Device, Error, Result, bytes, bytes_at_least};

use super::gw::writable;
use super::{DeviceArgs, interrupt, memory, print, print_json, progress, resident_peak, say, survive};

/// The fewest spikes of a neuron whose intervals count.
const LEAST_SPIKES: u32 = 5;
/// Synapses from which on a hardware GPU is taken without a trial, which would build the network twice.
const UNTRIED: f64 = 3e7;
/// Milliseconds of the picture at most: more would be a solid block.
const DRAWN_MS: f64 = 1000.0;

/// The end of the long help.
const ARRAYS: &str = "\
Arrays of SPIKES.npz (n spikes in the order of time, K populations):
  time_ms (n), population (n): index into population_names, neuron (n): index within the population,
  neuron_global (n): index through all populations, population_names (K), population_sizes (K),
  span_ms (2): spikes at times above the first and up to the second are here
  probe_names: the variable and population of each probe of the description; for probe number i
  probe_i_neuron (m): indices within the population, probe_i_time_ms (t), probe_i_values (t x m)

Memory: every step reads the table of synapses, which must therefore fit the budget of the device whole: to bring it there
anew at each step would take longer than all else. A smaller budget takes fewer steps at once, with the same spikes; below
the table and the state of the neurons it is refused. --plan names the parts and the least.

A description NETWORK.ron is that of the documentation of `spikewave::network::Network`; an example is
assets/networks/balanced.ron in the repository.";

#[derive(Debug, Arguments)]
#[command(after_long_help = ARRAYS)]
pub struct Args {
    /// microcircuit (Potjans & Diesmann 2014), cuba or coba (Vogels & Abbott 2005, Brette et al. 2007), brunel (Brunel
    /// 2000), or a description of your own, NETWORK.ron.
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Factor of the number of neurons; with microcircuit of in-degrees too, with weights and currents that make up for
    /// it. The default is 1.
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    scale: Option<f64>,
    /// Model time in seconds, a multiple of the step.
    #[arg(long, value_name = "T", default_value_t = 1.0, allow_negative_numbers = true)]
    duration_s: f64,
    /// With microcircuit: dc (the default) or poisson.
    #[arg(long, value_name = "DRIVE")]
    drive: Option<Drive>,
    /// With microcircuit: membrane potentials at the start, optimized (the default) or original.
    #[arg(long, value_name = "KIND")]
    v0: Option<models::InitialPotential>,
    /// With brunel: the state a, b, c (the default) or d of the paper's figure 8.
    #[arg(long, value_name = "STATE", conflicts_with_all = ["g", "eta"])]
    state: Option<BrunelState>,
    /// With brunel: inhibitory amplitudes by excitatory ones.
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    g: Option<f64>,
    /// With brunel: external rate by that which reaches the threshold.
    #[arg(long, value_name = "ETA", allow_negative_numbers = true)]
    eta: Option<f64>,
    /// Seed of everything that is drawn; the default is 0, or that of NETWORK.ron.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Spikes, rates and intervals count from this time on.
    #[arg(long, value_name = "MS", default_value_t = 0.0, allow_negative_numbers = true)]
    record_from: f64,
    /// Keeps no spikes, only their number: nothing is read back while the network runs.
    #[arg(long, conflicts_with_all = ["plot", "output", "record_from"])]
    no_record: bool,
    /// Goes on from a checkpoint of the same network.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Saves the state at the end, or when it is interrupted.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Writes the spikes.
    #[arg(long, value_name = "SPIKES.npz")]
    output: Option<PathBuf>,
    /// Draws the spikes of the last second and the rates as a PNG.
    #[arg(long, value_name = "OUT.png")]
    plot: Option<PathBuf>,
    /// Says what it would take, and does not run.
    #[arg(long)]
    plan: bool,
    /// Times each phase. The clocks take time of their own.
    #[arg(long)]
    profile: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The description, with the name that the picture has.
    fn describe(&self) -> Result<Network> {
        let only = |given: bool, option: &str, model: &str| match given {
            true => Err(Error::invalid(option, format!("{} has none; it is an option of {model}", self.network))),
            false => Ok(()),
        };
        let name = self.network.as_str();
        let file = name.to_ascii_lowercase().ends_with(".ron");
        if name != "microcircuit" && (file || ["cuba", "coba", "brunel"].contains(&name)) {
            only(self.drive.is_some(), "drive", "microcircuit")?;
            only(self.v0.is_some(), "v0", "microcircuit")?;
        }
        if name != "brunel" && (file || ["cuba", "coba", "microcircuit"].contains(&name)) {
            only(self.state.is_some(), "state", "brunel")?;
            only(self.g.is_some(), "g", "brunel")?;
            only(self.eta.is_some(), "eta", "brunel")?;
        }
        let (scale, seed) = (self.scale.unwrap_or(1.0), self.seed.unwrap_or(0));
        match name {
            "microcircuit" => models::microcircuit(&MicrocircuitOptions {
                scale,
                drive: self.drive.unwrap_or_default(),
                v0: self.v0.unwrap_or_default(),
                seed,
            }),
            "cuba" => models::cuba(&VogelsAbbottOptions { scale, seed }),
            "coba" => models::coba(&VogelsAbbottOptions { scale, seed }),
            "brunel" => {
                let of_state = BrunelOptions::of(self.state.unwrap_or(BrunelState::C));
                let (g, eta) = (self.g.unwrap_or(of_state.g), self.eta.unwrap_or(of_state.eta));
                models::brunel(&BrunelOptions { scale, g, eta, seed })
            }
            _ if file => {
                only(self.scale.is_some(), "scale", "microcircuit, cuba, coba and brunel")?;
                let mut network = Network::from_ron(name)?;
                network.seed = self.seed.unwrap_or(network.seed);
                network.check().map_err(|error| match error {
                    Error::InvalidArgument { what, why } => Error::file(name, format!("invalid {what}: {why}")),
                    other => other,
                })?;
                Ok(network)
            }
            _ => {
                let why = format!("\"{name}\"; microcircuit, cuba, coba, brunel or a file that ends in .ron");
                Err(Error::invalid("network", why))
            }
        }
    }

    /// Checks that files can be written, and that none is another one.
    fn files(&self) -> Result<()> {
        for (name, path, end) in [("output", &self.output, "npz"), ("plot", &self.plot, "png")] {
            if let Some(path) = path
                && !path.extension().is_some_and(|e| e.eq_ignore_ascii_case(end))
            {
                return Err(Error::invalid(name, format!("{}; its name must end in .{end}", path.display())));
            }
        }
        let source = self.network.ends_with(".ron").then(|| PathBuf::from(&self.network));
        let files = [
            ("network", &source),
            ("--resume", &self.resume),
            ("--checkpoint", &self.checkpoint),
            ("--output", &self.output),
            ("--plot", &self.plot),
        ];
        for (i, (name, path)) in files.iter().enumerate() {
            for (other, second) in &files[i + 1..] {
                // A checkpoint may be replaced by a later one.
                if (*name, *other) != ("--resume", "--checkpoint")
                    && let (Some(path), Some(second)) = (path, second)
                    && same_file(path, second)
                {
                    let why = format!("{} is the file of {name} too; give it another name", second.display());
                    return Err(Error::invalid(*other, why));
                }
            }
        }
        self.checkpoint.iter().chain(&self.output).chain(&self.plot).try_for_each(|path| writable(path))
    }

    fn record(&self) -> Record {
        if self.no_record { Record::Nothing } else { Record::From(self.record_from) }
    }
}

/// How a simulation is built.
fn building<'a>(args: &Args, report: &'a (dyn Fn(u64, u64) + Sync)) -> SimulationOptions<'a> {
    SimulationOptions {
        record: args.record(),
        progress: Some(report),
        cancel: interrupt(),
        ..SimulationOptions::default()
    }
}

/// The network on its device.
struct Ready {
    simulation: Simulation,
    device: Device,
    /// Why this device.
    reason: String,
    /// Microseconds a step of CPU and GPU, where both were tried.
    tried_us: Option<[Option<f64>; 2]>,
}

/// A progress bar while something is done.
fn watched<T>(message: &'static str, work: impl FnOnce(&(dyn Fn(u64, u64) + Sync)) -> T) -> T {
    let bar = progress();
    bar.set_message(message);
    let result = work(&|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result
}

/// Builds the network. With `--device auto` and a hardware GPU, on the faster of it and the native path.
fn build(args: &Args, network: &Network) -> Result<Ready> {
    let mut first = args.device.open()?;
    let options = args.device.options()?;
    let both = options.choice == Choice::Auto && matches!(first, Device::Gpu(_));
    let announced = |name: &str, reason: &str| say(&format!("device: {name} ({reason})"));
    watched("building the network", |report| {
        let with = building(args, report);
        if !both {
            announced(first.name(), first.reason());
            let reason = first.reason().to_owned();
            return Ok(Ready {
                simulation: survive(&mut first, |device| Simulation::new(device, network, &with))?,
                device: first,
                reason,
                tried_us: None,
            });
        }
        if network.expected_synapses() > UNTRIED {
            let reason = format!("a hardware GPU, and more than {UNTRIED:e} synapses: not tried on the CPU");
            announced(first.name(), &reason);
            return Ok(Ready {
                simulation: survive(&mut first, |device| Simulation::new(device, network, &with))?,
                device: first,
                reason,
                tried_us: None,
            });
        }
        let cpu = Device::open(&DeviceOptions { choice: Choice::Cpu, ..options.clone() })?;
        let (simulation, trial) = survive(&mut first, |gpu| Simulation::on_faster([&cpu, gpu], network, &with))?;
        let us = trial.step.map(|t| t.map(|t| t.as_secs_f64() * 1e6));
        let told = |t: Option<f64>| t.map_or("cannot run it".into(), |t| format!("{t:.1} us a step"));
        let reason = format!("the faster one of this network's first steps: CPU {}, GPU {}", told(us[0]), told(us[1]));
        let device = if trial.faster == 0 { cpu } else { first };
        announced(device.name(), &reason);
        Ok(Ready { simulation, device, reason, tried_us: Some(us) })
    })
}

/// A population's results.
struct Row {
    name: String,
    size: u32,
    /// Its neurons, as rasters number them.
    first: u32,
    rate: f64,
    /// Coefficient of variation of intervals.
    cv: Option<f64>,
    inhibitory: bool,
    source: bool,
}

fn is_source(neuron: &Neuron) -> bool {
    matches!(neuron, Neuron::PoissonSource { .. } | Neuron::SpikeSource { .. })
}

fn rows(simulation: &mut Simulation) -> Result<Vec<Row>> {
    let rates = simulation.rates()?;
    let network = simulation.network();
    let mut first = 0;
    let mut rows = Vec::with_capacity(rates.len());
    for (population, (name, rate)) in network.populations.iter().zip(rates) {
        let neurons = first..first + population.size;
        let inhibitory =
            |p: &network::Projection| p.source == name && p.weight.bounds().1 <= 0.0 && p.weight.bounds().0 < 0.0;
        rows.push(Row {
            size: population.size,
            first,
            rate,
            cv: simulation.raster().and_then(|r| r.interval_cv(neurons.clone(), LEAST_SPIKES)),
            inhibitory: network.projections.iter().any(inhibitory),
            source: is_source(&population.neuron),
            name,
        });
        first = neurons.end;
    }
    Ok(rows)
}

/// Simulates, with a progress bar; the phases, where they are timed, and the seconds that it took.
fn simulate(args: &Args, simulation: &mut Simulation, duration_ms: f64) -> Result<(Vec<PhaseTime>, f64)> {
    let cancel = interrupt();
    watched("simulating", |report| {
        let started = Instant::now();
        let control = Control { cancel, progress: Some(report), ..Control::default() };
        let phases = if args.profile {
            simulation.profile(duration_ms, &control)?
        } else {
            simulation.run(duration_ms, &control)?;
            Vec::new()
        };
        Ok((phases, started.elapsed().as_secs_f64()))
    })
}

/// The populations that their constant current does not take to the threshold.
fn below_threshold(network: &Network) -> Vec<&str> {
    let below = |neuron: &Neuron| match neuron {
        Neuron::IafPscExp(n) => {
            let all = [&n.c_mem, &n.tau_mem, &n.v_rest, &n.v_threshold, &n.i_offset].map(|d| d.constant());
            let [Some(c), Some(tau), Some(rest), Some(threshold), Some(current)] = all else { return false };
            current < c * (threshold - rest) / tau
        }
        _ => false,
    };
    network.populations.iter().filter(|p| below(&p.neuron)).map(|p| p.name.as_str()).collect()
}

fn plan_text(network: &Network, plan: &SimulationPlan, budget: u64) -> String {
    let sources = sources_of(network);
    let mut text = format!("{}: {} neurons", name_of(network), plan.neurons - sources);
    if sources > 0 {
        text += &format!(", {sources} sources of spikes");
    }
    let least =
        plan.least_bytes.map_or(String::new(), |b| format!("; the least that would do is {}", bytes_at_least(b)));
    let planned = bytes(plan.planned_bytes);
    text += &format!(", {} synapses\nmemory: {planned} of {}{least}\n", plan.synapses, bytes(budget));
    text + &memory::parts(&plan.parts)
}

/// Sources of spikes, which a plan counts with the neurons.
fn sources_of(network: &Network) -> u64 {
    network.populations.iter().filter(|p| is_source(&p.neuron)).map(|p| u64::from(p.size)).sum()
}

fn name_of(network: &Network) -> &str {
    if network.name.is_empty() { "network" } else { &network.name }
}

pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    interrupt();
    args.files()?;
    let mut network = args.describe()?;
    network.check()?;
    let duration_ms = 1e3 * args.duration_s;
    let steps = network::steps_of(duration_ms, network.dt)?;
    if args.record_from != 0.0 {
        network::steps_of(args.record_from, network.dt).map_err(|e| match e {
            Error::InvalidArgument { why, .. } => Error::invalid("record-from", why),
            other => other,
        })?;
    }
    if !(args.record_from >= 0.0 && args.record_from.is_finite()) {
        return Err(Error::invalid("record-from", format!("{} ms; a time from 0 on", args.record_from)));
    }
    let late = |end: f64| {
        let why = format!("{} ms; the simulation ends at {end} ms, and nothing would be recorded", args.record_from);
        Err(Error::invalid("record-from", why))
    };
    let record_step = (args.record_from / network.dt).round();
    if args.resume.is_none() && record_step >= f64::from(steps) {
        return late(duration_ms);
    }
    if args.output.is_none() && !network.probes.is_empty() {
        say(&format!("note: what {} probes record is written with --output only", network.probes.len()));
        network.probes.clear();
    }
    if let Some(threads) = args.device.threads.filter(|n| *n > 0) {
        // What runs beside the device; a pool that is there already stays.
        _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    if args.plan {
        return planned(args, &network);
    }
    let Ready { mut simulation, mut device, reason, tried_us } = build(args, &network)?;
    let memory = device.stats().memory;
    if !args.json {
        say(plan_text(&network, simulation.plan(), memory.budget_bytes).trim_end());
    }
    if let Some(path) = &args.resume {
        simulation.restore(path)?;
        say(&format!("resumed: {} at {} ms", path.display(), simulation.time_ms()));
        if record_step >= f64::from(simulation.step()) + f64::from(steps) {
            return late(simulation.time_ms() + duration_ms);
        }
    }
    if args.network == "microcircuit" && args.drive.unwrap_or_default() == Drive::Dc && !args.json {
        let below = below_threshold(&network);
        if !below.is_empty() {
            say(&format!(
                "note: at this scale the constant current leaves {} below threshold, and they hardly fire; --drive \
                 poisson keeps them firing",
                below.join(", ")
            ));
        }
    }
    let began_ms = simulation.time_ms();
    let mut built = Some(simulation);
    // What a network has become is lost with its device: it starts over where it began.
    let (simulation, simulated, rows, checkpoint) = survive(&mut device, |device| {
        let mut simulation = match built.take() {
            Some(simulation) => simulation,
            None => {
                let mut again =
                    watched("building again", |report| Simulation::new(device, &network, &building(args, report)))?;
                args.resume.iter().try_for_each(|path| again.restore(path))?;
                again
            }
        };
        let simulated = simulate(args, &mut simulation, duration_ms);
        if let Err(error) = &simulated
            && *error != Error::Cancelled
        {
            return Err(error.clone());
        }
        let rows = rows(&mut simulation)?;
        // Last, for it may replace the one that it went on from.
        let checkpoint = match args.checkpoint.as_ref().map(|path| simulation.checkpoint(path)) {
            Some(Err(error @ (Error::DeviceLost { .. } | Error::Corrupted { .. }))) => return Err(error),
            other => other,
        };
        Ok((simulation, simulated, rows, checkpoint))
    })?;
    // What has been simulated is kept, interrupted or not, and whatever file cannot be written.
    let mut failed = None;
    let mut files = Vec::new();
    let mut keep = |path: &Path, written: Result<()>| match written {
        Ok(()) => files.push(path.display().to_string()),
        Err(error) => failed = failed.take().or(Some(error)),
    };
    if let (Some(path), Some(written)) = (&args.checkpoint, checkpoint) {
        keep(path, written);
    }
    let raster = simulation.raster();
    if let (Some(path), Some(raster)) = (&args.output, raster) {
        keep(path, write(path, &rows, raster, &simulation));
    }
    if let (Some(path), Some(raster)) = (&args.plot, raster) {
        keep(path, draw(path, &network, &rows, raster));
    }
    let (phases, simulate_s) = match simulated {
        Ok(done) => done,
        Err(error) => {
            if !files.is_empty() {
                say(&format!("saved: {} at {} ms", files.join(", "), simulation.time_ms()));
            }
            return Err(failed.unwrap_or(error));
        }
    };

    let model_s = duration_ms / 1e3;
    let recorded_s = (simulation.time_ms() - began_ms.max(if args.no_record { 0.0 } else { args.record_from })) / 1e3;
    let spikes: f64 = rows.iter().map(|r| r.rate * f64::from(r.size) * recorded_s).sum();
    let plan = simulation.plan();
    let real_time_factor = simulate_s / model_s;
    let step_us = 1e6 * simulate_s / f64::from(steps);
    // Of the mean neuron of each population.
    let events: f64 = plan
        .synapses_of
        .iter()
        .zip(&network.projections)
        .filter_map(|(n, p)| Some(*n as f64 * rows.iter().find(|r| r.name == p.source)?.rate * recorded_s))
        .sum();
    let peak_bytes = device.stats().memory.peak_bytes;
    let (build_s, warmup_s) = (simulation.build_time().as_secs_f64(), simulation.warmup_time().as_secs_f64());
    if args.json {
        let of = |value: fn(&Row) -> Value| rows.iter().map(|r| (r.name.clone(), value(r))).collect::<Map<_, _>>();
        print_json(&json!({
            "device": device.name(),
            "reason": reason,
            "network": name_of(&network),
            "seed": network.seed,
            "neurons": rows.iter().filter(|r| !r.source).map(|r| u64::from(r.size)).sum::<u64>(),
            "sources": rows.iter().filter(|r| r.source).map(|r| u64::from(r.size)).sum::<u64>(),
            "synapses": plan.synapses,
            "model_s": model_s,
            "from_ms": began_ms,
            "steps": steps,
            "timing": {
                "build_s": build_s,
                "warmup_s": warmup_s,
                "simulate_s": simulate_s,
                "real_time_factor": real_time_factor,
                "step_us": step_us,
                "total_s": started.elapsed().as_secs_f64(),
            },
            "memory": {
                "planned_bytes": plan.planned_bytes,
                "peak_bytes": peak_bytes,
                "budget_bytes": memory.budget_bytes,
                "resident_peak_bytes": resident_peak(),
                "allocator": device.stats().allocator,
                "parts": memory::parts_json(&plan.parts),
            },
            "rates_hz": of(|r| json!(r.rate)),
            "cv": of(|r| json!(r.cv)),
            "recorded_s": recorded_s,
            "spikes": raster.map_or(spikes.round() as u64, |r| r.spikes() as u64),
            "spike_hash": raster.map(|r| format!("{:016x}", r.hash())),
            "synaptic_events": events,
            "tried_us": tried_us.map(|[cpu, gpu]| json!({"cpu": cpu, "gpu": gpu})),
            "profile": args.profile.then(|| phases.iter().map(phase).collect::<Vec<_>>()),
            "files": files,
        }))?;
        return failed.map_or(Ok(()), Err);
    }
    let mut text = format!("{:<12} {:>10} {:>12} {:>14}\n", "population", "neurons", "spikes/s", "CV of intervals");
    for r in &rows {
        let cv = r.cv.map_or("-".into(), |cv| format!("{cv:.3}"));
        text += &format!("{:<12} {:>10} {:>12.3} {cv:>15}\n", r.name, r.size, r.rate);
    }
    text += &format!(
        "\n{} spikes in {recorded_s} s{}\n",
        raster.map_or(spikes.round() as u64, |r| r.spikes() as u64),
        raster.map_or(String::new(), |r| format!(", hash {:016x}", r.hash()))
    );
    text += &format!(
        "time: {build_s:.2} s to build, {warmup_s:.2} s to warm up, {simulate_s:.2} s for {model_s} s: real-time \
         factor {real_time_factor:.3}, {step_us:.1} us a step\n"
    );
    text += &format!(
        "memory: {} planned on the device, {} at its peak, of {}\n",
        bytes(plan.planned_bytes),
        bytes(peak_bytes),
        bytes(memory.budget_bytes)
    );
    if args.profile {
        text += "phase            launches       us a step\n";
        for p in &phases {
            let us = p.time.as_secs_f64() * 1e6 / f64::from(steps);
            text += &format!("{:<14} {:>10} {us:>15.2}  ({})\n", p.phase, p.dispatches, p.clock);
        }
    }
    for file in files {
        text += &format!("written: {file}\n");
    }
    print(&text)?;
    failed.map_or(Ok(()), Err)
}

fn phase(p: &PhaseTime) -> Value {
    json!({"phase": p.phase, "dispatches": p.dispatches, "time_s": p.time.as_secs_f64(), "clock": p.clock})
}

/// `--plan`.
fn planned(args: &Args, network: &Network) -> Result<()> {
    let device = args.device.open()?;
    say(&format!("device: {} ({})", device.name(), device.reason()));
    let plan = watched("building the network", |report| {
        let with = building(args, report);
        Simulation::plan_of(&device, network, &with)
    })?;
    let budget = device.stats().memory.budget_bytes;
    if args.json {
        return print_json(&json!({
            "device": device.name(),
            "reason": device.reason(),
            "network": name_of(network),
            "neurons": plan.neurons - sources_of(network),
            "sources": sources_of(network),
            "synapses": plan.synapses,
            "memory": {
                "planned_bytes": plan.planned_bytes,
                "least_bytes": plan.least_bytes,
                "budget_bytes": budget,
                "parts": memory::parts_json(&plan.parts),
            },
        }));
    }
    print(&plan_text(network, &plan, budget))
}

/// Writes the spikes and what probes have recorded.
fn write(path: &Path, rows: &[Row], raster: &Raster, simulation: &Simulation) -> Result<()> {
    let n = raster.spikes();
    let mut times = Vec::with_capacity(n);
    let mut neurons = Vec::with_capacity(n);
    for (time, neuron) in raster.iter() {
        times.push(time);
        neurons.push(neuron);
    }
    let population: Vec<u32> =
        neurons.iter().map(|&neuron| rows.partition_point(|r| r.first <= neuron) as u32 - 1).collect();
    let within: Vec<u32> =
        neurons.iter().zip(&population).map(|(neuron, &p)| neuron - rows[p as usize].first).collect();
    let span = raster.span_ms();
    npz::write(path, |file| {
        // An interruption before now ended the simulation, not this.
        if !interrupt().is_cancelled() {
            file.cancel_with(interrupt());
        }
        file.array("time_ms", &[n], &times)?;
        file.array("population", &[n], &population)?;
        file.array("neuron", &[n], &within)?;
        file.array("neuron_global", &[n], &neurons)?;
        file.texts("population_names", &rows.iter().map(|r| r.name.as_str()).collect::<Vec<_>>())?;
        file.array("population_sizes", &[rows.len()], &rows.iter().map(|r| r.size).collect::<Vec<_>>())?;
        file.array("span_ms", &[2], &[span.start, span.end])?;
        let probes = &simulation.network().probes;
        let names: Vec<String> = probes.iter().map(|p| format!("{:?} of {}", p.variable, p.population)).collect();
        file.texts("probe_names", &names.iter().map(String::as_str).collect::<Vec<_>>())?;
        for (i, probe) in probes.iter().enumerate() {
            let (times, values) = simulation.probe(i)?;
            file.array(&format!("probe_{i}_neuron"), &[probe.neurons.len()], &probe.neurons)?;
            file.array(&format!("probe_{i}_time_ms"), &[times.len()], &times)?;
            file.array(&format!("probe_{i}_values"), &[times.len(), probe.neurons.len()], values)?;
        }
        Ok(())
    })
}

/// Draws the spikes of the last second, and the rates.
fn draw(path: &Path, network: &Network, rows: &[Row], raster: &Raster) -> Result<()> {
    let span = raster.span_ms();
    let figure = NetworkFigure {
        title: name_of(network).into(),
        subtitle: format!("rates from {} to {} ms", span.start.round(), span.end.round()),
        populations: rows
            .iter()
            .map(|r| PopulationRow {
                name: r.name.clone(),
                neurons: r.first..r.first + r.size,
                rate: r.rate,
                inhibitory: r.inhibitory,
            })
            .collect(),
        raster,
        window: span.start.max(span.end - DRAWN_MS)..span.end,
    };
    plot::network(&figure, path)
}
