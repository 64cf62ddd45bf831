use spikewave::device::{Choice, Device, DeviceOptions};
use spikewave::kernel::Tensor;
use spikewave::ops::{self, Gemm};
use spikewave::recording::Recording;

use super::common::devices;
use super::{noise, refusal, run, run_as, worst};

const EPS: f64 = 1.0 / (1 << 24) as f64;

struct Case {
    g: Gemm,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Case {
    fn new(g: Gemm, share_a: bool, share_b: bool) -> Self {
        let copies = |share: bool| if share { 1 } else { g.batch };
        let (a, b) = (noise(1, copies(share_a) * g.m * g.k), noise(2, copies(share_b) * g.k * g.n));
        Self { g, a, b, c: noise(3, g.batch * g.m * g.n) }
    }

    fn record(&self) -> impl Fn(&mut Recording) -> spikewave::Result<Tensor<f32>> {
        move |rec| {
            let (a, b) = (rec.constant("a", &self.a)?, rec.constant("b", &self.b)?);
            let c = if self.g.beta == 0.0 { rec.scratch("c", self.c.len())? } else { rec.state("c", &self.c)? };
            ops::gemm(rec, &self.g, a, b, c).map(|()| c)
        }
    }

    fn on(&self, device: &Device) -> Vec<f32> {
        run(device, self.record())
    }

    /// The definition in f64, and the size of the terms of each sum.
    fn exact(&self) -> (Vec<f64>, Vec<f64>) {
        let g = &self.g;
        let (mut y, mut size) = (Vec::new(), Vec::new());
        for i in 0..g.batch * g.m * g.n {
            let (matrix, r, q) = (i / (g.m * g.n), i / g.n % g.m, i % g.n);
            let a = &self.a[if self.a.len() == g.m * g.k { 0 } else { matrix * g.m * g.k }..];
            let b = &self.b[if self.b.len() == g.k * g.n { 0 } else { matrix * g.k * g.n }..];
            let (mut s, mut t) = (0.0, 0.0);
            for k in 0..g.k {
                let u = f64::from(a[if g.transpose_a { k * g.m + r } else { r * g.k + k }]);
                let v = f64::from(b[if g.transpose_b { q * g.k + k } else { k * g.n + q }]);
                (s, t) = (s + u * v, t + (u * v).abs());
            }
            let kept = f64::from(g.beta) * f64::from(self.c[i]);
            y.push(f64::from(g.alpha) * s + kept);
            size.push(f64::from(g.alpha).abs() * t + kept.abs());
        }
        (y, size)
    }

    fn check(&self, devices: &[Device]) {
        let (exact, size) = self.exact();
        for device in devices {
            // A chain of k additions and k products, then alpha and beta.
            let bound = (self.g.k as f64 + 4.0) * EPS;
            for (kernels, got) in [
                ("its own", self.on(device)),
                ("a GPU's", run_as(device, false, self.record())),
                ("a software driver's", run_as(device, true, self.record())),
            ] {
                let (d, at) = worst(&got, &exact, |i| size[i].max(1e-30));
                let name = device.name();
                assert!(d <= bound, "{:?}: element {at} is {d:e} off on {name} by {kernels} kernels", self.g);
            }
        }
    }
}

#[test]
fn every_small_shape() {
    let all = devices();
    let mut count = 0;
    for batch in [1, 3] {
        for m in [1, 2, 5, 9] {
            for n in [1, 3, 4, 17] {
                for k in [1, 2, 7, 16, 17] {
                    for form in 0..16 {
                        let mut g = Gemm::new(batch, m, n, k);
                        (g.transpose_a, g.transpose_b) = (form & 1 != 0, form & 2 != 0);
                        if form & 4 != 0 {
                            (g.alpha, g.beta) = (-1.5, 0.25);
                        }
                        count += 1;
                        let on = if count % 67 == 0 { &all } else { &all[..1] };
                        Case::new(g, form & 8 != 0, m == 5).check(on);
                    }
                }
            }
        }
    }
}

#[test]
fn edges_of_tiles_and_long_sums() {
    let all = devices();
    for (i, m) in [63, 64, 65].into_iter().enumerate() {
        for n in [127, 128, 129] {
            let mut g = Gemm::new(2, m, n, 15 + i);
            (g.transpose_a, g.transpose_b) = (i == 1, n == 128);
            Case::new(g, i == 0, i == 1).check(&all);
        }
    }
    Case::new(Gemm::new(1, 3, 70, 9001), false, false).check(&all);
    Case::new(Gemm { alpha: 0.5, beta: 2.0, transpose_b: true, ..Gemm::new(1, 5, 6, 8200) }, false, false).check(&all);
    Case::new(Gemm::new(1, 200, 300, 250), false, false).check(&all);
    // Rows of whole fours, around the 16 × 128 of a software driver's workgroup.
    for (i, m) in [1, 8, 15, 16, 17].into_iter().enumerate() {
        for n in [4, 124, 128, 132, 260] {
            let g = Gemm { alpha: -1.5, beta: if i % 2 == 0 { 0.25 } else { 0.0 }, ..Gemm::new(2, m, n, 4 + 8 * i) };
            Case::new(g, i == 1, i == 2).check(&all);
        }
    }
    Case::new(Gemm { beta: 0.5, ..Gemm::new(1, 9, 36, 8200) }, false, false).check(&all);
}

#[test]
fn threads_change_no_bit() {
    for g in [Gemm::new(1, 300, 500, 700), Gemm::new(40, 9, 10, 11)] {
        let case = Case::new(g, false, false);
        let on = |threads| {
            let options = DeviceOptions { threads: Some(threads), ..DeviceOptions::new(Choice::Cpu) };
            case.on(&Device::open(&options).unwrap())
        };
        let one = on(1);
        assert!(one == on(2) && one == on(5), "{g:?}");
    }
}

#[test]
fn wrong_sizes_are_refused() {
    let product = |g: Gemm, c: usize| {
        refusal(|rec| {
            let (a, b) = (rec.constant("a", &[0f32; 12])?, rec.constant("b", &[0f32; 20])?);
            let c = rec.scratch("c", c)?;
            ops::gemm(rec, &g, a, b, c)
        })
    };
    assert_eq!(product(Gemm::new(1, 3, 5, 4), 14), "invalid gemm: c: 14 elements, must be 1 matrices of 3 × 5");
    assert_eq!(product(Gemm::new(1, 3, 5, 0), 15), "invalid gemm: k: 0, must be in 1..2^31");
    assert_eq!(product(Gemm::new(2, 3, 6, 4), 36), "invalid gemm: b: 20 elements, must be 2 matrices of 4 × 6");
}
