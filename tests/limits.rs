//! Rows that a kernel could not visit within the portable floor's loop bound are refused, not cut short.

use num_complex::Complex32;
use spikewave::ops::{self, Fft};
use spikewave::recording::{Capabilities, Recording};

fn recording() -> Recording {
    Recording::new("limits", &Capabilities::default())
}

#[test]
fn the_peak_of_a_long_row() {
    for (end, fits) in [(15_000_000, true), (1 << 24, false)] {
        let mut rec = recording();
        let x = rec.input::<Complex32>("x", 1 << 24).unwrap();
        let power = rec.scratch("power", 1).unwrap();
        let at = rec.scratch("at", 1).unwrap();
        let recorded = Fft::forward(1 << 24).record_peaks(&mut rec, x, 0..end, power, at);
        assert_eq!(recorded.is_ok(), fits, "{end}: {recorded:?}");
    }
}

#[test]
fn the_power_of_a_long_row() {
    for (bins, fits) in [(15_000_000, true), (1 << 24, false)] {
        let mut rec = recording();
        let h = rec.input::<Complex32>("h", bins).unwrap();
        let w = rec.input::<f32>("w", bins).unwrap();
        let norm = rec.scratch("norm", 1).unwrap();
        let recorded = ops::weighted_power(&mut rec, h, (bins, bins), w, 1.0, norm, (1, 0));
        assert_eq!(recorded.is_ok(), fits, "{bins}: {recorded:?}");
    }
}

#[test]
fn a_neuron_of_many_trains() {
    for (trains, fits) in [(1800, true), (1900, false)] {
        let mut rec = recording();
        let events = rec.input::<u32>("events", trains).unwrap();
        let drive = ops::event_drive(&mut rec, events, 1, 32, &vec![1.0; trains]);
        assert_eq!(drive.is_ok(), fits, "{trains}: {drive:?}");
    }
}

#[test]
fn detectors_far_apart() {
    for (reach, fits) in [(1800, true), (1900, false), (usize::MAX, false)] {
        let mut rec = recording();
        let [a, b] = ["a", "b"].map(|name| rec.input::<Complex32>(name, 8192).unwrap());
        let norm = rec.input::<f32>("norm", 2).unwrap();
        let peaks = ops::coincident_peak(&mut rec, (a, b), norm, (1, 8192), 0..8192, reach);
        assert_eq!(peaks.is_ok(), fits, "{reach}: {peaks:?}");
    }
}
