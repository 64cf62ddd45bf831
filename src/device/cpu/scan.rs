//! Twin of `shaders/scan.wgsl`.

use rayon::prelude::*;

use super::parallel::multiversioned;
use crate::kernel::scan::{Host, Params};

const CHUNK: usize = 1024;
const LANES: usize = 256;
const EACH: usize = 4;

/// Prefix sums of one chunk in the shader's order; returns the total.
#[inline(always)]
fn chunk<T: Copy + Default>(x: &[T], y: &mut [T], inclusive: bool, add: impl Fn(T, T) -> T + Copy) -> T {
    let mut lanes = [[T::default(); LANES]; 2];
    for (s, part) in lanes[0].iter_mut().zip(x.chunks(EACH)) {
        *s = part.iter().fold(T::default(), |s, v| add(s, *v));
    }
    let [mut from, mut to] = lanes.each_mut();
    let mut step = 1;
    // Eight doubling steps: the sums end where they began, in `lanes[0]`.
    while step < LANES {
        to[..step].copy_from_slice(&from[..step]);
        for ((t, before), v) in to[step..].iter_mut().zip(&*from).zip(&from[step..]) {
            *t = add(*before, *v);
        }
        std::mem::swap(&mut from, &mut to);
        step *= 2;
    }
    let sums = &lanes[0];
    for (l, (y, x)) in y.chunks_mut(EACH).zip(x.chunks(EACH)).enumerate() {
        let mut s = if l == 0 { T::default() } else { sums[l - 1] };
        for (y, v) in y.iter_mut().zip(x) {
            let next = add(s, *v);
            *y = if inclusive { next } else { s };
            s = next;
        }
    }
    sums[LANES - 1]
}

multiversioned! {
    fn chunk_u32(x: &[u32], y: &mut [u32], inclusive: bool) -> u32 {
        chunk(x, y, inclusive, u32::wrapping_add)
    }
}

multiversioned! {
    fn chunk_f32(x: &[f32], y: &mut [f32], inclusive: bool) -> f32 {
        chunk(x, y, inclusive, |a, b| a + b)
    }
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, chunks, inclusive) = (p.n as usize, p.chunks as usize, p.inclusive != 0);
    let rows = a.y.par_chunks_mut(n).zip(a.x.par_chunks(n)).zip(a.total.par_chunks_mut(chunks));
    rows.for_each(|((y, x), total)| {
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(total).with_min_len(8).for_each(|((y, x), total)| {
            *total = if p.real != 0 {
                chunk_f32(bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y), inclusive).to_bits()
            } else {
                chunk_u32(x, y, inclusive)
            };
        });
    });
}
