//! Compiled kernels: each is cold, compiling, ready or failed; worker threads compile, the most wanted first.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::health::{Health, silently};
use super::specialise::{Case, Proof, Prover, Refused, Special, Specials};
use crate::device::Specialised;
use crate::kernel::{Access, Kernel};
use crate::{Error, Result};

/// The bindings of a kernel as far as a layout can tell them apart: access and bytes of an element.
type Shape = Vec<(Access, u32)>;

#[derive(Debug)]
struct Layout {
    bindings: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
}

/// A kernel that is ready to be dispatched.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) bindings: wgpu::BindGroupLayout,
    pub(super) compile: Duration,
    /// The cache file held it.
    pub(super) cache_hit: bool,
    /// Kernels that the device had compiled before it.
    pub(super) before: u64,
}

/// How far a kernel is.
#[derive(Debug, Clone)]
enum State {
    /// Waiting, with its priority; and whether anybody but a warmup asked for it.
    Queued(u64, bool),
    Compiling,
    Ready(Compiled),
    Failed(Error),
}

/// How far a kernel is, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Nobody asked for it yet.
    Cold,
    /// Waiting for a worker, or on one.
    Compiling,
    /// Usable.
    Ready,
    /// Its error is given to whoever asks for it.
    Failed,
}

#[derive(Debug, Default)]
struct Registry {
    kernels: BTreeMap<&'static str, (&'static Kernel, State)>,
    /// Requests that somebody waits for, and kernels asked for in the background.
    requests: u64,
    behind: u64,
    specials: Specials,
    closed: bool,
}

/// How soon a request is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Before all earlier requests: somebody waits for it.
    Now,
    /// After all that somebody waits for, in the order of asking.
    Background,
    /// The same, until the warmup that asked [takes it back](Pipelines::withdraw).
    Warmup,
}

#[derive(Debug)]
struct Inner {
    device: wgpu::Device,
    health: Arc<Health>,
    checked: bool,
    cache: Option<Cache>,
    layouts: Mutex<HashMap<Shape, Arc<Layout>>>,
    registry: Mutex<Registry>,
    changed: Condvar,
    /// Where specialised kernels are proved; without one, none are made.
    prover: OnceLock<Prover>,
    created: AtomicU64,
    /// Something was compiled since the cache file was written.
    unsaved: AtomicBool,
}

/// The pipelines of one device.
#[derive(Debug)]
pub(super) struct Pipelines {
    inner: Arc<Inner>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    threads: usize,
}

/// naga recurses over expressions; its notes ask for more than the 2 MiB that threads have by default.
const STACK_BYTES: usize = 8 << 20;

/// Priorities below this are those of the background.
const BACKGROUND: u64 = 1 << 31;

/// More threads than this gain nothing: drivers serialise part of the work.
const MAX_THREADS: usize = 4;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipelines {
    pub(super) fn new(
        device: &wgpu::Device,
        health: &Arc<Health>,
        cache: Option<Cache>,
        checked: bool,
        threads: Option<usize>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let inner = Inner {
            device: device.clone(),
            health: health.clone(),
            checked,
            cache,
            layouts: Mutex::default(),
            registry: Mutex::default(),
            changed: Condvar::new(),
            prover: OnceLock::new(),
            created: AtomicU64::new(0),
            unsaved: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
            workers: Mutex::default(),
            threads: threads.unwrap_or(cores).clamp(1, MAX_THREADS),
        }
    }

    /// Pipelines compiled so far.
    pub(super) fn created(&self) -> u64 {
        self.inner.created.load(Ordering::Relaxed)
    }

    pub(super) fn cache(&self) -> Option<&Cache> {
        self.inner.cache.as_ref()
    }

    /// Every kernel that was asked for and has not failed.
    pub(super) fn asked(&self) -> Vec<&'static Kernel> {
        let registry = lock(&self.inner.registry);
        registry.kernels.values().filter(|(_, s)| !matches!(s, State::Failed(_))).map(|(kernel, _)| *kernel).collect()
    }

    /// How far a kernel is.
    pub(super) fn readiness(&self, kernel: &Kernel) -> Readiness {
        match lock(&self.inner.registry).kernels.get(kernel.label()) {
            None => Readiness::Cold,
            Some((_, State::Queued(..) | State::Compiling)) => Readiness::Compiling,
            Some((_, State::Ready(_))) => Readiness::Ready,
            Some((_, State::Failed(_))) => Readiness::Failed,
        }
    }

    /// Asks for kernels without waiting; the latest request is served first, in its order, and what is asked for in the
    /// background after all others, first come, first served.
    pub(super) fn request(&self, kernels: impl IntoIterator<Item = &'static Kernel>, urgency: Urgency) -> Result<()> {
        let mut registry = lock(&self.inner.registry);
        registry.requests += u64::from(urgency == Urgency::Now);
        // Later requests first; within one, as given: the priority counts down.
        let mut priority = registry.requests << 32;
        let mut waiting = false;
        for kernel in kernels {
            match urgency {
                Urgency::Now => priority -= 1,
                Urgency::Background | Urgency::Warmup => {
                    registry.behind += 1;
                    priority = (BACKGROUND - 1).saturating_sub(registry.behind);
                }
            }
            let asked = urgency != Urgency::Warmup;
            let entry = registry.kernels.entry(kernel.label()).or_insert((kernel, State::Queued(0, false)));
            match &mut entry.1 {
                State::Queued(p, kept) => {
                    (*p, *kept) = (priority.max(*p), *kept || asked);
                    waiting = true;
                }
                // A failure that another attempt may not see again.
                State::Failed(e) if e.is_recoverable() => {
                    entry.1 = State::Queued(priority, asked);
                    waiting = true;
                }
                _ => {}
            }
        }
        drop(registry);
        if waiting {
            self.start()?;
            self.inner.changed.notify_all();
        }
        Ok(())
    }

    /// From now on, kernels that opt in are specialised, and proved there.
    pub(super) fn specialise_with(&self, prover: Prover) {
        // Called once, when the device is opened.
        let _ = self.inner.prover.set(prover);
    }

    /// Whether kernels are specialised on this device.
    pub(super) fn specialises(&self) -> bool {
        self.inner.prover.get().is_some()
    }

    /// Asks for a specialised kernel at the lowest priority; equal ones are shared. `None` where none are made, or as
    /// many as a device makes are there.
    pub(super) fn special(&self, case: &Case) -> Option<Arc<Special>> {
        self.inner.prover.get()?;
        // Its kernel's generic pipeline is what it is proved against.
        let started = self.request([case.kernel], Urgency::Background).and_then(|()| self.start());
        let mut registry = lock(&self.inner.registry);
        let (special, new) = registry.specials.get(case)?;
        if let (true, Err(error)) = (new, started) {
            registry.specials.give_up(&special, Refused::for_now(error.to_string()));
        }
        drop(registry);
        self.inner.changed.notify_all();
        Some(special)
    }

    /// The specialised kernel of this case, if somebody asked for it.
    pub(super) fn known(&self, case: &Case) -> Option<Arc<Special>> {
        lock(&self.inner.registry).specials.known(case)
    }

    /// Proves a case with a text that has these values in place of its own.
    #[cfg(test)]
    pub(super) fn prove_with(&self, case: &Case, values: &[u32]) -> Proof<()> {
        self.request([case.kernel], Urgency::Now)?;
        let generic = self.wait(case.kernel)?;
        let pipeline = self.inner.build(case.kernel, &case.kernel.specialised(values))?;
        let prover = self.inner.prover.get().ok_or_else(|| Error::Internal("not on this device".into()))?;
        prover.prove(case, &generic, &pipeline)
    }

    /// How far the specialised kernels are.
    pub(super) fn specialised(&self) -> Specialised {
        lock(&self.inner.registry).specials.report()
    }

    /// Why the refused ones are.
    pub(super) fn refused(&self) -> Vec<String> {
        lock(&self.inner.registry).specials.refused()
    }

    /// Waits until each specialised kernel that was asked for is proved or refused.
    pub(super) fn settle(&self) {
        while !self.settled(Duration::from_secs(60)) {}
    }

    /// Waits for that at most so long; whether it is so.
    pub(super) fn settled(&self, time: Duration) -> bool {
        let registry = lock(&self.inner.registry);
        let busy = |registry: &mut Registry| registry.specials.busy() && !registry.closed;
        let waited = self.inner.changed.wait_timeout_while(registry, time, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits until a kernel is ready.
    pub(super) fn wait(&self, kernel: &Kernel) -> Result<Compiled> {
        loop {
            if let Some(compiled) = self.wait_for(kernel, Duration::from_secs(60))? {
                return Ok(compiled);
            }
            if self.readiness(kernel) == Readiness::Cold {
                return Err(Error::Internal(format!("kernel {} was not asked for", kernel.label())));
            }
        }
    }

    /// Waits for a kernel at most so long; `None` if it is not ready then, or nobody asked for it.
    pub(super) fn wait_for(&self, kernel: &Kernel, time: Duration) -> Result<Option<Compiled>> {
        let until = Instant::now() + time;
        let mut registry = lock(&self.inner.registry);
        loop {
            match registry.kernels.get(kernel.label()) {
                Some((_, State::Ready(compiled))) => return Ok(Some(compiled.clone())),
                Some((_, State::Failed(error))) => return Err(error.clone()),
                Some(_) => {}
                None => return Ok(None),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            registry = self.inner.changed.wait_timeout(registry, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes back what only warmups asked for and has not begun.
    pub(super) fn withdraw(&self, kernels: impl IntoIterator<Item = &'static Kernel>) {
        let mut registry = lock(&self.inner.registry);
        for kernel in kernels {
            if let Some((_, State::Queued(_, false))) = registry.kernels.get(kernel.label()) {
                registry.kernels.remove(kernel.label());
            }
        }
    }

    /// Starts the workers, once.
    fn start(&self) -> Result<()> {
        let mut workers = lock(&self.workers);
        while workers.len() < self.threads {
            let inner = self.inner.clone();
            let worker = std::thread::Builder::new()
                .name(format!("spikewave-compile-{}", workers.len()))
                .stack_size(STACK_BYTES)
                .spawn(move || inner.work());
            match worker {
                Ok(worker) => workers.push(worker),
                Err(_) if !workers.is_empty() => break,
                Err(e) => return Err(Error::Internal(format!("threads could not be started: {e}"))),
            }
        }
        Ok(())
    }
}

impl Drop for Pipelines {
    fn drop(&mut self) {
        lock(&self.inner.registry).closed = true;
        self.inner.changed.notify_all();
        for worker in lock(&self.workers).drain(..) {
            // A worker catches its panics; there is nothing to learn from its end.
            let _ = worker.join();
        }
        if self.inner.unsaved.swap(false, Ordering::Relaxed) {
            self.inner.save();
        }
    }
}

impl Inner {
    fn work(&self) {
        let mut registry = lock(&self.registry);
        while !registry.closed {
            let next = registry
                .kernels
                .values_mut()
                .filter_map(|(kernel, state)| match state {
                    State::Queued(priority, _) => Some((*priority, *kernel, state)),
                    _ => None,
                })
                .max_by_key(|(priority, ..)| *priority);
            if let Some((_, kernel, state)) = next {
                *state = State::Compiling;
                drop(registry);
                // A waiter must never hang, whatever happens in the driver.
                let compiled = silently(|| self.compile(kernel)).unwrap_or_else(|m| Err(Error::Internal(m)));
                registry = lock(&self.registry);
                let state = compiled.map_or_else(State::Failed, State::Ready);
                registry.kernels.insert(kernel.label(), (kernel, state));
                self.changed.notify_all();
                continue;
            }
            let compiling = registry.kernels.values().any(|(_, state)| matches!(state, State::Compiling));
            // One at a time, and only while nobody waits for a kernel: the other workers stay free for what comes.
            let special = if compiling { None } else { registry.specials.next() };
            if let Some(special) = special {
                let generic = registry.kernels.get(special.case.kernel.label()).map(|(_, state)| state.clone());
                drop(registry);
                let made = silently(|| self.specialise(&special, generic));
                let made = made.unwrap_or_else(|message| Err(Error::Internal(message).into()));
                registry = lock(&self.registry);
                registry.specials.finish(&special, made);
                self.changed.notify_all();
            } else if !compiling && !registry.specials.busy() && self.unsaved.swap(false, Ordering::Relaxed) {
                drop(registry);
                self.save();
                registry = lock(&self.registry);
            } else {
                registry = self.changed.wait(registry).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Compiles a specialised kernel and proves it.
    fn specialise(&self, special: &Special, generic: Option<State>) -> Proof<wgpu::ComputePipeline> {
        let (Some(State::Ready(generic)), Some(prover)) = (generic, self.prover.get()) else {
            return Err(Refused::for_now("there is nothing to prove it with"));
        };
        let case = &special.case;
        let text = case.kernel.specialised(&case.values);
        let begun = Instant::now();
        let pipeline = self.build(case.kernel, &text)?;
        let compiled = begun.elapsed();
        if let Some(cache) = &self.cache {
            cache.compiled(Cache::key(&text));
        }
        self.unsaved.store(true, Ordering::Relaxed);
        prover.prove(case, &generic, &pipeline)?;
        let proved = begun.elapsed() - compiled;
        log::info!("{} for {:?}: compiled in {compiled:.1?}, proved in {proved:.1?}", case.kernel.label(), case.values);
        Ok(pipeline)
    }

    fn save(&self) {
        if let Some(cache) = &self.cache {
            // What the driver hands out of a lost device is not worth keeping.
            let _ = silently(|| self.health.check().is_ok().then(|| cache.save()));
        }
    }

    fn layout(&self, kernel: &Kernel) -> Result<Arc<Layout>> {
        let shape: Shape = kernel.bindings.iter().map(|b| (b.access, b.elem_bytes)).collect();
        let mut layouts = lock(&self.layouts);
        if let Some(layout) = layouts.get(&shape) {
            return Ok(layout.clone());
        }
        let entry = |binding, ty, min| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            // With the least size stated here, wgpu checks it once a bind group and not once a dispatch.
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: false,
                min_binding_size: wgpu::BufferSize::new(min),
            },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, super::PARAMS_BYTES)];
        for (i, (access, bytes)) in shape.iter().enumerate() {
            let ty = wgpu::BufferBindingType::Storage { read_only: *access == Access::Read };
            entries.push(entry(i as u32 + 1, ty, u64::from(*bytes)));
        }
        let layout = self.health.create(&self.device, ("a bind group layout", 0), || {
            let bindings = self
                .device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
            let pipeline = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&bindings)],
                immediate_size: 0,
            });
            Arc::new(Layout { bindings, pipeline })
        })?;
        layouts.insert(shape, layout.clone());
        Ok(layout)
    }

    fn compile(&self, kernel: &'static Kernel) -> Result<Compiled> {
        let started = Instant::now();
        let pipeline = self.build(kernel, kernel.wgsl)?;
        let before = self.created.fetch_add(1, Ordering::Relaxed);
        self.unsaved.store(true, Ordering::Relaxed);
        let cache_hit = self.cache.as_ref().is_some_and(|c| c.compiled(kernel.hash));
        let bindings = self.layout(kernel)?.bindings.clone();
        Ok(Compiled { pipeline, bindings, compile: started.elapsed(), cache_hit, before })
    }

    /// A pipeline of a kernel's text, or of one in which parameters are constants.
    fn build(&self, kernel: &'static Kernel, text: &str) -> Result<wgpu::ComputePipeline> {
        let layout = self.layout(kernel)?;
        let label = format!("spikewave.{}", kernel.label());
        let made = self.health.create(&self.device, (&label, 0), || {
            let source = wgpu::ShaderSource::Wgsl(text.into());
            let descriptor = wgpu::ShaderModuleDescriptor { label: Some(&label), source };
            let module = if self.checked {
                self.device.create_shader_module(descriptor)
            } else {
                let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..Default::default() };
                // SAFETY: the text is this crate's own, and every loop in it ends: each counts up to a bound that is
                // read before the loop. Tests run each kernel with the bounds in place too. All other checks stay.
                unsafe { self.device.create_shader_module_trusted(descriptor, checks) }
            };
            self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&layout.pipeline),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    // Kernels write workgroup memory before they read it. Zeroing costs up to a hundredfold.
                    zero_initialize_workgroup_memory: self.checked,
                },
                cache: self.cache.as_ref().map(Cache::raw),
            })
        });
        made.map_err(|e| match e {
            Error::Internal(message) => {
                Error::Kernel { name: kernel.label().into(), file: kernel.file.into(), line: 1, message }
            }
            other => other,
        })
    }
}
