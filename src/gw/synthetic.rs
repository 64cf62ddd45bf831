//! Simulated strain: Gaussian noise of the Advanced LIGO design with a binary in it.
//!
//! Everything follows from a [`Simulation`], its seed included, so that a simulated file can be made again.

use num_complex::Complex64;
use realfft::RealFftPlanner;
use serde::Serialize;

use super::strain::{Mask, Strain};
use super::waveform::{Binary, Chirp, SPEED_OF_LIGHT};
use crate::random::Random;
use crate::{Error, Result};

/// Below this frequency in hertz the fit of the design no longer holds, and a seismic wall begins.
const WALL: f64 = 10.0;
/// Below this frequency in hertz the wall is a plateau.
const PLATEAU: f64 = 5.0;
/// Frequency in hertz from which an injected binary is simulated.
const INJECTION_F_MIN: f64 = 12.0;

/// One-sided power spectral density, per hertz, of the Advanced LIGO design (zero detuning of the signal recycling
/// mirror, high laser power) at `f` in hertz.
///
/// The fit is that of P. Ajith, Phys. Rev. D 84, 084037 (2011), arXiv:1107.1267; its range for a pair of 1.4 solar
/// masses is 197 Mpc. The fit ends at 10 Hz; below, the seismic wall is drawn as `f⁻¹²` down to 5 Hz and a plateau.
pub fn design_psd(f: f64) -> f64 {
    let x = f.max(WALL) / 245.4;
    let fit = 0.0152 * x.powi(-4) + 0.2935 * x.powf(2.25) + 2.7951 * x.powf(1.5) - 6.5080 * x.powf(0.75) + 17.7622;
    1e-48 * fit * (WALL / f.clamp(PLATEAU, WALL)).powi(12)
}

/// The files of the pair that comes with the crate.
const BUNDLED: [(&str, &[u8]); 2] = [
    (
        "H-H1_SIMULATED_4_V1-1400000000-32.hdf5",
        include_bytes!("../../assets/gw/H-H1_SIMULATED_4_V1-1400000000-32.hdf5"),
    ),
    (
        "L-L1_SIMULATED_4_V1-1400000000-32.hdf5",
        include_bytes!("../../assets/gw/L-L1_SIMULATED_4_V1-1400000000-32.hdf5"),
    ),
];

/// The simulated observation that comes with the crate, Hanford and Livingston, which [`Simulation::bundled`]
/// describes. It is part of the program and needs no file.
///
/// # Errors
/// None, unless the program itself is damaged.
pub fn bundled() -> Result<[Strain; 2]> {
    let [h1, l1] = BUNDLED.map(|(name, bytes)| Strain::from_bytes(name, bytes.to_vec()));
    Ok([h1?, l1?])
}

/// Bits of the quality mask, as in the open data.
const QUALITY: [(&str, &str); 7] = [
    ("DATA", "data present"),
    ("CBC_CAT1", "passes cbc CAT1 test"),
    ("CBC_CAT2", "passes cbc CAT2 test"),
    ("CBC_CAT3", "passes cbc CAT3 test"),
    ("BURST_CAT1", "passes burst CAT1 test"),
    ("BURST_CAT2", "passes burst CAT2 test"),
    ("BURST_CAT3", "passes burst CAT3 test"),
];

/// Bits of the injection mask.
const INJECTIONS: [(&str, &str); 5] = [
    ("NO_CBC_HW_INJ", "no cbc injections"),
    ("NO_BURST_HW_INJ", "no burst injections"),
    ("NO_DETCHAR_HW_INJ", "no detchar injections"),
    ("NO_CW_HW_INJ", "no continuous wave injections"),
    ("NO_STOCH_HW_INJ", "no stoch injections"),
];

type Vector = [f64; 3];

fn dot(a: Vector, b: Vector) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Position and arms of an interferometer in Earth-fixed coordinates (x to longitude 0, z to the north pole).
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// Short name, as in a strain file.
    pub detector: &'static str,
    /// Vertex in metres from the centre of the Earth.
    pub vertex: Vector,
    /// Unit vectors along the arms.
    pub arms: [Vector; 2],
}

/// LIGO Hanford; this and the next from W. Althouse et al., LIGO-T980044.
pub const HANFORD: Site = Site {
    detector: "H1",
    vertex: [-2_161_414.926_36, -3_834_695.178_89, 4_600_350.226_64],
    arms: [[-0.22389266154, 0.79983062746, 0.55690487831], [-0.91397818574, 0.02609403989, -0.40492342125]],
};

/// LIGO Livingston.
pub const LIVINGSTON: Site = Site {
    detector: "L1",
    vertex: [-74_276.044_723_8, -5_496_283.719_71, 3_224_257.017_44],
    arms: [[-0.95457412153, -0.14158077340, -0.26218911324], [0.29774156894, -0.48791033647, -0.82054461286]],
};

impl Site {
    /// Time in seconds by which a signal from `direction` (unit vector towards the source) reaches the detector after
    /// the centre of the Earth.
    pub fn delay(&self, direction: Vector) -> f64 {
        -dot(self.vertex, direction) / SPEED_OF_LIGHT
    }

    /// Response `(F₊, F×)` to the polarisations, with the wave frame's axes `x` and `y`.
    fn response(&self, x: Vector, y: Vector) -> (f64, f64) {
        let arm = |u: Vector| (dot(u, x).powi(2) - dot(u, y).powi(2), 2.0 * dot(u, x) * dot(u, y));
        let (plus, cross) = (arm(self.arms[0]), arm(self.arms[1]));
        ((plus.0 - cross.0) / 2.0, (plus.1 - cross.1) / 2.0)
    }
}

/// A binary somewhere in the sky. Angles are in radians.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Injection {
    /// Detector-frame masses and spins.
    pub binary: Binary,
    /// Luminosity distance in Mpc.
    pub distance_mpc: f64,
    /// Latitude and longitude of the point on Earth that has the source overhead: the declination, and the right
    /// ascension less the sidereal time of Greenwich.
    pub latitude: f64,
    /// See `latitude`.
    pub longitude: f64,
    /// Polarisation angle: from west, by north, to the wave frame's x axis.
    pub polarization: f64,
    /// Between line of sight and orbital angular momentum.
    pub inclination: f64,
    /// Phase of the signal at its peak frequency.
    pub phase: f64,
    /// GPS time in seconds at which the merger passes the centre of the Earth.
    pub gps_time: f64,
}

impl Injection {
    fn direction(&self) -> Vector {
        let (sin, cos) = self.latitude.sin_cos();
        [cos * self.longitude.cos(), cos * self.longitude.sin(), sin]
    }

    /// GPS time in seconds of the merger at a detector.
    pub fn gps_time_at(&self, site: &Site) -> f64 {
        self.gps_time + site.delay(self.direction())
    }

    /// The factor on the face-on spectrum at 1 Mpc that gives the spectrum in the detector's strain, merger at `t = 0`.
    pub fn response(&self, site: &Site) -> Complex64 {
        let (sin_lat, cos_lat) = self.latitude.sin_cos();
        let (sin_lon, cos_lon) = self.longitude.sin_cos();
        let north = [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat];
        let west = [sin_lon, -cos_lon, 0.0];
        let (sin, cos) = self.polarization.sin_cos();
        let axis = |a: f64, b: f64| [0, 1, 2].map(|i| a * west[i] + b * north[i]);
        let (plus, cross) = site.response(axis(cos, sin), axis(-sin, cos));
        let tilt = self.inclination.cos();
        Complex64::new(plus * (1.0 + tilt * tilt) / 2.0, -cross * tilt) * Complex64::cis(self.phase) / self.distance_mpc
    }
}

/// What there is to know about a simulated observation.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Simulation {
    /// Seed of the noise; each detector draws from a stream of its own.
    pub seed: u64,
    /// GPS time of the first sample, in whole seconds.
    pub gps_start: u64,
    /// Length in whole seconds.
    pub duration_s: u64,
    /// Samples per second.
    pub sample_rate_hz: u32,
    /// The binary, if there is one.
    pub injection: Option<Injection>,
}

impl Simulation {
    /// The pair that comes with the crate: 32 s at 4096 Hz with a binary black hole like that of GW150914.
    pub fn bundled() -> Self {
        Self {
            seed: 20_150_914,
            gps_start: 1_400_000_000,
            duration_s: 32,
            sample_rate_hz: 4096,
            injection: Some(Injection {
                binary: Binary { mass1: 36.0, mass2: 29.0, spin1: 0.0, spin2: 0.0 },
                distance_mpc: 1450.0,
                latitude: (-57f64).to_radians(),
                longitude: 14f64.to_radians(),
                polarization: 127f64.to_radians(),
                inclination: 150f64.to_radians(),
                phase: 1.0,
                gps_time: 1_400_000_016.4,
            }),
        }
    }

    /// The strain samples of one detector: noise plus signal, each rounded to the nearest f32 (which makes a file of
    /// them half as large, and is far below the noise).
    ///
    /// # Errors
    /// When duration or rate is zero, or the binary is outside of the waveform model.
    pub fn samples(&self, site: &Site) -> Result<Vec<f64>> {
        let n = (self.duration_s * u64::from(self.sample_rate_hz)) as usize;
        if n == 0 {
            return Err(Error::invalid("simulation", "duration and sample rate must be positive"));
        }
        // The transform is periodic: twice the length is made and the middle kept, so that the ends do not meet.
        let rate = f64::from(self.sample_rate_hz);
        let mut spectrum = self.noise_spectrum(site, 2 * n);
        if let Some(injection) = &self.injection {
            let Binary { mass1, mass2, spin1, spin2 } = injection.binary;
            let signal = Chirp::new(mass1, mass2, spin1, spin2)?.spectrum(2 * n, rate, INJECTION_F_MIN)?;
            let response = injection.response(site) * rate;
            let time = injection.gps_time_at(site) - self.gps_start as f64 + n as f64 / 2.0 / rate;
            for (k, (sum, h)) in spectrum.iter_mut().zip(signal).enumerate() {
                let f = k as f64 * rate / (2 * n) as f64;
                *sum += response * h * Complex64::cis(-2.0 * std::f64::consts::PI * (f * time).fract());
            }
        }
        // The transform of a real series is real at both ends.
        spectrum[0].im = 0.0;
        spectrum[n].im = 0.0;
        let mut strain = vec![0.0; 2 * n];
        RealFftPlanner::new()
            .plan_fft_inverse(2 * n)
            .process(&mut spectrum, &mut strain)
            .map_err(|e| Error::Internal(e.to_string()))?;
        Ok(strain[n / 2..n / 2 + n].iter().map(|x| f64::from((x / (2 * n) as f64) as f32)).collect())
    }

    /// The observation of one detector, with masks like those of the open data: all data pass, and the seconds that the
    /// binary is simulated in are marked as an injection.
    ///
    /// # Errors
    /// As [`Simulation::samples`].
    pub fn strain(&self, site: &Site) -> Result<Strain> {
        let values = self.samples(site)?;
        let mask = |names: &[(&str, &str)], words: Vec<u32>| Mask {
            names: names.iter().map(|n| n.0.to_string()).collect(),
            descriptions: names.iter().map(|n| n.1.to_string()).collect(),
            words,
            seconds_per_word: 1.0,
        };
        let all = |names: &[(&str, &str)]| vec![(1 << names.len()) - 1; self.duration_s as usize];
        let mut injections = all(&INJECTIONS);
        if let Some(injection) = &self.injection {
            let Binary { mass1, mass2, spin1, spin2 } = injection.binary;
            let merger = injection.gps_time_at(site) - self.gps_start as f64;
            let begin = merger + Chirp::new(mass1, mass2, spin1, spin2)?.time_at(INJECTION_F_MIN);
            for (second, word) in injections.iter_mut().enumerate() {
                if second as f64 + 1.0 > begin && second as f64 <= merger {
                    *word &= !1;
                }
            }
        }
        Ok(Strain {
            detector: site.detector.to_string(),
            gps_start: self.gps_start as f64,
            sample_rate_hz: f64::from(self.sample_rate_hz),
            values,
            quality: mask(&QUALITY, all(&QUALITY)),
            injections: Some(mask(&INJECTIONS, injections)),
        })
    }

    /// Name of a file of this observation, in the style of the open data.
    pub fn file_name(&self, site: &Site) -> String {
        let observatory = site.detector.get(..1).unwrap_or(site.detector);
        let rate = self.sample_rate_hz / 1024;
        format!("{observatory}-{}_SIMULATED_{rate}_V1-{}-{}.hdf5", site.detector, self.gps_start, self.duration_s)
    }

    /// Transform of `n` samples of Gaussian noise with the design's power spectral density.
    fn noise_spectrum(&self, site: &Site, n: usize) -> Vec<Complex64> {
        let stream = site.detector.bytes().fold(0, |sum, byte| sum << 8 | u64::from(byte));
        let mut random = Random::new(self.seed, stream);
        let rate = f64::from(self.sample_rate_hz);
        let mut spectrum = vec![Complex64::ZERO; n / 2 + 1];
        for (k, value) in spectrum.iter_mut().enumerate().skip(1) {
            // Each part of an unnormalised transform has the variance S rate n / 4.
            let deviation = (design_psd(k as f64 * rate / n as f64) * rate * n as f64 / 4.0).sqrt();
            *value = Complex64::new(random.normal(), random.normal()) * deviation;
        }
        spectrum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short() -> Simulation {
        Simulation { duration_s: 64, sample_rate_hz: 2048, injection: None, ..Simulation::bundled() }
    }

    #[test]
    fn arms_are_perpendicular_unit_vectors_and_the_sites_ten_milliseconds_apart() {
        for site in [HANFORD, LIVINGSTON] {
            let [x, y] = site.arms;
            assert!((dot(x, x) - 1.0).abs() < 1e-9 && (dot(y, y) - 1.0).abs() < 1e-9 && dot(x, y).abs() < 1e-6);
            // The response is largest from above the arms: F₊ = 1 with x along the first arm.
            assert!((site.response(x, y).0 - 1.0).abs() < 1e-9 && site.response(x, y).1.abs() < 1e-6);
        }
        let baseline = [0, 1, 2].map(|i| HANFORD.vertex[i] - LIVINGSTON.vertex[i]);
        assert!((dot(baseline, baseline).sqrt() / SPEED_OF_LIGHT - 0.010013).abs() < 1e-6);
    }

    #[test]
    fn bundled_files_have_the_names_of_the_simulation() {
        for (site, (name, _)) in [HANFORD, LIVINGSTON].iter().zip(BUNDLED) {
            assert_eq!(Simulation::bundled().file_name(site), name);
        }
    }

    #[test]
    fn the_design_sees_two_neutron_stars_to_197_mpc() {
        // Sky-averaged range at SNR 8, from the leading-order amplitude up to the innermost stable orbit.
        let mc = 1.4 * 2f64.powf(-0.2) * super::super::waveform::SOLAR_MASS_SECONDS;
        let step = 0.25;
        let integral: f64 = (40..6284).map(|k| f64::from(k) * step).map(|f| f.powf(-7.0 / 3.0) / design_psd(f)).sum();
        let amplitude =
            (5f64 / 24.0).sqrt() * std::f64::consts::PI.powf(-2.0 / 3.0) * mc.powf(5.0 / 6.0) * SPEED_OF_LIGHT
                / super::super::waveform::MEGAPARSEC;
        let range = amplitude * (4.0 * integral * step).sqrt() / 8.0 / 2.2648;
        assert!((range - 197.0).abs() < 1.0, "{range} Mpc");
    }

    #[test]
    fn the_noise_has_the_design_s_spectrum() {
        let simulation = short();
        let strain = simulation.samples(&HANFORD).unwrap();
        // Mean ratio to the design in bands of the periodogram of 2 s segments under a Hann window.
        let n = 4096;
        let window: Vec<f64> =
            (0..n).map(|i| 0.5 - 0.5 * (2.0 * std::f64::consts::PI * i as f64 / n as f64).cos()).collect();
        let power: f64 = window.iter().map(|w| w * w).sum();
        let plan = RealFftPlanner::new().plan_fft_forward(n);
        let mut ratio = vec![0.0; n / 2 + 1];
        let segments = strain.len() / n;
        for segment in strain.chunks_exact(n) {
            let mut x: Vec<f64> = segment.iter().zip(&window).map(|(x, w)| x * w).collect();
            let mut spectrum = plan.make_output_vec();
            plan.process(&mut x, &mut spectrum).unwrap();
            for (k, (ratio, value)) in ratio.iter_mut().zip(spectrum).enumerate() {
                *ratio += 2.0 * value.norm_sqr() / (power * 2048.0 * segments as f64) / design_psd(k as f64 / 2.0);
            }
        }
        for band in [40..80, 80..200, 200..600, 600..2000] {
            let count = band.len() as f64;
            let mean = ratio[band.clone()].iter().sum::<f64>() / count;
            // Each bin of each segment is exponential; Hann correlates neighbours (factor 1.5 on the variance).
            let error = (1.5 / (count * segments as f64)).sqrt();
            assert!((mean - 1.0).abs() < 5.0 * error, "{band:?}: {mean} beside 1 +- {error}");
        }
    }

    #[test]
    fn detectors_differ_seeds_differ_and_the_same_repeats() {
        let simulation = short();
        let [h1, l1] = [HANFORD, LIVINGSTON].map(|site| simulation.samples(&site).unwrap());
        assert_eq!(h1, simulation.samples(&HANFORD).unwrap());
        let other = Simulation { seed: 1, ..simulation }.samples(&HANFORD).unwrap();
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        // The coldest degrees of freedom dominate a raw correlation; white differences suffice to see copies.
        let rough = |x: &[f64]| x.windows(3).map(|x| x[0] - 2.0 * x[1] + x[2]).collect::<Vec<_>>();
        let (h1, l1, other) = (rough(&h1), rough(&l1), rough(&other));
        for b in [&l1, &other] {
            let correlation = product(&h1, b) / (product(&h1, &h1) * product(b, b)).sqrt();
            assert!(correlation.abs() < 0.05, "{correlation}");
        }
        assert!(Simulation { duration_s: 0, ..simulation }.samples(&HANFORD).is_err());
    }
}
