//! Devices run recordings: [`Cpu`] by the kernels' native twins, [`Gpu`] through wgpu.
//!
//! Prepare a [`Recording`] once, run it many times: a run creates no pipeline, no bind group and no buffer.

pub mod cpu;
pub mod gpu;
mod io;
mod list;
mod options;
mod pool;
mod recover;
mod sets;
mod warmup;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub use crate::kernel::Feed;
pub use cpu::Cpu;
pub use gpu::{Gpu, GpuParts, Readiness};
pub(crate) use io::WALL_CLOCK;
pub use io::{CancelToken, Control, KernelTime, Outputs, Timing};
pub use list::{DeviceList, DeviceReport, list};
pub use options::{Choice, DeviceOptions, parse_size};
pub use pool::PoolStats;
pub(crate) use pool::{Kind, Pool};
pub use recover::{Loss, survive, survive_with};
pub use sets::MemoryPlan;
pub(crate) use sets::{Sets, room};
pub use warmup::{
    CacheReport, FirstUse, Warmup, WarmupKernel, WarmupProgress, WarmupReport, WarmupStage, WarmupState, WarmupStatus,
};

use crate::kernel::{Elem, Tensor};
use crate::recording::{Capabilities, Recording};
use crate::{Error, Result};

/// Something that runs recordings.
#[derive(Debug, Clone)]
pub enum Device {
    /// The native executor: one twin a kernel, all cores.
    Cpu(Cpu),
    /// Through wgpu.
    Gpu(Gpu),
}

impl Device {
    /// Opens the device that the options ask for.
    ///
    /// # Errors
    /// `NoAdapter` when none matches, `DriverBroken` when its driver fails a known answer and is not forced.
    pub fn open(options: &DeviceOptions) -> Result<Self> {
        let reason = match &options.choice {
            Choice::Cpu => "asked for".into(),
            choice => match Gpu::open(options) {
                Ok(gpu) => return Ok(Self::Gpu(gpu)),
                Err(Error::NoAdapter { .. }) if *choice == Choice::Auto => {
                    "no hardware GPU; software drivers are used only by name".into()
                }
                Err(error) if *choice == Choice::Auto => format!("the GPU cannot be used: {error}"),
                Err(error) => return Err(error),
            },
        };
        let mut cpu = Cpu::new(options)?;
        cpu.reason = reason.into();
        Ok(Self::Cpu(cpu))
    }

    /// A device that the host application owns and lends: see [`Gpu::from_wgpu`].
    ///
    /// # Errors
    /// `Unsupported` with every feature and limit that it lacks.
    pub fn from_wgpu(parts: GpuParts, options: &DeviceOptions) -> Result<Self> {
        Gpu::from_wgpu(parts, options).map(Self::Gpu)
    }

    /// As [`gpu::required_features`].
    pub fn required_features() -> wgpu::Features {
        gpu::required_features()
    }

    /// As [`gpu::optional_features`].
    pub fn optional_features(adapter: &wgpu::Adapter) -> wgpu::Features {
        gpu::optional_features(adapter)
    }

    /// As [`gpu::required_limits`].
    pub fn required_limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
        gpu::required_limits(adapter)
    }

    /// What ops may ask of it.
    pub fn capabilities(&self) -> &Capabilities {
        match self {
            Self::Cpu(d) => d.capabilities(),
            Self::Gpu(d) => d.capabilities(),
        }
    }

    /// Its name, as `--device` takes it.
    pub fn name(&self) -> &str {
        match self {
            Self::Cpu(d) => d.name(),
            Self::Gpu(d) => d.name(),
        }
    }

    /// Why this device was chosen, to be printed beside its name.
    pub fn reason(&self) -> &str {
        match self {
            Self::Cpu(d) => d.reason(),
            Self::Gpu(d) => d.reason(),
        }
    }

    /// An empty recording for this device.
    pub fn recording(&self, label: impl Into<String>) -> Recording {
        Recording::new(label, self.capabilities())
    }

    /// Plans, admits and makes ready: after this, a run allocates nothing on the device. A recording with tensors in the
    /// host application's buffers goes to [`prepare_with`](Self::prepare_with).
    ///
    /// # Errors
    /// `OverBudget` with the numbers when the plan does not fit, `OutOfMemory` when the system has less than the budget.
    pub fn prepare(&self, recording: &Recording) -> Result<Prepared> {
        self.prepare_with(recording, &[])
    }

    /// The same with the host application's buffers: see [`Gpu::prepare_with`]. The native path refuses them.
    ///
    /// # Errors
    /// As there.
    pub fn prepare_with(&self, recording: &Recording, buffers: &[gpu::HostBuffer<'_>]) -> Result<Prepared> {
        match self {
            Self::Cpu(_) if !buffers.is_empty() => {
                Err(Error::invalid("buffers", "the native path cannot use GPU buffers of the host application"))
            }
            Self::Cpu(d) => d.prepare(recording).map(|p| Prepared::Cpu(Box::new(p))),
            Self::Gpu(d) => d.prepare_with(recording, buffers).map(|p| Prepared::Gpu(Box::new(p))),
        }
    }

    /// Gives memory that is kept for reuse back to the system: for a change from one kind of work to another.
    pub fn trim(&self) {
        match self {
            Self::Cpu(d) => d.trim(),
            Self::Gpu(d) => d.trim(),
        }
    }

    /// Waits until every specialised kernel that is asked for is proved or refused; what is proved is used from the next
    /// run on. For benchmarks; the native path has none.
    pub fn settle(&self) {
        if let Self::Gpu(d) = self {
            d.settle();
        }
    }

    /// Counters since the device was opened.
    pub fn stats(&self) -> Stats {
        match self {
            Self::Cpu(d) => d.stats(),
            Self::Gpu(d) => d.stats(),
        }
    }
}

/// A recording that is ready to run on its device.
#[derive(Debug)]
pub enum Prepared {
    /// On the native executor.
    Cpu(Box<cpu::Prepared>),
    /// On a GPU.
    Gpu(Box<gpu::Prepared>),
}

impl Prepared {
    /// Runs it with these inputs, every one of the recording's exactly once.
    ///
    /// # Errors
    /// `InvalidArgument` for a missing, foreign or wrongly sized input, `Cancelled`, `Timeout`, `DeviceLost`, `Corrupted`.
    /// After an error no result is handed out; state tensors are undefined.
    pub fn run(&mut self, feeds: &[Feed<'_>], control: &Control<'_>) -> Result<Outputs> {
        match self {
            Self::Cpu(p) => p.run(feeds, control),
            Self::Gpu(p) => p.run(feeds, control),
        }
    }

    /// Encodes it into an encoder of the host application: see [`gpu::Prepared::encode`].
    ///
    /// # Errors
    /// As there; `Unsupported` on the native executor.
    pub fn encode(&mut self, encoder: &mut wgpu::CommandEncoder, feeds: &[Feed<'_>]) -> Result<()> {
        match self {
            Self::Gpu(p) => p.encode(encoder, feeds),
            Self::Cpu(_) => Err(Error::Unsupported {
                what: "encoding for a wgpu queue".into(),
                need: "a recording that is prepared on a GPU".into(),
                have: "the native path only".into(),
            }),
        }
    }

    /// Starts a run and returns before it is done: the result is a future. A GPU has the first submissions by then; only
    /// after a run that was given up it is waited for until the memory of the inputs is free. The native path has no
    /// other processor to wait for, and computes before this returns: the future is ready, and polling it never blocks.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn start(&mut self, feeds: &[Feed<'_>]) -> Result<Pending<'_>> {
        Ok(Pending(match self {
            Self::Cpu(p) => State::Done(Some(p.run(feeds, &Control::default())?)),
            Self::Gpu(p) => State::Gpu(p.start(feeds)?),
        }))
    }

    /// The same, with the time of every kernel: the results are those of [`run`](Self::run), which is faster. Copies,
    /// clears and transfers are not in the times. On a GPU each group of dispatches of one kernel that follow each other
    /// is timed by timestamps; where there are none, it is submitted and waited for alone.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile(&mut self, feeds: &[Feed<'_>], control: &Control<'_>) -> Result<(Outputs, Vec<KernelTime>)> {
        match self {
            Self::Cpu(p) => p.profile(feeds, control),
            Self::Gpu(p) => p.profile(feeds, control),
        }
    }

    /// What a state holds now, or what a constant holds. On a GPU it comes through host-visible memory of 4 MiB at most,
    /// which counts against the budget meanwhile.
    ///
    /// # Errors
    /// `InvalidArgument` for a tensor of another recording, one that is neither state nor constant, or one that no
    /// command uses; `OverBudget`, `OutOfMemory`, `DeviceLost`, `Corrupted`.
    pub fn read<T: Elem>(&mut self, tensor: Tensor<T>) -> Result<Vec<T>> {
        match self {
            Self::Cpu(p) => p.read(tensor),
            Self::Gpu(p) => p.read(tensor),
        }
    }

    /// Replaces what a state holds, in the same way.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `InvalidArgument` for a constant or another length. After an error of the device
    /// the state is undefined.
    pub fn write<T: Elem>(&mut self, tensor: Tensor<T>, data: &[T]) -> Result<()> {
        match self {
            Self::Cpu(p) => p.write(tensor, data),
            Self::Gpu(p) => p.write(tensor, data),
        }
    }

    /// Asks for the specialised kernels of this recording, waits until each is proved or refused, and takes the proved
    /// ones. Without it the second run asks for them, and a later one takes them. The native path has none.
    pub fn settle(&mut self) {
        if let Self::Gpu(p) = self {
            p.settle();
        }
    }

    /// How many of its kernels are specialised ones now. The native path has none.
    pub fn specialised(&self) -> usize {
        match self {
            Self::Cpu(_) => 0,
            Self::Gpu(p) => p.specialised(),
        }
    }

    /// The bytes it holds on the device, as planned.
    pub fn peak_bytes(&self) -> u64 {
        match self {
            Self::Cpu(p) => p.plan().peak_bytes(),
            Self::Gpu(p) => p.plan().peak_bytes(),
        }
    }
}

/// A run that has been started. As a future it ends with the results; dropped before that, it is given up: states are
/// undefined then, and the next run is right. See [`gpu::Pending`] for who polls the device meanwhile.
#[derive(Debug)]
#[must_use = "a run that is dropped is given up"]
pub struct Pending<'a>(State<'a>);

#[derive(Debug)]
enum State<'a> {
    Done(Option<Outputs>),
    Gpu(gpu::Pending<'a>),
}

impl Pending<'_> {
    /// Waits for the results. The timeout counts from the start.
    ///
    /// # Errors
    /// As [`Prepared::run`].
    pub fn wait(self, control: &Control<'_>) -> Result<Outputs> {
        match self.0 {
            State::Done(outputs) => outputs.ok_or_else(taken),
            State::Gpu(pending) => pending.wait(control),
        }
    }
}

fn taken() -> Error {
    Error::invalid("future", "it has given its result already")
}

impl Future for Pending<'_> {
    type Output = Result<Outputs>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            State::Done(outputs) => Poll::Ready(outputs.take().ok_or_else(taken)),
            State::Gpu(pending) => Pin::new(pending).poll(context),
        }
    }
}

/// What a device has done so far.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Stats {
    /// Pipelines compiled (0 on the native executor).
    pub pipelines_created: u64,
    /// Bind groups made.
    pub bind_groups_created: u64,
    /// Kernel dispatches run, slices counted once each.
    pub dispatches: u64,
    /// Queue submissions.
    pub submissions: u64,
    /// Buffers and bytes.
    pub memory: PoolStats,
    /// Kernels with parameters as constants; nothing of them is in the other counters.
    pub specialised: Specialised,
    /// What the driver's allocator says; `None` on the native path, on a device that is lent, and on backends without one.
    pub allocator: Option<AllocatorStats>,
}

/// How far the specialised kernels of a device are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Specialised {
    /// Waiting until nobody waits for a kernel.
    pub queued: usize,
    /// Being compiled or proved.
    pub compiling: usize,
    /// Gave the same bits as the generic kernel.
    pub proved: usize,
    /// Of the proved ones, those that some recording runs with.
    pub swapped: usize,
    /// Did not, or could not be tried; the generic kernel stays.
    pub refused: usize,
}

/// What the allocator under wgpu has given out, beside what the pool has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct AllocatorStats {
    /// Bytes of all live buffers, those that wgpu keeps for itself among them.
    pub allocated_bytes: u64,
    /// The most of that at any reading: one is taken whenever a recording has its memory, and with every
    /// [`Device::stats`].
    pub peak_bytes: u64,
    /// What was there before the first recording: wgpu's own.
    pub own_bytes: u64,
}

/// How long a slice of work may keep the device before cancellation and progress are looked at.
pub const SLICE: Duration = Duration::from_millis(20);

/// Scratch is filled with this when poisoning is asked for: a quiet NaN as f32, an implausible index as u32.
pub(crate) const POISON: u8 = 0xff;

/// Bytes of memory that the system could give out now, where it says so.
pub(crate) fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
