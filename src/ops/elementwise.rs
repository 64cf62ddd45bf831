//! Arithmetic on every element. The second argument of two may be one row that every row of the first meets.
//!
//! Every product is rounded before it is added, so that all devices give the same bits (square roots excepted, and
//! values below 1.2e-38, which some drivers set to zero).

use num_complex::Complex32;

use crate::kernel::{self, Elem, Tensor, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

/// Elements, or fours of them, that a workgroup of the elementwise shaders covers.
const ITEMS: usize = 1024;

/// Which factor of a complex product is conjugated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conjugate {
    /// a·b
    None,
    /// a·conj(b)
    Second,
    /// conj(a)·b
    First,
}

fn same_length<X: Elem, Y: Elem>(op: &str, x: Tensor<X>, y: Tensor<Y>) -> Result<()> {
    if x.len() == y.len() {
        return Ok(());
    }
    Err(Error::invalid(format!("{op}: y"), format!("{} elements, must be {} as the first argument", y.len(), x.len())))
}

fn row_fits<A: Elem, B: Elem>(op: &str, a: Tensor<A>, b: Tensor<B>) -> Result<()> {
    if a.len().is_multiple_of(b.len()) {
        return Ok(());
    }
    let why = format!("{} elements, must be as long as a ({}) or one row of it", b.len(), a.len());
    Err(Error::invalid(format!("{op}: b"), why))
}

fn unary(
    rec: &mut Recording,
    op: &str,
    mode: u32,
    x: Tensor<f32>,
    scale: f32,
    offset: f32,
    y: Tensor<f32>,
) -> Result<()> {
    use kernel::unary::{Args, Params, dispatch};
    same_length(op, x, y)?;
    if let (false, Some(x), Some(y)) = (rec.capabilities().native, x.cast(), y.cast()) {
        use kernel::unary_wide::{Args, Params, dispatch};
        let params = Params { n: x.len() as u32, mode, scale, offset };
        return rec.dispatch(dispatch(params, Args { x, y }, workgroups(x.len(), ITEMS)));
    }
    let params = Params { n: x.len() as u32, mode, scale, offset };
    rec.dispatch(dispatch(params, Args { x, y }, workgroups(x.len(), ITEMS)))
}

/// `y = scale·x + offset`.
///
/// # Errors
/// `InvalidArgument` if the lengths differ; as [`Recording::dispatch`].
pub fn scale_offset(rec: &mut Recording, x: Tensor<f32>, scale: f32, offset: f32, y: Tensor<f32>) -> Result<()> {
    unary(rec, "scale_offset", 0, x, scale, offset, y)
}

/// `y = |x|`.
///
/// # Errors
/// As [`scale_offset`].
pub fn abs(rec: &mut Recording, x: Tensor<f32>, y: Tensor<f32>) -> Result<()> {
    unary(rec, "abs", 1, x, 1.0, 0.0, y)
}

/// `y = scale·x²`.
///
/// # Errors
/// As [`scale_offset`].
pub fn square(rec: &mut Recording, x: Tensor<f32>, scale: f32, y: Tensor<f32>) -> Result<()> {
    unary(rec, "square", 2, x, scale, 0.0, y)
}

fn binary(
    rec: &mut Recording,
    op: &str,
    mode: u32,
    (a, b): (Tensor<f32>, Tensor<f32>),
    (alpha, beta): (f32, f32),
    y: Tensor<f32>,
) -> Result<()> {
    use kernel::binary::{Args, Params, dispatch};
    same_length(op, a, y)?;
    row_fits(op, a, b)?;
    // Rows of whole fours make a length of whole fours.
    if let (false, Some(a), Some(b), Some(y)) = (rec.capabilities().native, a.cast(), b.cast(), y.cast()) {
        use kernel::binary_wide::{Args, KERNEL, KERNEL_ROWS, Params, dispatch};
        let params = Params { n: a.len() as u32, row: b.len() as u32, mode, alpha, beta };
        let kernel = if b.len() < a.len() { &KERNEL_ROWS } else { &KERNEL };
        return rec.dispatch(dispatch(params, Args { a, b, y }, workgroups(a.len(), ITEMS)).variant(kernel));
    }
    let params = Params { n: a.len() as u32, row: b.len() as u32, mode, alpha, beta };
    rec.dispatch(dispatch(params, Args { a, b, y }, workgroups(a.len(), ITEMS)))
}

/// `y = alpha·a + beta·b`; `b` is as long as `a` or one row of it.
///
/// # Errors
/// `InvalidArgument` if the lengths do not fit; as [`Recording::dispatch`].
pub fn axpby(rec: &mut Recording, alpha: f32, a: Tensor<f32>, beta: f32, b: Tensor<f32>, y: Tensor<f32>) -> Result<()> {
    binary(rec, "axpby", 0, (a, b), (alpha, beta), y)
}

/// `y = a + b`; `b` is as long as `a` or one row of it.
///
/// # Errors
/// As [`axpby`].
pub fn add(rec: &mut Recording, a: Tensor<f32>, b: Tensor<f32>, y: Tensor<f32>) -> Result<()> {
    binary(rec, "add", 0, (a, b), (1.0, 1.0), y)
}

/// `y = a − b`; `b` is as long as `a` or one row of it.
///
/// # Errors
/// As [`axpby`].
pub fn sub(rec: &mut Recording, a: Tensor<f32>, b: Tensor<f32>, y: Tensor<f32>) -> Result<()> {
    binary(rec, "sub", 0, (a, b), (1.0, -1.0), y)
}

/// `y = scale·(a·b)`; `b` is as long as `a` or one row of it.
///
/// # Errors
/// As [`axpby`].
pub fn mul(rec: &mut Recording, a: Tensor<f32>, b: Tensor<f32>, scale: f32, y: Tensor<f32>) -> Result<()> {
    binary(rec, "mul", 1, (a, b), (scale, 0.0), y)
}

fn complex_binary(
    rec: &mut Recording,
    op: &str,
    mode: u32,
    (a, b): (Tensor<Complex32>, Tensor<Complex32>),
    (alpha, beta): (f32, f32),
    y: Tensor<Complex32>,
) -> Result<()> {
    use kernel::complex_binary::{Args, Params, dispatch};
    same_length(op, a, y)?;
    row_fits(op, a, b)?;
    let params = Params { n: a.len() as u32, row: b.len() as u32, mode, alpha, beta };
    rec.dispatch(dispatch(params, Args { a, b, y }, workgroups(a.len(), ITEMS)))
}

/// `y = alpha·a + beta·b` with real factors; `b` is as long as `a` or one row of it.
///
/// # Errors
/// As [`axpby`].
pub fn complex_axpby(
    rec: &mut Recording,
    alpha: f32,
    a: Tensor<Complex32>,
    beta: f32,
    b: Tensor<Complex32>,
    y: Tensor<Complex32>,
) -> Result<()> {
    complex_binary(rec, "complex_axpby", 0, (a, b), (alpha, beta), y)
}

/// `y = scale·(a·b)`, one factor conjugated if asked for; `b` is as long as `a` or one row of it.
///
/// # Errors
/// As [`axpby`].
pub fn complex_mul(
    rec: &mut Recording,
    a: Tensor<Complex32>,
    b: Tensor<Complex32>,
    conjugate: Conjugate,
    scale: f32,
    y: Tensor<Complex32>,
) -> Result<()> {
    let mode = match conjugate {
        Conjugate::None => 1,
        Conjugate::Second => 2,
        Conjugate::First => 3,
    };
    complex_binary(rec, "complex_mul", mode, (a, b), (scale, 0.0), y)
}

/// `y = scale·(a·b)` for complex `a` and real `b`, which is as long as `a` or one row of it.
///
/// # Errors
/// As [`axpby`].
pub fn complex_scale(
    rec: &mut Recording,
    a: Tensor<Complex32>,
    b: Tensor<f32>,
    scale: f32,
    y: Tensor<Complex32>,
) -> Result<()> {
    use kernel::complex_scale::{Args, Params, dispatch};
    same_length("complex_scale", a, y)?;
    row_fits("complex_scale", a, b)?;
    let params = Params { n: a.len() as u32, row: b.len() as u32, alpha: scale };
    rec.dispatch(dispatch(params, Args { a, b, y }, workgroups(a.len(), ITEMS)))
}

fn complex_size(
    rec: &mut Recording,
    op: &str,
    mode: u32,
    x: Tensor<Complex32>,
    scale: f32,
    y: Tensor<f32>,
) -> Result<()> {
    use kernel::complex_abs::{Args, Params, dispatch};
    same_length(op, x, y)?;
    let params = Params { n: x.len() as u32, mode, scale };
    rec.dispatch(dispatch(params, Args { x, y }, workgroups(x.len(), ITEMS)))
}

/// `y = scale·|x|²`.
///
/// # Errors
/// As [`scale_offset`].
pub fn complex_norm_sqr(rec: &mut Recording, x: Tensor<Complex32>, scale: f32, y: Tensor<f32>) -> Result<()> {
    complex_size(rec, "complex_norm_sqr", 0, x, scale, y)
}

/// `y = scale·|x|`, for |x| in 1e-19..1e19: the squares must fit.
///
/// # Errors
/// As [`scale_offset`].
pub fn complex_abs(rec: &mut Recording, x: Tensor<Complex32>, scale: f32, y: Tensor<f32>) -> Result<()> {
    complex_size(rec, "complex_abs", 1, x, scale, y)
}
