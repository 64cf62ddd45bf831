//! The random walk between position bins, K(p, q) = exp(−|x_p − x_q|² / 2σ²), without its matrix.

use ndarray::Array2;
use rayon::prelude::*;

use super::vector::{GRANULE, correlate, correlate_row, dot, normalise, packed, reach_of_row};
use crate::{Error, Result};

/// Kernel values below this part of the peak are left out; [`super::EPSILON`] of every state's probability is spread over
/// all of its bins in their place.
const CUT: f64 = super::EPSILON;

/// Sparse products of this many terms are shared among threads.
const SHARED: usize = 1 << 17;

/// A random walk over the interior bins, with rows that sum to one.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    pub movement_var: f64,
    form: Form,
    /// 1 / Σ_q K(p, q).
    pub scale: Vec<f64>,
}

#[derive(Debug, Clone)]
enum Form {
    Grid(Grid),
    Scattered(Scattered),
}

/// Bins that lie on a grid with equal steps: the kernel is a product of one kernel along each axis.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    /// Points along each axis.
    pub shape: Vec<usize>,
    /// The last axis, padded to a whole number of granules.
    row: usize,
    pub step: Vec<f64>,
    /// Bins that lie one behind the other: first bin, first cell, count.
    runs: Vec<(usize, usize, usize)>,
    /// One kernel an axis, from −w to w.
    taps: Vec<Vec<f64>>,
    /// That of the last axis for `correlate_row`.
    packed: Vec<f64>,
}

/// Any bins: in an order in which neighbours are mostly neighbours, each row is a few runs of columns.
#[derive(Debug, Clone)]
pub(super) struct Scattered {
    pub order: Vec<usize>,
    /// Runs of row k: `first[k]..first[k + 1]`.
    first: Vec<usize>,
    /// First column, count, and where its values begin.
    runs: Vec<(usize, usize, usize)>,
    values: Vec<f64>,
}

/// Memory that applying a walk needs.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    cells: Vec<f64>,
    other: Vec<f64>,
}

/// One axis of a grid: cm from point to point, how many points, and which of them each bin has.
struct Axis {
    step: f64,
    points: usize,
    place: Vec<usize>,
}

/// The axes of a grid on which all centres lie, to a millionth of a step.
fn grid_of(centers: &Array2<f64>) -> Option<Vec<Axis>> {
    let (bins, dims) = centers.dim();
    let mut axes = Vec::new();
    let mut cells = 1usize;
    for k in 0..dims {
        let mut sorted = centers.column(k).to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[0], sorted[bins - 1]);
        let tiny = 1e-9 * (high - low);
        let step = sorted.windows(2).map(|w| w[1] - w[0]).filter(|g| *g > tiny).fold(f64::INFINITY, f64::min);
        let step = if step.is_finite() { step } else { 1.0 };
        let points = ((high - low) / step).round();
        if points >= (4 * bins + 1024) as f64 {
            return None;
        }
        // A step from the whole length is exact where one gap carries the rounding of two coordinates.
        let step = if points > 0.0 { (high - low) / points } else { step };
        let place: Vec<f64> = centers.column(k).iter().map(|x| (x - low) / step).collect();
        if place.iter().any(|i| (i - i.round()).abs() > 1e-6) {
            return None;
        }
        cells = cells.checked_mul(points as usize + 1)?;
        let place = place.into_iter().map(|i| i.round() as usize).collect();
        axes.push(Axis { step, points: points as usize + 1, place });
    }
    (cells <= 4 * bins + 1024).then_some(axes)
}

impl Grid {
    fn new(centers: &Array2<f64>, var: f64) -> Option<Self> {
        let axes = grid_of(centers)?;
        let shape: Vec<usize> = axes.iter().map(|a| a.points).collect();
        let last = shape.len() - 1;
        let row = shape[last].next_multiple_of(GRANULE);
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for bin in 0..centers.nrows() {
            let mut cell = 0;
            for (k, axis) in axes.iter().enumerate() {
                cell = cell * if k == last { row } else { shape[k] } + axis.place[bin];
            }
            match runs.last_mut() {
                Some((first, at, n)) if *first + *n == bin && *at + *n == cell => *n += 1,
                _ => runs.push((bin, cell, 1)),
            }
        }
        let mut taken = std::collections::HashSet::new();
        if !runs.iter().flat_map(|(_, cell, n)| *cell..cell + n).all(|cell| taken.insert(cell)) {
            // Two bins at one place.
            return None;
        }
        let taps: Vec<Vec<f64>> = axes
            .iter()
            .map(|Axis { step, points, .. }| {
                let kernel = |k: usize| (-(k as f64 * step).powi(2) / (2.0 * var)).exp();
                let reach = (0..*points).take_while(|k| kernel(*k) > CUT).count().max(1) - 1;
                (0..=2 * reach).map(|k| kernel(k.abs_diff(reach))).collect()
            })
            .collect();
        let step = axes.iter().map(|a| a.step).collect();
        let packed = packed(&taps[last]);
        Some(Self { shape, row, step, runs, taps, packed })
    }

    /// Cells in all, padding included.
    pub fn cells(&self) -> usize {
        self.shape[..self.shape.len() - 1].iter().product::<usize>() * self.row
    }

    /// Where the bins are: first bin, first cell, count.
    pub fn runs(&self) -> &[(usize, usize, usize)] {
        &self.runs
    }

    /// Cells from one point of an axis to the next.
    pub fn stride(&self, axis: usize) -> usize {
        let last = self.shape.len() - 1;
        if axis == last { 1 } else { self.shape[axis + 1..last].iter().product::<usize>() * self.row }
    }

    /// Points along an axis, padding included.
    pub fn extent(&self, axis: usize) -> usize {
        if axis + 1 == self.shape.len() { self.row } else { self.shape[axis] }
    }

    fn apply(&self, x: &[f64], y: &mut [f64], scratch: &mut Scratch) {
        let Scratch { cells, other } = scratch;
        let n = self.cells();
        cells.clear();
        cells.resize(n, 0.0);
        if let [taps] = self.taps.as_slice() {
            let reach = taps.len() / 2;
            other.clear();
            other.resize(reach_of_row(taps.len(), self.row), 0.0);
            for &(bin, cell, count) in &self.runs {
                other[reach + cell..reach + cell + count].copy_from_slice(&x[bin..bin + count]);
            }
            correlate_row(&self.packed, other, cells);
            for &(bin, cell, count) in &self.runs {
                y[bin..bin + count].copy_from_slice(&cells[cell..cell + count]);
            }
            return;
        }
        for &(bin, cell, count) in &self.runs {
            cells[cell..cell + count].copy_from_slice(&x[bin..bin + count]);
        }
        for axis in 0..self.shape.len() {
            let taps = &self.taps[axis];
            let reach = taps.len() / 2;
            let (points, stride) = (self.shape[axis], self.stride(axis));
            if reach == 0 {
                continue;
            }
            if stride == 1 {
                // Zeros on both sides, so that every output has all taps.
                other.clear();
                other.resize(reach_of_row(taps.len(), self.row), 0.0);
                for row in cells.chunks_exact_mut(self.row) {
                    other[reach..reach + points].copy_from_slice(&row[..points]);
                    correlate_row(&self.packed, other, row);
                    row[points..].fill(0.0);
                }
            } else {
                other.clear();
                other.resize(n, 0.0);
                for (from, to) in cells.chunks_exact(points * stride).zip(other.chunks_exact_mut(points * stride)) {
                    for (i, to) in to.chunks_exact_mut(stride).enumerate() {
                        let (low, high) = (i.saturating_sub(reach), (i + reach).min(points - 1));
                        correlate(&taps[low + reach - i..=high + reach - i], &from[low * stride..], stride, to);
                    }
                }
                std::mem::swap(cells, other);
            }
            if axis + 1 < self.shape.len() {
                normalise(cells, 1.0);
            }
        }
        for &(bin, cell, count) in &self.runs {
            y[bin..bin + count].copy_from_slice(&cells[cell..cell + count]);
        }
    }
}

impl Scattered {
    fn new(centers: &Array2<f64>, var: f64) -> Result<Self> {
        let bins = centers.nrows();
        let mut order: Vec<usize> = (0..bins).collect();
        let ordering = |a: &usize, b: &usize| {
            let (a, b) = (centers.row(*a), centers.row(*b));
            a.iter().zip(&b).map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        };
        order.sort_by(ordering);
        let (mut first, mut runs, mut values) = (vec![0], Vec::new(), Vec::<f64>::new());
        for p in &order {
            let mut open = false;
            for (column, q) in order.iter().enumerate() {
                let value = (-squared_distance(centers, *p, *q) / (2.0 * var)).exp();
                if value > CUT {
                    if !open {
                        runs.push((column, 0, values.len()));
                    }
                    if let Some(run) = runs.last_mut() {
                        run.1 += 1;
                    }
                    let bytes = 8 * (values.len() as u64 + 1);
                    let what = "the random walk's transitions";
                    values.try_reserve(1).map_err(|_| Error::OutOfMemory { bytes, what: what.into() })?;
                    values.push(value);
                }
                open = value > CUT;
            }
            first.push(runs.len());
        }
        Ok(Self { order, first, runs, values })
    }

    /// The bins within reach of the bin at place `k`, itself among them.
    pub fn neighbours(&self, k: usize) -> impl Iterator<Item = usize> {
        let runs = &self.runs[self.first[k]..self.first[k + 1]];
        runs.iter().flat_map(|&(column, n, _)| self.order[column..column + n].iter().copied())
    }

    fn apply(&self, x: &[f64], y: &mut [f64], scratch: &mut Scratch) {
        let Scratch { cells, other } = scratch;
        cells.clear();
        cells.extend(self.order.iter().map(|bin| x[*bin]));
        other.clear();
        other.resize(x.len(), 0.0);
        let row = |(k, y): (usize, &mut f64)| {
            let of_run =
                |&(column, n, at): &(usize, usize, usize)| dot(&self.values[at..at + n], &cells[column..column + n]);
            *y = self.runs[self.first[k]..self.first[k + 1]].iter().map(of_run).sum();
        };
        if self.values.len() >= SHARED {
            other.par_iter_mut().with_min_len(64).enumerate().for_each(row);
        } else {
            other.iter_mut().enumerate().for_each(row);
        }
        for (bin, value) in self.order.iter().zip(other) {
            y[*bin] = *value;
        }
    }
}

/// cm².
pub(super) fn squared_distance(centers: &Array2<f64>, p: usize, q: usize) -> f64 {
    centers.row(p).iter().zip(&centers.row(q)).map(|(a, b)| (a - b).powi(2)).sum()
}

impl Walk {
    pub fn new(centers: &Array2<f64>, movement_var: f64) -> Result<Self> {
        let form = match Grid::new(centers, movement_var) {
            Some(grid) => Form::Grid(grid),
            None => Form::Scattered(Scattered::new(centers, movement_var)?),
        };
        let bins = centers.nrows();
        let mut walk = Self { movement_var, form, scale: vec![1.0; bins] };
        let mut sums = vec![0.0; bins];
        walk.kernel(&vec![1.0; bins], &mut sums, &mut Scratch::default());
        walk.scale = sums.into_iter().map(|s| 1.0 / s).collect();
        Ok(walk)
    }

    /// `y = K x`. K is symmetric, so this serves both directions of time.
    pub fn kernel(&self, x: &[f64], y: &mut [f64], scratch: &mut Scratch) {
        match &self.form {
            Form::Grid(grid) => grid.apply(x, y, scratch),
            Form::Scattered(scattered) => scattered.apply(x, y, scratch),
        }
    }

    pub fn grid(&self) -> Option<&Grid> {
        match &self.form {
            Form::Grid(grid) => Some(grid),
            Form::Scattered(_) => None,
        }
    }

    pub fn scattered(&self) -> Option<&Scattered> {
        match &self.form {
            Form::Grid(_) => None,
            Form::Scattered(scattered) => Some(scattered),
        }
    }

    /// "grid", or "sparse" where the bins lie on none.
    pub fn form(&self) -> &'static str {
        if self.grid().is_some() { "grid" } else { "sparse" }
    }

    /// Multiply-adds of one application.
    pub fn operations(&self) -> u64 {
        match &self.form {
            Form::Grid(grid) => grid.taps.iter().map(|t| (t.len() * grid.cells()) as u64).sum(),
            Form::Scattered(scattered) => scattered.values.len() as u64,
        }
    }

    /// Bytes of what it keeps, and of its scratch.
    pub fn bytes(&self) -> u64 {
        let words = match &self.form {
            Form::Grid(grid) => {
                3 * grid.runs.len()
                    + grid.taps.iter().chain([&grid.packed]).map(Vec::len).sum::<usize>()
                    + 3 * grid.cells()
            }
            Form::Scattered(s) => s.values.len() + 3 * s.runs.len() + s.first.len() + 3 * s.order.len(),
        };
        8 * (words + self.scale.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn check(centers: &Array2<f64>, form: &str) {
        let var = 6.0;
        let walk = Walk::new(centers, var).unwrap();
        assert_eq!(walk.form(), form);
        let n = centers.nrows();
        let x: Vec<f64> = (0..n).map(|i| 1.0 + (i as f64 * 0.7).sin()).collect();
        let mut y = vec![0.0; n];
        walk.kernel(&x, &mut y, &mut Scratch::default());
        for (p, y) in y.iter().enumerate() {
            let k: Vec<f64> = (0..n).map(|q| (-squared_distance(centers, p, q) / (2.0 * var)).exp()).collect();
            let truth: f64 = k.iter().zip(&x).map(|(k, x)| k * x).sum();
            assert!((y / truth - 1.0).abs() < 1e-12, "bin {p}: {y} for {truth}");
            assert!((walk.scale[p] * k.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_walk_is_its_matrix_on_grids_and_off_them() {
        let line = |n: usize, f: &dyn Fn(usize) -> f64| Array2::from_shape_fn((n, 1), |(i, _)| f(i));
        check(&line(1, &|_| 3.0), "grid");
        check(&line(100, &|i| 5.0 + 2.0 * i as f64), "grid");
        // A gap, and an order that is not that of the track.
        check(&line(90, &|i| 2.0 * (if i < 40 { i } else { i + 25 }) as f64), "grid");
        check(&line(97, &|i| 1.5 * (i * 31 % 97) as f64), "grid");
        // Two bins at one place, each of which counts.
        check(&line(50, &|i| 2.0 * (i.max(1) - 1) as f64), "sparse");
        // Arms with bins of different width.
        check(&line(80, &|i| if i < 40 { 2.0 * i as f64 } else { 100.3 + 1.937 * (i - 40) as f64 }), "sparse");
        let inside = |n: usize, m: usize| -> Vec<[f64; 2]> {
            let all = (0..n * m).map(|i| [2.0 * (i / m) as f64, 2.5 * (i % m) as f64]);
            all.filter(|[x, y]| (x - 20.0).powi(2) + (y - 20.0).powi(2) > 60.0).collect()
        };
        for (n, m) in [(20, 17), (41, 9), (2, 60), (60, 2)] {
            let cells = inside(n, m);
            check(&Array2::from_shape_fn((cells.len(), 2), |(i, k)| cells[i][k]), "grid");
        }
        let spiral =
            |i: usize, k: usize| i as f64 * 0.3 * if k == 0 { (i as f64 * 0.2).cos() } else { (i as f64 * 0.2).sin() };
        check(&Array2::from_shape_fn((200, 2), |(i, k)| spiral(i, k)), "sparse");
        check(&Array2::from_shape_fn((4 * 5 * 6, 3), |(i, k)| 2.0 * [i / 30, i / 6 % 5, i % 6][k] as f64), "grid");
    }
}
