//! The gridded method (`kde_scatter`, `kde_band`) against the exact one and against a log-sum-exp in f64.

mod common;

use common::SplitMix as Random;
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::{GridSpec, KDE_SCALE as SIGMA, Kde, KdeCapacity, KdeElectrode, KdeModel, KdeRows};
use spikewave::recording::{Capabilities, Recording};

const QUINTIC: GridSpec = GridSpec { order: 5, per_sigma: 4.0 };
const COARSE: GridSpec = GridSpec { order: 5, per_sigma: 2.5 };
const CUBIC: GridSpec = GridSpec { order: 3, per_sigma: 6.0 };

struct Electrode {
    dims: usize,
    marks: Vec<f32>,
    positions: Vec<f32>,
    log2_weights: Vec<f32>,
    spikes: Vec<f32>,
}

/// Electrodes whose spikes have marks and positions that belong together, and bins.
struct Case {
    electrodes: Vec<Electrode>,
    position_dims: usize,
    bins: Vec<f32>,
}

impl Case {
    /// (encoding spikes, decoding spikes, mark dimensions) an electrode; positions from 0 to `size`.
    fn new(seed: u64, electrodes: &[(usize, usize, usize)], position_dims: usize, size: f64, bins: Vec<f32>) -> Self {
        let mut r = Random(seed);
        let electrodes = electrodes.iter().map(|(n, m, dims)| {
            // Five units, each with a place, and spikes of none.
            let units: Vec<(Vec<f64>, Vec<f64>)> = (0..5)
                .map(|_| {
                    let mark = (0..*dims).map(|_| r.normal(2.0)).collect();
                    (mark, (0..position_dims).map(|_| r.next() * size).collect())
                })
                .collect();
            let (mut marks, mut positions, mut spikes) = (Vec::new(), Vec::new(), Vec::new());
            for i in 0..n + m {
                let (mark, place) = &units[i % 5];
                let (wide, anywhere) = if i % 4 == 0 { (2.0, true) } else { (0.7, false) };
                let mark: Vec<f32> = mark.iter().map(|v| (v + r.normal(wide)) as f32).collect();
                if i >= *n {
                    spikes.extend(mark);
                    continue;
                }
                marks.extend(mark);
                for v in place {
                    let x = if anywhere { r.next() * size } else { v + r.normal(1.5) };
                    positions.push(x.clamp(0.0, size) as f32);
                }
            }
            Electrode { dims: *dims, marks, positions, log2_weights: Vec::new(), spikes }
        });
        Self { electrodes: electrodes.collect(), position_dims, bins }
    }

    /// Gives every spike a weight.
    fn weighted(mut self) -> Self {
        let mut r = Random(99);
        for e in &mut self.electrodes {
            e.log2_weights = (0..e.positions.len() / self.position_dims).map(|_| r.normal(2.0) as f32).collect();
        }
        self
    }

    fn bin_count(&self) -> usize {
        self.bins.len() / self.position_dims
    }

    fn spikes(&self) -> usize {
        self.electrodes.iter().map(|e| e.spikes.len() / e.dims).sum()
    }

    fn record(&self, rec: &mut Recording, spec: Option<GridSpec>, spikes: usize) -> spikewave::Result<Kde> {
        let electrodes: Vec<_> = self
            .electrodes
            .iter()
            .map(|e| KdeElectrode {
                marks: &e.marks,
                dims: e.dims,
                positions: &e.positions,
                log2_weights: &e.log2_weights,
                constant: 0.0,
            })
            .collect();
        let zeros = vec![0.0; self.bin_count()];
        let model = KdeModel {
            electrodes: &electrodes,
            position_dims: self.position_dims,
            bins: &self.bins,
            bin_constant: &zeros,
            baseline: &zeros,
            floor: None,
        };
        let capacity = KdeCapacity { spikes, rows: 1 };
        match spec {
            Some(spec) => Kde::record_gridded(rec, &model, capacity, spec),
            None => Kde::record(rec, &model, capacity),
        }
    }

    /// Log intensities, spike by spike, of a run of `each` spikes of every electrode after the other.
    fn run_by(
        &self,
        device: &Device,
        capabilities: &Capabilities,
        spec: Option<GridSpec>,
        each: usize,
    ) -> Vec<Vec<f32>> {
        let mut rec = Recording::new("kde", capabilities);
        let kde =
            self.record(&mut rec, spec, each.saturating_mul(self.electrodes.len()).min(self.spikes()).max(1)).unwrap();
        rec.download(kde.log_intensity).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        let most = self.electrodes.iter().map(|e| e.spikes.len() / e.dims).max().unwrap_or(0);
        let mut all: Vec<Vec<Vec<f32>>> = vec![Vec::new(); self.electrodes.len()];
        for first in (0..most.max(1)).step_by(each) {
            let spikes: Vec<&[f32]> = self
                .electrodes
                .iter()
                .map(|e| {
                    let m = e.spikes.len() / e.dims;
                    &e.spikes[first.min(m) * e.dims..(first + each).min(m) * e.dims]
                })
                .collect();
            let inputs = kde.pack(&spikes, KdeRows { offsets: &[0, 0], spikes: &[] }, None).unwrap();
            let outputs = prepared.run(&inputs.feeds(), &Control::default()).unwrap();
            let l = outputs.get(kde.log_intensity).unwrap();
            for (e, (spikes, all)) in spikes.iter().zip(&mut all).enumerate() {
                let rows = l.chunks_exact(self.bin_count()).skip(inputs.slot(e));
                all.extend(rows.take(spikes.len() / self.electrodes[e].dims).map(<[f32]>::to_vec));
            }
        }
        all.concat()
    }

    fn run(&self, device: &Device, spec: Option<GridSpec>) -> Vec<Vec<f32>> {
        self.run_by(device, device.capabilities(), spec, 1 << 40)
    }

    /// Exact log intensities, and by how much those on this grid may be off.
    fn exact(&self, spec: &GridSpec) -> Vec<Vec<(f64, f64)>> {
        let d = self.position_dims;
        let mut all = Vec::new();
        for e in &self.electrodes {
            for spike in e.spikes.chunks_exact(e.dims) {
                let square = |a: &f32, b: &f32| (f64::from(*a) - f64::from(*b)).powi(2);
                let marks: Vec<f64> = e
                    .marks
                    .chunks_exact(e.dims)
                    .enumerate()
                    .map(|(i, m)| {
                        let w = e.log2_weights.get(i).map_or(0.0, |w| f64::from(*w));
                        w - m.iter().zip(spike).map(|(a, b)| square(a, b)).sum::<f64>()
                    })
                    .collect();
                let best = marks.iter().copied().fold(f64::MIN, f64::max);
                let of_bin = |bin: &[f32]| {
                    if marks.is_empty() {
                        return ((1e-15f64).ln(), 1e-5);
                    }
                    let (mut sum, mut error, mut most) = (0.0, 0.0, f64::MIN);
                    let z: Vec<(f64, f64)> = marks
                        .iter()
                        .zip(e.positions.chunks_exact(d))
                        .map(|(a, x)| {
                            let distance: f64 = x.iter().zip(bin).map(|(x, c)| square(x, c)).sum();
                            let depth = |(x, c): (&f32, &f32)| square(x, c).sqrt() / SIGMA;
                            (a - distance, x.iter().zip(bin).map(|p| spec.predicted_error(depth(p))).sum())
                        })
                        .collect();
                    z.iter().for_each(|z| most = most.max(z.0));
                    for (z, predicted) in z {
                        sum += (z - most).exp2();
                        error += (z - most).exp2() * predicted;
                    }
                    // Twice the predicted error of each term, and the rounding of exponents in f32.
                    let value = (sum.log2() + most) * std::f64::consts::LN_2;
                    (value, 2.0 * error / sum + 1e-5 + 3e-7 * (value.abs() + best.abs() + (best - most)))
                };
                all.push(self.bins.chunks_exact(d).map(of_bin).collect());
            }
        }
        all
    }
}

/// The largest difference beside what it may be, and the median difference.
fn compare(got: &[Vec<f32>], exact: &[Vec<(f64, f64)>]) -> (f64, f64) {
    assert_eq!(got.len(), exact.len());
    let (mut worst, mut all) = (0f64, Vec::new());
    for (got, exact) in got.iter().zip(exact) {
        assert_eq!(got.len(), exact.len());
        for (g, (e, may)) in got.iter().zip(exact) {
            assert!(g.is_finite(), "{g} for {e}");
            let d = (f64::from(*g) - e).abs();
            worst = worst.max(d / may);
            all.push(d);
        }
    }
    all.sort_by(f64::total_cmp);
    (worst, all.get(all.len() / 2).copied().unwrap_or(0.0))
}

fn line(n: usize, size: f64) -> Vec<f32> {
    (0..n).map(|i| ((i as f64 + 0.5) * size / n as f64) as f32).collect()
}

fn plane(nx: usize, ny: usize, size: f64) -> Vec<f32> {
    let (x, y) = (line(nx, size), line(ny, size));
    x.iter().flat_map(|x| y.iter().flat_map(|y| [*x, *y])).collect()
}

fn check(name: &str, case: &Case, specs: &[GridSpec]) {
    for spec in specs {
        let exact = case.exact(spec);
        for device in common::devices() {
            let (worst, median) = compare(&case.run(&device, Some(*spec)), &exact);
            let text = format!("{name}, {spec:?} on {}: {worst} of what it may be, median {median}", device.name());
            eprintln!("{text}");
            assert!(worst <= 1.0, "{text}");
            assert!(median < 2e-4, "{text}");
        }
    }
}

#[test]
fn one_dimension() {
    // Sizes around the tiles of 128 slots, panels of 32, blocks of 64 and groups of 4 and 32 outputs.
    let electrodes = [(300, 140, 4), (0, 3, 3), (1, 1, 2), (65, 33, 1), (64, 128, 5), (129, 129, 8)];
    check("line", &Case::new(1, &electrodes, 1, 56.0, line(70, 56.0)), &[QUINTIC, COARSE, CUBIC]);
    check("weighted", &Case::new(2, &electrodes, 1, 56.0, line(33, 56.0)).weighted(), &[QUINTIC, CUBIC]);
    check("few bins", &Case::new(3, &[(40, 5, 2)], 1, 9.0, vec![4.5]), &[QUINTIC, COARSE, CUBIC]);
}

#[test]
fn two_dimensions() {
    let electrodes = [(400, 70, 4), (1, 2, 3), (0, 1, 1), (150, 130, 2)];
    check("plane", &Case::new(4, &electrodes, 2, 14.0, plane(9, 11, 14.0)), &[QUINTIC, COARSE, CUBIC]);
    check("weighted", &Case::new(5, &electrodes, 2, 6.0, plane(5, 4, 6.0)).weighted(), &[COARSE, CUBIC]);
}

#[test]
fn every_number_of_mark_dimensions() {
    let electrodes: Vec<_> = (1..=17).map(|dims| (50, 9, dims)).collect();
    check("marks", &Case::new(6, &electrodes, 1, 30.0, line(40, 30.0)), &[QUINTIC]);
}

#[test]
fn bins_anywhere() {
    let mut r = Random(7);
    // In no order, some of them twice, and some far outside of what the spikes cover.
    let mut bins: Vec<f32> = (0..90).map(|_| (r.next() * 60.0 - 15.0) as f32).collect();
    bins.extend([5.0, 5.0, -200.0, 1e4]);
    check("scattered bins", &Case::new(8, &[(200, 40, 3)], 1, 30.0, bins), &[QUINTIC, CUBIC]);
    let mut bins: Vec<f32> = (0..120).map(|_| (r.next() * 12.0 - 2.0) as f32).collect();
    bins.extend([3.0, 3.0, 3.0, 3.0, -100.0, 5.0, 5.0, 400.0]);
    check("scattered bins of a plane", &Case::new(9, &[(200, 40, 3)], 2, 9.0, bins), &[COARSE]);
}

#[test]
fn spikes_on_the_edges_of_cells() {
    let h = SIGMA / QUINTIC.per_sigma;
    for dims in [1, 2] {
        let mut case = Case::new(10, &[(260, 20, 2), (90, 4, 2)], dims, 6.0, vec![]);
        // Whole cells, the first and the last place, and many spikes at one place.
        for (i, x) in case.electrodes[0].positions.iter_mut().enumerate() {
            *x = if i % 3 == 0 { (4.0 * h) as f32 } else { ((i % 29) as f64 * h) as f32 };
        }
        case.electrodes[1].positions.fill((28.0 * h) as f32);
        case.bins = if dims == 1 { line(20, 6.0) } else { plane(5, 5, 6.0) };
        check("edges", &case, &[QUINTIC]);
    }
    // All at one place: a grid of a single cell.
    for dims in [1, 2] {
        let mut case = Case::new(11, &[(70, 5, 2)], dims, 1.0, vec![]);
        case.electrodes[0].positions.fill(3.25);
        case.bins = if dims == 1 { line(20, 6.0) } else { plane(5, 5, 6.0) };
        check("one place", &case, &[QUINTIC, CUBIC]);
    }
}

#[test]
fn short_loops_are_cut() {
    for (dims, spec) in [(1, QUINTIC), (2, CUBIC)] {
        let mut case = Case::new(12, &[(900, 30, 6), (700, 20, 2)], dims, 12.0, vec![]);
        for x in &mut case.electrodes[1].positions {
            *x = 5.0;
        }
        case.bins = if dims == 1 { line(30, 12.0) } else { plane(6, 5, 12.0) };
        let exact = case.exact(&spec);
        for device in common::devices() {
            let short = Capabilities { max_loop: 1000, ..device.capabilities().clone() };
            let (worst, _) = compare(&case.run_by(&device, &short, Some(spec), 1 << 40), &exact);
            assert!(worst <= 1.0, "{worst} on {}", device.name());
        }
    }
}

#[test]
fn small_bindings_cut_the_tiles() {
    let case = Case::new(13, &[(120, 300, 2), (80, 500, 3)], 2, 5.0, plane(6, 5, 5.0));
    for device in common::devices() {
        let whole = case.run(&device, Some(CUBIC));
        let nodes = ((5.0 / SIGMA * 6.0) as u64 + 5).pow(2);
        let small = Capabilities { max_tensor_bytes: nodes * 128 * 4 * 2, ..device.capabilities().clone() };
        assert_eq!(whole, case.run_by(&device, &small, Some(CUBIC), 1 << 40), "{}", device.name());
    }
}

#[test]
fn the_same_bits_in_any_chunks_and_on_any_threads() {
    for dims in [1, 2] {
        let bins = if dims == 1 { line(45, 20.0) } else { plane(6, 7, 8.0) };
        let case = Case::new(14, &[(333, 150, 4), (100, 40, 3)], dims, if dims == 1 { 20.0 } else { 8.0 }, bins);
        for device in common::devices() {
            let whole = case.run(&device, Some(QUINTIC));
            for each in [1000, 100, 37] {
                let chunked = case.run_by(&device, device.capabilities(), Some(QUINTIC), each);
                assert_eq!(whole, chunked, "{each} at a time on {}", device.name());
            }
        }
        let by = |threads| {
            let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) };
            case.run(&Device::open(&options).unwrap(), Some(QUINTIC))
        };
        assert_eq!(by(1), by(3));
    }
}

#[test]
fn a_changed_spike_is_seen() {
    let device = &common::devices()[0];
    let mut case = Case::new(15, &[(200, 20, 3)], 1, 30.0, line(40, 30.0));
    let exact = case.exact(&QUINTIC);
    case.electrodes[0].positions[77] += 0.5;
    assert!(compare(&case.run(device, Some(QUINTIC)), &exact).0 > 100.0);
}

#[test]
fn close_to_the_exact_method() {
    let case = Case::new(16, &[(2000, 130, 4)], 1, 60.0, line(100, 60.0));
    for device in common::devices() {
        let (exact, gridded) = (case.run(&device, None), case.run(&device, Some(QUINTIC)));
        let largest = exact.concat().iter().zip(gridded.concat()).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(largest < 1e-3, "{largest} on {}", device.name());
    }
}

#[test]
fn what_cannot_be_gridded_is_refused() {
    let device = &common::devices()[0];
    let refused = |case: &Case, spec: GridSpec| {
        let mut rec = Recording::new("kde", device.capabilities());
        case.record(&mut rec, Some(spec), 4).unwrap_err().to_string()
    };
    let case = Case::new(17, &[(9, 4, 2)], 1, 5.0, line(5, 5.0));
    for (spec, why) in [
        (GridSpec { order: 4, per_sigma: 4.0 }, "order must be 3 or 5"),
        (GridSpec { order: 5, per_sigma: 0.5 }, "1 to 32"),
        (GridSpec { order: 5, per_sigma: f64::NAN }, "1 to 32"),
    ] {
        let text = refused(&case, spec);
        assert!(text.contains(why), "{text}");
    }
    let cube = Case::new(18, &[(9, 4, 2)], 3, 5.0, vec![1.0; 6]);
    let text = refused(&cube, QUINTIC);
    assert!(text.contains("one or two dimensions"), "{text}");
    let mut wrong = Case::new(19, &[(9, 4, 2)], 1, 5.0, line(5, 5.0));
    wrong.electrodes[0].positions.pop();
    let text = refused(&wrong, QUINTIC);
    assert!(text.contains("electrode 0"), "{text}");
    let mut wide = Case::new(20, &[(9, 4, 2)], 2, 5.0, plane(2, 2, 5.0));
    wide.electrodes[0].positions[0] = 1e9;
    let text = refused(&wide, QUINTIC);
    assert!(text.contains("cells"), "{text}");
}
