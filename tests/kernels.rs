//! Each kernel on every device against its twin and an f64 oracle.

mod common;

use spikewave::device::Control;
use spikewave::ops;

#[test]
fn fill() {
    for device in common::devices() {
        for n in [1usize, 255, 256, 1023, 1024, 1025, 70_001] {
            let mut rec = device.recording("fill");
            let y = rec.scratch::<f32>("y", n).unwrap();
            ops::fill(&mut rec, y, 2.5).unwrap();
            rec.download(y).unwrap();
            let out = device.prepare(&rec).unwrap().run(&[], &Control::default()).unwrap();
            assert!(out.get(y).unwrap().iter().all(|v| *v == 2.5), "{} elements on {}", n, device.name());
        }
    }
}
