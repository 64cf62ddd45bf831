//! The devices that tests run on.

use std::sync::OnceLock;

use spikewave::device::{Choice, Device, DeviceOptions};

/// The native path and every adapter on this machine.
pub fn devices() -> Vec<Device> {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    DEVICES
        .get_or_init(|| vec![Device::open(&DeviceOptions::new(Choice::Cpu)).expect("the native path always opens")])
        .clone()
}
