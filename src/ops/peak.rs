//! Where the matched-filter series of each template is loudest, in one detector or in two.

use std::ops::Range;

use num_complex::Complex32;

use crate::kernel::{self, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// Samples of a part of a joint search.
const PART: usize = 4096;

fn parts_of(
    op: &str,
    z: Tensor<Complex32>,
    (rows, n): (usize, usize),
    range: &Range<usize>,
    part: usize,
) -> Result<usize> {
    if rows == 0 || rows.checked_mul(n).is_none_or(|all| all > z.len()) {
        return Err(Error::invalid(op, format!("{rows} rows of {n} samples in a tensor of {}", z.len())));
    }
    if range.is_empty() || range.end > n || part == 0 {
        return Err(Error::invalid(op, format!("samples {range:?} of rows of {n}, in parts of {part}")));
    }
    Ok(range.len().div_ceil(part))
}

/// The peaks of one series a row.
#[derive(Debug, Clone, Copy)]
pub struct Peaks {
    /// Largest |z|² of each part of each row.
    pub power: Tensor<f32>,
    /// Its sample.
    pub at: Tensor<u32>,
    /// Parts a row.
    pub parts: usize,
}

/// The largest |z|² of each row of `n` samples within `range`, in parts of `part` samples; the first of equals.
/// [`Fft::record_peaks`](super::Fft::record_peaks) finds one a row without the series itself.
///
/// # Errors
/// `InvalidArgument` when the shapes disagree.
pub fn peak(
    rec: &mut Recording,
    z: Tensor<Complex32>,
    (rows, n): (usize, usize),
    range: Range<usize>,
    part: usize,
) -> Result<Peaks> {
    let parts = parts_of("peak", z, (rows, n), &range, part)?;
    let power = rec.scratch("peak power", rows * parts)?;
    let at = rec.scratch("peak sample", rows * parts)?;
    let params = kernel::peak::Params {
        n: n as u32,
        first: range.start as u32,
        end: range.end as u32,
        parts: parts as u32,
        part: part as u32,
    };
    let args = kernel::peak::Args { z, power, at };
    rec.dispatch(kernel::peak::dispatch(params, args, (rows * parts) as u64))?;
    Ok(Peaks { power, at, parts })
}

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
/// `InvalidArgument` when the shapes disagree, or `reach` is too long for the portable loop bound.
pub fn coincident_peak(
    rec: &mut Recording,
    (a, b): (Tensor<Complex32>, Tensor<Complex32>),
    norm: Tensor<f32>,
    (rows, n): (usize, usize),
    range: Range<usize>,
    reach: usize,
) -> Result<CoincidentPeaks> {
    let parts = parts_of("coincident_peak", a, (rows, n), &range, PART)?;
    parts_of("coincident_peak", b, (rows, n), &range, PART)?;
    if norm.len() < rows * 2 {
        return Err(Error::invalid("coincident_peak", format!("{} norms for {rows} rows of two series", norm.len())));
    }
    // 16 samples an invocation, each with a window of 2·reach + 1.
    let loops = (PART / 256) * (2 * reach + 1);
    if loops > rec.capabilities().max_loop as usize {
        return Err(Error::invalid("coincident_peak", format!("a reach of {reach} samples; at most 1800")));
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
