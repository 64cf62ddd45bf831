//! The state space against dense matrices in logarithms and f64, which share nothing with it but the model's definition.

use std::cell::Cell;
use std::ops::Range;

use ndarray::Array2;
use spikewave::decode::state_space::{
    DiscreteState, LogLikelihood, Model, Observation, Observed, Options, Posterior, Rows, StateSpace, Task, Transition,
    no_spike_log_likelihood,
};
use spikewave::decode::{BinEdges, Environment, Spikes, TimeBins};
use spikewave::device::{CancelToken, Control};
use spikewave::io::npy;
use spikewave::random::Random;
use spikewave::{Error, Result};

fn environment(centers: Array2<f64>, inside: impl Fn(usize) -> bool) -> Environment {
    let interior = (0..centers.nrows()).map(inside).collect();
    Environment::new(centers, interior).unwrap()
}

fn line(n: usize) -> Environment {
    environment(Array2::from_shape_fn((n, 1), |(i, _)| 1.0 + 2.0 * i as f64), |_| true)
}

/// A track with a gap, on a grid.
fn gap() -> Environment {
    environment(Array2::from_shape_fn((70, 1), |(i, _)| 2.0 * i as f64), |i| !(25..33).contains(&i))
}

/// Arms with bins of their own width, and a bin in the middle of nowhere.
fn arms() -> Environment {
    let x = |i: usize| match i {
        0..30 => 2.0 * i as f64,
        30..60 => 75.5 + 1.83 * (i - 30) as f64,
        _ => 400.0,
    };
    environment(Array2::from_shape_fn((61, 1), |(i, _)| x(i)), |_| true)
}

/// A box with a hole.
fn hole() -> Environment {
    let centers =
        Array2::from_shape_fn(
            (13 * 11, 2),
            |(i, k)| if k == 0 { 2.5 * (i / 11) as f64 } else { 3.0 * (i % 11) as f64 },
        );
    environment(centers, |i| !((4..9).contains(&(i / 11)) && (3..6).contains(&(i % 11))))
}

/// Bins on a spiral: no grid.
fn spiral() -> Environment {
    let turn = |i: usize| (0.4 * i as f64, 0.25 * i as f64);
    let x = |i: usize, k: usize| turn(i).0 * if k == 0 { turn(i).1.cos() } else { turn(i).1.sin() };
    environment(Array2::from_shape_fn((110, 2), |(i, k)| x(i, k)), |_| true)
}

/// A single interior bin among others.
fn point() -> Environment {
    environment(Array2::from_shape_fn((3, 1), |(i, _)| i as f64), |i| i == 1)
}

fn environments() -> [(&'static str, Environment); 6] {
    [("line", line(60)), ("gap", gap()), ("arms", arms()), ("hole", hole()), ("spiral", spiral()), ("point", point())]
}

struct Data {
    ll: Array2<f32>,
    local: Vec<f32>,
    no_spike: Vec<f32>,
    missing: Vec<bool>,
}

impl Data {
    fn observed<'a>(&'a self, rows: &'a mut Rows<'_>) -> Observed<'a> {
        Observed {
            non_local: rows,
            local: Some(&self.local),
            no_spike: Some(&self.no_spike),
            missing: Some(&self.missing),
        }
    }
}

/// An animal that wanders, jumps now and then, and is seen through spikes in a third of the time bins.
fn data(environment: &Environment, n_time: usize, seed: u64) -> Data {
    let centers = environment.interior();
    let bins = centers.nrows();
    let mut random = Random::new(seed, 0);
    let mut at = bins / 2;
    let (mut ll, mut local, mut no_spike) = (Array2::zeros((n_time, bins)), Vec::new(), Vec::new());
    for t in 0..n_time {
        at = if t % 23 == 11 { (random.uniform() * bins as f64) as usize } else { (at + t % 2).min(bins - 1) };
        let spikes = if random.uniform() < 0.35 { 1 + (random.uniform() * 3.0) as usize } else { 0 };
        let width = 4.0 + 8.0 * random.uniform();
        for p in 0..bins {
            let apart: f64 = centers.row(p).iter().zip(&centers.row(at)).map(|(a, b)| (a - b).powi(2)).sum();
            // A spike says at most 12 nats against a place.
            let spike = -12.0 * (1.0 - (-apart / (2.0 * width * width)).exp()) - 3.0;
            ll[[t, p]] = (spikes as f64 * spike - 0.3 + 0.1 * random.normal()) as f32;
        }
        local.push((spikes as f64 * (-8.0 + 4.0 * random.normal()) - 0.2) as f32);
        no_spike.push(-29.0 * spikes as f32);
    }
    let missing = (0..n_time).map(|t| t % 31 == 30).collect();
    Data { ll, local, no_spike, missing }
}

/// ln A by the definition of the models.
fn log_matrix(model: Model, environment: &Environment) -> (Vec<f64>, Array2<f64>) {
    let x = environment.interior();
    let p = x.nrows();
    let walk = Array2::from_shape_fn((p, p), |(i, j)| {
        let d2: f64 = x.row(i).iter().zip(&x.row(j)).map(|(a, b)| (a - b).powi(2)).sum();
        -d2 / 12.0
    });
    let row_sums: Vec<f64> = walk.rows().into_iter().map(|r| r.iter().map(|v| v.exp()).sum::<f64>().ln()).collect();
    let walk = Array2::from_shape_fn((p, p), |(i, j)| walk[[i, j]] - row_sums[i]);
    let uniform = -(p as f64).ln();
    match model {
        Model::Decoder => (vec![uniform; p], walk),
        Model::ContFrag => {
            let a = Array2::from_shape_fn((2 * p, 2 * p), |(i, j)| {
                let stay = if i / p == j / p { 0.98f64 } else { 0.02 };
                stay.ln() + if i < p && j < p { walk[[i, j]] } else { uniform }
            });
            (vec![uniform + 0.5f64.ln(); 2 * p], a)
        }
        Model::NonLocal => {
            let discrete = [
                [0.99, 0.005, 0.0025, 0.0025],
                [0.02 / 3.0, 0.98, 0.02 / 3.0, 0.02 / 3.0],
                [0.0175, 0.005, 0.96, 0.0175],
                [0.0175, 0.005, 0.0175, 0.96f64],
            ];
            let state = |i: usize| if i < 2 { i } else { 2 + (i - 2) / p };
            let a = Array2::from_shape_fn((2 + 2 * p, 2 + 2 * p), |(i, j)| {
                let d = discrete[state(i)][state(j)].ln();
                match (state(i), state(j)) {
                    (2, 2) => d + walk[[i - 2, j - 2]],
                    (_, 0 | 1) => d,
                    _ => d + uniform,
                }
            });
            let mut initial = vec![f64::NEG_INFINITY; 2 + 2 * p];
            initial[0] = 0.0;
            (initial, a)
        }
    }
}

fn log_sum(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = x.clone().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY { max } else { max + x.map(|v| (v - max).exp()).sum::<f64>().ln() }
}

struct Truth {
    filtered: Array2<f64>,
    smoothed: Array2<f64>,
    log_evidence: f64,
    best: f64,
    ll: Array2<f64>,
}

/// Forward-backward and Viterbi with the whole matrix.
fn truth(model: Model, initial: &[f64], a: &Array2<f64>, data: &Data) -> Truth {
    let (n_time, p) = data.ll.dim();
    let s = initial.len();
    let ll = Array2::from_shape_fn((n_time, s), |(t, i)| match (data.missing[t], model, i) {
        (true, ..) => 0.0,
        (_, Model::NonLocal, 0) => f64::from(data.local[t]),
        (_, Model::NonLocal, 1) => f64::from(data.no_spike[t]),
        (_, Model::NonLocal, i) => f64::from(data.ll[[t, (i - 2) % p]]),
        (_, _, i) => f64::from(data.ll[[t, i % p]]),
    });
    let mut forward = Array2::zeros((n_time, s));
    let mut best = Array2::zeros((n_time, s));
    for t in 0..n_time {
        for j in 0..s {
            let (sum, max) = if t == 0 {
                (initial[j], initial[j])
            } else {
                let from = (0..s).map(|i| forward[[t - 1, i]] + a[[i, j]]);
                (log_sum(from), (0..s).map(|i| best[[t - 1, i]] + a[[i, j]]).fold(f64::NEG_INFINITY, f64::max))
            };
            forward[[t, j]] = sum + ll[[t, j]];
            best[[t, j]] = max + ll[[t, j]];
        }
    }
    let mut backward: Array2<f64> = Array2::zeros((n_time, s));
    for t in (0..n_time - 1).rev() {
        for i in 0..s {
            backward[[t, i]] = log_sum((0..s).map(|j| a[[i, j]] + ll[[t + 1, j]] + backward[[t + 1, j]]));
        }
    }
    let posterior = |log: &Array2<f64>| {
        let norms: Vec<f64> = log.rows().into_iter().map(|r| log_sum(r.iter().copied())).collect();
        Array2::from_shape_fn(log.dim(), |(t, i)| (log[[t, i]] - norms[t]).exp())
    };
    Truth {
        filtered: posterior(&forward),
        smoothed: posterior(&(&forward + &backward)),
        log_evidence: log_sum(forward.row(n_time - 1).iter().copied()),
        best: best.row(n_time - 1).iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ll,
    }
}

fn difference(ours: &Array2<f32>, truth: &Array2<f64>) -> f64 {
    assert_eq!(ours.dim(), truth.dim());
    ours.iter()
        .zip(truth)
        .map(|(a, b)| (f64::from(*a) - b).abs())
        .fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}

fn posterior(space: &StateSpace, data: &Data, smooth: bool, options: &Options) -> Posterior {
    let mut rows = Rows::of_array(&data.ll).unwrap();
    space.posterior(&mut data.observed(&mut rows), smooth, options, &Control::default()).unwrap()
}

fn check(name: &str, model: Model, environment: &Environment, data: &Data) {
    let space = StateSpace::of_model(model, environment, None).unwrap();
    let (initial, a) = log_matrix(model, environment);
    let dense = space.transition_matrix();
    assert!(dense.iter().zip(&a).all(|(x, y)| (x - y.exp()).abs() < 1e-14), "{name}: the matrix");
    let truth = truth(model, &initial, &a, data);
    let what = format!("{name}, {}", model.name());
    for (smooth, expected) in [(false, &truth.filtered), (true, &truth.smoothed)] {
        let ours = posterior(&space, data, smooth, &Options { chunk_rows: Some(17), ..Options::default() });
        let worst = difference(&ours.posterior, expected);
        assert!(worst < 1e-6, "{what}, smooth {smooth}: {worst}");
        let evidence = (ours.log_evidence - truth.log_evidence).abs();
        assert!(evidence < 1e-9 * truth.log_evidence.abs().max(1.0), "{what}: evidence {evidence}");
        // What is derived from the posterior.
        let p = space.n_bins();
        for t in 0..expected.nrows() {
            let mut place = vec![0.0; p];
            for (k, range) in space.ranges().iter().enumerate() {
                let mass: f64 = range.clone().map(|i| expected[[t, i]]).sum();
                assert!((f64::from(ours.state_probability[[t, k]]) - mass).abs() < 1e-6);
                if space.states()[k].observation == Observation::NonLocal {
                    place.iter_mut().zip(range.clone()).for_each(|(x, i)| *x += expected[[t, i]]);
                }
            }
            let top = place.iter().copied().fold(0.0, f64::max);
            assert!(place[ours.most_probable_bin[t] as usize] >= top * (1.0 - 1e-9), "{what}, row {t}");
            let mass: f64 = place.iter().sum();
            for (d, column) in space.centers().columns().into_iter().enumerate() {
                let mean = place.iter().zip(column).map(|(w, x)| w * x).sum::<f64>() / mass;
                if mass > 1e-100 {
                    assert!((ours.mean_position[[t, d]] - mean).abs() < 1e-6 * mean.abs().max(1.0), "{what}, row {t}");
                }
            }
        }
    }
    let mut rows = Rows::of_array(&data.ll).unwrap();
    let options = Options { chunk_rows: Some(17), ..Options::default() };
    let path = space.most_likely_path(&mut data.observed(&mut rows), &options, &Control::default()).unwrap();
    let bins: Vec<usize> = path.state_bins.iter().map(|b| *b as usize).collect();
    let steps = bins.windows(2).map(|w| a[[w[0], w[1]]]).sum::<f64>();
    let probability = initial[bins[0]] + steps + bins.iter().enumerate().map(|(t, i)| truth.ll[[t, *i]]).sum::<f64>();
    for ours in [path.log_probability, probability] {
        assert!((ours - truth.best).abs() < 1e-9 * truth.best.abs().max(1.0), "{what}: path {ours} for {}", truth.best);
    }
}

#[test]
fn every_model_is_its_dense_matrix_everywhere() {
    for (name, environment) in environments() {
        let data = data(&environment, 55, 7);
        for model in Model::ALL {
            check(name, model, &environment, &data);
        }
    }
}

#[test]
fn one_time_bin_and_one_position_bin_will_do() {
    for environment in [line(60), point()] {
        let data = data(&environment, 1, 3);
        for model in Model::ALL {
            check("one time bin", model, &environment, &data);
        }
    }
}

#[test]
fn huge_negative_likelihoods_are_weighed_against_each_other() {
    let environment = line(40);
    let mut data = data(&environment, 40, 5);
    data.ll.row_mut(3).fill(-1e4);
    data.ll.row_mut(4).fill(-1e6);
    data.ll.row_mut(9).fill(-1e4);
    data.ll[[9, 20]] = -9.9e3;
    data.ll.row_mut(12).fill(-1e4);
    (data.local[12], data.no_spike[12]) = (-1e4, -1e4);
    data.local[20] = -5e3;
    data.no_spike[20] = -5e3;
    for model in [Model::Decoder, Model::ContFrag] {
        check("huge", model, &environment, &data);
    }
    (data.local[4], data.no_spike[4]) = (-1e6, -1e6);
    // The first row belongs to the local state, however unlikely.
    data.local[0] = -2000.0;
    check("huge", Model::NonLocal, &environment, &data);
    // A row that is as low as f32 goes says nothing either, where it is the same everywhere.
    let space = StateSpace::of_model(Model::ContFrag, &environment, None).unwrap();
    let before = posterior(&space, &data, true, &Options::default()).posterior;
    data.ll.row_mut(4).fill(f32::MIN);
    assert_eq!(posterior(&space, &data, true, &Options::default()).posterior, before);
}

#[test]
fn impossible_jumps_stay_finite_and_follow_the_data() {
    let environment = line(200);
    let ll = Array2::from_shape_fn((30, 200), |(t, p)| {
        let at = if t / 10 % 2 == 0 { 5 } else { 195 };
        if p == at { 0.0f32 } else { -5e3 }
    });
    let n = ll.nrows();
    let data = Data { ll, local: vec![-1e4; n], no_spike: vec![-1e4; n], missing: vec![false; n] };
    for model in Model::ALL {
        let space = StateSpace::of_model(model, &environment, None).unwrap();
        for smooth in [false, true] {
            let ours = posterior(&space, &data, smooth, &Options::default());
            assert!(ours.log_evidence.is_finite());
            for (t, row) in ours.posterior.rows().into_iter().enumerate() {
                let sum: f64 = row.iter().map(|v| f64::from(*v)).sum();
                assert!((sum - 1.0).abs() < 1e-5, "{}, row {t}: {sum}", model.name());
                if model != Model::NonLocal || t > 0 {
                    assert_eq!(ours.most_probable_bin[t], if t / 10 % 2 == 0 { 5 } else { 195 });
                }
            }
        }
    }
}

#[test]
fn states_of_any_kind_go_together() {
    // Two walks, one of them slow, one state that stays, one that jumps, one without position.
    let environment = gap();
    let data = data(&environment, 50, 11);
    let walk = |movement_var| Transition::RandomWalk { movement_var };
    let (u, d, i) = (Transition::Uniform, Transition::Discrete, Transition::Identity);
    let continuous = vec![
        vec![walk(20.0), walk(1.0), i, u, d],
        vec![walk(1.0), walk(1.0), u, u, d],
        vec![i, walk(20.0), i, u, d],
        vec![u, u, i, u, d],
        vec![d, d, u, d, d],
    ];
    let discrete = ndarray::arr2(&[
        [0.7, 0.1, 0.1, 0.05, 0.05],
        [0.1, 0.8, 0.05, 0.05, 0.0],
        [0.2, 0.0, 0.7, 0.0, 0.1],
        [0.25, 0.25, 0.25, 0.2, 0.05],
        [0.1, 0.1, 0.1, 0.1, 0.6],
    ]);
    let mut states: Vec<DiscreteState> =
        (0..4).map(|k| DiscreteState::new(&format!("{k}"), Observation::NonLocal)).collect();
    states.push(DiscreteState::new("silent", Observation::NoSpike));
    let initial = [0.3, 0.0, 0.5, 0.2, 0.0];
    let space = StateSpace::new(&environment, states, continuous, discrete, &initial).unwrap();
    let a = space.transition_matrix();
    let sums = a.sum_axis(ndarray::Axis(1));
    assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-12));
    let log_initial: Vec<f64> = space.initial().iter().map(|v| v.ln()).collect();
    let p = space.n_bins();
    // The decoder's rule copies the likelihood to every state; the last state bin has its own.
    let wide =
        Array2::from_shape_fn((50, 4 * p + 1), |(t, j)| if j < 4 * p { data.ll[[t, j % p]] } else { data.no_spike[t] });
    let as_data = Data { ll: wide, local: vec![], no_spike: vec![], missing: data.missing.clone() };
    let truth = truth(Model::Decoder, &log_initial, &a.mapv(f64::ln), &as_data);
    for (smooth, expected) in [(false, &truth.filtered), (true, &truth.smoothed)] {
        let ours = posterior(&space, &data, smooth, &Options::default());
        let worst = difference(&ours.posterior, expected);
        assert!(worst < 1e-6, "{worst}");
    }
    let mut rows = Rows::of_array(&data.ll).unwrap();
    let mut observed = data.observed(&mut rows);
    let path = space.most_likely_path(&mut observed, &Options::default(), &Control::default()).unwrap();
    assert!((path.log_probability - truth.best).abs() < 1e-9 * truth.best.abs());
    assert_eq!(space.locate(p), Some((1, Some(0))));
    assert_eq!(space.locate(4 * p), Some((4, None)));
    assert_eq!(space.locate(4 * p + 1), None);
}

#[test]
fn chunks_and_threads_change_no_bit() {
    for (environment, model) in [(line(60), Model::ContFrag), (hole(), Model::NonLocal), (spiral(), Model::Decoder)] {
        let data = data(&environment, 203, 13);
        let space = StateSpace::of_model(model, &environment, None).unwrap();
        let run = |chunk: Option<usize>, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let options = Options { chunk_rows: chunk, ..Options::default() };
                let mut rows = Rows::of_array(&data.ll).unwrap();
                let path =
                    space.most_likely_path(&mut data.observed(&mut rows), &options, &Control::default()).unwrap();
                let results = [false, true].map(|smooth| posterior(&space, &data, smooth, &options));
                let bits: Vec<u64> = results
                    .iter()
                    .flat_map(|r| {
                        let f32s = r.posterior.iter().chain(&r.state_probability).map(|v| u64::from(v.to_bits()));
                        let f64s = r.mean_position.iter().chain([&r.log_evidence]).map(|v| v.to_bits());
                        f32s.chain(f64s).chain(r.most_probable_bin.iter().map(|b| u64::from(*b))).collect::<Vec<_>>()
                    })
                    .collect();
                (bits, path.state_bins, path.log_probability.to_bits())
            })
        };
        let whole = run(None, 1);
        for (chunk, threads) in [(Some(1), 1), (Some(7), 2), (Some(64), 1), (Some(202), 2), (Some(1000), 2), (None, 2)]
        {
            assert!(run(chunk, threads) == whole, "{}: chunks of {chunk:?}, {threads} threads", model.name());
        }
    }
}

#[test]
fn the_reference_floor_is_its_recursion() {
    let environment = line(50);
    let data = data(&environment, 60, 17);
    let space = StateSpace::of_model(Model::ContFrag, &environment, None).unwrap();
    let a = space.transition_matrix();
    let floor = 1e-15;
    let (n_time, p) = data.ll.dim();
    let s = 2 * p;
    let mut predicted = ndarray::Array1::from(space.initial().to_vec());
    let (mut filtered, mut all_predicted) = (Array2::<f64>::zeros((n_time, s)), Vec::new());
    let mut evidence = 0.0;
    for t in 0..n_time {
        let ll = |i: usize| if data.missing[t] { 0.0 } else { f64::from(data.ll[[t, i % p]]) };
        let max = (0..s).map(ll).fold(f64::NEG_INFINITY, f64::max);
        let u: Vec<f64> = (0..s).map(|i| (predicted[i] * (ll(i) - max).exp()).max(floor)).collect();
        let norm: f64 = u.iter().sum();
        evidence += norm.ln() + max;
        (0..s).for_each(|i| filtered[[t, i]] = u[i] / norm);
        all_predicted.push(predicted);
        predicted = filtered.row(t).dot(&a);
    }
    let mut smoothed = filtered.clone();
    for t in (0..n_time - 1).rev() {
        let ratio = &smoothed.row(t + 1) / &all_predicted[t + 1];
        let row = &filtered.row(t) * &a.dot(&ratio);
        let sum = row.sum();
        smoothed.row_mut(t).assign(&(row / sum));
    }
    let options = Options { probability_floor: Some(floor), ..Options::default() };
    for (smooth, expected) in [(false, &filtered), (true, &smoothed)] {
        let ours = posterior(&space, &data, smooth, &options);
        assert!(difference(&ours.posterior, expected) < 1e-6);
        assert!((ours.log_evidence - evidence).abs() < 1e-9 * evidence.abs());
    }
}

#[test]
fn a_file_is_as_good_as_memory() {
    let environment = line(30);
    let data = data(&environment, 40, 19);
    let space = StateSpace::of_model(Model::Decoder, &environment, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log_likelihood.npy");
    npy::write(&path, &[40, 30], data.ll.as_slice().unwrap()).unwrap();
    let mut file = npy::NpyRows::open(&path).unwrap();
    let mut rows = Rows::of_array(&data.ll).unwrap();
    let options = Options { chunk_rows: Some(9), ..Options::default() };
    let [a, b]: [&mut dyn LogLikelihood; 2] = [&mut file, &mut rows];
    let [a, b] =
        [a, b].map(|source| space.posterior(&mut Observed::new(source), true, &options, &Control::default()).unwrap());
    assert_eq!(a, b);
}

/// Computes its rows, and remembers how many were asked for at once.
struct Computed {
    largest: Cell<usize>,
    asked: Cell<usize>,
}

impl LogLikelihood for Computed {
    fn n_time(&self) -> usize {
        5_000
    }

    fn n_bins(&self) -> usize {
        30
    }

    fn read(&mut self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.largest.set(self.largest.get().max(rows.len()));
        self.asked.set(self.asked.get() + rows.len());
        assert_eq!(out.len(), rows.len() * 30);
        for (t, row) in rows.zip(out.chunks_exact_mut(30)) {
            for (p, v) in row.iter_mut().enumerate() {
                *v = -0.1 * (p as f32 - 15.0 - 10.0 * (t as f32 * 0.01).sin()).powi(2);
            }
        }
        Ok(())
    }
}

#[test]
fn a_budget_is_kept_and_the_plan_says_so() {
    let space = StateSpace::of_model(Model::ContFrag, &line(30), None).unwrap();
    for task in [Task::Filter, Task::Smooth, Task::MostLikelyPath] {
        let free = space.plan(5_000, task, &Options::default()).unwrap();
        let least = match space.plan(5_000, task, &Options { memory_budget: Some(1), ..Options::default() }) {
            Err(Error::OverBudget { least: Some(least), limit: 1, .. }) => least,
            other => panic!("{other:?}"),
        };
        assert!(least < free.peak_bytes());
        let tight = Options { memory_budget: Some(least), ..Options::default() };
        assert!(space.plan(5_000, task, &tight).unwrap().peak_bytes() <= least);
        let some = Options { memory_budget: Some(2 * least), ..Options::default() };
        let plan = space.plan(5_000, task, &some).unwrap();
        assert!(plan.peak_bytes() <= 2 * least && plan.chunk_rows < free.chunk_rows);
        // A fixed chunk that does not fit is refused too.
        let fixed = Options { chunk_rows: Some(5_000), memory_budget: Some(least), ..Options::default() };
        assert!(matches!(space.plan(5_000, task, &fixed), Err(Error::OverBudget { .. })));
    }
    let plan = space.plan(5_000, Task::Smooth, &Options { chunk_rows: Some(64), ..Options::default() }).unwrap();
    let mut source = Computed { largest: Cell::new(0), asked: Cell::new(0) };
    let options = Options { memory_budget: Some(plan.peak_bytes()), ..Options::default() };
    let mut ends = Vec::new();
    let summary = space
        .smooth(&mut Observed::new(&mut source), &options, &Control::default(), &mut |chunk| {
            ends.push(chunk.rows.clone());
            Ok(())
        })
        .unwrap();
    assert_eq!(source.largest.get(), summary.plan.chunk_rows);
    assert!(source.asked.get() < 10_000);
    assert!(summary.plan.chunks > 10 && summary.plan.peak_bytes() <= plan.peak_bytes());
    // From the last chunk to the first, without a hole.
    assert_eq!((ends[0].end, ends[ends.len() - 1].start), (5_000, 0));
    assert!(ends.windows(2).all(|w| w[0].start == w[1].end));
}

#[test]
fn a_job_tells_how_far_it_is_and_can_be_stopped() {
    let space = StateSpace::of_model(Model::Decoder, &line(30), None).unwrap();
    let seen = std::sync::Mutex::new(Vec::new());
    let cancel = CancelToken::default();
    let options = Options { chunk_rows: Some(500), ..Options::default() };
    let progress = |done, total| {
        seen.lock().unwrap().push((done, total));
    };
    let control = Control { cancel: cancel.clone(), timeout: None, progress: Some(&progress) };
    let mut source = Computed { largest: Cell::new(0), asked: Cell::new(0) };
    space.smooth(&mut Observed::new(&mut source), &options, &control, &mut |_| Ok(())).unwrap();
    let told = std::mem::take(&mut *seen.lock().unwrap());
    assert!(told.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 == w[1].1));
    assert_eq!(told.last(), Some(&(10_000, 10_000)));
    let mut chunks = 0;
    let stopped = space.filter(&mut Observed::new(&mut source), &options, &control, &mut |_| {
        chunks += 1;
        if chunks == 3 {
            cancel.cancel();
        }
        Ok(())
    });
    assert_eq!((stopped.unwrap_err(), chunks), (Error::Cancelled, 3));
    let stopped = space.most_likely_path(&mut Observed::new(&mut source), &options, &control);
    assert_eq!(stopped.unwrap_err(), Error::Cancelled);
    // A sink's own error ends the job.
    let full = space.filter(&mut Observed::new(&mut source), &options, &Control::default(), &mut |_| {
        Err(Error::invalid("output", "disk full"))
    });
    assert!(full.unwrap_err().to_string().contains("disk full"));
}

#[test]
fn silence_is_poisson() {
    let electrode = |times: &[f64]| Spikes::new(times.to_vec(), Array2::zeros((times.len(), 2))).unwrap();
    let electrodes = [electrode(&[0.001, 0.0015, 0.005]), electrode(&[0.0011]), electrode(&[])];
    let time = TimeBins::new((0..4).map(|i| 0.002 * f64::from(i)).collect(), BinEdges::HalfOpen, None).unwrap();
    let ll = no_spike_log_likelihood(&electrodes, &time, 1e-10).unwrap();
    let each = (1e-10f64 * 0.002).ln();
    for (got, n) in ll.iter().zip([3.0, 0.0, 1.0, 0.0]) {
        assert!((f64::from(*got) - (n * each - 3.0 * 2e-13)).abs() < 1e-5, "{got}");
    }
    assert!(no_spike_log_likelihood(&electrodes, &time, 0.0).is_err());
    let single = TimeBins::new(vec![1.0], BinEdges::HalfOpen, None).unwrap();
    assert!(no_spike_log_likelihood(&electrodes, &single, 1.0).unwrap_err().to_string().contains("time_bin_size"));
}

#[test]
fn what_cannot_be_used_is_refused_in_a_sentence() {
    let environment = line(20);
    let says = |r: Result<StateSpace>, words: &str| {
        let text = r.unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    };
    for var in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        says(StateSpace::of_model(Model::Decoder, &environment, Some(var)), "movement_var");
    }
    let non_local =
        || vec![DiscreteState::new("a", Observation::NonLocal), DiscreteState::new("b", Observation::NonLocal)];
    let uniform = || vec![vec![Transition::Uniform; 2]; 2];
    let new = |states, continuous, discrete: [[f64; 2]; 2], initial: &[f64]| {
        StateSpace::new(&environment, states, continuous, ndarray::arr2(&discrete), initial)
    };
    let half = [[0.5, 0.5], [0.5, 0.5]];
    says(new(non_local(), uniform(), [[0.5, 0.5], [0.5, 0.6]], &[0.5, 0.5]), "row 1: sums to 1.1");
    says(new(non_local(), uniform(), [[1.5, -0.5], [0.5, 0.5]], &[0.5, 0.5]), "row 0: number 1 is -0.5");
    says(new(non_local(), uniform(), [[f64::NAN, 0.5], [0.5, 0.5]], &[0.5, 0.5]), "number 0 is NaN");
    says(new(non_local(), uniform(), [[1.0, 1e-40], [0.5, 0.5]], &[0.5, 0.5]), "must be zero");
    says(new(non_local(), uniform(), half, &[0.5, 0.4]), "initial conditions: sums to 0.9");
    says(new(non_local(), uniform(), half, &[1.0]), "1 for 2 states");
    says(new(non_local(), vec![vec![Transition::Uniform; 2]], half, &[0.5, 0.5]), "2 × 2");
    says(new(non_local(), vec![vec![Transition::Discrete; 2]; 2], half, &[0.5, 0.5]), "both have a position");
    says(new(vec![], vec![], half, &[]), "position");
    let mut mixed = non_local();
    mixed[1].observation = Observation::Local;
    let walks = vec![vec![Transition::Identity; 2]; 2];
    says(new(mixed, walks, half, &[0.5, 0.5]), "no position");

    let space = StateSpace::of_model(Model::NonLocal, &environment, None).unwrap();
    let good = data(&environment, 12, 1);
    let fails = |data: &Data, options: &Options, words: &str| {
        let mut rows = Rows::of_array(&data.ll).unwrap();
        let control = Control::default();
        let text = space.posterior(&mut data.observed(&mut rows), true, options, &control).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
        let path = space.most_likely_path(&mut data.observed(&mut rows), options, &control).unwrap_err().to_string();
        assert!(path.contains(words), "{path}");
    };
    let change = |f: &dyn Fn(&mut Data)| {
        let mut data = data(&environment, 12, 1);
        f(&mut data);
        data
    };
    let any = Options::default();
    fails(&change(&|d| d.ll[[7, 13]] = f32::NAN), &any, "row 7, bin 13, is NaN");
    // In a chunk of its own the row keeps its number.
    let chunks = Options { chunk_rows: Some(5), ..any };
    fails(&change(&|d| d.ll[[7, 3]] = f32::NEG_INFINITY), &chunks, "row 7, bin 3, is -inf");
    fails(&change(&|d| d.local[4] = f32::NAN), &any, "row 4 of the local state is NaN");
    fails(&change(&|d| d.no_spike[4] = f32::INFINITY), &any, "row 4 of the no-spike state is inf");
    fails(&change(&|d| d.local.truncate(3)), &any, "3 values for 12 time bins");
    fails(&change(&|d| d.missing.push(true)), &any, "13 values for 12 time bins");
    fails(&change(&|d| d.ll = Array2::zeros((12, 21))), &any, "21 position bins for a model of 20 interior bins");
    fails(&change(&|d| d.ll = Array2::zeros((12, 19))), &any, "19 position bins for a model of 20 interior bins");
    let none = change(&|d| {
        d.ll = Array2::zeros((0, 20));
        (d.local, d.no_spike, d.missing) = (vec![], vec![], vec![]);
    });
    fails(&none, &any, "no time bin");
    fails(&good, &Options { chunk_rows: Some(0), ..any }, "chunk_rows");
    fails(&good, &Options { probability_floor: Some(1.0), ..any }, "probability_floor");
    let mut rows = Rows::of_array(&good.ll).unwrap();
    let text = space.posterior(&mut Observed::new(&mut rows), true, &any, &Control::default()).unwrap_err().to_string();
    assert!(text.contains("local log likelihood: missing"), "{text}");
    assert!(Rows::new(&[0.0; 5], 2).is_err() && Rows::new(&[], 0).is_err());
    // What is missing is not looked at.
    let unseen = change(&|d| {
        d.ll.row_mut(5).fill(f32::NAN);
        d.local[5] = f32::NAN;
        d.missing[5] = true;
    });
    assert!(posterior(&space, &unseen, true, &any).posterior.iter().all(|v| v.is_finite()));
    assert!("viterbi".parse::<Model>().unwrap_err().to_string().contains("decoder, contfrag, nonlocal"));
    assert_eq!("contfrag".parse::<Model>().unwrap(), Model::ContFrag);
}
