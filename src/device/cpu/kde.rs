//! Twin of `shaders/kde.wgsl`.
//!
//! Bound by multiply-adds, 2·N·M·P operations, of which it leaves out what cannot be seen: encoding spikes come in
//! blocks that lie together on the track, bins in grains, and a block that lies far from a grain is multiplied only
//! where, for the spike at hand, all of the block could add a millionth, shared among the blocks, of what the near ones
//! gave. That is decided for each
//! spike by itself, so that the same bits come out whatever spikes are computed together.

use rayon::prelude::*;

use super::marks::{BLOCK, Encoding, LANES, Panels, Task, kernels, sides, tasks};
use super::parallel::Scattered;
use super::tile::{self, COLS, ROWS, Tile};
use super::vector::{Vector, for_each_instruction_set};
use crate::kernel::kde::{Host, Params};

/// Decoding spikes of a task: what they share, the position kernels, is computed once for all of them.
const GROUP: usize = 512;
/// Bins that are left out or multiplied together: the widest vector.
const GRAIN: usize = 16;
/// log2 of the factor on each operand, as in the shader.
const RAISED: f32 = 52.0;
/// Squared scaled distance up to which a block is near a grain: four standard deviations, 16·log2(e)/2.
const NEAR: f32 = 11.54;
/// What is left out of a sum in all stays below this part of it.
const UNSEEN: f32 = 1.0 / (1u32 << 20) as f32;

#[inline(always)]
unsafe fn places_body<V: Vector>(x: &[f32], d: usize, bins: &[f32], pitch: usize, right: &mut [f32]) {
    assert!(bins.len() >= (d - 1) * pitch + GRAIN && right.len() >= (x.len() / d).max(1) * pitch - pitch + GRAIN);
    // SAFETY: the caller's promise, and the lengths above.
    unsafe {
        for (i, x) in x.chunks_exact(d).enumerate() {
            for c in (0..GRAIN).step_by(V::N) {
                let mut b = V::splat(RAISED);
                for (k, x) in x.iter().enumerate() {
                    let e = V::load(bins.as_ptr().add(k * pitch + c)).sub(V::splat(*x));
                    b = b.sub_product(e, e);
                }
                b.exp2().store(right.as_mut_ptr().add(i * pitch + c));
            }
        }
    }
}
for_each_instruction_set! {
    /// 2^52·2^(−|x_i − p|²) of the sites of a block and one grain of bins, at the pitch of all bins.
    fn places(x: &[f32], d: usize, bins: &[f32], pitch: usize, right: &mut [f32]) = places_body
}

/// Lower and upper corner of points, dimension by dimension.
type Corners = Vec<(f32, f32)>;

fn corners(points: &[f32], d: usize) -> Corners {
    let along = |k: usize| points.iter().skip(k).step_by(d);
    (0..d).map(|k| along(k).fold((f32::MAX, f32::MIN), |(a, b), x| (a.min(*x), b.max(*x)))).collect()
}

/// Squared distance of two boxes.
fn gap(a: &Corners, b: &Corners) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a.0 - b.1).max(b.0 - a.1).max(0.0).powi(2)).sum()
}

/// The bins in grains.
struct Bins {
    p: usize,
    d: usize,
    /// `[dimension][pitch]`.
    centers: Vec<f32>,
    pitch: usize,
    grains: Vec<Corners>,
}

impl Bins {
    fn new(bins: &[f32], d: usize) -> Self {
        let p = bins.len() / d;
        let pitch = p.next_multiple_of(GRAIN);
        let mut centers = vec![0.0; d * pitch];
        for (q, bin) in bins.chunks_exact(d).enumerate() {
            for (k, x) in bin.iter().enumerate() {
                centers[k * pitch + q] = *x;
            }
        }
        Self { p, d, centers, pitch, grains: bins.chunks(GRAIN * d).map(|b| corners(b, d)).collect() }
    }
}

/// Kernels of a block, kept from task to task.
#[derive(Default)]
struct Scratch {
    left: Vec<f32>,
    right: Vec<f32>,
}

/// What a task works with.
struct Work<'a> {
    enc: Encoding<'a>,
    panels: Panels,
    shifts: Vec<[f32; LANES]>,
    /// n × d.
    sites: &'a [f32],
    bins: &'a Bins,
    rows: usize,
    multiply: tile::Multiply,
    offsets: &'a [usize],
    left: Vec<f32>,
    right: Vec<f32>,
}

impl Work<'_> {
    fn place(&mut self, block: usize, grain: usize) {
        let Bins { d, centers, pitch, .. } = self.bins;
        let sites = &self.sites[block * BLOCK * d..];
        let sites = &sites[..sites.len().min(BLOCK * d)];
        places(sites, *d, &centers[grain * GRAIN..], *pitch, &mut self.right[grain * GRAIN..]);
    }

    /// Adds a block to `grains` grains of the (at most 8) rows from `row` on.
    fn add(&self, block: usize, row: usize, (grain, grains): (usize, usize), left: (&[f32], usize), out: &mut [f32]) {
        let (p, at) = (self.bins.p, grain * GRAIN);
        let n = BLOCK.min(self.sites.len() / self.bins.d - block * BLOCK);
        let tile = Tile {
            left: left.0.as_ptr(),
            left_pitch: left.1,
            right: self.right[at..].as_ptr(),
            offsets: &self.offsets[..n],
            out: out[row * p + at..].as_mut_ptr(),
            pitch: p,
            rows: ROWS.min(self.rows - row),
            cols: (grains * GRAIN).min(p - at),
            start: None,
        };
        assert!(left.0.len() >= (n - 1) * left.1 + ROWS && out.len() >= (row + tile.rows - 1) * p + at + tile.cols);
        // SAFETY: the lengths above; `right` holds COLS behind its last row.
        unsafe { (self.multiply)(&tile) };
    }
}

/// `out[spike][bin]` of a task.
fn sums(w: &mut Work<'_>, out: &mut [f32]) {
    let (p, rows, panels) = (w.bins.p, w.rows, w.panels.len);
    let n = w.sites.len() / w.bins.d;
    let gaps: Vec<Vec<f32>> = w
        .sites
        .chunks(BLOCK * w.bins.d)
        .map(|sites| {
            let here = corners(sites, w.bins.d);
            w.bins.grains.iter().map(|grain| gap(&here, grain)).collect()
        })
        .collect();
    let blocks = n.div_ceil(BLOCK);
    let grains = w.bins.grains.len();
    let mut totals = vec![[0f32; LANES]; blocks * panels];
    out.fill(0.0);
    for block in 0..blocks {
        let near: Vec<usize> = (0..grains).filter(|g| gaps[block][*g] <= NEAR).collect();
        near.iter().for_each(|g| w.place(block, *g));
        // Neighbouring grains go together.
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for g in near {
            match runs.last_mut() {
                Some((first, n)) if *first + *n == g && *n < COLS / GRAIN => *n += 1,
                _ => runs.push((g, 1)),
            }
        }
        let part = w.enc.block(block);
        let mut left = std::mem::take(&mut w.left);
        for panel in 0..panels {
            kernels(&part, w.panels.get(panel), &w.shifts[panel], &mut left, &mut totals[block * panels + panel]);
            for row in (panel * LANES..rows.min((panel + 1) * LANES)).step_by(ROWS) {
                for run in &runs {
                    w.add(block, row, *run, (&left[row % LANES..], LANES), out);
                }
            }
        }
        w.left = left;
    }

    // What is far can be seen only where the near sum is small.
    let unseen = UNSEEN / blocks as f32;
    let mut visible = vec![[0f32; LANES]; grains * panels];
    for (row, out) in out.chunks_exact(p).enumerate() {
        for (g, out) in out.chunks(GRAIN).enumerate() {
            visible[g * panels + row / LANES][row % LANES] = unseen * out.iter().copied().fold(f32::MAX, f32::min);
        }
    }
    let mut masked = vec![0f32; BLOCK * ROWS];
    for block in 0..blocks {
        let part = w.enc.block(block);
        let mut placed = vec![false; grains];
        for panel in 0..panels {
            let mut made = false;
            for g in (0..grains).filter(|g| gaps[block][*g] > NEAR) {
                let most = (RAISED - gaps[block][g]).exp2();
                let (total, visible) = (&totals[block * panels + panel], &visible[g * panels + panel]);
                let here = LANES.min(rows - panel * LANES);
                for row in (0..here).step_by(ROWS) {
                    let counts: [bool; ROWS] =
                        std::array::from_fn(|r| row + r < here && total[row + r] * most > visible[row + r]);
                    if !counts.contains(&true) {
                        continue;
                    }
                    let mut left = std::mem::take(&mut w.left);
                    if !made {
                        kernels(&part, w.panels.get(panel), &w.shifts[panel], &mut left, &mut [0.0; LANES]);
                        made = true;
                    }
                    if !placed[g] {
                        w.place(block, g);
                        placed[g] = true;
                    }
                    for (to, from) in masked.chunks_exact_mut(ROWS).zip(left.chunks_exact(LANES)) {
                        for r in 0..ROWS {
                            to[r] = if counts[r] { from[row + r] } else { 0.0 };
                        }
                    }
                    w.left = left;
                    w.add(block, panel * LANES + row, (g, 1), (&masked, ROWS), out);
                }
            }
        }
    }
}

/// A native device has one part.
pub(super) fn run(p: &Params, a: Host<'_>) {
    let (count, d) = (p.bins as usize, p.dims as usize);
    let bins = Bins::new(&a.centers[..count * d], d);
    let weights = &a.sites[p.weights_at as usize..];
    let out = Scattered::new(a.sums);
    let offsets: Vec<usize> = (0..BLOCK).map(|k| k * bins.pitch).collect();
    tasks(a.tiles, GROUP).par_iter().filter(|task| task.n > 0).for_each_init(
        Scratch::default,
        |scratch, task: &Task| {
            let (enc, panels) = sides(task, a.encoding, weights, a.marks, p.spikes as usize);
            let shifts = a.peaks[task.slot..][..task.slots].chunks(LANES).map(|peaks| {
                let mut shift = [0.0; LANES];
                for (shift, peak) in shift.iter_mut().zip(peaks) {
                    *shift = peak - RAISED;
                }
                shift
            });
            scratch.left.resize(BLOCK * LANES, 0.0);
            scratch.right.resize(BLOCK * bins.pitch + COLS, 0.0);
            let mut work = Work {
                enc,
                shifts: shifts.collect(),
                panels,
                sites: &a.sites[task.first * d..][..task.n * d],
                bins: &bins,
                rows: task.slots,
                multiply: tile::best(),
                offsets: &offsets,
                left: std::mem::take(&mut scratch.left),
                right: std::mem::take(&mut scratch.right),
            };
            // SAFETY: no two tasks share a slot.
            let out = unsafe { out.part(task.slot * count, task.slots * count) };
            sums(&mut work, out);
            *scratch = Scratch { left: work.left, right: work.right };
        },
    );
}
