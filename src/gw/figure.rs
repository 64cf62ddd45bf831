//! What a search found, prepared for [`super::plot`]: whitened strain with the winning template laid over it.

use std::path::Path;

use num_complex::Complex64;
use realfft::RealFftPlanner;

use super::filter::Filter;
use super::plot::{self, DetectorPanel, SearchFigure};
use super::search::SearchResult;
use super::spectrum::{Psd, Welch};
use super::strain::Strain;
use super::whiten::{Method, whiten};
use crate::{Error, Result};

/// Where binary black holes are loud and the detectors quiet, in Hz.
const BAND_HZ: [f64; 2] = [35.0, 350.0];
const BAND_ORDER: usize = 4;

/// Draws the result of a search.
///
/// # Errors
/// `InvalidArgument` if the strain is not what was searched; `File` if the picture cannot be written.
pub fn search(strains: [&Strain; 2], result: &SearchResult, path: &Path) -> Result<()> {
    let mut panels = Vec::new();
    for (i, strain) in strains.into_iter().enumerate() {
        let (rate, found) = (strain.sample_rate_hz, &result.found[i]);
        let n = result.series.snr[i].len();
        let start = ((result.series.gps_start - strain.gps_start) * rate).round() as usize;
        let block = strain
            .values
            .get(start..start + n)
            .ok_or_else(|| Error::invalid("strain", "it does not hold the stretch that was searched"))?;
        let psd = Welch::official(rate).estimate(&[block], rate)?;
        let band = Filter::band_pass(BAND_ORDER, BAND_HZ[0], BAND_HZ[1].min(0.45 * rate), rate)?;
        let whitened = band.zero_phase(&whiten(block, rate, &psd, Method::Official)?.values)?;
        let at = (found.gps_time - result.series.gps_start) * rate;
        let signal = Complex64::from_polar(0.5 / found.effective_distance_mpc, found.phase);
        let template = laid_over(&result.series.template, n, rate, &psd, &band, signal, at.round())?;
        panels.push(DetectorPanel {
            name: result.names[i].clone(),
            sample_rate_hz: rate,
            gps_start: result.series.gps_start,
            whitened: whitened.into_iter().map(|v| v as f32).collect(),
            template,
            snr: result.series.snr[i].clone(),
            peak_gps: found.gps_time,
            peak_snr: found.snr,
            effective_distance_mpc: found.effective_distance_mpc,
        });
    }
    let t = &result.template;
    let figure = SearchFigure {
        title: format!(
            "Network signal-to-noise ratio {:.1} at GPS {:.3}",
            result.network_snr, result.found[0].gps_time
        ),
        subtitle: format!(
            "{:.1} + {:.1} solar masses ({}); {} {:.2} ms {} {}",
            t.masses[0],
            t.masses[1],
            t.model,
            result.names[1],
            result.delay_ms.abs(),
            if result.delay_ms < 0.0 { "before" } else { "after" },
            result.names[0]
        ),
        panels,
        // A round time makes round labels.
        reference_gps: (result.found[0].gps_time * 10.0).round() / 10.0,
    };
    plot::search(&figure, path)
}

/// The template as the whitened, band-passed data show it: at sample `at`, with the amplitude and phase of `signal`.
fn laid_over(
    template: &[Complex64],
    n: usize,
    rate: f64,
    psd: &Psd,
    band: &Filter,
    signal: Complex64,
    at: f64,
) -> Result<Vec<f32>> {
    let density = psd.resample(n, rate);
    let mut spectrum: Vec<Complex64> = template
        .iter()
        .zip(density)
        .enumerate()
        .map(|(k, (h, density))| {
            let f = k as f64 * rate / n as f64;
            let turn = Complex64::cis(-std::f64::consts::TAU * ((k as f64 * at) % n as f64) / n as f64);
            h * signal * turn * rate / (density * rate / 2.0).sqrt() * band.amplitude(f, rate).powi(2)
        })
        .collect();
    // The edge bins of a real series are real.
    if let [first, .., last] = spectrum.as_mut_slice() {
        first.im = 0.0;
        last.im = 0.0;
    }
    let inverse = RealFftPlanner::<f64>::new().plan_fft_inverse(n);
    let mut out = inverse.make_output_vec();
    inverse.process(&mut spectrum, &mut out).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(out.into_iter().map(|v| (v / n as f64) as f32).collect())
}
