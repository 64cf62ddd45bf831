//! Twin of `shaders/stdp_depress.wgsl`.

use super::lanes::flush;
use super::parallel::Scattered;
use super::rows::{BLOCK, Bytes, Delays, Halves, MULTIPLICATIVE, Ring, Spiking, Targets, WIDE_TARGETS};
use crate::kernel::stdp_depress::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let count = a.spikes[p.k as usize].min(p.stride) as usize;
    if p.k >= a.clock[1] || count == 0 {
        return;
    }
    let sources = &a.spikes[p.steps as usize..][..count];
    let spiking = Spiking::new(sources, p.first_source, &a.offsets[..=p.rows as usize]);
    let ring = Ring::new(a.ring, a.clock[0].wrapping_add(p.k), p.form, p.stride, p.first_target);
    let to = (a.weights, &a.traces[p.rows as usize..], ring);
    let delay = (p.form >> 24) as u8;
    match (p.form & WIDE_TARGETS == 0, delay == 0) {
        (true, true) => through(p, &spiking, Halves::new(a.targets), Bytes::new(a.delays), to),
        (true, false) => through(p, &spiking, Halves::new(a.targets), delay, to),
        (false, true) => through(p, &spiking, a.targets, Bytes::new(a.delays), to),
        (false, false) => through(p, &spiking, a.targets, delay, to),
    }
}

fn through<T: Targets, D: Delays>(
    p: &Params,
    spiking: &Spiking,
    targets: T,
    delays: D,
    (weights, traces, ring): (&mut [f32], &[f32], Ring),
) {
    let multiplicative = p.form & MULTIPLICATIVE != 0;
    let n = targets.len().min(delays.len()).min(weights.len());
    let all = Scattered::new(weights);
    let fetch = |at| {
        targets.prefetch(at);
        delays.prefetch(at);
        all.prefetch(at, BLOCK);
    };
    spiking.for_each(n, targets, fetch, |_, synapses| {
        let (targets, delays, ring) = (targets, delays, ring.view());
        let (scale, a_minus, w_min, w_max) = (p.scale, p.a_minus, p.w_min, p.w_max);
        // SAFETY: a synapse is in one row and has one target, so that one thread has it.
        let weights = unsafe { all.part(synapses.start, synapses.len()) };
        // First what the processor does on several synapses at once, then the sums one by one.
        let mut units = [0; BLOCK];
        for (units, w) in units.iter_mut().zip(weights.iter()) {
            *units = floor(w * scale + 0.5);
        }
        let mut falls = [0.0; BLOCK];
        for ((s, fall), units) in synapses.zip(&mut falls).zip(units) {
            // SAFETY: synapses are below `n`; each thread has targets of its own.
            unsafe {
                let to = targets.at(s);
                *fall = traces[to];
                ring.add(delays.at(s), to, units);
            }
        }
        for (weight, y) in weights.iter_mut().zip(falls) {
            let w = *weight;
            let reach = if multiplicative { flush(a_minus * flush(w - w_min)) } else { a_minus };
            *weight = flush(w - flush(reach * y)).max(w_min).min(w_max);
        }
    });
}

/// The baseline has no instruction that rounds down.
#[inline(always)]
fn floor(x: f32) -> i32 {
    // Weights in their bounds stay in range; the limits hold for whatever a caller has put into the state.
    let x = x.clamp(-2_147_483_648.0, 2_147_483_520.0);
    // SAFETY: in range, and a number: the larger of NaN and a number is the number.
    let towards_zero: i32 = unsafe { x.to_int_unchecked() };
    towards_zero - i32::from(towards_zero as f32 > x)
}
