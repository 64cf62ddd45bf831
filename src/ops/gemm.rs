//! Products of matrices.

use crate::kernel::{self, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// Rows and columns that a workgroup of `shaders/gemm.wgsl` computes.
const TILE: [usize; 2] = [64, 128];
/// The same of `shaders/gemm_wide.wgsl`.
const WIDE: [usize; 2] = [16, 128];
/// Terms of the sum that one dispatch of the shader adds: far below the loop limit, and small enough to cut a dispatch
/// into slices.
const MAX_TERMS: usize = 4096;

/// `c = alpha·op(a)·op(b) + beta·c` for a batch of row-major matrices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Products.
    pub batch: usize,
    /// Rows of op(a) and c.
    pub m: usize,
    /// Columns of op(b) and c.
    pub n: usize,
    /// Columns of op(a), rows of op(b).
    pub k: usize,
    /// `a` is stored k × m.
    pub transpose_a: bool,
    /// `b` is stored n × k.
    pub transpose_b: bool,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of what `c` held; at 0 nothing is read.
    pub beta: f32,
}

impl Gemm {
    /// `c = a·b`.
    pub fn new(batch: usize, m: usize, n: usize, k: usize) -> Self {
        Self { batch, m, n, k, transpose_a: false, transpose_b: false, alpha: 1.0, beta: 0.0 }
    }
}

/// Multiplies; `a` and `b` hold one matrix for each product, or one that all share.
///
/// The order of additions is fixed by the sizes, on every device its own: relative L2 error against f64 for
/// independent inputs about 3e-8·√k.
///
/// # Errors
/// `InvalidArgument` for a zero size, sizes from 2^31 on, or a tensor that has not the elements named; as
/// [`Recording::dispatch`].
pub fn gemm(rec: &mut Recording, g: &Gemm, a: Tensor<f32>, b: Tensor<f32>, c: Tensor<f32>) -> Result<()> {
    use kernel::gemm::{Args, Params, dispatch};
    for (what, n) in [("batch", g.batch), ("m", g.m), ("n", g.n), ("k", g.k)] {
        if n == 0 || n >= 1 << 31 {
            return Err(Error::invalid(format!("gemm: {what}"), format!("{n}, must be in 1..2^31")));
        }
    }
    let each = |what: &str, x: Tensor<f32>, rows: usize, cols: usize| {
        let one = rows.saturating_mul(cols);
        if x.len() == one && what != "c" {
            return Ok(0);
        }
        if x.len() == one.saturating_mul(g.batch) {
            return Ok(one as u32);
        }
        let why = format!("{} elements, must be {} matrices of {rows} × {cols}", x.len(), g.batch);
        Err(Error::invalid(format!("gemm: {what}"), why))
    };
    let a_batch = each("a", a, g.m, g.k)?;
    let b_batch = each("b", b, g.k, g.n)?;
    each("c", c, g.m, g.n)?;
    let most = if rec.capabilities().native { g.k } else { MAX_TERMS };
    // Matrices whose rows are whole fours, so that a row begins with a four.
    let fours = g.n.is_multiple_of(4) && g.k.is_multiple_of(4) && !g.transpose_a && !g.transpose_b;
    let wide = match (a.cast(), b.cast(), c.cast()) {
        (Some(a), Some(b), Some(c)) if rec.capabilities().software && fours => {
            Some(kernel::gemm_wide::Args { a, b, c })
        }
        _ => None,
    };
    let tile = if wide.is_some() { WIDE } else { TILE };
    let groups = (g.batch * g.m.div_ceil(tile[0]) * g.n.div_ceil(tile[1])) as u64;
    for k_first in (0..g.k).step_by(most) {
        let k_count = most.min(g.k - k_first);
        let beta = if k_first == 0 { g.beta } else { 1.0 };
        let work = groups * (tile[0] * tile[1] * k_count) as u64;
        let params = Params {
            m: g.m as u32,
            n: g.n as u32,
            k: g.k as u32,
            k_first: k_first as u32,
            k_count: k_count as u32,
            a_batch,
            b_batch,
            alpha: g.alpha,
            beta,
            flags: u32::from(g.transpose_a) | u32::from(g.transpose_b) << 1 | u32::from(beta != 0.0) << 2,
        };
        rec.dispatch(match wide {
            // The same parameters.
            Some(args) => kernel::gemm_wide::dispatch(bytemuck::cast(params), args, groups).work(work),
            None => dispatch(params, Args { a, b, c }, groups).work(work),
        })?;
    }
    Ok(())
}
