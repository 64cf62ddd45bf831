//! Pictures of a decoded session, as PNG files: spikes by electrode, the probability of position over time with the
//! true path on it, and the discrete states.
//!
//! [`Reduced`] takes the rows of a posterior or of a log likelihood while they stream by, and keeps one column of cells
//! for each column of pixels: a session of any length is drawn from a few megabytes. A pixel shows the maximum of the
//! time bins in it, so that no short event is lost. A picture never fails because of its data: what is empty or not
//! finite is left out, and a panel without data says so.

use std::ops::Range;
use std::path::Path;

use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;

use super::{Environment, TimeBins};
use crate::plot::{Axes, Canvas, Dot, Rgb, Scale, WIDTH, colour_map, grouped, plain, round_values, significant};
use crate::{Error, Result};

/// Pixels left and right of the panels, and what remains for them.
const LEFT: f32 = 104.0;
const RIGHT: f32 = 136.0;
const COLUMNS: usize = (WIDTH - LEFT - RIGHT) as usize;
/// Pixels above the first panel, between panels, and below the last.
const TOP: f32 = 138.0;
const GAP: f32 = 46.0;
const BOTTOM: f32 = 68.0;
const STATES_HEIGHT: f32 = 160.0;
/// The most electrodes of which each has its number at the axis.
const LABELLED: usize = 16;

const MISSING: Rgb = [236, 238, 241];
const TRUE: Rgb = [255, 74, 120];
const DECODED: Rgb = [255, 255, 255];
const OUTLINE: Rgb = [16, 12, 52];
const SPIKE: [Rgb; 2] = [[38, 52, 92], [62, 110, 168]];
const STATES: [Rgb; 6] = [[37, 99, 176], [214, 69, 44], [0, 140, 110], [230, 138, 0], [106, 61, 154], [110, 116, 124]];

/// Positions over time, drawn as they are: a NaN interrupts them.
#[derive(Debug, Clone)]
pub struct Curve<'a> {
    /// What it is, for the legend.
    pub name: String,
    /// Seconds, ascending.
    pub times: &'a [f64],
    /// cm (times × d).
    pub positions: ArrayView2<'a, f64>,
}

impl Curve<'_> {
    /// Times and positions along one dimension; nothing where it has no such column.
    fn along(&self, dimension: usize, reference: f64) -> Vec<(f64, f32)> {
        let known = (dimension < self.positions.ncols()).then(|| self.positions.column(dimension));
        let values = known.iter().flat_map(|c| c.iter());
        let points = self.times.iter().zip(values).map(|(t, x)| (t - reference, *x as f32));
        points.filter(|p| p.0.is_finite()).collect()
    }
}

/// The picture of a decoded session. The posterior sets the span of time; whatever lies outside is not drawn.
#[derive(Debug, Clone)]
pub struct DecodeFigure<'a> {
    /// The headline.
    pub title: String,
    /// One line below it.
    pub subtitle: String,
    /// Spike times of each electrode, seconds, in any order.
    pub spikes: Vec<&'a [f64]>,
    /// Probability of position, and of the discrete states.
    pub posterior: &'a Reduced,
    /// Where the animal was.
    pub position: Option<Curve<'a>>,
    /// Where the decoder says that it was: a mark for each time, the median where many share a column of pixels.
    pub decoded: Option<Curve<'a>>,
}

/// A posterior as a picture needs it, made from its rows while they stream by, in chunks of any size and order.
///
/// Holds 4 bytes for each time bin, and 4 bytes for each of 1360 columns of pixels and each place bin along a dimension.
#[derive(Debug, Clone)]
pub struct Reduced {
    span: (f64, f64),
    /// The columns of pixels that each time bin covers: the first, and the one after the last.
    columns: Vec<[u16; 2]>,
    place_bins: usize,
    dimensions: Vec<Dimension>,
    of_likelihood: bool,
    non_local: bool,
    states: Vec<String>,
    /// Sum and number of the probabilities of each state in each column (columns × states).
    state_sums: Vec<(f64, u32)>,
}

/// The probability along one position dimension, summed over the others.
#[derive(Debug, Clone)]
struct Dimension {
    /// From where to where each cell reaches, ascending.
    cells: Vec<[f64; 2]>,
    /// The cell of each place bin.
    cell_of: Vec<u32>,
    /// Largest probability in each column of pixels and cell; NaN where there is none (columns × cells).
    peaks: Vec<f32>,
}

impl Reduced {
    /// For the interior place bins of `environment` (P) over `time` (T).
    pub fn new(environment: &Environment, time: &TimeBins) -> Self {
        let starts = time.time();
        let size = if time.size() > 0.0 { time.size() } else { 1.0 };
        let end = starts.last().map_or(1.0, |t| t + size);
        let span = (starts.first().copied().unwrap_or(0.0), end);
        let pixel = |t: f64| COLUMNS as f64 * ((t - span.0) / (span.1 - span.0));
        let ends = starts.iter().skip(1).chain([&end]);
        let columns = starts.iter().zip(ends).map(|(from, to)| {
            let (first, after) = covered(pixel(*from), pixel(*to), COLUMNS);
            [first as u16, after as u16]
        });
        let interior = environment.interior();
        Self {
            span,
            columns: columns.collect(),
            place_bins: interior.nrows(),
            dimensions: interior.columns().into_iter().map(Dimension::new).collect(),
            of_likelihood: false,
            non_local: false,
            states: Vec::new(),
            state_sums: Vec::new(),
        }
    }

    /// With discrete states of these names (S).
    #[must_use]
    pub fn with_states(mut self, names: &[&str]) -> Self {
        self.states = names.iter().map(|n| (*n).to_string()).collect();
        self.state_sums = vec![(0.0, 0); COLUMNS * names.len()];
        self
    }

    /// Says that the posterior holds non-local states alone, which need not sum to 1.
    #[must_use]
    pub fn non_local(self) -> Self {
        Self { non_local: true, ..self }
    }

    /// Takes rows of a posterior (rows × P), of which the first belongs to time bin `first`.
    ///
    /// # Errors
    /// `InvalidArgument` if the rows do not fit the place bins or the time bins.
    pub fn add_posterior(&mut self, first: usize, rows: ArrayView2<'_, f32>) -> Result<()> {
        self.add(first, rows, |row, out| {
            out.extend(row.iter().map(|p| if p.is_finite() && *p >= 0.0 { *p } else { f32::NAN }));
        })
    }

    /// Takes rows of a log likelihood (rows × P), in nats; each is normalised to sum to 1, as a posterior from a uniform
    /// prior.
    ///
    /// # Errors
    /// As [`Self::add_posterior`].
    pub fn add_log_likelihood(&mut self, first: usize, rows: ArrayView2<'_, f32>) -> Result<()> {
        self.of_likelihood = true;
        self.add(first, rows, |row, out| {
            let greatest = row.iter().copied().filter(|v| v.is_finite()).fold(f32::NEG_INFINITY, f32::max);
            let weight = |v: &f32| if *v < f32::INFINITY { (v - greatest).exp() } else { f32::NAN };
            out.extend(row.iter().map(weight));
            let sum: f64 = out.iter().filter(|w| w.is_finite()).map(|w| f64::from(*w)).sum();
            for weight in out {
                *weight = (f64::from(*weight) / sum) as f32;
            }
        })
    }

    /// Takes rows of probabilities of the discrete states (rows × S). Where many share a column of pixels, their mean
    /// is drawn; without [`Self::with_states`] nothing is.
    ///
    /// # Errors
    /// `InvalidArgument` if the rows do not fit the states or the time bins.
    pub fn add_states(&mut self, first: usize, rows: ArrayView2<'_, f32>) -> Result<()> {
        let n = self.states.len();
        if n == 0 {
            return Ok(());
        }
        let bins = self.time_bins(first, rows, n, "discrete states")?;
        for ([from, to], row) in self.columns[bins].iter().zip(rows.rows()) {
            for column in *from..*to {
                for ((sum, count), p) in self.state_sums[usize::from(column) * n..][..n].iter_mut().zip(row) {
                    if p.is_finite() {
                        *sum += f64::from(*p);
                        *count += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// The time bins of these rows.
    fn time_bins(&self, first: usize, rows: ArrayView2<'_, f32>, width: usize, what: &str) -> Result<Range<usize>> {
        if rows.ncols() != width {
            return Err(Error::invalid("rows", format!("{} values in each; there are {width} {what}", rows.ncols())));
        }
        let after = first.saturating_add(rows.nrows());
        if after > self.columns.len() {
            let why = format!("they end at time bin {after}, and there are {}", self.columns.len());
            return Err(Error::invalid("rows", why));
        }
        Ok(first..after)
    }

    /// Takes rows of what `probability` makes of them.
    fn add(
        &mut self,
        first: usize,
        rows: ArrayView2<'_, f32>,
        probability: impl Fn(ArrayView1<'_, f32>, &mut Vec<f32>) + Sync,
    ) -> Result<()> {
        let bins = self.time_bins(first, rows, self.place_bins, "place bins")?;
        let columns = &self.columns[bins];
        for Dimension { cells, cell_of, peaks } in &mut self.dimensions {
            let in_order = cell_of.iter().enumerate().all(|(bin, cell)| bin == *cell as usize);
            // Each column reads its own rows, which lie together since times ascend.
            peaks.par_chunks_mut(cells.len()).enumerate().for_each_init(
                || (Vec::new(), vec![f32::NAN; cells.len()]),
                |(row, sums), (column, peaks)| {
                    let from = columns.partition_point(|c| usize::from(c[1]) <= column);
                    let to = columns.partition_point(|c| usize::from(c[0]) <= column);
                    for k in from..to {
                        row.clear();
                        probability(rows.row(k), row);
                        if !in_order {
                            sums.fill(f32::NAN);
                            for (p, cell) in row.iter().zip(cell_of.iter()).filter(|(p, _)| !p.is_nan()) {
                                let sum = &mut sums[*cell as usize];
                                *sum = if sum.is_nan() { *p } else { *sum + p };
                            }
                        }
                        let of_cells: &[f32] = if in_order { row } else { sums };
                        for (peak, p) in peaks.iter_mut().zip(of_cells) {
                            *peak = peak.max(*p);
                        }
                    }
                },
            );
        }
        Ok(())
    }

    /// The most time bins that share a column of pixels.
    fn crowd(&self) -> usize {
        self.columns.chunk_by(|a, b| a[0] == b[0]).map(<[_]>::len).max().unwrap_or(0)
    }

    /// The scale of all images: up to what one column in a hundred exceeds.
    fn scale(&self) -> Option<Scale> {
        let of_columns = self.dimensions.iter().flat_map(|d| d.peaks.chunks(d.cells.len()));
        let peaks = of_columns.map(|column| column.iter().copied().fold(f32::NAN, f32::max)).collect();
        nearly_all(peaks, 0.99).map(|(most, greatest)| Scale::root(most).holding(greatest))
    }
}

impl Dimension {
    fn new(coordinates: ArrayView1<'_, f64>) -> Self {
        let mut order: Vec<usize> = (0..coordinates.len()).collect();
        order.sort_by(|a, b| coordinates[*a].total_cmp(&coordinates[*b]));
        let at = |i: Option<&usize>| i.map_or(0.0, |i| coordinates[*i]);
        // Bins nearer than a fraction of a pixel are one cell: those of a row or column of a grid.
        let near = (at(order.last()) - at(order.first())) / 4096.0;
        let mut cell_of = vec![0; order.len()];
        let mut centres: Vec<f64> = Vec::new();
        for bin in order {
            if centres.last().is_none_or(|centre| coordinates[bin] - centre > near) {
                centres.push(coordinates[bin]);
            }
            cell_of[bin] = centres.len() as u32 - 1;
        }
        Self { peaks: vec![f32::NAN; COLUMNS * centres.len()], cells: reach(&centres), cell_of }
    }

    /// The cells of each of `rows` rows of pixels, from below: the one in its middle and all whose middle it holds.
    fn rows(&self, rows: usize) -> Vec<(usize, usize)> {
        let (bottom, top) = self.bounds();
        let pixel = |y: f64| rows as f64 * ((y - bottom) / (top - bottom));
        let mut cells = vec![(usize::MAX, 0); rows];
        for (cell, [low, high]) in self.cells.iter().enumerate() {
            let (first, after) = covered(pixel(*low), pixel(*high), rows);
            for row in &mut cells[first..after] {
                *row = (row.0.min(cell), cell + 1);
            }
        }
        cells
    }

    fn bounds(&self) -> (f64, f64) {
        (self.cells.first().map_or(0.0, |c| c[0]), self.cells.last().map_or(1.0, |c| c[1]))
    }
}

/// The pixels whose middles lie in an interval, as the first and the one after the last; at least the pixel where it
/// begins.
fn covered(from: f64, to: f64, pixels: usize) -> (usize, usize) {
    let (first, after) = ((from - 0.5).ceil().max(0.0) as usize, ((to - 0.5).ceil().max(0.0) as usize).min(pixels));
    if first < after {
        return (first, after);
    }
    let one = (from.max(0.0) as usize).min(pixels - 1);
    (one, one + 1)
}

/// How far cells reach around their ascending centres: to the middle of the way to the next one, but no farther than on
/// the other side where that leaves a gap, which is off the track.
fn reach(centres: &[f64]) -> Vec<[f64; 2]> {
    let gaps: Vec<f64> = centres.windows(2).map(|w| w[1] - w[0]).collect();
    // Twice what the two ends reach outwards.
    let outer = |end: Option<&f64>, next: Option<&f64>| match (end, next) {
        (Some(end), Some(next)) if *end > 1.9 * next => *next,
        (Some(end), _) => *end,
        (None, _) => 1.0,
    };
    let before = outer(gaps.first(), gaps.get(1));
    let after = outer(gaps.last(), gaps.len().checked_sub(2).and_then(|i| gaps.get(i)));
    let mut cells: Vec<[f64; 2]> = centres.iter().map(|c| [c - before / 2.0, c + after / 2.0]).collect();
    for (i, gap) in gaps.iter().enumerate() {
        let left = if i == 0 { before } else { gaps[i - 1] } / 2.0;
        let right = gaps.get(i + 1).copied().unwrap_or(after) / 2.0;
        let (left, right) = if left + right <= gap * (1.0 + 1e-9) { (left, right) } else { (gap / 2.0, gap / 2.0) };
        cells[i][1] = centres[i] + left;
        cells[i + 1][0] = centres[i + 1] - right;
    }
    cells
}

/// A round number that this part of the positive values does not exceed, and the greatest, if there are any.
fn nearly_all(mut values: Vec<f32>, part: f64) -> Option<(f64, f64)> {
    values.retain(|v| v.is_finite() && *v > 0.0);
    let at = (part * values.len() as f64) as usize;
    let at = at.min(values.len().checked_sub(1)?);
    let value = f64::from(*values.select_nth_unstable_by(at, f32::total_cmp).1);
    let decade = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let round = steps.into_iter().map(|s| s * decade).find(|v| *v >= 0.9999 * value)?;
    Some((round, values.into_iter().fold(0.0, |a, v| a.max(f64::from(v)))))
}

/// Draws a decoded session into a PNG file.
///
/// # Errors
/// [`Error::File`] when `path` cannot be written; then nothing is left of it.
pub fn session(figure: &DecodeFigure<'_>, path: &Path) -> Result<()> {
    let reduced = figure.posterior;
    let raster_height = (18.0 * figure.spikes.len() as f32).clamp(110.0, 18.0 * LABELLED as f32).round();
    let image_height = if reduced.dimensions.len() == 1 { 460.0 } else { 290.0 };
    let images = (GAP + image_height) * reduced.dimensions.len() as f32;
    let states = if reduced.states.is_empty() { 0.0 } else { GAP + STATES_HEIGHT };
    let mut canvas = Canvas::new(WIDTH, TOP + raster_height + images + states + BOTTOM)?;
    canvas.headline(&figure.title, &figure.subtitle);

    // Large times would leave no room for the digits that differ.
    let reference = if reduced.span.0.abs() >= 1e5 { reduced.span.0.floor() } else { 0.0 };
    let time_label = match reference {
        0.0 => "time (s)".to_string(),
        _ => format!("seconds after {} s", plain(reference)),
    };
    let span = (reduced.span.0 - reference, reduced.span.1 - reference);
    let panel = |top, height, bounds| Axes::new([LEFT, top, COLUMNS as f32, height], span, bounds);

    draw_spikes(
        &mut canvas,
        panel(TOP, raster_height, (-0.5, figure.spikes.len().max(1) as f64 - 0.5)),
        figure,
        reference,
    );

    let mut top = TOP + raster_height + GAP;
    let scale = reduced.scale();
    for (index, dimension) in reduced.dimensions.iter().enumerate() {
        let last = reduced.states.is_empty() && index + 1 == reduced.dimensions.len();
        let axes = panel(top, image_height, dimension.bounds());
        canvas.fill(axes.rect, MISSING);
        let mut caption = caption(reduced);
        let mut keys: Vec<(&str, Rgb)> = Vec::new();
        if let Some(scale) = scale {
            draw_probability(&mut canvas, &axes, dimension, scale);
            if reduced.dimensions.len() > 1 {
                caption.insert_str(0, "marginal ");
            }
        } else {
            axes.note(&mut canvas, "no probability here");
        }
        if let Some(decoded) = &figure.decoded {
            draw_marks(&mut canvas, &axes, &decoded.along(index, reference));
            keys.push((&decoded.name, DECODED));
        }
        if let Some(position) = &figure.position {
            let points = position.along(index, reference);
            axes.trace(&mut canvas, &points, OUTLINE, 4.6);
            axes.trace(&mut canvas, &points, TRUE, 2.2);
            keys.push((&position.name, TRUE));
        }
        axes.caption(&mut canvas, &caption, &keys);
        let label = match (reduced.dimensions.len(), index) {
            (1, _) => "position (cm)".to_string(),
            (_, 0..3) => format!("{} (cm)", ["x", "y", "z"][index]),
            _ => format!("dimension {} (cm)", index + 1),
        };
        axes.frame(&mut canvas, last.then_some(&time_label), &label);
        top += image_height + GAP;
    }
    if let Some(scale) = scale {
        let height = images - GAP;
        let bar = [LEFT + COLUMNS as f32 + 22.0, TOP + raster_height + GAP, 18.0, height];
        let of = if reduced.dimensions.len() == 1 { "of a place bin" } else { "of a row of place bins" };
        canvas.colour_bar(bar, scale, colour_map, &format!("probability {of} (square-root scale)"));
    }

    if !reduced.states.is_empty() {
        draw_states(&mut canvas, &panel(top, STATES_HEIGHT, (-0.04, 1.04)), reduced, reference, &time_label);
    }
    canvas.save(path)
}

fn caption(reduced: &Reduced) -> String {
    let what = match (reduced.of_likelihood, reduced.non_local) {
        (true, _) => "likelihood, normalised in each time bin",
        (_, true) => "non-local posterior",
        _ => "posterior",
    };
    match reduced.crowd() {
        0 | 1 => what.to_string(),
        n => format!("{what}; a pixel shows the maximum of up to {} time bins", grouped(n)),
    }
}

fn draw_probability(canvas: &mut Canvas, axes: &Axes, dimension: &Dimension, scale: Scale) {
    let height = axes.rect[3] as usize;
    let rows = dimension.rows(height);
    canvas.pixels(axes.rect, |column, row| {
        let (from, to) = rows[height - 1 - row];
        let cells = dimension.peaks.chunks(dimension.cells.len()).nth(column)?.get(from..to)?;
        let peak = cells.iter().copied().fold(f32::NAN, f32::max);
        peak.is_finite().then(|| colour_map(scale.level(f64::from(peak))))
    });
}

/// A bar for each value from its time to the next; the median where many share a column of pixels.
fn draw_marks(canvas: &mut Canvas, axes: &Axes, points: &[(f64, f32)]) {
    let column = |p: &(f64, f32)| axes.pixel_x(p.0).floor() as i64;
    let mut marks: Vec<[f32; 4]> = Vec::new();
    let visible: Vec<(f64, f32)> = points.iter().copied().filter(|p| p.0 >= axes.x.0 && p.0 < axes.x.1).collect();
    let mut groups = visible.chunk_by(|a, b| column(a) == column(b)).peekable();
    let mut width = 2.0;
    while let Some(group) = groups.next() {
        let from = axes.pixel_x(group[0].0);
        if let Some(next) = groups.peek() {
            width = (axes.pixel_x(next[0].0) - from).max(2.0);
        }
        let mut values: Vec<f32> = group.iter().map(|p| p.1).filter(|v| v.is_finite()).collect();
        values.sort_by(f32::total_cmp);
        let Some(median) = values.get(values.len() / 2) else { continue };
        if let Some([_, y]) = axes.at(group[0].0, f64::from(*median)) {
            marks.push([from, y - 1.5, width.min(axes.rect[0] + axes.rect[2] - from), 3.0]);
        }
    }
    for [x, y, width, height] in &marks {
        canvas.fill([x - 1.0, y - 1.0, width + 2.0, height + 2.0], OUTLINE);
    }
    for mark in marks {
        canvas.fill(mark, DECODED);
    }
}

/// A row for each electrode: its spikes, or their rate where they are too many.
fn draw_spikes(canvas: &mut Canvas, mut axes: Axes, figure: &DecodeFigure<'_>, reference: f64) {
    let [left, top, width, height] = axes.rect;
    let electrodes = figure.spikes.len();
    let (start, end) = axes.x;
    let inside = |t: &f64| (start..=end).contains(t);
    let times = |e: usize| figure.spikes[e].iter().map(move |t| t - reference).filter(inside);
    let total: usize = (0..electrodes).map(|e| times(e).count()).sum();
    axes.y_ticks = if electrodes <= LABELLED {
        (0..electrodes).map(|e| e as f64).collect()
    } else {
        let some = round_values(0.0, electrodes as f64 - 1.0, f64::from(height) / 45.0);
        some.into_iter().filter(|e| e.fract() == 0.0).collect()
    };
    axes.background(canvas);
    let mut caption = format!("{} spikes on {} electrodes", grouped(total), grouped(electrodes));
    let lines = electrodes.min(height as usize / 2).max(1);
    if total == 0 {
        axes.note(canvas, "no spikes here");
    } else if total < lines * width as usize / 4 {
        let dots = (0..electrodes).flat_map(|e| times(e).map(move |x| Dot { x, y: e as f64, colour: SPIKE[e % 2] }));
        axes.raster(canvas, dots, 0.8 * height / electrodes as f32);
    } else {
        // Two pixels of time for a cell; electrodes share a line where there are more of them than pixels.
        let columns = width as usize / 2;
        let seconds = (end - start) / columns as f64;
        let lines = electrodes.min(height as usize);
        let line = |e: usize| e * lines / electrodes;
        let mut rates = vec![0f32; lines * columns];
        for e in 0..electrodes {
            let sharing = (0..electrodes).filter(|other| line(*other) == line(e)).count();
            let one = (1.0 / (seconds * sharing as f64)) as f32;
            for t in times(e) {
                let column = ((t - start) / seconds) as usize;
                rates[line(e) * columns + column.min(columns - 1)] += one;
            }
        }
        if let Some((most, greatest)) = nearly_all(rates.clone(), 0.995) {
            let scale = Scale::linear(most).holding(greatest);
            canvas.pixels(axes.rect, |column, row| {
                let line = (height as usize - 1 - row) * lines / height as usize;
                let rate = rates[line * columns + (column / 2).min(columns - 1)];
                (rate > 0.0).then(|| shade(scale.level(f64::from(rate))))
            });
            canvas.colour_bar([left + width + 22.0, top, 18.0, height], scale, shade, "spikes / s");
        }
        caption += &format!(", as rate in steps of {} s", significant(seconds));
    }
    axes.caption(canvas, &caption, &[]);
    axes.frame(canvas, None, "electrode");
}

/// From white to dark blue.
fn shade(level: f32) -> Rgb {
    let level = if level.is_finite() { level.clamp(0.0, 1.0) } else { 0.0 };
    [20.0, 32.0, 78.0].map(|dark: f32| (255.0 + level * (dark - 255.0)).round() as u8)
}

fn draw_states(canvas: &mut Canvas, axes: &Axes, reduced: &Reduced, reference: f64, time_label: &str) {
    let n = reduced.states.len();
    let (start, end) = reduced.span;
    let time = |column: usize| start - reference + (end - start) * (column as f64 + 0.5) / COLUMNS as f64;
    axes.background(canvas);
    let mut any = false;
    for state in 0..n {
        let column = |c: usize| {
            let (sum, count) = reduced.state_sums[c * n + state];
            (time(c), if count > 0 { (sum / f64::from(count)) as f32 } else { f32::NAN })
        };
        let points: Vec<(f64, f32)> = (0..COLUMNS).map(column).collect();
        any |= points.iter().any(|p| p.1.is_finite());
        axes.trace(canvas, &points, STATES[state % STATES.len()], 2.2);
    }
    if !any {
        axes.note(canvas, "no probability of states here");
    }
    let keys: Vec<(&str, Rgb)> =
        reduced.states.iter().enumerate().map(|(i, s)| (s.as_str(), STATES[i % STATES.len()])).collect();
    let caption = match reduced.crowd() {
        0 | 1 => "discrete states".to_string(),
        n => format!("discrete states; mean of up to {} time bins", grouped(n)),
    };
    axes.caption(canvas, &caption, &keys);
    axes.frame(canvas, Some(time_label), "probability");
}
