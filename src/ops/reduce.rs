//! Sums, extremes and prefix sums of rows, in an order that the row's length alone fixes.

use super::copy2d::row_length;
use crate::kernel::{self, Elem, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// Elements that a workgroup of `shaders/reduce.wgsl` and `shaders/extremum.wgsl` covers.
const CHUNK: usize = 4096;
/// Elements that a workgroup of `shaders/scan.wgsl` covers.
const SCAN_CHUNK: usize = 1024;

/// What [`reduce`] makes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Σ x
    Sum,
    /// Σ x²
    SumSquares,
    /// The smallest; NaN if any is.
    Min,
    /// The largest; NaN if any is.
    Max,
}

/// Refuses rows of which a workgroup of 256 visits all elements, where that takes an invocation too many iterations.
pub(super) fn visits(what: &str, elements: usize, rec: &Recording) -> Result<()> {
    // The tree over the 256 takes a few more.
    let most = (rec.capabilities().max_loop as usize).saturating_sub(64).saturating_mul(256);
    if elements > most {
        return Err(Error::invalid(what, format!("rows of {elements} elements; at most {most} on this device")));
    }
    Ok(())
}

fn one_each<T: Elem>(what: &str, y: Tensor<T>, rows: usize) -> Result<()> {
    if y.len() == rows {
        return Ok(());
    }
    Err(Error::invalid(what, format!("{} elements, must be one for each of {rows} rows", y.len())))
}

/// Reduces each of `rows` rows of `x` to one element of `y`.
///
/// Sums go by 256 lanes and a tree, so the relative error of a sum of n values of one sign is at most
/// (24 + 24·⌈log n / log 4096⌉)·2^-24, and the bits are the same on every device.
///
/// # Errors
/// `InvalidArgument` if `x` is not `rows` whole rows or `y` has not `rows` elements; as [`Recording::scratch`] and
/// [`Recording::dispatch`].
pub fn reduce(rec: &mut Recording, what: Reduction, x: Tensor<f32>, rows: usize, y: Tensor<f32>) -> Result<()> {
    use kernel::reduce::{Args, Params, dispatch};
    let mut n = row_length("reduce: x", x, rows)?;
    one_each("reduce: y", y, rows)?;
    let mut square = match what {
        Reduction::Sum => 0,
        Reduction::SumSquares => 1,
        Reduction::Min | Reduction::Max => {
            let index = rec.scratch("reduce: index", rows)?;
            return extremum(rec, "reduce", what == Reduction::Min, x, rows, y, index);
        }
    };
    let mut x = x;
    loop {
        let chunks = n.div_ceil(CHUNK);
        let sums = if chunks == 1 { y } else { rec.scratch("reduce: partial sums", rows * chunks)? };
        let (groups, fours) = ((rows * chunks) as u64, x.cast().filter(|_| n.is_multiple_of(4)));
        if let (true, Some(x)) = (rec.capabilities().software, fours) {
            let params = kernel::reduce_wide::Params { n: n as u32 / 4, chunks: chunks as u32, square };
            let args = kernel::reduce_wide::Args { x, y: sums };
            rec.dispatch(kernel::reduce_wide::dispatch(params, args, groups))?;
        } else {
            let params = Params { n: n as u32, chunks: chunks as u32, square };
            rec.dispatch(dispatch(params, Args { x, y: sums }, groups))?;
        }
        if chunks == 1 {
            return Ok(());
        }
        (x, n, square) = (sums, chunks, 0);
    }
}

/// The largest element of each row and its index in the row.
///
/// Of equal elements (−0 equals +0) the first is taken. A NaN counts as larger than every number, so a row that holds
/// one gives NaN and the index of its first, as in NumPy and PyTorch: nothing that went wrong upstream is hidden.
///
/// # Errors
/// As [`reduce`].
pub fn argmax(rec: &mut Recording, x: Tensor<f32>, rows: usize, value: Tensor<f32>, index: Tensor<u32>) -> Result<()> {
    extremum(rec, "argmax", false, x, rows, value, index)
}

/// The smallest element of each row and its index in the row; ties and NaN as in [`argmax`].
///
/// # Errors
/// As [`reduce`].
pub fn argmin(rec: &mut Recording, x: Tensor<f32>, rows: usize, value: Tensor<f32>, index: Tensor<u32>) -> Result<()> {
    extremum(rec, "argmin", true, x, rows, value, index)
}

fn extremum(
    rec: &mut Recording,
    op: &str,
    smallest: bool,
    x: Tensor<f32>,
    rows: usize,
    value: Tensor<f32>,
    index: Tensor<u32>,
) -> Result<()> {
    use kernel::extremum::{Args, Params, dispatch};
    let mut n = row_length(&format!("{op}: x"), x, rows)?;
    one_each(&format!("{op}: value"), value, rows)?;
    one_each(&format!("{op}: index"), index, rows)?;
    let (mut x, value) = (bits(x)?, bits(value)?);
    let mut xi = None;
    loop {
        let chunks = n.div_ceil(CHUNK);
        let (y, yi) = if chunks == 1 {
            (value, index)
        } else {
            (rec.scratch("partial extremes", rows * chunks)?, rec.scratch("their indices", rows * chunks)?)
        };
        let position = u32::from(xi.is_none());
        let params = Params { n: n as u32, chunks: chunks as u32, smallest: smallest.into(), position };
        rec.dispatch(dispatch(params, Args { x, xi: xi.unwrap_or(x), y, yi }, (rows * chunks) as u64))?;
        if chunks == 1 {
            return Ok(());
        }
        (x, xi, n) = (y, Some(yi), chunks);
    }
}

fn bits<T: Elem>(x: Tensor<T>) -> Result<Tensor<u32>> {
    x.cast().ok_or_else(|| Error::Internal("not whole words".into()))
}

/// Which elements a prefix sum includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// `y[i] = x[0] + … + x[i]`
    Inclusive,
    /// `y[i] = x[0] + … + x[i − 1]`, `y[0] = 0`
    Exclusive,
}

/// An element that [`scan`] sums.
pub trait Summand: Elem {
    /// Whether sums are rounded (f32) or exact modulo 2^32 (u32).
    const REAL: bool;
}

impl Summand for u32 {
    const REAL: bool = false;
}

impl Summand for f32 {
    const REAL: bool = true;
}

/// Prefix sums of each of `rows` rows of `x`: u32 modulo 2^32, f32 with the same bits on every device.
///
/// # Errors
/// `InvalidArgument` if `x` is not `rows` whole rows or `y` has another length; as [`Recording::scratch`] and
/// [`Recording::dispatch`].
pub fn scan<T: Summand>(rec: &mut Recording, scan: Scan, x: Tensor<T>, rows: usize, y: Tensor<T>) -> Result<()> {
    let n = row_length("scan: x", x, rows)?;
    if y.len() != x.len() {
        return Err(Error::invalid("scan: y", format!("{} elements, must be {} as x", y.len(), x.len())));
    }
    scan_words(rec, scan, T::REAL, bits(x)?, rows, n, bits(y)?)
}

fn scan_words(
    rec: &mut Recording,
    scan: Scan,
    real: bool,
    x: Tensor<u32>,
    rows: usize,
    n: usize,
    y: Tensor<u32>,
) -> Result<()> {
    let chunks = n.div_ceil(SCAN_CHUNK);
    let groups = (rows * chunks) as u64;
    let total = rec.scratch("scan: chunk totals", rows * chunks)?;
    let params = kernel::scan::Params {
        n: n as u32,
        chunks: chunks as u32,
        inclusive: (scan == Scan::Inclusive).into(),
        real: real.into(),
    };
    rec.dispatch(kernel::scan::dispatch(params, kernel::scan::Args { x, y, total }, groups))?;
    if chunks == 1 {
        return Ok(());
    }
    let before = rec.scratch("scan: sums before chunks", rows * chunks)?;
    scan_words(rec, Scan::Exclusive, real, total, rows, chunks, before)?;
    let params = kernel::scan_add::Params { n: n as u32, chunks: chunks as u32, real: real.into() };
    rec.dispatch(kernel::scan_add::dispatch(params, kernel::scan_add::Args { before, y }, groups))
}
