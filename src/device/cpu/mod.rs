//! The native executor: each kernel's twin, on all cores.
//!
//! One file a kernel, named as its shader: `pub fn run(p: &Params, a: Host<'_>)` computes the whole dispatch. Twins
//! use rayon's current pool for their threads and must not depend on its size in what they compute.

mod binary;
mod binary_wide;
mod canary;
mod ceiling_copy;
mod ceiling_multiply_add;
mod coincident_peak;
mod complex_abs;
mod complex_binary;
mod complex_scale;
mod conv1d;
mod conv1d_wide;
mod copy2d;
mod csr_carry;
mod csr_matmul;
mod csr_matvec;
mod csr_propagate;
mod difference_std;
mod event_drive;
mod extremum;
mod fft;
mod fft_chirp;
mod fft_peak;
mod fft_real;
mod fill;
mod gemm;
mod gemm_wide;
mod iaf_cond_exp;
mod iaf_psc_delta;
mod iaf_psc_exp;
mod izhikevich;
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
mod neuron;
mod overlap_save;
mod parallel;
mod philox;
mod poisson_drive;
mod poisson_source;
mod probe;
mod reduce;
mod reduce_wide;
mod rows;
mod scan;
mod scan_add;
mod selftest_grid;
mod selftest_group;
mod selftest_loop;
mod spectral_product;
mod spectral_weight;
mod spike_source;
mod stdp_depress;
mod stdp_potentiate;
mod stdp_trace;
mod step_forward;
mod temporal_contrast;
mod tile;
mod transpose;
mod triggers;
mod unary;
mod unary_wide;
mod vector;
mod weighted_power;
mod welch_average;
mod welch_window;

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub(crate) use parallel::multiversioned;

use super::io::{Profile, check_feeds, check_write, kept, unused};
use super::{
    Control, DeviceOptions, Feed, KernelTime, Kind, Outputs, POISON, Pool, Stats, Timing, WALL_CLOCK, available_memory,
};
use crate::kernel::{AnyTensor, Elem, Kernel, MAX_BINDINGS, Tensor};
use crate::memory::{Line, aligned, room};
use crate::recording::{Capabilities, Command, Given, Plan, Recording, Role, Slot};
use crate::{Error, Result};

/// Runs a kernel's twin with these parameters on these tensors.
///
/// # Safety
/// As [`Memory::read`] and [`Memory::write`].
type Twin = unsafe fn(&[u8], &Memory<'_>);

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

/// Threads at most: starting a hundred thousand takes minutes, and no machine has use for them.
const MAX_THREADS: usize = 1024;

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
    /// `InvalidArgument` for no threads or more than 1,024; `Internal` if threads cannot be started.
    pub fn new(options: &DeviceOptions) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = options.threads.unwrap_or(cores);
        if !(1..=MAX_THREADS).contains(&count) {
            return Err(Error::invalid("threads", format!("{count}; from 1 to {MAX_THREADS}")));
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

    /// Leases the memory and fills in states; constants stay where they are.
    ///
    /// # Errors
    /// `OverBudget`, `OutOfMemory`; `InvalidArgument` for a recording with tensors in buffers of a host application.
    pub fn prepare(&self, recording: &Recording) -> Result<Prepared> {
        let plan = recording.plan();
        if let Some(host) = plan.hosts.first() {
            let why = format!(
                "\"{}\" is in a GPU buffer of the host application, which the native path cannot use; make it an input",
                host.name
            );
            return Err(Error::invalid("recording", why));
        }
        let buffers = self.shared.pool.lease(&plan, |kind, bytes| match kind {
            Kind::InPlace => Ok(Vec::new()),
            _ => aligned(bytes, recording.label()),
        })?;
        // From here on, dropping it gives the buffers back.
        let mut prepared = Prepared {
            shared: self.shared.clone(),
            recording: recording.snapshot(),
            places: Vec::with_capacity(recording.tensors.len()),
            steps: Vec::new(),
            total: recording.total_work(),
            plan,
            buffers,
        };
        for (tensor, slot) in recording.tensors.iter().zip(&prepared.plan.slot_of) {
            prepared.places.push(match (slot, tensor.given()) {
                (None, _) => Place::Nowhere,
                (Some(slot), Some((_, given))) if prepared.plan.slots[*slot].in_place => Place::Given(given.clone()),
                (Some(slot), given) => {
                    if let Some((bytes, _)) = given {
                        let memory = bytemuck::cast_slice_mut::<_, u8>(&mut prepared.buffers[*slot].1);
                        memory[..bytes.len()].copy_from_slice(bytes);
                    }
                    Place::Slot(*slot)
                }
            });
        }
        prepared.steps = recording.commands.iter().map(|c| Step::new(recording, c)).collect::<Result<_>>()?;
        Ok(prepared)
    }
}

/// Where a tensor's content is.
#[derive(Debug)]
enum Place {
    /// No command uses it.
    Nowhere,
    Slot(usize),
    /// The recording's memory, in place.
    Given(Given),
}

/// A recording with its memory.
#[derive(Debug)]
pub struct Prepared {
    shared: Arc<Shared>,
    recording: Recording,
    plan: Plan,
    buffers: Vec<(Slot, Vec<Line>)>,
    /// By tensor.
    places: Vec<Place>,
    steps: Vec<Step>,
    /// The elementary operations of all dispatches.
    total: u64,
}

impl Prepared {
    /// Its byte plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The memory of every tensor.
    fn views(&mut self) -> Vec<View> {
        let places = self.places.iter().zip(&self.recording.tensors);
        let view = places.map(|(place, info)| match place {
            Place::Nowhere => View { at: NonNull::<Line>::dangling().as_ptr().cast(), bytes: 0 },
            Place::Slot(slot) => View { at: self.buffers[*slot].1.as_mut_ptr().cast(), bytes: info.bytes as usize },
            Place::Given(given) => View { at: given.bytes().as_ptr().cast_mut(), bytes: info.bytes as usize },
        });
        view.collect()
    }

    /// The memory of a tensor that some command uses.
    fn view(&mut self, tensor: AnyTensor) -> Result<View> {
        let view = self.views()[tensor.at()];
        if view.bytes == 0 { Err(unused(&self.recording, tensor)) } else { Ok(view) }
    }

    /// As [`super::Prepared::read`].
    pub fn read<T: Elem>(&mut self, tensor: Tensor<T>) -> Result<Vec<T>> {
        kept(&self.recording, tensor.erase(), true)?;
        let view = self.view(tensor.erase())?;
        let mut content = room(tensor.len(), "a tensor's content")?;
        // SAFETY: the view is of this tensor, `self` is borrowed, and the slice ends here.
        content.extend_from_slice(unsafe { view.read() });
        Ok(content)
    }

    /// As [`super::Prepared::write`].
    pub fn write<T: Elem>(&mut self, tensor: Tensor<T>, data: &[T]) -> Result<()> {
        check_write(&self.recording, tensor.erase(), bytemuck::cast_slice(data))?;
        let view = self.view(tensor.erase())?;
        // SAFETY: the view is of this tensor, a state in a slot of its own; `self` is borrowed, and the slice ends here.
        unsafe { view.write() }.copy_from_slice(data);
        Ok(())
    }

    /// Runs every command in order.
    ///
    /// # Errors
    /// As [`super::Prepared::run`].
    pub fn run(&mut self, feeds: &[Feed<'_>], control: &Control<'_>) -> Result<Outputs> {
        self.timed(feeds, control, None)
    }

    /// As [`super::Prepared::profile`].
    pub fn profile(&mut self, feeds: &[Feed<'_>], control: &Control<'_>) -> Result<(Outputs, Vec<KernelTime>)> {
        let mut profile = Profile::default();
        let outputs = self.timed(feeds, control, Some(&mut profile))?;
        Ok((outputs, profile.0))
    }

    fn timed(&mut self, feeds: &[Feed<'_>], control: &Control<'_>, profile: Option<&mut Profile>) -> Result<Outputs> {
        check_feeds(&self.recording, feeds)?;
        let started = Instant::now();
        let shared = self.shared.clone();
        let mut outputs = shared.threads.install(|| self.execute(feeds, control, started, profile))?;
        outputs.timing = Timing { wall: started.elapsed(), device: None };
        Ok(outputs)
    }

    fn execute(
        &mut self,
        feeds: &[Feed<'_>],
        control: &Control<'_>,
        started: Instant,
        mut profile: Option<&mut Profile>,
    ) -> Result<Outputs> {
        if self.shared.poison {
            for (_, memory) in self.buffers.iter_mut().filter(|(slot, _)| slot.role == Role::Scratch) {
                bytemuck::cast_slice_mut::<_, u8>(memory).fill(POISON);
            }
        }
        let views = self.views();
        let mut outputs = Outputs::default();
        let (mut dispatches, mut done) = (0, 0);
        // SAFETY, of every slice below: views are of memory that `self`, borrowed for the whole of this, holds; slots
        // are at least as large as their tensors; no slice outlives its step; within a step the recording has checked
        // that what is written is no constant and nothing else of the step, and the plan gives tensors that are alive
        // together distinct slots.
        let result = self.steps.iter().try_for_each(|step| {
            control.check(started)?;
            match step {
                Step::Upload(t) => {
                    if let Some(feed) = feeds.iter().find(|f| f.tensor == *t) {
                        // SAFETY: see above.
                        unsafe { views[t.at()].write() }.copy_from_slice(feed.bytes);
                    }
                }
                // SAFETY: see above.
                Step::Clear(t) => unsafe { views[t.at()].write::<u8>() }.fill(0),
                Step::Copy { from, from_byte, to, to_byte, bytes } => {
                    // SAFETY: see above.
                    let (from, to) = unsafe { (views[from.at()].read::<u8>(), views[to.at()].write::<u8>()) };
                    to[*to_byte..to_byte + bytes].copy_from_slice(&from[*from_byte..from_byte + bytes]);
                }
                // SAFETY: see above.
                Step::Download(t) => outputs.push(*t, unsafe { views[t.at()].read() })?,
                Step::Dispatch { kernel, twin, params, args, work } => {
                    let begun = profile.is_some().then(Instant::now);
                    // SAFETY: see above.
                    unsafe { twin(params, &Memory { views: &views, args }) };
                    if let (Some(profile), Some(begun)) = (&mut profile, begun) {
                        profile.add(kernel, 1, begun.elapsed(), WALL_CLOCK);
                    }
                    dispatches += 1;
                    done += work;
                    control.report(done, self.total);
                }
            }
            Ok(())
        });
        self.shared.dispatches.fetch_add(dispatches, Ordering::Relaxed);
        result.map(|()| outputs)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.shared.pool.release(std::mem::take(&mut self.buffers));
    }
}

/// One command, with all that can be looked up before a run.
#[derive(Debug)]
enum Step {
    Upload(AnyTensor),
    Copy { from: AnyTensor, from_byte: usize, to: AnyTensor, to_byte: usize, bytes: usize },
    Clear(AnyTensor),
    Download(AnyTensor),
    Dispatch { kernel: &'static Kernel, twin: Twin, params: Vec<u8>, args: [u32; MAX_BINDINGS], work: u64 },
}

impl Step {
    fn new(recording: &Recording, command: &Command) -> Result<Self> {
        Ok(match command {
            Command::Upload(t) => Self::Upload(*t),
            Command::Copy { from, from_byte, to, to_byte, bytes } => Self::Copy {
                from: *from,
                from_byte: *from_byte as usize,
                to: *to,
                to_byte: *to_byte as usize,
                bytes: *bytes as usize,
            },
            Command::Clear(t) => Self::Clear(*t),
            Command::Download(t) => Self::Download(*t),
            Command::Dispatch(d) => {
                let mut args = [0; MAX_BINDINGS];
                args.iter_mut().zip(&d.args).for_each(|(to, arg)| *to = arg.index);
                let (twin, work) = (twin(d.kernel)?, recording.work(d));
                Self::Dispatch { kernel: d.kernel, twin, params: d.params.clone(), args, work }
            }
        })
    }
}

/// A tensor's memory during a run.
#[derive(Clone, Copy)]
struct View {
    at: *mut u8,
    bytes: usize,
}

impl View {
    /// # Safety
    /// The memory is valid, holds whole `T`s, and is not written while the slice lives.
    unsafe fn read<'a, T: bytemuck::Pod>(self) -> &'a [T] {
        // SAFETY: the caller's promise; slots and what a recording was given are aligned for every element.
        unsafe { std::slice::from_raw_parts(self.at.cast::<T>(), self.bytes / size_of::<T>()) }
    }

    /// # Safety
    /// As [`Self::read`], and nothing else reads or writes the memory while the slice lives.
    unsafe fn write<'a, T: bytemuck::Pod>(self) -> &'a mut [T] {
        // SAFETY: the caller's promise; slots are aligned for every element.
        unsafe { std::slice::from_raw_parts_mut(self.at.cast::<T>(), self.bytes / size_of::<T>()) }
    }
}

/// The tensors of one dispatch, in binding order.
struct Memory<'a> {
    views: &'a [View],
    args: &'a [u32; MAX_BINDINGS],
}

impl<'a> Memory<'a> {
    /// # Safety
    /// As [`View::read`].
    unsafe fn read<T: bytemuck::Pod>(&self, i: usize) -> &'a [T] {
        // SAFETY: the caller's promise.
        unsafe { self.views[self.args[i] as usize].read() }
    }

    /// # Safety
    /// As [`View::write`].
    #[allow(clippy::mut_from_ref, reason = "exclusive by the caller's promise")]
    unsafe fn write<T: bytemuck::Pod>(&self, i: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { self.views[self.args[i] as usize].write() }
    }
}
