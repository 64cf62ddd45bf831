//! A computation made by hand: record once, see what it needs, run it many times on any device.
//!
//! ```text
//! cargo run --release --example record_and_run [DEVICE]
//! ```
//!
//! A noisy tone is smoothed by a convolution, looked at through a Fourier transform, and turned into the spikes of an
//! integrate-and-fire neuron. DEVICE is auto (default), cpu, gpu or part of an adapter's name.

use num_complex::Complex32;
use spikewave::device::{Control, Device, DeviceOptions};
use spikewave::ops::lif::{Drive, Lif, LifParams, Spikes};
use spikewave::ops::{self, Conv1d, Filters, Padding};
use spikewave::random::Random;
use spikewave::recording::Role;
use spikewave::{Result, bytes};

const N: usize = 4096;
const RATE_HZ: f32 = 1000.0;
const TONE_HZ: f32 = 31.25;

fn main() -> Result<()> {
    let choice = std::env::args().nth(1).unwrap_or_else(|| "auto".into()).parse()?;
    let device = Device::open(&DeviceOptions::new(choice))?;
    println!("on {} ({})", device.name(), device.reason());

    // A recording is plain data: tensors, and commands over them. Nothing runs yet.
    let mut rec = device.recording("tone to spikes");
    let x = rec.input::<f32>("signal", N)?;

    // Mean over 9 samples. What depends on the filter alone is done now, not at every run.
    let conv = Conv1d { padding: Padding::Same, ..Conv1d::new(1, N, 1, 1, 9) };
    let filters = Filters::new(&mut rec, conv, &[1.0 / 9.0; 9], None)?;
    let smooth = rec.scratch::<f32>("smooth", N)?;
    ops::conv1d(&mut rec, &filters, x, smooth)?;

    let spectrum = rec.scratch::<Complex32>("spectrum", N / 2 + 1)?;
    ops::rfft(&mut rec, N, smooth, spectrum)?;
    rec.download(spectrum)?;

    // One neuron, one step a sample. Its state goes on from run to run.
    let neuron =
        Lif::new(&mut rec, 1, &LifParams { tau_mem: 10.0.into(), v_threshold: 0.5.into(), ..LifParams::default() })?;
    let spikes = rec.scratch::<f32>("spikes", N)?;
    neuron.run(&mut rec, N, Drive::Each(smooth), Spikes::Dense(spikes), None)?;
    rec.download(spikes)?;

    // Every byte is known before anything runs.
    let plan = rec.plan();
    let (largest, size) = &plan.largest;
    println!("{} dispatches, {} at most, of it:", plan.dispatches, bytes(plan.peak_bytes()));
    for role in Role::ALL {
        println!("  {:<10} {}", role.name(), bytes(plan.role_bytes(role)));
    }
    println!("  the largest tensor is \"{largest}\" with {}", bytes(*size));

    // Prepare once, or be refused with the numbers; then run as often as you like.
    let mut prepared = device.prepare(&rec)?;
    let created = device.stats();
    for run in 0..3 {
        let mut noise = Random::new(run, 0);
        let tone = |i: usize| (std::f32::consts::TAU * TONE_HZ * i as f32 / RATE_HZ).sin();
        let signal: Vec<f32> = (0..N).map(|i| tone(i) + noise.normal() as f32).collect();
        let out = prepared.run(&[x.feed(&signal)], &Control::default())?;
        let power: Vec<f32> = out.get(spectrum)?.iter().map(|z| z.norm_sqr()).collect();
        let peak = (1..power.len()).max_by(|a, b| power[*a].total_cmp(&power[*b])).unwrap_or(0);
        let count = out.get(spikes)?.iter().filter(|s| **s == 1.0).count();
        let (time, clock) = out.timing().best();
        println!("run {run}: loudest at {} Hz, {count} spikes, {time:.1?} ({clock})", peak as f32 * RATE_HZ / N as f32);
    }
    let now = device.stats();
    println!(
        "created in three runs: {} pipelines, {} buffers",
        now.pipelines_created - created.pipelines_created,
        now.memory.buffers_created - created.memory.buffers_created
    );
    Ok(())
}
