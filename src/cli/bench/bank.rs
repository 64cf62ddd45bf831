//! `spikewave bench bank`: the matched filters of `benches/peers/bank.py`.

use std::time::Instant;

use num_complex::{Complex32, Complex64};
use serde_json::{Value, json};
use spikewave::device::{Control, Prepared};
use spikewave::io::npy;
use spikewave::kernel::Tensor;
use spikewave::ops::{self, Correlate, Fft, REFINED};
use spikewave::{Device, Error, Result};

use super::Bench;

/// Templates that are filtered at once: their series then stay in the second-level cache of two cores.
const TILE: usize = 8;
/// A coarse series has at least so many samples for each of the spectrum's bins that are not zero, so that a peak between
/// two of them is seen in both.
const OVERSAMPLING: f64 = 1.2;
/// Coarse peaks are evaluated again at the full rate if they could be the largest: a template's own correlation tells how
/// much lower the coarse sample next to a peak can be, and this is the margin for noise, which is not quite so shaped.
const MARGIN: f64 = 0.9;
/// Full-rate values on each side of a coarse sample.
const REACH: usize = REFINED / 2;
/// Coarse samples of which the larger is a candidate: the other is then within reach of it, so no peak is passed over.
const PART: usize = 2;
/// Candidates of a tile that are evaluated together.
const QUERIES: usize = 16;

/// Some templates of similar bandwidth.
struct Tile {
    /// Their numbers.
    rows: Vec<usize>,
    /// Bins that are not zero in some of them.
    keep: usize,
    /// Samples of the coarse series; the full rate's for the last resort.
    m: usize,
    spectra: Vec<Complex32>,
    /// For each row, the share of a peak's power that the coarse sample next to it has at least.
    again: Vec<f32>,
}

/// The power of a template's own correlation half a coarse sample from its maximum, as a share of the maximum's.
fn scalloping(spectrum: &[Complex32], m: usize) -> f32 {
    let turn = std::f64::consts::PI / m as f64;
    let (mut sum, mut total) = (Complex64::ZERO, 0.0);
    for (k, v) in spectrum.iter().enumerate() {
        let power = f64::from(v.norm_sqr());
        sum += Complex64::from_polar(power, turn * k as f64);
        total += power;
    }
    if total > 0.0 { (MARGIN * sum.norm_sqr() / (total * total)) as f32 } else { 0.0 }
}

fn complex(values: &[f32]) -> Vec<Complex32> {
    values.chunks_exact(2).map(|v| Complex32::new(v[0], v[1])).collect()
}

/// The lowest rate that shows every peak of a spectrum of `keep` bins, and from which four full-rate samples on each side
/// of a coarse one leave no gap.
fn coarse_samples(n: usize, keep: usize) -> usize {
    let mut m = n;
    while m / 2 >= (keep as f64 * OVERSAMPLING) as usize && n / (m / 2) <= REACH && m.is_multiple_of(2) {
        m /= 2;
    }
    m
}

/// Templates in order of bandwidth, cut into tiles of one rate.
fn tiles(n: usize, templates: &[Complex32], bins: usize, multirate: bool) -> Vec<Tile> {
    let bandwidth = |row: &[Complex32]| row.iter().rposition(|v| *v != Complex32::ZERO).map_or(1, |k| k + 1);
    let mut order: Vec<(usize, usize)> =
        templates.chunks_exact(bins).enumerate().map(|(i, row)| (bandwidth(row), i)).collect();
    order.sort_unstable();
    let rate = |keep: usize| if multirate { coarse_samples(n, keep) } else { n };
    order
        .chunk_by(|a, b| rate(a.0) == rate(b.0))
        .flat_map(|same| same.chunks(TILE))
        .map(|tile| {
            let keep = tile.iter().map(|t| t.0).max().unwrap_or(1);
            let m = rate(keep);
            let spectra: Vec<Complex32> =
                tile.iter().flat_map(|(_, i)| templates[i * bins..][..keep].iter().copied()).collect();
            let again = spectra.chunks_exact(keep).map(|row| scalloping(row, m)).collect();
            Tile { rows: tile.iter().map(|t| t.1).collect(), keep, m, spectra, again }
        })
        .collect()
}

/// The first pass over all tiles, and the second over the peaks that it found.
struct Filters {
    tiles: Vec<Tile>,
    n: usize,
    /// The peaks of each tile's parts, and parts a row.
    peaks: Vec<(Tensor<f32>, Tensor<u32>, usize)>,
    first: Prepared,
    /// A query and a result tensor for each tile: `TILE` queries.
    refine: Option<(Vec<(Tensor<u32>, Tensor<Complex32>)>, Prepared)>,
}

impl Filters {
    fn new(device: &Device, n: usize, data: &[Complex32], tiles: Vec<Tile>, multirate: bool) -> Result<Self> {
        let mut first = device.recording("first pass");
        let mut peaks = Vec::new();
        for same in tiles.chunk_by(|a, b| a.m == b.m) {
            let m = same[0].m;
            let mut factors: Vec<Complex32> = data.iter().copied().take(m).collect();
            factors.resize(m, Complex32::ZERO);
            let factors = first.constant("data", &factors)?;
            for tile in same {
                let rows = tile.rows.len();
                let templates = first.constant("templates", &tile.spectra)?;
                let series = Fft::inverse(m).scale(1.0).rows(tile.keep, tile.keep).conjugate().factors(factors);
                let (power, at, parts) = if multirate {
                    let z = first.scratch("series", rows * m)?;
                    series.record(&mut first, templates, z)?;
                    let found = ops::peak(&mut first, z, (rows, m), 0..m, PART)?;
                    (found.power, found.at, found.parts)
                } else {
                    let (power, at) = (first.scratch("power", rows)?, first.scratch("at", rows)?);
                    series.record_peaks(&mut first, templates, 0..m, power, at)?;
                    (power, at, 1)
                };
                first.download(power)?;
                first.download(at)?;
                peaks.push((power, at, parts));
            }
        }
        let refine = if multirate { Some(second_pass(device, n, data, &tiles)?) } else { None };
        Ok(Self { n, peaks, first: device.prepare(&first)?, refine, tiles })
    }

    /// The largest |z| of every template and its full-rate sample.
    fn run(&mut self, result: &mut [(f32, u32)]) -> Result<()> {
        let control = Control::default();
        let out = self.first.run(&[], &control)?;
        // Queries still to be answered: row of the tile, full-rate sample.
        let mut open: Vec<Vec<(usize, usize)>> = Vec::new();
        for (tile, (power, at, parts)) in self.tiles.iter().zip(&self.peaks) {
            let (power, at) = (out.get(*power)?, out.get(*at)?);
            let mut wanted = Vec::new();
            for (row, (power, at)) in power.chunks(*parts).zip(at.chunks(*parts)).enumerate() {
                let best = (0..power.len()).fold(0, |b, i| if power[i] > power[b] { i } else { b });
                result[tile.rows[row]] = (power[best].sqrt(), at[best]);
                let least = tile.again[row] * power[best];
                let close = power.iter().zip(at).filter(|(p, _)| **p >= least);
                wanted.extend(close.map(|(_, at)| (row, *at as usize * (self.n / tile.m))));
            }
            open.push(wanted);
        }
        let Some((tensors, prepared)) = &mut self.refine else { return Ok(()) };
        result.fill((0.0, 0));
        while open.iter().any(|o| !o.is_empty()) {
            let asked: Vec<Vec<(usize, usize)>> =
                open.iter_mut().map(|o| o.split_off(o.len().saturating_sub(QUERIES))).collect();
            let words: Vec<[u32; 2 * QUERIES]> = asked
                .iter()
                .map(|a| {
                    let mut words = [u32::MAX; 2 * QUERIES];
                    for (to, (row, t)) in words.chunks_mut(2).zip(a) {
                        to.copy_from_slice(&[*row as u32, *t as u32]);
                    }
                    words
                })
                .collect();
            let feeds: Vec<_> = tensors.iter().zip(&words).map(|((q, _), w)| q.feed(w.as_slice())).collect();
            let out = prepared.run(&feeds, &control)?;
            for ((tile, asked), (_, z)) in self.tiles.iter().zip(&asked).zip(tensors.iter()) {
                for ((row, t), values) in asked.iter().zip(out.get(*z)?.chunks(REFINED)) {
                    let best = &mut result[tile.rows[*row]];
                    for (i, z) in values.iter().enumerate() {
                        let (value, at) = (z.norm(), ((t + self.n + i - REACH) % self.n) as u32);
                        // The first of equals, whatever the order of the queries.
                        if value > best.0 || (value == best.0 && at < best.1) {
                            *best = (value, at);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

type Refine = (Vec<(Tensor<u32>, Tensor<Complex32>)>, Prepared);

/// The recording that evaluates single times at the full rate, for every tile.
fn second_pass(device: &Device, n: usize, data: &[Complex32], tiles: &[Tile]) -> Result<Refine> {
    let mut rec = device.recording("second pass");
    let (x, weight) = (rec.constant("data", data)?, rec.constant("weight", &vec![1.0f32; data.len()])?);
    let mut tensors = Vec::new();
    for tile in tiles {
        let queries = rec.input("queries", 2 * QUERIES)?;
        let templates = rec.constant("templates", &tile.spectra)?;
        let (rows, keep) = (tile.rows.len(), tile.keep);
        let z = ops::refine(&mut rec, Correlate { x, weight, templates, rows, stride: keep, keep }, n, queries)?;
        rec.download(z)?;
        tensors.push((queries, z));
    }
    Ok((tensors, device.prepare(&rec)?))
}

/// Filters the data with all templates; see benches/peers/README.md.
pub fn run(bench: &Bench, device: &Device) -> Result<(Vec<f64>, Value)> {
    let n = bench.count("n")?;
    let multirate = match bench.text("method")? {
        "multirate" => true,
        "full_rate" => false,
        other => return Err(Error::invalid("method", format!("\"{other}\"; full_rate or multirate"))),
    };
    let (_, data) = npy::read::<f32>(bench.input.join("data.npy"))?;
    let (shape, templates) = npy::read::<f32>(bench.input.join("templates.npy"))?;
    let &[count, bins, 2] = shape.as_slice() else {
        return Err(Error::file(&bench.input, "templates.npy must have the shape (templates, bins, 2)"));
    };
    let (data, templates) = (complex(&data), complex(&templates));
    if bins != n / 2 + 1 || data.len() != bins {
        return Err(Error::file(&bench.input, format!("{bins} and {} bins for {n} samples", data.len())));
    }
    let started = Instant::now();
    let mut filters = Filters::new(device, n, &data, tiles(n, &templates, bins, multirate), multirate)?;
    let prepare_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut result = vec![(0.0f32, 0u32); count];
    let times = bench.time(|| filters.run(&mut result))?;
    let (peaks, indices): (Vec<f32>, Vec<u32>) = result.into_iter().unzip();
    npy::write(bench.output.join("peak.npy"), &[count], &peaks)?;
    npy::write(bench.output.join("index.npy"), &[count], &indices)?;
    Ok((times, json!({"prepare_ms": prepare_ms})))
}
