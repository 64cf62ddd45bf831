//! Vector registers of f32 for twins that may round as the machine likes: fused multiply-adds, and 2 to a power.
//!
//! A loop is written once over [`Vector`] and compiled for every instruction set by [`for_each_instruction_set`]. What
//! it computes may differ in the last bits from one set to another, never from one run to another on one machine.

/// Coefficients of 2^f for |f| ≤ ½, relative error 7.5e-8: least-squares with weights iterated to equal ripple.
const EXP2: [f32; 6] = [1.000_000_1, 0.693_146_94, 0.240_221_2, 0.055_507_135, 0.009_675_541, 0.001_327_647];

/// Coefficients of log2(1 + t)/t for 1 + t in [√½, √2), absolute error of the logarithm 7e-9: found likewise.
const LOG2: [f32; 9] = [
    1.442_694_9,
    -0.721_347_15,
    0.480_922_52,
    -0.360_721_2,
    0.287_656_66,
    -0.238_519_43,
    0.217_379_38,
    -0.210_303_34,
    0.125_412_43,
];

/// The least power: nothing relies on denormal numbers.
const LEAST_POWER: f32 = -126.0;
/// The greatest power: sums of products of two of them stay below the largest number.
const MOST_POWER: f32 = 60.0;

/// The bits of √½.
const HALF_ROOT: u32 = 0x3f35_04f3;

/// 1.5·2^23: a sum with it has no bits below one, and its last bits are the whole number that was added.
const WHOLE: f32 = 12_582_912.0;

/// A vector register of f32.
///
/// # Safety
/// Every function needs the register's instructions; `load` and `store` need `N` elements.
#[allow(clippy::missing_safety_doc, reason = "stated for the whole trait")]
pub(super) trait Vector: Copy {
    /// Elements.
    const N: usize;
    /// Registers of this kind that the processor has.
    const REGISTERS: usize;
    unsafe fn splat(v: f32) -> Self;
    unsafe fn load(at: *const f32) -> Self;
    unsafe fn store(self, at: *mut f32);
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn max(self, b: Self) -> Self;
    unsafe fn min(self, b: Self) -> Self;
    /// `self + a·b`.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// `self − a·b`.
    unsafe fn sub_product(self, a: Self, b: Self) -> Self;
    /// `self·2^n` where `n` + [`WHOLE`] is given.
    unsafe fn scale(self, shifted: Self) -> Self;

    /// Exponent n and mantissa m in [√½, √2) of normal positive numbers: m·2^n.
    unsafe fn split(self) -> (Self, Self);

    /// log2 of normal positive numbers, and a whole number `plus`; absolute error 1e-7 and half a unit in the last place.
    #[inline(always)]
    unsafe fn log2(self, plus: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let (n, m) = self.split();
            let t = m.sub(Self::splat(1.0));
            let mut p = Self::splat(LOG2[8]);
            for c in LOG2[..8].iter().rev() {
                p = Self::splat(*c).add_product(p, t);
            }
            n.add(plus).add_product(p, t)
        }
    }

    /// 2 to the power of it, of −126 below that and of 60 above that. Relative error 1.5e-7, without fused
    /// multiply-adds 2.5e-7.
    #[inline(always)]
    unsafe fn exp2(self) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let x = self.max(Self::splat(LEAST_POWER)).min(Self::splat(MOST_POWER));
            let shifted = x.add(Self::splat(WHOLE));
            let f = x.sub(shifted.sub(Self::splat(WHOLE)));
            let mut p = Self::splat(EXP2[5]);
            for c in EXP2[..5].iter().rev() {
                p = Self::splat(*c).add_product(p, f);
            }
            p.scale(shifted)
        }
    }
}

/// Plain arrays, for every machine.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; 4]);

impl Plain {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl Vector for Plain {
    const N: usize = 4;
    const REGISTERS: usize = 16;

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        Self([v; 4])
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { at.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self.zip(b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self.zip(b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        self.zip(b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        self.zip(b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + a.0[i] * b.0[i]))
    }
    #[inline(always)]
    unsafe fn sub_product(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] - a.0[i] * b.0[i]))
    }
    #[inline(always)]
    unsafe fn scale(self, shifted: Self) -> Self {
        self.zip(shifted, |p, t| f32::from_bits(p.to_bits().wrapping_add(t.to_bits() << 23)))
    }
    #[inline(always)]
    unsafe fn split(self) -> (Self, Self) {
        let exponent = |x: f32| (x.to_bits().wrapping_sub(HALF_ROOT)) as i32 >> 23;
        let mantissa = |x: f32| f32::from_bits(x.to_bits().wrapping_sub((exponent(x) << 23) as u32));
        (Self(self.0.map(|x| exponent(x) as f32)), Self(self.0.map(mantissa)))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{HALF_ROOT, Vector};

    macro_rules! vector {
        (
            $ty:ty, $n:literal, $registers:literal,
            $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $max:ident, $min:ident, $fma:ident, $fnma:ident,
            |$p:ident, $shifted:ident| $scale:expr, |$x:ident| $split:expr
        ) => {
            impl Vector for $ty {
                const N: usize = $n;
                const REGISTERS: usize = $registers;

                #[inline(always)]
                unsafe fn splat(v: f32) -> Self {
                    // SAFETY: the caller's promise, here and below.
                    unsafe { $splat(v) }
                }
                #[inline(always)]
                unsafe fn load(at: *const f32) -> Self {
                    unsafe { $load(at) }
                }
                #[inline(always)]
                unsafe fn store(self, at: *mut f32) {
                    unsafe { $store(at, self) }
                }
                #[inline(always)]
                unsafe fn add(self, b: Self) -> Self {
                    unsafe { $add(self, b) }
                }
                #[inline(always)]
                unsafe fn sub(self, b: Self) -> Self {
                    unsafe { $sub(self, b) }
                }
                #[inline(always)]
                unsafe fn max(self, b: Self) -> Self {
                    unsafe { $max(self, b) }
                }
                #[inline(always)]
                unsafe fn min(self, b: Self) -> Self {
                    unsafe { $min(self, b) }
                }
                #[inline(always)]
                unsafe fn add_product(self, a: Self, b: Self) -> Self {
                    unsafe { $fma(a, b, self) }
                }
                #[inline(always)]
                unsafe fn sub_product(self, a: Self, b: Self) -> Self {
                    unsafe { $fnma(a, b, self) }
                }
                #[inline(always)]
                unsafe fn scale(self, shifted: Self) -> Self {
                    let ($p, $shifted) = (self, shifted);
                    unsafe { $scale }
                }
                #[inline(always)]
                unsafe fn split(self) -> (Self, Self) {
                    let $x = self;
                    unsafe { $split }
                }
            }
        };
    }

    vector!(
        __m256,
        8,
        16,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_max_ps,
        _mm256_min_ps,
        _mm256_fmadd_ps,
        _mm256_fnmadd_ps,
        |p, t| {
            let power = _mm256_slli_epi32::<23>(_mm256_castps_si256(t));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power))
        },
        |x| {
            let bits = _mm256_castps_si256(x);
            let n = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(HALF_ROOT as i32)));
            let m = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(n));
            (_mm256_cvtepi32_ps(n), _mm256_castsi256_ps(m))
        }
    );
    vector!(
        __m512,
        16,
        32,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_max_ps,
        _mm512_min_ps,
        _mm512_fmadd_ps,
        _mm512_fnmadd_ps,
        |p, t| {
            let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(t));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), power))
        },
        |x| {
            let bits = _mm512_castps_si512(x);
            let n = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(HALF_ROOT as i32)));
            let m = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(n));
            (_mm512_cvtepi32_ps(n), _mm512_castsi512_ps(m))
        }
    );
}

/// Defines a function that compiles `$body::<V>` for every instruction set and calls the best that the processor has.
macro_rules! for_each_instruction_set {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: the feature is enabled here.
                    unsafe { $body::<std::arch::x86_64::__m512>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: the feature is enabled here.
                    unsafe { $body::<std::arch::x86_64::__m256>($($arg),*) }
                }
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has these features.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has these features.
                    return unsafe { avx2($($arg),*) };
                }
            }
            // SAFETY: plain arrays need no feature.
            unsafe { $body::<crate::device::cpu::vector::Plain>($($arg),*) }
        }
    };
}
pub(super) use for_each_instruction_set;

#[cfg(test)]
mod tests {
    use super::*;

    unsafe fn powers<V: Vector>(x: &[f32], y: &mut [f32]) {
        for at in (0..x.len()).step_by(V::N) {
            // SAFETY: the test gives whole vectors.
            unsafe { V::load(x.as_ptr().add(at)).exp2().store(y.as_mut_ptr().add(at)) };
        }
    }
    for_each_instruction_set! { fn best(x: &[f32], y: &mut [f32]) = powers }

    unsafe fn logarithms<V: Vector>(x: &[f32], y: &mut [f32]) {
        for at in (0..x.len()).step_by(V::N) {
            // SAFETY: the test gives whole vectors.
            unsafe { V::load(x.as_ptr().add(at)).log2(V::splat(0.0)).store(y.as_mut_ptr().add(at)) };
        }
    }
    for_each_instruction_set! { fn best_log2(x: &[f32], y: &mut [f32]) = logarithms }

    #[test]
    fn logarithms_are_right_over_the_normal_range() {
        let x: Vec<f32> = (0..1 << 16).map(|i| ((i as f32 / 65536.0 - 0.5) * 251.0).exp2()).collect();
        let (mut y, mut z) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        best_log2(&x, &mut y);
        // SAFETY: plain arrays need no feature.
        unsafe { logarithms::<Plain>(&x, &mut z) };
        for (x, got) in x.iter().zip(&y).chain(x.iter().zip(&z)) {
            let exact = f64::from(*x).log2();
            assert!((f64::from(*got) - exact).abs() < 1.5e-7 + 6.1e-8 * exact.abs(), "log2({x}) is {got} for {exact}");
        }
    }

    #[test]
    fn powers_are_right_to_the_last_bits_and_stop_at_both_ends() {
        let x: Vec<f32> = (0..1 << 16).map(|i| (i as f32 / 65536.0 - 0.5) * 260.0 - 5.0).collect(); // −135 to 125
        let (mut y, mut z) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        best(&x, &mut y);
        // SAFETY: plain arrays need no feature.
        unsafe { powers::<Plain>(&x, &mut z) };
        for (x, got) in x.iter().zip(&y).chain(x.iter().zip(&z)) {
            let exact = f64::from(x.clamp(-126.0, 60.0)).exp2();
            assert!((f64::from(*got) / exact - 1.0).abs() < 2.5e-7, "2^{x} is {got}");
        }
    }
}
