//! Twin of `shaders/kde_mass.wgsl`.

use rayon::prelude::*;

use super::kde_peak::{log_terms, slots};
use super::parallel::Scattered;
use crate::kernel::kde_mass::{Host, Params};

/// A native device has one part.
pub(super) fn run(p: &Params, a: Host<'_>) {
    let mass = Scattered::new(a.mass);
    let weights = &a.sites[p.weights_at as usize..];
    a.tiles.par_chunks_exact(2).for_each(|tile| {
        let mut terms = vec![0.0; tile[0][3] as usize];
        for slot in slots(tile) {
            log_terms(&mut terms, tile, slot, (a.encoding, weights, a.marks, p.spikes as usize));
            let peak = a.peaks[slot];
            let sum: f64 = terms.iter().map(|z| f64::from((z - peak).exp2())).sum();
            // SAFETY: no two tiles share a slot.
            let own = unsafe { mass.part(slot, 1) };
            own[0] = sum as f32;
        }
    });
}
