//! The GPU executor: recordings through wgpu, on its own device or on one that the host application lends.

mod adapter;
mod cache;
mod health;
mod pipelines;
mod prepared;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use adapter::AdapterReport;
pub use cache::CacheReport;
pub use pipelines::Readiness;
pub use prepared::Prepared;

use super::{Choice, Control, DeviceOptions, Kind, Pool, Stats};
use crate::kernel::Kernel;
use crate::recording::{Capabilities, Recording};
use crate::{Error, Result};
use cache::Cache;
use health::{Health, Waited};
use pipelines::Pipelines;

/// Bytes of a kernel's parameters at most.
const PARAMS_BYTES: u64 = 64;

/// How long one wait holds wgpu's locks: while a thread waits, others cannot submit.
const WAIT: Duration = Duration::from_millis(5);

/// After this long without progress an empty submission asks the driver whether it is still there: some drivers kill
/// a context without ever signalling what it was working on.
const PROBE: Duration = Duration::from_secs(5);

/// Constants and states pass through host-visible memory of this size.
const CHUNK: u64 = 4 << 20;

#[derive(Debug)]
struct Shared {
    // Before the device: workers end before it goes.
    pipelines: Pipelines,
    health: Arc<Health>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    capabilities: Capabilities,
    pool: Pool<wgpu::Buffer>,
    /// Filled with [`super::POISON`]; scratch memory is overwritten from it before each run.
    poison: Option<wgpu::Buffer>,
    timestamps: bool,
    bind_groups: AtomicU64,
    dispatches: AtomicU64,
    submissions: AtomicU64,
}

/// A GPU through wgpu. Clones share the device, its memory and its pipelines.
#[derive(Debug, Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
}

fn limits(adapter: &wgpu::Limits) -> wgpu::Limits {
    wgpu::Limits {
        max_storage_buffer_binding_size: adapter.max_storage_buffer_binding_size,
        max_buffer_size: adapter.max_buffer_size,
        ..wgpu::Limits::default()
    }
    .or_worse_values_from(adapter)
}

/// The features that a device uses where the adapter has them. None is needed.
pub fn optional_features() -> wgpu::Features {
    wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE
}

/// The adapters of the system's native graphics interfaces, the best first. GL is not among them.
pub fn adapters() -> Vec<AdapterReport> {
    adapter::enumerate(wgpu::Backends::PRIMARY).iter().map(|a| adapter::report(&a.get_info())).collect()
}

impl Gpu {
    /// Every adapter that the choice means, opened in order of preference until one computes rightly.
    pub(super) fn open(options: &DeviceOptions) -> Result<Option<Self>> {
        let mut last = None;
        for adapter in adapter::choose(&options.choice)? {
            match Self::from_adapter(&adapter, options) {
                Ok(gpu) => return Ok(Some(gpu)),
                Err(error) => {
                    log::warn!("{}: {error}", adapter.get_info().name);
                    last = last.or(Some(error));
                }
            }
        }
        match (last, &options.choice) {
            (Some(error), Choice::Gpu | Choice::Named(_)) => Err(error),
            _ => Ok(None),
        }
    }

    fn from_adapter(adapter: &wgpu::Adapter, options: &DeviceOptions) -> Result<Self> {
        let info = adapter.get_info();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("spikewave"),
            required_features: optional_features() & adapter.features(),
            required_limits: limits(&adapter.limits()),
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
            flag.lose(format!("{reason:?}: {}", message.trim()));
        });
        device.on_uncaptured_error(Arc::new(|error| log::error!("wgpu: {error}")));
        Self::new(device, queue, health, options)
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
        Self::new(device, queue, Arc::default(), options)
    }

    fn new(device: wgpu::Device, queue: wgpu::Queue, health: Arc<Health>, options: &DeviceOptions) -> Result<Self> {
        let info = device.adapter_info();
        let limits = device.limits();
        // A slot is up to an eighth larger than its tensor.
        let largest = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size / 9 * 8) & !255;
        let budget = options.memory_budget.unwrap_or(1 << 30);
        let capabilities =
            Capabilities { native: false, max_tensor_bytes: largest, max_loop: 60_000, budget_bytes: budget };
        let cache = Cache::load(&device, &health, options.cache_dir.as_deref().map(Path::new))?;
        let pipelines = Pipelines::new(&device, &health, cache, options.checked, options.threads);
        let mut shared = Shared {
            pipelines,
            health,
            capabilities,
            pool: Pool::new(budget),
            poison: None,
            timestamps: device.features().contains(wgpu::Features::TIMESTAMP_QUERY),
            bind_groups: AtomicU64::new(0),
            dispatches: AtomicU64::new(0),
            submissions: AtomicU64::new(0),
            device,
            queue,
            info,
        };
        if options.poison {
            let poison = shared.buffer(Kind::Device, CHUNK)?;
            let bytes = vec![super::POISON; CHUNK as usize];
            shared.write(&[(&poison, &bytes)])?;
            shared.poison = Some(poison);
        }
        Ok(Self { shared: Arc::new(shared) })
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

    /// Counters since it was opened.
    pub fn stats(&self) -> Stats {
        Stats {
            pipelines_created: self.shared.pipelines.created(),
            bind_groups_created: self.shared.bind_groups.load(Ordering::Relaxed),
            dispatches: self.shared.dispatches.load(Ordering::Relaxed),
            submissions: self.shared.submissions.load(Ordering::Relaxed),
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

    /// Tells that the host's device is lost: every call from now on, and every run under way, ends with `DeviceLost`.
    pub fn notify_device_lost(&self, reason: &str) {
        self.shared.health.lose(reason);
    }

    /// Leases the memory, compiles what is not compiled, and fills in constants and states.
    ///
    /// # Errors
    /// `OverBudget`, `OutOfMemory`, `Kernel`, `DeviceLost`.
    pub fn prepare(&self, recording: &Recording) -> Result<Prepared> {
        Prepared::new(&self.shared, recording)
    }
}

fn usages(kind: Kind, timestamps: bool) -> wgpu::BufferUsages {
    use wgpu::BufferUsages as U;
    match kind {
        Kind::Device => U::STORAGE | U::COPY_SRC | U::COPY_DST,
        Kind::Upload => U::MAP_WRITE | U::COPY_SRC,
        Kind::Readback => U::MAP_READ | U::COPY_DST,
        Kind::Params => U::UNIFORM | U::COPY_DST,
        Kind::Status if timestamps => U::STORAGE | U::COPY_SRC | U::COPY_DST | U::QUERY_RESOLVE,
        Kind::Status => U::STORAGE | U::COPY_SRC | U::COPY_DST,
    }
}

impl Shared {
    /// A buffer of this kind, not yet counted by the pool.
    fn buffer(&self, kind: Kind, bytes: u64) -> Result<wgpu::Buffer> {
        let descriptor = wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: usages(kind, self.timestamps),
            // A mapped buffer that the driver cannot give is an error here; staging memory for it would be a lost device.
            mapped_at_creation: false,
        };
        self.health.create(&self.device, ("a buffer", bytes), || self.device.create_buffer(&descriptor))
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<wgpu::SubmissionIndex> {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.health.create(&self.device, ("a submission", 0), || self.queue.submit([encoder.finish()]))
    }

    /// Waits until `done` holds, in short slices, watching for loss, cancellation and the deadline.
    fn wait(
        &self,
        submission: Option<&wgpu::SubmissionIndex>,
        (control, started): (&Control<'_>, Instant),
        done: impl Fn() -> bool,
    ) -> Result<()> {
        let mut probed = Instant::now();
        loop {
            let waited = self.health.wait(&self.device, submission, WAIT)?;
            if waited == Waited::Done && done() {
                return Ok(());
            }
            control.check(started)?;
            if probed.elapsed() > PROBE {
                probed = Instant::now();
                self.health.create(&self.device, ("a probe", 0), || self.queue.submit([]))?;
            }
        }
    }

    /// Maps an upload buffer, lets `fill` write it, and unmaps it.
    fn fill(
        &self,
        buffer: &wgpu::Buffer,
        bytes: u64,
        watch: (&Control<'_>, Instant),
        fill: impl FnOnce(&mut wgpu::BufferViewMut),
    ) -> Result<()> {
        let mapped = prepared::Mapping::default();
        self.health.create(&self.device, ("a mapping", bytes), || {
            buffer.map_async(wgpu::MapMode::Write, 0..bytes, mapped.callback());
        })?;
        // The GPU is done with it as a rule, and the mapping is there at once.
        self.health.tick(&self.device)?;
        if !mapped.is_settled() {
            let waited = self.wait(None, watch, || mapped.is_settled());
            if waited.is_err() {
                buffer.unmap();
            }
            waited?;
        }
        mapped.check(&self.health)?;
        let filled = health::silently(|| match buffer.get_mapped_range_mut(0..bytes) {
            Ok(mut view) => {
                fill(&mut view);
                Ok(())
            }
            Err(e) => Err(self.health.lose(format!("a mapping failed: {e}"))),
        });
        buffer.unmap();
        filled.map_err(|m| self.health.lose(m))?
    }

    /// Writes whole buffers from their beginning, through one chunk of host-visible memory.
    fn write(&self, writes: &[(&wgpu::Buffer, &[u8])]) -> Result<()> {
        let total: u64 = writes.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if total == 0 {
            return Ok(());
        }
        let size = total.min(CHUNK).next_multiple_of(8);
        let chunk = self.buffer(Kind::Upload, size)?;
        let control = Control::default();
        let watch = (&control, Instant::now());
        let mut pieces = Vec::new();
        for (target, bytes) in writes {
            let mut at = 0;
            for piece in bytes.chunks(CHUNK as usize) {
                pieces.push((*target, at, piece));
                at += piece.len() as u64;
            }
        }
        let mut rest = &pieces[..];
        while !rest.is_empty() {
            let mut used = 0;
            let fitting = rest.iter().take_while(|(_, _, piece)| {
                used += piece.len() as u64;
                used <= size
            });
            let (now, later) = rest.split_at(fitting.count());
            rest = later;
            self.fill(&chunk, size, watch, |view| {
                let mut at = 0;
                for (_, _, piece) in now {
                    view.slice(at..at + piece.len()).copy_from_slice(piece);
                    at += piece.len();
                }
            })?;
            let mut encoder = self.encoder();
            let mut at = 0;
            for (target, to, piece) in now {
                encoder.copy_buffer_to_buffer(&chunk, at, target, *to, piece.len() as u64);
                at += piece.len() as u64;
            }
            let submission = self.submit(encoder)?;
            self.wait(Some(&submission), watch, || true)?;
        }
        Ok(())
    }
}
