//! Twin of `shaders/selftest_grid.wgsl`.

use crate::kernel::selftest_grid::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    for wg in 0..p.groups {
        a.seen[0] = a.seen[0].wrapping_add(1);
        a.seen[1] = a.seen[1].wrapping_add(wg);
    }
    a.far[p.n as usize - 1] = p.groups - 1;
}
