//! The devices of this machine, for people and programs to choose from.

use super::gpu::{self, AdapterReport, Quirk};
use super::{Choice, Device, DeviceOptions};
use crate::Result;

/// Every device, and which one `auto` means.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeviceList {
    /// The native path first, then the adapters, the best first.
    pub devices: Vec<DeviceReport>,
    /// The name of the device that `auto` means.
    pub chosen: String,
    /// Why.
    pub reason: String,
}

/// One device.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeviceReport {
    /// What to give to `--device`.
    pub choose_by: String,
    /// `auto` means this one.
    pub chosen: bool,
    /// The adapter; `None` for the native path.
    pub adapter: Option<AdapterReport>,
    /// The largest tensor, in bytes.
    pub max_tensor_bytes: Option<u64>,
    /// Bytes that may be allocated in all unless `--memory-budget` says otherwise.
    pub budget_bytes: Option<u64>,
    /// Runs are timed on the device.
    pub timestamps: bool,
    /// Compiled pipelines can be kept between starts.
    pub pipeline_cache: bool,
    /// What the self-test found.
    pub quirks: Vec<Quirk>,
    /// Why it cannot be opened.
    pub error: Option<String>,
}

/// Opens every device once, software drivers and GL too, and tests it.
///
/// # Errors
/// What opening the native path gives.
pub fn list() -> Result<DeviceList> {
    let chosen = Device::open(&DeviceOptions::default())?;
    let cpu = Device::open(&DeviceOptions::new(Choice::Cpu))?;
    let chosen_name = match &chosen {
        Device::Cpu(_) => "cpu".to_owned(),
        Device::Gpu(gpu) => gpu.adapter().choose_by(),
    };
    let mut devices = vec![report("cpu".into(), None, Ok(cpu))];
    for adapter in gpu::all_adapters() {
        let name = adapter.choose_by();
        // Forced, so that what a broken driver does is shown.
        let options = DeviceOptions { force: true, ..DeviceOptions::new(Choice::Named(name.clone())) };
        devices.push(report(name, Some(adapter), Device::open(&options)));
    }
    for device in &mut devices {
        device.chosen = device.choose_by == chosen_name;
    }
    Ok(DeviceList { devices, chosen: chosen_name, reason: chosen.reason().into() })
}

fn report(choose_by: String, adapter: Option<AdapterReport>, opened: Result<Device>) -> DeviceReport {
    let capabilities = opened.as_ref().ok().map(Device::capabilities);
    let gpu = match &opened {
        Ok(Device::Gpu(gpu)) => Some(gpu),
        _ => None,
    };
    DeviceReport {
        choose_by,
        chosen: false,
        adapter,
        max_tensor_bytes: capabilities.map(|c| c.max_tensor_bytes),
        budget_bytes: capabilities.map(|c| c.budget_bytes),
        timestamps: gpu.is_some_and(|gpu| !gpu.quirks().contains(&Quirk::NoTimestamps)),
        pipeline_cache: gpu.is_some_and(|gpu| gpu.cache().is_some()),
        quirks: gpu.map(|gpu| gpu.quirks().to_vec()).unwrap_or_default(),
        error: opened.as_ref().err().map(ToString::to_string),
    }
}
