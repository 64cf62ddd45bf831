//! `spikewave bench conv1d`: the convolution of `benches/peers/conv1d.py`.

use serde_json::{Value, json};
use spikewave::device::Control;
use spikewave::io::npy;
use spikewave::ops::{self, Conv1d, Filters, Padding};
use spikewave::{Device, Error, Result};

use super::Bench;

/// Convolves; see benches/peers/README.md. Not timed: reading, writing, planning, and the layout of the filters.
pub fn run(bench: &Bench, device: &Device) -> Result<(Vec<f64>, Value)> {
    let padding = bench.count("padding")?;
    let read = |name: &str| npy::read::<f32>(bench.input.join(name));
    let ((x_shape, x), (w_shape, w), (_, b)) = (read("input.npy")?, read("weight.npy")?, read("bias.npy")?);
    let (&[batch, channels_in, length], &[channels_out, _, taps]) = (&x_shape[..], &w_shape[..]) else {
        return Err(Error::file(&bench.input, "input.npy and weight.npy must have three dimensions each"));
    };
    let conv = Conv1d {
        batch,
        length,
        channels_in,
        channels_out,
        taps,
        groups: bench.count("groups")?,
        stride: bench.count("stride")?,
        dilation: bench.count("dilation")?,
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
    npy::write(bench.output.join("output.npy"), &[batch, channels_out, n_out], out.get(y)?)?;
    let (mut timed, _) = prepare(false)?;
    let control = Control::default();
    let times = bench.time(|| timed.run(&[], &control).map(drop))?;
    Ok((times, json!({})))
}
