//! `spikewave bench lif` and `lif_fused`: the neurons of `benches/peers/lif.py`.

use rayon::prelude::*;
use serde_json::{Value, json};
use spikewave::device::Control;
use spikewave::io::npy;
use spikewave::ops::lif::{Drive, Integration, Lif, LifParams, Reset, Spikes, ThresholdRule, spike_words};
use spikewave::{Device, Error, Result};

use super::{Bench, median};

/// Steps neurons; see benches/peers/README.md. The timed calls carry the state on; a single step also reports the
/// bytes that it moves and the time of a copy.
pub fn run(bench: &Bench, device: &Device) -> Result<(Vec<f64>, Value)> {
    let rule = match bench.text("threshold_rule")? {
        ">=" => ThresholdRule::AtOrAbove,
        ">" => ThresholdRule::Above,
        other => return Err(Error::file(&bench.path, format_args!("\"threshold_rule\" is \"{other}\", not >= or >"))),
    };
    let (steps, dt) = (bench.count("steps")?.max(1), bench.number("dt")?);
    let params = LifParams {
        dt,
        tau_mem: bench.number("tau_mem")?.into(),
        v_rest: bench.number("v_rest")?.into(),
        v_threshold: bench.number("v_threshold")?.into(),
        rule,
        reset: Reset::To(bench.number("v_reset")?.into()),
        t_ref: (bench.number("refractory_steps")? * dt).into(),
        integration: Integration::Euler,
        ..LifParams::default()
    };
    let (_, v) = npy::read::<f32>(bench.input.join("v.npy"))?;
    let (_, refractory) = npy::read::<u32>(bench.input.join("refractory.npy"))?;
    let (shape, current) = npy::read::<f32>(bench.input.join("current.npy"))?;
    let (n, driven) = (v.len(), shape.len() == 2);
    let prepare = |download: bool| {
        let mut rec = device.recording("lif");
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
        npy::write(bench.output.join("v.npy"), &[n], out.get(v)?)?;
        npy::write(bench.output.join("spikes.npy"), &[steps, spike_words(n)], out.get(spikes)?)?;
    }
    let (mut timed, ..) = prepare(false)?;
    let control = Control::default();
    let times = bench.time(|| timed.run(&[], &control).map(drop))?;
    if steps > 1 {
        return Ok((times, json!({})));
    }
    // Membrane and refractory steps go both ways, the drive comes in, a bit goes out.
    let bytes = 4 * (2 * n + 2 * n + n + spike_words(n));
    Ok((times, json!({ "bytes": bytes, "copy_ms": median(&copy(bench, device)?) })))
}

/// Times of copying `copy_elements` f32 from one buffer to another on the device's threads.
pub(super) fn copy(bench: &Bench, device: &Device) -> Result<Vec<f64>> {
    let Device::Cpu(cpu) = device else { return Err(Error::Internal("the copy runs on the native path".into())) };
    let elements = bench.count("copy_elements")?.max(1);
    let share = elements.div_ceil(bench.count("threads")?.max(1));
    let source: Vec<f32> = (0..elements).map(|i| i as f32).collect();
    let mut target = vec![0f32; elements];
    bench.time(|| {
        cpu.install(|| {
            target.par_chunks_mut(share).zip(source.par_chunks(share)).for_each(|(to, from)| to.copy_from_slice(from));
        });
        std::hint::black_box(&mut target);
        Ok(())
    })
}
