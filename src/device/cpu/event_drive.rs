//! Twin of `shaders/event_drive.wgsl`.

use rayon::prelude::*;

use crate::kernel::event_drive::{Host, Params};

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (neurons, rows, words) = (p.neurons as usize, p.rows as usize, p.words as usize);
    a.y[..p.time as usize * neurons].par_chunks_mut(32 * neurons).enumerate().for_each(|(word, y)| {
        for k in 0..neurons {
            let trains: Vec<u32> = (0..rows).map(|r| a.events[(k * rows + r) * words + word]).collect();
            let any = trains.iter().fold(0, |any, train| any | train);
            for (bit, y) in y.chunks_mut(neurons).enumerate() {
                // Spikes are rare: most samples have none.
                let sum = if any >> bit & 1 == 0 {
                    0.0
                } else {
                    trains.iter().zip(a.weight).filter(|(train, _)| **train >> bit & 1 == 1).map(|(_, w)| w).sum()
                };
                y[k] = sum;
            }
        }
    });
}
