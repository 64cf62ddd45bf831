//! Making a device ready before its first run, stage by stage.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Control, Device, Feed, Gpu};
use crate::Result;
use crate::kernel::{self, AnyTensor, Kernel, STAGES};
use crate::recording::{Command, Recording};

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

impl Device {
    /// Compiles every kernel on worker threads, stage by stage, and runs each once before it is needed; then runs the
    /// application's recordings, twice, with inputs of zeros. Memory that they took is kept for reuse.
    ///
    /// # Errors
    /// `Kernel` for the first kernel that a driver refuses; what [`prepare`](Self::prepare) and a run give.
    pub fn warmup(
        &self,
        recordings: &[&Recording],
        on_progress: &(dyn Fn(&WarmupProgress<'_>) + Sync),
    ) -> Result<WarmupReport> {
        let of_stage = |stage| kernel::ALL.iter().copied().filter(move |k| k.stage == stage).collect::<Vec<_>>();
        let (total, mut done) = (kernel::ALL.len(), 0);
        let mut stages = Vec::new();
        for (i, name) in STAGES.iter().copied().enumerate() {
            let mut progress = |kernel: &Kernel| {
                done += 1;
                on_progress(&WarmupProgress { stage: name, kernel: kernel.label(), done, total });
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
            let inputs: Vec<(AnyTensor, Vec<u8>)> = recording
                .commands
                .iter()
                .filter_map(|c| match c {
                    Command::Upload(t) => Some((*t, vec![0; recording.tensors[t.at()].bytes as usize])),
                    _ => None,
                })
                .collect();
            let feeds: Vec<Feed<'_>> = inputs.iter().map(|(tensor, bytes)| Feed { tensor: *tensor, bytes }).collect();
            let mut prepared = self.prepare(recording)?;
            times.0 += prepared.run(&feeds, &Control::default())?.timing().wall;
            times.1 += prepared.run(&feeds, &Control::default())?.timing().wall;
        }
        Ok(times)
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
