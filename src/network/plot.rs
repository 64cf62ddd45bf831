//! The picture of a simulated network: spikes by population, and beside them each population's mean rate.

use std::ops::Range;
use std::path::Path;

use super::Raster;
use crate::Result;
use crate::plot::{
    Anchor, Axes, Canvas, Dot, GRID, INK, LABEL, Rgb, SOFT_INK, TICK, WIDTH, grouped, round_values, significant,
};

/// Pixels left of the raster, between it and the rates, and right of them.
const LEFT: f32 = 124.0;
const BETWEEN: f32 = 34.0;
const RIGHT: f32 = 96.0;
/// Width of the rates.
const RATES: f32 = 270.0;
/// Pixels above the panels and below them.
const TOP: f32 = 138.0;
const BOTTOM: f32 = 72.0;
/// Height of all populations, if that gives each of them the least height of one.
const HEIGHT: f32 = 800.0;
const LEAST: f32 = 30.0;
/// Populations that a picture shows; more would leave each of them a line of text.
const MOST: usize = 60;

const EXCITATORY: Rgb = [37, 99, 176];
const INHIBITORY: Rgb = [214, 69, 44];

/// A population as the picture shows it.
#[derive(Debug, Clone)]
pub struct PopulationRow {
    /// Its name.
    pub name: String,
    /// Its neurons, as [`Raster`] numbers them.
    pub neurons: Range<u32>,
    /// Mean rate, spikes/s.
    pub rate: f64,
    /// Drawn in the colour of inhibition.
    pub inhibitory: bool,
}

/// The picture of a simulated network.
#[derive(Debug, Clone)]
pub struct NetworkFigure<'a> {
    /// The headline.
    pub title: String,
    /// One line below it.
    pub subtitle: String,
    /// From top to bottom. Only the first sixty are drawn.
    pub populations: Vec<PopulationRow>,
    /// The spikes.
    pub raster: &'a Raster,
    /// From when to when spikes are drawn, ms.
    pub window: Range<f64>,
}

/// The heights of the bands of populations of these sizes: as their sizes, but none below the least.
fn heights(sizes: &[f64]) -> Vec<f32> {
    let total: f64 = sizes.iter().sum::<f64>().max(1.0);
    let room = HEIGHT.max(1.5 * LEAST * sizes.len() as f32);
    // What is left after each has the least is shared.
    let shared = room - LEAST * sizes.len() as f32;
    sizes.iter().map(|size| (LEAST + shared * (size / total) as f32).round()).collect()
}

/// Draws the picture into a PNG file.
///
/// # Errors
/// [`File`](crate::Error::File) when `path` cannot be written; then nothing is left of it.
pub fn network(figure: &NetworkFigure<'_>, path: &Path) -> Result<()> {
    let rows = &figure.populations[..figure.populations.len().min(MOST)];
    let sizes: Vec<f64> = rows.iter().map(|r| r.neurons.len() as f64).collect();
    let bands = heights(&sizes);
    let height: f32 = bands.iter().sum::<f32>().max(LEAST);
    let mut canvas = Canvas::new(WIDTH, TOP + height + BOTTOM)?;
    canvas.headline(&figure.title, &figure.subtitle);

    let width = WIDTH - LEFT - BETWEEN - RATES - RIGHT;
    let (from, to) = (figure.window.start, figure.window.end.max(figure.window.start + 1e-3));
    let mut axes = Axes::new([LEFT, TOP, width, height], (from, to), (0.0, f64::from(height)));
    axes.y_ticks.clear();
    axes.background(&mut canvas);
    // The band of each population, as pixels below the top.
    let tops: Vec<f32> = bands
        .iter()
        .scan(0.0, |top, band| {
            *top += band;
            Some(*top - band)
        })
        .collect();
    let colour = |row: &PopulationRow| if row.inhibitory { INHIBITORY } else { EXCITATORY };
    let mut dots: Vec<Vec<Dot>> = rows.iter().map(|_| Vec::new()).collect();
    for (time, neuron) in figure.raster.between(from, to) {
        // Populations follow one another, but need not all be drawn.
        let Some(p) = rows.iter().position(|r| r.neurons.contains(&neuron)) else { continue };
        let within = f64::from(neuron - rows[p].neurons.start) + 0.5;
        let down = f64::from(tops[p]) + 1.0 + (f64::from(bands[p]) - 2.0) * within / sizes[p];
        dots[p].push(Dot { x: time, y: f64::from(height) - down, colour: colour(&rows[p]) });
    }
    let drawn: usize = dots.iter().map(Vec::len).sum();
    if drawn == 0 {
        axes.note(&mut canvas, "no spikes here");
    }
    for (dots, (band, size)) in dots.into_iter().zip(bands.iter().zip(&sizes)) {
        // A few neurons have room for strokes.
        axes.raster(&mut canvas, dots.into_iter(), (0.7 * band / *size as f32).max(3.0));
    }
    for (row, (top, band)) in rows.iter().zip(tops.iter().zip(&bands)) {
        let y = TOP + top;
        if *top > 0.0 {
            canvas.line([LEFT, y.round() + 0.5], [LEFT + width, y.round() + 0.5], GRID, 1.0, None);
        }
        let middle = y + band / 2.0 + 0.36 * LABEL;
        canvas.text(&row.name, [LEFT - 12.0, middle], LABEL, INK, Anchor::End);
    }
    axes.caption(
        &mut canvas,
        &format!("{} spikes of {} neurons", grouped(drawn), grouped(sizes.iter().sum::<f64>() as usize)),
        &[],
    );
    axes.frame(&mut canvas, Some("time (ms)"), "");

    // Rates, each beside its population.
    let fastest = rows.iter().map(|r| r.rate).filter(|r| r.is_finite()).fold(0.0, f64::max);
    let end = round_values(0.0, 2.0 * fastest.max(1e-3), 10.0).into_iter().find(|v| *v >= 1.18 * fastest.max(1e-3));
    let mut axes = Axes::new(
        [LEFT + width + BETWEEN, TOP, RATES, height],
        (0.0, end.unwrap_or(fastest.max(1.0))),
        (0.0, f64::from(height)),
    );
    axes.y_ticks.clear();
    axes.background(&mut canvas);
    for (row, (top, band)) in rows.iter().zip(tops.iter().zip(&bands)) {
        let rate = if row.rate.is_finite() { row.rate } else { 0.0 };
        let thick = (0.6 * band).min(34.0).round();
        let y = (TOP + top + (band - thick) / 2.0).round();
        let long = axes.pixel_x(rate) - axes.rect[0];
        canvas.fill([axes.rect[0] + 1.0, y, long.max(1.0), thick], colour(row));
        let beside = [axes.rect[0] + long + 8.0, y + thick / 2.0 + 0.36 * TICK];
        canvas.text(&significant(rate), beside, TICK, SOFT_INK, Anchor::Start);
    }
    let keys: Vec<(&str, Rgb)> = [("excitatory", false, EXCITATORY), ("inhibitory", true, INHIBITORY)]
        .into_iter()
        .filter(|(_, inhibitory, _)| rows.iter().any(|r| r.inhibitory == *inhibitory))
        .map(|(name, _, colour)| (name, colour))
        .collect();
    let keys_width = canvas.keys_width(&keys);
    canvas.keys([WIDTH - RIGHT + 40.0 - keys_width + 14.0, TOP - 10.0], &keys);
    axes.frame(&mut canvas, Some("rate (spikes/s)"), "");
    canvas.save(path)
}
