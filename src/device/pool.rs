//! The memory of a device: a budget, and a pool that reuses what is not in use.
//!
//! Generic over the buffer, so that both devices account the same way and the rules are tested without a GPU.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::recording::{Plan, Role, Slot};
use crate::{Error, Result};

/// Buffers of one kind have the same usages and can stand in for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Bound by kernels.
    Device,
    /// Mapped for writing.
    Upload,
    /// Mapped for reading.
    Readback,
    /// Bound as parameters.
    Params,
    /// Bound by the kernel that counts submissions, and written with timestamps.
    Status,
    /// Not the pool's: counted while it is leased, never kept.
    InPlace,
}

impl From<&Slot> for Kind {
    fn from(slot: &Slot) -> Self {
        if slot.in_place {
            return Self::InPlace;
        }
        match slot.role {
            Role::Input | Role::Constant | Role::State | Role::Scratch => Self::Device,
            Role::Upload => Self::Upload,
            Role::Readback => Self::Readback,
            Role::Params => Self::Params,
            Role::Status => Self::Status,
        }
    }
}

/// What a pool holds and has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct PoolStats {
    /// Buffers made since the device was opened.
    pub buffers_created: u64,
    /// Leases served by a buffer that was there.
    pub buffers_reused: u64,
    /// Buffers given back to the system.
    pub buffers_freed: u64,
    /// Bytes in use by prepared recordings.
    pub leased_bytes: u64,
    /// Bytes kept for reuse.
    pub idle_bytes: u64,
    /// The most that leased and idle bytes have been together.
    pub peak_bytes: u64,
    /// The limit.
    pub budget_bytes: u64,
}

#[derive(Debug)]
struct Idle<B> {
    buffer: B,
    /// The lease at which it became idle.
    since: u64,
}

#[derive(Debug)]
struct State<B> {
    idle: HashMap<(Kind, u64), Vec<Idle<B>>>,
    leases: u64,
    /// Set aside for work that nobody waits for, and how often.
    aside: u64,
    asides: u64,
    stats: PoolStats,
}

/// Leases buffers within a budget.
#[derive(Debug)]
pub(crate) struct Pool<B> {
    state: Mutex<State<B>>,
    /// What was set aside came back.
    returned: Condvar,
}

/// Bytes of the budget that are set aside until this is dropped.
#[derive(Debug)]
pub(crate) struct Aside<'a, B> {
    pool: &'a Pool<B>,
    bytes: u64,
}

impl<B> Drop for Aside<'_, B> {
    fn drop(&mut self) {
        self.pool.lock().aside -= self.bytes;
        self.pool.returned.notify_all();
    }
}

/// An idle buffer is given back after this many leases that had no use for it: long enough for jobs that alternate
/// between a few recordings, short enough that a change of problem size does not hold two sizes for good.
const MAX_AGE: u64 = 16;

impl<B> Pool<B> {
    pub(crate) fn new(budget_bytes: u64) -> Self {
        let stats = PoolStats { budget_bytes, ..PoolStats::default() };
        let state = State { idle: HashMap::new(), leases: 0, aside: 0, asides: 0, stats };
        Self { state: Mutex::new(state), returned: Condvar::new() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<B>> {
        // A panic while the lock is held can only come from dropping a buffer; the state is consistent at every such point.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> PoolStats {
        self.lock().stats.clone()
    }

    /// Admits the plan whole or not at all, and leases a buffer for each of its slots, in order.
    ///
    /// `create` makes a buffer; when it fails with `OutOfMemory` everything idle is freed and it is asked once more. It
    /// may run callbacks and wakers of the host application, which may come back here, so it is called without the lock.
    pub(crate) fn lease(&self, plan: &Plan, create: impl Fn(Kind, u64) -> Result<B>) -> Result<Vec<(Slot, B)>> {
        let mut buffers = self.admit(plan)?;
        let (mut made, mut failed) = (0, None);
        for (slot, buffer) in plan.slots.iter().zip(&mut buffers).filter(|(_, buffer)| buffer.is_none()) {
            let kind = Kind::from(slot);
            let created = match create(kind, slot.bytes) {
                Err(Error::OutOfMemory { .. }) => {
                    self.trim();
                    create(kind, slot.bytes)
                }
                other => other,
            };
            match created {
                Ok(created) => {
                    *buffer = Some(created);
                    made += u64::from(kind != Kind::InPlace);
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let mut state = self.lock();
        state.stats.buffers_created += made;
        let slots = plan.slots.iter().cloned();
        if let Some(error) = failed {
            let missing = plan.slots.iter().zip(&buffers).filter(|(_, buffer)| buffer.is_none());
            state.stats.leased_bytes -= missing.map(|(slot, _)| slot.bytes).sum::<u64>();
            state.put_back(slots.zip(buffers).filter_map(|(slot, buffer)| Some((slot, buffer?))).collect());
            return Err(error);
        }
        state.stats.peak_bytes = state.stats.peak_bytes.max(state.stats.leased_bytes + state.stats.idle_bytes);
        let oldest = state.leases.saturating_sub(MAX_AGE);
        state.trim(oldest);
        Ok(slots.zip(buffers.into_iter().flatten()).collect())
    }

    /// Counts a plan's bytes as leased, and takes what is idle for it: a buffer for each slot, or none yet.
    fn admit(&self, plan: &Plan) -> Result<Vec<Option<B>>> {
        let mut state = self.lock();
        let needed = plan.peak_bytes();
        loop {
            let (leased, limit) = (state.stats.leased_bytes, state.stats.budget_bytes);
            if leased.saturating_add(needed) > limit {
                let (tensor, tensor_bytes) = plan.largest.clone();
                return Err(Error::OverBudget { needed, in_use: leased, limit, tensor, tensor_bytes, least: None });
            }
            if leased + needed + state.aside <= limit {
                break;
            }
            // What is set aside is back in milliseconds, and no reason to refuse a plan.
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.leases += 1;
        let mut reuse = |slot: &Slot| {
            let idle = state.idle.get_mut(&(Kind::from(slot), slot.bytes)).and_then(Vec::pop)?;
            state.stats.idle_bytes -= slot.bytes;
            state.stats.buffers_reused += 1;
            Some(idle.buffer)
        };
        let buffers = plan.slots.iter().map(&mut reuse).collect();
        state.stats.leased_bytes += plan.slots.iter().map(|slot| slot.bytes).sum::<u64>();
        state.make_room();
        Ok(buffers)
    }

    /// Sets bytes aside for short work that nobody waits for, whose memory is not the pool's; `None` unless they fit
    /// beside all that is leased and idle. A lease that needs them waits until they are back.
    pub(crate) fn set_aside(&self, bytes: u64) -> Option<Aside<'_, B>> {
        let mut state = self.lock();
        let stats = &state.stats;
        if (stats.leased_bytes + stats.idle_bytes + state.aside).saturating_add(bytes) > stats.budget_bytes {
            return None;
        }
        state.aside += bytes;
        state.asides += 1;
        Some(Aside { pool: self, bytes })
    }

    /// A number while nothing is set aside; the same one later means that nothing was in between.
    pub(crate) fn quiet(&self) -> Option<u64> {
        let state = self.lock();
        (state.aside == 0).then_some(state.asides)
    }

    /// Gives all idle buffers back to the system.
    pub(crate) fn trim(&self) {
        self.lock().trim(u64::MAX);
    }

    /// Takes leased buffers back for reuse.
    pub(crate) fn release(&self, buffers: Vec<(Slot, B)>) {
        self.lock().put_back(buffers);
    }
}

impl<B> State<B> {
    fn put_back(&mut self, buffers: Vec<(Slot, B)>) {
        let since = self.leases;
        for (slot, buffer) in buffers {
            self.stats.leased_bytes -= slot.bytes;
            let kind = Kind::from(&slot);
            if kind != Kind::InPlace {
                self.stats.idle_bytes += slot.bytes;
                self.idle.entry((kind, slot.bytes)).or_default().push(Idle { buffer, since });
            }
        }
    }

    /// Frees what has been idle since before lease `oldest`.
    fn trim(&mut self, oldest: u64) {
        let stats = &mut self.stats;
        for ((_, bytes), idle) in &mut self.idle {
            let before = idle.len();
            idle.retain(|i| i.since >= oldest);
            let freed = (before - idle.len()) as u64;
            stats.idle_bytes -= freed * bytes;
            stats.buffers_freed += freed;
        }
        self.idle.retain(|_, idle| !idle.is_empty());
    }

    /// Frees idle buffers, the longest idle first, until all fits the budget.
    fn make_room(&mut self) {
        while self.stats.leased_bytes + self.stats.idle_bytes + self.aside > self.stats.budget_bytes {
            let Some(oldest) = self.idle.values().flatten().map(|i| i.since).min() else { return };
            self.trim(oldest + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sizes: &[u64]) -> Plan {
        Plan {
            slots: sizes.iter().map(|b| Slot::new(Role::Scratch, *b)).collect(),
            largest: ("big".into(), sizes.iter().copied().max().unwrap_or(0)),
            ..Plan::default()
        }
    }

    fn make(_: Kind, bytes: u64) -> Result<u64> {
        Ok(bytes)
    }

    #[test]
    fn reuses_and_counts() {
        let pool = Pool::new(1000);
        let a = pool.lease(&plan(&[100, 200]), make).unwrap();
        assert_eq!(pool.stats().leased_bytes, 300);
        pool.release(a);
        let b = pool.lease(&plan(&[200]), make).unwrap();
        let s = pool.stats();
        assert_eq!((s.buffers_created, s.buffers_reused, s.leased_bytes, s.idle_bytes), (2, 1, 200, 100));
        pool.release(b);
        assert_eq!(pool.stats().peak_bytes, 300);
    }

    #[test]
    fn what_is_set_aside_fits_the_budget_and_makes_leases_wait_not_fail() {
        let pool = Pool::new(1000);
        let a = pool.lease(&plan(&[600]), make).unwrap();
        assert!(pool.set_aside(401).is_none(), "beyond the budget");
        let quiet = pool.quiet();
        let aside = pool.set_aside(400).unwrap();
        assert!(quiet.is_some() && pool.quiet().is_none());
        assert!(pool.set_aside(1).is_none(), "both together");
        let waited = std::thread::scope(|threads| {
            let lease = threads.spawn(|| pool.lease(&plan(&[200]), make).map(|b| pool.release(b)));
            std::thread::sleep(std::time::Duration::from_millis(50));
            let waited = !lease.is_finished();
            drop(aside);
            lease.join().unwrap().unwrap();
            waited
        });
        assert!(waited, "it was over the budget meanwhile");
        assert!(pool.quiet().is_some_and(|after| Some(after) != quiet));
        assert_eq!(pool.stats().peak_bytes, 800, "what is set aside is not the pool's");
        assert!(pool.set_aside(201).is_none(), "idle memory counts");
        pool.release(a);
    }

    #[test]
    fn refuses_over_budget_with_numbers_and_takes_nothing() {
        let pool = Pool::new(1000);
        let held = pool.lease(&plan(&[600]), make).unwrap();
        let error = pool.lease(&plan(&[300, 200]), make).unwrap_err();
        assert_eq!(
            error,
            Error::OverBudget {
                needed: 500,
                in_use: 600,
                limit: 1000,
                tensor: "big".into(),
                tensor_bytes: 300,
                least: None
            }
        );
        assert_eq!(pool.stats().leased_bytes, 600);
        pool.release(held);
        assert!(pool.lease(&plan(&[300, 200]), make).is_ok());
    }

    #[test]
    fn memory_used_in_place_is_admitted_and_never_kept() {
        let pool = Pool::new(1000);
        let mut plan = plan(&[600, 100]);
        plan.slots[0].in_place = true;
        let a = pool.lease(&plan, make).unwrap();
        assert_eq!((pool.stats().leased_bytes, pool.stats().buffers_created), (700, 1));
        assert!(matches!(pool.lease(&plan, make), Err(Error::OverBudget { needed: 700, in_use: 700, .. })));
        pool.release(a);
        assert_eq!((pool.stats().leased_bytes, pool.stats().idle_bytes), (0, 100));
    }

    #[test]
    fn idle_memory_makes_room_and_ages() {
        let pool = Pool::new(1000);
        let a = pool.lease(&plan(&[700]), make).unwrap();
        pool.release(a);
        // 700 idle and 600 needed is over the budget: the idle one goes.
        let b = pool.lease(&plan(&[600]), make).unwrap();
        assert_eq!((pool.stats().idle_bytes, pool.stats().buffers_freed), (0, 1));
        pool.release(b);
        for _ in 0..=MAX_AGE + 1 {
            let c = pool.lease(&plan(&[10]), make).unwrap();
            pool.release(c);
        }
        assert_eq!(pool.stats().idle_bytes, 10, "600 bytes unused for {MAX_AGE} leases are freed");
    }

    #[test]
    fn making_a_buffer_may_come_back_to_the_pool() {
        let pool = std::sync::Arc::new(Pool::new(1000));
        let held = Mutex::new(Some(pool.lease(&plan(&[100]), make).unwrap()));
        let again = |_: Kind, bytes: u64| {
            // As a waker does that drops what was prepared; on a thread of its own, so that a lock would be found.
            let (told, heard) = std::sync::mpsc::channel();
            let (pool, held) = (pool.clone(), held.lock().unwrap().take());
            std::thread::spawn(move || {
                held.into_iter().for_each(|held| pool.release(held));
                told.send(pool.stats().leased_bytes)
            });
            let leased = heard.recv_timeout(std::time::Duration::from_secs(60));
            assert_eq!(leased, Ok(70), "what is admitted is counted");
            Ok(bytes)
        };
        let leased = pool.lease(&plan(&[30, 40]), again).unwrap();
        assert_eq!((leased.len(), pool.stats().idle_bytes), (2, 100));
    }

    #[test]
    fn a_failed_allocation_is_retried_after_trimming_then_reported() {
        let pool = Pool::new(1000);
        let oom = |_: Kind, bytes: u64| Err(Error::OutOfMemory { bytes, what: "test".into() });
        let a = pool.lease(&plan(&[100]), make).unwrap();
        pool.release(a);
        assert!(matches!(pool.lease(&plan(&[100, 50]), oom), Err(Error::OutOfMemory { bytes: 50, .. })));
        let s = pool.stats();
        assert_eq!((s.leased_bytes, s.idle_bytes), (0, 100), "what was leased is back");
        let calls = std::cell::Cell::new(0);
        let second = |k: Kind, bytes: u64| {
            calls.set(calls.get() + 1);
            if calls.get() == 1 { oom(k, bytes) } else { make(k, bytes) }
        };
        assert!(pool.lease(&plan(&[60]), second).is_ok());
    }
}
