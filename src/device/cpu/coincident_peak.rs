//! Twin of `shaders/coincident_peak.wgsl`.

use num_complex::Complex32;
use rayon::prelude::*;

use crate::kernel::coincident_peak::{Host, Params};

/// As in the shader.
const PART: usize = 4096;

fn powers(z: &[Complex32], norm: f32) -> impl Iterator<Item = f32> + '_ {
    z.iter().map(move |v| (v.re * v.re + v.im * v.im) * norm)
}

/// `v[i]` becomes the maximum of `v[i..i + width]` (of what there is of it): widths are doubled until they reach it.
fn forward_maximum(v: &mut [f32], width: usize) {
    let mut have = 1;
    while have < width {
        let step = have.min(width - have);
        for i in 0..v.len() - step.min(v.len()) {
            v[i] = v[i].max(v[i + step]);
        }
        have += step;
    }
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, parts, reach) = (p.n as usize, p.parts as usize, p.reach as usize);
    let (first, last) = (p.first as usize, p.end as usize);
    let outputs = a.power.par_iter_mut().zip(a.at_a.par_iter_mut()).zip(a.at_b.par_iter_mut());
    outputs.enumerate().for_each_init(
        || (Vec::new(), Vec::new()),
        |(at, other), (wg, ((power, at_a), at_b))| {
            let row = wg / parts;
            let begin = first + (wg % parts) * PART;
            let end = (begin + PART).min(last);
            // The other detector's range, and its maximum over every window of 2·reach + 1 samples.
            let (low, high) = (begin.saturating_sub(reach).max(first), (end + reach).min(last));
            other.clear();
            other.extend(powers(&a.b[row * n..][low..high], a.norm[row * 2 + 1]));
            // Windows that begin before `first` are clipped there: shift by what is missing.
            let missing = (reach + low) - begin;
            at.clear();
            at.extend(std::iter::repeat_n(-1.0f32, missing).chain(other.iter().copied()));
            forward_maximum(at, 2 * reach + 1);
            let mut most = (-1.0f32, begin);
            for (i, here) in powers(&a.a[row * n..][begin..end], a.norm[row * 2]).enumerate() {
                let e = here + at[i];
                if e > most.0 {
                    most = (e, begin + i);
                }
            }
            let t = most.1;
            let window = t.saturating_sub(reach).max(low)..(t + reach + 1).min(high);
            let offset = window.start;
            let values = &other[window.start - low..window.end - low];
            let largest = values.iter().copied().fold(-1.0, f32::max);
            *power = most.0;
            *at_a = t as u32;
            *at_b = (offset + values.iter().position(|v| *v == largest).unwrap_or(0)) as u32;
        },
    );
}
