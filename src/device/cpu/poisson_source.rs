//! Twin of `shaders/poisson_source.wgsl`.

use super::multiversioned;
use super::neuron::{TILE, job};
use super::philox::rounds;
use crate::kernel::poisson_source::{Host, Params};

/// Parameter rows.
const LIMIT: usize = 0;
const STREAM: usize = 1;

const TAG: u32 = 0x8000_0002;
/// Counters whose rounds go on together; each has four neurons.
const LANES: usize = 16;
const LANE: [u64; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

pub(super) fn run(p: &Params, a: Host<'_>) {
    if let Some((job, spikes)) = job!(p, a) {
        job.run(spikes, |job, t| {
            let (limit, stream) = (t.shared(LIMIT), t.shared(STREAM));
            let fired = draw(limit, job.step, t.within as u32 / 4, stream, job.seed, t.padded());
            // SAFETY: this is the one thread that has the tile.
            unsafe { job.emit(t, &fired) };
        });
    }
}

multiversioned! {
    /// Which of `count` neurons, from four times `first` on, have a word below the limit.
    fn draw(limit: u32, step: u32, first: u32, stream: u32, seed: [u32; 2], count: usize) -> [u64; TILE / 64] {
        let mut fired = [0; TILE / 64];
        let [step, stream, tag] = [step, stream, TAG].map(|x| [u64::from(x); LANES]);
        for (i, fired) in fired.iter_mut().enumerate().take(count.div_ceil(4 * LANES)) {
            let counters = LANE.map(|lane| lane + u64::from(first) + (i * LANES) as u64);
            let mut words = [step, counters, stream, tag];
            rounds(&mut words, seed);
            let mut least = u32::MAX;
            for words in &words {
                for word in words {
                    least = least.min(*word as u32);
                }
            }
            // Spikes are rare.
            if least < limit {
                for (at, words) in words.iter().enumerate() {
                    for (lane, word) in words.iter().enumerate() {
                        *fired |= u64::from((*word as u32) < limit) << (4 * lane + at);
                    }
                }
            }
        }
        fired
    }
}
