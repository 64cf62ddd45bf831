//! What stands before the numbers of an NPY file (NumPy Enhancement Proposal 1, versions 1 to 3 of the format).

use std::io::Read;

/// The longest header that is believed: one of plain numbers needs about a hundred bytes.
const LONGEST: usize = 64 << 10;
/// The most dimensions that NumPy has.
const MOST_DIMENSIONS: usize = 64;

/// The type of an array's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dtype {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// As the format writes it, little-endian.
    fn descr(self) -> &'static str {
        match self {
            Self::Bool => "|b1",
            Self::I8 => "|i1",
            Self::U8 => "|u1",
            Self::I16 => "<i2",
            Self::I32 => "<i4",
            Self::I64 => "<i8",
            Self::U16 => "<u2",
            Self::U32 => "<u4",
            Self::U64 => "<u8",
            Self::F16 => "<f2",
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }

    fn of_descr(code: &str) -> Option<Self> {
        use Dtype::{Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        [Bool, I8, I16, I32, I64, U8, U16, U32, U64, F16, F32, F64].into_iter().find(|d| d.descr()[1..] == *code)
    }
}

impl std::fmt::Display for Dtype {
    /// The name that NumPy prints.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::io) struct Header {
    pub dtype: Dtype,
    pub big_endian: bool,
    pub column_major: bool,
    pub shape: Vec<usize>,
    /// Number of elements, which is known not to overflow, nor their bytes.
    pub count: usize,
    /// Bytes of the header itself.
    pub length: usize,
}

impl Header {
    pub fn new(dtype: Dtype, shape: &[usize]) -> Option<Self> {
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        count.checked_mul(dtype.size())?;
        let mut header =
            Self { dtype, big_endian: false, column_major: false, shape: shape.to_vec(), count, length: 0 };
        header.length = header.bytes().len();
        Some(header)
    }

    /// The bytes of the numbers.
    pub fn data_bytes(&self) -> usize {
        self.count * self.dtype.size()
    }

    /// As it stands in a file: padded, so that the numbers begin at a multiple of 64 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        Self::text(self.dtype.descr(), &self.shape)
    }

    /// A header of elements of any type.
    pub fn text(descr: &str, sizes: &[usize]) -> Vec<u8> {
        let mut shape: String = sizes.iter().map(|d| format!("{d}, ")).collect();
        if sizes.len() > 1 {
            shape.truncate(shape.len() - 2);
        }
        let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
        let length = (10 + text.len() + 1).next_multiple_of(64);
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(((length - 10) as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.resize(length - 1, b' ');
        bytes.push(b'\n');
        bytes
    }

    /// Reads a header, after which the reader stands at the first number.
    pub fn read(from: &mut impl Read) -> Result<Self, String> {
        let mut exactly = |n: usize| -> Result<Vec<u8>, String> {
            let mut bytes = vec![0; n];
            from.read_exact(&mut bytes).map_err(|e| match e.kind() {
                std::io::ErrorKind::UnexpectedEof => "is truncated: its header is not whole".into(),
                _ => format!("cannot be read ({e})"),
            })?;
            Ok(bytes)
        };
        let start = exactly(8)?;
        if !start.starts_with(b"\x93NUMPY") {
            return Err("is not an NPY file".into());
        }
        let (prefix, length) = match start[6] {
            1 => (10, exactly(2)?.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b))),
            2 | 3 => (12, exactly(4)?.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b))),
            version => return Err(format!("has version {version} of the NPY format, which is not known")),
        };
        if length > LONGEST {
            return Err(format!("has a header of {length} bytes, which is not believable"));
        }
        let text = exactly(length)?;
        let (descr, column_major, shape) = parse(&text).ok_or("has a header that is not one of plain numbers")?;
        let (big_endian, dtype) = match descr.split_at_checked(1) {
            Some((order @ ("<" | ">" | "|" | "="), code)) => (order == ">", Dtype::of_descr(code)),
            _ => (false, None),
        };
        let dtype = dtype.ok_or_else(|| format!("holds elements of type {descr:?}; save it as float32 or float64"))?;
        let absurd = || format!("claims a shape of {shape:?}, which is not believable");
        if shape.len() > MOST_DIMENSIONS {
            return Err(absurd());
        }
        let header = Self::new(dtype, &shape).ok_or_else(absurd)?;
        Ok(Self { big_endian, column_major, length: prefix + length, ..header })
    }
}

/// `descr`, `fortran_order` and `shape` of `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse(text: &[u8]) -> Option<(String, bool, Vec<usize>)> {
    let text = std::str::from_utf8(text).ok()?.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (mut descr, mut order, mut shape) = (None, None, None);
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        let after = match key {
            "descr" => {
                let (value, after) = quoted(value)?;
                descr = Some(value.to_owned());
                after
            }
            "fortran_order" => {
                let (is, after) = match value.strip_prefix("True") {
                    Some(after) => (true, after),
                    None => (false, value.strip_prefix("False")?),
                };
                order = Some(is);
                after
            }
            "shape" => {
                let (list, after) = value.strip_prefix('(')?.split_once(')')?;
                // Python 2 wrote long integers with an L.
                let sizes = list.split(',').map(|s| s.trim().trim_end_matches('L')).filter(|s| !s.is_empty());
                shape = Some(sizes.map(|s| s.parse().ok()).collect::<Option<Vec<usize>>>()?);
                after
            }
            _ => return None,
        };
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some((descr?, order?, shape?))
}

/// A text in single or double quotes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Header, String> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        Header::read(&mut bytes.as_slice())
    }

    #[test]
    fn what_is_written_is_read() {
        for (dtype, shape) in
            [(Dtype::F32, vec![]), (Dtype::F64, vec![3]), (Dtype::Bool, vec![3, 4]), (Dtype::I16, vec![0, 2, 5])]
        {
            let header = Header::new(dtype, &shape).unwrap();
            let bytes = header.bytes();
            assert!(bytes.len().is_multiple_of(64));
            assert_eq!(Header::read(&mut bytes.as_slice()).unwrap(), header);
        }
    }

    #[test]
    fn headers_as_others_write_them() {
        let header = read("{\"shape\":(2L,3L),\"fortran_order\":True,\"descr\":\">f8\"}\n").unwrap();
        assert_eq!((header.dtype, header.big_endian, header.column_major), (Dtype::F64, true, true));
        assert_eq!((header.shape, header.count), (vec![2, 3], 6));
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        for (text, word) in [
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "not believable"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }", "plain numbers"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (3,)", "plain numbers"),
            ("{'descr': '<f8', 'shape': (3,), }", "plain numbers"),
            ("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,), }", "plain numbers"),
            ("{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", "<c8"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", "|O"),
            ("{'descr': '', 'fortran_order': False, 'shape': (3,), }", "elements of type"),
            ("((((((((((((((((((((", "plain numbers"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(Header::read(&mut &b"\x93NUMPY\x02\x00\xff\xff\xff\xff"[..]).unwrap_err().contains("not believable"));
        assert!(Header::read(&mut &b"\x93NUMPY\x01\x00\xff"[..]).unwrap_err().contains("truncated"));
    }
}
