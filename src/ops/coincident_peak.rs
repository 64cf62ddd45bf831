//! Where the matched-filter series of each template is loudest in two detectors together.

use std::ops::Range;

use num_complex::Complex32;

use crate::kernel::{self, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// Samples that a workgroup searches.
const PART: usize = 4096;

/// The joint peaks of two series a row.
#[derive(Debug, Clone, Copy)]
pub struct CoincidentPeaks {
    /// Largest network power of each part of each row.
    pub power: Tensor<f32>,
    /// Its sample in the first series.
    pub at_a: Tensor<u32>,
    /// Its sample in the second.
    pub at_b: Tensor<u32>,
    /// Parts a row.
    pub parts: usize,
}

/// The largest |a(t)|²·norm_a + |b(t + d)|²·norm_b of each row for t in `range` and |d| ≤ `reach`, in parts of 4096
/// samples. `norm` has two values a row. With norms 1/σ² the power is the squared network signal-to-noise ratio, and
/// `reach` is the light's travel time between the detectors.
///
/// # Errors
/// `InvalidArgument` when the shapes disagree, or `reach` is longer than the device's loops may visit.
pub fn coincident_peak(
    rec: &mut Recording,
    (a, b): (Tensor<Complex32>, Tensor<Complex32>),
    norm: Tensor<f32>,
    (rows, n): (usize, usize),
    range: Range<usize>,
    reach: usize,
) -> Result<CoincidentPeaks> {
    let size = rows.checked_mul(n);
    if rows == 0 || size.is_none_or(|size| size > a.len().min(b.len())) {
        let why = format!("{rows} rows of {n} samples in tensors of {} and {}", a.len(), b.len());
        return Err(Error::invalid("coincident_peak", why));
    }
    if range.is_empty() || range.end > n {
        return Err(Error::invalid("coincident_peak", format!("samples {range:?} of rows of {n}")));
    }
    let parts = range.len().div_ceil(PART);
    if norm.len() < rows * 2 {
        return Err(Error::invalid("coincident_peak", format!("{} norms for {rows} rows of two series", norm.len())));
    }
    // 16 samples an invocation, each with a window of 2·reach + 1.
    let most = (rec.capabilities().max_loop as usize / (PART / 256)).saturating_sub(1) / 2;
    if reach > most {
        let why = format!("a reach of {reach} samples; at most {most} on this device");
        return Err(Error::invalid("coincident_peak", why));
    }
    let power = rec.scratch("network power", rows * parts)?;
    let at_a = rec.scratch("network peak, first", rows * parts)?;
    let at_b = rec.scratch("network peak, second", rows * parts)?;
    let params = kernel::coincident_peak::Params {
        n: n as u32,
        first: range.start as u32,
        end: range.end as u32,
        parts: parts as u32,
        reach: reach as u32,
    };
    let args = kernel::coincident_peak::Args { a, b, norm, power, at_a, at_b };
    let work = (rows * range.len() * (2 * reach + 2)) as u64;
    rec.dispatch(kernel::coincident_peak::dispatch(params, args, (rows * parts) as u64).work(work))?;
    Ok(CoincidentPeaks { power, at_a, at_b, parts })
}
