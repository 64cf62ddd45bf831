//! The GPU executor: recordings through wgpu, on its own device or on one that the host application lends.

mod adapter;
mod cache;
mod health;
mod host;
mod pipelines;
mod poller;
mod prepared;
mod profile;
mod reopen;
mod run;
mod selftest;
mod specialise;
mod staging;

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

pub use adapter::AdapterReport;
pub use host::{GpuParts, HostBuffer};
pub use pipelines::Readiness;
pub use prepared::Prepared;
pub use run::Pending;
pub use selftest::Quirk;

use super::{
    AllocatorStats, CacheReport, Choice, Control, DeviceOptions, Kind, Pool, Specialised, Stats, WarmupKernel,
};
use crate::kernel::Kernel;
use crate::recording::{Capabilities, Plan, Recording, Slot};
use crate::{Error, Result};
use cache::Cache;
use health::{HAND_OVER, Health, Waited};
use pipelines::{Pipelines, Urgency};
use poller::Poller;
use reopen::Origin;
use run::Mapping;
pub(super) use specialise::Special;
use specialise::{Case, Prover};

/// Bytes of a kernel's parameters at most.
const PARAMS_BYTES: u64 = 64;

/// How long one wait holds wgpu's locks: while a thread waits, others cannot submit.
const WAIT: Duration = Duration::from_millis(5);

/// After this long without progress an empty submission asks the driver whether it is still there: some drivers kill
/// a context without ever signalling what it was working on.
const PROBE: Duration = Duration::from_secs(5);

/// Iterations that every driver carries out (Mesa 22's lavapipe stops after 65,534).
const CAUTIOUS_LOOP: u32 = 60_000;

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
    options: DeviceOptions,
    /// What is safe on any driver, until the self-test has been run.
    cautious: Capabilities,
    tested: OnceLock<Tested>,
    pool: Arc<Pool<wgpu::Buffer>>,
    /// Filled with [`super::POISON`]; scratch memory is overwritten from it before each run.
    poison: Option<wgpu::Buffer>,
    counters: Counters,
    /// It may be polled when no caller waits: from a thread of ours while futures are pending.
    poll: bool,
    poller: Arc<Poller>,
    /// Where it came from; `None` for a device that a host lends.
    origin: Option<Origin>,
}

/// What the self-test found, and what it makes of the capabilities.
#[derive(Debug)]
struct Tested {
    capabilities: Capabilities,
    quirks: Vec<Quirk>,
}

#[derive(Debug, Default)]
struct Counters {
    bind_groups: AtomicU64,
    dispatches: AtomicU64,
    submissions: AtomicU64,
    /// What the allocator held before the first recording, and one more; 0 where nobody asks it.
    allocator_own: AtomicU64,
    allocator_peak: AtomicU64,
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
    generation: u32,
}

/// The features without which nothing works: none today. For hosts that lend their device.
pub fn required_features() -> wgpu::Features {
    wgpu::Features::empty()
}

/// The features to ask of an adapter because it has them and they are of use: times by the device's own clock, and
/// compiled pipelines that are kept between starts. For hosts that lend their device.
pub fn optional_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    adapter.features() & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE)
}

/// The limits to ask of an adapter: the WebGPU defaults, and the largest buffers there are. For hosts that lend their
/// device; a host that needs more of its own takes `or_better_values_from` of both.
pub fn required_limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
    adapter::required_limits(&adapter.limits())
}

fn reports(backends: wgpu::Backends) -> Vec<AdapterReport> {
    adapter::enumerate(backends).into_iter().map(|(_, report)| report).collect()
}

/// The adapters of the system's native graphics interfaces, the best first. GL is not among them.
pub fn adapters() -> Vec<AdapterReport> {
    reports(wgpu::Backends::PRIMARY)
}

/// Those that a choice means, the one that it opens first.
///
/// # Errors
/// `NoAdapter` when it means none.
pub(crate) fn meant(choice: &Choice) -> Result<Vec<AdapterReport>> {
    Ok(adapter::choose(choice)?.into_iter().map(|(_, report)| report).collect())
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
        let chosen = adapter::choose(&options.choice)?;
        for (i, (adapter, about)) in chosen.iter().enumerate() {
            match Self::from_adapter(adapter, about, options) {
                Ok(mut gpu) => {
                    let named = matches!(options.choice, Choice::Named(_));
                    let mut why = String::from(if named { "asked for by name" } else { "the best hardware GPU" });
                    if let Some(distinction) = &about.distinction {
                        why += &format!("; driver {distinction}");
                    }
                    if let Some(error) = first {
                        why += &format!("; passed over: {error}");
                    }
                    let others: Vec<_> =
                        chosen[i + 1..].iter().map(|(_, r)| format!("\"{}\"", r.choose_by())).collect();
                    if named && !others.is_empty() {
                        why += &format!("; the name means {} too", others.join(", "));
                    }
                    gpu.reason = why.into();
                    return Ok(gpu);
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::Internal("a choice without adapters is an error".into())))
    }

    fn from_adapter(adapter: &wgpu::Adapter, about: &AdapterReport, options: &DeviceOptions) -> Result<Self> {
        let info = adapter.get_info();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("spikewave"),
            required_features: required_features() | optional_features(adapter),
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
        let parts = GpuParts { device, queue, adapter: Some(adapter.clone()), poll: true };
        let mut gpu = Self::new(parts, Some(Origin::new(adapter, about)), health, options)?;
        // The self-test has memory of its own; the caller's budget is for the caller.
        gpu.replace_pool(BUDGET)?;
        gpu.self_test()?;
        gpu.replace_pool(gpu.shared.cautious.budget_bytes)?;
        gpu.watch_allocator()?;
        if options.specialise != Some(false) {
            gpu.allow_specialised();
        }
        Ok(gpu)
    }

    /// From now on, kernels are specialised, which submits.
    fn allow_specialised(&self) {
        let shared = &self.shared;
        let prover = Prover::new(&shared.device, &shared.queue, &shared.health, &shared.pool);
        shared.pipelines.specialise_with(prover);
    }

    fn replace_pool(&mut self, budget: u64) -> Result<()> {
        let shared = Arc::get_mut(&mut self.shared).ok_or_else(|| Error::Internal("the device is in use".into()))?;
        shared.pool = Arc::new(Pool::new(budget));
        Ok(())
    }

    fn new(parts: GpuParts, origin: Option<Origin>, health: Arc<Health>, options: &DeviceOptions) -> Result<Self> {
        let GpuParts { device, queue, adapter, poll } = parts;
        let info = device.adapter_info();
        let limits = device.limits();
        adapter::check_floor(&info.name, device.features(), &limits)?;
        let share = adapter.as_ref().and_then(adapter::free_memory).map(|bytes| bytes / 10 * 6);
        // What is free is the host's too.
        let budget = if origin.is_none() { share.map_or(BUDGET, |s| s.min(BUDGET)) } else { share.unwrap_or(BUDGET) };
        // A slot is up to an eighth larger than its tensor. Kernels count in u32, and so do Metal's buffer lengths.
        let most = limits.max_storage_buffer_binding_size.min(u64::from(u32::MAX));
        let cautious = Capabilities {
            native: false,
            software: adapter::is_software(&info),
            max_tensor_bytes: most.min(limits.max_buffer_size / 9 * 8) & !255,
            max_loop: CAUTIOUS_LOOP,
            budget_bytes: options.memory_budget.unwrap_or(budget),
            slice_work: adapter::slice_work(&info),
        };
        let cache = Cache::load(&device, &health, options.cache_dir.as_deref().map(Path::new))?;
        let pipelines = Pipelines::new(&device, &health, cache, options.checked, options.threads);
        let mut shared = Shared {
            pipelines,
            health,
            pool: Arc::new(Pool::new(cautious.budget_bytes)),
            cautious,
            tested: OnceLock::new(),
            poison: None,
            counters: Counters::default(),
            poll,
            poller: Arc::default(),
            origin,
            device,
            queue: ManuallyDrop::new(queue),
            info,
            options: options.clone(),
        };
        if options.poison {
            shared.poison = Some(shared.filled(&vec![super::POISON; CHUNK as usize])?);
        }
        Ok(Self { shared: Arc::new(shared), reason: "lent by the host application".into(), generation: 0 })
    }

    /// Runs the known answers, unless they have been run, and returns what they found. A device that was opened here is
    /// tested already. On a lent one this submits and waits, and takes 21 MiB of the budget meanwhile; afterwards
    /// kernels may use longer loops ([`Capabilities::max_loop`]) where the driver carries them out.
    ///
    /// # Errors
    /// `DriverBroken` with the first wrong answer, unless the options force it; what a run gives.
    pub fn self_test(&self) -> Result<&[Quirk]> {
        if self.shared.tested.get().is_none() {
            let quirks = selftest::run(self, self.shared.options.force)?;
            let limited = quirks.contains(&Quirk::LoopLimit64k);
            let max_loop = if limited { CAUTIOUS_LOOP } else { MAX_LOOP };
            let capabilities = Capabilities { max_loop, ..self.shared.cautious.clone() };
            // Another thread may have been first, with the same result.
            let _ = self.shared.tested.set(Tested { capabilities, quirks });
            self.trim();
        }
        Ok(self.quirks())
    }

    /// From now on the allocator of this device, which is our own, is asked.
    fn watch_allocator(&self) -> Result<()> {
        // What the self-test has dropped goes when the device is next looked at.
        self.shared.health.tick(&self.shared.device)?;
        if let Some(report) = self.shared.device.generate_allocator_report() {
            self.shared.counters.allocator_own.store(report.total_allocated_bytes + 1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What the self-test found; nothing before it has been run.
    pub fn quirks(&self) -> &[Quirk] {
        self.shared.tested.get().map_or(&[], |tested| &tested.quirks)
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
        match &self.shared.origin {
            Some(origin) => origin.about.clone(),
            None => adapter::report(&self.shared.info),
        }
    }

    /// What ops may ask of it: before the [self-test](Self::self_test) only what every driver can do.
    pub fn capabilities(&self) -> &Capabilities {
        self.shared.capabilities()
    }

    /// How often the device has been opened again, or replaced by the host application, after a loss.
    pub fn generation(&self) -> u32 {
        self.generation
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
            specialised: self.specialised(),
            allocator: self.shared.allocator(),
        }
    }

    /// Starts to compile kernels, and returns at once. What was asked for last is compiled first.
    ///
    /// # Errors
    /// `Internal` if threads cannot be started.
    pub fn request(&self, kernels: &[&'static Kernel]) -> Result<()> {
        self.shared.pipelines.request(kernels.iter().copied(), Urgency::Now)
    }

    /// The same behind all that somebody waits for, in the order of asking.
    ///
    /// # Errors
    /// `Internal` if threads cannot be started.
    pub fn request_in_background(&self, kernels: &[&'static Kernel]) -> Result<()> {
        self.shared.pipelines.request(kernels.iter().copied(), Urgency::Background)
    }

    /// The same for a warmup, which may take it back.
    pub(super) fn request_for_warmup(&self, kernels: &[&'static Kernel]) -> Result<()> {
        self.shared.pipelines.request(kernels.iter().copied(), Urgency::Warmup)
    }

    /// Asks for the specialised kernels of recordings, which take their places in prepared ones once they are proved;
    /// those of them that are still to be made.
    pub(super) fn specialise(&self, recordings: &[Recording]) -> Vec<Weak<Special>> {
        let mut asked: Vec<Weak<Special>> = Vec::new();
        let cases = recordings.iter().flat_map(|rec| rec.dispatches().filter_map(|d| Case::of(rec, d)));
        for special in cases.filter_map(|case| self.shared.pipelines.special(&case)) {
            let new = Arc::downgrade(&special);
            if !special.is_made() && !asked.iter().any(|known| known.ptr_eq(&new)) {
                asked.push(new);
            }
        }
        asked
    }

    /// How far the specialised kernels are.
    pub(super) fn specialised(&self) -> Specialised {
        self.shared.pipelines.specialised()
    }

    /// The specialised kernels that are not used, each with the cause.
    pub fn refused(&self) -> Vec<String> {
        self.shared.pipelines.refused()
    }

    /// Waits until every specialised kernel that is asked for is proved or refused: for benchmarks.
    pub fn settle(&self) {
        self.shared.pipelines.settle();
    }

    /// Waits for that at most so long; whether it is so.
    pub(super) fn settled(&self, time: Duration) -> bool {
        self.shared.pipelines.settled(time)
    }

    /// Waits for a kernel at most so long; whether it is ready.
    pub(super) fn ready_within(&self, kernel: &'static Kernel, time: Duration) -> Result<bool> {
        self.shared.health.check()?;
        Ok(self.shared.pipelines.wait_for(kernel, time)?.is_some())
    }

    /// Takes back what only warmups asked for and has not begun.
    pub(super) fn withdraw(&self, kernels: &[&'static Kernel]) {
        self.shared.pipelines.withdraw(kernels.iter().copied());
    }

    /// The device as long as somebody else holds it.
    pub(super) fn weak(&self) -> impl Fn() -> Option<Self> + Send + 'static {
        let (shared, reason, generation) = (Arc::downgrade(&self.shared), self.reason.clone(), self.generation);
        move || Some(Self { shared: shared.upgrade()?, reason: reason.clone(), generation })
    }

    /// How far a kernel is.
    pub fn readiness(&self, kernel: &Kernel) -> Readiness {
        self.shared.pipelines.readiness(kernel)
    }

    /// Waits for a kernel that has been asked for.
    pub(super) fn await_kernel(&self, kernel: &'static Kernel) -> Result<WarmupKernel> {
        let compiled = self.shared.pipelines.wait(kernel)?;
        let (compile_ms, cache_hit) = (super::warmup::ms(compiled.compile), compiled.cache_hit);
        Ok(WarmupKernel { label: kernel.label().into(), compile_ms, cache_hit, compiled_before: compiled.before })
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

    /// Leases the memory, compiles what is not compiled, and fills in constants and states, of which it keeps no copy
    /// on the host. On a lent device it submits nothing: first contents wait in upload memory, which counts against the
    /// budget, and travel with the first [`encode`](Prepared::encode) or run.
    ///
    /// # Errors
    /// `OverBudget`, `OutOfMemory`, `Kernel`, `DeviceLost`; `InvalidArgument` for a recording with tensors in the host
    /// application's buffers, which [`prepare_with`](Self::prepare_with) takes.
    pub fn prepare(&self, recording: &Recording) -> Result<Prepared> {
        self.prepare_with(recording, &[])
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.poller.close();
        // A software driver computes in threads of this process, and a device that it reports as lost may still be at
        // work: destroyed under them it takes the process along. The queue keeps such a device, and what its
        // submissions use.
        if self.origin.is_some() && self.cautious.software && self.health.check().is_err() {
            return;
        }
        // SAFETY: this is the only place that drops it, and nothing uses it afterwards.
        let _ = health::silently(|| unsafe { ManuallyDrop::drop(&mut self.queue) });
    }
}

fn usages(kind: Kind, timestamps: bool) -> wgpu::BufferUsages {
    use wgpu::BufferUsages as U;
    match kind {
        Kind::Device => U::STORAGE | U::COPY_SRC | U::COPY_DST,
        Kind::Upload | Kind::InPlace => U::MAP_WRITE | U::COPY_SRC,
        Kind::Readback => U::MAP_READ | U::COPY_DST,
        Kind::Params => U::UNIFORM | U::COPY_DST,
        Kind::Status if timestamps => U::STORAGE | U::COPY_SRC | U::COPY_DST | U::QUERY_RESOLVE,
        Kind::Status => U::STORAGE | U::COPY_SRC | U::COPY_DST,
    }
}

/// A part of a write that fits its chunk, and where it goes: the target's index and byte.
#[derive(Debug, Clone)]
struct Piece<B> {
    bytes: B,
    from: u64,
    target: usize,
    to: u64,
}

/// Writes, of targets by index from their beginning on, in chunks of at most `most` bytes.
fn chunks<'a>(most: u64, writes: &[(usize, &'a [u8])]) -> Vec<(u64, Vec<Piece<&'a [u8]>>)> {
    let mut chunks: Vec<(u64, Vec<Piece<&[u8]>>)> = Vec::new();
    for (target, bytes) in writes {
        let mut rest = *bytes;
        while !rest.is_empty() {
            let used = chunks.last().map_or(most, |(used, _)| *used);
            if used >= most {
                chunks.push((0, Vec::new()));
                continue;
            }
            let (head, tail) = rest.split_at(rest.len().min((most - used) as usize));
            if let Some((used, pieces)) = chunks.last_mut() {
                pieces.push(Piece { bytes: head, from: *used, target: *target, to: (bytes.len() - rest.len()) as u64 });
                *used += head.len() as u64;
            }
            rest = tail;
        }
    }
    // Mappings are multiples of 8.
    chunks.iter_mut().for_each(|(used, _)| *used = used.next_multiple_of(8));
    chunks
}

impl Shared {
    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64, n: u64) {
        counter(&self.counters).fetch_add(n, Ordering::Relaxed);
    }

    fn capabilities(&self) -> &Capabilities {
        self.tested.get().map_or(&self.cautious, |tested| &tested.capabilities)
    }

    /// The host application owns the device.
    fn lent(&self) -> bool {
        self.origin.is_none()
    }

    /// Whether runs are timed by timestamps.
    fn timestamps(&self) -> bool {
        let found_wrong = || self.tested.get().is_some_and(|t| t.quirks.contains(&Quirk::NoTimestamps));
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) && !found_wrong()
    }

    /// Makes something under error scopes: `OutOfMemory` with these bytes, or `Internal`.
    fn create<T>(&self, what: (&str, u64), make: impl FnOnce() -> T) -> Result<T> {
        self.health.create(&self.device, what, make)
    }

    /// A buffer of this kind, not yet counted by the pool. One that is used in place is mapped.
    fn buffer(&self, kind: Kind, bytes: u64) -> Result<wgpu::Buffer> {
        let usage = usages(kind, self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY));
        // With MAP_WRITE, being mapped at creation takes no staging memory, whose lack would lose the device.
        let mapped_at_creation = kind == Kind::InPlace;
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation };
        self.create(("a buffer", bytes), || self.device.create_buffer(&descriptor))
    }

    /// What the allocator of a device of our own says now.
    fn allocator(&self) -> Option<AllocatorStats> {
        let own_bytes = self.counters.allocator_own.load(Ordering::Relaxed).checked_sub(1)?;
        let quiet = self.pool.quiet();
        let allocated_bytes = self.device.generate_allocator_report()?.total_allocated_bytes;
        let peak = &self.counters.allocator_peak;
        // What is set aside for a moment is in no plan.
        if quiet.is_some() && quiet == self.pool.quiet() {
            peak.fetch_max(allocated_bytes, Ordering::Relaxed);
        }
        let peak_bytes = peak.load(Ordering::Relaxed);
        Some(AllocatorStats { allocated_bytes, peak_bytes, own_bytes })
    }

    /// The memory of a plan.
    fn lease(&self, plan: &Plan) -> Result<Vec<(Slot, wgpu::Buffer)>> {
        let failed = Cell::new(false);
        let leased = self.pool.lease(plan, |kind, bytes| {
            // The second attempt: wgpu gives freed memory back to the driver only when it is polled.
            if failed.get() && self.poll {
                self.health.tick(&self.device)?;
            }
            let made = self.buffer(kind, bytes);
            failed.set(made.is_err());
            made
        });
        self.allocator();
        leased
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
            if self.health.wait(&self.device, submission, WAIT)? == Waited::Done {
                if done() {
                    return Ok(());
                }
                // Another thread has taken the callback, and has yet to run it.
                std::thread::sleep(HAND_OVER);
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
        let written = settled.and_then(|()| {
            let mut view = self.mapped(&mapped, || buffer.get_mapped_range_mut(0..bytes))?;
            write(&mut view);
            Ok(())
        });
        self.unmap(buffer, &mapped);
        written
    }

    /// The first bytes of a buffer whose mapping is settled.
    fn view(&self, buffer: &wgpu::Buffer, bytes: u64, mapping: &Mapping) -> Result<wgpu::BufferView> {
        self.mapped(mapping, || buffer.get_mapped_range(0..bytes))
    }

    fn mapped<T>(
        &self,
        mapping: &Mapping,
        view: impl FnMut() -> std::result::Result<T, wgpu::MapRangeError>,
    ) -> Result<T> {
        mapping.check(&self.health)?;
        steadily(mapping, &self.health, view).map_err(|e| self.health.lose(format!("a mapping failed: {e}")))
    }

    /// Unmaps a buffer, whose mapping may have been given up while it was under way.
    fn unmap(&self, buffer: &wgpu::Buffer, mapping: &Mapping) {
        // There may be no mapping at all: the scope takes wgpu's complaint about that.
        let _ = steadily(mapping, &self.health, || self.create(("an unmapping", 0), || buffer.unmap()));
    }

    /// A host-visible buffer with this content, ready to be copied from.
    fn filled(&self, bytes: &[u8]) -> Result<wgpu::Buffer> {
        let buffer = self.buffer(Kind::InPlace, (bytes.len() as u64).next_multiple_of(8))?;
        self.load(&buffer, &[Piece { bytes, from: 0, target: 0, to: 0 }])?;
        Ok(buffer)
    }

    /// Writes pieces into a buffer that is mapped since its creation, and unmaps it.
    fn load(&self, buffer: &wgpu::Buffer, pieces: &[Piece<&[u8]>]) -> Result<()> {
        let view = buffer.get_mapped_range_mut(0..buffer.size());
        let mut view = view.map_err(|e| self.health.lose(format!("a mapping failed: {e}")))?;
        put(&mut view, pieces);
        drop(view);
        buffer.unmap();
        Ok(())
    }

    /// Writes buffers from their beginning, through one chunk of host-visible memory of at most `most` bytes.
    fn write(&self, most: u64, buffers: &[(Slot, wgpu::Buffer)], writes: &[(usize, &[u8])]) -> Result<()> {
        let watch = Watch { control: &Control::default(), started: Instant::now() };
        let chunks = chunks(most, writes);
        let size = chunks.iter().map(|(bytes, _)| *bytes).max().unwrap_or(8);
        let chunk = self.buffer(Kind::Upload, size)?;
        self.allocator();
        for (_, pieces) in chunks {
            self.fill(&chunk, size, &watch, |view| put(view, &pieces))?;
            let mut encoder = self.encoder();
            for piece in pieces {
                let to = &buffers[piece.target].1;
                encoder.copy_buffer_to_buffer(&chunk, piece.from, to, piece.to, piece.bytes.len() as u64);
            }
            let submission = self.submit(encoder)?;
            self.wait(Some(&submission), &watch, || true)?;
        }
        Ok(())
    }
}

/// Tries until it succeeds, as long as there is a mapping. wgpu takes a buffer for unmapped in the moment in which another
/// thread, in a poll or a submission, sees to its mapping: a refusal in that moment would leave it mapped behind the back
/// of its next user.
fn steadily<T, E>(
    mapping: &Mapping,
    health: &Health,
    mut attempt: impl FnMut() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let begun = Instant::now();
    loop {
        // Asked before: once it has failed, the attempt after that tells the truth.
        let again = begun.elapsed() < mapping.patience() && health.check().is_ok();
        match attempt() {
            Err(_) if again => std::thread::sleep(HAND_OVER),
            result => return result,
        }
    }
}

fn put(view: &mut wgpu::BufferViewMut, pieces: &[Piece<&[u8]>]) {
    for piece in pieces {
        view.slice(piece.from as usize..piece.from as usize + piece.bytes.len()).copy_from_slice(piece.bytes);
    }
}
