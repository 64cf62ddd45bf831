//! The byte plan of a recording: which tensor lives where and when.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use super::{Command, Content, Recording, TensorInfo};
use crate::kernel::{Access, AnyTensor};

/// What a piece of memory is for. Memory never moves between roles within a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Written by the host before every run.
    Input,
    /// Written once.
    Constant,
    /// Kept from run to run.
    State,
    /// Shared by tensors that are not in use at the same time.
    Scratch,
    /// Host-visible memory through which inputs pass.
    Upload,
    /// Host-visible memory through which results pass.
    Readback,
    /// The parameters of all dispatches.
    Params,
    /// What proves that submissions were carried out, and when.
    Status,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [
        Self::Input,
        Self::Constant,
        Self::State,
        Self::Scratch,
        Self::Upload,
        Self::Readback,
        Self::Params,
        Self::Status,
    ];

    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Constant => "constant",
            Self::State => "state",
            Self::Scratch => "scratch",
            Self::Upload => "upload",
            Self::Readback => "readback",
            Self::Params => "params",
            Self::Status => "status",
        }
    }
}

/// A piece of memory that one or several tensors occupy, one after another.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// What it is for.
    pub role: Role,
    /// Bytes: a [`size_class`], unless they are used in place.
    pub bytes: u64,
    /// The recording's own memory, used where it is: on the native path constants are, which only counts them.
    pub in_place: bool,
}

impl Slot {
    /// Memory to be allocated.
    pub(crate) fn new(role: Role, bytes: u64) -> Self {
        Self { role, bytes, in_place: false }
    }
}

/// Where a tensor passes through host-visible memory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Staged {
    pub tensor: AnyTensor,
    pub slot: usize,
    /// The first byte in the slot.
    pub at: u64,
    pub bytes: u64,
}

/// A tensor in a buffer that the host application brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostTensor {
    /// Its name.
    pub name: String,
    /// Bytes that the buffer must have from the tensor's offset on.
    pub bytes: u64,
    /// Some command writes it.
    pub written: bool,
    /// A copy or a download reads it, so the buffer needs `COPY_SRC`.
    pub copied_from: bool,
    /// A copy or a clear writes it, so the buffer needs `COPY_DST`.
    pub copied_to: bool,
}

/// Every byte a recording needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The memory, in the order of first use.
    pub slots: Vec<Slot>,
    /// Tensors in the host application's buffers, which are its own memory: no bytes of this plan.
    pub hosts: Vec<HostTensor>,
    /// Pairs of them that cannot be parts of one buffer, by index.
    pub(crate) apart: Vec<(usize, usize)>,
    /// The slot of each tensor, by tensor index; `None` for a tensor that no command uses. The host's tensors follow
    /// the slots.
    pub(crate) slot_of: Vec<Option<usize>>,
    /// Where inputs and results pass through host-visible memory; empty on the native path, and where they do so in
    /// pieces.
    pub(crate) uploads: Vec<Staged>,
    pub(crate) downloads: Vec<Staged>,
    /// The largest tensor's name and bytes.
    pub largest: (String, u64),
    /// Bytes of one run's inputs.
    pub input_bytes: u64,
    /// Bytes of one run's results.
    pub output_bytes: u64,
    /// Kernel dispatches.
    pub dispatches: usize,
}

impl Plan {
    /// All bytes, without those of the host application's buffers.
    pub fn peak_bytes(&self) -> u64 {
        self.slots.iter().map(|s| s.bytes).sum()
    }

    /// The bytes of one role.
    pub fn role_bytes(&self, role: Role) -> u64 {
        self.slots.iter().filter(|s| s.role == role).map(|s| s.bytes).sum()
    }

    /// The slots of [`Role::Upload`] or [`Role::Readback`] with the bytes of each that are in use.
    pub(crate) fn staging(&self, role: Role) -> Vec<(usize, u64)> {
        let staged = || self.uploads.iter().chain(&self.downloads);
        let slots = self.slots.iter().enumerate().filter(|(_, slot)| slot.role == role);
        let used = slots.enumerate().map(|(i, (slot, _))| {
            let head = if role == Role::Readback && i == 0 { STATUS_BYTES } else { 0 };
            let end = staged().filter(|s| s.slot == slot).map(|s| s.at + s.bytes).fold(head, u64::max);
            // Mappings are multiples of 8.
            (slot, end.next_multiple_of(8))
        });
        used.collect()
    }

    pub(crate) fn slot(&self, tensor: AnyTensor) -> Option<usize> {
        self.slot_of.get(tensor.at()).copied().flatten()
    }
}

/// The bytes that are taken for a request: eight classes an octave from 4 KiB on, so that at most an eighth is wasted
/// and buffers are still reused between recordings of similar size.
pub fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(4096);
    let step = (1u64 << (63 - bytes.leading_zeros())) / 8;
    bytes.div_ceil(step) * step
}

/// Bytes of a slice's parameters: the portable alignment of uniform offsets.
pub(crate) const PARAMS_STRIDE: u64 = 256;

/// The status slot is copied to the head of the first readback slot: the count of submissions, that of encodings, and
/// the timestamps.
pub(crate) const STATUS_BYTES: u64 = 768;

/// Where the count of encodings is in it: bindings begin at multiples of 256 everywhere.
pub(crate) const ENCODED_AT: u64 = 256;

/// Where the timestamps are in it; query results are written at multiples of 256.
pub(crate) const TIMESTAMPS_AT: u64 = 512;

/// Pieces in which the largest input or result of a recording passes, where it does so in pieces.
const PIECES: u64 = 16;

/// Packs tensors into slots of at most `max` bytes, the first of which begins with `head` bytes for something else.
fn pack(
    slots: &mut Vec<Slot>,
    role: Role,
    (head, max): (u64, u64),
    tensors: impl Iterator<Item = (AnyTensor, u64)>,
) -> Vec<Staged> {
    let mut out = Vec::new();
    let mut used = head;
    let close = |slots: &mut Vec<Slot>, used| {
        if used > 0 {
            slots.push(Slot::new(role, size_class(used)));
        }
    };
    for (tensor, bytes) in tensors {
        // Mappings begin at multiples of 8.
        if used > 0 && used.next_multiple_of(8) + bytes > max {
            close(slots, used);
            used = 0;
        }
        let at = used.next_multiple_of(8);
        out.push(Staged { tensor, slot: slots.len(), at, bytes });
        used = at + bytes;
    }
    close(slots, used);
    out
}

pub(super) fn plan(recording: &Recording) -> Plan {
    let tensors = &recording.tensors;
    // First and last command of each tensor.
    let mut span: Vec<Option<(usize, usize)>> = vec![None; tensors.len()];
    let (mut dispatches, mut slices) = (0, 0);
    let (mut input_bytes, mut output_bytes) = (0, 0);
    for (at, command) in recording.commands.iter().enumerate() {
        let mut touch = |t: AnyTensor| {
            let (first, _) = span[t.at()].unwrap_or((at, at));
            span[t.at()] = Some((first, at));
        };
        match command {
            Command::Upload(t) => {
                touch(*t);
                input_bytes += tensors[t.at()].bytes;
            }
            Command::Clear(t) => touch(*t),
            Command::Download(t) => {
                touch(*t);
                output_bytes += tensors[t.at()].bytes;
            }
            Command::Copy { from, to, .. } => {
                touch(*from);
                touch(*to);
            }
            Command::Dispatch(d) => {
                dispatches += 1;
                slices += recording.slices(d).count() as u64;
                d.args.iter().for_each(|t| touch(*t));
            }
        }
    }

    if recording.is_in_pieces() {
        // Results come back after all commands.
        for t in recording.downloads() {
            span[t.at()] = span[t.at()].map(|(first, _)| (first, recording.commands.len()));
        }
    }

    let mut slots: Vec<Slot> = Vec::new();
    let mut slot_of = vec![None; tensors.len()];
    let mut order: Vec<usize> = (0..tensors.len()).filter(|i| span[*i].is_some()).collect();
    order.sort_by_key(|i| span[*i]);
    // Scratch slots in use with the command after which they are free, and the free ones by size.
    let mut busy = BinaryHeap::<Reverse<(usize, usize)>>::new();
    let mut free = BTreeSet::<(u64, usize)>::new();
    for i in order {
        let Some((first, last)) = span[i] else { continue };
        let need = size_class(tensors[i].bytes);
        let role = match tensors[i].content {
            Content::Input => Role::Input,
            Content::Constant => Role::Constant,
            Content::State => Role::State,
            Content::Scratch => Role::Scratch,
            Content::Host => continue,
        };
        let mut reused = None;
        if role == Role::Scratch {
            while let Some(Reverse((until, slot))) = busy.peek().copied()
                && until < first
            {
                busy.pop();
                free.insert((slots[slot].bytes, slot));
            }
            // The smallest that holds it; else the largest, which then grows: one larger slot is less than two.
            reused = free.range((need, 0)..).next().or(free.last()).copied();
        }
        let slot = match reused {
            Some((bytes, slot)) => {
                free.remove(&(bytes, slot));
                slots[slot].bytes = bytes.max(need);
                slot
            }
            None => {
                let in_place = role == Role::Constant && recording.capabilities().native;
                slots.push(Slot { role, bytes: if in_place { tensors[i].bytes } else { need }, in_place });
                slots.len() - 1
            }
        };
        if role == Role::Scratch || role == Role::Input && recording.is_in_pieces() {
            busy.push(Reverse((last, slot)));
        }
        slot_of[i] = Some(slot);
    }
    let (mut uploads, mut downloads) = (Vec::new(), Vec::new());
    if !recording.capabilities().native {
        let max = recording.capabilities().max_tensor_bytes;
        let with_bytes = |t: AnyTensor| (t, tensors[t.at()].bytes);
        let (up, down) = (recording.uploads().map(with_bytes), recording.downloads().map(with_bytes));
        if recording.is_in_pieces() {
            let largest = up.chain(down).map(|(_, bytes)| bytes).max().unwrap_or(0);
            let piece = size_class(largest / PIECES);
            if recording.uploads().next().is_some() {
                slots.push(Slot::new(Role::Upload, piece));
            }
            let results = if recording.downloads().next().is_some() { piece } else { 0 };
            slots.push(Slot::new(Role::Readback, size_class(STATUS_BYTES + results)));
        } else {
            uploads = pack(&mut slots, Role::Upload, (0, max), up);
            downloads = pack(&mut slots, Role::Readback, (STATUS_BYTES, max), down);
        }
        // Two more for the kernel that counts submissions and encodings.
        slots.push(Slot::new(Role::Params, size_class((slices + 2) * PARAMS_STRIDE)));
        slots.push(Slot::new(Role::Status, size_class(STATUS_BYTES)));
    }
    let (hosts, apart) = hosts(recording, &span);
    let largest = tensors
        .iter()
        .zip(&slot_of)
        .filter(|(_, slot)| slot.is_some())
        .max_by_key(|(t, _)| t.bytes)
        .map(|(t, _)| (t.name.clone(), t.bytes))
        .unwrap_or_default();
    for (i, (tensor, _)) in hosts.iter().enumerate() {
        slot_of[*tensor] = Some(slots.len() + i);
    }
    let hosts = hosts.into_iter().map(|(_, host)| host).collect();
    Plan { slots, hosts, apart, slot_of, uploads, downloads, largest, input_bytes, output_bytes, dispatches }
}

/// Tensors of the host by index, and pairs of them by their place in that list.
type Hosts = (Vec<(usize, HostTensor)>, Vec<(usize, usize)>);

/// The host's tensors that commands use, by tensor index, and the pairs of them that cannot share a buffer: backends
/// look at whole buffers, and allow in one dispatch either reads or writes of one, and no copy within one.
fn hosts(recording: &Recording, span: &[Option<(usize, usize)>]) -> Hosts {
    let used = |(i, info): &(usize, &TensorInfo)| info.content == Content::Host && span[*i].is_some();
    let host = |(i, info): (usize, &TensorInfo)| {
        (i, HostTensor { name: info.name.clone(), bytes: info.bytes, ..HostTensor::default() })
    };
    let mut hosts: Vec<_> = recording.tensors.iter().enumerate().filter(used).map(host).collect();
    let at: HashMap<usize, usize> = hosts.iter().enumerate().map(|(at, (tensor, _))| (*tensor, at)).collect();
    let find = |t: &AnyTensor| at.get(&t.at()).copied();
    let mut apart = BTreeSet::new();
    for command in &recording.commands {
        match command {
            _ if hosts.is_empty() => break,
            Command::Upload(_) => {}
            Command::Download(t) => find(t).into_iter().for_each(|i| hosts[i].1.copied_from = true),
            Command::Clear(t) => find(t).into_iter().for_each(|i| {
                hosts[i].1.copied_to = true;
                hosts[i].1.written = true;
            }),
            Command::Copy { from, to, .. } => {
                let (from, to) = (find(from), find(to));
                from.into_iter().for_each(|i| hosts[i].1.copied_from = true);
                to.into_iter().for_each(|i| {
                    hosts[i].1.copied_to = true;
                    hosts[i].1.written = true;
                });
                apart.extend(from.zip(to));
            }
            Command::Dispatch(d) => {
                let args = || d.args.iter().zip(d.kernel.bindings).filter_map(|(t, b)| Some((find(t)?, b.access)));
                for (i, _) in args().filter(|(_, access)| *access == Access::ReadWrite) {
                    hosts[i].1.written = true;
                    apart.extend(args().filter(|(_, access)| *access == Access::Read).map(|(j, _)| (i, j)));
                }
            }
        }
    }
    (hosts, apart.into_iter().collect())
}
