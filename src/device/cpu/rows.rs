//! Rows of synapses whose sources have spiked: by one thread, or by several with a range of targets each, so that no
//! two add to the same sum.

use std::ops::Range;

use rayon::prelude::*;

use super::parallel::Scattered;

/// Bits of `form`, see `shaders/shared/synapses.wgsl`.
const TWO_PLANES: u32 = 0x1000;
pub(super) const WIDE_TARGETS: u32 = 0x2000;
pub(super) const WEIGHT_A_ROW: u32 = 0x4000;
pub(super) const MULTIPLICATIVE: u32 = 0x8000;

/// Synapses of a step from which on waking a thread pays: twice the 16 µs that it takes to come.
const LEAST_PARALLEL: usize = 1 << 15;
/// Synapses that a thread should get at least.
const LEAST_SHARE: usize = 1 << 13;
/// Synapses between two looks ahead.
pub(super) const BLOCK: usize = 64;
/// How many blocks ahead memory is fetched.
const AHEAD: usize = 8;

/// A row, or what one thread has of it.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub row: usize,
    begin: usize,
    end: usize,
}

/// The rows of the sources that have spiked.
pub(super) struct Spiking {
    segments: Vec<Segment>,
    synapses: usize,
}

impl Spiking {
    /// Of the spikes `sources`, those of neurons `first_source` and up, as many as there are rows.
    pub(super) fn new(sources: &[u32], first_source: u32, offsets: &[u32]) -> Self {
        let mut segments = Vec::with_capacity(sources.len());
        let mut synapses = 0;
        for source in sources {
            let row = source.wrapping_sub(first_source) as usize;
            if row < offsets.len() - 1 {
                let (begin, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                segments.push(Segment { row, begin, end });
                synapses += end - begin;
            }
        }
        Self { segments, synapses }
    }

    /// Calls `work` for every synapse in pieces of rows, on as many threads as pay; each thread has targets of its own.
    /// `fetch` is told well before that the synapses from its argument on will be wanted. There are `n` synapses.
    #[inline(always)]
    pub(super) fn for_each<T: Targets>(
        &self,
        n: usize,
        targets: T,
        fetch: impl Fn(usize) + Sync,
        work: impl Fn(usize, Range<usize>) + Sync,
    ) {
        assert!(n <= targets.len() && self.segments.iter().all(|s| s.begin <= s.end && s.end <= n), "rows go too far");
        let shares = rayon::current_num_threads().min(self.synapses / LEAST_SHARE);
        if self.synapses < LEAST_PARALLEL || shares < 2 {
            walk(&self.segments, &fetch, &work);
            return;
        }
        let borders = self.borders(targets, shares);
        (0..shares).into_par_iter().with_max_len(1).for_each(|share| {
            let begins = match share {
                0 => self.segments.iter().map(|s| s.begin).collect(),
                _ => self.cut(targets, borders[share - 1]),
            };
            let ends = match borders.get(share) {
                None => self.segments.iter().map(|s| s.end).collect(),
                Some(&border) => self.cut(targets, border),
            };
            let rows = self.segments.iter().zip(begins).zip(ends);
            let own: Vec<Segment> = rows.map(|((s, begin), end)| Segment { row: s.row, begin, end }).collect();
            walk(&own, &fetch, &work);
        });
    }

    /// Targets at which threads' shares begin, the first's left out: quantiles of some of the rows.
    fn borders<T: Targets>(&self, targets: T, shares: usize) -> Vec<usize> {
        let every = self.segments.len().div_ceil(16);
        let border = |share: usize| {
            let (mut sum, mut weight) = (0, 0);
            for s in self.segments.iter().step_by(every).filter(|s| s.begin < s.end) {
                let n = s.end - s.begin;
                // SAFETY: `for_each` has checked rows.
                sum += unsafe { targets.at(s.begin + n * share / shares) } * n;
                weight += n;
            }
            sum / weight.max(1)
        };
        let mut borders: Vec<usize> = (1..shares).map(border).collect();
        // Quantiles ascend in each row, and so do their means; nothing else may depend on that.
        borders.sort_unstable();
        borders
    }

    /// The first synapse of each row whose target is not below `border`. Rows are searched side by side, so that their
    /// fetches from memory overlap.
    fn cut<T: Targets>(&self, targets: T, border: usize) -> Vec<usize> {
        let mut left: Vec<(usize, usize)> = self.segments.iter().map(|s| (s.begin, s.end - s.begin)).collect();
        for rows in left.chunks_mut(32) {
            let longest = rows.iter().map(|r| r.1).max().unwrap_or(0);
            for _ in 0..usize::BITS - longest.leading_zeros() {
                for (begin, n) in rows.iter_mut().filter(|r| r.1 > 0) {
                    let half = *n / 2;
                    // SAFETY: `for_each` has checked rows.
                    if unsafe { targets.at(*begin + half) } < border {
                        *begin += half + 1;
                        *n -= half + 1;
                    } else {
                        *n = half;
                    }
                }
            }
        }
        left.into_iter().map(|(begin, _)| begin).collect()
    }
}

/// Goes through rows in blocks, fetching memory some blocks ahead.
#[inline(always)]
fn walk(segments: &[Segment], fetch: &impl Fn(usize), work: &impl Fn(usize, Range<usize>)) {
    let mut blocks = segments.iter().flat_map(|s| (s.begin..s.end).step_by(BLOCK));
    blocks.by_ref().take(AHEAD).for_each(fetch);
    for s in segments {
        for at in (s.begin..s.end).step_by(BLOCK) {
            if let Some(next) = blocks.next() {
                fetch(next);
            }
            work(s.row, at..s.end.min(at + BLOCK));
        }
    }
}

/// Asks for the cache lines of `x` that a block of synapses from `at` on will need.
#[inline(always)]
pub(super) fn prefetch<T>(x: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = 64 / size_of::<T>();
        for i in (at..x.len().min(at + BLOCK)).step_by(line) {
            // SAFETY: a hint, for memory in the slice.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(x.as_ptr().add(i).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, at);
}

/// Targets by synapse.
pub(super) trait Targets: Copy + Sync {
    fn len(self) -> usize;
    /// # Safety
    /// The synapse is below [`Self::len`].
    unsafe fn at(self, synapse: usize) -> usize;
    fn prefetch(self, synapse: usize);
}

impl Targets for &[u32] {
    #[inline(always)]
    fn len(self) -> usize {
        <[u32]>::len(self)
    }
    #[inline(always)]
    unsafe fn at(self, synapse: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe { *self.get_unchecked(synapse) as usize }
    }
    #[inline(always)]
    fn prefetch(self, synapse: usize) {
        prefetch(self, synapse);
    }
}

// Halves and bytes of words are read where they lie, which is where they count only from the low end.
const _: () = assert!(cfg!(target_endian = "little"));

/// Two a word, the first in the low half.
#[derive(Clone, Copy)]
pub(super) struct Halves<'a>(&'a [u16]);

impl<'a> Halves<'a> {
    pub(super) fn new(words: &'a [u32]) -> Self {
        Self(bytemuck::cast_slice(words))
    }
}

impl Targets for Halves<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.0.len()
    }
    #[inline(always)]
    unsafe fn at(self, synapse: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe { (*self.0.get_unchecked(synapse)).into() }
    }
    #[inline(always)]
    fn prefetch(self, synapse: usize) {
        prefetch(self.0, synapse);
    }
}

/// Delays by synapse.
pub(super) trait Delays: Copy + Sync {
    fn len(self) -> usize;
    /// # Safety
    /// The synapse is below [`Self::len`].
    unsafe fn at(self, synapse: usize) -> u8;
    fn prefetch(self, synapse: usize);
}

/// One for all.
impl Delays for u8 {
    #[inline(always)]
    fn len(self) -> usize {
        usize::MAX
    }
    #[inline(always)]
    unsafe fn at(self, _: usize) -> u8 {
        self
    }
    #[inline(always)]
    fn prefetch(self, _: usize) {}
}

/// Four a word, the first in the low byte.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(words: &'a [u32]) -> Self {
        Self(bytemuck::cast_slice(words))
    }
}

impl Delays for Bytes<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.0.len()
    }
    #[inline(always)]
    unsafe fn at(self, synapse: usize) -> u8 {
        // SAFETY: the caller's promise.
        unsafe { *self.0.get_unchecked(synapse) }
    }
    #[inline(always)]
    fn prefetch(self, synapse: usize) {
        prefetch(self.0, synapse);
    }
}

/// The ring of input at one step.
#[derive(Clone, Copy)]
pub(super) struct Ring {
    sums: Scattered<u32>,
    /// Where target 0's sum of what arrives after each delay is.
    slots: [u32; 256],
    /// From one plane to the next; 0: there is one.
    plane: usize,
}

impl Ring {
    /// The ring as `form` says, at step `step`.
    pub(super) fn new(sums: &mut [u32], step: u32, form: u32, stride: u32, first_target: u32) -> Self {
        let two = form & TWO_PLANES != 0;
        let slot = if two { 2 * stride } else { stride };
        let count = 1 << (form >> 8 & 15);
        let mut slots = [0; 256];
        for (delay, at) in slots.iter_mut().take(count as usize).enumerate() {
            *at = (step.wrapping_add(delay as u32) & (count - 1)) * slot + first_target;
        }
        Self { sums: Scattered::new(sums), slots, plane: if two { stride as usize } else { 0 } }
    }

    /// What a loop keeps in registers.
    #[inline(always)]
    pub(super) fn view(&self) -> View<'_> {
        View { sums: self.sums, slots: &self.slots, plane: self.plane }
    }
}

/// A [`Ring`] of which nothing is fetched again after a sum has been written.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    sums: Scattered<u32>,
    slots: &'a [u32; 256],
    plane: usize,
}

impl View<'_> {
    /// Adds `units` to what `target` gets after `delay` steps.
    ///
    /// # Safety
    /// No other thread adds to this target.
    #[inline(always)]
    pub(super) unsafe fn add(self, delay: u8, target: usize, units: i32) {
        let at = self.slots[usize::from(delay)] as usize + ((units >> 31) as usize & self.plane) + target;
        let sum = self.sums.at(at);
        // SAFETY: `at` is in the ring, and the caller's promise.
        unsafe { *sum = (*sum).wrapping_add(units as u32) };
    }
}
