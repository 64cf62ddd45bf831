//! Twin of `shaders/binary.wgsl`.

use super::parallel::map_rows;
use crate::kernel::binary::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, alpha, beta) = (p.n as usize, p.alpha, p.beta);
    let (u, v, y) = (&a.a[..n], &a.b[..p.row as usize], &mut a.y[..n]);
    match p.mode {
        0 => map_rows(u, v, y, |u, v| alpha * u + beta * v),
        _ => map_rows(u, v, y, |u, v| alpha * (u * v)),
    }
}
