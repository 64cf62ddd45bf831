//! What goes into a run and what comes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::kernel::{AnyTensor, Elem, Feed, Kernel, Tensor};
use crate::memory::{Line, aligned_copy};
use crate::recording::{Command, Content, Recording, TensorInfo};
use crate::{Error, Result};

/// Cancels runs from another thread. On a GPU they stop between slices of about 20 ms, on the native path between
/// commands.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every run that holds the token to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a run may be watched and stopped.
#[derive(Clone, Default)]
pub struct Control<'a> {
    /// Stops it.
    pub cancel: CancelToken,
    /// Stops it after this long.
    pub timeout: Option<Duration>,
    /// Called between slices (native path: commands) with the elementary operations done and in all.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}

impl Control<'_> {
    /// `Cancelled` or `Timeout` when it is time to stop.
    pub(crate) fn check(&self, started: Instant) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        // A look at the clock takes longer than the rest of a command on the native path.
        let Some(timeout) = self.timeout else { return Ok(()) };
        let elapsed = started.elapsed();
        if elapsed > timeout { Err(Error::Timeout { elapsed }) } else { Ok(()) }
    }

    /// The same token, what is left of the time since `started`, and another progress: for a part of the work.
    pub(crate) fn rest<'b>(&self, started: Instant, progress: &'b (dyn Fn(u64, u64) + Sync)) -> Control<'b> {
        let timeout = self.timeout.map(|t| t.saturating_sub(started.elapsed()));
        Control { cancel: self.cancel.clone(), timeout, progress: Some(progress) }
    }

    pub(crate) fn report(&self, done: u64, total: u64) {
        if let Some(progress) = self.progress {
            progress(done, total);
        }
    }
}

/// How long a run took, and by which clock.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Timing {
    /// From the call to the results, on the host's clock.
    pub wall: Duration,
    /// On the device alone, by its own timestamps; `None` where the backend has none.
    pub device: Option<Duration>,
}

impl Timing {
    /// The device's time where it is known, else the wall's, and which of the two it is.
    pub fn best(&self) -> (Duration, &'static str) {
        match self.device {
            Some(device) => (device, TIMESTAMPS),
            None => (self.wall, WALL_CLOCK),
        }
    }
}

/// [`KernelTime::clock`] of the device's own timestamps.
pub(crate) const TIMESTAMPS: &str = "timestamps";
/// [`KernelTime::clock`] of the host's clock.
pub(crate) const WALL_CLOCK: &str = "wall clock";

/// The time that a kernel took in a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct KernelTime {
    /// [`Kernel::label`].
    pub kernel: &'static str,
    /// Its dispatches; on a GPU the slices of a long one are counted once each.
    pub dispatches: u64,
    /// Of all of them.
    pub time: Duration,
    /// `timestamps`: the device's own; `wall clock`: on a GPU, with what a submission costs.
    pub clock: &'static str,
}

/// What kernels took so far, in the order of first use.
#[derive(Debug, Default)]
pub(crate) struct Profile(pub Vec<KernelTime>);

impl Profile {
    pub(crate) fn add(&mut self, kernel: &Kernel, dispatches: u64, time: Duration, clock: &'static str) {
        match self.0.iter_mut().find(|k| k.kernel == kernel.label()) {
            Some(known) => {
                known.dispatches += dispatches;
                known.time += time;
            }
            None => self.0.push(KernelTime { kernel: kernel.label(), dispatches, time, clock }),
        }
    }
}

/// The downloaded tensors of one run.
#[derive(Debug, Default)]
pub struct Outputs {
    pub(crate) tensors: Vec<(AnyTensor, u64, Vec<Line>)>,
    pub(crate) timing: Timing,
}

impl Outputs {
    pub(crate) fn push(&mut self, tensor: AnyTensor, bytes: &[u8]) -> Result<()> {
        self.tensors.push((tensor, bytes.len() as u64, aligned_copy(bytes, "a result")?));
        Ok(())
    }

    /// A downloaded tensor.
    ///
    /// # Errors
    /// `InvalidArgument` if the recording does not download it.
    pub fn get<T: Elem>(&self, tensor: Tensor<T>) -> Result<&[T]> {
        self.bytes(tensor.erase()).map(bytemuck::cast_slice)
    }

    /// The bytes of a downloaded tensor.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn bytes(&self, tensor: AnyTensor) -> Result<&[u8]> {
        let found = self.tensors.iter().find(|(t, _, _)| *t == tensor);
        found
            .map(|(_, bytes, memory)| &bytemuck::cast_slice::<_, u8>(memory)[..*bytes as usize])
            .ok_or_else(|| Error::invalid("output", "the recording does not download this tensor"))
    }

    /// How long the run took.
    pub fn timing(&self) -> Timing {
        self.timing
    }
}

/// Checks that a feed is an input of the recording, with its size.
pub(crate) fn check_feed(recording: &Recording, feed: &Feed<'_>) -> Result<()> {
    let info = recording.info(feed.tensor)?;
    if info.content != Content::Input {
        return Err(Error::invalid("input", format!("\"{}\" is not an input", info.name)));
    }
    if info.bytes != feed.bytes.len() as u64 {
        let why = format!("{} bytes given for \"{}\", which has {}", feed.bytes.len(), info.name, info.bytes);
        return Err(Error::invalid("input", why));
    }
    Ok(())
}

/// Checks that every input is given once, with its size.
pub(crate) fn check_feeds(recording: &Recording, feeds: &[Feed<'_>]) -> Result<()> {
    feeds.iter().try_for_each(|feed| check_feed(recording, feed))?;
    for command in &recording.commands {
        let Command::Upload(t) = command else { continue };
        let given = feeds.iter().filter(|f| f.tensor == *t).count();
        if given != 1 {
            let name = &recording.tensors[t.at()].name;
            return Err(Error::invalid("input", format!("\"{name}\" is given {given} times, must be once")));
        }
    }
    Ok(())
}

/// A state of the recording, or where `constant` allows it a constant.
pub(crate) fn kept(recording: &Recording, tensor: AnyTensor, constant: bool) -> Result<&TensorInfo> {
    let info = recording.info(tensor)?;
    match info.content {
        Content::State => Ok(info),
        Content::Constant if constant => Ok(info),
        _ => Err(Error::invalid("tensor", format!("\"{}\" is not a state", info.name))),
    }
}

/// Why there is no content of a tensor.
pub(crate) fn unused(recording: &Recording, tensor: AnyTensor) -> Error {
    let name = recording.tensors.get(tensor.at()).map_or("", |info| &info.name);
    Error::invalid("tensor", format!("no command of the recording uses \"{name}\""))
}

/// Checks what is to replace the content of a state.
pub(crate) fn check_write(recording: &Recording, tensor: AnyTensor, bytes: &[u8]) -> Result<()> {
    let info = kept(recording, tensor, false)?;
    if info.bytes != bytes.len() as u64 {
        let why = format!("{} bytes given for \"{}\", which has {}", bytes.len(), info.name, info.bytes);
        return Err(Error::invalid("state", why));
    }
    Ok(())
}
