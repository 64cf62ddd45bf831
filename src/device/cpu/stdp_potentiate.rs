//! Twin of `shaders/stdp_potentiate.wgsl`.

use rayon::prelude::*;

use super::lanes::flush;
use super::parallel::Scattered;
use super::rows::MULTIPLICATIVE;
use crate::kernel::stdp_potentiate::{Host, Params};

/// Synapses of a step from which on waking a thread pays: twice the 16 µs that it takes to come.
const LEAST_PARALLEL: usize = 1 << 14;

/// Synapses ahead of which weights are fetched: those onto one target lie far from each other.
const AHEAD: usize = 24;

pub(super) fn run(p: &Params, a: Host<'_>) {
    let count = a.spikes[p.k as usize].min(p.stride) as usize;
    if p.k >= a.clock[1] || count == 0 {
        return;
    }
    let weights = Scattered::new(a.weights);
    let column = |neuron: u32| neuron.wrapping_sub(p.first_target) as usize;
    let range = |c: usize| a.offsets[c] as usize..a.offsets[c + 1] as usize;
    let mut columns: Vec<usize> = a.spikes[p.steps as usize..][..count]
        .iter()
        .map(|&neuron| column(neuron))
        .filter(|&c| c < p.columns as usize)
        .collect();
    // Any command may have written the list: a neuron may be in it twice.
    columns.sort_unstable();
    columns.dedup();
    let multiplicative = p.form & MULTIPLICATIVE != 0;
    let raise = |c: usize| {
        let of = range(c);
        let synapses = &a.synapses[of.clone()];
        for (i, (&s, &source)) in synapses.iter().zip(&a.sources[of]).enumerate() {
            if let Some(&later) = synapses.get(i + AHEAD) {
                weights.prefetch(later as usize, 1);
            }
            // SAFETY: a synapse is in one column, and each column is one thread's.
            let weight = unsafe { &mut weights.part(s as usize, 1)[0] };
            let w = *weight;
            let reach = if multiplicative { flush(p.a_plus * flush(p.w_max - w)) } else { p.a_plus };
            *weight = flush(w + flush(reach * a.traces[source as usize])).max(p.w_min).min(p.w_max);
        }
    };
    if columns.iter().map(|&c| range(c).len()).sum::<usize>() < LEAST_PARALLEL {
        columns.into_iter().for_each(raise);
    } else {
        columns.into_par_iter().for_each(raise);
    }
}
