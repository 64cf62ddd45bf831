//! What the executors do with memory between runs: states that are read and replaced, constants that are not copied.
//! And the profile of a run, whose results are the run's.

mod common;

use std::sync::Arc;
use std::time::Duration;

use spikewave::device::{CancelToken, Control, Cpu, Device, DeviceOptions, Gpu, gpu};
use spikewave::kernel::Tensor;
use spikewave::recording::{Recording, Role};
use spikewave::{Error, ops, wgpu};

fn scrambled(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i ^ seed).wrapping_mul(2_654_435_761).rotate_left(seed)).collect()
}

/// Sizes below, at and above what host-visible memory takes at once.
#[test]
fn states_are_read_and_replaced_between_runs() {
    let _turn = common::turn();
    for device in common::devices() {
        for n in [1usize, 3, 1000, (4 << 20) / 4 - 128, (4 << 20) / 4, 2_500_003] {
            let mut rec = device.recording("states");
            let first = scrambled(n, 1);
            let state = rec.state("state", &first).unwrap();
            let wide = rec.state("wide", &[[1u32, 2, 3, 4]]).unwrap();
            let constant = rec.constant("constant", &first).unwrap();
            let input = rec.input::<u32>("input", 1).unwrap();
            let seen = rec.scratch::<u32>("seen", n).unwrap();
            rec.copy(state, 0, seen, 0, n).unwrap();
            rec.download(seen).unwrap();
            rec.copy(input, 0, state, n / 2, 1).unwrap();
            rec.copy(wide.cast().unwrap(), 3, state, n - 1, 1).unwrap();
            rec.copy(constant, 0, seen, 0, 1).unwrap();
            let mut prepared = device.prepare(&rec).unwrap();
            let leased = device.stats().memory.leased_bytes;
            assert_eq!(prepared.read(state).unwrap(), first, "{}", device.name());
            for round in 2..5 {
                let given = scrambled(n, round);
                prepared.write(state, &given).unwrap();
                prepared.write(wide, &[[round, 5, 6, 7 * round]]).unwrap();
                assert_eq!(prepared.read(state).unwrap(), given, "{}", device.name());
                let out = prepared.run(&[input.feed(&[round])], &Control::default()).unwrap();
                assert_eq!(out.get(seen).unwrap(), given, "{}", device.name());
                let mut expected = given;
                expected[n / 2] = round;
                expected[n - 1] = 7 * round;
                assert_eq!(prepared.read(state).unwrap(), expected, "{}", device.name());
                assert_eq!(prepared.read(wide).unwrap(), [[round, 5, 6, 7 * round]]);
                assert_eq!(prepared.read(constant).unwrap(), first);
            }
            assert_eq!(device.stats().memory.leased_bytes, leased, "what was leased is back");
        }
    }
}

#[test]
fn what_is_no_state_is_refused() {
    // What it leases would be counted by the test above.
    let _turn = common::turn();
    for device in common::devices() {
        let mut rec = device.recording("refused");
        let state = rec.state("state", &[1u32, 2]).unwrap();
        let unused = rec.state("unused", &[1u32]).unwrap();
        let constant = rec.constant("constant", &[1u32, 2]).unwrap();
        let input = rec.input::<u32>("input", 2).unwrap();
        let scratch = rec.scratch::<u32>("scratch", 2).unwrap();
        rec.copy(constant, 0, scratch, 0, 2).unwrap();
        rec.copy(input, 0, state, 0, 2).unwrap();
        let mut other = device.recording("other");
        let foreign = other.state("foreign", &[1u32, 2]).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        let refused = |result: Result<(), Error>, why: &str| {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }) && error.to_string().contains(why), "{error}");
        };
        for (tensor, why) in [
            (foreign, "another recording"),
            (unused, "no command of the recording uses \"unused\""),
            (input, "\"input\" is not a state"),
            (scratch, "\"scratch\" is not a state"),
        ] {
            refused(prepared.read(tensor).map(drop), why);
            refused(prepared.write(tensor, &vec![0; tensor.len()]), why);
        }
        refused(prepared.write(constant, &[3, 4]), "\"constant\" is not a state");
        refused(prepared.write(state, &[3]), "4 bytes given for \"state\", which has 8");
        refused(prepared.write(state, &[3, 4, 5]), "12 bytes given for \"state\", which has 8");
        assert_eq!(prepared.read(state).unwrap(), [1, 2], "nothing was written");
    }
}

/// The memory that states are read and written through counts against the budget of a GPU, and is small where that is
/// tight. With no room at all a recording reads through what it has for its results, and has nothing to write through;
/// the native path needs none.
#[test]
fn reading_counts_against_the_budget() {
    const BUDGET: u64 = 3 << 20;
    const LEAST: u64 = 64 << 10;
    let options = DeviceOptions { memory_budget: Some(BUDGET), ..DeviceOptions::default() };
    for device in common::open_all(&options) {
        let native = matches!(device, Device::Cpu(_));
        let mut rec = device.recording("large");
        let content = scrambled(1 << 19, 3);
        let state = rec.state("state", &content).unwrap();
        ops::fill(&mut rec, state.cast::<f32>().unwrap(), 0.0).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        let before = device.stats().memory.leased_bytes;
        assert!(before >= 2 << 20);
        assert_eq!(prepared.read(state).unwrap(), content, "{}", device.name());
        prepared.write(state, &content).unwrap();
        let after = device.stats().memory;
        assert_eq!(after.leased_bytes, before, "{}", device.name());
        let taken = after.peak_bytes - before;
        assert!(if native { taken == 0 } else { taken >= LEAST }, "{}: {after:?}", device.name());
        assert!(after.peak_bytes <= BUDGET, "{}: {after:?}", device.name());
        // The rest of the budget goes to others.
        let (mut held, mut n) = (Vec::new(), 1 << 17);
        while n > 0 {
            let mut other = device.recording("other");
            let scratch = other.scratch::<f32>("scratch", n).unwrap();
            ops::fill(&mut other, scratch, 0.0).unwrap();
            match device.prepare(&other) {
                Ok(other) => held.push(other),
                Err(Error::OverBudget { .. }) => n /= 2,
                Err(error) => panic!("{error}"),
            }
        }
        let full = device.stats().memory;
        assert!(BUDGET - full.leased_bytes < LEAST, "{}: {full:?}", device.name());
        assert_eq!(prepared.read(state).unwrap(), content, "{}", device.name());
        match prepared.write(state, &content) {
            Ok(()) => assert!(native, "{} wrote through nothing", device.name()),
            Err(Error::OverBudget { needed, limit, .. }) => assert_eq!((needed, limit, native), (LEAST, BUDGET, false)),
            Err(error) => panic!("{}: {error}", device.name()),
        }
        let now = device.stats().memory;
        assert_eq!((now.leased_bytes, now.buffers_created), (full.leased_bytes, full.buffers_created));
        drop(held);
        prepared.write(state, &content).unwrap();
        assert_eq!(prepared.read(state).unwrap(), content, "{}", device.name());
    }
}

#[test]
fn a_lost_device_hands_out_nothing() {
    for device in common::open_all(&DeviceOptions::default()) {
        let Device::Gpu(gpu) = &device else { continue };
        let mut rec = device.recording("lost");
        let state = rec.state("state", &[1.0f32; 64]).unwrap();
        ops::fill(&mut rec, state, 2.0).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        gpu.notify_device_lost("the test says so");
        assert!(matches!(prepared.read(state), Err(Error::DeviceLost { .. })));
        assert!(matches!(prepared.write(state, &[0.0; 64]), Err(Error::DeviceLost { .. })));
        assert!(matches!(prepared.profile(&[], &Control::default()), Err(Error::DeviceLost { .. })));
    }
}

/// `y = a·x` with a constant `a` of its own memory.
fn scaled(device: &Device, content: Arc<Vec<f32>>) -> (Recording, Tensor<f32>) {
    let mut rec = device.recording("constant");
    let n = content.len();
    let a = rec.constant_owned("a", content).unwrap();
    let y = rec.scratch::<f32>("y", n).unwrap();
    ops::scale_offset(&mut rec, a, 2.0, 0.0, y).unwrap();
    rec.download(y).unwrap();
    (rec, y)
}

#[test]
fn a_constant_exists_once() {
    const N: usize = 1_000_003;
    // Devices of its own: the counters are of the whole device.
    for device in common::open_all(&DeviceOptions::default()) {
        let content: Arc<Vec<f32>> = Arc::new((0..N).map(|i| i as f32).collect());
        let (rec, y) = scaled(&device, content.clone());
        let native = matches!(device, Device::Cpu(_));
        let plan = rec.plan();
        let of_role: Vec<_> = plan.slots.iter().filter(|s| s.role == Role::Constant).collect();
        assert!(matches!(of_role[..], [slot] if slot.in_place == native && slot.bytes >= 4 * N as u64));
        assert!(!native || plan.role_bytes(Role::Constant) == 4 * N as u64);
        let mut prepared = device.prepare(&rec).unwrap();
        let memory = device.stats().memory;
        assert_eq!(memory.leased_bytes, plan.peak_bytes());
        assert!(!native || memory.buffers_created == plan.slots.len() as u64 - 1, "the constant got no buffer");
        // The caller's, and on the native path that of what is prepared.
        assert_eq!(Arc::strong_count(&content), 2 + usize::from(native));
        drop(rec);
        assert_eq!(Arc::strong_count(&content), 1 + usize::from(native));
        for _ in 0..2 {
            let out = prepared.run(&[], &Control::default()).unwrap();
            assert!(out.get(y).unwrap().iter().enumerate().all(|(i, y)| *y == 2.0 * i as f32), "{}", device.name());
        }
        drop(prepared);
        assert_eq!(Arc::strong_count(&content), 1);
        let memory = device.stats().memory;
        assert_eq!((memory.leased_bytes, memory.idle_bytes < plan.peak_bytes()), (0, native));
    }
}

#[test]
fn a_constant_over_the_budget_is_refused_though_it_needs_no_memory() {
    let cpu = Cpu::new(&DeviceOptions { memory_budget: Some(1 << 20), ..DeviceOptions::default() }).unwrap();
    let mut rec = Recording::new("large", cpu.capabilities());
    let a = rec.constant_owned("a", vec![1.0f32; 1 << 18]).unwrap();
    let y = rec.scratch::<f32>("y", 1).unwrap();
    rec.copy(a, 0, y, 0, 1).unwrap();
    let error = cpu.prepare(&rec).unwrap_err();
    assert!(matches!(&error, Error::OverBudget { tensor, .. } if tensor == "a"), "{error}");
    assert!(rec.constant_owned::<f32>("none", Vec::new()).is_err());
}

/// Groups of one kernel and of another, more than are timed in one submission.
const PAIRS: usize = 300;

fn alternating(device: &Device) -> (Recording, Tensor<f32>, Tensor<f32>, Tensor<f32>) {
    let mut rec = device.recording("profile");
    let x = rec.input::<f32>("x", 500).unwrap();
    let sum = rec.state("sum", &[0.0f32; 500]).unwrap();
    let y = rec.scratch::<f32>("y", 500).unwrap();
    for i in 0..PAIRS {
        ops::fill(&mut rec, y, 0.0).unwrap();
        ops::fill(&mut rec, y, i as f32).unwrap();
        if i % 7 == 0 {
            rec.copy(x, 0, y, 0, 250).unwrap();
        }
        ops::scale_offset(&mut rec, y, 2.0, 1.0, sum).unwrap();
        if i % 10 == 0 {
            rec.copy(sum, 250, x, 250, 250).unwrap();
        }
    }
    rec.download(x).unwrap();
    rec.download(sum).unwrap();
    (rec, x, sum, y)
}

fn check_profile(device: &Device, clock: &str) {
    let (rec, x, sum, _) = alternating(device);
    let (mut run, mut profiled) = (device.prepare(&rec).unwrap(), device.prepare(&rec).unwrap());
    let given: Vec<f32> = (0..500).map(|i| i as f32).collect();
    for _ in 0..2 {
        let expected = run.run(&[x.feed(&given)], &Control::default()).unwrap();
        let (out, profile) = profiled.profile(&[x.feed(&given)], &Control::default()).unwrap();
        for tensor in [x, sum] {
            assert_eq!(out.get(tensor).unwrap(), expected.get(tensor).unwrap(), "{}", device.name());
        }
        let kernels: Vec<_> = profile.iter().map(|k| (k.kernel, k.dispatches, k.clock)).collect();
        let scale = if device.capabilities().native { "unary" } else { "unary_wide" };
        assert_eq!(kernels, [("fill", 2 * PAIRS as u64, clock), (scale, PAIRS as u64, clock)], "{}", device.name());
        assert!(profile.iter().all(|k| k.time > Duration::ZERO), "{profile:?}");
        assert!(profile.iter().map(|k| k.time).sum::<Duration>() <= out.timing().wall, "{profile:?}");
        // What one did, the other goes on with.
        std::mem::swap(&mut run, &mut profiled);
    }
    let cancel = CancelToken::new();
    cancel.cancel();
    let control = Control { cancel, ..Control::default() };
    assert_eq!(run.profile(&[x.feed(&given)], &control).unwrap_err(), Error::Cancelled);
    let control = Control { timeout: Some(Duration::ZERO), ..Control::default() };
    assert!(matches!(run.profile(&[x.feed(&given)], &control), Err(Error::Timeout { .. })));
    assert!(run.profile(&[], &Control::default()).is_err(), "an input is missing");
}

#[test]
fn a_profile_has_the_results_of_a_run_and_the_times_of_its_kernels() {
    let _turn = common::turn();
    for device in common::devices() {
        let stamped = match &device {
            Device::Gpu(gpu) => !gpu.quirks().contains(&gpu::Quirk::NoTimestamps),
            Device::Cpu(_) => false,
        };
        check_profile(&device, if stamped { "timestamps" } else { "wall clock" });
    }
}

#[test]
fn without_timestamps_the_profile_is_by_the_wall_clock() {
    if common::skipped() {
        return;
    }
    let backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    for adapter in pollster::block_on(instance.enumerate_adapters(backends)) {
        let descriptor =
            wgpu::DeviceDescriptor { required_limits: gpu::required_limits(&adapter), ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        let options = DeviceOptions { cache_dir: common::cache_dir(), poison: true, ..DeviceOptions::default() };
        check_profile(&Device::Gpu(Gpu::from_wgpu(gpu::GpuParts::new(device, queue), &options).unwrap()), "wall clock");
    }
}
