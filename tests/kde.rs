//! Kernel densities (`kde`, `kde_peak`, `kde_log`, `kde_rows`, `kde_mass`) against a log-sum-exp in f64.
//!
//! Error model: with f32 inputs taken as exact, a log intensity is off by about 1e-6 (exponentials, products, the sum and
//! its logarithm) and by a few roundings of what is added: the constants, the mark distance and the position distance.

mod common;

use common::SplitMix as Random;
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::{Kde, KdeCapacity, KdeElectrode, KdeMass, KdeModel, KdeRows};
use spikewave::recording::{Capabilities, Recording};

const LN_2: f64 = std::f64::consts::LN_2;
const LOG_EPS: f64 = -34.538_776_394_910_684;

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
        let each = self
            .marks
            .chunks_exact(self.dims)
            .enumerate()
            .map(|(i, mark)| self.weights.get(i).map_or(0.0, |w| f64::from(*w)) - square(mark, spike));
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

/// Log intensities with the magnitudes that were added in each, slot by slot, and log likelihoods.
struct Exact {
    intensity: Vec<Vec<[f64; 2]>>,
    rows: Vec<Vec<[f64; 2]>>,
}

/// The same as a device has it.
#[derive(PartialEq)]
struct Answer {
    intensity: Vec<Vec<f32>>,
    rows: Vec<Vec<f32>>,
}

/// Rows of the bits, so that equal means equal.
fn bits(x: &[Vec<f32>]) -> Vec<Vec<u32>> {
    x.iter().map(|row| row.iter().map(|v| v.to_bits()).collect()).collect()
}

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

    fn exact(&self) -> Exact {
        let floor = self.floor.map_or(f64::NEG_INFINITY, f64::from);
        let mut intensity = Vec::new();
        let mut first = Vec::new();
        for x in &self.electrodes {
            first.push(intensity.len());
            for s in 0..x.count() {
                let a = x.log2_marks(s);
                let of_bin = |p: usize| {
                    if a.is_empty() || self.bin_constant[p] == f32::MAX {
                        return [LOG_EPS.max(floor), 0.0];
                    }
                    let center = &self.bins[p * self.position_dims..][..self.position_dims];
                    let z =
                        a.iter().zip(x.positions.chunks_exact(self.position_dims)).map(|(a, x)| a - square(x, center));
                    let (constant, sum) = (f64::from(x.constant), log_sum(&z.collect::<Vec<_>>()));
                    let of_bin = f64::from(self.bin_constant[p]);
                    [(constant + of_bin + sum).max(floor), constant.abs() + of_bin.abs() + sum.abs()]
                };
                intensity.push((0..self.p()).map(of_bin).collect::<Vec<_>>());
            }
        }
        let rows = self.rows.iter().map(|row| {
            let mut sum: Vec<[f64; 2]> = self.baseline.iter().map(|v| [f64::from(*v), v.abs().into()]).collect();
            for [e, s] in row {
                for (sum, l) in sum.iter_mut().zip(&intensity[first[*e as usize] + *s as usize]) {
                    // Every step of the addition rounds what there is by then.
                    *sum = [sum[0] + l[0], sum[1] + l[1] + sum[0].abs() / 4.0];
                }
            }
            sum
        });
        let rows = rows.collect();
        Exact { intensity, rows }
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

    /// In one run on a recording for these capabilities, with `spare` of capacity.
    fn run(&self, device: &Device, capabilities: &Capabilities, spare: usize) -> Answer {
        let mut rec = Recording::new("kde", capabilities);
        let capacity = KdeCapacity { spikes: self.spikes().max(1) + spare, rows: self.rows.len() + spare };
        let kde = self.record(&mut rec, capacity).unwrap();
        rec.download(kde.log_intensity).unwrap();
        let spikes: Vec<&[f32]> = self.electrodes.iter().map(|x| &x.spikes[..]).collect();
        let (offsets, members) = csr(&self.rows);
        let inputs = kde.pack(&spikes, KdeRows { offsets: &offsets, spikes: &members }, None).unwrap();
        let outputs = device.prepare(&rec).unwrap().run(&inputs.feeds(), &Control::default()).unwrap();
        let rows = |x: &[f32], n: usize| x.chunks_exact(self.p()).take(n).map(<[f32]>::to_vec).collect();
        let log_likelihood = outputs.get(kde.log_likelihood).unwrap();
        for row in log_likelihood.chunks_exact(self.p()).skip(self.rows.len()) {
            assert_eq!(row, self.baseline, "a row past those given");
        }
        Answer {
            intensity: rows(outputs.get(kde.log_intensity).unwrap(), self.spikes()),
            rows: rows(log_likelihood, self.rows.len()),
        }
    }

    /// In several runs on one recording: spike k of row order goes to run `part(k)`, which must not fall.
    fn run_in_parts(&self, device: &Device, part: impl Fn(usize) -> usize) -> Vec<Vec<f32>> {
        let mut rec = device.recording("kde in parts");
        let capacity = KdeCapacity { spikes: self.spikes(), rows: self.rows.len() + 1 };
        let kde = self.record(&mut rec, capacity).unwrap();
        let mut prepared = device.prepare(&rec).unwrap();
        let (mut done, mut k): (Vec<Vec<f32>>, usize) = (Vec::new(), 0);
        // The row that the run before left unfinished, with what it came to.
        let mut open: Option<Vec<f32>> = None;
        let mut chunk: Vec<Vec<[u32; 2]>> = vec![Vec::new()];
        let mut flush = |chunk: &mut Vec<Vec<[u32; 2]>>, open: &mut Option<Vec<f32>>| {
            // Spikes of a run are numbered anew, in another order than in the whole.
            let mut spikes = vec![Vec::new(); self.electrodes.len()];
            for spike in chunk.iter_mut().flatten().rev() {
                let (e, x) = (spike[0] as usize, &self.electrodes[spike[0] as usize]);
                let mark = &x.spikes[spike[1] as usize * x.dims..][..x.dims];
                spike[1] = (spikes[e].len() / x.dims) as u32;
                spikes[e].extend_from_slice(mark);
            }
            let spikes: Vec<&[f32]> = spikes.iter().map(|x| &x[..]).collect();
            let (offsets, members) = csr(chunk);
            let rows = KdeRows { offsets: &offsets, spikes: &members };
            let inputs = kde.pack(&spikes, rows, open.as_deref()).unwrap();
            let outputs = prepared.run(&inputs.feeds(), &Control::default()).unwrap();
            let mut rows = outputs.get(kde.log_likelihood).unwrap().chunks_exact(self.p()).map(<[f32]>::to_vec);
            let mut made: Vec<_> = rows.by_ref().take(chunk.len()).collect();
            *open = made.pop();
            made
        };
        for row in &self.rows {
            for spike in row {
                if k > 0 && part(k) != part(k - 1) {
                    done.extend(flush(&mut chunk, &mut open));
                    chunk = vec![Vec::new()];
                }
                let last = chunk.len() - 1;
                chunk[last].push(*spike);
                k += 1;
            }
            chunk.push(Vec::new());
        }
        done.extend(flush(&mut chunk, &mut open));
        // The last row of all was begun and belongs to nobody.
        assert_eq!(open.as_deref(), Some(&self.baseline[..]));
        done
    }

    fn check(&self, device: &Device) {
        let exact = self.exact();
        compare(device.name(), &self.run(device, device.capabilities(), 3), &exact);
    }
}

fn csr(rows: &[Vec<[u32; 2]>]) -> (Vec<u32>, Vec<[u32; 2]>) {
    let mut offsets = vec![0];
    for row in rows {
        offsets.push(offsets[offsets.len() - 1] + row.len() as u32);
    }
    (offsets, rows.concat())
}

fn square(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

/// The largest difference in units of what the error model allows, and the median difference.
fn differences(got: &[Vec<f32>], exact: &[Vec<[f64; 2]>]) -> (f64, f64) {
    assert_eq!(got.len(), exact.len());
    let (mut worst, mut all): (f64, _) = (0.0, Vec::new());
    for (got, exact) in got.iter().zip(exact) {
        assert_eq!(got.len(), exact.len());
        for (g, [e, magnitude]) in got.iter().zip(exact) {
            assert!(g.is_finite(), "{g} instead of {e}");
            let d = (f64::from(*g) - e).abs();
            worst = worst.max(d / (5e-6 + 3e-7 * magnitude));
            all.push(d);
        }
    }
    all.sort_by(f64::total_cmp);
    (worst, all.get(all.len() / 2).copied().unwrap_or(0.0))
}

#[track_caller]
fn compare(device: &str, got: &Answer, exact: &Exact) {
    let (worst, _) = differences(&got.intensity, &exact.intensity);
    assert!(worst < 1.0, "{device}: a log intensity is off by {worst} of the error model");
    let (worst, _) = differences(&got.rows, &exact.rows);
    assert!(worst < 1.0, "{device}: a log likelihood is off by {worst} of the error model");
}

#[test]
fn marks_of_every_dimension_and_positions_of_one_to_three() {
    for device in common::devices() {
        for dims in (1..=16).chain([20]) {
            let case = Case::new(dims as u64, &[(150, 20, dims)], 1 + dims % 3, 70, 0.7);
            case.check(&device);
        }
    }
}

#[test]
fn sizes_around_the_edges_of_tiles() {
    for device in common::devices() {
        for (i, n) in [1, 15, 16, 17, 127, 128, 129, 1023, 1025].into_iter().enumerate() {
            let [m, bins] =
                [[1, 129], [63, 1], [64, 65], [65, 128], [127, 64], [128, 127], [129, 63], [2, 257], [257, 2]][i];
            Case::new(n as u64, &[(n, m, 3), (n, m, 5)], 2, bins, 0.5).check(&device);
        }
    }
}

#[test]
fn ragged_and_empty_electrodes_and_bins_without_occupancy() {
    let electrodes = [(300, 140, 4), (0, 3, 3), (40, 0, 2), (1, 1, 10), (0, 0, 1), (77, 129, 9)];
    let mut case = Case::new(5, &electrodes, 2, 100, 0.6);
    case.bin_constant[17] = f32::MAX;
    case.bin_constant[99] = f32::MAX;
    let exact = case.exact();
    for device in common::devices() {
        let got = case.run(&device, device.capabilities(), 200);
        compare(device.name(), &got, &exact);
        assert_eq!(got.rows[5], case.baseline, "a row without spikes");
        assert_eq!(got.intensity[140], vec![LOG_EPS as f32; 100], "an electrode without encoding spikes");
    }
    let floor = -20.0;
    case.floor = Some(floor);
    let exact = case.exact();
    for device in common::devices() {
        let got = case.run(&device, device.capabilities(), 0);
        compare(device.name(), &got, &exact);
        assert_eq!(got.intensity[0][17], floor);
    }
    // Nothing to decode, and nothing to decode from.
    case.rows = vec![Vec::new(); 3];
    case.electrodes.truncate(2);
    case.electrodes.remove(0);
    case.electrodes[0].spikes.clear();
    for device in common::devices() {
        assert!(case.run(&device, device.capabilities(), 9).rows.iter().all(|row| *row == case.baseline));
    }
}

#[test]
fn the_error_in_the_window_that_a_posterior_sees() {
    let case = Case::new(8, &[(2500, 60, 4), (1400, 60, 8)], 2, 200, 1.0);
    let exact = case.exact();
    for device in common::devices() {
        let got = case.run(&device, device.capabilities(), 0);
        compare(device.name(), &got, &exact);
        let mut window = Vec::new();
        for (got, exact) in got.intensity.iter().zip(&exact.intensity) {
            let best = exact.iter().map(|l| l[0]).fold(f64::NEG_INFINITY, f64::max);
            let near = got.iter().zip(exact).filter(|(_, e)| e[0] > best - 17.0);
            window.extend(near.map(|(g, e)| (f64::from(*g) - e[0]).abs()));
        }
        window.sort_by(f64::total_cmp);
        let (median, most) = (window[window.len() / 2], window[window.len() - 1]);
        eprintln!("{}: median {median:.1e}, largest {most:.1e} nats in the window", device.name());
        assert!(median < 2e-6 && most < 2e-4, "{}: median {median}, largest {most}", device.name());
    }
}

/// Two groups of spikes whose marks and places are far apart: hundreds to thousands of nats.
fn far_case() -> Case {
    let mut case = Case::new(21, &[(700, 70, 4), (90, 40, 10)], 2, 90, 0.8);
    for x in &mut case.electrodes {
        for (i, (mark, place)) in x.marks.chunks_exact_mut(x.dims).zip(x.positions.chunks_exact_mut(2)).enumerate() {
            if i % 3 == 0 {
                mark[0] += 20.0 + i as f32 / 60.0;
                place[1] += 25.0;
            }
        }
    }
    for center in case.bins.chunks_exact_mut(2).step_by(2) {
        center[1] += 25.0;
    }
    case
}

#[test]
fn far_bins_are_as_exact_as_near_ones() {
    let mut case = far_case();
    let exact = case.exact();
    // Depth below a spike's best bin: what f32 could hold is 105 nats.
    let depth = exact.intensity.iter().map(|row| {
        let values = || row.iter().map(|l| l[0]);
        values().fold(f64::MIN, f64::max) - values().fold(f64::MAX, f64::min)
    });
    let deep = depth.filter(|d| *d > 150.0).count();
    assert!(deep > 50, "only {deep} spikes with bins out of f32's reach");
    for device in common::devices() {
        compare(device.name(), &case.run(&device, device.capabilities(), 0), &exact);
    }
    // Floors above, within and below the far bins.
    for floor in [-34.538_776, -100.0, -300.0] {
        case.floor = Some(floor);
        let exact = case.exact();
        for device in common::devices() {
            let got = case.run(&device, device.capabilities(), 0);
            compare(device.name(), &got, &exact);
            let floored = |row: &[f32]| row.iter().filter(|l| **l == floor).count();
            assert!(got.intensity.iter().map(|row| floored(row)).sum::<usize>() > 100);
        }
    }
}

#[test]
fn weights() {
    let mut case = Case::new(31, &[(260, 30, 4), (90, 20, 2)], 1, 65, 0.7);
    let mut r = Random(32);
    case.electrodes[0].weights = (0..260).map(|_| (r.next() * 20.0 - 15.0) as f32).collect();
    let exact = case.exact();
    for device in common::devices() {
        compare(device.name(), &case.run(&device, device.capabilities(), 0), &exact);
    }
    // A weight of 4 and a spike that is there four times are one and the same.
    let mut twice = case.clone();
    case.electrodes[0].weights = vec![0.0; 260];
    case.electrodes[0].weights[259] = 2.0;
    let last = (twice.electrodes[0].marks[259 * 4..].to_vec(), twice.electrodes[0].positions[259]);
    for _ in 0..3 {
        twice.electrodes[0].marks.extend_from_slice(&last.0);
        twice.electrodes[0].positions.push(last.1);
    }
    twice.electrodes[0].weights.clear();
    for device in common::devices() {
        compare(device.name(), &case.run(&device, device.capabilities(), 0), &twice.exact());
    }
}

#[test]
fn encoding_spikes_in_many_parts() {
    for mut case in [Case::new(41, &[(2300, 70, 4), (400, 20, 6)], 2, 70, 0.8), far_case()] {
        // One row with more spikes than a dispatch adds.
        case.rows = vec![Vec::new(), case.rows.concat()];
        let exact = case.exact();
        for device in common::devices() {
            // Parts of 256 spikes, ranges of 256 in far bins, 60 spikes of a row.
            let short = Capabilities { max_loop: 450, ..device.capabilities().clone() };
            compare(device.name(), &case.run(&device, &short, 1), &exact);
        }
    }
    let case = Case::new(41, &[(100, 7, 4)], 2, 70, 0.8);
    let mut rec = Recording::new("no loops", &Capabilities { max_loop: 20, ..Capabilities::default() });
    let error = case.record(&mut rec, KdeCapacity { spikes: 7, rows: 7 }).unwrap_err().to_string();
    assert!(error.contains("20 iterations"), "{error}");
}

#[test]
fn electrodes_in_several_groups_give_the_same_bits() {
    let electrodes = [(3000, 40, 4), (30, 9, 3), (0, 5, 2), (1500, 130, 7), (3100, 40, 4)];
    let case = Case::new(51, &electrodes, 1, 66, 0.7);
    let exact = case.exact();
    let groups = |max_tensor_bytes: u64, spikes: usize| {
        let mut rec = Recording::new("groups", &Capabilities { max_tensor_bytes, ..Capabilities::default() });
        let capacity = KdeCapacity { spikes, rows: 7 };
        case.record(&mut rec, capacity).map(|_| rec.dispatches().filter(|d| d.kernel().name == "kde").count())
    };
    // The log intensities fit, and the encoding marks do not.
    let least = 224 * 66 * 4;
    assert_eq!(groups(least, 224).unwrap(), 3);
    assert_eq!(groups(1 << 20, 224).unwrap(), 1);
    for device in common::devices() {
        let whole = case.run(&device, device.capabilities(), 0);
        compare(device.name(), &whole, &exact);
        let small = Capabilities { max_tensor_bytes: least, ..device.capabilities().clone() };
        let grouped = case.run(&device, &small, 0);
        assert_eq!(bits(&grouped.intensity), bits(&whole.intensity), "{}", device.name());
        assert_eq!(bits(&grouped.rows), bits(&whole.rows), "{}", device.name());
    }
    let error = groups(49_000, 8).unwrap_err().to_string();
    assert!(error.contains("electrode 4 with 3100 encoding spikes"), "{error}");
}

#[test]
fn any_packing_into_runs_gives_the_same_bits() {
    let case = Case::new(61, &[(200, 150, 4), (333, 140, 9), (0, 4, 1)], 2, 67, 0.7);
    for device in common::devices() {
        let whole = bits(&case.run(&device, device.capabilities(), 0).rows);
        let mut r = Random(62);
        let cuts: Vec<usize> = (0..5).map(|_| (r.next() * 294.0) as usize).collect();
        for part in [
            &(|k: usize| k / 29) as &dyn Fn(usize) -> usize,
            &|k| k / 128,
            &|k| cuts.iter().filter(|cut| **cut <= k).count(),
            &|k| usize::from(k >= 1),
        ] {
            assert_eq!(bits(&case.run_in_parts(&device, part)), whole, "{}", device.name());
        }
        // Any order of the electrodes: the same log intensities, and so the same rows in the same canonical order.
        let mut turned = case.clone();
        turned.electrodes.reverse();
        turned.rows.iter_mut().flatten().for_each(|spike| spike[0] = 2 - spike[0]);
        assert_eq!(bits(&turned.run(&device, device.capabilities(), 0).rows), whole, "{}", device.name());
        assert_eq!(bits(&case.run(&device, device.capabilities(), 500).rows), whole, "{}", device.name());
    }
    let one = Device::open(&DeviceOptions { threads: Some(1), ..DeviceOptions::new(Choice::Cpu) }).unwrap();
    let two = Device::open(&DeviceOptions { threads: Some(2), ..DeviceOptions::new(Choice::Cpu) }).unwrap();
    let rows = |device: &Device| bits(&case.run(device, device.capabilities(), 0).rows);
    assert_eq!(rows(&one), rows(&two), "threads");
}

#[test]
fn a_changed_element_is_caught() {
    let case = Case::new(71, &[(60, 30, 4), (50, 20, 6)], 2, 40, 0.4);
    let changes: [fn(&mut Case); 7] = [
        |case| case.electrodes[0].marks[59 * 4 + 3] += 0.05,
        |case| case.electrodes[1].positions[99] += 0.05,
        |case| case.electrodes[1].spikes[19 * 6 + 5] += 0.05,
        |case| case.electrodes[0].constant += 0.001,
        |case| case.bins[79] += 0.05,
        |case| case.bin_constant[39] += 0.001,
        |case| case.electrodes[1].weights = [&[0.0; 49][..], &[0.1]].concat(),
    ];
    for device in common::devices() {
        let got = case.run(&device, device.capabilities(), 0);
        compare(device.name(), &got, &case.exact());
        for (i, change) in changes.iter().enumerate() {
            let mut changed = case.clone();
            change(&mut changed);
            let exact = changed.exact();
            let (worst, _) = differences(&got.intensity, &exact.intensity);
            assert!(worst > 1.0, "{}: change {i} of a log intensity is not seen ({worst})", device.name());
        }
        let mut changed = case.clone();
        let moved = changed.rows[0].pop().unwrap();
        changed.rows[5].push(moved);
        let (worst, _) = differences(&got.rows, &changed.exact().rows);
        assert!(worst > 1.0, "{}: a spike in another row is not seen", device.name());
    }
}

#[test]
fn densities_at_the_spikes() {
    for device in common::devices() {
        for (seed, dims) in [(1, 3), (2, 6), (3, 13)] {
            let sizes = [(300, 129, dims), (0, 2, 2), (2300, 20, dims + 1), (1, 1, 1), (17, 0, 4)];
            let mut case = Case::new(seed, &sizes, 0, 1, 1.5);
            case.electrodes[0].weights = Random(seed).values(300, 3.0);
            let views: Vec<_> = case.electrodes.iter().map(Electrode::view).collect();
            for max_loop in [60_000, 500] {
                let short = Capabilities { max_loop, ..device.capabilities().clone() };
                let mut rec = Recording::new("densities", &short);
                let mass = KdeMass::record(&mut rec, &views, 160).unwrap();
                let spikes: Vec<&[f32]> = case.electrodes.iter().map(|x| &x.spikes[..]).collect();
                let inputs = mass.pack(&spikes).unwrap();
                let outputs = device.prepare(&rec).unwrap().run(&inputs.feeds(), &Control::default()).unwrap();
                let got = mass.log_density(&inputs, |tensor| outputs.get(tensor)).unwrap();
                let exact = case.electrodes.iter().flat_map(|x| (0..x.count()).map(|s| log_sum(&x.log2_marks(s))));
                assert_eq!(got.len(), 152);
                for (got, exact) in got.iter().zip(exact) {
                    let close = (got - exact).abs() < 2e-6 + 3e-7 * exact.abs();
                    assert!(close || *got == exact, "{}: {got} {exact}", device.name());
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let case = Case::new(81, &[(20, 6, 3), (9, 4, 2)], 2, 10, 0.5);
    let capacity = KdeCapacity { spikes: 8, rows: 3 };
    let record = |change: &dyn Fn(&mut Case), capacity| {
        let mut case = case.clone();
        change(&mut case);
        let mut rec = Recording::new("refused", &Capabilities::default());
        case.record(&mut rec, capacity).map(|_| ()).unwrap_err().to_string()
    };
    for (change, part) in [
        (&(|c: &mut Case| c.electrodes.clear()) as &dyn Fn(&mut Case), "0 electrodes"),
        (&|c| c.electrodes[1].marks.truncate(17), "electrode 1"),
        (&|c| c.electrodes[1].dims = 0, "electrode 1"),
        (&|c| c.electrodes[0].positions.truncate(20), "20 position values"),
        (&|c| c.electrodes[0].weights = vec![0.0], "1 weights"),
        (&|c| c.electrodes[0].weights = vec![f32::NEG_INFINITY; 20], "log2 weights of electrode 0"),
        (&|c| c.electrodes[0].marks[3] = f32::NAN, "marks of electrode 0"),
        (&|c| c.electrodes[0].constant = f32::NAN, "constant of electrode 0"),
        (&|c| c.bins.truncate(19), "19 values of 2 dimensions"),
        (&|c| c.bin_constant[1] = f32::INFINITY, "bin constants"),
        (&|c| c.baseline.truncate(1), "1 baselines"),
    ] {
        let error = record(change, capacity);
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(record(&|_| (), KdeCapacity { spikes: 0, rows: 1 }).contains("0 spikes"));
    assert!(record(&|_| (), KdeCapacity { spikes: 1, rows: 0 }).contains("capacity of 0"));
    assert!(record(&|_| (), KdeCapacity { spikes: 1 << 25, rows: 1 }).contains("kde"));

    let mut rec = Recording::new("pack", &Capabilities::default());
    let kde = case.record(&mut rec, capacity).unwrap();
    let (a, b) = (&case.electrodes[0].spikes[..9], &case.electrodes[1].spikes[..4]);
    let pack = |spikes: &[&[f32]], offsets: &[u32], members: &[[u32; 2]], carry: Option<&[f32]>| {
        kde.pack(spikes, KdeRows { offsets, spikes: members }, carry).map(|_| ()).map_err(|e| e.to_string())
    };
    let nan = [f32::NAN; 3];
    assert_eq!(pack(&[a, b], &[0, 2, 2], &[[0, 2], [1, 1]], None), Ok(()));
    for (result, part) in [
        (pack(&[a], &[0, 0], &[], None), "given for 1 electrodes"),
        (pack(&[&a[..8], b], &[0, 0], &[], None), "8 values"),
        (pack(&[&nan, b], &[0, 0], &[], None), "spikes of electrode 0"),
        (pack(&[&case.electrodes[0].spikes, &case.electrodes[1].spikes], &[0, 0], &[], None), "capacity of 8"),
        (pack(&[a, b], &[], &[], None), "0 rows"),
        (pack(&[a, b], &[0, 0, 0, 0, 0], &[], None), "4 rows"),
        (pack(&[a, b], &[0, 2, 1], &[[0, 0]], None), "rise"),
        (pack(&[a, b], &[0, 1], &[[0, 3]], None), "spike 3 of electrode 0"),
        (pack(&[a, b], &[0, 1], &[[2, 0]], None), "spike 0 of electrode 2"),
        (pack(&[a, b], &[0, 1], &[[1, u32::MAX]], None), "electrode 1"),
        (pack(&[a, b], &[0, 0], &[], Some(&[0.0; 9])), "9 values"),
    ] {
        let error = result.unwrap_err();
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}
