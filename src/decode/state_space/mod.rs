//! From the log likelihood of every time bin to the posterior of position over time.
//!
//! A hidden Markov model over *state bins*: the interior position bins of every discrete state one state after the other;
//! a state without position ("local", "no spike") has one bin. A step goes from state bin (i, p) to (j, q) with
//!
//! `A[(i, p), (j, q)] = discrete[i, j] · continuous[i][j](p, q)`, each of whose rows sums to one.
//!
//! With `a_t` the predicted and `f_t` the filtered probabilities, `ll_t` the log likelihoods and M their maximum
//! (ε: see [`EPSILON`]):
//!
//! - [filter](StateSpace::filter): `a_0` initial, `f_t ∝ a_t · exp(ll_t − M)`, `a_{t+1} = f_t A`; the log evidence is
//!   `Σ_t M + ln Σ a_t exp(ll_t − M)`.
//! - [smoother](StateSpace::smooth): `s_T = f_T`, `s_t ∝ f_t · (A (s_{t+1} / a_{t+1}))` (Rauch, Tung, Striebel).
//! - [most likely path](StateSpace::most_likely_path): Viterbi's, in logarithms.
//!
//! Names, models and defaults are those of non_local_detector (E. L. Denovellis et al., "Hippocampal replay of experience
//! at real-world speeds", eLife 10 (2021), doi:10.7554/eLife.64505). It sets every filtered probability to at least 1e-15
//! in each step, so that its posterior can leave a place against all odds; [`Options::probability_floor`] does the same.
//!
//! A matrix is never made. Uniform transitions are sums. A random walk is one correlation along each axis where the bins
//! lie on a grid (gaps and holes are allowed), else a sparse product. Its most likely predecessors come from the upper
//! envelope of parabolas (P. Felzenszwalb, D. Huttenlocher, "Distance transforms of sampled functions", Theory of
//! Computing 8 (2012)), exactly and in time proportional to the bins. State is f64: f32 would lose a place after 87 nats.
//!
//! All this runs on the host, on any device: each of the T steps needs the one before and takes a few microseconds, less
//! than it takes to start a kernel. What does not depend on the step before is shared among threads.
//!
//! Data come from a [`LogLikelihood`] in chunks, results go to a callback in chunks, and only predicted probabilities at
//! the borders of chunks are kept between the two directions. Chunks and threads do not change one bit.

mod filter;
mod path;
mod plan;
mod source;
mod vector;
mod walk;

use std::ops::Range;

use ndarray::Array2;

use super::Environment;
use crate::{Error, Result};

pub use filter::{Posterior, PosteriorChunk, Summary};
pub use path::Path;
pub use plan::{Options, Plan, Task};
pub use source::{LogLikelihood, Observed, Rows, no_spike_log_likelihood};
use walk::Walk;

/// ε: of every transition between positions this part is spread over all bins of the state, and what is smaller beside a
/// total of one, of a kernel or of a state, is left out.
///
/// So a posterior is that of the exact matrix, up to rounding, unless the data of a few steps contradict the model by more
/// than ln 1/ε = 299 nats; there it stays finite and follows the data.
pub const EPSILON: f64 = 1e-130;

/// Transition probabilities are zero, or no less than this.
const LEAST_PROBABILITY: f64 = 1e-30;

/// How position changes in one step.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// `K(p, q) ∝ exp(−|x_p − x_q|² / (2 movement_var))` over interior bins, with the straight distance between centres.
    RandomWalk {
        /// cm² a step, positive; [`Transition::MOVEMENT_VAR`] by default.
        movement_var: f64,
    },
    /// Any interior bin, whatever the bin before.
    Uniform,
    /// The same bin.
    Identity,
    /// From or to a state without position: a position that appears is uniform.
    Discrete,
}

impl Transition {
    /// The reference's variance of a random walk, cm² a step.
    pub const MOVEMENT_VAR: f64 = 6.0;
}

/// What a discrete state says about the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// Spikes represent a position that is to be decoded: one bin for each interior position bin.
    NonLocal,
    /// Spikes represent the animal's own position: one bin, with the local log likelihood.
    Local,
    /// There are next to no spikes: one bin, with [`no_spike_log_likelihood`].
    NoSpike,
}

/// A discrete state: its name, and what it says about the data.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DiscreteState {
    /// To be shown.
    pub name: String,
    /// What it says about the data.
    pub observation: Observation,
}

impl DiscreteState {
    /// A state of this name.
    pub fn new(name: &str, observation: Observation) -> Self {
        Self { name: name.into(), observation }
    }
}

/// The reference's models, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// One state: a random walk.
    Decoder,
    /// Two states: a random walk, and fragmented (uniform); each is kept with probability 0.98.
    ContFrag,
    /// Four states: local, no spike, non-local continuous, non-local fragmented, which begin as local.
    NonLocal,
}

impl Model {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Decoder, Self::ContFrag, Self::NonLocal];

    /// `decoder`, `contfrag` or `nonlocal`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decoder => "decoder",
            Self::ContFrag => "contfrag",
            Self::NonLocal => "nonlocal",
        }
    }
}

impl std::str::FromStr for Model {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|m| m.name() == name);
        found.ok_or_else(|| Error::invalid("model", format!("\"{name}\"; one of {known}")))
    }
}

/// A state space: discrete states, how they follow one another, and how position changes meanwhile.
#[derive(Debug, Clone)]
pub struct StateSpace {
    centers: Array2<f64>,
    states: Vec<DiscreteState>,
    ranges: Vec<Range<usize>>,
    continuous: Vec<Vec<Transition>>,
    discrete: Array2<f64>,
    initial: Vec<f64>,
    walks: Vec<Walk>,
}

/// Checks a distribution.
fn distribution<'a>(what: &str, values: impl Iterator<Item = &'a f64> + Clone) -> Result<()> {
    if let Some((i, v)) = values.clone().enumerate().find(|(_, v)| !(**v == 0.0 || **v >= LEAST_PROBABILITY)) {
        return Err(Error::invalid(what, format!("number {i} is {v}; must be zero, or at least {LEAST_PROBABILITY}")));
    }
    let sum: f64 = values.sum();
    if !((sum - 1.0).abs() <= 1e-6) {
        return Err(Error::invalid(what, format!("sums to {sum}; must sum to 1")));
    }
    Ok(())
}

impl StateSpace {
    /// `states` (K); `continuous` (K × K) and `discrete` (K × K, rows sum to 1), from row to column; `initial` (K)
    /// probabilities of the states in the first time bin, in each of which position is uniform.
    ///
    /// # Errors
    /// `InvalidArgument` for shapes that differ from K, probabilities that do not sum to 1 (to 1e-6) or lie between 0 and
    /// 1e-30, a variance that is not positive, no state with a position, or a transition that is none between two such
    /// states.
    pub fn new(
        environment: &Environment,
        states: Vec<DiscreteState>,
        continuous: Vec<Vec<Transition>>,
        discrete: Array2<f64>,
        initial: &[f64],
    ) -> Result<Self> {
        let k = states.len();
        if !states.iter().any(|s| s.observation == Observation::NonLocal) {
            return Err(Error::invalid("states", "none has a position; at least one must be non-local"));
        }
        if discrete.dim() != (k, k) {
            let (n, m) = discrete.dim();
            return Err(Error::invalid("discrete transitions", format!("{n} × {m} for {k} states; must be {k} × {k}")));
        }
        if continuous.len() != k || continuous.iter().any(|row| row.len() != k) {
            return Err(Error::invalid(
                "continuous transitions",
                format!("must be {k} × {k}, as there are {k} states"),
            ));
        }
        if initial.len() != k {
            return Err(Error::invalid("initial conditions", format!("{} for {k} states", initial.len())));
        }
        distribution("initial conditions", initial.iter())?;
        for (i, row) in discrete.rows().into_iter().enumerate() {
            distribution(&format!("discrete transitions, row {i}"), row.into_iter())?;
        }
        let centers = environment.interior();
        let bins = centers.nrows();
        let has_position = |i: usize| states[i].observation == Observation::NonLocal;
        let mut walks: Vec<Walk> = Vec::new();
        for (i, row) in continuous.iter().enumerate() {
            for (j, transition) in row.iter().enumerate() {
                let what = || format!("transition from state {i} to {j}");
                match (has_position(i) && has_position(j), *transition) {
                    (true, Transition::Discrete) => {
                        return Err(Error::invalid(what(), "both have a position; use a walk, uniform or identity"));
                    }
                    (false, Transition::RandomWalk { .. } | Transition::Identity) => {
                        let why = "one of them has no position; use discrete";
                        return Err(Error::invalid(what(), why));
                    }
                    (true, Transition::RandomWalk { movement_var }) => {
                        if !(movement_var > 0.0 && movement_var.is_finite()) {
                            return Err(Error::invalid(
                                "movement_var",
                                format!("{movement_var} cm², must be positive"),
                            ));
                        }
                        if !walks.iter().any(|w| w.movement_var == movement_var) {
                            walks.push(Walk::new(&centers, movement_var)?);
                        }
                    }
                    _ => {}
                }
            }
        }
        let (mut ranges, mut at, mut first) = (Vec::new(), 0, Vec::new());
        for (i, p) in initial.iter().enumerate() {
            let n = if has_position(i) { bins } else { 1 };
            ranges.push(at..at + n);
            first.resize(at + n, p / n as f64);
            at += n;
        }
        Ok(Self { centers, states, ranges, continuous, discrete, initial: first, walks })
    }

    /// One of the reference's models; `movement_var` in cm² a step (`None`: 6).
    ///
    /// # Errors
    /// As [`Self::new`], for the variance.
    pub fn of_model(model: Model, environment: &Environment, movement_var: Option<f64>) -> Result<Self> {
        use Observation::{Local, NoSpike, NonLocal};
        use Transition::{Discrete, Uniform};
        let walk = Transition::RandomWalk { movement_var: movement_var.unwrap_or(Transition::MOVEMENT_VAR) };
        let (states, continuous, discrete, initial) = match model {
            Model::Decoder => {
                (vec![("Continuous", NonLocal)], vec![vec![walk]], Array2::from_elem((1, 1), 1.0), vec![1.0])
            }
            Model::ContFrag => (
                vec![("Continuous", NonLocal), ("Fragmented", NonLocal)],
                vec![vec![walk, Uniform], vec![Uniform, Uniform]],
                ndarray::arr2(&[[0.98, 0.02], [0.02, 0.98]]),
                vec![0.5, 0.5],
            ),
            Model::NonLocal => {
                // Dwell times of 200, 100, 50 and 50 ms at 500 Hz; silence ends a non-local event.
                let silent = 0.005;
                let out = |stay: f64| (1.0 - stay - silent) / 2.0;
                let (local, quiet, far) = (out(0.99), (1.0 - 0.98) / 3.0, out(0.96));
                let discrete = [
                    [0.99, silent, local, local],
                    [quiet, 0.98, quiet, quiet],
                    [far, silent, 0.96, far],
                    [far, silent, far, 0.96],
                ];
                (
                    vec![
                        ("Local", Local),
                        ("No-Spike", NoSpike),
                        ("Non-Local Continuous", NonLocal),
                        ("Non-Local Fragmented", NonLocal),
                    ],
                    vec![
                        vec![Discrete, Discrete, Uniform, Uniform],
                        vec![Discrete, Discrete, Uniform, Uniform],
                        vec![Discrete, Discrete, walk, Uniform],
                        vec![Discrete, Discrete, Uniform, Uniform],
                    ],
                    ndarray::arr2(&discrete),
                    vec![1.0, 0.0, 0.0, 0.0],
                )
            }
        };
        let states = states.into_iter().map(|(name, observation)| DiscreteState::new(name, observation)).collect();
        Self::new(environment, states, continuous, discrete, &initial)
    }

    /// The discrete states (K).
    pub fn states(&self) -> &[DiscreteState] {
        &self.states
    }

    /// The state bins of each discrete state (K), one behind the other.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// S, the number of state bins.
    pub fn n_state_bins(&self) -> usize {
        self.initial.len()
    }

    /// P, the number of position bins.
    pub fn n_bins(&self) -> usize {
        self.centers.nrows()
    }

    /// Centres of the position bins, cm (P × d).
    pub fn centers(&self) -> &Array2<f64> {
        &self.centers
    }

    /// The discrete state of a state bin, and its interior position bin where it has one; `None` beyond the last.
    pub fn locate(&self, state_bin: usize) -> Option<(usize, Option<usize>)> {
        let state = self.ranges.iter().position(|r| r.contains(&state_bin))?;
        Some((state, self.has_position(state).then(|| state_bin - self.ranges[state].start)))
    }

    /// Whether the likelihood of a local or of a no-spike state is needed.
    pub fn needs(&self, observation: Observation) -> bool {
        self.states.iter().any(|s| s.observation == observation)
    }

    /// Probabilities of the state bins in the first time bin (S).
    pub fn initial(&self) -> &[f64] {
        &self.initial
    }

    /// How each random walk of the model is applied: `grid` or `sparse`, and its multiply-adds a step.
    pub fn walks(&self) -> Vec<(&'static str, u64)> {
        self.walks.iter().map(|w| (w.form(), w.operations())).collect()
    }

    /// The whole matrix A (S × S) by its definition, for comparisons: nothing in this module uses it.
    pub fn transition_matrix(&self) -> Array2<f64> {
        let s = self.n_state_bins();
        let mut a = Array2::zeros((s, s));
        for (i, from) in self.ranges.iter().enumerate() {
            for (j, to) in self.ranges.iter().enumerate() {
                let mut block = Array2::from_shape_fn((from.len(), to.len()), |(p, q)| match self.continuous[i][j] {
                    Transition::RandomWalk { movement_var } => {
                        (-walk::squared_distance(&self.centers, p, q) / (2.0 * movement_var)).exp()
                    }
                    Transition::Identity => f64::from(u8::from(p == q)),
                    Transition::Uniform | Transition::Discrete => 1.0,
                });
                for mut row in block.rows_mut() {
                    let scale = self.discrete[[i, j]] / row.sum();
                    row *= scale;
                }
                a.slice_mut(ndarray::s![from.clone(), to.clone()]).assign(&block);
            }
        }
        a
    }

    fn has_position(&self, state: usize) -> bool {
        self.states[state].observation == Observation::NonLocal
    }

    /// The walk from `i` to `j`, if it is one, as an index.
    fn walk(&self, i: usize, j: usize) -> Option<usize> {
        match self.continuous[i][j] {
            Transition::RandomWalk { movement_var } => self.walks.iter().position(|w| w.movement_var == movement_var),
            _ => None,
        }
    }
}
