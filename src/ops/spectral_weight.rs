//! A power spectral density as a weight on the bins of a transform.

use std::ops::RangeInclusive;

use crate::kernel::{self, Tensor, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

/// What the weight is made of the density S.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weight {
    /// scale/S, as a matched filter wants it.
    Inverse {
        /// The numerator.
        scale: f32,
    },
    /// sqrt(scale/S), which whitens.
    InverseRoot {
        /// The numerator.
        scale: f32,
    },
}

/// The bins that a weight is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bins {
    /// All `n` bins of a complex transform; the second half stands for negative frequencies.
    TwoSided,
    /// The n/2 + 1 bins of a real transform.
    OneSided,
}

/// A weight for the bins of a transform of `n` samples from a density of `psd.len()` bins that come from windows of
/// `window` samples at the same rate; zero outside `band`, given in units of the density's bin width rate/window.
///
/// # Errors
/// `InvalidArgument` when the density has fewer than two bins.
pub fn spectral_weight(
    rec: &mut Recording,
    psd: Tensor<f32>,
    window: usize,
    n: usize,
    bins: Bins,
    weight: Weight,
    band: RangeInclusive<f32>,
) -> Result<Tensor<f32>> {
    if psd.len() < 2 || window == 0 || n < 2 {
        let why = format!("a density of {} bins from windows of {window} samples for {n} samples", psd.len());
        return Err(Error::invalid("spectral_weight", why));
    }
    let (count, fold) = match bins {
        Bins::TwoSided => (n, n as u32),
        Bins::OneSided => (n / 2 + 1, 0),
    };
    let (root, scale) = match weight {
        Weight::Inverse { scale } => (0, scale),
        Weight::InverseRoot { scale } => (1, scale),
    };
    let out = rec.scratch("spectral weight", count)?;
    let params = kernel::spectral_weight::Params {
        n: count as u32,
        fold,
        psd_bins: psd.len() as u32,
        root,
        ratio: (window as f64 / n as f64) as f32,
        scale,
        low: *band.start(),
        high: *band.end(),
    };
    let args = kernel::spectral_weight::Args { psd, weight: out };
    rec.dispatch(kernel::spectral_weight::dispatch(params, args, workgroups(count, 256)))?;
    Ok(out)
}
