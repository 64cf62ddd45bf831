//! Reading HDF5 with suspicion: what a file claims is checked before it is believed.
//!
//! Decoding is hdf5-pure's. This layer bounds every allocation by the size of the file, insists on the stored type,
//! names the dataset and the chunk in every error, and refuses layouts whose bookkeeping contradicts itself: older
//! files carry no checksum over their metadata, so a chunk index that is incomplete or points twice at the same bytes
//! is the only sign of damage there is.

use crate::{Error, Result};
use hdf5_pure::{AttrValue, DType, Dataset, File, FormatError, H5Element, Layout, VlenStringReadOptions};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Largest file that is read, because it is read whole: 4096 s of strain, as much as one file holds, take 25 MB at 4 kHz.
const LARGEST_FILE: u64 = 4 << 30;
/// Deflate cannot expand its input by more (a 258-byte match costs at least two bits).
const LARGEST_EXPANSION: u64 = 1032;
/// HDF5's numbers for the compressing filters, which a writer may leave out for a chunk that does not shrink. A chunk
/// that claims to have left out any other (shuffle, checksum) is damaged.
const COMPRESSION: [u16; 2] = [1, 32000];
/// Longest text or list of texts that is read, in bytes and in elements.
const LONGEST_TEXT: usize = 1 << 20;

/// An open HDF5 file.
pub struct Reader {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// The numbers of one dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    /// The extents, slowest first; empty for a scalar.
    pub shape: Vec<u64>,
    /// The values, row-major.
    pub values: Vec<T>,
}

/// Element types that [`Reader::array`] reads without conversion.
pub trait Element: H5Element {
    /// The type as it must be stored.
    fn stored() -> hdf5_pure::Datatype;
}

impl Element for f64 {
    fn stored() -> hdf5_pure::Datatype {
        hdf5_pure::make_f64_type()
    }
}

impl Element for f32 {
    fn stored() -> hdf5_pure::Datatype {
        hdf5_pure::make_f32_type()
    }
}

impl Element for u32 {
    fn stored() -> hdf5_pure::Datatype {
        hdf5_pure::make_u32_type()
    }
}

impl Reader {
    /// Opens `path`. Errors: [`Error::File`] if it is missing, unreadable or not HDF5.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let cannot = |e: std::io::Error| Error::file(path, format_args!("cannot be read ({e})"));
        let metadata = std::fs::metadata(path).map_err(cannot)?;
        if !metadata.is_file() {
            return Err(Error::file(path, "is not a regular file"));
        }
        if metadata.len() > LARGEST_FILE {
            let (is, most) = (crate::bytes(metadata.len()), crate::bytes(LARGEST_FILE));
            return Err(Error::file(path, format_args!("has {is}; the largest file that is read has {most}")));
        }
        Self::from_bytes(path, std::fs::read(path).map_err(cannot)?)
    }

    /// Opens a file that is already in memory; `path` is what errors call it.
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        let path = path.as_ref();
        if !hdf5_pure::is_hdf5_bytes(&bytes) {
            return Err(Error::file(path, "is not an HDF5 file"));
        }
        let length = bytes.len() as u64;
        let file = guarded(|| File::from_bytes(bytes))
            .map_err(|e| Error::file(path, format_args!("is a damaged HDF5 file ({e})")))?;
        let declared = file.superblock().eof_address;
        if declared > length {
            let message = format_args!("is truncated: it has {length} bytes of {declared}");
            return Err(Error::file(path, message));
        }
        Ok(Self { path: path.to_path_buf(), file, bytes: length })
    }

    /// The file's name, for errors.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error about this file.
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::file(&self.path, message)
    }

    /// Whether group `group` (`""` is the root) holds a dataset or group called `name`.
    pub fn has(&self, group: &str, name: &str) -> Result<bool> {
        guarded(|| {
            let group = if group.is_empty() { self.file.root() } else { self.file.group(group)? };
            Ok(group.groups()?.iter().chain(group.datasets()?.iter()).any(|n| n == name))
        })
        .map_err(|e| self.error(format_args!("group \"/{group}\" cannot be read ({e})")))
    }

    /// The names of the groups in group `group` (`""` is the root).
    pub fn groups(&self, group: &str) -> Result<Vec<String>> {
        guarded(|| if group.is_empty() { self.file.root() } else { self.file.group(group)? }.groups())
            .map_err(|e| self.error(format_args!("group \"/{group}\" cannot be read ({e})")))
    }

    /// The dataset's numbers, exactly as stored.
    ///
    /// Errors: [`Error::File`] if the dataset is missing, holds another type, claims more data than the file can hold,
    /// or fails a checksum; the message names the dataset and, where there is one, the chunk.
    pub fn array<T: Element>(&self, name: &str) -> Result<Array<T>> {
        let dataset = self.dataset(name)?;
        let wrong = |e: String| self.error(format_args!("dataset {name}: {e}"));
        let (stored, shape) = guarded(|| Ok((dataset.datatype()?, dataset.shape()?))).map_err(wrong)?;
        if stored != T::stored() {
            let kind = guarded(|| dataset.dtype()).map_err(wrong)?;
            let wanted = std::any::type_name::<T>();
            return Err(wrong(format!("holds {kind} where little-endian {wanted} was expected")));
        }
        let count = self.check_storage(name, &dataset, &shape, size_of::<T>() as u64)?;
        match guarded(|| dataset.read::<T>()) {
            Ok(values) if values.len() as u64 == count => Ok(Array { shape, values }),
            Ok(values) => Err(wrong(format!("{} values were read where {count} were expected", values.len()))),
            Err(e) => Err(wrong(locate(&dataset, &shape).unwrap_or(e))),
        }
    }

    /// The numbers of a dataset of any float or integer type of up to 64 bits, as f64.
    ///
    /// Errors: as [`Self::array`].
    pub fn numbers(&self, name: &str) -> Result<Array<f64>> {
        use hdf5_pure::{make_f32_type, make_f64_type, make_i16_type, make_i32_type, make_i64_type};
        use hdf5_pure::{make_u16_type, make_u32_type, make_u64_type};
        let dataset = self.dataset(name)?;
        let wrong = |e: String| self.error(format_args!("dataset {name}: {e}"));
        let (stored, shape) = guarded(|| Ok((dataset.datatype()?, dataset.shape()?))).map_err(wrong)?;
        let integers = [make_i16_type(), make_i32_type(), make_i64_type()];
        let unsigned = [make_u16_type(), make_u32_type(), make_u64_type()];
        if ![make_f32_type(), make_f64_type()].iter().chain(&integers).chain(&unsigned).any(|t| *t == stored) {
            let kind = guarded(|| dataset.dtype()).map_err(wrong)?;
            return Err(wrong(format!("holds {kind} where little-endian numbers were expected")));
        }
        let count = self.check_storage(name, &dataset, &shape, u64::from(stored.type_size()))?;
        match guarded(|| dataset.read_f64()) {
            Ok(values) if values.len() as u64 == count => Ok(Array { shape, values }),
            Ok(values) => Err(wrong(format!("{} values were read where {count} were expected", values.len()))),
            Err(e) => Err(wrong(locate(&dataset, &shape).unwrap_or(e))),
        }
    }

    /// The one number of a scalar integer dataset, of any width up to 64 bits.
    pub fn integer(&self, name: &str) -> Result<i64> {
        use hdf5_pure::{make_i16_type, make_i32_type, make_i64_type, make_u16_type, make_u32_type, make_u64_type};
        let dataset = self.dataset(name)?;
        let wrong = |e: String| self.error(format_args!("dataset {name}: {e}"));
        let (stored, shape) = guarded(|| Ok((dataset.datatype()?, dataset.shape()?))).map_err(wrong)?;
        let signed = [make_i16_type(), make_i32_type(), make_i64_type()];
        if !signed.contains(&stored) && ![make_u16_type(), make_u32_type(), make_u64_type()].contains(&stored) {
            let kind = guarded(|| dataset.dtype()).map_err(wrong)?;
            return Err(wrong(format!("holds {kind} where a little-endian integer was expected")));
        }
        if self.check_storage(name, &dataset, &shape, u64::from(stored.type_size()))? != 1 {
            return Err(wrong(format!("holds an array of shape {shape:?} where one integer was expected")));
        }
        let values = guarded(|| dataset.read_i64()).map_err(wrong)?;
        match values[..] {
            [value] if value >= 0 || signed.contains(&stored) => Ok(value),
            _ => Err(wrong("does not hold one integer of at most 63 bits".into())),
        }
    }

    /// The texts of a string dataset, of at most two dimensions (row-major), of fixed or variable length.
    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        let dataset = self.dataset(name)?;
        let wrong = |e: String| self.error(format_args!("dataset {name}: {e}"));
        let (kind, shape, size) =
            guarded(|| Ok((dataset.dtype()?, dataset.shape()?, dataset.element_size()?))).map_err(wrong)?;
        let count = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        if shape.len() > 2 || count.is_none_or(|n| n > LONGEST_TEXT as u64) || size > LONGEST_TEXT as u64 {
            return Err(wrong(format!("a list of texts of shape {shape:?}, {size} bytes each, is not believable")));
        }
        self.check_storage(name, &dataset, &shape, size)?;
        let options = VlenStringReadOptions::new().with_max_elements(LONGEST_TEXT).with_max_payload_bytes(LONGEST_TEXT);
        let texts = match kind {
            DType::String => guarded(|| dataset.read_string()),
            DType::VariableLengthString => guarded(|| dataset.read_vlen_strings(options)),
            other => Err(format!("holds {other} where text was expected")),
        };
        let mut texts = texts.map_err(wrong)?;
        for text in &mut texts {
            text.truncate(text.trim_end_matches(['\0', ' ']).len());
            // Bytes that are no UTF-8 arrive as replacement characters.
            if text.chars().any(|c| c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_whitespace())) {
                return Err(wrong(format!("{text:?} is not text")));
            }
        }
        Ok(texts)
    }

    /// The attributes of a dataset.
    pub fn attributes(&self, dataset: &str) -> Result<HashMap<String, AttrValue>> {
        let found = self.dataset(dataset)?;
        guarded(|| found.attrs()).map_err(|e| self.error(format_args!("attributes of {dataset}: {e}")))
    }

    /// The attributes of a group.
    pub fn group_attributes(&self, group: &str) -> Result<HashMap<String, AttrValue>> {
        guarded(|| self.file.group(group)?.attrs())
            .map_err(|e| self.error(format_args!("attributes of group {group}: {e}")))
    }

    fn dataset(&self, name: &str) -> Result<Dataset> {
        // The outer Result is the guard's (damage); the inner one tells a name that is not there.
        let found = guarded(|| match self.file.dataset(name) {
            Err(hdf5_pure::Error::Format(FormatError::PathNotFound(_))) => Ok(None),
            other => other.map(Some),
        });
        match found {
            Ok(Some(dataset)) => Ok(dataset),
            Ok(None) => Err(self.error(format_args!("there is no dataset {name}"))),
            Err(e) => Err(self.error(format_args!("dataset {name}: {e}"))),
        }
    }

    /// Checks that the dataset's storage can hold what its shape claims, before anything is allocated from that claim.
    /// Returns the number of elements.
    fn check_storage(&self, name: &str, dataset: &Dataset, shape: &[u64], size: u64) -> Result<u64> {
        let wrong = |e: String| self.error(format_args!("dataset {name}: {e}"));
        let count = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let Some((count, needed)) = count.and_then(|n| Some((n, n.checked_mul(size)?))) else {
            return Err(wrong(format!("a shape of {shape:?} is not believable")));
        };
        match guarded(|| dataset.layout()).map_err(wrong)? {
            _ if needed == 0 => Ok(0),
            Layout::Compact { size: stored } if stored == needed => Ok(count),
            Layout::Contiguous { address: Some(start), size: stored }
                if stored == needed && start.checked_add(stored).is_some_and(|end| end <= self.bytes) =>
            {
                Ok(count)
            }
            Layout::Chunked { chunk_shape, .. } => {
                self.check_chunks(dataset, shape, &chunk_shape, size).map_err(wrong)?;
                Ok(count)
            }
            Layout::Compact { size: stored } | Layout::Contiguous { size: stored, .. } => Err(wrong(format!(
                "a shape of {shape:?} needs {}, and the file stores {} of it; the file is truncated or damaged",
                crate::bytes(needed),
                crate::bytes(stored.min(self.bytes))
            ))),
            other => Err(wrong(format!("a {other} layout is not read"))),
        }
    }

    /// Checks that the chunk index covers the dataset once, with chunks that lie in the file and apart from each other.
    fn check_chunks(
        &self,
        dataset: &Dataset,
        shape: &[u64],
        chunk_shape: &[u64],
        size: u64,
    ) -> std::result::Result<(), String> {
        if chunk_shape.len() != shape.len() || chunk_shape.contains(&0) {
            return Err(format!("chunks of shape {chunk_shape:?} do not divide an array of shape {shape:?}"));
        }
        let chunk_bytes = chunk_shape.iter().try_fold(size, |n, &d| n.checked_mul(d));
        let expected = shape.iter().zip(chunk_shape).try_fold(1u64, |n, (&d, &c)| n.checked_mul(d.div_ceil(c)));
        let (Some(chunk_bytes), Some(expected)) = (chunk_bytes, expected) else {
            return Err(format!("chunks of shape {chunk_shape:?} are not believable"));
        };
        let filters = dataset.filters();
        let mut chunks = guarded(|| dataset.chunks())?;
        for (i, chunk) in chunks.iter().enumerate() {
            let at = |what: &str| format!("chunk {i} at {:?} {what}", chunk.offset);
            if chunk.offset.iter().zip(chunk_shape).any(|(o, c)| o % c != 0)
                || chunk.offset.iter().zip(shape).any(|(o, d)| o >= d)
            {
                return Err(at("lies outside the array"));
            }
            if chunk.address.checked_add(chunk.storage_size).is_none_or(|end| end > self.bytes) {
                return Err(at("lies beyond the end of the file, which is truncated or damaged"));
            }
            if chunk_bytes > chunk.storage_size.saturating_mul(LARGEST_EXPANSION).saturating_add(64) {
                return Err(at("is too small to hold what it claims"));
            }
            if filters.is_empty() && chunk.storage_size != chunk_bytes {
                return Err(at("has a size that does not fit its shape"));
            }
            if filters
                .iter()
                .enumerate()
                .any(|(f, id)| f < 32 && chunk.filter_mask >> f & 1 == 1 && !COMPRESSION.contains(id))
            {
                return Err(at("says that its checksum or byte order was left out"));
            }
        }
        if chunks.len() as u64 != expected {
            return Err(format!("the chunk index lists {} chunks where {expected} make up the array", chunks.len()));
        }
        chunks.sort_by(|a, b| a.offset.cmp(&b.offset));
        if let Some(pair) = chunks.windows(2).find(|pair| pair[0].offset == pair[1].offset) {
            return Err(format!("the chunk index lists the chunk at {:?} twice", pair[0].offset));
        }
        chunks.sort_by_key(|chunk| chunk.address);
        if let Some(pair) = chunks.windows(2).find(|pair| pair[0].address + pair[0].storage_size > pair[1].address) {
            return Err(format!("the chunks at {:?} and {:?} share bytes of the file", pair[0].offset, pair[1].offset));
        }
        Ok(())
    }
}

/// Finds the first chunk that cannot be decoded, and says why.
fn locate(dataset: &Dataset, shape: &[u64]) -> Option<String> {
    let rows = *dataset.chunk_shape().ok()??.first()?;
    let total = *shape.first()?;
    (0..total.div_ceil(rows)).find_map(|chunk| {
        let start = chunk * rows;
        let end = total.min(start + rows);
        let error = guarded(|| dataset.read_raw_rows(start, rows)).err()?;
        Some(format!("chunk {chunk} (rows {start} to {end}) is damaged ({error})"))
    })
}

/// Runs the decoder, with its panics turned into errors.
///
/// The decoder is meant never to panic, and flipping bits all over real files found no case where it does; but it is
/// a hundred thousand lines that read untrusted bytes, and a user's file must not be able to end the program.
fn guarded<T>(read: impl FnOnce() -> std::result::Result<T, hdf5_pure::Error>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err("the HDF5 decoder gave up on it".into()),
    }
}
