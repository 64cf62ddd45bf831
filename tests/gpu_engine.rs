//! What the executors promise beyond their kernels: transfers, replay, slices, cancellation, errors.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spikewave::device::{CancelToken, Control};
use spikewave::kernel::fill;
use spikewave::recording::{Capabilities, Recording, Role};
use spikewave::{DeviceOptions, Error, ops};

#[test]
fn transfers_keep_every_byte() {
    for device in common::devices() {
        for n in [1usize, 3, 1000, 70_001, 3_000_000] {
            let mut rec = device.recording("transfers");
            let values: Vec<u32> = (0..n as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
            let input = rec.input::<u32>("input", n).unwrap();
            let constant = rec.constant("constant", &values).unwrap();
            let other = rec.input::<f32>("other", 3).unwrap();
            let copy = rec.scratch::<u32>("copy", 2 * n).unwrap();
            rec.clear(copy).unwrap();
            rec.copy(input, 0, copy, n, n).unwrap();
            for t in [input, constant, copy] {
                rec.download(t).unwrap();
            }
            rec.download(other).unwrap();
            let mut prepared = device.prepare(&rec).unwrap();
            for round in 0..3u32 {
                let given: Vec<u32> = values.iter().map(|v| v ^ round).collect();
                let feeds = [input.feed(&given), other.feed(&[1.0, 2.0, 3.0])];
                let out = prepared.run(&feeds, &Control::default()).unwrap();
                assert_eq!(out.get(input).unwrap(), given);
                assert_eq!(out.get(constant).unwrap(), values);
                assert_eq!(out.get(other).unwrap(), [1.0, 2.0, 3.0]);
                assert!(out.get(copy).unwrap()[..n].iter().all(|v| *v == 0));
                assert_eq!(out.get(copy).unwrap()[n..], given);
            }
        }
    }
}

/// Host-visible memory is bounded by the largest buffer too, so inputs and results may need several.
#[test]
fn transfers_are_split_over_several_buffers() {
    for device in common::devices() {
        let capabilities = Capabilities { max_tensor_bytes: 8192, ..device.capabilities().clone() };
        let mut rec = Recording::new("split", &capabilities);
        let tensors: Vec<_> = (0..9).map(|i| rec.input::<u32>(format!("t{i}"), 1 + 255 * i).unwrap()).collect();
        for tensor in &tensors {
            rec.download(*tensor).unwrap();
        }
        if !capabilities.native {
            let slots = |role| rec.plan().slots.iter().filter(|s| s.role == role).count();
            assert!(slots(Role::Upload) > 3 && slots(Role::Readback) > 3);
        }
        let data: Vec<Vec<u32>> = tensors.iter().map(|t| (0..t.len() as u32).map(|i| i * 7 + 1).collect()).collect();
        let feeds: Vec<_> = tensors.iter().zip(&data).map(|(t, d)| t.feed(d)).collect();
        let out = device.prepare(&rec).unwrap().run(&feeds, &Control::default()).unwrap();
        for (tensor, data) in tensors.iter().zip(&data) {
            assert_eq!(out.get(*tensor).unwrap(), data);
        }
    }
}

#[test]
fn states_live_from_run_to_run() {
    for device in common::devices() {
        let mut rec = device.recording("states");
        let state = rec.state("state", &[1u32, 2, 3, 4]).unwrap();
        let input = rec.input::<u32>("input", 1).unwrap();
        rec.download(state).unwrap();
        rec.copy(input, 0, state, 1, 1).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        let first = prepared.run(&[input.feed(&[7])], &Control::default()).unwrap();
        assert_eq!(first.get(state).unwrap(), [1, 2, 3, 4]);
        let second = prepared.run(&[input.feed(&[8])], &Control::default()).unwrap();
        assert_eq!(second.get(state).unwrap(), [1, 7, 3, 4]);
    }
}

/// A fill that is cut into slices, several submissions and a folded grid, since it claims so much work.
#[test]
fn slices_cover_a_long_dispatch_and_report_progress() {
    for device in common::devices() {
        let n = 5_000_000;
        let mut rec = device.recording("long");
        let y = rec.scratch::<u32>("y", n).unwrap();
        let params = fill::Params { n: n as u32, value: 9 };
        let groups = 200_000;
        rec.dispatch(fill::dispatch(params, fill::Args { y }, groups).work(1 << 31)).unwrap();
        rec.download(y).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        for _ in 0..2 {
            let (last, calls) = (AtomicU64::new(0), AtomicU64::new(0));
            let progress = |done: u64, total: u64| {
                assert_eq!(total, 1 << 31);
                assert!(done >= last.swap(done, Ordering::Relaxed));
                calls.fetch_add(1, Ordering::Relaxed);
            };
            let control = Control { progress: Some(&progress), ..Control::default() };
            let out = prepared.run(&[], &control).unwrap();
            assert_eq!(last.load(Ordering::Relaxed), 1 << 31);
            assert!(out.get(y).unwrap().iter().all(|v| *v == 9), "{}", device.name());
        }
    }
}

#[test]
fn a_replay_creates_nothing() {
    // Devices of its own: the counters are of the whole device.
    for device in common::open_all(&DeviceOptions::default()) {
        let mut rec = device.recording("replay");
        let input = rec.input::<f32>("input", 5000).unwrap();
        let y = rec.scratch::<f32>("y", 5000).unwrap();
        for i in 0..100 {
            ops::fill(&mut rec, y, i as f32).unwrap();
        }
        rec.download(y).unwrap();
        rec.download(input).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        let data = vec![1.5; 5000];
        prepared.run(&[input.feed(&data)], &Control::default()).unwrap();
        let before = device.stats();
        for _ in 0..5 {
            let out = prepared.run(&[input.feed(&data)], &Control::default()).unwrap();
            assert_eq!(out.get(y).unwrap()[4999], 99.0);
        }
        let after = device.stats();
        assert_eq!(after.pipelines_created, before.pipelines_created);
        assert_eq!(after.bind_groups_created, before.bind_groups_created);
        assert_eq!(after.memory, before.memory);
        assert_eq!(after.dispatches, before.dispatches + 500);
    }
}

#[test]
fn cancelled_and_late_runs_end_with_their_error_and_the_next_is_right() {
    for device in common::devices() {
        let mut rec = device.recording("cancel");
        let y = rec.scratch::<f32>("y", 1 << 20).unwrap();
        ops::fill(&mut rec, y, 4.0).unwrap();
        rec.download(y).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        let cancel = CancelToken::new();
        cancel.cancel();
        let control = Control { cancel, ..Control::default() };
        assert_eq!(prepared.run(&[], &control).unwrap_err(), Error::Cancelled);
        let control = Control { timeout: Some(Duration::ZERO), ..Control::default() };
        assert!(matches!(prepared.run(&[], &control), Err(Error::Timeout { .. })));
        let out = prepared.run(&[], &Control::default()).unwrap();
        assert!(out.get(y).unwrap().iter().all(|v| *v == 4.0), "{}", device.name());
    }
}

#[test]
fn a_run_can_be_cancelled_between_its_slices() {
    // Devices of its own: the counters are of the whole device.
    for device in common::open_all(&DeviceOptions::default()) {
        let n = 1 << 20;
        let mut rec = device.recording("long");
        let y = rec.scratch::<u32>("y", n).unwrap();
        for value in 0..40 {
            let params = fill::Params { n: n as u32, value };
            rec.dispatch(fill::dispatch(params, fill::Args { y }, 1024).work(1 << 27)).unwrap();
        }
        rec.download(y).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        let before = device.stats().dispatches;
        let cancel = CancelToken::new();
        let progress = |_: u64, _: u64| cancel.cancel();
        let control = Control { cancel: cancel.clone(), progress: Some(&progress), ..Control::default() };
        assert_eq!(prepared.run(&[], &control).unwrap_err(), Error::Cancelled, "{}", device.name());
        assert!(device.stats().dispatches < before + 40, "{} went on to the end", device.name());
        let out = prepared.run(&[], &Control::default()).unwrap();
        assert!(out.get(y).unwrap().iter().all(|v| *v == 39), "{}", device.name());
    }
}

#[test]
fn a_plan_over_the_budget_is_refused_with_numbers() {
    let options = DeviceOptions { memory_budget: Some(1 << 20), ..DeviceOptions::default() };
    for device in common::open_all(&options) {
        let mut rec = device.recording("large");
        let y = rec.scratch::<f32>("the large one", 1 << 20).unwrap();
        ops::fill(&mut rec, y, 0.0).unwrap();
        let error = device.prepare(&rec).unwrap_err();
        let Error::OverBudget { needed, in_use: 0, limit, tensor, .. } = error else { panic!("{error}") };
        assert_eq!((limit, tensor.as_str()), (1 << 20, "the large one"));
        assert!(needed >= 4 << 20);
        assert_eq!(device.stats().memory.leased_bytes, 0);
    }
}
