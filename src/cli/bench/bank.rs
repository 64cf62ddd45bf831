//! `spikewave bench bank`: the matched filters of `benches/peers/bank.py`.

use std::time::Instant;

use num_complex::{Complex32, Complex64};
use serde_json::{Value, json};
use spikewave::device::{Control, Outputs, Prepared};
use spikewave::io::npy;
use spikewave::kernel::Tensor;
use spikewave::ops::{self, Correlate, Fft, Peaks, REFINED};
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
    coarse: (Vec<Peaks>, Prepared),
    /// A query and a result tensor for each tile: `TILE` queries.
    refine: Option<(Vec<(Tensor<u32>, Tensor<Complex32>)>, Prepared)>,
}

impl Filters {
    fn new(device: &Device, n: usize, data: &[Complex32], tiles: Vec<Tile>) -> Result<Self> {
        let (mut first, mut second) = (device.recording("first pass"), device.recording("second pass"));
        let ones = vec![1.0f32; data.len()];
        let (x, weight) = (first.constant("data", data)?, first.constant("weight", &ones)?);
        let (x2, weight2) = (second.constant("data", data)?, second.constant("weight", &ones)?);
        let (mut peaks, mut refined) = (Vec::new(), Vec::new());
        let multirate = tiles.iter().any(|t| t.m < n);
        for tile in &tiles {
            let rows = tile.rows.len();
            let templates = first.constant("templates", &tile.spectra)?;
            let c = Correlate { x, weight, templates, rows, stride: tile.keep, keep: tile.keep };
            let product = ops::correlate(&mut first, c, tile.m)?;
            let z = first.scratch("series", rows * tile.m)?;
            Fft::inverse(tile.m).scale(1.0).record(&mut first, product, z)?;
            let found = ops::peak(&mut first, z, rows, tile.m, 0..tile.m)?;
            first.download(found.power)?;
            first.download(found.at)?;
            peaks.push(found);
            if multirate {
                let queries = second.input("queries", 2 * TILE)?;
                let templates = second.constant("templates", &tile.spectra)?;
                let c = Correlate { x: x2, weight: weight2, templates, ..c };
                let z = ops::refine(&mut second, c, n, queries)?;
                second.download(z)?;
                refined.push((queries, z));
            }
        }
        let coarse = (peaks, device.prepare(&first)?);
        let refine = if multirate { Some((refined, device.prepare(&second)?)) } else { None };
        Ok(Self { tiles, n, coarse, refine })
    }

    /// The largest |z| of every template and its full-rate sample.
    fn run(&mut self, result: &mut [(f32, u32)]) -> Result<()> {
        let control = Control::default();
        let out = self.coarse.1.run(&[], &control)?;
        // Queries still to be answered: tile, row within it, full-rate sample.
        let mut open: Vec<Vec<(usize, usize)>> = Vec::new();
        for (tile, peaks) in self.tiles.iter().zip(&self.coarse.0) {
            open.push(self::candidates(&out, tile, *peaks, self.n, self.refine.is_some(), result)?);
        }
        let Some((tensors, prepared)) = &mut self.refine else { return Ok(()) };
        result.fill((0.0, 0));
        while open.iter().any(|o| !o.is_empty()) {
            let asked: Vec<Vec<(usize, usize)>> =
                open.iter_mut().map(|o| o.split_off(o.len().saturating_sub(TILE))).collect();
            // Places that no query fills repeat the tile's first row.
            let words: Vec<[u32; 2 * TILE]> = asked
                .iter()
                .map(|a| std::array::from_fn(|i| a.get(i / 2).map_or(0, |q| if i % 2 == 0 { q.0 } else { q.1 }) as u32))
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

/// Each row's largest value goes to `result`; returned are the full-rate samples of all that come close to it.
fn candidates(
    out: &Outputs,
    tile: &Tile,
    peaks: Peaks,
    n: usize,
    multirate: bool,
    result: &mut [(f32, u32)],
) -> Result<Vec<(usize, usize)>> {
    let (power, at) = (out.get(peaks.power)?, out.get(peaks.at)?);
    let mut open = Vec::new();
    for (row, (power, at)) in power.chunks(peaks.parts).zip(at.chunks(peaks.parts)).enumerate() {
        let best = (0..power.len()).fold(0, |b, i| if power[i] > power[b] { i } else { b });
        result[tile.rows[row]] = (power[best].sqrt(), at[best]);
        if multirate {
            let close = (0..power.len()).filter(|i| power[*i] >= tile.again[row] * power[best]);
            open.extend(close.map(|i| (row, at[i] as usize * (n / tile.m))));
        }
    }
    Ok(open)
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
    let mut filters = Filters::new(device, n, &data, tiles(n, &templates, bins, multirate))?;
    let prepare_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut result = vec![(0.0f32, 0u32); count];
    let times = bench.time(|| filters.run(&mut result))?;
    let (peaks, indices): (Vec<f32>, Vec<u32>) = result.into_iter().unzip();
    npy::write(bench.output.join("peak.npy"), &[count], &peaks)?;
    npy::write(bench.output.join("index.npy"), &[count], &indices)?;
    Ok((times, json!({"prepare_ms": prepare_ms})))
}
