//! The devices that tests run on.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::OnceLock;

use spikewave::device::gpu;
use spikewave::device::{Choice, Device, DeviceOptions};

/// What to do on a machine without an adapter.
const INSTALL: &str = "no GPU and no Vulkan driver on this machine: install a software one \
    (apt-get install mesa-vulkan-drivers), or set SPIKEWAVE_SKIP_GPU_TESTS=1 to test the native path only";

/// The native path and every adapter on this machine, opened with these options.
pub fn open_all(options: &DeviceOptions) -> Vec<Device> {
    let with = |choice| DeviceOptions { choice, ..options.clone() };
    let mut all = vec![Device::open(&with(Choice::Cpu)).expect("the native path always opens")];
    if std::env::var("SPIKEWAVE_SKIP_GPU_TESTS").is_ok_and(|v| v == "1") {
        eprintln!("SPIKEWAVE_SKIP_GPU_TESTS=1: the native path only");
        return all;
    }
    let names = gpu::adapters().into_iter().map(|a| format!("{}:{}", a.backend, a.name));
    for name in names {
        let device = Device::open(&with(Choice::Named(name.clone())));
        all.push(device.unwrap_or_else(|e| panic!("{name} does not open: {e}")));
    }
    assert!(all.len() > 1, "{INSTALL}");
    all
}

/// The native path and every adapter on this machine, opened once a test binary with scratch memory poisoned.
pub fn devices() -> Vec<Device> {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    // Not the cache folder of whoever runs the tests.
    let cache_dir = Some(env!("CARGO_TARGET_TMPDIR").into());
    let options = DeviceOptions { poison: true, cache_dir, ..DeviceOptions::default() };
    DEVICES.get_or_init(|| open_all(&options)).clone()
}
