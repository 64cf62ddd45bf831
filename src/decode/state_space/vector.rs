//! Loops over one row of the state, compiled for each vector unit. No fused multiply-add and fixed lanes in every sum:
//! the same bits whatever the unit.

use crate::device::cpu::multiversioned;

/// Accumulators of a sum.
const LANES: usize = 16;

/// Probabilities below this, beside a total of one, are zero: products with a kernel stay clear of subnormal numbers.
const LEAST: f64 = super::EPSILON;

/// e^x for x ≤ 0, relative error under 1e-14; zero below −600.
#[inline(always)]
fn exp(x: f64) -> f64 {
    // Adding it leaves the nearest integer in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    // ln 2 in two parts, the first of which k multiplies exactly.
    let r = (x - k * 6.931_471_803_691_238e-1) - k * 1.908_214_929_270_587_7e-10;
    let mut y = 1.0 / 39_916_800.0;
    for c in [3_628_800.0, 362_880.0, 40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        y = y * r + 1.0 / c;
    }
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    if x < -600.0 { 0.0 } else { y * power }
}

/// Adds up lanes in a fixed order.
#[inline(always)]
fn total(mut lanes: [f64; LANES]) -> f64 {
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
    }
    lanes[0]
}

/// `out[i] = f(a[i], b[i])`; returns the sum.
#[inline(always)]
fn combine(a: &[f64], b: &[f64], out: &mut [f64], f: impl Fn(f64, f64) -> f64) -> f64 {
    let (a, a_rest) = a[..out.len()].as_chunks::<LANES>();
    let (b, b_rest) = b[..out.len()].as_chunks::<LANES>();
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    let mut lanes = [0.0; LANES];
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        for l in 0..LANES {
            out[l] = f(a[l], b[l]);
            lanes[l] += out[l];
        }
    }
    for (((out, a), b), lane) in out_rest.iter_mut().zip(a_rest).zip(b_rest).zip(&mut lanes) {
        *out = f(*a, *b);
        *lane += *out;
    }
    total(lanes)
}

multiversioned! {
    /// The largest value of a row; NaN if a value is not finite.
    pub(super) fn finite_max(x: &[f32]) -> f32 {
        let (parts, rest) = x.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        // Zero times what is finite is zero; times anything else, NaN.
        let mut bad = [0f32; LANES];
        for x in parts {
            for l in 0..LANES {
                lanes[l] = if x[l] > lanes[l] { x[l] } else { lanes[l] };
                bad[l] += x[l] * 0.0;
            }
        }
        for ((x, lane), bad) in rest.iter().zip(&mut lanes).zip(&mut bad) {
            *lane = if *x > *lane { *x } else { *lane };
            *bad += *x * 0.0;
        }
        if bad.iter().any(|b| b.is_nan()) { f32::NAN } else { lanes.into_iter().fold(f32::NEG_INFINITY, f32::max) }
    }
}

multiversioned! {
    /// `out = e^(x − max)`.
    pub(super) fn exponentials(x: &[f32], max: f32, out: &mut [f64]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = exp(f64::from(*x) - f64::from(max));
        }
    }
}

multiversioned! {
    /// `out = max(p · e · scale, floor)`; returns the sum.
    pub(super) fn weigh(p: &[f64], e: &[f64], scale: f64, floor: f64, out: &mut [f64]) -> f64 {
        combine(p, e, out, |p, e| {
            let u = p * e * scale;
            if u < floor { floor } else { u }
        })
    }
}

multiversioned! {
    /// `x · by`, zero below [`LEAST`]; returns the sum.
    pub(super) fn normalise(x: &mut [f64], by: f64) -> f64 {
        let least = |x: f64| if x * by < LEAST { 0.0 } else { x * by };
        let (parts, rest) = x.as_chunks_mut::<LANES>();
        let mut lanes = [0.0; LANES];
        for x in parts {
            for l in 0..LANES {
                x[l] = least(x[l]);
                lanes[l] += x[l];
            }
        }
        for (x, lane) in rest.iter_mut().zip(&mut lanes) {
            *x = least(*x);
            *lane += *x;
        }
        total(lanes)
    }
}

multiversioned! {
    /// The sum.
    pub(super) fn sum(x: &[f64]) -> f64 {
        let (parts, rest) = x.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for x in parts {
            for l in 0..LANES {
                lanes[l] += x[l];
            }
        }
        for (x, lane) in rest.iter().zip(&mut lanes) {
            *lane += *x;
        }
        total(lanes)
    }
}

multiversioned! {
    /// The largest value.
    pub(super) fn largest(x: &[f64]) -> f64 {
        let (parts, rest) = x.as_chunks::<LANES>();
        let mut lanes = [f64::NEG_INFINITY; LANES];
        for x in parts {
            for l in 0..LANES {
                lanes[l] = if x[l] > lanes[l] { x[l] } else { lanes[l] };
            }
        }
        lanes.into_iter().chain(rest.iter().copied()).fold(f64::NEG_INFINITY, f64::max)
    }
}

multiversioned! {
    /// `y · x` in place of `y`; returns the sum.
    pub(super) fn multiply_into(y: &mut [f64], x: &[f64]) -> f64 {
        let (ys, y_rest) = y.as_chunks_mut::<LANES>();
        let (xs, x_rest) = x.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for (y, x) in ys.iter_mut().zip(xs) {
            for l in 0..LANES {
                y[l] *= x[l];
                lanes[l] += y[l];
            }
        }
        for ((y, x), lane) in y_rest.iter_mut().zip(x_rest).zip(&mut lanes) {
            *y *= *x;
            *lane += *y;
        }
        total(lanes)
    }
}

multiversioned! {
    /// `out = a · b`; returns the sum.
    pub(super) fn multiply(a: &[f64], b: &[f64], out: &mut [f64]) -> f64 {
        combine(a, b, out, |a, b| a * b)
    }
}

multiversioned! {
    /// `out = a / b`, zero where `b` is.
    pub(super) fn divide(a: &[f64], b: &[f64], out: &mut [f64]) {
        combine(a, b, out, |a, b| {
            let q = a / b;
            if b > 0.0 { q } else { 0.0 }
        });
    }
}

multiversioned! {
    /// `y += a · x`.
    pub(super) fn add_scaled(y: &mut [f64], a: f64, x: &[f64]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += a * *x;
        }
    }
}

multiversioned! {
    /// `y += a`.
    pub(super) fn add(y: &mut [f64], a: f64) {
        for y in y {
            *y += a;
        }
    }
}

multiversioned! {
    /// `to = from` as f32.
    pub(super) fn narrow(from: &[f64], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from as f32;
        }
    }
}

/// Outputs that a convolution holds in registers at once, and the granule to which rows are padded.
const BLOCK: usize = 32;
pub(super) const GRANULE: usize = 8;

/// `out[i] = Σ_k taps[k] · x[k · step + i]` for the `N` outputs at `i`.
#[inline(always)]
fn block<const N: usize>(taps: &[f64], x: &[f64], step: usize, out: &mut [f64]) {
    let mut sums = [0.0; N];
    let mut at = 0;
    for tap in taps {
        let Some(x) = x[at..].first_chunk::<N>() else { return };
        for l in 0..N {
            sums[l] += *tap * x[l];
        }
        at += step;
    }
    out[..N].copy_from_slice(&sums);
}

multiversioned! {
    /// `out[i] = Σ_k taps[k] · x[k · step + i]`; `out` is a whole number of granules, and `x` reaches as far as it is read.
    pub(super) fn correlate(taps: &[f64], x: &[f64], step: usize, out: &mut [f64]) {
        let mut at = 0;
        while at + BLOCK <= out.len() {
            block::<BLOCK>(taps, &x[at..], step, &mut out[at..]);
            at += BLOCK;
        }
        while at + GRANULE <= out.len() {
            block::<GRANULE>(taps, &x[at..], step, &mut out[at..]);
            at += GRANULE;
        }
    }
}

/// Taps and outputs that [`correlate_row`] takes at once.
pub(super) const TILE: usize = 64;

/// Taps as [`correlate_row`] takes them: whole tiles, each of 8 × 8, transposed.
pub(super) fn packed(taps: &[f64]) -> Vec<f64> {
    let mut packed = vec![0.0; taps.len().next_multiple_of(TILE)];
    for (k, tap) in taps.iter().enumerate() {
        packed[k / TILE * TILE + k % 8 * 8 + k % TILE / 8] = *tap;
    }
    packed
}

/// The length that [`correlate_row`] needs of its input.
pub(super) fn reach_of_row(taps: usize, out: usize) -> usize {
    taps.next_multiple_of(TILE) + out.next_multiple_of(TILE)
}

/// `out[i] = Σ_k taps[k] · x[k + i]` with [`packed`] taps and `x` of [`reach_of_row`]; the sums have one order everywhere.
pub(super) fn correlate_row(packed: &[f64], x: &[f64], out: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: just found.
        return unsafe { correlate_row_avx512(packed, x, out) };
    }
    correlate_row_plain(packed, x, out);
}

multiversioned! {
    fn correlate_row_plain(packed: &[f64], x: &[f64], out: &mut [f64]) {
        for (b, out) in out.chunks_mut(BLOCK).enumerate() {
            let mut sums = [0.0; BLOCK];
            for (g, taps) in packed.as_chunks::<TILE>().0.iter().enumerate() {
                for r in 0..8 {
                    for q in 0..8 {
                        let Some(x) = x[BLOCK * b + TILE * g + 8 * q + r..].first_chunk::<BLOCK>() else { return };
                        for l in 0..BLOCK {
                            sums[l] += taps[8 * r + q] * x[l];
                        }
                    }
                }
            }
            out.copy_from_slice(&sums[..out.len()]);
        }
    }
}

/// A vector that is loaded serves every tap that is a multiple of eight away: the loads, which straddle cache lines, are
/// what limits the plain loop.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn correlate_row_avx512(packed: &[f64], x: &[f64], out: &mut [f64]) {
    use std::arch::x86_64::{_mm512_add_pd, _mm512_loadu_pd, _mm512_mul_pd, _mm512_set1_pd, _mm512_storeu_pd};
    for (b, out) in out.chunks_mut(TILE).enumerate() {
        let mut sums = [_mm512_set1_pd(0.0); 8];
        for (g, taps) in packed.as_chunks::<TILE>().0.iter().enumerate() {
            for r in 0..8 {
                let Some(x) = x[TILE * (b + g) + r..].first_chunk::<120>() else { return };
                let taps: [_; 8] = std::array::from_fn(|q| _mm512_set1_pd(taps[8 * r + q]));
                // SAFETY: the last of the 15 vectors ends with the 120 values.
                let x: [_; 15] = std::array::from_fn(|m| unsafe { _mm512_loadu_pd(x.as_ptr().add(8 * m)) });
                for q in 0..8 {
                    for v in 0..8 {
                        sums[v] = _mm512_add_pd(sums[v], _mm512_mul_pd(taps[q], x[v + q]));
                    }
                }
            }
        }
        let mut all = [0.0; TILE];
        for (all, sums) in all.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
            // SAFETY: eight values.
            unsafe { _mm512_storeu_pd(all.as_mut_ptr(), sums) };
        }
        out.copy_from_slice(&all[..out.len()]);
    }
}

multiversioned! {
    /// `Σ a · b`.
    pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
        let (a, a_rest) = a.as_chunks::<LANES>();
        let (b, b_rest) = b.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for (a, b) in a.iter().zip(b) {
            for l in 0..LANES {
                lanes[l] += a[l] * b[l];
            }
        }
        for ((a, b), lane) in a_rest.iter().zip(b_rest).zip(&mut lanes) {
            *lane += *a * *b;
        }
        total(lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_the_standard_library() {
        let x: Vec<f32> = (0..20_000).map(|i| -0.029_7 * i as f32).collect();
        let mut e = vec![0.0; x.len()];
        exponentials(&x, 0.0, &mut e);
        for (x, e) in x.iter().zip(&e) {
            let truth = f64::from(*x).exp();
            assert!((e / truth - 1.0).abs() < 1e-13, "{x}: {e} for {truth}");
        }
        exponentials(&[0.0, -601.0, -1e4, -3e38], 0.0, &mut e);
        assert_eq!(e[..4], [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_not_finite_is_seen_anywhere_in_a_row() {
        for n in [1, 7, 16, 33] {
            for i in 0..n {
                let mut x: Vec<f32> = (0..n).map(|i| -(i as f32)).collect();
                assert_eq!(finite_max(&x), 0.0);
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    x[i] = bad;
                    assert!(finite_max(&x).is_nan());
                }
            }
        }
    }

    #[test]
    fn a_row_is_correlated_alike_by_every_unit() {
        for (taps, n) in [(1, 1), (59, 1000), (64, 64), (65, 8), (131, 200)] {
            let taps: Vec<f64> = (0..taps).map(|k| 1.0 / (1.0 + k as f64)).collect();
            let x: Vec<f64> = (0..reach_of_row(taps.len(), n)).map(|i| (i as f64).sin()).collect();
            let (mut best, mut plain) = (vec![0.0; n], vec![0.0; n]);
            correlate_row(&packed(&taps), &x, &mut best);
            correlate_row_plain(&packed(&taps), &x, &mut plain);
            assert_eq!(best, plain);
            for (i, y) in best.iter().enumerate() {
                let truth: f64 = taps.iter().enumerate().map(|(k, t)| t * x[k + i]).sum();
                assert!((y - truth).abs() < 1e-13);
            }
        }
    }

    #[test]
    fn a_correlation_is_its_sum() {
        let taps = [0.5, 1.0, 0.25];
        let x: Vec<f64> = (0..300).map(|i| (i as f64).sin()).collect();
        for step in [1, 16] {
            let mut out = vec![0.0; 72];
            correlate(&taps, &x, step, &mut out);
            for (i, y) in out.iter().enumerate() {
                let truth: f64 = taps.iter().enumerate().map(|(k, t)| t * x[k * step + i]).sum();
                assert!((y - truth).abs() < 1e-15);
            }
        }
    }
}
