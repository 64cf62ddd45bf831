//! How values become colours.

use super::numbers::{plain, round_values, tick_labels};
use super::{Canvas, INK, LABEL, Rgb, TICK};
use crate::plot::Anchor;

/// From a value to the level of a colour map, and back to the numbers beside its bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    top: f64,
    root: bool,
    beyond: bool,
}

impl Scale {
    /// Proportional to the value, from 0 to `top`; what lies above has the last colour.
    pub(crate) fn linear(top: f64) -> Self {
        Self { top, root: false, beyond: false }
    }

    /// As the square root of the value, so that small values can be told apart.
    pub(crate) fn root(top: f64) -> Self {
        Self { root: true, ..Self::linear(top) }
    }

    /// Says so beside the bar if values up to `greatest` have the last colour.
    pub(crate) fn holding(self, greatest: f64) -> Self {
        Self { beyond: greatest > self.top * (1.0 + 1e-6), ..self }
    }

    pub(crate) fn level(&self, value: f64) -> f32 {
        let fraction = value / self.top;
        (if self.root { fraction.max(0.0).sqrt() } else { fraction }) as f32
    }

    /// Levels with their numbers, on a bar of this many pixels.
    fn ticks(&self, height: f32) -> Vec<(f32, String)> {
        if !self.root && !self.beyond {
            let ticks = round_values(0.0, self.top, 4.0);
            return ticks.iter().map(|t| (*t / self.top) as f32).zip(tick_labels(&ticks)).collect();
        }
        // The top, and from there down every round number that has room.
        let decade = self.top.log10().floor();
        let below = |d| [5.0, 2.0, 1.0].map(|m| m * 10f64.powf(decade - f64::from(d)));
        let round: Vec<f64> = if self.root {
            (0..4).flat_map(below).collect()
        } else {
            round_values(0.0, self.top, 4.0).into_iter().rev().collect()
        };
        let mut ticks = vec![(1.0, format!("{}{}", if self.beyond { "≥ " } else { "" }, plain(self.top)))];
        for value in round.into_iter().filter(|v| *v > 0.0 && *v < self.top).chain([0.0]) {
            let level = self.level(value);
            let room = (ticks.last().map_or(1.0, |last| last.0) - level).min(if value > 0.0 { level } else { 1.0 });
            if room * height >= 1.7 * TICK {
                ticks.push((level, plain(value)));
            }
        }
        ticks
    }
}

impl Canvas {
    /// A bar of all colours with the numbers of a scale, and its name.
    pub(crate) fn colour_bar(&mut self, rect: [f32; 4], scale: Scale, colours: impl Fn(f32) -> Rgb, name: &str) {
        let [x, y, width, height] = rect;
        self.heat(rect, |_, level| colours(level));
        let mut widest = 0f32;
        for (level, text) in scale.ticks(height) {
            let at = y + height * (1.0 - level);
            self.line([x + width, at], [x + width + 5.0, at], INK, 1.2, None);
            self.text(&text, [x + width + 9.0, at + 0.36 * TICK], TICK, INK, Anchor::Start);
            widest = widest.max(self.text_width(&text, TICK));
        }
        // Beside numbers of three digits, or farther off where they are longer.
        let beside = if widest < 28.0 { 50.0 } else { 31.0 + widest };
        self.text_upward(name, [x + width + beside, y + height / 2.0], LABEL);
    }
}
