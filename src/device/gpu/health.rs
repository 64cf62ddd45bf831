//! Whether a `wgpu::Device` is still there, and calls into it that cannot unwind into the caller.
//!
//! wgpu 30 swallows every error once a device is lost, and `Device::poll` panics at the moment it finds out. So loss is
//! a flag of our own, set by the callback, by a panic in a poll, or by a submission that never reached the queue.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::task::AtomicWaker;

use crate::{Error, Result};

/// As long as a thread takes to wake up.
pub(super) const HAND_OVER: Duration = Duration::from_micros(100);

/// The loss flag of one device.
#[derive(Debug, Default)]
pub(super) struct Health {
    lost: OnceLock<String>,
    /// Who is to be woken by a loss: on a lost device wgpu never calls the callbacks that they wait for.
    sleepers: Mutex<Vec<Weak<AtomicWaker>>>,
    /// Held by the thread of ours that polls.
    polling: Mutex<()>,
    /// Threads that wait for that.
    queueing: AtomicUsize,
}

/// What a wait found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// The submission is done and its callbacks have run.
    Done,
    /// Still working.
    Pending,
}

impl Health {
    /// `DeviceLost` once the device is gone; whoever finds that out wakes all others.
    pub(super) fn check(&self) -> Result<()> {
        let Some(reason) = self.lost.get() else { return Ok(()) };
        self.wake();
        Err(Error::DeviceLost { reason: reason.clone() })
    }

    /// Marks the device as gone, and wakes who waits; the first reason stays.
    pub(super) fn lose(&self, reason: impl Into<String>) -> Error {
        let reason = self.mark(reason).to_owned();
        self.wake();
        Error::DeviceLost { reason }
    }

    /// Marks the device as gone and does nothing else, for wgpu's callback, which runs with wgpu's locks held.
    pub(super) fn mark(&self, reason: impl Into<String>) -> &str {
        self.lost.get_or_init(|| reason.into())
    }

    /// A loss wakes this from now on; look for one that was before with [`check`](Self::check).
    pub(super) fn watch(&self, sleeper: &Arc<AtomicWaker>) {
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        sleepers.retain(|s| s.strong_count() > 0);
        sleepers.push(Arc::downgrade(sleeper));
    }

    fn wake(&self) {
        let sleepers = std::mem::take(&mut *self.sleepers.lock().unwrap_or_else(PoisonError::into_inner));
        sleepers.iter().filter_map(Weak::upgrade).for_each(|sleeper| sleeper.wake());
    }

    /// Waits for a submission, or for everything submitted so far, at most `timeout`.
    pub(super) fn wait(
        &self,
        device: &wgpu::Device,
        submission: Option<&wgpu::SubmissionIndex>,
        timeout: Duration,
    ) -> Result<Waited> {
        self.poll(device, wgpu::PollType::Wait { submission_index: submission.cloned(), timeout: Some(timeout) })
    }

    /// Runs callbacks that are due, without waiting.
    pub(super) fn tick(&self, device: &wgpu::Device) -> Result<()> {
        self.poll(device, wgpu::PollType::Poll).map(drop)
    }

    fn poll(&self, device: &wgpu::Device, kind: wgpu::PollType) -> Result<Waited> {
        self.check()?;
        let polled = self.alone(|| silently(|| device.poll(kind)));
        self.check()?;
        match polled {
            Ok(Ok(_)) => Ok(Waited::Done),
            Ok(Err(wgpu::PollError::Timeout)) => Ok(Waited::Pending),
            Ok(Err(wgpu::PollError::WrongSubmissionIndex(..))) => Err(self.lose("a submission was rejected")),
            // A thread of the host that waits too can trip that assertion, which says nothing about the device, and a
            // callback of the host can panic; a device that is lost panics here again.
            Err(_) => {
                let again = self.alone(|| silently(|| device.poll(wgpu::PollType::Poll)));
                match again {
                    Err(message) if !FOREIGN.get() => Err(self.lose(message)),
                    _ => {
                        self.rouse();
                        Ok(Waited::Pending)
                    }
                }
            }
        }
    }

    /// Polls while no other thread of ours does. Two that wait together can trip an assertion of wgpu 30, which drops the
    /// callbacks that were due: buffers then stay mapped behind the back of who waits for them. A callback that polls
    /// again, on the same thread, is let through.
    fn alone<T>(&self, poll: impl FnOnce() -> T) -> T {
        if POLLING.replace(true) {
            return poll();
        }
        self.queueing.fetch_add(1, Ordering::Relaxed);
        let turn = self.polling.lock().unwrap_or_else(PoisonError::into_inner);
        self.queueing.fetch_sub(1, Ordering::Relaxed);
        let result = poll();
        drop(turn);
        POLLING.set(false);
        // Who polls in a loop would take the lock again before the next thread wakes up.
        if self.queueing.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(HAND_OVER);
        }
        result
    }

    /// Wakes who waits to look again: callbacks that were due have been dropped by a panic.
    fn rouse(&self) {
        let sleepers: Vec<_> = {
            let sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
            sleepers.iter().filter_map(Weak::upgrade).collect()
        };
        sleepers.iter().for_each(|sleeper| sleeper.wake());
    }

    /// Makes a resource under error scopes. Scopes belong to the thread, so creation and check stay together.
    pub(super) fn create<T>(
        &self,
        device: &wgpu::Device,
        (what, bytes): (&str, u64),
        make: impl FnOnce() -> T,
    ) -> Result<T> {
        self.check()?;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = silently(make);
        let errors = [validation, internal, memory].map(|scope| now(scope.pop()));
        // A lost device reports nothing through scopes.
        self.check()?;
        match errors.into_iter().flatten().next() {
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::OutOfMemory { bytes, what: what.into() }),
            Some(error) => Err(Error::Internal(format!("{what}: {error}"))),
            None => made.map_err(|message| Error::Internal(format!("{what}: {message}"))),
        }
    }
}

/// The result of a future that is ready at once, as wgpu's are outside of browsers.
pub(super) fn now<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => None,
    }
}

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
    /// This thread polls.
    static POLLING: Cell<bool> = const { Cell::new(false) };
    /// The last panic under [`silently`] was not wgpu's.
    static FOREIGN: Cell<bool> = const { Cell::new(false) };
}

/// Whether a source file is one of wgpu's: in a folder `wgpu-core-30.0.1`, or `wgpu-core` where it is vendored.
fn is_wgpus(file: &str) -> bool {
    file.split(['/', '\\']).any(|folder| {
        ["wgpu-core", "wgpu-hal", "wgpu-types", "wgpu", "naga"].into_iter().any(|name| {
            let version = folder.strip_prefix(name).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
            version.is_some_and(|v| v.is_empty() || v.starts_with(|c: char| c.is_ascii_digit()))
        })
    })
}

/// Calls into wgpu; a panic there becomes its message, and is not printed, for it is reported as an error. wgpu also
/// runs callbacks of the host application: what panics in them is printed as everywhere.
pub(super) fn silently<T>(call: impl FnOnce() -> T) -> std::result::Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let foreign = info.location().is_none_or(|at| !is_wgpus(at.file()));
            FOREIGN.set(foreign);
            if foreign || !SILENT.get() {
                before(info);
            }
        }));
    });
    FOREIGN.set(false);
    let outer = SILENT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    SILENT.set(outer);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("wgpu panicked").trim().replace('\n', "; ")
    })
}

#[cfg(test)]
mod tests {
    use super::is_wgpus;

    #[test]
    fn files_of_wgpu_are_known() {
        for file in [
            "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/wgpu-core-30.0.1/src/device/resource.rs",
            r"C:\Users\me\.cargo\registry\src\index\wgpu-30.0.0\src\backend\wgpu_core.rs",
            "vendor/naga/src/front.rs",
        ] {
            assert!(is_wgpus(file), "{file}");
        }
        for file in ["src/main.rs", "/home/me/wgpu-game/src/main.rs", "/home/me/wgpu_app/src/lib.rs", "wgpux/a.rs"] {
            assert!(!is_wgpus(file), "{file}");
        }
    }
}
