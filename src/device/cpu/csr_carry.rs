//! Twin of `shaders/csr_carry.wgsl`.

use rayon::prelude::*;

use super::parallel::{Scattered, per_task};
use crate::kernel::csr_carry::{Host, Params};

pub(super) fn run(p: &Params, h: Host<'_>) {
    let k = p.k as usize;
    let (carry, y) = (h.carry, Scattered::new(h.y));
    let add = |&[row, first, count, has_rest]: &[u32; 4]| {
        // SAFETY: every row is named once.
        let y = unsafe { y.part(row as usize * k, k) };
        let parts = &carry[first as usize * k..][..count as usize * k];
        for (column, y) in y.iter_mut().enumerate() {
            let sum: f64 = parts[column..].iter().step_by(k).map(|v| f64::from(*v)).sum();
            *y = if has_rest == 1 { (f64::from(*y) + sum) as f32 } else { sum as f32 };
        }
    };
    h.cuts[..p.n as usize].par_iter().with_min_len(per_task(8 * k)).for_each(add);
}
