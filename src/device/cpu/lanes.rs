//! Vectors of f32 and u32 lanes for twins that must round as their shaders do: no fused multiply-add anywhere.
//!
//! A kernel is written once over [`Lanes`] and compiled for every instruction set; each compilation gives the same bits.

/// Below this a magnitude is set to zero, as `flush` of `shaders/shared/flush.wgsl` does.
pub(super) const TINY: f32 = 1e-30;

/// A vector unit.
///
/// # Safety
/// Every function may be called only where the unit's instructions are present. `load` and `store` need `N` elements.
#[allow(clippy::missing_safety_doc, reason = "stated for the whole trait")]
pub(super) trait Lanes: Copy {
    const N: usize;
    type F: Copy;
    type U: Copy;
    type M: Copy;

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(at: *const f32) -> Self::F;
    unsafe fn store(at: *mut f32, x: Self::F);
    unsafe fn load_u(at: *const u32) -> Self::U;
    unsafe fn store_u(at: *mut u32, x: Self::U);
    /// Whole non-negative floats as integers.
    unsafe fn to_u(x: Self::F) -> Self::U;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// Zero where the magnitude is below `least`; NaN stays.
    unsafe fn cut(x: Self::F, least: f32) -> Self::F;
    /// Zero where the magnitude is below [`TINY`]; NaN stays.
    #[inline(always)]
    unsafe fn flush(x: Self::F) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { Self::cut(x, TINY) }
    }
    unsafe fn finite(x: Self::F) -> Self::M;
    unsafe fn ge(a: Self::F, b: Self::F) -> Self::M;
    unsafe fn gt(a: Self::F, b: Self::F) -> Self::M;
    unsafe fn is_zero(x: Self::U) -> Self::M;
    /// One less, and zero stays.
    unsafe fn decrement(x: Self::U) -> Self::U;
    unsafe fn and(a: Self::M, b: Self::M) -> Self::M;
    /// `a` where the mask is set, else `b`.
    unsafe fn select(m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    unsafe fn select_u(m: Self::M, a: Self::U, b: Self::U) -> Self::U;
    unsafe fn splat_u(x: u32) -> Self::U;
    unsafe fn or_u(a: Self::U, b: Self::U) -> Self::U;
    /// Modulo 2^32.
    unsafe fn add_u(a: Self::U, b: Self::U) -> Self::U;
    /// Modulo 2^32.
    unsafe fn sub_u(a: Self::U, b: Self::U) -> Self::U;
    /// Signed integers as the nearest floats.
    unsafe fn from_i(x: Self::U) -> Self::F;
    /// Whole floats from -2^31 to 2^31 as signed integers, modulo 2^32.
    unsafe fn to_i(x: Self::F) -> Self::U;
    /// Bit i: lane i.
    unsafe fn bits(m: Self::M) -> u64;
}

/// Zero where the magnitude is below [`TINY`]; NaN stays.
#[inline(always)]
pub(super) fn flush(x: f32) -> f32 {
    if x.abs() < TINY { 0.0 } else { x }
}

/// Plain arrays, for every machine; the compiler vectorises them with what the target has.
#[derive(Clone, Copy)]
pub(super) struct Plain<const LANES: usize>;

fn map<const L: usize, A: Copy, B: Copy, C>(a: [A; L], b: [B; L], f: impl Fn(A, B) -> C) -> [C; L] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl<const L: usize> Lanes for Plain<L> {
    const N: usize = L;
    type F = [f32; L];
    type U = [u32; L];
    type M = [bool; L];

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::F {
        [x; L]
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[f32; L]>().read() }
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, x: Self::F) {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[f32; L]>().write(x) }
    }
    #[inline(always)]
    unsafe fn load_u(at: *const u32) -> Self::U {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[u32; L]>().read() }
    }
    #[inline(always)]
    unsafe fn store_u(at: *mut u32, x: Self::U) {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[u32; L]>().write(x) }
    }
    #[inline(always)]
    unsafe fn to_u(x: Self::F) -> Self::U {
        x.map(|x| x as u32)
    }
    #[inline(always)]
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F {
        map(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F {
        map(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        map(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn cut(x: Self::F, least: f32) -> Self::F {
        x.map(|x| if x.abs() < least { 0.0 } else { x })
    }
    #[inline(always)]
    unsafe fn finite(x: Self::F) -> Self::M {
        x.map(|x| x.abs() < f32::INFINITY)
    }
    #[inline(always)]
    unsafe fn ge(a: Self::F, b: Self::F) -> Self::M {
        map(a, b, |a, b| a >= b)
    }
    #[inline(always)]
    unsafe fn gt(a: Self::F, b: Self::F) -> Self::M {
        map(a, b, |a, b| a > b)
    }
    #[inline(always)]
    unsafe fn is_zero(x: Self::U) -> Self::M {
        x.map(|x| x == 0)
    }
    #[inline(always)]
    unsafe fn decrement(x: Self::U) -> Self::U {
        x.map(|x| x.saturating_sub(1))
    }
    #[inline(always)]
    unsafe fn and(a: Self::M, b: Self::M) -> Self::M {
        map(a, b, |a, b| a & b)
    }
    #[inline(always)]
    unsafe fn select(m: Self::M, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| if m[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn select_u(m: Self::M, a: Self::U, b: Self::U) -> Self::U {
        std::array::from_fn(|i| if m[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn splat_u(x: u32) -> Self::U {
        [x; L]
    }
    #[inline(always)]
    unsafe fn or_u(a: Self::U, b: Self::U) -> Self::U {
        map(a, b, |a, b| a | b)
    }
    #[inline(always)]
    unsafe fn add_u(a: Self::U, b: Self::U) -> Self::U {
        map(a, b, u32::wrapping_add)
    }
    #[inline(always)]
    unsafe fn sub_u(a: Self::U, b: Self::U) -> Self::U {
        map(a, b, u32::wrapping_sub)
    }
    #[inline(always)]
    unsafe fn from_i(x: Self::U) -> Self::F {
        x.map(|x| x as i32 as f32)
    }
    #[inline(always)]
    unsafe fn to_i(x: Self::F) -> Self::U {
        x.map(|x| x as i64 as u32)
    }
    #[inline(always)]
    unsafe fn bits(m: Self::M) -> u64 {
        m.iter().enumerate().fold(0, |bits, (i, &m)| bits | u64::from(m) << i)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![allow(clippy::undocumented_unsafe_blocks, reason = "the trait's promise covers every intrinsic here")]
    use super::Lanes;
    use std::arch::x86_64::*;

    /// Needs AVX2.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2;

    impl Lanes for Avx2 {
        const N: usize = 8;
        type F = __m256;
        type U = __m256i;
        type M = __m256;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(at) }
        }
        #[inline(always)]
        unsafe fn store(at: *mut f32, x: __m256) {
            unsafe { _mm256_storeu_ps(at, x) }
        }
        #[inline(always)]
        unsafe fn load_u(at: *const u32) -> __m256i {
            unsafe { _mm256_loadu_si256(at.cast()) }
        }
        #[inline(always)]
        unsafe fn store_u(at: *mut u32, x: __m256i) {
            unsafe { _mm256_storeu_si256(at.cast(), x) }
        }
        #[inline(always)]
        unsafe fn to_u(x: __m256) -> __m256i {
            unsafe { _mm256_cvttps_epi32(x) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn cut(x: __m256, least: f32) -> __m256 {
            unsafe {
                let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), x);
                _mm256_and_ps(x, _mm256_cmp_ps::<_CMP_NLT_UQ>(magnitude, _mm256_set1_ps(least)))
            }
        }
        #[inline(always)]
        unsafe fn finite(x: __m256) -> __m256 {
            unsafe {
                let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), x);
                _mm256_cmp_ps::<_CMP_LT_OQ>(magnitude, _mm256_set1_ps(f32::INFINITY))
            }
        }
        #[inline(always)]
        unsafe fn ge(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_cmp_ps::<_CMP_GE_OQ>(a, b) }
        }
        #[inline(always)]
        unsafe fn gt(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_cmp_ps::<_CMP_GT_OQ>(a, b) }
        }
        #[inline(always)]
        unsafe fn is_zero(x: __m256i) -> __m256 {
            unsafe { _mm256_castsi256_ps(_mm256_cmpeq_epi32(x, _mm256_setzero_si256())) }
        }
        #[inline(always)]
        unsafe fn decrement(x: __m256i) -> __m256i {
            unsafe { _mm256_sub_epi32(x, _mm256_min_epu32(x, _mm256_set1_epi32(1))) }
        }
        #[inline(always)]
        unsafe fn and(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_and_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn select(m: __m256, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_blendv_ps(b, a, m) }
        }
        #[inline(always)]
        unsafe fn select_u(m: __m256, a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_blendv_epi8(b, a, _mm256_castps_si256(m)) }
        }
        #[inline(always)]
        unsafe fn splat_u(x: u32) -> __m256i {
            unsafe { _mm256_set1_epi32(x as i32) }
        }
        #[inline(always)]
        unsafe fn or_u(a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_or_si256(a, b) }
        }
        #[inline(always)]
        unsafe fn add_u(a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_add_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn sub_u(a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_sub_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn from_i(x: __m256i) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(x) }
        }
        #[inline(always)]
        unsafe fn to_i(x: __m256) -> __m256i {
            unsafe { _mm256_cvttps_epi32(x) }
        }
        #[inline(always)]
        unsafe fn bits(m: __m256) -> u64 {
            unsafe { u64::from(_mm256_movemask_ps(m) as u32) }
        }
    }

    /// Needs AVX-512F.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    impl Lanes for Avx512 {
        const N: usize = 16;
        type F = __m512;
        type U = __m512i;
        type M = __mmask16;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(at) }
        }
        #[inline(always)]
        unsafe fn store(at: *mut f32, x: __m512) {
            unsafe { _mm512_storeu_ps(at, x) }
        }
        #[inline(always)]
        unsafe fn load_u(at: *const u32) -> __m512i {
            unsafe { _mm512_loadu_si512(at.cast()) }
        }
        #[inline(always)]
        unsafe fn store_u(at: *mut u32, x: __m512i) {
            unsafe { _mm512_storeu_si512(at.cast(), x) }
        }
        #[inline(always)]
        unsafe fn to_u(x: __m512) -> __m512i {
            unsafe { _mm512_cvttps_epi32(x) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn cut(x: __m512, least: f32) -> __m512 {
            unsafe {
                let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(x), _mm512_set1_ps(least));
                _mm512_maskz_mov_ps(kept, x)
            }
        }
        #[inline(always)]
        unsafe fn finite(x: __m512) -> __mmask16 {
            unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(x), _mm512_set1_ps(f32::INFINITY)) }
        }
        #[inline(always)]
        unsafe fn ge(a: __m512, b: __m512) -> __mmask16 {
            unsafe { _mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, b) }
        }
        #[inline(always)]
        unsafe fn gt(a: __m512, b: __m512) -> __mmask16 {
            unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) }
        }
        #[inline(always)]
        unsafe fn is_zero(x: __m512i) -> __mmask16 {
            unsafe { _mm512_testn_epi32_mask(x, x) }
        }
        #[inline(always)]
        unsafe fn decrement(x: __m512i) -> __m512i {
            unsafe { _mm512_sub_epi32(x, _mm512_min_epu32(x, _mm512_set1_epi32(1))) }
        }
        #[inline(always)]
        unsafe fn and(a: __mmask16, b: __mmask16) -> __mmask16 {
            a & b
        }
        #[inline(always)]
        unsafe fn select(m: __mmask16, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mask_blend_ps(m, b, a) }
        }
        #[inline(always)]
        unsafe fn select_u(m: __mmask16, a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_mask_blend_epi32(m, b, a) }
        }
        #[inline(always)]
        unsafe fn splat_u(x: u32) -> __m512i {
            unsafe { _mm512_set1_epi32(x as i32) }
        }
        #[inline(always)]
        unsafe fn or_u(a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_or_si512(a, b) }
        }
        #[inline(always)]
        unsafe fn add_u(a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_add_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn sub_u(a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_sub_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn from_i(x: __m512i) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(x) }
        }
        #[inline(always)]
        unsafe fn to_i(x: __m512) -> __m512i {
            unsafe { _mm512_cvttps_epi32(x) }
        }
        #[inline(always)]
        unsafe fn bits(m: __mmask16) -> u64 {
            u64::from(m)
        }
    }
}

/// Calls `$f::<L>($args)` (a function that is `#[inline(always)]`) compiled for the best unit of this machine.
macro_rules! on_best_lanes {
    ($(#[$doc:meta])* fn $name:ident = $f:ident($($arg:ident: $type:ty),*)) => {
        $(#[$doc])*
        fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                use crate::device::cpu::lanes::{Avx2, Avx512};
                #[target_feature(enable = "avx512f")]
                unsafe fn avx512($($arg: $type),*) {
                    // SAFETY: the function is called only where AVX-512F is.
                    unsafe { $f::<Avx512>($($arg),*) }
                }
                #[target_feature(enable = "avx2")]
                unsafe fn avx2($($arg: $type),*) {
                    // SAFETY: the function is called only where AVX2 is.
                    unsafe { $f::<Avx2>($($arg),*) }
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: just found.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: just found.
                    return unsafe { avx2($($arg),*) };
                }
            }
            // SAFETY: plain arrays need no instruction set.
            unsafe { $f::<crate::device::cpu::lanes::Plain<8>>($($arg),*) }
        }
    };
}
pub(super) use on_best_lanes;
