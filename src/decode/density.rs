//! Sums of Gaussian kernels over positions: occupancy and ground-process intensity, at bins and anywhere.
//!
//! The quantity is S(p) = Σ_j w_j Π_k exp(−(p_k − x_jk)²/2σ_k²) over n sources. Summed as it stands it costs n kernels a
//! point. In one and two dimensions it is cheaper on a lattice, because Gaussians compose: with s² + u² = σ²,
//!
//! ∫ N(p − g; u²) N(g − x; s²) dg = N(p − x; σ²),
//!
//! so sources are spread onto nodes g with a narrow Gaussian (variance s²), and the sum over nodes with the wide one
//! gives S. Taking the wide one apart again, u² = t² + s², smooths the nodes by t² once, after which a point costs its
//! surrounding nodes. The integrand in g is a Gaussian too, of standard deviation v = s√(1 − s²/σ²) whatever p − x is,
//! so the error of the sum over nodes of spacing h is *relative*: 2 exp(−2π²v²/h²) an integral (Poisson's summation
//! formula), 4·10⁻⁸ at h = v/0.95. Windows reach the nodes that carry a pair up to 38.6 σ apart, where f64 ends. The
//! relative error of a sum of positive terms is no larger than that of its terms, hence S is right to better than 10⁻⁶
//! of itself wherever it exceeds 10⁻²⁹⁰, in the gaps between visited places as at the peak.

use ndarray::{ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

/// Pairs further apart than this many standard deviations are 0 in f64.
const END_OF_F64: f64 = 38.6;
/// v/h: nodes within one standard deviation of the integrand.
const NODES_PER_STD: f64 = 0.95;
/// The integrand is cut at this many standard deviations, which leaves out 10⁻⁷ of it.
const CUT: f64 = 5.2;
/// s/σ to choose from: a small one has narrow windows and many nodes, a large one the reverse.
const RATIOS: [f64; 6] = [1.0 / 3.0, 0.25, 0.2, 1.0 / 6.0, 0.125, 0.1];
/// Nodes of one lattice: 64 MiB.
const MOST_NODES: usize = 1 << 23;
/// The widest window that a ratio asks for.
const MOST_TAPS: usize = 64;
/// Sources that are summed as they stand go in blocks of this many.
const BLOCK: usize = 128;

/// Where the kernels of a sum stand.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    /// cm (n × d), row-major.
    pub positions: ArrayView2<'a, f64>,
    /// n, or empty where all are 1.
    pub weights: &'a [f64],
}

impl Sources<'_> {
    fn len(&self) -> usize {
        self.positions.nrows()
    }

    fn weight(&self, i: usize) -> f64 {
        self.weights.get(i).copied().unwrap_or(1.0)
    }
}

/// Points, as the coordinates that occur along each dimension and which of them each point has: the bins of a box share
/// them, so that a kernel is evaluated once for a row of bins.
struct Targets {
    len: usize,
    axes: Vec<Coordinates>,
}

struct Coordinates {
    values: Vec<f64>,
    of: Vec<usize>,
}

impl Targets {
    fn new(points: ArrayView2<f64>) -> Self {
        let axes = points
            .columns()
            .into_iter()
            .map(|column| {
                let mut values = column.to_vec();
                values.sort_by(f64::total_cmp);
                values.dedup_by(|a, b| a.to_bits() == b.to_bits());
                let find = |x: &f64| values.partition_point(|v| v.total_cmp(x).is_lt());
                Coordinates { of: column.iter().map(find).collect(), values }
            })
            .collect();
        Self { len: points.nrows(), axes }
    }

    /// Distinct coordinates of all dimensions.
    fn n_coordinates(&self) -> usize {
        self.axes.iter().map(|a| a.values.len()).sum()
    }
}

/// Σ a·b in eight interleaved partial sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for k in 0..8 {
            sums[k] += x[k] * y[k];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// `out` += factor · `row`.
fn add_scaled(out: &mut [f64], factor: f64, row: &[f64]) {
    for (o, r) in out.iter_mut().zip(row) {
        *o += factor * r;
    }
}

/// S at the targets, every kernel evaluated.
fn exact(sources: Sources, std: &[f64], targets: &Targets) -> Vec<f64> {
    let mut out = vec![0.0; targets.len];
    let n = sources.len();
    let many = targets.len * BLOCK > 1 << 17;
    let mut kernels: Vec<Vec<f64>> = targets.axes.iter().map(|a| vec![0.0; a.values.len() * BLOCK]).collect();
    for first in (0..n).step_by(BLOCK) {
        let m = BLOCK.min(n - first);
        for (k, (axis, kernel)) in targets.axes.iter().zip(&mut kernels).enumerate() {
            let x: Vec<f64> = (first..first + m).map(|i| sources.positions[[i, k]]).collect();
            let fill = |(row, p): (&mut [f64], &f64)| {
                for (i, (value, x)) in row.iter_mut().zip(&x).enumerate() {
                    let z = (p - x) / std[k];
                    *value = (-0.5 * z * z).exp();
                    if k == 0 {
                        *value *= sources.weight(first + i);
                    }
                }
            };
            if many {
                kernel.par_chunks_mut(BLOCK).with_min_len(16).zip(&axis.values).for_each(fill);
            } else {
                kernel.chunks_mut(BLOCK).zip(&axis.values).for_each(fill);
            }
        }
        let row = |k: usize, p: usize| &kernels[k][targets.axes[k].of[p] * BLOCK..][..m];
        let sum = |(p, value): (usize, &mut f64)| {
            *value += match targets.axes.len() {
                1 => row(0, p).iter().sum(),
                2 => dot(row(0, p), row(1, p)),
                d => {
                    let mut product = [0.0; BLOCK];
                    product[..m].copy_from_slice(row(0, p));
                    for k in 1..d - 1 {
                        product.iter_mut().zip(row(k, p)).for_each(|(a, b)| *a *= b);
                    }
                    dot(&product[..m], row(d - 1, p))
                }
            };
        };
        if many {
            out.par_iter_mut().with_min_len(64).enumerate().for_each(sum);
        } else {
            out.iter_mut().enumerate().for_each(sum);
        }
    }
    out
}

/// Nodes on which sources are spread. Axis 1 is the last dimension of a position; axis 0 is the one before it, or a
/// single node in one dimension.
#[derive(Clone, Debug)]
struct Lattice {
    dims: usize,
    /// s/σ.
    ratio: f64,
    /// Between nodes, in standard deviations.
    h: f64,
    /// Between nodes in cm, by dimension.
    spacing: Vec<f64>,
    /// Number of the first node along each axis; node 0 is at position 0, wherever the sources are.
    first: [i64; 2],
    nodes: [usize; 2],
    /// Nodes of a window on either side of its middle.
    half: usize,
    /// exp(−m²h²/2s²) for m = 0..=half.
    table: Vec<f64>,
}

/// The narrow Gaussian at the nodes around a coordinate.
type Window = [f64; MOST_TAPS];

impl Lattice {
    /// A lattice for sources within `hull` (lowest and highest coordinate by dimension), with `margin` standard
    /// deviations around it. `None` in three dimensions or more, and where it would have too many nodes.
    fn new(ratio: f64, std: &[f64], hull: &[(f64, f64)], margin: f64) -> Option<Self> {
        let dims = std.len();
        if dims > 2 {
            return None;
        }
        let v = ratio * (1.0 - ratio * ratio).sqrt();
        let h = v / NODES_PER_STD;
        let half = (NODES_PER_STD * (CUT + END_OF_F64 * ratio * ratio / v) + 0.5).ceil() as usize;
        let spacing: Vec<f64> = std.iter().map(|s| s * h).collect();
        let (mut first, mut nodes) = ([0; 2], [1; 2]);
        for k in 0..dims {
            let low = ((hull[k].0 - margin * std[k]) / spacing[k]).floor() - (half + 1) as f64;
            let high = ((hull[k].1 + margin * std[k]) / spacing[k]).ceil() + (half + 1) as f64;
            // Beyond, numbers of nodes are no longer exact, and neither are distances.
            if !(low.abs().max(high.abs()) < 1e9 && high - low < MOST_NODES as f64) {
                return None;
            }
            (first[k + 2 - dims], nodes[k + 2 - dims]) = (low as i64, (high - low) as usize + 1);
        }
        let narrow = h * h / (2.0 * ratio * ratio);
        let table = (0..=half).map(|m| (-narrow * (m * m) as f64).exp()).collect();
        let fits = nodes[0].checked_mul(nodes[1])? <= MOST_NODES && 2 * half < MOST_TAPS;
        fits.then_some(Self { dims, ratio, h, spacing, first, nodes, half, table })
    }

    fn taps(&self) -> usize {
        2 * self.half + 1
    }

    fn n_nodes(&self) -> usize {
        self.nodes[0] * self.nodes[1]
    }

    /// Variance of the narrow Gaussian, in units of σ².
    fn narrow(&self) -> f64 {
        self.ratio * self.ratio
    }

    /// A Gaussian of `variance` (in units of σ²) at m nodes from its middle is exp(−exponent·m²).
    fn exponent(&self, variance: f64) -> f64 {
        self.h * self.h / (2.0 * variance)
    }

    /// What turns a sum over nodes of products of Gaussians, made without their norms, into S: for each dimension
    /// √(2π) Π_i (2π variance_i)^-½ h^(number of Gaussians − 1), variances in units of σ².
    fn scale(&self, variances: &[f64]) -> f64 {
        let tau = 2.0 * std::f64::consts::PI;
        let product: f64 = variances.iter().map(|v| self.h / (tau * v).sqrt()).product();
        (product * tau.sqrt() / self.h).powi(self.dims as i32)
    }

    /// In units of nodes along `axis`, which is a dimension's.
    fn coordinate(&self, axis: usize, x: f64) -> f64 {
        x / self.spacing[axis + self.dims - 2]
    }

    /// Fills `values` with the narrow Gaussian around `x`, and returns the first node; `None` where the window leaves
    /// the lattice.
    fn window(&self, axis: usize, x: f64, values: &mut Window) -> Option<usize> {
        let u = self.coordinate(axis, x);
        let middle = u.round();
        let first = middle - (self.half as i64 + self.first[axis]) as f64;
        if !(first >= 0.0 && first <= (self.nodes[axis] - self.taps()) as f64) {
            return None;
        }
        // exp(−a(m − r)²) = exp(−ar²) exp(2ar)^m exp(−am²).
        let r = u - middle;
        let a = self.exponent(self.narrow());
        let (base, up) = ((-a * r * r).exp(), (2.0 * a * r).exp());
        let down = 1.0 / up;
        let (mut right, mut left) = (base, base);
        values[self.half] = base;
        for m in 1..=self.half {
            right *= up;
            left *= down;
            values[self.half + m] = right * self.table[m];
            values[self.half - m] = left * self.table[m];
        }
        Some(first as usize)
    }

    /// exp(−exponent·(j − x)²) at the nodes j along `axis` where it is not 0: the first of them, and the values.
    fn row(&self, axis: usize, x: f64, exponent: f64) -> (usize, Vec<f64>) {
        let u = self.coordinate(axis, x) - self.first[axis] as f64;
        let reach = (745.0 / exponent).sqrt();
        let last = (self.nodes[axis] - 1) as f64;
        let (from, to) = ((u - reach).ceil().max(0.0), (u + reach).floor().min(last));
        if !(from <= to) {
            return (0, Vec::new());
        }
        // From the node nearest to the middle outwards, where a value is the one before times exp(−exponent·(2z + 1)): the
        // error of one rounding grows with the square of the steps, of which there are a few hundred.
        let (from, to) = (from as usize, to as usize);
        let middle = (u.round().max(0.0) as usize).clamp(from, to);
        let mut values = vec![0.0; to - from + 1];
        let step = (-2.0 * exponent).exp();
        let start = |z: f64| ((-exponent * z * z).exp(), (-exponent * (2.0 * z + 1.0)).exp());
        let z = middle as f64 - u;
        let (mut value, mut ratio) = start(z);
        for v in &mut values[middle - from..] {
            *v = value;
            value *= ratio;
            ratio *= step;
        }
        let (mut value, mut ratio) = start(-z);
        for v in values[..=middle - from].iter_mut().rev() {
            *v = value;
            value *= ratio;
            ratio *= step;
        }
        (from, values)
    }

    /// Spreads sources that lie in the hull with the narrow Gaussian.
    fn spread(&self, sources: Sources) -> Vec<f64> {
        let n = sources.len();
        // As many pieces as the job is large, whatever the number of threads.
        let pieces = (n >> 14).clamp(1, 16).min(((1 << 24) / self.n_nodes()).max(1));
        let spread = |piece: usize| {
            let mut nodes = vec![0.0; self.n_nodes()];
            for i in n * piece / pieces..n * (piece + 1) / pieces {
                self.spread_one(&mut nodes, sources, i);
            }
            nodes
        };
        if pieces == 1 {
            return spread(0);
        }
        let parts: Vec<Vec<f64>> = (0..pieces).into_par_iter().map(spread).collect();
        let mut parts = parts.into_iter();
        let mut sum = parts.next().unwrap_or_default();
        for part in parts {
            add_scaled(&mut sum, 1.0, &part);
        }
        sum
    }

    fn spread_one(&self, nodes: &mut [f64], sources: Sources, i: usize) {
        let (weight, taps) = (sources.weight(i), self.taps());
        let mut w1 = [0.0; MOST_TAPS];
        let Some(first1) = self.window(1, sources.positions[[i, self.dims - 1]], &mut w1) else { return };
        if self.dims == 1 {
            add_scaled(&mut nodes[first1..][..taps], weight, &w1[..taps]);
            return;
        }
        let mut w0 = [0.0; MOST_TAPS];
        let Some(first0) = self.window(0, sources.positions[[i, 0]], &mut w0) else { return };
        for (k, value) in w0[..taps].iter().enumerate() {
            let start = (first0 + k) * self.nodes[1] + first1;
            add_scaled(&mut nodes[start..][..taps], weight * value, &w1[..taps]);
        }
    }
}

/// Lowest and highest coordinate by dimension.
fn hull(positions: ArrayView2<f64>) -> Vec<(f64, f64)> {
    let extremes = |(low, high): (f64, f64), x: &f64| (low.min(*x), high.max(*x));
    positions.columns().into_iter().map(|c| c.iter().fold((f64::INFINITY, f64::NEG_INFINITY), extremes)).collect()
}

/// S of several sets of sources at the same bins.
pub(super) struct BinSums {
    std: Vec<f64>,
    targets: Targets,
    grid: Option<BinGrid>,
}

/// The wide Gaussian between bins and nodes.
struct BinGrid {
    lattice: Lattice,
    /// By axis and distinct coordinate: first node, values.
    rows: [Vec<(usize, Vec<f64>)>; 2],
    scale: f64,
}

/// Nanoseconds, roughly, to choose a method by.
mod cost {
    pub const EXP: f64 = 6.0;
    pub const PRODUCT: f64 = 0.5;
    pub const WINDOW: f64 = 40.0;
    pub const ROW: f64 = 3.0;
}

impl Lattice {
    /// Of spreading `n` sources.
    fn spread_cost(&self, n: usize) -> f64 {
        let rows = if self.dims == 1 { 1.0 } else { self.taps() as f64 };
        let windows = self.dims as f64 * cost::WINDOW;
        n as f64 * (windows + rows * (cost::ROW + self.taps() as f64 * cost::PRODUCT)) + self.n_nodes() as f64
    }
}

impl BinSums {
    /// For sources of about these numbers, all within the hull of `samples`, at `bins` (P × d).
    pub(super) fn new(samples: ArrayView2<f64>, std: &[f64], bins: ArrayView2<f64>, sets: &[usize]) -> Self {
        let targets = Targets::new(bins);
        let hull = hull(samples);
        let as_they_stand: f64 = sets.iter().map(|n| exact_cost(*n, &targets)).sum();
        let grid = RATIOS
            .iter()
            .filter_map(|ratio| Lattice::new(*ratio, std, &hull, 0.0))
            .map(|lattice| {
                let rows =
                    (0..lattice.dims).map(|k| targets.axes[k].values.len() * lattice.nodes[k + 2 - lattice.dims]);
                let once = rows.sum::<usize>() as f64 * cost::EXP;
                let each = |n: &usize| lattice.spread_cost(*n) + at_bins_cost(&lattice, &targets);
                let all: f64 = sets.iter().map(|n| each(n).min(exact_cost(*n, &targets))).sum();
                (lattice, once + all)
            })
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|(_, cost)| *cost < as_they_stand)
            .map(|(lattice, _)| BinGrid::new(lattice, &targets));
        Self { std: std.to_vec(), targets, grid }
    }

    /// S at every bin (P).
    pub(super) fn sums(&self, sources: Sources) -> Vec<f64> {
        let n = sources.len();
        let (cheapest, targets) = (exact_cost(n, &self.targets), &self.targets);
        match &self.grid {
            Some(g) if g.lattice.spread_cost(n) + at_bins_cost(&g.lattice, targets) < cheapest => {
                g.at_bins(&g.lattice.spread(sources), targets)
            }
            _ => exact(sources, &self.std, targets),
        }
    }
}

fn exact_cost(n: usize, targets: &Targets) -> f64 {
    let products = targets.len as f64 * targets.axes.len() as f64 * cost::PRODUCT;
    n as f64 * (targets.n_coordinates() as f64 * cost::EXP + products)
}

fn at_bins_cost(lattice: &Lattice, targets: &Targets) -> f64 {
    let reach = |axis: usize| {
        let wide = lattice.exponent(1.0 - lattice.narrow());
        (lattice.nodes[axis] as f64).min(2.0 * (745.0 / wide).sqrt())
    };
    let columns =
        if lattice.dims == 2 { targets.axes[0].values.len() as f64 * reach(0) * lattice.nodes[1] as f64 } else { 0.0 };
    cost::PRODUCT * (columns + targets.len as f64 * reach(1))
}

impl BinGrid {
    fn new(lattice: Lattice, targets: &Targets) -> Self {
        let (narrow, wide) = (lattice.narrow(), 1.0 - lattice.narrow());
        let rows = [0, 1].map(|axis| match (axis + lattice.dims).checked_sub(2) {
            None => vec![(0, vec![1.0])],
            Some(k) => {
                let row = |x: &f64| lattice.row(axis, *x, lattice.exponent(wide));
                targets.axes[k].values.par_iter().with_min_len(64).map(row).collect()
            }
        });
        Self { scale: lattice.scale(&[narrow, wide]), rows, lattice }
    }

    /// S from nodes on which sources were spread.
    fn at_bins(&self, nodes: &[f64], targets: &Targets) -> Vec<f64> {
        let width = self.lattice.nodes[1];
        let along = &targets.axes[self.lattice.dims - 1].of;
        if self.lattice.dims == 1 {
            let value = |u: &usize| {
                let (first, row) = &self.rows[1][*u];
                self.scale * dot(row, &nodes[*first..])
            };
            return along.iter().map(value).collect();
        }
        let mut columns = vec![0.0; self.rows[0].len() * width];
        columns.par_chunks_mut(width).with_min_len(8).zip(&self.rows[0]).for_each(|(out, (first, row))| {
            for (value, nodes) in row.iter().zip(nodes[first * width..].chunks_exact(width)) {
                add_scaled(out, *value, nodes);
            }
        });
        let value = |(u0, u1): (&usize, &usize)| {
            let (first, row) = &self.rows[1][*u1];
            self.scale * dot(row, &columns[u0 * width + first..][..row.len()])
        };
        targets.axes[0].of.iter().zip(along).map(value).collect()
    }
}

/// S of two sets of sources anywhere, at a cost that does not depend on their number: occupancy and ground process.
#[derive(Clone, Debug)]
pub(super) struct Field {
    lattice: Lattice,
    /// The same nodes and more around them, where sums have been smoothed.
    near: Lattice,
    surfaces: [Surface; 2],
}

#[derive(Clone, Debug)]
struct Surface {
    /// Sources on the nodes of `lattice`.
    spread: Vec<f64>,
    /// The same, smoothed by what two narrow Gaussians lack, on the nodes of `near`.
    smooth: Vec<f64>,
}

/// Around the sources, points are read from the smoothed nodes; beyond, from all nodes with the wide Gaussian.
const NEAR: f64 = 3.0;

impl Field {
    /// The lattices for `n` sources within the hull of `samples`; `None` where it is better to sum them as they stand:
    /// few sources, three dimensions or more, or an extent of too many standard deviations.
    fn lattices(samples: ArrayView2<f64>, std: &[f64], n: usize) -> Option<(Lattice, Lattice)> {
        let (hull, dims) = (hull(samples), std.len());
        // As many points as there are sources.
        let as_they_stand = (n * n) as f64 * (dims as f64 * cost::EXP + cost::PRODUCT);
        RATIOS
            .iter()
            .filter_map(|r| Some((Lattice::new(*r, std, &hull, 0.0)?, Lattice::new(*r, std, &hull, NEAR)?)))
            .map(|(lattice, near)| {
                let cost = 2.0 * (lattice.spread_cost(n) + smoothing_cost(&lattice, &near));
                (lattice, near, cost)
            })
            .min_by(|a, b| a.2.total_cmp(&b.2))
            .filter(|(.., cost)| *cost < as_they_stand)
            .map(|(lattice, near, _)| (lattice, near))
    }

    /// Bytes that a field for these sources holds, 0 where there is none.
    pub(super) fn bytes(samples: ArrayView2<f64>, std: &[f64], n: usize) -> u64 {
        let nodes = Self::lattices(samples, std, n).map_or(0, |(lattice, near)| lattice.n_nodes() + near.n_nodes());
        2 * (nodes * size_of::<f64>()) as u64
    }

    /// The field of `samples`, and of all `others` together in this order, `n` sources in all; `None` as above.
    pub(super) fn new(samples: Sources, others: &[Sources], std: &[f64]) -> Option<Self> {
        let n = samples.len() + others.iter().map(Sources::len).sum::<usize>();
        let (lattice, near) = Self::lattices(samples.positions, std, n)?;
        let surface = |spread: Vec<f64>| Surface { smooth: lattice.smooth(&spread, &near), spread };
        let mut sum = vec![0.0; lattice.n_nodes()];
        for sources in others {
            // One after another onto the same nodes, so that an electrode costs its spikes and not its nodes.
            for i in 0..sources.len() {
                lattice.spread_one(&mut sum, *sources, i);
            }
        }
        let surfaces = [surface(lattice.spread(samples)), surface(sum)];
        Some(Self { lattice, near, surfaces })
    }

    /// S of both sets at each point, to 10⁻⁶ of itself wherever it exceeds 10⁻²⁹⁰.
    pub(super) fn at(&self, points: ArrayView2<f64>) -> Vec<[f64; 2]> {
        (0..points.nrows()).into_par_iter().with_min_len(256).map(|i| self.at_one(points.row(i))).collect()
    }

    fn at_one(&self, point: ArrayView1<f64>) -> [f64; 2] {
        let (dims, last) = (self.lattice.dims, point[self.lattice.dims - 1]);
        let (mut w0, mut w1) = ([1.0; MOST_TAPS], [0.0; MOST_TAPS]);
        let (first0, taps0) = match dims {
            1 => (Some(0), 1),
            _ => (self.near.window(0, point[0], &mut w0), self.near.taps()),
        };
        if let (Some(first0), Some(first1)) = (first0, self.near.window(1, last, &mut w1)) {
            let scale = self.near.scale(&[self.near.narrow(), 1.0 - 2.0 * self.near.narrow(), self.near.narrow()]);
            let along = &w1[..self.near.taps()];
            return [0, 1].map(|k| {
                let row = |(i, w): (usize, &f64)| {
                    let start = (first0 + i) * self.near.nodes[1] + first1;
                    w * dot(along, &self.surfaces[k].smooth[start..][..along.len()])
                };
                scale * w0[..taps0].iter().enumerate().map(row).sum::<f64>()
            });
        }
        let wide = self.lattice.exponent(1.0 - self.lattice.narrow());
        let (from0, row0) = match dims {
            1 => (0, vec![1.0]),
            _ => self.lattice.row(0, point[0], wide),
        };
        let (from1, row1) = self.lattice.row(1, last, wide);
        let scale = self.lattice.scale(&[self.lattice.narrow(), 1.0 - self.lattice.narrow()]);
        [0, 1].map(|k| {
            let row = |(i, w): (usize, &f64)| {
                let start = (from0 + i) * self.lattice.nodes[1] + from1;
                w * dot(&row1, &self.surfaces[k].spread[start..])
            };
            scale * row0.iter().enumerate().map(row).sum::<f64>()
        })
    }
}

fn smoothing_cost(lattice: &Lattice, near: &Lattice) -> f64 {
    let reach = 2.0 * lattice.reach_between() as f64;
    let along = lattice.n_nodes() as f64 * reach.min(near.nodes[1] as f64);
    let across = if lattice.dims == 2 { near.n_nodes() as f64 * reach.min(lattice.nodes[0] as f64) } else { 0.0 };
    cost::PRODUCT * (along + across)
}

impl Lattice {
    /// Nodes to either side that the Gaussian between two narrow ones reaches.
    fn reach_between(&self) -> usize {
        (745.0 / self.exponent(1.0 - 2.0 * self.narrow())).sqrt() as usize
    }

    /// Smooths nodes of this lattice by σ² − 2s² onto those of `near`.
    fn smooth(&self, nodes: &[f64], near: &Self) -> Vec<f64> {
        let (reach, exponent) = (self.reach_between(), self.exponent(1.0 - 2.0 * self.narrow()));
        let kernel: Vec<f64> = (0..=2 * reach).map(|m| (-exponent * (m as f64 - reach as f64).powi(2)).exp()).collect();
        // The part of `kernel` around node `i` of this lattice that lies on `near`, and where it begins there.
        let around = |axis: usize, i: usize| {
            let middle = (self.first[axis] - near.first[axis]) as usize + i;
            let from = middle.saturating_sub(reach);
            let to = (middle + reach + 1).min(near.nodes[axis]);
            (from, &kernel[from + reach - middle..to + reach - middle])
        };
        let (width, wide) = (self.nodes[1], near.nodes[1]);
        let mut along = vec![0.0; self.nodes[0] * wide];
        along.par_chunks_mut(wide).zip(nodes.par_chunks(width)).for_each(|(out, row)| {
            for (j, value) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                let (from, kernel) = around(1, j);
                add_scaled(&mut out[from..], *value, kernel);
            }
        });
        if self.dims == 1 {
            return along;
        }
        let mut out = vec![0.0; near.n_nodes()];
        out.par_chunks_mut(wide).enumerate().for_each(|(at, out)| {
            for (i, row) in along.chunks_exact(wide).enumerate() {
                let (from, kernel) = around(0, i);
                if let Some(weight) = at.checked_sub(from).and_then(|k| kernel.get(k)) {
                    add_scaled(out, *weight, row);
                }
            }
        });
        out
    }
}

/// S at these points, every kernel evaluated.
pub(super) fn exact_at(sources: Sources, std: &[f64], points: ArrayView2<f64>) -> Vec<f64> {
    // Kernels of a block of sources at every point of one piece are held at once.
    let piece = |p: ArrayView2<f64>| exact(sources, std, &Targets::new(p));
    points.axis_chunks_iter(Axis(0), 4096).flat_map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use ndarray::Array2;

    /// One kernel after another, in the plainest way.
    fn oracle(sources: Sources, std: &[f64], points: &Array2<f64>) -> Vec<f64> {
        let at = |p: ndarray::ArrayView1<f64>| {
            let kernel = |i: usize| {
                let z = (0..std.len()).map(|k| ((p[k] - sources.positions[[i, k]]) / std[k]).powi(2));
                sources.weight(i) * (-0.5 * z.sum::<f64>()).exp()
            };
            (0..sources.len()).map(kernel).sum()
        };
        points.rows().into_iter().map(at).collect()
    }

    /// A walk in a box (n × d), with a far corner that is visited once.
    fn walk(n: usize, d: usize, seed: u64) -> Array2<f64> {
        let mut random = Random::new(seed, 0);
        let mut x = vec![40.0; d];
        let mut out = Array2::zeros((n, d));
        for mut row in out.rows_mut() {
            for k in 0..d {
                x[k] = (x[k] + 2.0 * random.normal()).clamp(0.0, 90.0);
                row[k] = x[k];
            }
        }
        out.row_mut(n / 2).fill(333.0);
        out
    }

    fn points(n: usize, d: usize, low: f64, high: f64) -> Array2<f64> {
        let mut random = Random::new(5, 1);
        Array2::from_shape_simple_fn((n, d), || low + (high - low) * random.uniform())
    }

    #[track_caller]
    fn close(found: &[f64], want: &[f64], relative: f64) {
        assert_eq!(found.len(), want.len());
        for (i, (a, b)) in found.iter().zip(want).enumerate() {
            // Products of three factors reach the end of f64 a little before the kernel does.
            let end = if *b < 1e-290 { 1e-290 } else { 0.0 };
            assert!((a - b).abs() <= relative * b + end, "{i}: {a:e} and {b:e}, off by {:e}", (a - b).abs() / b);
        }
    }

    #[test]
    fn every_split_is_right_to_the_stated_part_of_every_value() {
        for d in [1, 2] {
            let x = walk(600, d, 1);
            let weights: Vec<f64> = (0..600).map(|i| 0.5 + (i % 7) as f64).collect();
            let std = [6.0, 3.5];
            let sources = Sources { positions: x.view(), weights: &weights };
            let p = points(150, d, -60.0, 460.0);
            let want = oracle(sources, &std[..d], &p);
            assert!(want.iter().any(|s| *s < 1e-100) && want.iter().any(|s| *s > 1.0));
            let targets = Targets::new(p.view());
            close(&exact(sources, &std[..d], &targets), &want, 1e-12);
            for ratio in RATIOS {
                let lattice = Lattice::new(ratio, &std[..d], &hull(x.view()), 0.0).unwrap();
                let grid = BinGrid::new(lattice, &targets);
                close(&grid.at_bins(&grid.lattice.spread(sources), &targets), &want, 1e-6);
            }
        }
    }
    #[test]
    fn a_field_is_right_to_the_stated_part_of_every_value_inside_and_out() {
        for d in [1, 2] {
            let x = walk(20_000, d, 2);
            let y = walk(300, d, 3);
            let weights: Vec<f64> = (0..20_000).map(|i| (i % 3) as f64).collect();
            let std = [5.0, 8.0];
            let samples = Sources { positions: x.view(), weights: &weights };
            let spikes = Sources { positions: y.view(), weights: &[] };
            let field = Field::new(samples, &[spikes, spikes], &std[..d]).unwrap();
            for p in [points(100, d, -5.0, 95.0), points(300, d, -250.0, 600.0)] {
                let found = field.at(p.view());
                let (occupancy, ground): (Vec<f64>, Vec<f64>) = found.iter().map(|v| (v[0], v[1] / 2.0)).unzip();
                close(&occupancy, &oracle(samples, &std[..d], &p), 1e-6);
                close(&ground, &oracle(spikes, &std[..d], &p), 1e-6);
            }
        }
    }

    #[test]
    fn what_does_not_fit_a_lattice_has_none() {
        let wide = ndarray::array![[0.0, 0.0], [1e6, 1e6]];
        assert!(Field::lattices(wide.view(), &[6.0, 6.0], 1_000_000).is_none());
        assert!(Field::lattices(walk(50, 3, 1).view(), &[6.0; 3], 1_000_000).is_none());
        assert!(Field::lattices(ndarray::array![[0.0], [f64::MAX]].view(), &[6.0], 1_000_000).is_none());
        assert!(Field::lattices(walk(50, 2, 1).view(), &[6.0; 2], 50).is_none());
        assert_eq!(Field::bytes(wide.view(), &[6.0, 6.0], 1_000_000), 0);
    }
}
