//! Filters, spectra, whitening and the exact matched filter: against SciPy, against each other, and on real strain.

#[path = "common/data.rs"]
mod data;

use data::data;
use spikewave::Error;
use spikewave::gw::exact::{Peak, SnrSeries, matched_filter};
use spikewave::gw::filter::{Filter, STRAIN_SCALE_LOG2, condition};
use spikewave::gw::spectrum::{Average, Psd, Symmetry, Welch, Window};
use spikewave::gw::strain::{Mask, Segment, Strain, TemplateFile};
use spikewave::gw::whiten::{Method, whiten, whiten_segments};

const RATE: f64 = 4096.0;

/// One detector's file of one event, and the numbers that a search of it must give (the recipe of the GWOSC tutorial,
/// computed with SciPy in f64).
struct Golden {
    file: &'static str,
    event: usize,
    gps_time: f64,
    snr: f64,
    effective_distance_mpc: f64,
    range_mpc: f64,
    whitened_std: f64,
    band_std: f64,
    /// The ratio with the other event's template.
    other_snr: f64,
}

const TEMPLATES: [&str; 2] = ["GW150914_4_template.hdf5", "GW170104_4_template.hdf5"];
const BANDS_HZ: [(f64, f64); 2] = [(43.0, 300.0), (43.0, 800.0)];

const GOLDEN: [Golden; 4] = [
    Golden {
        file: "H-H1_LOSC_4_V2-1126259446-32.hdf5",
        event: 0,
        gps_time: 1126259462.4395,
        snr: 18.561,
        effective_distance_mpc: 814.4,
        range_mpc: 74.8,
        whitened_std: 1.018,
        band_std: 0.348,
        other_snr: 15.79,
    },
    Golden {
        file: "L-L1_LOSC_4_V2-1126259446-32.hdf5",
        event: 0,
        gps_time: 1126259462.4324,
        snr: 13.208,
        effective_distance_mpc: 999.7,
        range_mpc: 64.9,
        whitened_std: 1.009,
        band_std: 0.343,
        other_snr: 12.21,
    },
    Golden {
        file: "H-H1_LOSC_4_V1-1167559920-32.hdf5",
        event: 1,
        gps_time: 1167559936.6084,
        snr: 7.836,
        effective_distance_mpc: 1580.7,
        range_mpc: 73.5,
        whitened_std: 1.758,
        band_std: 0.639,
        other_snr: 6.63,
    },
    Golden {
        file: "L-L1_LOSC_4_V1-1167559920-32.hdf5",
        event: 1,
        gps_time: 1167559936.6113,
        snr: 9.548,
        effective_distance_mpc: 1674.2,
        range_mpc: 94.5,
        whitened_std: 1.008,
        band_std: 0.582,
        other_snr: 8.06,
    },
];

fn std(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not within {tolerance} of {expected}");
}

/// Normally distributed numbers of variance 1 (a linear congruential generator and Box and Muller's transform).
fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    (0..n).map(|_| (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()).collect()
}

/// The signal that the SciPy numbers below were computed from.
fn wave() -> Vec<f64> {
    (0..400).map(f64::from).map(|i| (0.05 * i).sin() + 0.3 * (1.3 * i).cos() + 0.002 * i + 1.0).collect()
}

#[test]
fn zero_phase_filters_equal_scipy() {
    // scipy.signal.sosfiltfilt(butter(…, output="sos", fs=4096), x)[[0, 1, 7, 100, 399]], SciPy 1.17.1.
    let cases = [
        (
            Filter::band_pass(4, 43.0, 300.0, RATE),
            [-0.0738353824911385, -0.14278586544387836, -0.264190026322559, -0.07901068021473029, 0.02531444858744472],
        ),
        (
            Filter::high_pass(8, 15.0, RATE),
            [0.07725837906628354, -0.09205934940364288, -0.1593364984503753, -0.9854677614158864, 0.09550930324325332],
        ),
        (
            Filter::high_pass(3, 100.0, RATE),
            [
                0.013946397038728936,
                -0.16728477732272218,
                -0.35134528590680597,
                -0.11136307281701371,
                -0.06301623371485965,
            ],
        ),
        (
            Filter::high_pass(1, 100.0, RATE),
            [-0.04362303920396232, -0.2077532161359331, -0.3645041410079557, -0.2008755353370246, 0.013033085039393481],
        ),
        (
            Filter::band_pass(3, 100.0, 500.0, RATE),
            [
                0.02315208343272873,
                -0.12241532474551672,
                -0.08638122850322222,
                -0.0010567441746139696,
                -0.004805307997477221,
            ],
        ),
        (
            Filter::band_pass(1, 1.0, 1900.0, RATE),
            [-0.5320520084929423, -0.7011821068888718, -0.7656514781286679, -1.8369190985649089, -0.07933307145766233],
        ),
    ];
    for (filter, expected) in cases {
        let filtered = filter.unwrap().zero_phase(&wave()).unwrap();
        for (i, expected) in [0, 1, 7, 100, 399].into_iter().zip(expected) {
            // The high-order, low-corner filter amplifies rounding by about 1e4.
            assert_close(filtered[i], expected, 1e-7);
        }
    }
}

#[test]
fn corners_and_ends_of_the_response() {
    let half_power = 0.5f64.sqrt();
    for order in 1..=12 {
        let high = Filter::high_pass(order, 15.0, RATE).unwrap();
        assert_close(high.amplitude(15.0, RATE), half_power, 1e-9);
        assert_close(high.amplitude(2048.0, RATE), 1.0, 1e-9);
        // Butterworth: |H|² = 1 / (1 + (corner/f)^2n) in the warped frequency.
        let warp = |f: f64| (std::f64::consts::PI * f / RATE).tan();
        let expected = (1.0 + (warp(15.0) / warp(10.0)).powi(2 * order as i32)).sqrt().recip();
        assert_close(high.amplitude(10.0, RATE), expected, 1e-6 * expected);
        let band = Filter::band_pass(order, 43.0, 300.0, RATE).unwrap();
        assert_close(band.amplitude(43.0, RATE), half_power, 1e-9);
        assert_close(band.amplitude(300.0, RATE), half_power, 1e-9);
    }
}

#[test]
fn filters_refuse_what_they_cannot_do() {
    assert!(Filter::high_pass(0, 15.0, RATE).is_err());
    assert!(Filter::high_pass(8, 2048.0, RATE).is_err());
    assert!(Filter::high_pass(8, f64::NAN, RATE).is_err());
    assert!(Filter::band_pass(4, 300.0, 43.0, RATE).is_err());
    let filter = Filter::high_pass(8, 15.0, RATE).unwrap();
    assert!(matches!(filter.zero_phase(&[1.0; 27]), Err(Error::InvalidArgument { .. })));
    assert!(filter.zero_phase(&[1.0; 28]).is_ok());
    let mut gap = vec![1.0; 100];
    gap[50] = f64::NAN;
    assert!(filter.zero_phase(&gap).unwrap_err().to_string().contains("sample 50"));
}

#[test]
fn windows_equal_numpy_and_scipy() {
    let tukey = Window::Tukey(0.5).samples(17, Symmetry::Symmetric);
    let rise = [0.0, 0.14644660940672627, 0.5, 0.8535533905932737, 1.0];
    for (i, expected) in rise.into_iter().enumerate() {
        assert_close(tukey[i], expected, 1e-15);
        assert_close(tukey[16 - i], expected, 1e-15);
    }
    assert!(tukey[4..13].iter().all(|&w| w == 1.0));
    for window in [Window::Hann, Window::Blackman, Window::Tukey(0.25), Window::Boxcar] {
        // A periodic window is the symmetric one of one sample more, without its last.
        let (long, periodic) = (window.samples(65, Symmetry::Symmetric), window.samples(64, Symmetry::Periodic));
        assert!(periodic.iter().zip(&long).all(|(a, b)| (a - b).abs() < 1e-15));
        assert!(long.iter().zip(long.iter().rev()).all(|(a, b)| (a - b).abs() < 1e-14));
        assert_close(long[32], 1.0, 1e-15);
    }
    assert_close(Window::Blackman.samples(65, Symmetry::Symmetric)[16], 0.34, 1e-15);
    assert_eq!(Window::Hann.samples(1, Symmetry::Symmetric), [1.0]);
}

#[test]
fn welch_equals_scipy() {
    // scipy.signal.welch(x, fs=4096, nperseg=64, …)[1][[0, 1, 13, 32]], SciPy 1.17.1.
    use {Average::*, Symmetry::*, Window::*};
    let welch =
        |window, symmetry, overlap, average, detrend| Welch { length: 64, overlap, window, symmetry, average, detrend };
    let cases = [
        (
            welch(Hann, Symmetric, 0, Mean, false),
            [0.0262619811162744, 0.015325391803062756, 0.0004289315286294621, 1.0243478899026426e-12],
        ),
        (
            welch(Blackman, Symmetric, 32, Mean, false),
            [0.02030225851112666, 0.016176358641019715, 0.0003786318414537098, 1.5783108569833698e-13],
        ),
        (
            welch(Hann, Periodic, 32, Median, false),
            [0.025938813475607555, 0.015623610899260643, 0.0005900180086769072, 5.950556324071464e-13],
        ),
        (
            welch(Hann, Periodic, 32, Median, true),
            [0.0005804447630814369, 0.001398861017899142, 0.000590018008676907, 5.950556324009095e-13],
        ),
        (
            welch(Blackman, Periodic, 16, Median, false),
            [0.022456904664280755, 0.017713476201410467, 0.0005055652744369367, 1.065888655147231e-13],
        ),
    ];
    for (welch, expected) in cases {
        let psd = welch.estimate(&[&wave()], RATE).unwrap();
        assert_eq!(psd.values.len(), 33);
        assert_eq!(psd.df_hz, 64.0);
        for (bin, expected) in [0, 1, 13, 32].into_iter().zip(expected) {
            assert_close(psd.values[bin], expected, 1e-8 * expected + 1e-19);
        }
    }
}

#[test]
fn white_noise_has_the_density_of_its_variance() {
    // One-sided: the variance lies over 0 to 2048 Hz.
    let noise = noise(1 << 17, 7);
    for average in [Average::Mean, Average::Median] {
        let welch = Welch { length: 512, overlap: 256, average, symmetry: Symmetry::Periodic, ..Welch::official(RATE) };
        let psd = welch.estimate(&[&noise], RATE).unwrap();
        let mean = psd.values[1..256].iter().sum::<f64>() / 255.0;
        assert_close(mean * 2048.0, std(&noise).powi(2), 0.01);
    }
}

#[test]
fn no_window_crosses_from_one_stretch_into_the_next() {
    let noise = noise(1000, 3);
    let welch = Welch { length: 128, overlap: 64, ..Welch::official(RATE) };
    let (a, b) = (&noise[..300], &noise[300..]);
    // 300 samples hold windows at 0, 64 and 128; 700 hold nine. Their mean, weighted by number, is the whole.
    let (one, two) = (welch.estimate(&[a], RATE).unwrap(), welch.estimate(&[b], RATE).unwrap());
    let both = welch.estimate(&[a, b], RATE).unwrap();
    for k in 0..both.values.len() {
        let expected = (3.0 * one.values[k] + 9.0 * two.values[k]) / 12.0;
        assert_close(both.values[k], expected, 1e-12 * expected);
    }
    let error = welch.estimate(&[&noise[..127], &noise[..100]], RATE).unwrap_err().to_string();
    assert!(error.contains("127") && error.contains("128"), "{error}");
    let mut gap = noise.clone();
    gap[200] = f64::NAN;
    assert!(welch.estimate(&[&gap], RATE).unwrap_err().to_string().contains("sample 200"));
}

#[test]
fn densities_are_interpolated_between_bins_and_held_beyond() {
    let psd = Psd { df_hz: 2.0, values: vec![1.0, 4.0, 16.0] };
    assert_eq!([0.0, 1.0, 2.0, 3.0, 4.0, 100.0, -1.0].map(|f| psd.at(f)), [1.0, 2.5, 4.0, 10.0, 16.0, 16.0, 2.5]);
    assert_eq!(psd.asd(2.0), 2.0);
    assert_eq!(psd.resample(8, 8.0), [1.0, 2.5, 4.0, 10.0, 16.0]);
}

#[test]
fn ranges_of_the_real_files() {
    for golden in &GOLDEN {
        let Some(path) = data(golden.file) else { return };
        let strain = Strain::read(path).unwrap();
        let psd = Welch::official(RATE).estimate(&[&strain.values], RATE).unwrap();
        assert_close(psd.range_mpc(1.4, 1.4).unwrap(), golden.range_mpc, 0.2);
        assert_close(psd.horizon_mpc(1.4, 1.4).unwrap(), golden.range_mpc * 2.2648, 0.5);
    }
    let flat = Psd { df_hz: 0.25, values: vec![1e-46; 8193] };
    assert!(flat.range_mpc(-1.0, 1.4).is_err());
    assert!(flat.range_mpc(200.0, 200.0).unwrap_err().to_string().contains("20 Hz"));
    let zero = Psd { values: vec![0.0; 8193], ..flat };
    assert!(matches!(zero.range_mpc(1.4, 1.4), Err(Error::InvalidArgument { .. })));
}

#[test]
fn the_official_whitening_of_the_real_files() {
    for golden in &GOLDEN {
        let Some(path) = data(golden.file) else { return };
        let strain = Strain::read(path).unwrap();
        let psd = Welch::official(RATE).estimate(&[&strain.values], RATE).unwrap();
        let whitened = whiten(&strain.values, RATE, &psd, Method::Official).unwrap();
        assert_eq!((whitened.start, whitened.values.len()), (0, strain.values.len()));
        let inner = 4 * 4096..28 * 4096;
        // The table rounds to three places.
        assert_close(std(&whitened.values[inner.clone()]), golden.whitened_std, 0.002);
        let (low, high) = BANDS_HZ[golden.event];
        let band = Filter::band_pass(4, low, high, RATE).unwrap().zero_phase(&whitened.values).unwrap();
        assert_close(std(&band[inner]), golden.band_std, 0.002);
    }
}

#[test]
fn finite_responses_whiten_real_strain() {
    let Some(path) = data(GOLDEN[1].file) else { return };
    let strain = Strain::read(path).unwrap();
    let welch = Welch { average: Average::Median, ..Welch::matched_filter(RATE) };
    let psd = welch.estimate(&[&strain.values], RATE).unwrap();
    let band = Filter::band_pass(4, 43.0, 300.0, RATE).unwrap();
    let reference = band.zero_phase(&whiten(&strain.values, RATE, &psd, Method::Official).unwrap().values).unwrap();
    // The shorter the response, the more is left of the lines: 1.16, 1.01, 1.06 and 1.00 were measured.
    for (method, start, std_bound) in [
        (Method::Truncated { duration_s: 2.0, high_pass_hz: 20.0 }, 4096, 1.2),
        (Method::Truncated { duration_s: 4.0, high_pass_hz: 20.0 }, 8192, 1.03),
        (Method::Causal { duration_s: 1.0, high_pass_hz: 20.0 }, 4095, 1.08),
        (Method::Causal { duration_s: 4.0, high_pass_hz: 20.0 }, 16383, 1.02),
    ] {
        let piece = &strain.values[4 * 4096..28 * 4096];
        let whitened = whiten(piece, RATE, &psd, method).unwrap();
        assert_eq!(whitened.start, start);
        assert!(whitened.values.iter().all(|v| v.is_finite()));
        assert!((0.97..std_bound).contains(&std(&whitened.values)), "{method:?}: {}", std(&whitened.values));
        // Half-second windows, 20 to 1800 Hz: the density of noise of variance 1 is 1/2048, but for lines and scatter.
        let welch = Welch { average: Average::Median, overlap: 1024, length: 2048, ..Welch::official(RATE) };
        let psd = welch.estimate(&[&whitened.values], RATE).unwrap();
        let mut uneven: Vec<f64> = psd.values[10..=900].iter().map(|v| (v * 2048.0 - 1.0).abs()).collect();
        uneven.sort_by(f64::total_cmp);
        let (middle, tenth) = (uneven[445], uneven[801]);
        assert!(middle < 0.15 && tenth < 0.4, "{method:?}: {middle} {tenth}");
        let filtered = band.zero_phase(&whitened.values).unwrap();
        assert_close(std(&filtered), std(&reference[4 * 4096..28 * 4096]), 0.02);
    }
    // The symmetric response keeps phases: in band it is the official result.
    let method = Method::Truncated { duration_s: 4.0, high_pass_hz: 20.0 };
    let whitened = whiten(&strain.values, RATE, &psd, method).unwrap();
    assert_eq!(whitened.start + whitened.values.len(), strain.values.len() - 8192);
    let filtered = band.zero_phase(&whitened.values).unwrap();
    let inner = 4 * 4096..28 * 4096;
    let difference: Vec<f64> = inner.map(|i| filtered[i - whitened.start] - reference[i]).collect();
    assert!(std(&difference) < 0.03, "{}", std(&difference));
}

#[test]
fn causal_whitening_does_not_see_the_future() {
    let psd = Psd { df_hz: 4.0, values: (0..=512).map(|k| 1e-46 * (1.0 + 1e4 / (1.0 + k as f64).powi(2))).collect() };
    let method = Method::Causal { duration_s: 0.25, high_pass_hz: 15.0 };
    let past: Vec<f64> = noise(12_000, 5).iter().map(|v| v * 1e-22).collect();
    let one = whiten(&past, RATE, &psd, method).unwrap();
    for t in [1024, 5000, 11_999] {
        let mut other = past.clone();
        other[t..].iter_mut().enumerate().for_each(|(i, v)| *v = -1e-15 * i as f64 - 3e-16);
        let two = whiten(&other, RATE, &psd, method).unwrap();
        assert_eq!(one.start, two.start);
        let before = t - one.start;
        assert_eq!(one.values[..before], two.values[..before], "output before {t} changed");
        assert_ne!(one.values[before], two.values[before], "output at {t} did not change");
    }
    // Nor does it matter where the stretch begins.
    let later = whiten(&past[700..], RATE, &psd, method).unwrap();
    assert_eq!(one.values[700..], later.values);
    // The amplitude is that of the density: white noise shaped by it comes out with variance near 1.
    let flat = Psd { df_hz: 4.0, values: vec![2.0 / RATE; 513] };
    let white = whiten(&noise(20_000, 9), RATE, &flat, Method::Causal { duration_s: 0.25, high_pass_hz: 0.0 }).unwrap();
    assert_close(std(&white.values), 1.0, 0.02);
}

#[test]
fn a_truncated_response_sees_half_its_length_and_no_farther() {
    let psd = Psd { df_hz: 4.0, values: (0..=512).map(|k| 1e-46 * (1.0 + 1e4 / (1.0 + k as f64).powi(2))).collect() };
    let method = Method::Truncated { duration_s: 0.25, high_pass_hz: 20.0 };
    let values: Vec<f64> = noise(8192, 5).iter().map(|v| v * 1e-22).collect();
    let mut other = values.clone();
    other[4096] += 1e-18;
    let (one, two) = (whiten(&values, RATE, &psd, method).unwrap(), whiten(&other, RATE, &psd, method).unwrap());
    assert_eq!((one.start, one.values.len()), (512, 8192 - 1024));
    let changed = |i: usize| (one.values[i - 512] - two.values[i - 512]).abs();
    let largest = (512..8192 - 512).map(changed).fold(0.0, f64::max);
    for i in 512usize..8192 - 512 {
        if i.abs_diff(4096) > 512 {
            assert!(changed(i) < 1e-12 * largest, "sample {i} saw a change at 4096");
        }
    }
    assert!(changed(4096) > 0.1 * largest);
}

#[test]
fn whitening_skips_gaps_and_gives_no_nan() {
    let mut values: Vec<f64> = noise(40_960, 11).iter().map(|v| v * 1e-22).collect();
    values[12_000..16_000].fill(f64::NAN);
    values[16_100] = f64::INFINITY;
    let mut words = vec![1; 10];
    words[8] = 0;
    let quality = Mask { names: vec!["DATA".into()], descriptions: vec![String::new()], words, seconds_per_word: 1.0 };
    let strain =
        Strain { detector: "H1".into(), gps_start: 0.0, sample_rate_hz: RATE, values, quality, injections: None };
    let segments = strain.segments(None).unwrap();
    let bounds = |s: &[Segment]| s.iter().map(|s| (s.start, s.end)).collect::<Vec<_>>();
    assert_eq!(bounds(&segments), [(0, 12_000), (16_000, 16_100), (16_101, 32_768), (36_864, 40_960)]);
    let stretches: Vec<&[f64]> = segments.iter().map(|s| s.of(&strain.values)).collect();
    let psd = Welch { length: 4096, ..Welch::official(RATE) }.estimate(&stretches, RATE).unwrap();
    for method in [
        Method::Official,
        Method::Truncated { duration_s: 0.5, high_pass_hz: 20.0 },
        Method::Causal { duration_s: 0.5, high_pass_hz: 20.0 },
    ] {
        let whitened = whiten_segments(&strain, &segments, &psd, method).unwrap();
        assert_eq!(whitened.len(), if method == Method::Official { 4 } else { 3 });
        for part in &whitened {
            assert!(part.values.iter().all(|v| v.is_finite()));
            assert!(segments.iter().any(|s| s.start <= part.start && part.start + part.values.len() <= s.end));
        }
        // A segment gives what it gives alone.
        let alone = whiten(&strain.values[16_101..32_768], RATE, &psd, method).unwrap();
        assert!(whitened.iter().any(|part| part.start == 16_101 + alone.start && part.values == alone.values));
    }
    assert!(whiten(&strain.values, RATE, &psd, Method::Official).unwrap_err().to_string().contains("sample 12000"));
    let none = Method::Truncated { duration_s: 8.0, high_pass_hz: 20.0 };
    assert!(whiten_segments(&strain, &segments, &psd, none).unwrap_err().to_string().contains("16667"));
    let zero = Psd { df_hz: 1.0, values: vec![0.0; 2049] };
    assert!(matches!(whiten(&[1.0; 4096], RATE, &zero, Method::Official), Err(Error::InvalidArgument { .. })));
}

#[test]
fn conditioned_strain_fits_f32() {
    for golden in &GOLDEN {
        let Some(path) = data(golden.file) else { return };
        let strain = Strain::read(path).unwrap();
        let conditioned = condition(&strain.values, RATE).unwrap();
        assert!(conditioned.iter().all(|v| (*v as f32).is_normal()));
        let psd = Welch::official(RATE).estimate(&[&conditioned], RATE).unwrap();
        // In band, the density is that of the strain, scaled, and far from where f32 loses digits.
        let raw = Welch::official(RATE).estimate(&[&strain.values], RATE).unwrap();
        let scale = 2f64.powi(2 * STRAIN_SCALE_LOG2);
        for k in 30 * 4..1800 * 4 {
            let density = psd.values[k];
            assert!((1e-8..1e8).contains(&density), "{density} at bin {k}");
            assert_close(density / (scale * raw.values[k]), 1.0, 0.02);
        }
        assert!(psd.values.iter().all(|&v| (v as f32).is_normal()));
    }
}

fn search(golden: &Golden, template: usize) -> Option<(SnrSeries, Peak, Strain)> {
    let strain = Strain::read(data(golden.file)?).unwrap();
    let template = TemplateFile::read(data(TEMPLATES[template])?).unwrap();
    let psd = Welch::matched_filter(RATE).estimate(&[&strain.values], RATE).unwrap();
    let series = matched_filter(&strain.values, &template.plus, &template.cross, RATE, &psd).unwrap();
    let peak = series.peak().unwrap();
    Some((series, peak, strain))
}

#[test]
fn matched_filter_finds_both_events() {
    let mut peaks = Vec::new();
    for golden in &GOLDEN {
        let Some((series, peak, strain)) = search(golden, golden.event) else { return };
        let gps_time = strain.gps_start + peak.index as f64 / RATE;
        assert_close(peak.snr, golden.snr, 0.001);
        // The table rounds to a tenth of a millisecond.
        assert_close(gps_time, golden.gps_time, 1.0 / RATE);
        assert_close(peak.effective_distance_mpc, golden.effective_distance_mpc, 0.1);
        // Nothing else in the file is nearly as loud.
        let half_second = 2048;
        let before = series.peak_within(0..peak.index - half_second).unwrap().snr;
        let after = series.peak_within(peak.index + half_second..usize::MAX).unwrap().snr;
        assert!((4.0..4.95).contains(&before.max(after)), "{before} {after}");
        peaks.push((peak.snr, gps_time));
    }
    let delay_ms = |h1: usize| (peaks[h1 + 1].1 - peaks[h1].1) * 1e3;
    assert_close(delay_ms(0), -7.08, 0.01);
    assert_close(delay_ms(2), 2.93, 0.01);
    let network = |h1: usize| peaks[h1].0.hypot(peaks[h1 + 1].0);
    assert_close(network(0), 22.78, 0.005);
    assert_close(network(2), 12.35, 0.005);
}

#[test]
fn each_event_prefers_its_own_template() {
    for golden in &GOLDEN {
        let Some((_, peak, _)) = search(golden, 1 - golden.event) else { return };
        assert_close(peak.snr, golden.other_snr, 0.006);
        assert!(peak.snr < golden.snr);
    }
}

#[test]
fn matched_filter_of_a_known_signal() {
    // White noise of density 2/fs · σ², no noise in the data: the ratio is that of the template itself.
    let n = 8192;
    let chirp = |i: usize, phase: f64| {
        let t = (i as f64 - n as f64 / 2.0) / RATE;
        (-t * t * 200.0).exp() * (2.0 * std::f64::consts::PI * (150.0 * t + 200.0 * t * t) + phase).cos()
    };
    let plus: Vec<f64> = (0..n).map(|i| chirp(i, 0.0)).collect();
    let cross: Vec<f64> = (0..n).map(|i| chirp(i, -std::f64::consts::FRAC_PI_2)).collect();
    let psd = Psd { df_hz: 1.0, values: vec![2.0 / RATE; 2049] };
    let shift = 700;
    let mut data = vec![0.0; n];
    (0..n - shift).for_each(|i| data[i + shift] = 0.01 * plus[i]);
    let series = matched_filter(&data, &plus, &cross, RATE, &psd).unwrap();
    let peak = series.peak().unwrap();
    assert_eq!(peak.index, n / 2 + shift);
    let energy: f64 = plus.iter().map(|v| v * v).sum::<f64>();
    assert_close(series.sigma, energy.sqrt(), 1e-3 * energy.sqrt());
    assert_close(peak.effective_distance_mpc, 100.0, 0.1);
    assert_close(peak.phase, 0.0, 1e-2);
    assert!(matched_filter(&data, &plus[1..], &cross, RATE, &psd).is_err());
    assert!(matched_filter(&data, &vec![0.0; n], &vec![0.0; n], RATE, &psd).is_err());
    data[5] = f64::NAN;
    assert!(matched_filter(&data, &plus, &cross, RATE, &psd).unwrap_err().to_string().contains("sample 5"));
}
