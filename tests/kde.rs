//! Kernel densities (`kde`, `kde_peak`, `kde_log`, `kde_rows`, `kde_mass`) against a log-sum-exp in f64.

mod common;

use spikewave::device::{Control, Device};
use spikewave::ops::{Kde, KdeCapacity, KdeElectrode, KdeMass, KdeModel, KdeRows};
use spikewave::recording::{Capabilities, Recording};

const LN_2: f64 = std::f64::consts::LN_2;
const LOG_EPS: f64 = -34.538_776_394_910_684;

/// Numbers in [0, 1), the same for a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly normal, with this spread.
    fn values(&mut self, n: usize, spread: f64) -> Vec<f32> {
        (0..n).map(|_| ((self.next() + self.next() + self.next() + self.next() - 2.0) * 1.7 * spread) as f32).collect()
    }
}

#[derive(Clone)]
struct Electrode {
    dims: usize,
    marks: Vec<f32>,
    positions: Vec<f32>,
    weights: Vec<f32>,
    constant: f32,
    /// Decoding marks.
    spikes: Vec<f32>,
}

impl Electrode {
    fn new(r: &mut Random, (n, m): (usize, usize), dims: usize, position_dims: usize, spread: f64) -> Self {
        let place = spread * 4.0;
        Self {
            dims,
            marks: r.values(n * dims, spread),
            positions: r.values(n * position_dims, place),
            weights: Vec::new(),
            constant: (r.next() * 40.0 - 45.0) as f32,
            spikes: r.values(m * dims, spread),
        }
    }

    fn count(&self) -> usize {
        self.spikes.len() / self.dims
    }

    fn view(&self) -> KdeElectrode<'_> {
        KdeElectrode {
            marks: &self.marks,
            dims: self.dims,
            positions: &self.positions,
            log2_weights: &self.weights,
            constant: self.constant,
        }
    }

    /// log2 of the mark factor for each encoding spike.
    fn log2_marks(&self, s: usize) -> Vec<f64> {
        let spike = &self.spikes[s * self.dims..][..self.dims];
        let square = |a: &f32, b: &f32| (f64::from(*a) - f64::from(*b)).powi(2);
        let each = self.marks.chunks_exact(self.dims).enumerate().map(|(i, mark)| {
            let d: f64 = mark.iter().zip(spike).map(|(a, b)| square(a, b)).sum();
            self.weights.get(i).map_or(0.0, |w| f64::from(*w)) - d
        });
        each.collect()
    }
}

/// ln Σ 2^z.
fn log_sum(z: &[f64]) -> f64 {
    let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most * LN_2 + z.iter().map(|z| (z - most).exp2()).sum::<f64>().ln()
}

#[derive(Clone)]
struct Case {
    electrodes: Vec<Electrode>,
    position_dims: usize,
    bins: Vec<f32>,
    bin_constant: Vec<f32>,
    baseline: Vec<f32>,
    floor: Option<f32>,
    /// (electrode, spike) a row.
    rows: Vec<Vec<[u32; 2]>>,
}

/// Log intensities, slot by slot, and log likelihoods.
type Answer<T> = (Vec<Vec<T>>, Vec<Vec<T>>);

impl Case {
    /// Every electrode with (encoding spikes, decoding spikes, mark dimensions).
    fn new(seed: u64, electrodes: &[(usize, usize, usize)], position_dims: usize, bins: usize, spread: f64) -> Self {
        let mut r = Random(seed);
        let electrodes: Vec<_> = electrodes
            .iter()
            .map(|(n, m, dims)| Electrode::new(&mut r, (*n, *m), *dims, position_dims, spread))
            .collect();
        let mut rows = vec![Vec::new(); 7];
        for (e, x) in electrodes.iter().enumerate() {
            for s in 0..x.count() {
                // The last row but one stays empty.
                let row = [0, 1, 2, 3, 4, 6][(r.next() * 6.0) as usize];
                rows[row].push([e as u32, s as u32]);
            }
        }
        Self {
            electrodes,
            position_dims,
            bins: r.values(bins * position_dims, spread * 4.0),
            bin_constant: r.values(bins, 2.0),
            baseline: r.values(bins, 3.0),
            floor: None,
            rows,
        }
    }

    fn p(&self) -> usize {
        self.baseline.len()
    }

    fn spikes(&self) -> usize {
        self.electrodes.iter().map(Electrode::count).sum()
    }

    fn exact(&self) -> Answer<f64> {
        let floor = self.floor.map_or(f64::NEG_INFINITY, f64::from);
        let mut intensity = Vec::new();
        let mut first = Vec::new();
        for x in &self.electrodes {
            first.push(intensity.len());
            for s in 0..x.count() {
                let a = x.log2_marks(s);
                let of_bin = |p: usize| {
                    if a.is_empty() || self.bin_constant[p] == f32::MAX {
                        return LOG_EPS.max(floor);
                    }
                    let center = &self.bins[p * self.position_dims..][..self.position_dims];
                    let z: Vec<f64> = (a.iter().zip(x.positions.chunks_exact(self.position_dims)))
                        .map(|(a, x)| {
                            a - x.iter().zip(center).map(|(x, c)| (f64::from(*x) - f64::from(*c)).powi(2)).sum::<f64>()
                        })
                        .collect();
                    (f64::from(x.constant) + f64::from(self.bin_constant[p]) + log_sum(&z)).max(floor)
                };
                intensity.push((0..self.p()).map(of_bin).collect::<Vec<f64>>());
            }
        }
        let rows = self.rows.iter().map(|row| {
            let mut sum: Vec<f64> = self.baseline.iter().map(|v| f64::from(*v)).collect();
            for [e, s] in row {
                for (sum, l) in sum.iter_mut().zip(&intensity[first[*e as usize] + *s as usize]) {
                    *sum += l;
                }
            }
            sum
        });
        let rows = rows.collect();
        (intensity, rows)
    }

    fn record(&self, rec: &mut Recording, capacity: KdeCapacity) -> spikewave::Result<Kde> {
        let electrodes: Vec<_> = self.electrodes.iter().map(Electrode::view).collect();
        let model = KdeModel {
            electrodes: &electrodes,
            position_dims: self.position_dims,
            bins: &self.bins,
            bin_constant: &self.bin_constant,
            baseline: &self.baseline,
            floor: self.floor,
        };
        Kde::record(rec, &model, capacity)
    }

    fn csr(&self) -> (Vec<u32>, Vec<[u32; 2]>) {
        let mut offsets = vec![0];
        for row in &self.rows {
            offsets.push(offsets[offsets.len() - 1] + row.len() as u32);
        }
        (offsets, self.rows.concat())
    }

    /// In one run on a recording for these capabilities, with `spare` of capacity.
    fn run(&self, device: &Device, capabilities: &Capabilities, spare: usize) -> Answer<f32> {
        let mut rec = Recording::new("kde", capabilities);
        let capacity = KdeCapacity { spikes: self.spikes().max(1) + spare, rows: self.rows.len() + spare };
        let kde = self.record(&mut rec, capacity).unwrap();
        rec.download(kde.log_intensity).unwrap();
        let spikes: Vec<&[f32]> = self.electrodes.iter().map(|x| &x.spikes[..]).collect();
        let (offsets, members) = self.csr();
        let inputs = kde.pack(&spikes, KdeRows { offsets: &offsets, spikes: &members }, None).unwrap();
        let outputs = device.prepare(&rec).unwrap().run(&inputs.feeds(), &Control::default()).unwrap();
        let rows = |x: &[f32], n: usize| x.chunks_exact(self.p()).take(n).map(<[f32]>::to_vec).collect();
        (
            rows(outputs.get(kde.log_intensity).unwrap(), self.spikes()),
            rows(outputs.get(kde.log_likelihood).unwrap(), self.rows.len()),
        )
    }
}

/// The median and the largest difference; `weigh` says by how much each may be off.
fn differences(got: &[Vec<f32>], exact: &[Vec<f64>], weigh: impl Fn(f64) -> f64) -> (f64, f64) {
    assert_eq!(got.len(), exact.len());
    let mut all = Vec::new();
    for (got, exact) in got.iter().zip(exact) {
        assert_eq!(got.len(), exact.len());
        for (g, e) in got.iter().zip(exact) {
            assert!(g.is_finite(), "{g} instead of {e}");
            all.push((f64::from(*g) - e).abs() / weigh(*e));
        }
    }
    all.sort_by(f64::total_cmp);
    if all.is_empty() { (0.0, 0.0) } else { (all[all.len() / 2], all[all.len() - 1]) }
}

#[test]
fn probe() {
    let case = Case::new(1, &[(300, 140, 4), (1, 1, 2), (0, 3, 3), (1100, 129, 9)], 2, 130, 1.0);
    let exact = case.exact();
    for device in common::devices() {
        let got = case.run(&device, device.capabilities(), 5);
        eprintln!(
            "{}: L {:?} ll {:?}",
            device.name(),
            differences(&got.0, &exact.0, |_| 1.0),
            differences(&got.1, &exact.1, |_| 1.0)
        );
    }
    let _ = KdeMass::record;
}
