//! The spectrum of a correlation of one series with many templates.

use num_complex::Complex32;

use crate::kernel::{self, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// Bins that a workgroup covers.
const ITEMS: usize = 1024;

/// Weighted spectra of templates against one series.
#[derive(Debug, Clone, Copy)]
pub struct Correlate {
    /// The series' spectrum, at least `keep` bins.
    pub x: Tensor<Complex32>,
    /// A real weight for each of its bins, usually 1/S(f).
    pub weight: Tensor<f32>,
    /// The templates' spectra, `rows` of `stride` bins.
    pub templates: Tensor<Complex32>,
    /// Templates.
    pub rows: usize,
    /// Bins from one template to the next.
    pub stride: usize,
    /// Bins that count; the others of an output row are zero.
    pub keep: usize,
}

impl Correlate {
    pub(crate) fn check(&self, op: &str) -> Result<()> {
        let Self { rows, stride, keep, .. } = *self;
        if keep == 0 || keep > self.x.len() || keep > self.weight.len() || keep > stride {
            let why = format!(
                "keep is {keep}, must be 1 or more and within the spectrum ({}), the weight ({}) and the stride ({stride})",
                self.x.len(),
                self.weight.len()
            );
            return Err(Error::invalid(op, why));
        }
        if rows.checked_mul(stride).is_none_or(|bins| rows == 0 || bins > self.templates.len()) {
            let why = format!("{rows} templates of {stride} bins in a tensor of {}", self.templates.len());
            return Err(Error::invalid(op, why));
        }
        Ok(())
    }
}

/// Appends y\[b·n + k\] = x\[k\]·weight\[k\]·conj(templates\[b·stride + k\]) for k < keep, else 0; returns y, `rows` of `n` bins.
///
/// The inverse transform of a row is the matched-filter series of its template: of `n` samples spread over the duration
/// of the series, so an `n` below the series' own length evaluates the part of the band below `n`/duration at that
/// lower rate (nothing is aliased: bins from `keep` ≤ `n` on are left out).
///
/// # Errors
/// `InvalidArgument` when the shapes disagree.
pub fn correlate(rec: &mut Recording, c: Correlate, n: usize) -> Result<Tensor<Complex32>> {
    c.check("correlate")?;
    if n < c.keep {
        return Err(Error::invalid("correlate", format!("rows of {n} bins, fewer than the {} that are kept", c.keep)));
    }
    let y = rec.scratch("correlation spectrum", n * c.rows)?;
    let params =
        kernel::correlate::Params { n: n as u32, rows: c.rows as u32, stride: c.stride as u32, keep: c.keep as u32 };
    let args = kernel::correlate::Args { x: c.x, w: c.weight, h: c.templates, y };
    rec.dispatch(kernel::correlate::dispatch(params, args, (n.div_ceil(ITEMS) * c.rows) as u64))?;
    Ok(y)
}
