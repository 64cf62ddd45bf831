//! Twin of `shaders/fft_peak.wgsl`, and transforms of which only the peak is wanted: nothing but the input goes
//! through memory.

use num_complex::Complex32;
use rayon::prelude::*;
use rustfft::FftDirection;

use super::fft::{load, plan, with_buffer};
use crate::kernel::fft_peak::{Host, Params};

const FORWARD: u32 = 1;
const INVERSE: u32 = 2;
const FILTER: u32 = 16;
const CONJUGATE: u32 = 32;

/// Elements looked at together.
const BLOCK: usize = 1024;
/// The bits of a squared modulus, which order as it does, with NaN above every number.
#[inline(always)]
fn key(v: &Complex32) -> u32 {
    (v.re * v.re + v.im * v.im).to_bits() & 0x7fff_ffff
}

fn largest(block: &[Complex32]) -> u32 {
    block.iter().map(key).fold(0, u32::max)
}

/// As [`largest`], with the same rounding: the sum of two products is not fused.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn largest_avx2(block: &[Complex32]) -> u32 {
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_castps_si256, _mm256_hadd_ps, _mm256_loadu_ps, _mm256_max_epu32,
        _mm256_mul_ps, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
    };
    let positive = _mm256_set1_epi32(0x7fff_ffff);
    let keys = |eight: &[Complex32; 8]| -> __m256i {
        let at = eight.as_ptr().cast::<f32>();
        // SAFETY: eight complex numbers are two times eight floats.
        let (a, b) = unsafe { (_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))) };
        let squares = _mm256_hadd_ps(_mm256_mul_ps(a, a), _mm256_mul_ps(b, b));
        _mm256_and_si256(_mm256_castps_si256(squares), positive)
    };
    let (eights, rest) = block.as_chunks::<8>();
    let (pairs, odd) = eights.as_chunks::<2>();
    let mut most = [_mm256_setzero_si256(); 2];
    for [a, b] in pairs {
        most = [_mm256_max_epu32(most[0], keys(a)), _mm256_max_epu32(most[1], keys(b))];
    }
    for a in odd {
        most[0] = _mm256_max_epu32(most[0], keys(a));
    }
    let mut lanes = [0; 8];
    // SAFETY: eight words take 32 bytes.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), _mm256_max_epu32(most[0], most[1])) };
    lanes.into_iter().fold(largest(rest), u32::max)
}

/// The largest key and the first element that has it. Most blocks cannot hold it and are passed over by their maximum.
#[inline(always)]
fn scan(row: &[Complex32], largest: impl Fn(&[Complex32]) -> u32) -> (u32, usize) {
    let mut best = (0, 0);
    for (i, block) in row.chunks(BLOCK).enumerate() {
        let most = largest(block);
        if most > best.0 {
            best = (most, i * BLOCK + block.iter().position(|v| key(v) == most).unwrap_or(0));
        }
    }
    best
}

fn peak(row: &[Complex32]) -> (u32, usize) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was just found.
        return scan(row, |block| unsafe { largest_avx2(block) });
    }
    scan(row, largest)
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, count, keep) = (p.n as usize, p.count as usize, p.keep as usize);
    let conjugate = p.flags & CONJUGATE != 0;
    let range = p.from_at as usize..p.to_at as usize;
    let direction = match p.flags & (FORWARD | INVERSE) {
        0 => None,
        FORWARD => Some(FftDirection::Forward),
        _ => Some(FftDirection::Inverse),
    };
    let fft = direction.map(|d| plan(n, d));
    let factors = (p.flags & FILTER != 0).then_some(a.factors);
    let rows = a.x.par_chunks(p.from_row as usize);
    rows.zip(&mut a.power[..count]).zip(&mut a.at[..count]).for_each(|((x, power), at)| {
        let (most, most_at) = match &fft {
            None => peak(&x[range.clone()]),
            Some(fft) => with_buffer(n + fft.get_inplace_scratch_len(), |buffer| {
                let (row, scratch) = buffer.split_at_mut(n);
                load(row, &x[..keep], factors, 1.0, conjugate);
                fft.process_with_scratch(row, scratch);
                peak(&row[range.clone()])
            }),
        };
        *power = f32::from_bits(most) * p.scale * p.scale;
        *at = (range.start + most_at) as u32;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_see_what_scalars_see() {
        for n in (1..40).chain([1023, 1024, 1025, 5000]) {
            let mut row: Vec<_> = (0..n).map(|i| Complex32::new((i * 37 % 101) as f32, (i * 53 % 97) as f32)).collect();
            assert_eq!(peak(&row), scan(&row, largest), "{n}");
            for at in [0, n / 2, n - 1] {
                let was = std::mem::replace(&mut row[at], Complex32::new(-400.0, 0.1));
                assert_eq!(peak(&row), (key(&row[at]), at), "{n}");
                row[at].im = f32::NAN;
                assert_eq!(peak(&row).1, at, "{n}");
                row[at] = was;
            }
        }
    }
}
