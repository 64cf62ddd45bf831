//! The native executor: each kernel's twin, on all cores.
//!
//! One file a kernel, named as its shader: `pub fn run(p: &Params, a: Host<'_>)` computes the whole dispatch. Twins
//! use rayon's current pool for their threads and must not depend on its size in what they compute.

mod binary;
mod canary;
mod coincident_peak;
mod complex_abs;
mod complex_binary;
mod complex_scale;
mod conv1d;
mod copy2d;
mod difference_std;
mod event_drive;
mod extremum;
mod fft;
mod fft_chirp;
mod fft_peak;
mod fft_real;
mod fill;
mod gemm;
mod kde;
mod kde_band;
mod kde_log;
mod kde_mass;
mod kde_peak;
mod kde_rows;
mod kde_scatter;
mod lanes;
mod lif;
mod marks;
mod overlap_save;
mod parallel;
mod philox;
mod poisson_drive;
mod probe;
mod reduce;
mod scan;
mod scan_add;
mod selftest_grid;
mod selftest_group;
mod selftest_loop;
mod spectral_product;
mod spectral_weight;
mod step_forward;
mod temporal_contrast;
mod tile;
mod transpose;
mod triggers;
mod unary;
mod vector;
mod weighted_power;
mod welch_average;
mod welch_window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub(crate) use parallel::multiversioned;

use super::io::{Line, aligned, check_feeds};
use super::{Control, DeviceOptions, Feed, Outputs, POISON, Pool, Stats, Timing, available_memory};
use crate::kernel::{AnyTensor, Kernel};
use crate::recording::{Capabilities, Command, Content, Plan, Recording, Role, Slot};
use crate::{Error, Result};

include!(concat!(env!("OUT_DIR"), "/twins.rs"));

#[derive(Debug)]
struct Shared {
    name: String,
    capabilities: Capabilities,
    threads: rayon::ThreadPool,
    pool: Pool<Vec<Line>>,
    poison: bool,
    dispatches: AtomicU64,
}

/// The native executor. Clones share memory and threads.
#[derive(Debug, Clone)]
pub struct Cpu {
    shared: Arc<Shared>,
    pub(super) reason: Arc<str>,
}

impl Cpu {
    /// A native executor with its own threads. The default budget is 60 % of the memory that is free now, or 2 GiB
    /// where the system does not say.
    ///
    /// # Errors
    /// `InvalidArgument` for zero threads; `Internal` if threads cannot be started.
    pub fn new(options: &DeviceOptions) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = options.threads.unwrap_or(cores);
        if count == 0 {
            return Err(Error::invalid("threads", "0; at least one"));
        }
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("spikewave-{i}"))
            .build()
            .map_err(|e| Error::Internal(format!("threads could not be started: {e}")))?;
        let budget = options.memory_budget.unwrap_or_else(|| available_memory().map_or(2 << 30, |m| m / 10 * 6));
        let capabilities = Capabilities {
            native: true,
            max_tensor_bytes: u64::from(u32::MAX) * 4,
            max_loop: u32::MAX,
            budget_bytes: budget,
            ..Capabilities::default()
        };
        let shared = Shared {
            name: format!("cpu ({count} thread{})", if count == 1 { "" } else { "s" }),
            capabilities,
            threads,
            pool: Pool::new(budget),
            poison: options.poison,
            dispatches: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), reason: "asked for".into() })
    }

    /// `cpu (N threads)`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Why it was chosen.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What ops may ask of it.
    pub fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    /// Runs `f` on the executor's threads: host work beside the kernels then has the same number of threads.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.shared.threads.install(f)
    }

    /// Gives memory that is kept for reuse back to the system.
    pub fn trim(&self) {
        self.shared.pool.trim();
    }

    /// Counters since it was made.
    pub fn stats(&self) -> Stats {
        Stats {
            dispatches: self.shared.dispatches.load(Ordering::Relaxed),
            memory: self.shared.pool.stats(),
            ..Stats::default()
        }
    }

    /// Leases the memory and fills in constants and states.
    ///
    /// # Errors
    /// `OverBudget`, `OutOfMemory`.
    pub fn prepare(&self, recording: &Recording) -> Result<Prepared> {
        let plan = recording.plan();
        let buffers = self.shared.pool.lease(&plan, |_, bytes| aligned(bytes, recording.label()))?;
        let recording_of_run = Arc::new(recording.snapshot());
        let mut prepared = Prepared { shared: self.shared.clone(), recording: recording_of_run, plan, buffers };
        for (i, tensor) in recording.tensors.iter().enumerate() {
            let handle = AnyTensor { recording: recording.id(), index: i as u32 };
            if let (Content::Constant(bytes) | Content::State(bytes), Some(_)) =
                (&tensor.content, prepared.plan.slot(handle))
            {
                let bytes = bytes.clone();
                prepared.tensor_mut(handle)?.copy_from_slice(&bytes);
            }
        }
        Ok(prepared)
    }
}

/// A recording with its memory.
#[derive(Debug)]
pub struct Prepared {
    shared: Arc<Shared>,
    /// Shared, so that commands can be read while memory is written.
    recording: Arc<Recording>,
    plan: Plan,
    buffers: Vec<(Slot, Vec<Line>)>,
}

impl Prepared {
    /// Its byte plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn slot(&self, tensor: AnyTensor) -> Result<usize> {
        self.plan.slot(tensor).ok_or_else(|| Error::Internal("a tensor in use has no slot".into()))
    }

    fn bytes_of(&self, tensor: AnyTensor) -> usize {
        self.recording.tensors[tensor.at()].bytes as usize
    }

    fn tensor(&self, tensor: AnyTensor) -> Result<&[u8]> {
        let slot = self.slot(tensor)?;
        Ok(&bytemuck::cast_slice(&self.buffers[slot].1)[..self.bytes_of(tensor)])
    }

    fn tensor_mut(&mut self, tensor: AnyTensor) -> Result<&mut [u8]> {
        let (slot, bytes) = (self.slot(tensor)?, self.bytes_of(tensor));
        Ok(&mut bytemuck::cast_slice_mut(&mut self.buffers[slot].1)[..bytes])
    }

    /// Runs every command in order.
    ///
    /// # Errors
    /// As [`super::Prepared::run`].
    pub fn run(&mut self, feeds: &[Feed<'_>], control: &Control<'_>) -> Result<Outputs> {
        check_feeds(&self.recording, feeds)?;
        let started = Instant::now();
        let mut outputs = Outputs::default();
        let shared = self.shared.clone();
        let (recording, total) = (self.recording.clone(), self.recording.total_work());
        shared.threads.install(|| self.execute(&recording.commands, feeds, control, (started, total), &mut outputs))?;
        outputs.timing = Timing { wall: started.elapsed(), device: None };
        Ok(outputs)
    }

    fn execute(
        &mut self,
        commands: &[Command],
        feeds: &[Feed<'_>],
        control: &Control<'_>,
        (started, total): (Instant, u64),
        outputs: &mut Outputs,
    ) -> Result<()> {
        if self.shared.poison {
            for (_, memory) in self.buffers.iter_mut().filter(|(slot, _)| slot.role == Role::Scratch) {
                bytemuck::cast_slice_mut::<_, u8>(memory).fill(POISON);
            }
        }
        let mut done = 0;
        for command in commands {
            control.check(started)?;
            match command {
                Command::Upload(t) => {
                    if let Some(feed) = feeds.iter().find(|f| f.tensor == *t) {
                        self.tensor_mut(*t)?.copy_from_slice(feed.bytes);
                    }
                }
                Command::Clear(t) => self.tensor_mut(*t)?.fill(0),
                Command::Copy { from, from_byte, to, to_byte, bytes } => {
                    let (from_byte, to_byte, bytes) = (*from_byte as usize, *to_byte as usize, *bytes as usize);
                    // Distinct tensors that are alive together have distinct slots.
                    let target = self.slot(*to)?;
                    let mut to_memory = std::mem::take(&mut self.buffers[target].1);
                    let copied = self.tensor(*from).map(|source| {
                        bytemuck::cast_slice_mut::<_, u8>(&mut to_memory)[to_byte..to_byte + bytes]
                            .copy_from_slice(&source[from_byte..from_byte + bytes]);
                    });
                    self.buffers[target].1 = to_memory;
                    copied?;
                }
                Command::Download(t) => outputs.push(*t, self.tensor(*t)?)?,
                Command::Dispatch(d) => {
                    let mut views = Vec::with_capacity(d.args.len());
                    for arg in &d.args {
                        let (slot, bytes) = (self.slot(*arg)?, self.bytes_of(*arg));
                        views.push((self.buffers[slot].1.as_mut_ptr().cast::<u8>(), bytes));
                    }
                    let memory = Memory { views: &views };
                    // SAFETY: the recording has checked the bindings of this dispatch (no tensor twice if one is
                    // written), the plan gives tensors that are alive together distinct slots, slots are at least as
                    // large as their tensors, and `self` is borrowed mutably until the twin returns.
                    unsafe { run_twin(d.kernel, &d.params, &memory)? };
                    self.shared.dispatches.fetch_add(1, Ordering::Relaxed);
                    done += self.recording.work(d);
                    control.report(done, total);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.shared.pool.release(std::mem::take(&mut self.buffers));
    }
}

/// The tensors of one dispatch as raw memory, in binding order.
struct Memory<'a> {
    views: &'a [(*mut u8, usize)],
}

impl<'a> Memory<'a> {
    /// # Safety
    /// The memory at `i` is valid, holds whole `T`s, and is not written while the slice lives.
    unsafe fn read<T: bytemuck::Pod>(&self, i: usize) -> &'a [T] {
        let (at, bytes) = self.views[i];
        // SAFETY: the caller's promise; lines are aligned to 64 bytes.
        unsafe { std::slice::from_raw_parts(at.cast::<T>(), bytes / size_of::<T>()) }
    }

    /// # Safety
    /// As [`Self::read`], and nothing else reads or writes the memory while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "exclusive by the caller's promise")]
    unsafe fn write<T: bytemuck::Pod>(&self, i: usize) -> &'a mut [T] {
        let (at, bytes) = self.views[i];
        // SAFETY: the caller's promise; lines are aligned to 64 bytes.
        unsafe { std::slice::from_raw_parts_mut(at.cast::<T>(), bytes / size_of::<T>()) }
    }
}
