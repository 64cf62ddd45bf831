//! Lost devices and failed allocations, injected by a Vulkan layer below wgpu.
//!
//! The layer is `tests/fault_layer`. It counts what the first device of a process does, and spares the ones after it, so
//! that each fault has a process of its own.
//! Kernels: fill, selftest_loop, selftest_grid, selftest_group, canary.

mod common;
// Compiled by itself below; here so that it is formatted and linted with the rest.
mod fault_layer;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use spikewave::device::{Choice, Control, Device, DeviceOptions, Prepared, Readiness, gpu, survive_with};
use spikewave::kernel::{self, Tensor};
use spikewave::recording::Recording;
use spikewave::{Error, Result, ops, wgpu};

const LAYER: &str = "VK_LAYER_SPIKEWAVE_fault";

const N: usize = 300_000;

/// No call takes longer than the same without a fault, and this.
const HANG: Duration = Duration::from_secs(1);

/// From a loss to the end of the futures that wait.
const WAKE: Duration = Duration::from_millis(100);

/// The folder with the layer's manifest; `None` where there is nothing for it to lie below.
fn layer() -> Option<PathBuf> {
    if common::skipped() {
        return None;
    }
    if common::adapters().iter().all(|a| a.backend != "vulkan") {
        eprintln!("no adapter of Vulkan's: device loss is not tested");
        return None;
    }
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    Some(BUILT.get_or_init(build).clone())
}

/// Builds the layer, and writes the manifest that the loader finds it by.
fn build() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fault_layer");
    std::fs::create_dir_all(&folder).unwrap();
    // A process beside this one may write the same: whole at once, so that none reads half of it.
    let place = |name: &str, write: &dyn Fn(&Path)| {
        let file = tempfile::NamedTempFile::new_in(&folder).unwrap().into_temp_path();
        write(&file);
        file.persist(folder.join(name)).unwrap();
        folder.join(name)
    };
    let given = std::env::var_os("SPIKEWAVE_FAULT_LAYER").map(PathBuf::from);
    let given = given.map(|file| file.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", file.display())));
    let library = given.unwrap_or_else(|| {
        place(&format!("fault_layer{}", std::env::consts::DLL_SUFFIX), &|file| {
            let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fault_layer/mod.rs");
            let mut compile = Command::new(compiler);
            compile.args(["--crate-name", "fault_layer", "--crate-type", "cdylib", "--edition", "2024", source, "-o"]);
            let out = compile.arg(file).output().expect("rustc, or the layer in SPIKEWAVE_FAULT_LAYER");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        })
    });
    let manifest = serde_json::json!({
        "file_format_version": "1.0.0",
        "layer": {
            "name": LAYER,
            "type": "GLOBAL",
            "library_path": library,
            "api_version": "1.3.0",
            "implementation_version": "1",
            "description": "loses devices and fails allocations",
            "functions": {
                "vkGetInstanceProcAddr": "fault_layer_instance_function",
                "vkGetDeviceProcAddr": "fault_layer_device_function",
            },
        },
    });
    place("fault_layer.json", &|file| std::fs::write(file, manifest.to_string()).unwrap());
    folder
}

fn under(command: &mut Command, layer: &Path) -> Output {
    command.env("VK_LAYER_PATH", layer).env("VK_INSTANCE_LAYERS", LAYER);
    command.stdin(Stdio::null()).output().unwrap()
}

/// Runs one of the tests below as a child, and returns what it prints.
fn child(layer: &Path, test: &str, adapter: &str, fault: Option<(&str, String)>, normal: &str) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    child.env("FAULTY_ADAPTER", adapter).env("NORMAL_US", normal);
    if let Some((variable, n)) = &fault {
        child.env(variable, n);
    }
    let out = under(&mut child, layer);
    let (text, noise) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{fault:?} on {adapter}: {:?}: {text}\n{noise}", out.status);
    assert!(!noise.contains("panicked"), "{fault:?} on {adapter} printed a panic: {text}\n{noise}");
    text.into_owned()
}

/// The faults' outcomes, each `KIND=N PLACE: OUTCOME`, from a child each, two at a time.
fn outcomes(layer: &Path, test: &str, faults: &[(&str, std::ops::RangeInclusive<u32>)]) -> Vec<String> {
    let adapters: Vec<String> =
        common::adapters().into_iter().filter(|a| a.backend == "vulkan").map(|a| a.choose_by()).collect();
    assert!(!adapters.is_empty(), "the layer works with Vulkan only");
    let found = Mutex::new(Vec::new());
    for adapter in &adapters {
        // What is normal, from a child without a fault.
        let text = child(layer, test, adapter, None, "");
        let normal = after("normal ", &text).next().expect("it says what is normal");
        let left = Mutex::new(faults.iter().flat_map(|(kind, range)| range.clone().map(move |n| (*kind, n))));
        let work = || {
            while let Some((kind, n)) = { left.lock().unwrap().next() } {
                let text = child(layer, test, adapter, Some((kind, n.to_string())), normal);
                let of_fault: Vec<String> = after("outcome ", &text).map(|o| format!("{kind}={n} {o}")).collect();
                assert!(!of_fault.is_empty(), "{kind}={n} on {adapter} did not end: {text}");
                found.lock().unwrap().extend(of_fault);
            }
        };
        std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    }
    let found = found.into_inner().unwrap();
    eprintln!("{found:#?}");
    found
}

/// What follows a word, of the lines that have it.
fn after<'a>(word: &'a str, text: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| Some(line.split_once(word)?.1))
}

/// In the child: the fault that the parent has put into the environment, on a device that is the layer's first.
fn meet(go: impl FnOnce(&DeviceOptions, &mut Clock) -> Vec<String>) {
    let normal = std::env::var("NORMAL_US").unwrap().parse().ok().map(Duration::from_micros);
    let mut clock = Clock::new(normal);
    let adapter = std::env::var("FAULTY_ADAPTER").unwrap();
    let options = DeviceOptions { cache_dir: common::cache_dir(), ..DeviceOptions::new(Choice::Named(adapter)) };
    // As long as there is an instance, the layer stays, and remembers that there was a first device.
    let _instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let outcomes = go(&options, &mut clock);
    if clock.faulty {
        outcomes.iter().for_each(|outcome| println!("outcome {outcome}"));
    } else {
        println!("normal {}", clock.normal.as_micros());
    }
}

/// How long calls take: without a fault, or with one beside that.
struct Clock {
    /// The longest call without a fault.
    normal: Duration,
    faulty: bool,
    /// What a thread that only sleeps slept too long in all: so much the machine had other things to do.
    overslept_us: Arc<AtomicU64>,
}

/// How long the threads of this process have waited for a processor so far, where the system tells.
fn queued() -> Duration {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let waited = |thread: std::fs::DirEntry| {
        let times = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        times.split(' ').nth(1)?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.flatten().filter_map(waited).sum())
}

impl Clock {
    fn new(normal: Option<Duration>) -> Self {
        let overslept_us = Arc::new(AtomicU64::new(0));
        let overslept = Arc::downgrade(&overslept_us);
        std::thread::spawn(move || {
            const NAP: Duration = Duration::from_millis(5);
            while let Some(overslept) = overslept.upgrade() {
                let started = Instant::now();
                std::thread::sleep(NAP);
                overslept.fetch_add((started.elapsed() - NAP).as_micros() as u64, Ordering::Relaxed);
            }
        });
        Self { normal: normal.unwrap_or_default(), faulty: normal.is_some(), overslept_us }
    }

    /// Calls, and fails the test if with a fault it takes so much longer than any call without.
    fn time<T>(&mut self, what: &str, limit: Duration, call: impl FnOnce() -> T) -> T {
        let overslept = || Duration::from_micros(self.overslept_us.load(Ordering::Relaxed));
        let stolen = || overslept() + queued();
        let (started, before) = (Instant::now(), stolen());
        let result = call();
        let (took, stolen) = (started.elapsed(), stolen().saturating_sub(before));
        if self.faulty {
            let normal = self.normal;
            let most = normal * 2 + stolen * 2 + limit;
            assert!(took < most, "{what} took {took:?}, without a fault {normal:?}, {stolen:?} of it stolen");
        } else {
            self.normal = self.normal.max(took);
        }
        result
    }

    fn call<T>(&mut self, place: &'static str, call: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failure> {
        self.time(place, HANG, call).map_err(|error| (place, error))
    }
}

type Failure = (&'static str, Error);

/// The recording, its input, its result and its state.
fn recording(device: &Device) -> (Recording, [Tensor<f32>; 3]) {
    let mut rec = device.recording("fault");
    let kept = rec.state("kept", &vec![0.0; N]).unwrap();
    let x = rec.input::<f32>("x", N).unwrap();
    let y = rec.scratch::<f32>("y", N).unwrap();
    ops::fill(&mut rec, y, 2.0).unwrap();
    rec.copy(x, 0, y, 0, N / 2).unwrap();
    rec.copy(y, 0, kept, 0, N).unwrap();
    rec.download(y).unwrap();
    (rec, [x, y, kept])
}

fn check(y: &[f32], value: f32) {
    assert!(y[..N / 2].iter().all(|v| *v == value) && y[N / 2..].iter().all(|v| *v == 2.0), "stale bytes");
}

/// Where the first error came up and what it was, after everything that was returned has been checked.
fn attempt(options: &DeviceOptions, clock: &mut Clock) -> std::result::Result<(), Failure> {
    let device = clock.call("open", || Device::open(options))?;
    let (rec, [x, y, kept]) = recording(&device);
    let mut prepared = clock.call("prepare", || device.prepare(&rec))?;
    for round in 0..6 {
        let value = round as f32;
        let given = vec![value; N];
        let mut step = || {
            let out = clock.call("run", || prepared.run(&[x.feed(&given)], &Control::default()))?;
            check(out.get(y).unwrap(), value);
            check(&clock.call("read", || prepared.read(kept))?, value);
            clock.call("write", || prepared.write(kept, &given))?;
            let written = clock.call("read", || prepared.read(kept))?;
            assert!(written.iter().all(|v| *v == value), "stale bytes");
            Ok(())
        };
        if let Err((place, error)) = step() {
            if matches!(error, Error::DeviceLost { .. }) {
                let again = prepared.run(&[x.feed(&given)], &Control::default());
                assert!(matches!(again, Err(Error::DeviceLost { .. })), "a lost device stays lost: {again:?}");
                assert!(matches!(prepared.start(&[x.feed(&given)]), Err(Error::DeviceLost { .. })));
                assert!(matches!(prepared.read(kept), Err(Error::DeviceLost { .. })));
                assert!(matches!(device.prepare(&rec), Err(Error::DeviceLost { .. })));
            }
            return Err((place, error));
        }
    }
    Ok(())
}

fn told(result: std::result::Result<(), Failure>) -> String {
    match result {
        Ok(()) => "right".to_owned(),
        Err((place, Error::DeviceLost { .. })) => format!("device lost in {place}"),
        Err((place, Error::OutOfMemory { .. })) => format!("out of memory in {place}"),
        Err((place, error)) => format!("{error} in {place}"),
    }
}

#[test]
fn faults_become_errors_and_the_next_device_works() {
    let _turn = common::turn();
    let Some(layer) = layer() else { return };
    let faults = [("LOST_AFTER", 0..=20), ("LOST_ON_WAIT", 1..=20), ("OOM_AFTER", 1..=6)];
    let found = outcomes(&layer, "calls_under_the_layer", &faults);
    for (kind, expected, places) in [
        ("LOST_AFTER", "device lost", &["open", "prepare", "run", "write", "read"][..]),
        ("LOST_ON_WAIT", "device lost", &["open", "prepare", "run", "write", "read"]),
        ("OOM_AFTER", "out of memory", &["open"]),
    ] {
        let of_kind: Vec<&str> =
            found.iter().filter(|o| o.starts_with(kind)).filter_map(|o| Some(o.split_once(": ")?.1)).collect();
        for place in places {
            let wanted = format!("{expected} in {place}");
            assert!(of_kind.contains(&wanted.as_str()), "{kind} never came up in {place}: {of_kind:?}");
        }
        assert!(of_kind.iter().all(|o| o.starts_with(expected) || *o == "right"), "{kind}: {of_kind:?}");
    }
    let right = |kind: &str| found.iter().filter(|o| o.starts_with(kind) && o.ends_with(": right")).count();
    assert_eq!(right("LOST"), 0, "a job of 20 submissions cannot outlive the loss of one");
}

#[test]
#[ignore = "runs in a process of its own, started by the test above"]
fn calls_under_the_layer() {
    meet(|options, clock| {
        let outcome = told(attempt(options, clock));
        // The layer spares the second device.
        attempt(options, clock).expect("a new device works");
        vec![format!("in calls: {outcome}")]
    });
}

#[test]
fn futures_wake_at_a_loss_and_jobs_survive_it() {
    let _turn = common::turn();
    let Some(layer) = layer() else { return };
    let found = outcomes(&layer, "jobs_under_the_layer", &[("LOST_AFTER", 1..=20), ("LOST_ON_WAIT", 1..=12)]);
    for kind in ["LOST_AFTER", "LOST_ON_WAIT"] {
        let count = |end: &str| found.iter().filter(|o| o.starts_with(kind) && o.ends_with(end)).count();
        assert!(count("future: device lost") > 5, "{kind} met few futures: {found:?}");
        assert!(count("job: right in generation 1") > 5, "{kind} met few jobs: {found:?}");
    }
    assert!(found.iter().all(|o| o.ends_with("device lost") || o.contains("right in generation")), "{found:?}");
}

/// Known answers by futures, one after the other. Each is one submission: with a loss it ends by waking at it.
fn futures(prepared: &mut Prepared, [x, y, _]: [Tensor<f32>; 3], rounds: usize, clock: &mut Clock) -> Result<()> {
    for round in 0..rounds {
        let given = vec![round as f32; N];
        let out = clock.time("a future", WAKE, || prepared.start(&[x.feed(&given)]).and_then(pollster::block_on))?;
        check(out.get(y).unwrap(), round as f32);
    }
    Ok(())
}

#[test]
#[ignore = "runs in a process of its own, started by the test above"]
fn jobs_under_the_layer() {
    meet(|options, clock| {
        // A device that does not open is the concern of the calls.
        let opened = Device::open(options);
        let mut device = match opened {
            Ok(device) => device,
            Err(Error::DeviceLost { .. }) => return vec!["in open: device lost".into()],
            Err(error) => panic!("{error}"),
        };
        let (mut losses, mut outcomes) = (0, Vec::new());
        let result = survive_with(
            &mut device,
            |loss| {
                losses += 1;
                let line = loss.to_string();
                assert!(line.contains("lost") && line.contains("open again"), "{line}");
            },
            |device| {
                let (rec, tensors) = recording(device);
                let mut prepared = device.prepare(&rec)?;
                let result = futures(&mut prepared, tensors, 18, clock);
                match &result {
                    Ok(()) => {}
                    Err(Error::DeviceLost { .. }) => {
                        outcomes.push("in a future: device lost".to_owned());
                    }
                    Err(error) => panic!("{error}"),
                }
                result
            },
        );
        result.expect("the job is finished on the next device");
        assert_eq!(device.generation(), losses, "each loss is one device");
        let Device::Gpu(gpu) = &device else { panic!("a GPU was named") };
        assert_eq!(gpu.readiness(&kernel::fill::KERNEL), Readiness::Ready, "kernels are there again");
        outcomes.push(format!("in a job: right in generation {losses}"));
        outcomes
    });
}

#[test]
fn failed_allocations_leave_an_engine_that_answers() {
    let _turn = common::turn();
    let Some(layer) = layer() else { return };
    let found = outcomes(&layer, "memory_under_the_layer", &[("OOM_AFTER", 1..=50)]);
    let count = |end: &str| found.iter().filter(|o| o.ends_with(end)).count();
    assert!(count("out of memory in prepare, answers") >= 40, "{found:?}");
    assert!(
        found.iter().all(|o| o.ends_with("out of memory in prepare, answers") || o.ends_with("in open")),
        "{found:?}"
    );
}

/// A host's device with small blocks, so that each large buffer is an allocation of its own.
fn host(name: &str) -> std::result::Result<(wgpu::Device, wgpu::Queue), String> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let report = common::adapters().into_iter().find(|a| a.choose_by() == name).unwrap();
    let named = |a: &wgpu::Adapter| {
        let info = a.get_info();
        info.name == report.name && info.driver_info == report.driver_info
    };
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    let adapter = adapters.into_iter().find(named).unwrap();
    let descriptor = wgpu::DeviceDescriptor {
        required_features: gpu::optional_features(&adapter),
        required_limits: gpu::required_limits(&adapter),
        memory_hints: wgpu::MemoryHints::Manual { suballocated_device_memory_block_size: 4 << 20..4 << 20 },
        ..Default::default()
    };
    pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| e.to_string())
}

#[test]
#[ignore = "runs in a process of its own, started by the test above"]
fn memory_under_the_layer() {
    meet(|options, clock| {
        let Choice::Named(name) = &options.choice else { panic!("a name") };
        let Ok((device, queue)) = host(name) else { return vec!["on the host: out of memory in open".into()] };
        let device = match clock.call("open", || common::lend(&device, &queue, options)) {
            Ok(gpu) => Device::Gpu(gpu),
            Err((place, Error::OutOfMemory { .. })) => return vec![format!("in calls: out of memory in {place}")],
            Err((place, error)) => panic!("{error} in {place}"),
        };
        let (rec, [x, y, _]) = recording(&device);
        let given = vec![5.0; N];
        let answer = |prepared: &mut Prepared, clock: &mut Clock| {
            let out = clock.call("run", || prepared.run(&[x.feed(&given)], &Control::default()))?;
            check(out.get(y).unwrap(), 5.0);
            Ok::<_, Failure>(())
        };
        let mut known = match clock.call("prepare", || device.prepare(&rec)) {
            Ok(known) => known,
            Err((_, Error::OutOfMemory { .. })) => return vec!["before the job: out of memory in open".into()],
            Err((place, error)) => panic!("{error} in {place}"),
        };
        answer(&mut known, clock).expect("no memory is taken in a run");
        let mut large = device.recording("large");
        let z = large.scratch::<f32>("z", 6 << 18).unwrap();
        ops::fill(&mut large, z, 1.0).unwrap();
        let mut held = Vec::new();
        let error = loop {
            match clock.call("another", || device.prepare(&large)) {
                Ok(more) => held.push(more),
                Err((_, error)) => break error,
            }
            // The first time there is no fault; SwiftShader has no more than a GiB in all.
            if held.len() == 60 {
                assert!(!clock.faulty, "the fault never came up");
                return Vec::new();
            }
        };
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
        answer(&mut known, clock).expect("what was prepared before still runs");
        held.iter_mut().for_each(|p| drop(p.run(&[], &Control::default()).expect("so do all others")));
        let leased = device.stats().memory.leased_bytes;
        drop(held);
        answer(&mut known, clock).unwrap();
        assert!(device.stats().memory.leased_bytes <= leased, "memory is given back");
        // What was given back serves the next, though the driver has nothing left.
        if leased > device.stats().memory.leased_bytes {
            let mut again = device.prepare(&large).expect("freed memory is used again");
            again.run(&[], &Control::default()).unwrap();
        }
        vec!["in calls: out of memory in prepare, answers".into()]
    });
}

/// The program under the layer says in one line what happened, and prints what it prints without.
#[test]
fn the_programs_jobs_survive_a_loss() {
    let _turn = common::turn();
    let Some(layer) = layer() else { return };
    let adapter = common::adapters().into_iter().find(|a| a.backend == "vulkan").unwrap().choose_by();
    let folder = tempfile::tempdir().unwrap();
    let job = |args: &[&str], fault: Option<&str>| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_spikewave"));
        program.args(args).args(["--device", &adapter, "--json"]).env("XDG_CACHE_HOME", folder.path());
        if let Some(n) = fault {
            program.env("LOST_AFTER", n);
        }
        let out = under(&mut program, &layer);
        let noise = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success() && !noise.contains("panicked"), "{args:?}: {noise}");
        let result: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        (result, noise)
    };
    // With the submission that fails: in the warmup, and in the midst.
    let jobs: [(&[&str], [&str; 2], &[&str]); 3] = [
        (&["gw", "search", "--bank", "4"], ["3", "5"], &["detectors", "network_snr", "template"]),
        (
            &["decode", "--likelihood-only", "--chunk-bins", "100"],
            ["4", "9"],
            &["median_error_cm", "differences", "n_spikes"],
        ),
        (
            &["simulate", "cuba", "--scale", "0.05", "--duration-s", "0.05"],
            ["5", "12"],
            &["spike_hash", "rates_hz", "synapses"],
        ),
    ];
    std::thread::scope(|scope| {
        for (args, faults, keys) in jobs {
            scope.spawn(move || {
                let (expected, noise) = job(args, None);
                assert!(!noise.contains("was lost"), "{noise}");
                for n in faults {
                    let (found, noise) = job(args, Some(n));
                    assert_eq!(noise.matches("was lost").count(), 1, "{args:?} at {n}: {noise}");
                    for key in keys {
                        assert!(!expected[key].is_null(), "{key}: {expected}");
                        assert_eq!(found[key], expected[key], "{args:?} at {n}: {key}");
                    }
                }
            });
        }
    });
}
