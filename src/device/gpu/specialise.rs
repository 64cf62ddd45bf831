//! Kernels whose parameters are constants of their text: made behind all that somebody waits for, proved against the
//! kernel itself, and swapped in between two runs.
//!
//! A driver's compiler that knows a trip count or a flag unrolls the loop and drops the branch. It may also round
//! otherwise, so a specialised kernel is used only after it gave, on seeded data, the very bits that the kernel gives.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::health::{Health, Waited, silently};
use super::pipelines::Compiled;
use super::prepared::{Prepared, entry};
use super::run::Mapping;
use super::{PARAMS_BYTES, WAIT};
use crate::device::{Pool, Specialised};
use crate::kernel::{Access, Dispatch, Kernel};
use crate::recording::{PARAMS_STRIDE, Recording};
use crate::{Error, Result};

/// Elementary operations from which on a dispatch is worth a kernel of its own. Making and proving one takes 10 to
/// 50 ms on the software drivers; at their 1 to 10 operations a nanosecond a dispatch of this size takes about a
/// millisecond, so a gain of a tenth is back after some hundred runs, which is what prepared recordings are for. Below,
/// a dispatch costs less than the submission it is in.
const WORTH: u64 = 1 << 22;

/// Specialised kernels of a device at most: each takes some 100 KB in the driver and some time to make, and an
/// application that has more shapes than this changes them all the time.
const MOST: usize = 48;

/// The run of a prepared recording that asks for its specialised kernels: one that is run once never pays for them.
const FROM_RUN: u32 = 2;

/// Bytes that a proof may take, tensors and readback together; a dispatch over larger tensors stays generic.
const PROOF_BYTES: u64 = 96 << 20;

/// Elementary operations of a proof at most, unless a single workgroup has more: some 10 ms on software drivers.
const PROOF_WORK: u64 = 1 << 25;

/// Workgroups at the beginning, in the middle and at the end of a grid that a proof runs at most.
const PROOF_GROUPS: u64 = 8;

/// A proof that takes longer than this is given up.
const PROOF_TIME: Duration = Duration::from_secs(5);

/// Bytes after which seeded data repeat: no length or pitch that a tensor has is a multiple of it.
const PERIOD: usize = 4 * 262_147;

/// Attempts at a specialised kernel that is refused for reasons that pass.
const ATTEMPTS: u32 = 3;

/// Between two looks for a mapping that another thread is about to settle.
const SOON: Duration = Duration::from_millis(1);

/// Bytes that are compared at once.
const COMPARED: u64 = 4 << 20;

/// A dispatch that is worth a specialised kernel.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) kernel: &'static Kernel,
    /// What the kernel's fields are in `params`.
    pub(super) values: Vec<u32>,
    params: Vec<u8>,
    /// Bytes of the tensors that it binds.
    args: Vec<u64>,
    groups: u64,
    /// Elementary operations.
    work: u64,
}

impl Case {
    /// The case of a recording's dispatch; `None` if it is not worth it.
    pub(super) fn of(recording: &Recording, dispatch: &Dispatch) -> Option<Self> {
        let (kernel, work) = (dispatch.kernel, recording.work(dispatch));
        if kernel.fields.is_empty() || work < WORTH {
            return None;
        }
        Some(Self {
            kernel,
            values: kernel.values(&dispatch.params),
            params: dispatch.params.clone(),
            args: dispatch.args.iter().map(|tensor| recording.tensors[tensor.at()].bytes).collect(),
            groups: dispatch.workgroups,
            work,
        })
    }
}

/// Why a specialised kernel is not used. That is no error: the kernel itself runs in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    why: String,
    /// Another attempt may end otherwise.
    passing: bool,
}

impl Refused {
    pub(super) fn for_now(why: impl Into<String>) -> Self {
        Self { why: why.into(), passing: true }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let passing = error.is_recoverable();
        match error {
            Error::Internal(why) => Self { why, passing },
            other => Self { why: other.to_string(), passing },
        }
    }
}

/// A specialised kernel that is proved, or why it is refused.
pub(super) type Proof<T> = std::result::Result<T, Refused>;

/// A specialised kernel, on its way or made.
#[derive(Debug)]
pub(in crate::device) struct Special {
    pub(super) case: Case,
    /// Once it is known: proved, or why it is refused.
    made: OnceLock<Proof<wgpu::ComputePipeline>>,
    /// How often it has been tried before.
    tried: u32,
    /// Some recording runs with it.
    swapped: AtomicBool,
}

impl Special {
    /// Whether it is proved or refused.
    pub(in crate::device) fn is_made(&self) -> bool {
        self.made.get().is_some()
    }
}

/// The specialised kernels of a device.
#[derive(Debug, Default)]
pub(super) struct Specials {
    all: BTreeMap<(&'static str, Vec<u32>), Arc<Special>>,
    /// In the order of asking, the next one last.
    queue: Vec<Arc<Special>>,
    compiling: bool,
}

impl Specials {
    /// The one for this case, and whether it is new, or to be tried again; `None` if there are too many.
    pub(super) fn get(&mut self, case: &Case) -> Option<(Arc<Special>, bool)> {
        let key = (case.kernel.label(), case.values.clone());
        let tried = match self.all.get(&key) {
            Some(known) => match known.made.get() {
                Some(Err(refused)) if refused.passing && known.tried + 1 < ATTEMPTS => known.tried + 1,
                _ => return Some((known.clone(), false)),
            },
            None if self.all.len() >= MOST => return None,
            None => 0,
        };
        let swapped = AtomicBool::new(false);
        let new = Arc::new(Special { case: case.clone(), made: OnceLock::new(), tried, swapped });
        self.all.insert(key, new.clone());
        self.queue.insert(0, new.clone());
        Some((new, true))
    }

    pub(super) fn known(&self, case: &Case) -> Option<Arc<Special>> {
        self.all.get(&(case.kernel.label(), case.values.clone())).cloned()
    }

    /// The next to make, unless one is being made.
    pub(super) fn next(&mut self) -> Option<Arc<Special>> {
        if self.compiling {
            return None;
        }
        let next = self.queue.pop();
        self.compiling = next.is_some();
        next
    }

    pub(super) fn finish(&mut self, special: &Special, made: Proof<wgpu::ComputePipeline>) {
        self.compiling = false;
        // Made once, for it leaves the queue once.
        let _ = special.made.set(made);
    }

    /// Refuses one that nobody can make.
    pub(super) fn give_up(&mut self, special: &Arc<Special>, why: Refused) {
        let waiting = self.queue.len();
        self.queue.retain(|queued| !Arc::ptr_eq(queued, special));
        if self.queue.len() < waiting {
            let _ = special.made.set(Err(why));
        }
    }

    /// Whether any is still to be made.
    pub(super) fn busy(&self) -> bool {
        self.compiling || !self.queue.is_empty()
    }

    /// The kernels and values that are refused, with the cause.
    pub(super) fn refused(&self) -> Vec<String> {
        let all = self.all.iter().filter_map(|((label, values), special)| match special.made.get() {
            Some(Err(refused)) => Some(format!("{label} for {values:?}: {}", refused.why)),
            _ => None,
        });
        all.collect()
    }

    pub(super) fn report(&self) -> Specialised {
        let mut report =
            Specialised { queued: self.queue.len(), compiling: usize::from(self.compiling), ..Specialised::default() };
        for special in self.all.values() {
            match special.made.get() {
                Some(Ok(_)) => report.proved += 1,
                Some(Err(_)) => report.refused += 1,
                None => {}
            }
            report.swapped += usize::from(special.swapped.load(Ordering::Relaxed));
        }
        report
    }
}

/// Where specialised kernels are proved. It submits to the device's queue.
#[derive(Debug)]
pub(super) struct Prover {
    device: wgpu::Device,
    /// Dropped by hand, as the device's own.
    queue: ManuallyDrop<wgpu::Queue>,
    health: Arc<Health>,
    pool: Arc<Pool<wgpu::Buffer>>,
}

impl Drop for Prover {
    fn drop(&mut self) {
        // SAFETY: this is the only place that drops it, and nothing uses it afterwards.
        let _ = silently(|| unsafe { ManuallyDrop::drop(&mut self.queue) });
    }
}

/// Seeded data: numbers in ±[0.5, 1), none of them a special one.
fn seeded() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32 & 0x807f_ffff | 0x3f00_0000
    };
    (0..PERIOD / 4).flat_map(|_| word().to_le_bytes()).collect()
}

fn refuse<T>(why: impl Into<String>) -> Proof<T> {
    Err(Refused { why: why.into(), passing: false })
}

impl Prover {
    pub(super) fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        health: &Arc<Health>,
        pool: &Arc<Pool<wgpu::Buffer>>,
    ) -> Self {
        let queue = ManuallyDrop::new(queue.clone());
        Self { device: device.clone(), queue, health: health.clone(), pool: pool.clone() }
    }

    /// A buffer with this content to copy from.
    fn filled(&self, bytes: &[u8]) -> Result<wgpu::Buffer> {
        let buffer = self.buffer(wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC, bytes.len() as u64)?;
        let view = buffer.get_mapped_range_mut(0..buffer.size());
        let mut view = view.map_err(|e| Error::Internal(format!("a mapping failed: {e}")))?;
        view.slice(0..bytes.len()).copy_from_slice(bytes);
        drop(view);
        buffer.unmap();
        Ok(buffer)
    }

    /// A buffer, mapped if it is one to write to.
    fn buffer(&self, usage: wgpu::BufferUsages, bytes: u64) -> Result<wgpu::Buffer> {
        let size = bytes.next_multiple_of(8);
        let mapped_at_creation = usage.contains(wgpu::BufferUsages::MAP_WRITE);
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation };
        self.health.create(&self.device, ("a proof's buffer", bytes), || self.device.create_buffer(&descriptor))
    }

    /// Submits, and waits until that is carried out and `done` holds.
    fn submit(&self, encoder: wgpu::CommandEncoder, done: impl Fn() -> bool) -> Proof<()> {
        let begun = Instant::now();
        let submission = self.health.create(&self.device, ("a proof", 0), || self.queue.submit([encoder.finish()]))?;
        loop {
            let waited = self.health.wait(&self.device, Some(&submission), WAIT)?;
            if waited == Waited::Done && done() {
                return Ok(());
            }
            if begun.elapsed() > PROOF_TIME {
                return Err(Refused::for_now("its proof takes too long"));
            }
            if waited == Waited::Done {
                // Another thread's poll took the callback, and has yet to run it.
                std::thread::sleep(SOON);
            }
        }
    }

    /// Runs both pipelines on the same seeded data over the same workgroups, and compares every byte.
    ///
    /// # Errors
    /// Anything means that the specialised one is not used.
    pub(super) fn prove(&self, case: &Case, generic: &Compiled, special: &wgpu::ComputePipeline) -> Proof<()> {
        let kernel = case.kernel;
        let written = |i: &usize| kernel.bindings[*i].access == Access::ReadWrite;
        let most = (0..case.args.len()).filter(written).map(|i| case.args[i]).max().unwrap_or(0).min(COMPARED);
        let bytes: u64 = (0..case.args.len()).map(|i| case.args[i] * (1 + u64::from(written(&i)))).sum();
        let bytes = bytes + 2 * most + PERIOD as u64;
        if bytes > PROOF_BYTES {
            return refuse(format!("its tensors have {}", crate::bytes(bytes)));
        }
        let Some(aside) = self.pool.set_aside(bytes) else {
            return Err(Refused::for_now("the budget has no room for its proof"));
        };
        let proved = self.compare(case, generic, special, most);
        // The driver has the memory back when the device is next looked at; a loss is for others to find.
        let _ = self.health.tick(&self.device);
        drop(aside);
        proved
    }

    /// The same with the memory set aside, of which at most `most` bytes of a tensor are compared at once.
    fn compare(&self, case: &Case, generic: &Compiled, special: &wgpu::ComputePipeline, most: u64) -> Proof<()> {
        let written = |i: &usize| case.kernel.bindings[*i].access == Access::ReadWrite;
        let seed = seeded();
        let seed_buffer = self.filled(&seed)?;
        let ranges = ranges(case);
        let mut words = Vec::new();
        for (base, count) in &ranges {
            let at = words.len();
            words.extend([*base, *count, *count, 0].into_iter().flat_map(|word| (word as u32).to_le_bytes()));
            words.extend(&case.params);
            words.resize(at + PARAMS_STRIDE as usize, 0);
        }
        use wgpu::BufferUsages as U;
        let params = self.buffer(U::UNIFORM | U::COPY_DST, words.len() as u64)?;
        let words = self.filled(&words)?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&words, 0, &params, 0, params.size());

        let mut tensor = |bytes: u64| -> Result<wgpu::Buffer> {
            let buffer = self.buffer(U::STORAGE | U::COPY_SRC | U::COPY_DST, bytes)?;
            for at in (0..buffer.size()).step_by(PERIOD) {
                encoder.copy_buffer_to_buffer(&seed_buffer, 0, &buffer, at, (PERIOD as u64).min(buffer.size() - at));
            }
            Ok(buffer)
        };
        let ours = case.args.iter().map(|bytes| tensor(*bytes)).collect::<Result<Vec<_>>>()?;
        let mut theirs = ours.clone();
        for i in (0..case.args.len()).filter(written) {
            theirs[i] = tensor(case.args[i])?;
        }
        for (pipeline, tensors) in [(&generic.pipeline, &ours), (special, &theirs)] {
            let groups = (0..ranges.len()).map(|i| self.bind(case, generic, &params, tensors, i as u64));
            let groups = groups.collect::<Result<Vec<_>>>()?;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(pipeline);
            for (group, (_, count)) in groups.iter().zip(&ranges) {
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(*count as u32, 1, 1);
            }
        }
        self.submit(encoder, || true)?;

        let readback = self.buffer(U::MAP_READ | U::COPY_DST, 2 * most.next_multiple_of(8))?;
        let mut worked = false;
        for i in (0..case.args.len()).filter(written) {
            for at in (0..case.args[i]).step_by(COMPARED as usize) {
                let length = COMPARED.min(case.args[i] - at);
                worked |= self.same((&ours[i], &theirs[i]), at, length, &readback, &seed)?;
            }
        }
        // A driver that drops work leaves both as they were, which proves nothing.
        if worked { Ok(()) } else { refuse("its proof wrote nothing") }
    }

    /// Whether the generic pipeline changed these bytes; an error if the other one's are not the same.
    fn same(
        &self,
        (ours, theirs): (&wgpu::Buffer, &wgpu::Buffer),
        at: u64,
        length: u64,
        readback: &wgpu::Buffer,
        seed: &[u8],
    ) -> Proof<bool> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let second = length.next_multiple_of(8);
        encoder.copy_buffer_to_buffer(ours, at, readback, 0, length);
        encoder.copy_buffer_to_buffer(theirs, at, readback, second, length);
        let mapping = Mapping::default();
        let end = (second + length).next_multiple_of(8);
        encoder.map_buffer_on_submit(readback, wgpu::MapMode::Read, 0..end, mapping.callback());
        self.submit(encoder, || mapping.is_settled())?;
        mapping.check(&self.health)?;
        let view = readback.get_mapped_range(0..end);
        let view = view.map_err(|e| Error::Internal(format!("a mapping failed: {e}")))?;
        let bytes: &[u8] = &view;
        let (first, other) = (&bytes[..length as usize], &bytes[second as usize..][..length as usize]);
        // Whole slices first: they are compared many bytes at a time.
        let differs = if first == other { None } else { first.iter().zip(other).position(|(a, b)| a != b) };
        let mut worked = false;
        let mut from = at as usize % PERIOD;
        let mut rest = first;
        while !worked && !rest.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(PERIOD - from));
            worked = *head != seed[from..from + head.len()];
            (rest, from) = (tail, 0);
        }
        drop(view);
        readback.unmap();
        match differs {
            Some(byte) => refuse(format!("its bytes differ from {} on", at + byte as u64)),
            None => Ok(worked),
        }
    }

    fn bind(
        &self,
        case: &Case,
        generic: &Compiled,
        params: &wgpu::Buffer,
        tensors: &[wgpu::Buffer],
        i: u64,
    ) -> Result<wgpu::BindGroup> {
        let mut entries = vec![entry(0, params, i * PARAMS_STRIDE, PARAMS_BYTES)];
        entries.extend(tensors.iter().zip(&case.args).enumerate().map(|(i, (b, bytes))| entry(i + 1, b, 0, *bytes)));
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &generic.bindings, entries: &entries };
        self.health.create(&self.device, ("a bind group", 0), || self.device.create_bind_group(&descriptor))
    }
}

/// First workgroup and workgroups of the parts of a grid that are run: its beginning, its middle and its end, which has
/// the tiles that are not full.
fn ranges(case: &Case) -> Vec<(u64, u64)> {
    let each = (case.work / case.groups.max(1)).max(1);
    let count = (PROOF_WORK / 6 / each).clamp(1, PROOF_GROUPS);
    if case.groups <= 3 * count {
        return vec![(0, case.groups)];
    }
    vec![(0, count), ((case.groups - count) / 2, count), (case.groups - count, count)]
}

/// The specialised kernels that a prepared recording wants.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    runs: u32,
    /// Not before it is settled.
    held: bool,
    /// Pipelines by index, with what would replace them.
    cases: Vec<(usize, Case)>,
    /// The same once asked for.
    asked: Vec<(usize, Arc<Special>)>,
    /// Those that have been taken.
    taken: BTreeSet<usize>,
}

impl Wanted {
    pub(super) fn new(cases: Vec<(usize, Case)>) -> Self {
        Self { cases, ..Self::default() }
    }
}

impl Prepared {
    /// Before a run: takes the specialised kernels that are proved, and from the second run on asks for them.
    pub(super) fn swap(&mut self) {
        if self.wanted.held {
            return;
        }
        self.wanted.runs = self.wanted.runs.saturating_add(1);
        if self.wanted.runs >= FROM_RUN {
            self.ask();
        } else {
            let known = |(at, case): &(usize, Case)| Some((*at, self.shared.pipelines.known(case)?));
            let known = self.wanted.cases.iter().filter_map(known).collect();
            self.wanted.asked = known;
        }
        self.take();
    }

    fn take(&mut self) {
        let (pipelines, taken) = (&mut self.pipelines, &mut self.wanted.taken);
        self.wanted.asked.retain(|(at, special)| match special.made.get() {
            Some(Ok(proved)) => {
                pipelines[*at] = proved.clone();
                taken.insert(*at);
                special.swapped.store(true, Ordering::Relaxed);
                false
            }
            Some(Err(_)) => false,
            None => true,
        });
    }

    fn ask(&mut self) {
        if self.wanted.cases.is_empty() {
            return;
        }
        self.wanted.asked.clear();
        for (at, case) in std::mem::take(&mut self.wanted.cases) {
            self.wanted.asked.extend(self.shared.pipelines.special(&case).map(|special| (at, special)));
        }
    }

    /// Until it is [settled](Self::settle), it neither asks for specialised kernels nor takes them.
    pub(in crate::device) fn keep_generic(&mut self) {
        self.wanted.held = true;
    }

    /// Asks for the specialised kernels of this recording, waits until each is proved or refused, and takes the proved
    /// ones.
    pub fn settle(&mut self) {
        self.wanted.held = false;
        self.ask();
        self.shared.pipelines.settle();
        self.take();
    }

    /// How many of its kernels are specialised ones now.
    pub fn specialised(&self) -> usize {
        self.wanted.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::conv1d;

    fn case(groups: u64, work: u64) -> Case {
        Case { kernel: &conv1d::KERNEL, values: Vec::new(), params: Vec::new(), args: Vec::new(), groups, work }
    }

    #[test]
    fn a_proof_runs_the_whole_of_a_small_grid_and_the_ends_of_a_large_one() {
        assert_eq!(ranges(&case(5, 5)), [(0, 5)]);
        assert_eq!(ranges(&case(24, 24)), [(0, 24)]);
        assert_eq!(ranges(&case(1000, 1000)), [(0, 8), (496, 8), (992, 8)]);
        assert_eq!(ranges(&case(100, 100 * PROOF_WORK)), [(0, 1), (49, 1), (99, 1)]);
    }

    /// The proof passes what computes the same, and finds each constant that is wrong by one.
    #[test]
    fn a_proof_finds_each_wrong_constant() {
        use crate::device::{Choice, DeviceOptions, Gpu};
        use crate::ops::{Conv1d, Filters, Method, conv1d as record};
        for adapter in crate::device::gpu::adapters() {
            let gpu = Gpu::open(&DeviceOptions::new(Choice::Named(adapter.choose_by()))).unwrap();
            let mut rec = Recording::new("proof", gpu.capabilities());
            // Two signals: in one alone it makes no difference how many groups come before the next.
            let conv = Conv1d { groups: 2, dilation: 2, stride: 2, ..Conv1d::new(2, 4099, 16, 96, 5) };
            let weight = vec![0.1; 96 * 8 * 5];
            let filters = Filters::with_method(&mut rec, conv, Method::Direct, &weight, Some(&[0.5; 96])).unwrap();
            let x = rec.input::<f32>("x", 2 * 16 * 4099).unwrap();
            let y = rec.scratch("y", 2 * 96 * conv.output_length().unwrap()).unwrap();
            record(&mut rec, &filters, x, y).unwrap();
            let case = rec.dispatches().find_map(|d| Case::of(&rec, d)).expect("it is worth it");
            let pipelines = &gpu.shared.pipelines;
            pipelines.prove_with(&case, &case.values).unwrap();
            for (i, field) in case.kernel.fields.iter().enumerate() {
                let mut wrong = case.values.clone();
                wrong[i] += 1;
                let error = pipelines.prove_with(&case, &wrong).expect_err(field.name).why;
                assert!(error.contains("differ"), "{}: {error}", field.name);
            }
            let nothing = Case { groups: 0, ..case.clone() };
            let error = pipelines.prove_with(&nothing, &case.values).unwrap_err().why;
            assert!(error.contains("wrote nothing"), "{error}");
            let large = Case { args: vec![PROOF_BYTES; 4], ..case.clone() };
            assert!(pipelines.prove_with(&large, &case.values).is_err());
        }
    }

    #[test]
    fn equal_cases_are_shared_and_their_number_is_bounded() {
        let mut specials = Specials::default();
        let with = |value| Case { values: vec![value], ..case(1, 1) };
        let (first, new) = specials.get(&with(0)).unwrap();
        assert!(new);
        let (again, new) = specials.get(&with(0)).unwrap();
        assert!(!new && Arc::ptr_eq(&first, &again));
        for value in 1..MOST as u32 {
            assert!(specials.get(&with(value)).is_some());
        }
        assert!(specials.get(&with(MOST as u32)).is_none() && specials.get(&with(1)).is_some());
        let next = specials.next().unwrap();
        assert!(Arc::ptr_eq(&next, &first), "first come, first served");
        assert!(specials.next().is_none(), "one at a time");
        specials.finish(&next, refuse("no"));
        let report = specials.report();
        assert_eq!((report.queued, report.compiling, report.refused), (MOST - 1, 0, 1));
        assert!(specials.busy() && specials.next().is_some());
    }

    #[test]
    fn what_is_refused_for_now_is_tried_again_a_few_times_and_nothing_stays_in_the_queue() {
        let mut specials = Specials::default();
        let case = case(1, 1);
        for _ in 0..ATTEMPTS {
            let (special, new) = specials.get(&case).unwrap();
            assert!(new && !special.is_made());
            let next = specials.next().unwrap();
            specials.finish(&next, Err(Refused::for_now("busy")));
        }
        let (last, new) = specials.get(&case).unwrap();
        assert!(!new && last.is_made() && specials.report().refused == 1);
        let other = Case { values: vec![1], ..case };
        let (special, _) = specials.get(&other).unwrap();
        specials.give_up(&special, Refused::for_now("no threads"));
        assert!(special.is_made() && !specials.busy());
        assert!(specials.refused().iter().any(|text| text.ends_with(": no threads")));
    }

    #[test]
    fn seeded_data_are_finite_and_differ() {
        let words: Vec<f32> = bytemuck::pod_collect_to_vec(&seeded());
        assert_eq!(words.len() * 4, PERIOD);
        assert!(words.iter().all(|v| (0.5..1.0).contains(&v.abs())));
        assert!(words.iter().any(|v| *v < 0.0) && words.windows(2).filter(|w| w[0] == w[1]).count() < 10);
    }
}
