//! What the executor costs: 1,000 small dispatches replayed, beside a hand-written wgpu loop over the same kernel with
//! prepared pipelines and bind groups. Both in turn, medians of the pairs; on every adapter.
//!
//! On the native path: what a command costs, and from how much work on a second thread pays.

mod by_hand;

use std::time::{Duration, Instant};

use by_hand::{ByHand, DISPATCHES, WORDS};
use rayon::prelude::*;
use spikewave::device::{Choice, Control, Cpu, Device, DeviceOptions, gpu};
use spikewave::ops;
use spikewave::recording::Recording;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The native executor: what a run and a command cost, with and without a deadline.
fn native(rounds: usize) {
    const COMMANDS: usize = 10_000;
    let cpu = Cpu::new(&DeviceOptions::new(Choice::Cpu)).expect("the native path opens");
    let run = |commands: usize, control: &Control<'_>| {
        let mut rec = Recording::new("replay", cpu.capabilities());
        let tensor = rec.state("t", &[0u32; 64]).expect("a small tensor");
        for i in 0..commands {
            ops::fill(&mut rec, tensor, i as u32).expect("a valid op");
        }
        let mut prepared = cpu.prepare(&rec).expect("it fits");
        let mut once = || {
            let begun = Instant::now();
            prepared.run(&[], control).expect("it runs");
            begun.elapsed()
        };
        median((0..rounds + 3).map(|_| once()).skip(3).collect())
    };
    let deadline = Control { timeout: Some(Duration::from_secs(60)), ..Control::default() };
    // The difference leaves out what a run costs once.
    let each = |control: &Control<'_>| (run(COMMANDS, control) - run(1, control)).as_nanos() as usize / COMMANDS;
    println!(
        "replay on {}: a run {:.1?}, a command {} ns, with a deadline {} ns",
        cpu.name(),
        run(1, &Control::default()),
        each(&Control::default()),
        each(&deadline)
    );
    cpu.install(|| fork(20 * rounds));
}

/// A short loop in one task and in two, after as much work on one thread as lets the others fall asleep, and after none:
/// from how many elements on a second thread pays.
fn fork(rounds: usize) {
    let work = |y: &mut [f32], x: &[f32]| y.iter_mut().zip(x).for_each(|(y, x)| *y += 0.5 * x);
    for elements in [64usize, 1 << 10, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16, 1 << 18] {
        let (x, mut y) = (vec![1.5f32; elements], vec![0f32; elements]);
        let mut measure = |tasks: usize, pause: Duration| {
            let mut once = || {
                let begun = Instant::now();
                while begun.elapsed() < pause {}
                let begun = Instant::now();
                let each = elements / tasks;
                std::hint::black_box(&mut y).par_chunks_mut(each).zip(x.par_chunks(each)).for_each(|(y, x)| work(y, x));
                begun.elapsed()
            };
            median((0..rounds).map(|_| once()).collect())
        };
        let (asleep, awake) = (Duration::from_micros(100), Duration::ZERO);
        println!(
            "{elements} elements: one task {:.2?}, two tasks {:.2?}, two tasks with threads awake {:.2?}",
            measure(1, asleep),
            measure(2, asleep),
            measure(2, awake)
        );
    }
}

fn main() {
    // `cargo bench` says so; a test run takes a few rounds only.
    let rounds = if std::env::args().any(|a| a == "--bench") { 101 } else { 5 };
    native(rounds);
    let adapters = by_hand::adapters();
    if adapters.is_empty() {
        println!("replay: no adapter; nothing measured");
    }
    for (adapter, report) in adapters.iter().zip(gpu::adapters()) {
        let by_hand = ByHand::new(adapter);
        let options = DeviceOptions::new(Choice::Named(report.choose_by()));
        let device = Device::open(&options).expect("the adapter opens");
        let (rec, last) = by_hand::recording(device.capabilities());
        let mut prepared = device.prepare(&rec).expect("it fits");
        let mut times = (Vec::new(), Vec::new());
        for _ in 0..rounds + 3 {
            let begun = Instant::now();
            assert_eq!(by_hand.run(), DISPATCHES as u32 - 1);
            times.0.push(begun.elapsed());
            let begun = Instant::now();
            let out = prepared.run(&[], &Control::default()).expect("it runs");
            times.1.push(begun.elapsed());
            assert_eq!(out.get(last).expect("it is downloaded")[WORDS - 1], DISPATCHES as u32 - 1);
        }
        let ratios: Vec<f64> = times.0[3..].iter().zip(&times.1[3..]).map(|(a, b)| b.div_duration_f64(*a)).collect();
        let (by_hand, replayed) = (median(times.0.split_off(3)), median(times.1.split_off(3)));
        let mut sorted = ratios;
        sorted.sort_by(f64::total_cmp);
        println!(
            "replay of {DISPATCHES} dispatches on {}: {replayed:.1?}, by hand {by_hand:.1?}, ratio {:.3} (median of pairs {:.3})",
            report.choose_by(),
            replayed.div_duration_f64(by_hand),
            sorted[sorted.len() / 2],
        );
    }
}
