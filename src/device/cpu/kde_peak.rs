//! Twin of `shaders/kde_peak.wgsl`.

use rayon::prelude::*;

use super::marks::{LANES, peaks, sides, tasks};
use super::parallel::Scattered;
use crate::kernel::kde_peak::{Host, Params};

/// Decoding spikes of a task.
const GROUP: usize = 512;

/// Encoding marks and their log2 weights, decoding marks and how many there are of them.
type Marks<'a> = (&'a [[f32; 4]], &'a [f32], &'a [[f32; 4]], usize);

/// log2 w_i − |m_i − m_s|² for a spike's mark and each encoding spike of its tile, into `out`.
pub(super) fn log_terms(
    out: &mut [f32],
    tile: &[[u32; 4]],
    slot: usize,
    (encoding, weights, marks, spikes): Marks<'_>,
) {
    let (first, quads) = (tile[1][0] as usize, tile[1][1] as usize);
    let encoding = &encoding[first..][..out.len() * quads];
    let weights = &weights[tile[0][2] as usize..][..out.len()];
    for ((out, mark), weight) in out.iter_mut().zip(encoding.chunks_exact(quads)).zip(weights) {
        let mut d = 0.0;
        for (q, e) in mark.iter().enumerate() {
            let m = marks[q * spikes + slot];
            d += (0..4).map(|k| (e[k] - m[k]) * (e[k] - m[k])).sum::<f32>();
        }
        *out = weight - d;
    }
}

/// The slots of a tile.
pub(super) fn slots(tile: &[[u32; 4]]) -> std::ops::Range<usize> {
    tile[0][0] as usize..(tile[0][0] + tile[0][1]) as usize
}

/// A native device has one part.
pub(super) fn run(p: &Params, a: Host<'_>) {
    let weights = &a.sites[p.weights_at as usize..];
    let out = Scattered::new(a.peaks);
    tasks(a.tiles, GROUP).par_iter().for_each(|task| {
        let (enc, panels) = sides(task, a.encoding, weights, a.marks, p.spikes as usize);
        // SAFETY: no two tasks share a slot.
        let out = unsafe { out.part(task.slot, task.slots) };
        for (panel, out) in out.chunks_mut(LANES).enumerate() {
            let mut best = [0.0; LANES];
            peaks(&enc, panels.get(panel), &mut best);
            out.copy_from_slice(&best[..out.len()]);
        }
    });
}
