//! Twin of `shaders/gemm.wgsl`, by the `gemm` crate.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::kernel::gemm::{Host, Params};

/// Multiply-adds from which one product is worth all threads.
const SHARED_WORK: usize = 1 << 20;

/// Start, step along k and step along the other side of a matrix from its term `first` on.
fn view(x: &[f32], k_outer: bool, k: usize, other: usize, first: usize) -> (*const f32, isize, isize) {
    // Stored k × other, or other × k.
    let (k_step, other_step) = if k_outer { (other, 1) } else { (1, k) };
    (x[first * k_step..].as_ptr(), k_step as isize, other_step as isize)
}

pub(super) fn run(p: &Params, h: Host<'_>) {
    let (m, n, k) = (p.m as usize, p.n as usize, p.k as usize);
    let (first, count) = (p.k_first as usize, p.k_count as usize);
    let product = |matrix: usize, c: &mut [f32], parallelism: Parallelism| {
        let a = &h.a[matrix * p.a_batch as usize..][..m * k];
        let b = &h.b[matrix * p.b_batch as usize..][..k * n];
        let (a, a_cols, a_rows) = view(a, p.flags & 1 != 0, k, m, first);
        let (b, b_rows, b_cols) = view(b, p.flags & 2 == 0, k, n, first);
        let keep = p.flags & 4 != 0;
        // SAFETY: the slices above hold the whole matrices, and `c` is m × n.
        unsafe {
            gemm::gemm(
                m,
                n,
                count,
                c.as_mut_ptr(),
                1,
                n as isize,
                keep,
                a,
                a_cols,
                a_rows,
                b,
                b_cols,
                b_rows,
                p.beta,
                p.alpha,
                false,
                false,
                false,
                parallelism,
            );
        }
    };
    if m * n * count >= SHARED_WORK {
        let all = Parallelism::Rayon(rayon::current_num_threads());
        h.c.chunks_exact_mut(m * n).enumerate().for_each(|(matrix, c)| product(matrix, c, all));
    } else {
        let least = (SHARED_WORK / 16 / (m * n * count)).max(1);
        h.c.par_chunks_exact_mut(m * n)
            .with_min_len(least)
            .enumerate()
            .for_each(|(matrix, c)| product(matrix, c, Parallelism::None));
    }
}
