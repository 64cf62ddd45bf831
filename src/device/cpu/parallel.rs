//! Loops over slices that several twins share.

use rayon::prelude::*;

/// Elements a task takes at once: large beside the cost of a task, small beside a core's share of the cache.
const TASK: usize = 1 << 14;

/// Whether a loop over this many elements, of about one vectorised operation each, is worth a second thread; below it,
/// stay on one and call nothing of rayon's.
///
/// A fork whose second half nobody takes costs 40 ns. A thread that is awake takes it after 0.7 us, and the join is done
/// after 1 us; threads fall asleep some 10 us after their last task, and then take 16 us to come (medians on two cores of
/// a virtual x86-64 machine), in which the first thread has done both halves of anything that short. A task of
/// [`TASK`] such elements takes 1 to 2 us. Loops that run every few microseconds, as a network's steps do, keep threads
/// awake only if all of them fork; count an element of n operations as n.
pub(super) fn worth(elements: usize) -> bool {
    elements >= 2 * TASK && rayon::current_num_threads() > 1
}

/// `y[i] = f(x[i])`.
pub(super) fn map<X: Copy + Sync, Y: Send>(x: &[X], y: &mut [Y], f: impl Fn(X) -> Y + Sync) {
    y.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(y, x)| {
        for (y, x) in y.iter_mut().zip(x) {
            *y = f(*x);
        }
    });
}

/// `y[i] = f(a[i], b[i % b.len()])`.
pub(super) fn map_rows<A: Copy + Sync, B: Copy + Sync, Y: Send>(
    a: &[A],
    b: &[B],
    y: &mut [Y],
    f: impl Fn(A, B) -> Y + Sync,
) {
    y.par_chunks_mut(TASK).zip(a.par_chunks(TASK)).enumerate().for_each(|(task, (mut y, mut a))| {
        let mut at = task * TASK % b.len();
        while !y.is_empty() {
            let n = y.len().min(b.len() - at);
            let (y_now, y_rest) = y.split_at_mut(n);
            let (a_now, a_rest) = a.split_at(n);
            for ((y, a), b) in y_now.iter_mut().zip(a_now).zip(&b[at..at + n]) {
                *y = f(*a, *b);
            }
            (y, a, at) = (y_rest, a_rest, 0);
        }
    });
}

/// Memory of which every task has its own part, where the parts are not slices one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Scattered<T>(*mut T, usize);
// SAFETY: whoever takes a part promises that no other task has it.
unsafe impl<T: Send> Sync for Scattered<T> {}

impl<T> Scattered<T> {
    pub(super) fn new(x: &mut [T]) -> Self {
        Self(x.as_mut_ptr(), x.len())
    }

    /// # Safety
    /// No other task has the same elements, and `self` came from a slice that is still lent.
    #[allow(clippy::mut_from_ref, reason = "exclusive by the caller's promise")]
    pub(super) unsafe fn part(&self, at: usize, n: usize) -> &mut [T] {
        assert!(at + n <= self.1, "a part outside the memory");
        // SAFETY: in range, and the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), n) }
    }

    /// Asks for the cache lines of `n` elements from `at` on, as far as there are so many.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: usize, n: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for i in (at..self.1.min(at + n)).step_by(64 / size_of::<T>()) {
                // SAFETY: a hint, for memory in the slice.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(self.0.wrapping_add(i).cast()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (at, n);
    }

    /// The element at `at` and those behind it.
    pub(super) fn at(&self, at: usize) -> *mut T {
        assert!(at < self.1, "a part outside the memory");
        self.0.wrapping_add(at)
    }
}

/// How many items of `each` elements a task should take.
pub(super) fn per_task(each: usize) -> usize {
    (TASK / each.max(1)).max(1)
}

/// Defines a function that is compiled for AVX-512, for AVX2 and for the baseline, and picks by the processor.
macro_rules! multiversioned {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                let has512 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                let fma = is_x86_feature_detected!("fma");
                if has512 && fma {
                    // SAFETY: the processor has these features.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && fma {
                    // SAFETY: the processor has these features.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use multiversioned;
