//! `spikewave bench state-space`: the decoder's state space beside its dense matrix, in one run.

use std::ops::Range;
use std::time::Instant;

use ndarray::{Array1, Array2};
use rayon::prelude::*;
use serde_json::{Value, json};
use spikewave::Result;
use spikewave::decode::Environment;
use spikewave::decode::state_space::{LogLikelihood, Model, Observed, Options, Posterior, StateSpace};
use spikewave::device::Control;
use spikewave::random::Random;

use super::super::{print, print_json};

const BINS: usize = 1_000;
const STEPS: usize = 100_000;
/// Steps of the dense form; its time grows with them and with nothing else.
const DENSE_STEPS: usize = 2_000;
/// Steps that are compared with f64.
const COMPARED: usize = 300;
const REPEATS: usize = 3;
/// Rows before the data repeat.
const PERIOD: usize = 500;

/// Rows of a wandering animal, over and over.
struct Cycle {
    rows: Vec<f32>,
    n_time: usize,
}

impl Cycle {
    fn new(n_time: usize) -> Self {
        let mut random = Random::new(1, 0);
        let mut at = 0.0f64;
        let mut spikes = 0;
        let mut rows = vec![0f32; PERIOD * BINS];
        for row in rows.chunks_exact_mut(BINS) {
            at = (at + 2.4 * random.normal()).rem_euclid(2.0 * BINS as f64);
            spikes = if random.uniform() < 0.2 { 1 + spikes % 3 } else { 0 };
            for (p, v) in row.iter_mut().enumerate() {
                let apart = 2.0 * p as f64 - at;
                *v = (-10.0 * f64::from(spikes) * (1.0 - (-apart * apart / 128.0).exp()) + 0.05 * random.normal())
                    as f32;
            }
        }
        Self { rows, n_time }
    }
}

impl LogLikelihood for Cycle {
    fn n_time(&self) -> usize {
        self.n_time
    }

    fn n_bins(&self) -> usize {
        BINS
    }

    fn read(&mut self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        for (t, out) in rows.zip(out.chunks_exact_mut(BINS)) {
            let from = t % PERIOD * BINS;
            out.copy_from_slice(&self.rows[from..from + BINS]);
        }
        Ok(())
    }
}

/// `a · x` in eight sums of sixteen.
#[inline(always)]
fn dot(a: &[f32], x: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<64>();
    let (x, x_rest) = x.as_chunks::<64>();
    let mut sums = [0f32; 64];
    for (a, x) in a.iter().zip(x) {
        for l in 0..64 {
            sums[l] += a[l] * x[l];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(x_rest).map(|(a, x)| a * x).sum::<f32>()
}

#[inline(always)]
fn rows_of(a: &[f32], x: &[f32], y: &mut [f32]) {
    for (y, a) in y.iter_mut().zip(a.chunks_exact(x.len())) {
        *y = dot(a, x);
    }
}

/// `y = A x` for rows of A, with the best vector unit.
fn matvec(a: &[f32], x: &[f32], y: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn avx512(a: &[f32], x: &[f32], y: &mut [f32]) {
            rows_of(a, x, y);
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(a: &[f32], x: &[f32], y: &mut [f32]) {
            rows_of(a, x, y);
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: just found.
            return unsafe { avx512(a, x, y) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: just found.
            return unsafe { avx2(a, x, y) };
        }
    }
    rows_of(a, x, y);
}

/// Microseconds of one dense product in f32, by each way of doing it: one thread and all, by hand and by `gemm`.
fn dense(a: &Array2<f64>) -> Vec<(&'static str, f64)> {
    let n = a.nrows();
    let matrix: Vec<f32> = a.iter().map(|v| *v as f32).collect();
    let x = vec![1.0 / n as f32; n];
    let threads = rayon::current_num_threads();
    let share = n.div_ceil(threads);
    let by_gemm = |parallelism: gemm::Parallelism, x: &[f32], y: &mut [f32]| {
        // SAFETY: the pointers are of n × n, n and n elements with these strides.
        unsafe {
            gemm::gemm(
                n,
                1,
                n,
                y.as_mut_ptr(),
                n as isize,
                1,
                false,
                matrix.as_ptr(),
                1,
                n as isize,
                x.as_ptr(),
                n as isize,
                1,
                0.0f32,
                1.0f32,
                false,
                false,
                false,
                parallelism,
            );
        }
    };
    type Product<'a> = Box<dyn Fn(&[f32], &mut [f32]) + 'a>;
    let matrix = &matrix;
    let ways: [(&str, Product<'_>); 4] = [
        ("one thread", Box::new(|x, y| matvec(matrix, x, y))),
        (
            "all threads",
            Box::new(move |x, y| {
                let parts = matrix.par_chunks(share * n).zip(y.par_chunks_mut(share));
                parts.for_each(|(a, y)| matvec(a, x, y));
            }),
        ),
        ("gemm, one thread", Box::new(|x, y| by_gemm(gemm::Parallelism::None, x, y))),
        ("gemm, all threads", Box::new(|x, y| by_gemm(gemm::Parallelism::Rayon(0), x, y))),
    ];
    ways.into_iter()
        .map(|(name, product)| {
            let (mut x, mut y) = (x.clone(), vec![0f32; n]);
            let time = |x: &mut Vec<f32>, y: &mut Vec<f32>| {
                let started = Instant::now();
                for _ in 0..DENSE_STEPS {
                    product(x, y);
                    // Each step needs the one before.
                    std::mem::swap(x, y);
                }
                started.elapsed().as_secs_f64() * 1e6 / DENSE_STEPS as f64
            };
            let times: Vec<f64> = (0..REPEATS).map(|_| time(&mut x, &mut y)).collect();
            std::hint::black_box(&x);
            (name, times.into_iter().fold(f64::INFINITY, f64::min))
        })
        .collect()
}

/// Filtered and smoothed posteriors with the whole matrix in f64.
fn oracle(space: &StateSpace, a: &Array2<f64>, data: &Cycle) -> [Array2<f64>; 2] {
    let s = space.n_state_bins();
    let transposed = a.t().as_standard_layout().into_owned();
    let mut predicted = Array1::from(space.initial().to_vec());
    let (mut filtered, mut all) = (Array2::zeros((COMPARED, s)), Vec::new());
    for t in 0..COMPARED {
        let ll = &data.rows[t * BINS..(t + 1) * BINS];
        let max = ll.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut row: Array1<f64> =
            predicted.iter().enumerate().map(|(i, p)| p * f64::from(ll[i % BINS] - max).exp()).collect();
        row /= row.sum();
        all.push(predicted);
        predicted = transposed.dot(&row);
        filtered.row_mut(t).assign(&row);
    }
    let mut smoothed: Array2<f64> = filtered.clone();
    for t in (0..COMPARED - 1).rev() {
        let ratio = &smoothed.row(t + 1) / &all[t + 1];
        let row = &filtered.row(t) * &a.dot(&ratio);
        let sum = row.sum();
        smoothed.row_mut(t).assign(&(row / sum));
    }
    [filtered, smoothed]
}

fn of_model(model: Model) -> Result<Value> {
    let centers = Array2::from_shape_fn((BINS, 1), |(i, _)| 2.0 * i as f64);
    let space = StateSpace::of_model(model, &Environment::new(centers, vec![true; BINS])?, None)?;
    let (options, control) = (Options::default(), Control::default());
    let mut data = Cycle::new(STEPS);
    let mut seconds = |job: &mut dyn FnMut(&mut Observed<'_>) -> Result<()>| {
        let times: Result<Vec<f64>> = (0..REPEATS)
            .map(|_| {
                let started = Instant::now();
                job(&mut Observed::new(&mut data))?;
                Ok(started.elapsed().as_secs_f64())
            })
            .collect();
        Ok::<_, spikewave::Error>(times?.into_iter().fold(f64::INFINITY, f64::min))
    };
    let filter = seconds(&mut |d| space.filter(d, &options, &control, &mut |_| Ok(())).map(drop))?;
    let smooth = seconds(&mut |d| space.smooth(d, &options, &control, &mut |_| Ok(())).map(drop))?;
    let path = seconds(&mut |d| space.most_likely_path(d, &options, &control).map(drop))?;

    let a = space.transition_matrix();
    let transposed = a.t().as_standard_layout().into_owned();
    let ways = dense(&transposed);
    let product = ways.iter().map(|(_, us)| *us).fold(f64::INFINITY, f64::min);
    // The matrix alone: likelihoods, norms and results cost it nothing. Its smoother needs a product in each direction.
    let dense_filter = product * 1e-6 * STEPS as f64;
    let dense_smooth = 2.0 * dense_filter;

    let mut short = Cycle::new(COMPARED);
    let truth = oracle(&space, &a, &short);
    let mut differences = Vec::new();
    for (smooth, truth) in [false, true].into_iter().zip(&truth) {
        let ours: Posterior = space.posterior(&mut Observed::new(&mut short), smooth, &options, &control)?;
        let apart = ours.posterior.iter().zip(truth).map(|(a, b)| (f64::from(*a) - b).abs());
        differences.push(apart.fold(0.0, f64::max));
    }
    Ok(json!({
        "model": model.name(),
        "walks": space.walks(),
        "filter_s": filter,
        "smooth_s": smooth,
        "path_s": path,
        "dense_products_us": ways.into_iter().map(|(name, us)| (name.to_string(), us.into())).collect::<serde_json::Map<_, _>>(),
        "dense_steps_measured": DENSE_STEPS,
        "dense_filter_s": dense_filter,
        "dense_smooth_s": dense_smooth,
        "filter_speedup": dense_filter / filter,
        "smooth_speedup": dense_smooth / smooth,
        "filter_max_difference": differences[0],
        "smooth_max_difference": differences[1],
    }))
}

pub fn run(as_json: bool) -> Result<()> {
    let models = [of_model(Model::Decoder)?, of_model(Model::ContFrag)?];
    if as_json {
        let threads = rayon::current_num_threads();
        return print_json(
            &json!({ "name": "state-space", "bins": BINS, "steps": STEPS, "threads": threads, "models": models }),
        );
    }
    let mut text = format!("{BINS} bins, {STEPS} steps, {} threads\n", rayon::current_num_threads());
    for m in &models {
        let of = |key: &str| m[key].as_f64().unwrap_or(f64::NAN);
        text += &format!(
            "{}: filter {:.3} s, dense {:.2} s ({:.0} times); smoother {:.3} s, dense {:.2} s ({:.0} times); \
             most likely path {:.3} s; largest difference from f64 {:.1e} and {:.1e}\n",
            m["model"].as_str().unwrap_or(""),
            of("filter_s"),
            of("dense_filter_s"),
            of("filter_speedup"),
            of("smooth_s"),
            of("dense_smooth_s"),
            of("smooth_speedup"),
            of("path_s"),
            of("filter_max_difference"),
            of("smooth_max_difference"),
        );
    }
    text += &format!(
        "best of {REPEATS} runs; dense: the fastest f32 product of four, {DENSE_STEPS} steps measured and multiplied, nothing else counted\n"
    );
    print(&text)
}
