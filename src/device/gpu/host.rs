//! What a host application lends: its device, its buffers as tensors, and its encoders.
//!
//! Manners: none of the device's callbacks is replaced, and nothing is submitted and nothing waited for but by calls
//! that say so ([`Gpu::self_test`], runs, reads, writes, [`Prepared::check`], a warmup). Opening a device, preparing a
//! recording and encoding it submit nothing. Of the process, the panic hook is wrapped once: a panic inside wgpu on a
//! thread of ours, which comes back as an error, is not printed.

use std::sync::Arc;

use super::prepared::{Arg, Binding, First, Prepared, bind};
use super::run::feed;
use super::{Gpu, Watch};
use crate::device::io::{check_feed, unused};
use crate::device::{Control, DeviceOptions, Feed};
use crate::kernel::{AnyTensor, Elem, Tensor, canary};
use crate::recording::{Content, Plan, Recording, Role, STATUS_BYTES, Staged};
use crate::{Error, Result};

/// A device that the host application owns, as it is lent.
#[derive(Debug, Clone)]
pub struct GpuParts {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// Its adapter. With it, the default budget is no more than 60 % of what is free.
    pub adapter: Option<wgpu::Adapter>,
    /// Whether the device may be polled when nobody has called: from a thread of ours while a future is pending, and
    /// for freed memory when an allocation fails. The device's callbacks may run then, and a device without progress for
    /// 5 s is given an empty submission, to learn whether it is there. Without it the host polls.
    pub poll: bool,
}

impl GpuParts {
    /// A device and its queue, with no adapter and no leave to poll.
    pub fn new(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self { device, queue, adapter: None, poll: false }
    }
}

/// A buffer of the host application that holds a tensor, from a byte of it on.
#[derive(Debug, Clone, Copy)]
pub struct HostBuffer<'a> {
    tensor: AnyTensor,
    buffer: &'a wgpu::Buffer,
    offset: u64,
}

impl<T: Elem> Tensor<T> {
    /// This tensor, declared by [`Recording::host`], in a buffer from its first byte on.
    pub fn on(self, buffer: &wgpu::Buffer) -> HostBuffer<'_> {
        self.at(buffer, 0)
    }

    /// The same from byte `offset` on, a multiple of the device's `min_storage_buffer_offset_alignment`.
    pub fn at(self, buffer: &wgpu::Buffer, offset: u64) -> HostBuffer<'_> {
        HostBuffer { tensor: self.erase(), buffer, offset }
    }
}

/// Where a tensor of the host is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hosted {
    buffer: wgpu::Buffer,
    offset: u64,
}

impl Hosted {
    pub(super) fn at(&self) -> (&wgpu::Buffer, u64) {
        (&self.buffer, self.offset)
    }
}

fn refused(name: &str, why: impl Into<String>) -> Error {
    Error::invalid(format!("buffer of \"{name}\""), why)
}

fn names(usages: wgpu::BufferUsages) -> String {
    usages.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" | ")
}

/// The host's buffers in the plan's order: `known`, replaced by those that are given.
fn hosted(
    recording: &Recording,
    plan: &Plan,
    known: &[Hosted],
    given: &[HostBuffer<'_>],
    alignment: u64,
) -> Result<Vec<Hosted>> {
    let mut found: Vec<Option<Hosted>> = vec![None; plan.hosts.len()];
    for HostBuffer { tensor, buffer, offset } in given {
        let info = recording.info(*tensor)?;
        if info.content != Content::Host {
            return Err(refused(&info.name, "the tensor is not one of Recording::host, it has memory of its own"));
        }
        let place = plan.slot(*tensor).ok_or_else(|| unused(recording, *tensor))? - plan.slots.len();
        let host = &plan.hosts[place];
        let refused = |why: String| Err(refused(&host.name, why));
        if found[place].is_some() {
            return refused("it is given twice".into());
        }
        let mut usage = wgpu::BufferUsages::STORAGE;
        usage.set(wgpu::BufferUsages::COPY_SRC, host.copied_from);
        usage.set(wgpu::BufferUsages::COPY_DST, host.copied_to);
        if !buffer.usage().contains(usage) {
            return refused(format!("it needs the usages {}, and has {}", names(usage), names(buffer.usage())));
        }
        if !offset.is_multiple_of(alignment) {
            return refused(format!("the offset is {offset}, and must be a multiple of {alignment} on this device"));
        }
        if offset.checked_add(host.bytes).is_none_or(|end| end > buffer.size()) {
            let (need, have) = (host.bytes, buffer.size());
            return refused(format!("the tensor has {need} bytes from byte {offset} on, and the buffer has {have}"));
        }
        found[place] = Some(Hosted { buffer: (*buffer).clone(), offset: *offset });
    }
    let all = found.into_iter().enumerate().map(|(i, host)| {
        let missing = || refused(&plan.hosts[i].name, "none is given; prepare_with takes one for each such tensor");
        host.or_else(|| known.get(i).cloned()).ok_or_else(missing)
    });
    let all = all.collect::<Result<Vec<_>>>()?;
    let same = |i: usize, j: usize| all[i].buffer == all[j].buffer;
    if let Some((i, j)) = plan.apart.iter().find(|(i, j)| same(*i, *j)) {
        let other = &plan.hosts[*j].name;
        let why = format!("it holds \"{other}\" too, and one command reads one of them and writes the other");
        return Err(refused(&plan.hosts[*i].name, why));
    }
    for (i, a) in plan.hosts.iter().enumerate() {
        for (j, b) in plan.hosts.iter().enumerate().skip(i + 1) {
            let overlap = all[i].offset < all[j].offset + b.bytes && all[j].offset < all[i].offset + a.bytes;
            if same(i, j) && overlap && (a.written || b.written) {
                let why = format!("it overlaps with \"{}\", and one of them is written", b.name);
                return Err(refused(&a.name, why));
            }
        }
    }
    Ok(all)
}

impl Gpu {
    /// An executor on a device that the host application owns and lends.
    ///
    /// It replaces none of the device's callbacks, submits and polls nothing, and counts its memory against a budget of
    /// its own: 1 GiB, or 60 % of what is free where the adapter says less, unless the options say otherwise. Until the
    /// host calls [`self_test`](Self::self_test), kernels keep to loops of 60,000 iterations, which every driver
    /// carries out. The host tells of a loss by [`notify_device_lost`](Self::notify_device_lost). `choice` of the
    /// options means nothing here.
    ///
    /// # Errors
    /// `Unsupported` with every feature and limit that the device lacks and what it has instead.
    pub fn from_wgpu(parts: GpuParts, options: &DeviceOptions) -> Result<Self> {
        let gpu = Self::new(parts, None, Arc::default(), options)?;
        if options.specialise == Some(true) {
            gpu.allow_specialised();
        }
        Ok(gpu)
    }

    /// Whether the host application owns the device.
    pub fn is_lent(&self) -> bool {
        self.shared.lent()
    }

    /// Tells that the host's device is lost: every call from now on, and every run under way, ends with `DeviceLost`.
    pub fn notify_device_lost(&self, reason: &str) {
        self.shared.health.lose(reason);
    }

    /// The executor on another device that the host lends, after a loss say: with the same options, and with the
    /// kernels that this one had asked for requested again. This one, and what was prepared on it, gives `DeviceLost`
    /// from now on; recordings can be prepared again as they are where [`capabilities`](Self::capabilities) are equal.
    ///
    /// # Errors
    /// As [`from_wgpu`](Self::from_wgpu); `InvalidArgument` for a device that no host lent.
    pub fn rebind(&self, parts: GpuParts) -> Result<Self> {
        if !self.is_lent() {
            return Err(Error::invalid("device", "it is the executor's own, which no other can replace"));
        }
        let mut gpu = Self::from_wgpu(parts, &self.shared.options)?;
        gpu.generation = self.generation + 1;
        self.notify_device_lost("the host application has bound another device");
        gpu.request(&self.shared.pipelines.asked())?;
        Ok(gpu)
    }

    /// As [`prepare`](Self::prepare), with a buffer of the host application for every tensor of [`Recording::host`]:
    /// `x.on(&buffer)`, or `x.at(&buffer, offset)`. Commands use it where it is. It does not count against the budget,
    /// and [`Plan::hosts`] lists what it must be able to hold and do.
    ///
    /// A buffer needs the usage `STORAGE`, `COPY_SRC` if a copy or download reads it, and `COPY_DST` if a copy or clear
    /// writes it. One buffer may hold several tensors unless a command reads one of them and writes another. It must be
    /// of this device; wgpu may not notice one that comes from another `wgpu::Instance`.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare); `InvalidArgument` for a buffer that is missing, given twice, too small, at an
    /// offset that the device cannot bind, without a usage that it needs, mapped, destroyed or of another device.
    pub fn prepare_with(&self, recording: &Recording, buffers: &[HostBuffer<'_>]) -> Result<Prepared> {
        let plan = recording.plan();
        let hosts = hosted(recording, &plan, &[], buffers, self.shared.alignment())?;
        Prepared::new(&self.shared, recording, plan, hosts)
    }
}

impl super::Shared {
    /// Of bindings.
    fn alignment(&self) -> u64 {
        u64::from(self.device.limits().min_storage_buffer_offset_alignment)
    }
}

impl Recording {
    /// Prepares the recording with the host application's buffers and encodes it. Keep what it returns until the host
    /// has submitted, and [encode](Prepared::encode) that again for the next frame: nothing is prepared twice then.
    ///
    /// # Errors
    /// As [`Gpu::prepare_with`] and [`Prepared::encode`].
    pub fn encode(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        buffers: &[HostBuffer<'_>],
        feeds: &[Feed<'_>],
    ) -> Result<Prepared> {
        let mut prepared = gpu.prepare_with(self, buffers)?;
        prepared.encode(encoder, feeds)?;
        Ok(prepared)
    }
}

impl Prepared {
    /// Has wgpu look at those of the host's buffers: a command in the host's encoder could only spoil that.
    pub(super) fn probe(&self, which: impl Fn(usize) -> bool) -> Result<()> {
        let layout = || self.shared.pipelines.wait(&canary::KERNEL).map(|compiled| compiled.bindings);
        for (i, host) in self.plan.hosts.iter().enumerate().filter(|(i, _)| which(*i)) {
            let arg = Arg { place: self.buffers.len() + i, offset: 0, bytes: host.bytes };
            let binding = Binding { index: 0, layout: layout()?, args: vec![arg], params_at: 0 };
            bind(&self.shared, self.places(), &binding).map_err(|e| match e {
                Error::Internal(words) => refused(&host.name, format!("of another device, or destroyed ({words})")),
                other => other,
            })?;
            // An empty write does nothing but check.
            let (queue, buffer) = (&self.shared.queue, &self.hosts[i].buffer);
            match self.shared.create(("a look at a buffer", 0), || queue.write_buffer(buffer, 0, &[])) {
                Err(Error::Internal(words)) if words.contains("expected to be unmapped") => {
                    return Err(refused(&host.name, "it is mapped; unmap it first"));
                }
                // What else there may be, such as no COPY_DST, does not matter to kernels.
                _ => self.shared.health.check()?,
            }
        }
        Ok(())
    }

    /// Puts other buffers of the host application in the place of some or all, for the encodings and runs from now on:
    /// for a host that has two of each and swaps them frame by frame. Only bind groups with the new buffers are
    /// made anew; what is encoded keeps its buffers.
    ///
    /// # Errors
    /// As [`Gpu::prepare_with`]; the buffers are then as they were.
    pub fn rebind_host(&mut self, buffers: &[HostBuffer<'_>]) -> Result<()> {
        let hosts = hosted(&self.recording, &self.plan, &self.hosts, buffers, self.shared.alignment())?;
        let before = std::mem::replace(&mut self.hosts, hosts);
        let (slots, changed) = (self.buffers.len(), |i: usize| self.hosts[i] != before[i]);
        let made = self.probe(changed).and_then(|()| {
            let concerned = |arg: &Arg| arg.place >= slots && changed(arg.place - slots);
            let bindings = self.bindings.iter().filter(|binding| binding.args.iter().any(concerned));
            let bound = |binding: &Binding| Ok((binding.index, bind(&self.shared, self.places(), binding)?));
            bindings.map(bound).collect::<Result<Vec<_>>>()
        });
        match made {
            Ok(made) => made.into_iter().for_each(|(index, bind_group)| self.bind_groups[index] = bind_group),
            Err(error) => {
                self.hosts = before;
                return Err(error);
            }
        }
        Ok(())
    }

    /// An error of a submission, which is the host's if it took one of its buffers away.
    pub(super) fn blame(&self, error: Error) -> Error {
        match error {
            Error::Internal(words) if !self.hosts.is_empty() => {
                let why = format!("one was mapped or destroyed after the recording was prepared ({words})");
                Error::invalid("buffers of the host application", why)
            }
            other => other,
        }
    }

    /// Encodes every command into an encoder of the host application, which submits and waits as it likes, in the order
    /// in which it encoded.
    ///
    /// Inputs that are not fed keep what the host put into their [`buffer`](Self::buffer). Downloads are left out: the
    /// host reads the tensors' buffers, or brings its own ([`Recording::host`]). A long recording is one submission
    /// here, so mind the watchdog. Feeds go through a buffer made for this call; without feeds nothing is created. Keep
    /// `self` until the host has submitted.
    ///
    /// On a lent device the first encoding carries the first contents of constants and states. If its encoder is never
    /// submitted they are lost: prepare the recording again then. Reads, writes and runs of our own after it need
    /// [`submitted`](Self::submitted).
    ///
    /// # Errors
    /// `InvalidArgument` for a foreign or wrongly sized input, `OutOfMemory`, `DeviceLost`.
    pub fn encode(&mut self, encoder: &mut wgpu::CommandEncoder, feeds: &[Feed<'_>]) -> Result<()> {
        feeds.iter().try_for_each(|f| check_feed(&self.recording, f))?;
        if self.recording.is_in_pieces() {
            return Err(Error::Internal("transfers in pieces are submissions of their own".into()));
        }
        self.shared.health.check()?;
        self.swap();
        let given = |input: &Staged| feed(feeds, input.tensor).map(|bytes| self.shared.filled(bytes)).transpose();
        let inputs = self.plan.uploads.iter().map(given).collect::<Result<Vec<_>>>()?;
        self.encode_first(encoder);
        self.encode_poison(encoder);
        let dispatches = self.encode_steps(encoder, 0..self.steps.len(), Some(&inputs));
        self.encode_pass(encoder, std::slice::from_ref(&self.witness), None);
        self.carried(First::Encoded);
        self.encoded = self.encoded.wrapping_add(1);
        self.shared.count(|c| &c.dispatches, dispatches);
        Ok(())
    }

    /// The host application says that it has submitted all that was encoded so far. The next [`check`](Self::check),
    /// run, read or write then proves that the device has carried it out.
    pub fn submitted(&mut self) {
        self.announced = self.encoded;
        if matches!(self.first, First::Encoded) {
            self.first = First::Written;
        }
    }

    /// Proves that the device has carried out every encoding that is [`submitted`](Self::submitted). It submits and
    /// waits: for now and then, not for every frame.
    ///
    /// # Errors
    /// `Corrupted` if some were dropped, by the driver or because they were never submitted; `InvalidArgument` before
    /// the first `submitted`; what a read gives.
    pub fn check(&mut self) -> Result<()> {
        let control = Control::default();
        let watch = Watch { control: &control, started: std::time::Instant::now() };
        let readback = self.staging(Role::Readback, STATUS_BYTES)?;
        let encoder = self.encoder()?;
        self.submit_proved(encoder, &readback, (STATUS_BYTES, STATUS_BYTES), &watch, |_| ())
    }

    /// Holds the device's count of encodings against ours: between what is announced and what is encoded.
    pub(super) fn prove_encoded(&mut self, counted: u32) -> Result<()> {
        let (announced, ahead) = (self.announced, self.encoded.wrapping_sub(self.announced));
        if counted.wrapping_sub(announced) <= ahead {
            return Ok(());
        }
        // The next check counts on from here.
        (self.announced, self.encoded) = (counted, counted.wrapping_add(ahead));
        Err(Error::Corrupted { detail: format!("{counted} of {announced} encodings took effect") })
    }
}
