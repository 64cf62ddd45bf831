//! Pictures of a search and of a spiking detection, as PNG files.
//!
//! Everything is drawn from plain numbers on the host, with the bundled font: no window, no system font, no network.
//! Times are given in GPS seconds and drawn as seconds from a reference. A picture never fails because of its data:
//! what is empty or not finite is left out, and a panel without data says so. The font has Latin, Greek and Cyrillic
//! letters and common signs; any other character becomes a box.

use crate::io::write_atomically;
use crate::{Error, Result};
use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use rayon::prelude::*;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex32;
use std::io::Write;
use std::path::Path;
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Mask, Paint, PathBuilder, Pixmap, PremultipliedColorU8, Rect, Stroke,
    StrokeDash, Transform,
};

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

type Rgb = [u8; 3];

const INK: Rgb = [33, 37, 41];
const SOFT_INK: Rgb = [95, 102, 110];
const GRID: Rgb = [228, 231, 235];
const NOISE: Rgb = [158, 165, 174];
const ON: Rgb = [214, 69, 44];
const OFF: Rgb = [37, 99, 176];
const COINCIDENCE: Rgb = [106, 61, 154];
const MARK: Rgb = [230, 138, 0];

const TITLE: f32 = 31.0;
const SUBTITLE: f32 = 20.0;
const HEADER: f32 = 21.0;
const LABEL: f32 = 17.5;
const TICK: f32 = 16.0;

/// Width of the smallest picture, in pixels.
const WIDTH: f32 = 1600.0;

/// Draws strain with template, signal-to-noise ratio and a time–frequency map for each detector, into a PNG file.
///
/// The map is a constant-Q transform of the whitened strain (Chatterji et al., Class. Quantum Grav. 21 S1809, 2004),
/// as energy over its mean in noise. Errors: [`Error::File`] when `path` cannot be written; then nothing is left of it.
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
            canvas.colour_bar([left + width + 22.0, 722.0, 18.0, 290.0], f64::from(top), "normalised energy");
        }
    }
    canvas.save(path)
}

/// Draws ON and OFF spikes, coincidences and score with the ranked triggers, into a PNG file.
///
/// Errors: [`Error::File`] when `path` cannot be written; then nothing is left of it.
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
                axes.mark_triggers(&mut canvas, &triggers, figure.reference_gps);
            }
            axes.raster(&mut canvas, spikes, |s| if s.on { ON } else { OFF });
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
            axes.mark_triggers(&mut canvas, &triggers, figure.reference_gps);
        }
        axes.raster(&mut canvas, &coincidences, |_| COINCIDENCE);
        axes.frame(&mut canvas, None, if zoom { "" } else { "neuron" });
        axes.legend(&mut canvas, &[("coincidences", COINCIDENCE)]);
        if coincidences.is_empty() {
            axes.note(&mut canvas, "no coincidences");
        }
        top += 0.6 * raster_height + GAP;

        let axes = Axes::new([left, top, width, score_height], span, scores);
        axes.background(&mut canvas);
        if zoom {
            axes.mark_triggers(&mut canvas, &triggers, figure.reference_gps);
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

/// Times and values of a regularly sampled series.
fn samples(values: &[f32], start: f64, rate: f64) -> impl Iterator<Item = (f64, f32)> {
    values.iter().enumerate().map(move |(i, &v)| (start + i as f64 / rate, v))
}

/// The points inside a span of time.
fn within(points: impl Iterator<Item = (f64, f32)>, span: (f64, f64)) -> Vec<(f64, f32)> {
    points.filter(|p| p.0 >= span.0 && p.0 <= span.1).collect()
}

fn has_values(points: &[(f64, f32)]) -> bool {
    points.iter().any(|p| p.1.is_finite())
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

fn with_minus(text: String) -> String {
    text.replace('-', "\u{2212}")
}

fn signed(value: f64, decimals: usize) -> String {
    with_minus(format!("{value:+.decimals$}"))
}

fn significant(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize };
    with_minus(format!("{value:.digits$}"))
}

fn seconds(duration: f64) -> String {
    format!("{} s", significant(duration))
}

/// Round values between two bounds, about `count` of them.
fn round_values(low: f64, high: f64, count: f64) -> Vec<f64> {
    let rough = (high - low) / count;
    if !rough.is_finite() || rough <= 0.0 {
        return Vec::new();
    }
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * decade).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * decade);
    let first = (low / step - 1e-9).ceil();
    (0..100).map(|i| (first + f64::from(i)) * step).take_while(|v| *v <= high + 1e-9 * step).collect()
}

/// The labels of ticks: as many decimals as their distance needs, or powers of ten.
fn tick_labels(ticks: &[f64]) -> Vec<String> {
    let step = ticks.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
    if !step.is_finite() {
        return ticks.iter().map(|&v| significant(v)).collect();
    }
    let decimals = (-step.log10() - 1e-9).ceil().max(0.0) as usize;
    let long = decimals > 5 || ticks.iter().any(|v| v.abs() >= 1e6);
    let label = |&v: &f64| match v {
        _ if v.abs() < 1e-9 * step => "0".to_string(),
        _ if long => with_minus(format!("{v:.1e}")),
        _ => with_minus(format!("{v:.decimals$}")),
    };
    ticks.iter().map(label).collect()
}

/// Dark blue over green to pale yellow, with lightness rising all the way: readable in grey and without red or green.
fn colour_map(level: f32) -> Rgb {
    const STOPS: [[f32; 3]; 7] = [
        [16.0, 12.0, 52.0],
        [42.0, 40.0, 110.0],
        [34.0, 86.0, 140.0],
        [24.0, 131.0, 140.0],
        [52.0, 173.0, 114.0],
        [156.0, 209.0, 62.0],
        [252.0, 240.0, 120.0],
    ];
    let x = if level.is_finite() { level.clamp(0.0, 1.0) } else { 0.0 } * (STOPS.len() - 1) as f32;
    let i = (x as usize).min(STOPS.len() - 2);
    let f = x - i as f32;
    std::array::from_fn(|c| (STOPS[i][c] + f * (STOPS[i + 1][c] - STOPS[i][c])).round() as u8)
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

#[derive(Clone, Copy, PartialEq)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// An opaque picture with the strokes and letters that the figures need.
struct Canvas {
    pixmap: Pixmap,
    font: FontRef<'static>,
}

impl Canvas {
    fn new(width: f32, height: f32) -> Result<Self> {
        let font = FontRef::try_from_slice(include_bytes!("../../assets/fonts/OpenSans-Regular.ttf"))
            .map_err(|e| Error::Internal(format!("the bundled font is damaged ({e})")))?;
        let mut pixmap = Pixmap::new(width as u32, height as u32).ok_or_else(|| {
            Error::invalid("figure", format!("{width} by {height} pixels are too many for a picture"))
        })?;
        pixmap.fill(Color::WHITE);
        Ok(Self { pixmap, font })
    }

    fn width(&self) -> f32 {
        self.pixmap.width() as f32
    }

    /// The PNG file, whole or not at all.
    fn save(self, path: &Path) -> Result<()> {
        let png = self.pixmap.encode_png().map_err(|e| Error::file(path, format_args!("cannot be written ({e})")))?;
        write_atomically(path, |file| file.write_all(&png))
    }

    fn headline(&mut self, title: &str, subtitle: &str) {
        let middle = self.width() / 2.0;
        for (text, baseline, size, colour) in [(title, 46.0, TITLE, INK), (subtitle, 80.0, SUBTITLE, SOFT_INK)] {
            let room = 0.96 * self.width() / self.text_width(text, size).max(1.0);
            self.text(text, [middle, baseline], size * room.min(1.0), colour, Anchor::Middle);
        }
    }

    fn fill(&mut self, [x, y, width, height]: [f32; 4], colour: Rgb) {
        if let Some(rect) = Rect::from_xywh(x, y, width, height) {
            self.pixmap.fill_rect(rect, &paint(colour, 1.0), Transform::identity(), None);
        }
    }

    fn line(&mut self, from: [f32; 2], to: [f32; 2], colour: Rgb, width: f32, dash: Option<f32>) {
        let mut path = PathBuilder::new();
        path.move_to(from[0], from[1]);
        path.line_to(to[0], to[1]);
        let stroke = Stroke { width, dash: dash.and_then(|d| StrokeDash::new(vec![d, d], 0.0)), ..Stroke::default() };
        if let Some(path) = path.finish() {
            self.pixmap.stroke_path(&path, &paint(colour, 1.0), &stroke, Transform::identity(), None);
        }
    }

    fn ring(&mut self, [x, y]: [f32; 2], radius: f32, colour: Rgb) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            let stroke = Stroke { width: 2.2, ..Stroke::default() };
            self.pixmap.stroke_path(&path, &paint(colour, 1.0), &stroke, Transform::identity(), None);
        }
    }

    /// A triangle that points down to `tip`.
    fn pointer(&mut self, tip: [f32; 2], colour: Rgb) {
        let mut path = PathBuilder::new();
        path.move_to(tip[0], tip[1] - 4.0);
        path.line_to(tip[0] - 7.0, tip[1] - 16.0);
        path.line_to(tip[0] + 7.0, tip[1] - 16.0);
        path.close();
        if let Some(path) = path.finish() {
            let fill = FillRule::Winding;
            self.pixmap.fill_path(&path, &paint(colour, 1.0), fill, Transform::identity(), None);
        }
    }

    /// Colours every pixel of a rectangle by its place: fractions of width (from the left) and height (from below).
    fn heat(&mut self, [x, y, width, height]: [f32; 4], colour: impl Fn(f32, f32) -> Rgb) {
        for row in 0..height as usize {
            for column in 0..width as usize {
                let [r, g, b] = colour((column as f32 + 0.5) / width, 1.0 - (row as f32 + 0.5) / height);
                self.set(x as i32 + column as i32, y as i32 + row as i32, [r, g, b], 1.0);
            }
        }
    }

    fn colour_bar(&mut self, rect: [f32; 4], top: f64, label: &str) {
        let [x, y, width, height] = rect;
        self.heat(rect, |_, level| colour_map(level));
        let ticks = round_values(0.0, top, 4.0);
        for (tick, text) in ticks.iter().zip(tick_labels(&ticks)) {
            let at = y + height * (1.0 - (tick / top) as f32);
            self.line([x + width, at], [x + width + 5.0, at], INK, 1.2, None);
            self.text(&text, [x + width + 9.0, at + 0.36 * TICK], TICK, INK, Anchor::Start);
        }
        self.text_upward(label, [x + width + 50.0, y + height / 2.0], LABEL);
    }

    /// Lays a colour over one pixel; outside of the picture nothing happens.
    fn set(&mut self, x: i32, y: i32, colour: Rgb, coverage: f32) {
        let (width, height) = (self.pixmap.width() as i32, self.pixmap.height() as i32);
        if x < 0 || y < 0 || x >= width || y >= height {
            return;
        }
        let pixel = &mut self.pixmap.pixels_mut()[(y * width + x) as usize];
        let mix = |under: u8, over: u8| {
            (f32::from(under) + coverage.clamp(0.0, 1.0) * (f32::from(over) - f32::from(under))).round() as u8
        };
        let [r, g, b] = [mix(pixel.red(), colour[0]), mix(pixel.green(), colour[1]), mix(pixel.blue(), colour[2])];
        if let Some(opaque) = PremultipliedColorU8::from_rgba(r, g, b, 255) {
            *pixel = opaque;
        }
    }

    /// The glyphs of a line of text whose baseline starts at the origin, and its width.
    fn glyphs(&self, text: &str, size: f32) -> (Vec<Glyph>, f32) {
        // ab_glyph's scale is the height of a line, a font's size that of the em.
        let em = self.font.units_per_em().unwrap_or(1000.0);
        let font = self.font.as_scaled(PxScale::from(size * self.font.height_unscaled() / em));
        let mut x = 0.0;
        let mut glyphs = Vec::new();
        let mut previous = None;
        for character in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            let id = font.glyph_id(character);
            x += previous.map_or(0.0, |p| font.kern(p, id));
            glyphs.push(id.with_scale_and_position(font.scale(), point(x, 0.0)));
            x += font.h_advance(id);
            previous = Some(id);
        }
        (glyphs, x)
    }

    fn text_width(&self, text: &str, size: f32) -> f32 {
        self.glyphs(text, size).1
    }

    /// A line of text with its baseline at `at`.
    fn text(&mut self, text: &str, at: [f32; 2], size: f32, colour: Rgb, anchor: Anchor) {
        self.letters(text, size, anchor, |canvas, x, y, c| {
            canvas.set((at[0].round() as i32) + x, (at[1].round() as i32) + y, colour, c);
        });
    }

    /// A line of text that reads from below, with its middle at `at`.
    fn text_upward(&mut self, text: &str, at: [f32; 2], size: f32) {
        self.letters(text, size, Anchor::Middle, |canvas, x, y, c| {
            canvas.set((at[0].round() as i32) + y, (at[1].round() as i32) - x, INK, c);
        });
    }

    fn letters(&mut self, text: &str, size: f32, anchor: Anchor, mut put: impl FnMut(&mut Self, i32, i32, f32)) {
        let (glyphs, width) = self.glyphs(text, size);
        let shift = match anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -width / 2.0,
            Anchor::End => -width,
        };
        for mut glyph in glyphs {
            glyph.position.x += shift;
            if let Some(outline) = self.font.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                outline.draw(|x, y, c| put(self, corner.x as i32 + x as i32, corner.y as i32 + y as i32, c));
            }
        }
    }
}

fn paint(colour: Rgb, alpha: f32) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(colour[0], colour[1], colour[2], (255.0 * alpha) as u8);
    paint.anti_alias = true;
    paint
}

/// A rectangle of the picture and the numbers along its sides.
struct Axes {
    rect: [f32; 4],
    x: (f64, f64),
    y: (f64, f64),
    logarithmic: bool,
    x_ticks: Vec<f64>,
    y_ticks: Vec<f64>,
}

impl Axes {
    fn new(rect: [f32; 4], x: (f64, f64), y: (f64, f64)) -> Self {
        let rect = rect.map(f32::round);
        let x_ticks = round_values(x.0, x.1, (f64::from(rect[2]) / 64.0).max(2.0));
        let y_ticks = round_values(y.0, y.1, (f64::from(rect[3]) / 45.0).max(2.0));
        Self { rect, x, y, logarithmic: false, x_ticks, y_ticks }
    }

    /// With a logarithmic vertical axis.
    fn logarithmic(mut self) -> Self {
        self.logarithmic = true;
        self
    }

    fn pixel_x(&self, x: f64) -> f32 {
        self.rect[0] + self.rect[2] * ((x - self.x.0) / (self.x.1 - self.x.0)) as f32
    }

    fn pixel_y(&self, y: f64) -> f32 {
        let fraction = if self.logarithmic {
            (y / self.y.0).ln() / (self.y.1 / self.y.0).ln()
        } else {
            (y - self.y.0) / (self.y.1 - self.y.0)
        };
        self.rect[1] + self.rect[3] * (1.0 - fraction.clamp(-1.0, 2.0) as f32)
    }

    /// The pixel of a point inside.
    fn at(&self, x: f64, y: f64) -> Option<[f32; 2]> {
        let inside = (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y);
        inside.then(|| [self.pixel_x(x), self.pixel_y(y)])
    }

    fn background(&self, canvas: &mut Canvas) {
        let [left, top, width, height] = self.rect;
        for &tick in &self.x_ticks {
            let x = self.pixel_x(tick).round() + 0.5;
            canvas.line([x, top], [x, top + height], GRID, 1.0, None);
        }
        for &tick in &self.y_ticks {
            let y = self.pixel_y(tick).round() + 0.5;
            canvas.line([left, y], [left + width, y], GRID, 1.0, None);
        }
    }

    /// Border, ticks, numbers and names; without a name for it, the horizontal axis has no numbers either.
    fn frame(&self, canvas: &mut Canvas, x_name: Option<&str>, y_name: &str) {
        let [left, top, width, height] = self.rect;
        let (right, bottom) = (left + width, top + height);
        for (from, to) in [
            ([left, top], [right, top]),
            ([right, top], [right, bottom]),
            ([right, bottom], [left, bottom]),
            ([left, bottom], [left, top]),
        ] {
            canvas.line(from.map(|v| v + 0.5), to.map(|v| v + 0.5), SOFT_INK, 1.0, None);
        }
        for (&tick, text) in self.x_ticks.iter().zip(tick_labels(&self.x_ticks)) {
            let x = self.pixel_x(tick).round() + 0.5;
            canvas.line([x, bottom], [x, bottom + 5.0], SOFT_INK, 1.0, None);
            if x_name.is_some() {
                canvas.text(&text, [x, bottom + 9.0 + TICK], TICK, INK, Anchor::Middle);
            }
        }
        let mut widest = 0f32;
        for (&tick, text) in self.y_ticks.iter().zip(tick_labels(&self.y_ticks)) {
            let y = self.pixel_y(tick).round() + 0.5;
            canvas.line([left - 5.0, y], [left, y], SOFT_INK, 1.0, None);
            canvas.text(&text, [left - 9.0, y + 0.36 * TICK], TICK, INK, Anchor::End);
            widest = widest.max(canvas.text_width(&text, TICK));
        }
        canvas.text(
            x_name.unwrap_or_default(),
            [left + width / 2.0, bottom + 14.0 + TICK + LABEL],
            LABEL,
            INK,
            Anchor::Middle,
        );
        canvas.text_upward(y_name, [(left - 22.0 - widest).max(LABEL), top + height / 2.0], LABEL);
    }

    /// Words in the middle of an empty panel.
    fn note(&self, canvas: &mut Canvas, text: &str) {
        let [left, top, width, height] = self.rect;
        canvas.text(text, [left + width / 2.0, top + height / 2.0], LABEL, SOFT_INK, Anchor::Middle);
    }

    /// Names of what is drawn, in the upper left corner.
    fn legend(&self, canvas: &mut Canvas, entries: &[(&str, Rgb)]) {
        let mut x = self.rect[0] + 10.0;
        let y = self.rect[1] + 8.0;
        let width: f32 = entries.iter().map(|e| 42.0 + canvas.text_width(e.0, TICK)).sum();
        canvas.fill([x - 4.0, y - 3.0, width - 2.0, 26.0], [255; 3]);
        for &(name, colour) in entries {
            canvas.fill([x + 2.0, y + 8.0, 20.0, 4.0], colour);
            canvas.text(name, [x + 28.0, y + 16.0], TICK, INK, Anchor::Start);
            x += 42.0 + canvas.text_width(name, TICK);
        }
    }

    fn vertical(&self, canvas: &mut Canvas, x: f64, colour: Rgb) {
        if (self.x.0..=self.x.1).contains(&x) {
            let x = self.pixel_x(x);
            canvas.line([x, self.rect[1]], [x, self.rect[1] + self.rect[3]], colour, 1.6, Some(5.0));
        }
    }

    fn mark_triggers(&self, canvas: &mut Canvas, triggers: &[TriggerMark], reference: f64) {
        for trigger in triggers.iter().take(10) {
            self.vertical(canvas, trigger.gps - reference, MARK);
        }
    }

    /// A line through points in order of time, broken where a value is not finite. Where many points share a column of
    /// pixels, it goes through the first, the least, the greatest and the last of them, which looks the same.
    fn trace(&self, canvas: &mut Canvas, points: &[(f64, f32)], colour: Rgb, width: f32) {
        let column = |p: &(f64, f32)| self.pixel_x(p.0).floor() as i64;
        let mut path = PathBuilder::new();
        for stretch in points.split(|p| !p.1.is_finite()) {
            let mut begun = false;
            for group in stretch.chunk_by(|a, b| column(a) == column(b)) {
                let by_value = |&a: &usize, &b: &usize| group[a].1.total_cmp(&group[b].1);
                let mut kept = vec![0, group.len() - 1];
                kept.extend((0..group.len()).min_by(by_value));
                kept.extend((0..group.len()).max_by(by_value));
                kept.sort_unstable();
                kept.dedup();
                for index in kept {
                    let (x, y) = (self.pixel_x(group[index].0), self.pixel_y(f64::from(group[index].1)));
                    if begun {
                        path.line_to(x, y)
                    } else {
                        path.move_to(x, y)
                    }
                    begun = true;
                }
            }
        }
        let stroke = Stroke { width, line_join: LineJoin::Round, line_cap: LineCap::Round, ..Stroke::default() };
        let [left, top, wide, high] = self.rect;
        let clip = Rect::from_xywh(left, top, wide, high).map(PathBuilder::from_rect);
        let mask = Mask::new(canvas.pixmap.width(), canvas.pixmap.height());
        if let (Some(path), Some(clip), Some(mut mask)) = (path.finish(), clip, mask) {
            mask.fill_path(&clip, FillRule::Winding, false, Transform::identity());
            let paint = paint(colour, 1.0);
            canvas.pixmap.stroke_path(&path, &paint, &stroke, Transform::identity(), Some(&mask));
        }
    }

    /// A mark for each spike: a short bar where there is room, darker pixels where there is not.
    fn raster(&self, canvas: &mut Canvas, spikes: &[Spike], colour: impl Fn(&Spike) -> Rgb) {
        let [_, top, _, height] = self.rect;
        let visible: Vec<&Spike> = spikes.iter().filter(|s| self.at(s.gps, s.neuron as f64 + 0.5).is_some()).collect();
        let pitch = height / (self.y.1 - self.y.0) as f32;
        let (wide, coverage) = match visible.len() {
            0..2_000 => (3, 1.0),
            2_000..10_000 => (2, 0.8),
            many => (1, (12_000.0 / many as f32).clamp(0.2, 0.7)),
        };
        let high = (0.9 * pitch).clamp(1.0 + wide as f32, 14.0) as i32;
        for spike in visible {
            let x = self.pixel_x(spike.gps) as i32 - wide / 2;
            let y = self.pixel_y(spike.neuron as f64 + 0.5) as i32 - high / 2;
            let y = y.clamp(top as i32, ((top + height) as i32 - high).max(top as i32));
            for (dx, dy) in (0..wide).flat_map(|dx| (0..high).map(move |dy| (dx, dy))) {
                canvas.set(x + dx, y + dy, colour(spike), coverage);
            }
        }
    }
}
