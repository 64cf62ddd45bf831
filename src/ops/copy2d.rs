//! Copies between strided layouts: padding, cropping, framing.

use crate::kernel::{self, Elem, Tensor, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

/// Words that a workgroup of `shaders/copy2d.wgsl` covers.
const ITEMS: usize = 1024;

/// Where [`copy2d`] reads, in elements. Block `b` of the source is `offset + b·batch_stride` onwards; element (b, r, c)
/// of the copy is at position `first + r·row_stride + c` of the block if that is in `0..valid`, else zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Source {
    /// Start of block 0.
    pub offset: usize,
    /// From one block to the next.
    pub batch_stride: usize,
    /// From one row to the next; rows may overlap (frames of a signal).
    pub row_stride: usize,
    /// Position of row 0, column 0 in its block; negative: leading zeros.
    pub first: i64,
    /// Positions of a block that hold data.
    pub valid: usize,
}

/// Where [`copy2d`] writes, in elements: (b, r, c) goes to `offset + b·batch_stride + r·row_stride + c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Destination {
    /// Start of block 0.
    pub offset: usize,
    /// From one block to the next.
    pub batch_stride: usize,
    /// From one row to the next.
    pub row_stride: usize,
}

/// Copies `batch` × `rows` × `cols` elements from a strided source to a strided destination, with zeros where the
/// source has none. Elements of `y` that are not addressed keep their values.
///
/// # Errors
/// `InvalidArgument` if a position lies outside its tensor, beyond 2^31 words, or if rows of the destination overlap.
pub fn copy2d<T: Elem>(
    rec: &mut Recording,
    x: Tensor<T>,
    source: Source,
    y: Tensor<T>,
    destination: Destination,
    [batch, rows, cols]: [usize; 3],
) -> Result<()> {
    use kernel::copy2d::{Args, Params, dispatch};
    if batch == 0 || rows == 0 || cols == 0 {
        return Err(Error::invalid(
            "copy2d: shape",
            format!("{batch} × {rows} × {cols}; every side must be at least 1"),
        ));
    }
    let words = size_of::<T>() / 4;
    let last = |b: usize, r: usize| -> Option<usize> {
        (batch - 1).checked_mul(b)?.checked_add((rows - 1).checked_mul(r)?)?.checked_add(cols)
    };
    let too_far = || Error::invalid("copy2d", "strides and offsets must stay below 2^31 words");
    let read = (batch - 1)
        .checked_mul(source.batch_stride)
        .and_then(|at| at.checked_add(source.offset)?.checked_add(source.valid))
        .ok_or_else(too_far)?;
    if read > x.len() {
        let why = format!("the last block ends at element {read} of {}", x.len());
        return Err(Error::invalid("copy2d: source", why));
    }
    let wrote = last(destination.batch_stride, destination.row_stride)
        .and_then(|end| end.checked_add(destination.offset))
        .ok_or_else(too_far)?;
    if wrote > y.len() {
        let why = format!("the last row ends at element {wrote} of {}", y.len());
        return Err(Error::invalid("copy2d: destination", why));
    }
    let block = (rows - 1) * destination.row_stride + cols;
    if (rows > 1 && destination.row_stride < cols) || (batch > 1 && destination.batch_stride < block) {
        let why = format!(
            "rows of {cols} every {} and blocks of {block} every {} overlap",
            destination.row_stride, destination.batch_stride
        );
        return Err(Error::invalid("copy2d: destination", why));
    }
    const LIMIT: i64 = 1 << 31;
    let reach = last(0, source.row_stride).and_then(|n| i64::try_from(n).ok()?.checked_add(source.first.max(0)));
    let reach = reach.and_then(|n| n.checked_mul(words as i64)).ok_or_else(too_far)?;
    let first = source.first.checked_mul(words as i64).ok_or_else(too_far)?;
    let n = batch.checked_mul(rows).and_then(|n| n.checked_mul(cols)?.checked_mul(words)).ok_or_else(too_far)?;
    let valid = source.valid.saturating_mul(words);
    if reach >= LIMIT || first <= -LIMIT || valid as i64 >= LIMIT || n as i64 >= LIMIT {
        return Err(too_far());
    }
    // A stride that no row or block uses may be anything.
    let stride = |count: usize, stride: usize| if count == 1 { 0 } else { (stride * words) as u32 };
    let params = Params {
        n: n as u32,
        rows: rows as u32,
        cols: (cols * words) as u32,
        first: first as i32,
        valid: valid as u32,
        x_offset: (source.offset * words) as u32,
        x_batch: stride(batch, source.batch_stride),
        x_stride: stride(rows, source.row_stride),
        y_offset: (destination.offset * words) as u32,
        y_batch: stride(batch, destination.batch_stride),
        y_stride: stride(rows, destination.row_stride),
    };
    let (Some(x), Some(y)) = (x.cast::<u32>(), y.cast::<u32>()) else {
        return Err(Error::Internal("not whole words".into()));
    };
    rec.dispatch(dispatch(params, Args { x, y }, workgroups(n, ITEMS)).work(2 * n as u64))
}

/// Copies every one of `rows` rows of `x` behind `before` zeros into a row of `y`, cut or filled with zeros at the
/// end; a negative `before` drops as many elements. Row lengths follow from the tensors' lengths.
///
/// # Errors
/// `InvalidArgument` if `x` or `y` is not `rows` whole rows; as [`copy2d`].
pub fn pad_rows<T: Elem>(rec: &mut Recording, x: Tensor<T>, rows: usize, before: i64, y: Tensor<T>) -> Result<()> {
    let (n, m) = (row_length("pad_rows: x", x, rows)?, row_length("pad_rows: y", y, rows)?);
    let first = before.checked_neg().ok_or_else(|| Error::invalid("pad_rows: before", before.to_string()))?;
    let source = Source { offset: 0, batch_stride: n, row_stride: 0, first, valid: n };
    copy2d(rec, x, source, y, Destination { offset: 0, batch_stride: m, row_stride: 0 }, [rows, 1, m])
}

/// The elements of a row when a tensor is `rows` rows.
pub(super) fn row_length<T: Elem>(what: &str, x: Tensor<T>, rows: usize) -> Result<usize> {
    if rows == 0 || !x.len().is_multiple_of(rows) {
        return Err(Error::invalid(what, format!("{} elements are not {rows} whole rows", x.len())));
    }
    Ok(x.len() / rows)
}
