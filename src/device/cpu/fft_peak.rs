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

/// Elements looked at together; most such blocks cannot hold the peak and are passed over by their maximum.
const BLOCK: usize = 256;
/// Independent maxima, so that the loop fills vector registers.
const LANES: usize = 16;

/// The bits of a squared modulus, which order as it does, with NaN above every number.
#[inline(always)]
fn key(v: &Complex32) -> u32 {
    (v.re * v.re + v.im * v.im).to_bits() & 0x7fff_ffff
}

#[inline(always)]
fn scan(row: &[Complex32]) -> (u32, usize) {
    let mut best = (0, 0);
    for (i, block) in row.chunks(BLOCK).enumerate() {
        let mut lanes = [0; LANES];
        let groups = block.chunks_exact(LANES);
        for v in groups.remainder() {
            lanes[0] = lanes[0].max(key(v));
        }
        for group in groups {
            for (m, v) in lanes.iter_mut().zip(group) {
                *m = key(v).max(*m);
            }
        }
        let most = lanes.into_iter().fold(0, u32::max);
        if most > best.0 {
            best = (most, i * BLOCK + block.iter().position(|v| key(v) == most).unwrap_or(0));
        }
    }
    best
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn scan_avx2(row: &[Complex32]) -> (u32, usize) {
    scan(row)
}

/// The largest key and the first element that has it.
fn peak(row: &[Complex32]) -> (u32, usize) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was just found.
        return unsafe { scan_avx2(row) };
    }
    scan(row)
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
