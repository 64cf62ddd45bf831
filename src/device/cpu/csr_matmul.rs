//! Twin of `shaders/csr_matmul.wgsl`.

use rayon::prelude::*;

use super::parallel::Scattered;
use super::vector::{Vector, for_each_instruction_set};
use crate::kernel::csr_matmul::{Host, Params};

/// Nonzeros that are added up before their sum goes to the row's: bounds the roundings a row of any length meets.
const BLOCK: usize = 64;

/// A part of the matrix, and where its rows of Y go.
struct Part<'a> {
    p: &'a Params,
    columns: &'a [u32],
    values: &'a [f32],
    x: &'a [f32],
    /// The path positions of the row ends in this part, and the first of these rows.
    ends: &'a [u32],
    row: usize,
    /// The path position behind the last item.
    end: usize,
    /// The first nonzero.
    nonzero: usize,
}

impl Part<'_> {
    /// # Safety
    /// `j` is below the number of nonzeros, whose columns are those of the matrix.
    #[inline(always)]
    unsafe fn nonzero(&self, j: usize) -> (f32, *const f32) {
        // SAFETY: the caller's promise; packed columns are u16, the first in the lower half of a little-endian word.
        unsafe {
            let word = *self.columns.get_unchecked(j >> self.p.packed);
            let column = if self.p.packed == 1 { word >> ((j & 1) * 16) & 0xffff } else { word };
            let value = *self.values.get_unchecked(j * self.p.value_step as usize);
            (value, self.x.as_ptr().add(column as usize * self.p.k as usize))
        }
    }

    /// The nonzeros of each row of the part, at last those of the row that it leaves unfinished.
    #[inline(always)]
    fn rows(&self) -> impl Iterator<Item = (usize, usize)> {
        let ends = self.ends.iter().enumerate().map(|(i, end)| *end as usize - self.row - i);
        let last = self.end - self.row - self.ends.len();
        let mut begin = self.nonzero;
        ends.chain([last]).map(move |end| (std::mem::replace(&mut begin, end), end))
    }
}

/// Columns `at` to `at + T·N` of every row of the part.
///
/// # Safety
/// The processor has the instructions of `V`; nonzeros and columns are in range.
#[inline(always)]
unsafe fn tile<V: Vector, const T: usize>(part: &Part<'_>, at: usize, y: &mut [f32], carry: &mut [f32]) {
    let k = part.p.k as usize;
    for (row, (begin, end)) in part.rows().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let mut total = [V::splat(0.0); T];
            for first in (begin..end).step_by(BLOCK) {
                let mut sum = [V::splat(0.0); T];
                for j in first..end.min(first + BLOCK) {
                    let (value, x) = part.nonzero(j);
                    let value = V::splat(value);
                    for (t, sum) in sum.iter_mut().enumerate() {
                        *sum = sum.add_product(value, V::load(x.add(at + t * V::N)));
                    }
                }
                for (total, sum) in total.iter_mut().zip(sum) {
                    *total = total.add(sum);
                }
            }
            let to = if row < part.ends.len() { &mut y[row * k..][..k] } else { &mut carry[..] };
            for (t, total) in total.into_iter().enumerate() {
                total.store(to[at + t * V::N..][..V::N].as_mut_ptr());
            }
        }
    }
}

/// As [`tile`], for `W` columns, fewer than a register has.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn rest<const W: usize>(part: &Part<'_>, at: usize, y: &mut [f32], carry: &mut [f32]) {
    let k = part.p.k as usize;
    for (row, (begin, end)) in part.rows().enumerate() {
        let mut total = [0f32; W];
        for first in (begin..end).step_by(BLOCK) {
            let mut sum = [0f32; W];
            for j in first..end.min(first + BLOCK) {
                // SAFETY: the caller's promise.
                unsafe {
                    let (value, x) = part.nonzero(j);
                    let x = x.add(at).cast::<[f32; W]>().read_unaligned();
                    for w in 0..W {
                        sum[w] += value * x[w];
                    }
                }
            }
            for w in 0..W {
                total[w] += sum[w];
            }
        }
        let to = if row < part.ends.len() { &mut y[row * k..][..k] } else { &mut carry[..] };
        to[at..at + W].copy_from_slice(&total);
    }
}

/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn walk<V: Vector>(part: &Part<'_>, y: &mut [f32], carry: &mut [f32]) {
    let k = part.p.k as usize;
    let mut at = 0;
    macro_rules! tiles {
        ($t:literal) => {
            while k - at >= $t * V::N {
                // SAFETY: the caller's promise.
                unsafe { tile::<V, $t>(part, at, y, carry) };
                at += $t * V::N;
            }
        };
    }
    tiles!(4);
    tiles!(1);
    macro_rules! rests {
        ($($w:literal)*) => {$(
            if k - at >= $w {
                // SAFETY: the caller's promise.
                unsafe { rest::<$w>(part, at, y, carry) };
                at += $w;
            }
        )*};
    }
    rests!(8 4 2 1);
    debug_assert_eq!(at, k);
}
for_each_instruction_set! { fn walk_part(part: &Part<'_>, y: &mut [f32], carry: &mut [f32]) = walk }

pub(super) fn run(p: &Params, h: Host<'_>) {
    let k = p.k as usize;
    let y = Scattered::new(h.y);
    let (starts, ends) = (h.starts, h.ends);
    let (columns, values, x) = (h.columns, h.values, h.x);
    h.carry[..p.part_count as usize * k].par_chunks_exact_mut(k).enumerate().for_each(|(i, carry)| {
        let i = p.part_first as usize + i;
        let begin = i * p.part as usize;
        let (row, behind) = (starts[i] as usize, starts[i + 1] as usize);
        let part = Part {
            p,
            columns,
            values,
            x,
            ends: &ends[row..behind],
            row,
            end: (begin + p.part as usize).min(p.items as usize),
            nonzero: begin - row,
        };
        // SAFETY: no other part has these row ends.
        let y = unsafe { y.part((p.row_first as usize + row) * k, (behind - row) * k) };
        let begun = (row < behind && row == p.row_begun as usize).then(|| y[..k].to_vec());
        walk_part(&part, y, carry);
        for (y, begun) in y.iter_mut().zip(begun.iter().flatten()) {
            *y += begun;
        }
    });
}
