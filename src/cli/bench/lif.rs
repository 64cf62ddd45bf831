//! `spikewave bench lif` and `lif_fused`: the neurons of `benches/peers/lif.py`.

use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;
use serde_json::{Value, json};
use spikewave::device::{Choice, Control, DeviceOptions};
use spikewave::io::npy;
use spikewave::ops::lif::{Drive, Integration, Lif, LifParams, Reset, Spikes, ThresholdRule, spike_words};
use spikewave::{Device, Error, Result};

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

/// Milliseconds of `samples` times `repeats` calls, each after one that is not counted.
fn time(samples: usize, repeats: usize, mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    call()?;
    (0..samples)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..repeats {
                call()?;
            }
            Ok(started.elapsed().as_secs_f64() * 1e3 / repeats as f64)
        })
        .collect()
}

/// Steps the neurons of `input/{v,refractory,current}.npy` as `input/bench.json` says, writes
/// `output/{v,spikes}.npy`, and returns the times of `samples` × `repeats` calls on `threads` threads of the native
/// path. One step reports the bytes that it moves and the time of a copy, too.
///
/// # Errors
/// `File` for an input that is missing or contradicts itself, and as [`Lif::with_state`].
pub fn run(input: &Path, output: &Path, threads: usize) -> Result<Value> {
    let path = input.join("bench.json");
    let text = std::fs::read_to_string(&path).map_err(|e| Error::file(&path, e))?;
    let bench: Value = serde_json::from_str(&text).map_err(|e| Error::file(&path, e))?;
    let number = |key: &str| {
        bench[key].as_f64().ok_or_else(|| Error::file(&path, format_args!("\"{key}\" must be a number")))
    };
    let count = |key: &str| {
        let n = bench[key].as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        n.ok_or_else(|| Error::file(&path, format_args!("\"{key}\" must be a positive whole number")))
    };
    let (name, rule) = match (bench["name"].as_str(), bench["threshold_rule"].as_str()) {
        (Some(name), Some(">=")) => (name, ThresholdRule::AtOrAbove),
        (Some(name), Some(">")) => (name, ThresholdRule::Above),
        _ => return Err(Error::file(&path, "\"name\" must be a text and \"threshold_rule\" \">=\" or \">\"")),
    };
    let (steps, samples, repeats) = (count("steps")?, count("samples")?, count("repeats")?);
    let dt = number("dt")?;
    let params = LifParams {
        dt,
        tau_mem: number("tau_mem")?.into(),
        v_rest: number("v_rest")?.into(),
        v_threshold: number("v_threshold")?.into(),
        rule,
        reset: Reset::To(number("v_reset")?.into()),
        t_ref: (number("refractory_steps")? * dt).into(),
        integration: Integration::Euler,
        ..LifParams::default()
    };
    let (_, v) = npy::read::<f32>(input.join("v.npy"))?;
    let (_, refractory) = npy::read::<u32>(input.join("refractory.npy"))?;
    let (shape, current) = npy::read::<f32>(input.join("current.npy"))?;
    let (n, driven) = (v.len(), shape.len() == 2);
    if refractory.len() != n || current.len() != n * if driven { steps } else { 1 } {
        let why = format_args!("v.npy has {n} neurons, refractory.npy {}, current.npy {shape:?}", refractory.len());
        return Err(Error::file(input, why));
    }

    let device = Device::open(&DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) })?;
    let prepare = |download: bool| {
        let mut rec = device.recording(name);
        let v = rec.state("v", &v)?;
        let refractory = rec.state("refractory", &refractory)?;
        let lif = Lif::with_state(&mut rec, &params, v, refractory)?;
        let x = rec.constant("current", &current)?;
        let drive = if driven { Drive::Each(x) } else { Drive::Constant(x) };
        let spikes = rec.scratch("spikes", steps * spike_words(n))?;
        lif.run(&mut rec, steps, drive, Spikes::Packed(spikes), None)?;
        if download {
            rec.download(v)?;
            rec.download(spikes)?;
        }
        Ok::<_, Error>((device.prepare(&rec)?, v, spikes))
    };
    {
        let (mut first, v, spikes) = prepare(true)?;
        let out = first.run(&[], &Control::default())?;
        npy::write(output.join("v.npy"), &[n], out.get(v)?)?;
        npy::write(output.join("spikes.npy"), &[steps, spike_words(n)], out.get(spikes)?)?;
    }
    let (mut timed, ..) = prepare(false)?;
    let control = Control::default();
    let times = time(samples, repeats, || timed.run(&[], &control).map(drop))?;
    let mut report = json!({
        "name": name,
        "device": device.name(),
        "threads": threads,
        "samples": times,
        "median_ms": median(&times),
        "min_ms": times.iter().copied().fold(f64::INFINITY, f64::min),
    });
    if steps == 1 {
        // Membrane and refractory steps go both ways, the drive comes in, a bit goes out.
        report["bytes"] = json!(4 * (2 * n + 2 * n + n + spike_words(n)));
        report["copy_ms"] = json!(copy(&device, count("copy_elements")?, threads, samples)?);
    }
    Ok(report)
}

/// The median time in ms of copying `elements` f32 from one buffer to another on the device's threads.
fn copy(device: &Device, elements: usize, threads: usize, samples: usize) -> Result<f64> {
    let Device::Cpu(cpu) = device else { return Err(Error::Internal("the copy runs on the native path".into())) };
    let source: Vec<f32> = (0..elements).map(|i| i as f32).collect();
    let mut target = vec![0f32; elements];
    let share = elements.div_ceil(threads);
    let times = time(samples, 1, || {
        cpu.install(|| {
            target.par_chunks_mut(share).zip(source.par_chunks(share)).for_each(|(to, from)| to.copy_from_slice(from));
        });
        std::hint::black_box(&mut target);
        Ok(())
    })?;
    Ok(median(&times))
}
