//! A rectangle of the picture with numbers along its sides, and what is drawn into it.

use tiny_skia::PathBuilder;

use super::numbers::{round_values, tick_labels};
use super::{Anchor, Canvas, GRID, INK, LABEL, Rgb, SOFT_INK, TICK};

/// One mark of a raster: a point along both axes, where rows are one unit high.
pub(crate) struct Dot {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) colour: Rgb,
}

/// A rectangle of the picture and the numbers along its sides.
pub(crate) struct Axes {
    pub(crate) rect: [f32; 4],
    pub(crate) x: (f64, f64),
    pub(crate) y: (f64, f64),
    pub(crate) logarithmic: bool,
    pub(crate) x_ticks: Vec<f64>,
    pub(crate) y_ticks: Vec<f64>,
}

impl Axes {
    pub(crate) fn new(rect: [f32; 4], x: (f64, f64), y: (f64, f64)) -> Self {
        let rect = rect.map(f32::round);
        let x_ticks = round_values(x.0, x.1, (f64::from(rect[2]) / 64.0).max(2.0));
        let y_ticks = round_values(y.0, y.1, (f64::from(rect[3]) / 45.0).max(2.0));
        Self { rect, x, y, logarithmic: false, x_ticks, y_ticks }
    }

    /// With a logarithmic vertical axis.
    pub(crate) fn logarithmic(mut self) -> Self {
        self.logarithmic = true;
        self
    }

    pub(crate) fn pixel_x(&self, x: f64) -> f32 {
        self.rect[0] + self.rect[2] * ((x - self.x.0) / (self.x.1 - self.x.0)) as f32
    }

    pub(crate) fn pixel_y(&self, y: f64) -> f32 {
        let fraction = if self.logarithmic {
            (y / self.y.0).ln() / (self.y.1 / self.y.0).ln()
        } else {
            (y - self.y.0) / (self.y.1 - self.y.0)
        };
        self.rect[1] + self.rect[3] * (1.0 - fraction.clamp(-1.0, 2.0) as f32)
    }

    /// The pixel of a point inside.
    pub(crate) fn at(&self, x: f64, y: f64) -> Option<[f32; 2]> {
        let inside = (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y);
        inside.then(|| [self.pixel_x(x), self.pixel_y(y)])
    }

    pub(crate) fn background(&self, canvas: &mut Canvas) {
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
    pub(crate) fn frame(&self, canvas: &mut Canvas, x_name: Option<&str>, y_name: &str) {
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
    pub(crate) fn note(&self, canvas: &mut Canvas, text: &str) {
        let [left, top, width, height] = self.rect;
        canvas.text(text, [left + width / 2.0, top + height / 2.0], LABEL, SOFT_INK, Anchor::Middle);
    }

    /// Names of what is drawn, in the upper left corner.
    pub(crate) fn legend(&self, canvas: &mut Canvas, entries: &[(&str, Rgb)]) {
        let (x, y) = (self.rect[0] + 10.0, self.rect[1] + 8.0);
        canvas.fill([x - 4.0, y - 3.0, canvas.keys_width(entries) - 2.0, 26.0], [255; 3]);
        canvas.keys([x, y + 16.0], entries);
    }

    /// What the panel shows, above its left end, and the names of what is drawn, above its right end.
    pub(crate) fn caption(&self, canvas: &mut Canvas, text: &str, entries: &[(&str, Rgb)]) {
        let [left, top, width, _] = self.rect;
        canvas.text(text, [left, top - 10.0], LABEL, SOFT_INK, Anchor::Start);
        canvas.keys([left + width - canvas.keys_width(entries) + 14.0, top - 10.0], entries);
    }

    pub(crate) fn vertical(&self, canvas: &mut Canvas, x: f64, colour: Rgb) {
        if (self.x.0..=self.x.1).contains(&x) {
            let x = self.pixel_x(x);
            canvas.line([x, self.rect[1]], [x, self.rect[1] + self.rect[3]], colour, 1.6, Some(5.0));
        }
    }

    /// A line through points in order of time, broken where a value is not finite. Where many points share a column of
    /// pixels, it goes through the first, the least, the greatest and the last of them, which looks the same.
    pub(crate) fn trace(&self, canvas: &mut Canvas, points: &[(f64, f32)], colour: Rgb, width: f32) {
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
        canvas.curve(path, colour, width, self.rect);
    }

    /// A bar for each dot, of at most `tallest` pixels, where there is room; darker pixels where there is not.
    pub(crate) fn raster(&self, canvas: &mut Canvas, dots: impl Iterator<Item = Dot>, tallest: f32) {
        let [_, top, _, height] = self.rect;
        let visible: Vec<Dot> = dots.filter(|d| self.at(d.x, d.y).is_some()).collect();
        let pitch = height / (self.y.1 - self.y.0) as f32;
        let (wide, coverage) = match visible.len() {
            0..2_000 => (3, 1.0),
            2_000..10_000 => (2, 0.8),
            many => (1, (12_000.0 / many as f32).clamp(0.2, 0.7)),
        };
        let least = 1.0 + wide as f32;
        let high = (0.9 * pitch).clamp(least, tallest.max(least)) as i32;
        for dot in visible {
            let x = self.pixel_x(dot.x) as i32 - wide / 2;
            let y = self.pixel_y(dot.y) as i32 - high / 2;
            let y = y.clamp(top as i32, ((top + height) as i32 - high).max(top as i32));
            for (dx, dy) in (0..wide).flat_map(|dx| (0..high).map(move |dy| (dx, dy))) {
                canvas.set(x + dx, y + dy, dot.colour, coverage);
            }
        }
    }
}
