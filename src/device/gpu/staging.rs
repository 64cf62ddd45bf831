//! Reading and writing states between runs, through host-visible memory of bounded size, each submission proved.

use std::sync::Arc;
use std::time::Instant;

use super::prepared::{LEAST_CHUNK, Prepared};
use super::run::Mapping;
use super::{CHUNK, Shared, Watch};
use crate::device::Control;
use crate::device::io::{check_write, kept};
use crate::kernel::{AnyTensor, Elem, Tensor};
use crate::memory::room;
use crate::recording::{Plan, Role, STATUS_BYTES, Slot, size_class};
use crate::{Error, Result};

/// Host-visible memory: the recording's own, or leased until it is dropped.
pub(super) struct Staging {
    pub buffer: wgpu::Buffer,
    pub bytes: u64,
    lease: Vec<(Slot, wgpu::Buffer)>,
    shared: Arc<Shared>,
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.shared.pool.release(std::mem::take(&mut self.lease));
    }
}

impl Prepared {
    /// Host-visible memory of a role for `bytes`, or smaller, for as many of them as it holds; not during a run, which
    /// has its inputs or results there. What it takes beside the plan is small beside it, and smaller where the budget
    /// has no room for that; where it has none at all, it is the recording's own, of whatever size.
    pub(super) fn staging(&self, role: Role, bytes: u64) -> Result<Staging> {
        let most = (self.plan.peak_bytes() / 16).clamp(LEAST_CHUNK, CHUNK);
        let mut bytes = size_class(bytes.min(most));
        let own = self.buffers.iter().filter(|(slot, _)| slot.role == role).max_by_key(|(slot, _)| slot.bytes);
        let own = own.map(|(slot, buffer)| Staging {
            buffer: buffer.clone(),
            bytes: slot.bytes,
            lease: Vec::new(),
            shared: self.shared.clone(),
        });
        let own_bytes = own.as_ref().map_or(0, |own| own.bytes);
        while bytes > own_bytes && !(own.is_some() && self.recording.is_in_pieces()) {
            match (self.leased(role, bytes), &own) {
                (Err(Error::OverBudget { .. }), _) if bytes > LEAST_CHUNK => {
                    bytes = size_class(bytes / 2).max(LEAST_CHUNK);
                }
                (Err(Error::OverBudget { .. }), Some(_)) => break,
                (leased, _) => return leased,
            }
        }
        own.ok_or_else(|| Error::Internal("host-visible memory of no bytes".into()))
    }

    /// Host-visible memory of its own.
    pub(super) fn leased(&self, role: Role, bytes: u64) -> Result<Staging> {
        let shared = self.shared.clone();
        let largest = (format!("{} memory", role.name()), bytes);
        let plan = Plan { slots: vec![Slot::new(role, bytes)], largest, ..Plan::default() };
        let lease = shared.lease(&plan)?;
        let buffer = lease[0].1.clone();
        Ok(Staging { buffer, bytes, lease, shared })
    }

    /// Submits what is encoded, waits, proves that it was carried out, and lets `take` have the first `bytes` of the
    /// readback memory. The first `status` of them are the status's.
    pub(super) fn submit_proved(
        &mut self,
        encoder: wgpu::CommandEncoder,
        readback: &Staging,
        (status, bytes): (u64, u64),
        watch: &Watch<'_>,
        take: impl FnOnce(&[u8]),
    ) -> Result<()> {
        // Mappings are multiples of 8.
        let mapped = bytes.next_multiple_of(8);
        let (submission, mapping) = self.submit_counted(encoder, |prepared, encoder| {
            let mapping = Mapping::default();
            encoder.copy_buffer_to_buffer(&prepared.buffers[prepared.status].1, 0, &readback.buffer, 0, status);
            encoder.map_buffer_on_submit(&readback.buffer, wgpu::MapMode::Read, 0..mapped, mapping.callback());
            mapping
        })?;
        let shared = self.shared.clone();
        let waited = shared.wait(Some(&submission), watch, || mapping.is_settled());
        let proved = waited.and_then(|()| {
            let view = shared.view(&readback.buffer, mapped, &mapping)?;
            self.prove(&view)?;
            take(&view[..bytes as usize]);
            Ok(())
        });
        shared.unmap(&readback.buffer, &mapping);
        proved
    }

    /// As [`crate::device::Prepared::read`].
    pub fn read<T: Elem>(&mut self, tensor: Tensor<T>) -> Result<Vec<T>> {
        let watch = Watch { control: &Control::default(), started: Instant::now() };
        kept(&self.recording, tensor.erase(), true)?;
        let mut content = room(tensor.len(), "a tensor's content")?;
        content.resize(tensor.len(), T::zeroed());
        self.fetch(tensor.erase(), bytemuck::cast_slice_mut(&mut content), &watch)?;
        Ok(content)
    }

    /// What a tensor holds, which is so many bytes.
    pub(super) fn fetch(&mut self, tensor: AnyTensor, content: &mut [u8], watch: &Watch<'_>) -> Result<()> {
        let source = self.buffers[self.slot(tensor)?].1.clone();
        let readback = self.staging(Role::Readback, STATUS_BYTES + content.len() as u64)?;
        let most = readback.bytes - STATUS_BYTES;
        for (i, piece) in content.chunks_mut(most as usize).enumerate() {
            let bytes = piece.len() as u64;
            let mut encoder = self.encoder()?;
            encoder.copy_buffer_to_buffer(&source, i as u64 * most, &readback.buffer, STATUS_BYTES, bytes);
            let sizes = (STATUS_BYTES, STATUS_BYTES + bytes);
            self.submit_proved(encoder, &readback, sizes, watch, |mapped| {
                piece.copy_from_slice(&mapped[STATUS_BYTES as usize..]);
            })?;
        }
        Ok(())
    }

    /// As [`crate::device::Prepared::write`].
    pub fn write<T: Elem>(&mut self, tensor: Tensor<T>, data: &[T]) -> Result<()> {
        let watch = Watch { control: &Control::default(), started: Instant::now() };
        let bytes: &[u8] = bytemuck::cast_slice(data);
        check_write(&self.recording, tensor.erase(), bytes)?;
        self.store(tensor.erase(), bytes, &watch)
    }

    /// Replaces all that a tensor holds.
    pub(super) fn store(&mut self, tensor: AnyTensor, bytes: &[u8], watch: &Watch<'_>) -> Result<()> {
        let target = self.buffers[self.slot(tensor)?].1.clone();
        let upload = self.staging(Role::Upload, bytes.len() as u64)?;
        let readback = self.staging(Role::Readback, STATUS_BYTES)?;
        for (i, piece) in bytes.chunks(upload.bytes as usize).enumerate() {
            let (at, len) = (i as u64 * upload.bytes, piece.len());
            self.shared.fill(&upload.buffer, (len as u64).next_multiple_of(8), watch, |view| {
                view.slice(0..len).copy_from_slice(piece);
            })?;
            let mut encoder = self.encoder()?;
            encoder.copy_buffer_to_buffer(&upload.buffer, 0, &target, at, len as u64);
            self.submit_proved(encoder, &readback, (STATUS_BYTES, STATUS_BYTES), watch, |_| ())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Choice, DeviceOptions, Gpu, gpu};
    use crate::ops;
    use crate::recording::Recording;

    /// A device that has carried out another number of submissions than it was given.
    #[test]
    fn work_that_was_not_done_is_found() {
        if std::env::var("SPIKEWAVE_SKIP_GPU_TESTS").is_ok_and(|v| v == "1") {
            return;
        }
        for adapter in gpu::adapters() {
            let device = Gpu::open(&DeviceOptions::new(Choice::Named(adapter.choose_by()))).unwrap();
            let mut rec = Recording::new("corrupted", device.capabilities());
            let state = rec.state("state", &[1.0f32, 2.0]).unwrap();
            ops::fill(&mut rec, state, 3.0).unwrap();
            let mut prepared = device.prepare(&rec).unwrap();
            let corrupted = |error: Error| matches!(error, Error::Corrupted { .. });
            prepared.submitted += 1;
            assert!(corrupted(prepared.read(state).unwrap_err()), "{}", device.name());
            assert_eq!(prepared.read(state).unwrap(), [1.0, 2.0], "it counts on");
            prepared.submitted += 1;
            assert!(corrupted(prepared.write(state, &[5.0, 6.0]).unwrap_err()), "{}", device.name());
            prepared.submitted += 1;
            assert!(corrupted(prepared.profile(&[], &Control::default()).unwrap_err()), "{}", device.name());
            prepared.run(&[], &Control::default()).unwrap();
            assert_eq!(prepared.read(state).unwrap(), [3.0, 3.0]);
        }
    }
}
