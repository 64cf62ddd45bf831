//! The matched-filter search of two detectors, end to end, on every device.
//!
//! Reference numbers of the two events: the recipe of the GWOSC event tutorial in f64 (SciPy).

mod common;

use std::sync::{LazyLock, Mutex};

use common::{data, turn};
use spikewave::device::{CancelToken, Choice, Control, Device, DeviceOptions};
use spikewave::gw::bank::Bank;
use spikewave::gw::search::{Created, Search, SearchResult, Templates};
use spikewave::gw::strain::{Strain, TemplateFile};
use spikewave::gw::synthetic::{self, Simulation};
use spikewave::{Error, Result};

/// An observed event, and what the reference finds in it.
struct Event {
    name: &'static str,
    strains: [Strain; 2],
    template: Templates,
    gps_time: [f64; 2],
    snr: [f64; 2],
    distance_mpc: [f64; 2],
    range_mpc: [f64; 2],
    delay_ms: f64,
    network_snr: f64,
    /// The signal-to-noise ratios of the other event's template.
    crossed: [f64; 2],
}

impl Event {
    fn strains(&self) -> [&Strain; 2] {
        [&self.strains[0], &self.strains[1]]
    }
}

static EVENTS: LazyLock<Option<[Event; 2]>> = LazyLock::new(|| {
    let strain = |name| Some(Strain::read(data(name)?).unwrap());
    let template = |name| Some(Templates::File(Box::new(TemplateFile::read(data(name)?).unwrap())));
    Some([
        Event {
            name: "GW150914",
            strains: [strain("H-H1_LOSC_4_V2-1126259446-32.hdf5")?, strain("L-L1_LOSC_4_V2-1126259446-32.hdf5")?],
            template: template("GW150914_4_template.hdf5")?,
            gps_time: [1126259462.4395, 1126259462.4324],
            snr: [18.561, 13.208],
            distance_mpc: [814.4, 999.7],
            range_mpc: [74.8, 64.9],
            delay_ms: -7.08,
            network_snr: 22.78,
            crossed: [15.79, 12.21],
        },
        Event {
            name: "GW170104",
            strains: [strain("H-H1_LOSC_4_V1-1167559920-32.hdf5")?, strain("L-L1_LOSC_4_V1-1167559920-32.hdf5")?],
            template: template("GW170104_4_template.hdf5")?,
            gps_time: [1167559936.6084, 1167559936.6113],
            snr: [7.836, 9.548],
            distance_mpc: [1580.7, 1674.2],
            range_mpc: [73.5, 94.5],
            delay_ms: 2.93,
            network_snr: 12.35,
            crossed: [6.63, 8.06],
        },
    ])
});

/// Seconds from the middle of a template file to its loudest sample.
fn merger_s(templates: &Templates) -> f64 {
    let Templates::File(file) = templates else { unreachable!() };
    let power = |i: &usize| file.plus[*i].hypot(file.cross[*i]);
    let loudest = (0..file.plus.len()).max_by(|i, j| power(i).total_cmp(&power(j))).unwrap();
    (loudest as f64 - file.plus.len() as f64 / 2.0) / file.sample_rate_hz
}

/// Half a unit of the last digit of a reference time, and one sample.
const TIME_S: f64 = 0.5e-4 + 1.0 / 4096.0;

fn try_search(device: &Device, strains: [&Strain; 2], templates: &Templates) -> Result<SearchResult> {
    Search::new(device, strains, templates, None)?.run(&Control::default(), &|_, _| {})
}

fn search(device: &Device, strains: [&Strain; 2], templates: &Templates) -> SearchResult {
    try_search(device, strains, templates).unwrap_or_else(|e| panic!("{}: {e}", device.name()))
}

fn cpu() -> Device {
    Device::open(&DeviceOptions { poison: true, ..DeviceOptions::new(Choice::Cpu) }).unwrap()
}

/// Both detectors' strain.
fn simulated(simulation: &Simulation) -> [Strain; 2] {
    [synthetic::HANFORD, synthetic::LIVINGSTON].map(|site| simulation.strain(&site).unwrap())
}

/// Every number of a result is one.
fn assert_finite(r: &SearchResult) {
    let scalars = [r.delay_ms, r.network_snr, r.coherent_snr, r.coherent_sign, r.searched_s, r.template_seconds];
    assert!(scalars.iter().all(|v| v.is_finite()), "{r:?}");
    for f in &r.found {
        let all = [f.snr, f.gps_time, f.effective_distance_mpc, f.range_mpc, f.phase];
        assert!(all.iter().all(|v| v.is_finite()), "{f:?}");
    }
    assert!(r.series.snr.iter().all(|s| !s.is_empty() && s.iter().all(|v| v.is_finite())));
}

/// The same winner, and the same numbers within rounding.
fn assert_same(a: &SearchResult, b: &SearchResult) {
    assert_eq!(a.template.index, b.template.index);
    for (f, g) in a.found.iter().zip(&b.found) {
        assert_eq!(f.gps_time, g.gps_time);
        assert!((f.snr - g.snr).abs() < 1e-3, "{f:?} {g:?}");
    }
    assert_eq!(a.coherent_sign, b.coherent_sign);
    assert!((a.coherent_snr - b.coherent_snr).abs() < 1e-3);
}

#[test]
fn both_events_are_measured_as_the_reference_measures_them() {
    let Some(events) = &*EVENTS else { return };
    let _turn = turn();
    for device in common::devices() {
        for event in events {
            let r = search(&device, event.strains(), &event.template);
            println!("{} on {}: {:?} {} {}", event.name, device.name(), r.found, r.delay_ms, r.coherent_snr);
            assert_finite(&r);
            assert_eq!(r.names, ["H1", "L1"]);
            for (i, f) in r.found.iter().enumerate() {
                assert!((f.snr - event.snr[i]).abs() <= 0.01, "{f:?}");
                assert!((f.gps_time - event.gps_time[i]).abs() <= TIME_S, "{f:?}");
                assert!((f.effective_distance_mpc / event.distance_mpc[i] - 1.0).abs() <= 2e-3, "{f:?}");
                assert!((f.range_mpc - event.range_mpc[i]).abs() <= 0.2, "{f:?}");
                // The series in the picture has the peak that the table has.
                let at = ((f.gps_time - r.series.gps_start) * 4096.0).round() as usize;
                assert!((f64::from(r.series.snr[i][at]) - f.snr).abs() < 1e-3);
            }
            assert!((r.delay_ms - event.delay_ms).abs() <= 0.25, "{}", r.delay_ms);
            assert!((r.network_snr - event.network_snr).abs() <= 0.02, "{}", r.network_snr);
            assert_eq!(r.created, Created::default(), "{}", device.name());
            assert!((r.searched_s - 32.0).abs() < 1e-9 && (r.template_seconds - 64.0).abs() < 1e-9);
        }
    }
}

#[test]
fn the_other_events_template_is_quieter() {
    let Some([first, second]) = &*EVENTS else { return };
    let _turn = turn();
    for device in common::devices() {
        for (event, other) in [(first, second), (second, first)] {
            let r = search(&device, event.strains(), &other.template);
            for (i, f) in r.found.iter().enumerate() {
                assert!(f.snr < event.snr[i] - 0.5, "{}: {f:?}", event.name);
                assert!((f.snr - event.crossed[i]).abs() < 0.05, "{}: {f:?}", event.name);
            }
        }
    }
}

#[test]
fn detectors_are_added_with_delay_and_sign() {
    let Some([event, _]) = &*EVENTS else { return };
    let _turn = turn();
    let device = cpu();
    let r = search(&device, event.strains(), &event.template);
    assert!(r.coherent_snr >= 21.0 && r.coherent_snr <= r.network_snr, "{}", r.coherent_snr);
    assert_eq!(r.coherent_sign, -1.0);
    // The plain mean of the two is worse than one detector alone: the signals arrive apart and of opposite sign.
    let [h1, l1] = &event.strains;
    let mean = Strain { values: h1.values.iter().zip(&l1.values).map(|(a, b)| (a + b) / 2.0).collect(), ..h1.clone() };
    let naive = search(&device, [&mean, &mean], &event.template).found[0].snr;
    println!("coherent {}, H1 alone {}, mean {naive}", r.coherent_snr, r.found[0].snr);
    assert!(naive < r.found[0].snr && naive < 15.0, "{naive}");
}

#[test]
fn a_bank_finds_the_event_and_the_same_template_wins_everywhere() {
    let Some([event, _]) = &*EVENTS else { return };
    let _turn = turn();
    let bank = Templates::Bank(Bank::new(256).unwrap());
    let native = cpu();
    let full = search(&native, event.strains(), &bank);
    println!("{} {:?} {:?}", full.network_snr, full.template, full.found);
    assert_finite(&full);
    assert!(full.network_snr >= 20.0, "{}", full.network_snr);
    // The reference's times are those of the middle of the template file; its loudest sample is the merger.
    let merger = event.gps_time[0] + merger_s(&event.template);
    assert!((full.found[0].gps_time - merger).abs() < 0.003, "{} {merger}", full.found[0].gps_time);
    let small = Templates::Bank(Bank::new(24).unwrap());
    let wanted = search(&native, event.strains(), &small);
    for (i, device) in common::devices().iter().enumerate() {
        assert_same(&search(device, event.strains(), &small), &wanted);
        // The whole bank on one adapter: software drivers take their time.
        if i == 1 {
            let r = search(device, event.strains(), &bank);
            assert_same(&r, &full);
            assert_eq!(r.created, Created::default(), "{}", device.name());
        }
    }
}

#[test]
fn the_bundled_pair_is_found() {
    let _turn = turn();
    let [h1, l1] = synthetic::bundled().unwrap();
    let bank = Templates::Bank(Bank::new(256).unwrap());
    let r = search(&cpu(), [&h1, &l1], &bank);
    println!("{} {:?} {:?}", r.network_snr, r.template, r.found);
    // 24.65 in the mean over noise for the signal itself, with the noise's spectrum known.
    assert!((r.network_snr - 24.65).abs() < 2.5, "{}", r.network_snr);
    assert!(r.template.masses[0] + r.template.masses[1] > 60.0 && r.template.masses[0] < 45.0, "{:?}", r.template);
    assert!((r.found[0].gps_time - 1400000016.4184).abs() < 0.005, "{:?}", r.found);
    assert!((r.delay_ms + 6.80).abs() < 1.0, "{}", r.delay_ms);
    assert_eq!(r.coherent_sign, -1.0);
}

#[test]
fn a_small_budget_gives_the_same_result_and_below_the_least_a_refusal_that_names_it() {
    let Some([event, _]) = &*EVENTS else { return };
    let _turn = turn();
    let bank = Templates::Bank(Bank::new(12).unwrap());
    // Data of two lengths make way for each other.
    let mut cut = event.strains.clone();
    cut[0].values[9 * 4096..10 * 4096].fill(f64::NAN);
    let with_gap = [&cut[0], &cut[1]];
    for (strains, templates) in [(event.strains(), &bank), (event.strains(), &event.template), (with_gap, &bank)] {
        let tiny = common::open_all(&DeviceOptions { memory_budget: Some(1 << 20), ..DeviceOptions::default() });
        for (i, device) in tiny.into_iter().enumerate() {
            let refused = try_search(&device, strains, templates).unwrap_err();
            let Error::OverBudget { tensor, tensor_bytes, limit, least: Some(least), .. } = &refused else {
                panic!("{}: {refused:?}", device.name())
            };
            assert!(!tensor.is_empty() && *tensor_bytes > 0 && *limit == 1 << 20, "{refused:?}");
            assert!(refused.to_string().contains(tensor) && refused.to_string().contains("least"), "{refused}");
            let open = |budget| {
                let options = DeviceOptions { memory_budget: Some(budget), poison: true, ..DeviceOptions::default() };
                common::open_all(&options).swap_remove(i)
            };
            match try_search(&open(least - 1), strains, templates) {
                Err(Error::OverBudget { least: Some(again), .. }) => assert_eq!(again, *least),
                other => panic!("{}: one byte less than the least gave {other:?}", device.name()),
            }
            let enough = open(*least);
            let r = search(&enough, strains, templates);
            assert!(r.peak_bytes <= *least, "{} of {least}", r.peak_bytes);
            assert_eq!(r.planned_bytes, *least);
            assert_same(&r, &search(&cpu(), strains, templates));
        }
    }
}

#[test]
fn data_on_both_sides_of_a_gap_are_searched() {
    let Some([event, _]) = &*EVENTS else { return };
    let _turn = turn();
    for (nan, cleared) in [(true, true), (true, false), (false, true)] {
        let mut strains = event.strains.clone();
        // One second before the event, in Livingston alone.
        if nan {
            strains[1].values[9 * 4096..10 * 4096].fill(f64::NAN);
        }
        if cleared {
            strains[1].quality.words[9] = 0;
        }
        for device in common::devices() {
            let r = search(&device, [&strains[0], &strains[1]], &event.template);
            assert_finite(&r);
            assert!((r.searched_s - 31.0).abs() < 0.01, "{}", r.searched_s);
            for (i, f) in r.found.iter().enumerate() {
                assert!((f.gps_time - event.gps_time[i]).abs() <= TIME_S + 1.0 / 4096.0, "{f:?}");
                // The noise is measured on 22 s of the 32.
                assert!((f.snr / event.snr[i] - 1.0).abs() < 0.1, "{f:?}");
            }
            assert!((r.series.gps_start - (1126259446.0 + 10.0)).abs() < 1e-9, "{}", r.series.gps_start);
            assert_eq!(r.created, Created::default(), "{}", device.name());
        }
        // The event is found on the earlier side as well.
        let mut strains = event.strains.clone();
        if nan {
            strains[0].values[20 * 4096 + 17..21 * 4096].fill(f64::NAN);
        }
        if cleared {
            strains[0].quality.words[20] = 0;
        }
        let r = search(&cpu(), [&strains[0], &strains[1]], &event.template);
        assert_finite(&r);
        assert!((r.found[0].gps_time - event.gps_time[0]).abs() <= TIME_S + 1.0 / 4096.0, "{:?}", r.found);
        assert_eq!(r.series.gps_start, 1126259446.0);
    }
}

#[test]
fn files_that_start_at_different_times_are_aligned() {
    let Some([event, _]) = &*EVENTS else { return };
    let _turn = turn();
    let [h1, l1] = event.strains.clone();
    // Livingston begins 3 s later.
    let mut late = l1;
    late.values.drain(..3 * 4096);
    late.quality.words.drain(..3);
    late.injections = None;
    late.gps_start += 3.0;
    let r = search(&cpu(), [&h1, &late], &event.template);
    assert!((r.searched_s - 29.0).abs() < 0.01, "{}", r.searched_s);
    for (i, f) in r.found.iter().enumerate() {
        assert!((f.gps_time - event.gps_time[i]).abs() <= TIME_S + 1.0 / 4096.0, "{f:?}");
    }
}

/// The error of a search that cannot be, in words.
fn refusal(strains: [&Strain; 2], templates: &Templates, flag: Option<&str>) -> String {
    match Search::new(&cpu(), strains, templates, flag) {
        Err(Error::InvalidArgument { what, why }) => format!("{what}: {why}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn long_data_are_searched_in_blocks_wherever_the_signal_is() {
    let _turn = turn();
    let device = cpu();
    let bank = Templates::Bank(Bank::new(12).unwrap());
    // 100 s are two blocks of 64 s from 0 and 36 s on, whose tapered ends take 4 s.
    for after_s in [16.4, 40.0, 50.0, 61.0, 91.3] {
        let mut simulation = Simulation { duration_s: 100, ..Simulation::bundled() };
        let injection = simulation.injection.as_mut().unwrap();
        injection.gps_time = 1_400_000_000.0 + after_s;
        let expected = injection.gps_time_at(&synthetic::HANFORD);
        let [h1, l1] = simulated(&simulation);
        let r = search(&device, [&h1, &l1], &bank);
        assert_finite(&r);
        assert!((r.found[0].gps_time - expected).abs() < 0.02 && r.network_snr > 17.0, "{after_s}: {:?}", r.found);
        assert_eq!(r.created, Created::default());
        // Once each, though the blocks overlap.
        assert!((r.searched_s - 100.0).abs() < 0.01, "{}", r.searched_s);
    }
}

#[test]
fn other_sample_rates_are_searched() {
    let _turn = turn();
    let bank = Templates::Bank(Bank::new(12).unwrap());
    for rate in [1024, 2048, 16384] {
        let simulation = Simulation { sample_rate_hz: rate, ..Simulation::bundled() };
        let expected = simulation.injection.as_ref().unwrap().gps_time_at(&synthetic::HANFORD);
        let [h1, l1] = simulated(&simulation);
        let r = search(&cpu(), [&h1, &l1], &bank);
        assert!((r.found[0].gps_time - expected).abs() < 0.02 && r.network_snr > 17.0, "{rate} Hz: {:?}", r.found);
    }
}

#[test]
fn what_is_not_strain_is_refused_and_no_nan_comes_out() {
    let _turn = turn();
    let [h1, l1] = synthetic::bundled().unwrap();
    let bank = Templates::Bank(Bank::new(2).unwrap());
    for value in [0.0, 1e-300, 1e30, f64::MAX] {
        // An alternating sample is in the band; zero is zero.
        let values = (0..l1.values.len()).map(|i| if i % 2 == 0 { value } else { -value }).collect();
        match try_search(&cpu(), [&h1, &Strain { values, ..l1.clone() }], &bank) {
            Err(Error::InvalidArgument { why, .. }) => {
                assert!(why.contains("L1") && why.contains("not strain"), "{why}")
            }
            other => panic!("{value}: {other:?}"),
        }
    }
    // A constant does not change.
    let constant = Strain { values: vec![1e-21; l1.values.len()], ..l1 };
    match try_search(&cpu(), [&h1, &constant], &bank) {
        Err(Error::InvalidArgument { why, .. }) => assert!(why.contains("not strain"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn data_that_do_not_go_together_are_refused_in_words() {
    let Some([first, second]) = &*EVENTS else { return };
    let [h1, l1] = first.strains();
    let own = &first.template;

    let apart = refusal([h1, &second.strains[1]], own, None);
    assert!(
        apart.contains("do not overlap") && apart.contains("1126259446") && apart.contains("1167559920"),
        "{apart}"
    );

    let slow = Strain { values: l1.values.iter().step_by(2).copied().collect(), sample_rate_hz: 2048.0, ..l1.clone() };
    let rates = refusal([h1, &slow], own, None);
    assert!(rates.contains("4096") && rates.contains("2048"), "{rates}");

    let Templates::File(file) = own else { unreachable!() };
    let other_rate = Templates::File(Box::new(TemplateFile { sample_rate_hz: 16384.0, ..(**file).clone() }));
    let template = refusal([h1, l1], &other_rate, None);
    assert!(template.starts_with("template") && template.contains("16384") && template.contains("4096"), "{template}");

    let empty = Strain { values: vec![f64::NAN; h1.values.len()], ..h1.clone() };
    let none = refusal([&empty, l1], own, None);
    assert!(none.contains("no 8 s of good data in common"), "{none}");

    let flag = refusal([h1, l1], own, Some("NO_SUCH_FLAG"));
    assert!(flag.contains("NO_SUCH_FLAG") && flag.contains("CBC_CAT3"), "{flag}");
}

#[test]
fn a_dead_channel_is_refused_and_not_searched() {
    let [h1, mut l1] = synthetic::bundled().unwrap();
    let from = l1.values.len() / 2;
    l1.values[from..].fill(1e-21);
    for count in [1, 2] {
        let bank = Templates::Bank(Bank::new(count).unwrap());
        let error = try_search(&cpu(), [&h1, &l1], &bank).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::InvalidArgument { .. }) && text.contains("dead channel"), "{text}");
    }
}

#[test]
fn a_cancelled_search_stops_and_can_be_run_again() {
    let Some([event, _]) = &*EVENTS else { return };
    let _turn = turn();
    let bank = Templates::Bank(Bank::new(40).unwrap());
    for device in common::devices().into_iter().take(2) {
        let mut search = Search::new(&device, event.strains(), &bank, None).unwrap();
        let token = CancelToken::new();
        token.cancel();
        let control = Control { cancel: token, ..Control::default() };
        assert_eq!(search.run(&control, &|_, _| panic!("ran on")).unwrap_err(), Error::Cancelled);
        // In the middle: after the first tile no other is finished.
        let token = CancelToken::new();
        let control = Control { cancel: token.clone(), ..Control::default() };
        let seen = Mutex::new(Vec::new());
        let error = search.run(&control, &|done, total| {
            seen.lock().unwrap().push((done, total));
            token.cancel();
        });
        assert_eq!(error.unwrap_err(), Error::Cancelled);
        assert_eq!(seen.into_inner().unwrap(), [(16, 40)]);
        let r = search.run(&Control::default(), &|_, _| {}).unwrap();
        assert_same(&r, &self::search(&cpu(), event.strains(), &bank));
    }
}
