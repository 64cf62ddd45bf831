//! Poisson input, drawn on the device.

use crate::kernel::{self, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

use super::Bus;

/// Largest mean of a draw, events a step.
pub const MAX_POISSON_MEAN: f64 = 1000.0;

/// Invocations of a workgroup of `shaders/poisson_drive.wgsl`.
const GROUP: usize = 256;
/// The last word of the counters of Poisson input. Networks are drawn with less in it.
const DRIVE: u32 = 0x8000_0001;
/// Elementary operations of four draws: the rounds, the searches, the sums.
const OPERATIONS: u64 = 256;

/// The Poisson distribution in units of 2⁻³²: a draw from a uniform 32-bit word is the number of thresholds that the
/// word reaches.
///
/// Made with `+`, `×` and `÷` of f64 alone, so that it is the same on every machine. The mean is met within 2⁻³² times
/// the number of thresholds; a mean below 2⁻³³ never gives an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoissonTable {
    /// Thresholds of zero: every draw is at least this.
    pub base: u32,
    /// The others, ascending.
    pub thresholds: Vec<u32>,
}

impl PoissonTable {
    /// The distribution with this mean.
    ///
    /// # Errors
    /// `InvalidArgument` for a mean outside 0 to [`MAX_POISSON_MEAN`].
    pub fn new(mean: f64) -> Result<Self> {
        if !(0.0..=MAX_POISSON_MEAN).contains(&mean) {
            let why =
                format!("{mean} events a step; from 0 to {MAX_POISSON_MEAN}: take shorter steps or several inputs");
            return Err(Error::invalid("mean", why));
        }
        // Probabilities relative to that of the mode, which neither overflow nor vanish; below this they do not count.
        let negligible = 1e-30;
        let mode = mean as u32;
        let mut below = vec![1.0];
        while let Some(&p) = below.last()
            && p > negligible
            && (below.len() as u32) <= mode
        {
            below.push(p * f64::from(mode + 1 - below.len() as u32) / mean);
        }
        let first = mode + 1 - below.len() as u32;
        let mut relative: Vec<f64> = below.into_iter().rev().collect();
        let mut p = 1.0;
        for i in mode + 1.. {
            p = p * mean / f64::from(i);
            if p <= negligible {
                break;
            }
            relative.push(p);
        }
        let total: f64 = relative.iter().rev().sum();
        let (mut sum, mut base, mut thresholds) = (0.0, first, Vec::new());
        for p in relative {
            sum += p;
            let threshold = (sum / total * 4_294_967_296.0 + 0.5) as u64;
            match u32::try_from(threshold) {
                Ok(0) => base += 1,
                Ok(t) => thresholds.push(t),
                Err(_) => break,
            }
        }
        Ok(Self { base, thresholds })
    }

    /// The largest draw.
    pub fn most(&self) -> u32 {
        self.base + self.thresholds.len() as u32
    }
}

/// Independent Poisson spikes to every neuron of a population, through synapses of one weight.
#[derive(Debug, Clone, PartialEq)]
pub struct PoissonInput {
    /// The first neuron.
    pub first: u32,
    /// Neurons.
    pub size: u32,
    /// The number of the input: inputs of one network with different numbers are independent.
    pub stream: u32,
    /// Mean number of events a step, up to [`MAX_POISSON_MEAN`].
    pub mean: f64,
    /// What an event adds, in units of the population's input.
    pub weight: i32,
    /// The plane that it is added to.
    pub plane: u32,
    /// The first step with input.
    pub start: u32,
    /// The first step without input again.
    pub stop: u32,
}

/// Adds weight × Poisson(mean) to the drive of every neuron of a population, for all steps of the recording that a run
/// carries out.
///
/// The draw of neuron i of the population in step n of the network is made of word n % 4 of Philox4x32-10 of the counter
/// `[n / 4, i, stream, tag]` with the network's seed as key, so that it depends on nothing else. Sums of all inputs to a
/// neuron must fit i32; one input's largest draw is [`PoissonTable::most`].
///
/// # Errors
/// `InvalidArgument` for a mean out of range, neurons or a plane that the bus does not have, a bus without drive, a
/// weight whose largest sum does not fit; as [`Recording::dispatch`].
pub fn poisson_drive(rec: &mut Recording, bus: &Bus, input: &PoissonInput) -> Result<()> {
    let PoissonInput { first, size, stream, mean, weight, plane, start, stop } = *input;
    let table = PoissonTable::new(mean)?;
    let Some(drive) = bus.drive else {
        return Err(Error::invalid("drive", "the bus has none; make it with `driven`"));
    };
    if size == 0 || first.checked_add(size).is_none_or(|end| end > bus.stride) {
        return Err(Error::invalid("neurons", format!("{size} from {first} on; the network has {}", bus.stride)));
    }
    if plane >= bus.planes {
        return Err(Error::invalid("plane", format!("{plane}; the network has {}", bus.planes)));
    }
    if i64::from(weight).abs() * i64::from(table.most()) > i64::from(i32::MAX) {
        let why = format!("{weight} units, of which {} in one step overflow 32 bits: coarsen the unit", table.most());
        return Err(Error::invalid("weight", why));
    }
    if table.most() == 0 || weight == 0 || start >= stop {
        return Ok(());
    }
    let params = kernel::poisson_drive::Params {
        first: plane * bus.steps * bus.stride + first,
        size,
        stride: bus.stride,
        start,
        stop,
        stream,
        tag: DRIVE,
        weight,
        base: table.base,
        thresholds: table.thresholds.len() as u32,
    };
    let table = rec.constant("poisson thresholds", &table.thresholds)?;
    // A run may begin anywhere in a block of four steps.
    let items = (bus.steps as usize + 6) / 4 * size as usize;
    let args = kernel::poisson_drive::Args { clock: bus.clock, table, drive };
    let work = OPERATIONS * items as u64;
    rec.dispatch(kernel::poisson_drive::dispatch(params, args, workgroups(items, GROUP)).work(work))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The probability of fewer than `k + 1` events, in f64 and in logarithms: another way than the table's.
    fn cumulative(mean: f64, k: u32) -> f64 {
        let mut log_factorial = 0.0;
        let mut sum = 0.0;
        for i in 0..=k {
            if i > 0 {
                log_factorial += f64::from(i).ln();
            }
            sum += (f64::from(i) * mean.ln() - mean - log_factorial).exp();
        }
        sum
    }

    #[test]
    fn thresholds_are_the_cumulative_distribution() {
        for mean in [1e-6, 8e-4, 0.5, 1.0, 2.32, 17.0, 99.9, 700.0, 746.0, 1000.0] {
            let table = PoissonTable::new(mean).unwrap();
            assert!(table.thresholds.is_sorted() && table.thresholds.len() <= 512, "{mean}");
            for (i, &t) in table.thresholds.iter().enumerate() {
                let expected = cumulative(mean, table.base + i as u32) * 4_294_967_296.0;
                // Half a unit of rounding; the oracle loses some digits of its logarithms.
                assert!(
                    (f64::from(t) - expected).abs() < 0.5 + 1e-11 * mean.max(1.0) * 4e9,
                    "{mean}: {i} {t} {expected}"
                );
            }
            // What is cut off at either end is less than half a unit.
            if table.base > 0 {
                assert!(cumulative(mean, table.base - 1) * 4_294_967_296.0 < 0.6, "{mean}");
            }
            assert!((1.0 - cumulative(mean, table.most())) * 4_294_967_296.0 < 0.6 + 1e-11 * mean * 4e9, "{mean}");
        }
    }

    #[test]
    fn known_thresholds() {
        // Made with 60 decimal digits: number of thresholds of zero and of others, the first, the last, the sum.
        for (mean, base, count, first, last, sum) in [
            (1e-6, 0, 1, 4_294_963_001, 4_294_963_001, 4_294_963_001),
            (8e-4, 0, 2, 4_291_532_696, 4_294_965_922, 4_291_531_322),
            (1.28, 0, 13, 1_194_161_113, 4_294_967_291, 3_092_376_454),
            (1000.0, 806, 401, 1, 4_294_967_295, 4_294_967_295u32),
        ] {
            let PoissonTable { base: zeros, thresholds } = PoissonTable::new(mean).unwrap();
            let total = thresholds.iter().fold(0u32, |sum, t| sum.wrapping_add(*t));
            let ends = (thresholds[0], thresholds[thresholds.len() - 1]);
            assert_eq!((zeros, thresholds.len(), ends, total), (base, count, (first, last), sum), "{mean}");
        }
        assert_eq!(PoissonTable::new(0.0).unwrap(), PoissonTable { base: 0, thresholds: vec![] });
        assert_eq!(PoissonTable::new(1e-11).unwrap().most(), 0);
    }

    #[test]
    fn means_out_of_range_are_refused() {
        for mean in [-1e-9, 1000.1, f64::NAN, f64::INFINITY] {
            let error = PoissonTable::new(mean).unwrap_err().to_string();
            assert!(error.contains("mean"), "{error}");
        }
    }
}
