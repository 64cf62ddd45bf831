//! Filter and smoother.

use std::ops::Range;
use std::time::Instant;

use ndarray::Array2;
use rayon::prelude::*;

use super::plan::zeros;
use super::vector::{
    add, add_scaled, divide, dot, exponentials, finite_max, largest, multiply, multiply_into, narrow, normalise, sum,
    weigh,
};
use super::walk::Scratch;
use super::{EPSILON, Observation, Observed, Options, Plan, StateSpace, Task, Transition};
use crate::device::Control;
use crate::{Error, Result};

/// Steps between two looks at cancellation.
const WATCH: usize = 256;

/// Posteriors of a range of time bins, row-major.
#[derive(Debug)]
pub struct PosteriorChunk<'a> {
    /// Which time bins.
    pub rows: Range<usize>,
    /// Probability of each state bin (rows × S), which sums to one.
    pub posterior: &'a [f32],
    /// Probability of each discrete state (rows × K).
    pub state_probability: &'a [f32],
    /// The most probable interior position bin, over all states with a position (rows); the first of equal ones.
    pub most_probable_bin: &'a [u32],
    /// Mean position over all states with a position, cm (rows × d); NaN where none of them has any probability.
    pub mean_position: &'a [f64],
}

/// Posteriors of all time bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// Probability of each state bin (T × S).
    pub posterior: Array2<f32>,
    /// Probability of each discrete state (T × K).
    pub state_probability: Array2<f32>,
    /// The most probable interior position bin (T).
    pub most_probable_bin: Vec<u32>,
    /// Mean position, cm (T × d).
    pub mean_position: Array2<f64>,
    /// ln p(data).
    pub log_evidence: f64,
}

/// What is known at the end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// ln p(data): the sum over steps of the log likelihood of the data given those before.
    pub log_evidence: f64,
    /// The plan that was followed.
    pub plan: Plan,
}

/// The log likelihoods of one time bin beside those of the position bins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    /// The largest of the position bins.
    max: f32,
    local: f32,
    no_spike: f32,
    missing: bool,
}

impl Row {
    pub fn missing(&self) -> bool {
        self.missing
    }

    /// The largest log likelihood of a state.
    pub fn of(&self, observation: Observation) -> f64 {
        f64::from(match observation {
            Observation::NonLocal => self.max,
            Observation::Local => self.local,
            Observation::NoSpike => self.no_spike,
        })
    }
}

impl StateSpace {
    /// Checks data against the model.
    pub(super) fn check(&self, data: &Observed<'_>) -> Result<()> {
        let (n_time, bins) = (data.non_local.n_time(), data.non_local.n_bins());
        if bins != self.n_bins() {
            let why = format!("{bins} position bins for a model of {} interior bins", self.n_bins());
            return Err(Error::invalid("log likelihood", why));
        }
        for (what, values, observation) in [
            ("local log likelihood", data.local, Observation::Local),
            ("no-spike log likelihood", data.no_spike, Observation::NoSpike),
        ] {
            match values {
                None if self.needs(observation) => {
                    return Err(Error::invalid(what, "missing; the model has such a state"));
                }
                Some(values) if values.len() != n_time => {
                    return Err(Error::invalid(what, format!("{} values for {n_time} time bins", values.len())));
                }
                _ => {}
            }
        }
        match data.missing {
            Some(missing) if missing.len() != n_time => {
                Err(Error::invalid("missing", format!("{} values for {n_time} time bins", missing.len())))
            }
            _ => Ok(()),
        }
    }

    /// Reads the rows of a chunk and checks them.
    pub(super) fn read(
        &self,
        data: &mut Observed<'_>,
        rows: &Range<usize>,
        ll: &mut [f32],
        of: &mut [Row],
    ) -> Result<()> {
        data.non_local.read(rows.clone(), ll)?;
        let bins = self.n_bins();
        of.par_iter_mut().zip(ll.par_chunks_exact(bins)).with_min_len(16).enumerate().for_each(|(r, (row, ll))| {
            let at = |values: Option<&[f32]>| values.map_or(0.0, |v| v[rows.start + r]);
            *row = match data.missing {
                Some(missing) if missing[rows.start + r] => Row { missing: true, ..Row::default() },
                _ => Row { max: finite_max(ll), local: at(data.local), no_spike: at(data.no_spike), missing: false },
            };
        });
        for (r, row) in of.iter().enumerate() {
            let bad = |what: &str, value: f32| {
                let why = format!("row {}{what} is {value}; must be finite, or its time bin missing", rows.start + r);
                Err(Error::invalid("log likelihood", why))
            };
            if row.max.is_nan() {
                let ll = &ll[r * bins..(r + 1) * bins];
                let (bin, value) = ll.iter().enumerate().find(|(_, v)| !v.is_finite()).unwrap_or((0, &f32::NAN));
                return bad(&format!(", bin {bin},"), *value);
            }
            if !row.local.is_finite() {
                return bad(" of the local state", row.local);
            }
            if !row.no_spike.is_finite() {
                return bad(" of the no-spike state", row.no_spike);
            }
        }
        Ok(())
    }
}

/// One step of time, and its memory.
struct Step<'a> {
    space: &'a StateSpace,
    floor: f64,
    masses: Vec<f64>,
    walked: Vec<f64>,
    into: Vec<f64>,
    scratch: Scratch,
}

impl<'a> Step<'a> {
    fn new(space: &'a StateSpace, floor: f64) -> Self {
        let bins = space.n_bins();
        let (walked, into) = (vec![0.0; bins], vec![0.0; bins]);
        Self { space, floor, masses: vec![0.0; space.states.len()], walked, into, scratch: Scratch::default() }
    }

    /// Filtered from predicted probabilities; `e` holds exp(ll − max) of the position bins. Returns the step's log
    /// evidence.
    fn condition(&mut self, predicted: &[f64], row: &Row, e: &[f64], filtered: &mut [f64]) -> f64 {
        let space = self.space;
        // A state that cannot be now must not set the scale: all others could vanish beside it.
        let alive = |r: &Range<usize>| self.floor > 0.0 || predicted[r.start] > 0.0;
        let states = space.states.iter().zip(&space.ranges);
        let living = states.clone().filter(|(_, r)| alive(r)).map(|(s, _)| row.of(s.observation));
        let max = living.fold(f64::NEG_INFINITY, f64::max);
        let mut norm = 0.0;
        for (state, r) in states {
            // Only a dead state can exceed the maximum, and it has nothing to be scaled.
            let scale = (row.of(state.observation) - max).min(0.0).exp();
            let (predicted, filtered) = (&predicted[r.clone()], &mut filtered[r.clone()]);
            norm += match state.observation {
                Observation::NonLocal => weigh(predicted, e, scale, self.floor, filtered),
                Observation::Local | Observation::NoSpike => {
                    filtered[0] = (predicted[0] * scale).max(self.floor);
                    filtered[0]
                }
            };
        }
        for (mass, r) in self.masses.iter_mut().zip(&space.ranges) {
            *mass = normalise(&mut filtered[r.clone()], 1.0 / norm);
        }
        max + norm.ln()
    }

    /// `predicted = filtered A`, right after [`Self::condition`].
    fn predict(&mut self, filtered: &[f64], predicted: &mut [f64]) {
        let space = self.space;
        for (j, to) in space.ranges.iter().enumerate() {
            let predicted = &mut predicted[to.clone()];
            let spread = |i: usize| match space.continuous[i][j] {
                Transition::Uniform | Transition::Discrete => 1.0,
                Transition::RandomWalk { .. } | Transition::Identity => EPSILON,
            };
            let base: f64 = self.masses.iter().enumerate().map(|(i, m)| space.discrete[[i, j]] * m * spread(i)).sum();
            let base = base / to.len() as f64;
            let mut written = false;
            for (w, walk) in space.walks.iter().enumerate() {
                let mut any = false;
                for (i, from) in space.ranges.iter().enumerate() {
                    let d = space.discrete[[i, j]];
                    if d > 0.0 && space.walk(i, j) == Some(w) {
                        if !any {
                            self.into.fill(0.0);
                            any = true;
                        }
                        add_scaled(&mut self.into, d, &filtered[from.clone()]);
                    }
                }
                if any {
                    multiply(&self.into, &walk.scale, &mut self.walked);
                    if written {
                        walk.kernel(&self.walked, &mut self.into, &mut self.scratch);
                        add_scaled(predicted, 1.0, &self.into);
                    } else {
                        walk.kernel(&self.walked, predicted, &mut self.scratch);
                        written = true;
                    }
                }
            }
            if written {
                add(predicted, base);
            } else {
                predicted.fill(base);
            }
            for (i, from) in space.ranges.iter().enumerate() {
                if space.continuous[i][j] == Transition::Identity {
                    add_scaled(predicted, space.discrete[[i, j]], &filtered[from.clone()]);
                }
            }
        }
    }

    /// `out = A g`.
    fn pull_back(&mut self, g: &[f64], out: &mut [f64]) {
        let space = self.space;
        out.fill(0.0);
        for (j, to) in space.ranges.iter().enumerate() {
            let g = &g[to.clone()];
            let mean = sum(g) / to.len() as f64;
            for (i, from) in space.ranges.iter().enumerate() {
                let d = space.discrete[[i, j]];
                let out = &mut out[from.clone()];
                match space.continuous[i][j] {
                    _ if d == 0.0 => {}
                    Transition::Uniform | Transition::Discrete => add(out, d * mean),
                    Transition::Identity => {
                        add_scaled(out, d, g);
                        add(out, d * EPSILON * mean);
                    }
                    Transition::RandomWalk { .. } => add(out, d * EPSILON * mean),
                }
            }
            for (w, walk) in space.walks.iter().enumerate() {
                let mut any = false;
                for (i, from) in space.ranges.iter().enumerate() {
                    let d = space.discrete[[i, j]];
                    if d > 0.0 && space.walk(i, j) == Some(w) {
                        if !any {
                            walk.kernel(g, &mut self.walked, &mut self.scratch);
                            multiply(&self.walked, &walk.scale, &mut self.into);
                            any = true;
                        }
                        add_scaled(&mut out[from.clone()], d, &self.into);
                    }
                }
            }
        }
    }
}

/// What the forward pass leaves of each row.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Nothing,
    Predicted,
    Filtered,
}

/// A job under way: one chunk's memory, and the state that is carried on.
struct Job<'a> {
    step: Step<'a>,
    plan: Plan,
    control: &'a Control<'a>,
    started: Instant,
    done: u64,
    total: u64,
    ll: Vec<f32>,
    e: Vec<f64>,
    rows: Vec<Row>,
    states: Vec<f64>,
    posterior: Vec<f32>,
    probability: Vec<f32>,
    bin: Vec<u32>,
    mean: Vec<f64>,
    filtered: Vec<f64>,
    log_evidence: f64,
}

impl<'a> Job<'a> {
    fn new(
        space: &'a StateSpace,
        plan: Plan,
        options: &Options,
        control: &'a Control<'a>,
        passes: u64,
    ) -> Result<Self> {
        let (n, s, p) = (plan.chunk_rows, space.n_state_bins(), space.n_bins());
        let what = "a chunk of the state space";
        Ok(Self {
            step: Step::new(space, options.probability_floor.unwrap_or(0.0)),
            plan,
            control,
            started: Instant::now(),
            done: 0,
            total: passes * plan.n_time as u64,
            ll: zeros(n * p, what)?,
            e: zeros(n * p, what)?,
            rows: vec![Row::default(); n],
            states: zeros(n * s, what)?,
            posterior: zeros(n * s, what)?,
            probability: zeros(n * space.states.len(), what)?,
            bin: zeros(n, what)?,
            mean: zeros(n * space.centers.ncols(), what)?,
            filtered: zeros(s, what)?,
            log_evidence: 0.0,
        })
    }

    fn chunk(&self, index: usize) -> Range<usize> {
        let start = index * self.plan.chunk_rows;
        start..(start + self.plan.chunk_rows).min(self.plan.n_time)
    }

    fn watch(&mut self, r: usize) -> Result<()> {
        if r.is_multiple_of(WATCH) {
            self.control.check(self.started)?;
        }
        Ok(())
    }

    fn report(&mut self, rows: usize) {
        self.done += rows as u64;
        self.control.report(self.done, self.total);
    }

    fn load(&mut self, data: &mut Observed<'_>, rows: &Range<usize>) -> Result<()> {
        let space = self.step.space;
        let (n, p) = (rows.len(), space.n_bins());
        space.read(data, rows, &mut self.ll[..n * p], &mut self.rows[..n])?;
        let (e, ll) = (&mut self.e[..n * p], &self.ll[..n * p]);
        e.par_chunks_exact_mut(p).zip(ll.par_chunks_exact(p)).zip(&self.rows[..n]).with_min_len(16).for_each(
            |((e, ll), row)| {
                if row.missing {
                    e.fill(1.0);
                } else {
                    exponentials(ll, row.max, e);
                }
            },
        );
        Ok(())
    }

    /// Filters the loaded rows; `predicted` is of the first row on the way in, and of the row after the last on the way
    /// out.
    fn forward(&mut self, rows: &Range<usize>, predicted: &mut [f64], keep: Keep) -> Result<f64> {
        let (s, p) = (predicted.len(), self.step.space.n_bins());
        let mut evidence = self.log_evidence;
        for r in 0..rows.len() {
            self.watch(r)?;
            let kept = &mut self.states[r * s..(r + 1) * s];
            if keep == Keep::Predicted {
                kept.copy_from_slice(predicted);
            }
            let e = &self.e[r * p..(r + 1) * p];
            evidence += self.step.condition(predicted, &self.rows[r], e, &mut self.filtered);
            if keep == Keep::Filtered {
                kept.copy_from_slice(&self.filtered);
            }
            self.step.predict(&self.filtered, predicted);
        }
        Ok(evidence)
    }

    /// Turns the predicted probabilities of the loaded rows into smoothed ones; `ratio` is `s / a` of the row after the
    /// last on the way in (`None` after the last of all), and of the first row on the way out.
    fn backward(&mut self, rows: &Range<usize>, ratio: &mut [f64], mut last: bool, back: &mut [f64]) -> Result<()> {
        let (s, p) = (ratio.len(), self.step.space.n_bins());
        for r in (0..rows.len()).rev() {
            self.watch(r)?;
            let state = &mut self.states[r * s..(r + 1) * s];
            let e = &self.e[r * p..(r + 1) * p];
            self.step.condition(state, &self.rows[r], e, &mut self.filtered);
            if last {
                back.copy_from_slice(&self.filtered);
                last = false;
            } else {
                self.step.pull_back(ratio, back);
                let total = multiply_into(back, &self.filtered);
                normalise(back, 1.0 / total);
            }
            divide(back, state, ratio);
            state.copy_from_slice(back);
        }
        Ok(())
    }

    fn emit(&mut self, rows: Range<usize>, sink: &mut dyn FnMut(&PosteriorChunk<'_>) -> Result<()>) -> Result<()> {
        let space = self.step.space;
        let (n, s, p, k, d) =
            (rows.len(), space.n_state_bins(), space.n_bins(), space.states.len(), space.centers.ncols());
        let places: Vec<&Range<usize>> = (0..k).filter(|j| space.has_position(*j)).map(|j| &space.ranges[j]).collect();
        let columns: Vec<Vec<f64>> = space.centers.columns().into_iter().map(|c| c.to_vec()).collect();
        let of_row = |sums: &mut Vec<f64>, state: &[f64], out: Out<'_>| {
            narrow(state, out.posterior);
            for (probability, r) in out.probability.iter_mut().zip(&space.ranges) {
                *probability = sum(&state[r.clone()]) as f32;
            }
            let marginal = match places.as_slice() {
                [one] => &state[(*one).clone()],
                several => {
                    sums.clear();
                    sums.resize(p, 0.0);
                    several.iter().for_each(|r| add_scaled(sums, 1.0, &state[(*r).clone()]));
                    sums.as_slice()
                }
            };
            let top = largest(marginal);
            *out.bin = marginal.iter().position(|x| *x == top).unwrap_or(0) as u32;
            let mass = sum(marginal);
            for (mean, column) in out.mean.iter_mut().zip(&columns) {
                *mean = dot(marginal, column) / mass;
            }
        };
        self.states[..n * s]
            .par_chunks_exact(s)
            .zip(self.posterior[..n * s].par_chunks_exact_mut(s))
            .zip(self.probability[..n * k].par_chunks_exact_mut(k))
            .zip(&mut self.bin[..n])
            .zip(self.mean[..n * d].par_chunks_exact_mut(d))
            .with_min_len(16)
            .for_each_init(Vec::new, |sums, ((((state, posterior), probability), bin), mean)| {
                of_row(sums, state, Out { posterior, probability, bin, mean });
            });
        sink(&PosteriorChunk {
            rows,
            posterior: &self.posterior[..n * s],
            state_probability: &self.probability[..n * k],
            most_probable_bin: &self.bin[..n],
            mean_position: &self.mean[..n * d],
        })
    }
}

/// The results of one row.
struct Out<'a> {
    posterior: &'a mut [f32],
    probability: &'a mut [f32],
    bin: &'a mut u32,
    mean: &'a mut [f64],
}

impl StateSpace {
    /// Posteriors of each time bin from the data up to it, handed to `sink` in the order of time.
    ///
    /// # Errors
    /// `InvalidArgument` for data of another size than the model's, or log likelihoods that are not finite (the first is
    /// named); those of [`Self::plan`]; `Cancelled` and `Timeout`; the source's and the sink's own.
    pub fn filter(
        &self,
        data: &mut Observed<'_>,
        options: &Options,
        control: &Control<'_>,
        sink: &mut dyn FnMut(&PosteriorChunk<'_>) -> Result<()>,
    ) -> Result<Summary> {
        self.check(data)?;
        let plan = self.plan(data.non_local.n_time(), Task::Filter, options)?;
        let mut job = Job::new(self, plan, options, control, 1)?;
        let mut predicted = self.initial.clone();
        for index in 0..plan.chunks {
            let rows = job.chunk(index);
            job.load(data, &rows)?;
            job.log_evidence = job.forward(&rows, &mut predicted, Keep::Filtered)?;
            job.emit(rows.clone(), sink)?;
            job.report(rows.len());
        }
        Ok(Summary { log_evidence: job.log_evidence, plan })
    }

    /// Posteriors of each time bin from all data, handed to `sink` in chunks from the last to the first.
    ///
    /// Every chunk but the last is read and filtered twice: forward, to leave a checkpoint at its border, and again before
    /// it is smoothed.
    ///
    /// # Errors
    /// As [`Self::filter`].
    pub fn smooth(
        &self,
        data: &mut Observed<'_>,
        options: &Options,
        control: &Control<'_>,
        sink: &mut dyn FnMut(&PosteriorChunk<'_>) -> Result<()>,
    ) -> Result<Summary> {
        self.check(data)?;
        let plan = self.plan(data.non_local.n_time(), Task::Smooth, options)?;
        let mut job = Job::new(self, plan, options, control, 2)?;
        let s = self.n_state_bins();
        let mut checkpoints: Vec<f64> = zeros(plan.chunks * s, "checkpoints of the state space")?;
        let mut predicted = self.initial.clone();
        for (index, checkpoint) in checkpoints.chunks_exact_mut(s).enumerate() {
            let rows = job.chunk(index);
            checkpoint.copy_from_slice(&predicted);
            job.load(data, &rows)?;
            let keep = if index + 1 == plan.chunks { Keep::Predicted } else { Keep::Nothing };
            job.log_evidence = job.forward(&rows, &mut predicted, keep)?;
            job.report(rows.len());
        }
        let log_evidence = job.log_evidence;
        let (mut ratio, mut back) = (vec![0.0; s], vec![0.0; s]);
        // While a chunk is smoothed, the one before it is filtered again.
        let mut ahead = if plan.chunks > 1 { Some(Job::new(self, plan, options, control, 2)?) } else { None };
        for index in (0..plan.chunks).rev() {
            let rows = job.chunk(index);
            let last = index + 1 == plan.chunks;
            let before = match (&mut ahead, index.checked_sub(1)) {
                (Some(ahead), Some(before)) => {
                    let rows = ahead.chunk(before);
                    predicted.copy_from_slice(&checkpoints[before * s..(before + 1) * s]);
                    ahead.load(data, &rows)?;
                    Some((ahead, rows))
                }
                _ => None,
            };
            let (smoothed, filtered) = rayon::join(
                || job.backward(&rows, &mut ratio, last, &mut back),
                || match before {
                    Some((ahead, rows)) => ahead.forward(&rows, &mut predicted, Keep::Predicted),
                    None => Ok(0.0),
                },
            );
            smoothed?;
            filtered?;
            job.emit(rows.clone(), sink)?;
            job.report(rows.len());
            if let Some(ahead) = &mut ahead {
                ahead.done = job.done;
                std::mem::swap(ahead, &mut job);
            }
        }
        Ok(Summary { log_evidence, plan })
    }

    /// All posteriors in memory: those of [`Self::smooth`] if `smooth`, else of [`Self::filter`].
    ///
    /// # Errors
    /// As [`Self::filter`]; `OutOfMemory` if the results (T × S × 4 bytes) do not fit.
    pub fn posterior(
        &self,
        data: &mut Observed<'_>,
        smooth: bool,
        options: &Options,
        control: &Control<'_>,
    ) -> Result<Posterior> {
        let (t, s, k, d) = (data.non_local.n_time(), self.n_state_bins(), self.states.len(), self.centers.ncols());
        let what = "the posterior";
        let size = |n: usize| t.checked_mul(n).ok_or_else(|| Error::invalid("log likelihood", "too many rows"));
        let mut posterior: Vec<f32> = zeros(size(s)?, what)?;
        let mut state_probability: Vec<f32> = zeros(size(k)?, what)?;
        let mut most_probable_bin: Vec<u32> = zeros(t, what)?;
        let mut mean_position: Vec<f64> = zeros(size(d)?, what)?;
        let mut keep = |c: &PosteriorChunk<'_>| {
            let of = |n: usize| c.rows.start * n..c.rows.end * n;
            posterior[of(s)].copy_from_slice(c.posterior);
            state_probability[of(k)].copy_from_slice(c.state_probability);
            most_probable_bin[of(1)].copy_from_slice(c.most_probable_bin);
            mean_position[of(d)].copy_from_slice(c.mean_position);
            Ok(())
        };
        let summary = if smooth {
            self.smooth(data, options, control, &mut keep)?
        } else {
            self.filter(data, options, control, &mut keep)?
        };
        let shaped = |e: ndarray::ShapeError| Error::Internal(e.to_string());
        Ok(Posterior {
            posterior: Array2::from_shape_vec((t, s), posterior).map_err(shaped)?,
            state_probability: Array2::from_shape_vec((t, k), state_probability).map_err(shaped)?,
            most_probable_bin,
            mean_position: Array2::from_shape_vec((t, d), mean_position).map_err(shaped)?,
            log_evidence: summary.log_evidence,
        })
    }
}
