//! Power spectral densities by Welch's method.

use num_complex::Complex32;

use super::rfft;
use crate::kernel::{self, Tensor, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

/// Samples that a workgroup of `shaders/welch_window.wgsl` covers.
const ITEMS: usize = 1024;

/// How the periodograms are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// Their mean.
    Mean,
    /// Their median; divide by its bias through `scale`.
    Median,
}

/// Which windows of a series are averaged, and how.
#[derive(Debug, Clone)]
pub struct WelchWindows<'a> {
    /// First sample of each window: the caller keeps windows out of gaps.
    pub starts: &'a [u32],
    /// The taper, as long as a window.
    pub window: &'a [f32],
    /// How they are combined.
    pub average: Average,
    /// What |X|² is multiplied by: 1/(rate·Σ window²), over the median's bias where that applies.
    pub scale: f32,
}

/// Cuts windows of a series, each times the taper: row s is x\[starts\[s\] + i\]·window\[i\].
///
/// # Errors
/// `InvalidArgument` for a window that is not within the series, or none.
pub fn windowed(rec: &mut Recording, x: Tensor<f32>, starts: &[u32], window: &[f32]) -> Result<Tensor<f32>> {
    let n = window.len();
    if n == 0 || starts.is_empty() {
        return Err(Error::invalid("windows", "none"));
    }
    if let Some(start) = starts.iter().find(|s| **s as usize + n > x.len()) {
        let why = format!("{n} samples from {start} on in a series of {}", x.len());
        return Err(Error::invalid("window", why));
    }
    let total = n * starts.len();
    let y = rec.scratch("windows", total)?;
    let starts = rec.constant("window starts", starts)?;
    let window = rec.constant("taper", window)?;
    let params = kernel::welch_window::Params { n: n as u32, total: total as u32 };
    let args = kernel::welch_window::Args { x, starts, window, y };
    rec.dispatch(kernel::welch_window::dispatch(params, args, workgroups(total, ITEMS)))?;
    Ok(y)
}

/// The one-sided density of a series, n/2 + 1 bins for windows of n samples, in units²·`scale`.
///
/// # Errors
/// As [`windowed`]; `InvalidArgument` for more windows than the device's loops may visit.
pub fn welch(rec: &mut Recording, x: Tensor<f32>, w: &WelchWindows<'_>) -> Result<Tensor<f32>> {
    let (n, rows) = (w.window.len(), w.starts.len());
    let windows = windowed(rec, x, w.starts, w.window)?;
    let spectra = rec.scratch("window spectra", (n / 2 + 1) * rows)?;
    rfft(rec, n, windows, spectra)?;
    welch_average(rec, spectra, rows, n.is_multiple_of(2), (w.average, w.scale))
}

/// The second half of [`welch`]: the density from the spectra of `rows` windows, `[rows, bins]`. The first bin, and with
/// `nyquist` the last one, counts once, the others twice.
///
/// # Errors
/// `InvalidArgument` for spectra that are not whole rows, or more windows than the device's loops may visit.
pub fn welch_average(
    rec: &mut Recording,
    spectra: Tensor<Complex32>,
    rows: usize,
    nyquist: bool,
    (average, scale): (Average, f32),
) -> Result<Tensor<f32>> {
    // The median looks at every window 32 times.
    let looks = if average == Average::Median { 33 } else { 1 };
    let most = rec.capabilities().max_loop as usize / looks;
    if rows > most {
        return Err(Error::invalid(
            "windows",
            format!("{rows}; at most {most}, so take longer windows or less overlap"),
        ));
    }
    if rows == 0 || !spectra.len().is_multiple_of(rows) {
        return Err(Error::invalid("windows", format!("{rows} for {} bins; they must divide them", spectra.len())));
    }
    let bins = spectra.len() / rows;
    let psd = rec.scratch("power spectral density", bins)?;
    let params = kernel::welch_average::Params {
        rows: rows as u32,
        bins: bins as u32,
        median: u32::from(average == Average::Median),
        nyquist: u32::from(nyquist),
        scale,
    };
    let args = kernel::welch_average::Args { x: spectra, psd };
    let work = (rows * bins * looks) as u64;
    rec.dispatch(kernel::welch_average::dispatch(params, args, workgroups(bins, 64)).work(work))?;
    Ok(psd)
}
