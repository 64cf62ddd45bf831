//! Sparse matrices times vectors and matrices: every device against an f64 oracle.

mod common;

use common::SplitMix;
use proptest::prelude::*;
use spikewave::device::{Choice, Control, Device, DeviceOptions};
use spikewave::ops::csr::{Csr, Values};
use spikewave::recording::{Capabilities, Recording};

/// The stated bound: 150 roundings.
const BOUND: f64 = 150.0 / (1u32 << 24) as f64;

#[derive(Debug, Clone, PartialEq)]
struct Matrix {
    columns: usize,
    offsets: Vec<u32>,
    indices: Vec<u32>,
    /// One, or one each.
    values: Vec<f32>,
    shared: bool,
}

impl Matrix {
    /// Rows of these many nonzeros, anywhere; every seventh matrix or so has one value for all.
    fn random(seed: u64, columns: usize, degrees: &[usize]) -> Self {
        let mut random = SplitMix(seed);
        let mut offsets = vec![0u32];
        for degree in degrees {
            offsets.push(offsets[offsets.len() - 1] + *degree as u32);
        }
        let nonzeros = offsets[degrees.len()] as usize;
        let indices = (0..nonzeros).map(|_| (random.next() * columns as f64) as u32).collect();
        let shared = seed % 7 == 3;
        let values = random.values(if shared { 1 } else { nonzeros }, 1.0);
        Self { columns, offsets, indices, values, shared }
    }

    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn values(&self) -> Values<'_> {
        if self.shared { Values::Shared(self.values[0]) } else { Values::Each(&self.values) }
    }

    /// The product with a row-major matrix of `k` columns in f64, and the sums of the terms' magnitudes.
    fn times(&self, x: &[f32], k: usize) -> Vec<(f64, f64)> {
        let mut y = vec![(0.0, 0.0); self.rows() * k];
        for row in 0..self.rows() {
            for j in self.offsets[row] as usize..self.offsets[row + 1] as usize {
                let a = f64::from(self.values[if self.shared { 0 } else { j }]);
                for c in 0..k {
                    let term = a * f64::from(x[self.indices[j] as usize * k + c]);
                    let sum = &mut y[row * k + c];
                    *sum = (sum.0 + term, sum.1 + term.abs());
                }
            }
        }
        y
    }
}

fn operand(seed: u64, n: usize) -> Vec<f32> {
    SplitMix(seed ^ 0x5eed).values(n, 1.0)
}

/// The products with matrices of these many columns, in one recording for a device with these capabilities.
fn products(device: &Device, capabilities: &Capabilities, m: &Matrix, ks: &[usize]) -> Vec<Vec<f32>> {
    let mut rec = Recording::new("csr", capabilities);
    let a = Csr::new(&mut rec, m.columns, &m.offsets, &m.indices, m.values()).unwrap();
    assert_eq!((a.rows(), a.columns(), a.nonzeros()), (m.rows(), m.columns, m.indices.len()));
    let mut outputs = Vec::new();
    for &k in ks {
        let x = rec.constant("x", &operand(k as u64, m.columns * k)).unwrap();
        let y = rec.scratch::<f32>("y", m.rows() * k).unwrap();
        if k == 1 {
            a.matvec(&mut rec, x, y).unwrap()
        } else {
            a.matmul(&mut rec, x, k, y).unwrap()
        }
        rec.download(y).unwrap();
        outputs.push(y);
    }
    let mut prepared = device.prepare(&rec).unwrap();
    let out = prepared.run(&[], &Control::default()).unwrap();
    // Another run finds what the first has left in y.
    let again = prepared.run(&[], &Control::default()).unwrap();
    for y in &outputs {
        let bits = |o: &spikewave::device::Outputs| o.get(*y).unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(&out) == bits(&again), "two runs differ on {}", device.name());
    }
    outputs.into_iter().map(|y| out.get(y).unwrap().to_vec()).collect()
}

/// The first element that is out of bounds.
fn wrong(got: &[f32], exact: &[(f64, f64)], pieces: usize) -> Option<String> {
    assert_eq!(got.len(), exact.len());
    let bound = BOUND + pieces as f64 / f64::from(1u32 << 24);
    let at = got.iter().zip(exact).position(|(g, (e, size))| !((f64::from(*g) - e).abs() <= bound * size + 1e-37));
    at.map(|i| format!("element {i} is {} for {} with magnitudes of {}", got[i], exact[i].0, exact[i].1))
}

fn check_on(device: &Device, capabilities: &Capabilities, m: &Matrix, ks: &[usize], pieces: usize) {
    for (y, &k) in products(device, capabilities, m, ks).iter().zip(ks) {
        let exact = m.times(&operand(k as u64, m.columns * k), k);
        if let Some(what) = wrong(y, &exact, pieces) {
            let (rows, nonzeros) = (m.rows(), m.indices.len());
            panic!("{rows} × {} with {nonzeros} nonzeros, k {k}, on {}: {what}", m.columns, device.name());
        }
    }
}

fn check(devices: &[Device], m: &Matrix, ks: &[usize]) {
    for device in devices {
        check_on(device, device.capabilities(), m, ks, 0);
    }
}

#[test]
fn every_small_matrix() {
    let all = common::devices();
    let mut count = 0;
    for rows in 1..=4usize {
        for columns in 1..=3 {
            for pattern in 0..4usize.pow(rows as u32) {
                let degrees: Vec<usize> = (0..rows).map(|r| pattern / 4usize.pow(r as u32) % 4).collect();
                count += 1;
                let m = Matrix::random(count as u64, columns, &degrees);
                check(if count % 23 == 0 { &all } else { &all[..1] }, &m, &[1, 2, 3, 7]);
            }
        }
    }
    assert_eq!(count, 3 * (4 + 16 + 64 + 256));
}

#[test]
fn edges_of_parts() {
    let all = common::devices();
    for n in [7usize, 8, 9, 63, 64, 65, 127, 128, 2046, 2047, 2048, 2049, 4094, 4095, 4096, 4097, 8191] {
        let seed = n as u64;
        // One row with all nonzeros, all rows empty, one each, and rows that end where parts do.
        check(&all, &Matrix::random(seed, 50, &[n]), &[1, 3]);
        check(&all, &Matrix::random(seed, 50, &vec![0; n]), &[1, 3]);
        check(&all, &Matrix::random(seed, 50, &vec![1; n]), &[1, 3]);
        check(&all, &Matrix::random(seed, 50, &[n - 1, n - 1, n, n, 1, 0, n]), &[1, 3]);
        check(&all, &Matrix::random(seed, 50, &[&vec![0; n][..], &[n], &vec![0; n]].concat()), &[1, 3]);
    }
}

#[test]
fn every_width_of_tile() {
    let all = common::devices();
    let degrees: Vec<usize> = (0..150).map(|i| i * 37 % 71).collect();
    let ks: Vec<usize> = (1..=35).chain([63, 64, 65, 79, 127, 128, 129]).collect();
    check(&all, &Matrix::random(1, 90, &degrees), &ks);
    check(&all, &Matrix::random(3, 70_000, &degrees), &[1, 2, 5, 16, 64]);
}

#[test]
fn columns_of_sixteen_and_of_thirty_two_bits() {
    let all = common::devices();
    for columns in [65_535usize, 65_536, 65_537, 200_000] {
        for nonzeros in [4usize, 5] {
            let mut m = Matrix::random(columns as u64, columns, &[nonzeros, 0, nonzeros + 1, 2]);
            let last = m.indices.len() - 1;
            (m.indices[0], m.indices[last]) = (columns as u32 - 1, columns as u32 - 1);
            check(&all, &m, &[1, 2]);
        }
    }
    let mut rec = all[0].recording("csr");
    let mut bytes = |columns| Csr::new(&mut rec, columns, &[0, 1000], &[1; 1000], Values::Shared(1.0)).unwrap().bytes();
    assert_eq!(bytes(65_537) - bytes(65_536), 2000);
}

fn power_law(rows: usize, most: f64) -> Vec<usize> {
    let mut random = SplitMix(11);
    (0..rows).map(|_| (most * random.next().powi(12)) as usize).collect()
}

#[test]
fn skewed_rows() {
    let all = common::devices();
    check(&all, &Matrix::random(20, 3000, &power_law(20_000, 20_000.0)), &[1, 5]);
    // One row has all nonzeros: the first, one in the middle, the last.
    for at in [0, 501, 999] {
        let mut degrees = vec![0; 1000];
        degrees[at] = 700_000;
        check(&all, &Matrix::random(21 + at as u64, 5000, &degrees), &[1, 2]);
    }
    check(&all, &Matrix::random(22, 10, &vec![0; 100_000]), &[1, 2]);
    check(&all, &Matrix::random(23, 2000, &vec![200; 2000]), &[1, 16]);
}

#[test]
fn terms_of_one_sign_over_a_long_row() {
    // Sums grow all the way, so that every rounding counts.
    let n = 3_000_000;
    for shared in [true, false] {
        let values = if shared { vec![0.1] } else { vec![0.1; n] };
        let m = Matrix { columns: 1, offsets: vec![0, n as u32], indices: vec![0; n], values, shared };
        check(&common::devices(), &m, &[1, 2]);
    }
}

#[test]
fn arrays_over_a_binding_are_split() {
    let mut dense = power_law(700, 9000.0);
    dense[350] = 400_000;
    let m = Matrix::random(30, 900, &dense);
    for device in common::devices() {
        for words in [4097u64, 16_385, 300_001] {
            let capabilities = Capabilities { max_tensor_bytes: words * 4, ..device.capabilities().clone() };
            let pieces = (m.indices.len() + m.rows()).div_ceil(words as usize - 1);
            assert!(pieces > 2, "{pieces}");
            check_on(&device, &capabilities, &m, &[1, 4], pieces);
        }
        // So many columns that few parts' sums fit.
        let capabilities = Capabilities { max_tensor_bytes: 40_000 * 4, ..device.capabilities().clone() };
        let m = Matrix::random(31, 9, &[500, 0, 3000, 2, 0, 0, 7000, 70]);
        check_on(&device, &capabilities, &m, &[4000], m.indices.len() / 64 + 2);
    }
}

#[test]
fn rows_cut_across_parts_are_finished_in_a_second_step() {
    let kernels = |degrees: &[usize], k| {
        let m = Matrix::random(1, 5, degrees);
        let mut rec = Recording::new("csr", &Capabilities::default());
        let a = Csr::new(&mut rec, m.columns, &m.offsets, &m.indices, m.values()).unwrap();
        let x = rec.constant("x", &operand(1, m.columns * k)).unwrap();
        let y = rec.scratch("y", m.rows() * k).unwrap();
        a.matmul(&mut rec, x, k, y).unwrap();
        rec.dispatches().map(|d| d.kernel().label()).collect::<Vec<_>>()
    };
    // A row's end counts too: these rows end where parts of 64 and of 2048 do.
    assert_eq!(kernels(&[63; 200], 1), ["csr_matvec"]);
    assert_eq!(kernels(&[63; 200], 3), ["csr_matmul"]);
    assert_eq!(kernels(&[64; 200], 1), ["csr_matvec", "csr_carry"]);
    assert_eq!(kernels(&[64; 200], 3), ["csr_matmul", "csr_carry"]);
    assert_eq!(kernels(&[3000, 0, 60_000, 2], 1), ["csr_matvec", "csr_carry", "csr_carry.wide"]);
    assert_eq!(kernels(&[700], 2), ["csr_matmul", "csr_carry.wide"]);
    assert_eq!(kernels(&[0; 5000], 2), ["csr_matmul"]);
}

#[test]
fn the_same_bits_with_any_number_of_threads() {
    let m = Matrix::random(40, 3000, &power_law(30_000, 30_000.0));
    let run = |threads| {
        let device =
            Device::open(&DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) }).unwrap();
        let y = products(&device, device.capabilities(), &m, &[1, 3, 16]);
        y.into_iter().flatten().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn equal_columns_of_a_row_add_up() {
    let m = Matrix {
        columns: 3,
        offsets: vec![0, 4, 4, 6],
        indices: vec![2, 0, 2, 2, 1, 1],
        values: vec![1.0, 10.0, 2.0, 4.0, 0.5, 0.25],
        shared: false,
    };
    for device in common::devices() {
        let mut rec = device.recording("csr");
        let a = Csr::new(&mut rec, 3, &m.offsets, &m.indices, m.values()).unwrap();
        let x = rec.constant("x", &[1.0f32, 2.0, 3.0]).unwrap();
        let y = rec.scratch::<f32>("y", 3).unwrap();
        a.matvec(&mut rec, x, y).unwrap();
        rec.download(y).unwrap();
        let out = device.prepare(&rec).unwrap().run(&[], &Control::default()).unwrap();
        assert_eq!(out.get(y).unwrap(), [31.0, 0.0, 1.5], "{}", device.name());
    }
}

#[test]
fn a_changed_element_is_caught() {
    let m = Matrix::random(50, 3000, &power_law(2000, 3000.0));
    let last = m.indices.len() - 1;
    for device in common::devices() {
        for k in [1, 3] {
            let exact = m.times(&operand(k as u64, m.columns * k), k);
            let mut y = products(&device, device.capabilities(), &m, &[k]).remove(0);
            assert_eq!(wrong(&y, &exact, 0), None);
            let (at, _) = exact.iter().enumerate().max_by(|a, b| a.1.1.total_cmp(&b.1.1)).unwrap();
            y[at] += (2e-5 * exact[at].1) as f32;
            assert!(wrong(&y, &exact, 0).is_some());
            y[at] = f32::NAN;
            assert!(wrong(&y, &exact, 0).is_some());
        }
        // The first and last nonzero of the largest row, and the matrix's last, count.
        let longest = (0..m.rows()).max_by_key(|&r| m.offsets[r + 1] - m.offsets[r]).unwrap();
        for j in [m.offsets[longest] as usize, m.offsets[longest + 1] as usize - 1, last] {
            let mut other = m.clone();
            other.indices[j] = (other.indices[j] + 1) % m.columns as u32;
            let exact = other.times(&operand(1, m.columns), 1);
            let y = products(&device, device.capabilities(), &m, &[1]).remove(0);
            assert!(wrong(&y, &exact, 0).is_some(), "nonzero {j} on {}", device.name());
        }
    }
}

#[test]
fn bad_input_is_refused_with_the_row() {
    let device = Device::open(&DeviceOptions::new(Choice::Cpu)).unwrap();
    let refused = |columns: usize, offsets: &[u32], indices: &[u32], values: &[f32], words: &[&str]| {
        let mut rec = device.recording("csr");
        let error = Csr::new(&mut rec, columns, offsets, indices, Values::Each(values)).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{words:?} not in: {error}");
    };
    let ones = [1.0; 3];
    refused(3, &[0, 2, 1, 3], &[0, 1, 2], &ones, &["row 1", "begins at 2", "ends at 1", "ascend"]);
    refused(3, &[1, 2, 3], &[0, 1, 2], &ones, &["row 0", "begin at 0"]);
    refused(3, &[0, 1, 2], &[0, 1, 2], &ones, &["row, 1", "ends at 2", "indices, 3"]);
    refused(3, &[0, 1, 4], &[0, 1, 2], &ones, &["row, 1", "ends at 4", "indices, 3"]);
    refused(3, &[0, 0, 2, 3], &[0, 3, 7], &ones, &["column 3", "row 1", "below 3"]);
    refused(3, &[0, 1, 1, 3], &[0, 1, u32::MAX], &ones, &["column 4294967295", "row 2", "below 3"]);
    refused(3, &[0, 3], &[0, 1, 2], &ones[..2], &["values", "2 given", "3"]);
    refused(3, &[0], &[], &[], &["offsets", "1 given", "at least 2"]);
    refused(3, &[], &[], &[], &["offsets", "0 given"]);
    refused(0, &[0, 0], &[], &[], &["columns", "at least 1"]);

    let mut rec = device.recording("csr");
    let a = Csr::new(&mut rec, 4, &[0, 1, 2], &[3, 0], Values::Shared(2.0)).unwrap();
    let mut tensor = |n| rec.constant("x", &vec![0f32; n]).unwrap();
    let (four, two, eight) = (tensor(4), tensor(2), tensor(8));
    let y = [2, 4, 3].map(|n| rec.scratch::<f32>("y", n).unwrap());
    let says = |rec: &mut Recording, x, k, y, words: &[&str]| {
        let error = a.matmul(rec, x, k, y).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{words:?} not in: {error}");
    };
    says(&mut rec, two, 1, y[0], &["x", "2 elements", "4 columns"]);
    says(&mut rec, four, 1, y[2], &["y", "3 elements", "2 rows"]);
    says(&mut rec, eight, 2, y[0], &["y", "2 elements", "2 rows", "× 2"]);
    says(&mut rec, four, 2, y[1], &["x", "4 elements", "4 columns", "× 2"]);
    says(&mut rec, four, 0, y[0], &["0 columns", "at least 1"]);
    says(&mut rec, four, usize::MAX, y[0], &["x", "4 elements"]);
    assert!(a.matmul(&mut rec, eight, 2, y[1]).is_ok());
}

fn small() -> impl Strategy<Value = (u64, usize, Vec<usize>, usize)> {
    let degree = prop_oneof![4 => 0usize..4, 2 => 0usize..70, 1 => 0usize..3000];
    (0u64..1 << 40, 1usize..200, prop::collection::vec(degree, 1..60), 1usize..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn random_matrices((seed, columns, degrees, k) in small()) {
        let m = Matrix::random(seed, columns, &degrees);
        for device in common::devices() {
            check_on(&device, device.capabilities(), &m, &[1, k], 0);
            let capabilities = Capabilities { max_tensor_bytes: 4 * 4097, ..device.capabilities().clone() };
            check_on(&device, &capabilities, &m, &[1, k], 2 + m.indices.len() / 2048);
        }
    }
}
