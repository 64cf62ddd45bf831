//! Twin of `shaders/unary.wgsl`.

use super::parallel::map;
use crate::kernel::unary::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let n = p.n as usize;
    let (x, y, scale, offset) = (&a.x[..n], &mut a.y[..n], p.scale, p.offset);
    match p.mode {
        0 => map(x, y, |v| scale * v + offset),
        1 => map(x, y, f32::abs),
        _ => map(x, y, |v| scale * (v * v)),
    }
}
