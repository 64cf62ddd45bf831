//! Twin of `shaders/transpose.wgsl`.

use rayon::prelude::*;

use super::parallel::multiversioned;
use crate::kernel::transpose::{Host, Params};

/// Rows and columns of a block: 16 words are one line of the cache.
const SIDE: usize = 16;

/// Rows `col..` of the result, as many as `y` holds. Blocks go through a buffer: where `cols` is a power of two, the
/// lines of a column would push each other out of the cache.
#[inline(always)]
fn columns<T: Copy + Default>(x: &[T], y: &mut [T], rows: usize, cols: usize, col: usize) {
    let width = y.len() / rows;
    let mut block = [[T::default(); SIDE]; SIDE];
    for row in (0..rows).step_by(SIDE) {
        let height = SIDE.min(rows - row);
        for (r, line) in block[..height].iter_mut().enumerate() {
            let x = &x[(row + r) * cols + col..];
            if width == SIDE {
                line.copy_from_slice(&x[..SIDE]);
            } else {
                line[..width].copy_from_slice(&x[..width]);
            }
        }
        for c in 0..width {
            let y = &mut y[c * rows + row..];
            if height == SIDE {
                let line: [T; SIDE] = std::array::from_fn(|r| block[r][c]);
                y[..SIDE].copy_from_slice(&line);
            } else {
                for (y, line) in y[..height].iter_mut().zip(&block) {
                    *y = line[c];
                }
            }
        }
    }
}

multiversioned! {
    fn columns1(x: &[u32], y: &mut [u32], rows: usize, cols: usize, col: usize) {
        columns(x, y, rows, cols, col)
    }
}

multiversioned! {
    fn columns2(x: &[u64], y: &mut [u64], rows: usize, cols: usize, col: usize) {
        columns(x, y, rows, cols, col)
    }
}

multiversioned! {
    fn columns4(x: &[[u32; 4]], y: &mut [[u32; 4]], rows: usize, cols: usize, col: usize) {
        columns(x, y, rows, cols, col)
    }
}

/// A task of [`transpose`]: source, result, rows, columns, first column.
type Columns<T> = fn(&[T], &mut [T], usize, usize, usize);

fn transpose<T: Copy + Sync + Send>(x: &[T], y: &mut [T], rows: usize, cols: usize, columns: Columns<T>) {
    let matrices = y.par_chunks_mut(rows * cols).zip(x.par_chunks(rows * cols));
    matrices.for_each(|(y, x)| {
        let tasks = y.par_chunks_mut(rows * SIDE).enumerate();
        tasks.for_each(|(task, y)| columns(x, y, rows, cols, task * SIDE));
    });
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    match p.words {
        1 => transpose(a.x, a.y, rows, cols, columns1),
        2 => transpose(bytemuck::cast_slice(a.x), bytemuck::cast_slice_mut(a.y), rows, cols, columns2),
        _ => transpose(bytemuck::cast_slice(a.x), bytemuck::cast_slice_mut(a.y), rows, cols, columns4),
    }
}
