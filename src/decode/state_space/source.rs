//! Where log likelihoods come from.

use std::ops::Range;

use ndarray::Array2;

use crate::decode::{Spikes, TimeBins};
use crate::io::npy::NpyRows;
use crate::{Error, Result};

/// Log likelihoods of the position bins, row by row of time, in nats: in memory ([`Rows`]), in a file ([`NpyRows`]), or
/// computed when asked for.
pub trait LogLikelihood {
    /// T, the number of time bins.
    fn n_time(&self) -> usize;

    /// P, the number of position bins.
    fn n_bins(&self) -> usize;

    /// Writes these rows to `out` (rows × P). The smoother and the path ask for most rows twice: forward, then by chunks
    /// from the last to the first.
    ///
    /// # Errors
    /// Its own.
    fn read(&mut self, rows: Range<usize>, out: &mut [f32]) -> Result<()>;
}

/// Log likelihoods in memory.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f32],
    bins: usize,
}

impl<'a> Rows<'a> {
    /// `values` (T × `bins`), row-major.
    ///
    /// # Errors
    /// `InvalidArgument` if they are no whole number of rows.
    pub fn new(values: &'a [f32], bins: usize) -> Result<Self> {
        if bins == 0 || !values.len().is_multiple_of(bins) {
            let why = format!("{} values are not rows of {bins}", values.len());
            return Err(Error::invalid("log likelihood", why));
        }
        Ok(Self { values, bins })
    }

    /// An array (T × P).
    ///
    /// # Errors
    /// `InvalidArgument` if it has no columns or is not in row-major order.
    pub fn of_array(array: &'a Array2<f32>) -> Result<Self> {
        let values = array.as_slice().ok_or_else(|| Error::invalid("log likelihood", "must be in row-major order"))?;
        Self::new(values, array.ncols())
    }
}

impl LogLikelihood for Rows<'_> {
    fn n_time(&self) -> usize {
        self.values.len() / self.bins
    }

    fn n_bins(&self) -> usize {
        self.bins
    }

    fn read(&mut self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.values[rows.start * self.bins..rows.end * self.bins]);
        Ok(())
    }
}

impl LogLikelihood for NpyRows {
    fn n_time(&self) -> usize {
        self.shape().0
    }

    fn n_bins(&self) -> usize {
        self.shape().1
    }

    fn read(&mut self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        Self::read(self, rows, out)
    }
}

/// The data of a state space: log likelihoods in nats.
pub struct Observed<'a> {
    /// Of the non-local states (T × P).
    pub non_local: &'a mut dyn LogLikelihood,
    /// Of the local state (T), where the model has one.
    pub local: Option<&'a [f32]>,
    /// Of the no-spike state (T), where the model has one.
    pub no_spike: Option<&'a [f32]>,
    /// Time bins in which nothing was observed (T): all their log likelihoods count as 0, whatever they are.
    pub missing: Option<&'a [bool]>,
}

impl<'a> Observed<'a> {
    /// For models of non-local states only.
    pub fn new(non_local: &'a mut dyn LogLikelihood) -> Self {
        Self { non_local, local: None, no_spike: None, missing: None }
    }
}

/// Log likelihood of next to no spikes (T): that of Poisson counts with `rate` spikes a second on each electrode,
/// `Σ_e n_et ln(rate Δt) − rate Δt`, with Δt the size of a time bin. The reference's rate is 1e-10.
///
/// # Errors
/// `InvalidArgument` for a rate that is not positive, or time bins without a size.
pub fn no_spike_log_likelihood(electrodes: &[Spikes], time: &TimeBins, rate: f64) -> Result<Vec<f32>> {
    if !(rate > 0.0 && rate.is_finite()) {
        return Err(Error::invalid("no_spike_rate", format!("{rate} spikes a second, must be positive")));
    }
    let expected = rate * time.size();
    if !(expected > 0.0) {
        return Err(Error::invalid("time_bin_size", "unknown for a single time bin; give it"));
    }
    let mut counts = vec![0u64; time.len()];
    for bin in electrodes.iter().flat_map(Spikes::times).filter_map(|t| time.bin_of(*t)) {
        counts[bin] += 1;
    }
    let silent = electrodes.len() as f64 * expected;
    Ok(counts.into_iter().map(|n| (n as f64 * expected.ln() - silent) as f32).collect())
}
