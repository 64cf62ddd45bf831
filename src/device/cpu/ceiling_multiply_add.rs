//! Twin of `shaders/ceiling_multiply_add.wgsl`.

use rayon::prelude::*;

use super::parallel::per_task;
use super::vector::{Vector, for_each_instruction_set};
use crate::kernel::ceiling_multiply_add::{Host, Params};

/// Chains of an invocation.
const CHAINS: usize = 16;

/// As the shader, for as many invocations at once as a register has elements.
#[inline(always)]
unsafe fn body<V: Vector>(p: &Params, y: &mut [f32]) {
    // SAFETY: the caller's promise; whole registers go through memory of that size.
    unsafe {
        let (a, b) = (V::splat(p.a), V::splat(p.b));
        for y in y.chunks_mut(V::N) {
            // Half at a time, so that a processor of 16 registers holds them.
            let mut sum = V::splat(0.0);
            for _ in 0..2 {
                let mut v = [V::splat(0.0); CHAINS / 2];
                for _ in 0..p.links {
                    for v in &mut v {
                        *v = b.add_product(*v, a);
                    }
                }
                for v in v {
                    sum = sum.add(v);
                }
            }
            let mut sums = [0f32; 64];
            sum.store(sums.as_mut_ptr());
            y.copy_from_slice(&sums[..y.len()]);
        }
    }
}

for_each_instruction_set! { fn chains(p: &Params, y: &mut [f32]) = body }

pub(super) fn run(p: &Params, a: Host<'_>) {
    let task = per_task(2 * CHAINS * p.links as usize).next_multiple_of(64);
    a.y[..p.n as usize].par_chunks_mut(task).for_each(|y| chains(p, y));
}
