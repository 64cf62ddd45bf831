//! Twin of `shaders/difference_std.wgsl`: 256 partial sums and the same tree over them.

use rayon::prelude::*;

use super::lanes::flush;
use crate::kernel::difference_std::{Host, Params};

const GROUP: usize = 256;

/// Folds in the order of the shader's tree.
fn tree(mut parts: [f32; GROUP]) -> f32 {
    let mut half = GROUP / 2;
    while half > 0 {
        for i in 0..half {
            parts[i] += parts[i + half];
        }
        half /= 2;
    }
    parts[0]
}

/// 1 / sqrt(a) for a positive normal number, by the shader's steps.
fn inverse_root(a: f32) -> f32 {
    let half = 0.5 * a;
    let mut y = f32::from_bits(0x5f37_59df - (a.to_bits() >> 1));
    for _ in 0..4 {
        y *= 1.5 - half * y * y;
    }
    y
}

/// Sums `of(difference)` over a channel, by the position of the difference modulo 256.
fn sum(row: &[f32], of: impl Fn(f32, bool) -> f32) -> f32 {
    let mut parts = [0.0; GROUP];
    for start in (0..row.len().saturating_sub(1)).step_by(GROUP) {
        let end = row.len().min(start + GROUP + 1);
        let (before, now) = (&row[start..end - 1], &row[start + 1..end]);
        for ((part, &a), &b) in parts.iter_mut().zip(before).zip(now) {
            let d = flush(b) - flush(a);
            let sound = d.is_finite();
            *part += of(if sound { d } else { 0.0 }, sound);
        }
    }
    tree(parts)
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    a.x.par_chunks_exact(p.time as usize).zip(a.deviation.par_iter_mut()).for_each(|(row, std)| {
        let (mut largest, mut count) = (0u32, 0u32);
        for pair in row.windows(2) {
            let d = flush(pair[1]) - flush(pair[0]);
            if d.is_finite() {
                largest = largest.max(d.to_bits() & 0x7fff_ffff);
                count += 1;
            }
        }
        let exponent = (largest >> 23).clamp(1, 253);
        let (scale, unscale) = (f32::from_bits((254 - exponent) << 23), f32::from_bits(exponent << 23));
        let per_root = inverse_root(count.max(1) as f32);
        let mean = flush(sum(row, |d, _| flush(d * scale)) * per_root * per_root);
        let squares = sum(row, |d, sound| {
            let away = flush(d * scale) - mean;
            if sound { flush(away * away) } else { 0.0 }
        });
        *std = 0.0;
        if squares > 0.0 {
            *std = flush(squares * inverse_root(squares) * per_root * unscale);
        }
    });
}
