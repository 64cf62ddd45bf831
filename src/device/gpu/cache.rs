//! The file that keeps a driver's compiled pipelines between starts.
//!
//! wgpu checks that a cache belongs to the driver, but not that its payload is whole, and drivers trust the payload. So
//! the file has a checksum of its own, and whatever is not exactly what was written is ignored.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::health::Health;
use crate::Result;
use crate::device::CacheReport;

const MAGIC: [u8; 8] = *b"SPKWPC01";

/// Drivers append to their caches; a file above this is dropped and begun anew.
const MAX_BYTES: u64 = 256 << 20;

/// A driver's cache with the kernels that it holds.
#[derive(Debug)]
pub(super) struct Cache {
    raw: wgpu::PipelineCache,
    path: PathBuf,
    key: String,
    /// Texts (by hash), kernels' and specialised ones, in the file as it was read.
    found: BTreeSet<u64>,
    /// Those compiled since.
    compiled: Mutex<BTreeSet<u64>>,
}

/// 128-bit FNV-1a: tells damage, not malice; the folder is the user's own.
fn checksum(bytes: &[u8]) -> u128 {
    const PRIME: u128 = (1 << 88) + 0x13b;
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |h, b| (h ^ u128::from(*b)).wrapping_mul(PRIME))
}

/// `None` unless the bytes are exactly what [`seal`] made with the same key.
fn open<'a>(bytes: &'a [u8], key: &str) -> Option<(BTreeSet<u64>, &'a [u8])> {
    let (magic, rest) = bytes.split_at_checked(8)?;
    let (sum, body) = rest.split_at_checked(16)?;
    if magic != MAGIC || sum != checksum(body).to_le_bytes() {
        return None;
    }
    let length = |rest: &mut &'a [u8]| {
        let (head, tail) = rest.split_first_chunk()?;
        *rest = tail;
        usize::try_from(u64::from_le_bytes(*head)).ok()
    };
    let mut rest = body;
    let n = length(&mut rest)?;
    let (found_key, mut rest) = rest.split_at_checked(n)?;
    let n = length(&mut rest)?;
    let (hashes, data) = rest.split_at_checked(n.checked_mul(8)?)?;
    let hashes = hashes.as_chunks::<8>().0.iter().map(|h| u64::from_le_bytes(*h)).collect();
    (found_key == key.as_bytes()).then_some((hashes, data))
}

fn seal(key: &str, hashes: &BTreeSet<u64>, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(data.len() + 1024);
    body.extend((key.len() as u64).to_le_bytes());
    body.extend(key.as_bytes());
    body.extend((hashes.len() as u64).to_le_bytes());
    body.extend(hashes.iter().flat_map(|h| h.to_le_bytes()));
    body.extend(data);
    let sum = checksum(&body).to_le_bytes();
    [&MAGIC[..], &sum, &body].concat()
}

/// The folder for what can be made again, where the system has one for each user.
fn user_cache_dir() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = if cfg!(windows) {
        var("LOCALAPPDATA")
    } else if cfg!(target_vendor = "apple") {
        var("HOME").map(|home| home.join("Library/Caches"))
    } else {
        var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")))
    };
    base.map(|base| base.join("spikewave"))
}

impl Cache {
    /// The cache of this device; `None` where the backend has none or there is no folder for it.
    pub(super) fn load(device: &wgpu::Device, health: &Health, folder: Option<&Path>) -> Result<Option<Self>> {
        let info = device.adapter_info();
        let name = wgpu::util::pipeline_cache_key(&info);
        let (Some(name), true) = (name, device.features().contains(wgpu::Features::PIPELINE_CACHE)) else {
            return Ok(None);
        };
        let Some(folder) = folder.map(Path::to_path_buf).or_else(user_cache_dir) else { return Ok(None) };
        let key = format!("{} | {} | {} | {}", info.name, info.driver, info.driver_info, env!("CARGO_PKG_VERSION"));
        // Two drivers of one device (say, two versions side by side) share wgpu's name for it.
        let path = folder.join(format!("{name}_{:016x}.bin", checksum(key.as_bytes()) as u64));
        let bytes = match std::fs::metadata(&path) {
            Ok(m) if m.len() <= MAX_BYTES => std::fs::read(&path).unwrap_or_default(),
            _ => Vec::new(),
        };
        let opened = open(&bytes, &key);
        if opened.is_none() && !bytes.is_empty() {
            log::warn!("{} is damaged and is made anew", path.display());
        }
        let (found, data) = opened.unzip();
        let raw = health.create(device, ("the pipeline cache", 0), || {
            let descriptor = wgpu::PipelineCacheDescriptor { label: None, data, fallback: true };
            // SAFETY: the checksum and the key hold, so these are bytes that `get_data` gave for this driver.
            unsafe { device.create_pipeline_cache(&descriptor) }
        })?;
        Ok(Some(Self { raw, path, key, found: found.unwrap_or_default(), compiled: Mutex::default() }))
    }

    pub(super) fn raw(&self) -> &wgpu::PipelineCache {
        &self.raw
    }

    pub(super) fn report(&self) -> CacheReport {
        CacheReport { path: self.path.clone(), hit: !self.found.is_empty() }
    }

    /// Names a text that is no kernel's own: a specialised one.
    pub(super) fn key(text: &str) -> u64 {
        checksum(text.as_bytes()) as u64
    }

    /// Notes a compiled text by its hash; whether the file held it.
    pub(super) fn compiled(&self, hash: u64) -> bool {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
        self.found.contains(&hash)
    }

    /// Writes the file if it lacks something. A cache that cannot be written is a slower next start, not an error.
    pub(super) fn save(&self) {
        let compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if compiled.is_subset(&self.found) {
            return;
        }
        let Some(data) = self.raw.get_data() else { return };
        let all: BTreeSet<u64> = compiled.union(&self.found).copied().collect();
        let bytes = seal(&self.key, &all, &data);
        let written = self
            .path
            .parent()
            .map_or(Ok(()), private_folder)
            .map_err(|e| crate::Error::file(&self.path, e))
            .and_then(|()| crate::io::write_atomically(&self.path, |file| file.write_all(&bytes)));
        if let Err(e) = written {
            log::warn!("compiled pipelines are not kept: {e}");
        }
    }
}

/// Makes the folder, readable by its owner only: what lies in it is handed to a driver.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_files_of_the_same_driver_are_opened() {
        let hashes = BTreeSet::from([3, 5, u64::MAX]);
        let sealed = seal("driver 1", &hashes, b"payload");
        assert_eq!(open(&sealed, "driver 1"), Some((hashes, &b"payload"[..])));
        assert_eq!(open(&sealed, "driver 2"), None, "another driver");
        for n in 0..sealed.len() {
            assert_eq!(open(&sealed[..n], "driver 1"), None, "cut to {n} bytes");
            let mut flipped = sealed.clone();
            flipped[n] ^= 1 << (n % 8);
            assert_eq!(open(&flipped, "driver 1"), None, "bit flipped in byte {n}");
        }
        assert_eq!(open(&[&sealed[..], b"x"].concat(), "driver 1"), None, "longer");
    }
}
