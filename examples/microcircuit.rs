//! The cortical microcircuit, scaled down: built, simulated, and looked into.
//!
//! ```text
//! cargo run --release --example microcircuit [SCALE] [DEVICE]
//! ```
//!
//! SCALE is 0.1 unless given; 1 is the full network, 299 million synapses. DEVICE is auto (default), cpu, gpu or part
//! of an adapter's name.

use spikewave::device::{Control, DeviceOptions};
use spikewave::network::models::{Drive, MicrocircuitOptions, microcircuit};
use spikewave::network::{Probe, Record, Simulation, SimulationOptions, Variable};
use spikewave::{Device, Error, Result, bytes};

const WARM_MS: f64 = 500.0;
const MS: f64 = 1000.0;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let scale = args.next().unwrap_or_else(|| "0.1".into());
    let scale: f64 = scale.parse().map_err(|_| Error::invalid("scale", format!("\"{scale}\"; a number")))?;
    let device = Device::open(&DeviceOptions::new(args.next().unwrap_or_else(|| "auto".into()).parse()?))?;
    println!("on {} ({})", device.name(), device.reason());

    // A network is plain data: what is changed here could be written in a RON file as well.
    let mut network = microcircuit(&MicrocircuitOptions { scale, drive: Drive::Poisson, ..Default::default() })?;
    network.probes.push(Probe {
        population: "L5E".into(),
        variable: Variable::V,
        neurons: vec![0, 1],
        interval: Some(1.0),
    });

    // Spikes of the first half second are not kept: the network settles.
    let options = SimulationOptions { record: Record::From(WARM_MS), ..Default::default() };
    let mut simulation = Simulation::new(&device, &network, &options)?;
    let plan = simulation.plan();
    println!("{} neurons, {} synapses, {} of memory:", plan.neurons, plan.synapses, bytes(plan.planned_bytes));
    for (part, size) in &plan.parts {
        println!("  {part:<28} {:>10}", bytes(*size));
    }
    println!("built in {:.2?}, ready in another {:.2?}", simulation.build_time(), simulation.warmup_time());

    // It runs as long as it is told to, and goes on where it was when it is told again.
    simulation.run(WARM_MS, &Control::default())?;
    let started = std::time::Instant::now();
    simulation.run(MS, &Control::default())?;
    println!("real-time factor {:.3}\n", started.elapsed().as_secs_f64() * 1e3 / MS);

    let rates = simulation.rates()?;
    let raster = simulation.raster().ok_or_else(|| Error::invalid("raster", "nothing was recorded"))?;
    println!("population  spikes/s  CV of intervals");
    for (name, rate) in &rates {
        let cv = raster.interval_cv(simulation.neurons_of(name)?, 5);
        println!("{name:<10} {rate:>9.2} {:>12}", cv.map_or("-".into(), |cv| format!("{cv:.2}")));
    }

    // Spikes of any stretch of time are found at once. A letter is 2 ms; the darker, the more spikes.
    println!("\n200 ms, all {} spikes (hash {:016x}):", raster.spikes(), raster.hash());
    let counts: Vec<u64> =
        (0..100).map(|i| WARM_MS + 2.0 * f64::from(i)).map(|t| raster.count_between(t, t + 2.0)).collect();
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    println!("{}", counts.iter().map(|n| [' ', '.', ':', '+', '#'][(n * 4 / most) as usize]).collect::<String>());

    let (times, values) = simulation.probe(0)?;
    println!("\nmembrane potentials of two neurons of L5E:");
    for (t, v) in times.iter().zip(values.chunks(2)).skip(WARM_MS as usize).step_by(20).take(5) {
        println!("{t:>7.1} ms {:>8.2} mV {:>8.2} mV", v[0], v[1]);
    }
    Ok(())
}
