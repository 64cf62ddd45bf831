//! One-dimensional convolution.

use super::copy2d::row_length;
use super::{Destination, Source, copy2d, transpose};
use crate::kernel::{self, Tensor};
use crate::recording::Recording;
use crate::{Error, Result};

/// Channels and positions that a workgroup of `shaders/conv1d.wgsl` computes.
const TILE: [usize; 2] = [64, 128];
/// Channels of a packed panel.
const PANEL: usize = 8;
/// Terms of the sum that one dispatch of the shader adds: 2 loop iterations a term, far below the loop limit, and a
/// workgroup's share stays small enough to cut a dispatch into slices.
const MAX_TERMS: usize = 4096;

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

    fn weights(&self) -> usize {
        self.channels_out.saturating_mul(self.terms())
    }
}

/// The filters of a [`Conv1d`] as its kernel reads them.
#[derive(Debug, Clone, Copy)]
pub struct Filters {
    conv: Conv1d,
    /// `[group][panel][term][8]`, with zeros beyond a group's last channel.
    packed: Tensor<f32>,
    bias: Option<Tensor<f32>>,
}

impl Filters {
    /// Filters known now: `weight[m, c, j]` with `channels_out` × `channels_in / groups` × `taps` values, and a bias for
    /// each output channel. What depends on them alone is done here and not in every run.
    ///
    /// # Errors
    /// As [`Conv1d::output_length`]; `InvalidArgument` if a length does not fit; as [`Recording::constant`].
    pub fn new(rec: &mut Recording, conv: Conv1d, weight: &[f32], bias: Option<&[f32]>) -> Result<Self> {
        conv.check_filters(weight.len(), bias.map(<[f32]>::len))?;
        let (terms, out) = (conv.terms(), conv.group_out());
        let panel = terms * PANEL;
        let mut packed = vec![0f32; conv.groups * out.div_ceil(PANEL) * panel];
        let groups = packed.chunks_exact_mut(out.div_ceil(PANEL) * panel).zip(weight.chunks_exact(out * terms));
        for (packed, weight) in groups {
            for (m, row) in weight.chunks_exact(terms).enumerate() {
                let column = packed[m / PANEL * panel..][..panel].iter_mut().skip(m % PANEL).step_by(PANEL);
                for (p, w) in column.zip(row) {
                    *p = *w;
                }
            }
        }
        let packed = rec.constant("conv1d: filters", &packed)?;
        let bias = bias.map(|b| rec.constant("conv1d: bias", b)).transpose()?;
        Ok(Self { conv, packed, bias })
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
        conv.check_filters(weight.len(), bias.map(|b| b.len()))?;
        let (terms, out) = (conv.terms(), conv.group_out());
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
        Ok(Self { conv, packed, bias })
    }

    /// The convolution they were made for.
    pub fn conv(&self) -> &Conv1d {
        &self.conv
    }
}

impl Conv1d {
    fn check_filters(&self, weight: usize, bias: Option<usize>) -> Result<()> {
        self.output_length()?;
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
/// The sum of an output is one chain in the order of channels and taps: relative L2 error against f64 for independent
/// inputs about 3e-8·√terms.
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
    direct(rec, filters, x, y, n_out)
}

fn direct(rec: &mut Recording, filters: &Filters, x: Tensor<f32>, y: Tensor<f32>, n_out: usize) -> Result<()> {
    use kernel::conv1d::{Args, Params, dispatch};
    let conv = &filters.conv;
    let terms = conv.terms();
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
        let args = Args { x, w: filters.packed, bias: filters.bias.unwrap_or(filters.packed), y };
        let groups = (conv.batch * conv.groups * tiles) as u64;
        // A workgroup works on whole tiles, however few of its outputs exist.
        let work = groups * (TILE[0] * TILE[1] * k_count) as u64;
        rec.dispatch(dispatch(params, args, groups).work(work))?;
    }
    Ok(())
}
