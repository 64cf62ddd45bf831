//! Compiled kernels: each is cold, compiling, ready or failed; worker threads compile, the most wanted first.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::health::{Health, silently};
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
}

/// How far a kernel is.
#[derive(Debug, Clone)]
enum State {
    /// Waiting, with its priority.
    Queued(u64),
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
    requests: u64,
    closed: bool,
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
            Some((_, State::Queued(_) | State::Compiling)) => Readiness::Compiling,
            Some((_, State::Ready(_))) => Readiness::Ready,
            Some((_, State::Failed(_))) => Readiness::Failed,
        }
    }

    /// Asks for kernels without waiting; the latest request is served first, in its order.
    pub(super) fn request(&self, kernels: impl IntoIterator<Item = &'static Kernel>) -> Result<()> {
        let mut registry = lock(&self.inner.registry);
        registry.requests += 1;
        // Later requests first; within one, as given: the priority counts down.
        let mut priority = registry.requests << 32;
        let mut waiting = false;
        for kernel in kernels {
            priority -= 1;
            let entry = registry.kernels.entry(kernel.label()).or_insert((kernel, State::Queued(0)));
            match &mut entry.1 {
                State::Queued(p) => {
                    *p = priority;
                    waiting = true;
                }
                // A failure that another attempt may not see again.
                State::Failed(e) if e.is_recoverable() => {
                    entry.1 = State::Queued(priority);
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

    /// Waits until a kernel is ready.
    pub(super) fn wait(&self, kernel: &Kernel) -> Result<Compiled> {
        let label = kernel.label();
        let mut registry = lock(&self.inner.registry);
        loop {
            match registry.kernels.get(label) {
                Some((_, State::Ready(compiled))) => return Ok(compiled.clone()),
                Some((_, State::Failed(error))) => return Err(error.clone()),
                Some(_) => {}
                None => return Err(Error::Internal(format!("kernel {label} was not asked for"))),
            }
            registry = self.inner.changed.wait(registry).unwrap_or_else(PoisonError::into_inner);
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
                    State::Queued(priority) => Some((*priority, *kernel, state)),
                    _ => None,
                })
                .max_by_key(|(priority, ..)| *priority);
            let Some((_, kernel, state)) = next else {
                let busy = registry.kernels.values().any(|(_, state)| matches!(state, State::Compiling));
                if !busy && self.unsaved.swap(false, Ordering::Relaxed) {
                    drop(registry);
                    self.save();
                    registry = lock(&self.registry);
                } else {
                    registry = self.changed.wait(registry).unwrap_or_else(PoisonError::into_inner);
                }
                continue;
            };
            *state = State::Compiling;
            drop(registry);
            // A waiter must never hang, whatever happens in the driver.
            let compiled = silently(|| self.compile(kernel)).unwrap_or_else(|m| Err(Error::Internal(m)));
            registry = lock(&self.registry);
            let state = compiled.map_or_else(State::Failed, State::Ready);
            registry.kernels.insert(kernel.label(), (kernel, state));
            self.changed.notify_all();
        }
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
        let layout = self.layout(kernel)?;
        let label = format!("spikewave.{}", kernel.label());
        let made = self.health.create(&self.device, (&label, 0), || {
            let source = wgpu::ShaderSource::Wgsl(kernel.wgsl.into());
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
        let pipeline = made.map_err(|e| match e {
            Error::Internal(message) => {
                Error::Kernel { name: kernel.label().into(), file: kernel.file.into(), line: 1, message }
            }
            other => other,
        })?;
        self.created.fetch_add(1, Ordering::Relaxed);
        self.unsaved.store(true, Ordering::Relaxed);
        let cache_hit = self.cache.as_ref().is_some_and(|c| c.compiled(kernel));
        Ok(Compiled { pipeline, bindings: layout.bindings.clone(), compile: started.elapsed(), cache_hit })
    }
}
