//! The fitted model beside the reference's and a plain one.

use std::path::Path;

use ndarray::{Array2, Axis};
use proptest::prelude::*;
use spikewave::decode::{Bandwidth, EPS, EncodingModel, Environment, FitOptions, Spikes, Trajectory};
use spikewave::io::npz::{self, Npz};
use spikewave::random::Random;

/// What a decoder is given.
struct Session {
    trajectory: Trajectory,
    spikes: Vec<Spikes>,
    environment: Environment,
}

impl Session {
    fn read(npz: &mut Npz) -> Self {
        let electrodes = (0..).take_while(|e| npz.has(&format!("encoding_marks_{e}"))).count();
        let spikes = (0..electrodes)
            .map(|e| {
                let times = npz.vector(&format!("encoding_spike_times_{e}")).unwrap();
                Spikes::new(times, npz.matrix(&format!("encoding_marks_{e}")).unwrap()).unwrap()
            })
            .collect();
        let (time, position) = (npz.vector("position_time").unwrap(), npz.matrix("position").unwrap());
        let (centers, interior) = (npz.matrix("place_bin_centers").unwrap(), npz.vector("is_track_interior").unwrap());
        Self {
            trajectory: Trajectory::new(time, position).unwrap(),
            spikes,
            environment: Environment::new(centers, interior).unwrap(),
        }
    }

    /// A walk in a box of `d` dimensions, 30 samples a second; electrode e has `spikes[e]` spikes and 2 + e % 3 marks.
    fn walk(samples: usize, d: usize, spikes: &[usize], seed: u64) -> Self {
        let mut random = Random::new(seed, 0);
        let mut x = vec![50.0; d];
        let mut position = Array2::zeros((samples, d));
        for mut row in position.rows_mut() {
            for k in 0..d {
                x[k] = (x[k] + 3.0 * random.normal()).clamp(0.0, 100.0);
                row[k] = x[k];
            }
        }
        let time: Vec<f64> = (0..samples).map(|i| i as f64 / 30.0).collect();
        let end = time[samples - 1];
        let spikes = spikes
            .iter()
            .enumerate()
            .map(|(e, n)| {
                let times = (0..*n).map(|_| end * random.uniform()).collect();
                let marks = Array2::from_shape_simple_fn((*n, 2 + e % 3), || (100.0 + 40.0 * random.normal()) as f32);
                Spikes::sorted(times, marks).unwrap()
            })
            .collect();
        let side: usize = if d == 1 { 60 } else { 9 };
        let bins = side.pow(d as u32);
        let centers =
            Array2::from_shape_fn((bins, d), |(p, k)| 110.0 * ((p / side.pow(k as u32)) % side) as f64 / side as f64);
        let environment = Environment::new(centers, (0..bins).map(|p| p % 11 != 3).collect()).unwrap();
        Self { trajectory: Trajectory::new(time, position).unwrap(), spikes, environment }
    }

    fn fit(&self, options: &FitOptions) -> EncodingModel {
        EncodingModel::fit(&self.trajectory, &self.spikes, &self.environment, options).unwrap()
    }
}

/// Occupancy and intensity as their formulas stand, in f64.
fn oracle(session: &Session, std: &[f64], weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let density = |x: &Array2<f64>, w: &[f64], p: ndarray::ArrayView1<f64>| -> f64 {
        let kernel = |i: usize| -> f64 {
            let gauss = |k: usize| {
                let z = (p[k] - x[[i, k]]) / std[k];
                (-0.5 * z * z).exp() / (std[k] * (2.0 * std::f64::consts::PI).sqrt())
            };
            w[i] * (0..std.len()).map(gauss).product::<f64>()
        };
        (0..x.nrows()).map(kernel).sum::<f64>() / w.iter().sum::<f64>()
    };
    let n = session.trajectory.time().len();
    let weight = |i: usize| weights.get(i).copied().unwrap_or(1.0);
    let all: Vec<f64> = (0..n).map(weight).collect();
    let column = Array2::from_shape_fn((n, 1), |(i, _)| weight(i));
    let weight_at = Trajectory::new(session.trajectory.time().to_vec(), column).unwrap();
    let electrodes: Vec<_> = session
        .spikes
        .iter()
        .map(|s| (session.trajectory.at(s.times()), weight_at.at(s.times()).into_raw_vec_and_offset().0))
        .collect();
    let mut occupancy = Vec::new();
    let mut intensity = Vec::new();
    for p in session.environment.interior().rows() {
        let occ = density(session.trajectory.position(), &all, p);
        let term = |(x, w): &(Array2<f64>, Vec<f64>)| {
            let rate = w.iter().sum::<f64>() / all.iter().sum::<f64>();
            let gpi = if w.is_empty() { 0.0 } else { density(x, w, p) };
            if occ > 0.0 { (rate * gpi / occ).max(EPS) } else { EPS }
        };
        occupancy.push(occ);
        intensity.push(electrodes.iter().map(term).sum());
    }
    (occupancy, intensity)
}

#[track_caller]
fn close(found: &[f64], want: &[f64], relative: f64) {
    assert_eq!(found.len(), want.len());
    for (p, (a, b)) in found.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= relative * b.abs(), "{p}: {a:e} and {b:e}, off by {:e}", (a - b).abs() / b.abs());
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Everything that sums give, to the bit, by electrode in canonical order.
fn fingerprint(model: &EncodingModel) -> Vec<Vec<u64>> {
    let mut all = vec![bits(model.occupancy()), bits(model.summed_ground_process_intensity())];
    let between = model.local_rates(model.position().slice(ndarray::s![..5, ..])).unwrap();
    all.extend([bits(&between.occupancy), bits(&between.ground_process_intensity)]);
    for e in model.canonical_order() {
        let electrode = &model.electrodes()[e];
        all.push(bits(electrode.positions().as_slice().unwrap()));
        all.push(bits(electrode.weights()));
        all.push(electrode.features().iter().map(|x| u64::from(x.to_bits())).collect());
        all.push(vec![electrode.mean_rate().to_bits()]);
    }
    all
}

#[test]
fn it_is_the_model_of_the_reference() {
    let root = std::env::var("SPIKEWAVE_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into());
    let root = Path::new(&root).join("kde");
    if !root.exists() {
        eprintln!("skipped: {} is not there; set SPIKEWAVE_DATA to the folder that holds kde/", root.display());
        return;
    }
    for name in ["box_2d_4d", "track_1d_10d", "track_1d_ragged"] {
        let mut npz = Npz::open(root.join(format!("{name}.npz"))).unwrap();
        let session = Session::read(&mut npz);
        let model = session.fit(&FitOptions::default());
        let mut want = |name: &str| npz.vector::<f64>(name).unwrap();
        let (occupancy, intensity) = oracle(&session, &[6.0, 6.0][..session.environment.dims()], &[]);
        close(model.occupancy(), &occupancy, 1e-6);
        close(model.summed_ground_process_intensity(), &intensity, 1e-6);
        // The reference sums 30,000 to 40,000 kernels in f32, and is itself off by up to 2.7e-5.
        close(model.occupancy(), &want("reference_occupancy"), 3e-5);
        let intensity = want("reference_summed_ground_process_intensity");
        close(model.summed_ground_process_intensity(), &intensity, 3e-5);
        for (e, spikes) in session.spikes.iter().enumerate() {
            assert_eq!(model.encoding_positions(e).unwrap().nrows(), spikes.len());
            assert_eq!(model.mean_rates()[e], spikes.len() as f64 / session.trajectory.time().len() as f64);
        }
    }
}

#[test]
fn it_is_what_the_formulas_say_in_one_two_and_three_dimensions() {
    // (samples, spikes): as they stand, and enough of them for a lattice.
    for d in [1, 2, 3] {
        for (samples, spikes) in [(60, [10, 0, 25]), (6000, [100, 1, 2000])] {
            let session = Session::walk(samples, d, &spikes, 3);
            let std = [6.0, 4.5, 9.0][..d].to_vec();
            let weights: Vec<f64> = (0..samples).map(|i| f64::from((i / 10 % 4) as u8)).collect();
            for weights in [None, Some(weights)] {
                let options =
                    FitOptions { position_std: std.clone().into(), weights: weights.clone(), ..FitOptions::default() };
                let model = session.fit(&options);
                let (occupancy, intensity) = oracle(&session, &std, weights.as_deref().unwrap_or(&[]));
                close(model.occupancy(), &occupancy, 1e-6);
                close(model.summed_ground_process_intensity(), &intensity, 1e-6);
            }
        }
    }
}

/// occ and Σ_e rate_e·gpi_e of a fitted model, every kernel evaluated.
fn local_oracle(model: &EncodingModel, points: &Array2<f64>) -> (Vec<f64>, Vec<f64>) {
    let kernel = |x: ndarray::ArrayView1<f64>, p: ndarray::ArrayView1<f64>| -> f64 {
        let gauss = |(k, std): (usize, &f64)| {
            let z = (p[k] - x[k]) / std;
            (-0.5 * z * z).exp() / (std * (2.0 * std::f64::consts::PI).sqrt())
        };
        model.position_std().iter().enumerate().map(gauss).product()
    };
    let sum = |x: &Array2<f64>, w: &[f64], p: ndarray::ArrayView1<f64>| -> f64 {
        (0..x.nrows()).map(|i| w.get(i).unwrap_or(&1.0) * kernel(x.row(i), p)).sum()
    };
    let n = model.position().nrows();
    let total = if model.weights().is_empty() { n as f64 } else { model.weights().iter().sum() };
    let each = |p: ndarray::ArrayView1<f64>| {
        let occupancy = sum(model.position(), model.weights(), p) / total;
        let ground: f64 = model.electrodes().iter().map(|e| sum(e.positions(), e.weights(), p)).sum();
        (occupancy, if occupancy > 0.0 { ground / total } else { 0.0 })
    };
    points.rows().into_iter().map(each).unzip()
}

#[test]
fn rates_between_the_bins_are_the_sums_over_all_samples_and_spikes() {
    for d in [1, 2, 3] {
        for samples in [60, 8000] {
            let session = Session::walk(samples, d, &[5, 0, samples / 12], 8);
            let weights = (0..samples).map(|i| f64::from((i / 10 % 4) as u8)).collect();
            let std = [6.0, 4.5, 9.0][..d].to_vec();
            let options = FitOptions { position_std: std.into(), weights: Some(weights), ..FitOptions::default() };
            let model = session.fit(&options);
            let mut random = Random::new(1, 1);
            let mut points = Array2::from_shape_simple_fn((200, d), || -40.0 + 180.0 * random.uniform());
            // Far outside, and where even f64 ends.
            points.row_mut(0).fill(220.0);
            points.row_mut(1).fill(-190.0);
            points.row_mut(2).fill(1e9);
            let (occupancy, ground) = local_oracle(&model, &points);
            let found = model.local_rates(points.view()).unwrap();
            close(&found.occupancy, &occupancy, 1e-6);
            close(&found.ground_process_intensity, &ground, 1e-6);
            assert_eq!((found.occupancy[2], found.ground_process_intensity[2]), (0.0, 0.0));
            assert_eq!(model.local_bytes() > 0, d == 1 || (d == 2 && samples == 8000));
            // A point has the same bits in any company.
            let alone = model.local_rates(points.slice(ndarray::s![7..8, ..])).unwrap();
            assert_eq!(bits(&alone.occupancy), bits(&found.occupancy[7..8]));
            assert_eq!(bits(&alone.ground_process_intensity), bits(&found.ground_process_intensity[7..8]));
            let said = model.local_rates(Array2::zeros((1, d + 1)).view()).unwrap_err().to_string();
            assert!(said.contains(&format!("fitted with {d}")), "{said}");
            points[[3, 0]] = f64::NAN;
            assert!(model.local_rates(points.view()).unwrap_err().to_string().contains("row 3 has NaN"));
        }
    }
}

#[test]
fn a_saved_model_comes_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.npz");
    for (d, weights) in [(1, None), (2, Some((0..900).map(|i| 1.0 + f64::from(i)).collect()))] {
        let session = Session::walk(900, d, &[80, 0, 50], 8);
        let waveform_std = vec![vec![20.0, 21.0], vec![1.0; 3], vec![24.0, 5.0, 1e-3, 7.0]].into();
        let model = session.fit(&FitOptions { weights, waveform_std, ..FitOptions::default() });
        model.save(&path).unwrap();
        let loaded = EncodingModel::load(&path).unwrap();
        assert_eq!(loaded, model);
        assert_eq!(fingerprint(&loaded), fingerprint(&model));
        assert_eq!(bits(loaded.position_std()), bits(model.position_std()));
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_no_whole_model_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.npz");
    Session::walk(300, 1, &[30, 20], 8).fit(&FitOptions::default()).save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = EncodingModel::load(&path).unwrap_err();
        assert!(matches!(&error, spikewave::Error::File { path: p, .. } if *p == path), "{error:?}");
        error.to_string()
    };
    for part in 1..20 {
        refused(&whole[..whole.len() * part / 20]);
    }
    refused(&whole[..whole.len() - 1]);
    // One bit of the spikes' positions.
    let mut changed = whole.clone();
    let name = b"encoding_positions_1.npy";
    let at = changed.windows(name.len()).position(|w| w == name).unwrap();
    changed[at + name.len() + 40] ^= 4;
    let said = refused(&changed);
    assert!(said.contains("encoding_positions_1"), "{said}");

    let other = |fill: &dyn Fn(&mut npz::Writer<'_>)| {
        npz::write(&path, |w| {
            fill(w);
            Ok(())
        })
        .unwrap();
        refused(&std::fs::read(&path).unwrap())
    };
    let said = other(&|w| w.array("position", &[2], &[1.0, 2.0]).unwrap());
    assert!(said.contains("not an encoding model"), "{said}");
    let said = other(&|w| w.array("encoding_model_version", &[], &[99i64]).unwrap());
    assert!(said.contains("version 99") && said.contains("version 1"), "{said}");
    assert!(EncodingModel::load(folder.path().join("absent")).unwrap_err().to_string().contains("absent"));
    let error = Session::walk(30, 1, &[3], 8).fit(&FitOptions::default()).save(folder.path().join("no/model.npz"));
    assert!(error.unwrap_err().to_string().contains("choose a folder"));
}

/// Arrays that a hand could have written: each one wrong in one respect.
#[test]
fn arrays_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, changed) = (folder.path().join("model.npz"), folder.path().join("changed.npz"));
    Session::walk(300, 2, &[30, 20], 8).fit(&FitOptions::default()).save(&path).unwrap();
    let with = |replaced: &str, shape: &[usize], value: f64| {
        npz::write(&changed, |w| {
            let mut npz = Npz::open(&path)?;
            for name in npz.names().map(str::to_owned).collect::<Vec<_>>() {
                let integer = ["encoding_model_version", "n_dropped"].contains(&&*name);
                if name == replaced {
                    w.array(&name, shape, &vec![value; shape.iter().product()])?;
                } else if integer {
                    w.ndarray(&name, &npz.array::<i64>(&name)?)?;
                } else if name == "is_track_interior" {
                    w.ndarray(&name, &npz.array::<bool>(&name)?)?;
                } else {
                    w.ndarray(&name, &npz.array::<f64>(&name)?)?;
                }
            }
            Ok(())
        })
        .unwrap();
        EncodingModel::load(&changed)
    };
    assert_eq!(with("", &[], 0.0).unwrap(), EncodingModel::load(&path).unwrap());
    for (name, shape, value) in [
        ("position_std", &[3][..], 6.0),
        ("position_std", &[2], -6.0),
        ("occupancy", &[5], 1.0),
        ("summed_ground_process_intensity", &[1], 1.0),
        ("position", &[300, 1], 1.0),
        ("position", &[0, 2], 1.0),
        ("weights", &[299], 1.0),
        ("sample_period", &[1], f64::NAN),
        ("mean_rates", &[1], 0.1),
        ("encoding_positions_0", &[29, 2], 1.0),
        ("encoding_positions_1", &[20, 1], 1.0),
        ("encoding_positions_1", &[20, 2], f64::NAN),
        ("encoding_weights_1", &[19], 1.0),
        ("encoding_weights_1", &[20], 0.0),
        ("encoding_spike_waveform_features_0", &[30, 2], f64::NAN),
        ("waveform_std_0", &[2], 0.0),
        ("waveform_std_0", &[3], 24.0),
    ] {
        let said = with(name, shape, value).unwrap_err().to_string();
        assert!(said.contains(name) && said.contains("changed.npz"), "{name} {shape:?} {value}: {said}");
    }
}

#[test]
fn places_that_were_never_near_have_no_nan() {
    let mut session = Session::walk(500, 1, &[40, 0], 4);
    let centers = ndarray::array![[50.0], [200.0], [330.0], [400.0], [1e5], [-1e300]];
    session.environment = Environment::new(centers, vec![true; 6]).unwrap();
    let model = session.fit(&FitOptions::default());
    let (occupancy, intensity) = oracle(&session, &[6.0], &[]);
    assert_eq!(model.occupancy()[4..], [0.0, 0.0]);
    close(&model.occupancy()[..2], &occupancy[..2], 1e-6);
    close(&model.summed_ground_process_intensity()[..2], &intensity[..2], 1e-6);
    assert_eq!(model.summed_ground_process_intensity()[4..], [2.0 * EPS, 2.0 * EPS]);
    assert!(model.summed_ground_process_intensity().iter().all(|x| (*x as f32).is_finite() && *x > 0.0));
}

#[test]
fn bins_that_were_never_visited_are_counted() {
    let mut session = Session::walk(5000, 1, &[40], 4);
    let last = session.trajectory.position().iter().copied().fold(0.0, f64::max);
    // Many samples are near the end of the track: their kernels add up to more than that of one.
    let centers = ndarray::array![[50.0], [last + 35.9], [last + 36.1], [last + 40.0], [1e5]];
    session.environment = Environment::new(centers.clone(), vec![true, true, true, true, true]).unwrap();
    assert_eq!(session.fit(&FitOptions::default()).n_unvisited(), 3);
    let weights = session.trajectory.position().iter().map(|x| f64::from(u8::from(*x < 60.0))).collect();
    let weighted = FitOptions { weights: Some(weights), ..FitOptions::default() };
    assert_eq!(session.fit(&weighted).n_unvisited(), 4);
    // Elsewhere.
    session.environment = Environment::new(centers + 1e4, vec![true; 5]).unwrap();
    let refused =
        EncodingModel::fit(&session.trajectory, &session.spikes, &session.environment, &FitOptions::default());
    assert!(refused.unwrap_err().to_string().contains("in cm and in the same frame?"));
}

#[test]
fn a_session_without_a_spike_is_a_model() {
    let session = Session::walk(500, 2, &[0, 0, 0], 4);
    let model = session.fit(&FitOptions::default());
    assert!(model.summed_ground_process_intensity().iter().all(|x| *x == EPS + EPS + EPS));
    assert_eq!(model.mean_rates(), [0.0; 3]);
    assert_eq!(model.encoding_spike_waveform_features(2).unwrap().dim(), (0, 4));
    assert_eq!(model.encoding_positions(3), None);
}

#[test]
fn spikes_outside_the_session_and_without_weight_are_dropped() {
    let trajectory = Trajectory::new(vec![1.0, 2.0, 3.0], ndarray::array![[0.0], [10.0], [20.0]]).unwrap();
    let times = vec![0.999, 1.0, 1.5, 2.5, 3.0, 3.001];
    let spikes = [Spikes::new(times, Array2::from_shape_fn((6, 1), |(i, _)| -(i as f32))).unwrap()];
    let environment = Environment::new(ndarray::array![[5.0]], vec![true]).unwrap();
    let fit = |weights| {
        let options = FitOptions { weights, ..FitOptions::default() };
        EncodingModel::fit(&trajectory, &spikes, &environment, &options).unwrap()
    };
    let model = fit(None);
    assert_eq!(model.electrodes()[0].n_dropped(), 2);
    assert_eq!(model.encoding_positions(0).unwrap(), &ndarray::array![[0.0], [5.0], [15.0], [20.0]]);
    assert_eq!(model.mean_rates(), [4.0 / 3.0]);
    let model = fit(Some(vec![0.0, 0.0, 6.0]));
    assert_eq!(model.encoding_positions(0).unwrap(), &ndarray::array![[15.0], [20.0]]);
    assert_eq!(model.encoding_spike_waveform_features(0).unwrap(), &ndarray::array![[-3.0f32], [-4.0]]);
    assert_eq!((model.electrodes()[0].weights(), model.weights()), (&[0.5, 1.0][..], &[0.0, 0.0, 1.0][..]));
    assert_eq!((model.electrodes()[0].n_dropped(), model.mean_rates()), (4, vec![1.5]));
}

#[test]
fn threads_and_orders_leave_no_trace() {
    for d in [1, 2, 3] {
        let session = Session::walk(40_000, d, &[300, 0, 5000, 0, 300], 6);
        let weights: Vec<f64> = (0..40_000).map(|i| 1.0 + f64::from((i % 5) as u8)).collect();
        let options = FitOptions { weights: Some(weights), ..FitOptions::default() };
        let on = |threads: usize, session: &Session| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| fingerprint(&session.fit(&options)))
        };
        let want = on(1, &session);
        assert_eq!(on(2, &session), want);
        let order = [3, 2, 0, 4, 1];
        let permuted = Session { spikes: order.map(|e| session.spikes[e].clone()).to_vec(), ..session };
        assert_eq!(on(2, &permuted), want);
    }
}

#[test]
fn spikes_at_the_same_time_may_come_in_any_order() {
    let session = Session::walk(200, 1, &[0], 6);
    let marks = ndarray::array![[3.0f32, 1.0], [1.0, 2.0], [1.0, -2.0], [2.0, 2.0]];
    let model = |order: &[usize]| {
        let spikes = Spikes::new(vec![2.0, 3.0, 3.0, 3.0], marks.select(Axis(0), order)).unwrap();
        fingerprint(&Session { spikes: vec![spikes], ..Session::walk(200, 1, &[0], 6) }.fit(&FitOptions::default()))
    };
    assert_eq!(session.spikes.len(), 1);
    assert_eq!(model(&[0, 1, 2, 3]), model(&[0, 3, 1, 2]));
}

#[test]
fn what_cannot_be_fitted_is_refused_in_a_sentence() {
    let session = Session::walk(50, 2, &[3, 4], 7);
    let refused = |options: FitOptions| {
        EncodingModel::fit(&session.trajectory, &session.spikes, &session.environment, &options)
            .unwrap_err()
            .to_string()
    };
    let position = |std: Bandwidth| refused(FitOptions { position_std: std, ..FitOptions::default() });
    let waveform = |std: Bandwidth| refused(FitOptions { waveform_std: std, ..FitOptions::default() });
    let weights = |w: Vec<f64>| refused(FitOptions { weights: Some(w), ..FitOptions::default() });
    for (said, expected) in [
        (position(0.0.into()), "invalid position_std: 0 in dimension 0 of a position; must be positive"),
        (position(vec![6.0, -1.0].into()), "-1 in dimension 1"),
        (position(f64::NAN.into()), "NaN in dimension 0"),
        (position(f64::INFINITY.into()), "inf in dimension 0"),
        (position(vec![6.0].into()), "1 values for a position with 2 dimensions"),
        (position(vec![vec![6.0]].into()), "share the positions"),
        (position(1e-200.into()), "as narrow or wide"),
        (waveform(vec![24.0, 24.0].into()), "2 values for the marks of electrode 1 with 3 dimensions"),
        (waveform(vec![vec![24.0; 2], vec![24.0, 0.0, 24.0]].into()), "0 in dimension 1 of the marks of electrode 1"),
        (waveform(vec![vec![24.0; 2]].into()), "for 1 electrodes, and there are 2"),
        (weights(vec![1.0; 49]), "49 values for 50 known position samples"),
        (weights(vec![-1.0; 50]), "number 0 is -1"),
        (weights([vec![1.0; 49], vec![f64::NAN]].concat()), "number 49 is NaN"),
        (weights(vec![0.0; 50]), "all are 0"),
    ] {
        assert!(said.contains(expected), "{said}");
    }
    let line = Session::walk(50, 1, &[3], 7);
    let fit = |spikes: &[Spikes], environment: &Environment| {
        EncodingModel::fit(&line.trajectory, spikes, environment, &FitOptions::default()).unwrap_err().to_string()
    };
    assert!(fit(&line.spikes, &session.environment).contains("2 dimensions, and position has 1"));
    assert!(fit(&[], &line.environment).contains("no electrode"));

    let model = session.fit(&FitOptions::default());
    assert!(model.check_spikes(&session.spikes).is_ok());
    let said = model.check_spikes(&session.spikes[..1]).unwrap_err().to_string();
    assert!(said.contains("1 electrodes, and the model has 2"), "{said}");
    let said = model.check_spikes(&[session.spikes[1].clone(), session.spikes[1].clone()]).unwrap_err().to_string();
    assert!(said.contains("3 features a spike on electrode 0, which was fitted with 2"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn only_the_ratios_of_weights_matter(seed in 0u64..1000, scale in 1e-200f64..1e200, power in -600i32..600) {
        let session = Session::walk(300, 1, &[20, 35], seed);
        let mut random = Random::new(seed, 9);
        let weights: Vec<f64> = (0..300).map(|_| random.uniform()).collect();
        let with = |factor: f64| {
            let weights = Some(weights.iter().map(|w| w * factor).collect());
            session.fit(&FitOptions { weights, ..FitOptions::default() })
        };
        let want = with(1.0);
        prop_assert_eq!(fingerprint(&with(2f64.powi(power))), fingerprint(&want));
        let scaled = with(scale);
        close(scaled.occupancy(), want.occupancy(), 1e-12);
        close(scaled.summed_ground_process_intensity(), want.summed_ground_process_intensity(), 1e-12);
        let constant = session.fit(&FitOptions { weights: Some(vec![scale; 300]), ..FitOptions::default() });
        prop_assert_eq!(constant, session.fit(&FitOptions::default()));
    }

    #[test]
    fn any_order_of_electrodes_gives_the_same_bits(seed in 0u64..1000, order in Just([0, 1, 2, 3]).prop_shuffle()) {
        let session = Session::walk(200, 2, &[30, 5, 0, 30], seed);
        let want = fingerprint(&session.fit(&FitOptions::default()));
        let permuted = Session { spikes: order.map(|e| session.spikes[e].clone()).to_vec(), ..session };
        prop_assert_eq!(fingerprint(&permuted.fit(&FitOptions::default())), want);
    }
}
