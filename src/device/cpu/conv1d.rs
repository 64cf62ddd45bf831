//! Twin of `shaders/conv1d.wgsl`.
//!
//! A matrix product whose right side is never written out. For stride s the padded signal is split into its s phases,
//! in which the positions that meet one tap lie side by side; tap after tap then reads the same few lines, shifted.
//! Blocks of the sum are taken so that a block of filters stays in the second-level cache and a block of the signal
//! beside it.

use std::cell::RefCell;

use rayon::prelude::*;

use super::parallel::{Scattered, multiversioned};
use super::tile::{self, COLS, ROWS, Tile};
use crate::kernel::conv1d::{Host, Params};

/// Terms of a block of the sum: 8 filters of so many are 9 KiB, and as much signal for 48 positions joins them in the
/// first-level cache.
const BLOCK_K: usize = 288;
/// What the signal of a task may take for one block of the sum, so that it stays in the second-level cache beside the
/// filters.
const TASK_BYTES: usize = 200 << 10;
/// Multiply-adds that are worth a task of their own: some 10 µs.
const TASK_WORK: usize = 1 << 20;

thread_local! {
    /// The phases of a thread's part of the signal, kept so that a call finds its memory.
    static PHASES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

multiversioned! {
    /// Every `stride`-th element of `x`.
    fn gather(x: &[f32], stride: usize, y: &mut [f32]) {
        match stride {
            1 => y.copy_from_slice(&x[..y.len()]),
            2 => {
                let whole = y.len() - 1;
                for (y, x) in y[..whole].iter_mut().zip(x.chunks_exact(2)) {
                    *y = x[0];
                }
                y[whole] = x[2 * whole];
            }
            _ => {
                for (y, x) in y.iter_mut().zip(x.iter().step_by(stride)) {
                    *y = *x;
                }
            }
        }
    }
}

/// Phase `phase` of `x` behind `pad` zeros and before endless ones, from position `from` of the phase on.
fn phase_of(x: &[f32], stride: usize, pad: usize, phase: usize, from: usize, y: &mut [f32]) {
    // Position j is sample j·stride + phase − pad.
    let lead = (pad.saturating_sub(phase)).div_ceil(stride).saturating_sub(from).min(y.len());
    let first = ((from + lead) * stride + phase).saturating_sub(pad);
    let count = x.len().saturating_sub(first).div_ceil(stride).min(y.len() - lead);
    y[..lead].fill(0.0);
    if count > 0 {
        gather(&x[first..], stride, &mut y[lead..lead + count]);
    }
    y[lead + count..].fill(0.0);
}

/// Where the taps read: the phases that any tap needs, and for each tap which of them and how far along it.
struct Taps {
    phases: Vec<usize>,
    at: Vec<(usize, usize)>,
    reach: usize,
}

impl Taps {
    fn new(p: &Params) -> Self {
        let (stride, dilation) = (p.stride as usize, p.dilation as usize);
        let mut taps = Self { phases: Vec::new(), at: Vec::new(), reach: 0 };
        for tap in 0..p.taps as usize {
            let (phase, shift) = (tap * dilation % stride, tap * dilation / stride);
            let slot = taps.phases.iter().position(|q| *q == phase).unwrap_or(taps.phases.len());
            if slot == taps.phases.len() {
                taps.phases.push(phase);
            }
            taps.at.push((slot, shift));
            taps.reach = taps.reach.max(shift);
        }
        taps
    }
}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n_out, c_out, groups) = (p.n_out as usize, p.c_out as usize, p.groups as usize);
    let batch = a.y.len() / (n_out * c_out * groups);
    let (tiles, panels) = (n_out.div_ceil(COLS), c_out.div_ceil(ROWS));
    let work = a.y.len() * p.k_count as usize;
    let taps = Taps::new(p);
    // Parts never change a result: each output is one sum in one order, whoever computes it.
    let threads = rayon::current_num_threads();
    let units = batch * groups;
    let wanted = (work / TASK_WORK).clamp(1, 4 * threads).div_ceil(units);
    let tile_bytes = (BLOCK_K / p.taps as usize).clamp(1, p.c_in as usize) * taps.phases.len() * COLS * 4;
    let across = tiles.div_ceil((TASK_BYTES / tile_bytes).max(8)).max(wanted.min(2 * threads));
    let across = if across > 1 { across.next_multiple_of(threads) } else { 1 }.min(tiles);
    let down = wanted.div_ceil(across).min(panels);
    let multiply = tile::best();
    let target = Scattered::new(a.y);
    (0..units * across * down).into_par_iter().with_max_len(1).for_each(|task| {
        let (unit, n, m) = (task / (across * down), task / down % across, task % down);
        let part = Part {
            unit,
            group: unit % groups,
            tiles: n * tiles / across..(n + 1) * tiles / across,
            panels: m * panels / down..(m + 1) * panels / down,
        };
        PHASES.with_borrow_mut(|memory| {
            // SAFETY: the parts of the tasks are disjoint, and the op has made `y` as large as they are together.
            unsafe { part.run(p, &a, &target, &taps, multiply, memory) }
        });
    });
}

/// What a task computes: some positions of some channels of one group of one signal.
struct Part {
    /// Signal and group.
    unit: usize,
    group: usize,
    tiles: std::ops::Range<usize>,
    panels: std::ops::Range<usize>,
}

impl Part {
    /// # Safety
    /// `y` holds all channels and positions, and nothing else reads or writes those of this part.
    unsafe fn run(
        &self,
        p: &Params,
        a: &Host<'_>,
        y: &Scattered<f32>,
        taps: &Taps,
        multiply: tile::Multiply,
        memory: &mut Vec<f32>,
    ) {
        let (n_in, n_out, c_in, c_out) = (p.n_in as usize, p.n_out as usize, p.c_in as usize, p.c_out as usize);
        let (count, stride) = (p.taps as usize, p.stride as usize);
        let from = self.tiles.start * COLS;
        // An odd number of 64-byte lines: rows of the signal then fall into different sets of the cache.
        let pitch = ((self.tiles.len() * COLS + taps.reach).div_ceil(16) | 1) * 16;
        let block_k = if count < BLOCK_K { BLOCK_K / count * count } else { BLOCK_K };
        let panel_size = c_in * count * ROWS;
        let panels = c_out.div_ceil(ROWS);
        let (mut k, end) = (p.k_first as usize, (p.k_first + p.k_count) as usize);
        let mut offsets = Vec::with_capacity(block_k);
        while k < end {
            // Whole channels where a block holds several, so that no channel is laid out twice.
            let next = end.min(if count < BLOCK_K { (k / count * count) + block_k } else { k + block_k });
            let channels = k / count..(next - 1) / count + 1;
            let size = channels.len() * taps.phases.len() * pitch;
            if memory.len() < size + 16 {
                memory.resize(size + 16, 0.0);
            }
            let skip = memory.as_ptr().align_offset(64).min(16);
            let rows = &mut memory[skip..skip + size];
            for (row, y) in rows.chunks_exact_mut(pitch).enumerate() {
                let (channel, phase) = (channels.start + row / taps.phases.len(), row % taps.phases.len());
                let x = &a.x[(self.unit * c_in + channel) * n_in..][..n_in];
                phase_of(x, stride, p.pad as usize, taps.phases[phase], from, y);
            }
            offsets.clear();
            offsets.extend((k..next).map(|k| {
                let (slot, shift) = taps.at[k % count];
                ((k / count - channels.start) * taps.phases.len() + slot) * pitch + shift
            }));
            let first = k == p.k_first as usize && p.flags & 2 == 0;
            let one = |tile: usize, panel: usize| {
                let (t, m) = (tile * COLS, panel * ROWS);
                let start = first.then(|| {
                    std::array::from_fn(|r| {
                        if p.flags & 1 != 0 && m + r < c_out { a.bias[self.group * c_out + m + r] } else { 0.0 }
                    })
                });
                // SAFETY: a tile reads `reach + COLS` elements from its first, within a row's pitch; the filters of a
                // panel are `panel_size` long; the output is the caller's promise.
                unsafe {
                    multiply(&Tile {
                        left: a.w[(self.group * panels + panel) * panel_size + k * ROWS..].as_ptr(),
                        left_pitch: ROWS,
                        right: rows[t - from..].as_ptr(),
                        offsets: &offsets,
                        out: y.at((self.unit * c_out + m) * n_out + t),
                        pitch: n_out,
                        rows: ROWS.min(c_out - m),
                        cols: COLS.min(n_out - t),
                        start,
                    });
                }
            };
            if end - p.k_first as usize <= 64 {
                // A short sum is bound by writing: along the positions.
                for panel in self.panels.clone() {
                    self.tiles.clone().for_each(|tile| one(tile, panel));
                }
            } else {
                for tile in self.tiles.clone() {
                    self.panels.clone().for_each(|panel| one(tile, panel));
                }
            }
            k = next;
        }
    }
}
