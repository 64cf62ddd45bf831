//! Values drawn from distributions, each found by its place.

use super::Distribution;
use crate::ops::lif::PerNeuron;
use crate::random::{Purpose, Words, normal_quantile, uniform};

/// Attempts at a truncated distribution; what `Distribution::check` lets through needs a hundred thousandth of them.
const ATTEMPTS: u32 = 1 << 24;

/// A distribution made ready to be drawn from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw<'a> {
    Constant(f64),
    Values(&'a [f64]),
    Uniform { low: f64, high: f64 },
    Normal { mean: f64, std: f64, low: f64, high: f64 },
}

impl<'a> Draw<'a> {
    /// A distribution with one value becomes a constant, however it is written.
    pub fn new(distribution: &'a Distribution) -> Self {
        match distribution {
            Distribution::Values(v) => match v.first() {
                Some(first) if v.iter().all(|x| x == first) => Self::Constant(*first),
                _ => Self::Values(v),
            },
            Distribution::Constant(v) => Self::Constant(*v),
            Distribution::Uniform { low, high } if low == high => Self::Constant(*low),
            Distribution::Normal { mean, std, low, high } if *std == 0.0 => Self::Constant(mean.clamp(*low, *high)),
            &Distribution::Uniform { low, high } => Self::Uniform { low, high },
            &Distribution::Normal { mean, std, low, high } => Self::Normal { mean, std, low, high },
        }
    }

    /// Whether values are drawn.
    pub fn is_random(&self) -> bool {
        matches!(self, Self::Uniform { .. } | Self::Normal { .. })
    }

    /// Value number `number`, from the uniform numbers of its attempts.
    pub fn value(&self, number: usize, uniform: impl Fn(u32) -> f64) -> f64 {
        match *self {
            Self::Constant(v) => v,
            Self::Values(v) => v[number],
            Self::Uniform { low, high } => (low + (high - low) * uniform(0)).clamp(low, high),
            Self::Normal { mean, std, low, high } => (0..ATTEMPTS)
                .map(|attempt| mean + std * normal_quantile(uniform(attempt)))
                .find(|x| (low..=high).contains(x))
                .unwrap_or(mean.clamp(low, high)),
        }
    }
}

impl Distribution {
    /// `n` values of parameter number `parameter` of population number `population`: the same for a seed on every
    /// machine.
    pub fn draw(&self, n: usize, seed: u64, population: u32, parameter: u32) -> PerNeuron {
        let draw = Draw::new(self);
        if let Draw::Constant(v) = draw {
            return PerNeuron::Shared(v);
        }
        let words = Words::new(seed, Purpose::Neurons, population);
        let at = |i: usize, attempt| {
            let [low, high, ..] = words.again(parameter, i as u32, attempt);
            uniform(low, high)
        };
        PerNeuron::Each((0..n).map(|i| draw.value(i, |attempt| at(i, attempt))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(distribution: &Distribution, seed: u64) -> Vec<f64> {
        match distribution.draw(20_000, seed, 1, 2) {
            PerNeuron::Each(v) => v,
            PerNeuron::Shared(v) => vec![v],
        }
    }

    #[test]
    fn draws_follow_their_distribution_and_keep_within_bounds() {
        let moments = |x: &[f64]| {
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            (mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
        };
        let (mean, std) = moments(&values(&Distribution::normal(-58.0, 10.0), 1));
        assert!((mean + 58.0).abs() < 0.3 && (std - 10.0).abs() < 0.2, "{mean} {std}");
        let uniform = values(&Distribution::uniform(2.0, 5.0), 1);
        let (mean, std) = moments(&uniform);
        assert!((mean - 3.5).abs() < 0.03 && (std - 0.75f64.sqrt()).abs() < 0.02, "{mean} {std}");
        assert!(uniform.iter().all(|x| (2.0..=5.0).contains(x)));
        // Half of a normal distribution: mean √(2/π), standard deviation √(1 − 2/π).
        let half = values(&Distribution::truncated(0.0, 1.0, 0.0, f64::INFINITY), 1);
        let (mean, std) = moments(&half);
        assert!((mean - 0.797_885).abs() < 0.02 && (std - 0.602_81).abs() < 0.02, "{mean} {std}");
        assert!(half.iter().all(|&x| x >= 0.0));
    }

    #[test]
    fn one_value_is_a_constant_and_seeds_and_places_matter() {
        for one in [
            Distribution::Constant(3.0),
            Distribution::Values(vec![3.0; 4]),
            Distribution::normal(3.0, 0.0),
            Distribution::uniform(3.0, 3.0),
        ] {
            assert_eq!(one.draw(4, 9, 0, 0), PerNeuron::Shared(3.0));
        }
        let listed = Distribution::Values(vec![3.0, 4.0]);
        assert_eq!(listed.draw(2, 9, 0, 0), PerNeuron::Each(vec![3.0, 4.0]));
        let normal = Distribution::normal(0.0, 1.0);
        assert_eq!(normal.draw(9, 7, 1, 2), normal.draw(9, 7, 1, 2));
        for (seed, population, parameter) in [(8, 1, 2), (7, 2, 2), (7, 1, 3)] {
            assert_ne!(normal.draw(9, 7, 1, 2), normal.draw(9, seed, population, parameter));
        }
    }
}
