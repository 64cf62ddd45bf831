//! Twin of `shaders/selftest_loop.wgsl`.

use crate::kernel::selftest_loop::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let steps = |x: u32, n: u32| (0..n).fold(x, |x, _| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    a.y[0] = steps(0, p.first);
    a.y[1] = steps(a.y[0], p.second);
}
