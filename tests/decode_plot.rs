//! Pictures of decoded sessions, from known and from broken data.

use ndarray::{Array2, array, s};
use spikewave::Error;
use spikewave::decode::plot::{Curve, DecodeFigure, Reduced, session};
use spikewave::decode::{BinEdges, Environment, TimeBins};
use std::path::{Path, PathBuf};
use tiny_skia::Pixmap;

/// Where the panels of a picture with up to 7 electrodes lie: left and width of all, top and height of the raster, of
/// the image of a line, of the two images of a plane, of the states below a line.
const LEFT: u32 = 104;
const WIDTH: u32 = 1360;
const RASTER: (u32, u32) = (138, 110);
const LINE: (u32, u32) = (294, 460);
const PLANE: [(u32, u32); 2] = [(294, 290), (630, 290)];
const STATES: (u32, u32) = (800, 160);

/// Colours of the least and greatest probability, and of a quarter of that, a ninth and four ninths.
const NOTHING: [u8; 3] = [16, 12, 52];
const ALL: [u8; 3] = [252, 240, 120];
const QUARTER: [u8; 3] = [24, 131, 140];
const NINTH: [u8; 3] = [34, 86, 140];
const FOUR_NINTHS: [u8; 3] = [52, 173, 114];
const OFF_TRACK: [u8; 3] = [236, 238, 241];
const TRUE: [u8; 3] = [255, 74, 120];
const DECODED: [u8; 3] = [255, 255, 255];
const STATE: [[u8; 3]; 2] = [[37, 99, 176], [214, 69, 44]];
const SPIKE: [[u8; 3]; 2] = [[38, 52, 92], [62, 110, 168]];

fn line(centres: &[f64]) -> Environment {
    let centres = Array2::from_shape_vec((centres.len(), 1), centres.to_vec()).unwrap();
    let inside = vec![true; centres.nrows()];
    Environment::new(centres, inside).unwrap()
}

/// `n` bins of `size` seconds from `start` on.
fn bins(start: f64, size: f64, n: usize) -> TimeBins {
    TimeBins::new((0..n).map(|i| start + size * i as f64).collect(), BinEdges::HalfOpen, Some(size)).unwrap()
}

fn figure(posterior: &Reduced) -> DecodeFigure<'_> {
    DecodeFigure {
        title: "Decoded".into(),
        subtitle: "a simulated session".into(),
        spikes: Vec::new(),
        posterior,
        position: None,
        decoded: None,
    }
}

/// Reproducible numbers from 0 to 1.
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Where the pictures go: kept for looking at when `SPIKEWAVE_PICTURES` names a folder.
struct Folder(PathBuf, #[expect(dead_code, reason = "deletes the folder when dropped")] Option<tempfile::TempDir>);

fn folder() -> Folder {
    match std::env::var_os("SPIKEWAVE_PICTURES") {
        Some(path) => Folder(path.into(), None),
        None => {
            let temporary = tempfile::tempdir().unwrap();
            Folder(temporary.path().into(), Some(temporary))
        }
    }
}

fn drawn(figure: &DecodeFigure<'_>, folder: &Folder, name: &str) -> Pixmap {
    let path = folder.0.join(name).with_extension("png");
    session(figure, &path).unwrap();
    Pixmap::load_png(&path).unwrap()
}

fn colour(picture: &Pixmap, x: u32, y: u32) -> [u8; 3] {
    let pixel = picture.pixel(x, y).unwrap();
    [pixel.red(), pixel.green(), pixel.blue()]
}

/// The colour at fractions of a panel's width (from the left) and height (from below).
fn inside(picture: &Pixmap, (top, height): (u32, u32), x: f64, y: f64) -> [u8; 3] {
    let row = top + ((1.0 - y) * f64::from(height)) as u32;
    colour(picture, LEFT + (x * f64::from(WIDTH)) as u32, row)
}

/// The pixels of one colour in a panel, as fractions of its width and height.
fn places_of(picture: &Pixmap, (top, height): (u32, u32), wanted: [u8; 3]) -> Vec<(f64, f64)> {
    let all = (top..top + height).flat_map(|y| (LEFT..LEFT + WIDTH).map(move |x| (x, y)));
    let found = all.filter(|&(x, y)| colour(picture, x, y) == wanted);
    let fraction = |x, y| {
        let (x, y) = (f64::from(x - LEFT) + 0.5, f64::from(y - top) + 0.5);
        (x / f64::from(WIDTH), 1.0 - y / f64::from(height))
    };
    found.map(|(x, y)| fraction(x, y)).collect()
}

#[test]
fn cells_have_the_colours_of_their_probabilities() {
    let mut posterior = Reduced::new(&line(&[5.0, 15.0, 25.0, 35.0]), &bins(10.0, 0.5, 3));
    let p = 0.5f32;
    let rows = array![[0.0, p / 9.0, p / 4.0, p], [p, 0.0, p * 4.0 / 9.0, 0.0], [f32::NAN, p, 0.0, f32::INFINITY]];
    posterior.add_posterior(0, rows.view()).unwrap();
    let picture = drawn(&figure(&posterior), &folder(), "cells");
    let expected =
        [[NOTHING, NINTH, QUARTER, ALL], [ALL, NOTHING, FOUR_NINTHS, NOTHING], [OFF_TRACK, ALL, NOTHING, OFF_TRACK]];
    for (time, row) in expected.iter().enumerate() {
        for (place, expected) in row.iter().enumerate() {
            // The middle of a cell and near its corners.
            for (x, y) in [(0.5, 0.5), (0.01, 0.02), (0.99, 0.98), (0.01, 0.98)] {
                let found = inside(&picture, LINE, (time as f64 + x) / 3.0, (place as f64 + y) / 4.0);
                assert_eq!(found, *expected, "time bin {time}, place bin {place}, at {x} and {y} of it");
            }
        }
    }
}

#[test]
fn bins_of_any_width_lie_where_they_are_and_gaps_stay_empty() {
    // Bins of 2 cm up to 8 cm, nothing up to 20 cm, then bins of 10 cm up to 40 cm; out of order.
    let mut posterior = Reduced::new(&line(&[35.0, 3.0, 7.0, 1.0, 25.0, 5.0]), &bins(0.0, 1.0, 1));
    posterior.add_posterior(0, array![[0.0f32, 0.0, 0.1, 0.1, 0.1, 0.1]].view()).unwrap();
    let picture = drawn(&figure(&posterior), &folder(), "gaps");
    let at = |cm: f64| inside(&picture, LINE, 0.5, cm / 40.0);
    for (low, high, expected) in [
        (0.0, 2.0, ALL),
        (2.0, 4.0, NOTHING),
        (4.0, 8.0, ALL),
        (8.0, 20.0, OFF_TRACK),
        (20.0, 30.0, ALL),
        (30.0, 40.0, NOTHING),
    ] {
        for cm in [low + 0.2, (low + high) / 2.0, high - 0.2] {
            assert_eq!(at(cm), expected, "at {cm} cm");
        }
    }
    // Time bins have widths too.
    let time = TimeBins::new(vec![0.0, 1.0, 8.0], BinEdges::HalfOpen, Some(2.0)).unwrap();
    let mut posterior = Reduced::new(&line(&[1.0, 2.0]), &time);
    posterior.add_posterior(0, array![[0.0f32, 1.0], [1.0, 0.0], [0.0, 1.0]].view()).unwrap();
    let picture = drawn(&figure(&posterior), &folder(), "widths");
    for (seconds, expected) in [(0.9, NOTHING), (1.1, ALL), (7.9, ALL), (8.1, NOTHING), (9.9, NOTHING)] {
        assert_eq!(inside(&picture, LINE, seconds / 10.0, 0.25), expected, "at {seconds} s");
    }
}

#[test]
fn the_true_path_lies_on_its_positions() {
    let centres: Vec<f64> = (0..100).map(|i| f64::from(i) + 0.5).collect();
    let mut posterior = Reduced::new(&line(&centres), &bins(100.0, 0.01, 1000));
    posterior.add_posterior(0, Array2::from_elem((1000, 100), 0.01).view()).unwrap();
    let times: Vec<f64> = (0..=500).map(|i| 100.0 + f64::from(i) * 0.02).collect();
    // A slow turn, then unknown for a second, then back.
    let cm = |t: f64| 50.0 + 40.0 * ((t - 100.0) * 0.6).sin();
    let known = |t: f64| if (104.0..105.0).contains(&t) { f64::NAN } else { cm(t) };
    let path = Array2::from_shape_fn((times.len(), 1), |(i, _)| known(times[i]));
    let true_path = Curve { name: "true position".into(), times: &times, positions: path.view() };
    let folder = folder();
    let picture = drawn(&DecodeFigure { position: Some(true_path), ..figure(&posterior) }, &folder, "path");
    let found = places_of(&picture, LINE, TRUE);
    let columns: std::collections::BTreeSet<u32> = found.iter().map(|p| (p.0 * f64::from(WIDTH)) as u32).collect();
    assert!(columns.len() > 1150 && columns.len() < 1260, "{} of {WIDTH} columns, a tenth unknown", columns.len());
    for (x, y) in found {
        let (t, y) = (100.0 + 10.0 * x, 100.0 * y);
        // A line of 2.2 pixels, on 460 pixels for 100 cm.
        assert!((y - cm(t)).abs() < 0.8, "{y} cm instead of {} cm at {t} s", cm(t));
    }
    let without = drawn(&figure(&posterior), &folder, "without");
    assert!(places_of(&without, LINE, TRUE).is_empty());
}

#[test]
fn decoded_positions_are_marked_and_their_median_where_there_are_many() {
    let centres: Vec<f64> = (0..100).map(|i| f64::from(i) + 0.5).collect();
    let folder = folder();
    for (n, name) in [(20usize, "few"), (100_000, "many")] {
        let time = bins(0.0, 10.0 / n as f64, n);
        let posterior = Reduced::new(&line(&centres), &time);
        // In one of five time bins the decoder is somewhere else.
        let cm = |i: usize| if n > 100 && i.is_multiple_of(5) { 90.0 } else { 20.0 + 40.0 * i as f64 / n as f64 };
        let path = Array2::from_shape_fn((n, 1), |(i, _)| cm(i));
        let decoded = Curve { name: "most likely".into(), times: time.time(), positions: path.view() };
        let picture = drawn(&DecodeFigure { decoded: Some(decoded), ..figure(&posterior) }, &folder, name);
        let found = places_of(&picture, LINE, DECODED);
        assert!(found.len() > 2 * 1300, "{} pixels", found.len());
        for (x, y) in found {
            // A mark reaches from its time to the next one's.
            let (low, high) = (20.0 + 40.0 * (x - 1.0 / 20.0), 20.0 + 40.0 * x);
            assert!(100.0 * y > low - 0.8 && 100.0 * y < high + 0.8, "{name}: {} cm at {x} of the time", 100.0 * y);
        }
    }
}

#[test]
fn a_plane_has_an_image_for_each_coordinate() {
    // A grid of 4 × 3 bins of 10 cm without one corner.
    let centres = Array2::from_shape_fn((12, 2), |(i, k)| 5.0 + 10.0 * [i / 3, i % 3][k] as f64);
    let track: Vec<bool> = (0..12).map(|i| i != 11).collect();
    let environment = Environment::new(centres, track).unwrap();
    let mut posterior = Reduced::new(&environment, &bins(0.0, 1.0, 2));
    // First all at x = 15, spread over y; then all at y = 25, of which a quarter at x = 5.
    let mut rows = Array2::<f32>::zeros((2, 11));
    rows.slice_mut(s![0, 3..6]).assign(&array![4.0 / 9.0, 4.0 / 9.0, 1.0 / 9.0]);
    rows[[1, 2]] = 0.25;
    rows[[1, 5]] = 0.75;
    posterior.add_posterior(0, rows.view()).unwrap();
    let times = [0.0, 2.0];
    let positions = array![[10.0, 2.0], [30.0, 28.0]];
    let path = Curve { name: "true position".into(), times: &times, positions: positions.view() };
    let folder = folder();
    let picture = drawn(&figure(&posterior), &folder, "plane");
    let at = |panel: usize, time: f64, cm: f64| inside(&picture, PLANE[panel], time / 2.0, cm / [40.0, 30.0][panel]);
    for (panel, time, cm, expected) in [
        (0, 0.5, 5.0, NOTHING),
        (0, 0.5, 15.0, ALL),
        (0, 0.5, 35.0, NOTHING),
        (1, 0.5, 5.0, FOUR_NINTHS),
        (1, 0.5, 15.0, FOUR_NINTHS),
        (1, 0.5, 25.0, NINTH),
        (0, 1.5, 5.0, QUARTER),
        (0, 1.5, 25.0, NOTHING),
        (1, 1.5, 5.0, NOTHING),
        (1, 1.5, 25.0, ALL),
    ] {
        assert_eq!(at(panel, time, cm), expected, "panel {panel} at {time} s and {cm} cm");
    }
    let picture = drawn(&DecodeFigure { position: Some(path), ..figure(&posterior) }, &folder, "plane");
    for (panel, from, to, size) in [(0, 10.0, 30.0, 40.0), (1, 2.0, 28.0, 30.0)] {
        let found = places_of(&picture, PLANE[panel], TRUE);
        assert!(found.len() > 1300, "{} pixels", found.len());
        assert!(found.iter().all(|(x, y)| (y * size - (from + (to - from) * x)).abs() < 0.4));
    }
}

#[test]
fn a_stream_gives_the_same_picture_in_any_chunks() {
    let (n, places) = (5000, 36);
    let mut uniform = Uniform(1);
    let plane = Array2::from_shape_fn((places, 2), |(i, k)| [i / 6, i % 6][k] as f64);
    let environment = Environment::new(plane, vec![true; places]).unwrap();
    let rows = Array2::from_shape_fn((n, places), |_| (20.0 * uniform.next()) as f32);
    let states = Array2::from_shape_fn((n, 3), |_| uniform.next() as f32);
    let time = bins(3.0, 0.002, n);
    let folder = folder();
    let mut first: Option<Vec<u8>> = None;
    for (chunk, backwards) in [(n, false), (1, false), (7, true), (1999, true)] {
        let mut reduced = Reduced::new(&environment, &time).with_states(&["a", "b", "c"]);
        let mut starts: Vec<usize> = (0..n).step_by(chunk).collect();
        if backwards {
            starts.reverse();
        }
        for from in starts {
            let to = (from + chunk).min(n);
            reduced.add_log_likelihood(from, rows.slice(s![from..to, ..])).unwrap();
            reduced.add_states(from, states.slice(s![from..to, ..])).unwrap();
        }
        let picture = drawn(&figure(&reduced), &folder, "stream").data().to_vec();
        match &first {
            None => first = Some(picture),
            Some(first) => assert!(*first == picture, "chunks of {chunk} rows change the picture"),
        }
    }
}

#[test]
fn one_time_bin_of_a_long_session_can_be_seen() {
    let n = 200_000;
    let centres: Vec<f64> = (0..10).map(f64::from).collect();
    let mut reduced = Reduced::new(&line(&centres), &bins(0.0, 0.002, n)).with_states(&["still", "other"]);
    let mut rows = Array2::from_elem((n, 10), 0.08f32 / 9.0);
    rows[[123_456, 7]] = 0.08;
    rows.column_mut(0).fill(0.08);
    reduced.add_posterior(0, rows.view()).unwrap();
    reduced
        .add_states(0, Array2::from_shape_fn((n, 2), |(i, s)| f32::from(u8::from(i % 4 == 0) ^ s as u8)).view())
        .unwrap();
    let picture = drawn(&figure(&reduced), &folder(), "long");
    let x = 123_456.0 / n as f64;
    let place = |row: f64| (row + 0.5) / 10.0;
    assert_eq!(inside(&picture, LINE, x, place(7.0)), ALL);
    assert_eq!(inside(&picture, LINE, x - 0.01, place(7.0)), NINTH);
    assert_eq!(inside(&picture, LINE, x, place(0.0)), ALL);
    // A state in every fourth time bin has the mean 0.25.
    for (state, mean) in [(0, 0.25), (1, 0.75)] {
        let found = places_of(&picture, STATES, STATE[state]);
        assert!(found.len() > 1300, "{} pixels", found.len());
        let expected = (mean + 0.04) / 1.08;
        assert!(found.iter().all(|p| (p.1 - expected).abs() < 0.02), "state {state} away from {mean}");
    }
}

#[test]
fn a_log_likelihood_looks_as_the_posterior_of_a_uniform_prior() {
    let mut uniform = Uniform(5);
    let centres: Vec<f64> = (0..30).map(f64::from).collect();
    let (environment, time) = (line(&centres), bins(0.0, 0.01, 400));
    let mut log = Array2::from_shape_fn((400, 30), |_| (9.0 * uniform.next()) as f32);
    log[[17, 3]] = f32::NEG_INFINITY;
    let mut normalised = log.mapv(f32::exp);
    for mut row in normalised.rows_mut() {
        row /= row.sum();
    }
    // Far below what an exponential holds, and differently in each row.
    for (i, mut row) in log.rows_mut().into_iter().enumerate() {
        row -= 500.0 + i as f32;
    }
    let folder = folder();
    let mut of_log = Reduced::new(&environment, &time);
    of_log.add_log_likelihood(0, log.view()).unwrap();
    let mut posterior = Reduced::new(&environment, &time);
    posterior.add_posterior(0, normalised.view()).unwrap();
    let [a, b] = [&of_log, &posterior].map(|r| drawn(&figure(r), &folder, "log"));
    let mut worst = 0;
    for (x, y) in (LINE.0..LINE.0 + LINE.1).flat_map(|y| (LEFT..LEFT + WIDTH).map(move |x| (x, y))) {
        let (a, b) = (colour(&a, x, y), colour(&b, x, y));
        worst = (0..3).map(|c| a[c].abs_diff(b[c])).fold(worst, u8::max);
    }
    assert!(worst <= 1, "colours differ by {worst}");
}

#[test]
fn spikes_are_bars_at_their_times_and_shades_where_they_are_many() {
    let mut posterior = Reduced::new(&line(&[0.0, 1.0]), &bins(0.0, 1.0, 10));
    posterior.add_posterior(0, Array2::from_elem((10, 2), 0.5).view()).unwrap();
    let folder = folder();
    let spikes: [&[f64]; 4] = [&[2.5], &[7.5, 11.0, f64::NAN, -1.0], &[], &[]];
    let picture = drawn(&DecodeFigure { spikes: spikes.to_vec(), ..figure(&posterior) }, &folder, "spikes");
    for (electrode, time) in [(0, 2.5), (1, 7.5)] {
        let found = places_of(&picture, RASTER, SPIKE[electrode]);
        assert!(found.len() > 30, "{} pixels", found.len());
        for (x, y) in found {
            assert!((10.0 * x - time).abs() < 0.02, "electrode {electrode}: {} s instead of {time} s", 10.0 * x);
            assert_eq!((4.0 * y) as usize, electrode);
        }
    }
    // 10,000 spikes a second on electrode 1, and half as many on electrode 3 in the second half.
    let fast: Vec<f64> = (0..100_000).map(|i| 0.0001 * f64::from(i) + 0.00005).collect();
    let half: Vec<f64> = fast.iter().copied().filter(|t| *t > 5.0).step_by(2).collect();
    let spikes: [&[f64]; 4] = [&[], &fast, &[], &half];
    let picture = drawn(&DecodeFigure { spikes: spikes.to_vec(), ..figure(&posterior) }, &folder, "rates");
    let at = |electrode: f64, seconds: f64| inside(&picture, RASTER, seconds / 10.0, (electrode + 0.5) / 4.0);
    let light = |electrode, seconds| at(electrode, seconds).map(u32::from).iter().sum::<u32>();
    // Two and one third of the way to the darkest, which stands for 15,000.
    assert!((300..400).contains(&light(1.0, 2.03)), "10,000 spikes a second are dark: {:?}", at(1.0, 2.03));
    assert!((500..600).contains(&light(3.0, 7.03)), "half as many are lighter: {:?}", at(3.0, 7.03));
    for (electrode, seconds) in [(0.0, 2.03), (2.0, 7.03), (3.0, 2.03)] {
        assert!(light(electrode, seconds) > 650, "no spikes are white");
    }
}

#[test]
fn broken_data_gives_a_picture() {
    let folder = folder();
    let environment = line(&[0.0, 1.0, 2.0]);
    let time = bins(0.0, 0.01, 100);
    let empty = Reduced::new(&environment, &time).with_states(&["a"]);
    let picture = drawn(&figure(&empty), &folder, "empty");
    // Words in the middle of each panel.
    for panel in [RASTER, LINE, STATES] {
        let words = places_of(&picture, panel, [95, 102, 110]);
        assert!(words.iter().filter(|p| (p.0 - 0.5).abs() < 0.05 && (p.1 - 0.5).abs() < 0.15).count() > 50);
    }

    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1.0, 0.0, 1e-38] {
        let mut reduced = Reduced::new(&environment, &time).with_states(&["a"]);
        reduced.add_posterior(0, Array2::from_elem((100, 3), value).view()).unwrap();
        reduced.add_states(0, Array2::from_elem((100, 1), value).view()).unwrap();
        drawn(&figure(&reduced), &folder, "odd");
        let mut reduced = Reduced::new(&environment, &time);
        reduced.add_log_likelihood(0, Array2::from_elem((100, 3), value).view()).unwrap();
        drawn(&figure(&reduced), &folder, "odd");
    }

    let odd = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 1e-300];
    let positions = Array2::from_shape_fn((8, 3), |(i, k)| odd[(i + k) % 8]);
    let short = positions.slice(s![..2, ..0]);
    for positions in [positions.view(), short] {
        let curve = || Some(Curve { name: "\u{1f400}".into(), times: &odd, positions });
        let spikes: Vec<&[f64]> = vec![&odd; 500];
        let title = "\n\t\u{1f52d}".repeat(300);
        let all = DecodeFigure { title, spikes, position: curve(), decoded: curve(), ..figure(&empty) };
        drawn(&all, &folder, "odd");
    }

    let places = [0.0, 1e-300, 1e300];
    for (environment, time) in [
        (line(&[7.0]), bins(1.7e9, 0.002, 3)),
        (line(&places), TimeBins::new(vec![5.0], BinEdges::HalfOpen, None).unwrap()),
        (line(&[-1e308, 1e308]), TimeBins::new(vec![-1e308, 1e308], BinEdges::HalfOpen, None).unwrap()),
        (line(&[3.0, 3.0]), TimeBins::new(vec![1e300], BinEdges::HalfOpen, None).unwrap()),
    ] {
        let mut reduced = Reduced::new(&environment, &time);
        let rows = Array2::from_elem((time.len(), environment.n_interior()), 0.5f32);
        reduced.add_posterior(0, rows.view()).unwrap();
        let times = time.time();
        let path = Array2::from_elem((times.len(), 1), 1.0);
        let position = Some(Curve { name: "true position".into(), times, positions: path.view() });
        drawn(&DecodeFigure { spikes: vec![times], position, ..figure(&reduced) }, &folder, "span");
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let mut reduced = Reduced::new(&line(&[0.0, 1.0]), &bins(0.0, 1.0, 5)).with_states(&["a", "b", "c"]);
    let rows = |n, width| Array2::<f32>::zeros((n, width));
    for (error, words) in [
        (reduced.add_posterior(0, rows(5, 3).view()), "3 values in each; there are 2 place bins"),
        (reduced.add_log_likelihood(3, rows(3, 2).view()), "they end at time bin 6, and there are 5"),
        (reduced.add_posterior(usize::MAX, rows(1, 2).view()), "there are 5"),
        (reduced.add_states(0, rows(5, 2).view()), "2 values in each; there are 3 discrete states"),
    ] {
        let error = error.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }) && error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_named_and_nothing_stays() {
    let folder = folder();
    let path: &Path = &folder.0.join("absent").join("picture.png");
    let reduced = Reduced::new(&line(&[0.0]), &bins(0.0, 1.0, 1));
    let error = session(&figure(&reduced), path).unwrap_err();
    assert!(matches!(&error, Error::File { path: p, .. } if *p == path), "{error:?}");
    assert!(!path.exists());
}
