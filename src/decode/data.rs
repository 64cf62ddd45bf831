//! What a decoder is given: spikes, positions, places and time bins, checked once on the way in.

use ndarray::Array2;

use crate::{Error, Result};

/// Checks that times are finite and do not decrease.
fn ascending(what: &str, times: &[f64]) -> Result<()> {
    if let Some(i) = times.iter().position(|t| !t.is_finite()) {
        return Err(Error::invalid(what, format!("number {i} is {}; remove it or give its time", times[i])));
    }
    if let Some(i) = times.windows(2).position(|w| w[1] < w[0]) {
        let why = format!("number {} is {} and follows {}; sort by time", i + 1, times[i + 1], times[i]);
        return Err(Error::invalid(what, why));
    }
    Ok(())
}

/// Median difference of times that follow each other, or 0.
fn median_step(times: &[f64]) -> f64 {
    let mut steps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
    let middle = steps.len() / 2;
    if steps.is_empty() { 0.0 } else { *steps.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

/// The spikes of one electrode: their times, and the features of their waveforms.
#[derive(Debug, Clone, PartialEq)]
pub struct Spikes {
    times: Vec<f64>,
    features: Array2<f32>,
}

impl Spikes {
    /// `times` in seconds (n), ascending; `features` usually in µV (n × D), D ≥ 1 even without spikes.
    ///
    /// # Errors
    /// `InvalidArgument` for unsorted or non-finite times, non-finite features, or lengths that differ.
    pub fn new(times: Vec<f64>, features: Array2<f32>) -> Result<Self> {
        if times.len() != features.nrows() {
            let why = format!("{} spike times and {} rows of features; one row a spike", times.len(), features.nrows());
            return Err(Error::invalid("spike_waveform_features", why));
        }
        if features.ncols() == 0 {
            return Err(Error::invalid("spike_waveform_features", "no columns; at least one feature a spike"));
        }
        ascending("spike_times", &times)?;
        if let Some(((row, column), value)) = features.indexed_iter().find(|(_, v)| !v.is_finite()) {
            let why = format!("feature {column} of spike {row} is {value:?}; remove the spike or repair it");
            return Err(Error::invalid("spike_waveform_features", why));
        }
        Ok(Self { times, features: features.as_standard_layout().into_owned() })
    }

    /// As [`Self::new`] for spikes in any order.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn sorted(times: Vec<f64>, features: Array2<f32>) -> Result<Self> {
        if times.len() != features.nrows() {
            return Self::new(times, features);
        }
        // Ties by features, so that the order of the input leaves no trace.
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by(|a, b| {
            let row = |i: usize| features.row(i).iter().copied().collect::<Vec<f32>>();
            times[*a].total_cmp(&times[*b]).then_with(|| {
                row(*a)
                    .iter()
                    .zip(&row(*b))
                    .map(|(x, y)| x.total_cmp(y))
                    .find(|o| o.is_ne())
                    .unwrap_or(std::cmp::Ordering::Equal)
            })
        });
        let features = features.select(ndarray::Axis(0), &order);
        Self::new(order.into_iter().map(|i| times[i]).collect(), features)
    }

    /// Seconds (n).
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    /// n × D, row-major.
    pub fn features(&self) -> &Array2<f32> {
        &self.features
    }

    /// Number of spikes.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no spike.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

/// The places that are decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    place_bin_centers: Array2<f64>,
    is_track_interior: Vec<bool>,
}

impl Environment {
    /// `place_bin_centers` in cm (all bins × d); `is_track_interior` tells which of them are on the track.
    ///
    /// # Errors
    /// `InvalidArgument` for lengths that differ, non-finite centres, or no interior bin.
    pub fn new(place_bin_centers: Array2<f64>, is_track_interior: Vec<bool>) -> Result<Self> {
        let (n, d) = place_bin_centers.dim();
        if n != is_track_interior.len() {
            let why = format!("{} values for {n} place bins; one for each", is_track_interior.len());
            return Err(Error::invalid("is_track_interior", why));
        }
        if d == 0 {
            return Err(Error::invalid("place_bin_centers", "no columns; one for each position dimension"));
        }
        if let Some(((row, _), value)) = place_bin_centers.indexed_iter().find(|(_, v)| !v.is_finite()) {
            return Err(Error::invalid("place_bin_centers", format!("bin {row} has {value}; must be finite")));
        }
        if !is_track_interior.contains(&true) {
            return Err(Error::invalid(
                "is_track_interior",
                "no bin is inside the track; mark those that can be visited",
            ));
        }
        Ok(Self { place_bin_centers: place_bin_centers.as_standard_layout().into_owned(), is_track_interior })
    }

    /// All bins, cm (bins × d).
    pub fn place_bin_centers(&self) -> &Array2<f64> {
        &self.place_bin_centers
    }

    /// Which bins are on the track.
    pub fn is_track_interior(&self) -> &[bool] {
        &self.is_track_interior
    }

    /// The bins on the track, cm (P × d).
    pub fn interior(&self) -> Array2<f64> {
        let rows: Vec<usize> = (0..self.is_track_interior.len()).filter(|i| self.is_track_interior[*i]).collect();
        self.place_bin_centers.select(ndarray::Axis(0), &rows)
    }

    /// P, the number of bins on the track.
    pub fn n_interior(&self) -> usize {
        self.is_track_interior.iter().filter(|i| **i).count()
    }

    /// d, the dimensions of a position.
    pub fn dims(&self) -> usize {
        self.place_bin_centers.ncols()
    }
}

/// Where the animal was.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    time: Vec<f64>,
    position: Array2<f64>,
}

impl Trajectory {
    /// `time` in seconds (n), ascending, and `position` in cm (n × d). Rows whose position is NaN are left out.
    ///
    /// # Errors
    /// `InvalidArgument` for unsorted or non-finite times, infinite positions, lengths that differ, or no row left.
    pub fn new(time: Vec<f64>, position: Array2<f64>) -> Result<Self> {
        if time.len() != position.nrows() {
            let why = format!("{} rows for {} times; one row a time", position.nrows(), time.len());
            return Err(Error::invalid("position", why));
        }
        if position.ncols() == 0 {
            return Err(Error::invalid("position", "no columns; one for each position dimension"));
        }
        ascending("position_time", &time)?;
        let known: Vec<usize> = (0..time.len()).filter(|i| !position.row(*i).iter().any(|x| x.is_nan())).collect();
        if known.is_empty() {
            return Err(Error::invalid("position", "no position is known; give at least one row without NaN"));
        }
        let position = position.select(ndarray::Axis(0), &known);
        if let Some(((row, _), value)) = position.indexed_iter().find(|(_, v)| !v.is_finite()) {
            return Err(Error::invalid(
                "position",
                format!("row {row} has {value}; must be finite, or NaN if unknown"),
            ));
        }
        Ok(Self { time: known.into_iter().map(|i| time[i]).collect(), position })
    }

    /// Seconds (n).
    pub fn time(&self) -> &[f64] {
        &self.time
    }

    /// cm (n × d).
    pub fn position(&self) -> &Array2<f64> {
        &self.position
    }

    /// Median time between samples, s; 0 for a single one.
    pub fn sample_period(&self) -> f64 {
        median_step(&self.time)
    }

    /// Positions at these times, linear between the samples and on beyond the first and the last two (times × d).
    pub fn at(&self, times: &[f64]) -> Array2<f64> {
        let (n, d) = self.position.dim();
        let mut out = Array2::zeros((times.len(), d));
        for (mut row, t) in out.rows_mut().into_iter().zip(times) {
            let after = self.time.partition_point(|x| x <= t).clamp(1, n.max(2) - 1).min(n - 1);
            let before = after.saturating_sub(1);
            let span = self.time[after] - self.time[before];
            let part = if span > 0.0 { (t - self.time[before]) / span } else { 0.0 };
            for k in 0..d {
                let (a, b) = (self.position[[before, k]], self.position[[after, k]]);
                row[k] = a + (b - a) * part;
            }
        }
        out
    }
}

/// Which time bin a spike belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BinEdges {
    /// Bin k is [time k, time k+1); the last one is as wide as the bins' median width, and receives its spikes.
    #[default]
    HalfOpen,
    /// As non_local_detector 0.6: spikes after the last time are dropped, the spike on it belongs to the bin before,
    /// and the last bin never receives a spike.
    Reference,
}

/// The time bins that are decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeBins {
    time: Vec<f64>,
    edges: BinEdges,
    size: f64,
}

impl TimeBins {
    /// `time` holds the beginnings of the bins in seconds, ascending; `time_bin_size` in seconds is the width of the
    /// last one (`None`: the median of the others, or 0 for a single bin, which then holds the spikes at that time).
    ///
    /// # Errors
    /// `InvalidArgument` for no bin, unsorted, repeated or non-finite times, or a width that is not positive.
    pub fn new(time: Vec<f64>, edges: BinEdges, time_bin_size: Option<f64>) -> Result<Self> {
        if time.is_empty() {
            return Err(Error::invalid("time", "no time bin; give at least one"));
        }
        ascending("time", &time)?;
        if let Some(i) = time.windows(2).position(|w| w[1] == w[0]) {
            return Err(Error::invalid(
                "time",
                format!("numbers {i} and {} are both {}; bins need a width", i + 1, time[i]),
            ));
        }
        if let Some(size) = time_bin_size
            && !(size > 0.0 && size.is_finite())
        {
            return Err(Error::invalid("time_bin_size", format!("{size} s, must be positive")));
        }
        let size = time_bin_size.unwrap_or_else(|| median_step(&time));
        Ok(Self { time, edges, size })
    }

    /// Beginnings of the bins, seconds.
    pub fn time(&self) -> &[f64] {
        &self.time
    }

    /// T, the number of bins.
    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// Never: there is at least one bin.
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// Width of the last bin, seconds.
    pub fn size(&self) -> f64 {
        self.size
    }

    /// The bin of a spike at time `t`; `None` outside of all.
    pub fn bin_of(&self, t: f64) -> Option<usize> {
        let last = self.time.len() - 1;
        let at = self.time.partition_point(|x| *x <= t);
        match self.edges {
            _ if at == 0 => None,
            BinEdges::HalfOpen => {
                let inside = at <= last || t < self.time[last] + self.size || t == self.time[last];
                inside.then_some(at - 1)
            }
            BinEdges::Reference => (t <= self.time[last]).then(|| (at - 1).min(last.saturating_sub(1))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn spikes_fall_into_the_bins_of_either_convention() {
        let bins = |edges| TimeBins::new(vec![0.0, 1.0, 2.0, 3.0], edges, None).unwrap();
        let half = bins(BinEdges::HalfOpen);
        let of = |b: &TimeBins| [-0.1, 0.0, 0.5, 1.0, 2.999, 3.0, 3.5, 4.0].map(|t| b.bin_of(t));
        assert_eq!(of(&half), [None, Some(0), Some(0), Some(1), Some(2), Some(3), Some(3), None]);
        let reference = bins(BinEdges::Reference);
        assert_eq!(of(&reference), [None, Some(0), Some(0), Some(1), Some(2), Some(2), None, None]);
    }

    #[test]
    fn a_single_bin_has_the_spikes_at_its_time() {
        let one = TimeBins::new(vec![2.0], BinEdges::HalfOpen, None).unwrap();
        assert_eq!([1.0, 2.0, 2.1].map(|t| one.bin_of(t)), [None, Some(0), None]);
        let wide = TimeBins::new(vec![2.0], BinEdges::HalfOpen, Some(0.5)).unwrap();
        assert_eq!([2.1, 2.5].map(|t| wide.bin_of(t)), [Some(0), None]);
    }

    #[test]
    fn positions_are_linear_between_and_beyond_samples() {
        let t = Trajectory::new(vec![0.0, 1.0, 3.0], array![[0.0], [10.0], [30.0]]).unwrap();
        assert_eq!(t.at(&[-1.0, 0.5, 2.0, 4.0]), array![[-10.0], [5.0], [20.0], [40.0]]);
        let still = Trajectory::new(vec![1.0], array![[7.0]]).unwrap();
        assert_eq!(still.at(&[0.0, 5.0]), array![[7.0], [7.0]]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_place() {
        let says = |e: crate::Error| e.to_string();
        let e = Spikes::new(vec![1.0, 0.5], Array2::zeros((2, 3))).unwrap_err();
        assert!(says(e).contains("sort by time"));
        let e = Spikes::new(vec![1.0, f64::NAN], Array2::zeros((2, 3))).unwrap_err();
        assert!(says(e).contains("number 1 is NaN"));
        let e = Spikes::new(vec![1.0], Array2::zeros((2, 3))).unwrap_err();
        assert!(says(e).contains("one row a spike"));
        let sorted = Spikes::sorted(vec![1.0, 0.5], array![[1.0], [2.0]]).unwrap();
        assert_eq!(sorted.times(), [0.5, 1.0]);
        assert_eq!(sorted.features(), &array![[2.0f32], [1.0]]);
    }
}
