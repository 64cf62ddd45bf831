//! Twin of `shaders/kde_scatter.wgsl`.
//!
//! Bound by vector operations: for 16 decoding spikes and an encoding spike, with 4 mark dimensions and quintic splines
//! in one position dimension, 9 for the distance, 11 for the power, 6 for the moments and 10 to keep the three steps
//! apart, each over 64 encoding spikes: in one loop the latency of the power would be the bound instead.

#![allow(
    clippy::needless_range_loop,
    reason = "vectors and members index several arrays; closures are not inlined here"
)]

use rayon::prelude::*;

use super::marks::{LANES, Panels, Task, panels};
use super::parallel::Scattered;
use super::vector::{Vector, for_each_instruction_set};
use crate::kernel::kde_scatter::{Host, Params};

/// Slots of a tile, side by side.
pub(super) const TILE: usize = 128;
/// Encoding spikes that go through the three steps together.
const BLOCK: usize = 64;
/// Vectors of slots that are computed together.
const H: usize = 2;
/// log2 of the factor on mark kernels.
const RAISED: f32 = 52.0;

/// The encoding spikes of an electrode.
#[derive(Default)]
struct Spikes {
    /// The first node of each.
    base: Vec<u32>,
    /// What it gives to the nodes in x, and in y.
    across: Vec<f32>,
    down: Vec<f32>,
}

/// The weights of a spike at fraction t of its cell: a cubic by its four pieces, and from it by de Boor's recurrence a
/// quintic. All terms are positive.
fn taps(t: f32, out: &mut [f32]) {
    let u = 1.0 - t;
    let w = [
        u * u * u * (1.0 / 6.0),
        (1.0 + 3.0 * u * (1.0 + u * t)) * (1.0 / 6.0),
        (1.0 + 3.0 * t * (1.0 + t * u)) * (1.0 / 6.0),
        t * t * t * (1.0 / 6.0),
    ];
    if out.len() == 4 {
        out.copy_from_slice(&w);
        return;
    }
    let w = [
        0.25 * u * w[0],
        0.25 * ((t + 3.0) * w[0] + (2.0 - t) * w[1]),
        0.25 * ((t + 2.0) * w[1] + (3.0 - t) * w[2]),
        0.25 * ((t + 1.0) * w[2] + (4.0 - t) * w[3]),
        0.25 * t * w[3],
    ];
    out[0] = 0.2 * u * w[0];
    for k in 1..5 {
        out[k] = 0.2 * ((t + (5 - k) as f32) * w[k - 1] + ((k + 1) as f32 - t) * w[k]);
    }
    out[5] = 0.2 * t * w[4];
}

impl Spikes {
    fn new(p: &Params, places: &[[f32; 4]], offsets: &[u32]) -> Self {
        let width = p.taps as usize;
        let along = |axis: usize| {
            let mut weights = vec![0.0; places.len() * width];
            let task = (weights.par_chunks_mut(1024 * width)).zip(places.par_chunks(1024));
            task.for_each(|(weights, places)| {
                for (out, place) in weights.chunks_exact_mut(width).zip(places) {
                    taps(place[axis], out);
                }
            });
            weights
        };
        let mut base = vec![0; places.len()];
        for (c, run) in offsets.windows(2).enumerate() {
            let (x, y) = (c as u32 / p.cells_y, c as u32 % p.cells_y);
            base[run[0] as usize..run[1] as usize].fill(y * p.pitch + x);
        }
        Self { base, across: along(0), down: if p.taps_y > 1 { along(1) } else { Vec::new() } }
    }
}

/// One tile's work.
struct Scatter<'a> {
    spikes: &'a Spikes,
    /// `[encoding spike, stride]`.
    encoding: &'a [f32],
    stride: usize,
    places: &'a [[f32; 4]],
    panels: &'a Panels,
    /// The exponents to take off, `[panel][LANES]`.
    shifts: &'a [f32],
    pitch: usize,
    nodes: &'a mut [f32],
}

#[inline(always)]
unsafe fn exponents_of<V: Vector, const D: usize>(
    encoding: &[f32],
    stride: usize,
    places: &[[f32; 4]],
    x: &[f32],
    shift: &[f32],
    out: &mut [f32],
) {
    let dims = x.len() / LANES;
    assert!(stride >= dims && (D == 0 || dims == D) && shift.len() == LANES);
    assert!(encoding.len() >= places.len() * stride && out.len() >= places.len() * LANES);
    // SAFETY: the caller's promise, and the lengths above.
    unsafe {
        for lane in (0..LANES).step_by(H * V::N) {
            let mut shifts = [V::splat(0.0); H];
            let mut own = [[V::splat(0.0); D]; H];
            for h in 0..H {
                shifts[h] = V::load(shift.as_ptr().add(lane + h * V::N));
                for k in 0..D {
                    own[h][k] = V::load(x.as_ptr().add(k * LANES + lane + h * V::N));
                }
            }
            let (mut y, mut to) = (encoding.as_ptr(), out.as_mut_ptr().add(lane));
            for place in places {
                let w = V::splat(place[3]);
                let mut a = [w; H];
                for h in 0..H {
                    a[h] = w.sub(shifts[h]);
                }
                for k in 0..D {
                    let v = V::splat(*y.add(k));
                    for h in 0..H {
                        let e = own[h][k].sub(v);
                        a[h] = a[h].sub_product(e, e);
                    }
                }
                for k in D..dims {
                    let v = V::splat(*y.add(k));
                    for h in 0..H {
                        let e = V::load(x.as_ptr().add(k * LANES + lane + h * V::N)).sub(v);
                        a[h] = a[h].sub_product(e, e);
                    }
                }
                for h in 0..H {
                    a[h].store(to.add(h * V::N));
                }
                y = y.add(stride);
                to = to.add(LANES);
            }
        }
    }
}
#[inline(always)]
unsafe fn exponents_body<V: Vector>(
    encoding: &[f32],
    stride: usize,
    places: &[[f32; 4]],
    x: &[f32],
    shift: &[f32],
    out: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match x.len() / LANES {
            1 => exponents_of::<V, 1>(encoding, stride, places, x, shift, out),
            2 => exponents_of::<V, 2>(encoding, stride, places, x, shift, out),
            3 => exponents_of::<V, 3>(encoding, stride, places, x, shift, out),
            4 => exponents_of::<V, 4>(encoding, stride, places, x, shift, out),
            5 => exponents_of::<V, 5>(encoding, stride, places, x, shift, out),
            6 => exponents_of::<V, 6>(encoding, stride, places, x, shift, out),
            8 => exponents_of::<V, 8>(encoding, stride, places, x, shift, out),
            _ => exponents_of::<V, 0>(encoding, stride, places, x, shift, out),
        }
    }
}
for_each_instruction_set! {
    /// The first step: `out[i][lane]` = log2 w_i − |m_i − m_lane|² − shift of the encoding spikes of a block and a panel.
    fn exponents(encoding: &[f32], stride: usize, places: &[[f32; 4]], x: &[f32], shift: &[f32], out: &mut [f32])
        = exponents_body
}

#[inline(always)]
unsafe fn powers_body<V: Vector>(x: &mut [f32]) {
    assert!(x.len().is_multiple_of(LANES));
    // SAFETY: the caller's promise; LANES are a multiple of 2·N.
    unsafe {
        for at in (0..x.len()).step_by(2 * V::N) {
            let at = x.as_mut_ptr().add(at);
            let (a, b) = (V::load(at).exp2(), V::load(at.add(V::N)).exp2());
            a.store(at);
            b.store(at.add(V::N));
        }
    }
}
for_each_instruction_set! {
    /// The second step: 2 to these powers.
    fn powers(x: &mut [f32]) = powers_body
}

/// The last step: mark kernels of a block onto nodes from `nodes` on, which are those of a panel's slots in `TILE`.
/// `products` has each spike's weights for the nodes of its cell, R rows of W.
#[inline(always)]
unsafe fn moments<V: Vector, const W: usize, const R: usize>(
    base: &[u32],
    products: &[f32],
    kernels: &[f32],
    pitch: usize,
    nodes: &mut [f32],
) {
    let n = base.len();
    assert!(products.len() >= n * R * W && kernels.len() >= n * LANES);
    let mut j = 0;
    while j < n {
        let first = base[j] as usize;
        let run = base[j..].iter().take_while(|b| **b == base[j]).count();
        assert!((first + (R - 1) * pitch + W - 1) * TILE + LANES <= nodes.len());
        for lane in (0..LANES).step_by(H * V::N) {
            for row in 0..R {
                // SAFETY: the caller's promise, and the lengths above.
                unsafe {
                    let mut sum = [[V::splat(0.0); W]; H];
                    let mut a = kernels.as_ptr().add(j * LANES + lane);
                    let mut b = products.as_ptr().add((j * R + row) * W);
                    for _ in 0..run {
                        let mut v = [V::splat(0.0); H];
                        for h in 0..H {
                            v[h] = V::load(a.add(h * V::N));
                        }
                        for t in 0..W {
                            let b = V::splat(*b.add(t));
                            for h in 0..H {
                                sum[h][t] = sum[h][t].add_product(v[h], b);
                            }
                        }
                        a = a.add(LANES);
                        b = b.add(R * W);
                    }
                    let at = nodes.as_mut_ptr().add((first + row * pitch) * TILE + lane);
                    for t in 0..W {
                        for h in 0..H {
                            let at = at.add(t * TILE + h * V::N);
                            V::load(at).add(sum[h][t]).store(at);
                        }
                    }
                }
            }
        }
        j += run;
    }
}

#[inline(always)]
unsafe fn tile_of<V: Vector, const W: usize, const R: usize>(s: &mut Scatter<'_>) {
    let mut kernels = [0f32; BLOCK * LANES];
    let mut products = [0f32; BLOCK * 36];
    for (block, places) in s.places.chunks(BLOCK).enumerate() {
        let (first, n) = (block * BLOCK, places.len());
        let across = &s.spikes.across[first * W..][..n * W];
        if R > 1 {
            let down = &s.spikes.down[first * W..][..n * W];
            for j in 0..n {
                for row in 0..R {
                    for t in 0..W {
                        products[(j * R + row) * W + t] = across[j * W + t] * down[j * W + row];
                    }
                }
            }
        }
        for panel in 0..s.panels.len {
            let x = s.panels.get(panel);
            let kernels = &mut kernels[..n * LANES];
            exponents(
                &s.encoding[first * s.stride..],
                s.stride,
                places,
                x,
                &s.shifts[panel * LANES..][..LANES],
                kernels,
            );
            powers(kernels);
            let base = &s.spikes.base[first..][..n];
            let nodes = &mut s.nodes[panel * LANES..];
            // SAFETY: the caller's promise.
            unsafe { moments::<V, W, R>(base, if R > 1 { &products } else { across }, kernels, s.pitch, nodes) };
        }
    }
}

#[inline(always)]
unsafe fn cubic_line<V: Vector>(s: &mut Scatter<'_>) {
    // SAFETY: the caller's promise, here and below.
    unsafe { tile_of::<V, 4, 1>(s) }
}
#[inline(always)]
unsafe fn cubic_plane<V: Vector>(s: &mut Scatter<'_>) {
    unsafe { tile_of::<V, 4, 4>(s) }
}
#[inline(always)]
unsafe fn quintic_line<V: Vector>(s: &mut Scatter<'_>) {
    unsafe { tile_of::<V, 6, 1>(s) }
}
#[inline(always)]
unsafe fn quintic_plane<V: Vector>(s: &mut Scatter<'_>) {
    unsafe { tile_of::<V, 6, 6>(s) }
}
for_each_instruction_set! { fn scatter_cubic_line(s: &mut Scatter<'_>) = cubic_line }
for_each_instruction_set! { fn scatter_cubic_plane(s: &mut Scatter<'_>) = cubic_plane }
for_each_instruction_set! { fn scatter_quintic_line(s: &mut Scatter<'_>) = quintic_line }
for_each_instruction_set! { fn scatter_quintic_plane(s: &mut Scatter<'_>) = quintic_plane }

/// A native device has one range.
pub(super) fn run(p: &Params, a: Host<'_>) {
    let rows = (p.cells_y + p.taps_y - 1) as usize;
    let tile_nodes = rows * p.pitch as usize * TILE;
    let cells = (p.cells_x * p.cells_y) as usize + 1;
    let tiles: Vec<&[[u32; 4]]> =
        a.tiles.chunks_exact(2).skip(p.first_tile as usize).take(a.nodes.len() / tile_nodes).collect();
    let electrode = |tile: &[[u32; 4]]| (tile[1][3] - p.first_electrode) as usize;
    let places = |tile: &[[u32; 4]]| &a.places[tile[0][2] as usize..][..tile[0][3] as usize];

    let mut heads: Vec<Option<&[[u32; 4]]>> = vec![None; a.offsets.len() / cells];
    for tile in tiles.iter().filter(|t| t[0][1] > 0 && t[0][3] > 0) {
        heads[electrode(tile)] = Some(tile);
    }
    let spikes: Vec<Spikes> = heads
        .par_iter()
        .enumerate()
        .map(|(e, head)| match head {
            Some(tile) => Spikes::new(p, places(tile), &a.offsets[e * cells..][..cells]),
            None => Spikes::default(),
        })
        .collect();

    let nodes = Scattered::new(a.nodes);
    tiles.par_iter().enumerate().for_each(|(t, tile)| {
        let (slot0, count, n) = (tile[0][0] as usize, tile[0][1] as usize, tile[0][3] as usize);
        if count == 0 || n == 0 {
            return;
        }
        let (encoding, stride, panels) = panels(&Task::of(tile), a.encoding, a.marks, p.spikes as usize);
        let mut shifts = vec![0f32; panels.len * LANES];
        for (shift, peak) in shifts.iter_mut().zip(&a.peaks[slot0..][..count]) {
            *shift = peak - RAISED;
        }
        // SAFETY: no two tiles share nodes.
        let nodes = unsafe { nodes.part(t * tile_nodes, tile_nodes) };
        nodes.fill(0.0);
        let mut scatter = Scatter {
            spikes: &spikes[electrode(tile)],
            encoding,
            stride,
            places: places(tile),
            panels: &panels,
            shifts: &shifts,
            pitch: p.pitch as usize,
            nodes,
        };
        match (p.taps, p.taps_y) {
            (4, 1) => scatter_cubic_line(&mut scatter),
            (4, _) => scatter_cubic_plane(&mut scatter),
            (_, 1) => scatter_quintic_line(&mut scatter),
            _ => scatter_quintic_plane(&mut scatter),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splines_add_up_to_one_and_reproduce_polynomials_of_their_order() {
        for width in [4usize, 6] {
            let order = width as i32 - 1;
            // Node j of a cell lies at j − (order − 1)/2. What splines make of the nodes' powers of degree d differs from
            // the power at t by a polynomial of lower degree, the same in every cell; its (d + 1)-th difference is 0.
            for degree in 0..=order {
                let mut values: Vec<f64> = (0..12)
                    .map(|i| {
                        let x = f64::from(i) * 0.37;
                        let mut w = [0f32; 6];
                        taps((x - x.floor()) as f32, &mut w[..width]);
                        let node = |j: usize| x.floor() + j as f64 - f64::from(order - 1) / 2.0;
                        w[..width].iter().enumerate().map(|(j, w)| f64::from(*w) * node(j).powi(degree)).sum()
                    })
                    .collect();
                if degree <= 1 {
                    for (i, v) in values.iter().enumerate() {
                        let exact = (i as f64 * 0.37).powi(degree);
                        assert!((v - exact).abs() < 2e-6, "degree {degree} at {i}: {v} for {exact}");
                    }
                }
                let largest = values.iter().fold(1f64, |m, v| m.max(v.abs()));
                for _ in 0..=degree {
                    values = values.windows(2).map(|v| v[1] - v[0]).collect();
                }
                for v in values {
                    assert!(v.abs() < 2e-6 * largest, "order {order}, degree {degree}: {v}");
                }
            }
        }
    }
}
