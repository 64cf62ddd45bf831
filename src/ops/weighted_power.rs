//! The normalisation of matched filters.

use num_complex::Complex32;

use super::reduce::visits;
use crate::kernel::{self, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// Appends norm\[b·every + offset\] = scale / Σ_k |h\[b·stride + k\]|²·w\[k\] for each of `norm.len() / every` templates: with
/// w = 1/S(f) and scale = 4Δf, norm·|z|² is the squared signal-to-noise ratio of the unnormalised filter output z.
///
/// # Errors
/// `InvalidArgument` when the shapes disagree, or a row has more bins than the device's loops may visit.
pub fn weighted_power(
    rec: &mut Recording,
    h: Tensor<Complex32>,
    (stride, keep): (usize, usize),
    w: Tensor<f32>,
    scale: f32,
    norm: Tensor<f32>,
    (every, offset): (usize, usize),
) -> Result<()> {
    let rows = norm.len().checked_div(every).unwrap_or(0);
    if rows == 0
        || offset >= every
        || keep == 0
        || keep > stride
        || keep > w.len()
        || rows.saturating_mul(stride) > h.len()
    {
        let why = format!(
            "{rows} rows of {keep} bins, {stride} apart, in a tensor of {} with {} weights, to every {every}th norm from {offset}",
            h.len(),
            w.len()
        );
        return Err(Error::invalid("weighted_power", why));
    }
    visits("weighted_power", keep, rec)?;
    let params = kernel::weighted_power::Params {
        stride: stride as u32,
        keep: keep as u32,
        every: every as u32,
        offset: offset as u32,
        scale,
    };
    rec.dispatch(kernel::weighted_power::dispatch(params, kernel::weighted_power::Args { h, w, norm }, rows as u64))
}
