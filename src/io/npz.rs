//! NPZ files: named NumPy arrays in a ZIP archive, stored or deflated.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ndarray::{Array1, Array2, ArrayD, Dimension, IxDyn, ShapeBuilder};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::npy::{Dtype, Element, Header, for_each_element, room};
use super::write_atomically;
use crate::device::CancelToken;
use crate::{Error, Result};

/// Deflate cannot expand more than this; a member that claims to is a lie.
const LARGEST_EXPANSION: u64 = 1032;
/// Names that an error lists.
const LISTED: usize = 40;

trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// An NPZ file, open for reading.
pub struct Npz {
    path: PathBuf,
    archive: ZipArchive<Box<dyn Source>>,
    /// Arrays by name, with their number in the archive.
    members: Vec<(String, usize)>,
}

impl std::fmt::Debug for Npz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Npz").field("path", &self.path).field("members", &self.members).finish()
    }
}

/// One array of an NPZ file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name, without `.npy`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Type of its elements.
    pub dtype: Dtype,
}

/// A number as it stands in a file, in the widest type of its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// From bool.
    Bool(bool),
    /// From an integer of any width.
    Integer(i128),
    /// From float16, float32 or float64.
    Float(f64),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(v) => write!(f, "{v}"),
            Self::Integer(v) => write!(f, "{v}"),
            // In scientific notation where it is very large or small.
            Self::Float(v) => write!(f, "{v:?}"),
        }
    }
}

/// What an array can be read as, whatever numbers the file holds.
pub trait Number: Sized + Clone {
    /// What it is called in errors.
    const NAME: &'static str;
    /// The number, or `None` where it would not be the same: see the implementations.
    fn of(scalar: Scalar) -> Option<Self>;
}

/// From floats, and from integers that it holds exactly.
impl Number for f64 {
    const NAME: &'static str = "float64";
    fn of(scalar: Scalar) -> Option<Self> {
        match scalar {
            Scalar::Float(v) => Some(v),
            Scalar::Integer(v) => (v.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS).then_some(v as f64),
            Scalar::Bool(_) => None,
        }
    }
}

/// From floats and integers, rounded to the nearest; not where that would be infinite.
impl Number for f32 {
    const NAME: &'static str = "float32";
    fn of(scalar: Scalar) -> Option<Self> {
        match scalar {
            Scalar::Float(v) => Some(v as f32).filter(|x| x.is_finite() || !v.is_finite()),
            Scalar::Integer(v) => Some(v as f32),
            Scalar::Bool(_) => None,
        }
    }
}

/// From integers.
impl Number for i64 {
    const NAME: &'static str = "int64";
    fn of(scalar: Scalar) -> Option<Self> {
        match scalar {
            Scalar::Integer(v) => v.try_into().ok(),
            _ => None,
        }
    }
}

/// From integers.
impl Number for u32 {
    const NAME: &'static str = "uint32";
    fn of(scalar: Scalar) -> Option<Self> {
        match scalar {
            Scalar::Integer(v) => v.try_into().ok(),
            _ => None,
        }
    }
}

/// From bool, and from integers that are 0 or 1.
impl Number for bool {
    const NAME: &'static str = "bool";
    fn of(scalar: Scalar) -> Option<Self> {
        match scalar {
            Scalar::Bool(v) => Some(v),
            Scalar::Integer(v @ (0 | 1)) => Some(v == 1),
            _ => None,
        }
    }
}

impl Npz {
    /// Opens a file and reads its directory.
    ///
    /// # Errors
    /// `File` if it is missing, truncated, or no NPZ file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let cannot = |e: std::io::Error| Error::file(path, format_args!("cannot be read ({e})"));
        let file = File::open(path).map_err(cannot)?;
        if !file.metadata().map_err(cannot)?.is_file() {
            return Err(Error::file(path, "is not a regular file"));
        }
        Self::from_source(path, Box::new(BufReader::new(file)))
    }

    /// Opens a file that is already in memory; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        Self::from_source(path.as_ref(), Box::new(Cursor::new(bytes.into())))
    }

    fn from_source(path: &Path, mut source: Box<dyn Source>) -> Result<Self> {
        let mut start = Vec::new();
        let read = source.by_ref().take(6).read_to_end(&mut start).and_then(|_| source.rewind());
        read.map_err(|e| Error::file(path, format_args!("cannot be read ({e})")))?;
        // An archive begins with a member, or with the end of an empty directory.
        if !start.starts_with(b"PK\x03\x04") && !start.starts_with(b"PK\x05\x06") {
            return Err(match start.as_slice() {
                [] => Error::file(path, "is empty"),
                b"\x93NUMPY" => Error::file(path, "is an NPY file, which is one array; an NPZ file was expected"),
                _ => Error::file(path, "is not an NPZ file"),
            });
        }
        let archive = ZipArchive::new(source).map_err(|e| match e {
            ZipError::Io(e) => Error::file(path, format_args!("cannot be read ({e})")),
            e => Error::file(path, format_args!("is truncated or damaged: its directory is not whole ({e})")),
        })?;
        if archive.has_duplicate_names() {
            return Err(Error::file(path, "is damaged: it holds a name twice"));
        }
        let mut members = Vec::new();
        for number in 0..archive.len() {
            // Names that are not text are those of no array that anybody can ask for.
            if let Some(Ok(name)) = archive.name_for_index(number)
                && let Some(name) = name.strip_suffix(".npy")
            {
                members.push((name.to_owned(), number));
            }
        }
        Ok(Self { path: path.into(), archive, members })
    }

    /// The file's name, for errors.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error about this file.
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::file(&self.path, message)
    }

    /// Names of the arrays, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there is an array of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|n| n == name)
    }

    /// Name, shape and type of every array; their numbers are not read.
    ///
    /// # Errors
    /// `File` for a member that is damaged or holds no plain numbers.
    pub fn list(&mut self) -> Result<Vec<Entry>> {
        let names: Vec<String> = self.names().map(str::to_owned).collect();
        names
            .into_iter()
            .map(|name| {
                let (header, _) = self.member(&name)?;
                Ok(Entry { name, shape: header.shape, dtype: header.dtype })
            })
            .collect()
    }

    /// Header and numbers of an array, checked against what the archive holds.
    fn member(&mut self, name: &str) -> Result<(Header, impl Read)> {
        let Some((_, number)) = self.members.iter().find(|(n, _)| n == name) else {
            let mut known: Vec<&str> = self.names().take(LISTED).collect();
            known.sort_unstable();
            let more = self.members.len().saturating_sub(LISTED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let known = if known.is_empty() { "no array".into() } else { known.join(", ") };
            return Err(self.error(format_args!("has no array \"{name}\"; it holds {known}{more}")));
        };
        let path = self.path.clone();
        let wrong = |e: &dyn std::fmt::Display| Error::file(&path, format_args!("array \"{name}\" {e}"));
        let mut member = self.archive.by_index(*number).map_err(|e| match e {
            ZipError::CompressionMethodNotSupported(_) => {
                wrong(&"is compressed in a way that NumPy does not use; save it with numpy.savez_compressed")
            }
            ZipError::UnsupportedArchive(e) => wrong(&format_args!("cannot be read ({e})")),
            e => wrong(&format_args!("is truncated or damaged ({e})")),
        })?;
        let header = Header::read(&mut member).map_err(|e| wrong(&e))?;
        let (size, packed) = (member.size(), member.compressed_size());
        let claimed = header.length as u64 + header.data_bytes() as u64;
        if claimed != size || size > packed.saturating_mul(LARGEST_EXPANSION).saturating_add(64) {
            let why = format!(
                "claims a shape of {:?}, which needs {}, and the file stores {} of it; it is truncated or damaged",
                header.shape,
                crate::bytes(header.data_bytes() as u64),
                crate::bytes(size.min(packed.saturating_mul(LARGEST_EXPANSION)).saturating_sub(header.length as u64))
            );
            return Err(wrong(&why));
        }
        Ok((header, member))
    }

    /// An array of any shape as `T`, row-major.
    ///
    /// # Errors
    /// `File` if there is none of this name (the message lists those that there are), if its checksum is wrong, or if
    /// it holds a number that `T` cannot be; `OutOfMemory`.
    pub fn array<T: Number>(&mut self, name: &str) -> Result<ArrayD<T>> {
        let path = self.path.clone();
        let wrong = |e: String| Error::file(&path, format_args!("array \"{name}\" {e}"));
        let (header, mut member) = self.member(name)?;
        let mut values = room::<T>(header.count)?;
        for_each_element(&mut member, &header, |bytes| {
            let scalar = scalar(header.dtype, bytes);
            let value = scalar.and_then(T::of).ok_or_else(|| {
                let found = scalar.map_or_else(|| format!("{bytes:?}"), |s| s.to_string());
                let (at, wanted) = (values.len(), T::NAME);
                format!("is {}: element {at} is {found}, which is no {wanted}", header.dtype)
            })?;
            values.push(value);
            Ok(())
        })
        .map_err(wrong)?;
        // The checksum is looked at where the member ends.
        match member.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(wrong("holds more than its header says; it is damaged".into())),
            Err(e) => return Err(wrong(format!("is damaged ({e})"))),
        }
        let shape = IxDyn(&header.shape);
        let array = ArrayD::from_shape_vec(shape.set_f(header.column_major), values)
            .map_err(|e| Error::Internal(format!("array \"{name}\": {e}")))?;
        Ok(if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() })
    }

    /// The one number of an array without dimensions, or of one element.
    ///
    /// # Errors
    /// As [`Self::array`], and `File` for any other number of elements.
    pub fn scalar<T: Number>(&mut self, name: &str) -> Result<T> {
        let array = self.array::<T>(name)?;
        match array.as_slice() {
            Some([one]) => Ok(one.clone()),
            _ => Err(self.shape_error(name, array.shape(), "one number")),
        }
    }

    /// A one-dimensional array; one column counts as one dimension.
    ///
    /// # Errors
    /// As [`Self::array`], and `File` for any other number of dimensions.
    pub fn vector<T: Number>(&mut self, name: &str) -> Result<Vec<T>> {
        let array = self.array::<T>(name)?;
        let shape = array.raw_dim();
        let column = array.ndim() == 2 && shape[1] == 1;
        let vector = if column { array.into_shape_with_order(shape[0]) } else { array.into_dimensionality() };
        match vector {
            Ok(vector) => Ok(Array1::into_raw_vec_and_offset(vector).0),
            Err(_) => Err(self.shape_error(name, shape.slice(), "one dimension")),
        }
    }

    /// A two-dimensional array, row-major; one dimension counts as one column.
    ///
    /// # Errors
    /// As [`Self::array`], and `File` for any other number of dimensions.
    pub fn matrix<T: Number>(&mut self, name: &str) -> Result<Array2<T>> {
        let array = self.array::<T>(name)?;
        let shape = array.raw_dim();
        let as_matrix = match array.ndim() {
            1 => array.into_shape_with_order((shape[0], 1)).ok(),
            _ => array.into_dimensionality().ok(),
        };
        as_matrix.ok_or_else(|| self.shape_error(name, shape.slice(), "rows and columns"))
    }

    fn shape_error(&self, name: &str, shape: &[usize], wanted: &str) -> Error {
        self.error(format_args!("array \"{name}\" has the shape {shape:?} where {wanted} was expected"))
    }
}

/// A number from its little-endian bytes; `None` for a bool that is neither 0 nor 1.
fn scalar(dtype: Dtype, bytes: &[u8]) -> Option<Scalar> {
    let integer = |v: i128| Some(Scalar::Integer(v));
    match dtype {
        Dtype::Bool => bool::of_bytes(bytes).map(Scalar::Bool),
        Dtype::I8 => integer(i8::of_bytes(bytes)?.into()),
        Dtype::I16 => integer(i16::of_bytes(bytes)?.into()),
        Dtype::I32 => integer(i32::of_bytes(bytes)?.into()),
        Dtype::I64 => integer(i64::of_bytes(bytes)?.into()),
        Dtype::U8 => integer(u8::of_bytes(bytes)?.into()),
        Dtype::U16 => integer(u16::of_bytes(bytes)?.into()),
        Dtype::U32 => integer(u32::of_bytes(bytes)?.into()),
        Dtype::U64 => integer(u64::of_bytes(bytes)?.into()),
        Dtype::F16 => u16::of_bytes(bytes).map(|bits| Scalar::Float(half(bits))),
        Dtype::F32 => f32::of_bytes(bytes).map(|v| Scalar::Float(v.into())),
        Dtype::F64 => f64::of_bytes(bytes).map(Scalar::Float),
    }
}

/// A number of IEEE 754 binary16: a sign, five bits of the exponent, ten of the fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let value = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -value } else { value }
}

/// A file behind a `ZipWriter`. The first failure is kept and nothing is written after it: the archive's own writer
/// would print a second failure when it is dropped.
struct Held<'a> {
    file: &'a mut BufWriter<File>,
    at: u64,
    end: u64,
    failed: Rc<RefCell<Option<std::io::Error>>>,
}

impl Held<'_> {
    fn held(&mut self, result: std::io::Result<()>) {
        if let Err(e) = result {
            self.failed.borrow_mut().get_or_insert(e);
        }
    }

    fn sound(&self) -> bool {
        self.failed.borrow().is_none()
    }
}

impl Write for Held<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.sound() {
            let result = self.file.write_all(bytes);
            self.held(result);
        }
        self.at += bytes.len() as u64;
        self.end = self.end.max(self.at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.sound() {
            let result = self.file.flush();
            self.held(result);
        }
        Ok(())
    }
}

impl Seek for Held<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let target = match to {
            SeekFrom::Start(n) => Some(n),
            SeekFrom::Current(n) => self.at.checked_add_signed(n),
            SeekFrom::End(n) => self.end.checked_add_signed(n),
        };
        self.at = target.ok_or(std::io::ErrorKind::InvalidInput)?;
        if self.sound() {
            let result = self.file.seek(SeekFrom::Start(self.at)).map(|_| ());
            self.held(result);
        }
        Ok(self.at)
    }
}

/// Writes the arrays of an NPZ file, one after another.
pub struct Writer<'a> {
    zip: ZipWriter<Held<'a>>,
    failed: Rc<RefCell<Option<std::io::Error>>>,
    cancel: CancelToken,
}

/// Elements that are written between two looks at the token that cancels.
const BLOCK: usize = 1 << 18;

impl Writer<'_> {
    /// Gives the file up, with [`Error::Cancelled`], once this token is cancelled.
    pub fn cancel_with(&mut self, token: CancelToken) {
        self.cancel = token;
    }

    fn start(&mut self, name: &str, header: &[u8], data_bytes: u64) -> Result<()> {
        let large = header.len() as u64 + data_bytes >= u64::from(u32::MAX);
        let member = format!("{name}.npy");
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(large);
        self.zip.start_file(&*member, options).map_err(|e| Error::invalid(name, e.to_string()))?;
        self.put(name, |zip| zip.write_all(header))
    }

    fn put(&mut self, name: &str, write: impl FnOnce(&mut ZipWriter<Held<'_>>) -> std::io::Result<()>) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        write(&mut self.zip)
            .and_then(|()| self.failed.borrow_mut().take().map_or(Ok(()), Err))
            .map_err(|e| Error::file(format!("{name}.npy"), e))
    }

    /// Adds a list of texts, as NumPy's Unicode strings of one width.
    ///
    /// # Errors
    /// As [`Self::array`].
    pub fn texts(&mut self, name: &str, texts: &[&str]) -> Result<()> {
        let width = texts.iter().map(|t| t.chars().count()).max().unwrap_or(0).max(1);
        let mut bytes = Vec::with_capacity(4 * width * texts.len());
        for text in texts {
            let letters = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
            letters.for_each(|c| bytes.extend(c.to_le_bytes()));
        }
        self.start(name, &Header::text(&format!("<U{width}"), &[texts.len()]), bytes.len() as u64)?;
        self.put(name, |zip| zip.write_all(&bytes))
    }

    /// Adds an array of the given shape (row-major; `&[]` for one number).
    ///
    /// # Errors
    /// `InvalidArgument` for a shape that does not hold the values, or a name that is there already; `File` if the disk
    /// refuses.
    pub fn array<T: Element>(&mut self, name: &str, shape: &[usize], values: &[T]) -> Result<()> {
        let header = Header::new(T::DTYPE, shape)
            .filter(|h| h.count == values.len())
            .ok_or_else(|| Error::invalid(name, format!("{shape:?} does not hold {} elements", values.len())))?;
        self.start(name, &header.bytes(), header.data_bytes() as u64)?;
        values.chunks(BLOCK).try_for_each(|part| self.put(name, |zip| T::write_to(part, zip)))
    }

    /// Adds an ndarray, in row-major order.
    ///
    /// # Errors
    /// As [`Self::array`].
    pub fn ndarray<T: Element, D: Dimension>(&mut self, name: &str, values: &ndarray::Array<T, D>) -> Result<()> {
        let standard = values.as_standard_layout();
        let slice = standard.as_slice().ok_or_else(|| Error::Internal(format!("{name}: no standard layout")))?;
        self.array(name, values.shape(), slice)
    }
}

/// Writes an NPZ file through `fill`, deflated, whole or not at all. The same arrays make the same bytes.
///
/// # Errors
/// `File` if it cannot be written, and what `fill` returns.
pub fn write(path: impl AsRef<Path>, fill: impl FnOnce(&mut Writer<'_>) -> Result<()>) -> Result<()> {
    // What `fill` refuses is not a matter of the file.
    let mut refused = None;
    let written = write_atomically(path, |file| {
        let failed = Rc::new(RefCell::new(None));
        let held = Held { file, at: 0, end: 0, failed: failed.clone() };
        let mut writer = Writer { zip: ZipWriter::new(held), failed: failed.clone(), cancel: CancelToken::new() };
        match fill(&mut writer) {
            Ok(()) => {}
            Err(Error::File { message, .. }) => return Err(message),
            Err(other) => {
                refused = Some(other);
                return Err(String::new());
            }
        }
        writer.zip.finish().map_err(|e| e.to_string())?;
        failed.borrow_mut().take().map_or(Ok(()), |e| Err(e.to_string()))
    });
    refused.map_or(written, Err)
}
