//! The log likelihood of position in each time bin, planned to a budget and streamed in chunks.
//!
//! With the symbols of [`EncodingModel`](super::EncodingModel), a decoding spike s of electrode e at bin p has the log intensity
//!
//! `ln λ_e(s, p) = ln rate_e − ln occ(p) − ln Σ_i w_i + ln Σ_i w_i Π_k N(m_sk; m_ik, σw_k²) Π_k N(p_k; x_ik, σx_k²)`
//!
//! and time bin t has `ll[t][p] = −Λ(p)·c + Σ_{s in t} ln λ(s, p)`, where c is 1, or the position samples in a time bin
//! if a width is given. An electrode without encoding spikes and a bin never visited count ln 1e-15 a spike.
//!
//! The spikes of a time bin are added in the order of their times, electrodes in their canonical order where times are
//! equal: chunks, budgets, threads and the order of electrodes do not change a bit of the result on one device.

use std::cmp::Ordering;
use std::time::Instant;

use ndarray::{Array2, ArrayView2, Axis};
use serde::Serialize;

use super::model::{EncodingElectrode, EncodingModel};
use super::{Spikes, TimeBins};
use crate::device::{Control, Device, Prepared};
use crate::ops::{GridSpec, KDE_SCALE, Kde, KdeCapacity, KdeElectrode, KdeModel, KdeRows};
use crate::recording::{Recording, Role};
use crate::{Error, Result};

/// Log likelihoods of one chunk, unless it is told otherwise: large beside the cost of a run, small beside a budget.
const CHUNK_BYTES: u64 = 64 << 20;
/// Spikes that a tile of the kernels holds; a chunk has room for one of them at least.
pub(super) const LEAST_SPIKES: usize = 128;
/// Decoding spikes on which a grid is compared with the exact method, about.
const SAMPLES: usize = 4 * LEAST_SPIKES;

/// ln 1e-15: the reference's floor of a log intensity.
pub const REFERENCE_FLOOR: f64 = -34.538_776_394_910_684;

/// How the sum over encoding spikes is computed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every pair of spikes and every bin, to the rounding of f32.
    #[default]
    Exact,
    /// Marks scattered onto a grid of positions by B-splines, then a banded kernel. The grid is the coarsest one that
    /// keeps to the tolerance on sampled spikes at all bins.
    Gridded {
        /// The largest error of a spike's log intensity, in nats.
        tolerance: f64,
    },
}

/// What is computed, and in which portions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LikelihoodOptions {
    /// The method; exact by default.
    pub method: Method,
    /// The least log intensity of a spike, in nats; none by default. [`REFERENCE_FLOOR`] gives the reference's results.
    pub log_intensity_floor: Option<f64>,
    /// Width of the time bins in seconds, by which Λ, which is per position sample, is scaled. Without it Λ counts
    /// once for each time bin, whatever its width, as in the reference.
    pub time_bin_size: Option<f64>,
    /// The most time bins of a chunk; by default as many as fit the budget, up to 64 MiB of results.
    pub chunk_bins: Option<usize>,
    /// Bytes of host memory that the caller will hold beside, such as the whole result. On the native path, where device
    /// and host memory are the same, they leave less of the budget for chunks.
    pub reserved_bytes: u64,
}

/// The grid of the gridded method, and how right it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GridReport {
    /// Order of the splines.
    pub order: usize,
    /// Nodes for each standard deviation of the position kernel.
    pub nodes_per_std: f64,
    /// The largest difference from the exact method among the sampled spikes, over all bins, in nats.
    pub error: f64,
    /// Spikes sampled.
    pub samples: usize,
}

/// What a likelihood will take, known before any work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LikelihoodPlan {
    /// The method that runs: exact, too, where no grid keeps to the tolerance of the gridded one.
    pub method: Method,
    /// The grid of the gridded method.
    pub grid: Option<GridReport>,
    /// Whether the likelihood is of the animal's own position.
    pub local: bool,
    /// T, time bins.
    pub n_time: usize,
    /// P, position bins; 1 if local.
    pub n_bins: usize,
    /// Decoding spikes within the time bins.
    pub n_spikes: usize,
    /// Encoding spikes.
    pub n_encoding_spikes: usize,
    /// Runs of the device.
    pub chunks: usize,
    /// Time bins of a chunk.
    pub chunk_bins: usize,
    /// Spikes of a chunk.
    pub chunk_spikes: usize,
    /// Kernel dispatches of a chunk.
    pub dispatches: usize,
    /// Multiply-adds and kernels of all chunks, about.
    pub operations: f64,
    /// Device memory (on the native path: memory of the kernels).
    pub device_bytes: u64,
    /// What this crate holds beside it on the host: spikes, scaled marks, tables, one chunk's results.
    pub host_bytes: u64,
    /// Bytes of the whole result.
    pub output_bytes: u64,
    /// What counts against the budget: the device memory, and on the native path what is held beside it and reserved.
    pub counted_bytes: u64,
    /// The smallest budget with which it runs, to the same result.
    pub least_bytes: u64,
    /// The device's budget.
    pub budget_bytes: u64,
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct RunReport {
    /// Milliseconds of preparing: buffers, uploads, pipelines.
    pub warmup_ms: f64,
    /// Milliseconds of the first chunk.
    pub first_ms: f64,
    /// Milliseconds of all chunks, without what the caller did with them.
    pub likelihood_ms: f64,
    /// Chunks run.
    pub chunks: usize,
    /// The most bytes that the device has held.
    pub peak_bytes: u64,
}

/// A decoding spike in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub bin: usize,
    pub electrode: u32,
    pub spike: u32,
}

/// Rows and spikes of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Chunk {
    rows: [usize; 2],
    spikes: [usize; 2],
    /// The first row goes on from the run before.
    continues: bool,
}

/// Scaled so that a kernel is 2^(−|u − v|²), around a centre.
pub(super) fn scaled(values: impl Iterator<Item = f64>, centre: &[f64], std: &[f64]) -> Vec<f32> {
    let dims = centre.len();
    values.enumerate().map(|(i, v)| ((v - centre[i % dims]) * KDE_SCALE / std[i % dims]) as f32).collect()
}

/// ln Π_k 1/(σ_k √2π).
pub(super) fn log_norm(std: &[f64]) -> f64 {
    std.iter().map(|s| -(s * (2.0 * std::f64::consts::PI).sqrt()).ln()).sum()
}

/// Means of the columns, or zeros.
pub(super) fn means(x: ArrayView2<'_, f32>) -> Vec<f64> {
    let n = x.nrows().max(1) as f64;
    x.columns().into_iter().map(|c| c.iter().map(|v| f64::from(*v)).sum::<f64>() / n).collect()
}

/// The encoding side of an electrode as the kernels take it.
struct Scaled {
    centre: Vec<f64>,
    marks: Vec<f32>,
    positions: Vec<f32>,
    log2_weights: Vec<f32>,
    constant: f32,
}

/// Spikes that are near each other on the track one behind the other, so that kernels can leave out what is far.
/// In one dimension they are already.
fn along_track(e: &EncodingElectrode, position_std: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..e.len()).collect();
    if position_std.len() > 1 {
        // Cells of two standard deviations along a Z-order curve; the sort is stable, so that ties keep their order.
        let cell = |i: usize, k: usize| (e.positions()[[i, k]] / (2.0 * position_std[k])).floor() as i64;
        let curve = |i: usize| {
            let positive = |k| cell(i, k).saturating_add(1 << 30) as u64;
            let (x, y) = (positive(0), positive(1));
            (0..32).fold(0u64, |z, b| z | (x >> b & 1) << (2 * b) | (y >> b & 1) << (2 * b + 1))
        };
        order.sort_by_cached_key(|i| curve(*i));
    }
    order
}

impl Scaled {
    fn new(e: &EncodingElectrode, position_std: &[f64], place: &[f64]) -> Self {
        let order = along_track(e, position_std);
        let centre = means(e.features().view());
        let features = e.features().select(Axis(0), &order);
        let positions = e.positions().select(Axis(0), &order);
        let constant = e.mean_rate().ln() - e.total_weight().ln() + log_norm(e.waveform_std()) + log_norm(position_std);
        Self {
            marks: scaled(features.iter().map(|v| f64::from(*v)), &centre, e.waveform_std()),
            positions: scaled(positions.iter().copied(), place, position_std),
            log2_weights: match e.weights() {
                [] => Vec::new(),
                w => order.iter().map(|i| w[*i].log2() as f32).collect(),
            },
            constant: if e.is_empty() { 0.0 } else { constant as f32 },
            centre,
        }
    }
}

/// Every spike that falls into a time bin, in the order in which it is added.
pub(super) fn place(model: &EncodingModel, bins: &TimeBins, spikes: &[Spikes]) -> Vec<Placed> {
    // Electrodes with the same contents have the same rank: nothing tells their spikes apart but marks and times.
    let mut rank = vec![0u32; spikes.len()];
    let order = model.canonical_order();
    for pair in order.windows(2) {
        let same = model.electrodes()[pair[0]].same_contents(&model.electrodes()[pair[1]]);
        rank[pair[1]] = rank[pair[0]] + u32::from(!same);
    }
    let mut placed = Vec::with_capacity(spikes.iter().map(Spikes::len).sum());
    for (e, x) in spikes.iter().enumerate() {
        for (i, t) in x.times().iter().enumerate() {
            if let Some(bin) = bins.bin_of(*t) {
                placed.push(Placed { bin, electrode: e as u32, spike: i as u32 });
            }
        }
    }
    let time = |p: &Placed| spikes[p.electrode as usize].times()[p.spike as usize];
    let marks = |p: &Placed| spikes[p.electrode as usize].features().row(p.spike as usize);
    placed.sort_unstable_by(|a, b| {
        let by_marks = || {
            let pairs = marks(a).into_iter().zip(marks(b)).map(|(x, y)| x.total_cmp(y));
            pairs.fold(Ordering::Equal, Ordering::then)
        };
        time(a)
            .total_cmp(&time(b))
            .then_with(|| rank[a.electrode as usize].cmp(&rank[b.electrode as usize]))
            .then_with(by_marks)
    });
    placed
}

/// The marks of these spikes, electrode by electrode, and (electrode, place among its spikes) of each.
pub(super) fn gather<'a>(
    placed: impl IntoIterator<Item = &'a Placed>,
    marks: &[Vec<f32>],
    dims: &[usize],
) -> (Vec<Vec<f32>>, Vec<[u32; 2]>) {
    let mut gathered = vec![Vec::new(); marks.len()];
    let mut order = Vec::new();
    for p in placed {
        let (e, dims) = (p.electrode as usize, dims[p.electrode as usize]);
        order.push([p.electrode, (gathered[e].len() / dims) as u32]);
        gathered[e].extend_from_slice(&marks[e][p.spike as usize * dims..][..dims]);
    }
    (gathered, order)
}

/// A log likelihood that is planned, and can be run from any time bin on.
#[derive(Debug)]
pub struct Likelihood {
    device: Device,
    recording: Recording,
    kde: Kde,
    prepared: Option<Prepared>,
    plan: LikelihoodPlan,
    /// Scaled marks of all decoding spikes, electrode by electrode (m_e × D_e).
    marks: Vec<Vec<f32>>,
    dims: Vec<usize>,
    placed: Vec<Placed>,
    /// Where in `placed` each time bin begins, and the end.
    offsets: Vec<usize>,
    chunk: KdeCapacity,
}

impl Likelihood {
    /// Takes a device that was opened again after a loss; runs go on there.
    pub fn move_to(&mut self, device: &Device) {
        if device.generation() != self.device.generation() {
            (self.device, self.prepared) = (device.clone(), None);
        }
    }

    /// Plans the log likelihood of every interior bin in every time bin. Nothing runs yet, but for the gridded method: its
    /// grid is chosen by running candidates on samples of the spikes.
    ///
    /// # Errors
    /// `InvalidArgument` for spikes that do not go with the model or options out of their domain, `OverBudget` with the
    /// least that would do if not even one tile fits, `Unsupported` if the device cannot bind a tensor that is needed.
    pub fn new(
        device: &Device,
        model: &EncodingModel,
        bins: &TimeBins,
        spikes: &[Spikes],
        options: &LikelihoodOptions,
    ) -> Result<Self> {
        model.check_spikes(spikes)?;
        check(options)?;
        let (n_time, n_bins) = (bins.len(), model.environment().n_interior());
        let interior = model.environment().interior();
        let position_std = model.position_std();
        let origin: Vec<f64> = interior.mean_axis(Axis(0)).map_or_else(Vec::new, |m| m.to_vec());
        let scaled_electrodes: Vec<Scaled> =
            model.electrodes().iter().map(|e| Scaled::new(e, position_std, &origin)).collect();
        let factor = time_factor(model, options)?;
        let intensity = model.summed_ground_process_intensity();
        let content = Content {
            bins: scaled(interior.iter().copied(), &origin, position_std),
            bin_constant: model.occupancy().iter().map(|o| if *o > 0.0 { -o.ln() as f32 } else { f32::MAX }).collect(),
            baseline: intensity.iter().map(|l| (-l * factor) as f32).collect(),
            floor: options.log_intensity_floor.map(|f| f as f32),
            position_dims: position_std.len(),
            electrodes: scaled_electrodes,
            dims: model.electrodes().iter().map(EncodingElectrode::dims).collect(),
        };

        let placed = place(model, bins, spikes);
        let mut offsets = vec![0usize; n_time + 1];
        for p in &placed {
            offsets[p.bin + 1] += 1;
        }
        for t in 0..n_time {
            offsets[t + 1] += offsets[t];
        }
        let marks: Vec<Vec<f32>> = spikes
            .iter()
            .zip(model.electrodes())
            .zip(&content.electrodes)
            .map(|((x, e), s)| scaled(x.features().iter().map(|v| f64::from(*v)), &s.centre, e.waveform_std()))
            .collect();

        // What is there beside chunks, all from the same budget where there is no other memory.
        let tables =
            marks.iter().map(|m| m.len() * 4).sum::<usize>() + size_of_val(&placed[..]) + size_of_val(&offsets[..]);
        let beside = Beside::new(device, tables as u64 + options.reserved_bytes);
        let (grid, chosen_bytes) = match options.method {
            Method::Exact => (None, 0),
            Method::Gridded { tolerance } => choose_grid(device, &content, &placed, &marks, (tolerance, beside))?,
        };
        let spec = grid.map(|g| GridSpec { order: g.order, per_sigma: g.nodes_per_std });
        let (recording, kde, chunk, least_bytes) =
            fit_to_budget(device, &content, &offsets, (options.chunk_bins, spec), beside)?;
        let counts: Vec<usize> = model.electrodes().iter().map(EncodingElectrode::len).collect();
        let mut pairs = 0.0;
        for p in &placed {
            pairs += counts[p.electrode as usize] as f64;
        }
        let device_plan = recording.plan();
        // A run hands out its rows.
        let host = tables as u64 + beside.kept(&recording) + (chunk.rows * n_bins * 4) as u64;
        let mut likelihood = Self {
            plan: LikelihoodPlan {
                method: if grid.is_some() { options.method } else { Method::Exact },
                grid,
                local: false,
                n_time,
                n_bins,
                n_spikes: placed.len(),
                n_encoding_spikes: counts.iter().sum(),
                chunks: 0,
                chunk_bins: chunk.rows,
                chunk_spikes: chunk.spikes,
                dispatches: device_plan.dispatches,
                operations: pairs * n_bins as f64,
                device_bytes: device_plan.peak_bytes().max(chosen_bytes),
                host_bytes: host,
                output_bytes: n_time as u64 * n_bins as u64 * 4,
                counted_bytes: beside.with(&recording),
                least_bytes: least_bytes.max(chosen_bytes + beside.bytes),
                budget_bytes: device.capabilities().budget_bytes,
            },
            device: device.clone(),
            recording,
            kde,
            prepared: None,
            dims: content.dims,
            marks,
            placed,
            offsets,
            chunk,
        };
        likelihood.plan.chunks = likelihood.chunks(0).count();
        Ok(likelihood)
    }

    /// What it will take.
    pub fn plan(&self) -> &LikelihoodPlan {
        &self.plan
    }

    /// The runs from a time bin on.
    fn chunks(&self, from_row: usize) -> impl Iterator<Item = Chunk> + use<'_> {
        let last = self.offsets.len() - 1;
        let mut row = from_row.min(last);
        // Spikes of `row` that have been counted.
        let mut done = 0;
        std::iter::from_fn(move || {
            if row == last {
                return None;
            }
            let first = self.offsets[row] + done;
            let continues = done > 0;
            let most = (row + self.chunk.rows).min(last);
            let end = row + self.offsets[row + 1..=most].partition_point(|at| *at - first <= self.chunk.spikes);
            if end == row {
                // One time bin has more spikes than a run takes.
                done += self.chunk.spikes;
                let spikes = [first, first + self.chunk.spikes];
                return Some(Chunk { rows: [row, row + 1], spikes, continues });
            }
            let chunk = Chunk { rows: [row, end], spikes: [first, self.offsets[end]], continues };
            (row, done) = (end, 0);
            Some(chunk)
        })
    }

    /// Allocates, uploads and compiles, which the first run does otherwise.
    ///
    /// # Errors
    /// As [`Device::prepare`].
    pub fn prepare(&mut self) -> Result<()> {
        if self.prepared.is_none() {
            self.prepared = Some(self.device.prepare(&self.recording)?);
        }
        Ok(())
    }

    /// Computes the time bins from `from_row` on and hands them to `sink` in order: the number of the first one, and rows of
    /// P log likelihoods. Progress is reported in time bins.
    ///
    /// # Errors
    /// As [`Prepared::run`], and what `sink` returns.
    pub fn run(
        &mut self,
        from_row: usize,
        control: &Control<'_>,
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<RunReport> {
        let started = Instant::now();
        control.check(started)?;
        self.prepare()?;
        let mut report = RunReport { warmup_ms: started.elapsed().as_secs_f64() * 1e3, ..RunReport::default() };
        let Some(mut prepared) = self.prepared.take() else {
            return Err(Error::Internal("a prepared likelihood is missing".into()));
        };
        let result = self.run_chunks(&mut prepared, from_row, (control, started), sink, &mut report);
        self.prepared = Some(prepared);
        report.peak_bytes = self.device.stats().memory.peak_bytes;
        result.map(|()| report)
    }

    fn run_chunks(
        &self,
        prepared: &mut Prepared,
        from_row: usize,
        (control, started): (&Control<'_>, Instant),
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
        report: &mut RunReport,
    ) -> Result<()> {
        let (n_bins, total) = (self.plan.n_bins, self.plan.n_time);
        let mut carry: Option<Vec<f32>> = None;
        for chunk in self.chunks(from_row) {
            let began = Instant::now();
            control.check(started)?;
            let [first, end] = chunk.rows;
            let (marks, order) = gather(&self.placed[chunk.spikes[0]..chunk.spikes[1]], &self.marks, &self.dims);
            let at = |t: usize| (self.offsets[t].clamp(chunk.spikes[0], chunk.spikes[1]) - chunk.spikes[0]) as u32;
            let offsets: Vec<u32> = (first..=end).map(at).collect();
            let slices: Vec<&[f32]> = marks.iter().map(Vec::as_slice).collect();
            let rows = KdeRows { offsets: &offsets, spikes: &order };
            let given = if chunk.continues { carry.as_deref() } else { None };
            let inputs = self.kde.pack(&slices, rows, given)?;
            let within = |done: u64, of: u64| {
                let part = (end - first) as u64 * done / of.max(1);
                control.report(first as u64 + part, total as u64);
            };
            let outputs = prepared.run(&inputs.feeds(), &control.rest(started, &within))?;
            let rows = &outputs.get(self.kde.log_likelihood)?[..(end - first) * n_bins];
            if report.chunks == 0 {
                report.first_ms = began.elapsed().as_secs_f64() * 1e3;
            }
            report.likelihood_ms += began.elapsed().as_secs_f64() * 1e3;
            report.chunks += 1;
            // A row that goes on in the next run is not whole yet.
            if chunk.spikes[1] < self.offsets[end] {
                carry = Some(rows[rows.len() - n_bins..].to_vec());
                continue;
            }
            sink(first, rows)?;
            control.report(end as u64, total as u64);
        }
        Ok(())
    }

    /// The whole log likelihood in memory (T × P).
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn to_array(&mut self, control: &Control<'_>) -> Result<Array2<f32>> {
        let (n_time, n_bins) = (self.plan.n_time, self.plan.n_bins);
        let mut out = Vec::new();
        let bytes = n_time as u64 * n_bins as u64 * 4;
        let oom = |_| Error::OutOfMemory { bytes, what: "the log likelihood; stream it to a file".into() };
        out.try_reserve_exact(n_time.saturating_mul(n_bins)).map_err(oom)?;
        self.run(0, control, &mut |_, rows| {
            out.extend_from_slice(rows);
            Ok(())
        })?;
        Array2::from_shape_vec((n_time, n_bins), out).map_err(|e| Error::Internal(e.to_string()))
    }
}

/// Everything that a recording is made of.
struct Content {
    bins: Vec<f32>,
    bin_constant: Vec<f32>,
    baseline: Vec<f32>,
    floor: Option<f32>,
    position_dims: usize,
    electrodes: Vec<Scaled>,
    dims: Vec<usize>,
}

impl Content {
    fn record(
        &self,
        device: &Device,
        capacity: KdeCapacity,
        spec: Option<GridSpec>,
        baseline: &[f32],
    ) -> Result<(Recording, Kde)> {
        let electrodes: Vec<KdeElectrode<'_>> = self
            .electrodes
            .iter()
            .zip(&self.dims)
            .map(|(s, dims)| KdeElectrode {
                marks: &s.marks,
                dims: *dims,
                positions: &s.positions,
                log2_weights: &s.log2_weights,
                constant: s.constant,
            })
            .collect();
        let model = KdeModel {
            electrodes: &electrodes,
            position_dims: self.position_dims,
            bins: &self.bins,
            bin_constant: &self.bin_constant,
            baseline,
            floor: self.floor,
        };
        let mut recording = device.recording("log likelihood");
        let kde = match spec {
            None => Kde::record(&mut recording, &model, capacity)?,
            Some(spec) => Kde::record_gridded(&mut recording, &model, capacity, spec)?,
        };
        Ok((recording, kde))
    }
}

/// Position samples in a time bin, by which Λ is scaled.
pub(super) fn time_factor(model: &EncodingModel, options: &LikelihoodOptions) -> Result<f64> {
    match options.time_bin_size {
        None => Ok(1.0),
        Some(_) if model.sample_period() == 0.0 => {
            let why = "the model has a single position sample, and no rate in time; leave it out";
            Err(Error::invalid("time_bin_size", why))
        }
        Some(size) => Ok(size / model.sample_period()),
    }
}

/// Options in their domain.
pub(super) fn check(options: &LikelihoodOptions) -> Result<()> {
    if let Some(size) = options.time_bin_size
        && !(size > 0.0 && size.is_finite())
    {
        return Err(Error::invalid("time_bin_size", format!("{size} s, must be positive")));
    }
    if let Some(floor) = options.log_intensity_floor
        && !floor.is_finite()
    {
        return Err(Error::invalid("log_intensity_floor", format!("{floor}, must be finite; leave it out for none")));
    }
    if let Method::Gridded { tolerance } = options.method
        && !(tolerance > 0.0 && tolerance.is_finite())
    {
        return Err(Error::invalid("tolerance", format!("{tolerance} nats, must be positive")));
    }
    if options.chunk_bins == Some(0) {
        return Err(Error::invalid("chunk_bins", "0; at least one time bin"));
    }
    Ok(())
}

/// Samples of the decoding spikes, evenly over time from each electrode: from every one at least one, if there is room.
fn samples<'a>(placed: &'a [Placed], electrodes: usize) -> Vec<&'a Placed> {
    let mut of: Vec<Vec<&'a Placed>> = vec![Vec::new(); electrodes];
    placed.iter().for_each(|p| of[p.electrode as usize].push(p));
    let each = (SAMPLES / of.iter().filter(|x| !x.is_empty()).count().max(1)).max(1);
    let spread = |x: &Vec<&'a Placed>| {
        let n = each.min(x.len());
        (0..n).map(|i| x[i * x.len() / n]).collect::<Vec<_>>()
    };
    of.iter().flat_map(spread).collect()
}

/// The first grid that is within the tolerance on samples of the decoding spikes, `None` if none is; and the device memory
/// that the choice took. A grid is chosen for its error at any depth (see [`GridSpec::for_tolerance`]): samples prove it.
fn choose_grid(
    device: &Device,
    content: &Content,
    placed: &[Placed],
    marks: &[Vec<f32>],
    (tolerance, beside): (f64, Beside),
) -> Result<(Option<GridReport>, u64)> {
    let samples = samples(placed, marks.len());
    let specs = GridSpec::for_tolerance(tolerance, content.position_dims)?;
    let Some(first) = specs.first().copied() else { return Ok((None, 0)) };
    let mut peak = 0;
    // A time bin for each sample, whose log likelihood is then the sample's log intensity.
    let nothing = vec![0.0; content.baseline.len()];
    let mut intensities = |spec: Option<GridSpec>| -> Result<Vec<f32>> {
        let capacity = KdeCapacity { spikes: LEAST_SPIKES, rows: LEAST_SPIKES };
        let (recording, kde) = content.record(device, capacity, spec, &nothing)?;
        peak = recording.plan().peak_bytes().max(peak);
        let prepared = device.prepare(&recording);
        let mut prepared = match prepared {
            Err(error @ Error::OverBudget { .. }) => {
                // What does without a grid does not do for the one that comes next.
                let (gridded, _) = content.record(device, capacity, Some(first), &nothing)?;
                return Err(error.with_least(beside.with(&recording).max(beside.with(&gridded))));
            }
            other => other?,
        };
        let mut out = Vec::with_capacity(samples.len() * nothing.len());
        for samples in samples.chunks(LEAST_SPIKES) {
            let (of_electrode, order) = gather(samples.iter().copied(), marks, &content.dims);
            let slices: Vec<&[f32]> = of_electrode.iter().map(Vec::as_slice).collect();
            let offsets: Vec<u32> = (0..=samples.len() as u32).collect();
            let inputs = kde.pack(&slices, KdeRows { offsets: &offsets, spikes: &order }, None)?;
            let outputs = prepared.run(&inputs.feeds(), &Control::default())?;
            out.extend_from_slice(&outputs.get(kde.log_likelihood)?[..samples.len() * nothing.len()]);
        }
        drop(prepared);
        // The grids differ in size: what one leaves is of no use to the next.
        device.trim();
        Ok(out)
    };
    let exact = intensities(None)?;
    for spec in specs {
        let gridded = match intensities(Some(spec)) {
            Ok(gridded) => gridded,
            // A grid that the device cannot bind is no way, but exact is. The budget never chooses the method: the
            // result would depend on it.
            Err(error @ Error::Unsupported { .. }) => {
                log::warn!("{} nodes a standard deviation: {error}", spec.per_sigma);
                break;
            }
            Err(error) => return Err(error),
        };
        let difference = |(a, b): (f32, &f32)| if a.is_finite() { f64::from((a - b).abs()) } else { f64::INFINITY };
        let error = gridded.into_iter().zip(&exact).map(difference).fold(0.0, f64::max);
        log::debug!("order {}, {} nodes a standard deviation: {error:.1e}", spec.order, spec.per_sigma);
        if error <= tolerance {
            let (order, nodes_per_std) = (spec.order, spec.per_sigma);
            return Ok((Some(GridReport { order, nodes_per_std, error, samples: samples.len() }), peak));
        }
    }
    Ok((None, peak))
}

/// Memory that is taken beside a chunk's.
#[derive(Clone, Copy)]
pub(super) struct Beside {
    bytes: u64,
    native: bool,
}

impl Beside {
    pub fn new(device: &Device, bytes: u64) -> Self {
        let native = device.capabilities().native;
        Self { bytes: if native { bytes } else { 0 }, native }
    }

    /// All that counts against the budget: the device's, and on the native path, which uses the recording's constants
    /// where they are, the results that a run hands out.
    pub fn with(self, recording: &Recording) -> u64 {
        let plan = recording.plan();
        plan.peak_bytes() + if self.native { plan.output_bytes } else { 0 } + self.bytes
    }

    /// What a GPU's recording keeps of its constants on the host.
    pub fn kept(self, recording: &Recording) -> u64 {
        if self.native { 0 } else { recording.plan().role_bytes(Role::Constant) }
    }
}

/// The largest chunk that fits what is left of the budget, and the smallest budget for any.
fn fit_to_budget(
    device: &Device,
    content: &Content,
    offsets: &[usize],
    (chunk_bins, spec): (Option<usize>, Option<GridSpec>),
    beside: Beside,
) -> Result<(Recording, Kde, KdeCapacity, u64)> {
    let n_time = offsets.len() - 1;
    let row_bytes = content.bin_constant.len() as u64 * 4;
    let used = device.stats().memory.leased_bytes;
    let capabilities = device.capabilities();
    let budget = capabilities.budget_bytes.saturating_sub(used);
    let record = |capacity| content.record(device, capacity, spec, &content.baseline);
    let over = |recording: &Recording| {
        let plan = recording.plan();
        let (tensor, tensor_bytes) = plan.largest.clone();
        let (needed, limit) = (beside.with(recording), capabilities.budget_bytes);
        Error::OverBudget { needed, in_use: used, limit, tensor, tensor_bytes, least: Some(needed + used) }
    };
    let chunk_bytes = CHUNK_BYTES.min(capabilities.max_tensor_bytes);
    let rows = chunk_bins.unwrap_or(n_time).min((chunk_bytes / row_bytes).clamp(1, n_time as u64) as usize);
    // As many spikes as the fullest stretch of that many rows has.
    let fullest = |rows: usize| {
        (0..n_time).step_by(rows).map(|t| offsets[(t + rows).min(n_time)] - offsets[t]).max().unwrap_or(0)
    };
    let spikes = fullest(rows).min((chunk_bytes / row_bytes) as usize).max(LEAST_SPIKES);
    let mut capacity = KdeCapacity { spikes, rows };
    // What does not depend on the chunk, from the least one.
    let least = {
        let (recording, _) = record(KdeCapacity { spikes: LEAST_SPIKES, rows: 1 })?;
        let least = beside.with(&recording);
        if least > budget {
            return Err(over(&recording));
        }
        least
    };
    loop {
        let wanted = match record(capacity) {
            Ok((recording, kde)) => {
                let needed = beside.with(&recording);
                if needed <= budget {
                    return Ok((recording, kde, capacity, least + used));
                }
                if capacity.rows == 1 && capacity.spikes == LEAST_SPIKES {
                    return Err(over(&recording));
                }
                Some(needed)
            }
            // A tensor that is too long may be shorter in a smaller chunk.
            Err(Error::Unsupported { .. }) if capacity.rows > 1 || capacity.spikes > LEAST_SPIKES => None,
            Err(error) => return Err(error),
        };
        let part = wanted.map_or(0.5, |needed| 0.95 * (budget - least) as f64 / (needed - least).max(1) as f64);
        capacity.rows = ((capacity.rows as f64 * part) as usize).max(1);
        let part = (capacity.spikes as f64 * part) as usize;
        capacity.spikes = fullest(capacity.rows).min(part).max(LEAST_SPIKES);
    }
}
