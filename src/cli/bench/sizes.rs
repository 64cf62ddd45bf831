//! `spikewave bench lif --sizes …`: from which number of neurons on a GPU is faster than the native path.

use std::time::Instant;

use serde_json::{Value, json};
use spikewave::device::{Choice, Control, DeviceOptions, Feed};
use spikewave::ops::lif::{Drive, Lif, LifParams, Reset, Spikes, spike_words};
use spikewave::{Device, Error, Result};

use super::median;
use crate::cli::gw::announce;
use crate::cli::{DeviceArgs, print, print_json, say};

/// Steps of one submission where nothing is moved.
const STEPS: usize = 200;
/// Submissions of one step where everything is moved.
const SINGLE: usize = 50;
/// Times that are measured, after one that is not counted.
const SAMPLES: usize = 7;
/// The most neurons: what a step moves stays far below any limit.
const LARGEST: usize = 1 << 27;

/// Microseconds a step.
struct Row {
    neurons: usize,
    cpu_one: f64,
    cpu_all: f64,
    gpu: Option<Gpu>,
}

#[derive(Clone, Copy)]
struct Gpu {
    resident: f64,
    transfers: f64,
}

/// Neurons of the microcircuit under a current that makes them fire at about 50/s.
fn params() -> LifParams {
    LifParams {
        dt: 0.1,
        tau_mem: 10.0.into(),
        v_rest: (-65.0).into(),
        v_threshold: (-50.0).into(),
        reset: Reset::To((-65.0).into()),
        t_ref: 2.0.into(),
        ..LifParams::default()
    }
}

/// Microseconds a step: the median of several calls of `steps` steps.
fn time(steps: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    call()?;
    let sample = |_| {
        let started = Instant::now();
        call()?;
        Ok(started.elapsed().as_secs_f64() * 1e6 / steps as f64)
    };
    Ok(median(&(0..SAMPLES).map(sample).collect::<Result<Vec<f64>>>()?))
}

/// A step where drive, state and spikes stay on the device and all steps are one submission.
fn resident(device: &Device, n: usize, current: &[f32]) -> Result<f64> {
    let mut rec = device.recording("lif, resident");
    let lif = Lif::new(&mut rec, n, &params())?;
    let drive = rec.constant("current", current)?;
    let spikes = rec.scratch("spikes", STEPS * spike_words(n))?;
    lif.run(&mut rec, STEPS, Drive::Constant(drive), Spikes::Packed(spikes), None)?;
    let mut prepared = device.prepare(&rec)?;
    time(STEPS, || prepared.run(&[], &Control::default()).map(drop))
}

/// A step that takes its drive from the host and gives its spikes back.
fn with_transfers(device: &Device, n: usize, current: &[f32]) -> Result<f64> {
    let mut rec = device.recording("lif, transfers");
    let lif = Lif::new(&mut rec, n, &params())?;
    let drive = rec.input("current", n)?;
    let spikes = rec.scratch("spikes", spike_words(n))?;
    lif.run(&mut rec, 1, Drive::Constant(drive), Spikes::Packed(spikes), None)?;
    rec.download(spikes)?;
    let mut prepared = device.prepare(&rec)?;
    let feeds: [Feed<'_>; 1] = [drive.feed(current)];
    time(SINGLE, || (0..SINGLE).try_for_each(|_| prepared.run(&feeds, &Control::default()).map(drop)))
}

fn measure(devices: &[Device; 2], gpu: Option<&Device>, neurons: usize) -> Result<Row> {
    let current: Vec<f32> = (0..neurons).map(|i| 18.0 + 4.0 * (i % 97) as f32 / 97.0).collect();
    Ok(Row {
        neurons,
        cpu_one: resident(&devices[0], neurons, &current)?,
        cpu_all: resident(&devices[1], neurons, &current)?,
        gpu: match gpu {
            Some(gpu) => Some(Gpu {
                resident: resident(gpu, neurons, &current)?,
                transfers: with_transfers(gpu, neurons, &current)?,
            }),
            None => None,
        },
    })
}

/// The number of neurons from which on `of` is faster than the native path, in between two sizes by their ratio of
/// times; `None` if it is not faster at the largest. The second is whether it is faster at the smallest already.
fn crossing(rows: &[Row], of: impl Fn(&Gpu) -> f64) -> Option<(f64, bool)> {
    // Above zero where the native path is slower.
    let gains: Vec<(f64, f64)> = rows
        .iter()
        .filter_map(|r| Some(((r.neurons as f64).ln(), (r.cpu_one.min(r.cpu_all) / of(r.gpu.as_ref()?)).ln())))
        .collect();
    if gains.last()?.1 <= 0.0 {
        return None;
    }
    Some(match gains.iter().rposition(|(_, gain)| *gain <= 0.0) {
        None => (gains.first()?.0.exp(), true),
        Some(i) => {
            let ((x0, y0), (x1, y1)) = (gains[i], gains[i + 1]);
            ((x0 + (x1 - x0) * y0 / (y0 - y1)).exp(), false)
        }
    })
}

pub fn run(sizes: &[usize], args: &DeviceArgs, as_json: bool) -> Result<()> {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    sizes.dedup();
    if let Some(n) = sizes.iter().find(|n| !(1..=LARGEST).contains(*n)) {
        return Err(Error::invalid("sizes", format!("{n} neurons; from 1 to {LARGEST}")));
    }
    let options = args.options()?;
    let threads = |n| Device::open(&DeviceOptions { choice: Choice::Cpu, threads: n, ..options.clone() });
    let devices = [threads(Some(1))?, threads(options.threads)?];
    let chosen = args.open()?;
    announce(&chosen);
    let gpu = matches!(chosen, Device::Gpu(_)).then_some(&chosen);
    let rows = sizes
        .iter()
        .map(|&n| {
            if !as_json {
                say(&format!("{n} neurons"));
            }
            measure(&devices, gpu, n)
        })
        .collect::<Result<Vec<Row>>>()?;
    let points =
        [("gpu_resident", crossing(&rows, |g| g.resident)), ("gpu_transfers", crossing(&rows, |g| g.transfers))];
    if as_json {
        let list: Vec<Value> = rows
            .iter()
            .map(|r| {
                json!({
                    "neurons": r.neurons,
                    "cpu_one_thread_us": r.cpu_one,
                    "cpu_us": r.cpu_all,
                    "gpu_resident_us": r.gpu.map(|g| g.resident),
                    "gpu_transfers_us": r.gpu.map(|g| g.transfers),
                })
            })
            .collect();
        let crossing: serde_json::Map<String, Value> =
            points.iter().map(|(name, at)| ((*name).into(), json!(at.map(|(n, _)| n.round())))).collect();
        return print_json(&json!({
            "name": "lif",
            "cpu": devices[1].name(),
            "gpu": gpu.map(Device::name),
            "reason": chosen.reason(),
            "steps": STEPS,
            "sizes": list,
            "crossing": crossing,
        }));
    }
    let mut text = format!(
        "microseconds a step of leaky integrate-and-fire neurons; GPU: {}\n\n",
        gpu.map_or_else(|| format!("none ({})", chosen.reason()), |g| g.name().to_owned())
    );
    text += &format!(
        "{:>10} {:>15} {:>15} {:>15} {:>15}\n",
        "neurons", "CPU, 1 thread", "CPU, all", "GPU, resident", "GPU, transfers"
    );
    for r in &rows {
        let of = |time: Option<f64>| time.map_or("-".into(), |t| format!("{t:.2}"));
        text += &format!(
            "{:>10} {:>15.2} {:>15.2} {:>15} {:>15}\n",
            r.neurons,
            r.cpu_one,
            r.cpu_all,
            of(r.gpu.map(|g| g.resident)),
            of(r.gpu.map(|g| g.transfers))
        );
    }
    text += "\n";
    for ((_, at), what) in points.iter().zip(["resident", "with transfers"]) {
        text += &match (gpu, at) {
            (None, _) => continue,
            (_, None) => {
                format!("GPU {what}: the CPU is faster up to {} neurons at least\n", rows[rows.len() - 1].neurons)
            }
            (_, Some((n, true))) => format!("GPU {what}: faster from {n:.0} neurons on, or from fewer\n"),
            (_, Some((n, false))) => format!("GPU {what}: faster from about {n:.0} neurons on\n"),
        };
    }
    if gpu.is_none() {
        text += "crossing point: none, without a GPU; --device takes any adapter by its name\n";
    }
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crossing_point_is_where_times_are_equal() {
        let row = |neurons: usize, cpu: f64, gpu: f64| Row {
            neurons,
            cpu_one: 2.0 * cpu,
            cpu_all: cpu,
            gpu: Some(Gpu { resident: gpu, transfers: 1e3 }),
        };
        // The CPU takes n/1000, the GPU 5: equal at 5000.
        let rows: Vec<Row> = [1000, 4000, 10_000, 50_000].map(|n| row(n, n as f64 / 1e3, 5.0)).into();
        let (at, from_start) = crossing(&rows, |g| g.resident).unwrap();
        assert!((at - 5000.0).abs() < 1e-6 && !from_start, "{at}");
        assert_eq!(crossing(&rows, |g| g.transfers), None);
        assert!(crossing(&rows[2..], |g| g.resident).unwrap().1);
        assert_eq!(crossing(&[], |g| g.resident), None);
    }
}
