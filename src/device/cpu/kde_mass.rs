//! Twin of `shaders/kde_mass.wgsl`.

use rayon::prelude::*;

use super::marks::{BLOCK, LANES, kernels, sides, tasks};
use super::parallel::Scattered;
use crate::kernel::kde_mass::{Host, Params};

/// Decoding spikes of a task.
const GROUP: usize = 512;

/// A native device has one part.
pub(super) fn run(p: &Params, a: Host<'_>) {
    let weights = &a.sites[p.weights_at as usize..];
    let out = Scattered::new(a.mass);
    tasks(a.tiles, GROUP).par_iter().for_each(|task| {
        let (enc, panels) = sides(task, a.encoding, weights, a.marks, p.spikes as usize);
        // SAFETY: no two tasks share a slot.
        let out = unsafe { out.part(task.slot, task.slots) };
        let mut terms = vec![0.0; BLOCK * LANES];
        for (panel, (out, peaks)) in
            out.chunks_mut(LANES).zip(a.peaks[task.slot..][..task.slots].chunks(LANES)).enumerate()
        {
            let mut shift = [0.0; LANES];
            shift[..peaks.len()].copy_from_slice(peaks);
            // Blocks are summed in f32, the sums of blocks in f64.
            let mut sums = [0f64; LANES];
            for block in 0..task.n.div_ceil(BLOCK) {
                let mut totals = [0.0; LANES];
                kernels(&enc.block(block), panels.get(panel), &shift, &mut terms, &mut totals);
                sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += f64::from(total));
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as f32);
        }
    });
}
