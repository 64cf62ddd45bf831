//! Twin of `shaders/scan_add.wgsl`.

use rayon::prelude::*;

use crate::kernel::scan_add::{Host, Params};

const CHUNK: usize = 1024;

pub(super) fn run(p: &Params, a: Host<'_>) {
    let rows = a.y.par_chunks_mut(p.n as usize).zip(a.before.par_chunks(p.chunks as usize));
    rows.for_each(|(y, before)| {
        y.par_chunks_mut(CHUNK).zip(before).with_min_len(8).for_each(|(y, before)| {
            if p.real != 0 {
                let before = f32::from_bits(*before);
                for v in bytemuck::cast_slice_mut::<_, f32>(y) {
                    *v += before;
                }
            } else {
                for v in y {
                    *v = v.wrapping_add(*before);
                }
            }
        });
    });
}
