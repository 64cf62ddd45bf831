//! Pictures of a search and of a spiking detection, as PNG files.
//!
//! Everything is drawn from plain numbers on the host, with the bundled font: no window, no system font, no network.
//! Times are given in GPS seconds and drawn as seconds from a reference. A picture never fails because of its data:
//! what is empty or not finite is left out, and a panel without data says so. The font has Latin, Greek and Cyrillic
//! letters and common signs; any other character becomes a box.

use crate::Result;
use crate::plot::{
    Anchor, Axes, Canvas, Dot, HEADER, INK, LABEL, Rgb, SOFT_INK, Scale, TICK, WIDTH, colour_map, has_values, seconds,
    signed, significant, within,
};
use rayon::prelude::*;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex32;
use std::path::Path;

/// What a search found in one detector.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DetectorPanel {
    /// Name of the detector, such as `H1`.
    pub name: String,
    /// Sample rate of the three series, in hertz.
    pub sample_rate_hz: f64,
    /// GPS time of the first sample of the three series.
    pub gps_start: f64,
    /// Whitened and band-passed strain, in standard deviations.
    pub whitened: Vec<f32>,
    /// The template, whitened with the same filter, scaled and shifted to the peak; as long as `whitened`, or empty.
    pub template: Vec<f32>,
    /// Modulus of the matched filter's signal-to-noise ratio.
    pub snr: Vec<f32>,
    /// GPS time of the peak.
    pub peak_gps: f64,
    /// Signal-to-noise ratio at the peak.
    pub peak_snr: f64,
    /// Effective distance at the peak, in megaparsec.
    pub effective_distance_mpc: f64,
}

/// The picture of a matched-filter search: a column for each detector.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SearchFigure {
    /// The headline.
    pub title: String,
    /// One line below it.
    pub subtitle: String,
    /// The detectors, from left to right.
    pub panels: Vec<DetectorPanel>,
    /// GPS time that the time axes count from.
    pub reference_gps: f64,
}

/// One spike of one neuron.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spike {
    /// GPS time.
    pub gps: f64,
    /// Index of the neuron, from 0.
    pub neuron: usize,
    /// Whether the contrast rose (ON) or fell (OFF).
    pub on: bool,
}

/// One ranked trigger.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TriggerMark {
    /// GPS time.
    pub gps: f64,
    /// Score, in the unit of [`DetectFigure::score`].
    pub score: f32,
    /// Rank, 1 for the loudest.
    pub rank: usize,
}

/// The picture of a spiking detection: the whole span on the left, the first trigger on the right.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DetectFigure {
    /// The headline.
    pub title: String,
    /// One line below it.
    pub subtitle: String,
    /// GPS time that the time axes count from.
    pub reference_gps: f64,
    /// Name and ON/OFF spikes of each detector.
    pub rasters: Vec<(String, Vec<Spike>)>,
    /// Number of neurons in each raster.
    pub neurons: usize,
    /// Spikes of the coincidence neurons; their `on` is not used.
    pub coincidences: Vec<Spike>,
    /// Score over time: GPS time and score, in order of time.
    pub score: Vec<(f64, f32)>,
    /// The triggers, in any order.
    pub triggers: Vec<TriggerMark>,
}

const NOISE: Rgb = [158, 165, 174];
const ON: Rgb = [214, 69, 44];
const OFF: Rgb = [37, 99, 176];
const COINCIDENCE: Rgb = [106, 61, 154];
const MARK: Rgb = [230, 138, 0];

/// Draws strain with template, signal-to-noise ratio and a time–frequency map for each detector, into a PNG file.
///
/// The map is a constant-Q transform of the whitened strain (Chatterji et al., Class. Quantum Grav. 21 S1809, 2004),
/// as energy over its mean in noise. Errors: [`Error::File`](crate::Error::File) when `path` cannot be written; then nothing is left of it.
pub fn search(figure: &SearchFigure, path: &Path) -> Result<()> {
    const LEFT: f32 = 12.0;
    const RIGHT: f32 = 108.0;
    let columns = figure.panels.len().max(1) as f32;
    let mut canvas = Canvas::new(WIDTH.max(LEFT + RIGHT + 500.0 * columns), 1080.0)?;
    canvas.headline(&figure.title, &figure.subtitle);
    let column_width = (canvas.width() - LEFT - RIGHT) / columns;
    let time_label = time_label(figure.reference_gps);
    let middles = middles(figure);
    let maps: Vec<Option<ConstantQ>> = figure
        .panels
        .par_iter()
        .zip(&middles)
        .map(|(p, middle)| {
            let middle = figure.reference_gps + middle - p.gps_start;
            ConstantQ::new(&p.whitened, p.sample_rate_hz, middle, MAP_SPAN, MAP_BAND)
        })
        .collect();
    // One colour scale for all detectors, so that they can be compared.
    let top = maps.iter().flatten().map(|m| m.peak).fold(0.0, f32::max);
    let top = (0.8 * top).clamp(10.0, 100.0);

    if figure.panels.is_empty() {
        let axes = Axes::new([90.0, 150.0, canvas.width() - 200.0, 860.0], (-1.0, 1.0), (0.0, 1.0));
        axes.background(&mut canvas);
        axes.note(&mut canvas, "no detectors");
    }
    for (index, (panel, map)) in figure.panels.iter().zip(&maps).enumerate() {
        let colour = detector_colour(&panel.name, index);
        let left = LEFT + column_width * index as f32 + 80.0;
        let width = column_width - 80.0 - 22.0;
        let relative = |gps: f64| gps - figure.reference_gps;
        let peak = relative(panel.peak_gps);
        let middle = middles[index];
        let cut = |values: &[f32], span| within(samples(values, relative(panel.gps_start), panel.sample_rate_hz), span);

        canvas.text(&panel.name, [left, 134.0], HEADER + 4.0, colour, Anchor::Start);
        let mut header = Vec::new();
        if panel.peak_snr.is_finite() {
            header.push(format!("SNR {:.2}", panel.peak_snr));
        }
        if panel.effective_distance_mpc.is_finite() {
            header.push(format!("effective distance {:.0} Mpc", panel.effective_distance_mpc));
        }
        if panel.peak_gps.is_finite() {
            header.push(format!("GPS {:.4}", panel.peak_gps));
        }
        canvas.text(&header.join("  ·  "), [left + width, 134.0], LABEL + 1.0, SOFT_INK, Anchor::End);

        // Whitened strain and template.
        let span = (middle - 0.2, middle + 0.1);
        let strain = cut(&panel.whitened, span);
        let template = cut(&panel.template, span);
        let magnitudes = strain.iter().chain(&template).map(|p| p.1.abs()).filter(|v| v.is_finite());
        let loudest = magnitudes.fold(0.0, f32::max);
        let limit = if loudest > 0.0 { 1.08 * f64::from(loudest) } else { 4.0 };
        let mut axes = Axes::new([left, 150.0, width, 240.0], span, (-limit, limit));
        axes.background(&mut canvas);
        axes.trace(&mut canvas, &strain, NOISE, 1.7);
        axes.trace(&mut canvas, &template, colour, 2.4);
        axes.frame(&mut canvas, Some(&time_label), "strain (σ)");
        axes.legend(&mut canvas, &[("whitened strain", NOISE), ("template", colour)]);
        if !has_values(&strain) {
            axes.note(&mut canvas, "no strain here");
        }

        // Signal-to-noise ratio: some seconds, and the peak.
        let height = if panel.peak_snr.is_finite() { panel.peak_snr.max(4.0) * 1.22 } else { 10.0 };
        for (zoom, frame_left, frame_width) in
            [(false, left, 0.55 * width), (true, left + 0.55 * width + 50.0, 0.45 * width - 50.0)]
        {
            let span = if zoom { (middle - 0.1, middle + 0.1) } else { (middle - 4.0, middle + 4.0) };
            let snr = cut(&panel.snr, span);
            axes = Axes::new([frame_left, 456.0, frame_width, 200.0], span, (0.0, height));
            axes.background(&mut canvas);
            if zoom {
                axes.vertical(&mut canvas, peak, MARK);
            }
            axes.trace(&mut canvas, &snr, colour, if zoom { 2.2 } else { 1.5 });
            axes.frame(&mut canvas, Some(""), if zoom { "" } else { "SNR" });
            if !has_values(&snr) {
                axes.note(&mut canvas, "no SNR here");
            } else if let Some(at) = axes.at(peak, panel.peak_snr) {
                canvas.ring(at, 5.0, MARK);
                let label = if zoom { format!("{} s", signed(peak, 4)) } else { format!("{:.2}", panel.peak_snr) };
                let room = frame_left + frame_width - at[0] - 16.0;
                if canvas.text_width(&label, LABEL) < room {
                    canvas.text(&label, [at[0] + 11.0, at[1] + 1.0], LABEL, INK, Anchor::Start);
                } else {
                    canvas.text(&label, [at[0] - 11.0, at[1] + 1.0], LABEL, INK, Anchor::End);
                }
            }
        }

        canvas.text(&time_label, [left + width / 2.0, 656.0 + 14.0 + TICK + LABEL], LABEL, INK, Anchor::Middle);

        // Time and frequency.
        let span = (middle + MAP_SPAN.0, middle + MAP_SPAN.1);
        let mut axes = Axes::new([left, 722.0, width, 290.0], span, MAP_BAND).logarithmic();
        match map {
            Some(map) => canvas.heat(axes.rect, |x, y| colour_map(map.at(x, y) / top)),
            None => {
                axes.background(&mut canvas);
                axes.note(&mut canvas, "no strain here");
            }
        }
        axes.y_ticks = [20.0, 50.0, 100.0, 200.0, 500.0].to_vec();
        axes.frame(&mut canvas, Some(&time_label), "frequency (Hz)");
        if index + 1 == figure.panels.len() {
            let bar = [left + width + 22.0, 722.0, 18.0, 290.0];
            canvas.colour_bar(bar, Scale::linear(f64::from(top)), colour_map, "normalised energy");
        }
    }
    canvas.save(path)
}

/// Draws ON and OFF spikes, coincidences and score with the ranked triggers, into a PNG file.
///
/// Errors: [`Error::File`](crate::Error::File) when `path` cannot be written; then nothing is left of it.
pub fn detect(figure: &DetectFigure, path: &Path) -> Result<()> {
    const TOP: f32 = 142.0;
    const GAP: f32 = 18.0;
    let rows = figure.rasters.len() as f32;
    let height = 1080.0_f32.max(TOP + 150.0 * rows + 500.0);
    let mut canvas = Canvas::new(WIDTH, height)?;
    canvas.headline(&figure.title, &figure.subtitle);
    let time_label = time_label(figure.reference_gps);
    let relative = |gps: f64| gps - figure.reference_gps;

    let mut triggers: Vec<TriggerMark> = figure.triggers.clone();
    triggers.retain(|t| t.gps.is_finite() && t.score.is_finite());
    triggers.sort_by_key(|t| t.rank);
    let first = triggers.first().map_or(0.0, |t| relative(t.gps));

    let score: Vec<(f64, f32)> = figure.score.iter().map(|&(gps, score)| (relative(gps), score)).collect();
    let rasters: Vec<Vec<Spike>> = figure.rasters.iter().map(|r| shifted(&r.1, figure.reference_gps)).collect();
    let coincidences = shifted(&figure.coincidences, figure.reference_gps);
    let times = || {
        let spikes = rasters.iter().flatten().chain(&coincidences).map(|s| s.gps);
        spikes.chain(score.iter().map(|s| s.0)).chain(triggers.iter().map(|t| relative(t.gps)))
    };
    let finite = times().filter(|t| t.is_finite());
    let (mut start, mut end) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), t| (a.min(t), b.max(t)));
    if !start.is_finite() {
        (start, end) = (-1.0, 1.0);
    }
    if end - start < 1e-3 {
        (start, end) = (start - 0.5, end + 0.5);
    }
    let scores = score.iter().map(|s| s.1).chain(triggers.iter().map(|t| t.score)).filter(|s| s.is_finite());
    let (least, greatest) = scores.fold((0f32, 0f32), |(a, b), s| (a.min(s), b.max(s)));
    let scores = if greatest > least { (f64::from(least), 1.25 * f64::from(greatest)) } else { (0.0, 1.0) };
    let neurons = figure.neurons.max(1) as f64;

    // The score gets a fixed height, the coincidences half of a raster's, the rasters the rest.
    let score_height = 190.0;
    let raster_height = (height - TOP - 66.0 - score_height - GAP * (rows + 1.0)) / (rows + 0.6);
    for (zoom, left, width) in [(false, 88.0, 880.0), (true, 1050.0, WIDTH - 1050.0 - 28.0)] {
        let span = if zoom { (first - 0.2, first + 0.2) } else { (start, end) };
        let mut top = TOP;
        let header = match (zoom, triggers.first()) {
            (false, _) => format!("{} of data", seconds(end - start)),
            (true, Some(t)) => format!("first trigger: GPS {:.4}, score {}", t.gps, significant(f64::from(t.score))),
            (true, None) => "no trigger".into(),
        };
        canvas.text(&header, [left, TOP - 10.0], LABEL + 1.0, SOFT_INK, Anchor::Start);
        for (name, spikes) in figure.rasters.iter().map(|r| &r.0).zip(&rasters) {
            let axes = Axes::new([left, top, width, raster_height], span, (0.0, neurons));
            axes.background(&mut canvas);
            if zoom {
                mark_triggers(&mut canvas, &axes, &triggers, figure.reference_gps);
            }
            axes.raster(&mut canvas, dots(spikes, |s| if s.on { ON } else { OFF }), TALLEST);
            let label = format!("{name} neuron");
            axes.frame(&mut canvas, None, if zoom { "" } else { &label });
            axes.legend(&mut canvas, &[("ON", ON), ("OFF", OFF)]);
            if spikes.is_empty() {
                axes.note(&mut canvas, "no spikes");
            }
            top += raster_height + GAP;
        }
        let axes = Axes::new([left, top, width, 0.6 * raster_height], span, (0.0, neurons));
        axes.background(&mut canvas);
        if zoom {
            mark_triggers(&mut canvas, &axes, &triggers, figure.reference_gps);
        }
        axes.raster(&mut canvas, dots(&coincidences, |_| COINCIDENCE), TALLEST);
        axes.frame(&mut canvas, None, if zoom { "" } else { "neuron" });
        axes.legend(&mut canvas, &[("coincidences", COINCIDENCE)]);
        if coincidences.is_empty() {
            axes.note(&mut canvas, "no coincidences");
        }
        top += 0.6 * raster_height + GAP;

        let axes = Axes::new([left, top, width, score_height], span, scores);
        axes.background(&mut canvas);
        if zoom {
            mark_triggers(&mut canvas, &axes, &triggers, figure.reference_gps);
        }
        let visible = within(score.iter().copied(), span);
        axes.trace(&mut canvas, &visible, COINCIDENCE, if zoom { 2.2 } else { 1.6 });
        axes.frame(&mut canvas, Some(&time_label), if zoom { "" } else { "score" });
        if !has_values(&visible) {
            axes.note(&mut canvas, "no score here");
        }
        // The quietest first, so that the loudest lies on top.
        for trigger in triggers.iter().take(10).rev() {
            if let Some(at) = axes.at(relative(trigger.gps), f64::from(trigger.score)) {
                canvas.pointer(at, MARK);
                canvas.text(&trigger.rank.to_string(), [at[0] + 10.0, at[1] - 5.0], TICK, INK, Anchor::Start);
            }
        }
    }
    canvas.save(path)
}

/// Seconds around the middle, and hertz, that the time–frequency map shows.
const MAP_SPAN: (f64, f64) = (-0.5, 0.5);
const MAP_BAND: (f64, f64) = (20.0, 512.0);

/// The middle of each detector's pictures, in seconds from the reference: the same for all where their peaks are close,
/// so that the delay can be seen.
fn middles(figure: &SearchFigure) -> Vec<f64> {
    let peak = |p: &DetectorPanel| {
        let peak = p.peak_gps - figure.reference_gps;
        if peak.is_finite() { peak } else { 0.0 }
    };
    let peaks: Vec<f64> = figure.panels.iter().map(peak).collect();
    let mean = peaks.iter().sum::<f64>() / peaks.len().max(1) as f64;
    let close = peaks.iter().all(|p| (p - mean).abs() < 0.05);
    peaks.iter().map(|&p| (100.0 * if close { mean } else { p }).round() / 100.0).collect()
}

fn shifted(spikes: &[Spike], reference: f64) -> Vec<Spike> {
    spikes.iter().map(|s| Spike { gps: s.gps - reference, ..*s }).collect()
}

/// Pixels of the bar of a spike.
const TALLEST: f32 = 14.0;

fn dots(spikes: &[Spike], colour: impl Fn(&Spike) -> Rgb) -> impl Iterator<Item = Dot> {
    spikes.iter().map(move |s| Dot { x: s.gps, y: s.neuron as f64 + 0.5, colour: colour(s) })
}

fn mark_triggers(canvas: &mut Canvas, axes: &Axes, triggers: &[TriggerMark], reference: f64) {
    for trigger in triggers.iter().take(10) {
        axes.vertical(canvas, trigger.gps - reference, MARK);
    }
}

/// Times and values of a regularly sampled series.
fn samples(values: &[f32], start: f64, rate: f64) -> impl Iterator<Item = (f64, f32)> {
    values.iter().enumerate().map(move |(i, &v)| (start + i as f64 / rate, v))
}

fn detector_colour(name: &str, index: usize) -> Rgb {
    const OTHERS: [Rgb; 4] = [[0, 128, 118], [178, 88, 0], [122, 66, 160], [70, 110, 40]];
    match name {
        "H1" => [205, 52, 40],
        "L1" => [30, 108, 190],
        "V1" => [122, 66, 160],
        _ => OTHERS[index % OTHERS.len()],
    }
}

fn time_label(reference: f64) -> String {
    let text = format!("{reference:.4}");
    format!("seconds from GPS {}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Energy of a series over time and logarithmic frequency, over its mean in noise.
struct ConstantQ {
    /// Rows by frequency, from low to high; columns by time.
    energy: Vec<Vec<f32>>,
    peak: f32,
}

impl ConstantQ {
    const Q: f64 = 8.0;
    const ROWS: usize = 120;
    const COLUMNS: usize = 800;
    /// Seconds of series that are transformed: the noise level is theirs.
    const SECONDS: f64 = 8.0;

    /// Transforms the surroundings of `middle` (seconds from the first sample). `None` when there are none.
    fn new(series: &[f32], rate: f64, middle: f64, span: (f64, f64), band: (f64, f64)) -> Option<Self> {
        if !(rate > 2.0 * band.1 && rate < 1e5 && middle.is_finite()) {
            return None;
        }
        let len = ((Self::SECONDS * rate) as usize).next_power_of_two();
        let first = ((middle * rate).round() - (len / 2) as f64).clamp(-1e12, 1e12) as i64;
        let mut spectrum: Vec<Complex32> = (0..len as i64)
            .map(|i| usize::try_from(first + i).ok().and_then(|i| series.get(i)).copied().unwrap_or(0.0))
            .map(|v| Complex32::new(if v.is_finite() { v } else { 0.0 }, 0.0))
            .collect();
        // The band is narrow: its analytic signal fits a lower rate, which keeps four times the band's upper end.
        let fewer = 1 << (rate / (4.0 * band.1)).max(1.0).log2() as u32;
        let short = len / fewer;
        let known: Vec<usize> = (0..short).filter(|i| spectrum[i * fewer].re != 0.0).collect();
        if known.len() < 16 {
            return None;
        }
        let mut planner = FftPlanner::new();
        planner.plan_fft_forward(len).process(&mut spectrum);
        let inverse = planner.plan_fft_inverse(short);
        let resolution = rate / len as f64;
        let energy: Vec<Vec<f32>> = (0..Self::ROWS)
            .into_par_iter()
            .map(|row| {
                let frequency = band.0 * (band.1 / band.0).powf(row as f64 / (Self::ROWS - 1) as f64);
                // The bisquare window of the Q transform, of half width f √11 / Q.
                let half_width = frequency * 11f64.sqrt() / Self::Q;
                let mut row = vec![Complex32::default(); short];
                let from = ((frequency - half_width) / resolution).ceil().max(1.0) as usize;
                let to = (((frequency + half_width) / resolution).floor() as usize).min(len / 2 - 1).min(short - 1);
                for bin in from..=to {
                    let x = (bin as f64 * resolution - frequency) / half_width;
                    row[bin] = spectrum[bin] * (1.0 - x * x).powi(2) as f32;
                }
                inverse.process(&mut row);
                // The energy of Gaussian noise is exponentially distributed: its mean is the median over ln 2.
                let mut noise: Vec<f32> = known.iter().map(|&i| row[i].norm_sqr()).collect();
                let half = noise.len() / 2;
                let mean = *noise.select_nth_unstable_by(half, f32::total_cmp).1 / std::f32::consts::LN_2;
                let scale = if mean > 0.0 && mean.is_finite() { mean.recip() } else { 0.0 };
                (0..Self::COLUMNS)
                    .map(|column| {
                        let x = (column as f64 + 0.5) / Self::COLUMNS as f64;
                        let at = short as f64 / 2.0 + (span.0 + x * (span.1 - span.0)) * rate / fewer as f64;
                        row.get(at.round().max(0.0) as usize).map_or(0.0, |v| v.norm_sqr() * scale)
                    })
                    .collect()
            })
            .collect();
        let peak = energy.iter().flatten().copied().filter(|e| e.is_finite()).fold(0.0, f32::max);
        Some(Self { energy, peak })
    }

    /// Energy at fractions of the span of time and of the logarithmic band, both from 0 to 1.
    fn at(&self, time: f32, frequency: f32) -> f32 {
        let (x, y) = (time * Self::COLUMNS as f32 - 0.5, frequency * (Self::ROWS - 1) as f32);
        let (i, j) = (x.max(0.0) as usize, y.max(0.0) as usize);
        let (i, j) = (i.min(Self::COLUMNS - 2), j.min(Self::ROWS - 2));
        let (u, v) = ((x - i as f32).clamp(0.0, 1.0), (y - j as f32).clamp(0.0, 1.0));
        let row = |j: usize| self.energy[j][i] * (1.0 - u) + self.energy[j][i + 1] * u;
        row(j) * (1.0 - v) + row(j + 1) * v
    }
}
