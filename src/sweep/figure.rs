//! A sweep as pictures: what each device reaches of its ceilings, how times grow with size, backend against backend.

use std::collections::HashMap;

use tiny_skia::PathBuilder;

use super::record::{Line, Point, Status, points};
use super::report::{Used, devices};
use crate::Result;
use crate::plot::{Anchor, Canvas, GRID, INK, LABEL, Rgb, SOFT_INK, TICK, WIDTH, grouped, plain, significant};

/// One for each device, told apart without red and green.
const COLOURS: [Rgb; 6] = [[0, 90, 160], [214, 96, 0], [110, 60, 160], [0, 140, 130], [150, 40, 70], [90, 90, 90]];
const TOP: f32 = 150.0;
const SMALL: f32 = 13.0;
/// How far axes go on beyond their first and last power of ten.
const EDGE: f64 = 1.25;
/// With more dots on a device than these, numbers stand beside them, and the names below.
const NAMED: usize = 32;

/// The pictures with their file names; none of what has no times.
pub(super) fn draw(lines: &[Line]) -> Result<Vec<(&'static str, Canvas)>> {
    let devices: Vec<Device> = devices(lines)
        .into_iter()
        .filter(|used| used.about.error.is_none())
        .enumerate()
        .map(|(i, used)| {
            let mark = if used.doubts().is_some() { "† " } else { "" };
            let kind = if used.about.kind == "native" { String::new() } else { format!(", {}", used.about.kind) };
            Device { name: format!("{mark}{}{kind}", used.title()), used, colour: COLOURS[i % COLOURS.len()] }
        })
        .collect();
    let timed: Vec<&Point> =
        points(lines).filter(|p| p.status == Status::Right && p.time().is_some_and(|t| t.median > 0.0)).collect();
    let mut pictures = Vec::new();
    if timed.is_empty() {
        return Ok(pictures);
    }
    if let Some(canvas) = roofline(&devices, &timed)? {
        pictures.push(("roofline.png", canvas));
    }
    if let Some(canvas) = scaling(&devices, &timed)? {
        pictures.push(("scaling.png", canvas));
    }
    if let Some(canvas) = backends(&devices, &timed)? {
        pictures.push(("backends.png", canvas));
    }
    Ok(pictures)
}

struct Device {
    used: Used,
    /// With what kind of GPU it is, and a dagger if its times are not to be trusted.
    name: String,
    colour: Rgb,
}

impl Device {
    fn has(&self, p: &Point) -> bool {
        p.adapter == self.used.about.name && p.build == self.used.about.build
    }
}

/// What a picture shows, and what daggers mean if there are any.
fn subtitle(text: &str, devices: &[Device]) -> String {
    let doubted = devices.iter().any(|d| d.used.doubts().is_some());
    format!("{text}{}", if doubted { "; †: times not to be trusted, see report.md" } else { "" })
}

/// A rectangle with two logarithmic axes.
struct Log {
    rect: [f32; 4],
    x: (f64, f64),
    y: (f64, f64),
}

/// Whole decades that hold all values, and a little more, so that nothing lies on the frame.
fn decades(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|v| v.is_finite() && *v > 0.0)
        .fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), v| (low.min(v), high.max(v)));
    if high <= 0.0 {
        return None;
    }
    let (low, high) = (low.log10().floor(), (high * 1.02).log10().ceil());
    Some((10f64.powf(low) / EDGE, 10f64.powf(high.max(low + 1.0)) * EDGE))
}

fn label(value: f64) -> String {
    match value {
        _ if value >= 1e9 => format!("{}G", grouped((value / 1e9).round() as usize)),
        _ if value >= 1e6 => format!("{}M", grouped((value / 1e6).round() as usize)),
        _ if value >= 1e4 => format!("{}k", grouped((value / 1e3).round() as usize)),
        _ if value >= 1.0 => grouped(value.round() as usize),
        _ => plain(value),
    }
}

impl Log {
    fn at(&self, x: f64, y: f64) -> [f32; 2] {
        let share = |v: f64, (low, high): (f64, f64)| ((v / low).ln() / (high / low).ln()) as f32;
        let [left, top, width, height] = self.rect;
        [left + width * share(x, self.x), top + height * (1.0 - share(y, self.y))]
    }

    /// Powers of ten in a range, every so many that `room` of them fit.
    fn ticks((low, high): (f64, f64), room: f32) -> Vec<f64> {
        let (first, last) = (low.log10().round() as i32, high.log10().round() as i32);
        let step = ((last - first) as f32 / room.max(1.0)).ceil().max(1.0) as usize;
        (first..=last).step_by(step).map(|e| 10f64.powi(e)).collect()
    }

    /// Grid, border and numbers.
    fn frame(&self, canvas: &mut Canvas, size: f32) {
        let [left, top, width, height] = self.rect;
        let (right, bottom) = (left + width, top + height);
        for x in Self::ticks(self.x, width / (3.6 * size)) {
            let at = self.at(x, self.y.0)[0].round() + 0.5;
            canvas.line([at, top], [at, bottom], GRID, 1.0, None);
            canvas.text(&label(x), [at, bottom + 5.0 + size], size, INK, Anchor::Middle);
        }
        for y in Self::ticks(self.y, height / (2.0 * size)) {
            let at = self.at(self.x.0, y)[1].round() + 0.5;
            canvas.line([left, at], [right, at], GRID, 1.0, None);
            canvas.text(&label(y), [left - 6.0, at + 0.36 * size], size, INK, Anchor::End);
        }
        for (from, to) in [
            ([left, top], [right, top]),
            ([right, top], [right, bottom]),
            ([right, bottom], [left, bottom]),
            ([left, bottom], [left, top]),
        ] {
            canvas.line(from.map(|v| v + 0.5), to.map(|v| v + 0.5), SOFT_INK, 1.0, None);
        }
    }

    fn curve(&self, canvas: &mut Canvas, through: &[[f64; 2]], colour: Rgb, width: f32) {
        let mut path = PathBuilder::new();
        for (i, [x, y]) in through.iter().enumerate() {
            let [x, y] = self.at(*x, *y);
            if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
        }
        canvas.curve(path, colour, width, self.rect);
    }
}

fn dot(canvas: &mut Canvas, at: [f32; 2], colour: Rgb) {
    canvas.ring(at, 2.0, colour);
    canvas.ring(at, 3.5, colour);
}

/// A box that a label or a dot takes.
type Taken = [f32; 4];

fn overlap(a: &Taken, b: &Taken) -> bool {
    a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3]
}

/// A name beside a dot, or where there is no room for it further away, with a line to it.
fn name_beside(canvas: &mut Canvas, axes: &Log, taken: &mut Vec<Taken>, at: [f32; 2], name: &str) {
    let width = canvas.text_width(name, SMALL);
    let [left, top, wide, high] = axes.rect;
    for (dx, dy) in [
        (8.0, 4.5),
        (-8.0 - width, 4.5),
        (-width / 2.0, -9.0),
        (-width / 2.0, 19.0),
        (7.0, -7.0),
        (7.0, 16.0),
        (-7.0 - width, -7.0),
        (-7.0 - width, 16.0),
    ] {
        let [x, y] = [at[0] + dx, at[1] + dy];
        let place = [x - 1.0, y - SMALL + 1.0, width + 2.0, SMALL + 2.0];
        let inside = x > left + 2.0 && x + width < left + wide - 2.0 && place[1] > top && y + 3.0 < top + high;
        if inside && !taken.iter().any(|t| overlap(t, &place)) {
            canvas.text(name, [x, y], SMALL, SOFT_INK, Anchor::Start);
            taken.push(place);
            return;
        }
    }
    for ring in 1..=8 {
        for turn in 0..16 {
            let (sin, cos) = (turn as f32 * std::f32::consts::TAU / 16.0).sin_cos();
            let away = 14.0 + 16.0 * ring as f32;
            let end = [at[0] + away * cos, at[1] + away * sin];
            let x = if cos < -0.1 { end[0] - width - 3.0 } else { end[0] + 3.0 };
            let y = end[1] + 4.5;
            let place = [x - 1.0, y - SMALL + 1.0, width + 2.0, SMALL + 2.0];
            let inside = x > left + 2.0 && x + width < left + wide - 2.0 && place[1] > top && y + 3.0 < top + high;
            if inside && !taken.iter().any(|t| overlap(t, &place)) {
                canvas.line(at, end, SOFT_INK, 0.8, None);
                canvas.text(name, [x, y], SMALL, SOFT_INK, Anchor::Start);
                taken.push(place);
                return;
            }
        }
    }
}

/// The largest size of each variant of each case on a device.
fn largest<'a>(device: &Device, timed: &[&'a Point]) -> Vec<&'a Point> {
    let mut found: Vec<&'a Point> = Vec::new();
    for p in timed.iter().filter(|p| device.has(p)) {
        match found.iter_mut().find(|f| kind(f) == kind(p)) {
            Some(f) if f.size < p.size => *f = p,
            Some(_) => {}
            None => found.push(p),
        }
    }
    found
}

/// A point's case and variant.
fn kind(p: &Point) -> (&str, &str) {
    (&p.case, &p.variant)
}

fn name((case, variant): (&str, &str)) -> String {
    if variant == "default" { case.into() } else { format!("{case}, {variant}") }
}

/// Median and quartiles of the time that counts, in microseconds.
fn times(p: &Point) -> [f64; 3] {
    p.time().map_or([f64::NAN; 3], |t| [t.median, t.q1, t.q3])
}

/// Operations a byte against operations a second, under what the device can do at most.
fn roofline(devices: &[Device], timed: &[&Point]) -> Result<Option<Canvas>> {
    let intensity = |p: &Point| p.operations as f64 / p.bytes as f64;
    // At the median time, and at the quartiles.
    let rates = |p: &Point| times(p).map(|t| p.arithmetic.unwrap_or(f64::NAN) * times(p)[0] / t);
    let usable = |p: &&&Point| p.operations > 0 && p.bytes > 0 && p.arithmetic.is_some();
    let shown: Vec<&Device> =
        devices.iter().filter(|d| d.used.about.bandwidth.is_some() && timed.iter().any(|p| d.has(p))).collect();
    let ceilings = shown.iter().flat_map(|d| d.used.about.arithmetic);
    let x = decades(timed.iter().filter(usable).map(|p| intensity(p)));
    let y = decades(timed.iter().filter(usable).flat_map(|p| rates(p)).chain(ceilings));
    let (Some(x), Some(y)) = (x, y) else { return Ok(None) };
    let columns = shown.len().clamp(1, 2);
    let rows = shown.len().div_ceil(columns);
    let (between, left, right, high) = (95.0, 95.0, 40.0, 560.0);
    let width = (WIDTH - left - right - between * (columns - 1) as f32) / columns as f32;
    let dots: Vec<Vec<&Point>> =
        shown.iter().map(|device| largest(device, timed).into_iter().filter(|p| usable(&p)).collect()).collect();
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    for p in dots.iter().flatten() {
        if !kinds.contains(&kind(p)) {
            kinds.push(kind(p));
        }
    }
    let numbered = dots.iter().any(|found| found.len() > NAMED);
    // Variants are named where a case has several.
    let names = kinds.iter().enumerate().map(|(i, kind)| match kinds.iter().filter(|k| k.0 == kind.0).count() {
        _ if numbered => (i + 1).to_string(),
        1 => kind.0.to_owned(),
        _ => name(*kind),
    });
    let names: HashMap<(&str, &str), String> = kinds.iter().copied().zip(names).collect();
    const COLUMNS: usize = 5;
    let key_rows = if numbered { kinds.len().div_ceil(COLUMNS) } else { 0 };
    let above_keys = TOP + rows as f32 * (high + 120.0);
    let mut canvas = Canvas::new(WIDTH, above_keys + key_rows as f32 * 20.0 + if numbered { 20.0 } else { 0.0 })?;
    canvas.headline(
        "Roofline",
        &subtitle(
            "each variant in its largest size, with the middle half of its samples; lines: the copy kernel's bandwidth and \
             the multiply-add kernel's rate",
            devices,
        ),
    );
    for (i, kind) in kinds.iter().enumerate().filter(|_| numbered) {
        let at = [left + (i / key_rows) as f32 * 300.0, above_keys + (i % key_rows) as f32 * 20.0];
        canvas.text(&format!("{}  {}", i + 1, name(*kind)), at, SMALL, INK, Anchor::Start);
    }
    for (i, device) in shown.iter().enumerate() {
        let at = [left + (i % columns) as f32 * (width + between), TOP + (i / columns) as f32 * (high + 120.0)];
        let axes = Log { rect: [at[0], at[1], width, high], x, y };
        axes.frame(&mut canvas, TICK);
        let room = width / canvas.text_width(&device.name, LABEL).max(1.0);
        canvas.text(&device.name, [at[0], at[1] - 32.0], LABEL * room.min(1.0), INK, Anchor::Start);
        canvas.text(
            "operations a byte (FLOP/B)",
            [at[0] + width / 2.0, at[1] + high + 50.0],
            LABEL,
            INK,
            Anchor::Middle,
        );
        canvas.text_upward("rate (GFLOP/s)", [at[0] - 70.0, at[1] + high / 2.0], LABEL);
        let mut taken: Vec<Taken> = Vec::new();
        if let (Some(bandwidth), Some(peak)) = (device.used.about.bandwidth, device.used.about.arithmetic) {
            let knee = (peak / bandwidth).clamp(x.0, x.1);
            let roof = [x.0, knee, x.1].map(|x| [x, (x * bandwidth).min(peak)]);
            axes.curve(&mut canvas, &roof, INK, 2.0);
            for i in 0..=200 {
                let at = x.0 * (x.1 / x.0).powf(f64::from(i) / 200.0);
                let [px, py] = axes.at(at, (at * bandwidth).min(peak));
                taken.push([px - 2.0, py - 2.0, 4.0, 4.0]);
            }
            let text = format!("{} GB/s, {} GFLOP/s", three(bandwidth), three(peak));
            canvas.text(&text, [at[0], at[1] - 11.0], TICK, SOFT_INK, Anchor::Start);
        }
        for p in &dots[i] {
            let [[px, py], [_, top], [_, bottom]] = rates(p).map(|rate| axes.at(intensity(p), rate));
            canvas.line([px, top], [px, bottom], device.colour, 1.2, None);
            dot(&mut canvas, [px, py], device.colour);
            taken.push([px - 5.0, py - 5.0, 10.0, 10.0]);
            taken.push([px - 1.0, top, 2.0, bottom - top]);
        }
        for p in &dots[i] {
            let at = axes.at(intensity(p), rates(p)[0]);
            name_beside(&mut canvas, &axes, &mut taken, at, &names[&kind(p)]);
        }
    }
    Ok(Some(canvas))
}

/// Three digits at least.
fn three(value: f64) -> String {
    if value >= 100.0 { grouped(value.round() as usize) } else { significant(value) }
}

/// Devices in a line of the legend.
fn keys(devices: &[Device]) -> std::slice::Chunks<'_, Device> {
    devices.chunks(if devices.len() > 2 { 1 } else { 2 })
}

/// Where panels begin below the legend.
fn below_legend(devices: &[Device]) -> f32 {
    TOP + 22.0 * keys(devices).len().saturating_sub(1) as f32
}

/// The devices and their colours, above the panels.
fn legend(canvas: &mut Canvas, devices: &[Device]) {
    let lines: Vec<Vec<(&str, Rgb)>> =
        keys(devices).map(|line| line.iter().map(|d| (&*d.name, d.colour)).collect()).collect();
    let width = lines.iter().map(|line| canvas.keys_width(line)).fold(0.0, f32::max);
    for (i, line) in lines.iter().enumerate() {
        canvas.keys([((WIDTH - width) / 2.0 + 7.0).max(20.0), 112.0 + 22.0 * i as f32], line);
    }
}

/// A text in lines of at most this width.
fn lines(canvas: &Canvas, text: &str, size: f32, width: f32) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(last) = lines.last_mut() else { break };
        let longer = if last.is_empty() { word.to_owned() } else { format!("{last} {word}") };
        if last.is_empty() || canvas.text_width(&longer, size) <= width {
            *last = longer;
        } else {
            lines.push(word.into());
        }
    }
    lines
}

/// Time against size, a panel for each variant of each case.
fn scaling(devices: &[Device], timed: &[&Point]) -> Result<Option<Canvas>> {
    let mut cases: Vec<(&str, &str)> = Vec::new();
    for p in timed {
        let several = timed.iter().any(|q| kind(q) == kind(p) && q.size != p.size);
        if several && !cases.contains(&kind(p)) {
            cases.push(kind(p));
        }
    }
    if cases.is_empty() {
        return Ok(None);
    }
    const COLUMNS: usize = 5;
    let (left, width, high) = (85.0, 215.0, 150.0);
    let (pitch_x, pitch_y) = ((WIDTH - left - 20.0) / COLUMNS as f32, high + 92.0);
    let rows = cases.len().div_ceil(COLUMNS);
    let top = below_legend(devices);
    let mut canvas = Canvas::new(WIDTH, top + rows as f32 * pitch_y + 20.0)?;
    canvas.headline(
        "Time against size",
        &subtitle(
            "kernels alone; median time in µs upwards, with the middle half of the samples; size to the right; both \
             logarithmic",
            devices,
        ),
    );
    legend(&mut canvas, devices);
    for (i, case) in cases.iter().enumerate() {
        let own: Vec<&&Point> = timed.iter().filter(|p| kind(p) == *case).collect();
        let (Some(x), Some(y)) =
            (decades(own.iter().map(|p| p.size as f64)), decades(own.iter().flat_map(|p| times(p))))
        else {
            continue;
        };
        let at = [left + (i % COLUMNS) as f32 * pitch_x, top + 12.0 + (i / COLUMNS) as f32 * pitch_y];
        let axes = Log { rect: [at[0], at[1], width, high], x, y };
        axes.frame(&mut canvas, SMALL);
        canvas.text(&name(*case), [at[0], at[1] - 8.0], TICK, INK, Anchor::Start);
        for (i, line) in lines(&canvas, &own[0].unit, SMALL, width + 20.0).iter().enumerate() {
            let at = [at[0] + width / 2.0, at[1] + high + 38.0 + 16.0 * i as f32];
            canvas.text(line, at, SMALL, SOFT_INK, Anchor::Middle);
        }
        canvas.text_upward("µs", [at[0] - 52.0, at[1] + high / 2.0], SMALL);
        for device in devices {
            let mut own: Vec<&&&Point> = own.iter().filter(|p| device.has(p)).collect();
            own.sort_by_key(|p| p.size);
            let line: Vec<[f64; 2]> = own.iter().map(|p| [p.size as f64, times(p)[0]]).collect();
            axes.curve(&mut canvas, &line, device.colour, 1.2);
            for p in own {
                let [median, low, high] = times(p).map(|time| axes.at(p.size as f64, time));
                canvas.line(low, high, device.colour, 2.4, None);
                canvas.ring(median, 2.2, device.colour);
            }
        }
    }
    Ok(Some(canvas))
}

/// Of the devices that have a point: of the medians, and from quartile to quartile.
type Ratios<'a> = Vec<(&'a Device, [f64; 3])>;

/// The time on every device over that on the first, a row for each variant of each case.
fn backends(devices: &[Device], timed: &[&Point]) -> Result<Option<Canvas>> {
    let Some((first, others)) = devices.split_first().filter(|(_, others)| !others.is_empty()) else { return Ok(None) };
    // Of medians, and from the one's first quartile over the other's third to the opposite.
    let ratios = |p: &Point, q: &Point| {
        let ([pm, p1, p3], [qm, q1, q3]) = (times(p), times(q));
        [qm / pm, q1 / p3, q3 / p1]
    };
    let rows: Vec<(&Point, Ratios<'_>)> = largest(first, timed)
        .into_iter()
        .map(|p| {
            let same = |d: &Device| timed.iter().find(|q| d.has(q) && (kind(q), q.size) == (kind(p), p.size));
            (p, others.iter().filter_map(|d| Some((d, ratios(p, same(d)?)))).collect())
        })
        .collect();
    let Some(x) = decades(rows.iter().flat_map(|(_, r)| r.iter().flat_map(|(_, r)| *r)).chain([1.0])) else {
        return Ok(None);
    };
    // Every device has a place of its own in each row.
    let place = 9.0;
    let (left, pitch) = (370.0, (place * others.len() as f32 + 9.0).max(24.0));
    let high = pitch * rows.len() as f32;
    let top = below_legend(others);
    let mut canvas = Canvas::new(WIDTH, top + high + 100.0)?;
    canvas.headline(
        "Backend against backend",
        &subtitle(
            &format!(
                "time of the kernels over that on {}; each variant in its largest size; broad bars: from quartile to \
                 quartile of both",
                first.name
            ),
            devices,
        ),
    );
    legend(&mut canvas, others);
    let axes = Log { rect: [left, top, WIDTH - left - 60.0, high], x, y: (1.0, 10.0) };
    let width = axes.rect[2];
    for tick in Log::ticks(x, width / (3.6 * TICK)) {
        let at = axes.at(tick, 1.0)[0].round() + 0.5;
        canvas.line([at, top], [at, top + high], GRID, 1.0, None);
        canvas.text(&label(tick), [at, top + high + 9.0 + TICK], TICK, INK, Anchor::Middle);
    }
    let one = axes.at(1.0, 1.0)[0].round() + 0.5;
    canvas.line([one, top], [one, top + high], INK, 1.6, None);
    for (i, (p, ratios)) in rows.iter().enumerate() {
        let y = top + (i as f32 + 0.5) * pitch;
        canvas.line([left, y.round() + 0.5], [left + width, y.round() + 0.5], GRID, 1.0, None);
        let name = format!("{}, {}", name(kind(p)), grouped(p.size));
        canvas.text(&name, [left - 12.0, y + 0.36 * TICK], TICK, INK, Anchor::End);
        for (device, [ratio, low, high]) in ratios {
            let at = others.iter().position(|d| std::ptr::eq(d, *device)).unwrap_or(0);
            let y = y + (at as f32 - (others.len() - 1) as f32 / 2.0) * place;
            let [x, low, high] = [ratio, low, high].map(|ratio| axes.at(*ratio, 1.0)[0]);
            canvas.line([low, y], [high, y], device.colour.map(|c| c + (255 - c) / 2), 6.0, None);
            canvas.line([one, y], [x, y], device.colour, 1.4, None);
            dot(&mut canvas, [x, y], device.colour);
        }
    }
    let name = format!("time over that on {} (left of 1: faster)", first.name);
    canvas.text(&name, [left + width / 2.0, top + high + 60.0], LABEL, INK, Anchor::Middle);
    Ok(Some(canvas))
}
