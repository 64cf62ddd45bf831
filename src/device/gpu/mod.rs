//! The GPU executor: recordings through wgpu, on its own device or on one that the host application lends.

mod adapter;
mod cache;
mod health;
mod pipelines;
mod poller;
mod prepared;
mod profile;
mod reopen;
mod run;
mod selftest;
mod staging;

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use adapter::AdapterReport;
pub use pipelines::Readiness;
pub use prepared::Prepared;
pub use run::Pending;
pub use selftest::Quirk;

use super::{CacheReport, Choice, Control, DeviceOptions, Kind, Pool, Stats, WarmupKernel};
use crate::kernel::Kernel;
use crate::recording::{Capabilities, Plan, Recording, Slot};
use crate::{Error, Result};
use cache::Cache;
use health::{Health, Waited};
use pipelines::Pipelines;
use poller::Poller;
use reopen::Origin;
use run::Mapping;

/// Bytes of a kernel's parameters at most.
const PARAMS_BYTES: u64 = 64;

/// How long one wait holds wgpu's locks: while a thread waits, others cannot submit.
const WAIT: Duration = Duration::from_millis(5);

/// After this long without progress an empty submission asks the driver whether it is still there: some drivers kill
/// a context without ever signalling what it was working on.
const PROBE: Duration = Duration::from_secs(5);

/// Iterations of an invocation that no kernel should need, so that a slice stays short.
const MAX_LOOP: u32 = 1 << 24;

/// The budget where neither the caller nor the driver says how much there is.
const BUDGET: u64 = 1 << 30;

/// Constants and states pass through host-visible memory of this size.
const CHUNK: u64 = 4 << 20;

#[derive(Debug)]
struct Shared {
    // Before the device: workers end before it goes.
    pipelines: Pipelines,
    health: Arc<Health>,
    device: wgpu::Device,
    /// Dropped by hand, for wgpu waits then, and may panic on a driver that is in trouble.
    queue: ManuallyDrop<wgpu::Queue>,
    info: wgpu::AdapterInfo,
    capabilities: Capabilities,
    pool: Pool<wgpu::Buffer>,
    /// Filled with [`super::POISON`]; scratch memory is overwritten from it before each run.
    poison: Option<wgpu::Buffer>,
    timestamps: bool,
    quirks: Vec<Quirk>,
    counters: Counters,
    /// A thread of ours polls while futures are pending.
    poll: bool,
    poller: Arc<Poller>,
    /// Where it came from; `None` for a device that a host lends.
    origin: Option<Origin>,
}

#[derive(Debug, Default)]
struct Counters {
    bind_groups: AtomicU64,
    dispatches: AtomicU64,
    submissions: AtomicU64,
}

/// How a wait may end before its time.
struct Watch<'a> {
    control: &'a Control<'a>,
    started: Instant,
}

impl Watch<'_> {
    fn check(&self) -> Result<()> {
        self.control.check(self.started)
    }
}

/// A GPU through wgpu. Clones share the device, its memory and its pipelines.
#[derive(Debug, Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
    reason: Arc<str>,
}

/// The features that a device uses where the adapter has them; none is needed. For hosts that lend their device.
pub fn optional_features() -> wgpu::Features {
    wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE
}

/// The limits to ask of an adapter: the WebGPU defaults, and the largest buffers there are. For hosts that lend their
/// device.
pub fn required_limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
    adapter::required_limits(&adapter.limits())
}

fn reports(backends: wgpu::Backends) -> Vec<AdapterReport> {
    adapter::enumerate(backends).iter().map(|a| adapter::report(&a.get_info())).collect()
}

/// The adapters of the system's native graphics interfaces, the best first. GL is not among them.
pub fn adapters() -> Vec<AdapterReport> {
    reports(wgpu::Backends::PRIMARY)
}

/// The same with those that GL has.
pub fn all_adapters() -> Vec<AdapterReport> {
    reports(wgpu::Backends::PRIMARY | wgpu::Backends::GL)
}

impl Gpu {
    /// The first adapter that the choice means and that computes rightly.
    ///
    /// # Errors
    /// `NoAdapter` when the choice means none; else what was wrong with the first.
    pub(super) fn open(options: &DeviceOptions) -> Result<Self> {
        let mut first = None;
        for adapter in adapter::choose(&options.choice)? {
            match Self::from_adapter(&adapter, options) {
                Ok(mut gpu) => {
                    let named = matches!(options.choice, Choice::Named(_));
                    let why = if named { "asked for by name" } else { "the best hardware GPU" };
                    let passed = first.map(|e: Error| format!("; passed over: {e}")).unwrap_or_default();
                    gpu.reason = format!("{why}{passed}").into();
                    return Ok(gpu);
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::Internal("a choice without adapters is an error".into())))
    }

    fn from_adapter(adapter: &wgpu::Adapter, options: &DeviceOptions) -> Result<Self> {
        let info = adapter.get_info();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("spikewave"),
            required_features: optional_features() & adapter.features(),
            required_limits: required_limits(adapter),
            // The pool allocates in large pieces itself.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let opened = health::silently(|| pollster::block_on(adapter.request_device(&descriptor)));
        let (device, queue) = opened
            .map_err(|m| m.to_string())
            .and_then(|r| r.map_err(|e| e.to_string()))
            .map_err(|message| Error::DeviceLost { reason: format!("{} could not be opened: {message}", info.name) })?;
        let health = Arc::new(Health::default());
        let flag = health.clone();
        // Runs with wgpu's locks held: sets a flag, nothing else.
        device.set_device_lost_callback(move |reason, message| {
            flag.mark(format!("{reason:?}: {}", message.trim()));
        });
        device.on_uncaptured_error(Arc::new(|error| log::error!("wgpu: {error}")));
        let share = adapter::free_memory(adapter).map_or(BUDGET, |bytes| bytes / 10 * 6);
        let mut gpu = Self::new(device, queue, health, options, share)?;
        gpu.own(adapter, options)?;
        Ok(gpu)
    }

    /// An executor on a device that the host application owns and lends.
    ///
    /// It replaces none of the device's callbacks, and its resources count only against its own budget (1 GiB unless
    /// the options say otherwise). The host tells it of a loss by [`notify_device_lost`](Self::notify_device_lost).
    /// `choice` and `force` of the options mean nothing here.
    ///
    /// # Errors
    /// `Unsupported` if the device lacks what every kernel needs (the WebGPU defaults).
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue, options: &DeviceOptions) -> Result<Self> {
        Self::new(device, queue, Arc::default(), options, BUDGET)
    }

    fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        health: Arc<Health>,
        options: &DeviceOptions,
        budget: u64,
    ) -> Result<Self> {
        let info = device.adapter_info();
        let limits = device.limits();
        adapter::check_floor(&info.name, &limits)?;
        // A slot is up to an eighth larger than its tensor. Kernels count in u32, and so do Metal's buffer lengths.
        let most = limits.max_storage_buffer_binding_size.min(u64::from(u32::MAX));
        let largest = most.min(limits.max_buffer_size / 9 * 8) & !255;
        let budget = options.memory_budget.unwrap_or(budget);
        let capabilities = Capabilities {
            native: false,
            software: adapter::is_software(&info),
            max_tensor_bytes: largest,
            max_loop: MAX_LOOP,
            budget_bytes: budget,
            slice_work: adapter::slice_work(&info),
        };
        let cache = Cache::load(&device, &health, options.cache_dir.as_deref().map(Path::new))?;
        let pipelines = Pipelines::new(&device, &health, cache, options.checked, options.threads);
        let shared = Shared {
            pipelines,
            health,
            capabilities,
            // The self-test's; the caller's budget is for the caller.
            pool: Pool::new(BUDGET),
            poison: None,
            timestamps: device.features().contains(wgpu::Features::TIMESTAMP_QUERY),
            quirks: Vec::new(),
            counters: Counters::default(),
            poll: false,
            poller: Arc::default(),
            origin: None,
            device,
            queue: ManuallyDrop::new(queue),
            info,
        };
        let mut gpu = Self { shared: Arc::new(shared), reason: "lent by the host application".into() };
        let quirks = selftest::run(&gpu, options.force)?;
        let shared = Arc::get_mut(&mut gpu.shared).ok_or_else(|| Error::Internal("the self-test is running".into()))?;
        if quirks.contains(&Quirk::LoopLimit64k) {
            shared.capabilities.max_loop = 60_000;
        }
        shared.timestamps &= !quirks.contains(&Quirk::NoTimestamps);
        shared.quirks = quirks;
        shared.pool = Pool::new(budget);
        if options.poison {
            let poison = shared.buffer(Kind::Device, CHUNK)?;
            shared.write(&[(&poison, &vec![super::POISON; CHUNK as usize])])?;
            shared.poison = Some(poison);
        }
        Ok(gpu)
    }

    /// What the self-test found.
    pub fn quirks(&self) -> &[Quirk] {
        &self.shared.quirks
    }

    /// Why this one was chosen.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.shared.info.name
    }

    /// The adapter.
    pub fn adapter(&self) -> AdapterReport {
        adapter::report(&self.shared.info)
    }

    /// What ops may ask of it.
    pub fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    /// Gives memory that is kept for reuse back to the system.
    pub fn trim(&self) {
        self.shared.pool.trim();
    }

    /// Counters since it was opened.
    pub fn stats(&self) -> Stats {
        Stats {
            pipelines_created: self.shared.pipelines.created(),
            bind_groups_created: self.shared.counters.bind_groups.load(Ordering::Relaxed),
            dispatches: self.shared.counters.dispatches.load(Ordering::Relaxed),
            submissions: self.shared.counters.submissions.load(Ordering::Relaxed),
            memory: self.shared.pool.stats(),
        }
    }

    /// Starts to compile kernels, and returns at once. What was asked for last is compiled first.
    ///
    /// # Errors
    /// `Internal` if threads cannot be started.
    pub fn request(&self, kernels: &[&'static Kernel]) -> Result<()> {
        self.shared.pipelines.request(kernels.iter().copied())
    }

    /// How far a kernel is.
    pub fn readiness(&self, kernel: &Kernel) -> Readiness {
        self.shared.pipelines.readiness(kernel)
    }

    /// Waits for a kernel that has been asked for.
    pub(super) fn await_kernel(&self, kernel: &'static Kernel) -> Result<WarmupKernel> {
        let compiled = self.shared.pipelines.wait(kernel)?;
        let (compile_ms, cache_hit) = (super::warmup::ms(compiled.compile), compiled.cache_hit);
        Ok(WarmupKernel { label: kernel.label().into(), compile_ms, cache_hit })
    }

    /// The first and second time of dispatching every kernel over no workgroup.
    pub(super) fn first_uses(&self, kernels: &[&'static Kernel]) -> Result<(Duration, Duration)> {
        let mut idle = Prepared::idle(&self.shared, kernels)?;
        let mut wall = || idle.run(&[], &Control::default()).map(|out| out.timing().wall);
        Ok((wall()?, wall()?))
    }

    /// The pipeline cache file; `None` where the backend has none.
    pub fn cache(&self) -> Option<CacheReport> {
        self.shared.pipelines.cache().map(Cache::report)
    }

    /// Tells that the host's device is lost: every call from now on, and every run under way, ends with `DeviceLost`.
    pub fn notify_device_lost(&self, reason: &str) {
        self.shared.health.lose(reason);
    }

    /// Leases the memory, compiles what is not compiled, and fills in constants and states, of which it keeps no copy
    /// on the host.
    ///
    /// # Errors
    /// `OverBudget`, `OutOfMemory`, `Kernel`, `DeviceLost`.
    pub fn prepare(&self, recording: &Recording) -> Result<Prepared> {
        Prepared::new(&self.shared, recording)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.poller.join();
        // SAFETY: this is the only place that drops it, and nothing uses it afterwards.
        let _ = health::silently(|| unsafe { ManuallyDrop::drop(&mut self.queue) });
    }
}

fn usages(kind: Kind, timestamps: bool) -> wgpu::BufferUsages {
    use wgpu::BufferUsages as U;
    match kind {
        // Only the native path uses memory in place.
        Kind::Device | Kind::InPlace => U::STORAGE | U::COPY_SRC | U::COPY_DST,
        Kind::Upload => U::MAP_WRITE | U::COPY_SRC,
        Kind::Readback => U::MAP_READ | U::COPY_DST,
        Kind::Params => U::UNIFORM | U::COPY_DST,
        Kind::Status if timestamps => U::STORAGE | U::COPY_SRC | U::COPY_DST | U::QUERY_RESOLVE,
        Kind::Status => U::STORAGE | U::COPY_SRC | U::COPY_DST,
    }
}

/// A part of a write that fits the chunk, and where it goes.
struct Piece<'a> {
    bytes: &'a [u8],
    from: u64,
    target: &'a wgpu::Buffer,
    to: u64,
}

impl Shared {
    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64, n: u64) {
        counter(&self.counters).fetch_add(n, Ordering::Relaxed);
    }

    /// Makes something under error scopes: `OutOfMemory` with these bytes, or `Internal`.
    fn create<T>(&self, what: (&str, u64), make: impl FnOnce() -> T) -> Result<T> {
        self.health.create(&self.device, what, make)
    }

    /// A buffer of this kind, not yet counted by the pool.
    fn buffer(&self, kind: Kind, bytes: u64) -> Result<wgpu::Buffer> {
        let usage = usages(kind, self.timestamps);
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
        self.create(("a buffer", bytes), || self.device.create_buffer(&descriptor))
    }

    /// The memory of a plan.
    fn lease(&self, plan: &Plan) -> Result<Vec<(Slot, wgpu::Buffer)>> {
        let failed = Cell::new(false);
        self.pool.lease(plan, |kind, bytes| {
            // The second attempt: wgpu gives freed memory back to the driver only when it is polled.
            if failed.get() {
                self.health.tick(&self.device)?;
            }
            let made = self.buffer(kind, bytes);
            failed.set(made.is_err());
            made
        })
    }

    /// The time between two timestamps.
    fn between(&self, begin: u64, end: u64) -> Duration {
        let period = f64::from(self.queue.get_timestamp_period());
        Duration::from_nanos((end.saturating_sub(begin) as f64 * period) as u64)
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<wgpu::SubmissionIndex> {
        self.count(|c| &c.submissions, 1);
        self.create(("a submission", 0), || self.queue.submit([encoder.finish()]))
    }

    /// Waits until `done` holds, in short slices, watching for loss, cancellation and the deadline.
    fn wait(
        &self,
        submission: Option<&wgpu::SubmissionIndex>,
        watch: &Watch<'_>,
        done: impl Fn() -> bool,
    ) -> Result<()> {
        let mut probed = Instant::now();
        loop {
            if self.health.wait(&self.device, submission, WAIT)? == Waited::Done && done() {
                return Ok(());
            }
            watch.check()?;
            if probed.elapsed() > PROBE {
                probed = Instant::now();
                self.create(("a probe", 0), || self.queue.submit([]))?;
            }
        }
    }

    /// Maps the first `bytes` of an upload buffer, lets `write` write them, and unmaps it.
    fn fill(
        &self,
        buffer: &wgpu::Buffer,
        bytes: u64,
        watch: &Watch<'_>,
        write: impl FnOnce(&mut wgpu::BufferViewMut),
    ) -> Result<()> {
        let mapped = Mapping::default();
        self.create(("a mapping", bytes), || buffer.map_async(wgpu::MapMode::Write, 0..bytes, mapped.callback()))?;
        // Unless a run was given up, the GPU is done with it and the mapping is there at once.
        self.health.tick(&self.device)?;
        let settled = if mapped.is_settled() { Ok(()) } else { self.wait(None, watch, || mapped.is_settled()) };
        let written = settled.and_then(|()| mapped.check(&self.health)).and_then(|()| {
            let mut view = buffer
                .get_mapped_range_mut(0..bytes)
                .map_err(|e| self.health.lose(format!("a mapping failed: {e}")))?;
            write(&mut view);
            Ok(())
        });
        self.create(("an unmapping", bytes), || buffer.unmap())?;
        written
    }

    /// A host-visible buffer with this content, ready to be copied from.
    fn filled(&self, bytes: &[u8]) -> Result<wgpu::Buffer> {
        let descriptor = wgpu::BufferDescriptor {
            label: None,
            size: (bytes.len() as u64).next_multiple_of(8),
            // With MAP_WRITE, being mapped at creation takes no staging memory, whose lack would lose the device.
            usage: usages(Kind::Upload, false),
            mapped_at_creation: true,
        };
        let buffer = self.create(("an input", descriptor.size), || self.device.create_buffer(&descriptor))?;
        let view = buffer.get_mapped_range_mut(0..descriptor.size);
        let mut view = view.map_err(|e| self.health.lose(format!("a mapping failed: {e}")))?;
        view.slice(0..bytes.len()).copy_from_slice(bytes);
        drop(view);
        buffer.unmap();
        Ok(buffer)
    }

    /// Writes buffers from their beginning, through one chunk of host-visible memory.
    fn write(&self, writes: &[(&wgpu::Buffer, &[u8])]) -> Result<()> {
        let total: u64 = writes.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let size = total.clamp(8, CHUNK).next_multiple_of(8);
        let chunk = self.buffer(Kind::Upload, size)?;
        let (mut pieces, mut used) = (Vec::new(), 0);
        for (target, bytes) in writes {
            for (i, piece) in bytes.chunks(size as usize).enumerate() {
                if used + piece.len() as u64 > size {
                    self.write_chunk(&chunk, &pieces)?;
                    (pieces, used) = (Vec::new(), 0);
                }
                pieces.push(Piece { bytes: piece, from: used, target, to: i as u64 * size });
                used += piece.len() as u64;
            }
        }
        self.write_chunk(&chunk, &pieces)
    }

    fn write_chunk(&self, chunk: &wgpu::Buffer, pieces: &[Piece<'_>]) -> Result<()> {
        let watch = Watch { control: &Control::default(), started: Instant::now() };
        self.fill(chunk, chunk.size(), &watch, |view| {
            for piece in pieces {
                view.slice(piece.from as usize..piece.from as usize + piece.bytes.len()).copy_from_slice(piece.bytes);
            }
        })?;
        let mut encoder = self.encoder();
        for piece in pieces {
            encoder.copy_buffer_to_buffer(chunk, piece.from, piece.target, piece.to, piece.bytes.len() as u64);
        }
        let submission = self.submit(encoder)?;
        self.wait(Some(&submission), &watch, || true)
    }
}
