//! `spikewave gw psd` and `spikewave gw whiten`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use spikewave::device::Control;
use spikewave::gw::condition;
use spikewave::gw::filter::Filter;
use spikewave::gw::spectrum::{Average, Welch};
use spikewave::gw::strain::Strain;
use spikewave::gw::whiten::Method;
use spikewave::io::{npy, write_atomically};
use spikewave::{Device, Error, Result};

use super::gw::{announce, writable};
use super::{DeviceArgs, interrupt, memory, plural, print, print_json, survive};

/// Relative difference from f64 that `psd --check` allows.
const PSD_TOLERANCE: f64 = 3e-4;
/// Difference from f64, in standard deviations, that `whiten --check` allows.
const WHITEN_TOLERANCE: f64 = 5e-4;
/// Where the table names the amplitude spectral density, in Hz.
const TABLE_HZ: [f64; 7] = [20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 1500.0];
/// Seconds at each end that the official recipe spoils, since it takes the data as periodic.
const EDGE_S: f64 = 4.0;
/// Corner of the finite responses' high-pass, in Hz.
const CORNER_HZ: f64 = 20.0;
/// Order of the Butterworth low-pass behind the band-pass, as in the GWOSC event tutorial.
const BAND_ORDER: usize = 4;

#[derive(Debug, Args)]
pub struct PsdArgs {
    /// A GWOSC strain file.
    file: PathBuf,
    /// The quality flag that must be set, by its name in the file.
    #[arg(long)]
    flag: Option<String>,
    /// Seconds of a window.
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    window_s: f64,
    /// Combines windows by their median, which a loud transient does not move, in place of their mean.
    #[arg(long)]
    median: bool,
    /// Says what it would take of the device's memory, and does nothing.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// Compares with f64 and fails if they differ by more than 3e-4 between 20 and 1800 Hz.
    #[arg(long)]
    check: bool,
    /// Prints JSON, with the whole density from 10 Hz up.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MethodName {
    /// One transform over each segment, divided by the root of the density, as in the GWOSC event tutorial.
    Official,
    /// Symmetric finite response: half its length is lost at either end of a segment.
    Truncated,
    /// Causal finite response: no sample depends on later data; its length is lost at the beginning of a segment.
    #[value(alias = "causal")]
    MinimumPhase,
}

#[derive(Debug, Args)]
pub struct WhitenArgs {
    /// A GWOSC strain file.
    file: PathBuf,
    /// How to whiten. All work behind a 15 Hz high-pass, and nothing below 10 Hz comes out.
    #[arg(long, value_enum, default_value = "official")]
    method: MethodName,
    /// The quality flag that must be set, by its name in the file.
    #[arg(long)]
    flag: Option<String>,
    /// Seconds of the windows that the noise's density is measured with.
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    window_s: f64,
    /// Seconds of a finite response. Segments that are not longer are left out.
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    response_s: f64,
    /// A zero-phase band-pass after it, in Hz, such as 43-300. It looks ahead, whatever the method.
    #[arg(long, value_name = "LOW-HIGH", value_parser = parse_band)]
    band: Option<(f64, f64)>,
    /// The NPY file to write: f32 samples in standard deviations of the noise, one segment after the other.
    /// Next to it, OUT.npy.json says where each segment begins, in the array and in GPS time.
    #[arg(long, value_name = "OUT.npy", required_unless_present = "plan")]
    output: Option<PathBuf>,
    /// Says what it would take of the device's memory, and does nothing.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// Compares with f64 and fails if they differ by more than 5e-4 between 20 and 1800 Hz.
    #[arg(long)]
    check: bool,
    /// Prints JSON: what OUT.npy.json holds.
    #[arg(long)]
    json: bool,
}

fn parse_band(text: &str) -> std::result::Result<(f64, f64), String> {
    let corners = text.split_once('-').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    corners.ok_or_else(|| "write two frequencies in Hz, such as 43-300".into())
}

/// The official spectrum with windows of so many seconds.
fn windows_of(seconds: f64, sample_rate_hz: f64) -> Result<Welch> {
    let length = (seconds * sample_rate_hz).round();
    if !(2.0..=f64::from(u32::MAX)).contains(&length) {
        return Err(Error::invalid("--window-s", format!("{seconds} s at {sample_rate_hz} samples a second")));
    }
    Ok(Welch { length: length as usize, ..Welch::official(sample_rate_hz) })
}

/// What a check found, or the error that says that the device computes wrongly.
fn checked(device: &Device, test: &str, worst: f64, tolerance: f64) -> Result<serde_json::Value> {
    if worst.is_nan() || worst > tolerance {
        let detail = format!("{worst:.1e} from f64 between 20 and 1800 Hz, {tolerance:.0e} allowed");
        return Err(Error::DriverBroken { adapter: device.name().into(), test: test.into(), detail });
    }
    Ok(json!({"largest_difference": worst, "allowed": tolerance}))
}

pub fn psd(args: &PsdArgs) -> Result<()> {
    let control = Control { cancel: interrupt(), ..Control::default() };
    let strain = Strain::read(&args.file)?;
    let segments = strain.segments(args.flag.as_deref())?;
    let rate = strain.sample_rate_hz;
    let average = if args.median { Average::Median } else { Average::Mean };
    let welch = Welch { average, ..windows_of(args.window_s, rate)? };
    let mut device = args.device.open()?;
    announce(&device);
    let memory = condition::psd_plan(&device, &strain, &segments, &welch)?;
    let windows: usize = segments.iter().map(|s| welch.starts(s.samples()).count()).sum();
    if args.plan {
        let text = format!("{}\n", plural(windows, "window"));
        return memory::say_plan(&device, &memory, args.json, json!({"windows": windows}), &text);
    }
    let psd = survive(&mut device, |device| condition::psd(device, &strain, &segments, &welch, &control))?;
    let check = match args.check {
        true => {
            let reference = condition::reference_psd(&strain, &segments, &welch)?;
            let worst = condition::largest_difference(&psd, &reference);
            Some(checked(&device, "power spectral density", worst, PSD_TOLERANCE)?)
        }
        false => None,
    };
    let table = TABLE_HZ.into_iter().filter(|f| *f <= rate / 2.0);
    if args.json {
        let (frequencies, values): (Vec<f64>, Vec<f64>) = (psd.values.iter().enumerate())
            .map(|(k, value)| (k as f64 * psd.df_hz, *value))
            .filter(|(frequency, _)| *frequency >= condition::LOW_HZ)
            .unzip();
        return print_json(&json!({
            "device": device.name(),
            "detector": strain.detector,
            "gps_start": strain.gps_start,
            "window_s": welch.length as f64 / rate,
            "windows": windows,
            "average": if args.median { "median" } else { "mean" },
            "df_hz": psd.df_hz,
            "asd": table.map(|f| json!({"frequency_hz": f, "per_root_hz": psd.asd(f)})).collect::<Vec<_>>(),
            "frequency_hz": frequencies,
            "psd": values,
            "check": check,
            "memory": memory::taken(&device, memory.planned_bytes, device.stats().memory.peak_bytes),
        }));
    }
    let mut text = format!(
        "{}, GPS {} to {}: {} of {windows} window{} of {} s\n\n",
        strain.detector,
        strain.gps_start,
        strain.gps_start + strain.duration_s(),
        if args.median { "median" } else { "mean" },
        if windows == 1 { "" } else { "s" },
        welch.length as f64 / rate
    );
    text += "frequency   amplitude spectral density\n";
    for f in table {
        text += &format!("{f:>6} Hz   {:.3e} per root Hz\n", psd.asd(f));
    }
    if let Some(check) = check {
        text += &format!(
            "\nchecked against f64: {:.1e} apart at most\n",
            check["largest_difference"].as_f64().unwrap_or(f64::NAN)
        );
    }
    print(&text)
}

pub fn whiten(args: &WhitenArgs) -> Result<()> {
    let control = Control { cancel: interrupt(), ..Control::default() };
    args.output.as_deref().map_or(Ok(()), writable)?;
    let strain = Strain::read(&args.file)?;
    let segments = strain.segments(args.flag.as_deref())?;
    let rate = strain.sample_rate_hz;
    let band = args.band.map(|(low, high)| Filter::band_pass(BAND_ORDER, low, high, rate)).transpose()?;
    let (duration_s, high_pass_hz) = (args.response_s, CORNER_HZ);
    let (method, how) = match args.method {
        MethodName::Official => (Method::Official, "official"),
        MethodName::Truncated => (Method::Truncated { duration_s, high_pass_hz }, "truncated"),
        MethodName::MinimumPhase => (Method::Causal { duration_s, high_pass_hz }, "minimum-phase"),
    };
    let mut device = args.device.open()?;
    announce(&device);
    let welch = windows_of(args.window_s, rate)?;
    let memory = condition::psd_plan(&device, &strain, &segments, &welch)?.then(condition::whiten_plan(
        &device,
        (&segments, rate),
        welch.length,
        method,
    )?);
    // Without --plan there is one.
    let Some(output) = args.output.as_ref().filter(|_| !args.plan) else {
        let text = format!("{how} method, {}\n", plural(segments.len(), "segment"));
        return memory::say_plan(&device, &memory, args.json, json!({"segments": segments.len()}), &text);
    };
    memory.check(&device)?;
    let mut parts = survive(&mut device, |device| {
        let psd = condition::psd(device, &strain, &segments, &welch, &control)?;
        condition::whiten(device, &strain, &segments, &psd, method, &control)
    })?;
    let check = match args.check {
        true => {
            let psd = condition::reference_psd(&strain, &segments, &welch)?;
            let reference = condition::reference_whiten(&strain, &segments, &psd, method)?;
            let mut all = Vec::new();
            for (part, reference) in parts.iter().zip(&reference) {
                all.push(condition::largest_in_band(&part.values, &reference.values, rate)?);
            }
            // NaN counts as the largest.
            let worst = all.into_iter().max_by(f64::total_cmp).unwrap_or(0.0).abs();
            Some(checked(&device, "whitening", worst, WHITEN_TOLERANCE)?)
        }
        false => None,
    };
    if let Some(band) = &band {
        for part in &mut parts {
            let wide: Vec<f64> = part.values.iter().map(|v| f64::from(*v)).collect();
            part.values = band.zero_phase(&wide)?.into_iter().map(|v| v as f32).collect();
        }
    }

    // The samples, one segment after the other; where each begins; and those that the spread is measured on.
    let (mut all, mut list, mut inner): (Vec<f32>, Vec<_>, Vec<f64>) = Default::default();
    for part in &parts {
        let edge = match method {
            Method::Official => ((EDGE_S * rate) as usize).min(part.values.len() / 4),
            _ => 0,
        };
        inner.extend(part.values[edge..part.values.len() - edge].iter().map(|v| f64::from(*v)));
        list.push(json!({
            "gps_start": strain.gps_start + part.start as f64 / rate,
            "first": all.len(),
            "samples": part.values.len(),
        }));
        all.extend_from_slice(&part.values);
    }
    let mean = inner.iter().sum::<f64>() / inner.len() as f64;
    let std = (inner.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / inner.len() as f64).sqrt();
    let document = json!({
        "device": device.name(),
        "detector": strain.detector,
        "sample_rate_hz": rate,
        "method": how,
        "band_hz": args.band.map(|(low, high)| [low, high]),
        "output": output.display().to_string(),
        "std": std,
        "segments": list,
        "check": check,
        "memory": memory::taken(&device, memory.planned_bytes, device.stats().memory.peak_bytes),
    });
    let mut sidecar = output.clone().into_os_string();
    sidecar.push(".json");
    let sidecar = PathBuf::from(sidecar);
    write_atomically(&sidecar, |file| serde_json::to_writer_pretty(file, &document))?;
    npy::write(output, &[all.len()], &all).inspect_err(|_| _ = std::fs::remove_file(&sidecar))?;
    if args.json {
        return print_json(&document);
    }

    let skipped = segments.len() - parts.len();
    let mut text = format!("{} whitened by the {how} method\n", strain.detector);
    for part in &parts {
        let gps = |sample: usize| strain.gps_start + sample as f64 / rate;
        let (start, end) = (gps(part.start), gps(part.start + part.values.len()));
        text += &format!("  GPS {start} to {end}: {} samples\n", part.values.len());
    }
    if skipped > 0 {
        text += &format!("  {skipped} shorter segment{} left out\n", if skipped == 1 { "" } else { "s" });
    }
    let without = if matches!(method, Method::Official) { " (without the ends)" } else { "" };
    text += &format!("standard deviation {std:.3}{without}\n");
    if let Some(check) = check {
        let worst = check["largest_difference"].as_f64().unwrap_or(f64::NAN);
        text += &format!("checked against f64: {worst:.1e} apart at most between 20 and 1800 Hz\n");
    }
    text += &format!("written to {}, described by {}\n", output.display(), sidecar.display());
    print(&text)
}
