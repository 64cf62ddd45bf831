//! Twin of `shaders/fill.wgsl`.

use rayon::prelude::*;

use super::parallel::{per_task, worth};
use crate::kernel::fill::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let y = &mut a.y[..p.n as usize];
    if worth(y.len()) {
        y.par_chunks_mut(per_task(1)).for_each(|y| y.fill(p.value));
    } else {
        y.fill(p.value);
    }
}
