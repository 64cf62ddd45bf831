//! Welch's method on a device within a budget: in one recording, or in pieces with the same bits.

use num_complex::Complex32;

use super::condition;
use super::spectrum::Welch;
use crate::device::{Control, Device, MemoryPlan};
use crate::kernel::Tensor;
use crate::ops;
use crate::recording::Recording;
use crate::{Error, Result};

/// Bins whose windows are averaged at once, at least: a workgroup of the kernel.
const LEAST_BINS: usize = 64;

/// What a density in pieces takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pieces {
    /// Windows that are transformed.
    windows: usize,
    /// Bins of all windows that are averaged.
    bins: usize,
}

/// Welch's method on a series of known length, planned.
#[derive(Debug, Clone)]
pub(super) struct Density {
    welch: Welch,
    rate: f64,
    samples: usize,
    /// First samples of the windows.
    starts: Vec<u32>,
    pieces: Option<Pieces>,
    pub memory: MemoryPlan,
}

impl Density {
    /// The largest pieces that fit `room` bytes; the least where nothing does.
    pub fn plan(
        device: &Device,
        samples: usize,
        starts: Vec<u32>,
        (welch, rate): (&Welch, f64),
        room: u64,
    ) -> Result<Self> {
        let mut density = Self { welch: *welch, rate, samples, starts, pieces: None, memory: MemoryPlan::default() };
        let all = Pieces { windows: density.starts.len(), bins: welch.length / 2 + 1 };
        let bytes = |rec: Result<Recording>| rec.map(|rec| rec.plan()).map(|p| (p.peak_bytes(), p.largest));
        let transform = |windows: usize| bytes(density.transform(device, windows).map(|(rec, ..)| rec));
        let average = |bins: usize| bytes(density.average(device, bins).map(|(rec, ..)| rec));
        let whole = match bytes(density.whole(device).map(|(rec, ..)| rec)) {
            Err(Error::Unsupported { .. }) => None,
            other => Some(other?),
        };
        let shrink = |first: usize, least: usize, of: &dyn Fn(usize) -> Result<(u64, (String, u64))>| {
            let mut count = first;
            loop {
                match of(count) {
                    Ok((bytes, _)) if bytes > room && count > least => {}
                    Err(Error::Unsupported { .. }) if count > least => {}
                    other => return other.map(|(bytes, largest)| (count, bytes, largest)),
                }
                count = (count / 2).max(least);
            }
        };
        let bins = LEAST_BINS.min(all.bins);
        let least = transform(1)?.0.max(average(bins)?.0);
        let least = whole.as_ref().map_or(least, |(bytes, _)| least.min(*bytes));
        (density.pieces, density.memory) = match whole {
            Some((bytes, largest)) if bytes <= room => {
                let parts = vec![("windows and their average".into(), bytes)];
                (None, MemoryPlan::new(device, least, parts, largest))
            }
            _ => {
                let (windows, of_windows, largest) = shrink(all.windows, 1, &transform)?;
                let (bins, of_bins, other) = shrink(all.bins, bins, &average)?;
                let plan = |name: String, bytes, largest| MemoryPlan::new(device, least, vec![(name, bytes)], largest);
                let first = plan(format!("spectra of {windows} of {} windows", all.windows), of_windows, largest);
                let then = plan(format!("average of {bins} of {} bins", all.bins), of_bins, other);
                (Some(Pieces { windows, bins }), first.then(then))
            }
        };
        Ok(density)
    }

    fn whole(&self, device: &Device) -> Result<(Recording, Tensor<f32>, Tensor<f32>)> {
        let mut rec = device.recording("power spectral density");
        let x = rec.input("strain", self.samples)?;
        let density = condition::record_psd(&mut rec, x, &self.starts, &self.welch, self.rate)?;
        rec.download(density)?;
        Ok((rec, x, density))
    }

    /// Tapered windows, one behind the other, to spectra.
    fn transform(&self, device: &Device, windows: usize) -> Result<(Recording, Tensor<f32>, Tensor<Complex32>)> {
        let length = self.welch.length;
        let mut rec = device.recording("spectra of windows");
        rec.in_pieces();
        let x = rec.input("tapered windows of strain", windows * length)?;
        let spectra = rec.scratch("window spectra", windows * (length / 2 + 1))?;
        ops::rfft(&mut rec, length, x, spectra)?;
        rec.download(spectra)?;
        Ok((rec, x, spectra))
    }

    /// Some bins of all windows, of which the first counts once and the others twice.
    fn average(&self, device: &Device, bins: usize) -> Result<(Recording, Tensor<Complex32>, Tensor<f32>)> {
        let mut rec = device.recording("average of windows");
        rec.in_pieces();
        let rows = self.starts.len();
        let spectra = rec.input("window spectra", rows * bins)?;
        let how = condition::average_of(&self.welch, rows, self.rate);
        let density = ops::welch_average(&mut rec, spectra, rows, false, how)?;
        rec.download(density)?;
        Ok((rec, spectra, density))
    }

    /// The density of the series, which has as many samples as was planned.
    pub fn run(&self, device: &Device, x: &[f32], control: &Control<'_>) -> Result<Vec<f32>> {
        let Some(pieces) = self.pieces else {
            let (rec, input, density) = self.whole(device)?;
            let out = device.prepare(&rec)?.run(&[input.feed(x)], control)?;
            // What comes next has other sizes.
            device.trim();
            return Ok(out.get(density)?.to_vec());
        };
        let (length, rows) = (self.welch.length, self.starts.len());
        let bins = length / 2 + 1;
        let mut spectra: Vec<Complex32> = Vec::with_capacity(rows * bins);
        {
            let (rec, input, output) = self.transform(device, pieces.windows)?;
            let mut prepared = device.prepare(&rec)?;
            let mut cut = vec![0.0; pieces.windows * length];
            let taper = condition::taper(&self.welch);
            for starts in self.starts.chunks(pieces.windows) {
                for (to, start) in cut.chunks_exact_mut(length).zip(starts) {
                    // One product, which every device rounds alike.
                    let samples = &x[*start as usize..][..length];
                    to.iter_mut().zip(samples).zip(&taper).for_each(|((to, x), taper)| *to = x * taper);
                }
                let out = prepared.run(&[input.feed(&cut)], control)?;
                spectra.extend_from_slice(&out.get(output)?[..starts.len() * bins]);
            }
        }
        device.trim();
        let (rec, input, output) = self.average(device, pieces.bins)?;
        let mut prepared = device.prepare(&rec)?;
        let mut cut = vec![Complex32::ZERO; rows * pieces.bins];
        let mut density = Vec::with_capacity(bins);
        for first in (0..bins).step_by(pieces.bins) {
            let count = pieces.bins.min(bins - first);
            for (to, from) in cut.chunks_exact_mut(pieces.bins).zip(spectra.chunks_exact(bins)) {
                to[..count].copy_from_slice(&from[first..first + count]);
            }
            let out = prepared.run(&[input.feed(&cut)], control)?;
            let values = out.get(output)?[..count].iter().enumerate();
            // The kernel has taken the first of each piece for the first of all, and not known the last of all. Twice
            // and half are exact.
            density.extend(values.map(|(i, value)| {
                let edge = first + i == 0 || (length.is_multiple_of(2) && first + i + 1 == bins);
                match (i == 0, edge) {
                    (true, false) => 2.0 * value,
                    (false, true) => 0.5 * value,
                    _ => *value,
                }
            }));
        }
        drop(prepared);
        device.trim();
        Ok(density)
    }
}
