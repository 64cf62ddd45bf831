//! What the spikes of an electrode say about position: the fitted model.

use std::cmp::Ordering;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::density::{BinSums, Field, Sources, exact_at};
use super::{Environment, Spikes, Trajectory};
use crate::io::npz::{self, Npz, Number};
use crate::{Error, Result};

/// The least that an electrode adds to the ground-process intensity of a place.
pub const EPS: f64 = 1e-15;
/// The most that an electrode adds to it, so that f32 can hold the sum over electrodes. Reached only where occupancy
/// all but vanishes, some 10 standard deviations from where the animal was.
pub(super) const MOST_INTENSITY: f64 = 1e30;
/// Of the files that [`EncodingModel::save`] writes.
const VERSION: i64 = 1;

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

    fn sources(&self) -> Sources<'_> {
        Sources { positions: self.positions.view(), weights: &self.weights }
    }

    /// Whether no sum can tell it from the other.
    pub(super) fn same_contents(&self, other: &Self) -> bool {
        self.order(other).is_eq()
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
/// A model has the same bits for any number of threads, any order of the electrodes, and any order of spikes at the
/// same time.
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
    field: Lazy,
}

/// The field of the densities between the bins, made when it is first asked for. Not a part of what the model is.
#[derive(Debug, Clone, Default)]
struct Lazy(OnceLock<Option<Arc<Field>>>);

impl PartialEq for Lazy {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Densities at points of one's choice, for the likelihood of a known position.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalRates {
    /// occ(x), 1/cm^d (points).
    pub occupancy: Vec<f64>,
    /// Σ_e rate_e·gpi_e(x), spikes a position sample and cm^d (points); 0 where occ(x) is 0.
    pub ground_process_intensity: Vec<f64>,
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
    /// positive or not as many as dimensions; a track of which no interior bin was visited
    /// ([`Self::n_unvisited`]); weights that are negative, not finite, all 0, or not as many as samples.
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
        let fired: Vec<Vec<f64>> = electrodes.par_iter().map(|e| bins.sums(e.sources())).collect();
        let mut intensity = vec![0.0; interior.nrows()];
        for e in canonical_order(&electrodes) {
            // Norms and Σ_t w_t cancel in rate_e·gpi_e/occ.
            for (p, sum) in intensity.iter_mut().enumerate() {
                let ratio = if occupancy[p] > 0.0 { fired[e][p] / visits[p] } else { 0.0 };
                *sum += ratio.clamp(EPS, MOST_INTENSITY);
            }
        }
        let model = Self {
            environment: environment.clone(),
            position_std,
            electrodes,
            occupancy,
            summed_ground_process_intensity: intensity,
            sample_period: trajectory.sample_period(),
            position: trajectory.position().clone(),
            weights,
            field: Lazy::default(),
        };
        if model.n_unvisited() == model.occupancy.len() {
            let why = "no bin inside the track is within 6 position_std of any position sample; are both in cm and in \
                       the same frame?";
            return Err(Error::invalid("place_bin_centers", why));
        }
        Ok(model)
    }

    /// occ and Σ_e rate_e·gpi_e at `points`, cm (points × d), as the local likelihood needs them.
    ///
    /// In one and two dimensions from smoothed nodes, made once at the first call, so that a point costs the same
    /// however long the session was: right to 10⁻⁶ of every value above 10⁻²⁹⁰ of the sums' terms, inside and outside
    /// the visited places. In three dimensions or more, and where the positions span thousands of standard deviations
    /// in two, every point sums all samples and spikes.
    ///
    /// # Errors
    /// `InvalidArgument` for points of another dimension than the model's, or not finite.
    pub fn local_rates(&self, points: ArrayView2<f64>) -> Result<LocalRates> {
        let d = self.position_std.len();
        if points.ncols() != d {
            let why = format!("{} dimensions, and the model was fitted with {d}", points.ncols());
            return Err(Error::invalid("position", why));
        }
        if let Some(((row, _), value)) = points.indexed_iter().find(|(_, x)| !x.is_finite()) {
            return Err(Error::invalid("position", format!("row {row} has {value}; must be finite")));
        }
        let samples = Sources { positions: self.position.view(), weights: &self.weights };
        let spikes = || self.canonical_order().into_iter().map(|e| self.electrodes[e].sources());
        let make = || Field::new(samples, &spikes().collect::<Vec<_>>(), &self.position_std).map(Arc::new);
        let sums = match self.field.0.get_or_init(make) {
            Some(field) => field.at(points),
            None => {
                let visits = exact_at(samples, &self.position_std, points);
                let mut sums: Vec<[f64; 2]> = visits.into_iter().map(|s| [s, 0.0]).collect();
                for sources in spikes() {
                    let fired = exact_at(sources, &self.position_std, points);
                    sums.iter_mut().zip(fired).for_each(|(sum, s)| sum[1] += s);
                }
                sums
            }
        };
        let unit = gaussian_norm(&self.position_std);
        let total_weight = total(&self.weights, self.position.nrows());
        let density = |s: f64| s / total_weight * unit;
        let occupancy: Vec<f64> = sums.iter().map(|s| density(s[0])).collect();
        let ground = |(s, occ): (&[f64; 2], &f64)| if *occ > 0.0 { density(s[1]) } else { 0.0 };
        let ground_process_intensity = sums.iter().zip(&occupancy).map(ground).collect();
        Ok(LocalRates { occupancy, ground_process_intensity })
    }

    /// Bytes that [`Self::local_rates`] holds on to from its first call on.
    pub fn local_bytes(&self) -> u64 {
        let n = self.position.nrows() + self.electrodes.iter().map(EncodingElectrode::len).sum::<usize>();
        Field::bytes(self.position.view(), &self.position_std, n)
    }

    /// Bytes of the model itself: spikes, position samples, bins.
    pub fn bytes(&self) -> u64 {
        let electrode = |e: &EncodingElectrode| {
            size_of::<f32>() * e.features.len() + size_of::<f64>() * (e.positions.len() + e.weights.len() + e.dims())
        };
        let spikes: usize = self.electrodes.iter().map(electrode).sum();
        let bins = self.environment.place_bin_centers().len() + 2 * self.occupancy.len();
        let samples = self.position.len() + self.weights.len();
        (spikes + size_of::<f64>() * (bins + samples) + self.environment.is_track_interior().len()) as u64
    }

    /// Writes the model to an NPZ file, whole or not at all: arrays with the names of this type's getters, those of an
    /// electrode numbered, each with a checksum.
    ///
    /// # Errors
    /// `File` if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        npz::write(path, |file| {
            file.array("encoding_model_version", &[], &[VERSION])?;
            file.ndarray("place_bin_centers", self.environment.place_bin_centers())?;
            let interior = self.environment.is_track_interior();
            file.array("is_track_interior", &[interior.len()], interior)?;
            file.array("position_std", &[self.position_std.len()], &self.position_std)?;
            file.array("occupancy", &[self.occupancy.len()], &self.occupancy)?;
            let intensity = &self.summed_ground_process_intensity;
            file.array("summed_ground_process_intensity", &[intensity.len()], intensity)?;
            file.ndarray("position", &self.position)?;
            file.array("weights", &[self.weights.len()], &self.weights)?;
            file.array("sample_period", &[1], &[self.sample_period])?;
            file.array("mean_rates", &[self.electrodes.len()], &self.mean_rates())?;
            let dropped: Vec<i64> = self.electrodes.iter().map(|e| e.n_dropped as i64).collect();
            file.array("n_dropped", &[dropped.len()], &dropped)?;
            for (e, electrode) in self.electrodes.iter().enumerate() {
                file.ndarray(&format!("encoding_spike_waveform_features_{e}"), &electrode.features)?;
                file.ndarray(&format!("encoding_positions_{e}"), &electrode.positions)?;
                file.array(&format!("encoding_weights_{e}"), &[electrode.weights.len()], &electrode.weights)?;
                file.array(&format!("waveform_std_{e}"), &[electrode.dims()], &electrode.waveform_std)?;
            }
            Ok(())
        })
    }

    /// Reads what [`Self::save`] wrote: the same model, to the bit.
    ///
    /// # Errors
    /// `File` for a file that is missing, truncated, damaged, of another version, or not a model.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let mut npz = Npz::open(path)?;
        if !npz.has("encoding_model_version") {
            return Err(npz.error("is not an encoding model; fit one and save it"));
        }
        let version: i64 = npz.scalar("encoding_model_version")?;
        if version != VERSION {
            let why = format!("is an encoding model of version {version}, and this program reads version {VERSION}");
            return Err(npz.error(why + "; fit it again"));
        }
        let (centers, interior) = (npz.matrix("place_bin_centers")?, npz.vector("is_track_interior")?);
        let environment = Environment::new(centers, interior).map_err(|e| npz.error(e))?;
        let (p, d) = (environment.n_interior(), environment.dims());
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let position_std = vector(&mut npz, "position_std", &[d], positive)?;
        let position = matrix(&mut npz, "position", None, Some(d), f64::is_finite)?;
        let n = position.nrows();
        if n == 0 {
            return Err(npz.error("array \"position\" is empty"));
        }
        let at_least_0 = |x: f64| x >= 0.0 && x.is_finite();
        let dropped: Vec<i64> = npz.vector("n_dropped")?;
        let mean_rates = vector(&mut npz, "mean_rates", &[dropped.len()], at_least_0)?;
        let mut electrodes = Vec::with_capacity(dropped.len());
        for (e, (mean_rate, dropped)) in mean_rates.into_iter().zip(dropped).enumerate() {
            let features: Array2<f32> =
                matrix(&mut npz, &format!("encoding_spike_waveform_features_{e}"), None, None, f32::is_finite)?;
            let (spikes, dims) = features.dim();
            let name = format!("encoding_positions_{e}");
            let positions = matrix(&mut npz, &name, Some(spikes), Some(d), f64::is_finite)?;
            let weights = vector(&mut npz, &format!("encoding_weights_{e}"), &[0, spikes], positive)?;
            let waveform_std = vector(&mut npz, &format!("waveform_std_{e}"), &[dims], positive)?;
            let n_dropped = usize::try_from(dropped)
                .map_err(|_| npz.error(format!("array \"n_dropped\" holds {dropped}, which no model has")))?;
            electrodes.push(EncodingElectrode { features, positions, weights, mean_rate, waveform_std, n_dropped });
        }
        Ok(Self {
            occupancy: vector(&mut npz, "occupancy", &[p], at_least_0)?,
            summed_ground_process_intensity: vector(&mut npz, "summed_ground_process_intensity", &[p], positive)?,
            weights: vector(&mut npz, "weights", &[0, n], at_least_0)?,
            sample_period: vector(&mut npz, "sample_period", &[1], at_least_0)?[0],
            environment,
            position_std,
            electrodes,
            position,
            field: Lazy::default(),
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

    /// How many interior bins the animal never visited: those more than 6 σx from every position sample of positive
    /// weight, where nothing is known of what the electrodes say. Counted at each call.
    pub fn n_unvisited(&self) -> usize {
        const FAR: f64 = 6.0;
        let kernel = (-0.5 * FAR * FAR).exp();
        let scale = total(&self.weights, self.position.nrows()) / gaussian_norm(&self.position_std);
        let interior = self.environment.interior();
        let near = |p: usize| {
            let (bin, std) = (interior.row(p), &self.position_std);
            let distance = |x: ndarray::ArrayView1<'_, f64>| {
                bin.iter().zip(x).zip(std).map(|((p, x), s)| ((p - x) / s).powi(2)).sum::<f64>()
            };
            let counts = |i: usize| self.weights.get(i).is_none_or(|w| *w > 0.0);
            self.position.rows().into_iter().enumerate().any(|(i, x)| counts(i) && distance(x) <= FAR * FAR)
        };
        // The sum of all kernels settles nearly every bin without a look at the samples.
        let far = |p: &usize| {
            let sum = self.occupancy[*p] * scale;
            let surely = sum < 0.9 * kernel && self.weights.is_empty();
            sum < 1.1 * kernel * self.position.nrows() as f64 && (surely || !near(*p))
        };
        (0..interior.nrows()).into_par_iter().filter(far).count()
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

/// A vector of one of these lengths whose every number is good.
fn vector(npz: &mut Npz, name: &str, lengths: &[usize], good: impl Fn(f64) -> bool) -> Result<Vec<f64>> {
    let values: Vec<f64> = npz.vector(name)?;
    if !lengths.contains(&values.len()) {
        let n = lengths.last().copied().unwrap_or_default();
        return Err(npz.error(format!("array \"{name}\" has {} numbers, and the other arrays need {n}", values.len())));
    }
    match values.iter().find(|x| !good(**x)) {
        Some(x) => Err(npz.error(format!("array \"{name}\" holds {x}, which no model has"))),
        None => Ok(values),
    }
}

/// A matrix of this shape, as far as it is given, whose every number is good.
fn matrix<T: Number + Display + Copy>(
    npz: &mut Npz,
    name: &str,
    rows: Option<usize>,
    columns: Option<usize>,
    good: impl Fn(T) -> bool,
) -> Result<Array2<T>> {
    let values: Array2<T> = npz.matrix(name)?;
    let want = (rows.unwrap_or(values.nrows()), columns.unwrap_or(values.ncols().max(1)));
    if values.dim() != want {
        let (found, want) = (values.dim(), format!("{} × {}", want.0, want.1));
        let why = format!("array \"{name}\" is {} × {}, and the other arrays need {want}", found.0, found.1);
        return Err(npz.error(why));
    }
    match values.iter().find(|x| !good(**x)) {
        Some(x) => Err(npz.error(format!("array \"{name}\" holds {x}, which no model has"))),
        None => Ok(values),
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
