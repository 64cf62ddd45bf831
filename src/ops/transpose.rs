//! Transposition.

use crate::kernel::{self, Elem, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// Rows, and words of a row, that a workgroup of `shaders/transpose.wgsl` moves.
const SIDE: usize = 32;

/// Transposes each of `batch` matrices of `rows` × `cols` elements: `y[b, c, r] = x[b, r, c]`.
///
/// # Errors
/// `InvalidArgument` if a tensor has not `batch · rows · cols` elements; as [`Recording::dispatch`].
pub fn transpose<T: Elem>(
    rec: &mut Recording,
    x: Tensor<T>,
    [batch, rows, cols]: [usize; 3],
    y: Tensor<T>,
) -> Result<()> {
    use kernel::transpose::{Args, Params, dispatch};
    let n = batch.checked_mul(rows).and_then(|n| n.checked_mul(cols));
    if n != Some(x.len()) || n != Some(y.len()) {
        let why = format!("{batch} × {rows} × {cols} does not fit x ({}) and y ({})", x.len(), y.len());
        return Err(Error::invalid("transpose: shape", why));
    }
    let words = size_of::<T>() / 4;
    let (down, across) = (rows.div_ceil(SIDE), cols.div_ceil(SIDE / words));
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        words: words as u32,
        tiles_down: down as u32,
        tiles_across: across as u32,
    };
    let (Some(x), Some(y)) = (x.cast::<u32>(), y.cast::<u32>()) else {
        return Err(Error::Internal("not whole words".into()));
    };
    rec.dispatch(dispatch(params, Args { x, y }, (batch * down * across) as u64))
}
