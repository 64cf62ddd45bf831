//! A recording made ready: its buffers, bind groups and parameters.

use std::collections::HashMap;
use std::sync::Arc;

use super::{PARAMS_BYTES, Shared};
use crate::device::io::unused;
use crate::kernel::{self, AnyTensor, Elem, Kernel, Tensor};
use crate::recording::{Command, PARAMS_STRIDE, Plan, Recording, Role, SLICE_WORK, Slot, Staged, size_class};
use crate::{Error, Result};

/// The grid's limit in one dimension on every backend.
const MAX_GRID: u64 = 65_535;

/// First contents pass through host-visible memory of so many bytes, or a sixteenth of the plan where that is more.
const LEAST_CHUNK: u64 = 64 << 10;

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

type Buffers = [(Slot, wgpu::Buffer)];

/// A recording with its memory, bind groups and parameters. A run creates none of them.
#[derive(Debug)]
pub struct Prepared {
    pub(super) shared: Arc<Shared>,
    pub(super) recording: Recording,
    pub(super) plan: Plan,
    pub(super) buffers: Vec<(Slot, wgpu::Buffer)>,
    pub(super) pipelines: Vec<wgpu::ComputePipeline>,
    /// Of the pipelines.
    pub(super) kernels: Vec<&'static Kernel>,
    pub(super) bind_groups: Vec<wgpu::BindGroup>,
    pub(super) steps: Vec<Step>,
    /// Counts the submissions that the device has carried out.
    pub(super) canary: Step,
    /// The host's count of the same.
    pub(super) submitted: u32,
    /// The buffer that the canary counts in, and that timestamps are written to.
    pub(super) status: usize,
    /// Upload and readback buffers, with the bytes of each that are in use.
    pub(super) uploads: Vec<(usize, u64)>,
    pub(super) readbacks: Vec<(usize, u64)>,
    /// The readback memory is mapped, or will be.
    pub(super) mapped: bool,
    pub(super) timestamps: Option<wgpu::QuerySet>,
    /// The elementary operations of all dispatches.
    pub(super) total: u64,
    /// Elementary operations a submission, adapted to its time.
    pub(super) quota: u64,
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
    pipeline_of: HashMap<&'static str, (usize, wgpu::BindGroupLayout)>,
    bind_groups: Vec<wgpu::BindGroup>,
    params: Vec<u8>,
}

impl Binder {
    /// A dispatch of `count` workgroups from `base` on, over tensors given as slot and bytes.
    fn dispatch(
        &mut self,
        shared: &Shared,
        buffers: &Buffers,
        (kernel, params): (&'static Kernel, &[u8]),
        args: Vec<(usize, u64)>,
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
        let (pipeline, layout) = match self.pipeline_of.get(kernel.label()) {
            Some(known) => known.clone(),
            None => {
                let compiled = shared.pipelines.wait(kernel)?;
                self.pipelines.push(compiled.pipeline);
                self.kernels.push(kernel);
                let new = (self.pipelines.len() - 1, compiled.bindings);
                self.pipeline_of.insert(kernel.label(), new.clone());
                new
            }
        };
        self.bind_groups.push(bind(shared, &layout, buffers, &args, at as u64)?);
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

fn bind(
    shared: &Shared,
    layout: &wgpu::BindGroupLayout,
    buffers: &Buffers,
    args: &[(usize, u64)],
    params_at: u64,
) -> Result<wgpu::BindGroup> {
    let entry = |binding: usize, buffer, offset, bytes| wgpu::BindGroupEntry {
        binding: binding as u32,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset,
            size: wgpu::BufferSize::new(bytes),
        }),
    };
    let params = buffers.iter().find(|(slot, _)| slot.role == Role::Params).ok_or_else(|| internal("parameters"))?;
    let mut entries = vec![entry(0, &params.1, params_at, PARAMS_BYTES)];
    entries.extend(args.iter().enumerate().map(|(i, (slot, bytes))| entry(i + 1, &buffers[*slot].1, 0, *bytes)));
    let descriptor = wgpu::BindGroupDescriptor { label: None, layout, entries: &entries };
    let made = shared.create(("a bind group", 0), || shared.device.create_bind_group(&descriptor))?;
    shared.count(|c| &c.bind_groups, 1);
    Ok(made)
}

/// The commands of a recording as steps.
fn assemble(
    shared: &Shared,
    recording: &Recording,
    plan: &Plan,
    buffers: &Buffers,
    binder: &mut Binder,
) -> Result<Vec<Step>> {
    let slot = |t: AnyTensor| plan.slot(t).ok_or_else(|| internal("a tensor"));
    let bytes = |t: AnyTensor| recording.tensors[t.at()].bytes;
    let staged = |list: &[Staged], t| list.iter().position(|s| s.tensor == t).ok_or_else(|| internal("a transfer"));
    let mut steps = Vec::new();
    for command in &recording.commands {
        steps.push(match command {
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
                let args = d.args.iter().map(|t| Ok((slot(*t)?, bytes(*t)))).collect::<Result<Vec<_>>>()?;
                for slice in recording.slices(d) {
                    steps.push(binder.dispatch(shared, buffers, (d.kernel, &d.params), args.clone(), slice)?);
                }
                continue;
            }
        });
    }
    Ok(steps)
}

impl Prepared {
    pub(super) fn new(shared: &Arc<Shared>, recording: &Recording) -> Result<Self> {
        shared.pipelines.request(recording.dispatches().map(|d| d.kernel))?;
        Self::with(shared, recording, recording.plan(), |buffers, plan, binder| {
            assemble(shared, recording, plan, buffers, binder)
        })
    }

    /// Dispatches every kernel over no workgroup at all: what a driver does at a pipeline's first use, and nothing else.
    pub(super) fn idle(shared: &Arc<Shared>, kernels: &[&'static Kernel]) -> Result<Self> {
        const BYTES: u64 = 4096;
        let recording = Recording::new("warmup", &shared.capabilities);
        let mut plan = recording.plan();
        let params = find(&plan, Role::Params)?;
        plan.slots[params].bytes = size_class((kernels.len() as u64 + 1) * PARAMS_STRIDE);
        let tensors = kernels.iter().map(|k| k.bindings.len()).max().unwrap_or(0);
        let first = plan.slots.len();
        plan.slots.extend((0..tensors).map(|_| Slot::new(Role::Scratch, BYTES)));
        Self::with(shared, &recording, plan, |buffers, _, binder| {
            let step = |kernel: &&'static Kernel| {
                let args = (0..kernel.bindings.len()).map(|i| (first + i, BYTES)).collect();
                let params = vec![0; kernel.params_bytes as usize - 16];
                binder.dispatch(shared, buffers, (kernel, &params), args, (0, 0, 0))
            };
            kernels.iter().map(step).collect()
        })
    }

    fn with(
        shared: &Arc<Shared>,
        recording: &Recording,
        plan: Plan,
        steps: impl FnOnce(&Buffers, &Plan, &mut Binder) -> Result<Vec<Step>>,
    ) -> Result<Self> {
        let canary = &kernel::canary::KERNEL;
        shared.pipelines.request([canary])?;
        let buffers = shared.lease(&plan)?;
        // From here on, dropping it gives the buffers back.
        let mut prepared = Self {
            shared: shared.clone(),
            recording: recording.snapshot(),
            buffers,
            pipelines: Vec::new(),
            kernels: Vec::new(),
            bind_groups: Vec::new(),
            steps: Vec::new(),
            canary: Step::Upload(usize::MAX),
            submitted: 0,
            status: find(&plan, Role::Status)?,
            uploads: plan.staging(Role::Upload),
            readbacks: plan.staging(Role::Readback),
            mapped: false,
            timestamps: None,
            quota: SLICE_WORK,
            total: recording.total_work(),
            plan,
        };
        let mut binder = Binder::default();
        prepared.steps = steps(&prepared.buffers, &prepared.plan, &mut binder)?;
        let args = vec![(prepared.status, 4)];
        prepared.canary = binder.dispatch(shared, &prepared.buffers, (canary, &[]), args, (0, 1, 0))?;
        (prepared.pipelines, prepared.kernels) = (binder.pipelines, binder.kernels);
        prepared.bind_groups = binder.bind_groups;
        if shared.timestamps && prepared.steps.iter().any(|s| matches!(s, Step::Dispatch { .. })) {
            let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
            // Metal has few of them; without one, a run is timed by the wall clock and says so.
            prepared.timestamps =
                shared.create(("a query set", 0), || shared.device.create_query_set(&descriptor)).ok();
        }
        prepared.initialise(recording, &binder.params)?;
        Ok(prepared)
    }

    /// Writes constants, states, parameters and the canary's count.
    fn initialise(&self, recording: &Recording, params: &[u8]) -> Result<()> {
        let buffer = |slot: usize| &self.buffers[slot].1;
        let mut writes: Vec<(&wgpu::Buffer, &[u8])> =
            vec![(buffer(find(&self.plan, Role::Params)?), params), (buffer(self.status), &[0; 4])];
        for (tensor, slot) in recording.tensors.iter().zip(&self.plan.slot_of) {
            if let (Some((bytes, _)), Some(slot)) = (tensor.given(), slot) {
                writes.push((buffer(*slot), bytes));
            }
        }
        // It comes on top of the plan while it is there, so it is kept small beside it.
        let most = (self.plan.peak_bytes() / 16).max(LEAST_CHUNK) & !7;
        self.shared.write(most, &writes)
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
    /// `InvalidArgument` for a tensor of another recording, one that no command uses, or a scratch tensor whose memory
    /// others use before or after it: make that one a state.
    pub fn buffer<T: Elem>(&self, tensor: Tensor<T>) -> Result<&wgpu::Buffer> {
        let tensor = tensor.erase();
        let slot = self.slot(tensor)?;
        if self.plan.slot_of.iter().filter(|s| **s == Some(slot)).count() > 1 {
            let name = &self.recording.tensors[tensor.at()].name;
            return Err(Error::invalid("tensor", format!("\"{name}\" shares its memory; make it a state")));
        }
        Ok(&self.buffers[slot].1)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.shared.pool.release(std::mem::take(&mut self.buffers));
    }
}
