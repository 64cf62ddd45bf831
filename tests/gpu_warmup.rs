//! Specialised kernels, priorities and the background warmup.

mod common;

use std::time::{Duration, Instant};

use num_complex::Complex32;
use spikewave::device::{Choice, Control, Device, DeviceOptions, Prepared};
use spikewave::kernel::Tensor;
use spikewave::ops::{self, Conv1d, Filters, Gemm, Method, Padding, Reduction};
use spikewave::recording::Recording;
use spikewave::Result;

/// A recording over seeded constants, and its result.
struct Job {
    name: String,
    recording: Recording,
    result: Tensor<f32>,
}

fn job(device: &Device, name: &str, record: impl FnOnce(&mut Recording) -> Result<Tensor<f32>>) -> Job {
    let mut recording = device.recording(name);
    let result = record(&mut recording).unwrap();
    recording.download(result).unwrap();
    Job { name: name.into(), recording, result }
}

fn conv(device: &Device, (batch, length, c_in, c_out, taps): (usize, usize, usize, usize, usize), method: Method) -> Job {
    let conv = Conv1d { padding: Padding::Same, ..Conv1d::new(batch, length, c_in, c_out, taps) };
    let mut random = common::SplitMix(7);
    let weight = random.values(c_out * c_in * taps, 0.1);
    let x = random.values(batch * c_in * length, 1.0);
    job(device, &format!("conv1d {c_in} to {c_out}, {length} samples, {method:?}"), |rec| {
        let filters = Filters::with_method(rec, conv, method, &weight, None)?;
        let x = rec.constant("x", &x)?;
        let y = rec.scratch("y", batch * c_out * conv.output_length()?)?;
        ops::conv1d(rec, &filters, x, y)?;
        Ok(y)
    })
}

fn gemm(device: &Device, n: usize, transposed: bool) -> Job {
    let mut random = common::SplitMix(9);
    let (a, b) = (random.values(n * n, 1.0), random.values(n * n, 1.0));
    job(device, &format!("gemm {n}, transposed {transposed}"), |rec| {
        let (a, b) = (rec.constant("a", &a)?, rec.constant("b", &b)?);
        let c = rec.scratch("c", n * n)?;
        ops::gemm(rec, &Gemm { transpose_b: transposed, ..Gemm::new(1, n, n, n) }, a, b, c)?;
        Ok(c)
    })
}

fn sum(device: &Device, n: usize) -> Job {
    let x = common::SplitMix(11).values(n, 1.0);
    job(device, &format!("sum of {n}"), |rec| {
        let x = rec.constant("x", &x)?;
        let y = rec.scratch("y", 1)?;
        ops::reduce(rec, Reduction::Sum, x, 1, y)?;
        Ok(y)
    })
}

fn fft(device: &Device, rows: usize, n: usize) -> Job {
    let x: Vec<Complex32> = common::SplitMix(13).values(rows * n, 1.0).iter().map(|v| Complex32::new(*v, 0.5)).collect();
    job(device, &format!("fft {rows} x {n}"), |rec| {
        let x = rec.constant("x", &x)?;
        let z = rec.scratch("z", rows * n)?;
        ops::Fft::forward(n).record(rec, x, z)?;
        let y = rec.scratch("y", rows * n)?;
        ops::complex_abs(rec, z, 1.0, y)?;
        Ok(y)
    })
}

fn bits(job: &Job, prepared: &mut Prepared) -> (Vec<u32>, Duration) {
    let out = prepared.run(&[], &Control::default()).unwrap();
    let words = out.get(job.result).unwrap().iter().map(|v| v.to_bits()).collect();
    (words, out.timing().device.unwrap_or(out.timing().wall))
}

/// What specialising gains: `cargo test --test gpu_warmup -- --ignored --nocapture gains`.
#[test]
#[ignore = "a measurement"]
fn gains() {
    for adapter in common::adapters() {
        let open = |specialise| {
            let choice = Choice::Named(adapter.choose_by());
            let cache_dir = common::cache_dir();
            Device::open(&DeviceOptions { specialise, cache_dir, ..DeviceOptions::new(choice) }).unwrap()
        };
        let (generic, special) = (open(Some(false)), open(None));
        let jobs = |device: &Device| {
            vec![
                gemm(device, 256, false),
                gemm(device, 256, true),
                sum(device, 1 << 22),
                fft(device, 512, 1024),
                fft(device, 4, 131_072),
                fft(device, 16, 30_000),
                conv(device, (1, 16_384, 8, 16, 256), Method::OverlapSave(2048)),
                conv(device, (1, 2048, 64, 128, 3), Method::Direct),
                conv(device, (1, 8192, 1, 64, 64), Method::Direct),
                conv(device, (1, 2048, 128, 256, 3), Method::Direct),
            ]
        };
        eprintln!("{} {}", adapter.name, adapter.driver_info);
        for (a, b) in jobs(&generic).into_iter().zip(jobs(&special)) {
            let (mut pa, mut pb) = (generic.prepare(&a.recording).unwrap(), special.prepare(&b.recording).unwrap());
            let begun = Instant::now();
            pb.settle();
            let settled = begun.elapsed();
            let expected = bits(&a, &mut pa).0;
            let (mut ta, mut tb) = (Vec::new(), Vec::new());
            for _ in 0..9 {
                ta.push(bits(&a, &mut pa).1);
                let (found, time) = bits(&b, &mut pb);
                assert!(found == expected, "{}", b.name);
                tb.push(time);
            }
            ta.sort();
            tb.sort();
            let ratio = ta[4].as_secs_f64() / tb[4].as_secs_f64();
            let best = ta[0].as_secs_f64() / tb[0].as_secs_f64();
            eprintln!("{:<50} {:>9.2?} generic {:>9.2?} specialised: {ratio:.3} (best {best:.3}); settled in {settled:.0?}, {:?}",
                b.name, ta[4], tb[4], special.stats().specialised);
        }
    }
}

/// Where the start's time goes.
#[test]
#[ignore = "a measurement"]
fn start() {
    let begun = Instant::now();
    let mark = |what: &str, from: Instant| eprintln!("{:>8.1?} {:>8.1?} {what}", begun.elapsed(), from.elapsed());
    let name = std::env::var("SPIKEWAVE_LANE").unwrap_or("llvmpipe".into());
    let folder = tempfile::tempdir().unwrap();
    let t = Instant::now();
    let strains = spikewave::gw::synthetic::bundled().unwrap();
    mark("bundled", t);
    let t = Instant::now();
    let bank = spikewave::gw::bank::Bank::new(256).unwrap();
    mark("bank", t);
    let t = Instant::now();
    let device = Device::open(&DeviceOptions { cache_dir: Some(folder.path().into()), ..DeviceOptions::new(Choice::Named(name)) }).unwrap();
    mark("open", t);
    let t = Instant::now();
    let all = spikewave::gw::search::recordings(&device, 131_072, 4096.0).unwrap();
    mark("record", t);
    for r in &all {
        let t = Instant::now();
        let p = device.prepare(r).unwrap();
        mark(r.label(), t);
        drop(p);
    }
    let t = Instant::now();
    let templates = spikewave::gw::search::Templates::Bank(bank);
    let mut search = spikewave::gw::search::Search::new(&device, [&strains[0], &strains[1]], &templates, None).unwrap();
    mark("search new", t);
    let t = Instant::now();
    let first = std::sync::Mutex::new(None);
    let cancel = spikewave::device::CancelToken::new();
    let control = Control { cancel: cancel.clone(), ..Control::default() };
    let _ = search.run(&control, &|done, _| { first.lock().unwrap().get_or_insert((done, t.elapsed())); cancel.cancel(); });
    mark("first result", t);
    eprintln!("{:?}", first.lock().unwrap());
}
