//! Twin of `shaders/kde_band.wgsl`.
//!
//! Bound by multiply-adds where the nodes of a tile stay in the second cache.

#![allow(
    clippy::needless_range_loop,
    reason = "vectors and members index several arrays; closures are not inlined here"
)]

use rayon::prelude::*;

use super::kde_scatter::TILE;
use super::marks::LANES;
use super::parallel::Scattered;
use super::vector::{Vector, for_each_instruction_set};
use crate::kernel::kde_band::{Host, Params};

/// Outputs of a group.
const MEMBERS: usize = 4;
/// Vectors of slots that are computed together.
const H: usize = 2;

/// All groups of one line for LANES slots.
struct Line<'a> {
    /// From the line's first node and the first of these slots on.
    nodes: &'a [f32],
    /// Elements from one node of a window to the next.
    step: usize,
    windows: &'a [u32],
    coefficients: &'a [[f32; MEMBERS]],
    taps: usize,
    scale: f32,
    /// `[group][member][LANES]`.
    out: &'a mut [f32],
}

#[inline(always)]
unsafe fn line_body<V: Vector>(l: &mut Line<'_>) {
    for (g, window) in l.windows.iter().enumerate() {
        let rows = &l.coefficients[g * l.taps..][..l.taps];
        let first = *window as usize * TILE;
        assert!(first + (l.taps - 1) * l.step + LANES <= l.nodes.len() && (g + 1) * MEMBERS * LANES <= l.out.len());
        for lane in (0..LANES).step_by(H * V::N) {
            // SAFETY: the caller's promise; nodes and outputs are in range as just checked.
            unsafe {
                let mut at = l.nodes.as_ptr().add(first + lane);
                let mut sum = [[V::splat(0.0); H]; MEMBERS];
                for row in rows {
                    let mut v = [V::splat(0.0); H];
                    for h in 0..H {
                        v[h] = V::load(at.add(h * V::N));
                    }
                    for m in 0..MEMBERS {
                        let c = V::splat(row[m]);
                        for h in 0..H {
                            sum[m][h] = sum[m][h].add_product(v[h], c);
                        }
                    }
                    at = at.wrapping_add(l.step);
                }
                let out = l.out.as_mut_ptr().add(g * MEMBERS * LANES + lane);
                for m in 0..MEMBERS {
                    for h in 0..H {
                        V::splat(0.0).add_product(sum[m][h], V::splat(l.scale)).store(out.add(m * LANES + h * V::N));
                    }
                }
            }
        }
    }
}
for_each_instruction_set! { fn line_of(l: &mut Line<'_>) = line_body }

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (outputs, lines) = (p.outputs as usize, p.lines as usize);
    let (tile_nodes, groups) = (p.tile as usize * TILE, p.groups as usize);
    let tiles: Vec<&[[u32; 4]]> =
        a.tiles.chunks_exact(2).skip(p.first_tile as usize).take(a.nodes.len() / tile_nodes).collect();
    let to = Scattered::new(a.to);
    tiles.par_iter().enumerate().for_each_init(
        || vec![0f32; groups * MEMBERS * LANES],
        |out, (t, tile)| {
            let (slot0, count, n) = (tile[0][0] as usize, tile[0][1] as usize, tile[0][3] as usize);
            if count == 0 || n == 0 {
                return;
            }
            let nodes = &a.nodes[t * tile_nodes..][..tile_nodes];
            for first in 0..lines {
                for lane in (0..count).step_by(LANES) {
                    line_of(&mut Line {
                        nodes: &nodes[first * p.line as usize * TILE + lane..],
                        step: p.step as usize * TILE,
                        windows: a.windows,
                        coefficients: a.coefficients,
                        taps: p.taps as usize,
                        scale: p.scale,
                        out,
                    });
                    if p.last == 0 {
                        for (members, out) in a.members.iter().zip(out.chunks_exact(MEMBERS * LANES)) {
                            for (name, out) in members.iter().zip(out.chunks_exact(LANES)) {
                                if (*name as usize) < outputs {
                                    let at = ((t * lines + first) * outputs + *name as usize) * TILE + lane;
                                    // SAFETY: no two tiles share a line.
                                    unsafe { to.part(at, LANES) }.copy_from_slice(out);
                                }
                            }
                        }
                        continue;
                    }
                    // SAFETY: no two tiles share a slot.
                    let rows = unsafe { to.part((slot0 + lane) * outputs, LANES.min(count - lane) * outputs) };
                    for (members, out) in a.members.iter().zip(out.chunks_exact(MEMBERS * LANES)) {
                        for (s, row) in rows.chunks_exact_mut(outputs).enumerate() {
                            for (m, name) in members.iter().enumerate() {
                                if let Some(to) = row.get_mut(*name as usize) {
                                    *to = out[m * LANES + s];
                                }
                            }
                        }
                    }
                }
            }
        },
    );
}
