//! Running a prepared recording: inputs up, steps in submissions of about 20 ms, results down, each step of it proved.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

use super::health::Health;
use super::poller::Ticket;
use super::prepared::{First, MIN_WORK, Prepared, Step};
use super::{PROBE, Watch};
use crate::device::io::check_feeds;
use crate::device::{Control, Feed, Outputs, SLICE, Timing};
use crate::kernel::AnyTensor;
use crate::memory::aligned;
use crate::recording::{ENCODED_AT, Role, STATUS_BYTES, TIMESTAMPS_AT};
use crate::{Error, Result};

const UNDER_WAY: u8 = 0;
const WELL: u8 = 1;
const FAILED: u8 = 2;
/// The callback was dropped, or never asked for.
const DROPPED: u8 = 3;

/// How long a buffer is tried whose mapping may be there: as long as the thread that sees to it may be kept waiting for
/// a processor.
const UNCERTAIN: Duration = Duration::from_secs(1);

/// How far a buffer mapping, or a submission, is; its end wakes who waits for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Mapping {
    state: Arc<AtomicU8>,
    waker: Arc<AtomicWaker>,
}

impl Mapping {
    fn waking(waker: &Arc<AtomicWaker>) -> Self {
        Self { waker: waker.clone(), ..Self::default() }
    }

    fn settle(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn callback(&self) -> impl FnOnce(std::result::Result<(), wgpu::BufferAsyncError>) + Send + 'static {
        let settling = Settling(self.clone());
        move |result| settling.0.settle(if result.is_ok() { WELL } else { FAILED })
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.state() != UNDER_WAY
    }

    pub(super) fn check(&self, health: &Health) -> Result<()> {
        health.check()?;
        match self.state() {
            WELL | DROPPED => Ok(()),
            UNDER_WAY => Err(Error::Internal("a mapping was not waited for".into())),
            _ => Err(health.lose("a buffer could not be mapped")),
        }
    }

    /// How long wgpu may say that there is no mapping although there is one.
    pub(super) fn patience(&self) -> Duration {
        match self.state() {
            UNDER_WAY | WELL => PROBE,
            // It may never have been asked for.
            DROPPED => UNCERTAIN,
            _ => Duration::ZERO,
        }
    }
}

/// Settles a mapping, at the latest when it is dropped: wgpu drops callbacks that were due when it panics in a poll, or
/// when another of them does. Nobody is woken then, for it may hold locks; whether there is a mapping, wgpu is asked.
struct Settling(Mapping);

impl Drop for Settling {
    fn drop(&mut self) {
        let _ = self.0.state.compare_exchange(UNDER_WAY, DROPPED, Ordering::Release, Ordering::Relaxed);
    }
}

pub(super) fn feed<'a>(feeds: &[Feed<'a>], tensor: AnyTensor) -> Option<&'a [u8]> {
    feeds.iter().find(|f| f.tensor == tensor).map(|f| f.bytes)
}

/// A word of the status, zero where there is none.
fn word(status: &[u8], at: u64) -> u32 {
    status.get(at as usize..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// A timestamp of the status.
pub(super) fn stamp(status: &[u8], i: usize) -> u64 {
    let at = TIMESTAMPS_AT + 8 * i as u64;
    u64::from(word(status, at)) | u64::from(word(status, at + 4)) << 32
}

/// A submission under way.
#[derive(Debug)]
struct Flying {
    submission: wgpu::SubmissionIndex,
    work: u64,
    begun: Instant,
    done: Mapping,
}

/// A run that has been started.
///
/// As a future it goes on whenever it is polled, and is woken when there is something to do: by wgpu's callbacks, or
/// within 100 ms of a loss, after which wgpu calls none. On a device of our own a thread polls wgpu while a future is
/// pending; on a lent one the host does, unless it asked for the thread. [`wait`](Self::wait) polls by itself.
///
/// Dropped before its end it is given up: what was submitted runs to its end on the device, states are undefined, and
/// the next run is right.
#[derive(Debug)]
pub struct Pending<'a> {
    prepared: &'a mut Prepared,
    waker: Arc<AtomicWaker>,
    started: Instant,
    /// The first step that is not submitted, and whether all are.
    next: usize,
    submitted: bool,
    /// Two submissions at most.
    flying: VecDeque<Flying>,
    /// Elementary operations that are done, and since when the device had nothing before the oldest submission.
    done: u64,
    free_since: Instant,
    ended: bool,
    /// A loss wakes it.
    watched: bool,
    ticket: Option<Ticket>,
}

impl Pending<'_> {
    /// Waits for the results, for which it polls the device. The timeout counts from the start.
    ///
    /// # Errors
    /// As [`crate::device::Prepared::run`].
    pub fn wait(mut self, control: &Control<'_>) -> Result<Outputs> {
        let watch = Watch { control, started: self.started };
        loop {
            if let Some(outputs) = self.advance(&watch)? {
                return Ok(outputs);
            }
            if let Some(Flying { submission, .. }) = self.flying.front() {
                self.prepared.shared.wait(Some(submission), &watch, || self.landed())?;
            }
        }
    }

    /// Does all that can be done without waiting; the outputs at the end.
    fn advance(&mut self, watch: &Watch<'_>) -> Result<Option<Outputs>> {
        if self.ended {
            return Err(Error::invalid("future", "it has given its result already"));
        }
        let result = self.go_on(watch);
        self.ended = !matches!(result, Ok(None));
        result
    }

    fn go_on(&mut self, watch: &Watch<'_>) -> Result<Option<Outputs>> {
        loop {
            self.prepared.shared.health.check()?;
            while !self.submitted && self.flying.len() < 2 {
                watch.check()?;
                self.submit()?;
            }
            let Some(flying) = self.landed().then(|| self.flying.pop_front()).flatten() else {
                watch.check()?;
                return Ok(None);
            };
            if self.submitted && self.flying.is_empty() {
                return self.prepared.collect(watch).map(Some);
            }
            self.prepared.adapt(flying.work, flying.begun.max(self.free_since).elapsed());
            self.free_since = Instant::now();
            self.done += flying.work;
            watch.control.report(self.done.min(self.prepared.total), self.prepared.total);
        }
    }

    /// The oldest submission is done, and so are its mappings, which another thread may still see to when wgpu says that
    /// the work is done.
    fn landed(&self) -> bool {
        let last = self.submitted && self.flying.len() == 1;
        self.flying.front().is_some_and(|flying| flying.done.is_settled())
            && (!last || self.prepared.mapped.iter().all(Mapping::is_settled))
    }

    /// Encodes and submits the next steps; the last submission maps the readback memory.
    fn submit(&mut self) -> Result<()> {
        let prepared = &mut *self.prepared;
        let mut encoder = prepared.encoder()?;
        if self.next == 0 {
            prepared.encode_poison(&mut encoder);
        }
        let (end, work) = prepared.batch(self.next);
        let dispatches = prepared.encode_steps(&mut encoder, self.next..end, None);
        let last = end == prepared.steps.len();
        let (begun, done) = (Instant::now(), Mapping::waking(&self.waker));
        let waker = &self.waker;
        let (submission, ()) = prepared.submit_counted(encoder, |prepared, encoder| {
            let done = Settling(done.clone());
            encoder.on_submitted_work_done(move || done.0.settle(WELL));
            if last {
                prepared.encode_readback(encoder, waker);
            }
        })?;
        prepared.shared.count(|c| &c.dispatches, dispatches);
        (self.next, self.submitted) = (end, last);
        self.flying.push_back(Flying { submission, work, begun, done });
        Ok(())
    }
}

impl Future for Pending<'_> {
    type Output = Result<Outputs>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.waker.register(context.waker());
        let shared = this.prepared.shared.clone();
        if !std::mem::replace(&mut this.watched, true) {
            shared.health.watch(&this.waker);
        }
        let watch = Watch { control: &Control::default(), started: this.started };
        let result = this.advance(&watch);
        if let Ok(None) = result {
            match &this.ticket {
                Some(ticket) => ticket.nudge(),
                None if shared.poll => match shared.poll_meanwhile() {
                    Ok(ticket) => this.ticket = Some(ticket),
                    Err(error) => return Poll::Ready(Err(error)),
                },
                None => {}
            }
            return Poll::Pending;
        }
        this.ticket = None;
        Poll::Ready(result.and_then(|outputs| outputs.ok_or_else(|| Error::Internal("a run without an end".into()))))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.prepared.unmap();
    }
}

impl Prepared {
    /// Runs every command in order.
    ///
    /// # Errors
    /// As [`crate::device::Prepared::run`].
    pub fn run(&mut self, feeds: &[Feed<'_>], control: &Control<'_>) -> Result<Outputs> {
        self.start_at(feeds, &Watch { control, started: Instant::now() })?.wait(control)
    }

    /// As [`crate::device::Prepared::start`].
    ///
    /// # Errors
    /// As [`crate::device::Prepared::run`].
    pub fn start(&mut self, feeds: &[Feed<'_>]) -> Result<Pending<'_>> {
        let started = Instant::now();
        let mut pending = self.start_at(feeds, &Watch { control: &Control::default(), started })?;
        pending.submit()?;
        Ok(pending)
    }

    fn start_at(&mut self, feeds: &[Feed<'_>], watch: &Watch<'_>) -> Result<Pending<'_>> {
        self.swap();
        self.begin(feeds, watch)?;
        Ok(Pending {
            prepared: self,
            waker: Arc::default(),
            started: watch.started,
            next: 0,
            submitted: false,
            flying: VecDeque::with_capacity(2),
            done: 0,
            free_since: watch.started,
            ended: false,
            watched: false,
            ticket: None,
        })
    }

    /// Inputs up.
    pub(super) fn begin(&mut self, feeds: &[Feed<'_>], watch: &Watch<'_>) -> Result<()> {
        check_feeds(&self.recording, feeds)?;
        watch.check()?;
        // A run that was forgotten rather than dropped has left it mapped.
        self.unmap();
        self.upload(feeds, watch)
    }

    /// Takes the readback memory back from a run that has ended, or was given up.
    pub(super) fn unmap(&mut self) {
        for ((slot, _), mapping) in self.readbacks.iter().zip(self.mapped.drain(..)) {
            self.shared.unmap(&self.buffers[*slot].1, &mapping);
        }
    }

    fn upload(&mut self, feeds: &[Feed<'_>], watch: &Watch<'_>) -> Result<()> {
        if self.recording.is_in_pieces() {
            return feeds.iter().try_for_each(|feed| self.store(feed.tensor, feed.bytes, watch));
        }
        for (slot, used) in &self.uploads {
            self.shared.fill(&self.buffers[*slot].1, *used, watch, |view| {
                for input in self.plan.uploads.iter().filter(|input| input.slot == *slot) {
                    if let Some(bytes) = feed(feeds, input.tensor) {
                        view.slice(input.at as usize..(input.at + input.bytes) as usize).copy_from_slice(bytes);
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Submits what is encoded, the canary, and what `after` adds to it.
    pub(super) fn submit_counted<T>(
        &mut self,
        mut encoder: wgpu::CommandEncoder,
        after: impl FnOnce(&mut Self, &mut wgpu::CommandEncoder) -> T,
    ) -> Result<(wgpu::SubmissionIndex, T)> {
        self.encode_pass(&mut encoder, std::slice::from_ref(&self.canary), None);
        let added = after(self, &mut encoder);
        let submission = self.shared.submit(encoder).map_err(|e| self.blame(e))?;
        self.carried(First::Written);
        self.submitted = self.submitted.wrapping_add(1);
        Ok((submission, added))
    }

    /// Proves by the status that every submission so far was carried out.
    pub(super) fn prove(&mut self, status: &[u8]) -> Result<()> {
        let (counted, expected) = (word(status, 0), self.submitted);
        // The next run counts on from here.
        self.submitted = counted;
        self.prove_encoded(word(status, ENCODED_AT))?;
        if counted == expected {
            return Ok(());
        }
        Err(Error::Corrupted { detail: format!("{counted} of {expected} submissions took effect") })
    }

    /// The end of the batch that begins at a step, and its work.
    pub(super) fn batch(&self, first: usize) -> (usize, u64) {
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
    pub(super) fn adapt(&mut self, work: u64, took: Duration) {
        let ratio = SLICE.as_secs_f64() / took.as_secs_f64().max(1e-6);
        self.quota = ((work as f64 * ratio.clamp(0.5, 2.0)) as u64).max(MIN_WORK);
    }

    pub(super) fn encode_poison(&self, encoder: &mut wgpu::CommandEncoder) {
        let Some(poison) = &self.shared.poison else { return };
        for (slot, buffer) in self.buffers.iter().filter(|(slot, _)| slot.role == Role::Scratch) {
            for at in (0..slot.bytes).step_by(poison.size() as usize) {
                encoder.copy_buffer_to_buffer(poison, 0, buffer, at, poison.size().min(slot.bytes - at));
            }
        }
    }

    /// Encodes steps, dispatches that follow each other in one pass; returns how many dispatches.
    ///
    /// In a host's encoder the inputs come from `host`, and results and timestamps are the host's own business.
    pub(super) fn encode_steps(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        steps: Range<usize>,
        host: Option<&[Option<wgpu::Buffer>]>,
    ) -> u64 {
        let is_dispatch = |s: &Step| matches!(s, Step::Dispatch { .. });
        let first = self.steps.iter().position(is_dispatch);
        let last = self.steps.iter().rposition(is_dispatch);
        let buffer = |slot: usize| &self.buffers[slot].1;
        let place = |slot: usize| self.places().at(slot);
        let mut dispatches = 0;
        let mut at = steps.start;
        while at < steps.end {
            match &self.steps[at] {
                Step::Upload(i) => {
                    let input = &self.plan.uploads[*i];
                    let source = match host {
                        None => Some((buffer(input.slot), input.at)),
                        Some(given) => given[*i].as_ref().map(|own| (own, 0)),
                    };
                    if let (Some((from, from_byte)), Some(to)) = (source, self.plan.slot(input.tensor)) {
                        encoder.copy_buffer_to_buffer(from, from_byte, buffer(to), 0, input.bytes);
                    }
                }
                Step::Download(i) => {
                    let output = &self.plan.downloads[*i];
                    if let (None, Some(from)) = (host, self.plan.slot(output.tensor)) {
                        let (from, from_byte) = place(from);
                        encoder.copy_buffer_to_buffer(from, from_byte, buffer(output.slot), output.at, output.bytes);
                    }
                }
                Step::Copy { from, from_byte, to, to_byte, bytes } => {
                    let ((from, first), (to, first_to)) = (place(*from), place(*to));
                    encoder.copy_buffer_to_buffer(from, first + from_byte, to, first_to + to_byte, *bytes);
                }
                Step::Clear { slot, bytes } => {
                    let (buffer, first) = place(*slot);
                    encoder.clear_buffer(buffer, first, Some(*bytes));
                }
                Step::Dispatch { .. } => {
                    let end = (at..steps.end).find(|i| !is_dispatch(&self.steps[*i])).unwrap_or(steps.end);
                    let (begins, ends) = (first == Some(at), last == Some(end - 1));
                    let query_set = self.timestamps.as_ref().filter(|_| host.is_none() && (begins || ends));
                    let writes = query_set.map(|query_set| wgpu::ComputePassTimestampWrites {
                        query_set,
                        beginning_of_pass_write_index: begins.then_some(0),
                        end_of_pass_write_index: ends.then_some(1),
                    });
                    self.encode_pass(encoder, &self.steps[at..end], writes);
                    dispatches += (end - at) as u64;
                    at = end;
                    continue;
                }
            }
            at += 1;
        }
        dispatches
    }

    pub(super) fn encode_pass(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        steps: &[Step],
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        let mut current = None;
        for step in steps {
            let Step::Dispatch { pipeline, bind_group, grid, .. } = step else { continue };
            if current != Some(*pipeline) {
                pass.set_pipeline(&self.pipelines[*pipeline]);
                current = Some(*pipeline);
            }
            pass.set_bind_group(0, &self.bind_groups[*bind_group], &[]);
            pass.dispatch_workgroups(grid[0], grid[1], 1);
        }
    }

    /// The status goes to the head of the readback memory, which is mapped once the submission is done.
    pub(super) fn encode_readback(&mut self, encoder: &mut wgpu::CommandEncoder, waker: &Arc<AtomicWaker>) {
        let status = &self.buffers[self.status].1;
        if let Some(timestamps) = &self.timestamps {
            encoder.resolve_query_set(timestamps, 0..2, status, TIMESTAMPS_AT);
        }
        if let Some((head, _)) = self.readbacks.first() {
            encoder.copy_buffer_to_buffer(status, 0, &self.buffers[*head].1, 0, STATUS_BYTES);
        }
        let map = |(slot, used): &(usize, u64)| {
            let mapping = Mapping::waking(waker);
            encoder.map_buffer_on_submit(&self.buffers[*slot].1, wgpu::MapMode::Read, 0..*used, mapping.callback());
            mapping
        };
        self.mapped = self.readbacks.iter().map(map).collect();
    }

    /// Proves that the work was done, and copies the results out of the memory that has been mapped.
    pub(super) fn collect(&mut self, watch: &Watch<'_>) -> Result<Outputs> {
        let view = |((slot, used), mapping): (&(usize, u64), &Mapping)| {
            Ok((*slot, self.shared.view(&self.buffers[*slot].1, *used, mapping)?))
        };
        let views = self.readbacks.iter().zip(&self.mapped).map(view).collect::<Result<Vec<_>>>()?;
        let status: &[u8] = views.first().map_or(&[], |(_, view)| view);
        self.prove(status)?;
        let (begin, end) = (stamp(status, 0), stamp(status, 1));
        let timed = self.timestamps.is_some() && begin != 0 && end >= begin;
        // Where no self-test has found them wrong, they are held against the wall clock.
        let plausible = |device: &Duration| !device.is_zero() && *device <= watch.started.elapsed();
        let device = timed.then(|| self.shared.between(begin, end)).filter(plausible);
        let mut outputs = Outputs::default();
        for output in &self.plan.downloads {
            let view = views.iter().find(|(slot, _)| *slot == output.slot).map(|(_, view)| &view[output.at as usize..]);
            let bytes = view.ok_or_else(|| Error::Internal("a result has no readback memory".into()))?;
            outputs.push(output.tensor, &bytes[..output.bytes as usize])?;
        }
        if self.recording.is_in_pieces() {
            drop(views);
            self.unmap();
            for tensor in self.recording.downloads().collect::<Vec<_>>() {
                let bytes = self.recording.info(tensor)?.bytes;
                let mut memory = aligned(bytes, "a result")?;
                self.fetch(tensor, &mut bytemuck::cast_slice_mut(&mut memory)[..bytes as usize], watch)?;
                outputs.tensors.push((tensor, bytes, memory));
            }
        }
        watch.control.report(self.total, self.total);
        outputs.timing = Timing { wall: watch.started.elapsed(), device };
        Ok(outputs)
    }
}
