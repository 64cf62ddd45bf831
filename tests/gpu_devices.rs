//! Choosing, listing and warming up devices, and what is kept between starts.
//! Kernels: selftest_loop, selftest_grid, selftest_group (at every opening), canary (in every submission).

mod common;

use std::fs;
use std::sync::Mutex;

use spikewave::device::gpu::Quirk;
use spikewave::device::{Choice, Control, Device, DeviceOptions, Readiness, list};
use spikewave::{Error, kernel, ops};

#[test]
fn auto_says_why_and_never_means_a_software_driver() {
    let device = Device::open(&DeviceOptions::default()).unwrap();
    match &device {
        Device::Cpu(_) => assert!(device.reason().contains("GPU"), "{}", device.reason()),
        Device::Gpu(gpu) => assert_ne!(gpu.adapter().kind, "software"),
    }
    let gpu = Device::open(&DeviceOptions::new(Choice::Gpu));
    let software_only = common::adapters().iter().all(|a| a.kind == "software");
    assert_eq!(software_only, matches!(gpu, Err(Error::NoAdapter { .. })), "{gpu:?}");
}

#[test]
fn adapters_are_chosen_by_any_part_of_their_name_and_unknown_names_list_them() {
    for adapter in common::adapters() {
        let part: String = adapter.name.chars().take(6).collect();
        for name in [part.to_uppercase(), adapter.choose_by()] {
            let device = Device::open(&DeviceOptions::new(Choice::Named(name.clone()))).unwrap();
            let Device::Gpu(gpu) = &device else { panic!("a GPU was named") };
            assert!(name != adapter.choose_by() || gpu.adapter().choose_by() == name, "{name}");
            assert_eq!(device.name(), adapter.name);
            assert!(device.reason().starts_with("asked for by name"), "{}", device.reason());
        }
        let error = Device::open(&DeviceOptions::new(Choice::Named("no such device".into()))).unwrap_err();
        let Error::NoAdapter { wanted, known } = error else { panic!("{error}") };
        assert!(wanted == "no such device" && known.contains("cpu") && known.contains(&adapter.name), "{known}");
    }
}

#[test]
fn the_list_names_every_device_and_its_quirks() {
    let list = list().unwrap();
    assert_eq!(list.devices[0].choose_by, "cpu");
    assert_eq!(list.devices.iter().filter(|d| d.chosen).count(), 1);
    assert!(list.devices.iter().any(|d| d.chosen && d.choose_by == list.chosen) && !list.reason.is_empty());
    for adapter in common::adapters() {
        let mut alike = list.devices.iter().filter(|d| d.choose_by == adapter.choose_by());
        let device = alike.next().expect("it is listed");
        assert!(alike.next().is_none(), "by a name of its own: {device:?}");
        assert_eq!(device.error, None);
        assert!(device.max_tensor_bytes >= Some(100 << 20), "{device:?}");
        // The one software driver whose fault is known by its version.
        let mesa22 = adapter.driver_info.contains("Mesa 22.");
        assert_eq!(device.quirks.contains(&Quirk::LoopLimit64k), mesa22, "{device:?}");
    }
    serde_json::to_string(&list).unwrap();
}

#[test]
fn warmup_readies_every_kernel_in_six_stages_and_leaves_nothing_to_create() {
    for device in common::open_all(&DeviceOptions::default()) {
        let mut rec = device.recording("application");
        let x = rec.input::<f32>("x", 1000).unwrap();
        ops::fill(&mut rec, x, 1.0).unwrap();
        rec.download(x).unwrap();
        let seen = Mutex::new(Vec::new());
        let report =
            device.warmup(&[&rec], &|p| seen.lock().unwrap().push((p.done, p.total, p.kernel.to_owned()))).unwrap();
        assert_eq!(report.stages.iter().map(|s| s.name).collect::<Vec<_>>(), kernel::STAGES);
        assert!(report.stages[5].first_dispatch_ms > Some(0.0) && report.stages[5].second_dispatch_ms > Some(0.0));
        if let Device::Gpu(gpu) = &device {
            let labels: Vec<&str> = report.stages.iter().flat_map(|s| &s.kernels).map(|k| k.label.as_str()).collect();
            let software = gpu.adapter().kind == "software";
            let all: Vec<_> = kernel::ALL.iter().filter(|k| k.is_for(software)).collect();
            assert_eq!(labels.len(), all.len());
            assert!(all.iter().all(|k| gpu.readiness(k) == Readiness::Ready && labels.contains(&k.label())));
            let seen = seen.into_inner().unwrap();
            assert!(seen.iter().enumerate().all(|(i, (done, total, _))| (*done, *total) == (i + 1, labels.len())));
        }
        let before = device.stats();
        let mut prepared = device.prepare(&rec).unwrap();
        prepared.run(&[x.feed(&[0.0; 1000])], &Control::default()).unwrap();
        let after = device.stats();
        assert_eq!(after.pipelines_created, before.pipelines_created);
        assert_eq!(after.memory.buffers_created, before.memory.buffers_created);
    }
}

#[test]
fn a_damaged_cache_file_is_ignored_and_made_anew() {
    for adapter in common::adapters() {
        let folder = tempfile::tempdir().unwrap();
        let options = DeviceOptions {
            cache_dir: Some(folder.path().join("new")),
            ..DeviceOptions::new(Choice::Named(adapter.choose_by()))
        };
        let start = || {
            let device = Device::open(&options).unwrap();
            let Device::Gpu(gpu) = &device else { panic!("a GPU was named") };
            gpu.cache()
        };
        let Some(first) = start() else { continue };
        assert!(!first.hit, "there was no file");
        assert!(start().unwrap().hit, "the file was written when the device was dropped");
        let whole = fs::read(&first.path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(first.path.parent().unwrap()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "the folder is private");
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for damaged in [&whole[..whole.len() / 2], &flipped, b"not a cache", b""] {
            fs::write(&first.path, damaged).unwrap();
            assert!(!start().unwrap().hit, "{} bytes", damaged.len());
            assert!(start().unwrap().hit, "it was made anew");
        }
    }
}

#[test]
fn checked_and_unchecked_kernels_agree() {
    let run = |checked| {
        let options = DeviceOptions { checked, poison: true, ..DeviceOptions::default() };
        common::open_all(&options).into_iter().map(|device| {
            let mut rec = device.recording("checked");
            let y = rec.scratch::<f32>("y", 1025).unwrap();
            ops::fill(&mut rec, y, 2.5).unwrap();
            rec.download(y).unwrap();
            device.prepare(&rec).unwrap().run(&[], &Control::default()).unwrap().get(y).unwrap().to_vec()
        })
    };
    assert!(run(true).eq(run(false)));
}
