//! Twin of `shaders/transpose.wgsl`.

use rayon::prelude::*;

use crate::kernel::transpose::{Host, Params};

/// Rows and columns of a block: its lines on both sides stay in the first-level cache.
const SIDE: usize = 32;

fn transpose<T: Copy + Sync + Send>(x: &[T], y: &mut [T], rows: usize, cols: usize) {
    let blocks = y.par_chunks_mut(rows * cols).zip(x.par_chunks(rows * cols));
    blocks.for_each(|(y, x)| {
        // A task writes SIDE rows of the result: SIDE columns of the source.
        y.par_chunks_mut(rows * SIDE).enumerate().for_each(|(task, y)| {
            let col = task * SIDE;
            for row in (0..rows).step_by(SIDE) {
                for (c, y) in y.chunks_exact_mut(rows).enumerate() {
                    let end = rows.min(row + SIDE);
                    let column = x[row * cols + col + c..].iter().step_by(cols);
                    for (y, x) in y[row..end].iter_mut().zip(column) {
                        *y = *x;
                    }
                }
            }
        });
    });
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    match p.words {
        1 => transpose(a.x, a.y, rows, cols),
        2 => transpose::<[u32; 2]>(bytemuck::cast_slice(a.x), bytemuck::cast_slice_mut(a.y), rows, cols),
        _ => transpose::<[u32; 4]>(bytemuck::cast_slice(a.x), bytemuck::cast_slice_mut(a.y), rows, cols),
    }
}
