//! Twin of `shaders/complex_scale.wgsl`.

use num_complex::Complex32;

use super::parallel::map_rows;
use crate::kernel::complex_scale::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, alpha) = (p.n as usize, p.alpha);
    map_rows(&a.a[..n], &a.b[..p.row as usize], &mut a.y[..n], |u: Complex32, v: f32| {
        Complex32::new(alpha * (u.re * v), alpha * (u.im * v))
    });
}
