//! The devices that tests run on.
#![allow(dead_code, reason = "each test binary uses a part")]

mod data;
pub mod network;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};

#[allow(unused_imports, reason = "each test binary uses a part")]
pub use data::{data, kde};
use spikewave::device::gpu::{self, AdapterReport, GpuParts};
use spikewave::device::{Choice, Device, DeviceOptions, Gpu};
use spikewave::wgpu;

/// What to do on a machine without an adapter.
const INSTALL: &str = "no GPU and no Vulkan driver on this machine: install a software one \
    (apt-get install mesa-vulkan-drivers), or set SPIKEWAVE_SKIP_GPU_TESTS=1 to test the native path only";

/// Whether whoever runs the tests wants the native path only.
pub fn skipped() -> bool {
    let skipped = std::env::var("SPIKEWAVE_SKIP_GPU_TESTS").is_ok_and(|v| v == "1");
    if skipped {
        eprintln!("SPIKEWAVE_SKIP_GPU_TESTS=1: the native path only");
    }
    skipped
}

/// Every adapter of the native backends, or of the one that `WGPU_BACKEND` names; a machine without one fails the test,
/// unless GPU tests are skipped.
pub fn adapters() -> Vec<AdapterReport> {
    if skipped() {
        return Vec::new();
    }
    let adapters = match std::env::var("WGPU_BACKEND") {
        Err(_) => gpu::adapters(),
        Ok(backend) => gpu::all_adapters().into_iter().filter(|a| a.backend == backend).collect(),
    };
    assert!(!adapters.is_empty(), "{INSTALL}");
    adapters
}

/// Not the cache folder of whoever runs the tests.
pub fn cache_dir() -> Option<PathBuf> {
    Some(env!("CARGO_TARGET_TMPDIR").into())
}

/// The native path and every adapter on this machine, opened with these options.
pub fn open_all(options: &DeviceOptions) -> Vec<Device> {
    let with = |choice| DeviceOptions { choice, cache_dir: cache_dir(), ..options.clone() };
    let mut all = vec![Device::open(&with(Choice::Cpu)).expect("the native path always opens")];
    for adapter in adapters() {
        let name = adapter.choose_by();
        let device = Device::open(&with(Choice::Named(name.clone())));
        all.push(device.unwrap_or_else(|e| panic!("{name} does not open: {e}")));
    }
    all
}

/// One of them: 0 is the native path, then come the adapters.
pub fn open_one(at: usize, options: &DeviceOptions) -> Device {
    let choice = match at {
        0 => Choice::Cpu,
        _ => Choice::Named(adapters()[at - 1].choose_by()),
    };
    let device = Device::open(&DeviceOptions { choice, cache_dir: cache_dir(), ..options.clone() });
    device.unwrap_or_else(|e| panic!("device {at} does not open: {e}"))
}

/// The native path and every adapter on this machine, opened once a test binary with scratch memory poisoned.
pub fn devices() -> Vec<Device> {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    let options = DeviceOptions { poison: true, ..DeviceOptions::default() };
    DEVICES.get_or_init(|| open_all(&options)).clone()
}

/// One test at a time: for those that count what the shared devices create.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Numbers in [0, 1), the same for a seed (SplitMix64).
pub struct SplitMix(pub u64);

impl SplitMix {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly normal, with this spread.
    pub fn normal(&mut self, spread: f64) -> f64 {
        (self.next() + self.next() + self.next() + self.next() - 2.0) * 1.7 * spread
    }

    /// As many of them.
    pub fn values(&mut self, n: usize, spread: f64) -> Vec<f32> {
        (0..n).map(|_| self.normal(spread) as f32).collect()
    }
}

/// The executor on a host's device, which the host polls.
pub fn lend(device: &wgpu::Device, queue: &wgpu::Queue, options: &DeviceOptions) -> spikewave::Result<Gpu> {
    Gpu::from_wgpu(GpuParts::new(device.clone(), queue.clone()), options)
}
