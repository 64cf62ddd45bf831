//! Twin of `shaders/peak.wgsl`.

use num_complex::Complex32;
use rayon::prelude::*;

use crate::kernel::peak::{Host, Params};

/// The largest |z|², by lanes that the compiler turns into vectors.
#[inline(always)]
fn largest(z: &[Complex32]) -> f32 {
    const LANES: usize = 16;
    let mut most = [-1.0f32; LANES];
    let blocks = z.chunks_exact(LANES);
    let rest = blocks.remainder().iter().map(|v| v.re * v.re + v.im * v.im).fold(-1.0, f32::max);
    for block in blocks {
        for (m, v) in most.iter_mut().zip(block) {
            let e = v.re * v.re + v.im * v.im;
            *m = if e > *m { e } else { *m };
        }
    }
    most.into_iter().fold(rest, f32::max)
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, parts, part, end) = (p.n as usize, p.parts as usize, p.part as usize, p.end as usize);
    a.power.par_iter_mut().zip(a.at.par_iter_mut()).enumerate().with_min_len(parts).for_each(|(wg, (power, at))| {
        let begin = p.first as usize + (wg % parts) * part;
        let z = &a.z[(wg / parts) * n..][begin..(begin + part).min(end)];
        *power = largest(z);
        let first = z.iter().position(|v| v.re * v.re + v.im * v.im == *power).unwrap_or(0);
        *at = (begin + first) as u32;
    });
}
