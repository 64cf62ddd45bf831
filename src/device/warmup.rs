//! Making a device ready before its first run, stage by stage.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::gpu::Special;
use super::{Control, Device, Feed, Gpu, Prepared, Specialised};
use crate::kernel::{self, AnyTensor, Kernel, STAGES};
use crate::recording::{Command, Recording};
use crate::{Error, Result};

/// How far a warmup is; given after each kernel.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WarmupProgress<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// The kernel that became ready.
    pub kernel: &'a str,
    /// Kernels that are ready, and all.
    pub done: usize,
    /// All kernels of all stages.
    pub total: usize,
    /// How far the specialised kernels are.
    pub specialised: Specialised,
}

/// What a warmup did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WarmupReport {
    /// The device.
    pub device: String,
    /// The six stages, in order.
    pub stages: Vec<WarmupStage>,
    /// The pipeline cache file; `None` where the backend has none.
    pub cache: Option<CacheReport>,
}

/// One stage.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WarmupStage {
    /// Its name, of [`STAGES`].
    pub name: &'static str,
    /// Its kernels; none on the native executor, which has nothing to compile.
    pub kernels: Vec<WarmupKernel>,
    /// From the request to the last kernel being ready.
    pub compile_ms: f64,
    /// The first run: on a GPU every kernel over no workgroup, in the last stage the application's recordings.
    pub first_dispatch_ms: Option<f64>,
    /// The second run of the same.
    pub second_dispatch_ms: Option<f64>,
}

/// One kernel.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WarmupKernel {
    /// `name` or `name.variant`.
    pub label: String,
    /// Its own compilation, shader translation and driver together.
    pub compile_ms: f64,
    /// The cache file held it.
    pub cache_hit: bool,
    /// Kernels that the device had compiled before it.
    pub compiled_before: u64,
}

/// The pipeline cache file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CacheReport {
    /// The file.
    pub path: PathBuf,
    /// A whole file of this very driver was found.
    pub hit: bool,
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The kernels that ops may take on this device.
fn kernels_of(gpu: &Gpu) -> Vec<&'static Kernel> {
    let software = gpu.capabilities().software;
    kernel::ALL.iter().copied().filter(|k| k.is_for(software)).collect()
}

impl Device {
    /// Compiles every kernel that ops may take here, on worker threads, stage by stage, and runs each once before it is
    /// needed; then runs the application's recordings, twice, with inputs of zeros. Memory that they took is kept for
    /// reuse.
    ///
    /// # Errors
    /// `Kernel` for the first kernel that a driver refuses; what [`prepare`](Self::prepare) and a run give.
    pub fn warmup(
        &self,
        recordings: &[&Recording],
        on_progress: &(dyn Fn(&WarmupProgress<'_>) + Sync),
    ) -> Result<WarmupReport> {
        let all = match self {
            Self::Cpu(_) => Vec::new(),
            Self::Gpu(gpu) => kernels_of(gpu),
        };
        let of_stage = |stage| all.iter().copied().filter(|k| k.stage == stage).collect::<Vec<_>>();
        let (total, mut done) = (all.len(), 0);
        let mut stages = Vec::new();
        for (i, name) in STAGES.iter().copied().enumerate() {
            let mut progress = |kernel: &Kernel| {
                done += 1;
                let specialised = self.stats().specialised;
                on_progress(&WarmupProgress { stage: name, kernel: kernel.label(), done, total, specialised });
            };
            let mut stage = WarmupStage {
                name,
                kernels: Vec::new(),
                compile_ms: 0.0,
                first_dispatch_ms: None,
                second_dispatch_ms: None,
            };
            if let Self::Gpu(gpu) = self {
                warm(gpu, &of_stage(i), &mut stage, &mut progress)?;
            }
            if i + 1 == STAGES.len() && !recordings.is_empty() {
                let (first, second) = self.rehearse(recordings)?;
                (stage.first_dispatch_ms, stage.second_dispatch_ms) = (Some(ms(first)), Some(ms(second)));
            }
            stages.push(stage);
        }
        let cache = match self {
            Self::Cpu(_) => None,
            Self::Gpu(gpu) => gpu.cache(),
        };
        Ok(WarmupReport { device: self.name().into(), stages, cache })
    }

    /// Runs each recording twice with zeros for inputs.
    fn rehearse(&self, recordings: &[&Recording]) -> Result<(Duration, Duration)> {
        let mut times = (Duration::ZERO, Duration::ZERO);
        for recording in recordings {
            let mut prepared = self.prepare(recording)?;
            times.0 += run_on_zeros(recording, &mut prepared)?;
            times.1 += run_on_zeros(recording, &mut prepared)?;
        }
        Ok(times)
    }

    /// What an application waits for: runs its recordings on zeros as soon as their own kernels are there, and again with
    /// specialised ones. `begun` is when the device was opened, of which nothing else must have been asked yet.
    ///
    /// # Errors
    /// What [`prepare`](Self::prepare) and a run give.
    pub fn first_use(&self, recordings: &[&Recording], begun: Instant) -> Result<FirstUse> {
        let open_ms = ms(begun.elapsed());
        let run_all = |all: &mut [Prepared]| -> Result<f64> {
            let times = recordings.iter().zip(all).map(|(recording, prepared)| run_on_zeros(recording, prepared));
            times.sum::<Result<Duration>>().map(ms)
        };
        if let Self::Gpu(gpu) = self {
            // All at once, so that one recording's are compiled while another is prepared.
            let kernels: Vec<_> = recordings.iter().flat_map(|r| r.dispatches().map(|d| d.kernel)).collect();
            gpu.request(&kernels)?;
        }
        let mut all = Vec::new();
        let mut first_run_ms = 0.0;
        for recording in recordings {
            all.push(self.prepare(recording)?);
            if let Some(prepared) = all.last_mut() {
                // Else the second run asks for them, and they are compiled beside the runs that are timed.
                if let Prepared::Gpu(prepared) = prepared {
                    prepared.keep_generic();
                }
                first_run_ms += ms(run_on_zeros(recording, prepared)?);
            }
        }
        let first_result_ms = ms(begun.elapsed());
        let generic_ms = run_all(&mut all)?;
        all.iter_mut().for_each(Prepared::settle);
        let full_speed_ms = ms(begun.elapsed());
        let specialised_ms = run_all(&mut all)?;
        let specialised = self.stats().specialised;
        Ok(FirstUse { open_ms, first_result_ms, first_run_ms, generic_ms, full_speed_ms, specialised_ms, specialised })
    }

    /// Compiles every kernel that ops may take here behind all that somebody waits for, stage by stage, and at last the
    /// specialised kernels of the application's recordings. Returns at once; nothing is run but each kernel over no
    /// workgroup, and no budget is taken but a few pages, so that no job has to wait for more than the kernel that is
    /// being compiled.
    ///
    /// It ends when the [`Warmup`] is dropped, which waits for what it is just doing, when nobody else holds the device
    /// any more, or when this is lost. On a lent device it submits nothing, unless the host has asked for specialised
    /// kernels.
    ///
    /// # Errors
    /// `Internal` if threads cannot be started.
    pub fn warmup_in_background(&self, recordings: Vec<Recording>) -> Result<Warmup> {
        let total = match self {
            Self::Cpu(_) => 0,
            Self::Gpu(gpu) => kernels_of(gpu).len(),
        };
        let status = WarmupStatus {
            stage: STAGES[0],
            done: 0,
            total,
            eta: None,
            specialised: Specialised::default(),
            state: if total == 0 { WarmupState::Done } else { WarmupState::Running },
        };
        let shared = Arc::new(Watched { status: Mutex::new(status), changed: Condvar::new() });
        let mut thread = None;
        if let Self::Gpu(gpu) = self {
            let (gpu, watched) = (gpu.weak(), shared.clone());
            let work = move || {
                let state = in_background(&gpu, &recordings, &watched);
                watched.update(|status| {
                    (status.eta, status.state) = (None, state);
                });
            };
            let started = std::thread::Builder::new().name("spikewave-warmup".into()).spawn(work);
            thread = Some(started.map_err(|e| Error::Internal(format!("threads could not be started: {e}")))?);
        }
        Ok(Warmup { watched: shared, thread })
    }
}

/// How long an application waits.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FirstUse {
    /// Opening the device, self-test included.
    pub open_ms: f64,
    /// From the beginning of opening until every recording has run once.
    pub first_result_ms: f64,
    /// Of it, the runs themselves.
    pub first_run_ms: f64,
    /// A second run of all, with generic kernels.
    pub generic_ms: f64,
    /// From the beginning of opening until every specialised kernel is proved or refused.
    pub full_speed_ms: f64,
    /// A run of all with the specialised kernels.
    pub specialised_ms: f64,
    /// How many there are.
    pub specialised: Specialised,
}

/// A run with zeros for inputs; its time.
fn run_on_zeros(recording: &Recording, prepared: &mut Prepared) -> Result<Duration> {
    let inputs: Vec<(AnyTensor, Vec<u8>)> = recording
        .commands
        .iter()
        .filter_map(|c| match c {
            Command::Upload(t) => Some((*t, vec![0; recording.tensors[t.at()].bytes as usize])),
            _ => None,
        })
        .collect();
    let feeds: Vec<Feed<'_>> = inputs.iter().map(|(tensor, bytes)| Feed { tensor: *tensor, bytes }).collect();
    Ok(prepared.run(&feeds, &Control::default())?.timing().wall)
}

/// How far a background warmup is.
#[derive(Debug, Clone)]
pub struct WarmupStatus {
    /// The stage, of [`STAGES`].
    pub stage: &'static str,
    /// Kernels that are ready, generic and specialised, and all; the specialised ones are counted when the last stage
    /// begins.
    pub done: usize,
    /// See `done`.
    pub total: usize,
    /// What is left at the speed so far.
    pub eta: Option<Duration>,
    /// How far the specialised kernels are.
    pub specialised: Specialised,
    /// Whether it goes on.
    pub state: WarmupState,
}

/// Whether a background warmup goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum WarmupState {
    /// It does.
    Running,
    /// Everything is ready.
    Done,
    /// It was cancelled, or the device was dropped.
    Cancelled,
    /// A kernel was refused, or the device lost.
    Failed(Error),
}

#[derive(Debug)]
struct Watched {
    status: Mutex<WarmupStatus>,
    changed: Condvar,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, WarmupStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut WarmupStatus)) {
        let mut status = self.lock();
        if status.state == WarmupState::Running {
            change(&mut status);
            self.changed.notify_all();
        }
    }

    fn goes_on(&self) -> bool {
        self.lock().state == WarmupState::Running
    }
}

/// A warmup in the background; dropping it cancels it and waits for what it is just doing.
#[derive(Debug)]
pub struct Warmup {
    watched: Arc<Watched>,
    thread: Option<JoinHandle<()>>,
}

impl Warmup {
    /// How far it is.
    pub fn status(&self) -> WarmupStatus {
        self.watched.lock().clone()
    }

    /// Ends it: what is being compiled is finished, what waits is forgotten.
    pub fn cancel(&self) {
        self.watched.update(|status| (status.eta, status.state) = (None, WarmupState::Cancelled));
    }

    /// Waits until it has ended, at most so long; how far it is then.
    pub fn wait(&self, time: Duration) -> WarmupStatus {
        let running = |status: &mut WarmupStatus| status.state == WarmupState::Running;
        let waited = self.watched.changed.wait_timeout_while(self.watched.lock(), time, running);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl Drop for Warmup {
    fn drop(&mut self) {
        self.cancel();
        // It may hold the device, which must not be in the driver when the process ends. It looks every tick.
        if let Some(thread) = self.thread.take() {
            // Nothing waits for it that its end could tell.
            let _ = thread.join();
        }
    }
}

/// How often the background looks whether it is to end.
const TICK: Duration = Duration::from_millis(20);

/// The thread of a background warmup; how it ended. It holds the device for a tick at a time only.
fn in_background(gpu: &impl Fn() -> Option<Gpu>, recordings: &[Recording], watched: &Watched) -> WarmupState {
    let ended = warm_behind(gpu, recordings, watched);
    if let Some(gpu) = gpu() {
        gpu.withdraw(kernel::ALL);
    }
    match ended {
        Ok(true) => WarmupState::Done,
        Ok(false) => WarmupState::Cancelled,
        Err(error) => WarmupState::Failed(error),
    }
}

/// Whether it came to its end.
fn warm_behind(gpu: &impl Fn() -> Option<Gpu>, recordings: &[Recording], watched: &Watched) -> Result<bool> {
    let started = Instant::now();
    let Some(all) = gpu().as_ref().map(kernels_of) else { return Ok(false) };
    let mut total = all.len();
    let tell = |stage: usize, done: usize, total: usize, specialised: Specialised| {
        let eta = (done > 0).then(|| started.elapsed().mul_f64((total - done) as f64 / done as f64));
        watched.update(|status| {
            (status.stage, status.done, status.total) = (STAGES[stage], done, total);
            (status.eta, status.specialised) = (eta, specialised);
        });
    };
    let mut done = 0;
    for stage in 0..STAGES.len() {
        let kernels: Vec<_> = all.iter().copied().filter(|k| k.stage == stage).collect();
        for kernel in &kernels {
            loop {
                let Some(gpu) = gpu().filter(|_| watched.goes_on()) else { return Ok(false) };
                // Again, should another warmup that ended have taken it back.
                gpu.request_for_warmup(&kernels)?;
                if gpu.ready_within(kernel, TICK)? {
                    done += 1;
                    tell(stage, done, total, gpu.specialised());
                    break;
                }
            }
        }
        let Some(gpu) = gpu().filter(|_| watched.goes_on()) else { return Ok(false) };
        if gpu.is_lent() || kernels.is_empty() {
            continue;
        }
        match gpu.first_uses(&kernels) {
            // Nobody may be refused memory for this, nor is it worth a refusal itself.
            Err(Error::OverBudget { .. } | Error::OutOfMemory { .. }) | Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    let Some(held) = gpu() else { return Ok(false) };
    let asked = held.specialise(recordings);
    drop(held);
    total += asked.len();
    loop {
        let Some(gpu) = gpu().filter(|_| watched.goes_on()) else { return Ok(false) };
        gpu.ready_within(&kernel::canary::KERNEL, TICK)?;
        gpu.settled(TICK);
        let waiting = |special: &&Weak<Special>| special.upgrade().is_some_and(|special| !special.is_made());
        let left = asked.iter().filter(waiting).count();
        tell(STAGES.len() - 1, total - left, total, gpu.specialised());
        if left == 0 {
            return Ok(true);
        }
    }
}

/// Compiles a stage's kernels and dispatches each of them twice.
fn warm(
    gpu: &Gpu,
    kernels: &[&'static Kernel],
    stage: &mut WarmupStage,
    progress: &mut dyn FnMut(&Kernel),
) -> Result<()> {
    if kernels.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    gpu.request(kernels)?;
    for kernel in kernels {
        stage.kernels.push(gpu.await_kernel(kernel)?);
        progress(kernel);
    }
    stage.compile_ms = ms(started.elapsed());
    let (first, second) = gpu.first_uses(kernels)?;
    (stage.first_dispatch_ms, stage.second_dispatch_ms) = (Some(ms(first)), Some(ms(second)));
    Ok(())
}
