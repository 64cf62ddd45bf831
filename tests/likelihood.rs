//! The log likelihood of clusterless decoding against the reference's results and f64 arithmetic.

mod common;

use ndarray::{Array2, ArrayView1, Axis};
use spikewave::decode::{
    BinEdges, EncodingModel, Environment, FitOptions, Likelihood, LikelihoodOptions, LocalLikelihood, Method,
    REFERENCE_FLOOR, Session, Spikes, TimeBins, Trajectory,
};
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::random::Random;

const FILES: [&str; 3] = ["box_2d_4d.npz", "track_1d_10d.npz", "track_1d_ragged.npz"];

fn sessions() -> Vec<(&'static str, Session)> {
    let read = |name| common::kde(name).map(|path| (name, Session::read(path, false).unwrap()));
    FILES.into_iter().filter_map(read).collect()
}

fn fitted(s: &Session) -> EncodingModel {
    EncodingModel::fit(&s.trajectory, &s.encoding, &s.environment, &FitOptions::default()).unwrap()
}

fn bins(s: &Session) -> TimeBins {
    TimeBins::new(s.time.clone(), BinEdges::HalfOpen, None).unwrap()
}

fn computed(device: &Device, s: &Session, options: &LikelihoodOptions) -> Array2<f32> {
    let mut likelihood = Likelihood::new(device, &fitted(s), &bins(s), &s.decoding, options).unwrap();
    likelihood.to_array(&Control::default()).unwrap()
}

fn floor() -> LikelihoodOptions {
    LikelihoodOptions { log_intensity_floor: Some(REFERENCE_FLOOR), ..LikelihoodOptions::default() }
}

/// Largest and median absolute difference.
fn differences(got: &Array2<f32>, want: &Array2<f64>) -> (f64, f64) {
    assert_eq!(got.dim(), want.dim());
    let mut d: Vec<f64> = got.iter().zip(want).map(|(a, b)| (f64::from(*a) - b).abs()).collect();
    assert!(d.iter().all(|d| d.is_finite()), "a NaN");
    d.sort_by(f64::total_cmp);
    (d[d.len() - 1], d[d.len() / 2])
}

#[test]
fn files_give_the_exact_log_likelihood() {
    for device in common::devices() {
        for (name, s) in sessions() {
            let got = computed(&device, &s, &LikelihoodOptions::default());
            let (max, median) = differences(&got, s.exact_log_likelihood.as_ref().unwrap());
            println!("{} {name}: max {max:.1e}, median {median:.1e}", device.name());
            assert!(max <= 1e-3 && median <= 1e-5, "{} {name}: {max} {median}", device.name());
            // The comparison sees a changed element.
            let mut changed = got;
            changed[[3, 5]] += 2e-3;
            assert!(differences(&changed, s.exact_log_likelihood.as_ref().unwrap()).0 > 1e-3);
        }
    }
}

#[test]
fn files_give_the_results_of_the_reference_with_its_floor() {
    for device in common::devices() {
        for (name, s) in sessions() {
            let reference = s.reference_log_likelihood.as_ref().unwrap();
            let (max, _) = differences(&computed(&device, &s, &floor()), reference);
            assert!(max <= 1e-4, "{} {name}: {max}", device.name());

            let local = s.reference_local_log_likelihood.as_ref().unwrap();
            let at = s.decode_trajectory.as_ref().unwrap();
            let model = fitted(&s);
            let mut likelihood = LocalLikelihood::new(&device, &model, &bins(&s), &s.decoding, at, &floor()).unwrap();
            let (got, report) = likelihood.run(&Control::default()).unwrap();
            let got = Array2::from_shape_vec((got.len(), 1), got).unwrap();
            let (max, _) = differences(&got, local);
            println!("{} {name}: local max {max:.1e}", device.name());
            assert!(max <= 1e-4, "{} {name}: local {max}", device.name());
            assert!(report.chunks > 0);
        }
    }
}

/// Sums as they are written, in f64; without weights.
fn oracle(s: &Session, time_factor: f64) -> Array2<f64> {
    let normal = |x: f64, mean: f64, std: f64| {
        -0.5 * ((x - mean) / std).powi(2) - (std * (2.0 * std::f64::consts::PI).sqrt()).ln()
    };
    let places = s.environment.interior();
    let (n, bins) = (s.trajectory.time().len() as f64, bins(s));
    let place =
        |x: ArrayView1<f64>, p: ArrayView1<f64>| -> f64 { x.iter().zip(p).map(|(x, p)| normal(*p, *x, 6.0)).sum() };
    let log_sum = |terms: &[f64]| {
        let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if most == f64::NEG_INFINITY { most } else { most + terms.iter().map(|t| (t - most).exp()).sum::<f64>().ln() }
    };
    let occupancy: Vec<f64> = places
        .rows()
        .into_iter()
        .map(|p| s.trajectory.position().rows().into_iter().map(|x| place(x, p).exp()).sum::<f64>() / n)
        .collect();
    let mut out = Array2::<f64>::zeros((bins.len(), places.nrows()));
    for (encoding, decoding) in s.encoding.iter().zip(&s.decoding) {
        let at = s.trajectory.at(encoding.times());
        for (p, center) in places.rows().into_iter().enumerate() {
            let log_place: Vec<f64> = at.rows().into_iter().map(|x| place(x, center)).collect();
            let ground = log_place.iter().map(|l| l.exp()).sum::<f64>() / n;
            let intensity = if occupancy[p] > 0.0 { (ground / occupancy[p]).max(1e-15) } else { 1e-15 };
            out.column_mut(p).mapv_inplace(|l| l - time_factor * intensity);
            for (t, mark) in decoding.times().iter().zip(decoding.features().rows()) {
                let Some(row) = bins.bin_of(*t) else { continue };
                let terms: Vec<f64> = encoding
                    .features()
                    .rows()
                    .into_iter()
                    .zip(&log_place)
                    .map(|(m, l)| {
                        l + m.iter().zip(&mark).map(|(a, b)| normal(f64::from(*b), f64::from(*a), 24.0)).sum::<f64>()
                    })
                    .collect();
                let nothing = terms.is_empty() || occupancy[p] == 0.0;
                out[[row, p]] += if nothing { 1e-15f64.ln() } else { log_sum(&terms) - n.ln() - occupancy[p].ln() };
            }
        }
    }
    out
}

/// A small session whose electrodes differ in everything: no spikes to learn from, none to decode, marks of several
/// dimensions, a place far from all that was visited, and spikes on the borders of bins and in the last bin.
fn odd_session(position_dims: usize) -> Session {
    let mut random = Random::new(7, position_dims as u64);
    let time: Vec<f64> = (0..400).map(|i| f64::from(i) * 0.05).collect();
    let position = Array2::from_shape_fn((400, position_dims), |(i, k)| {
        50.0 + 45.0 * (0.7 * time[i] + k as f64 * 1.3).sin() + random.normal()
    });
    // Bins up to 600 cm: the far ones have no occupancy in f64.
    let side: Vec<f64> = (0..40).map(|i| f64::from(i) * if i < 30 { 4.0 } else { 14.0 }).collect();
    let centers = Array2::from_shape_fn((40, position_dims), |(i, k)| side[(i * (1 + 2 * k)) % 40]);
    let mut spikes = |n: usize, dims: usize, from: f64, to: f64| {
        let mut times: Vec<f64> = (0..n).map(|_| from + (to - from) * random.uniform()).collect();
        times.sort_by(f64::total_cmp);
        let features = Array2::from_shape_fn((n, dims), |_| (80.0 + 60.0 * random.normal()) as f32);
        (times, features)
    };
    let shapes = [(300, 2, 40), (1, 1, 3), (0, 3, 4), (129, 5, 0), (257, 12, 37), (64, 4, 64)];
    let encoding = shapes.map(|(n, d, _)| spikes(n, d, 0.0, 19.9)).map(|(t, f)| Spikes::new(t, f).unwrap()).to_vec();
    let decoding = shapes.map(|(_, d, m)| {
        let (mut times, features) = spikes(m, d, 20.0, 23.0);
        // On borders, at the same time, and inside of the last bin.
        for (i, t) in times.iter_mut().enumerate().take(m / 2) {
            *t = 20.0 + 0.1 * (i / 3) as f64;
        }
        if let Some(last) = times.last_mut() {
            *last = 22.95;
        }
        times.sort_by(f64::total_cmp);
        Spikes::new(times, features).unwrap()
    });
    Session {
        trajectory: Trajectory::new(time, position).unwrap(),
        environment: Environment::new(centers, (0..40).map(|i| i % 7 != 6).collect()).unwrap(),
        encoding,
        decoding: decoding.to_vec(),
        time: (0..30).map(|i| 20.0 + 0.1 * f64::from(i)).collect(),
        weights: None,
        position_std: None,
        waveform_std: None,
        decode_trajectory: None,
        exact_log_likelihood: None,
        reference_log_likelihood: None,
        reference_local_log_likelihood: None,
        left_out: Vec::new(),
    }
}

#[test]
fn odd_sessions_equal_f64_sums() {
    for d in [1, 2, 3] {
        let s = odd_session(d);
        let want = oracle(&s, 1.0);
        assert!(want.iter().any(|l| *l < -300.0), "some places must lie far from everything");
        for device in common::devices() {
            let got = computed(&device, &s, &LikelihoodOptions::default());
            for ((at, got), want) in got.indexed_iter().zip(&want) {
                // f32 results, and squared distances in f32: 1e-6 of what is added.
                let tolerance = 1e-4 + 2e-6 * want.abs();
                let d = (f64::from(*got) - want).abs();
                assert!(d <= tolerance, "{} {at:?}: {got} for {want}", device.name());
            }
        }
    }
}

#[test]
fn a_time_bin_size_scales_the_ground_process_alone() {
    let s = odd_session(1);
    // Position samples are 50 ms apart.
    let options = LikelihoodOptions { time_bin_size: Some(0.1), ..LikelihoodOptions::default() };
    let want = oracle(&s, 2.0);
    let got = computed(&common::devices()[0], &s, &options);
    let worst = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs() / (1.0 + w.abs())).fold(0.0, f64::max);
    assert!(worst < 1e-5, "{worst}");
    assert!(
        Likelihood::new(
            &common::devices()[0],
            &fitted(&s),
            &bins(&s),
            &s.decoding,
            &LikelihoodOptions { time_bin_size: Some(-1.0), ..LikelihoodOptions::default() }
        )
        .is_err()
    );
}

fn bits(a: &Array2<f32>) -> Vec<u32> {
    a.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn the_same_bits_whatever_the_chunks_and_the_budget() {
    let sessions: Vec<Session> =
        [odd_session(1), odd_session(2)].into_iter().chain(sessions().pop().map(|(_, s)| s)).collect();
    for device in common::devices() {
        for s in &sessions {
            let whole = bits(&computed(&device, s, &LikelihoodOptions::default()));
            // A run costs some milliseconds on a software driver: few of them for the long session.
            let chunks: &[usize] = if s.time.len() > 100 { &[97, 1000] } else { &[1, 2, 7, 29] };
            for &chunk in chunks {
                let options = LikelihoodOptions { chunk_bins: Some(chunk), ..LikelihoodOptions::default() };
                assert!(whole == bits(&computed(&device, s, &options)), "{} in chunks of {chunk}", device.name());
            }
        }
    }
    // A tight budget makes small chunks.
    let s = &sessions[1];
    let model = fitted(s);
    let whole = computed(&common::devices()[0], s, &LikelihoodOptions::default());
    let open = |budget| {
        let options = DeviceOptions { choice: Choice::Cpu, memory_budget: Some(budget), ..DeviceOptions::default() };
        Device::open(&options).unwrap()
    };
    let none = Likelihood::new(&open(1), &model, &bins(s), &s.decoding, &LikelihoodOptions::default());
    let Err(spikewave::Error::OverBudget { least: Some(least), .. }) = none else { panic!("{none:?}") };
    let device = open(least + 1024);
    let mut likelihood =
        Likelihood::new(&device, &model, &bins(s), &s.decoding, &LikelihoodOptions::default()).unwrap();
    assert!(likelihood.plan().chunks > 1, "{:?}", likelihood.plan());
    assert!(bits(&whole) == bits(&likelihood.to_array(&Control::default()).unwrap()));
}

#[test]
fn the_same_bits_whatever_the_threads_and_the_order_of_electrodes_and_spikes() {
    let sessions: Vec<Session> =
        [odd_session(1), odd_session(2)].into_iter().chain(sessions().pop().map(|(_, s)| s)).collect();
    for s in &sessions {
        for device in common::devices() {
            let whole = bits(&computed(&device, s, &LikelihoodOptions::default()));
            let mut turned = s.clone();
            turned.encoding.rotate_left(2);
            turned.decoding.rotate_left(2);
            assert!(whole == bits(&computed(&device, &turned, &LikelihoodOptions::default())), "electrodes");
            // Spikes in any order, as `Spikes::sorted` takes them.
            let reversed = |x: &Spikes| {
                let mut features = x.features().clone();
                features.invert_axis(Axis(0));
                Spikes::sorted(x.times().iter().rev().copied().collect(), features).unwrap()
            };
            turned.encoding = turned.encoding.iter().map(reversed).collect();
            turned.decoding = turned.decoding.iter().map(reversed).collect();
            assert!(whole == bits(&computed(&device, &turned, &LikelihoodOptions::default())), "spikes");
        }
        let threads = [1, 2, 3].map(|n| {
            let options = DeviceOptions { choice: Choice::Cpu, threads: Some(n), ..DeviceOptions::default() };
            bits(&computed(&Device::open(&options).unwrap(), s, &LikelihoodOptions::default()))
        });
        assert!(threads[0] == threads[1] && threads[1] == threads[2]);
    }
}

/// One time bin with more spikes than a chunk has room for.
#[test]
fn a_crowded_time_bin_is_cut_over_several_runs() {
    let mut s = odd_session(1);
    s.time = vec![20.0, 22.9, 22.99];
    let device = &common::devices()[0];
    let whole = computed(device, &s, &LikelihoodOptions::default());
    let model = fitted(&s);
    // The least budget has room for 128 spikes, and the first time bin has more.
    let refused = |budget| {
        let options = DeviceOptions { choice: Choice::Cpu, memory_budget: Some(budget), ..DeviceOptions::default() };
        let device = Device::open(&options).unwrap();
        Likelihood::new(&device, &model, &bins(&s), &s.decoding, &LikelihoodOptions::default()).map(|l| (device, l))
    };
    let error = refused(4096).unwrap_err();
    let spikewave::Error::OverBudget { least: Some(least), .. } = error else { panic!("{error}") };
    let (_device, mut likelihood) = refused(least).unwrap();
    assert_eq!(likelihood.plan().chunk_spikes, 128);
    assert!(likelihood.plan().n_spikes > 128 && likelihood.plan().chunks > 1, "{:?}", likelihood.plan());
    assert!(bits(&whole) == bits(&likelihood.to_array(&Control::default()).unwrap()));
    assert!(refused(least - 1).is_err());
}

#[test]
fn a_run_goes_on_from_any_time_bin() {
    let s = odd_session(2);
    let device = &common::devices()[0];
    let whole = computed(device, &s, &LikelihoodOptions::default());
    let options = LikelihoodOptions { chunk_bins: Some(4), ..LikelihoodOptions::default() };
    let mut likelihood = Likelihood::new(device, &fitted(&s), &bins(&s), &s.decoding, &options).unwrap();
    let mut rows = Vec::new();
    likelihood
        .run(13, &Control::default(), &mut |first, values| {
            assert_eq!(first, 13 + rows.len() / whole.ncols());
            rows.extend_from_slice(values);
            Ok(())
        })
        .unwrap();
    assert!(rows[..] == whole.as_slice().unwrap()[13 * whole.ncols()..]);
}

#[test]
fn a_grid_keeps_to_its_tolerance() {
    for device in common::devices() {
        for (name, s) in sessions() {
            for tolerance in [1e-2, 1e-3, 1e-4] {
                let options =
                    LikelihoodOptions { method: Method::Gridded { tolerance }, ..LikelihoodOptions::default() };
                let model = fitted(&s);
                let mut likelihood = Likelihood::new(&device, &model, &bins(&s), &s.decoding, &options).unwrap();
                let grid = likelihood.plan().grid.expect("a grid within the tolerance");
                assert!(grid.error <= tolerance && grid.samples > 50, "{grid:?}");
                let got = likelihood.to_array(&Control::default()).unwrap();
                let (max, _) = differences(&got, s.exact_log_likelihood.as_ref().unwrap());
                println!("{} {name} {tolerance:.0e}: {grid:?}, max {max:.1e}", device.name());
                // A row may have several spikes.
                assert!(max <= 4.0 * tolerance, "{} {name}: {max}", device.name());
            }
        }
    }
}

/// One electrode with next to no spikes beside one with many: every spike of both is within the tolerance.
#[test]
fn a_grid_keeps_to_its_tolerance_on_rare_electrodes() {
    let mut random = Random::new(3, 1);
    let time: Vec<f64> = (0..6000).map(|i| f64::from(i) * 0.02).collect();
    let position = Array2::from_shape_fn((6000, 1), |(i, _)| 150.0 - 150.0 * (0.3 * time[i]).cos());
    let trajectory = Trajectory::new(time, position).unwrap();
    // Marks say where: far places are deep.
    let mut spikes = |n: usize, from: f64, to: f64| {
        let mut times: Vec<f64> = (0..n).map(|_| from + (to - from) * random.uniform()).collect();
        times.sort_by(f64::total_cmp);
        let at = trajectory.at(&times);
        let features =
            Array2::from_shape_fn((n, 3), |(i, k)| (at[[i, 0]] * [2.0, 1.0, -1.0][k] + 15.0 * random.normal()) as f32);
        Spikes::new(times, features).unwrap()
    };
    let s = Session {
        encoding: vec![spikes(6000, 0.0, 100.0), spikes(12, 0.0, 100.0)],
        decoding: vec![spikes(600, 100.0, 119.0), spikes(3, 100.0, 119.0)],
        environment: Environment::new(Array2::from_shape_fn((150, 1), |(i, _)| 2.0 * i as f64), vec![true; 150])
            .unwrap(),
        time: (0..20_000).map(|i| 100.0 + 0.001 * f64::from(i)).collect(),
        trajectory,
        ..odd_session(1)
    };
    let device = &common::devices()[0];
    let exact = computed(device, &s, &LikelihoodOptions::default());
    for tolerance in [1e-2, 1e-3, 1e-4] {
        let options = LikelihoodOptions { method: Method::Gridded { tolerance }, ..LikelihoodOptions::default() };
        let mut likelihood = Likelihood::new(device, &fitted(&s), &bins(&s), &s.decoding, &options).unwrap();
        assert!(likelihood.plan().grid.is_some());
        let gridded = likelihood.to_array(&Control::default()).unwrap();
        let of_row = |t: f64| {
            let all = s.decoding.iter().flat_map(Spikes::times);
            all.filter(|x| **x >= t && **x < t + 0.001).count()
        };
        for (t, (a, b)) in gridded.rows().into_iter().zip(exact.rows()).enumerate() {
            let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Rounding of the sums comes on top.
            let allowed = tolerance * of_row(s.time[t]) as f64 + 5e-5;
            assert!(f64::from(worst) <= allowed, "{tolerance}: {worst} in row {t}, {:?}", likelihood.plan().grid);
        }
    }
}

/// Tracking was lost while the animal jumped, and a spike lies in between: hardly any occupancy, a huge intensity.
#[test]
fn a_spike_where_the_animal_hardly_was_is_no_error() {
    let time: Vec<f64> = (0..2000).map(|i| f64::from(i) * 0.02 + if i < 1000 { 0.0 } else { 1.0 }).collect();
    let position = Array2::from_shape_fn((2000, 1), |(i, _)| if i < 1000 { 10.0 } else { 152.0 } + (i % 7) as f64);
    let spikes = |times: &[f64]| Spikes::new(times.to_vec(), Array2::from_elem((times.len(), 2), 50.0)).unwrap();
    let s = Session {
        trajectory: Trajectory::new(time, position).unwrap(),
        encoding: vec![spikes(&[1.0, 20.45, 30.0])],
        decoding: vec![spikes(&[41.5])],
        environment: Environment::new(Array2::from_shape_fn((80, 1), |(i, _)| 2.0 * i as f64), vec![true; 80]).unwrap(),
        time: (0..5).map(|i| 41.0 + 0.2 * f64::from(i)).collect(),
        ..odd_session(1)
    };
    let want = oracle(&s, 1.0);
    assert!(want.iter().any(|l| *l < -1e15));
    for device in common::devices() {
        let got = computed(&device, &s, &LikelihoodOptions::default());
        let off = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs() / (1.0 + w.abs())).fold(0.0, f64::max);
        assert!(off < 1e-5, "{}: {off}", device.name());
    }
}

#[test]
fn a_tolerance_that_no_grid_reaches_is_computed_exactly_and_says_so() {
    let s = odd_session(1);
    let device = &common::devices()[0];
    let options = LikelihoodOptions { method: Method::Gridded { tolerance: 1e-7 }, ..LikelihoodOptions::default() };
    let mut likelihood = Likelihood::new(device, &fitted(&s), &bins(&s), &s.decoding, &options).unwrap();
    assert_eq!((likelihood.plan().method, likelihood.plan().grid), (Method::Exact, None));
    let exact = computed(device, &s, &LikelihoodOptions::default());
    assert!(bits(&exact) == bits(&likelihood.to_array(&Control::default()).unwrap()));
    // Three dimensions of position have no grid at all.
    let s = odd_session(3);
    let error = Likelihood::new(device, &fitted(&s), &bins(&s), &s.decoding, &options).unwrap_err();
    assert!(error.to_string().contains("one or two dimensions"), "{error}");
}

#[test]
fn gridded_bits_do_not_depend_on_chunks_or_threads() {
    for s in [odd_session(1), odd_session(2)] {
        let gridded = |device: &Device, chunk_bins| {
            let options = LikelihoodOptions {
                method: Method::Gridded { tolerance: 5e-2 },
                chunk_bins,
                ..LikelihoodOptions::default()
            };
            let mut likelihood = Likelihood::new(device, &fitted(&s), &bins(&s), &s.decoding, &options).unwrap();
            assert!(likelihood.plan().grid.is_some());
            bits(&likelihood.to_array(&Control::default()).unwrap())
        };
        for device in common::devices() {
            let whole = gridded(&device, None);
            assert!([1, 7, 29].into_iter().all(|chunk| whole == gridded(&device, Some(chunk))), "{}", device.name());
        }
        let threads = [1, 2, 3].map(|n| {
            let options = DeviceOptions { choice: Choice::Cpu, threads: Some(n), ..DeviceOptions::default() };
            gridded(&Device::open(&options).unwrap(), None)
        });
        assert!(threads[0] == threads[1] && threads[1] == threads[2]);
    }
}

#[test]
fn the_plan_is_what_is_used() {
    for (_, s) in sessions() {
        for method in [Method::Exact, Method::Gridded { tolerance: 1e-3 }] {
            let device = Device::open(&DeviceOptions::new(Choice::Cpu)).unwrap();
            let options = LikelihoodOptions { method, ..LikelihoodOptions::default() };
            let mut likelihood = Likelihood::new(&device, &fitted(&s), &bins(&s), &s.decoding, &options).unwrap();
            let planned = likelihood.plan().device_bytes as f64;
            let report = likelihood.run(0, &Control::default(), &mut |_, _| Ok(())).unwrap();
            let off = report.peak_bytes as f64 / planned - 1.0;
            assert!(off.abs() <= 0.1, "{method:?}: {} used, {planned} planned", report.peak_bytes);
        }
    }
}

#[test]
fn cancelling_stops_between_chunks_and_a_sink_that_fails_is_heard() {
    let s = odd_session(1);
    let device = &common::devices()[0];
    let options = LikelihoodOptions { chunk_bins: Some(4), ..LikelihoodOptions::default() };
    let mut likelihood = Likelihood::new(device, &fitted(&s), &bins(&s), &s.decoding, &options).unwrap();
    let control = Control::default();
    let mut seen = 0;
    let error = likelihood
        .run(0, &control, &mut |_, _| {
            seen += 1;
            control.cancel.cancel();
            Ok(())
        })
        .unwrap_err();
    assert_eq!((error, seen), (spikewave::Error::Cancelled, 1));
    let full = spikewave::Error::file("out.npy", "the disk is full");
    let error = likelihood.run(0, &Control::default(), &mut |_, _| Err(full.clone())).unwrap_err();
    assert_eq!(error, full);
    // And it runs again.
    likelihood.to_array(&Control::default()).unwrap();
}
