//! A run of which every kernel is timed: by timestamps, or where there are none by submitting it alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Watch;
use super::prepared::{Prepared, Step};
use super::run::{Mapping, stamp};
use super::staging::Staging;
use crate::device::io::{Profile, TIMESTAMPS, WALL_CLOCK};
use crate::device::{Control, Feed, KernelTime, Outputs};
use crate::recording::{Role, TIMESTAMPS_AT};
use crate::{Error, Result};

/// Bytes of a pair of timestamps.
const PAIR: u64 = 16;

impl Prepared {
    /// As [`crate::device::Prepared::profile`].
    pub fn profile(&mut self, feeds: &[Feed<'_>], control: &Control<'_>) -> Result<(Outputs, Vec<KernelTime>)> {
        let mut profile = Profile::default();
        // The pair of the whole run is not written then.
        let whole = self.timestamps.take();
        let outputs = self.profiled(feeds, &Watch { control, started: Instant::now() }, &mut profile);
        self.unmap();
        self.timestamps = whole;
        Ok((outputs?, profile.0))
    }

    fn profiled(&mut self, feeds: &[Feed<'_>], watch: &Watch<'_>, profile: &mut Profile) -> Result<Outputs> {
        self.begin(feeds, watch)?;
        let submission = self.submit_groups(watch, profile)?;
        self.shared.wait(Some(&submission), watch, || self.mapped.iter().all(Mapping::is_settled))?;
        self.collect(watch)
    }

    /// Submits all steps, with the readback alone at the end.
    fn submit_groups(&mut self, watch: &Watch<'_>, profile: &mut Profile) -> Result<wgpu::SubmissionIndex> {
        let (shared, status) = (self.shared.clone(), self.plan.slots[self.status].bytes);
        let pairs = (status - TIMESTAMPS_AT) / PAIR;
        let descriptor =
            wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 * pairs as u32 };
        // Without one, the wall clock has to do, and the profile says so.
        let make = || shared.create(("a query set", 0), || shared.device.create_query_set(&descriptor)).ok();
        // Timestamps that the self-test has not tried yet could be anything.
        let tried = shared.tested.get().is_some() && shared.timestamps();
        let queries = tried.then(make).flatten();
        let readback = self.leased(Role::Readback, status)?;
        let (mut next, mut done) = (0, 0);
        while next < self.steps.len() {
            let mut encoder = self.encoder()?;
            if next == 0 {
                self.encode_poison(&mut encoder);
            }
            let begun = Instant::now();
            let first = next;
            match &queries {
                Some(queries) => self.stamped(&mut next, encoder, (queries, pairs), &readback, watch, profile),
                None => self.alone(&mut next, encoder, &readback, watch, profile),
            }?;
            let work = |step: &Step| if let Step::Dispatch { work, .. } = step { *work } else { 0 };
            let work = self.steps[first..next].iter().map(work).sum();
            if work > 0 {
                self.adapt(work, begun.elapsed());
            }
            done += work;
            watch.control.report(done.min(self.total), self.total);
            watch.check()?;
        }
        let encoder = self.encoder()?;
        Ok(self.submit_counted(encoder, |prepared, encoder| prepared.encode_readback(encoder, &Arc::default()))?.0)
    }

    /// The pipeline of a step, `None` if it is no dispatch.
    fn pipeline(&self, step: usize) -> Option<usize> {
        match &self.steps[step] {
            Step::Dispatch { pipeline, .. } => Some(*pipeline),
            _ => None,
        }
    }

    /// The end of the steps from `first` on that are dispatches of one kernel, or no dispatches; before `end`.
    fn group(&self, first: usize, end: usize) -> usize {
        (first..end).find(|i| self.pipeline(*i) != self.pipeline(first)).unwrap_or(end)
    }

    /// As many groups from `next` on as there are pairs of timestamps, or as make a submission.
    fn stamped(
        &mut self,
        next: &mut usize,
        mut encoder: wgpu::CommandEncoder,
        (queries, pairs): (&wgpu::QuerySet, u64),
        readback: &Staging,
        watch: &Watch<'_>,
        profile: &mut Profile,
    ) -> Result<()> {
        let end = self.batch(*next).0;
        let mut groups = Vec::new();
        while *next < end && (groups.len() as u64) < pairs {
            let (first, last) = (*next, self.group(*next, end));
            *next = last;
            let Some(pipeline) = self.pipeline(first) else {
                self.encode_steps(&mut encoder, first..last, None);
                continue;
            };
            let at = 2 * groups.len() as u32;
            let writes = wgpu::ComputePassTimestampWrites {
                query_set: queries,
                beginning_of_pass_write_index: Some(at),
                end_of_pass_write_index: Some(at + 1),
            };
            self.encode_pass(&mut encoder, &self.steps[first..last], Some(writes));
            groups.push((pipeline, (last - first) as u64));
        }
        let count = groups.len() as u64;
        if count > 0 {
            encoder.resolve_query_set(queries, 0..2 * count as u32, &self.buffers[self.status].1, TIMESTAMPS_AT);
        }
        let bytes = TIMESTAMPS_AT + PAIR * count;
        let mut stamps = Vec::new();
        self.submit_proved(encoder, readback, (bytes, bytes), watch, |status| {
            stamps.extend((0..groups.len()).map(|i| (stamp(status, 2 * i), stamp(status, 2 * i + 1))));
        })?;
        for ((pipeline, dispatches), (begin, end)) in groups.into_iter().zip(stamps) {
            if begin == 0 || end == 0 {
                return Err(Error::Corrupted { detail: "a timestamp was not written".into() });
            }
            self.timed(profile, pipeline, dispatches, (self.shared.between(begin, end), TIMESTAMPS));
        }
        Ok(())
    }

    /// The group at `next`, or the part of it that makes a submission.
    fn alone(
        &mut self,
        next: &mut usize,
        mut encoder: wgpu::CommandEncoder,
        readback: &Staging,
        watch: &Watch<'_>,
        profile: &mut Profile,
    ) -> Result<()> {
        let first = *next;
        *next = self.group(first, self.batch(first).0);
        self.encode_steps(&mut encoder, first..*next, None);
        let begun = Instant::now();
        self.submit_proved(encoder, readback, (TIMESTAMPS_AT, TIMESTAMPS_AT), watch, |_| ())?;
        let took = begun.elapsed();
        if let Some(pipeline) = self.pipeline(first) {
            self.timed(profile, pipeline, (*next - first) as u64, (took, WALL_CLOCK));
        }
        Ok(())
    }

    fn timed(&self, profile: &mut Profile, pipeline: usize, dispatches: u64, (time, clock): (Duration, &'static str)) {
        profile.add(self.kernels[pipeline], dispatches, time, clock);
        self.shared.count(|c| &c.dispatches, dispatches);
    }
}
