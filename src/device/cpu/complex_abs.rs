//! Twin of `shaders/complex_abs.wgsl`.

use super::parallel::map;
use crate::kernel::complex_abs::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, scale) = (p.n as usize, p.scale);
    let (x, y) = (&a.x[..n], &mut a.y[..n]);
    match p.mode {
        0 => map(x, y, |v| scale * (v.re * v.re + v.im * v.im)),
        _ => map(x, y, |v| scale * (v.re * v.re + v.im * v.im).sqrt()),
    }
}
