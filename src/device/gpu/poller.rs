//! A thread that polls the device while somebody waits for it without polling: there is one as long as there are such.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::health::{Health, Waited, silently};
use super::{PROBE, Shared, WAIT};
use crate::{Error, Result};

/// Between two polls of a device that has nothing to do.
const IDLE: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
struct State {
    waiting: usize,
    running: bool,
    closed: bool,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
pub(super) struct Poller {
    state: Mutex<State>,
    changed: Condvar,
}

/// As long as there is one, the thread polls.
#[derive(Debug)]
pub(super) struct Ticket(Arc<Poller>);

impl Ticket {
    /// There is something new to wait for.
    pub(super) fn nudge(&self) {
        self.0.changed.notify_all();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
        self.0.changed.notify_all();
    }
}

impl Poller {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread, for which only forgotten futures can be waiting now. Not from the thread itself, which gets here
    /// when the last owner of a future was its waker.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let thread = state.thread.take();
        drop(state);
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // It catches its panics; there is nothing to learn from its end.
            let _ = thread.join();
        }
    }

    fn work(&self, device: &wgpu::Device, queue: &wgpu::Queue, health: &Health) {
        let mut progress = Instant::now();
        loop {
            // Short, since wgpu's locks are held meanwhile. Whoever waits has been woken by a loss.
            let mut polled = health.wait(device, None, WAIT);
            if polled == Ok(Waited::Done) {
                progress = Instant::now();
            } else if polled.is_ok() && progress.elapsed() > PROBE {
                progress = Instant::now();
                polled = health.create(device, ("a probe", 0), || queue.submit([])).map(|_| Waited::Pending);
            }
            // Without the lock: it wakes, and what is woken may drop a future, which takes the lock.
            let lost = health.check().is_err();
            let mut state = self.lock();
            if polled == Ok(Waited::Done) && state.waiting > 0 {
                state = self.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.waiting == 0 || state.closed || lost {
                state.running = false;
                return;
            }
        }
    }
}

impl Shared {
    /// Starts the thread if there is none.
    pub(super) fn poll_meanwhile(&self) -> Result<Ticket> {
        let mut state = self.poller.lock();
        if !state.running {
            let (poller, health) = (self.poller.clone(), self.health.clone());
            let (device, queue) = (self.device.clone(), (*self.queue).clone());
            // It may still be dropping the device.
            let before = state.thread.take();
            let work = move || {
                let _ = silently(move || {
                    let _ = before.map(JoinHandle::join);
                    poller.work(&device, &queue, &health);
                    drop((device, queue));
                });
            };
            let thread = std::thread::Builder::new().name("spikewave-poll".into()).spawn(work);
            let thread = thread.map_err(|e| Error::Internal(format!("threads could not be started: {e}")))?;
            (state.running, state.thread) = (true, Some(thread));
        }
        state.waiting += 1;
        Ok(Ticket(self.poller.clone()))
    }
}
