//! The fitted model beside the reference's and a plain one.

use std::io::Read;
use std::path::Path;

use ndarray::{Array2, Axis};
use proptest::prelude::*;
use spikewave::decode::{Bandwidth, EPS, EncodingModel, Environment, FitOptions, Spikes, Trajectory};
use spikewave::random::Random;

/// One array of an NPZ file, as f64.
fn array(path: &Path, name: &str) -> Option<Array2<f64>> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(&format!("{name}.npy")).ok()?.read_to_end(&mut bytes).unwrap();
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape: Vec<usize> = npy.shape().iter().map(|d| *d as usize).collect();
    let values: Vec<f64> = match npy.dtype().descr().as_str() {
        "'<f8'" => npy.into_vec().unwrap(),
        "'<f4'" => npy.into_vec::<f32>().unwrap().into_iter().map(f64::from).collect(),
        "'|b1'" => npy.into_vec::<bool>().unwrap().into_iter().map(|b| f64::from(u8::from(b))).collect(),
        other => panic!("{name} is {other}"),
    };
    let columns = shape.get(1).copied().unwrap_or(1);
    Some(Array2::from_shape_vec((values.len() / columns.max(1), columns), values).unwrap())
}

/// What a decoder is given.
struct Session {
    trajectory: Trajectory,
    spikes: Vec<Spikes>,
    environment: Environment,
}

impl Session {
    fn read(path: &Path) -> Self {
        let get = |name: &str| array(path, name).unwrap();
        let column = |name: &str| get(name).into_raw_vec_and_offset().0;
        let spikes = (0..)
            .map_while(|e| array(path, &format!("encoding_marks_{e}")).map(|m| (e, m)))
            .map(|(e, m)| Spikes::new(column(&format!("encoding_spike_times_{e}")), m.mapv(|x| x as f32)).unwrap())
            .collect();
        let interior = column("is_track_interior").into_iter().map(|x| x != 0.0).collect();
        Self {
            trajectory: Trajectory::new(column("position_time"), get("position")).unwrap(),
            spikes,
            environment: Environment::new(get("place_bin_centers"), interior).unwrap(),
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
        let path = root.join(format!("{name}.npz"));
        let session = Session::read(&path);
        let model = session.fit(&FitOptions::default());
        let want = |name: &str| array(&path, name).unwrap().into_raw_vec_and_offset().0;
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
