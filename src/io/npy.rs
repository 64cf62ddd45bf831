//! NumPy arrays on disk.

use super::write_atomically;
use crate::{Error, Result};
use npyz::WriterBuilder;
use std::path::Path;

/// Writes `values` as an NPY file of the given shape (row-major), whole or not at all.
///
/// Errors: [`Error::InvalidArgument`] if the shape does not hold as many elements as `values`;
/// [`Error::File`] if the file cannot be written.
pub fn write<T: npyz::AutoSerialize>(path: impl AsRef<Path>, shape: &[usize], values: &[T]) -> Result<()> {
    if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) != Some(values.len()) {
        return Err(Error::invalid("shape", format!("{shape:?} does not hold {} elements", values.len())));
    }
    let shape: Vec<u64> = shape.iter().map(|&d| d as u64).collect();
    write_atomically(path, |file| {
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
        writer.extend(values)?;
        writer.finish()
    })
}

/// Shape and values of an NPY file in row-major order.
///
/// Errors: [`Error::File`] if it is missing, not NPY, of another element type, or in column-major order.
pub fn read<T: npyz::Deserialize>(path: impl AsRef<Path>) -> Result<(Vec<usize>, Vec<T>)> {
    let path = path.as_ref();
    let file = std::fs::File::open(path).map_err(|e| Error::file(path, format_args!("cannot be read ({e})")))?;
    let npy = npyz::NpyFile::new(std::io::BufReader::new(file))
        .map_err(|e| Error::file(path, format_args!("is not an NPY file ({e})")))?;
    if npy.order() == npyz::Order::Fortran && npy.shape().len() > 1 {
        return Err(Error::file(path, "is in column-major order; save it in row-major order"));
    }
    let shape = npy.shape().iter().map(|&d| d as usize).collect();
    let values = npy.into_vec().map_err(|e| Error::file(path, format_args!("cannot be read as asked ({e})")))?;
    Ok((shape, values))
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
        let npy = npyz::NpyFile::new(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(npy.shape(), [2, 3]);
        let read: Vec<f32> = npy.into_vec().unwrap();
        assert!(read.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));

        write(&path, &[2], &[1e-300f64, 2.0]).unwrap();
        let npy = npyz::NpyFile::new(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(npy.into_vec::<f64>().unwrap(), [1e-300, 2.0]);
    }

    #[test]
    fn a_wrong_shape_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        assert!(matches!(write(&path, &[2, 2], &[1.0f32]), Err(Error::InvalidArgument { .. })));
        assert!(!path.exists());
    }
}
