//! A recording made ready: its buffers, bind groups and parameters, and how they are submitted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::health::Health;
use super::{PARAMS_BYTES, Shared};
use crate::device::io::check_feeds;
use crate::device::{Control, Feed, Outputs, SLICE, Timing};
use crate::kernel::{self, AnyTensor, Kernel};
use crate::recording::{
    Command, Content, PARAMS_STRIDE, Plan, Recording, Role, SLICE_WORK, STATUS_BYTES, Slot, Staged, TIMESTAMPS_AT,
};
use crate::{Error, Result};

/// The grid's limit in one dimension on every backend.
const MAX_GRID: u64 = 65_535;

/// What a dispatch counts for at least, in elementary operations: thousands of tiny ones take long too.
const MIN_WORK: u64 = SLICE_WORK / 4096;

/// How far a buffer mapping is.
#[derive(Debug, Clone, Default)]
pub(super) struct Mapping(Arc<AtomicU8>);

impl Mapping {
    pub(super) fn callback(&self) -> impl FnOnce(std::result::Result<(), wgpu::BufferAsyncError>) + Send + 'static {
        let state = self.0.clone();
        move |result| state.store(if result.is_ok() { 1 } else { 2 }, Ordering::Release)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    pub(super) fn check(&self, health: &Health) -> Result<()> {
        health.check()?;
        match self.0.load(Ordering::Acquire) {
            1 => Ok(()),
            _ => Err(health.lose("a buffer could not be mapped")),
        }
    }
}

/// One command, resolved to wgpu's objects.
#[derive(Debug)]
enum Step {
    Dispatch {
        pipeline: usize,
        bind_group: usize,
        params: u32,
        grid: [u32; 2],
        work: u64,
    },
    /// Slots and byte offsets.
    Copy {
        from: usize,
        from_byte: u64,
        to: usize,
        to_byte: u64,
        bytes: u64,
    },
    Clear {
        slot: usize,
        bytes: u64,
    },
}

/// A recording with its memory, bind groups and parameters. A run creates none of them.
#[derive(Debug)]
pub struct Prepared {
    shared: Arc<Shared>,
    recording: Recording,
    plan: Plan,
    buffers: Vec<(Slot, wgpu::Buffer)>,
    pipelines: Vec<wgpu::ComputePipeline>,
    bind_groups: Vec<wgpu::BindGroup>,
    /// Copies from upload memory are the first of them.
    steps: Vec<Step>,
    /// Counts the submissions that the device has carried out; the host counts them too.
    canary: Step,
    submitted: u32,
    timestamps: Option<wgpu::QuerySet>,
    /// Elementary operations a submission, adapted so that one takes about [`SLICE`].
    quota: u64,
}

/// Pipelines and bind groups without repetition.
#[derive(Default)]
struct Binder {
    pipelines: Vec<wgpu::ComputePipeline>,
    pipeline_of: HashMap<String, (usize, wgpu::BindGroupLayout)>,
    bind_groups: Vec<wgpu::BindGroup>,
    bind_group_of: HashMap<(wgpu::BindGroupLayout, Vec<(usize, u64)>), usize>,
    params: Vec<u8>,
}

impl Binder {
    /// Adds a dispatch of `count` workgroups from `base` on.
    fn dispatch(
        &mut self,
        shared: &Shared,
        buffers: &[(Slot, wgpu::Buffer)],
        (kernel, params): (&'static Kernel, &[u8]),
        args: Vec<(usize, u64)>,
        (base, count, work): (u64, u64, u64),
    ) -> Result<Step> {
        let too_many = || Error::Unsupported {
            what: format!("kernel {}", kernel.label()),
            need: format!("{} workgroups", base + count),
            have: format!("{}", u32::MAX),
        };
        if base + count > u64::from(u32::MAX) {
            return Err(too_many());
        }
        let (pipeline, layout) = match self.pipeline_of.get(&kernel.label()) {
            Some(known) => known.clone(),
            None => {
                let compiled = shared.pipelines.wait(kernel)?;
                self.pipelines.push(compiled.pipeline);
                let new = (self.pipelines.len() - 1, compiled.bindings);
                self.pipeline_of.insert(kernel.label(), new.clone());
                new
            }
        };
        let key = (layout, args);
        let bind_group = match self.bind_group_of.get(&key) {
            Some(known) => *known,
            None => {
                let made = bind(shared, &key.0, buffers, &key.1)?;
                self.bind_groups.push(made);
                self.bind_group_of.insert(key, self.bind_groups.len() - 1);
                self.bind_groups.len() - 1
            }
        };
        let row = count.min(MAX_GRID);
        let at = self.params.len();
        for word in [base, count, row, 0] {
            self.params.extend((word as u32).to_le_bytes());
        }
        self.params.extend(params);
        self.params.resize(at + PARAMS_STRIDE as usize, 0);
        Ok(Step::Dispatch {
            pipeline,
            bind_group,
            params: u32::try_from(at).map_err(|_| too_many())?,
            grid: [row as u32, count.div_ceil(row) as u32],
            work: work.max(MIN_WORK),
        })
    }
}

fn bind(
    shared: &Shared,
    layout: &wgpu::BindGroupLayout,
    buffers: &[(Slot, wgpu::Buffer)],
    args: &[(usize, u64)],
) -> Result<wgpu::BindGroup> {
    let binding = |slot: usize, bytes| {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &buffers[slot].1,
            offset: 0,
            size: wgpu::BufferSize::new(bytes),
        })
    };
    let params = buffers.iter().position(|(slot, _)| slot.role == Role::Params);
    let params = params.ok_or_else(|| Error::Internal("a plan with dispatches has no parameters".into()))?;
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: binding(params, PARAMS_BYTES) }];
    for (i, (slot, bytes)) in args.iter().enumerate() {
        entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource: binding(*slot, *bytes) });
    }
    shared.bind_groups.fetch_add(1, Ordering::Relaxed);
    shared.health.create(&shared.device, ("a bind group", 0), || {
        shared.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    })
}

fn internal(what: &str) -> Error {
    Error::Internal(format!("the plan lacks {what}"))
}

impl Prepared {
    pub(super) fn new(shared: &Arc<Shared>, recording: &Recording) -> Result<Self> {
        let plan = recording.plan();
        let kernels = recording.dispatches().map(|d| d.kernel);
        shared.pipelines.request(kernels.chain([&kernel::canary::KERNEL]))?;
        let buffers = shared.pool.lease(&plan, |kind, bytes| shared.buffer(kind, bytes))?;
        let made = Self::assemble(shared, recording, &plan, &buffers);
        let (binder, steps, canary) = match made {
            Ok(made) => made,
            Err(error) => {
                shared.pool.release(buffers);
                return Err(error);
            }
        };
        let mut prepared = Self {
            shared: shared.clone(),
            recording: recording.clone(),
            plan,
            buffers,
            pipelines: binder.pipelines,
            bind_groups: binder.bind_groups,
            steps,
            canary,
            submitted: 0,
            timestamps: None,
            quota: SLICE_WORK,
        };
        if shared.timestamps && prepared.recording.dispatches().next().is_some() {
            let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
            // Metal has few of them; without one, a run is timed by the wall clock and says so.
            let made = shared
                .health
                .create(&shared.device, ("a query set", 0), || shared.device.create_query_set(&descriptor));
            prepared.timestamps = made.ok();
        }
        prepared.initialise(&binder.params)?;
        Ok(prepared)
    }

    /// Constants, states, parameters and the canary's count.
    fn initialise(&mut self, params: &[u8]) -> Result<()> {
        let role = |role| self.buffers.iter().find(|(slot, _)| slot.role == role).map(|(_, buffer)| buffer);
        let mut writes: Vec<(&wgpu::Buffer, &[u8])> = vec![
            (role(Role::Params).ok_or_else(|| internal("parameters"))?, params),
            (role(Role::Status).ok_or_else(|| internal("a status"))?, &[0; 4]),
        ];
        for (tensor, slot) in self.recording.tensors.iter().zip(&self.plan.slot_of) {
            if let (Content::Constant(bytes) | Content::State(bytes), Some(slot)) = (&tensor.content, slot) {
                writes.push((&self.buffers[*slot].1, bytes));
            }
        }
        self.shared.write(&writes)
    }

    fn assemble(
        shared: &Shared,
        recording: &Recording,
        plan: &Plan,
        buffers: &[(Slot, wgpu::Buffer)],
    ) -> Result<(Binder, Vec<Step>, Step)> {
        let slot = |t: AnyTensor| plan.slot(t).ok_or_else(|| internal("a tensor"));
        let bytes = |t: AnyTensor| recording.tensors[t.at()].bytes;
        let staged = |list: &[Staged], t: AnyTensor| {
            list.iter().find(|s| s.tensor == t).map(|s| (s.slot, s.at)).ok_or_else(|| internal("a transfer"))
        };
        let mut binder = Binder::default();
        let mut steps = Vec::new();
        for command in &recording.commands {
            match command {
                Command::Upload(t) => {
                    let (from, from_byte) = staged(&plan.uploads, *t)?;
                    steps.push(Step::Copy { from, from_byte, to: slot(*t)?, to_byte: 0, bytes: bytes(*t) });
                }
                Command::Download(t) => {
                    let (to, to_byte) = staged(&plan.downloads, *t)?;
                    steps.push(Step::Copy { from: slot(*t)?, from_byte: 0, to, to_byte, bytes: bytes(*t) });
                }
                Command::Copy { from, from_byte, to, to_byte, bytes } => steps.push(Step::Copy {
                    from: slot(*from)?,
                    from_byte: *from_byte,
                    to: slot(*to)?,
                    to_byte: *to_byte,
                    bytes: *bytes,
                }),
                Command::Clear(t) => steps.push(Step::Clear { slot: slot(*t)?, bytes: bytes(*t) }),
                Command::Dispatch(d) => {
                    let args = d.args.iter().map(|t| Ok((slot(*t)?, bytes(*t)))).collect::<Result<Vec<_>>>()?;
                    for slice in recording.slices(d) {
                        steps.push(binder.dispatch(shared, buffers, (d.kernel, &d.params), args.clone(), slice)?);
                    }
                }
            }
        }
        let status = plan.slots.iter().position(|s| s.role == Role::Status).ok_or_else(|| internal("a status"))?;
        let canary = binder.dispatch(shared, buffers, (&kernel::canary::KERNEL, &[]), vec![(status, 4)], (0, 1, 0))?;
        Ok((binder, steps, canary))
    }

    /// Its byte plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn feed<'a>(feeds: &[Feed<'a>], tensor: AnyTensor) -> &'a [u8] {
        feeds.iter().find(|f| f.tensor == tensor).map_or(&[], |f| f.bytes)
    }

    /// Runs every command in order.
    ///
    /// # Errors
    /// As [`crate::device::Prepared::run`].
    pub fn run(&mut self, feeds: &[Feed<'_>], control: &Control<'_>) -> Result<Outputs> {
        let started = Instant::now();
        check_feeds(&self.recording, feeds)?;
        self.shared.health.check()?;
        control.check(started)?;
        let watch = (control, started);
        for (i, (_, buffer)) in self.buffers.iter().enumerate().filter(|(_, (s, _))| s.role == Role::Upload) {
            let here = || self.plan.uploads.iter().filter(move |input| input.slot == i);
            let end = here().map(|input| input.at + input.bytes).max().unwrap_or(0);
            self.shared.fill(buffer, end.next_multiple_of(8), watch, |view| {
                for input in here() {
                    let (at, end) = (input.at as usize, (input.at + input.bytes) as usize);
                    view.slice(at..end).copy_from_slice(Self::feed(feeds, input.tensor));
                }
            })?;
        }
        let (submission, mappings) = self.submit_all(watch)?;
        let result = self.collect(&submission, &mappings, watch);
        for (slot, buffer) in &self.buffers {
            if slot.role == Role::Readback {
                // Also ends a mapping that is still pending after an error.
                let _ = super::health::silently(|| buffer.unmap());
            }
        }
        result
    }

    /// Encodes and submits all steps, two submissions in flight, each of about [`SLICE`].
    fn submit_all(
        &mut self,
        (control, started): (&Control<'_>, Instant),
    ) -> Result<(wgpu::SubmissionIndex, Vec<Mapping>)> {
        let total = self.recording.total_work();
        let mut flying: Option<(wgpu::SubmissionIndex, u64, Instant)> = None;
        let (mut next, mut done, mut dispatched) = (0, 0, 0);
        loop {
            let mut encoder = self.shared.encoder();
            if next == 0 {
                self.poison(&mut encoder);
            }
            let (end, work) = self.batch(next);
            dispatched += self.encode_steps(&mut encoder, next..end);
            let last = end == self.steps.len();
            let mappings = if last { self.finish(&mut encoder) } else { Vec::new() };
            let begun = Instant::now();
            self.submitted = self.submitted.wrapping_add(1);
            let submission = self.shared.submit(encoder)?;
            next = end;
            if let Some((before, work, begun)) = flying.take() {
                self.shared.wait(Some(&before), (control, started), || true)?;
                self.adapt(work, begun.elapsed());
                done += work;
                control.report(done.min(total), total);
            }
            if last {
                self.shared.dispatches.fetch_add(dispatched, Ordering::Relaxed);
                return Ok((submission, mappings));
            }
            control.check(started)?;
            flying = Some((submission, work, begun));
        }
    }

    /// The end of the batch that begins at a step, and its work.
    fn batch(&self, first: usize) -> (usize, u64) {
        let mut total = 0;
        for (i, step) in self.steps.iter().enumerate().skip(first) {
            let Step::Dispatch { work, .. } = step else { continue };
            if total > 0 && total + work > self.quota {
                return (i, total);
            }
            total += work;
        }
        (self.steps.len(), total)
    }

    /// Brings the next submissions nearer to [`SLICE`], by a factor of at most two.
    fn adapt(&mut self, work: u64, took: Duration) {
        let ratio = SLICE.as_secs_f64() / took.as_secs_f64().max(1e-6);
        self.quota = ((work as f64 * ratio.clamp(0.5, 2.0)) as u64).max(MIN_WORK);
    }

    fn poison(&self, encoder: &mut wgpu::CommandEncoder) {
        let Some(poison) = &self.shared.poison else { return };
        for (slot, buffer) in self.buffers.iter().filter(|(slot, _)| slot.role == Role::Scratch) {
            for at in (0..slot.bytes).step_by(poison.size() as usize) {
                encoder.copy_buffer_to_buffer(poison, 0, buffer, at, poison.size().min(slot.bytes - at));
            }
        }
    }

    /// Encodes steps, dispatches that follow each other in one pass; returns how many dispatches.
    fn encode_steps(&self, encoder: &mut wgpu::CommandEncoder, steps: std::ops::Range<usize>) -> u64 {
        let is_dispatch = |s: &Step| matches!(s, Step::Dispatch { .. });
        let first = self.steps.iter().position(is_dispatch);
        let last = self.steps.iter().rposition(is_dispatch);
        let mut dispatched = 0;
        let mut at = steps.start;
        while at < steps.end {
            match &self.steps[at] {
                Step::Copy { from, from_byte, to, to_byte, bytes } => {
                    let (from, to) = (&self.buffers[*from].1, &self.buffers[*to].1);
                    encoder.copy_buffer_to_buffer(from, *from_byte, to, *to_byte, *bytes);
                    at += 1;
                }
                Step::Clear { slot, bytes } => {
                    encoder.clear_buffer(&self.buffers[*slot].1, 0, Some(*bytes));
                    at += 1;
                }
                Step::Dispatch { .. } => {
                    let end = (at..steps.end).find(|i| !is_dispatch(&self.steps[*i])).unwrap_or(steps.end);
                    let begins = first == Some(at);
                    let ends = last == Some(end - 1);
                    let writes = self.timestamps.as_ref().filter(|_| begins || ends).map(|query_set| {
                        wgpu::ComputePassTimestampWrites {
                            query_set,
                            beginning_of_pass_write_index: begins.then_some(0),
                            end_of_pass_write_index: ends.then_some(1),
                        }
                    });
                    let mut pass = encoder
                        .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: writes });
                    self.encode_pass(&mut pass, &self.steps[at..end]);
                    dispatched += (end - at) as u64;
                    at = end;
                }
            }
        }
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.encode_pass(&mut pass, std::slice::from_ref(&self.canary));
        dispatched
    }

    fn encode_pass(&self, pass: &mut wgpu::ComputePass<'_>, steps: &[Step]) {
        let (mut set_pipeline, mut set_group) = (None, None);
        for step in steps {
            let Step::Dispatch { pipeline, bind_group, params, grid, .. } = step else { continue };
            if set_pipeline != Some(*pipeline) {
                pass.set_pipeline(&self.pipelines[*pipeline]);
                set_pipeline = Some(*pipeline);
            }
            if set_group != Some((*bind_group, *params)) {
                pass.set_bind_group(0, &self.bind_groups[*bind_group], &[*params]);
                set_group = Some((*bind_group, *params));
            }
            pass.dispatch_workgroups(grid[0], grid[1], 1);
        }
    }

    /// The canary's count and the timestamps go to the head of the readback memory, which is mapped on submission.
    fn finish(&self, encoder: &mut wgpu::CommandEncoder) -> Vec<Mapping> {
        let role = |role| self.buffers.iter().filter(move |(slot, _)| slot.role == role).map(|(_, buffer)| buffer);
        if let (Some(status), Some(head)) = (role(Role::Status).next(), role(Role::Readback).next()) {
            if let Some(timestamps) = &self.timestamps {
                encoder.resolve_query_set(timestamps, 0..2, status, TIMESTAMPS_AT);
            }
            encoder.copy_buffer_to_buffer(status, 0, head, 0, STATUS_BYTES);
        }
        let map = |(i, buffer): (usize, &wgpu::Buffer)| {
            let mapping = Mapping::default();
            encoder.map_buffer_on_submit(buffer, wgpu::MapMode::Read, 0..self.readback_bytes(i), mapping.callback());
            mapping
        };
        role(Role::Readback).enumerate().map(map).collect()
    }

    /// The bytes in use of the `i`-th readback slot.
    fn readback_bytes(&self, i: usize) -> u64 {
        let slots = self.buffers.iter().enumerate().filter(|(_, (slot, _))| slot.role == Role::Readback);
        let slot = slots.map(|(at, _)| at).nth(i);
        let used =
            self.plan.downloads.iter().filter(|o| Some(o.slot) == slot).map(|o| o.at + o.bytes).max().unwrap_or(0);
        let used = if i == 0 { used.max(STATUS_BYTES) } else { used };
        used.next_multiple_of(8)
    }

    /// Waits for the results, proves that the work was done, and copies them out.
    fn collect(
        &mut self,
        submission: &wgpu::SubmissionIndex,
        mappings: &[Mapping],
        (control, started): (&Control<'_>, Instant),
    ) -> Result<Outputs> {
        self.shared.wait(Some(submission), (control, started), || mappings.iter().all(Mapping::is_settled))?;
        for mapping in mappings {
            mapping.check(&self.shared.health)?;
        }
        let mut outputs = Outputs::default();
        let mut readbacks = Vec::new();
        let slots = self.buffers.iter().enumerate().filter(|(_, (slot, _))| slot.role == Role::Readback);
        for (i, (at, (_, buffer))) in slots.enumerate() {
            let view = buffer.get_mapped_range(0..self.readback_bytes(i));
            readbacks.push((at, view.map_err(|e| self.shared.health.lose(format!("a mapping failed: {e}")))?));
        }
        let word = |at: u64| {
            let head: &[u8] = readbacks.first().map_or(&[], |(_, view)| view);
            head.get(at as usize..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
        };
        let counted = word(0);
        if counted != self.submitted {
            let detail = format!("{counted} of {} submissions took effect", self.submitted);
            self.submitted = counted;
            return Err(Error::Corrupted { detail });
        }
        let stamp = |at| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let (begin, end) = (stamp(TIMESTAMPS_AT), stamp(TIMESTAMPS_AT + 8));
        let device = self.timestamps.as_ref().filter(|_| begin != 0 && end >= begin).map(|_| {
            let period = f64::from(self.shared.queue.get_timestamp_period());
            Duration::from_nanos(((end - begin) as f64 * period) as u64)
        });
        for output in &self.plan.downloads {
            let view = readbacks.iter().find(|(at, _)| *at == output.slot).map(|(_, view)| view);
            let view = view.ok_or_else(|| internal("readback memory"))?;
            outputs.push(output.tensor, &view[output.at as usize..(output.at + output.bytes) as usize])?;
        }
        control.report(self.recording.total_work(), self.recording.total_work());
        outputs.timing = Timing { wall: started.elapsed(), device };
        Ok(outputs)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.shared.pool.release(std::mem::take(&mut self.buffers));
    }
}
