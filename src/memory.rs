//! Host memory that is aligned for every element, and whose lack is an error.

use crate::{Error, Result};

/// 64 bytes, so that results and native memory are aligned for every element and every vector unit.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Line([u8; 64]);

/// An empty vector with room for `len`, or `OutOfMemory`.
pub(crate) fn room<T>(len: usize, what: &str) -> Result<Vec<T>> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(len).map_err(|_| Error::OutOfMemory {
        bytes: (len as u64).saturating_mul(size_of::<T>() as u64),
        what: what.into(),
    })?;
    Ok(memory)
}

/// Zeroed, aligned memory for `bytes`, or `OutOfMemory`.
pub(crate) fn aligned(bytes: u64, what: &str) -> Result<Vec<Line>> {
    // More than the address space fails as well.
    let lines = usize::try_from(bytes.div_ceil(64)).unwrap_or(usize::MAX);
    let mut memory = room(lines, what)?;
    memory.resize(lines, bytemuck::Zeroable::zeroed());
    Ok(memory)
}

/// These bytes in aligned memory, followed by zeros to the end of the last line; or `OutOfMemory`.
pub(crate) fn aligned_copy(bytes: &[u8], what: &str) -> Result<Vec<Line>> {
    let mut memory = aligned(bytes.len() as u64, what)?;
    bytemuck::cast_slice_mut(&mut memory)[..bytes.len()].copy_from_slice(bytes);
    Ok(memory)
}
