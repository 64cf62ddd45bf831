//! Mark kernels of 32 decoding spikes side by side, for the twins of the density kernels.
//!
//! What comes out for a spike does not depend on which others lie beside it.

use super::vector::{Vector, for_each_instruction_set};

/// Decoding spikes side by side: two vectors of the widest kind, so that one hides the latency of the other.
pub(super) const LANES: usize = 32;
/// Encoding spikes of a block: a block of kernels of [`LANES`] spikes fills two thirds of a first-level cache.
pub(super) const BLOCK: usize = 256;

/// The decoding spikes of one electrode that a task takes, and its encoding spikes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    /// Of the decoding spikes.
    pub slot: usize,
    pub slots: usize,
    /// Of the encoding spikes.
    pub first: usize,
    pub n: usize,
    /// In `encoding`.
    vector: usize,
    quads: usize,
}

impl Task {
    /// The spikes of one tile.
    pub fn of(tile: &[[u32; 4]]) -> Self {
        let [slot, slots, first, n] = tile[0].map(|v| v as usize);
        let [vector, quads, ..] = tile[1].map(|v| v as usize);
        Self { slot, slots, first, n, vector, quads }
    }
}

/// The electrodes of a tile table (two rows a tile, see `shaders/kde.wgsl`) in tasks of at most `most` spikes (a multiple of [`LANES`]), fewer where that keeps
/// all threads busy. Results do not depend on the cut.
pub(super) fn tasks(tiles: &[[u32; 4]], most: usize) -> Vec<Task> {
    let mut whole: Vec<Task> = Vec::new();
    for task in tiles.chunks_exact(2).filter(|tile| tile[0][1] > 0).map(Task::of) {
        match whole.last_mut() {
            Some(last) if last.slot + last.slots == task.slot && last.vector == task.vector && last.n == task.n => {
                last.slots += task.slots;
            }
            _ => whole.push(task),
        }
    }
    let all: usize = whole.iter().map(|t| t.slots).sum();
    let each = all.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(LANES).clamp(LANES, most);
    let cut = |t: &Task| {
        let t = *t;
        (0..t.slots).step_by(each).map(move |at| Task { slot: t.slot + at, slots: each.min(t.slots - at), ..t })
    };
    whole.iter().flat_map(cut).collect()
}

/// The encoding side of an electrode.
#[derive(Clone, Copy)]
pub(super) struct Encoding<'a> {
    /// n × `stride`, of which `dims` count.
    marks: &'a [f32],
    stride: usize,
    dims: usize,
    /// n.
    log2_weights: &'a [f32],
}

/// The decoding spikes of a task, [`LANES`] by [`LANES`].
pub(super) struct Panels {
    /// `[panel][dimension][LANES]`.
    values: Vec<f32>,
    pub dims: usize,
    /// How many.
    pub len: usize,
}

impl Panels {
    pub fn get(&self, panel: usize) -> &[f32] {
        &self.values[panel * self.dims * LANES..][..self.dims * LANES]
    }
}

/// The marks of a task's encoding spikes, n × `stride`, and its decoding spikes in panels. `marks` holds the first vectors
/// of all `slots` slots, then the second ones.
pub(super) fn panels<'a>(
    task: &Task,
    encoding: &'a [[f32; 4]],
    marks: &[[f32; 4]],
    slots: usize,
) -> (&'a [f32], usize, Panels) {
    let encoding = &encoding[task.vector..][..task.n * task.quads];
    let vectors = |s: usize| (0..task.quads).flat_map(move |q| marks[q * slots + task.slot + s]);
    // Vectors are padded with zeros on both sides, which need not be compared.
    let mut dims = task.quads * 4;
    let used = |k: usize| {
        encoding.chunks_exact(task.quads).any(|mark| mark[k / 4][k % 4] != 0.0)
            || (0..task.slots).any(|s| marks[k / 4 * slots + task.slot + s][k % 4] != 0.0)
    };
    while dims > task.quads * 4 - 3 && !used(dims - 1) {
        dims -= 1;
    }
    let panels = task.slots.div_ceil(LANES);
    let mut values = vec![0.0; panels * dims * LANES];
    for s in 0..task.slots {
        let panel = &mut values[s / LANES * dims * LANES..][..dims * LANES];
        for (k, v) in vectors(s).take(dims).enumerate() {
            panel[k * LANES + s % LANES] = v;
        }
    }
    (bytemuck::cast_slice(encoding), task.quads * 4, Panels { values, dims, len: panels })
}

/// Both sides of a task; arguments as of [`panels`].
pub(super) fn sides<'a>(
    task: &Task,
    encoding: &'a [[f32; 4]],
    log2_weights: &'a [f32],
    marks: &[[f32; 4]],
    slots: usize,
) -> (Encoding<'a>, Panels) {
    let (marks, stride, panels) = panels(task, encoding, marks, slots);
    let log2_weights = &log2_weights[task.first..][..task.n];
    (Encoding { marks, stride, dims: panels.dims, log2_weights }, panels)
}

impl Encoding<'_> {
    /// The encoding spikes of block `block`.
    pub fn block(&self, block: usize) -> Self {
        let first = block * BLOCK;
        let n = BLOCK.min(self.log2_weights.len() - first);
        Self {
            marks: &self.marks[first * self.stride..][..n * self.stride],
            log2_weights: &self.log2_weights[first..][..n],
            ..*self
        }
    }
}

/// Calls a generic with the dimensions as a constant where they are common, else with 0.
macro_rules! with_dims {
    ($dims:expr, $f:ident::<$v:ty>($($arg:expr),*)) => {
        match $dims {
            1 => $f::<$v, 1>($($arg),*),
            2 => $f::<$v, 2>($($arg),*),
            3 => $f::<$v, 3>($($arg),*),
            4 => $f::<$v, 4>($($arg),*),
            5 => $f::<$v, 5>($($arg),*),
            _ => $f::<$v, 0>($($arg),*),
        }
    };
}

/// `from − |x − y|²` for the vector of spikes at `x`.
#[inline(always)]
pub(super) unsafe fn less_distance<V: Vector, const D: usize>(from: V, x: *const f32, y: *const f32, dims: usize) -> V {
    let mut a = from;
    for k in 0..if D > 0 { D } else { dims } {
        // SAFETY: the caller's promise: `dims` rows of LANES at `x`, `dims` numbers at `y`.
        unsafe {
            let e = V::load(x.add(k * LANES)).sub(V::splat(*y.add(k)));
            a = a.sub_product(e, e);
        }
    }
    a
}

#[inline(always)]
unsafe fn peaks_of<V: Vector, const D: usize>(enc: &Encoding<'_>, x: &[f32], out: &mut [f32; LANES]) {
    assert!(x.len() >= enc.dims * LANES && enc.stride >= enc.dims, "a panel of as many dimensions");
    // SAFETY: the caller's promise; a panel has `dims` rows of LANES, which are a multiple of 2·N.
    unsafe {
        for l in (0..LANES).step_by(2 * V::N) {
            let at = x.as_ptr().add(l);
            let (mut b0, mut b1) = (V::splat(-3.0e38), V::splat(-3.0e38));
            for (y, w) in enc.marks.chunks_exact(enc.stride).zip(enc.log2_weights) {
                let w = V::splat(*w);
                b0 = b0.max(less_distance::<V, D>(w, at, y.as_ptr(), enc.dims));
                b1 = b1.max(less_distance::<V, D>(w, at.add(V::N), y.as_ptr(), enc.dims));
            }
            b0.store(out.as_mut_ptr().add(l));
            b1.store(out.as_mut_ptr().add(l + V::N));
        }
    }
}
#[inline(always)]
unsafe fn peaks_body<V: Vector>(enc: &Encoding<'_>, x: &[f32], out: &mut [f32; LANES]) {
    // SAFETY: the caller's promise.
    unsafe { with_dims!(enc.dims, peaks_of::<V>(enc, x, out)) }
}
for_each_instruction_set! {
    /// log2 w_i − |m_i − m_s|², the largest over i, for each spike of a panel.
    pub(super) fn peaks(enc: &Encoding<'_>, x: &[f32], out: &mut [f32; LANES]) = peaks_body
}

#[inline(always)]
unsafe fn kernels_of<V: Vector, const D: usize>(
    enc: &Encoding<'_>,
    x: &[f32],
    shift: &[f32; LANES],
    kernels: &mut [f32],
    totals: &mut [f32; LANES],
) {
    assert!(x.len() >= enc.dims * LANES && enc.stride >= enc.dims, "a panel of as many dimensions");
    assert!(kernels.len() >= enc.log2_weights.len() * LANES, "room for every kernel");
    // SAFETY: as in `peaks_of`; `kernels` has a row of LANES for each encoding spike.
    unsafe {
        for l in (0..LANES).step_by(2 * V::N) {
            let at = x.as_ptr().add(l);
            let (s0, s1) = (V::load(shift.as_ptr().add(l)), V::load(shift.as_ptr().add(l + V::N)));
            let (mut t0, mut t1) = (V::splat(0.0), V::splat(0.0));
            let rows = kernels.chunks_exact_mut(LANES);
            for ((y, w), out) in enc.marks.chunks_exact(enc.stride).zip(enc.log2_weights).zip(rows) {
                let w = V::splat(*w);
                let a0 = less_distance::<V, D>(w.sub(s0), at, y.as_ptr(), enc.dims).exp2();
                let a1 = less_distance::<V, D>(w.sub(s1), at.add(V::N), y.as_ptr(), enc.dims).exp2();
                a0.store(out.as_mut_ptr().add(l));
                a1.store(out.as_mut_ptr().add(l + V::N));
                t0 = t0.add(a0);
                t1 = t1.add(a1);
            }
            t0.store(totals.as_mut_ptr().add(l));
            t1.store(totals.as_mut_ptr().add(l + V::N));
        }
    }
}
#[inline(always)]
unsafe fn kernels_body<V: Vector>(
    enc: &Encoding<'_>,
    x: &[f32],
    shift: &[f32; LANES],
    kernels: &mut [f32],
    totals: &mut [f32; LANES],
) {
    // SAFETY: the caller's promise.
    unsafe { with_dims!(enc.dims, kernels_of::<V>(enc, x, shift, kernels, totals)) }
}
for_each_instruction_set! {
    /// 2^(log2 w_i − |m_i − m_s|² − shift_s), `[encoding spike][LANES]`, and their sums over i.
    pub(super) fn kernels(
        enc: &Encoding<'_>,
        x: &[f32],
        shift: &[f32; LANES],
        kernels: &mut [f32],
        totals: &mut [f32; LANES],
    ) = kernels_body
}
