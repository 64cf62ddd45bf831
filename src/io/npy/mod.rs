//! NumPy arrays on disk: whole ones, rows of one, and one that is written over hours and resumed.

mod header;
mod stream;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::write_atomically;
use crate::{Error, Result};

pub use header::Dtype;
pub(super) use header::Header;
pub use stream::NpyStream;

mod sealed {
    pub trait Sealed {}
}

/// A number as NPY files hold it.
pub trait Element: sealed::Sealed + Copy {
    /// Its type in the file.
    const DTYPE: Dtype;
    #[doc(hidden)]
    fn write_to(values: &[Self], out: &mut dyn Write) -> std::io::Result<()>;
    #[doc(hidden)]
    fn of_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! element {
    ($($rust:ty, $dtype:ident;)*) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: Dtype = Dtype::$dtype;

            fn write_to(values: &[Self], out: &mut dyn Write) -> std::io::Result<()> {
                if cfg!(target_endian = "little") {
                    return out.write_all(bytemuck::cast_slice(values));
                }
                values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))
            }

            fn of_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_le_bytes)
            }
        }
    )*};
}

element! { i8, I8; i16, I16; i32, I32; i64, I64; u8, U8; u16, U16; u32, U32; u64, U64; f32, F32; f64, F64; }

impl sealed::Sealed for bool {}
impl Element for bool {
    const DTYPE: Dtype = Dtype::Bool;

    fn write_to(values: &[Self], out: &mut dyn Write) -> std::io::Result<()> {
        values.iter().try_for_each(|v| out.write_all(&[u8::from(*v)]))
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

/// Writes `values` as an NPY file of the given shape (row-major), whole or not at all.
///
/// Errors: [`Error::InvalidArgument`] if the shape does not hold as many elements as `values`;
/// [`Error::File`] if the file cannot be written.
pub fn write<T: Element>(path: impl AsRef<Path>, shape: &[usize], values: &[T]) -> Result<()> {
    let header = Header::new(T::DTYPE, shape)
        .filter(|h| h.count == values.len())
        .ok_or_else(|| Error::invalid("shape", format!("{shape:?} does not hold {} elements", values.len())))?;
    write_atomically(path, |file| {
        file.write_all(&header.bytes())?;
        T::write_to(values, file)
    })
}

/// Shape and values of an NPY file in row-major order.
///
/// Errors: [`Error::File`] if it is missing, not NPY, of another element type, or in column-major order.
pub fn read<T: Element>(path: impl AsRef<Path>) -> Result<(Vec<usize>, Vec<T>)> {
    let path = path.as_ref();
    let (mut file, header) = open(path)?;
    if header.dtype != T::DTYPE || header.big_endian {
        let order = if header.big_endian { "big-endian " } else { "" };
        let why = format!("holds {order}{} where {} was expected", header.dtype, T::DTYPE);
        return Err(Error::file(path, why));
    }
    if header.column_major && header.shape.len() > 1 {
        return Err(Error::file(path, "is in column-major order; save it in row-major order"));
    }
    let mut values = room(header.count)?;
    for_each_element(&mut file, &header, |bytes| match T::of_bytes(bytes) {
        Some(value) => {
            values.push(value);
            Ok(())
        }
        None => Err(format!("has {bytes:?} where {} was expected", T::DTYPE)),
    })
    .map_err(|why| Error::file(path, why))?;
    Ok((header.shape, values))
}

/// Opens an NPY file and checks that it holds as many bytes as its header says.
fn open(path: &Path) -> Result<(BufReader<File>, Header)> {
    let cannot = |e: std::io::Error| Error::file(path, format_args!("cannot be read ({e})"));
    let file = File::open(path).map_err(cannot)?;
    let length = file.metadata().map_err(cannot)?.len();
    let mut file = BufReader::new(file);
    let header = Header::read(&mut file).map_err(|why| Error::file(path, why))?;
    let expected = header.length as u64 + header.data_bytes() as u64;
    if length < expected {
        let why = format!("is truncated: it has {length} bytes of {expected}");
        return Err(Error::file(path, why));
    }
    Ok((file, header))
}

/// An empty list with room for so many elements.
pub(super) fn room<T>(count: usize) -> Result<Vec<T>> {
    let mut list = Vec::new();
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    list.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { bytes, what: "an array of a file".into() })?;
    Ok(list)
}

/// Hands out the bytes of every element in the order of the file, little-endian.
pub(super) fn for_each_element(
    from: &mut impl Read,
    header: &Header,
    mut each: impl FnMut(&[u8]) -> std::result::Result<(), String>,
) -> std::result::Result<(), String> {
    let size = header.dtype.size();
    let mut block = [0u8; 1 << 14];
    let mut left = header.data_bytes();
    while left > 0 {
        let part = &mut block[..left.min(1 << 14)];
        from.read_exact(part).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => "is truncated".into(),
            _ => format!("cannot be read ({e})"),
        })?;
        left -= part.len();
        for bytes in part.chunks_exact_mut(size) {
            if header.big_endian {
                bytes.reverse();
            }
            each(bytes)?;
        }
    }
    Ok(())
}

/// The rows of a two-dimensional float32 file, read as they are asked for.
#[derive(Debug)]
pub struct NpyRows {
    path: PathBuf,
    file: File,
    rows: usize,
    columns: usize,
    start: u64,
}

impl NpyRows {
    /// Opens a file.
    ///
    /// Errors: [`Error::File`] if it is missing, truncated, or not a row-major (rows × columns) float32 array.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, header) = open(path)?;
        let Header { dtype: Dtype::F32, big_endian: false, column_major: false, ref shape, length, .. } = header else {
            return Err(Error::file(path, "is not a row-major float32 array"));
        };
        let &[rows, columns] = shape.as_slice() else {
            let why = format!("has the shape {shape:?} where rows and columns were expected");
            return Err(Error::file(path, why));
        };
        Ok(Self { path: path.into(), file: file.into_inner(), rows, columns, start: length as u64 })
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The rows of a range into `out` (rows × columns).
    ///
    /// Errors: [`Error::InvalidArgument`] for rows that there are not, or an `out` of another size; [`Error::File`] if
    /// they cannot be read.
    pub fn read(&mut self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        if rows.start > rows.end || rows.end > self.rows || out.len() != rows.len() * self.columns {
            let why = format!("{rows:?} of {} into room for {} numbers", self.rows, out.len());
            return Err(Error::invalid("rows", why));
        }
        let cannot = |e: std::io::Error| Error::file(&self.path, format_args!("cannot be read ({e})"));
        let at = self.start + 4 * (rows.start as u64 * self.columns as u64);
        self.file.seek(SeekFrom::Start(at)).map_err(cannot)?;
        self.file.read_exact(bytemuck::cast_slice_mut(out)).map_err(cannot)?;
        if cfg!(target_endian = "big") {
            out.iter_mut().for_each(|v| *v = f32::from_bits(v.to_bits().swap_bytes()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_with_shape_and_type() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let values = [1.5f32, -2.0, f32::NAN, 4.0, 5.0, 6.0];
        write(&path, &[2, 3], &values).unwrap();
        // By another reader, and by ours.
        let npy = npyz::NpyFile::new(File::open(&path).unwrap()).unwrap();
        assert_eq!(npy.shape(), [2, 3]);
        let theirs: Vec<f32> = npy.into_vec().unwrap();
        let (shape, ours) = read::<f32>(&path).unwrap();
        assert_eq!(shape, [2, 3]);
        let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(&theirs) == bits(&values) && bits(&ours) == bits(&values));

        write(&path, &[2], &[1e-300f64, 2.0]).unwrap();
        let npy = npyz::NpyFile::new(File::open(&path).unwrap()).unwrap();
        assert_eq!(npy.into_vec::<f64>().unwrap(), [1e-300, 2.0]);
        assert!(read::<f32>(&path).unwrap_err().to_string().contains("holds float64 where float32"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read::<f64>(&path).unwrap_err().to_string().contains("truncated"));
    }

    #[test]
    fn a_wrong_shape_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        assert!(matches!(write(&path, &[2, 2], &[1.0f32]), Err(Error::InvalidArgument { .. })));
        assert!(matches!(write(&path, &[usize::MAX, 2], &[1.0f32]), Err(Error::InvalidArgument { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn rows_are_read_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        write(&path, &[4, 3], &values).unwrap();
        let mut rows = NpyRows::open(&path).unwrap();
        assert_eq!(rows.shape(), (4, 3));
        let mut out = [9.0; 6];
        rows.read(1..3, &mut out).unwrap();
        assert_eq!(out, values[3..9]);
        rows.read(4..4, &mut []).unwrap();
        assert!(rows.read(3..5, &mut out).is_err() && rows.read(1..2, &mut out).is_err());
        write(&path, &[12], &values).unwrap();
        assert!(NpyRows::open(&path).unwrap_err().to_string().contains("rows and columns"));
        write(&path, &[4, 3], &[0.0f64; 12]).unwrap();
        assert!(NpyRows::open(&path).unwrap_err().to_string().contains("float32"));
    }
}
