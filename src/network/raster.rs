//! Recorded spikes.

use std::ops::Range;

use crate::io::Fingerprint;

/// The spikes of consecutive steps: for each step its neurons, ascending. Finding the spikes of a step or of a stretch
/// of time takes the same time however many there are.
///
/// Neurons are numbered through all populations without gaps, in the order of the populations.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster {
    dt: f64,
    first_step: u32,
    /// Where each step's spikes begin; one more than steps.
    offsets: Vec<u64>,
    neurons: Vec<u32>,
}

impl Raster {
    /// No step yet; the first will be step `first_step`.
    pub(super) fn new(dt: f64, first_step: u32) -> Self {
        Self { dt, first_step, offsets: vec![0], neurons: Vec::new() }
    }

    /// Appends a step given as bit fields of populations: for each the words of its neurons and how many neurons.
    pub(super) fn push<'a>(&mut self, populations: impl Iterator<Item = (&'a [u32], u32)>) {
        let mut first = 0;
        for (words, size) in populations {
            for (i, &word) in words.iter().enumerate() {
                let mut left = word;
                while left != 0 {
                    self.neurons.push(first + 32 * i as u32 + left.trailing_zeros());
                    left &= left - 1;
                }
            }
            first += size;
        }
        self.offsets.push(self.neurons.len() as u64);
    }

    /// Recorded steps.
    pub fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Recorded spikes.
    pub fn spikes(&self) -> usize {
        self.neurons.len()
    }

    /// The recorded stretch of time, ms: spikes of step n happen at its end, `(n + 1)·dt`.
    pub fn span_ms(&self) -> Range<f64> {
        let first = f64::from(self.first_step);
        first * self.dt..(first + self.steps() as f64) * self.dt
    }

    /// The neurons that fired in step `step` of the simulation; nothing for a step that was not recorded.
    pub fn at_step(&self, step: u32) -> &[u32] {
        let at = step.checked_sub(self.first_step).map_or(self.steps(), |k| k as usize);
        if at < self.steps() { self.row(at) } else { &[] }
    }

    fn row(&self, k: usize) -> &[u32] {
        &self.neurons[self.offsets[k] as usize..self.offsets[k + 1] as usize]
    }

    /// The recorded steps that end in `(from, to]`, in ms, as numbers of recorded steps.
    fn steps_between(&self, from: f64, to: f64) -> Range<usize> {
        // Times are multiples of dt up to rounding.
        let at = |t: f64| {
            let k = (t / self.dt + 1e-6).floor() - f64::from(self.first_step);
            k.clamp(0.0, self.steps() as f64) as usize
        };
        at(from)..at(to).max(at(from))
    }

    /// The number of spikes at times in `(from, to]`, ms.
    pub fn count_between(&self, from: f64, to: f64) -> u64 {
        let steps = self.steps_between(from, to);
        self.offsets[steps.end] - self.offsets[steps.start]
    }

    /// The spikes at times in `(from, to]`, ms, as time and neuron, in the order of time, then neuron.
    pub fn between(&self, from: f64, to: f64) -> impl Iterator<Item = (f64, u32)> + '_ {
        self.steps_between(from, to).flat_map(move |k| {
            let time = (f64::from(self.first_step) + k as f64 + 1.0) * self.dt;
            self.row(k).iter().map(move |&neuron| (time, neuron))
        })
    }

    /// Every spike as time in ms and neuron.
    pub fn iter(&self) -> impl Iterator<Item = (f64, u32)> + '_ {
        let span = self.span_ms();
        self.between(span.start, span.end)
    }

    /// Spikes of each of the neurons.
    pub fn counts(&self, neurons: Range<u32>) -> Vec<u32> {
        let mut counts = vec![0; neurons.len()];
        for &n in self.neurons.iter().filter(|n| neurons.contains(n)) {
            counts[(n - neurons.start) as usize] += 1;
        }
        counts
    }

    /// The coefficient of variation of inter-spike intervals, mean over the neurons with at least `least` spikes (3 or
    /// more); `None` if there is none.
    pub fn interval_cv(&self, neurons: Range<u32>, least: u32) -> Option<f64> {
        // Of each neuron: last step, and the sums of intervals and of their squares, which are whole numbers.
        let mut state = vec![(0usize, 0u32, 0u64, 0u64); neurons.len()];
        for k in 0..self.steps() {
            for &n in self.row(k).iter().filter(|n| neurons.contains(n)) {
                let (last, count, sum, squares) = &mut state[(n - neurons.start) as usize];
                if *count > 0 {
                    let interval = (k - *last) as u64;
                    *sum += interval;
                    *squares += interval * interval;
                }
                *last = k;
                *count += 1;
            }
        }
        let cvs: Vec<f64> = state
            .iter()
            .filter(|(_, count, ..)| *count >= least.max(3))
            .map(|(_, count, sum, squares)| {
                let n = f64::from(count - 1);
                let mean = *sum as f64 / n;
                (*squares as f64 / n - mean * mean).max(0.0).sqrt() / mean
            })
            .collect();
        (!cvs.is_empty()).then(|| cvs.iter().sum::<f64>() / cvs.len() as f64)
    }

    /// A hash of every spike, the same wherever the same neurons fire in the same steps.
    pub fn hash(&self) -> u64 {
        let mut hash = Fingerprint::default();
        for k in 0..self.steps() {
            let row = self.row(k);
            if !row.is_empty() {
                hash.word(self.first_step + k as u32);
                hash.word(row.len() as u32);
                row.iter().for_each(|&n| hash.word(n));
            }
        }
        hash.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spikes_are_found_by_their_time() {
        let mut raster = Raster::new(0.1, 20);
        // Two populations of 33 and 5 neurons.
        let steps: [([u32; 2], [u32; 1]); 4] = [([1, 1], [0]), ([0, 0], [0]), ([0, 0], [0b10001]), ([2, 0], [4])];
        for (a, b) in &steps {
            raster.push([(&a[..], 33), (&b[..], 5)].into_iter());
        }
        assert_eq!((raster.steps(), raster.spikes()), (4, 6));
        assert_eq!(raster.at_step(20), [0, 32]);
        assert!(raster.at_step(21).is_empty());
        assert_eq!(raster.at_step(22), [33, 37]);
        assert_eq!(raster.at_step(23), [1, 35]);
        assert!(raster.at_step(19).is_empty() && raster.at_step(24).is_empty());
        let all: Vec<(f64, u32)> = raster.iter().collect();
        assert_eq!(all.len(), 6);
        assert!((all[0].0 - 2.1).abs() < 1e-9 && all[5] == ((24.0) * 0.1, 35));
        assert_eq!(raster.between(2.1, 2.3).map(|(_, n)| n).collect::<Vec<_>>(), [33, 37]);
        assert_eq!(raster.count_between(2.0, 2.1), 2);
        assert_eq!(raster.count_between(2.3, 9.0), 2);
        assert_eq!(raster.count_between(-5.0, 1.0), 0);
        assert_eq!(raster.counts(32..38), [1, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn the_variation_of_intervals() {
        let mut raster = Raster::new(0.1, 0);
        // Neuron 0 fires every 3 steps, neuron 1 after 1 and 3 steps by turns.
        for k in 0..41u32 {
            let word = u32::from(k % 3 == 0) | u32::from(k % 4 < 2) << 1;
            raster.push([(&[word][..], 2)].into_iter());
        }
        assert_eq!(raster.interval_cv(0..1, 3), Some(0.0));
        let cv = raster.interval_cv(1..2, 3).unwrap();
        assert!((cv - 0.5).abs() < 1e-3, "{cv}");
        assert_eq!(raster.interval_cv(1..2, 100), None);
    }

    #[test]
    fn the_hash_sees_a_moved_spike() {
        let with = |step: usize, bit: u32| {
            let mut raster = Raster::new(0.1, 0);
            for k in 0..5 {
                raster.push([(&[u32::from(k == step) << bit][..], 32)].into_iter());
            }
            raster.hash()
        };
        assert_eq!(with(2, 7), with(2, 7));
        assert_ne!(with(2, 7), with(3, 7));
        assert_ne!(with(2, 7), with(2, 8));
    }
}
