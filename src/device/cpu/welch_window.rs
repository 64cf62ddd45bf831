//! Twin of `shaders/welch_window.wgsl`.

use rayon::prelude::*;

use crate::kernel::welch_window::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let n = p.n as usize;
    a.y[..p.total as usize].par_chunks_mut(n).zip(a.starts).for_each(|(y, start)| {
        let x = &a.x[*start as usize..][..n];
        for ((y, x), w) in y.iter_mut().zip(x).zip(a.window) {
            *y = x * w;
        }
    });
}
