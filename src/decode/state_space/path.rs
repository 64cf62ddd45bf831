//! The most likely path.

use std::ops::Range;
use std::time::Instant;

use rayon::prelude::*;

use super::filter::Row;
use super::plan::zeros;
use super::walk::squared_distance;
use super::{EPSILON, Observation, Observed, Options, Plan, StateSpace, Task, Transition};
use crate::Result;
use crate::device::Control;

/// The most likely sequence of state bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// T state bins; [`StateSpace::locate`] gives the discrete state and the position bin of each.
    pub state_bins: Vec<u32>,
    /// ln p(path, data).
    pub log_probability: f64,
    /// The plan that was followed.
    pub plan: Plan,
}

const NEVER: f64 = f64::NEG_INFINITY;

/// Upper envelope of parabolas `value_i − (x − x_i)² c` with ascending x_i.
#[derive(Default)]
struct Envelope {
    /// The parabolas on the envelope, and where each begins to be the highest.
    on: Vec<usize>,
    from: Vec<f64>,
}

impl Envelope {
    /// The highest parabola at each of the positions: calls `out(i, value, winner)`; nothing where there is none.
    fn of(
        &mut self,
        n: usize,
        x: impl Fn(usize) -> f64,
        y: impl Fn(usize) -> f64,
        c: f64,
        mut out: impl FnMut(usize, f64, usize),
    ) {
        let Self { on, from } = self;
        on.clear();
        from.clear();
        for q in 0..n {
            if y(q) == NEVER {
                continue;
            }
            let mut begin = NEVER;
            while let Some(&p) = on.last() {
                let apart = x(q) - x(p);
                begin = if apart > 0.0 {
                    0.5 * ((y(p) - y(q)) / (c * apart) + x(p) + x(q))
                } else if y(q) > y(p) {
                    NEVER
                } else {
                    f64::INFINITY
                };
                if from.last().is_some_and(|f| begin <= *f) {
                    on.pop();
                    from.pop();
                    begin = NEVER;
                } else {
                    break;
                }
            }
            if begin < f64::INFINITY {
                on.push(q);
                from.push(begin);
            }
        }
        if on.is_empty() {
            return;
        }
        let mut k = 0;
        for i in 0..n {
            while k + 1 < on.len() && from[k + 1] < x(i) {
                k += 1;
            }
            let best = on[k];
            out(i, y(best) - (x(i) - x(best)).powi(2) * c, best);
        }
    }
}

/// Memory of one step.
struct Step<'a> {
    space: &'a StateSpace,
    envelope: Envelope,
    /// Interior bins by position, where there is one dimension.
    sorted: Vec<usize>,
    log_scale: Vec<Vec<f64>>,
    start: Vec<f64>,
    value: Vec<f64>,
    source: Vec<u32>,
    cells: Vec<f64>,
    sources: Vec<u32>,
    line: Vec<f64>,
    line_source: Vec<u32>,
}

impl<'a> Step<'a> {
    fn new(space: &'a StateSpace) -> Self {
        let p = space.n_bins();
        let mut sorted: Vec<usize> = (0..p).collect();
        sorted.sort_by(|a, b| space.centers[[*a, 0]].total_cmp(&space.centers[[*b, 0]]));
        Self {
            space,
            envelope: Envelope::default(),
            sorted,
            log_scale: space.walks.iter().map(|w| w.scale.iter().map(|s| s.ln()).collect()).collect(),
            start: vec![0.0; p],
            value: vec![0.0; p],
            source: vec![0; p],
            cells: Vec::new(),
            sources: Vec::new(),
            line: Vec::new(),
            line_source: Vec::new(),
        }
    }

    /// `value[q] = max_p delta[p] + ln K(p, q) / Σ K(p, ·)` and the p that has it.
    fn walk(&mut self, w: usize, delta: &[f64]) {
        let (space, walk) = (self.space, &self.space.walks[w]);
        let c = 1.0 / (2.0 * walk.movement_var);
        for ((start, d), s) in self.start.iter_mut().zip(delta).zip(&self.log_scale[w]) {
            *start = d + s;
        }
        self.value.fill(NEVER);
        let (start, value, source) = (&self.start, &mut self.value, &mut self.source);
        if space.centers.ncols() == 1 {
            let sorted = &self.sorted;
            let x = |i: usize| space.centers[[sorted[i], 0]];
            self.envelope.of(
                sorted.len(),
                x,
                |i| start[sorted[i]],
                c,
                |i, best, from| {
                    value[sorted[i]] = best;
                    source[sorted[i]] = sorted[from] as u32;
                },
            );
        } else if let Some(grid) = walk.grid() {
            let n = grid.cells();
            self.cells.clear();
            self.cells.resize(n, NEVER);
            self.sources.clear();
            self.sources.resize(n, 0);
            for &(bin, cell, count) in grid.runs() {
                self.cells[cell..cell + count].copy_from_slice(&start[bin..bin + count]);
                for k in 0..count {
                    self.sources[cell + k] = (bin + k) as u32;
                }
            }
            for axis in 0..grid.shape.len() {
                let (points, stride, h) = (grid.shape[axis], grid.stride(axis), grid.step[axis]);
                // Lines begin wherever the axis' own index is zero; the padding of the last axis is no line of another.
                for base in (0..n).filter(|at| at / stride % grid.extent(axis) == 0) {
                    self.line.clear();
                    self.line_source.clear();
                    for i in 0..points {
                        self.line.push(self.cells[base + i * stride]);
                        self.line_source.push(self.sources[base + i * stride]);
                    }
                    let (line, line_source) = (&self.line, &self.line_source);
                    let (cells, sources) = (&mut self.cells, &mut self.sources);
                    self.envelope.of(
                        points,
                        |i| i as f64 * h,
                        |i| line[i],
                        c,
                        |i, best, from| {
                            cells[base + i * stride] = best;
                            sources[base + i * stride] = line_source[from];
                        },
                    );
                }
            }
            for &(bin, cell, count) in grid.runs() {
                value[bin..bin + count].copy_from_slice(&self.cells[cell..cell + count]);
                source[bin..bin + count].copy_from_slice(&self.sources[cell..cell + count]);
            }
        } else if let Some(near) = walk.scattered() {
            // Whoever is farther than the near ones has lost the logarithm of the cut.
            let far = start.iter().copied().fold(NEVER, f64::max) + EPSILON.ln();
            let each = |(k, (best, from)): (usize, (&mut f64, &mut u32))| {
                let q = near.order[k];
                let look = |(best, from): (f64, u32), p: usize| {
                    let candidate = start[p] - squared_distance(&space.centers, p, q) * c;
                    let better = candidate > best || candidate == best && (p as u32) < from;
                    if better { (candidate, p as u32) } else { (best, from) }
                };
                let mut found = near.neighbours(k).fold((NEVER, u32::MAX), look);
                if found.0 <= far {
                    found = (0..start.len()).fold(found, look);
                }
                (*best, *from) = found;
            };
            // By place in the order; sorted back below.
            let (cells, sources) = (&mut self.cells, &mut self.sources);
            cells.clear();
            cells.resize(start.len(), NEVER);
            sources.clear();
            sources.resize(start.len(), 0);
            cells.par_iter_mut().zip(sources.par_iter_mut()).with_min_len(64).enumerate().for_each(each);
            for (k, q) in near.order.iter().enumerate() {
                (value[*q], source[*q]) = (cells[k], sources[k]);
            }
        }
    }

    /// One step from `delta` to `next`, before the likelihood; `back` receives the predecessors.
    fn step(&mut self, delta: &[f64], next: &mut [f64], back: &mut [u32]) {
        let space = self.space;
        next.fill(NEVER);
        let mut take = |at: usize, value: f64, from: usize| {
            if value > next[at] {
                (next[at], back[at]) = (value, from as u32);
            }
        };
        for (i, from) in space.ranges.iter().enumerate() {
            let delta = &delta[from.clone()];
            let (best, top) = first_max(delta);
            if top == NEVER {
                continue;
            }
            let log: Vec<f64> = space.discrete.row(i).iter().map(|d| d.ln()).collect();
            for (j, to) in space.ranges.iter().enumerate().filter(|(j, _)| space.discrete[[i, *j]] > 0.0) {
                match space.continuous[i][j] {
                    Transition::Uniform | Transition::Discrete => {
                        let value = top + log[j] - (to.len() as f64).ln();
                        to.clone().for_each(|at| take(at, value, from.start + best));
                    }
                    Transition::Identity => {
                        for (p, d) in delta.iter().enumerate() {
                            take(to.start + p, d + log[j], from.start + p);
                        }
                    }
                    Transition::RandomWalk { .. } => {}
                }
            }
            for w in 0..space.walks.len() {
                let mut walked = false;
                for (j, to) in space.ranges.iter().enumerate().filter(|(j, _)| space.discrete[[i, *j]] > 0.0) {
                    if space.walk(i, j) == Some(w) {
                        if !walked {
                            self.walk(w, delta);
                            walked = true;
                        }
                        for (p, (value, source)) in self.value.iter().zip(&self.source).enumerate() {
                            take(to.start + p, value + log[j], from.start + *source as usize);
                        }
                    }
                }
            }
        }
    }
}

/// The largest value and where it is first.
fn first_max(x: &[f64]) -> (usize, f64) {
    x.iter().enumerate().fold((0, NEVER), |best, (i, v)| if *v > best.1 { (i, *v) } else { best })
}

/// A job under way.
struct Job<'a> {
    step: Step<'a>,
    plan: Plan,
    control: &'a Control<'a>,
    started: Instant,
    ll: Vec<f32>,
    rows: Vec<Row>,
    back: Vec<u32>,
    delta: Vec<f64>,
    next: Vec<f64>,
    /// What has been taken off `delta`.
    offset: f64,
}

impl Job<'_> {
    fn chunk(&self, index: usize) -> Range<usize> {
        let start = index * self.plan.chunk_rows;
        start..(start + self.plan.chunk_rows).min(self.plan.n_time)
    }

    /// Steps through a chunk from `delta` of the row before it, and leaves the predecessors of its rows.
    fn forward(&mut self, data: &mut Observed<'_>, rows: &Range<usize>) -> Result<()> {
        let space = self.step.space;
        let (p, s) = (space.n_bins(), space.n_state_bins());
        let n = rows.len();
        space.read(data, rows, &mut self.ll[..n * p], &mut self.rows[..n])?;
        for (r, t) in rows.clone().enumerate() {
            if r.is_multiple_of(256) {
                self.control.check(self.started)?;
            }
            if t == 0 {
                self.offset = 0.0;
                for (next, p) in self.next.iter_mut().zip(&space.initial) {
                    *next = p.ln();
                }
            } else {
                self.step.step(&self.delta, &mut self.next, &mut self.back[r * s..(r + 1) * s]);
            }
            let row = &self.rows[r];
            for (state, range) in space.states.iter().zip(&space.ranges) {
                let next = &mut self.next[range.clone()];
                if row.missing() {
                    continue;
                }
                if state.observation == Observation::NonLocal {
                    for (next, ll) in next.iter_mut().zip(&self.ll[r * p..(r + 1) * p]) {
                        *next += f64::from(*ll);
                    }
                } else {
                    next[0] += row.of(state.observation);
                }
            }
            // Small numbers keep their digits over a long session.
            let (_, top) = first_max(&self.next);
            self.next.iter_mut().for_each(|x| *x -= top);
            self.offset += top;
            std::mem::swap(&mut self.delta, &mut self.next);
        }
        Ok(())
    }
}

impl StateSpace {
    /// The sequence of state bins that is most probable as a whole; of equal ones, that through the first bins.
    ///
    /// Predecessors (4 bytes a state bin) are kept for one chunk at a time: every chunk but the last is read and stepped
    /// through twice. Where the bins lie on a line or a grid, time does not grow with the square of their number; elsewhere
    /// it does in steps that contradict the walk by more than ε.
    ///
    /// # Errors
    /// As [`StateSpace::filter`].
    pub fn most_likely_path(&self, data: &mut Observed<'_>, options: &Options, control: &Control<'_>) -> Result<Path> {
        self.check(data)?;
        let plan = self.plan(data.non_local.n_time(), Task::MostLikelyPath, options)?;
        let (s, what) = (self.n_state_bins(), "the most likely path");
        let mut job = Job {
            step: Step::new(self),
            plan,
            control,
            started: Instant::now(),
            ll: zeros(plan.chunk_rows * self.n_bins(), what)?,
            rows: vec![Row::default(); plan.chunk_rows],
            back: zeros(plan.chunk_rows * s, what)?,
            delta: zeros(s, what)?,
            next: zeros(s, what)?,
            offset: 0.0,
        };
        let mut checkpoints: Vec<f64> = zeros(plan.chunks * s, what)?;
        let mut done = 0;
        let mut report = |rows: usize| {
            done += rows as u64;
            control.report(done, 2 * plan.n_time as u64);
        };
        for (index, checkpoint) in checkpoints.chunks_exact_mut(s).enumerate() {
            checkpoint.copy_from_slice(&job.delta);
            let rows = job.chunk(index);
            job.forward(data, &rows)?;
            report(rows.len());
        }
        let (last, top) = first_max(&job.delta);
        let log_probability = job.offset + top;
        let mut state_bins: Vec<u32> = zeros(plan.n_time, what)?;
        let mut state = last as u32;
        for index in (0..plan.chunks).rev() {
            let rows = job.chunk(index);
            if index + 1 < plan.chunks {
                job.delta.copy_from_slice(&checkpoints[index * s..(index + 1) * s]);
                job.forward(data, &rows)?;
            }
            for t in rows.clone().rev() {
                state_bins[t] = state;
                if t > 0 {
                    state = job.back[(t - rows.start) * s + state as usize];
                }
            }
            report(rows.len());
        }
        Ok(Path { state_bins, log_probability, plan })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_the_best_of_all_pairs() {
        let mut envelope = Envelope::default();
        for (n, seed) in [(1, 1u32), (2, 2), (50, 3), (200, 4)] {
            let hash = |i: usize| {
                f64::from(crate::random::philox4x32([i as u32, 0, 0, 0], [seed, 0])[0]) / f64::from(u32::MAX)
            };
            let mut x: Vec<f64> = (0..n).map(|i| 300.0 * hash(i)).collect();
            x.sort_by(f64::total_cmp);
            if n > 10 {
                x[5] = x[4];
            }
            let y: Vec<f64> = (0..n).map(|i| if i % 7 == 3 { NEVER } else { -90.0 * hash(i + 1000) }).collect();
            let c = 1.0 / 12.0;
            let mut seen = 0;
            envelope.of(
                n,
                |i| x[i],
                |i| y[i],
                c,
                |i, value, from| {
                    let pairs = (0..n).map(|p| y[p] - (x[i] - x[p]).powi(2) * c);
                    assert!((value - pairs.fold(NEVER, f64::max)).abs() < 1e-10);
                    assert!((value - (y[from] - (x[i] - x[from]).powi(2) * c)).abs() < 1e-12);
                    seen += 1;
                },
            );
            assert_eq!(seen, n);
        }
        envelope.of(3, |i| i as f64, |_| NEVER, 1.0, |_, _, _| panic!("nothing to see"));
    }
}
