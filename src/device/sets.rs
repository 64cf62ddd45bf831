//! What a job takes of a device's memory, and recordings of which not all are ready at once.

use super::{Device, Prepared};
use crate::recording::Recording;
use crate::{Error, Result};

/// What a job takes of a device's memory, known before it runs. On the native path that is the memory of the kernels.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemoryPlan {
    /// The most that it holds at once.
    pub planned_bytes: u64,
    /// The smallest budget with which it gives the same result.
    pub least_bytes: u64,
    /// The device's budget.
    pub budget_bytes: u64,
    /// What the planned bytes are made of.
    #[serde(serialize_with = "as_map")]
    pub parts: Vec<(String, u64)>,
    /// The largest tensor and its bytes.
    #[serde(skip)]
    pub(crate) largest: (String, u64),
}

fn as_map<S: serde::Serializer>(parts: &[(String, u64)], to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_map(parts.iter().map(|(name, bytes)| (name, bytes)))
}

/// Bytes of the budget that nothing has taken yet.
pub(crate) fn room(device: &Device) -> u64 {
    device.capabilities().budget_bytes.saturating_sub(device.stats().memory.leased_bytes)
}

impl MemoryPlan {
    /// The plan of a job that needs `least` at least, and holds these parts together.
    pub(crate) fn new(device: &Device, least: u64, parts: Vec<(String, u64)>, largest: (String, u64)) -> Self {
        let planned_bytes = parts.iter().map(|(_, bytes)| bytes).sum();
        Self { planned_bytes, least_bytes: least, budget_bytes: device.capabilities().budget_bytes, parts, largest }
    }

    /// The plan of two jobs one after the other: that of the larger.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let least_bytes = self.least_bytes.max(next.least_bytes);
        let larger = if next.planned_bytes > self.planned_bytes { next } else { self };
        Self { least_bytes, ..larger }
    }

    /// Refuses what the device has no room for.
    ///
    /// # Errors
    /// `OverBudget` with the least that would do.
    pub fn check(&self, device: &Device) -> Result<()> {
        if self.planned_bytes <= room(device) {
            return Ok(());
        }
        let in_use = device.stats().memory.leased_bytes;
        let (tensor, tensor_bytes) = self.largest.clone();
        Err(Error::OverBudget {
            needed: self.planned_bytes,
            in_use,
            limit: self.budget_bytes,
            tensor,
            tensor_bytes,
            least: Some(self.least_bytes + in_use),
        })
    }
}

/// Recordings by their keys, in sets: those of one set are ready together, and make way for the next one's.
#[derive(Debug)]
pub(crate) struct Sets<K, T> {
    sets: Vec<Vec<K>>,
    ready: Vec<(K, T, Prepared)>,
}

impl<K: Copy + PartialEq + std::fmt::Debug, T> Sets<K, T> {
    /// Nothing is ready yet.
    pub fn new(sets: Vec<Vec<K>>) -> Self {
        Self { sets, ready: Vec::new() }
    }

    /// The recording of this key with its tensors, made ready with the rest of its set.
    pub fn get(
        &mut self,
        device: &Device,
        key: K,
        record: impl Fn(K) -> Result<(T, Recording)>,
    ) -> Result<(&T, &mut Prepared)> {
        let unknown = || Error::Internal(format!("no recording {key:?}"));
        if self.ready.iter().all(|(k, ..)| *k != key) {
            let set = self.sets.iter().find(|set| set.contains(&key)).ok_or_else(unknown)?;
            let set = set.clone();
            self.clear(device);
            let prepare = |&key: &K| {
                let (tensors, recording) = record(key)?;
                Ok((key, tensors, device.prepare(&recording)?))
            };
            self.ready = set.iter().map(prepare).collect::<Result<_>>()?;
        }
        let found = self.ready.iter_mut().find(|(k, ..)| *k == key);
        found.map(|(_, tensors, prepared)| (&*tensors, prepared)).ok_or_else(unknown)
    }

    /// Gives the memory back.
    pub fn clear(&mut self, device: &Device) {
        if !self.ready.is_empty() {
            self.ready.clear();
            // What it leaves is of no use to the next one, and would count on top of it.
            device.trim();
        }
    }

    /// Makes the first set ready.
    pub fn warm(&mut self, device: &Device, record: impl Fn(K) -> Result<(T, Recording)>) -> Result<()> {
        match self.sets.first().and_then(|set| set.first()).copied() {
            Some(key) => self.get(device, key, record).map(drop),
            None => Ok(()),
        }
    }
}
