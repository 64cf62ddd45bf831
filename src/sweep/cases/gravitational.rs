//! Matched filters' norms and peaks, and the triggers of the spiking detector.

use super::Agreement::{Bits, Within};
use super::{Case, Draft};
use crate::Result;
use crate::ops;
use crate::ops::lif::spike_words;

/// Templates.
const ROWS: usize = 8;
/// Neurons of the detector, samples of a window, and of light travel.
const NEURONS: usize = 48;
const TRIGGER_WINDOW: usize = 64;
const REACH: usize = 4;

pub const WEIGHTED_POWER: Case = Case {
    name: "weighted_power",
    sizes: &[1 << 11, 1 << 15, 1 << 18],
    unit: "bins of 8 templates",
    variants: &["default"],
    make: weighted_power,
};
pub const COINCIDENT_PEAK: Case = Case {
    name: "coincident_peak",
    sizes: &[1 << 12, 1 << 15, 1 << 18],
    unit: "samples of 8 templates",
    variants: &["default"],
    make: coincident_peak,
};
pub const TRIGGERS: Case = Case {
    name: "triggers",
    sizes: &[1 << 10, 1 << 13, 1 << 16],
    unit: "samples of 48 neurons",
    variants: &["default"],
    make: triggers,
};

fn weighted_power(d: &mut Draft, bins: usize, _: &str) -> Result<()> {
    let h = d.complex("h", ROWS * bins)?;
    let w = d.positive("w", bins)?;
    let norm = d.rec.scratch("norm", ROWS)?;
    ops::weighted_power(&mut d.rec, h, (bins, bins), w, 3.0, norm, (1, 0))?;
    d.cost(4 * bins * (2 * ROWS + 1), 5 * ROWS * bins);
    // Sums of numbers of one sign, by 256 lanes and a tree.
    d.output(norm, Within(1e-5))
}

fn coincident_peak(d: &mut Draft, n: usize, _: &str) -> Result<()> {
    let reach = 8;
    let (a, b) = (d.complex("a", ROWS * n)?, d.complex("b", ROWS * n)?);
    let norm = d.positive("norm", 2 * ROWS)?;
    let peaks = ops::coincident_peak(&mut d.rec, (a, b), norm, (ROWS, n), 100..n - 100, reach)?;
    d.cost(16 * ROWS * n, ROWS * n * (4 + 5 * (2 * reach + 1)));
    d.output(peaks.power, Within(1e-6))?;
    d.output(peaks.at_a, Bits)?;
    d.output(peaks.at_b, Bits)
}

fn triggers(d: &mut Draft, time: usize, _: &str) -> Result<()> {
    let words = spike_words(NEURONS);
    let mut spikes: Vec<u32> = (0..time * words).map(|_| (0..5).fold(u32::MAX, |w, _| w & d.random.word())).collect();
    // Neurons that do not exist are silent.
    spikes.iter_mut().skip(1).step_by(2).for_each(|word| *word &= 0xffff);
    let spikes = d.rec.constant_owned("spikes", spikes)?;
    let evidence = [d.positive("a", time * NEURONS)?, d.positive("b", time * NEURONS)?];
    let found = ops::triggers(&mut d.rec, spikes, evidence, NEURONS, 0..time, TRIGGER_WINDOW, REACH)?;
    d.cost(4 * time * words, time * words * 32);
    d.output(found.score, Within(1e-6))?;
    d.output(found.at, Bits)
}
