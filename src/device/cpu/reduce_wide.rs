//! Twin of `shaders/reduce_wide.wgsl`: that of `reduce`, whose order it keeps.

use super::reduce;
use crate::kernel::reduce_wide::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let params = crate::kernel::reduce::Params { n: 4 * p.n, chunks: p.chunks, square: p.square };
    reduce::run(&params, crate::kernel::reduce::Host { x: a.x.as_flattened(), y: a.y });
}
