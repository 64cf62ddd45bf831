//! The spiking detector, end to end, on every device.

mod common;

use std::sync::LazyLock;

use common::{data, turn};
use spikewave::device::{CancelToken, Choice, Control, Device, DeviceOptions};
use spikewave::gw::detect::{Detection, Detector};
use spikewave::gw::search::Created;
use spikewave::gw::strain::Strain;
use spikewave::gw::synthetic::{self, Simulation};
use spikewave::{Error, Result};

/// An observed event, and the GPS time of its peak in a matched filter of Hanford's data.
struct Event {
    name: &'static str,
    strains: [Strain; 2],
    gps_time: f64,
}

static EVENTS: LazyLock<Option<[Event; 2]>> = LazyLock::new(|| {
    let strain = |name| Some(Strain::read(data(name)?).unwrap());
    Some([
        Event {
            name: "GW150914",
            strains: [strain("H-H1_LOSC_4_V2-1126259446-32.hdf5")?, strain("L-L1_LOSC_4_V2-1126259446-32.hdf5")?],
            gps_time: 1126259462.4395,
        },
        Event {
            name: "GW170104",
            strains: [strain("H-H1_LOSC_4_V1-1167559920-32.hdf5")?, strain("L-L1_LOSC_4_V1-1167559920-32.hdf5")?],
            gps_time: 1167559936.6084,
        },
    ])
});

fn try_detect(device: &Device, strains: &[Strain; 2]) -> Result<Detection> {
    Detector::new(device, [&strains[0], &strains[1]], None)?.run(&Control::default(), &|_, _| {})
}

fn detect(device: &Device, strains: &[Strain; 2]) -> Detection {
    let found = try_detect(device, strains).unwrap_or_else(|e| panic!("{}: {e}", device.name()));
    let shown: Vec<_> = found.triggers.iter().take(3).map(|t| (t.gps_time, t.score, t.template)).collect();
    println!("{}: {} triggers in {} s, {shown:?}", device.name(), found.triggers.len(), found.searched_s);
    // Loudest first, ranked from 1, both arrivals within what the detectors' distance and a half cycle allow.
    for (i, t) in found.triggers.iter().enumerate() {
        assert_eq!(t.rank, i + 1);
        assert!(t.score.is_finite() && t.score > 0.0);
        assert!(i == 0 || t.score <= found.triggers[i - 1].score);
        assert!((t.h1_time - t.l1_time).abs() <= 2.0 * 0.015 + 1e-9, "{t:?}");
        assert!(t.gps_time == t.h1_time.max(t.l1_time), "{t:?}");
    }
    assert_eq!(found.created, Created::default(), "{}", device.name());
    found
}

fn cpu() -> Device {
    Device::open(&DeviceOptions { poison: true, ..DeviceOptions::new(Choice::Cpu) }).unwrap()
}

/// The same strain without the four seconds about the event: the samples are gone, and the quality says so.
fn without_event(event: &Event) -> [Strain; 2] {
    event.strains.clone().map(|mut s| {
        let at = ((event.gps_time - s.gps_start) * s.sample_rate_hz) as usize;
        let half = (2.0 * s.sample_rate_hz) as usize;
        s.values[at - half..at + half].fill(f64::NAN);
        let second = at / s.sample_rate_hz as usize;
        s.quality.words[second - 1..second + 2].fill(0);
        s
    })
}

/// The same times and chirps, and scores within rounding.
fn same_triggers(a: &Detection, b: &Detection) -> bool {
    a.triggers.len() == b.triggers.len()
        && a.triggers.iter().zip(&b.triggers).all(|(a, b)| {
            (a.h1_time, a.l1_time, a.template, a.rank) == (b.h1_time, b.l1_time, b.template, b.rank)
                && (a.score - b.score).abs() <= 1e-4 * a.score
        })
}

#[test]
fn the_first_trigger_is_the_event_and_nothing_without_it_is_as_loud() {
    let Some(events) = &*EVENTS else { return };
    let _turn = turn();
    let device = cpu();
    for event in events {
        println!("{}", event.name);
        let with = detect(&device, &event.strains);
        let first = with.triggers.first().expect("a trigger");
        assert!((first.gps_time - event.gps_time).abs() <= 0.020, "{}: {first:?}", event.name);
        assert!((first.h1_time - event.gps_time).abs() <= 0.020, "{}: {first:?}", event.name);

        let without = detect(&device, &without_event(event));
        let loudest = without.triggers.first().map_or(0.0, |t| t.score);
        assert!(loudest < first.score, "{}: {loudest} without it, {} with it", event.name, first.score);
        assert!(without.triggers.iter().all(|t| (t.gps_time - event.gps_time).abs() > 1.9));
        // 28 s less a taper at each end of both parts.
        assert!((with.searched_s - 28.0).abs() < 0.01 && (without.searched_s - 24.5).abs() < 0.01);
    }
}

#[test]
fn every_device_gives_the_same_triggers() {
    let Some([_, quieter]) = &*EVENTS else { return };
    let _turn = turn();
    let devices = common::devices();
    let native = detect(&devices[0], &quieter.strains);
    assert!(native.triggers.len() > 1);
    for device in &devices[1..] {
        let found = detect(device, &quieter.strains);
        assert!(same_triggers(&native, &found), "{}: {:?}\n{:?}", device.name(), native.triggers, found.triggers);
    }
}

#[test]
fn a_changed_trigger_is_seen() {
    let _turn = turn();
    let found = detect(&cpu(), &synthetic::bundled().unwrap());
    assert!(same_triggers(&found, &found));
    for change in [
        |d: &mut Detection| d.triggers[0].score *= 1.001,
        |d: &mut Detection| d.triggers[0].template += 1,
        |d: &mut Detection| d.triggers[0].l1_time += 1.0 / 4096.0,
        |d: &mut Detection| d.triggers.truncate(0),
    ] {
        let mut changed = found.clone();
        change(&mut changed);
        assert!(!same_triggers(&found, &changed));
    }
}

#[test]
fn the_bundled_pair_is_found() {
    let _turn = turn();
    let found = detect(&cpu(), &synthetic::bundled().unwrap());
    let first = found.triggers.first().expect("a trigger");
    assert!((first.gps_time - 1400000016.4184).abs() <= 0.020, "{first:?}");
    assert!(found.triggers.iter().skip(1).all(|t| t.score < 0.7 * first.score));
    // What the picture shows: spikes of both detectors, and coincidences at the event.
    assert!(found.figure.rasters.iter().all(|(_, spikes)| !spikes.is_empty()));
    assert!(found.figure.coincidences.iter().any(|s| (s.gps - first.gps_time).abs() < 0.1));
}

#[test]
fn noise_alone_that_is_the_same_in_no_two_detectors_gives_nothing_loud() {
    let _turn = turn();
    // Livingston's data shifted by 5 s: the signal no longer coincides with Hanford's.
    let [h1, mut l1] = synthetic::bundled().unwrap();
    l1.values.rotate_right(5 * 4096);
    let loud = detect(&cpu(), &synthetic::bundled().unwrap()).triggers[0].score;
    let found = detect(&cpu(), &[h1, l1]);
    assert!(found.triggers.iter().all(|t| t.score < 0.5 * loud), "{:?}", found.triggers);
}

#[test]
fn long_data_and_other_sample_rates_are_listened_to() {
    let _turn = turn();
    for (duration_s, sample_rate_hz, after_s) in [(100, 4096, 61.0), (32, 2048, 16.4), (32, 16384, 16.4)] {
        let mut simulation = Simulation { duration_s, sample_rate_hz, ..Simulation::bundled() };
        let injection = simulation.injection.as_mut().unwrap();
        injection.gps_time = 1_400_000_000.0 + after_s;
        let expected = injection.gps_time_at(&synthetic::HANFORD);
        let strains = [synthetic::HANFORD, synthetic::LIVINGSTON].map(|site| simulation.strain(&site).unwrap());
        let found = detect(&cpu(), &strains);
        let first = found.triggers.first().expect("a trigger");
        assert!((first.gps_time - expected).abs() <= 0.020, "{sample_rate_hz} Hz: {first:?}");
        let edges = f64::from(simulation.duration_s.min(64) as u32) / 8.0;
        assert!((found.searched_s - (duration_s as f64 - edges)).abs() < 0.01, "{}", found.searched_s);
        // Blocks overlap: what both have seen is listed once.
        let same = found.triggers.iter().filter(|t| (t.gps_time - expected).abs() < 0.1).count();
        assert_eq!(same, 1, "{:?}", found.triggers);
    }
}

#[test]
fn too_small_a_budget_is_refused_with_the_least_that_would_do() {
    let _turn = turn();
    let strains = synthetic::bundled().unwrap();
    let open = |budget| {
        Device::open(&DeviceOptions { memory_budget: Some(budget), ..DeviceOptions::new(Choice::Cpu) }).unwrap()
    };
    let refused = try_detect(&open(1 << 20), &strains).unwrap_err();
    let Error::OverBudget { tensor, least: Some(least), .. } = &refused else { panic!("{refused:?}") };
    assert!(!tensor.is_empty(), "{refused}");
    assert!(matches!(try_detect(&open(least - 1), &strains), Err(Error::OverBudget { .. })));
    let found = detect(&open(*least), &strains);
    assert!(found.peak_bytes <= *least);
    assert!(same_triggers(&found, &detect(&cpu(), &strains)));
}

#[test]
fn a_cancelled_run_stops_and_can_be_run_again() {
    let _turn = turn();
    let [h1, l1] = synthetic::bundled().unwrap();
    let device = cpu();
    let mut detector = Detector::new(&device, [&h1, &l1], None).unwrap();
    let cancel = CancelToken::new();
    cancel.cancel();
    let control = Control { cancel, ..Control::default() };
    assert_eq!(detector.run(&control, &|_, _| {}).unwrap_err(), Error::Cancelled);
    assert!(!detector.run(&Control::default(), &|_, _| {}).unwrap().triggers.is_empty());
}

#[test]
fn data_that_do_not_go_together_are_refused_in_words() {
    let [h1, l1] = synthetic::bundled().unwrap();
    let refusal = |l1: &Strain| match Detector::new(&cpu(), [&h1, l1], None) {
        Err(Error::InvalidArgument { why, .. }) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("accepted"),
    };
    let later = refusal(&Strain { gps_start: l1.gps_start + 100.0, ..l1.clone() });
    assert!(later.contains("do not overlap"), "{later}");
    let slower = refusal(&Strain { sample_rate_hz: 2048.0, ..l1.clone() });
    assert!(slower.contains("2048") && slower.contains("4096"), "{slower}");
    let empty = refusal(&Strain { values: vec![f64::NAN; l1.values.len()], ..l1.clone() });
    assert!(empty.contains("no 8 s of good data in common"), "{empty}");
}
