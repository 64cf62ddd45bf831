//! Specialised kernels, priorities and the background warmup.

mod common;

use std::time::{Duration, Instant};

use num_complex::Complex32;
use spikewave::device::gpu::{AdapterReport, GpuParts};
use spikewave::device::{Choice, Control, Device, DeviceOptions, Gpu, Prepared, Readiness, Specialised, WarmupState};
use spikewave::kernel::{self, Kernel, Tensor};
use spikewave::ops::{self, Conv1d, Filters, Gemm, Method, Padding, Reduction};
use spikewave::recording::Recording;
use spikewave::{Error, Result, wgpu};

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

fn conv(
    device: &Device,
    (batch, length, c_in, c_out, taps): (usize, usize, usize, usize, usize),
    dilation: usize,
    method: Method,
) -> Job {
    let conv = Conv1d { padding: Padding::Same, dilation, ..Conv1d::new(batch, length, c_in, c_out, taps) };
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
    let x: Vec<Complex32> =
        common::SplitMix(13).values(rows * n, 1.0).iter().map(|v| Complex32::new(*v, 0.5)).collect();
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

/// One of each kernel that opts in, of such shapes that software drivers take it too and not a kernel of their own.
fn jobs(device: &Device) -> Vec<Job> {
    vec![
        conv(device, (1, 2048, 16, 64, 5), 2, Method::Direct),
        conv(device, (2, 8192, 8, 16, 256), 1, Method::OverlapSave(2048)),
        gemm(device, 191, false),
        gemm(device, 192, true),
        sum(device, 5_000_001),
        fft(device, 200, 1000),
        fft(device, 2, 131_072),
    ]
}

fn open(adapter: &AdapterReport, options: DeviceOptions) -> Device {
    let options = DeviceOptions { choice: Choice::Named(adapter.choose_by()), ..options };
    Device::open(&DeviceOptions { cache_dir: options.cache_dir.clone().or(common::cache_dir()), ..options }).unwrap()
}

/// How many are proved of those that are made. A compiler may round otherwise when it knows a constant, which is what
/// proofs are for; none of the software drivers' does.
fn proved(gpu: &Gpu, software: bool) -> usize {
    let found = gpu.stats().specialised;
    let refused = gpu.refused();
    assert_eq!(found.refused, refused.len());
    assert!(refused.iter().all(|why| why.contains("differ") && !software), "{refused:?}");
    found.proved
}

#[test]
fn specialised_kernels_take_over_between_runs_and_change_no_bit() {
    for adapter in common::adapters() {
        let device = open(&adapter, DeviceOptions { poison: true, ..DeviceOptions::default() });
        let plain = open(&adapter, DeviceOptions { specialise: Some(false), ..DeviceOptions::default() });
        for (job, same) in jobs(&device).iter().zip(&jobs(&plain)) {
            let before = device.stats();
            let mut prepared = device.prepare(&job.recording).unwrap();
            let ready = device.stats();
            let first = bits(job, &mut prepared).0;
            assert_eq!(device.stats().specialised, before.specialised, "{}: one run asks for nothing", job.name);
            assert_eq!(bits(job, &mut prepared).0, first, "{}", job.name);
            device.settle();
            let asked = device.stats().specialised;
            let Device::Gpu(gpu) = &device else { panic!("a GPU was named") };
            proved(gpu, adapter.kind == "software");
            let made = |s: &Specialised| s.proved + s.refused;
            assert!(made(&asked) > made(&before.specialised), "{}: {asked:?}", job.name);
            assert_eq!((asked.queued, asked.compiling), (0, 0));
            assert_eq!(asked.swapped, before.specialised.swapped, "only between runs");
            assert_eq!(bits(job, &mut prepared).0, first, "{}: specialised", job.name);
            let after = device.stats();
            assert_eq!(after.specialised.swapped, asked.proved, "{}", job.name);
            assert_eq!(after.pipelines_created, ready.pipelines_created, "they are counted apart");
            assert_eq!(after.bind_groups_created, ready.bind_groups_created);
            assert_eq!(after.memory, ready.memory, "and so is their memory");
            // The same again shares them, and has them from its first run on.
            let mut again = device.prepare(&job.recording).unwrap();
            assert_eq!(bits(job, &mut again).0, first, "{}: again", job.name);
            again.settle();
            assert_eq!(device.stats().specialised, after.specialised);
            let mut generic = plain.prepare(&same.recording).unwrap();
            for _ in 0..3 {
                assert_eq!(bits(same, &mut generic).0, first, "{}: switched off", job.name);
            }
            generic.settle();
        }
        eprintln!("{}: {:?}", adapter.name, device.stats().specialised);
        assert!(device.stats().specialised.proved > 0);
        assert_eq!(plain.stats().specialised, Specialised::default());
    }
}

#[test]
fn a_budget_without_room_for_a_proof_keeps_the_generic_kernel_and_refuses_no_job() {
    for adapter in common::adapters() {
        let roomy = open(&adapter, DeviceOptions::default());
        let job = conv(&roomy, (1, 2048, 16, 64, 5), 2, Method::Direct);
        let budget = job.recording.plan().peak_bytes();
        let device = open(&adapter, DeviceOptions { memory_budget: Some(budget), ..DeviceOptions::default() });
        let expected = bits(&job, &mut roomy.prepare(&job.recording).unwrap()).0;
        let mut prepared = device.prepare(&job.recording).unwrap();
        prepared.settle();
        assert_eq!(bits(&job, &mut prepared).0, expected);
        let found = device.stats().specialised;
        assert_eq!((found.proved, found.swapped, found.refused), (0, 0, 1), "{found:?}");
        assert_eq!(device.stats().memory.peak_bytes, budget);
    }
}

#[test]
fn a_lent_device_specialises_only_if_the_host_asks() {
    if common::skipped() {
        return;
    }
    let backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    for adapter in pollster::block_on(instance.enumerate_adapters(backends)) {
        for (specialise, made) in [(None, 0), (Some(false), 0), (Some(true), 1)] {
            let descriptor = wgpu::DeviceDescriptor {
                required_features: Device::required_features() | Device::optional_features(&adapter),
                required_limits: Device::required_limits(&adapter),
                ..Default::default()
            };
            let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
            let options = DeviceOptions { specialise, cache_dir: common::cache_dir(), ..DeviceOptions::default() };
            let device = Device::from_wgpu(GpuParts::new(device, queue), &options).unwrap();
            let job = gemm(&device, 192, true);
            let mut prepared = device.prepare(&job.recording).unwrap();
            let first = bits(&job, &mut prepared).0;
            for _ in 0..2 {
                assert_eq!(bits(&job, &mut prepared).0, first);
                prepared.settle();
            }
            let submissions = device.stats().submissions;
            // Which compiles all kernels.
            if specialise != Some(false) {
                let warmup = device.warmup_in_background(vec![gemm(&device, 192, true).recording]).unwrap();
                assert_eq!(warmup.wait(Duration::from_secs(120)).state, WarmupState::Done);
                assert_eq!(device.stats().submissions, submissions, "the background submits nothing");
            }
            let Device::Gpu(gpu) = &device else { panic!("a GPU was lent") };
            let proved = proved(gpu, gpu.adapter().kind == "software");
            let found = device.stats().specialised;
            assert_eq!((proved + found.refused, found.swapped), (made, proved), "{specialise:?}");
        }
    }
}

/// Kernels that a warmup of this device compiles.
fn kernels(gpu: &Gpu) -> Vec<&'static Kernel> {
    let software = gpu.adapter().kind == "software";
    kernel::ALL.iter().copied().filter(|k| k.is_for(software)).collect()
}

/// Kernels that are ready.
fn ready(gpu: &Gpu) -> usize {
    kernel::ALL.iter().filter(|k| gpu.readiness(k) == Readiness::Ready).count()
}

#[test]
fn what_somebody_waits_for_overtakes_the_background_warmup() {
    for adapter in common::adapters() {
        let folder = tempfile::tempdir().unwrap();
        let options = || DeviceOptions {
            // One worker: what it compiles next is what is counted.
            threads: Some(1),
            cache_dir: Some(folder.path().into()),
            ..DeviceOptions::default()
        };
        let device = open(&adapter, options());
        let Device::Gpu(gpu) = &device else { panic!("a GPU was named") };
        let mut warm = device.recording("ready");
        let y = warm.scratch::<f32>("y", 1000).unwrap();
        ops::fill(&mut warm, y, 2.5).unwrap();
        warm.download(y).unwrap();
        drop(device.prepare(&warm).unwrap());
        let first = device.stats().pipelines_created;
        let all = kernels(gpu);
        // The background compiles it last.
        let last = *all.iter().rfind(|k| k.stage == 4).unwrap();

        let warmup = device.warmup_in_background(Vec::new()).unwrap();
        device.prepare(&warm).unwrap().run(&[], &Control::default()).unwrap();
        let between = ready(gpu);
        gpu.request(&[last]).unwrap();
        // It may count too much if this thread was held up, and never too little.
        let asked = device.stats().pipelines_created;
        let status = warmup.wait(Duration::from_secs(120));
        assert_eq!(status.state, WarmupState::Done);
        assert_eq!((status.done, status.total, status.eta), (all.len(), all.len(), None));
        assert_eq!(ready(gpu), all.len());
        let report = device.warmup(&[], &|_| ()).unwrap();
        let compiled: Vec<_> = report.stages.iter().flat_map(|stage| &stage.kernels).collect();
        assert_eq!(compiled.len(), all.len());
        let at = compiled.iter().find(|k| k.label == last.label()).unwrap().compiled_before;
        eprintln!("{}: {between} ready after a ready job; asked for after {asked}, compiled after {at}", adapter.name);
        assert!(at <= asked + 1, "only the one under way comes before it: {at}, {asked}");
        // All others in the order of their stages.
        let mut order: Vec<_> =
            report.stages.iter().enumerate().flat_map(|(i, s)| s.kernels.iter().map(move |k| (i, k))).collect();
        order.retain(|(_, k)| k.compiled_before >= first && k.label != last.label());
        order.sort_by_key(|(_, k)| k.compiled_before);
        assert!(order.is_sorted_by_key(|(stage, _)| *stage));
    }
}

#[test]
fn the_background_warmup_ends_with_the_applications_specialised_kernels() {
    for device in common::open_all(&DeviceOptions::default()) {
        let (job, same) = (gemm(&device, 192, true), gemm(&device, 192, true));
        let warmup = device.warmup_in_background(vec![same.recording]).unwrap();
        let mut seen = vec![warmup.status()];
        while seen.last().unwrap().state == WarmupState::Running {
            seen.push(warmup.wait(Duration::from_millis(1)));
        }
        let last = seen.last().unwrap();
        assert_eq!(last.state, WarmupState::Done);
        assert!(seen.windows(2).all(|w| w[0].done <= w[1].done && w[0].total <= w[1].total), "{seen:?}");
        if matches!(device, Device::Cpu(_)) {
            assert_eq!(last.total, 0, "there is nothing to warm");
            continue;
        }
        let Device::Gpu(gpu) = &device else { panic!("it is one") };
        let all = kernels(gpu).len() + 1;
        assert_eq!((last.stage, last.done, last.total), ("application", all, all));
        assert!(seen.iter().any(|s| s.state == WarmupState::Running && s.eta.is_some()), "it says how long");
        let proved = proved(gpu, gpu.adapter().kind == "software");
        assert_eq!((proved + last.specialised.refused, last.specialised.swapped), (1, 0));
        let before = device.stats();
        let mut prepared = device.prepare(&job.recording).unwrap();
        bits(&job, &mut prepared);
        assert_eq!(device.stats().specialised.swapped, proved, "from the first run on");
        assert_eq!(device.stats().pipelines_created, before.pipelines_created);
    }
}

#[test]
fn a_background_warmup_ends_when_it_is_dropped_and_when_the_device_is() {
    for adapter in common::adapters() {
        let folder = tempfile::tempdir().unwrap();
        let options =
            || DeviceOptions { threads: Some(1), cache_dir: Some(folder.path().into()), ..DeviceOptions::default() };
        let device = open(&adapter, options());
        let Device::Gpu(gpu) = &device else { panic!("a GPU was named") };
        let warmup = device.warmup_in_background(Vec::new()).unwrap();
        let begun = Instant::now();
        drop(warmup);
        // It waits for no more than a tick and what is dispatched just then, not for the compilation of all.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let waiting = || kernel::ALL.iter().filter(|k| gpu.readiness(k) == Readiness::Compiling).count();
        while waiting() > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(ready(gpu) < kernel::ALL.len(), "what waited is forgotten");
        // What is needed can still be had, and another warmup goes on.
        let job = sum(&device, 1000);
        bits(&job, &mut device.prepare(&job.recording).unwrap());
        let warmup = device.warmup_in_background(Vec::new()).unwrap();
        drop(job);
        drop(device);
        let ended = warmup.wait(Duration::from_secs(30));
        assert!(matches!(ended.state, WarmupState::Cancelled | WarmupState::Done), "{ended:?}");
    }
}

#[test]
fn a_background_warmup_stops_on_loss() {
    for adapter in common::adapters() {
        let folder = tempfile::tempdir().unwrap();
        let options =
            DeviceOptions { threads: Some(1), cache_dir: Some(folder.path().into()), ..DeviceOptions::default() };
        let device = open(&adapter, options);
        let Device::Gpu(gpu) = &device else { panic!("a GPU was named") };
        let warmup = device.warmup_in_background(Vec::new()).unwrap();
        gpu.notify_device_lost("the test says so");
        let status = warmup.wait(Duration::from_secs(5));
        assert!(matches!(status.state, WarmupState::Failed(Error::DeviceLost { .. })), "{status:?}");
    }
}

/// What this process has used of all cores, to 10 ms; on software drivers that is the work itself, however busy the
/// machine is. Zero where the system does not say.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let ticks: u64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// What specialising gains: `cargo test --test gpu_warmup -- --ignored --nocapture gains`.
#[test]
#[ignore = "a measurement"]
fn gains() {
    for adapter in common::adapters() {
        let with = |specialise| open(&adapter, DeviceOptions { specialise, ..DeviceOptions::default() });
        let (generic, special) = (with(Some(false)), with(None));
        let jobs = |device: &Device| {
            vec![
                gemm(device, 384, false),
                gemm(device, 384, true),
                sum(device, 1 << 22),
                fft(device, 512, 1024),
                fft(device, 4, 131_072),
                fft(device, 16, 30_000),
                conv(device, (1, 16_384, 8, 16, 256), 1, Method::OverlapSave(2048)),
                conv(device, (1, 2048, 64, 128, 3), 1, Method::Direct),
                conv(device, (1, 8192, 1, 64, 64), 1, Method::Direct),
                conv(device, (1, 2048, 128, 256, 3), 1, Method::Direct),
            ]
        };
        eprintln!("{} {}", adapter.name, adapter.driver_info);
        for (a, b) in jobs(&generic).into_iter().zip(jobs(&special)) {
            let (mut pa, mut pb) = (generic.prepare(&a.recording).unwrap(), special.prepare(&b.recording).unwrap());
            let expected = bits(&a, &mut pa).0;
            let (begun, before) = (Instant::now(), cpu_time());
            pb.settle();
            let made = (begun.elapsed(), cpu_time() - before);
            let mut times = [(Vec::new(), Duration::ZERO), (Vec::new(), Duration::ZERO)];
            for _ in 0..9 {
                for ((job, prepared), (walls, cpu)) in [(&a, &mut pa), (&b, &mut pb)].into_iter().zip(&mut times) {
                    let before = cpu_time();
                    let (found, time) = bits(job, prepared);
                    *cpu += cpu_time() - before;
                    assert!(found == expected, "{}", job.name);
                    walls.push(time);
                }
            }
            let [generic, special] = times.map(|(mut walls, cpu)| {
                walls.sort();
                (walls[0], walls[4], cpu)
            });
            let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64().max(1e-9);
            eprintln!(
                "{:<48} median {:>9.2?} to {:>9.2?} (x{:.2}), best x{:.2}, CPU x{:.2}; made in {:.0?}, CPU {:.0?}",
                b.name,
                generic.1,
                special.1,
                ratio(generic.1, special.1),
                ratio(generic.0, special.0),
                ratio(generic.2, special.2),
                made.0,
                made.1
            );
        }
    }
}
