//! Twin of `shaders/ceiling_multiply_add.wgsl`.

use rayon::prelude::*;

use super::parallel::per_task;
use super::vector::{Vector, for_each_instruction_set};
use crate::kernel::ceiling_multiply_add::{Host, Params};

/// Chains of an invocation.
const CHAINS: usize = 16;

/// N chains, added up.
#[inline(always)]
unsafe fn sum<V: Vector, const N: usize>(p: &Params) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (V::splat(p.a), V::splat(p.b));
        let mut v = [V::splat(0.0); N];
        for _ in 0..p.links {
            for v in &mut v {
                *v = b.add_product(*v, a);
            }
        }
        let mut sum = V::splat(0.0);
        for v in v {
            sum = sum.add(v);
        }
        sum
    }
}

/// As the shader, for as many invocations at once as a register has elements.
#[inline(always)]
unsafe fn body<V: Vector>(p: &Params, y: &mut [f32]) {
    for y in y.chunks_mut(V::N) {
        let mut sums = [0f32; 64];
        // SAFETY: the caller's promise; whole registers go through memory of that size.
        unsafe {
            // As many at once as the processor has registers for.
            let sum = if V::REGISTERS >= 32 {
                sum::<V, CHAINS>(p)
            } else {
                sum::<V, { CHAINS / 2 }>(p).add(sum::<V, { CHAINS / 2 }>(p))
            };
            sum.store(sums.as_mut_ptr());
        }
        y.copy_from_slice(&sums[..y.len()]);
    }
}

for_each_instruction_set! { fn chains(p: &Params, y: &mut [f32]) = body }

pub(super) fn run(p: &Params, a: Host<'_>) {
    let task = per_task(2 * CHAINS * p.links as usize).next_multiple_of(64);
    a.y[..p.n as usize].par_chunks_mut(task).for_each(|y| chains(p, y));
}
