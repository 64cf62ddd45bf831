//! `spikewave bench conv1d`: the convolution of `benches/peers/conv1d.py`.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use spikewave::device::Control;
use spikewave::io::npy;
use spikewave::ops::{self, Conv1d, Filters, Padding};
use spikewave::{Device, Error, Result};

/// Convolves `input/{input,weight,bias}.npy` as `input/bench.json` says, writes `output/output.npy`, and returns the
/// times of `samples` × `repeats` calls. Not timed: reading, writing, planning, and the layout of the filters.
///
/// # Errors
/// `File` for an input that is missing or of another shape, and as [`Filters::new`].
pub fn run(input: &Path, output: &Path, device: &Device, threads: usize) -> Result<Value> {
    let path = input.join("bench.json");
    let text = std::fs::read_to_string(&path).map_err(|e| Error::file(&path, e))?;
    let bench: Value = serde_json::from_str(&text).map_err(|e| Error::file(&path, e))?;
    let number = |key: &str| {
        let n = bench[key].as_u64().and_then(|n| usize::try_from(n).ok());
        n.ok_or_else(|| Error::file(&path, format_args!("\"{key}\" must be a whole number")))
    };
    let (samples, repeats, padding) = (number("samples")?.max(1), number("repeats")?.max(1), number("padding")?);
    let read = |name: &str| npy::read::<f32>(input.join(name));
    let ((x_shape, x), (w_shape, w), (_, b)) = (read("input.npy")?, read("weight.npy")?, read("bias.npy")?);
    let (&[batch, channels_in, length], &[channels_out, _, taps]) = (&x_shape[..], &w_shape[..]) else {
        return Err(Error::file(input, "input.npy and weight.npy must have three dimensions each"));
    };
    let conv = Conv1d {
        batch,
        length,
        channels_in,
        channels_out,
        taps,
        groups: number("groups")?,
        stride: number("stride")?,
        dilation: number("dilation")?,
        padding: Padding::Explicit(padding, padding),
    };
    let n_out = conv.output_length()?;
    let prepare = |download: bool| {
        let mut rec = device.recording("conv1d");
        let filters = Filters::new(&mut rec, conv, &w, Some(&b))?;
        // A state lies on the device before the run, as the peer's tensor does.
        let x = rec.state("x", &x)?;
        let y = rec.scratch("y", batch * channels_out * n_out)?;
        ops::conv1d(&mut rec, &filters, x, y)?;
        if download {
            rec.download(y)?;
        }
        Ok::<_, Error>((device.prepare(&rec)?, y))
    };
    let (mut result, y) = prepare(true)?;
    let out = result.run(&[], &Control::default())?;
    npy::write(output.join("output.npy"), &[batch, channels_out, n_out], out.get(y)?)?;
    let (mut timed, _) = prepare(false)?;
    let control = Control::default();
    timed.run(&[], &control)?;
    let mut times = Vec::with_capacity(samples);
    for _ in 0..samples {
        let started = Instant::now();
        for _ in 0..repeats {
            timed.run(&[], &control)?;
        }
        times.push(started.elapsed().as_secs_f64() * 1e3 / repeats as f64);
    }
    let mut sorted = times.clone();
    sorted.sort_by(f64::total_cmp);
    let middle = (sorted[(samples - 1) / 2] + sorted[samples / 2]) / 2.0;
    Ok(json!({
        "name": "conv1d",
        "device": device.name(),
        "threads": threads,
        "samples": times,
        "median_ms": middle,
        "min_ms": sorted[0],
    }))
}
