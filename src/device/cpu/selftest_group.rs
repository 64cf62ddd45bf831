//! Twin of `shaders/selftest_group.wgsl`.

use crate::kernel::selftest_group::{Host, Params};

pub(super) fn run(_: &Params, a: Host<'_>) {
    for lid in 0..256 {
        a.y[lid] = 255 - lid as u32;
    }
    for (y, x) in a.y[256..260].iter_mut().zip(a.x) {
        *y = u32::from(x.is_nan());
    }
    a.y[260] = (a.x[0] + 1e8 - 1e8).to_bits();
    a.y[261] = (a.x[2] * a.x[3] - 0.3).to_bits();
}
