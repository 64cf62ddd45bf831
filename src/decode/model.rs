//! What the spikes of an electrode say about position: the fitted model.

use std::cmp::Ordering;

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::density::{BinSums, Sources};
use super::{Environment, Spikes, Trajectory};
use crate::{Error, Result};

/// The least that an electrode adds to the ground-process intensity of a place.
pub const EPS: f64 = 1e-15;
/// The most that an electrode adds to it, so that f32 can hold the sum over electrodes. Reached only where occupancy
/// all but vanishes, some 10 standard deviations from where the animal was.
const MOST_INTENSITY: f64 = 1e30;

/// Standard deviations of a Gaussian kernel with a diagonal covariance.
#[derive(Debug, Clone, PartialEq)]
pub enum Bandwidth {
    /// The same for all dimensions.
    Scalar(f64),
    /// One for each dimension.
    PerDimension(Vec<f64>),
    /// One for each dimension of each electrode, where their marks differ in dimension. Not for positions.
    PerElectrode(Vec<Vec<f64>>),
}

impl From<f64> for Bandwidth {
    fn from(std: f64) -> Self {
        Self::Scalar(std)
    }
}

impl From<Vec<f64>> for Bandwidth {
    fn from(std: Vec<f64>) -> Self {
        Self::PerDimension(std)
    }
}

impl From<Vec<Vec<f64>>> for Bandwidth {
    fn from(std: Vec<Vec<f64>>) -> Self {
        Self::PerElectrode(std)
    }
}

/// As many as there are dimensions, each positive and finite.
fn checked(what: &str, of: &str, std: &[f64], dims: usize) -> Result<Vec<f64>> {
    if std.len() != dims {
        let why =
            format!("{} values for {of} with {dims} dimensions; give one a dimension, or a single number", std.len());
        return Err(Error::invalid(what, why));
    }
    match std.iter().position(|s| !(*s > 0.0 && s.is_finite())) {
        Some(k) => Err(Error::invalid(what, format!("{} in dimension {k} of {of}; must be positive", std[k]))),
        None => Ok(std.to_vec()),
    }
}

/// How a model is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOptions {
    /// σx of the position kernel in cm; default 6.
    pub position_std: Bandwidth,
    /// σw of the mark kernel in the unit of the marks; default 24 (µV).
    pub waveform_std: Bandwidth,
    /// A weight for each position sample that is known (rows with NaN do not count); default 1 each. A spike has the
    /// weight of its time, interpolated linearly. Only their ratios matter. non_local_detector accepts weights and
    /// ignores them.
    pub weights: Option<Vec<f64>>,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { position_std: 6.0.into(), waveform_std: 24.0.into(), weights: None }
    }
}

/// The encoding spikes of one electrode: those within the time of the position samples and of positive weight, sorted
/// by position, then marks, then weight.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodingElectrode {
    features: Array2<f32>,
    positions: Array2<f64>,
    weights: Vec<f64>,
    mean_rate: f64,
    waveform_std: Vec<f64>,
    n_dropped: usize,
}

impl EncodingElectrode {
    /// Marks m_i, usually µV (n × D).
    pub fn features(&self) -> &Array2<f32> {
        &self.features
    }

    /// Positions x_i, cm (n × d).
    pub fn positions(&self) -> &Array2<f64> {
        &self.positions
    }

    /// Weights w_i in (0, 1] (n); empty where all are 1.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Σ_i w_i.
    pub fn total_weight(&self) -> f64 {
        total(&self.weights, self.len())
    }

    /// Σ_i w_i / Σ_t w_t, spikes a position sample.
    pub fn mean_rate(&self) -> f64 {
        self.mean_rate
    }

    /// σw, in the unit of the marks (D).
    pub fn waveform_std(&self) -> &[f64] {
        &self.waveform_std
    }

    /// n, the number of spikes.
    pub fn len(&self) -> usize {
        self.features.nrows()
    }

    /// Whether there is no spike.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// D, the dimensions of a mark.
    pub fn dims(&self) -> usize {
        self.features.ncols()
    }

    /// Spikes left out: before the first or after the last position sample, or of weight 0.
    pub fn n_dropped(&self) -> usize {
        self.n_dropped
    }

    /// A total order by contents. Equal are electrodes that no sum can tell apart.
    fn order(&self, other: &Self) -> Ordering {
        let marks = |e: &Self| (e.len(), e.dims());
        marks(self)
            .cmp(&marks(other))
            .then_with(|| compare(self.positions.iter(), other.positions.iter(), f64::total_cmp))
            .then_with(|| compare(self.features.iter(), other.features.iter(), f32::total_cmp))
            .then_with(|| compare(self.weights.iter(), other.weights.iter(), f64::total_cmp))
            .then_with(|| compare(self.waveform_std.iter(), other.waveform_std.iter(), f64::total_cmp))
    }
}

/// Lexicographic; the shorter first.
fn compare<'a, T: 'a>(
    a: impl ExactSizeIterator<Item = &'a T>,
    b: impl ExactSizeIterator<Item = &'a T>,
    by: impl Fn(&T, &T) -> Ordering,
) -> Ordering {
    let lengths = a.len().cmp(&b.len());
    a.zip(b).map(|(x, y)| by(x, y)).find(|o| o.is_ne()).unwrap_or(lengths)
}

/// Sum of weights, where none stand for 1 each.
fn total(weights: &[f64], n: usize) -> f64 {
    if weights.is_empty() { n as f64 } else { weights.iter().sum() }
}

/// A clusterless encoding model: kernel density estimates of where the animal was, and of where and with which marks
/// each electrode fired.
///
/// With σx the standard deviations of the position kernel, w_t the weights of the position samples x_t and w_i, x_i the
/// weights and positions of the spikes of electrode e, at bin p of the track's interior:
///
/// - occ(p) = Σ_t w_t Π_k N(p_k; x_tk, σx_k²) / Σ_t w_t
/// - rate_e = Σ_i w_i / Σ_t w_t
/// - gpi_e(p) = Σ_i w_i Π_k N(p_k; x_ik, σx_k²) / Σ_i w_i
/// - Λ(p) = Σ_e max(rate_e·gpi_e(p)/occ(p), [`EPS`])
///
/// as in X. Deng et al., Neural Computation 27 (2015), doi:10.1162/NECO_a_00744, with the conventions of
/// non_local_detector: rates are per position sample, and where occ(p) is 0 an electrode adds [`EPS`].
///
/// A model has the same bits for any number of threads, any order of the electrodes, and any order of spikes.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodingModel {
    environment: Environment,
    position_std: Vec<f64>,
    electrodes: Vec<EncodingElectrode>,
    occupancy: Vec<f64>,
    summed_ground_process_intensity: Vec<f64>,
    /// Seconds.
    sample_period: f64,
    /// Position samples, for densities between the bins.
    position: Array2<f64>,
    weights: Vec<f64>,
}

impl EncodingModel {
    /// Fits a model to the position samples and to the spikes of each electrode (no spike is well). Spikes before the
    /// first or after the last position sample are dropped ([`EncodingElectrode::n_dropped`]).
    ///
    /// In f64. Few samples and bins are summed as they stand; many, in one and two dimensions, on a lattice that is
    /// right to 10⁻⁶ of every value.
    ///
    /// # Errors
    /// `InvalidArgument` for no electrode; bins of another dimension than positions; standard deviations that are not
    /// positive or not as many as dimensions; weights that are negative, not finite, all 0, or not as many as samples.
    pub fn fit(
        trajectory: &Trajectory,
        spikes: &[Spikes],
        environment: &Environment,
        options: &FitOptions,
    ) -> Result<Self> {
        let (n, d) = trajectory.position().dim();
        if environment.dims() != d {
            let why = format!("{} dimensions, and position has {d}; they must be the same", environment.dims());
            return Err(Error::invalid("place_bin_centers", why));
        }
        if spikes.is_empty() {
            return Err(Error::invalid("spikes", "no electrode; give at least one, even if it has no spike"));
        }
        let position_std = position_std(&options.position_std, d)?;
        let waveform_std = waveform_std(&options.waveform_std, spikes)?;
        let weights = relative_weights(options.weights.as_deref(), n)?;
        let weight_at = match weights.is_empty() {
            true => None,
            false => {
                let column = Array2::from_shape_fn((n, 1), |(i, _)| weights[i]);
                Some(Trajectory::new(trajectory.time().to_vec(), column)?)
            }
        };
        let total_weight = total(&weights, n);
        let electrodes: Vec<EncodingElectrode> = spikes
            .par_iter()
            .zip(waveform_std)
            .map(|(spikes, std)| encode(trajectory, weight_at.as_ref(), total_weight, spikes, std))
            .collect();

        let interior = environment.interior();
        let sets: Vec<usize> = std::iter::once(n).chain(electrodes.iter().map(EncodingElectrode::len)).collect();
        let bins = BinSums::new(trajectory.position().view(), &position_std, interior.view(), &sets);
        let visits = bins.sums(Sources { positions: trajectory.position().view(), weights: &weights });
        let norm = gaussian_norm(&position_std);
        let occupancy: Vec<f64> = visits.iter().map(|s| s / total_weight * norm).collect();
        let fired: Vec<Vec<f64>> = electrodes
            .par_iter()
            .map(|e| bins.sums(Sources { positions: e.positions.view(), weights: &e.weights }))
            .collect();
        let mut intensity = vec![0.0; interior.nrows()];
        for e in canonical_order(&electrodes) {
            // Norms and Σ_t w_t cancel in rate_e·gpi_e/occ.
            for (p, sum) in intensity.iter_mut().enumerate() {
                let ratio = if occupancy[p] > 0.0 { fired[e][p] / visits[p] } else { 0.0 };
                *sum += ratio.clamp(EPS, MOST_INTENSITY);
            }
        }
        Ok(Self {
            environment: environment.clone(),
            position_std,
            electrodes,
            occupancy,
            summed_ground_process_intensity: intensity,
            sample_period: trajectory.sample_period(),
            position: trajectory.position().clone(),
            weights,
        })
    }

    /// Checks that these spikes can be decoded with this model.
    ///
    /// # Errors
    /// `InvalidArgument` for another number of electrodes, or marks of another dimension than the electrode's.
    pub fn check_spikes(&self, spikes: &[Spikes]) -> Result<()> {
        if spikes.len() != self.electrodes.len() {
            let why = format!("{} electrodes, and the model has {}", spikes.len(), self.electrodes.len());
            return Err(Error::invalid("spikes", why + "; give one entry for each, even if it has no spike"));
        }
        for (e, (spikes, electrode)) in spikes.iter().zip(&self.electrodes).enumerate() {
            let (found, want) = (spikes.features().ncols(), electrode.dims());
            if found != want {
                let why = format!("{found} features a spike on electrode {e}, which was fitted with {want}");
                return Err(Error::invalid("spike_waveform_features", why));
            }
        }
        Ok(())
    }

    /// The places.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// σx, cm (d).
    pub fn position_std(&self) -> &[f64] {
        &self.position_std
    }

    /// All electrodes, in the order they were given.
    pub fn electrodes(&self) -> &[EncodingElectrode] {
        &self.electrodes
    }

    /// σw of electrode `e` (D); `None` if there is none of this number.
    pub fn waveform_std(&self, e: usize) -> Option<&[f64]> {
        self.electrodes.get(e).map(EncodingElectrode::waveform_std)
    }

    /// Positions of the encoding spikes of electrode `e`, cm (n × d).
    pub fn encoding_positions(&self, e: usize) -> Option<&Array2<f64>> {
        self.electrodes.get(e).map(EncodingElectrode::positions)
    }

    /// Marks of the encoding spikes of electrode `e` (n × D).
    pub fn encoding_spike_waveform_features(&self, e: usize) -> Option<&Array2<f32>> {
        self.electrodes.get(e).map(EncodingElectrode::features)
    }

    /// occ at the interior bins, 1/cm^d (P). 0 where it underflows, some 38 standard deviations from every sample.
    pub fn occupancy(&self) -> &[f64] {
        &self.occupancy
    }

    /// rate_e, spikes a position sample (E).
    pub fn mean_rates(&self) -> Vec<f64> {
        self.electrodes.iter().map(EncodingElectrode::mean_rate).collect()
    }

    /// Λ at the interior bins, spikes a position sample (P). Finite in f32 too: an electrode adds 10³⁰ at most.
    pub fn summed_ground_process_intensity(&self) -> &[f64] {
        &self.summed_ground_process_intensity
    }

    /// Median time between position samples, s; 0 for a single one.
    pub fn sample_period(&self) -> f64 {
        self.sample_period
    }

    /// The position samples, cm (n × d).
    pub fn position(&self) -> &Array2<f64> {
        &self.position
    }

    /// Weights of the position samples, relative to the largest (n); empty where all are the same.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The numbers of the electrodes in an order that depends on their contents alone: what is added over electrodes in
    /// this order has the same bits whatever the order they were given in. Electrodes with identical contents (empty
    /// ones, say) stay as given.
    pub fn canonical_order(&self) -> Vec<usize> {
        canonical_order(&self.electrodes)
    }
}

fn canonical_order(electrodes: &[EncodingElectrode]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..electrodes.len()).collect();
    order.sort_by(|a, b| electrodes[*a].order(&electrodes[*b]));
    order
}

/// Π_k 1/(σ_k √2π).
fn gaussian_norm(std: &[f64]) -> f64 {
    std.iter().map(|s| 1.0 / (s * (2.0 * std::f64::consts::PI).sqrt())).product()
}

fn position_std(bandwidth: &Bandwidth, d: usize) -> Result<Vec<f64>> {
    let what = "position_std";
    let std = match bandwidth {
        Bandwidth::Scalar(std) => vec![*std; d],
        Bandwidth::PerDimension(std) => std.clone(),
        Bandwidth::PerElectrode(_) => {
            return Err(Error::invalid(what, "one for each electrode; all electrodes share the positions"));
        }
    };
    let std = checked(what, "a position", &std, d)?;
    if !gaussian_norm(&std).is_normal() {
        return Err(Error::invalid(what, format!("{std:?} cm, a density in f64 cannot be as narrow or wide as that")));
    }
    Ok(std)
}

fn waveform_std(bandwidth: &Bandwidth, spikes: &[Spikes]) -> Result<Vec<Vec<f64>>> {
    let what = "waveform_std";
    if let Bandwidth::PerElectrode(std) = bandwidth
        && std.len() != spikes.len()
    {
        return Err(Error::invalid(what, format!("for {} electrodes, and there are {}", std.len(), spikes.len())));
    }
    let one = |(e, spikes): (usize, &Spikes)| {
        let dims = spikes.features().ncols();
        let of = format!("the marks of electrode {e}");
        match bandwidth {
            Bandwidth::Scalar(std) => checked(what, &of, &vec![*std; dims], dims),
            Bandwidth::PerDimension(std) => checked(what, &of, std, dims),
            Bandwidth::PerElectrode(std) => checked(what, &of, &std[e], dims),
        }
    };
    spikes.iter().enumerate().map(one).collect()
}

/// Weights over the largest; none where all are the same.
fn relative_weights(weights: Option<&[f64]>, n: usize) -> Result<Vec<f64>> {
    let Some(weights) = weights else { return Ok(Vec::new()) };
    if weights.len() != n {
        let why = format!("{} values for {n} known position samples; give one for each that is not NaN", weights.len());
        return Err(Error::invalid("weights", why));
    }
    if let Some(i) = weights.iter().position(|w| !(*w >= 0.0 && w.is_finite())) {
        return Err(Error::invalid("weights", format!("number {i} is {}; must be 0 or positive", weights[i])));
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Err(Error::invalid("weights", "all are 0; at least one position sample must count"));
    }
    if weights.iter().all(|w| *w == largest) {
        return Ok(Vec::new());
    }
    Ok(weights.iter().map(|w| w / largest).collect())
}

/// The electrode's spikes with the positions and weights of their times.
fn encode(
    trajectory: &Trajectory,
    weight_at: Option<&Trajectory>,
    total_weight: f64,
    spikes: &Spikes,
    waveform_std: Vec<f64>,
) -> EncodingElectrode {
    let known = trajectory.time();
    let (first, last) = (known[0], known[known.len() - 1]);
    let inside = spikes.times().partition_point(|t| *t < first)..spikes.times().partition_point(|t| *t <= last);
    let times = &spikes.times()[inside.clone()];
    let positions = trajectory.at(times);
    let weights = weight_at.map_or_else(Vec::new, |w| w.at(times).into_raw_vec_and_offset().0);
    let features = spikes.features().slice_axis(Axis(0), inside.into());
    let weight = |i: usize| weights.get(i).copied().unwrap_or(1.0);
    let mut order: Vec<usize> = (0..times.len()).filter(|i| weight(*i) > 0.0).collect();
    order.sort_unstable_by(|a, b| {
        let rows = |m: ArrayView2<'_, f64>| compare(m.row(*a).iter(), m.row(*b).iter(), f64::total_cmp);
        rows(positions.view())
            .then_with(|| compare(features.row(*a).iter(), features.row(*b).iter(), f32::total_cmp))
            .then_with(|| weight(*a).total_cmp(&weight(*b)))
    });
    let weights: Vec<f64> = if weights.is_empty() { weights } else { order.iter().map(|i| weights[*i]).collect() };
    EncodingElectrode {
        features: features.select(Axis(0), &order),
        positions: positions.select(Axis(0), &order),
        mean_rate: total(&weights, order.len()) / total_weight,
        n_dropped: spikes.len() - order.len(),
        weights,
        waveform_std,
    }
}
