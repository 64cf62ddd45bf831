//! How fine whole units can be: sums of all that may arrive in one step must stay within an i32.
//!
//! While weights are drawn they are kept in provisional units, so fine that the largest single weight still fits; those
//! of the network are at least two bits coarser. What the provisional unit cuts off leaves a one in the last bit
//! (rounding to odd), so that the second rounding gives what one rounding would have given.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::tables::{Kind, Spec};
use super::{Layout, Wire, atomics, poisson_mean};
use crate::network::{Distribution, Input, Network, Neuron};
use crate::ops::PoissonTable;
use crate::{Error, Result};

/// The finest unit is 2^-FINEST.
const FINEST: i32 = 40;
/// The coarsest unit is 2^-COARSEST.
const COARSEST: i32 = -64;
/// A unit must be at most this part of the mean weight.
const RESOLUTION: f64 = 1024.0;

/// 2^exponent.
pub(super) fn power(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// `weight / 2^shift`, to the nearest, halves away from zero.
pub(super) fn rescale(weight: i32, shift: u32) -> i32 {
    if shift == 0 {
        return weight;
    }
    let magnitude = (u64::from(weight.unsigned_abs()) + (1 << (shift - 1))) >> shift;
    if weight < 0 { -(magnitude as i32) } else { magnitude as i32 }
}

/// The provisional exponent of each population.
pub(super) fn scales(network: &Network, wires: &[Wire]) -> Vec<i32> {
    let mut largest = vec![0f64; network.populations.len()];
    for (wire, projection) in wires.iter().zip(&network.projections) {
        let stdp = wire.plastic.map(|stdp| (stdp.w_min, stdp.w_max));
        for (low, high) in std::iter::once(projection.weight.bounds()).chain(stdp).filter(|(low, high)| low <= high) {
            largest[wire.target] = largest[wire.target].max(low.abs()).max(high.abs());
        }
    }
    let fits = |weight: f64, e: i32| weight * power(e) <= f64::from(i32::MAX);
    largest.iter().map(|&w| (COARSEST + 2..=FINEST + 2).rev().find(|&e| fits(w, e)).unwrap_or(COARSEST + 2)).collect()
}

/// 1 if all excitatory and inhibitory inputs may be added up.
pub(in crate::network) fn planes(network: &Network) -> u32 {
    // Two draws from one distribution differ.
    let same =
        |a: &Distribution, b: &Distribution| a == b && matches!(a, Distribution::Constant(_) | Distribution::Values(_));
    let two = network.populations.iter().any(|p| match &p.neuron {
        Neuron::IafPscExp(neuron) => !same(&neuron.tau_syn_ex, &neuron.tau_syn_in),
        Neuron::IafCondExp(_) => true,
        _ => false,
    });
    1 + u32::from(two)
}

/// What arrives at each neuron if all its synapses are active at once.
pub(super) struct Load {
    /// Provisional exponents of populations.
    scales: Vec<i32>,
    /// Sums of positive weights and of the magnitudes of negative ones, in provisional units.
    positive: Vec<AtomicU64>,
    negative: Vec<AtomicU64>,
    synapses: Vec<AtomicU64>,
    max_delay: AtomicU32,
    layout: Layout,
}

impl Load {
    pub fn new(layout: &Layout, scales: Vec<i32>) -> Result<Self> {
        let n = layout.stride as usize;
        Ok(Self {
            scales,
            positive: atomics(n)?,
            negative: atomics(n)?,
            synapses: atomics(n)?,
            max_delay: AtomicU32::new(1),
            layout: layout.clone(),
        })
    }

    /// The provisional exponent of a population.
    pub fn scale(&self, population: usize) -> i32 {
        self.scales[population]
    }

    /// A weight in provisional units, rounded to odd.
    pub fn provisional(&self, population: usize, weight: f64) -> i32 {
        let scaled = weight * power(self.scales[population]);
        let magnitude = scaled.abs() as i32;
        let odd = if f64::from(magnitude) == scaled.abs() { magnitude } else { magnitude | 1 };
        if scaled < 0.0 { -odd } else { odd }
    }

    /// One synapse more, whose weight is from `low`, at most 0, to `high`, at least 0.
    pub fn add(&self, target: u32, low: i32, high: i32) {
        let target = target as usize;
        if low != 0 {
            self.negative[target].fetch_add(low.unsigned_abs().into(), Ordering::Relaxed);
        }
        if high != 0 {
            self.positive[target].fetch_add(high.unsigned_abs().into(), Ordering::Relaxed);
        }
        self.synapses[target].fetch_add(1, Ordering::Relaxed);
    }

    /// A delay that occurs.
    pub fn delayed(&self, steps: u32) {
        self.max_delay.fetch_max(steps, Ordering::Relaxed);
    }

    pub fn max_delay(&self) -> u32 {
        self.max_delay.load(Ordering::Relaxed)
    }

    /// The exponent of each population.
    pub fn exponents(&self, network: &Network, wires: &[Wire], specs: &[Spec]) -> Result<Vec<i32>> {
        let mut exponents = Vec::with_capacity(network.populations.len());
        let mut means = Vec::with_capacity(network.populations.len());
        for (p, population) in network.populations.iter().enumerate() {
            let neurons = self.layout.range(p);
            let neurons = neurons.start as usize..neurons.end as usize;
            let unit = power(-self.scales[p]);
            let (mut largest, mut sum, mut synapses, mut most) = (0, 0.0, 0, 0);
            for i in neurons {
                let (up, down) = (self.positive[i].load(Ordering::Relaxed), self.negative[i].load(Ordering::Relaxed));
                let n = self.synapses[i].load(Ordering::Relaxed);
                largest = largest.max(up).max(down);
                most = most.max(n);
                // Of integers as f64: exact up to 2^53, and in a fixed order.
                sum += up as f64 + down as f64;
                synapses += n;
            }
            let mut mean = if synapses > 0 && sum > 0.0 { sum / synapses as f64 * unit } else { f64::INFINITY };
            let mut poisson = [0.0, 0.0];
            for input in &network.inputs {
                if let Input::Poisson { target, rate, weight, .. } = input
                    && *target == population.name
                    && *weight != 0.0
                {
                    let events = f64::from(PoissonTable::new(poisson_mean(*rate, network.dt))?.most());
                    poisson[usize::from(*weight < 0.0)] += events * weight.abs();
                    most += events as u64;
                    mean = mean.min(weight.abs());
                }
            }
            // Each weight may be rounded up by half a unit, bounds of plastic ones to the next f32.
            let bound = largest as f64 * unit + poisson[0].max(poisson[1]);
            let fits = |e: i32| {
                (bound * power(e) + 0.5 * most as f64) * (1.0 + f64::from(f32::EPSILON)) <= f64::from(i32::MAX)
            };
            let individual = |s: &Spec| s.kind == Kind::Each && s.wires.iter().any(|&w| wires[w].target == p);
            let finest = if specs.iter().any(individual) { FINEST.min(self.scales[p] - 2) } else { FINEST };
            exponents.push((COARSEST..=finest).rev().find(|&e| fits(e)).unwrap_or(COARSEST));
            means.push(mean);
        }
        // A row has one weight for all the populations of its table.
        loop {
            let before = exponents.clone();
            for spec in specs.iter().filter(|s| s.kind == Kind::Row) {
                let targets = || spec.wires.iter().map(|&w| wires[w].target);
                let least = targets().map(|p| exponents[p]).min().unwrap_or(FINEST);
                targets().for_each(|p| exponents[p] = least);
            }
            if exponents == before {
                break;
            }
        }
        for ((population, e), mean) in network.populations.iter().zip(&exponents).zip(means) {
            if power(-e) * RESOLUTION > mean {
                return Err(Error::invalid(
                    "weights",
                    format!(
                        "the sum of all inputs to a neuron of population \"{}\" is so large that a mean weight of {mean:e} \
                         would be less than {RESOLUTION} units of the fixed-point sums; lower the large weights or the \
                         number of synapses",
                        population.name
                    ),
                ));
            }
        }
        Ok(exponents)
    }
}
