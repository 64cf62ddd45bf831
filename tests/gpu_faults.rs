//! Lost devices and failed allocations, injected by a Vulkan layer below wgpu.
//!
//! The layer is not part of this crate: `scripts/lanes` builds it where its source is at hand. Without it the test says
//! so and passes.

mod common;

use std::path::PathBuf;
use std::process::Command;

use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::kernel::Tensor;
use spikewave::recording::Recording;
use spikewave::{Error, ops, wgpu};

const N: usize = 300_000;

fn layer() -> Option<PathBuf> {
    let given = std::env::var_os("SPIKEWAVE_FAULT_LAYER").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target/lanes/fault").into());
    folder.join("libVkLayer_lost.so").exists().then_some(folder)
}

/// The child's test runs in a process of its own, under the layer with one fault set.
fn child(layer: &PathBuf, fault: &str, n: u32) -> String {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "under_the_layer", "--ignored", "--nocapture"])
        .env("VK_LAYER_PATH", layer)
        .env("VK_INSTANCE_LAYERS", "VK_LAYER_TEST_lost")
        .env(fault, n.to_string())
        .output()
        .unwrap();
    let (text, noise) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{fault}={n}: {text}\n{noise}");
    assert!(!noise.contains("panicked"), "{fault}={n} printed a panic: {noise}");
    let outcome = text.lines().find_map(|l| l.split_once("outcome: ").map(|(_, o)| o.to_owned()));
    outcome.unwrap_or_else(|| panic!("{fault}={n} did not end: {text}\n{noise}"))
}

#[test]
fn faults_become_errors_and_the_next_device_works() {
    let Some(layer) = layer() else {
        eprintln!("the fault layer is absent (scripts/lanes builds it): device loss is not tested");
        return;
    };
    if common::skipped() {
        return;
    }
    // The layer calls a device lost while the software driver still works on what it was given, which then must not be
    // freed; so waits fail only in runs, which are short and after which the child lingers. The allocator takes few
    // large blocks, none of them in a run.
    for (fault, range, expected, places) in [
        ("LOST_AFTER", 0..14, "device lost", &["open", "prepare", "run", "write", "read"][..]),
        ("LOST_ON_WAIT", 4..14, "device lost", &["run", "write", "read"]),
        ("OOM_AFTER", 1..7, "out of memory", &["open", "prepare"]),
    ] {
        let outcomes: Vec<String> = range.map(|n| child(&layer, fault, n)).collect();
        eprintln!("{fault}: {outcomes:?}");
        for place in places {
            let seen = outcomes.iter().any(|o| o == &format!("{expected} in {place}"));
            assert!(seen, "{fault} never came up in {place}: {outcomes:?}");
        }
        assert!(outcomes.iter().all(|o| o.starts_with(expected) || o == "right"), "{fault}: {outcomes:?}");
    }
}

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
fn attempt(options: &DeviceOptions) -> Result<(), (&'static str, Error)> {
    let device = Device::open(options).map_err(|e| ("open", e))?;
    let (rec, [x, y, kept]) = recording(&device);
    let mut prepared = device.prepare(&rec).map_err(|e| ("prepare", e))?;
    for round in 0..6 {
        let value = round as f32;
        let given = vec![value; N];
        let mut step = || {
            let out = prepared.run(&[x.feed(&given)], &Control::default()).map_err(|e| ("run", e))?;
            check(out.get(y).unwrap(), value);
            check(&prepared.read(kept).map_err(|e| ("read", e))?, value);
            prepared.write(kept, &given).map_err(|e| ("write", e))?;
            let written = prepared.read(kept).map_err(|e| ("read", e))?;
            assert!(written.iter().all(|v| *v == value), "stale bytes");
            Ok(())
        };
        match step() {
            Ok(()) => {}
            Err((place, error)) => {
                if matches!(error, Error::DeviceLost { .. }) {
                    let again = prepared.run(&[x.feed(&given)], &Control::default());
                    assert!(matches!(again, Err(Error::DeviceLost { .. })), "a lost device stays lost: {again:?}");
                    assert!(matches!(prepared.read(kept), Err(Error::DeviceLost { .. })));
                    assert!(matches!(device.prepare(&rec), Err(Error::DeviceLost { .. })));
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
                return Err((place, error));
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "runs in a process of its own, started by the test above"]
fn under_the_layer() {
    // The loader drops a layer, and what it remembers, with the last instance.
    let _instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let name = common::adapters().into_iter().next().expect("an adapter").choose_by();
    let options = DeviceOptions { cache_dir: common::cache_dir(), ..DeviceOptions::new(Choice::Named(name)) };
    let outcome = match attempt(&options) {
        Ok(()) => "right".to_owned(),
        Err((place, Error::DeviceLost { .. })) => format!("device lost in {place}"),
        Err((place, Error::OutOfMemory { .. })) => format!("out of memory in {place}"),
        Err((place, error)) => format!("{error} in {place}"),
    };
    println!("outcome: {outcome}");
    // The layer spares the second device of a process.
    attempt(&options).expect("a new device works");
}
