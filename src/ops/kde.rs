//! Kernel densities for clusterless decoding: log likelihoods of positions from spikes with waveform features (marks).
//!
//! With encoding spikes i (mark m_i, position x_i, weight w_i), a decoding spike s and a position bin p, all in units in
//! which a Gaussian kernel is 2^(−|u − v|²) (that is, divided by σ and multiplied by √(log2(e)/2)), the log intensity is
//!
//! `L[s][p] = constant_e + bin_constant[p] + ln Σ_i 2^(log2 w_i − |m_i − m_s|²) · 2^(−|x_i − p|²)`
//!
//! and the log likelihood of a time bin is `baseline[p]` and the L of its spikes, added one after another (X. Deng et al.,
//! Neural Computation 27 (2015), doi:10.1162/NECO_a_00744).
//!
//! Method: the largest term of the mark factor over i does not depend on p, so that it is found first (`kde_peak`) and
//! what is left is one matrix product (`kde`) whose operands are made where they are used. Each factor carries 2^52, so
//! that f32 holds sums down to 2^-152 (105 nats) of a spike's best; where a flushed term could be seen in a sum
//! (`kde_log`), the terms are added up in logarithms instead. Nothing is lost at any depth.
//!
//! Error of L against exact arithmetic on the same f32 inputs, in nats: about 1e-6 for the product and its logarithm,
//! and 1e-7 of the magnitudes that are added: constants, mark distance (squared) and position distance.

use super::kde_grid::{Grid, GridInputs, GridSpec};
use crate::kernel::{self, Feed, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// σ of a Gaussian kernel in scaled units, √(log2(e)/2): coordinates times this, over σ, make the kernel 2^(−|u − v|²).
pub const KDE_SCALE: f64 = 0.849_321_800_288_019_2;
/// Slots of a tile, and bins of a tile.
const TILE: usize = 128;
/// Encoding spikes of a step of `shaders/kde.wgsl`, and of one of its blocks.
const STEP: usize = 16;
const BLOCK: usize = 1024;
/// Encoding spikes that a workgroup of `kde_peak` and `kde_mass` looks at.
const PEAK_PART: usize = 2048;
/// Spikes of a workgroup's step in far bins.
const FAR_STEP: usize = 256;
/// Sums of 2^104 for each encoding spike must stay below 2^128.
const MOST_ENCODING: usize = 1 << 23;
/// Largest magnitude of a scaled mark or position: squared distances stay far below the largest f32.
const LARGEST: f32 = 1e15;
/// No floor: below every log intensity.
const NO_FLOOR: f32 = -3.0e38;

/// The encoding spikes of one electrode, scaled so that a Gaussian kernel is 2^(−|u − v|²).
#[derive(Debug, Clone, Copy)]
pub struct KdeElectrode<'a> {
    /// `[n, dims]`.
    pub marks: &'a [f32],
    /// Dimensions of a mark, at least 1.
    pub dims: usize,
    /// `[n, position_dims]`.
    pub positions: &'a [f32],
    /// `[n]`, or empty where all weights are 1. A spike of weight 0 must be left out.
    pub log2_weights: &'a [f32],
    /// What L has of the electrode alone: ln rate − ln Σ w + the kernels' log norms.
    pub constant: f32,
}

/// What log likelihoods are computed from.
#[derive(Debug, Clone, Copy)]
pub struct KdeModel<'a> {
    /// At least one.
    pub electrodes: &'a [KdeElectrode<'a>],
    /// Dimensions of a position.
    pub position_dims: usize,
    /// `[bins, position_dims]`: bin centres, scaled as the positions.
    pub bins: &'a [f32],
    /// `[bins]`: −ln occupancy; `f32::MAX` where the occupancy is 0 and every spike counts ln 1e-15.
    pub bin_constant: &'a [f32],
    /// `[bins]`: the log likelihood of a time bin without spikes.
    pub baseline: &'a [f32],
    /// The least log intensity of a spike; `None`: as computed, and ln 1e-15 where the model has nothing.
    pub floor: Option<f32>,
}

/// What one run can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdeCapacity {
    /// Decoding spikes over all electrodes.
    pub spikes: usize,
    /// Time bins.
    pub rows: usize,
}

/// Which decoding spikes fall into which time bin.
#[derive(Debug, Clone, Copy)]
pub struct KdeRows<'a> {
    /// `[rows + 1]`, from 0 on: where in `spikes` each row begins and the last one ends.
    pub offsets: &'a [u32],
    /// (electrode, spike of it in this run), in the order in which they are added.
    pub spikes: &'a [[u32; 2]],
}

/// Electrodes that share tensors.
#[derive(Debug)]
struct Group {
    /// The first electrode, and how the tiles of this one and the next ones begin and end.
    first: usize,
    heads: Vec<Head>,
    tiles: Tensor<[u32; 4]>,
    tile_count: usize,
    encoding: Tensor<[f32; 4]>,
    sites: Tensor<f32>,
    /// Elements of `sites` that are positions.
    weights_at: usize,
}

/// An electrode in its group's tensors.
#[derive(Debug, Clone, Copy)]
struct Head {
    first_spike: u32,
    spikes: u32,
    first_mark: u32,
    quads: u32,
    constant: f32,
}

/// The encoding side on the device, and what one run's spikes are packed into.
#[derive(Debug)]
struct Encoding {
    groups: Vec<Group>,
    dims: Vec<usize>,
    /// Vectors of the longest mark.
    quads: usize,
    /// Encoding spikes of the largest electrode.
    most: usize,
    spikes: usize,
    marks: Tensor<[f32; 4]>,
}

fn too_long(what: &str, max_loop: usize) -> Error {
    Error::Unsupported { what: what.into(), need: "longer loops".into(), have: format!("{max_loop} iterations") }
}

fn finite(what: impl FnOnce() -> String, values: &[f32]) -> Result<()> {
    match values.iter().find(|v| !(v.abs() <= LARGEST)) {
        Some(v) => {
            Err(Error::invalid(what(), format!("holds {v}; scaled values must be finite and below {LARGEST:e}")))
        }
        None => Ok(()),
    }
}

/// The encoding spikes of each electrode, of which lengths and values are as they must be.
fn checked(electrodes: &[KdeElectrode<'_>], dims: usize) -> Result<Vec<usize>> {
    let mut counts = Vec::with_capacity(electrodes.len());
    for (e, x) in electrodes.iter().enumerate() {
        let n = x.marks.len().checked_div(x.dims).unwrap_or(0);
        let weights = x.log2_weights.len();
        if x.dims == 0
            || n * x.dims != x.marks.len()
            || x.positions.len() != n * dims
            || weights != 0 && weights != n
            || n >= MOST_ENCODING
        {
            let why = format!(
                "{} mark values of {} dimensions, {} position values of {dims}, {weights} weights; must be of one \
                 number of spikes below {MOST_ENCODING}",
                x.marks.len(),
                x.dims,
                x.positions.len()
            );
            return Err(Error::invalid(format!("kde: electrode {e}"), why));
        }
        for (what, values) in [("marks", x.marks), ("positions", x.positions), ("log2 weights", x.log2_weights)] {
            finite(|| format!("kde: {what} of electrode {e}"), values)?;
        }
        if !x.constant.is_finite() {
            return Err(Error::invalid(format!("kde: constant of electrode {e}"), "it is not finite"));
        }
        counts.push(n);
    }
    Ok(counts)
}

impl Encoding {
    fn record(rec: &mut Recording, electrodes: &[KdeElectrode<'_>], dims: usize, spikes: usize) -> Result<Self> {
        if electrodes.is_empty() || spikes == 0 {
            let why = format!("{} electrodes and a capacity of {spikes} spikes; at least one each", electrodes.len());
            return Err(Error::invalid("kde", why));
        }
        let counts = checked(electrodes, dims)?;
        let quads = electrodes.iter().map(|x| x.dims.div_ceil(4)).max().unwrap_or(1);
        let marks = rec.input("kde marks", quads * spikes)?;
        let most = counts.iter().copied().max().unwrap_or(0);
        let mut made = Self { groups: Vec::new(), dims: Vec::new(), quads, most, spikes, marks };
        made.dims.extend(electrodes.iter().map(|x| x.dims));

        // As many electrodes as fit the largest binding; all of their sums have the same terms in the same order.
        let max = usize::try_from(rec.capabilities().max_tensor_bytes).unwrap_or(usize::MAX);
        let bytes = |e: usize| (counts[e] * electrodes[e].dims.div_ceil(4) * 16, counts[e] * (dims + 1) * 4);
        let mut first = 0;
        while first < electrodes.len() {
            let (mut mark_bytes, mut site_bytes, mut end) = (0, 0, first);
            while end < electrodes.len() {
                let (m, s) = bytes(end);
                if end > first && (mark_bytes + m > max || site_bytes + s > max) {
                    break;
                }
                (mark_bytes, site_bytes, end) = (mark_bytes + m, site_bytes + s, end + 1);
            }
            let largest = mark_bytes.max(site_bytes);
            if largest > max {
                return Err(Error::Unsupported {
                    what: format!("electrode {first} with {} encoding spikes", counts[first]),
                    need: format!("a binding of {}", crate::bytes(largest as u64)),
                    have: crate::bytes(max as u64),
                });
            }
            made.groups.push(group(rec, first, &electrodes[first..end], &counts[first..end], dims, spikes)?);
            first = end;
        }
        Ok(made)
    }

    /// Encoding spikes of a part of `kde_peak` and `kde_mass`, and the number of parts.
    fn peak_parts(&self, rec: &Recording) -> Result<(usize, usize)> {
        if rec.capabilities().native {
            return Ok((self.most.max(1), 1));
        }
        let max_loop = rec.capabilities().max_loop as usize;
        let len = (max_loop / (1 + self.quads) * 8).min(PEAK_PART);
        if len == 0 {
            return Err(too_long("kde_peak", max_loop));
        }
        Ok((len, self.most.div_ceil(len).max(1)))
    }

    fn record_peaks(&self, rec: &mut Recording, peaks: Tensor<f32>, (len, parts): (usize, usize)) -> Result<()> {
        for g in &self.groups {
            let params = kernel::kde_peak::Params {
                tiles: g.tile_count as u32,
                spikes: self.spikes as u32,
                part_len: len as u32,
                weights_at: g.weights_at as u32,
            };
            let args = kernel::kde_peak::Args {
                tiles: g.tiles,
                encoding: g.encoding,
                sites: g.sites,
                marks: self.marks,
                peaks,
            };
            let groups = (g.tile_count * parts) as u64;
            let work = groups * (TILE * len * self.quads) as u64 * 8;
            rec.dispatch(kernel::kde_peak::dispatch(params, args, groups).work(work))?;
        }
        Ok(())
    }

    /// Gives every decoding spike a slot, electrode by electrode.
    fn pack(&self, spikes: &[&[f32]]) -> Result<Slots> {
        if spikes.len() != self.dims.len() {
            let why = format!("given for {} electrodes, the model has {}", spikes.len(), self.dims.len());
            return Err(Error::invalid("kde: spikes", why));
        }
        let mut first = vec![0u32; spikes.len() + 1];
        for (e, (x, dims)) in spikes.iter().zip(&self.dims).enumerate() {
            if !x.len().is_multiple_of(*dims) {
                let why = format!("{} values, not a multiple of {dims} dimensions", x.len());
                return Err(Error::invalid(format!("kde: spikes of electrode {e}"), why));
            }
            finite(|| format!("kde: spikes of electrode {e}"), x)?;
            let end = first[e] as usize + x.len() / dims;
            if end > self.spikes {
                let why = format!("more than the capacity of {}", self.spikes);
                return Err(Error::invalid("kde: spikes", why));
            }
            first[e + 1] = end as u32;
        }
        let mut marks = vec![[0.0f32; 4]; self.quads * self.spikes];
        for (e, (x, dims)) in spikes.iter().zip(&self.dims).enumerate() {
            for (slot, mark) in (first[e] as usize..).zip(x.chunks_exact(*dims)) {
                for (q, values) in mark.chunks(4).enumerate() {
                    marks[q * self.spikes + slot][..values.len()].copy_from_slice(values);
                }
            }
        }
        let tiles = self.groups.iter().map(|g| {
            let mut tiles = vec![[0u32; 4]; 2 * g.tile_count];
            let mut free = tiles.chunks_exact_mut(2);
            for (e, head) in (g.first..).zip(&g.heads) {
                for at in (first[e]..first[e + 1]).step_by(TILE) {
                    let tile = free.next().ok_or_else(|| Error::Internal("kde: more tiles than planned".into()))?;
                    let count = (first[e + 1] - at).min(TILE as u32);
                    tile[0] = [at, count, head.first_spike, head.spikes];
                    tile[1] = [head.first_mark, head.quads, head.constant.to_bits(), e as u32];
                }
            }
            Ok((g.tiles, tiles))
        });
        let tiles = tiles.collect::<Result<Vec<_>>>()?;
        Ok(Slots { first, marks: (self.marks, marks), tiles })
    }
}

/// A tensor and what to feed it.
type Input<T> = (Tensor<T>, Vec<T>);

/// One run's decoding spikes.
#[derive(Debug)]
struct Slots {
    /// `[electrodes + 1]`: the first slot of each, and the end.
    first: Vec<u32>,
    marks: Input<[f32; 4]>,
    tiles: Vec<Input<[u32; 4]>>,
}

impl Slots {
    fn feeds(&self) -> Vec<Feed<'_>> {
        let mut feeds = vec![self.marks.0.feed(&self.marks.1)];
        feeds.extend(self.tiles.iter().map(|(tensor, tiles)| tensor.feed(tiles)));
        feeds
    }
}

fn group(
    rec: &mut Recording,
    first: usize,
    electrodes: &[KdeElectrode<'_>],
    counts: &[usize],
    dims: usize,
    spikes: usize,
) -> Result<Group> {
    let n: usize = counts.iter().sum();
    let vectors: usize = electrodes.iter().zip(counts).map(|(x, n)| n * x.dims.div_ceil(4)).sum();
    // A tensor has an element even where no electrode has a spike.
    let mut encoding = vec![[0.0f32; 4]; vectors.max(1)];
    let mut sites = Vec::with_capacity(n * (dims + 1));
    let mut heads = Vec::with_capacity(electrodes.len());
    let (mut first_spike, mut first_mark) = (0, 0);
    for (x, n) in electrodes.iter().zip(counts) {
        let quads = x.dims.div_ceil(4);
        for (vectors, mark) in encoding[first_mark..].chunks_exact_mut(quads).zip(x.marks.chunks_exact(x.dims)) {
            for (vector, values) in vectors.iter_mut().zip(mark.chunks(4)) {
                vector[..values.len()].copy_from_slice(values);
            }
        }
        sites.extend_from_slice(x.positions);
        heads.push(Head {
            first_spike: first_spike as u32,
            spikes: *n as u32,
            first_mark: first_mark as u32,
            quads: quads as u32,
            constant: x.constant,
        });
        first_spike += n;
        first_mark += n * quads;
    }
    let weights_at = sites.len();
    for (x, n) in electrodes.iter().zip(counts) {
        let filled = sites.len() + n;
        sites.extend_from_slice(x.log2_weights);
        sites.resize(filled, 0.0);
    }
    if sites.is_empty() {
        sites.push(0.0);
    }
    // One spike for each electrode, and a further tile for each 128 of the rest: no packing needs more.
    let begun = electrodes.len().min(spikes);
    let tile_count = begun + (spikes - begun) / TILE;
    Ok(Group {
        first,
        heads,
        tiles: rec.input("kde tiles", 2 * tile_count)?,
        tile_count,
        encoding: rec.constant("kde encoding marks", &encoding)?,
        sites: rec.constant("kde encoding positions", &sites)?,
        weights_at,
    })
}

/// Log likelihoods of positions in a run of time bins. See [`Kde::record`].
#[derive(Debug)]
pub struct Kde {
    /// `[rows, bins]`, downloaded; rows past those given hold the baseline.
    pub log_likelihood: Tensor<f32>,
    /// `[spikes, bins]`: L of every spike, slot by slot (see [`KdeInputs::slot`]); not downloaded unless the caller asks.
    pub log_intensity: Tensor<f32>,
    encoding: Encoding,
    capacity: KdeCapacity,
    baseline: Vec<f32>,
    row_offsets: Tensor<u32>,
    order: Tensor<u32>,
    carry: Tensor<f32>,
}

/// One run's inputs, ready for the device.
#[derive(Debug)]
pub struct KdeInputs {
    slots: Slots,
    row_offsets: Input<u32>,
    order: Input<u32>,
    carry: Input<f32>,
}

impl KdeInputs {
    /// What to run the recording with.
    pub fn feeds(&self) -> Vec<Feed<'_>> {
        let mut feeds = self.slots.feeds();
        feeds.push(self.row_offsets.0.feed(&self.row_offsets.1));
        feeds.push(self.order.0.feed(&self.order.1));
        feeds.push(self.carry.0.feed(&self.carry.1));
        feeds
    }

    /// The row of `log_intensity` of an electrode's first spike; its others follow.
    pub fn slot(&self, electrode: usize) -> usize {
        self.slots.first[electrode] as usize
    }
}

impl Kde {
    /// Appends all kernels of one run and the download of its log likelihoods.
    ///
    /// Any number of spikes up to the capacity, packed into runs in any way, gives the same bits on one device; so does
    /// any order of the electrodes. On the device it holds, beside the model, `4·bins·(parts·spikes + spikes + rows)`
    /// bytes, where `parts` is above 1 only for electrodes whose encoding spikes are too many for one loop.
    ///
    /// # Errors
    /// `InvalidArgument` for no electrode, no bin, no capacity, lengths that do not belong together, values that are not
    /// finite or 2^23 encoding spikes and more on one electrode; `Unsupported`, with the numbers, for one electrode or a
    /// capacity that does not fit a binding, or a device whose loops are too short.
    pub fn record(rec: &mut Recording, model: &KdeModel<'_>, capacity: KdeCapacity) -> Result<Self> {
        Self::record_by(rec, model, capacity, None)
    }

    /// As [`Self::record`] by the gridded method, for positions of one or two dimensions: sums are read off a grid of
    /// splines, with the relative error that [`GridSpec::predicted_error`] states. Bins that lie so deep that a sum
    /// cannot be trusted are computed exactly here too.
    ///
    /// # Errors
    /// As [`Self::record`]; `Unsupported` for other dimensions or a grid that does not fit a binding.
    pub fn record_gridded(
        rec: &mut Recording,
        model: &KdeModel<'_>,
        capacity: KdeCapacity,
        spec: GridSpec,
    ) -> Result<Self> {
        Self::record_by(rec, model, capacity, Some(spec))
    }

    fn record_by(
        rec: &mut Recording,
        model: &KdeModel<'_>,
        capacity: KdeCapacity,
        spec: Option<GridSpec>,
    ) -> Result<Self> {
        let (dims, bins) = (model.position_dims, model.bin_constant.len());
        if dims == 0 || bins == 0 || model.bins.len() != bins * dims || model.baseline.len() != bins {
            let why = format!(
                "{} values of {dims} dimensions, {bins} constants, {} baselines; must be of one number of bins",
                model.bins.len(),
                model.baseline.len()
            );
            return Err(Error::invalid("kde: bins", why));
        }
        if capacity.rows == 0 {
            return Err(Error::invalid("kde: rows", "a capacity of 0; at least one"));
        }
        finite(|| "kde: bins".into(), model.bins)?;
        let mut values = model.bin_constant.iter().chain(model.baseline).chain(&model.floor);
        if values.any(|v| !v.is_finite()) {
            return Err(Error::invalid("kde: bin constants, baseline and floor", "not all are finite"));
        }
        let grid = match spec {
            Some(spec) => {
                checked(model.electrodes, dims)?;
                let grid = Grid::new(spec, model.electrodes, dims, model.bins)?;
                // Before tables as long as the grid are made.
                grid.tile_bytes(rec.capabilities())?;
                Some(grid)
            }
            None => None,
        };
        let sorted: Vec<_> = grid.iter().flat_map(|g| model.electrodes.iter().map(|e| g.sort(e))).collect();
        let electrodes: Vec<_> = match grid {
            Some(_) => sorted.iter().zip(model.electrodes).map(|(s, e)| s.of(e)).collect(),
            None => model.electrodes.to_vec(),
        };
        let encoding = Encoding::record(rec, &electrodes, dims, capacity.spikes)?;
        let spikes = capacity.spikes;
        let (peak_len, peak_parts) = encoding.peak_parts(rec)?;
        let (native, max_loop) = (rec.capabilities().native, rec.capabilities().max_loop as usize);
        let most = encoding.most.max(1);
        let part_len = if native || grid.is_some() {
            most
        } else {
            let steps = max_loop.saturating_sub(peak_parts + 16) / (STEP + 3 + encoding.quads + dims);
            let longest = (steps * STEP).min(most.next_multiple_of(STEP));
            if longest == 0 {
                return Err(too_long("kde", max_loop));
            }
            // The largest electrode in equal parts.
            most.div_ceil(most.div_ceil(longest)).next_multiple_of(STEP)
        };
        let parts = most.div_ceil(part_len);
        debug_assert!(native || grid.is_some() || part_len / STEP + part_len.div_ceil(BLOCK) <= max_loop);

        let mut centers = model.bins.to_vec();
        centers.extend_from_slice(model.bin_constant);
        let centers = rec.constant("kde bins", &centers)?;
        let peaks = rec.scratch("kde peaks", peak_parts * spikes)?;
        encoding.record_peaks(rec, peaks, (peak_len, peak_parts))?;
        let sums = rec.scratch("kde sums", parts.saturating_mul(spikes).saturating_mul(bins))?;
        let log_intensity = rec.scratch("kde log intensity", spikes.saturating_mul(bins))?;
        let far_range = if native {
            most
        } else {
            let steps = max_loop.saturating_sub(peak_parts + parts + 8) / (66 + 64 * dims + encoding.quads);
            if steps == 0 {
                return Err(too_long("kde_log", max_loop));
            }
            (steps * FAR_STEP).min(most)
        };
        for g in &encoding.groups {
            if let Some(grid) = &grid {
                let tables = grid.tables(rec, &electrodes[g.first..g.first + g.heads.len()])?;
                let inputs = GridInputs {
                    first_electrode: g.first,
                    tiles: g.tiles,
                    tile_count: g.tile_count,
                    encoding: g.encoding,
                    quads: encoding.quads,
                    marks: encoding.marks,
                    spikes,
                    peaks,
                    peak_parts,
                };
                grid.record(rec, &tables, &inputs, sums)?;
            } else {
                let params = kernel::kde::Params {
                    tiles: g.tile_count as u32,
                    spikes: spikes as u32,
                    bins: bins as u32,
                    dims: dims as u32,
                    part_len: part_len as u32,
                    peak_parts: peak_parts as u32,
                    weights_at: g.weights_at as u32,
                };
                let args = kernel::kde::Args {
                    tiles: g.tiles,
                    encoding: g.encoding,
                    sites: g.sites,
                    centers,
                    marks: encoding.marks,
                    peaks,
                    sums,
                };
                let groups = (g.tile_count * bins.div_ceil(TILE) * parts) as u64;
                let work = groups * (TILE * TILE * part_len) as u64;
                rec.dispatch(kernel::kde::dispatch(params, args, groups).work(work))?;
            }
            for first in (0..most).step_by(far_range) {
                let params = kernel::kde_log::Params {
                    spikes: spikes as u32,
                    bins: bins as u32,
                    dims: dims as u32,
                    part_len: part_len as u32,
                    peak_parts: peak_parts as u32,
                    weights_at: g.weights_at as u32,
                    first: first as u32,
                    range: far_range as u32,
                    last: u32::from(first + far_range >= most),
                    floor: model.floor.unwrap_or(NO_FLOOR),
                };
                let args = kernel::kde_log::Args {
                    tiles: g.tiles,
                    encoding: g.encoding,
                    sites: g.sites,
                    centers,
                    marks: encoding.marks,
                    peaks,
                    sums,
                    log_intensity,
                };
                let groups = (g.tile_count * TILE * bins.div_ceil(64)) as u64;
                // Where most bins are far, as with sharp marks, each has an exponential for each spike: slices must be short
                // enough even so.
                let work = groups * 64 * (parts + far_range) as u64;
                rec.dispatch(kernel::kde_log::dispatch(params, args, groups).work(work))?;
            }
        }

        let baseline = rec.constant("kde baseline", model.baseline)?;
        let row_offsets = rec.input("kde row offsets", capacity.rows + 1)?;
        let order = rec.input("kde order", spikes)?;
        let carry = rec.input("kde carry", bins)?;
        let log_likelihood = rec.scratch("kde log likelihood", capacity.rows.saturating_mul(bins))?;
        let range = if native { spikes } else { spikes.min(max_loop) };
        for first in (0..spikes).step_by(range) {
            let params = kernel::kde_rows::Params { bins: bins as u32, first: first as u32, range: range as u32 };
            let args = kernel::kde_rows::Args { log_intensity, row_offsets, order, baseline, carry, log_likelihood };
            let groups = (capacity.rows * bins.div_ceil(64)) as u64;
            let work = ((capacity.rows + spikes) * bins) as u64;
            rec.dispatch(kernel::kde_rows::dispatch(params, args, groups).work(work))?;
        }
        rec.download(log_likelihood)?;
        let baseline = model.baseline.to_vec();
        Ok(Self { log_likelihood, log_intensity, encoding, capacity, baseline, row_offsets, order, carry })
    }

    /// One run: `spikes[e]` are the marks `[m_e, dims_e]` of electrode e's decoding spikes, scaled as its encoding
    /// spikes; a spike that no row names costs time and is not counted. With `carry` (a row of log likelihood) the first
    /// row goes on from there, so that a time bin with more spikes than fit one run is cut over several.
    ///
    /// # Errors
    /// `InvalidArgument` for more than the capacity, spikes that do not exist, wrong lengths, or values not finite.
    pub fn pack(&self, spikes: &[&[f32]], rows: KdeRows<'_>, carry: Option<&[f32]>) -> Result<KdeInputs> {
        let slots = self.encoding.pack(spikes)?;
        let (last, count) = (rows.offsets.last().copied().unwrap_or(0), rows.offsets.len().saturating_sub(1));
        if count == 0
            || count > self.capacity.rows
            || rows.offsets[0] != 0
            || !rows.offsets.is_sorted()
            || last as usize != rows.spikes.len()
            || rows.spikes.len() > self.capacity.spikes
        {
            let why = format!(
                "{count} rows of {} spikes for a capacity of {} rows of {}; offsets must rise from 0 to the number of \
                 spikes",
                rows.spikes.len(),
                self.capacity.rows,
                self.capacity.spikes
            );
            return Err(Error::invalid("kde: rows", why));
        }
        let mut row_offsets = rows.offsets.to_vec();
        row_offsets.resize(self.capacity.rows + 1, last);
        let mut order = Vec::with_capacity(self.capacity.spikes);
        for [e, s] in rows.spikes {
            let of = slots.first.get(*e as usize..*e as usize + 2);
            let slot = of.and_then(|of| of[0].checked_add(*s).filter(|slot| *slot < of[1]));
            let missing = || Error::invalid("kde: rows", format!("spike {s} of electrode {e} is not among the spikes"));
            order.push(slot.ok_or_else(missing)?);
        }
        order.resize(self.capacity.spikes, 0);
        let carry = carry.unwrap_or(&self.baseline);
        if carry.len() != self.baseline.len() {
            let why = format!("{} values, must be {}", carry.len(), self.baseline.len());
            return Err(Error::invalid("kde: carry", why));
        }
        Ok(KdeInputs {
            slots,
            row_offsets: (self.row_offsets, row_offsets),
            order: (self.order, order),
            carry: (self.carry, carry.to_vec()),
        })
    }
}

/// Log densities at the decoding spikes themselves: `ln Σ_i 2^(log2 w_i − |m_i − m_s|²)` for each spike s.
///
/// With position and mark together as the "mark" this is the joint density of the local decoder.
#[derive(Debug)]
pub struct KdeMass {
    encoding: Encoding,
    peaks: Tensor<f32>,
    mass: Tensor<f32>,
}

/// One run's inputs of a [`KdeMass`].
#[derive(Debug)]
pub struct KdeMassInputs {
    slots: Slots,
}

impl KdeMassInputs {
    /// What to run the recording with.
    pub fn feeds(&self) -> Vec<Feed<'_>> {
        self.slots.feeds()
    }
}

impl KdeMass {
    /// Appends the kernels of one run of up to `spikes` decoding spikes, and their downloads. Positions and constants
    /// of the electrodes are not used; the positions must be empty.
    ///
    /// # Errors
    /// As [`Kde::record`].
    pub fn record(rec: &mut Recording, electrodes: &[KdeElectrode<'_>], spikes: usize) -> Result<Self> {
        let encoding = Encoding::record(rec, electrodes, 0, spikes)?;
        let (len, parts) = encoding.peak_parts(rec)?;
        let peaks = rec.scratch("kde peaks", parts * spikes)?;
        let mass = rec.scratch("kde mass", parts * spikes)?;
        encoding.record_peaks(rec, peaks, (len, parts))?;
        for g in &encoding.groups {
            let params = kernel::kde_mass::Params {
                tiles: g.tile_count as u32,
                spikes: spikes as u32,
                part_len: len as u32,
                parts: parts as u32,
                weights_at: g.weights_at as u32,
            };
            let args = kernel::kde_mass::Args {
                tiles: g.tiles,
                encoding: g.encoding,
                sites: g.sites,
                marks: encoding.marks,
                peaks,
                mass,
            };
            let groups = (g.tile_count * parts) as u64;
            let work = groups * (TILE * len) as u64 * (8 * encoding.quads as u64 + 4);
            rec.dispatch(kernel::kde_mass::dispatch(params, args, groups).work(work))?;
        }
        rec.download(peaks)?;
        rec.download(mass)?;
        Ok(Self { encoding, peaks, mass })
    }

    /// One run: `spikes[e]` are the marks `[m_e, dims_e]` of electrode e's decoding spikes.
    ///
    /// # Errors
    /// As [`Kde::pack`].
    pub fn pack(&self, spikes: &[&[f32]]) -> Result<KdeMassInputs> {
        Ok(KdeMassInputs { slots: self.encoding.pack(spikes)? })
    }

    /// The log densities of a run, whose results `get` gives, electrode by electrode in the order given, in nats; −∞ for
    /// a spike of an electrode without encoding spikes.
    ///
    /// # Errors
    /// Those of `get`: `InvalidArgument` for the outputs of another recording.
    pub fn log_density<'o>(
        &self,
        inputs: &KdeMassInputs,
        get: impl Fn(Tensor<f32>) -> Result<&'o [f32]>,
    ) -> Result<Vec<f64>> {
        let (peaks, mass) = (get(self.peaks)?, get(self.mass)?);
        let column = |x: &[f32], slot: usize| {
            x[slot..].iter().step_by(self.encoding.spikes).map(|v| f64::from(*v)).collect::<Vec<_>>()
        };
        let used = inputs.slots.first.last().map_or(0, |end| *end as usize);
        let log = (0..used).map(|slot| {
            let peak = column(peaks, slot).into_iter().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = column(mass, slot).into_iter().sum();
            sum.ln() + peak * std::f64::consts::LN_2
        });
        Ok(log.collect())
    }
}
