//! Sums of kernels over a grid: mark kernels scattered onto B-spline nodes, then a fixed banded kernel.
//!
//! The position kernel of an encoding spike at x and a bin at p is written in B-splines around the spike,
//! `2^(−|x − p|²) ≈ Σ_g β((x − u_g)/h)·C_p[g]`, u_g being nodes h apart and C_p the coefficients with which the splines
//! interpolate the Gaussian around the bin at every node. Then
//!
//! `Σ_i A_i·2^(−|x_i − p|²) ≈ Σ_g C_p[g]·(Σ_i A_i·β((x_i − u_g)/h))`:
//!
//! the inner sum (`kde_scatter`) costs n + 1 multiply-adds a direction for each pair of spikes, n being the order of the
//! spline, instead of one for every bin; the outer one (`kde_band`) does not depend on how many encoding spikes there
//! are. In two dimensions both factors are products of one in x and one in y.
//!
//! Error. Where a bin lies λ standard deviations from the spikes that count there, the Gaussian falls by e^κ from node to
//! node, κ = λ·h/σ, and the spline misses it by about κ^(n+1)/384 (n = 3) or κ^(n+1)/46080 (n = 5) of its own value: the
//! first term of the error of spline interpolation (P. Thévenaz, T. Blu, M. Unser, IEEE Trans. Med. Imaging 19 (2000)
//! 739, doi:10.1109/42.875199). The error is thus relative at every depth, not relative to the largest value.

use super::kde::{KDE_SCALE, KdeElectrode};
use crate::kernel::{self, Tensor};
use crate::recording::{Capabilities, Recording};
use crate::{Error, Result};

/// Slots of a tile.
const TILE: usize = 128;
/// Outputs that share a window of nodes.
const MEMBERS: usize = 4;
/// Scaled distance beyond which a kernel is below 2^-177, which no sum that is trusted can show.
const REACH: f64 = 13.31;
/// Nodes computed past the reach, by which the unknown value at the end has lost its influence.
const MARGIN: i64 = 16;
/// The factor on the coefficients of each direction.
const RAISED: f64 = (1u64 << 52) as f64;
/// Bytes of node values on a native device: they should stay in the shared cache between the two kernels.
const NATIVE_NODES: usize = 24 << 20;
/// Bytes of node values on a GPU.
const GPU_NODES: usize = 256 << 20;

/// The grid and the splines of the gridded method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridSpec {
    /// Order of the splines: 3 or 5.
    pub order: usize,
    /// Nodes for each standard deviation of the position kernel, 1 to 32.
    pub per_sigma: f64,
}

impl GridSpec {
    /// The relative error of a kernel `depth` standard deviations from its centre, in one direction: within a factor of two
    /// of what it is at worst, for two and more nodes a standard deviation.
    pub fn predicted_error(&self, depth: f64) -> f64 {
        let power = self.order as i32 + 1;
        let step = self.per_sigma.recip();
        // The second term, with its own correction for coarse grids, is what is left at the centre.
        let (constant, least) = match self.order {
            3 => (384.0, 3.0 * (1.0 + 1.5 * step * step)),
            _ => (46_080.0, 54.0 * (1.0 + 5.0 * step * step)),
        };
        (depth.powi(power) + least) * step.powi(power) / constant
    }

    /// The grids that keep log intensities within `tolerance` nats, the cheapest first, at twice the predicted error.
    ///
    /// A sum of n kernels that is read off a grid is at least n·2^-48 of what its spike's best would give ([`Kde`] adds up
    /// smaller ones in logarithms). Kernels deeper than λ = √(2 ln(2^48/tolerance)) standard deviations are less than the
    /// tolerance of such a sum, whatever their error, and the others have at most that of depth λ: nine standard deviations
    /// for 1e-3. The list is empty for a tolerance below what f32 arithmetic gives (2e-5).
    ///
    /// [`Kde`]: super::Kde
    ///
    /// # Errors
    /// `InvalidArgument` for a tolerance that is not above 0 and below 1, `Unsupported` for positions of other than one or
    /// two dimensions.
    pub fn for_tolerance(tolerance: f64, position_dims: usize) -> Result<Vec<Self>> {
        if !(tolerance > 0.0 && tolerance < 1.0) {
            return Err(Error::invalid("tolerance", format!("{tolerance} nats; must be above 0 and below 1")));
        }
        dims_supported(position_dims)?;
        if tolerance < 2e-5 {
            return Ok(Vec::new());
        }
        let depth = (2.0 * (2f64.powi(48) / tolerance).ln()).sqrt();
        // Errors of both directions add up.
        let share = tolerance / 2.0 / position_dims as f64;
        let grids = (4..=64).map(|halves| Self { order: 5, per_sigma: f64::from(halves) / 2.0 });
        let mut enough = grids.skip_while(|grid| grid.predicted_error(depth) > share);
        // Twice as fine in a second step, should samples find the first one wanting.
        let first = enough.next();
        let finer = first.map(|grid| Self { per_sigma: (2.0 * grid.per_sigma).min(32.0), ..grid });
        Ok(first.into_iter().chain(finer).collect())
    }

    fn check(&self, dims: usize) -> Result<()> {
        dims_supported(dims)?;
        let known = matches!(self.order, 3 | 5);
        if !(known && self.per_sigma >= 1.0 && self.per_sigma <= 32.0) {
            let why = format!(
                "order {}, {} nodes a standard deviation; the order must be 3 or 5, the nodes 1 to 32",
                self.order, self.per_sigma
            );
            return Err(Error::invalid("kde: grid", why));
        }
        Ok(())
    }

    /// Distance of nodes in scaled units.
    fn spacing(&self) -> f64 {
        KDE_SCALE / self.per_sigma
    }
}

fn dims_supported(dims: usize) -> Result<()> {
    if matches!(dims, 1 | 2) {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: "the gridded method".into(),
        need: "positions of one or two dimensions; the exact method takes any number".into(),
        have: format!("{dims} dimensions"),
    })
}

/// Solves y\[i\] − z·y\[i − 1\] = c\[i\] in place for values that rise to a peak and fall faster and faster behind it, with
/// |z| < 1: the solution that stays in proportion to `c` on both sides.
///
/// From the left, y\[i\] carries z^k of every value before it. Where `c` falls faster than |z|^k, what is carried over from
/// the peak would drown it, rounding errors first; but the equation is local, so that there it is solved from the right
/// end inwards, where each step loses the error of the one before.
fn one_sided(c: &mut [f64], z: f64) {
    let peak = (1..c.len()).fold(0, |m, i| if c[i] > c[m] { i } else { m });
    let joint = (peak + 1..c.len()).find(|i| z.abs() * c[i - 1] > c[*i]).unwrap_or(c.len());
    if let Some(last) = c.len().checked_sub(1).filter(|last| joint <= *last) {
        let mut from = c[last];
        c[last] = from / (1.0 - z * c[last - 1] / from);
        for i in (joint..last).rev() {
            let here = c[i];
            c[i] = (c[i + 1] - from) / z;
            from = here;
        }
    }
    for i in 1..joint {
        c[i] += z * c[i - 1];
    }
}

/// The coefficients C at nodes `first..first + out.len()` with which splines interpolate 2^(−(h(g − at))²) at every node
/// g; 0 where that is below 2^-177.
fn coefficients(spec: &GridSpec, at: f64, first: i64, out: &mut [f64]) {
    const CUBIC: [f64; 1] = [-0.267_949_192_431_122_7];
    const QUINTIC: [f64; 2] = [-0.430_575_347_099_973_8, -0.043_096_288_203_264_65];
    let poles: &[f64] = if spec.order == 3 { &CUBIC } else { &QUINTIC };
    let (h, reach) = (spec.spacing(), REACH / spec.spacing());
    let (near, far) = ((at - reach).ceil() as i64, (at + reach).floor() as i64);
    let begin = near - MARGIN;
    let values = (begin..=far + MARGIN).map(|g| {
        let d = (g as f64 - at) * h;
        (-d * d).exp2()
    });
    let mut c: Vec<f64> = values.collect();
    // The filter's transfer function is Π (1 − z)(1 − 1/z)/((1 − z·S⁻¹)(1 − z·S)) over the poles, S being a shift by one.
    for z in poles {
        let gain = (1.0 - z) * (1.0 - z);
        c.iter_mut().for_each(|v| *v *= gain);
        one_sided(&mut c, *z);
        c.reverse();
        one_sided(&mut c, *z);
        c.reverse();
    }
    for (g, out) in (first..).zip(out) {
        *out = if g >= near && g <= far { c[(g - begin) as usize] } else { 0.0 };
    }
}

/// One direction of the grid.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: f64,
    cells: usize,
    nodes: usize,
}

impl Axis {
    fn new(spec: &GridSpec, positions: impl Iterator<Item = f32>) -> Result<Self> {
        let (low, high) = positions.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x.into()), b.max(x.into())));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 0.0) };
        let cells = ((high - low) / spec.spacing()).floor() + 1.0;
        if cells > f64::from(1u32 << 22) {
            let why = format!("positions spread over {cells} cells; at most {}", 1u32 << 22);
            return Err(Error::invalid("kde: grid", why));
        }
        Ok(Self { low, cells: cells as usize, nodes: cells as usize + spec.order })
    }

    /// The cell of a position, and where in it, from 0 to 1.
    fn cell(&self, spec: &GridSpec, x: f32) -> (usize, f32) {
        let at = (f64::from(x) - self.low) / spec.spacing();
        let cell = (at as usize).min(self.cells - 1);
        (cell, (at - cell as f64) as f32)
    }

    /// A position in units of nodes. The nodes that a spike reaches begin with the number of its cell.
    fn node(&self, spec: &GridSpec, x: f32) -> f64 {
        (f64::from(x) - self.low) / spec.spacing() + (spec.order - 1) as f64 / 2.0
    }
}

/// Outputs of one direction, grouped by the windows of nodes that they read.
#[derive(Debug, Clone)]
struct Band {
    /// First node of each group's window.
    windows: Vec<u32>,
    members: Vec<[u32; MEMBERS]>,
    /// `[group, taps]`, one a member.
    coefficients: Vec<[f32; MEMBERS]>,
    taps: usize,
    outputs: usize,
}

impl Band {
    /// `outputs`: for each the place in units of nodes of this axis, and the line of nodes that it reads, which begins at
    /// `line · pitch` and goes on in steps of `step`; outputs of different lines are never grouped.
    fn new(spec: &GridSpec, axis: &Axis, outputs: &[(usize, f64)], step: usize) -> Self {
        let reach = REACH / spec.spacing();
        let full = ((2.0 * reach) as usize + 1).min(axis.nodes);
        let window = |at: f64| ((at - reach).ceil().max(0.0) as usize).min(axis.nodes - full);
        let mut order: Vec<usize> = (0..outputs.len()).collect();
        order.sort_by(|a, b| {
            let ((line_a, a_at), (line_b, b_at)) = (outputs[*a], outputs[*b]);
            line_a.cmp(&line_b).then(window(a_at).cmp(&window(b_at))).then(a.cmp(b))
        });
        // As many outputs of a line as lie close enough that their common window is not much larger than one's own.
        let slack = full / 8 + 4;
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for o in order {
            let (line, at) = outputs[o];
            let joins = |g: &Vec<usize>| {
                let (first_line, first_at) = outputs[g[0]];
                g.len() < MEMBERS && first_line == line && window(at) - window(first_at) <= slack
            };
            match groups.last_mut() {
                Some(g) if joins(g) => g.push(o),
                _ => groups.push(vec![o]),
            }
        }
        let spread = |g: &Vec<usize>| window(outputs[g[g.len() - 1]].1) - window(outputs[g[0]].1);
        let taps = full + groups.iter().map(spread).max().unwrap_or(0);
        let mut made = Self {
            windows: Vec::with_capacity(groups.len()),
            members: Vec::with_capacity(groups.len()),
            coefficients: vec![[0.0; MEMBERS]; groups.len() * taps],
            taps,
            outputs: outputs.len(),
        };
        let mut c = vec![0.0; taps];
        for (g, rows) in groups.iter().zip(made.coefficients.chunks_exact_mut(taps)) {
            let first = window(outputs[g[0]].1).min(axis.nodes - taps);
            made.windows.push((outputs[g[0]].0 + first * step) as u32);
            let mut members = [outputs.len() as u32; MEMBERS];
            for (m, o) in g.iter().enumerate() {
                members[m] = *o as u32;
                coefficients(spec, outputs[*o].1, first as i64, &mut c);
                for (row, c) in rows.iter_mut().zip(&c) {
                    let raised = (c * RAISED) as f32;
                    row[m] = if raised.abs() > 1e-37 { raised } else { 0.0 };
                }
            }
            made.members.push(members);
        }
        made
    }
}

/// A grid over all encoding spikes of a model, and how bins are read off it.
#[derive(Debug)]
pub(super) struct Grid {
    spec: GridSpec,
    x: Axis,
    /// For two dimensions.
    y: Option<Axis>,
    /// Node columns: odd, so that rows of nodes do not meet in the same places of a cache.
    pitch: usize,
    /// For one dimension nodes to bins, for two nodes to places that bins share in x.
    across: Band,
    /// For two dimensions from there to bins.
    down: Option<Band>,
}

/// An electrode's spikes in the order of the grid's cells.
#[derive(Debug)]
pub(super) struct Sorted {
    marks: Vec<f32>,
    positions: Vec<f32>,
    log2_weights: Vec<f32>,
}

impl Sorted {
    /// The electrode with its spikes in this order.
    pub(super) fn of<'a>(&'a self, electrode: &KdeElectrode<'_>) -> KdeElectrode<'a> {
        KdeElectrode {
            marks: &self.marks,
            dims: electrode.dims,
            positions: &self.positions,
            log2_weights: &self.log2_weights,
            constant: electrode.constant,
        }
    }
}

/// What the kernels need of electrodes that share tensors.
#[derive(Debug)]
pub(super) struct GridTables {
    places: Tensor<[f32; 4]>,
    offsets: Tensor<u32>,
    /// For each electrode where the spikes of each cell begin, and the end.
    cells: Vec<u32>,
    electrodes: usize,
}

/// The decoding side, as `kde_peak` left it.
pub(super) struct GridInputs {
    /// The first electrode of the group, and its tiles.
    pub first_electrode: usize,
    pub tiles: Tensor<[u32; 4]>,
    pub tile_count: usize,
    pub encoding: Tensor<[f32; 4]>,
    /// Vectors of the longest mark.
    pub quads: usize,
    pub marks: Tensor<[f32; 4]>,
    pub spikes: usize,
    pub peaks: Tensor<f32>,
    pub peak_parts: usize,
}

impl Grid {
    /// A grid over the positions of all electrodes, which must be finite and of whole dimensions, for these bins.
    ///
    /// # Errors
    /// `Unsupported` for other than one or two dimensions, `InvalidArgument` for a grid that cannot be.
    pub(super) fn new(spec: GridSpec, electrodes: &[KdeElectrode<'_>], dims: usize, bins: &[f32]) -> Result<Self> {
        spec.check(dims)?;
        let axis = |k: usize| {
            Axis::new(&spec, electrodes.iter().flat_map(|e| e.positions.iter().skip(k).step_by(dims).copied()))
        };
        let x = axis(0)?;
        if dims == 1 {
            let outputs: Vec<_> = bins.iter().map(|p| (0, x.node(&spec, *p))).collect();
            return Ok(Self {
                spec,
                x,
                y: None,
                pitch: x.nodes,
                across: Band::new(&spec, &x, &outputs, 1),
                down: None,
            });
        }
        let y = axis(1)?;
        let mut columns: Vec<f32> = bins.iter().step_by(2).copied().collect();
        columns.sort_by(f32::total_cmp);
        columns.dedup();
        let outputs: Vec<_> = columns.iter().map(|p| (0, x.node(&spec, *p))).collect();
        let across = Band::new(&spec, &x, &outputs, 1);
        let rows = bins.chunks_exact(2).map(|p| (columns.partition_point(|c| *c < p[0]), y.node(&spec, p[1])));
        let down = Band::new(&spec, &y, &rows.collect::<Vec<_>>(), columns.len());
        Ok(Self { spec, x, y: Some(y), pitch: x.nodes | 1, across, down: Some(down) })
    }

    fn dims(&self) -> usize {
        1 + usize::from(self.y.is_some())
    }

    fn cells_y(&self) -> usize {
        self.y.map_or(1, |y| y.cells)
    }

    fn rows(&self) -> usize {
        self.y.map_or(1, |y| y.nodes)
    }

    fn cell(&self, position: &[f32]) -> usize {
        let x = self.x.cell(&self.spec, position[0]).0;
        x * self.cells_y() + self.y.map_or(0, |y| y.cell(&self.spec, position[1]).0)
    }

    /// The spikes of an electrode by cell, those of one cell in the order given.
    pub(super) fn sort(&self, electrode: &KdeElectrode<'_>) -> Sorted {
        let dims = self.dims();
        let cells: Vec<usize> = electrode.positions.chunks_exact(dims).map(|p| self.cell(p)).collect();
        let mut order: Vec<usize> = (0..cells.len()).collect();
        order.sort_by_key(|i| cells[*i]);
        let rows = |x: &[f32], width: usize| order.iter().flat_map(|i| &x[i * width..][..width]).copied().collect();
        Sorted {
            marks: rows(electrode.marks, electrode.dims),
            positions: rows(electrode.positions, dims),
            log2_weights: if electrode.log2_weights.is_empty() { Vec::new() } else { rows(electrode.log2_weights, 1) },
        }
    }

    /// The places of sorted electrodes that share tensors.
    ///
    /// # Errors
    /// `Unsupported` for tables larger than a binding.
    pub(super) fn tables(&self, rec: &mut Recording, electrodes: &[KdeElectrode<'_>]) -> Result<GridTables> {
        let dims = self.dims();
        let all = self.x.cells * self.cells_y();
        let too_many = all.saturating_add(1).saturating_mul(electrodes.len()).saturating_mul(4) as u64;
        if too_many > rec.capabilities().max_tensor_bytes {
            return Err(Error::Unsupported {
                what: format!("a grid of {all} cells for {} electrodes", electrodes.len()),
                need: format!("a binding of {}", crate::bytes(too_many)),
                have: crate::bytes(rec.capabilities().max_tensor_bytes),
            });
        }
        let (mut places, mut cells) = (Vec::new(), Vec::with_capacity((all + 1) * electrodes.len()));
        for e in electrodes {
            let mut count = vec![0u32; all + 1];
            for (i, position) in e.positions.chunks_exact(dims).enumerate() {
                let x = self.x.cell(&self.spec, position[0]);
                let y = self.y.map_or((0, 0.0), |y| y.cell(&self.spec, position[1]));
                count[x.0 * self.cells_y() + y.0 + 1] += 1;
                places.push([x.1, y.1, y.0 as f32, e.log2_weights.get(i).copied().unwrap_or(0.0)]);
            }
            for c in 1..count.len() {
                count[c] += count[c - 1];
            }
            cells.extend(count);
        }
        if places.is_empty() {
            places.push([0.0; 4]);
        }
        Ok(GridTables {
            places: rec.constant("kde places", &places)?,
            offsets: rec.constant("kde cells", &cells)?,
            cells,
            electrodes: electrodes.len(),
        })
    }

    /// Spikes that the busiest workgroup of `columns` × 4 nodes looks at.
    fn busiest(&self, tables: &GridTables, columns: usize) -> usize {
        let (order, cells_y) = (self.spec.order, self.cells_y());
        let taps_y = if self.y.is_some() { order + 1 } else { 1 };
        let mut most = 0;
        for cells in tables.cells.chunks_exact(self.x.cells * cells_y + 1) {
            for row0 in (0..self.rows()).step_by(4) {
                let (low, high) = ((row0 + 1).saturating_sub(taps_y), (row0 + 4).min(cells_y));
                if low >= high {
                    continue;
                }
                // Sums over columns from the left, so that any run of them is a difference.
                let mut before = vec![0usize];
                for c in 0..self.x.cells {
                    let n = (cells[c * cells_y + high] - cells[c * cells_y + low]) as usize;
                    before.push(before[c] + n);
                }
                for column0 in (0..self.pitch).step_by(columns) {
                    let end = (column0 + columns).min(self.x.cells);
                    let begin = column0.saturating_sub(order).min(end);
                    most = most.max(before[end] - before[begin]);
                }
            }
        }
        most
    }

    /// Node values of a slot, and values between the two passes.
    fn values(&self) -> (usize, usize) {
        let between = if self.down.is_some() { self.rows().saturating_mul(self.across.outputs) } else { 0 };
        (self.rows().saturating_mul(self.pitch), between)
    }

    /// Bytes of the node values of one tile.
    ///
    /// # Errors
    /// `Unsupported` with the numbers where they do not fit a binding, or take more than a quarter of the budget.
    pub(super) fn tile_bytes(&self, capabilities: &Capabilities) -> Result<usize> {
        let most = capabilities.max_tensor_bytes.min(capabilities.budget_bytes / 4);
        let (nodes, between) = self.values();
        let bytes = nodes.max(between).saturating_mul(TILE * 4);
        if bytes as u64 > most {
            return Err(Error::Unsupported {
                what: format!("a grid of {} × {} nodes for {TILE} spikes at once", self.x.nodes, self.rows()),
                need: crate::bytes(bytes as u64),
                have: format!("{} for it", crate::bytes(most)),
            });
        }
        Ok(bytes)
    }

    /// Appends what fills `sums` (`[spikes, bins]`, each raised by 2^104) of all tiles of a group.
    ///
    /// # Errors
    /// `Unsupported` with the numbers where the nodes of one tile do not fit a binding, or loops are too short.
    pub(super) fn record(
        &self,
        rec: &mut Recording,
        tables: &GridTables,
        inputs: &GridInputs,
        sums: Tensor<f32>,
    ) -> Result<()> {
        let (native, max_loop) = (rec.capabilities().native, rec.capabilities().max_loop as usize);
        let max_bytes = usize::try_from(rec.capabilities().max_tensor_bytes).unwrap_or(usize::MAX);
        let (node_count, between) = self.values();
        let tile_bytes = self.tile_bytes(rec.capabilities())?;
        // Not more than an eighth of the budget either, which other tensors need.
        let share = usize::try_from(rec.capabilities().budget_bytes / 8).unwrap_or(usize::MAX);
        let aim = if native { NATIVE_NODES } else { GPU_NODES }.min(max_bytes).min(share);
        let at_once = (aim / tile_bytes).clamp(1, inputs.tile_count);
        let nodes = rec.scratch("kde nodes", at_once * node_count * TILE)?;
        let middle = match &self.down {
            Some(_) => Some(rec.scratch("kde nodes across", at_once * between * TILE)?),
            None => None,
        };
        let across = BandTensors::new(rec, &self.across)?;
        let down = self.down.as_ref().map(|band| BandTensors::new(rec, band)).transpose()?;

        // Enough node columns that those looked at twice are few.
        let columns = 32.min(self.pitch);
        let most = self.busiest(tables, columns).max(1);
        let range = if native {
            most
        } else {
            // Inner loops and tiles of 64 are counted with the spikes.
            let range =
                max_loop.saturating_sub(inputs.peak_parts + 3 * (columns + self.spec.order)) / (inputs.quads + 2);
            let taps = 2 * self.across.taps.max(self.down.as_ref().map_or(0, |d| d.taps)) + 16;
            if range == 0 || taps > max_loop {
                return Err(Error::Unsupported {
                    what: "kde_scatter".into(),
                    need: "longer loops".into(),
                    have: format!("{max_loop} iterations"),
                });
            }
            range.min(most)
        };
        let row_tiles = self.rows().div_ceil(4);
        let column_tiles = self.pitch.div_ceil(columns);
        for first_tile in (0..inputs.tile_count).step_by(at_once) {
            let tiles = at_once.min(inputs.tile_count - first_tile);
            for first in (0..most).step_by(range) {
                let params = kernel::kde_scatter::Params {
                    first_tile: first_tile as u32,
                    spikes: inputs.spikes as u32,
                    peak_parts: inputs.peak_parts as u32,
                    first_electrode: inputs.first_electrode as u32,
                    cells_x: self.x.cells as u32,
                    cells_y: self.cells_y() as u32,
                    taps_y: if self.y.is_some() { self.spec.order as u32 + 1 } else { 1 },
                    pitch: self.pitch as u32,
                    columns: columns as u32,
                    first: first as u32,
                    range: range as u32,
                    taps: self.spec.order as u32 + 1,
                };
                let args = kernel::kde_scatter::Args {
                    tiles: inputs.tiles,
                    encoding: inputs.encoding,
                    places: tables.places,
                    offsets: tables.offsets,
                    marks: inputs.marks,
                    peaks: inputs.peaks,
                    nodes,
                };
                let groups = (tiles * row_tiles * column_tiles) as u64;
                // Each workgroup has its share of the largest electrode's spikes, as far as that can be known.
                let spikes = tables.places.len() / tables.electrodes.max(1);
                let halo = if self.y.is_some() { 3 } else { 1 };
                let work = (tiles * TILE * spikes * halo).max(1) as u64 * (8 * inputs.quads as u64 + 32);
                let mut dispatch = kernel::kde_scatter::dispatch(params, args, groups).work(work);
                if self.spec.order == 3 {
                    dispatch = dispatch.variant(&kernel::kde_scatter::KERNEL_CUBIC);
                }
                rec.dispatch(dispatch)?;
            }
            let pass = Pass { tiles: inputs.tiles, first_tile, tile_count: tiles, nodes, tile: node_count };
            match (&down, middle) {
                (Some(down), Some(middle)) => {
                    let lines = Lines { lines: self.rows(), line: self.pitch, step: 1 };
                    across.record(rec, &pass, lines, Target::Between(middle))?;
                    let pass = Pass { nodes: middle, tile: between, ..pass };
                    let lines = Lines { lines: 1, line: 0, step: self.across.outputs };
                    down.record(rec, &pass, lines, Target::Sums(sums))?;
                }
                _ => across.record(rec, &pass, Lines { lines: 1, line: 0, step: 1 }, Target::Sums(sums))?,
            }
        }
        Ok(())
    }
}

/// How a pass runs over the nodes of a tile.
#[derive(Debug, Clone, Copy)]
struct Lines {
    /// Lines to which the same coefficients are applied, and nodes from one to the next.
    lines: usize,
    line: usize,
    /// Nodes from one of a window to the next.
    step: usize,
}

/// What a pass reads.
#[derive(Debug, Clone, Copy)]
struct Pass {
    tiles: Tensor<[u32; 4]>,
    first_tile: usize,
    tile_count: usize,
    nodes: Tensor<f32>,
    /// Nodes of a tile.
    tile: usize,
}

/// Where a pass leaves its outputs.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// Tile by tile, slots side by side, lowered again by the factor of the coefficients.
    Between(Tensor<f32>),
    /// `[slots, outputs]`.
    Sums(Tensor<f32>),
}

#[derive(Debug)]
struct BandTensors {
    windows: Tensor<u32>,
    members: Tensor<[u32; 4]>,
    coefficients: Tensor<[f32; 4]>,
    taps: usize,
    outputs: usize,
}

impl BandTensors {
    fn new(rec: &mut Recording, band: &Band) -> Result<Self> {
        Ok(Self {
            windows: rec.constant("kde windows", &band.windows)?,
            members: rec.constant("kde window members", &band.members)?,
            coefficients: rec.constant("kde coefficients", &band.coefficients)?,
            taps: band.taps,
            outputs: band.outputs,
        })
    }

    fn record(&self, rec: &mut Recording, pass: &Pass, lines: Lines, target: Target) -> Result<()> {
        let groups = self.windows.len();
        let (to, scale, last) = match target {
            Target::Between(to) => (to, (1.0 / RAISED) as f32, 0),
            Target::Sums(to) => (to, 1.0, 1),
        };
        let params = kernel::kde_band::Params {
            first_tile: pass.first_tile as u32,
            lines: lines.lines as u32,
            line: lines.line as u32,
            step: lines.step as u32,
            tile: pass.tile as u32,
            groups: groups as u32,
            taps: self.taps as u32,
            outputs: self.outputs as u32,
            scale,
            last,
        };
        let args = kernel::kde_band::Args {
            tiles: pass.tiles,
            nodes: pass.nodes,
            windows: self.windows,
            members: self.members,
            coefficients: self.coefficients,
            to,
        };
        let workgroups = (pass.tile_count * lines.lines * 2 * groups.div_ceil(8)) as u64;
        let work = (pass.tile_count * TILE * lines.lines * groups) as u64 * (self.taps * (MEMBERS + 2)) as u64;
        rec.dispatch(kernel::kde_band::dispatch(params, args, workgroups).work(work))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-spline of order n, by its definition as a sum of shifted powers: at x, support |x| < (n + 1)/2.
    fn spline(n: usize, x: f64) -> f64 {
        let (mut sum, mut binomial) = (0.0, 1.0);
        for k in 0..=n + 1 {
            let at: f64 = x + (n as f64 + 1.0) / 2.0 - k as f64;
            sum += if k % 2 == 0 { binomial } else { -binomial } * at.max(0.0).powi(n as i32);
            binomial *= (n + 1 - k) as f64 / (k + 1) as f64;
        }
        sum / (1..=n).product::<usize>() as f64
    }

    /// The value at `x` that the coefficients of a kernel around `at` give, both in units of nodes.
    fn read(spec: &GridSpec, at: f64, x: f64) -> f64 {
        let first = x.floor() as i64 - 3;
        let mut c = [0.0; 8];
        coefficients(spec, at, first, &mut c);
        (first..).zip(c).map(|(g, c)| c * spline(spec.order, x - g as f64)).sum()
    }

    #[test]
    fn splines_read_a_gaussian_as_exactly_as_predicted_at_every_depth() {
        for (order, per_sigma) in
            [(5, 2.0), (5, 2.5), (5, 3.0), (5, 4.0), (5, 5.0), (5, 7.0), (3, 3.0), (3, 6.0), (3, 12.0)]
        {
            let spec = GridSpec { order, per_sigma };
            let mut largest: f64 = 0.0;
            for at in [0.0, 0.31, 0.5, 100.25] {
                for i in -1400..=1400 {
                    let depth = f64::from(i) / 100.0;
                    let exact = (-(depth * KDE_SCALE).powi(2)).exp2();
                    let error = (read(&spec, at, at + depth * per_sigma) / exact - 1.0).abs();
                    largest = largest.max(error / spec.predicted_error(depth.abs()));
                }
            }
            assert!((0.9..2.0).contains(&largest), "order {order}, {per_sigma}: {largest} times the prediction");
        }
    }

    #[test]
    fn coefficients_are_positive_and_end_at_the_reach() {
        for spec in [GridSpec { order: 5, per_sigma: 3.0 }, GridSpec { order: 3, per_sigma: 12.0 }] {
            let mut c = vec![f64::NAN; 501];
            coefficients(&spec, 0.3, -250, &mut c);
            for (g, c) in (-250..).zip(c) {
                let inside = (f64::from(g) - 0.3).abs() * spec.spacing() <= REACH;
                assert!(if inside { c > 0.0 } else { c == 0.0 }, "node {g}: {c}");
            }
        }
    }

    #[test]
    fn grids_for_a_tolerance_grow_finer_and_stop_where_f32_does() {
        for dims in [1, 2] {
            let some = GridSpec::for_tolerance(1e-3, dims).unwrap();
            assert_eq!(some.len(), 2);
            for pair in some.windows(2) {
                assert!(pair[0].predicted_error(3.0) > pair[1].predicted_error(3.0));
            }
            assert!(GridSpec::for_tolerance(1e-6, dims).unwrap().is_empty());
        }
        for bad in [0.0, -1.0, 1.0, f64::NAN] {
            assert!(GridSpec::for_tolerance(bad, 1).is_err(), "{bad}");
        }
        assert!(GridSpec::for_tolerance(1e-3, 3).is_err());
    }
}
