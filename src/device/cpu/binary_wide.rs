//! Twin of `shaders/binary_wide.wgsl`: that of `binary`.

use super::binary;
use crate::kernel::binary_wide::{Host, Params};

pub(super) fn run(p: &Params, h: Host<'_>) {
    let params =
        crate::kernel::binary::Params { n: 4 * p.n, row: 4 * p.row, mode: p.mode, alpha: p.alpha, beta: p.beta };
    let (a, b, y) = (h.a.as_flattened(), h.b.as_flattened(), h.y.as_flattened_mut());
    binary::run(&params, crate::kernel::binary::Host { a, b, y });
}
