//! Pictures from synthetic and from broken data.

use spikewave::Error;
use spikewave::gw::exact::matched_filter;
use spikewave::gw::filter::Filter;
use spikewave::gw::plot::{DetectFigure, DetectorPanel, SearchFigure, Spike, TriggerMark, detect, search};
use spikewave::gw::spectrum::Welch;
use spikewave::gw::strain::{Strain, TemplateFile};
use spikewave::gw::whiten::{Method, whiten};
use std::path::{Path, PathBuf};
use tiny_skia::Pixmap;

const GPS: f64 = 1_126_259_462.42;

/// Reproducible numbers with about the distribution of Gaussian noise of unit variance.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Frequency and amplitude rise until the merger at time 0.
fn chirp(t: f64) -> f64 {
    if t < -1.0 {
        return 0.0;
    }
    if t > 0.0 {
        return 5.0 * (-t / 0.004).exp() * (std::f64::consts::TAU * 250.0 * t).cos();
    }
    let tau = 0.004 - t;
    let phase = -2.0 * std::f64::consts::PI * 35.0 * 0.2f64.powf(0.375) * tau.powf(0.625) / 0.625;
    5.0 * (0.004 / tau).powf(0.25) * phase.cos()
}

fn panel(name: &str, seed: u64, delay: f64, snr: f64) -> DetectorPanel {
    let rate = 4096.0;
    let mut noise = Noise(seed);
    let gps_start = GPS - 16.0;
    let time = |i: usize| i as f64 / rate - 16.0 - delay;
    let template: Vec<f32> = (0..32 * 4096).map(|i| (snr / 20.0 * chirp(time(i))) as f32).collect();
    let whitened = template.iter().map(|&t| t + noise.next() as f32).collect();
    let mut snr_at = |i: usize| (snr * (-time(i).abs() / 0.004).exp()).hypot(noise.next());
    let snr_series = (0..32 * 4096).map(|i| snr_at(i) as f32).collect();
    DetectorPanel {
        name: name.into(),
        sample_rate_hz: rate,
        gps_start,
        whitened,
        template,
        snr: snr_series,
        peak_gps: GPS + delay,
        peak_snr: snr,
        effective_distance_mpc: 800.0,
    }
}

fn search_figure() -> SearchFigure {
    SearchFigure {
        title: "Matched-filter search".into(),
        subtitle: "two simulated detectors".into(),
        panels: vec![panel("H1", 1, 0.007, 18.6), panel("L1", 2, 0.0, 13.2)],
        reference_gps: GPS,
    }
}

fn detect_figure() -> DetectFigure {
    let mut noise = Noise(3);
    let neurons = 64;
    let mut raster = |delay: f64| {
        let mut spikes: Vec<Spike> = (0..30_000)
            .map(|_| Spike {
                gps: GPS + 32.0 * noise.uniform() - 16.0,
                neuron: (noise.uniform() * neurons as f64) as usize,
                on: noise.uniform() < 0.5,
            })
            .collect();
        for neuron in 0..neurons {
            for burst in 0..6 {
                let gps = GPS + delay + 0.003 * noise.next() + 0.002 * f64::from(burst);
                spikes.push(Spike { gps, neuron, on: burst % 2 == 0 });
            }
        }
        spikes
    };
    let rasters = vec![("H1".to_string(), raster(0.007)), ("L1".to_string(), raster(0.0))];
    let coincidences = (0..neurons).map(|neuron| Spike { gps: GPS + 0.0001 * neuron as f64, neuron, on: true });
    let score = |i: i32| {
        let t = f64::from(i) / 1024.0;
        (GPS + t, (40.0 * (-t.abs() / 0.01).exp() + 3.0 * noise.uniform()) as f32)
    };
    DetectFigure {
        title: "Spiking detection".into(),
        subtitle: "two simulated detectors".into(),
        reference_gps: GPS,
        rasters,
        neurons,
        coincidences: coincidences.collect(),
        score: (-16 * 1024..16 * 1024).map(score).collect(),
        triggers: vec![
            TriggerMark { gps: GPS + 7.0, score: 3.0, rank: 2 },
            TriggerMark { gps: GPS, score: 41.0, rank: 1 },
        ],
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

/// A picture as it was written.
fn load(path: &Path) -> Pixmap {
    Pixmap::load_png(path).unwrap()
}

/// The pixels of one colour within a rectangle (left, top, width, height), as columns and rows.
fn pixels_of(picture: &Pixmap, [left, top, width, height]: [u32; 4], colour: [u8; 3]) -> Vec<(u32, u32)> {
    let all = (top..top + height).flat_map(|y| (left..left + width).map(move |x| (x, y)));
    all.filter(|&(x, y)| {
        let pixel = picture.pixel(x, y).unwrap();
        [pixel.red(), pixel.green(), pixel.blue()] == colour
    })
    .collect()
}

#[test]
fn pictures_are_drawn() {
    let folder = folder();
    let path = folder.0.join("search.png");
    search(&search_figure(), &path).unwrap();
    let picture = load(&path);
    assert_eq!((picture.width(), picture.height()), (1600, 1080));
    let path = folder.0.join("detect.png");
    detect(&detect_figure(), &path).unwrap();
    let picture = load(&path);
    assert_eq!((picture.width(), picture.height()), (1600, 1080));
}

/// The strain of a picture with one detector, below the legend; its time–frequency map.
const STRAIN: [u32; 4] = [94, 186, 1374, 200];
const MAP: [u32; 4] = [94, 724, 1374, 286];
const H1: [u8; 3] = [205, 52, 40];

#[test]
fn the_template_lies_over_the_strain() {
    let folder = folder();
    let mut figure = search_figure();
    figure.panels.truncate(1);
    let path = folder.0.join("with.png");
    search(&figure, &path).unwrap();
    assert!(pixels_of(&load(&path), STRAIN, H1).len() > 1000);
    figure.panels[0].template.clear();
    let path = folder.0.join("without.png");
    search(&figure, &path).unwrap();
    assert!(pixels_of(&load(&path), STRAIN, H1).is_empty());
}

#[test]
fn a_burst_appears_at_its_time_and_frequency() {
    let folder = folder();
    for (time, frequency) in [(0.15, 100.0), (-0.2, 60.0), (0.0, 300.0)] {
        let mut noise = Noise(7);
        let rate = 4096.0;
        let burst = |t: f64| 8.0 * (-(t / 0.02).powi(2)).exp() * (std::f64::consts::TAU * frequency * t).cos();
        let whitened =
            (0..16 * 4096).map(|i| (burst(f64::from(i) / rate - 8.0 - time) + noise.next()) as f32).collect();
        let panel = DetectorPanel {
            name: "H1".into(),
            sample_rate_hz: rate,
            gps_start: GPS - 8.0,
            whitened,
            peak_gps: GPS,
            ..DetectorPanel::default()
        };
        let figure = SearchFigure { panels: vec![panel], reference_gps: GPS, ..SearchFigure::default() };
        let path = folder.0.join("burst.png");
        search(&figure, &path).unwrap();
        // The last colour of the map marks the loudest place.
        let loudest = pixels_of(&load(&path), MAP, [252, 240, 120]);
        assert!(!loudest.is_empty());
        let mean = |of: &dyn Fn(&(u32, u32)) -> u32| {
            loudest.iter().map(|p| f64::from(of(p))).sum::<f64>() / loudest.len() as f64
        };
        let found_time = (mean(&|p| p.0) + 0.5 - 92.0) / 1378.0 - 0.5;
        let found_frequency = 20.0 * 25.6f64.powf(1.0 - (mean(&|p| p.1) + 0.5 - 722.0) / 290.0);
        assert!((found_time - time).abs() < 0.005, "{found_time} s instead of {time} s");
        assert!((found_frequency / frequency).ln().abs() < 0.05, "{found_frequency} Hz instead of {frequency} Hz");
    }
}

#[test]
fn spikes_appear_in_their_colours_at_their_places() {
    let folder = folder();
    let spike = |gps: f64, neuron, on| Spike { gps: GPS + gps, neuron, on };
    let figure = DetectFigure {
        reference_gps: GPS,
        neurons: 10,
        rasters: vec![("H1".into(), vec![spike(-8.0, 1, true), spike(8.0, 5, false)])],
        score: vec![(GPS - 16.0, 0.0), (GPS + 16.0, 1.0)],
        ..DetectFigure::default()
    };
    let path = folder.0.join("spikes.png");
    detect(&figure, &path).unwrap();
    let picture = load(&path);
    // The whole span is 880 pixels wide from 88 on; the one raster fills what the other rows leave.
    let raster = [90, 180, 876, 300];
    for (colour, x, on) in [([214, 69, 44], 88.0 + 220.0, true), ([37, 99, 176], 88.0 + 660.0, false)] {
        let found = pixels_of(&picture, raster, colour);
        assert!(!found.is_empty(), "no spike with on = {on}");
        assert!(found.iter().all(|p| (f64::from(p.0) - x).abs() < 4.0), "{found:?} instead of {x}");
    }
    let row = |colour| pixels_of(&picture, raster, colour)[0].1;
    assert!(row([214, 69, 44]) > row([37, 99, 176]) + 50, "neuron 1 lies below neuron 5");
}

#[test]
fn broken_data_gives_a_picture() {
    let folder = folder();
    let path = folder.0.join("broken.png");
    search(&SearchFigure::default(), &path).unwrap();
    detect(&DetectFigure::default(), &path).unwrap();

    let odd = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 1e-300, GPS];
    let values = |v: f32| vec![v; 4096];
    let mut whole = search_figure();
    whole.title = "\n\t\u{1f52d}".repeat(300);
    for (index, &number) in odd.iter().enumerate() {
        let mut figure = whole.clone();
        let [a, b] = &mut figure.panels[..] else { unreachable!() };
        match index % 3 {
            0 => figure.reference_gps = number,
            1 => a.gps_start = number,
            _ => a.sample_rate_hz = number,
        }
        b.peak_gps = number;
        b.peak_snr = number;
        b.effective_distance_mpc = number;
        search(&figure, &path).unwrap();
    }
    for value in [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 0.0] {
        let mut figure = whole.clone();
        let [a, b] = &mut figure.panels[..] else { unreachable!() };
        a.whitened = values(value);
        a.gps_start = GPS - 0.5;
        a.template = vec![value; 3];
        b.snr = values(value);
        b.gps_start = GPS - 0.5;
        b.whitened.truncate(5);
        b.template[64 * 1024..66 * 1024].fill(value);
        search(&figure, &path).unwrap();
    }
    for (index, &number) in odd.iter().enumerate() {
        let mut figure = detect_figure();
        figure.neurons = [0, 1, usize::MAX][index % 3];
        figure.coincidences.push(Spike { gps: number, neuron: usize::MAX, on: false });
        figure.rasters.push((String::new(), Vec::new()));
        figure.score.insert(100, (GPS - 15.0, number as f32));
        figure.triggers.push(TriggerMark { gps: number, score: number as f32, rank: 0 });
        detect(&figure, &path).unwrap();
        let figure = DetectFigure { reference_gps: number, ..detect_figure() };
        detect(&figure, &path).unwrap();
    }
}

#[test]
fn a_folder_that_is_not_there_is_named_and_nothing_stays() {
    let folder = folder();
    let path = folder.0.join("absent").join("picture.png");
    for error in [search(&search_figure(), &path), detect(&detect_figure(), &path)] {
        let error = error.unwrap_err();
        assert!(matches!(&error, Error::File { path: p, .. } if *p == path), "{error:?}");
    }
    assert!(!path.exists());
}

/// The strain files and the template of an event, searched in f64 at the tutorial's settings.
fn event(data: &Path, h1: &str, l1: &str, template: &str, band: (f64, f64)) -> SearchFigure {
    let template = TemplateFile::read(data.join(template)).unwrap();
    let panels: Vec<DetectorPanel> = [h1, l1]
        .into_iter()
        .map(|file| {
            let strain = Strain::read(data.join(file)).unwrap();
            let rate = strain.sample_rate_hz;
            let n = strain.values.len();
            let psd = Welch::official(rate).estimate(&[&strain.values], rate).unwrap();
            let filter = Filter::band_pass(4, band.0, band.1, rate).unwrap();
            let white = |values: &[f64]| {
                let whitened = whiten(values, rate, &psd, Method::Official).unwrap();
                let filtered = filter.zero_phase(&whitened.values).unwrap();
                filtered.iter().map(|&v| v as f32).collect::<Vec<f32>>()
            };
            let noise = Welch::matched_filter(rate).estimate(&[&strain.values], rate).unwrap();
            let series = matched_filter(&strain.values, &template.plus, &template.cross, rate, &noise).unwrap();
            let peak = series.peak().unwrap();
            let (sin, cos) = peak.phase.sin_cos();
            let shape: Vec<f64> = (0..n)
                .map(|i| {
                    let from = (i + n + n / 2 - peak.index) % n;
                    (template.plus[from] * cos - template.cross[from] * sin) / peak.effective_distance_mpc
                })
                .collect();
            DetectorPanel {
                name: strain.detector.clone(),
                sample_rate_hz: rate,
                gps_start: strain.gps_start,
                whitened: white(&strain.values),
                template: white(&shape),
                snr: series.snr.iter().map(|z| z.norm() as f32).collect(),
                peak_gps: strain.gps_start + peak.index as f64 / rate,
                peak_snr: peak.snr,
                effective_distance_mpc: peak.effective_distance_mpc,
            }
        })
        .collect();
    let network = panels.iter().map(|p| p.peak_snr.powi(2)).sum::<f64>().sqrt();
    SearchFigure {
        title: format!("{}: a binary black hole", template.event.clone().unwrap_or_default()),
        subtitle: format!(
            "network SNR {network:.2}, template of {} and {} solar masses",
            template.masses[0], template.masses[1]
        ),
        reference_gps: panels[0].peak_gps.floor() + 0.4,
        panels,
    }
}

#[test]
fn real_events_are_drawn() {
    let data = std::env::var_os("SPIKEWAVE_DATA")
        .map_or(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into(), PathBuf::from);
    let data = data.join("gw");
    if !data.is_dir() {
        eprintln!("no strain in {}: skipped; name a folder in SPIKEWAVE_DATA", data.display());
        return;
    }
    let folder = folder();
    for (name, h1, l1, template, band) in [
        (
            "GW150914",
            "H-H1_LOSC_4_V2-1126259446-32.hdf5",
            "L-L1_LOSC_4_V2-1126259446-32.hdf5",
            "GW150914_4_template.hdf5",
            (43.0, 300.0),
        ),
        (
            "GW170104",
            "H-H1_LOSC_4_V1-1167559920-32.hdf5",
            "L-L1_LOSC_4_V1-1167559920-32.hdf5",
            "GW170104_4_template.hdf5",
            (43.0, 800.0),
        ),
    ] {
        let figure = event(&data, h1, l1, template, band);
        let path = folder.0.join(format!("{name}.png"));
        let start = std::time::Instant::now();
        search(&figure, &path).unwrap();
        eprintln!("{name}: {:?}", start.elapsed());
        assert_eq!(load(&path).width(), 1600);
    }
}
