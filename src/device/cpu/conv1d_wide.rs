//! Twin of `shaders/conv1d_wide.wgsl`: that of `conv1d`.

use super::conv1d;
use crate::kernel::conv1d_wide::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let params = crate::kernel::conv1d::Params {
        n_in: p.n_in,
        n_out: p.n_out,
        c_in: p.c_in,
        c_out: p.c_out,
        groups: p.groups,
        taps: p.taps,
        stride: 1,
        dilation: 1,
        pad: p.pad,
        k_first: p.c_first * p.taps,
        k_count: p.c_count * p.taps,
        flags: p.flags,
    };
    let host = crate::kernel::conv1d::Host { x: a.x, w: a.w.as_flattened(), bias: a.bias, y: a.y };
    conv1d::run(&params, host);
}
