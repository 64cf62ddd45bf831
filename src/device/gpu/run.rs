//! Running a prepared recording: inputs up, steps in submissions of about 20 ms, results down, each step of it proved.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::Watch;
use super::health::Health;
use super::prepared::{MIN_WORK, Prepared, Step};
use crate::device::io::{check_feed, check_feeds};
use crate::device::{Control, Feed, Outputs, SLICE, Timing};
use crate::kernel::AnyTensor;
use crate::recording::{Role, STATUS_BYTES, Staged, TIMESTAMPS_AT};
use crate::{Error, Result};

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
        if self.0.load(Ordering::Acquire) == 1 { Ok(()) } else { Err(health.lose("a buffer could not be mapped")) }
    }
}

fn feed<'a>(feeds: &[Feed<'a>], tensor: AnyTensor) -> Option<&'a [u8]> {
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

impl Prepared {
    /// Runs every command in order.
    ///
    /// # Errors
    /// As [`crate::device::Prepared::run`].
    pub fn run(&mut self, feeds: &[Feed<'_>], control: &Control<'_>) -> Result<Outputs> {
        self.swap();
        self.transfer(feeds, control, Self::submit)
    }

    /// Inputs up, what `submit` does, which maps the readback memory at its end, and results down.
    pub(super) fn transfer(
        &mut self,
        feeds: &[Feed<'_>],
        control: &Control<'_>,
        submit: impl FnOnce(&mut Self, &Watch<'_>) -> Result<(wgpu::SubmissionIndex, Vec<Mapping>)>,
    ) -> Result<Outputs> {
        let watch = Watch { control, started: Instant::now() };
        check_feeds(&self.recording, feeds)?;
        watch.check()?;
        self.upload(feeds, &watch)?;
        let result =
            submit(self, &watch).and_then(|(submission, mappings)| self.collect(&submission, &mappings, &watch));
        // After an error a mapping may be pending, or not even asked for: the scope takes wgpu's complaint about that.
        let _ = self.shared.create(("an unmapping", 0), || {
            self.readbacks.iter().for_each(|(slot, _)| self.buffers[*slot].1.unmap());
        });
        result
    }

    fn upload(&self, feeds: &[Feed<'_>], watch: &Watch<'_>) -> Result<()> {
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

    /// Encodes and submits all steps, two submissions in flight; the last one maps the readback memory.
    fn submit(&mut self, watch: &Watch<'_>) -> Result<(wgpu::SubmissionIndex, Vec<Mapping>)> {
        let total = self.total;
        let mut flying: Option<(wgpu::SubmissionIndex, u64, Instant)> = None;
        let (mut next, mut done, mut free_since) = (0, 0, watch.started);
        loop {
            let mut encoder = self.shared.encoder();
            if next == 0 {
                self.encode_poison(&mut encoder);
            }
            let (end, work) = self.batch(next);
            let dispatches = self.encode_steps(&mut encoder, next..end, None);
            let last = end == self.steps.len();
            let begun = Instant::now();
            let (submission, mappings) =
                self.submit_counted(encoder, |p, e| if last { p.encode_readback(e) } else { Vec::new() })?;
            self.shared.count(|c| &c.dispatches, dispatches);
            next = end;
            if let Some((before, work, begun)) = flying.take() {
                self.shared.wait(Some(&before), watch, || true)?;
                self.adapt(work, begun.max(free_since).elapsed());
                free_since = Instant::now();
                done += work;
                watch.control.report(done.min(total), total);
            }
            if last {
                return Ok((submission, mappings));
            }
            watch.check()?;
            flying = Some((submission, work, begun));
        }
    }

    /// Submits what is encoded, the canary, and what `after` adds to it.
    pub(super) fn submit_counted<T>(
        &mut self,
        mut encoder: wgpu::CommandEncoder,
        after: impl FnOnce(&Self, &mut wgpu::CommandEncoder) -> T,
    ) -> Result<(wgpu::SubmissionIndex, T)> {
        self.encode_pass(&mut encoder, std::slice::from_ref(&self.canary), None);
        let added = after(self, &mut encoder);
        let submission = self.shared.submit(encoder)?;
        self.submitted = self.submitted.wrapping_add(1);
        Ok((submission, added))
    }

    /// Proves by the status that every submission so far was carried out.
    pub(super) fn prove(&mut self, status: &[u8]) -> Result<()> {
        let (counted, expected) = (word(status, 0), self.submitted);
        if counted == expected {
            return Ok(());
        }
        // The next run counts on from here.
        self.submitted = counted;
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
                        encoder.copy_buffer_to_buffer(buffer(from), 0, buffer(output.slot), output.at, output.bytes);
                    }
                }
                Step::Copy { from, from_byte, to, to_byte, bytes } => {
                    encoder.copy_buffer_to_buffer(buffer(*from), *from_byte, buffer(*to), *to_byte, *bytes);
                }
                Step::Clear { slot, bytes } => encoder.clear_buffer(buffer(*slot), 0, Some(*bytes)),
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
    pub(super) fn encode_readback(&self, encoder: &mut wgpu::CommandEncoder) -> Vec<Mapping> {
        let status = &self.buffers[self.status].1;
        if let Some(timestamps) = &self.timestamps {
            encoder.resolve_query_set(timestamps, 0..2, status, TIMESTAMPS_AT);
        }
        if let Some((head, _)) = self.readbacks.first() {
            encoder.copy_buffer_to_buffer(status, 0, &self.buffers[*head].1, 0, STATUS_BYTES);
        }
        let map = |(slot, used): &(usize, u64)| {
            let mapping = Mapping::default();
            encoder.map_buffer_on_submit(&self.buffers[*slot].1, wgpu::MapMode::Read, 0..*used, mapping.callback());
            mapping
        };
        self.readbacks.iter().map(map).collect()
    }

    /// Waits for the results, proves that the work was done, and copies them out.
    fn collect(
        &mut self,
        submission: &wgpu::SubmissionIndex,
        mappings: &[Mapping],
        watch: &Watch<'_>,
    ) -> Result<Outputs> {
        let health = &self.shared.health;
        self.shared.wait(Some(submission), watch, || mappings.iter().all(Mapping::is_settled))?;
        mappings.iter().try_for_each(|mapping| mapping.check(health))?;
        let view = |(slot, used): &(usize, u64)| match self.buffers[*slot].1.get_mapped_range(0..*used) {
            Ok(view) => Ok((*slot, view)),
            Err(e) => Err(health.lose(format!("a mapping failed: {e}"))),
        };
        let views = self.readbacks.iter().map(view).collect::<Result<Vec<_>>>()?;
        let status: &[u8] = views.first().map_or(&[], |(_, view)| view);
        self.prove(status)?;
        let (begin, end) = (stamp(status, 0), stamp(status, 1));
        let timed = self.timestamps.is_some() && begin != 0 && end >= begin;
        let device = timed.then(|| self.shared.between(begin, end));
        let mut outputs = Outputs::default();
        for output in &self.plan.downloads {
            let view = views.iter().find(|(slot, _)| *slot == output.slot).map(|(_, view)| &view[output.at as usize..]);
            let bytes = view.ok_or_else(|| Error::Internal("a result has no readback memory".into()))?;
            outputs.push(output.tensor, &bytes[..output.bytes as usize])?;
        }
        watch.control.report(self.total, self.total);
        outputs.timing = Timing { wall: watch.started.elapsed(), device };
        Ok(outputs)
    }

    /// Encodes every command into an encoder of the host application, which submits and waits as it likes.
    ///
    /// Inputs that are not fed keep what the host put into their [`buffer`](Self::buffer). Downloads are left out: the
    /// host reads the tensors' buffers. A long recording is one submission here, so mind the watchdog. Feeds go through
    /// a buffer made for this call; without feeds nothing is created. Keep `self` until the host has submitted.
    ///
    /// # Errors
    /// `InvalidArgument` for a foreign or wrongly sized input, `OutOfMemory`, `DeviceLost`.
    pub fn encode(&mut self, encoder: &mut wgpu::CommandEncoder, feeds: &[Feed<'_>]) -> Result<()> {
        feeds.iter().try_for_each(|f| check_feed(&self.recording, f))?;
        self.shared.health.check()?;
        self.swap();
        let given = |input: &Staged| feed(feeds, input.tensor).map(|bytes| self.shared.filled(bytes)).transpose();
        let inputs = self.plan.uploads.iter().map(given).collect::<Result<Vec<_>>>()?;
        self.encode_poison(encoder);
        let dispatches = self.encode_steps(encoder, 0..self.steps.len(), Some(&inputs));
        self.shared.count(|c| &c.dispatches, dispatches);
        Ok(())
    }
}
