//! A bank of chirps that covers the binary black holes of 5 to 80 solar masses.
//!
//! Templates are placed by farthest-point sampling (T. Gonzalez, Theor. Comput. Sci. 38, 293 (1985)): from a grid of
//! candidates, the one that loses most signal-to-noise ratio with the templates so far, at a given distance, comes next.
//! So heavy binaries, which are heard farther, are covered first, although light ones differ more from each other.
//! The result is deterministic, and nested: any first part of a bank is itself a bank.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use super::synthetic::design_psd;
use super::waveform::Chirp;
use crate::{Error, Result};

/// Component masses of a bank, in solar masses.
pub const MASSES: std::ops::RangeInclusive<f64> = 5.0..=80.0;
/// The largest bank. Placement costs the square of its size.
const MAX_TEMPLATES: usize = 16_384;
/// Candidates for each template, at least.
const CANDIDATES: usize = 16;
/// Frequencies at which two waveforms are compared, equally spaced in the logarithm from `F_MIN` to `F_MAX` hertz.
const NODES: usize = 32;
const F_MIN: f64 = 20.0;
const F_MAX: f64 = 1024.0;

/// Templates without spin, in the order in which they were placed.
#[derive(Debug, Clone)]
pub struct Bank {
    templates: Vec<Chirp>,
}

impl Bank {
    /// A bank of `n` templates with component masses in [`MASSES`].
    ///
    /// # Errors
    /// When `n` is zero or above 16,384.
    pub fn new(n: usize) -> Result<Self> {
        if n == 0 || n > MAX_TEMPLATES {
            return Err(Error::invalid("bank size", format!("{n} is not between 1 and {MAX_TEMPLATES} templates")));
        }
        let candidates = grid(n)?;
        let nodes = nodes();
        let shapes: Vec<Whitened> = candidates.par_iter().map(|chirp| Whitened::new(chirp, &nodes)).collect();
        // What a candidate loses only falls as templates are added, so that an old value bounds the new one from above,
        // and only candidates at the head of the queue need to be compared with the templates since.
        let mut best = vec![0.0f64; candidates.len()];
        let mut queue: BinaryHeap<Entry> =
            shapes.iter().enumerate().map(|(index, shape)| Entry { loss: shape.norm, index, compared: 0 }).collect();
        let mut chosen = vec![candidates.len() / 2];
        while chosen.len() < n {
            let Some(Entry { index, compared, .. }) = queue.pop() else { break };
            if compared == chosen.len() {
                chosen.push(index);
            }
            for &template in &chosen[compared..] {
                best[index] = best[index].max(shapes[template].overlap(&shapes[index], &nodes));
            }
            queue.push(Entry {
                loss: (1.0 - best[index]).max(0.0) * shapes[index].norm,
                index,
                compared: chosen.len(),
            });
        }
        let template = |&i: &usize| {
            let binary = candidates[i].binary();
            Chirp::new(binary.mass1, binary.mass2, binary.spin1, binary.spin2)
        };
        Ok(Self { templates: chosen.par_iter().map(template).collect::<Result<_>>()? })
    }

    /// The templates.
    pub fn templates(&self) -> &[Chirp] {
        &self.templates
    }
}

/// A candidate in the queue: the largest possible loss comes first, and of equals the first candidate.
#[derive(PartialEq)]
struct Entry {
    /// Signal-to-noise ratio lost with the first `compared` templates.
    loss: f64,
    index: usize,
    compared: usize,
}

impl Eq for Entry {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.loss.total_cmp(&other.loss).then(other.index.cmp(&self.index))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Candidates: a grid in the inverse chirp mass, which spreads the low masses as their many cycles demand, and in the
/// relative mass difference `(m1 - m2)/M`.
fn grid(n: usize) -> Result<Vec<Chirp>> {
    let (low, high) = (*MASSES.start(), *MASSES.end());
    let columns = ((CANDIDATES * n) as f64 / 4.0).sqrt().ceil() as usize * 4;
    let rows = columns / 4;
    let chirp_mass = |m: f64| m * 2f64.powf(-0.2);
    let (first, last) = (1.0 / chirp_mass(high), 1.0 / chirp_mass(low));
    let mut candidates = Vec::with_capacity(columns * rows);
    for i in 0..columns {
        let mc = 1.0 / (first + (last - first) * (i as f64 + 0.5) / columns as f64);
        // The most unequal pair of this chirp mass has a component at the edge of the range.
        let components = |delta: f64| {
            let eta = (1.0 - delta * delta) / 4.0;
            let total = mc * eta.powf(-0.6);
            (total * (1.0 + delta) / 2.0, total * (1.0 - delta) / 2.0)
        };
        let inside = |delta: f64| {
            let (m1, m2) = components(delta);
            m1 <= high && m2 >= low
        };
        let (mut limit, mut outside) = (0.0, (high - low) / (high + low));
        for _ in 0..50 {
            let middle = (limit + outside) / 2.0;
            if inside(middle) { limit = middle } else { outside = middle }
        }
        for j in 0..rows {
            let (m1, m2) = components(limit * j as f64 / (rows - 1).max(1) as f64);
            candidates.push(Chirp::unaligned(m1, m2, 0.0, 0.0)?);
        }
    }
    Ok(candidates)
}

/// The frequencies of the nodes in hertz.
fn nodes() -> [f64; NODES] {
    std::array::from_fn(|k| F_MIN * (F_MAX / F_MIN).powf(k as f64 / (NODES - 1) as f64))
}

/// A waveform at the nodes: amplitude over noise with unit norm, phase, and the norm it had at 1 Mpc, which is in
/// proportion to the signal-to-noise ratio.
struct Whitened {
    norm: f64,
    amplitude: [f64; NODES],
    phase: [f64; NODES],
}

impl Whitened {
    fn new(chirp: &Chirp, nodes: &[f64; NODES]) -> Self {
        let (mut amplitude, mut phase) = ([0.0; NODES], [0.0; NODES]);
        for (k, &f) in nodes.iter().enumerate() {
            let (a, p) = chirp.amplitude_and_phase(f);
            // Nodes are spaced by f.
            amplitude[k] = a * (f / design_psd(f)).sqrt();
            phase[k] = p;
        }
        let norm = amplitude.iter().map(|a| a * a).sum::<f64>().sqrt();
        Self { norm, amplitude: amplitude.map(|a| a / norm), phase }
    }

    /// Match of two waveforms, maximised over time and phase, for phase differences that are smooth between nodes: with
    /// the weights `w = a b`, a shift in time and phase removes the weighted linear fit of the phase difference, and
    /// what remains, of variance `σ²`, lowers the sum of the weights to `W exp(-σ²/2)`. Exact for small differences;
    /// falls monotonically for large ones.
    fn overlap(&self, other: &Self, nodes: &[f64; NODES]) -> f64 {
        let (mut w0, mut wf, mut wff, mut wp, mut wfp, mut wpp) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        for (k, f) in nodes.iter().enumerate() {
            let w = self.amplitude[k] * other.amplitude[k];
            let p = self.phase[k] - other.phase[k];
            w0 += w;
            wf += w * f;
            wff += w * f * f;
            wp += w * p;
            wfp += w * f * p;
            wpp += w * p * p;
        }
        let (f, p) = (wf / w0, wp / w0);
        let (ff, fp, pp) = (wff / w0 - f * f, wfp / w0 - f * p, wpp / w0 - p * p);
        w0 * (-(pp - fp * fp / ff).max(0.0) / 2.0).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bank_lies_within_its_masses_and_has_no_double() {
        let bank = Bank::new(64).unwrap();
        assert_eq!(bank.templates().len(), 64);
        for (i, a) in bank.templates().iter().enumerate() {
            let a = a.binary();
            assert!(a.mass1 >= a.mass2 && a.mass2 >= 5.0 * (1.0 - 1e-12) && a.mass1 <= 80.0 * (1.0 + 1e-12), "{a:?}");
            for b in &bank.templates()[..i] {
                assert_ne!(a, b.binary());
            }
        }
    }

    #[test]
    fn a_bank_is_the_first_part_of_a_larger_one_on_the_same_grid() {
        // 61 and 64 templates round up to the same grid.
        let [small, large] = [61, 64].map(|n| Bank::new(n).unwrap());
        for (a, b) in small.templates().iter().zip(large.templates()) {
            assert_eq!(a.binary(), b.binary());
        }
    }

    #[test]
    fn the_queue_places_as_an_exhaustive_search_does() {
        let n = 40;
        let candidates = grid(n).unwrap();
        let nodes = nodes();
        let shapes: Vec<Whitened> = candidates.iter().map(|chirp| Whitened::new(chirp, &nodes)).collect();
        let mut best = vec![0.0f64; candidates.len()];
        let mut next = candidates.len() / 2;
        for template in Bank::new(n).unwrap().templates() {
            assert_eq!(template.binary(), candidates[next].binary());
            for (best, shape) in best.iter_mut().zip(&shapes) {
                *best = best.max(shapes[next].overlap(shape, &nodes));
            }
            let loss = |i: usize| (1.0 - best[i]) * shapes[i].norm;
            next = (0..best.len()).max_by(|&a, &b| loss(a).total_cmp(&loss(b)).then(b.cmp(&a))).unwrap();
        }
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        assert!(Bank::new(0).is_err());
        assert!(Bank::new(MAX_TEMPLATES + 1).is_err());
    }
}
