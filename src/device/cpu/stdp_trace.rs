//! Twin of `shaders/stdp_trace.wgsl`.

use super::lanes::flush;
use crate::kernel::stdp_trace::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    if p.k >= a.clock[1] {
        return;
    }
    let raster = &a.raster[(p.k * p.words) as usize..][..p.words as usize];
    let (of_sources, of_targets) = a.traces.split_at_mut(p.sources as usize);
    next(&mut of_sources[..p.sources as usize], raster, p.first_source as usize, p.decay_sources);
    next(&mut of_targets[..p.targets as usize], raster, p.first_target as usize, p.decay_targets);
}

/// Goes on by a step, `first` being the neuron of the first trace.
fn next(traces: &mut [f32], raster: &[u32], first: usize, decay: f32) {
    let last = first + traces.len();
    for (word, &bits) in raster.iter().enumerate().take(last.div_ceil(32)).skip(first / 32) {
        let mut left = bits;
        while left != 0 {
            let neuron = word * 32 + left.trailing_zeros() as usize;
            if (first..last).contains(&neuron) {
                traces[neuron - first] += 1.0;
            }
            left &= left - 1;
        }
    }
    for trace in traces {
        *trace = flush(*trace * decay);
    }
}
