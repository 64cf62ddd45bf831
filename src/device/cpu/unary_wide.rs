//! Twin of `shaders/unary_wide.wgsl`: that of `unary`.

use super::unary;
use crate::kernel::unary_wide::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let params = crate::kernel::unary::Params { n: 4 * p.n, mode: p.mode, scale: p.scale, offset: p.offset };
    unary::run(&params, crate::kernel::unary::Host { x: a.x.as_flattened(), y: a.y.as_flattened_mut() });
}
