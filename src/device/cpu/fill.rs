//! Twin of `shaders/fill.wgsl`.

use crate::kernel::fill::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    a.y[..p.n as usize].fill(p.value);
}
