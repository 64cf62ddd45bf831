//! Budgets, job by job and on every device: what a plan announces is what the pool and the allocator then hold; smaller
//! budgets give the same bits, down to the least that the plan names, and nothing below it runs.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Debug;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use spikewave::decode::simulate::Simulation as Recorded;
use spikewave::decode::{
    BinEdges, EncodingModel, FitOptions, Likelihood, LikelihoodOptions, LocalLikelihood, Session, TimeBins,
};
use spikewave::device::{Control, Device, DeviceOptions, MemoryPlan, Stats};
use spikewave::gw::bank::Bank;
use spikewave::gw::condition;
use spikewave::gw::detect::Detector;
use spikewave::gw::search::{Search, Templates};
use spikewave::gw::spectrum::{Average, Welch};
use spikewave::gw::strain::Strain;
use spikewave::gw::synthetic::{self, Simulation as Simulated};
use spikewave::gw::whiten::Method;
use spikewave::network::models::{Drive, InitialPotential, MicrocircuitOptions, microcircuit};
use spikewave::network::{Network, Simulation, SimulationOptions};
use spikewave::{Error, Result};

/// Counts what is given out aligned to cache lines: the memory of the native path's recordings, and nothing else here.
struct Counting;

static NOW: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

const LINE: usize = 64;

impl Counting {
    fn add(layout: Layout) {
        if layout.align() == LINE {
            let now = NOW.fetch_add(layout.size() as u64, Ordering::Relaxed) + layout.size() as u64;
            PEAK.fetch_max(now, Ordering::Relaxed);
        }
    }
}

// SAFETY: everything is the system's allocator's; what is counted beside it is no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if layout.align() == LINE {
            NOW.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The pool gives out 4 KiB at least, and first contents pass through up to 64 KiB on top of the plan.
const SLACK: u64 = 128 << 10;

/// What a plan says.
#[derive(Debug, Clone, Copy)]
struct Announced {
    /// Bytes of the device's memory.
    planned: u64,
    /// Bytes that count against the budget: those, and for some jobs what the host holds where both are the same memory.
    counted: u64,
    /// The smallest budget.
    least: u64,
}

impl From<MemoryPlan> for Announced {
    fn from(plan: MemoryPlan) -> Self {
        let parts: u64 = plan.parts.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(parts, plan.planned_bytes, "{plan:?}");
        Self { planned: plan.planned_bytes, counted: plan.planned_bytes, least: plan.least_bytes }
    }
}

trait Job {
    fn name(&self) -> &'static str;
    /// The least budget is at most so much of the comfortable size: a tenth, or more where it says why.
    fn most_least(&self) -> f64 {
        0.1
    }
    fn plan(&self, device: &Device) -> Result<Announced>;
    /// Whether all its memory on the native path is the recordings' own; synapses stay where they were built.
    fn in_lines(&self) -> bool {
        true
    }
    /// The result with every bit, as text.
    fn run(&self, device: &Device) -> Result<String>;
}

fn bits(result: &impl Debug) -> String {
    format!("{result:?}")
}

static STRAINS: LazyLock<[Strain; 2]> = LazyLock::new(|| {
    let mut simulated = Simulated { duration_s: 12, sample_rate_hz: 2048, ..Simulated::bundled() };
    simulated.injection.as_mut().unwrap().gps_time = 1_400_000_006.4;
    [synthetic::HANFORD, synthetic::LIVINGSTON].map(|site| simulated.strain(&site).unwrap())
});

struct SearchJob(Templates);

impl Job for SearchJob {
    fn name(&self) -> &'static str {
        "search"
    }

    fn plan(&self, device: &Device) -> Result<Announced> {
        let [a, b] = &*STRAINS;
        Ok(Search::plan(device, [a, b], &self.0, None)?.memory.into())
    }

    fn run(&self, device: &Device) -> Result<String> {
        let [a, b] = &*STRAINS;
        let r = Search::new(device, [a, b], &self.0, None)?.run(&Control::default(), &|_, _| {})?;
        let found = (&r.found, r.delay_ms, r.network_snr, r.coherent_snr, r.coherent_sign, r.template.index);
        Ok(bits(&(found, r.series.snr)))
    }
}

struct DetectJob;

impl Job for DetectJob {
    fn name(&self) -> &'static str {
        "detect"
    }

    fn plan(&self, device: &Device) -> Result<Announced> {
        let [a, b] = &*STRAINS;
        Ok(Detector::plan(device, [a, b], None)?.memory.into())
    }

    fn run(&self, device: &Device) -> Result<String> {
        let [a, b] = &*STRAINS;
        let found = Detector::new(device, [a, b], None)?.run(&Control::default(), &|_, _| {})?;
        assert!(!found.triggers.is_empty() && found.figure.rasters.iter().all(|(_, spikes)| !spikes.is_empty()));
        Ok(bits(&(found.triggers, found.figure)))
    }
}

/// Windows of a second: of 12 s of data, 23 of them.
fn welch(average: Average) -> Welch {
    let welch = Welch::official(2048.0);
    Welch { length: 2048, overlap: 1024, average, ..welch }
}

struct PsdJob(Average);

impl Job for PsdJob {
    fn name(&self) -> &'static str {
        "psd"
    }

    fn plan(&self, device: &Device) -> Result<Announced> {
        let strain = &STRAINS[0];
        Ok(condition::psd_plan(device, strain, &strain.segments(None)?, &welch(self.0))?.into())
    }

    fn run(&self, device: &Device) -> Result<String> {
        let strain = &STRAINS[0];
        let control = Control::default();
        Ok(bits(&condition::psd(device, strain, &strain.segments(None)?, &welch(self.0), &control)?.values))
    }
}

struct WhitenJob(Method);

impl Job for WhitenJob {
    fn name(&self) -> &'static str {
        match self.0 {
            Method::Official => "whiten, official",
            Method::Truncated { .. } => "whiten, truncated",
            Method::Causal { .. } => "whiten, causal",
        }
    }

    fn most_least(&self) -> f64 {
        match self.0 {
            // One transform of the whole segment, points and bins.
            Method::Official => 0.56,
            // The response is so long that a block of it is the whole segment.
            Method::Truncated { .. } => 0.5,
            Method::Causal { .. } => 0.1,
        }
    }

    fn plan(&self, device: &Device) -> Result<Announced> {
        let segments = STRAINS[0].segments(None)?;
        Ok(condition::whiten_plan(device, (&segments, 2048.0), 2048, self.0)?.into())
    }

    fn run(&self, device: &Device) -> Result<String> {
        let strain = &STRAINS[0];
        let segments = strain.segments(None)?;
        let psd = condition::reference_psd(strain, &segments, &welch(Average::Mean))?;
        Ok(bits(&condition::whiten(device, strain, &segments, &psd, self.0, &Control::default())?))
    }
}

static SESSION: LazyLock<(Session, EncodingModel)> = LazyLock::new(|| {
    let recorded = Recorded { encoding_s: 40.0, decoding_s: 20.0, electrodes: 3, ..Recorded::bundled() };
    let (session, _) = recorded.session().unwrap();
    let fit = FitOptions::default();
    let model = EncodingModel::fit(&session.trajectory, &session.encoding, &session.environment, &fit).unwrap();
    (session, model)
});

struct DecodeJob {
    local: bool,
}

impl Job for DecodeJob {
    fn name(&self) -> &'static str {
        if self.local { "decode, local" } else { "decode" }
    }

    fn most_least(&self) -> f64 {
        // Spikes near the animal are few: what is left is the encoding spikes.
        if self.local { 0.95 } else { 0.1 }
    }

    fn plan(&self, device: &Device) -> Result<Announced> {
        let plan = match self.local {
            true => self.local(device)?.plan().clone(),
            false => self.everywhere(device)?.plan().clone(),
        };
        Ok(Announced { planned: plan.device_bytes, counted: plan.counted_bytes, least: plan.least_bytes })
    }

    fn run(&self, device: &Device) -> Result<String> {
        if self.local {
            return Ok(bits(&self.local(device)?.run(&Control::default())?.0));
        }
        let mut rows: Vec<f32> = Vec::new();
        self.everywhere(device)?.run(0, &Control::default(), &mut |_, some| {
            rows.extend_from_slice(some);
            Ok(())
        })?;
        Ok(bits(&rows))
    }
}

impl DecodeJob {
    fn bins() -> TimeBins {
        TimeBins::new(SESSION.0.time.clone(), BinEdges::HalfOpen, None).unwrap()
    }

    fn everywhere(&self, device: &Device) -> Result<Likelihood> {
        let (session, model) = &*SESSION;
        Likelihood::new(device, model, &Self::bins(), &session.decoding, &LikelihoodOptions::default())
    }

    fn local(&self, device: &Device) -> Result<LocalLikelihood> {
        let (session, model) = &*SESSION;
        let truth = session.decode_trajectory.as_ref().unwrap();
        LocalLikelihood::new(device, model, &Self::bins(), &session.decoding, truth, &LikelihoodOptions::default())
    }
}

struct SimulateJob(Network);

impl Job for SimulateJob {
    fn name(&self) -> &'static str {
        "simulate"
    }

    fn in_lines(&self) -> bool {
        false
    }

    fn most_least(&self) -> f64 {
        // Neurons and synapses, which every step needs: only the steps of a run shrink.
        0.9
    }

    fn plan(&self, device: &Device) -> Result<Announced> {
        let plan = Simulation::plan_of(device, &self.0, &SimulationOptions::default())?;
        let parts: u64 = plan.parts.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(parts, plan.planned_bytes, "{plan:?}");
        Ok(Announced { planned: plan.planned_bytes, counted: plan.planned_bytes, least: plan.least_bytes.unwrap() })
    }

    fn run(&self, device: &Device) -> Result<String> {
        let mut simulation = Simulation::new(device, &self.0, &SimulationOptions::default())?;
        simulation.run(40.0, &Control::default())?;
        let raster = simulation.raster().unwrap();
        assert!(raster.spikes() > 0);
        Ok(bits(&(raster.hash(), raster.spikes())))
    }
}

fn jobs() -> Vec<Box<dyn Job>> {
    let options = MicrocircuitOptions { scale: 0.02, drive: Drive::Poisson, seed: 7, v0: InitialPotential::Original };
    vec![
        Box::new(SearchJob(Templates::Bank(Bank::new(10).unwrap()))),
        Box::new(DetectJob),
        Box::new(PsdJob(Average::Mean)),
        Box::new(PsdJob(Average::Median)),
        Box::new(WhitenJob(Method::Official)),
        Box::new(WhitenJob(Method::Truncated { duration_s: 4.0, high_pass_hz: 20.0 })),
        Box::new(WhitenJob(Method::Causal { duration_s: 0.25, high_pass_hz: 20.0 })),
        Box::new(DecodeJob { local: false }),
        Box::new(DecodeJob { local: true }),
        Box::new(SimulateJob(microcircuit(&options).unwrap())),
    ]
}

fn within_tenth(what: &str, announced: u64, found: u64) {
    let allowed = announced / 10 + SLACK;
    assert!(announced.abs_diff(found) <= allowed, "{what}: {announced} announced, {found} held");
}

/// One run under a budget: the plan and the result.
fn under(job: &dyn Job, device: &Device) -> Result<(Announced, String, Stats)> {
    let announced = job.plan(device)?;
    PEAK.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
    let before = NOW.load(Ordering::Relaxed);
    let result = job.run(device)?;
    let stats = device.stats();
    let what = format!("{} on {}", job.name(), device.name());
    // The pool holds what was planned, to the byte but for what a job leaves idle.
    within_tenth(&format!("{what}, pool"), announced.planned, stats.memory.peak_bytes);
    assert!(stats.memory.peak_bytes <= stats.memory.budget_bytes, "{what}: {stats:?}");
    match stats.allocator {
        Some(held) => within_tenth(&format!("{what}, allocator"), announced.planned, held.peak_bytes - held.own_bytes),
        // Of the native path the system's allocator is asked. Recordings are there beside what is made of them, and a run
        // hands out its results, which are in such memory too.
        None if matches!(device, Device::Cpu(_)) && job.in_lines() => {
            let held = PEAK.load(Ordering::Relaxed) - before;
            assert!(held + SLACK >= announced.planned * 9 / 10, "{what}: {announced:?}, {held} held");
        }
        None => {}
    }
    Ok((announced, result, stats))
}

/// A run opens some 50 devices an adapter, each with its self-test: half a minute on two free cores with one software
/// driver, and more where others work too.
#[test]
fn every_budget_down_to_the_least_gives_the_same_bits_and_none_below_it_runs() {
    let _turn = common::turn();
    let started = std::time::Instant::now();
    let reports = common::open_all(&DeviceOptions::default()).len();
    let (mut table, mut over) = (String::new(), Vec::new());
    for at in 0..reports {
        let open = |budget: u64| {
            let options = DeviceOptions { memory_budget: Some(budget), ..DeviceOptions::default() };
            common::open_one(at, &options)
        };
        for job in jobs() {
            let name = job.name();
            let device = open(2 << 30);
            let (comfortable, expected, _) = under(&*job, &device).unwrap_or_else(|e| panic!("{name}: {e}"));
            let Announced { counted, least, .. } = comfortable;
            let share = least as f64 / counted as f64;
            if share > job.most_least() {
                over.push(format!("{name} on {}: {share:.3} of {comfortable:?}", device.name()));
            }
            table += &format!("{:<24} {name:<18} {counted:>10} {least:>10} {:>6.1} %\n", device.name(), 100.0 * share);
            drop(device);
            // The comfortable size itself is enough; then less and less, and the least.
            let budgets = [1, 3, 10].map(|part| counted / part).into_iter().filter(|b| *b > least);
            for budget in budgets.chain([least]) {
                let device = open(budget);
                let (announced, result, _) =
                    under(&*job, &device).unwrap_or_else(|e| panic!("{name} with {budget} on {}: {e}", device.name()));
                assert!(announced.counted <= budget && announced.least == least, "{name}: {announced:?}");
                assert!(result == expected, "{name} with {budget} on {}: other bits", device.name());
            }
            let device = open(least - 1);
            match job.run(&device) {
                Err(Error::OverBudget { least: Some(named), .. }) => assert_eq!(named, least, "{name}"),
                other => panic!("{name} with {} on {}: {:?}", least - 1, device.name(), other.map(|r| r.len())),
            }
        }
    }
    println!("device, job, comfortable, least\n{table}{:.1} s", started.elapsed().as_secs_f64());
    assert!(over.is_empty(), "{over:#?}");
}
