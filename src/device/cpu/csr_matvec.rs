//! Twin of `shaders/csr_matvec.wgsl`.
//!
//! What bounds it is how fast elements of x come from the caches: four loads into a register each are as fast as a
//! gather instruction or faster, and 128-bit registers lose nothing. Loads all over x keep the processor from fetching
//! the matrix ahead by itself; asking for it takes a quarter off the time.

use rayon::prelude::*;

use super::parallel::Scattered;
use crate::kernel::csr_matvec::{Host, Params};

/// Nonzeros that are added up before their sum goes to the row's: bounds the roundings a row of any length meets.
const BLOCK: usize = 1024;
/// Nonzeros ahead of which the matrix is fetched.
const AHEAD: usize = 1024;
/// Sums that are carried on side by side.
const SUMS: usize = 4;

/// A column as it is stored.
trait Column: Copy + Sync {
    fn at(self) -> usize;
}

impl Column for u16 {
    #[inline(always)]
    fn at(self) -> usize {
        usize::from(self)
    }
}

impl Column for u32 {
    #[inline(always)]
    fn at(self) -> usize {
        self as usize
    }
}

/// Four f32.
///
/// # Safety
/// Every function needs the register's instructions; `load` needs four elements, `gather` four columns within x.
#[allow(clippy::missing_safety_doc, reason = "stated for the whole trait")]
trait Quad: Copy {
    unsafe fn zero() -> Self;
    unsafe fn load(at: *const f32) -> Self;
    /// Asks for memory that is read soon, or that is not there.
    unsafe fn fetch<T>(at: *const T);
    unsafe fn gather<C: Column>(columns: *const C, x: *const f32) -> Self;
    unsafe fn add(self, b: Self) -> Self;
    /// `self + a·b`.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    unsafe fn sum(self) -> f32;
}

impl Quad for [f32; 4] {
    #[inline(always)]
    unsafe fn zero() -> Self {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: the caller's promise, here and below.
        unsafe { at.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn fetch<T>(_: *const T) {}
    #[inline(always)]
    unsafe fn gather<C: Column>(columns: *const C, x: *const f32) -> Self {
        std::array::from_fn(|i| unsafe { *x.add((*columns.add(i)).at()) })
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] + b[i])
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] + a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        (self[0] + self[2]) + (self[1] + self[3])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Column, Quad};

    impl Quad for __m128 {
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller's promise, here and below.
            unsafe { _mm_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            unsafe { _mm_loadu_ps(at) }
        }
        #[inline(always)]
        unsafe fn fetch<T>(at: *const T) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
        #[inline(always)]
        unsafe fn gather<C: Column>(columns: *const C, x: *const f32) -> Self {
            unsafe {
                let v = _mm_load_ss(x.add((*columns).at()));
                let v = _mm_insert_ps::<0x10>(v, _mm_load_ss(x.add((*columns.add(1)).at())));
                let v = _mm_insert_ps::<0x20>(v, _mm_load_ss(x.add((*columns.add(2)).at())));
                _mm_insert_ps::<0x30>(v, _mm_load_ss(x.add((*columns.add(3)).at())))
            }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            unsafe { _mm_add_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            unsafe { _mm_fmadd_ps(a, b, self) }
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe {
                let v = _mm_add_ps(self, _mm_movehl_ps(self, self));
                _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
            }
        }
    }
}

/// A part of the matrix.
#[derive(Clone, Copy)]
struct Part<'a, C> {
    columns: &'a [C],
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

/// Σ value·x over the nonzeros `begin..end`; without `EACH` all have the first value.
///
/// # Safety
/// The processor has the instructions of `Q`; nonzeros and columns are in range.
#[inline(always)]
unsafe fn dot<Q: Quad, C: Column, const EACH: bool>(part: &Part<'_, C>, begin: usize, end: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let (columns, values, x) = (part.columns.as_ptr(), part.values.as_ptr(), part.x.as_ptr());
        let value = |j: usize| if EACH { *values.add(j) } else { 1.0 };
        let mut total = 0.0;
        let mut j = begin;
        while j < end {
            let block = end.min(j + BLOCK);
            let mut sums = [Q::zero(); SUMS];
            while j + 4 * SUMS <= block {
                Q::fetch(columns.wrapping_add(j + AHEAD));
                if EACH {
                    Q::fetch(values.wrapping_add(j + AHEAD));
                }
                for (s, sum) in sums.iter_mut().enumerate() {
                    let x = Q::gather(columns.add(j + 4 * s), x);
                    *sum = if EACH { sum.add_product(Q::load(values.add(j + 4 * s)), x) } else { sum.add(x) };
                }
                j += 4 * SUMS;
            }
            while j + 4 <= block {
                let x = Q::gather(columns.add(j), x);
                sums[0] = if EACH { sums[0].add_product(Q::load(values.add(j)), x) } else { sums[0].add(x) };
                j += 4;
            }
            let mut sum = sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum();
            while j < block {
                sum += value(j) * *x.add((*columns.add(j)).at());
                j += 1;
            }
            total += sum;
        }
        if EACH { total } else { total * *values }
    }
}

/// Writes the rows that end in the part; what it has of the row it leaves unfinished.
///
/// # Safety
/// As [`dot`].
#[inline(always)]
unsafe fn walk<Q: Quad, C: Column, const EACH: bool>(part: &Part<'_, C>, y: &mut [f32]) -> f32 {
    let mut begin = part.nonzero;
    for (i, (y, end)) in y.iter_mut().zip(part.ends).enumerate() {
        let end = *end as usize - part.row - i;
        // SAFETY: the caller's promise.
        *y = unsafe { dot::<Q, C, EACH>(part, begin, end) };
        begin = end;
    }
    // SAFETY: the caller's promise.
    unsafe { dot::<Q, C, EACH>(part, begin, part.end - part.row - part.ends.len()) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn walk_fused<C: Column, const EACH: bool>(part: &Part<'_, C>, y: &mut [f32]) -> f32 {
    // SAFETY: the features are enabled here; the op has checked the matrix.
    unsafe { walk::<std::arch::x86_64::__m128, C, EACH>(part, y) }
}

fn walk_part<C: Column, const EACH: bool>(part: &Part<'_, C>, y: &mut [f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has these features.
        return unsafe { walk_fused::<C, EACH>(part, y) };
    }
    // SAFETY: plain arrays need no feature; the op has checked the matrix.
    unsafe { walk::<[f32; 4], C, EACH>(part, y) }
}

fn run_as<C: Column, const EACH: bool>(p: &Params, h: Host<'_>, columns: &[C]) {
    let y = Scattered::new(h.y);
    let (starts, ends, values, x) = (h.starts, h.ends, h.values, h.x);
    let parts = p.items.div_ceil(p.part) as usize;
    h.carry[..parts].par_iter_mut().enumerate().for_each(|(i, carry)| {
        let begin = i * p.part as usize;
        let (row, behind) = (starts[i] as usize, starts[i + 1] as usize);
        let end = (begin + p.part as usize).min(p.items as usize);
        let part = Part { columns, values, x, ends: &ends[row..behind], row, end, nonzero: begin - row };
        // SAFETY: no other part has these row ends.
        let y = unsafe { y.part(p.row_first as usize + row, behind - row) };
        let begun = if row == p.row_begun as usize { y.first().copied() } else { None };
        *carry = walk_part::<C, EACH>(&part, y);
        if let (Some(begun), Some(first)) = (begun, y.first_mut()) {
            *first += begun;
        }
    });
}

pub(super) fn run(p: &Params, h: Host<'_>) {
    let words = h.columns;
    match (p.packed == 1, p.value_step == 1) {
        (true, true) => run_as::<u16, true>(p, h, bytemuck::cast_slice(words)),
        (true, false) => run_as::<u16, false>(p, h, bytemuck::cast_slice(words)),
        (false, true) => run_as::<u32, true>(p, h, words),
        (false, false) => run_as::<u32, false>(p, h, words),
    }
}
