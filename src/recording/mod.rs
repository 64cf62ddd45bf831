//! Commands over tensors as plain data.
//!
//! A [`Recording`] is made without a device and tested without one. Every byte it will need is known from its
//! [`plan`](Recording::plan) before anything runs. A device prepares it once and replays it many times.

mod plan;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use plan::{ENCODED_AT, PARAMS_STRIDE, STATUS_BYTES, Staged, TIMESTAMPS_AT};
pub use plan::{HostTensor, Plan, Role, Slot, size_class};

use crate::kernel::{Access, AnyTensor, Dispatch, Elem, Tensor};
use crate::memory::aligned_copy;
use crate::{Error, Result};

/// What the device that will run a recording can do. Ops choose kernel variants and tile sizes by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// The native executor, whose twins run a transform of any length in one command.
    pub native: bool,
    /// A driver that computes on the CPU, for which some ops have kernels of their own.
    pub software: bool,
    /// The largest tensor that can be bound, in bytes.
    pub max_tensor_bytes: u64,
    /// Kernel loops must stay below this many iterations an invocation (60,000 on Mesa 22's lavapipe).
    pub max_loop: u32,
    /// Bytes that may be allocated in all.
    pub budget_bytes: u64,
    /// Elementary operations of a slice of a dispatch: a few tens of milliseconds on a device of this kind, so that no
    /// watchdog kills it and cancellation is seen. Slices of one dispatch run one after another, so that they must fill
    /// the device.
    pub slice_work: u64,
}

impl Default for Capabilities {
    /// The portable floor.
    fn default() -> Self {
        Self {
            native: false,
            software: false,
            max_tensor_bytes: 128 << 20,
            max_loop: 60_000,
            budget_bytes: 1 << 30,
            slice_work: SLICE_WORK,
        }
    }
}

/// A slice of the slowest devices, software drivers on two cores.
pub(crate) const SLICE_WORK: u64 = 1 << 27;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Given at every run.
    Input,
    /// Given at recording, uploaded once.
    Constant,
    /// Given at recording, uploaded once, kept and changed from replay to replay.
    State,
    /// Undefined until a command writes it.
    Scratch,
    /// In a buffer that the host application brings.
    Host,
}

/// Whole words in memory that the caller, the recording and devices share.
#[derive(Clone)]
pub(crate) struct Given(Arc<dyn Words>);

trait Words: Send + Sync {
    fn bytes(&self) -> &[u8];
}

impl<T: bytemuck::Pod + Send + Sync> Words for Vec<T> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

impl Given {
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn copied(bytes: &[u8]) -> Result<Self> {
        Ok(Self(Arc::new(aligned_copy(bytes, "a recording")?)))
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes().len())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct TensorInfo {
    pub name: String,
    pub bytes: u64,
    pub content: Content,
    /// What a constant or state holds at first, aligned for every element. Devices do not keep it.
    given: Option<Given>,
    /// Whether some command has written it so far.
    written: bool,
    downloaded: bool,
}

impl TensorInfo {
    /// What a constant or state holds at first, and the memory that this is in.
    pub fn given(&self) -> Option<(&[u8], &Given)> {
        self.given.as_ref().map(|given| (&given.bytes()[..self.bytes as usize], given))
    }
}

/// One step of a recording.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Upload(AnyTensor),
    Dispatch(Dispatch),
    /// Byte ranges; both offsets and the length are multiples of 4.
    Copy {
        from: AnyTensor,
        from_byte: u64,
        to: AnyTensor,
        to_byte: u64,
        bytes: u64,
    },
    /// Sets every byte to zero.
    Clear(AnyTensor),
    Download(AnyTensor),
}

/// Commands over tensors, in the order in which they run.
///
/// It cannot be cloned: handles of a copy that went on by itself would be taken for those of the original, whatever
/// their lengths.
#[derive(Debug)]
pub struct Recording {
    id: u32,
    label: String,
    capabilities: Capabilities,
    /// See [`Recording::in_pieces`].
    pieces: bool,
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) commands: Vec<Command>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Recording {
    /// An empty recording for a device with these capabilities.
    pub fn new(label: impl Into<String>, capabilities: &Capabilities) -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            label: label.into(),
            capabilities: capabilities.clone(),
            pieces: false,
            tensors: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Takes less memory, in more time, for the same bits: a GPU's inputs and results pass through a small part of
    /// host-visible memory piece by piece, before the first command and after the last one, and what an input took is
    /// shared once the input is not needed any more. For jobs that wait for their runs, and recordings that write an
    /// input never before its upload, and a result never after its download.
    pub(crate) fn in_pieces(&mut self) {
        self.pieces = true;
    }

    pub(crate) fn is_in_pieces(&self) -> bool {
        self.pieces
    }

    /// What a device keeps of it to check what it is given: not what constants and states hold at first, and of the
    /// commands only the transfers.
    pub(crate) fn snapshot(&self) -> Self {
        let without = |info: &TensorInfo| TensorInfo { name: info.name.clone(), given: None, ..*info };
        let transfers = |c: &&Command| matches!(c, Command::Upload(_) | Command::Download(_));
        Self {
            id: self.id,
            label: self.label.clone(),
            capabilities: self.capabilities.clone(),
            pieces: self.pieces,
            tensors: self.tensors.iter().map(without).collect(),
            commands: self.commands.iter().filter(transfers).cloned().collect(),
        }
    }

    /// The name given at creation.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What the device can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn tensor<T: Elem>(
        &mut self,
        name: impl Into<String>,
        len: usize,
        content: Content,
        given: impl FnOnce() -> Result<Option<Given>>,
    ) -> Result<Tensor<T>> {
        let name = name.into();
        if len == 0 {
            return Err(Error::invalid(format!("tensor \"{name}\""), "it has no element"));
        }
        let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
        let max = self.capabilities.max_tensor_bytes;
        if bytes > max {
            return Err(Error::Unsupported {
                what: format!("tensor \"{name}\""),
                need: format!("a binding of {}", crate::bytes(bytes)),
                have: crate::bytes(max),
            });
        }
        let given = given()?;
        let tensor = Tensor::new(self.id, self.tensors.len(), len);
        let written = content != Content::Scratch;
        self.tensors.push(TensorInfo { name, bytes, content, given, written, downloaded: false });
        Ok(tensor)
    }

    /// A tensor whose content is given at every run; it is uploaded at this point of the recording.
    pub fn input<T: Elem>(&mut self, name: impl Into<String>, len: usize) -> Result<Tensor<T>> {
        let tensor = self.tensor(name, len, Content::Input, || Ok(None))?;
        self.commands.push(Command::Upload(tensor.erase()));
        Ok(tensor)
    }

    /// A tensor with this content, uploaded once, that no command may write.
    pub fn constant<T: Elem>(&mut self, name: impl Into<String>, content: &[T]) -> Result<Tensor<T>> {
        let bytes = bytemuck::cast_slice(content);
        self.tensor(name, content.len(), Content::Constant, || Given::copied(bytes).map(Some))
    }

    /// The same without a copy: the native path's kernels read this very memory, and a GPU's come to it once, at
    /// [`prepare`](crate::Device::prepare). Several recordings may share one `Arc`. It is freed when the caller, the
    /// recordings and, on the native path, what is prepared of them are gone.
    pub fn constant_owned<T: Elem>(
        &mut self,
        name: impl Into<String>,
        content: impl Into<Arc<Vec<T>>>,
    ) -> Result<Tensor<T>> {
        let content: Arc<Vec<T>> = content.into();
        self.tensor(name, content.len(), Content::Constant, || Ok(Some(Given(content))))
    }

    /// A tensor with this content before the first run, which later runs find as the run before left it.
    pub fn state<T: Elem>(&mut self, name: impl Into<String>, content: &[T]) -> Result<Tensor<T>> {
        let bytes = bytemuck::cast_slice(content);
        self.tensor(name, content.len(), Content::State, || Given::copied(bytes).map(Some))
    }

    /// A tensor whose content is undefined until a command writes it. Its memory is shared with tensors that are not
    /// in use at the same time.
    pub fn scratch<T: Elem>(&mut self, name: impl Into<String>, len: usize) -> Result<Tensor<T>> {
        self.tensor(name, len, Content::Scratch, || Ok(None))
    }

    /// A tensor in a `wgpu::Buffer` that the host application brings when the recording is
    /// [prepared](crate::device::Gpu::prepare_with): commands read and write it where it is. Only a GPU can run such a
    /// recording.
    pub fn host<T: Elem>(&mut self, name: impl Into<String>, len: usize) -> Result<Tensor<T>> {
        self.tensor(name, len, Content::Host, || Ok(None))
    }

    /// A tensor of this recording.
    pub(crate) fn info(&self, tensor: AnyTensor) -> Result<&TensorInfo> {
        if tensor.recording != self.id {
            return Err(Error::invalid("tensor", "it belongs to another recording"));
        }
        self.tensors.get(tensor.at()).ok_or_else(|| Error::Internal("tensor out of range".into()))
    }

    fn reads(&self, tensor: AnyTensor, who: &str) -> Result<()> {
        let info = self.info(tensor)?;
        if !info.written {
            return Err(Error::invalid(who, format!("reads \"{}\", which nothing has written", info.name)));
        }
        Ok(())
    }

    fn writes(&mut self, tensor: AnyTensor, who: &str) -> Result<()> {
        let info = self.info(tensor)?;
        if info.content == Content::Constant {
            return Err(Error::invalid(who, format!("writes \"{}\", which is constant", info.name)));
        }
        self.tensors[tensor.at()].written = true;
        Ok(())
    }

    /// Appends a kernel. Refused when it reads a tensor that nothing has written, writes a constant, or binds one
    /// tensor twice of which once for writing (no backend allows that in one dispatch).
    pub fn dispatch(&mut self, dispatch: Dispatch) -> Result<()> {
        let kernel = dispatch.kernel;
        if dispatch.workgroups == 0 {
            return Ok(());
        }
        for (i, (arg, binding)) in dispatch.args.iter().zip(kernel.bindings).enumerate() {
            let info = self.info(*arg)?;
            if !info.bytes.is_multiple_of(u64::from(binding.elem_bytes)) {
                return Err(Error::invalid(
                    format!("{}.{}", kernel.name, binding.name),
                    format!("\"{}\" has {} bytes, not a multiple of {}", info.name, info.bytes, binding.elem_bytes),
                ));
            }
            let twice = dispatch.args.iter().zip(kernel.bindings).enumerate().any(|(j, (a, b))| {
                j != i && a == arg && (b.access == Access::ReadWrite || binding.access == Access::ReadWrite)
            });
            if twice {
                return Err(Error::invalid(
                    format!("{}.{}", kernel.name, binding.name),
                    format!("\"{}\" is bound twice, once for writing", info.name),
                ));
            }
        }
        for (arg, binding) in dispatch.args.iter().zip(kernel.bindings) {
            match binding.access {
                Access::Read => self.reads(*arg, kernel.name)?,
                Access::ReadWrite => self.writes(*arg, kernel.name)?,
            }
        }
        self.commands.push(Command::Dispatch(dispatch));
        Ok(())
    }

    /// Copies `len` elements from element `from_at` of one tensor to element `to_at` of another.
    pub fn copy<T: Elem>(
        &mut self,
        from: Tensor<T>,
        from_at: usize,
        to: Tensor<T>,
        to_at: usize,
        len: usize,
    ) -> Result<()> {
        if from.erase() == to.erase() {
            return Err(Error::invalid("copy", "source and destination are one tensor"));
        }
        let fits = |at: usize, t: Tensor<T>| at.checked_add(len).is_some_and(|end| end <= t.len());
        if !fits(from_at, from) || !fits(to_at, to) {
            let why = format!("{len} elements from {from_at} of {} to {to_at} of {}", from.len(), to.len());
            return Err(Error::invalid("copy", why));
        }
        if len == 0 {
            return Ok(());
        }
        self.reads(from.erase(), "copy")?;
        self.writes(to.erase(), "copy")?;
        let size = size_of::<T>() as u64;
        self.commands.push(Command::Copy {
            from: from.erase(),
            from_byte: from_at as u64 * size,
            to: to.erase(),
            to_byte: to_at as u64 * size,
            bytes: len as u64 * size,
        });
        Ok(())
    }

    /// Sets every byte of a tensor to zero.
    pub fn clear<T: Elem>(&mut self, tensor: Tensor<T>) -> Result<()> {
        self.writes(tensor.erase(), "clear")?;
        self.commands.push(Command::Clear(tensor.erase()));
        Ok(())
    }

    /// Hands the content that the tensor has at this point back to the host after the run.
    pub fn download<T: Elem>(&mut self, tensor: Tensor<T>) -> Result<()> {
        self.reads(tensor.erase(), "download")?;
        if std::mem::replace(&mut self.tensors[tensor.erase().at()].downloaded, true) {
            return Err(Error::invalid("download", "the tensor is downloaded already"));
        }
        self.commands.push(Command::Download(tensor.erase()));
        Ok(())
    }

    /// The kernel dispatches in it.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.commands.iter().filter_map(|c| match c {
            Command::Dispatch(d) => Some(d),
            _ => None,
        })
    }

    /// The tensors that it uploads, in order.
    pub(crate) fn uploads(&self) -> impl Iterator<Item = AnyTensor> {
        self.commands.iter().filter_map(|c| if let Command::Upload(t) = c { Some(*t) } else { None })
    }

    /// The tensors that it downloads, in order.
    pub(crate) fn downloads(&self) -> impl Iterator<Item = AnyTensor> {
        self.commands.iter().filter_map(|c| if let Command::Download(t) = c { Some(*t) } else { None })
    }

    /// The elementary operations of a dispatch: as stated, else a load for every word that it binds.
    pub(crate) fn work(&self, dispatch: &Dispatch) -> u64 {
        let words = || dispatch.args.iter().map(|a| self.tensors[a.at()].bytes / 4).sum();
        dispatch.work.unwrap_or_else(words).max(1)
    }

    /// The elementary operations of all dispatches.
    pub(crate) fn total_work(&self) -> u64 {
        self.dispatches().map(|d| self.work(d)).sum()
    }

    /// The slices that a dispatch is cut into: first workgroup, workgroups, share of the work.
    pub(crate) fn slices(&self, dispatch: &Dispatch) -> impl Iterator<Item = (u64, u64, u64)> + use<> {
        let (groups, work) = (dispatch.workgroups, self.work(dispatch));
        let each = groups.div_ceil(work.div_ceil(self.capabilities.slice_work.max(1)).clamp(1, groups));
        (0..groups.div_ceil(each)).map(move |i| {
            let count = each.min(groups - i * each);
            (i * each, count, (work as u128 * count as u128 / groups as u128) as u64)
        })
    }

    /// What it needs, before anything runs.
    pub fn plan(&self) -> Plan {
        plan::plan(self)
    }
}

#[cfg(test)]
mod tests;
