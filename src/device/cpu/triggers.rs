//! Twin of `shaders/triggers.wgsl`.

use rayon::prelude::*;

use crate::kernel::triggers::{Host, Params};

/// The largest value of neuron `k` in samples `low..high`, and the first sample that has it.
fn highest(evidence: &[f32], neurons: usize, k: usize, low: usize, high: usize) -> (f32, u32) {
    let mut best = (-1.0, low);
    for u in low..high {
        let v = evidence[u * neurons + k];
        if v > best.0 {
            best = (v, u);
        }
    }
    (best.0.max(0.0), best.1 as u32)
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (neurons, words, reach) = (p.neurons as usize, p.words as usize, p.reach as usize);
    let (first, last) = (p.first as usize, p.end as usize);
    a.score.par_iter_mut().zip(a.where_at.par_chunks_mut(4)).enumerate().for_each(|(wg, (score, at))| {
        let begin = first + wg * p.window as usize;
        let end = (begin + p.window as usize).min(last);
        *score = 0.0;
        at.copy_from_slice(&[0, begin as u32, begin as u32, begin as u32]);
        for t in begin..end {
            let spikes = &a.spikes[t * words..][..words];
            if spikes.iter().all(|w| *w == 0) {
                continue;
            }
            let (low, high) = (t.max(first + reach) - reach, (t + reach + 1).min(last));
            for k in (0..neurons).filter(|k| spikes[k / 32] >> (k % 32) & 1 == 1) {
                let (va, ta) = highest(a.a, neurons, k, low, high);
                let (vb, tb) = highest(a.b, neurons, k, low, high);
                let s = (va * vb).sqrt();
                if s > *score {
                    *score = s;
                    at.copy_from_slice(&[k as u32, ta, tb, t as u32]);
                }
            }
        }
    });
}
