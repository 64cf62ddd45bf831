//! Twin of `shaders/complex_binary.wgsl`.

use num_complex::Complex32;

use super::parallel::map_rows;
use crate::kernel::complex_binary::{Host, Params};

/// The product with its roundings spelled out, as the shader has them.
#[inline]
fn product(u: Complex32, v: Complex32) -> Complex32 {
    Complex32::new(u.re * v.re - u.im * v.im, u.re * v.im + u.im * v.re)
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, alpha, beta) = (p.n as usize, p.alpha, p.beta);
    let (u, v, y) = (&a.a[..n], &a.b[..p.row as usize], &mut a.y[..n]);
    match p.mode {
        0 => map_rows(u, v, y, |u: Complex32, v: Complex32| {
            Complex32::new(alpha * u.re + beta * v.re, alpha * u.im + beta * v.im)
        }),
        1 => map_rows(u, v, y, |u, v| product(u, v).scale(alpha)),
        2 => map_rows(u, v, y, |u, v: Complex32| product(u, v.conj()).scale(alpha)),
        _ => map_rows(u, v, y, |u: Complex32, v| product(u.conj(), v).scale(alpha)),
    }
}
