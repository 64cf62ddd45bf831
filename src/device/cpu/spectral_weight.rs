//! Twin of `shaders/spectral_weight.wgsl`.

use rayon::prelude::*;

use crate::kernel::spectral_weight::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    a.weight[..p.n as usize].par_iter_mut().enumerate().with_min_len(8192).for_each(|(k, weight)| {
        let k = k as u32;
        let folded = if p.fold > 0 { k.min(p.fold - k) } else { k };
        let at = folded as f32 * p.ratio;
        let i = (at as u32).min(p.psd_bins - 2) as usize;
        let s = a.psd[i] + (a.psd[i + 1] - a.psd[i]) * (at - i as f32);
        let w = if p.root == 1 { (p.scale / s).sqrt() } else { p.scale / s };
        *weight = if at >= p.low && at <= p.high { w } else { 0.0 };
    });
}
