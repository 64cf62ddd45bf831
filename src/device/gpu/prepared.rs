//! A recording made ready: its buffers, bind groups and parameters.

use std::collections::HashMap;
use std::sync::Arc;

use super::host::Hosted;
use super::pipelines::Urgency;
use super::run::Mapping;
use super::specialise::{Case, Wanted};
use super::{CHUNK, PARAMS_BYTES, Piece, Shared, chunks};
use crate::device::io::unused;
use crate::kernel::{self, AnyTensor, Elem, Kernel, Tensor};
use crate::recording::{
    Command, ENCODED_AT, PARAMS_STRIDE, Plan, Recording, Role, SLICE_WORK, Slot, Staged, TIMESTAMPS_AT, size_class,
};
use crate::{Error, Result};

/// The grid's limit in one dimension on every backend.
const MAX_GRID: u64 = 65_535;

/// First contents pass through host-visible memory of so many bytes, or a sixteenth of the plan where that is more.
pub(super) const LEAST_CHUNK: u64 = 64 << 10;

/// The same of recordings that take least.
const LEAST_PIECE: u64 = 4 << 10;

/// What a dispatch counts for at least, in elementary operations: thousands of tiny ones take long too.
pub(super) const MIN_WORK: u64 = SLICE_WORK / 4096;

/// One command, resolved to wgpu's objects. Buffers and bind groups are indices, so that a replay looks nothing up.
#[derive(Debug)]
pub(super) enum Step {
    Dispatch {
        pipeline: usize,
        bind_group: usize,
        grid: [u32; 2],
        work: u64,
    },
    /// Into the tensor, from where the plan's `uploads` puts it.
    Upload(usize),
    /// Out of the tensor, to where the plan's `downloads` puts it.
    Download(usize),
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

/// Where tensors are: in the plan's slots and, counted on after those, in the host's buffers.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) slots: &'a [(Slot, wgpu::Buffer)],
    pub(super) hosts: &'a [Hosted],
}

impl<'a> Places<'a> {
    /// The buffer of a place and its first byte there.
    pub(super) fn at(self, place: usize) -> (&'a wgpu::Buffer, u64) {
        match self.slots.get(place) {
            Some((_, buffer)) => (buffer, 0),
            None => self.hosts[place - self.slots.len()].at(),
        }
    }
}

/// What a kernel is given as a tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arg {
    pub(super) place: usize,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl Arg {
    fn new(place: usize, bytes: u64) -> Self {
        Self { place, offset: 0, bytes }
    }
}

/// What a bind group is made of.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) index: usize,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) args: Vec<Arg>,
    pub(super) params_at: u64,
}

/// A leased upload buffer, and where the pieces in it go.
type Waiting = ((Slot, wgpu::Buffer), Vec<Piece<u64>>);

/// Where the first contents of constants, states, parameters and status are.
#[derive(Debug)]
pub(super) enum First {
    /// In upload memory, until an encoder carries them.
    Waiting(Vec<Waiting>),
    /// In an encoder of the host, which may not have submitted it yet.
    Encoded,
    /// In their places, or in a submission before any other.
    Written,
}

/// A recording with its memory, bind groups and parameters. A run creates none of them.
#[derive(Debug)]
pub struct Prepared {
    pub(super) shared: Arc<Shared>,
    pub(super) recording: Recording,
    pub(super) plan: Plan,
    pub(super) buffers: Vec<(Slot, wgpu::Buffer)>,
    /// The host's buffers, as `plan.hosts`.
    pub(super) hosts: Vec<Hosted>,
    /// The bind groups with the host's buffers.
    pub(super) bindings: Vec<Binding>,
    pub(super) first: First,
    pub(super) pipelines: Vec<wgpu::ComputePipeline>,
    /// Of the pipelines.
    pub(super) kernels: Vec<&'static Kernel>,
    pub(super) bind_groups: Vec<wgpu::BindGroup>,
    pub(super) steps: Vec<Step>,
    /// Counts the submissions that the device has carried out.
    pub(super) canary: Step,
    /// The host's count of the same.
    pub(super) submitted: u32,
    /// Counts the encodings that the device has carried out.
    pub(super) witness: Step,
    /// Encodings so far, and those of them that the host application has submitted as far as it has said.
    pub(super) encoded: u32,
    pub(super) announced: u32,
    /// The buffer that the canary counts in, and that timestamps are written to.
    pub(super) status: usize,
    /// Upload and readback buffers, with the bytes of each that are in use.
    pub(super) uploads: Vec<(usize, u64)>,
    pub(super) readbacks: Vec<(usize, u64)>,
    /// Of the readback memory that is mapped, or will be.
    pub(super) mapped: Vec<Mapping>,
    pub(super) timestamps: Option<wgpu::QuerySet>,
    /// The elementary operations of all dispatches.
    pub(super) total: u64,
    /// Elementary operations a submission, adapted to its time.
    pub(super) quota: u64,
    /// What may take the place of its pipelines.
    pub(super) wanted: Wanted,
}

fn internal(what: &str) -> Error {
    Error::Internal(format!("the plan lacks {what}"))
}

fn find(plan: &Plan, role: Role) -> Result<usize> {
    plan.slots.iter().position(|slot| slot.role == role).ok_or_else(|| internal(role.name()))
}

/// The pipelines of a recording without repetition, a bind group for each slice, and the parameters of all.
///
/// One bind group for equal tensors, with dynamic offsets into the parameters, would be fewer objects; but drivers take
/// longer for a dynamic offset at every replay (5 us on Mesa 25's lavapipe) than for a bind group once.
#[derive(Default)]
struct Binder {
    pipelines: Vec<wgpu::ComputePipeline>,
    kernels: Vec<&'static Kernel>,
    /// By kernel and, where the dispatch is worth a specialised one, the values that this would have.
    pipeline_of: HashMap<(&'static str, Vec<u32>), (usize, wgpu::BindGroupLayout)>,
    /// What the next dispatches are worth.
    case: Option<Case>,
    cases: Vec<(usize, Case)>,
    bind_groups: Vec<wgpu::BindGroup>,
    /// Those with the host's buffers.
    bindings: Vec<Binding>,
    params: Vec<u8>,
}

impl Binder {
    /// A dispatch of `count` workgroups from `base` on.
    fn dispatch(
        &mut self,
        shared: &Shared,
        places: Places<'_>,
        (kernel, params): (&'static Kernel, &[u8]),
        args: Vec<Arg>,
        (base, count, work): (u64, u64, u64),
    ) -> Result<Step> {
        let at = self.params.len();
        if u32::try_from(base + count).is_err() {
            return Err(Error::Unsupported {
                what: format!("kernel {}", kernel.label()),
                need: format!("{} workgroups", base + count),
                have: u32::MAX.to_string(),
            });
        }
        let key = (kernel.label(), self.case.as_ref().map(|case| case.values.clone()).unwrap_or_default());
        let (pipeline, layout) = match self.pipeline_of.get(&key) {
            Some(known) => known.clone(),
            None => {
                let compiled = shared.pipelines.wait(kernel)?;
                self.pipelines.push(compiled.pipeline);
                self.kernels.push(kernel);
                let new = (self.pipelines.len() - 1, compiled.bindings);
                self.cases.extend(self.case.clone().map(|case| (new.0, case)));
                self.pipeline_of.insert(key, new.clone());
                new
            }
        };
        let binding = Binding { index: self.bind_groups.len(), layout, args, params_at: at as u64 };
        self.bind_groups.push(bind(shared, places, &binding)?);
        if binding.args.iter().any(|arg| arg.place >= places.slots.len()) {
            self.bindings.push(binding);
        }
        let row = count.clamp(1, MAX_GRID);
        for word in [base, count, row, 0] {
            self.params.extend((word as u32).to_le_bytes());
        }
        self.params.extend(params);
        self.params.resize(at + PARAMS_STRIDE as usize, 0);
        let grid = [row as u32, count.div_ceil(row).max(1) as u32];
        Ok(Step::Dispatch { pipeline, bind_group: self.bind_groups.len() - 1, grid, work: work.max(MIN_WORK) })
    }
}

/// Bytes of a buffer at a binding.
pub(super) fn entry(binding: usize, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> wgpu::BindGroupEntry<'_> {
    let size = wgpu::BufferSize::new(bytes);
    let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
    wgpu::BindGroupEntry { binding: binding as u32, resource }
}

pub(super) fn bind(shared: &Shared, places: Places<'_>, binding: &Binding) -> Result<wgpu::BindGroup> {
    let params = places.slots.iter().find(|(slot, _)| slot.role == Role::Params);
    let (_, params) = params.ok_or_else(|| internal("parameters"))?;
    let mut entries = vec![entry(0, params, binding.params_at, PARAMS_BYTES)];
    entries.extend(binding.args.iter().enumerate().map(|(i, arg)| {
        let (buffer, first) = places.at(arg.place);
        entry(i + 1, buffer, first + arg.offset, arg.bytes)
    }));
    let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &binding.layout, entries: &entries };
    let made = shared.create(("a bind group", 0), || shared.device.create_bind_group(&descriptor))?;
    shared.count(|c| &c.bind_groups, 1);
    Ok(made)
}

/// The commands of a recording as steps.
fn assemble(
    shared: &Shared,
    recording: &Recording,
    plan: &Plan,
    places: Places<'_>,
    binder: &mut Binder,
) -> Result<Vec<Step>> {
    let slot = |t: AnyTensor| plan.slot(t).ok_or_else(|| internal("a tensor"));
    let bytes = |t: AnyTensor| recording.tensors[t.at()].bytes;
    let staged = |list: &[Staged], t| list.iter().position(|s| s.tensor == t).ok_or_else(|| internal("a transfer"));
    let mut steps = Vec::new();
    for command in &recording.commands {
        steps.push(match command {
            // Before the first step, and after the last one.
            Command::Upload(_) | Command::Download(_) if recording.is_in_pieces() => continue,
            Command::Upload(t) => Step::Upload(staged(&plan.uploads, *t)?),
            Command::Download(t) => Step::Download(staged(&plan.downloads, *t)?),
            Command::Clear(t) => Step::Clear { slot: slot(*t)?, bytes: bytes(*t) },
            Command::Copy { from, from_byte, to, to_byte, bytes } => Step::Copy {
                from: slot(*from)?,
                from_byte: *from_byte,
                to: slot(*to)?,
                to_byte: *to_byte,
                bytes: *bytes,
            },
            Command::Dispatch(d) => {
                let args = d.args.iter().map(|t| Ok(Arg::new(slot(*t)?, bytes(*t)))).collect::<Result<Vec<_>>>()?;
                binder.case = shared.pipelines.specialises().then(|| Case::of(recording, d)).flatten();
                for slice in recording.slices(d) {
                    steps.push(binder.dispatch(shared, places, (d.kernel, &d.params), args.clone(), slice)?);
                }
                continue;
            }
        });
    }
    Ok(steps)
}

impl Prepared {
    /// Over the host's buffers that the plan asks for, which have been checked.
    pub(super) fn new(shared: &Arc<Shared>, recording: &Recording, plan: Plan, hosts: Vec<Hosted>) -> Result<Self> {
        shared.pipelines.request(recording.dispatches().map(|d| d.kernel), Urgency::Now)?;
        Self::with(shared, recording, plan, hosts, |places, plan, binder| {
            assemble(shared, recording, plan, places, binder)
        })
    }

    /// Dispatches every kernel over no workgroup at all: what a driver does at a pipeline's first use, and nothing else.
    pub(super) fn idle(shared: &Arc<Shared>, kernels: &[&'static Kernel]) -> Result<Self> {
        const BYTES: u64 = 4096;
        let recording = Recording::new("warmup", shared.capabilities());
        let mut plan = recording.plan();
        let params = find(&plan, Role::Params)?;
        plan.slots[params].bytes = size_class((kernels.len() as u64 + 2) * PARAMS_STRIDE);
        let tensors = kernels.iter().map(|k| k.bindings.len()).max().unwrap_or(0);
        let first = plan.slots.len();
        plan.slots.extend((0..tensors).map(|_| Slot::new(Role::Scratch, BYTES)));
        Self::with(shared, &recording, plan, Vec::new(), |places, _, binder| {
            let step = |kernel: &&'static Kernel| {
                let args = (0..kernel.bindings.len()).map(|i| Arg::new(first + i, BYTES)).collect();
                let params = vec![0; kernel.params_bytes as usize - 16];
                binder.dispatch(shared, places, (kernel, &params), args, (0, 0, 0))
            };
            kernels.iter().map(step).collect()
        })
    }

    fn with(
        shared: &Arc<Shared>,
        recording: &Recording,
        plan: Plan,
        hosts: Vec<Hosted>,
        steps: impl FnOnce(Places<'_>, &Plan, &mut Binder) -> Result<Vec<Step>>,
    ) -> Result<Self> {
        let canary = &kernel::canary::KERNEL;
        shared.pipelines.request([canary], Urgency::Now)?;
        let buffers = shared.lease(&plan)?;
        // From here on, dropping it gives the buffers back.
        let mut prepared = Self {
            shared: shared.clone(),
            recording: recording.snapshot(),
            buffers,
            hosts,
            bindings: Vec::new(),
            first: First::Written,
            pipelines: Vec::new(),
            kernels: Vec::new(),
            bind_groups: Vec::new(),
            steps: Vec::new(),
            canary: Step::Upload(usize::MAX),
            submitted: 0,
            witness: Step::Upload(usize::MAX),
            encoded: 0,
            announced: 0,
            status: find(&plan, Role::Status)?,
            uploads: plan.staging(Role::Upload),
            readbacks: plan.staging(Role::Readback),
            mapped: Vec::new(),
            timestamps: None,
            quota: SLICE_WORK,
            total: recording.total_work(),
            wanted: Wanted::default(),
            plan,
        };
        let mut binder = Binder::default();
        let status = |offset| vec![Arg { place: prepared.status, offset, bytes: 4 }];
        let counts = [status(0), status(ENCODED_AT)];
        let [canary, witness] =
            counts.map(|args| binder.dispatch(shared, prepared.places(), (canary, &[]), args, (0, 1, 0)));
        (prepared.canary, prepared.witness) = (canary?, witness?);
        // Before the steps, so that the error names a buffer that cannot be bound.
        prepared.probe(|_| true)?;
        prepared.steps = steps(prepared.places(), &prepared.plan, &mut binder)?;
        (prepared.pipelines, prepared.kernels) = (binder.pipelines, binder.kernels);
        (prepared.bind_groups, prepared.bindings) = (binder.bind_groups, binder.bindings);
        prepared.wanted = Wanted::new(binder.cases);
        if shared.timestamps() && prepared.steps.iter().any(|s| matches!(s, Step::Dispatch { .. })) {
            let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
            // Metal has few of them; without one, a run is timed by the wall clock and says so.
            prepared.timestamps =
                shared.create(("a query set", 0), || shared.device.create_query_set(&descriptor)).ok();
        }
        prepared.initialise(recording, &binder.params)?;
        Ok(prepared)
    }

    /// Writes constants, states, parameters and the counts, or has them wait for the first encoder.
    fn initialise(&mut self, recording: &Recording, params: &[u8]) -> Result<()> {
        let mut writes: Vec<(usize, &[u8])> =
            vec![(find(&self.plan, Role::Params)?, params), (self.status, &[0; TIMESTAMPS_AT as usize])];
        for (tensor, slot) in recording.tensors.iter().zip(&self.plan.slot_of) {
            if let (Some((bytes, _)), Some(slot)) = (tensor.given(), slot) {
                writes.push((*slot, bytes));
            }
        }
        if !self.shared.lent() {
            // It comes on top of the plan while it is there, so it is kept small beside it.
            let least = if recording.is_in_pieces() { LEAST_PIECE } else { LEAST_CHUNK };
            let most = (self.plan.peak_bytes() / 16).max(least) & !7;
            return self.shared.write(most.min(CHUNK), &self.buffers, &writes);
        }
        let chunks = chunks(CHUNK, &writes);
        let slot = |bytes: &u64| Slot { role: Role::Upload, bytes: *bytes, in_place: true };
        let largest = ("the first contents".to_owned(), chunks.iter().map(|(bytes, _)| bytes).sum());
        let slots = chunks.iter().map(|(bytes, _)| slot(bytes)).collect();
        let leased = self.shared.lease(&Plan { slots, largest, ..Plan::default() })?;
        let place = |p: &Piece<&[u8]>| Piece { bytes: p.bytes.len() as u64, from: p.from, target: p.target, to: p.to };
        let places = chunks.iter().map(|(_, pieces)| pieces.iter().map(place).collect());
        self.first = First::Waiting(leased.into_iter().zip(places).collect());
        let First::Waiting(waiting) = &self.first else { return Ok(()) };
        waiting.iter().zip(&chunks).try_for_each(|(((_, buffer), _), (_, pieces))| self.shared.load(buffer, pieces))
    }

    /// An encoder for a submission of our own. Until that is [made](Self::carried), first contents that wait are at
    /// its head.
    pub(super) fn encoder(&self) -> Result<wgpu::CommandEncoder> {
        if matches!(self.first, First::Encoded) {
            let why = "the first contents of its tensors are in an encoder of the host application; \
                       submit that, and then call submitted()";
            return Err(Error::invalid("order", why));
        }
        let mut encoder = self.shared.encoder();
        self.encode_first(&mut encoder);
        Ok(encoder)
    }

    pub(super) fn encode_first(&self, encoder: &mut wgpu::CommandEncoder) {
        let First::Waiting(waiting) = &self.first else { return };
        for ((_, from), pieces) in waiting {
            for piece in pieces {
                let to = &self.buffers[piece.target].1;
                encoder.copy_buffer_to_buffer(from, piece.from, to, piece.to, piece.bytes);
            }
        }
    }

    /// First contents that waited are under way, and their memory goes as soon as the device has read it.
    pub(super) fn carried(&mut self, to: First) {
        if let First::Waiting(waiting) = &mut self.first {
            let leased = std::mem::take(waiting).into_iter().map(|(leased, _)| leased).collect();
            self.shared.pool.release(leased);
            self.first = to;
        }
    }

    pub(super) fn places(&self) -> Places<'_> {
        Places { slots: &self.buffers, hosts: &self.hosts }
    }

    /// Its byte plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The slot of a tensor.
    pub(super) fn slot(&self, tensor: AnyTensor) -> Result<usize> {
        self.recording.info(tensor)?;
        self.plan.slot(tensor).ok_or_else(|| unused(&self.recording, tensor))
    }

    /// The buffer that holds a tensor, from its byte 0 on, for kernels and copies of the host application.
    ///
    /// # Errors
    /// `InvalidArgument` for a tensor of another recording, one that no command uses, one in a buffer of the host
    /// application, or a scratch tensor whose memory others use before or after it: make that one a state.
    pub fn buffer<T: Elem>(&self, tensor: Tensor<T>) -> Result<&wgpu::Buffer> {
        let tensor = tensor.erase();
        let slot = self.slot(tensor)?;
        let name = || &self.recording.tensors[tensor.at()].name;
        if slot >= self.buffers.len() {
            return Err(Error::invalid("tensor", format!("\"{}\" is in a buffer of the host application", name())));
        }
        if self.plan.slot_of.iter().filter(|s| **s == Some(slot)).count() > 1 {
            return Err(Error::invalid("tensor", format!("\"{}\" shares its memory; make it a state", name())));
        }
        Ok(&self.buffers[slot].1)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // A run that was forgotten rather than dropped has left it mapped, and the next owner could not use it.
        self.unmap();
        self.carried(First::Written);
        self.shared.pool.release(std::mem::take(&mut self.buffers));
    }
}
