//! Pixels, strokes and letters.

use std::io::Write;
use std::path::Path;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Mask, Paint, PathBuilder, Pixmap, PremultipliedColorU8, Rect, Stroke,
    StrokeDash, Transform,
};

use super::{INK, Rgb, SOFT_INK, SUBTITLE, TICK, TITLE};
use crate::io::write_atomically;
use crate::{Error, Result};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// An opaque picture with the strokes and letters that the figures need.
pub(crate) struct Canvas {
    pixmap: Pixmap,
    font: FontRef<'static>,
}

impl Canvas {
    pub(crate) fn new(width: f32, height: f32) -> Result<Self> {
        let font = FontRef::try_from_slice(include_bytes!("../../assets/fonts/OpenSans-Regular.ttf"))
            .map_err(|e| Error::Internal(format!("the bundled font is damaged ({e})")))?;
        let mut pixmap = Pixmap::new(width as u32, height as u32).ok_or_else(|| {
            Error::invalid("figure", format!("{width} by {height} pixels are too many for a picture"))
        })?;
        pixmap.fill(Color::WHITE);
        Ok(Self { pixmap, font })
    }

    pub(crate) fn width(&self) -> f32 {
        self.pixmap.width() as f32
    }

    /// The PNG file, whole or not at all.
    pub(crate) fn save(self, path: &Path) -> Result<()> {
        let png = self.pixmap.encode_png().map_err(|e| Error::file(path, format_args!("cannot be written ({e})")))?;
        write_atomically(path, |file| file.write_all(&png))
    }

    pub(crate) fn headline(&mut self, title: &str, subtitle: &str) {
        let middle = self.width() / 2.0;
        for (text, baseline, size, colour) in [(title, 46.0, TITLE, INK), (subtitle, 80.0, SUBTITLE, SOFT_INK)] {
            let room = 0.96 * self.width() / self.text_width(text, size).max(1.0);
            self.text(text, [middle, baseline], size * room.min(1.0), colour, Anchor::Middle);
        }
    }

    pub(crate) fn fill(&mut self, [x, y, width, height]: [f32; 4], colour: Rgb) {
        if let Some(rect) = Rect::from_xywh(x, y, width, height) {
            self.pixmap.fill_rect(rect, &paint(colour, 1.0), Transform::identity(), None);
        }
    }

    pub(crate) fn line(&mut self, from: [f32; 2], to: [f32; 2], colour: Rgb, width: f32, dash: Option<f32>) {
        let mut path = PathBuilder::new();
        path.move_to(from[0], from[1]);
        path.line_to(to[0], to[1]);
        let stroke = Stroke { width, dash: dash.and_then(|d| StrokeDash::new(vec![d, d], 0.0)), ..Stroke::default() };
        if let Some(path) = path.finish() {
            self.pixmap.stroke_path(&path, &paint(colour, 1.0), &stroke, Transform::identity(), None);
        }
    }

    /// A curve, of which only what lies inside a rectangle is drawn.
    pub(crate) fn curve(&mut self, path: PathBuilder, colour: Rgb, width: f32, [x, y, wide, high]: [f32; 4]) {
        let stroke = Stroke { width, line_join: LineJoin::Round, line_cap: LineCap::Round, ..Stroke::default() };
        let clip = Rect::from_xywh(x, y, wide, high).map(PathBuilder::from_rect);
        let mask = Mask::new(self.pixmap.width(), self.pixmap.height());
        if let (Some(path), Some(clip), Some(mut mask)) = (path.finish(), clip, mask) {
            mask.fill_path(&clip, FillRule::Winding, false, Transform::identity());
            self.pixmap.stroke_path(&path, &paint(colour, 1.0), &stroke, Transform::identity(), Some(&mask));
        }
    }

    pub(crate) fn ring(&mut self, [x, y]: [f32; 2], radius: f32, colour: Rgb) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            let stroke = Stroke { width: 2.2, ..Stroke::default() };
            self.pixmap.stroke_path(&path, &paint(colour, 1.0), &stroke, Transform::identity(), None);
        }
    }

    /// A triangle that points down to `tip`.
    pub(crate) fn pointer(&mut self, tip: [f32; 2], colour: Rgb) {
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

    /// Colours the pixels of a rectangle by their columns (from the left) and rows (from above); `None` stays as it is.
    pub(crate) fn pixels(&mut self, [x, y, width, height]: [f32; 4], colour: impl Fn(usize, usize) -> Option<Rgb>) {
        for row in 0..height as usize {
            for column in 0..width as usize {
                if let Some(colour) = colour(column, row) {
                    self.set(x as i32 + column as i32, y as i32 + row as i32, colour, 1.0);
                }
            }
        }
    }

    /// Colours every pixel of a rectangle by its place: fractions of width (from the left) and height (from below).
    pub(crate) fn heat(&mut self, rect: [f32; 4], colour: impl Fn(f32, f32) -> Rgb) {
        let [_, _, width, height] = rect;
        self.pixels(rect, |column, row| Some(colour((column as f32 + 0.5) / width, 1.0 - (row as f32 + 0.5) / height)));
    }

    /// Lays a colour over one pixel; outside of the picture nothing happens.
    pub(crate) fn set(&mut self, x: i32, y: i32, colour: Rgb, coverage: f32) {
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

    pub(crate) fn text_width(&self, text: &str, size: f32) -> f32 {
        self.glyphs(text, size).1
    }

    /// A line of text with its baseline at `at`.
    pub(crate) fn text(&mut self, text: &str, at: [f32; 2], size: f32, colour: Rgb, anchor: Anchor) {
        self.letters(text, size, anchor, |canvas, x, y, c| {
            canvas.set((at[0].round() as i32) + x, (at[1].round() as i32) + y, colour, c);
        });
    }

    /// The names of what is drawn, each behind a stroke of its colour, in a line with its baseline at `at`.
    pub(crate) fn keys(&mut self, [mut x, y]: [f32; 2], entries: &[(&str, Rgb)]) {
        for &(name, colour) in entries {
            if colour == [255; 3] {
                self.fill([x + 1.0, y - 9.0, 22.0, 6.0], INK);
            }
            self.fill([x + 2.0, y - 8.0, 20.0, 4.0], colour);
            self.text(name, [x + 28.0, y], TICK, INK, Anchor::Start);
            x += 42.0 + self.text_width(name, TICK);
        }
    }

    pub(crate) fn keys_width(&self, entries: &[(&str, Rgb)]) -> f32 {
        entries.iter().map(|e| 42.0 + self.text_width(e.0, TICK)).sum()
    }

    /// A line of text that reads from below, with its middle at `at`.
    pub(crate) fn text_upward(&mut self, text: &str, at: [f32; 2], size: f32) {
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
