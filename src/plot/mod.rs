//! Drawing: a canvas with the bundled font, axes with round numbers, one colour map, PNG files.
//!
//! Everything is drawn from plain numbers on the host: no window, no system font, no network. What is empty or not
//! finite is left out. The font has Latin, Greek and Cyrillic letters and common signs; any other character becomes a
//! box. What a picture is about is not known here.

mod axes;
mod canvas;
mod numbers;
mod scale;

pub(crate) use axes::{Axes, Dot};
pub(crate) use canvas::{Anchor, Canvas};
pub(crate) use numbers::{grouped, plain, round_values, seconds, signed, significant};
pub(crate) use scale::Scale;

/// Red, green and blue.
pub(crate) type Rgb = [u8; 3];

pub(crate) const INK: Rgb = [33, 37, 41];
pub(crate) const SOFT_INK: Rgb = [95, 102, 110];
pub(crate) const GRID: Rgb = [228, 231, 235];

pub(crate) const TITLE: f32 = 31.0;
pub(crate) const SUBTITLE: f32 = 20.0;
pub(crate) const HEADER: f32 = 21.0;
pub(crate) const LABEL: f32 = 17.5;
pub(crate) const TICK: f32 = 16.0;

/// Width of the smallest picture, in pixels.
pub(crate) const WIDTH: f32 = 1600.0;

/// The points inside a span of time.
pub(crate) fn within(points: impl Iterator<Item = (f64, f32)>, span: (f64, f64)) -> Vec<(f64, f32)> {
    points.filter(|p| p.0 >= span.0 && p.0 <= span.1).collect()
}

pub(crate) fn has_values(points: &[(f64, f32)]) -> bool {
    points.iter().any(|p| p.1.is_finite())
}

/// Dark blue over green to pale yellow, with lightness rising all the way: readable in grey and without red or green.
pub(crate) fn colour_map(level: f32) -> Rgb {
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
