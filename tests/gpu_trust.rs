//! What an application relies on when things go wrong: runs that are given up, devices that are lost, work that a
//! driver reports and has not done, damaged files, long use, and many threads.
//! Kernels: fill, canary.

mod common;

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::{SplitMix, lend};
use spikewave::device::{CancelToken, Choice, Control, Device, DeviceOptions, Gpu, Prepared, gpu, survive};
use spikewave::kernel::{Tensor, fill};
use spikewave::recording::Recording;
use spikewave::{Error, Result, ops, wgpu};

/// From a loss to the end of the futures that wait.
const WAKE: Duration = Duration::from_millis(100);

/// One test at a time: they count threads and memory of the process.
fn turn() -> MutexGuard<'static, ()> {
    common::turn()
}

/// A host application's device.
struct Host {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// Errors that nobody had asked for.
    failed: Arc<AtomicBool>,
}

impl Host {
    fn lend(&self) -> Gpu {
        self.lend_with(&options()).unwrap()
    }

    fn lend_with(&self, options: &DeviceOptions) -> Result<Gpu> {
        lend(&self.device, &self.queue, options)
    }

    /// Polls as a host does in each frame, until it is told to stop.
    fn frames(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let _ = self.device.poll(wgpu::PollType::Poll);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn options() -> DeviceOptions {
    DeviceOptions { cache_dir: common::cache_dir(), ..DeviceOptions::default() }
}

fn hosts_with(descriptor: wgpu::InstanceDescriptor) -> Vec<Host> {
    if common::skipped() {
        return Vec::new();
    }
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    let open = |adapter: &wgpu::Adapter| {
        let descriptor = wgpu::DeviceDescriptor {
            required_features: gpu::optional_features(adapter),
            required_limits: gpu::required_limits(adapter),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        let failed = Arc::new(AtomicBool::new(false));
        let flag = failed.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            eprintln!("uncaptured: {error}");
            flag.store(true, Ordering::SeqCst);
        }));
        Host { name: adapter.get_info().name, device, queue, failed }
    };
    adapters.iter().map(open).collect()
}

fn descriptor() -> wgpu::InstanceDescriptor {
    wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    }
}

fn hosts() -> Vec<Host> {
    hosts_with(descriptor())
}

/// So many fills, each of a slice's work, that leave the last one's value.
fn long(capabilities: &spikewave::recording::Capabilities, fills: u32) -> (Recording, Tensor<u32>) {
    let n = 1 << 18;
    let mut rec = Recording::new("long", capabilities);
    let y = rec.scratch::<u32>("y", n).unwrap();
    for value in 1..=fills {
        let params = fill::Params { n: n as u32, value };
        rec.dispatch(fill::dispatch(params, fill::Args { y }, 256).work(1 << 27)).unwrap();
    }
    rec.download(y).unwrap();
    (rec, y)
}

/// A known answer: half of it given, half of it filled.
struct Known {
    recording: Recording,
    x: Tensor<f32>,
    y: Tensor<f32>,
}

impl Known {
    const N: usize = 5000;

    fn new(capabilities: &spikewave::recording::Capabilities) -> Self {
        let mut rec = Recording::new("known", capabilities);
        let x = rec.input::<f32>("x", Self::N).unwrap();
        let y = rec.scratch::<f32>("y", Self::N).unwrap();
        ops::fill(&mut rec, y, 2.0).unwrap();
        rec.copy(x, 0, y, 0, Self::N / 2).unwrap();
        rec.download(y).unwrap();
        Self { recording: rec, x, y }
    }

    fn is_right(&self, y: &[f32], value: f32) -> bool {
        let (given, filled) = y.split_at(Self::N / 2);
        given.iter().all(|v| *v == value) && filled.iter().all(|v| *v == 2.0)
    }

    /// Whether a run gives it.
    fn answered(&self, gpu: &Gpu, value: f32) -> Result<bool> {
        let out = gpu.prepare(&self.recording)?.run(&[self.x.feed(&[value; Self::N])], &Control::default())?;
        Ok(self.is_right(out.get(self.y)?, value))
    }
}

/// Threads of this process with this name, where the system says it.
#[cfg(target_os = "linux")]
fn threads(name: &str) -> usize {
    let names =
        fs::read_dir("/proc/self/task").unwrap().filter_map(|t| fs::read_to_string(t.ok()?.path().join("comm")).ok());
    names.filter(|n| n.trim() == name).count()
}

/// The best of a few tries, since the machine may have other things to do, is within the limit.
fn within(limit: Duration, mut attempt: impl FnMut() -> Duration) {
    let mut all = Vec::new();
    while all.iter().all(|took| *took >= limit) {
        assert!(all.len() < 5, "{limit:?} allowed, {all:?} needed");
        all.push(attempt());
    }
}

/// That what a condition says comes true soon.
fn soon(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn futures_give_what_runs_give() {
    let _turn = turn();
    for device in common::devices() {
        let (rec, y) = long(device.capabilities(), 12);
        let mut first = device.prepare(&rec).unwrap();
        let mut second = device.prepare(&rec).unwrap();
        let right = |out: Result<spikewave::device::Outputs>| {
            assert!(out.unwrap().get(y).unwrap().iter().all(|v| *v == 12), "{}", device.name());
        };
        right(first.run(&[], &Control::default()));
        right(pollster::block_on(first.start(&[]).unwrap()));
        right(first.start(&[]).unwrap().wait(&Control::default()));
        let both = futures::future::join(first.start(&[]).unwrap(), second.start(&[]).unwrap());
        let (a, b) = pollster::block_on(both);
        right(a);
        right(b);
        // From two threads, each with its future.
        std::thread::scope(|scope| {
            for prepared in [&mut first, &mut second] {
                scope.spawn(|| (0..5).for_each(|_| right(pollster::block_on(prepared.start(&[]).unwrap()))));
            }
        });
        let mut ended = first.start(&[]).unwrap();
        while poll_once(&mut ended).is_pending() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(matches!(poll_once(&mut ended), Poll::Ready(Err(Error::InvalidArgument { .. }))));
    }
}

#[test]
fn a_run_that_is_given_up_leaves_its_recording_and_its_memory_as_they_were() {
    let _turn = turn();
    for device in common::open_all(&DeviceOptions::default()) {
        let Device::Gpu(_) = &device else { continue };
        let (rec, y) = long(device.capabilities(), 30);
        let mut prepared = device.prepare(&rec).unwrap();
        let known = Known::new(device.capabilities());
        let mut fed = device.prepare(&known.recording).unwrap();
        let memory = device.stats().memory;
        let again = |prepared: &mut Prepared, what: &str| {
            let out = prepared.run(&[], &Control::default()).unwrap();
            assert!(out.get(y).unwrap().iter().all(|v| *v == 30), "{} after {what}", device.name());
            assert_eq!(device.stats().memory, memory, "{} after {what}", device.name());
        };
        again(&mut prepared, "a run");
        drop(prepared.start(&[]).unwrap());
        again(&mut prepared, "a future that was never polled");
        let mut pending = prepared.start(&[]).unwrap();
        assert!(poll_once(&mut pending).is_pending());
        drop(pending);
        again(&mut prepared, "a future that was dropped");
        let mut pending = prepared.start(&[]).unwrap();
        assert!(poll_once(&mut pending).is_pending());
        std::mem::forget(pending);
        again(&mut prepared, "a future that was forgotten");
        let late = Control { timeout: Some(Duration::from_millis(1)), ..Control::default() };
        let result = prepared.start(&[]).unwrap().wait(&late);
        assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
        again(&mut prepared, "a timeout");
        for slice in 1..=3 {
            // Anew, for slices grow from run to run.
            let mut fresh = device.prepare(&rec).unwrap();
            let (cancel, count) = (CancelToken::new(), Mutex::new(0));
            let progress = |_: u64, _: u64| {
                *count.lock().unwrap() += 1;
                if *count.lock().unwrap() == slice {
                    cancel.cancel();
                }
            };
            let control = Control { cancel: cancel.clone(), progress: Some(&progress), ..Control::default() };
            let error = fresh.run(&[], &control).map(|_| ()).unwrap_err();
            assert_eq!(error, Error::Cancelled, "slice {slice}");
            let out = fresh.run(&[], &Control::default()).unwrap();
            assert!(out.get(y).unwrap().iter().all(|v| *v == 30), "{} after slice {slice}", device.name());
        }
        device.trim();
        let after = device.stats().memory;
        assert_eq!((after.leased_bytes, after.idle_bytes), (memory.leased_bytes, 0), "{}", device.name());
        // An input's memory is still being read when its run is given up: the next run waits for it.
        for value in 0..20 {
            drop(fed.start(&[known.x.feed(&[-1.0; Known::N])]).unwrap());
            let value = value as f32;
            let out = fed.run(&[known.x.feed(&[value; Known::N])], &Control::default()).unwrap();
            assert!(known.is_right(out.get(known.y).unwrap(), value), "{}", device.name());
        }
        let after = device.stats().memory;
        assert_eq!((after.leased_bytes, after.idle_bytes), (memory.leased_bytes, 0), "{}", device.name());
    }
}

/// wgpu takes a buffer for unmapped in the moment in which another thread sees to its mapping: given up then, it must not
/// stay mapped behind the back of the next run.
#[test]
fn runs_are_given_up_while_other_threads_map_their_memory() {
    let _turn = turn();
    for device in common::open_all(&DeviceOptions::default()) {
        let Device::Gpu(_) = &device else { continue };
        let known = Known::new(device.capabilities());
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (device, known) = (&device, &known);
                scope.spawn(move || {
                    let mut random = SplitMix(thread);
                    let mut prepared = device.prepare(&known.recording).unwrap();
                    for round in 0..200 {
                        let pending = prepared.start(&[known.x.feed(&[-1.0; Known::N])]).unwrap();
                        let given_up = Instant::now() + Duration::from_micros((random.next() * 500.0) as u64);
                        while Instant::now() < given_up {
                            std::thread::yield_now();
                        }
                        drop(pending);
                        let value = round as f32;
                        let out = prepared.run(&[known.x.feed(&[value; Known::N])], &Control::default()).unwrap();
                        assert!(known.is_right(out.get(known.y).unwrap(), value), "{}", device.name());
                    }
                });
            }
        });
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_thread_polls_only_while_something_is_pending_and_never_on_a_lent_device() {
    let _turn = turn();
    const NAME: &str = "spikewave-poll";
    for device in common::open_all(&DeviceOptions::default()) {
        let Device::Gpu(_) = &device else { continue };
        let (rec, _) = long(device.capabilities(), 30);
        let mut prepared = device.prepare(&rec).unwrap();
        prepared.run(&[], &Control::default()).unwrap();
        assert_eq!(threads(NAME), 0, "a blocking run polls by itself");
        let mut pending = prepared.start(&[]).unwrap();
        assert_eq!(threads(NAME), 0, "nobody has asked yet");
        assert!(poll_once(&mut pending).is_pending());
        soon("a thread polls", || threads(NAME) == 1);
        drop(pending);
        soon("it ends", || threads(NAME) == 0);
        pollster::block_on(prepared.start(&[]).unwrap()).unwrap();
        soon("it ends", || threads(NAME) == 0);
    }
    for host in hosts() {
        let gpu = host.lend();
        let (rec, y) = long(gpu.capabilities(), 30);
        let mut prepared = gpu.prepare(&rec).unwrap();
        let mut pending = prepared.start(&[]).unwrap();
        for _ in 0..20 {
            assert!(poll_once(&mut pending).is_pending(), "nobody polls {}", host.name);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(threads(NAME), 0);
        let stop = AtomicBool::new(false);
        let out = std::thread::scope(|scope| {
            scope.spawn(|| host.frames(&stop));
            let out = pollster::block_on(pending);
            stop.store(true, Ordering::Relaxed);
            out
        });
        assert!(out.unwrap().get(y).unwrap().iter().all(|v| *v == 30));
        assert_eq!(threads(NAME), 0);
        assert!(!host.failed.load(Ordering::SeqCst));
    }
}

#[test]
fn futures_wake_within_a_tenth_of_a_second_of_a_loss_that_the_host_reports() {
    let _turn = turn();
    for i in 0..hosts().len() {
        within(WAKE, || {
            let host = hosts().swap_remove(i);
            let gpu = host.lend();
            let (rec, _) = long(gpu.capabilities(), 30);
            // One alone: a submission runs the callbacks of what is done, and several futures would keep each other
            // going.
            let mut prepared = gpu.prepare(&rec).unwrap();
            let (told, ended) = std::thread::scope(|scope| {
                let waits = scope.spawn(|| {
                    let result = prepared.start(&[]).and_then(pollster::block_on).map(drop);
                    assert!(matches!(result, Err(Error::DeviceLost { .. })), "{result:?}");
                    Instant::now()
                });
                std::thread::sleep(Duration::from_millis(100));
                assert!(!waits.is_finished(), "nobody polls, so it ends by the loss");
                let told = Instant::now();
                gpu.notify_device_lost("the test says so");
                (told, waits.join().unwrap())
            });
            assert!(matches!(gpu.prepare(&rec), Err(Error::DeviceLost { .. })));
            // It is the host's: we cannot open it again, and say who can.
            let error = survive(&mut Device::Gpu(gpu), |d| d.prepare(&rec).map(drop)).unwrap_err().to_string();
            assert!(error.contains("host"), "{error}");
            ended - told
        });
    }
}

#[test]
fn a_host_that_destroys_its_device_ends_what_is_pending() {
    let _turn = turn();
    let destroyed = |host: Host| {
        let gpu = Arc::new(host.lend());
        // As hosts do it: from the callback, where wgpu holds its locks.
        let teller = Arc::downgrade(&gpu);
        host.device.set_device_lost_callback(move |reason, message| {
            if let Some(gpu) = teller.upgrade() {
                gpu.notify_device_lost(&format!("{reason:?}: {message}"));
            }
        });
        let (rec, y) = long(gpu.capabilities(), 30);
        let mut prepared = gpu.prepare(&rec).unwrap();
        let mut other = gpu.prepare(&rec).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| host.frames(&stop));
            let runs = scope.spawn(|| {
                loop {
                    match other.run(&[], &Control::default()) {
                        Ok(out) => assert!(out.get(y).unwrap().iter().all(|v| *v == 30)),
                        Err(error) => break error,
                    }
                }
            });
            let waits = scope.spawn(|| {
                loop {
                    match prepared.start(&[]).and_then(pollster::block_on) {
                        Ok(out) => assert!(out.get(y).unwrap().iter().all(|v| *v == 30)),
                        Err(error) => break error,
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(50));
            host.device.destroy();
            let destroyed = Instant::now();
            for ended in [runs, waits] {
                let error = ended.join().unwrap();
                assert!(matches!(error, Error::DeviceLost { .. }), "{}: {error}", host.name);
            }
            stop.store(true, Ordering::Relaxed);
            destroyed.elapsed()
        })
    };
    for i in 0..hosts().len() {
        within(Duration::from_secs(1), || destroyed(hosts().swap_remove(i)));
    }
}

#[test]
fn a_device_that_memory_pressure_takes_away_is_reported_lost() {
    let _turn = turn();
    let thresholds = wgpu::MemoryBudgetThresholds { for_device_loss: Some(0), ..Default::default() };
    for host in hosts_with(wgpu::InstanceDescriptor { memory_budget_thresholds: thresholds, ..descriptor() }) {
        let started = Instant::now();
        let result = host.lend_with(&options()).and_then(|gpu| {
            let known = Known::new(gpu.capabilities());
            (0..20).try_for_each(|i| known.answered(&gpu, i as f32).map(|right| assert!(right, "{}", host.name)))
        });
        match result {
            Ok(()) => eprintln!("{} does not know its memory budget: nothing was lost", host.name),
            Err(error) => assert!(matches!(error, Error::DeviceLost { .. }), "{}: {error}", host.name),
        }
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_driver_that_reports_work_and_does_none_never_gives_bytes() {
    let _turn = turn();
    let mut descriptor = wgpu::InstanceDescriptor {
        backends: wgpu::Backends::NOOP,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    descriptor.backend_options.noop.enable = true;
    let hosts = hosts_with(descriptor);
    assert!(!hosts.is_empty() || common::skipped(), "wgpu has its feature noop");
    for host in hosts {
        let noticed = |result: Result<()>| {
            let noticed = matches!(result, Err(Error::Corrupted { .. } | Error::DriverBroken { .. }));
            assert!(noticed, "{result:?}");
        };
        let gpu = match host.lend_with(&options()) {
            Ok(gpu) => gpu,
            // Where opening tests the driver, that finds it.
            error => {
                noticed(error.map(drop));
                continue;
            }
        };
        noticed(gpu.self_test().map(drop));
        let mut rec = Recording::new("noop", gpu.capabilities());
        let x = rec.input::<f32>("x", 100).unwrap();
        let kept = rec.state("kept", &[1.0f32; 100]).unwrap();
        rec.copy(x, 0, kept, 0, 100).unwrap();
        rec.download(kept).unwrap();
        let mut prepared = gpu.prepare(&rec).unwrap();
        for _ in 0..20 {
            let feeds = [x.feed(&[0.0; 100])];
            noticed(prepared.run(&feeds, &Control::default()).map(drop));
            noticed(prepared.start(&feeds).and_then(|p| p.wait(&Control::default())).map(drop));
            noticed(prepared.profile(&feeds, &Control::default()).map(drop));
            noticed(prepared.read(kept).map(drop));
            noticed(prepared.write(kept, &[2.0; 100]));
        }
        // Many runs, so that a count that goes round is no answer either.
        let (long, _) = long(gpu.capabilities(), 30);
        noticed(gpu.prepare(&long).unwrap().run(&[], &Control::default()).map(drop));
    }
}

/// Bytes of this process in memory, where the system says it.
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Memory after some and after many rounds: no more than 2 % and a MiB apart.
fn flat(what: &str, some: Option<u64>, many: Option<u64>) {
    let (Some(some), Some(many)) = (some, many) else { return };
    eprintln!("{what}: {some} bytes, then {many}");
    assert!(many <= some + some / 50 + (1 << 20), "{what}: {some} bytes became {many}");
}

#[test]
fn memory_stays_flat_over_a_thousand_cycles() {
    let _turn = turn();
    for host in hosts() {
        let gpu = host.lend();
        let known = Known::new(gpu.capabilities());
        let after = |rounds: usize| {
            for i in 0..rounds {
                assert!(known.answered(&gpu, i as f32).unwrap(), "{}", host.name);
                if i % 7 == 0 {
                    let (rec, y) = long(gpu.capabilities(), 2);
                    let mut prepared = gpu.prepare(&rec).unwrap();
                    let out = prepared.run(&[], &Control::default()).unwrap();
                    assert!(out.get(y).unwrap().iter().all(|v| *v == 2));
                    drop(prepared.start(&[]).unwrap());
                }
            }
            host.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
            let report = host.device.generate_allocator_report();
            (resident(), report.as_ref().map(|r| r.total_allocated_bytes), report.map(|r| r.total_reserved_bytes))
        };
        let (some, many) = (after(200), after(1000));
        flat(&format!("allocated on {}", host.name), some.1, many.1);
        flat(&format!("reserved on {}", host.name), some.2, many.2);
        flat(&format!("resident with {}", host.name), some.0, many.0);
    }
}

/// In a process of its own with one heap: each opening starts threads, and the C library keeps a heap for each.
#[test]
fn memory_stays_flat_over_a_hundred_devices() {
    let _turn = turn();
    if common::skipped() {
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "open_a_hundred_devices", "--ignored", "--nocapture"]).env("MALLOC_ARENA_MAX", "1");
    let out = child.output().unwrap();
    let noise = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{noise}");
    noise.lines().filter(|l| l.starts_with("resident")).for_each(|l| eprintln!("{l}"));
}

#[test]
#[ignore = "runs in a process of its own, started by the test above"]
fn open_a_hundred_devices() {
    for adapter in common::adapters() {
        let options = DeviceOptions { choice: Choice::Named(adapter.choose_by()), ..options() };
        let after = |rounds: usize| {
            for i in 0..rounds {
                let Device::Gpu(gpu) = Device::open(&options).unwrap() else { panic!("a GPU was named") };
                let known = Known::new(gpu.capabilities());
                assert!(known.answered(&gpu, i as f32).unwrap(), "{}", adapter.name);
            }
            resident()
        };
        let some = after(20);
        flat(&format!("resident with devices of {}", adapter.name), some, after(80));
    }
}

#[test]
fn memory_of_a_forgotten_run_serves_the_next_recording() {
    let _turn = turn();
    for device in common::open_all(&DeviceOptions::default()) {
        let Device::Gpu(_) = &device else { continue };
        let known = Known::new(device.capabilities());
        for (round, polls) in [(1.0, 0), (2.0, 1), (3.0, 1000)] {
            let mut prepared = device.prepare(&known.recording).unwrap();
            let feed = [round; Known::N];
            let out = prepared.run(&[known.x.feed(&feed)], &Control::default()).unwrap();
            assert!(known.is_right(out.get(known.y).unwrap(), round), "{}", device.name());
            let mut pending = prepared.start(&[known.x.feed(&feed)]).unwrap();
            for _ in 0..polls {
                if poll_once(&mut pending).is_ready() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            std::mem::forget(pending);
        }
        assert!(device.stats().memory.buffers_reused > 0, "the next one had the same memory");
    }
}

/// In a process of its own, for what it prints.
#[test]
fn a_panic_in_a_callback_of_the_host_is_printed_and_loses_no_device() {
    let _turn = turn();
    if common::skipped() {
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "panic_in_callbacks", "--ignored", "--nocapture"]);
    let out = child.output().unwrap();
    let noise = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{noise}");
    let told = noise.matches("the host's own").count();
    assert_eq!(told, 3 * noise.matches("panics of ").count(), "{noise}");
}

#[test]
#[ignore = "runs in a process of its own, started by the test above"]
fn panic_in_callbacks() {
    for host in hosts() {
        eprintln!("panics of {}", host.name);
        let gpu = host.lend();
        let known = Known::new(gpu.capabilities());
        assert!(known.answered(&gpu, 1.0).unwrap());
        for round in 0..3 {
            host.queue.submit([]);
            host.queue.on_submitted_work_done(|| panic!("the host's own"));
            // In a poll it ends nothing; in a submission it takes that with it, and is what the error says.
            match known.answered(&gpu, round as f32) {
                Ok(right) => assert!(right, "{}", host.name),
                Err(Error::Internal(words)) => assert!(words.contains("the host's own"), "{}: {words}", host.name),
                Err(error) => panic!("{}: {error}", host.name),
            }
            assert!(known.answered(&gpu, round as f32).unwrap(), "{} is unharmed", host.name);
        }
        assert!(!host.failed.load(Ordering::SeqCst));
    }
}

#[test]
fn a_device_is_opened_again_three_times_a_minute_at_most() {
    let _turn = turn();
    for mut device in common::open_all(&DeviceOptions::default()) {
        let known = Known::new(device.capabilities());
        let ready = |device: &Device| {
            let mut prepared = device.prepare(&known.recording).unwrap();
            let out = prepared.run(&[known.x.feed(&[7.0; Known::N])], &Control::default()).unwrap();
            assert!(known.is_right(out.get(known.y).unwrap(), 7.0));
        };
        ready(&device);
        // Other errors are the caller's.
        assert_eq!(survive(&mut device, |_| Err::<(), _>(Error::Cancelled)), Err(Error::Cancelled));
        if matches!(device, Device::Cpu(_)) {
            let mut attempts = 0;
            let error = Error::Corrupted { detail: "pretended".into() };
            let result: Result<()> = survive(&mut device, |_| {
                attempts += 1;
                Err(error.clone())
            });
            assert_eq!((result, attempts), (Err(error), 1), "the native path would give it for ever");
            continue;
        }
        let mut attempts = 0;
        let result = survive(&mut device, |device| {
            ready(device);
            attempts += 1;
            match attempts {
                1 => Err(Error::Corrupted { detail: "pretended".into() }),
                2 => Err(Error::DeviceLost { reason: "pretended".into() }),
                n => Ok(n),
            }
        });
        assert_eq!(result, Ok(3));
        assert_eq!(device.generation(), 2);
        let mut attempts = 0;
        let result: Result<()> = survive(&mut device, |device| {
            ready(device);
            attempts += 1;
            Err(Error::DeviceLost { reason: "pretended".into() })
        });
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::DeviceLost { reason } if reason.contains("stays closed")), "{error}");
        assert_eq!((attempts, device.generation()), (2, 3));
        ready(&device);
    }
}

/// 128-bit FNV-1a, as cache files have it.
fn checksum(bytes: &[u8]) -> u128 {
    const PRIME: u128 = (1 << 88) + 0x13b;
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |h, b| (h ^ u128::from(*b)).wrapping_mul(PRIME))
}

/// Damages the file, or what is in its place; returns how.
fn damage(path: &Path, whole: &[u8], random: &mut SplitMix) -> &'static str {
    let mut below = |n: usize| ((random.next() * n as f64) as usize).min(n.saturating_sub(1));
    let mut bytes = whole.to_vec();
    let how = match below(10) {
        0 => {
            bytes.truncate(below(whole.len()));
            "truncated"
        }
        1..=3 => {
            for _ in 0..=below(8) {
                bytes[below(whole.len())] ^= 1 << below(8);
            }
            "flipped"
        }
        4 => {
            bytes.extend((0..=below(5000)).map(|_| below(256) as u8));
            "extended"
        }
        5 => {
            let (from, to, n) = (below(whole.len()), below(whole.len()), below(64));
            bytes.copy_within(from..(from + n).min(whole.len()), to.min(whole.len() - n.min(whole.len())));
            "with a part in another place"
        }
        6 => {
            // Whole, of a driver whose name differs in one letter.
            let key = 24 + 8 + below(whole[24] as usize);
            bytes[key] ^= 1;
            let sum = checksum(&bytes[24..]).to_le_bytes();
            bytes[8..24].copy_from_slice(&sum);
            "of another driver"
        }
        7 => {
            let n = below(3000);
            bytes = (0..n).map(|_| below(256) as u8).collect();
            "noise"
        }
        8 => {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            if below(2) == 0 {
                fs::write(path.join("file"), "in it").unwrap();
            }
            return "a folder";
        }
        _ => {
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                if below(2) == 0 {
                    fs::remove_file(path).unwrap();
                    std::os::unix::fs::symlink(path, path).unwrap();
                    return "a link to itself";
                }
                fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
            }
            return "unreadable";
        }
    };
    fs::write(path, bytes).unwrap();
    how
}

fn restore(path: &Path, whole: &[u8]) {
    let kind = fs::symlink_metadata(path).map(|m| m.file_type());
    match kind {
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
    fs::write(path, whole).unwrap();
}

#[test]
fn a_thousand_broken_cache_files_harm_nobody() {
    let _turn = turn();
    for host in hosts() {
        let folder = tempfile::tempdir().unwrap();
        let options = DeviceOptions { cache_dir: Some(folder.path().into()), ..DeviceOptions::default() };
        let start = || {
            let gpu = host.lend_with(&options).unwrap();
            let known = Known::new(gpu.capabilities());
            assert!(known.answered(&gpu, 4.0).unwrap(), "{}", host.name);
            gpu.cache()
        };
        let Some(first) = start() else {
            eprintln!("{} keeps no compiled pipelines", host.name);
            continue;
        };
        assert!(!first.hit && start().unwrap().hit, "written when the device was given back");
        let path: PathBuf = first.path;
        let whole = fs::read(&path).unwrap();
        let mut random = SplitMix(5);
        let started = Instant::now();
        for i in 0..1000 {
            let how = damage(&path, &whole, &mut random);
            let intact = fs::read(&path).is_ok_and(|bytes| bytes == whole);
            let report = start().unwrap();
            assert_eq!(report.hit, intact, "{how}, number {i} on {}", host.name);
            restore(&path, &whole);
        }
        eprintln!("{}: 1,000 damaged files in {:?}", host.name, started.elapsed());
        assert!(start().unwrap().hit);
        assert!(!host.failed.load(Ordering::SeqCst));
    }
}

/// What the validation layer says, through wgpu's log.
#[derive(Debug, Default)]
struct Messages(Mutex<Vec<String>>);

static MESSAGES: Messages = Messages(Mutex::new(Vec::new()));

impl log::Log for Messages {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("wgpu_hal::vulkan::instance")
    }

    fn log(&self, record: &log::Record<'_>) {
        let said = record.args().to_string();
        // The loader names the layers that the environment asks for, and the instance that it says so of.
        let loaders = said.contains("Loader Message") || said.starts_with("\tobjects: (type: INSTANCE");
        if self.enabled(record.metadata()) && !loaders {
            self.0.lock().unwrap().push(said);
        }
    }

    fn flush(&self) {}
}

/// Whether there is a validation layer; from now on its warnings and errors are collected.
fn listen() -> bool {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| log::set_logger(&MESSAGES).unwrap());
    log::set_max_level(log::LevelFilter::Debug);
    drop(wgpu::Instance::new(validated()));
    log::set_max_level(log::LevelFilter::Warn);
    let said = std::mem::take(&mut *MESSAGES.0.lock().unwrap());
    !said.iter().any(|m| m.contains("unable to find layer"))
}

fn validated() -> wgpu::InstanceDescriptor {
    wgpu::InstanceDescriptor { flags: wgpu::InstanceFlags::VALIDATION | wgpu::InstanceFlags::DEBUG, ..descriptor() }
}

#[test]
fn four_threads_beside_a_working_host_give_the_validation_layer_nothing_to_say() {
    let _turn = turn();
    if !listen() {
        eprintln!("the validation layer is absent: only the results are tested");
    }
    let hosts = hosts_with(validated());
    for host in hosts {
        let gpu = host.lend();
        let (work, stop) = (|thread: usize| worker(&gpu, thread), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| host.frames(&stop));
            let threads: Vec<_> = (0..4).map(|i| scope.spawn(move || work(i))).collect();
            // The host's own work, through the same queue.
            let mut frame = 0u32;
            while threads.iter().any(|t| !t.is_finished()) {
                frame += 1;
                assert_eq!(host_frame(&host, frame), frame, "{}", host.name);
            }
            threads.into_iter().for_each(|t| t.join().unwrap());
            stop.store(true, Ordering::Relaxed);
        });
        assert!(!host.failed.load(Ordering::SeqCst));
        drop((gpu, host));
    }
    let said = MESSAGES.0.lock().unwrap();
    assert!(said.is_empty(), "{said:#?}");
}

/// What one of the threads does: everything there is.
fn worker(gpu: &Gpu, thread: usize) {
    let known = Known::new(gpu.capabilities());
    let mut rec = Recording::new("states", gpu.capabilities());
    let state = rec.state("state", &[0u32; 3000]).unwrap();
    ops::fill(&mut rec, state, thread as u32).unwrap();
    rec.download(state).unwrap();
    let mut kept = gpu.prepare(&rec).unwrap();
    let mut prepared = gpu.prepare(&known.recording).unwrap();
    for i in 0..25 {
        let value = (100 * thread + i) as f32;
        let feed = [value; Known::N];
        let out = match i % 3 {
            0 => prepared.run(&[known.x.feed(&feed)], &Control::default()),
            1 => prepared.start(&[known.x.feed(&feed)]).and_then(pollster::block_on),
            _ => {
                drop(prepared.start(&[known.x.feed(&feed)]).unwrap());
                prepared.profile(&[known.x.feed(&feed)], &Control::default()).map(|p| p.0)
            }
        };
        assert!(known.is_right(out.unwrap().get(known.y).unwrap(), value));
        assert!(known.answered(gpu, value).unwrap());
        kept.write(state, &[9; 3000]).unwrap();
        assert_eq!(kept.read(state).unwrap(), [9; 3000]);
        let out = kept.run(&[], &Control::default()).unwrap();
        assert!(out.get(state).unwrap().iter().all(|v| *v == thread as u32));
    }
}

/// The host writes a word and reads it back.
fn host_frame(host: &Host, frame: u32) -> u32 {
    let buffer = |usage| {
        host.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 4, usage, mapped_at_creation: false })
    };
    let [there, back] = [
        buffer(wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST),
        buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
    ];
    host.queue.write_buffer(&there, 0, &frame.to_le_bytes());
    let mut encoder = host.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(&there, 0, &back, 0, 4);
    host.queue.submit([encoder.finish()]);
    let mapped = Arc::new(AtomicBool::new(false));
    let flag = mapped.clone();
    back.map_async(wgpu::MapMode::Read, .., move |r| {
        r.unwrap();
        flag.store(true, Ordering::Release);
    });
    while !mapped.load(Ordering::Acquire) {
        host.device.poll(wgpu::PollType::Poll).unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
    let view = back.get_mapped_range(..).unwrap();
    u32::from_le_bytes(view[..4].try_into().unwrap())
}
