//! Twin of `shaders/spike_source.wgsl`.

use super::neuron::{Job, TILE, Tile, Words, job};
use crate::kernel::spike_source::{Host, Params};

/// Parameter row.
const END: usize = 0;

/// State rows.
const CURSOR: usize = 1;
const NEXT: usize = 2;

pub(super) fn run(p: &Params, a: Host<'_>) {
    if let Some((job, spikes)) = job!(p, a) {
        job.run(spikes, tile);
    }
}

/// One step of a tile.
fn tile(job: &Job<'_>, t: &Tile<'_>) {
    let mut fired = [0u64; TILE / 64];
    let words = t.words(job.table, END);
    // SAFETY: rows of the state hold the padded tile, and this is the one thread that has it.
    unsafe {
        let next = std::slice::from_raw_parts_mut(job.state(t, NEXT), t.padded());
        let cursor = std::slice::from_raw_parts_mut(job.state(t, CURSOR), t.padded());
        for (chunk, next) in next.chunks_mut(32).enumerate() {
            // Spikes are rare; the comparison of all is vectors.
            if next.iter().fold(false, |any, next| any | (*next == job.step)) {
                for (i, next) in next.iter_mut().enumerate().take(t.count - chunk * 32) {
                    if *next != job.step {
                        continue;
                    }
                    let neuron = chunk * 32 + i;
                    let end = match words {
                        Words::Each(ends) => ends[neuron],
                        Words::Shared(end) => end,
                    };
                    let at = cursor[neuron];
                    *next = if at < end { job.table[t.lists() + at as usize] } else { u32::MAX };
                    cursor[neuron] = at + 1;
                    fired[neuron / 64] |= 1 << (neuron % 64);
                }
            }
        }
        job.emit(t, &fired);
    }
}
