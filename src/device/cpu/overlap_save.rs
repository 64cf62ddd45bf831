//! Twin of `shaders/overlap_save.wgsl`.

use rayon::prelude::*;

use super::parallel::per_task;
use crate::kernel::overlap_save::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n_out, blocks, points) = (p.n_out as usize, p.blocks as usize, p.points as usize);
    let (hop, stride, channels) = (p.hop as usize, p.stride as usize, p.channels as usize);
    let y = &mut a.y[p.row as usize * n_out..][..p.n as usize];
    y.par_chunks_exact_mut(n_out).with_min_len(per_task(n_out)).enumerate().for_each(|(local, y)| {
        let bias = if p.flags & 1 != 0 { a.bias[(p.row as usize + local) % channels] } else { 0.0 };
        let mut t = 0;
        for block in 0..blocks {
            // Outputs whose position lies in this block.
            let end = ((block + 1) * hop).div_ceil(stride).min(n_out);
            if t < end {
                let x = a.x[(local * blocks + block) * points + t * stride - block * hop..].iter().step_by(stride);
                for (y, x) in y[t..end].iter_mut().zip(x) {
                    *y = *x + bias;
                }
                t = end;
            }
        }
    });
}
