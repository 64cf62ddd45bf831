//! Pictures from synthetic and from broken data.

use spikewave::gw::plot::{DetectFigure, DetectorPanel, SearchFigure, Spike, TriggerMark, detect, search};
use std::path::{Path, PathBuf};

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

/// Width and height that a PNG file states, after a look at its signature and its end.
fn size(path: &Path) -> (u32, u32) {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(&bytes[bytes.len() - 8..bytes.len() - 4], b"IEND");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn both_pictures_are_drawn() {
    let folder = folder();
    let path = folder.0.join("search.png");
    search(&search_figure(), &path).unwrap();
    assert_eq!(size(&path), (1600, 1080));
    let path = folder.0.join("detect.png");
    detect(&detect_figure(), &path).unwrap();
    assert_eq!(size(&path), (1600, 1080));
}
