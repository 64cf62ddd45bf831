//! Twin of `shaders/kde_rows.wgsl`.

use rayon::prelude::*;

use super::parallel::per_task;
use crate::kernel::kde_rows::{Host, Params};

/// A native device adds all entries of a row in one dispatch.
pub(super) fn run(p: &Params, a: Host<'_>) {
    let bins = p.bins as usize;
    a.log_likelihood.par_chunks_exact_mut(bins).with_min_len(per_task(bins)).enumerate().for_each(|(row, sum)| {
        sum.copy_from_slice(if row == 0 { a.carry } else { a.baseline });
        for slot in &a.order[a.row_offsets[row] as usize..a.row_offsets[row + 1] as usize] {
            for (sum, l) in sum.iter_mut().zip(&a.log_intensity[*slot as usize * bins..][..bins]) {
                *sum += l;
            }
        }
    });
}
