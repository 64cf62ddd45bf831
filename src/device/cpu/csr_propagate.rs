//! Twin of `shaders/csr_propagate.wgsl`.

use super::rows::{Bytes, Delays, Halves, Ring, Spiking, Targets, WEIGHT_A_ROW, WIDE_TARGETS, prefetch};
use crate::kernel::csr_propagate::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let count = a.spikes[p.k as usize].min(p.stride) as usize;
    if p.k >= a.clock[1] || count == 0 {
        return;
    }
    let sources = &a.spikes[p.steps as usize..][..count];
    let spiking = Spiking::new(sources, p.first_source, &a.offsets[..=p.rows as usize]);
    let ring = Ring::new(a.ring, a.clock[0].wrapping_add(p.k), p.form, p.stride, p.first_target);
    let delay = (p.form >> 24) as u8;
    match (p.form & WIDE_TARGETS == 0, delay == 0) {
        (true, true) => through(p, &spiking, Halves::new(a.targets), a.weights, Bytes::new(a.delays), ring),
        (true, false) => through(p, &spiking, Halves::new(a.targets), a.weights, delay, ring),
        (false, true) => through(p, &spiking, a.targets, a.weights, Bytes::new(a.delays), ring),
        (false, false) => through(p, &spiking, a.targets, a.weights, delay, ring),
    }
}

fn through<T: Targets, D: Delays>(p: &Params, spiking: &Spiking, targets: T, weights: &[i32], delays: D, ring: Ring) {
    let n = targets.len().min(delays.len());
    if p.form & WEIGHT_A_ROW != 0 {
        let fetch = |at| {
            targets.prefetch(at);
            delays.prefetch(at);
        };
        spiking.for_each(n, targets, fetch, |row, synapses| {
            let (units, targets, delays, ring) = (weights[row], targets, delays, ring.view());
            for s in synapses {
                // SAFETY: synapses are below `n`; each thread has targets of its own.
                unsafe { ring.add(delays.at(s), targets.at(s), units) };
            }
        });
    } else {
        let fetch = |at| {
            targets.prefetch(at);
            delays.prefetch(at);
            prefetch(weights, at);
        };
        spiking.for_each(n.min(weights.len()), targets, fetch, |_, synapses| {
            let (targets, delays, ring) = (targets, delays, ring.view());
            for (s, &units) in synapses.clone().zip(&weights[synapses]) {
                // SAFETY: synapses are below `n`; each thread has targets of its own.
                unsafe { ring.add(delays.at(s), targets.at(s), units) };
            }
        });
    }
}
