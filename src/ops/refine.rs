//! A correlation at single times, at the full rate and over the full band.

use num_complex::{Complex32, Complex64};

use super::correlate::Correlate;
use crate::kernel::{self, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// Samples that a query returns: four on each side of the one asked for.
pub const REFINED: usize = 9;

/// For each query (row, t): z\[i\] = Σ_k x\[k\]·weight\[k\]·conj(template\[k\])·exp(2πi k (t + i − 4)/n) for i in 0..9, the values
/// of the unnormalised inverse transform of length `n` about sample t.
///
/// The shifts are applied to blocks of 32 bins at a time, to first order within a block, which is off by at most
/// 4.7e-6·(131072/n)² of the sum of magnitudes: meant for long series.
///
/// # Errors
/// `InvalidArgument` when the shapes disagree or `n` is over 2^20.
pub fn refine(rec: &mut Recording, c: Correlate, n: usize, queries: Tensor<u32>) -> Result<Tensor<Complex32>> {
    c.check("refine")?;
    if n < c.keep || n > 1 << 20 {
        return Err(Error::invalid("refine", format!("length {n}; must be {} to 2^20", c.keep)));
    }
    let count = queries.len() / 2;
    // exp(2πi m/n) as a product of two table entries, so that the table stays small and is exact to f32.
    let turn = |m: usize| {
        let v = Complex64::cis(std::f64::consts::TAU * m as f64 / n as f64);
        Complex32::new(v.re as f32, v.im as f32)
    };
    let table: Vec<Complex32> = (0..n.div_ceil(1024)).map(|i| turn(i * 1024)).chain((0..1024).map(turn)).collect();
    let turn = rec.constant("refine turns", &table)?;
    let z = rec.scratch("refined", count * REFINED)?;
    let step = (std::f64::consts::TAU / n as f64) as f32;
    let params = kernel::refine::Params { n: n as u32, stride: c.stride as u32, keep: c.keep as u32, step };
    let args = kernel::refine::Args { x: c.x, w: c.weight, h: c.templates, turn, query: queries, z };
    rec.dispatch(kernel::refine::dispatch(params, args, count as u64).work((count * c.keep * 16) as u64))?;
    Ok(z)
}
