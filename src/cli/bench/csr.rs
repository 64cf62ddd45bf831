//! `spikewave bench csr`: a sparse matrix times a vector or a dense matrix.

use serde_json::{Value, json};
use spikewave::device::Control;
use spikewave::io::npy;
use spikewave::ops::csr::{Csr, Values};
use spikewave::{Device, Error, Result};

use super::{Bench, lif, median};

/// Multiplies; see benches/peers/README.md. Also reports the bytes that a product moves at least and the time of a copy.
pub fn run(bench: &Bench, device: &Device) -> Result<(Vec<f64>, Value)> {
    let file = |name: &str| bench.input.join(name);
    let (_, offsets) = npy::read::<u32>(file("indptr.npy"))?;
    let (_, indices) = npy::read::<u32>(file("indices.npy"))?;
    let (_, values) = npy::read::<f32>(file("data.npy"))?;
    let (shape, x) = npy::read::<f32>(file("x.npy"))?;
    let &[columns, ref k @ ..] = &shape[..] else { return Err(Error::file(file("x.npy"), "holds a single number")) };
    let k = match k {
        [] => 1,
        [k] => *k,
        _ => return Err(Error::file(file("x.npy"), format_args!("has the shape {shape:?}, must be n or n × k"))),
    };
    let record = |download: bool| {
        let mut rec = device.recording("csr");
        let a = Csr::new(&mut rec, columns, &offsets, &indices, Values::Each(&values))?;
        let x = rec.constant("x", &x)?;
        let y = rec.scratch("y", a.rows() * k)?;
        a.matmul(&mut rec, x, k, y)?;
        if download {
            rec.download(y)?;
        }
        Ok::<_, Error>((device.prepare(&rec)?, a, y))
    };
    let bytes = {
        let (mut first, a, y) = record(true)?;
        let out = first.run(&[], &Control::default())?;
        let shape = if shape.len() == 1 { vec![a.rows()] } else { vec![a.rows(), k] };
        npy::write(bench.output.join("y.npy"), &shape, out.get(y)?)?;
        a.bytes() + 4 * (x.len() + a.rows() * k) as u64
    };
    let (mut timed, ..) = record(false)?;
    let control = Control::default();
    let times = bench.time(|| timed.run(&[], &control).map(drop))?;
    Ok((times, json!({ "bytes": bytes, "copy_ms": median(&lif::copy(bench, device)?) })))
}
