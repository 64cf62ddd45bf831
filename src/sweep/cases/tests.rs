use std::collections::BTreeSet;

use super::*;
use crate::device::{Choice, Control, Device, DeviceOptions};
use crate::kernel::{self, Kernel};

fn native() -> Capabilities {
    Capabilities { native: true, ..Capabilities::default() }
}

/// Every case and variant in its smallest size.
fn smallest() -> impl Iterator<Item = (&'static Case, &'static str)> {
    ALL.iter().flat_map(|case| case.variants.iter().map(move |variant| (case, *variant)))
}

#[test]
fn together_they_dispatch_every_kernel() {
    // Software drivers, for which some ops have kernels of their own, and others.
    for software in [true, false] {
        let capabilities = Capabilities { software, ..Capabilities::default() };
        let mut dispatched = BTreeSet::new();
        for (case, variant) in smallest() {
            let problem = case.problem(&capabilities, case.sizes[0], variant).unwrap();
            dispatched.extend(problem.kernels().into_iter().map(Kernel::label));
        }
        let missing: Vec<_> = kernel::ALL.iter().map(|k| k.label()).filter(|k| !dispatched.contains(k)).collect();
        assert!(missing.is_empty(), "no case dispatches {missing:?}, software: {software}");
    }
}

#[test]
fn every_case_is_as_it_says() {
    let names: BTreeSet<_> = ALL.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), ALL.len(), "two cases have one name");
    for (case, variant) in smallest() {
        assert!(case.sizes.is_sorted() && !case.sizes.is_empty() && find(case.name).is_some(), "{}", case.name);
        let gpu = case.problem(&Capabilities::default(), case.sizes[0], variant).unwrap();
        let cpu = case.problem(&native(), case.sizes[0], variant).unwrap();
        assert!(!gpu.outputs.is_empty() && gpu.bytes > 0, "{} {variant}", case.name);
        let lengths = |p: &Problem| -> Vec<(u64, Agreement)> {
            p.outputs.iter().map(|(t, a)| (p.recording.info(*t).unwrap().bytes, *a)).collect()
        };
        assert_eq!(lengths(&gpu), lengths(&cpu), "{} {variant}", case.name);
        assert_eq!((gpu.bytes, gpu.operations), (cpu.bytes, cpu.operations), "{} {variant}", case.name);
    }
    let error = ALL[0].problem(&native(), 1, "other").unwrap_err().to_string();
    assert!(error.contains("\"other\"") && error.contains("default"), "{error}");
}

/// The same at every run and every time a problem is made, and not only zeros.
#[test]
fn results_repeat() {
    let device = Device::open(&DeviceOptions { poison: true, ..DeviceOptions::new(Choice::Cpu) }).unwrap();
    for (case, variant) in smallest() {
        let make = || case.problem(device.capabilities(), case.sizes[0], variant).unwrap();
        let run = |problem: &Problem, times: usize| {
            let mut prepared = device.prepare(&problem.recording).unwrap();
            let mut outputs = Outputs::default();
            for _ in 0..times {
                outputs = prepared.run(&problem.feeds(), &Control::default()).unwrap();
            }
            problem.results(&outputs).unwrap().into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let (once, again) = (make(), make());
        let first = run(&once, 1);
        assert!(first == run(&once, 3), "{} {variant} gives something else at the third run", case.name);
        assert!(first == run(&again, 1), "{} {variant} gives something else when made again", case.name);
        assert!(first.iter().all(|bytes| !bytes.is_empty()), "{} {variant}", case.name);
        for (bytes, (tensor, agreement)) in first.iter().zip(&once.outputs) {
            let name = &once.recording.info(*tensor).unwrap().name;
            assert!(bytes.iter().any(|b| *b != 0), "{} {variant}: \"{name}\" is zero", case.name);
            let finite = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite();
            let within = *agreement != Agreement::Bits;
            assert!(!within || bytes.chunks_exact(4).all(finite), "{} {variant}: \"{name}\"", case.name);
        }
    }
}

#[test]
fn deviations() {
    let bytes = |values: &[f32]| bytemuck::cast_slice::<_, u8>(values).to_vec();
    let expected = bytes(&[1.0, -4.0, f32::NAN]);
    let off = |got: &[f32], agreement: Agreement| agreement.deviation(&expected, &bytes(got));
    let within = Agreement::Within(1e-3);
    assert_eq!(off(&[1.0, -4.0, f32::NAN], Agreement::Bits), 0.0);
    assert_eq!(off(&[1.0, -4.0, f32::NAN], within), 0.0);
    assert!((off(&[1.002, -4.0, f32::NAN], within) - 0.5).abs() < 1e-3);
    assert!(off(&[1.01, -4.0, f32::NAN], within) > 1.0);
    for wrong in [&[1.0, -4.0, 0.0][..], &[f32::NAN, -4.0, f32::NAN], &[1.0, f32::INFINITY, f32::NAN], &[1.0, -4.0]] {
        assert_eq!(off(wrong, within), f64::INFINITY, "{wrong:?}");
    }
    assert_eq!(off(&[1.0f32.next_up(), -4.0, f32::NAN], Agreement::Bits), f64::INFINITY);
    // Zero everywhere: no error is small beside it.
    assert_eq!(within.deviation(&bytes(&[0.0]), &bytes(&[1e-20])), f64::INFINITY);
}
