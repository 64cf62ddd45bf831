//! Probes of a state: which steps are sampled, into which rows, on every device.

mod common;

use spikewave::device::Control;
use spikewave::ops::{Bus, PoissonInput, StateProbe, poisson_drive};

#[test]
fn samples_of_chosen_elements_at_multiples_of_the_interval() {
    let elements = [130, 64, 64, 0, 701];
    for device in common::devices() {
        for (interval, steps) in [(1, 4), (3, 7), (10, 4), (5, 5)] {
            let mut rec = device.recording("probe");
            let bus = Bus::new(&mut rec, 704, steps, 1, 1, true).unwrap();
            // The drive of a recording of as many steps is a state whose words all differ from step to step.
            let input = PoissonInput {
                first: 0,
                size: 704,
                stream: 0,
                mean: 900.0,
                weight: 1,
                plane: 0,
                start: 0,
                stop: u32::MAX,
            };
            poisson_drive(&mut rec, &bus, &input).unwrap();
            let drive = bus.drive.unwrap();
            let state = drive.cast::<u32>().unwrap();
            // One probe a step of the recording looks at that step's row.
            let of = |k: u32| elements.map(|i| k * 704 + i);
            let probes: Vec<StateProbe> =
                (0..steps).map(|k| StateProbe::new(&mut rec, &bus, state, &of(k), interval).unwrap()).collect();
            for (k, probe) in probes.iter().enumerate() {
                probe.step(&mut rec, &bus, k as u32).unwrap();
                rec.download(probe.samples()).unwrap();
            }
            // And one of all steps, of one row: each sample is the same words.
            let every = StateProbe::new(&mut rec, &bus, state, &of(0), interval).unwrap();
            (0..steps).for_each(|k| every.step(&mut rec, &bus, k).unwrap());
            rec.download(every.samples()).unwrap();
            rec.download(drive).unwrap();
            let mut prepared = device.prepare(&rec).unwrap();
            for (first, count) in [(0, steps), (1, steps), (8, steps - 1), (1_000_003, steps)] {
                let what = format!("every {interval}, {count} of {steps} steps from {first} on {}", device.name());
                let clock = Bus::clock(first, count, 3);
                let out = prepared.run(&[bus.clock.feed(&clock)], &Control::default()).unwrap();
                let drive = out.get(drive).unwrap();
                let mut row = 0;
                for k in 0..count {
                    if !(first + k + 1).is_multiple_of(interval) {
                        continue;
                    }
                    let samples = &out.get(probes[k as usize].samples()).unwrap()[row * 5..][..5];
                    assert_eq!(samples, of(k).map(|i| drive[i as usize] as u32), "step {k}, {what}");
                    let samples = &out.get(every.samples()).unwrap()[row * 5..][..5];
                    assert_eq!(samples, of(0).map(|i| drive[i as usize] as u32), "step {k}, {what}");
                    row += 1;
                }
                assert_eq!(every.rows(first, count), row, "{what}");
                assert!(every.samples().len() >= row * 5 && every.samples().len() < row * 5 + 10, "{what}");
            }
        }
    }
}

#[test]
fn the_last_steps_are_sampled_and_none_behind() {
    let last = u32::MAX;
    for device in common::devices() {
        for (first, count) in [(last - 4, 4), (last - 4, 2), (last - 2, 7), (last, 3)] {
            let mut rec = device.recording("probe");
            let bus = Bus::new(&mut rec, 32, 7, 1, 1, false).unwrap();
            // A state that a step changes before its probe, to the step's number in the recording and one.
            let numbers = rec.constant("numbers", &[1u32, 2, 3, 4, 5, 6, 7]).unwrap();
            let state = rec.scratch("state", 1).unwrap();
            rec.copy(numbers, 0, state, 0, 1).unwrap();
            let probe = StateProbe::new(&mut rec, &bus, state, &[0], 1).unwrap();
            rec.clear(probe.samples()).unwrap();
            for k in 0..7 {
                rec.copy(numbers, k as usize, state, 0, 1).unwrap();
                probe.step(&mut rec, &bus, k).unwrap();
            }
            rec.download(probe.samples()).unwrap();
            let clock = Bus::clock(first, count, 0);
            let mut prepared = device.prepare(&rec).unwrap();
            let out = prepared.run(&[bus.clock.feed(&clock)], &Control::default()).unwrap();
            // Step 2^32 - 2 is the last.
            let sampled = count.min(last - first);
            let expected: Vec<u32> = (1..=7).map(|n| if n <= sampled { n } else { 0 }).collect();
            let what = format!("{count} steps from {first} on {}", device.name());
            assert_eq!(out.get(probe.samples()).unwrap(), expected, "{what}");
            assert_eq!(probe.rows(first, count), sampled as usize, "{what}");
        }
    }
}

#[test]
fn bad_probes_are_refused() {
    let device = &common::devices()[0];
    let mut rec = device.recording("probe");
    let bus = Bus::new(&mut rec, 32, 4, 1, 1, false).unwrap();
    let state = rec.state("state", &[0u32; 10]).unwrap();
    for (elements, interval, word) in
        [(&[10u32][..], 1, "elements"), (&[][..], 1, "samples"), (&[9][..], 0, "interval")]
    {
        let error = StateProbe::new(&mut rec, &bus, state, elements, interval).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    // Kernels' indices of steps and neurons have 32 bits.
    for (stride, steps, planes, driven) in
        [(1 << 20, 1 << 12, 1, false), (1 << 20, 1 << 11, 2, true), (1 << 31, 1, 2, false)]
    {
        let mut rec = device.recording("bus");
        let error = Bus::new(&mut rec, stride, steps, 1, planes, driven).unwrap_err().to_string();
        assert!(error.contains("2^32"), "{error}");
    }
    let probe = StateProbe::new(&mut rec, &bus, state, &[9], 2).unwrap();
    assert!(probe.step(&mut rec, &bus, 4).unwrap_err().to_string().contains("step"));
}
