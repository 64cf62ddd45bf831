//! What the executor costs: 1,000 small dispatches replayed, beside a hand-written wgpu loop over the same kernel with
//! prepared pipelines and bind groups, on every adapter: in turns, forth and back, with a control in which the loop is
//! held against itself. A replay is thousands of hand-overs between threads of the driver, and what else the machine does
//! decides how long they take: there, the ratio of the processor times says more than that of the clock.
//!
//! On the native path: what a command costs, and from how much work on a second thread pays.

mod by_hand;

use std::time::{Duration, Instant};

use by_hand::{ByHand, DISPATCHES, WORDS};
use rayon::prelude::*;
use spikewave::device::{Choice, Control, Cpu, Device, DeviceOptions, gpu};
use spikewave::ops;
use spikewave::recording::Recording;

/// Runs that do not count.
const WARM_UP: usize = 3;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// What this process's threads have had of the processors, which they wait for where others want them; Linux tells.
fn processor() -> Option<Duration> {
    let mut total = 0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(total))
}

/// One side's times over another's in the same round: the median, and the 95 % interval of it by order statistics.
fn ratio(one: &[Duration], other: &[Duration]) -> [f64; 3] {
    let mut ratios: Vec<f64> = one.iter().zip(other).map(|(one, other)| one.div_duration_f64(*other)).collect();
    ratios.sort_by(f64::total_cmp);
    let n = ratios.len();
    let aside = (0.98 * (n as f64).sqrt()).ceil() as usize;
    [n / 2, (n / 2).saturating_sub(aside), (n / 2 + aside).min(n - 1)].map(|at| ratios[at])
}

/// The times of three sides by the clock and of the processors, in rounds, forth and back by turns; the first do not
/// count.
fn rounds_of(rounds: usize, sides: [&mut dyn FnMut(); 3]) -> [[Vec<Duration>; 3]; 2] {
    let mut times = [const { [const { Vec::new() }; 3] }; 2];
    for round in 0..rounds + WARM_UP {
        for turn in 0..3 {
            let who = if round % 2 == 0 { turn } else { 2 - turn };
            let (had, begun) = (processor(), Instant::now());
            sides[who]();
            let took = begun.elapsed();
            times[0][who].push(took);
            times[1][who].extend(processor().zip(had).map(|(now, then)| now.saturating_sub(then)));
        }
    }
    times.map(|times| times.map(|times| times.into_iter().skip(WARM_UP).collect()))
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
        median((0..rounds + WARM_UP).map(|_| once()).skip(WARM_UP).collect())
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
    let bench = std::env::args().any(|a| a == "--bench");
    native(if bench { 101 } else { 5 });
    let rounds = if bench { 201 } else { 5 };
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
        let once = || assert_eq!(by_hand.run(), DISPATCHES as u32 - 1);
        let mut replay = || {
            let out = prepared.run(&[], &Control::default()).expect("it runs");
            assert_eq!(out.get(last).expect("it is downloaded")[WORDS - 1], DISPATCHES as u32 - 1);
        };
        let [clock, had] = rounds_of(rounds, [&mut { once }, &mut { once }, &mut replay]);
        println!("replay of {DISPATCHES} dispatches on {}:", report.choose_by());
        for (what, [control, measured, replayed]) in [("by the clock", clock), ("processors", had)] {
            if measured.is_empty() {
                continue;
            }
            let [[middle, low, high], [same, least, most]] = [&replayed, &control].map(|times| ratio(times, &measured));
            println!(
                "  {what}: {:.1?}, by hand {:.1?}, ratio {middle:.3} ({low:.3} to {high:.3}); \
                 by hand twice {same:.3} ({least:.3} to {most:.3})",
                median(replayed),
                median(measured),
            );
        }
    }
}
