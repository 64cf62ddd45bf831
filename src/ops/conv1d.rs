//! One-dimensional convolution.

use num_complex::Complex32;
use realfft::RealFftPlanner;

use super::copy2d::row_length;
use super::{Destination, Source, copy2d, irfft, rfft, transpose};
use crate::kernel::{self, Tensor, workgroups};
use crate::recording::{Capabilities, Recording};
use crate::{Error, Result};

/// Channels and positions that a workgroup of `shaders/conv1d.wgsl` computes.
const TILE: [usize; 2] = [64, 128];
/// The same of `shaders/conv1d_wide.wgsl`.
const WIDE: [usize; 2] = [8, 128];
/// Channels of a packed panel.
const PANEL: usize = 8;
/// Terms of the sum that one dispatch of the shader adds: 2 loop iterations a term, far below the loop limit, and a
/// workgroup's share stays small enough to cut a dispatch into slices.
const MAX_TERMS: usize = 4096;

/// Channels of a group that the product of spectra adds, below the loop limit.
const MAX_CHANNELS: usize = 50_000;
/// Scratch for the results of overlap-save that are computed together.
const PART_BYTES: u64 = 64 << 20;

/// Zeros around the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// None: every output lies where all taps meet the signal.
    Valid,
    /// As many outputs as samples, for stride 1; of an odd number of zeros the larger part stands behind.
    Same,
    /// So many before and behind.
    Explicit(usize, usize),
}

/// A convolution as machine learning names it, a cross-correlation (as `torch.nn.functional.conv1d`):
/// `y[b, m, t] = bias[m] + Σ_c Σ_j w[m, c, j] · x[b, c, t·stride + j·dilation − pad]`, where c runs over the channels
/// of m's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv1d {
    /// Signals.
    pub batch: usize,
    /// Samples of each channel.
    pub length: usize,
    /// Channels of the signal.
    pub channels_in: usize,
    /// Channels of the result.
    pub channels_out: usize,
    /// Samples that a filter weighs.
    pub taps: usize,
    /// Groups of channels that do not meet.
    pub groups: usize,
    /// Samples from one output to the next.
    pub stride: usize,
    /// Samples from one tap to the next.
    pub dilation: usize,
    /// Zeros around the signal.
    pub padding: Padding,
}

impl Conv1d {
    /// One group, stride and dilation 1, no padding.
    pub fn new(batch: usize, length: usize, channels_in: usize, channels_out: usize, taps: usize) -> Self {
        let padding = Padding::Valid;
        Self { batch, length, channels_in, channels_out, taps, groups: 1, stride: 1, dilation: 1, padding }
    }

    /// Samples that the taps span.
    fn span(&self) -> usize {
        (self.taps - 1).saturating_mul(self.dilation).saturating_add(1)
    }

    /// Zeros before and behind each signal.
    fn pads(&self) -> (usize, usize) {
        match self.padding {
            Padding::Valid => (0, 0),
            Padding::Same => ((self.span() - 1) / 2, (self.span() - 1) - (self.span() - 1) / 2),
            Padding::Explicit(before, behind) => (before, behind),
        }
    }

    /// Positions of the result.
    ///
    /// # Errors
    /// `InvalidArgument` for a zero size, channels that are not whole groups, `Same` with a stride, a span that exceeds
    /// the padded signal, and sizes from 2^31 on.
    pub fn output_length(&self) -> Result<usize> {
        let bad = |what: &str, why: String| Err(Error::invalid(format!("conv1d: {what}"), why));
        for (what, n) in [
            ("batch", self.batch),
            ("length", self.length),
            ("channels_in", self.channels_in),
            ("channels_out", self.channels_out),
            ("taps", self.taps),
            ("groups", self.groups),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ] {
            if n == 0 || n >= 1 << 31 {
                return bad(what, format!("{n}, must be in 1..2^31"));
            }
        }
        for (what, n) in [("channels_in", self.channels_in), ("channels_out", self.channels_out)] {
            if !n.is_multiple_of(self.groups) {
                return bad(what, format!("{n} are not {} whole groups", self.groups));
            }
        }
        if self.padding == Padding::Same && self.stride != 1 {
            return bad("padding", format!("Same needs stride 1, it is {}", self.stride));
        }
        let (before, behind) = self.pads();
        let padded = self.length.saturating_add(before).saturating_add(behind);
        if padded >= 1 << 31 {
            return bad("padding", format!("a padded length of {padded}, must be below 2^31"));
        }
        if self.span() > padded {
            return bad("taps", format!("they span {} samples, and the padded signal has {padded}", self.span()));
        }
        Ok((padded - self.span()) / self.stride + 1)
    }

    fn group_in(&self) -> usize {
        self.channels_in / self.groups
    }

    fn group_out(&self) -> usize {
        self.channels_out / self.groups
    }

    /// Terms of one output's sum.
    fn terms(&self) -> usize {
        self.group_in() * self.taps
    }

    /// Whether `shaders/conv1d_wide.wgsl` computes it on such a device.
    fn is_wide(&self, capabilities: &Capabilities) -> bool {
        capabilities.software && self.stride == 1 && self.dilation == 1 && self.taps <= MAX_TERMS
    }

    fn weights(&self) -> usize {
        self.channels_out.saturating_mul(self.terms())
    }
}

/// How a [`Conv1d`] is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// As the sum that defines it.
    Direct,
    /// By overlap-save (Stockham 1966): blocks of so many points, which overlap by the span of the taps less one, are
    /// multiplied as spectra, and what did not wrap around is kept.
    OverlapSave(usize),
}

/// What an element of a transformed block costs, in multiply-adds of the direct kernel.
struct Cost {
    /// Rows and columns of outputs that are computed at least.
    tile: [usize; 2],
    /// Laying out, and picking up.
    element: f64,
    /// A doubling of a transform.
    doubling: f64,
    /// The product of two bins.
    product: f64,
}

/// Measured on two cores of an AMD EPYC with AVX-512 (`cargo bench --bench dense`): fewer than four channels cost as
/// four, since the tile's chains are then too few to hide the latency of their additions.
const NATIVE: Cost = Cost { tile: [4, 16], element: 45.0, doubling: 8.0, product: 45.0 };
/// From bytes: a block goes through memory about ten times as f32, and a GPU does about ten multiply-adds while it moves
/// a byte; bins are half of the elements and are read twice and written once.
const GPU: Cost = Cost { tile: TILE, element: 400.0, doubling: 0.0, product: 240.0 };

/// The filters of a [`Conv1d`] as its kernels read them.
#[derive(Debug, Clone, Copy)]
pub struct Filters {
    conv: Conv1d,
    form: Form,
    bias: Option<Tensor<f32>>,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    /// `[group][panel][term][8]`, with zeros beyond a group's last channel.
    Packed(Tensor<f32>),
    /// `[output channel][input channel of the group][bin]`, and the points of a block.
    Spectra(Tensor<Complex32>, usize),
}

impl Filters {
    /// Filters known now: `weight[m, c, j]` with `channels_out` × `channels_in / groups` × `taps` values, and a bias for
    /// each output channel. What depends on them alone is done here and not in every run.
    ///
    /// # Errors
    /// As [`Conv1d::output_length`]; `InvalidArgument` if a length does not fit; as [`Recording::constant`].
    pub fn new(rec: &mut Recording, conv: Conv1d, weight: &[f32], bias: Option<&[f32]>) -> Result<Self> {
        let method = conv.method(rec.capabilities())?;
        Self::with_method(rec, conv, method, weight, bias)
    }

    /// As [`Self::new`], by this method.
    ///
    /// # Errors
    /// As [`Self::new`]; `InvalidArgument` for blocks that are shorter than the span of the taps, odd, or from 2^24 on.
    pub fn with_method(
        rec: &mut Recording,
        conv: Conv1d,
        method: Method,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Self> {
        conv.check_filters(method, weight.len(), bias.map(<[f32]>::len))?;
        let bias = bias.map(|b| rec.constant("conv1d: bias", b)).transpose()?;
        let form = match method {
            Method::Direct => Form::Packed(rec.constant("conv1d: filters", &conv.pack(weight))?),
            Method::OverlapSave(points) => {
                Form::Spectra(rec.constant("conv1d: spectra", &conv.spectra(weight, points)?)?, points)
            }
        };
        Ok(Self { conv, form, bias })
    }

    /// Filters that the recording computes or takes as input: they are laid out anew in every run.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_tensor(
        rec: &mut Recording,
        conv: Conv1d,
        weight: Tensor<f32>,
        bias: Option<Tensor<f32>>,
    ) -> Result<Self> {
        let method = conv.method(rec.capabilities())?;
        Self::from_tensor_with_method(rec, conv, method, weight, bias)
    }

    /// As [`Self::from_tensor`], by this method.
    ///
    /// # Errors
    /// As [`Self::with_method`].
    pub fn from_tensor_with_method(
        rec: &mut Recording,
        conv: Conv1d,
        method: Method,
        weight: Tensor<f32>,
        bias: Option<Tensor<f32>>,
    ) -> Result<Self> {
        conv.check_filters(method, weight.len(), bias.map(|b| b.len()))?;
        let (terms, out) = (conv.terms(), conv.group_out());
        let form = match method {
            Method::Direct => {
                let whole = out.next_multiple_of(PANEL);
                let mut rows = weight;
                if whole != out {
                    rows = rec.scratch("conv1d: filters in whole panels", conv.groups * whole * terms)?;
                    let source = Source { batch_stride: out * terms, valid: out * terms, ..Source::default() };
                    let destination = Destination { batch_stride: whole * terms, ..Destination::default() };
                    copy2d(rec, weight, source, rows, destination, [conv.groups, 1, whole * terms])?;
                }
                let packed = rec.scratch("conv1d: filters", rows.len())?;
                transpose(rec, rows, [conv.groups * whole / PANEL, PANEL, terms], packed)?;
                Form::Packed(packed)
            }
            Method::OverlapSave(points) => {
                let filters = weight.len() / conv.taps;
                let spread = rec.scratch("conv1d: filters", filters * points)?;
                rec.clear(spread)?;
                let source = Source { batch_stride: conv.taps, row_stride: 1, valid: conv.taps, ..Source::default() };
                let destination = Destination { offset: 0, batch_stride: points, row_stride: conv.dilation };
                copy2d(rec, weight, source, spread, destination, [filters, conv.taps, 1])?;
                let spectra = rec.scratch("conv1d: spectra", filters * (points / 2 + 1))?;
                rfft(rec, points, spread, spectra)?;
                Form::Spectra(spectra, points)
            }
        };
        Ok(Self { conv, form, bias })
    }

    /// How they are applied.
    pub fn method(&self) -> Method {
        match self.form {
            Form::Packed(_) => Method::Direct,
            Form::Spectra(_, points) => Method::OverlapSave(points),
        }
    }

    /// The convolution they were made for.
    pub fn conv(&self) -> &Conv1d {
        &self.conv
    }
}

impl Conv1d {
    /// The cheaper method by a count of operations: the direct kernel's multiply-adds, whole tiles of them, against
    /// the transforms and products of overlap-save in blocks of the best power of two, weighed by what the operations
    /// cost on the device.
    ///
    /// # Errors
    /// As [`Self::output_length`].
    pub fn method(&self, capabilities: &Capabilities) -> Result<Method> {
        let n_out = self.output_length()?;
        let cost = if capabilities.native { &NATIVE } else { &GPU };
        let tile = if self.is_wide(capabilities) { WIDE } else { cost.tile };
        let round = |n: usize, i: usize| n.div_ceil(tile[i]) as f64 * tile[i] as f64;
        let units = (self.batch * self.groups) as f64;
        let mut least = units * round(self.group_out(), 0) * round(n_out, 1) * self.terms() as f64;
        let mut method = Method::Direct;
        let smallest = self.span().max(16).next_power_of_two();
        let largest = (self.span() - 1 + (n_out - 1) * self.stride + 1).max(16).next_power_of_two().min(1 << 20);
        let mut points = smallest;
        while points <= largest {
            let blocks = self.blocks(points, n_out) as f64;
            let rows = (self.batch * (self.channels_in + self.channels_out)) as f64;
            let elements = rows * blocks * points as f64;
            let products = self.batch as f64 * self.weights() as f64 / self.taps as f64 * blocks * points as f64 / 2.0;
            let total = elements * (cost.element + cost.doubling * (points as f64).log2()) + products * cost.product;
            let input = (self.batch * self.channels_in) as f64 * blocks * (points + 2) as f64 * 4.0;
            let spectra = self.weights() as f64 / self.taps as f64 * (points + 2) as f64 * 4.0;
            // The spectra of the signal and the filters stand whole in memory; those of the result may be cut. The budget
            // has no say: methods round differently, and results do not depend on how much memory there is.
            let most = capabilities.max_tensor_bytes as f64;
            let fits = input <= most && spectra <= most && self.group_in() <= MAX_CHANNELS;
            if total < least && fits {
                (least, method) = (total, Method::OverlapSave(points));
            }
            points *= 2;
        }
        Ok(method)
    }

    /// Blocks of `points` that cover the positions of a row.
    fn blocks(&self, points: usize, n_out: usize) -> usize {
        ((n_out - 1) * self.stride + 1).div_ceil(points - self.span() + 1)
    }

    /// The filters in panels of 8 output channels, side by side for each term.
    fn pack(&self, weight: &[f32]) -> Vec<f32> {
        let (terms, out) = (self.terms(), self.group_out());
        let panel = terms * PANEL;
        let mut packed = vec![0f32; self.groups * out.div_ceil(PANEL) * panel];
        let groups = packed.chunks_exact_mut(out.div_ceil(PANEL) * panel).zip(weight.chunks_exact(out * terms));
        for (packed, weight) in groups {
            for (m, row) in weight.chunks_exact(terms).enumerate() {
                let column = packed[m / PANEL * panel..][..panel].iter_mut().skip(m % PANEL).step_by(PANEL);
                for (p, w) in column.zip(row) {
                    *p = *w;
                }
            }
        }
        packed
    }

    /// The spectra of the filters behind zeros up to `points`, computed in f64.
    fn spectra(&self, weight: &[f32], points: usize) -> Result<Vec<Complex32>> {
        let transform = RealFftPlanner::<f64>::new().plan_fft_forward(points);
        let mut out = Vec::with_capacity(weight.len() / self.taps * (points / 2 + 1));
        let mut spectrum = transform.make_output_vec();
        let mut spread = transform.make_input_vec();
        for filter in weight.chunks_exact(self.taps) {
            spread.fill(0.0);
            for (s, w) in spread.iter_mut().step_by(self.dilation).zip(filter) {
                *s = f64::from(*w);
            }
            transform.process(&mut spread, &mut spectrum).map_err(|e| Error::Internal(e.to_string()))?;
            out.extend(spectrum.iter().map(|v| Complex32::new(v.re as f32, v.im as f32)));
        }
        Ok(out)
    }

    fn check_filters(&self, method: Method, weight: usize, bias: Option<usize>) -> Result<()> {
        self.output_length()?;
        if let Method::OverlapSave(points) = method
            && (points < self.span() || !points.is_multiple_of(2) || points >= 1 << 24)
        {
            let why = format!("blocks of {points} points, must be even, at least {} and below 2^24", self.span());
            return Err(Error::invalid("conv1d: method", why));
        }
        if method != Method::Direct && self.group_in() > MAX_CHANNELS {
            let why = format!("{} channels in a group, overlap-save takes at most {MAX_CHANNELS}", self.group_in());
            return Err(Error::invalid("conv1d: method", why));
        }
        if weight != self.weights() {
            let why = format!(
                "{weight} values, must be channels_out × channels_in / groups × taps = {} × {} × {}",
                self.channels_out,
                self.group_in(),
                self.taps
            );
            return Err(Error::invalid("conv1d: weight", why));
        }
        if let Some(n) = bias.filter(|n| *n != self.channels_out) {
            return Err(Error::invalid("conv1d: bias", format!("{n} values, must be {}", self.channels_out)));
        }
        Ok(())
    }
}

/// `y = conv1d(x)` for `x[b, c, i]` and `y[b, m, t]`; see [`Conv1d`].
///
/// Directly, the sum of an output is one chain in the order of channels and taps: relative L2 error against f64 for
/// independent inputs about 3e-8·√terms. By overlap-save the error is that of the transforms, below 1e-6, relative to
/// the largest values of a block rather than to each value.
///
/// # Errors
/// `InvalidArgument` if `x` has not batch × channels_in × length or `y` not batch × channels_out ×
/// [`output_length`](Conv1d::output_length) elements; as [`Recording::dispatch`].
pub fn conv1d(rec: &mut Recording, filters: &Filters, x: Tensor<f32>, y: Tensor<f32>) -> Result<()> {
    let conv = &filters.conv;
    let n_out = conv.output_length()?;
    for (what, tensor, channels, length) in
        [("x", x, conv.channels_in, conv.length), ("y", y, conv.channels_out, n_out)]
    {
        let rows = conv.batch.saturating_mul(channels);
        if row_length("conv1d", tensor, rows).ok() != Some(length) {
            let why = format!(
                "{} elements, must be batch × channels × length = {} × {channels} × {length}",
                tensor.len(),
                conv.batch
            );
            return Err(Error::invalid(format!("conv1d: {what}"), why));
        }
    }
    match filters.form {
        Form::Packed(packed) => direct(rec, filters, packed, x, y),
        Form::Spectra(spectra, points) => overlap_save(rec, filters, spectra, points, x, y),
    }
}

fn overlap_save(
    rec: &mut Recording,
    filters: &Filters,
    spectra: Tensor<Complex32>,
    points: usize,
    x: Tensor<f32>,
    y: Tensor<f32>,
) -> Result<()> {
    let conv = &filters.conv;
    let n_out = conv.output_length()?;
    let (blocks, bins, hop) = (conv.blocks(points, n_out), points / 2 + 1, points - conv.span() + 1);
    let rows_in = conv.batch * conv.channels_in;
    let cut = rec.scratch("conv1d: blocks of the signal", rows_in * blocks * points)?;
    let source = Source {
        offset: 0,
        batch_stride: conv.length,
        row_stride: hop,
        first: -(conv.pads().0 as i64),
        valid: conv.length,
    };
    let destination = Destination { offset: 0, batch_stride: blocks * points, row_stride: points };
    copy2d(rec, x, source, cut, destination, [rows_in, blocks, points])?;
    let spectrum = rec.scratch("conv1d: spectra of the signal", rows_in * blocks * bins)?;
    rfft(rec, points, cut, spectrum)?;

    // The rows of the result in parts, so that the scratch stays small beside the budget and fits a binding.
    let rows = conv.batch * conv.channels_out;
    let row_bytes = (blocks * bins * 8) as u64;
    let capabilities = rec.capabilities();
    let most = capabilities.max_tensor_bytes.min(capabilities.budget_bytes / 16).min(PART_BYTES);
    let part = usize::try_from(most / row_bytes).unwrap_or(rows).clamp(1, rows);
    for row in (0..rows).step_by(part) {
        let count = part.min(rows - row);
        let product = rec.scratch("conv1d: spectra of the result", count * blocks * bins)?;
        let params = kernel::spectral_product::Params {
            bins: bins as u32,
            blocks: blocks as u32,
            c_in: conv.group_in() as u32,
            c_out: conv.group_out() as u32,
            groups: conv.groups as u32,
            row: row as u32,
        };
        let args = kernel::spectral_product::Args { x: spectrum, w: spectra, y: product };
        let groups = count as u64 * blocks.div_ceil(4) as u64 * workgroups(bins, 64);
        let work = (count * blocks * bins * conv.group_in() * 4) as u64;
        rec.dispatch(kernel::spectral_product::dispatch(params, args, groups).work(work))?;
        let result = rec.scratch("conv1d: blocks of the result", count * blocks * points)?;
        irfft(rec, points, product, result)?;
        let params = kernel::overlap_save::Params {
            n: (count * n_out) as u32,
            n_out: n_out as u32,
            blocks: blocks as u32,
            points: points as u32,
            hop: hop as u32,
            stride: conv.stride as u32,
            channels: conv.channels_out as u32,
            row: row as u32,
            flags: filters.bias.is_some().into(),
        };
        let args = kernel::overlap_save::Args { x: result, bias: filters.bias.unwrap_or(result), y };
        let groups = workgroups(count * n_out, 1024);
        rec.dispatch(kernel::overlap_save::dispatch(params, args, groups).work(2 * (count * n_out) as u64))?;
    }
    Ok(())
}

/// By `shaders/conv1d_wide.wgsl`.
fn wide(rec: &mut Recording, filters: &Filters, w: Tensor<[f32; 4]>, x: Tensor<f32>, y: Tensor<f32>) -> Result<()> {
    use kernel::conv1d_wide::{Args, Params, dispatch};
    let conv = &filters.conv;
    let n_out = conv.output_length()?;
    let most = MAX_TERMS / conv.taps;
    for c_first in (0..conv.group_in()).step_by(most) {
        let c_count = most.min(conv.group_in() - c_first);
        let params = Params {
            n_in: conv.length as u32,
            n_out: n_out as u32,
            c_in: conv.group_in() as u32,
            c_out: conv.group_out() as u32,
            groups: conv.groups as u32,
            taps: conv.taps as u32,
            pad: conv.pads().0 as u32,
            c_first: c_first as u32,
            c_count: c_count as u32,
            flags: u32::from(filters.bias.is_some()) | if c_first > 0 { 2 } else { 0 },
        };
        let args = Args { x, w, bias: filters.bias.unwrap_or(x), y };
        let tiles = conv.group_out().div_ceil(WIDE[0]) * n_out.div_ceil(WIDE[1]);
        let groups = (conv.batch * conv.groups * tiles) as u64;
        let work = groups * (WIDE[0] * WIDE[1] * c_count * conv.taps) as u64;
        rec.dispatch(dispatch(params, args, groups).work(work))?;
    }
    Ok(())
}

fn direct(rec: &mut Recording, filters: &Filters, packed: Tensor<f32>, x: Tensor<f32>, y: Tensor<f32>) -> Result<()> {
    use kernel::conv1d::{Args, Params, dispatch};
    let conv = &filters.conv;
    let n_out = conv.output_length()?;
    let terms = conv.terms();
    if let Some(w) = packed.cast().filter(|_| conv.is_wide(rec.capabilities())) {
        return wide(rec, filters, w, x, y);
    }
    let most = if rec.capabilities().native { terms } else { MAX_TERMS };
    let tiles = conv.group_out().div_ceil(TILE[0]) * n_out.div_ceil(TILE[1]);
    for k_first in (0..terms).step_by(most) {
        let k_count = most.min(terms - k_first);
        let params = Params {
            n_in: conv.length as u32,
            n_out: n_out as u32,
            c_in: conv.group_in() as u32,
            c_out: conv.group_out() as u32,
            groups: conv.groups as u32,
            taps: conv.taps as u32,
            stride: conv.stride as u32,
            dilation: conv.dilation as u32,
            pad: conv.pads().0 as u32,
            k_first: k_first as u32,
            k_count: k_count as u32,
            flags: u32::from(filters.bias.is_some()) | if k_first > 0 { 2 } else { 0 },
        };
        let args = Args { x, w: packed, bias: filters.bias.unwrap_or(packed), y };
        let groups = (conv.batch * conv.groups * tiles) as u64;
        // A workgroup works on whole tiles, however few of its outputs exist.
        let work = groups * (TILE[0] * TILE[1] * k_count) as u64;
        rec.dispatch(dispatch(params, args, groups).work(work))?;
    }
    Ok(())
}
