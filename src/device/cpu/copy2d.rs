//! Twin of `shaders/copy2d.wgsl`.

use rayon::prelude::*;

use super::parallel::{Scattered, per_task};
use crate::kernel::copy2d::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (rows, cols, valid) = (p.rows as usize, p.cols as usize, p.valid as usize);
    let lines = p.n as usize / cols;
    let target = Scattered::new(a.y);
    (0..lines).into_par_iter().with_min_len(per_task(cols)).for_each(|line| {
        let (b, r) = (line / rows, line % rows);
        // SAFETY: the op refuses destinations whose rows overlap.
        let y = unsafe { target.part(p.y_offset as usize + b * p.y_batch as usize + r * p.y_stride as usize, cols) };
        let first = i64::from(p.first) + r as i64 * i64::from(p.x_stride);
        // Columns lead..end lie within the source; those before and after are zero.
        let lead = first.min(0).unsigned_abs().min(cols as u64) as usize;
        let end = (valid as i64 - first).clamp(lead as i64, cols as i64) as usize;
        y[..lead].fill(0);
        y[end..].fill(0);
        if lead < end {
            let from = p.x_offset as usize + b * p.x_batch as usize + (first + lead as i64) as usize;
            y[lead..end].copy_from_slice(&a.x[from..from + end - lead]);
        }
    });
}
