//! `spikewave bench bank`: the matched filters of `benches/peers/bank.py`.

use std::time::Instant;

use num_complex::Complex32;
use serde_json::{Value, json};
use spikewave::device::Control;
use spikewave::io::npy;
use spikewave::ops::Fft;
use spikewave::{Device, Error, Result};

use super::Bench;

fn complex(values: &[f32]) -> Vec<Complex32> {
    values.chunks_exact(2).map(|v| Complex32::new(v[0], v[1])).collect()
}

/// Filters the data with all templates at the full rate; see benches/peers/README.md.
pub fn run(bench: &Bench, device: &Device) -> Result<(Vec<f64>, Value)> {
    let n = bench.count("n")?;
    let (_, data) = npy::read::<f32>(bench.input.join("data.npy"))?;
    let (shape, templates) = npy::read::<f32>(bench.input.join("templates.npy"))?;
    let &[count, bins, 2] = shape.as_slice() else {
        return Err(Error::file(&bench.input, "templates.npy must have the shape (templates, bins, 2)"));
    };
    let (mut data, templates) = (complex(&data), complex(&templates));
    if bins != n / 2 + 1 || data.len() != bins {
        return Err(Error::file(&bench.input, format!("{bins} and {} bins for {n} samples", data.len())));
    }
    data.resize(n, Complex32::ZERO);

    let started = Instant::now();
    let mut rec = device.recording("bank");
    // States lie on the device before a run, as the peers' arrays do.
    let factors = rec.state("data", &data)?;
    let templates = rec.state("templates", &templates)?;
    let (power, at) = (rec.scratch("power", count)?, rec.scratch("at", count)?);
    let filters = Fft::inverse(n).scale(1.0).rows(bins, bins).conjugate().factors(factors);
    filters.record_peaks(&mut rec, templates, 0..n, power, at)?;
    rec.download(power)?;
    rec.download(at)?;
    let mut prepared = device.prepare(&rec)?;
    let prepare_ms = started.elapsed().as_secs_f64() * 1e3;

    let times = bench.time(|| prepared.run(&[], &Control::default()).map(drop))?;
    let out = prepared.run(&[], &Control::default())?;
    let peaks: Vec<f32> = out.get(power)?.iter().map(|p| p.sqrt()).collect();
    npy::write(bench.output.join("peak.npy"), &[count], &peaks)?;
    npy::write(bench.output.join("index.npy"), &[count], out.get(at)?)?;
    Ok((times, json!({"prepare_ms": prepare_ms})))
}
