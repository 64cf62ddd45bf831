//! Sparse matrices by rows (CSR), times a vector and times a dense matrix.
//!
//! **Work** is cut into parts along a path of each row's nonzeros and the row's end (Merrill & Garland, SC16,
//! doi:10.1109/SC.2016.57), so that parts take as long as each other whether one row has all the nonzeros or none has
//! any. What a part has of the row it leaves unfinished is added to that row in a second step, in order.
//!
//! **Rounding**: the order of additions depends on the matrix and the device alone, never on threads or timing; the
//! same call gives the same bits. With u = 2^-24, |y − exact| ≤ 150·u·Σ|a||x| = 9e-6·Σ|a||x| for rows of up to a
//! million nonzeros at least, since no sum in f32 goes through more than 150 roundings: parts are short, and sums over
//! many parts keep their rounding errors (GPU) or are in f64 (native). Beyond that each further piece of
//! `max_tensor_bytes`, or each 2^27/k nonzeros of a product with k columns, adds u. Products below 2^-126 may count as
//! zero. Values that are not finite are not looked for: what comes of them is not defined.
//!
//! **Memory** a nonzero: the column, u16 where the matrix has at most 65,536 columns and else u32, and 4 bytes for the
//! value unless all share one; a row takes 4 bytes. What exceeds `max_tensor_bytes` is kept in several tensors.

use rayon::prelude::*;

use crate::kernel::{self, Tensor, workgroups};
use crate::recording::Recording;
use crate::{Error, Result};

/// Path items of a workgroup of `shaders/csr_matvec.wgsl`.
const GROUP_ITEMS: usize = 2048;
/// Path items of an invocation of `shaders/csr_matmul.wgsl`; divides [`GROUP_ITEMS`].
const PART: usize = 64;
/// Path items of a part on the native path: long beside a row, short beside a thread's share of a small matrix.
const NATIVE_PART: usize = 1 << 12;
/// Most path items of a piece: positions are u32.
const MOST_ITEMS: usize = 1 << 30;
/// Most sums of unfinished rows that one dispatch of a product with a matrix leaves: they stay in a cache, and the loop
/// over those of one row stays short.
const MOST_CARRIES: usize = 1 << 21;
/// Parts of one row up to which a single invocation adds them up.
const NARROW: u32 = 8;
/// Columns that fit u16.
const PACKED_COLUMNS: usize = 1 << 16;
/// No row.
const NONE: u32 = u32::MAX;

/// The values of a sparse matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    /// One for each nonzero.
    Each(&'a [f32]),
    /// The same for all.
    Shared(f32),
}

/// A stretch of the path whose arrays fit a binding.
#[derive(Debug, Clone)]
struct Piece {
    /// Nonzeros and row ends.
    items: usize,
    /// The row that the piece begins in.
    row_first: usize,
    /// The row, counted from the first, at the start of each part and behind the last.
    starts: Vec<u32>,
    /// Whether the row at the start of each part, and behind the last, has nonzeros before it.
    cut: Vec<bool>,
    on_device: OnDevice,
}

impl Piece {
    /// The row that has nonzeros before this part, if it has.
    fn begun(&self, part: usize) -> u32 {
        if self.cut[part] { self.starts[part] } else { NONE }
    }
}

/// The arrays of a piece.
#[derive(Debug, Clone, Copy)]
struct OnDevice {
    starts: Tensor<u32>,
    /// Path positions of the row ends, and [`NONE`] behind the last.
    ends: Tensor<u32>,
    columns: Tensor<u32>,
    values: Tensor<f32>,
}

/// A sparse matrix of a recording.
#[derive(Debug, Clone)]
pub struct Csr {
    rows: usize,
    columns: usize,
    nonzeros: usize,
    packed: bool,
    shared: bool,
    part: usize,
    pieces: Vec<Piece>,
}

fn invalid(what: &str, why: impl Into<String>) -> Error {
    Error::invalid(format!("sparse matrix: {what}"), why)
}

/// What is wrong with the arrays of a matrix, if anything.
fn check(columns: usize, offsets: &[u32], indices: &[u32], values: Values<'_>) -> Result<()> {
    let nonzeros = indices.len();
    if offsets.len() < 2 {
        return Err(invalid("offsets", format!("{} given, must be one more than the rows, at least 2", offsets.len())));
    }
    if columns == 0 {
        return Err(invalid("columns", "0, must be at least 1"));
    }
    if u32::try_from(nonzeros).is_err() {
        return Err(invalid("indices", format!("{nonzeros} nonzeros, must be at most {}", u32::MAX)));
    }
    if offsets[0] != 0 {
        return Err(invalid("offsets", format!("row 0 begins at {}, must begin at 0", offsets[0])));
    }
    if let Some(row) = offsets.par_windows(2).position_first(|w| w[0] > w[1]) {
        let (begin, end) = (offsets[row], offsets[row + 1]);
        return Err(invalid("offsets", format!("row {row} begins at {begin} and ends at {end}; offsets must ascend")));
    }
    let row = offsets.len() - 2;
    if offsets[row + 1] as usize != nonzeros {
        let why =
            format!("the last row, {row}, ends at {}, must end at the number of indices, {nonzeros}", offsets[row + 1]);
        return Err(invalid("offsets", why));
    }
    if let Values::Each(v) = values
        && v.len() != nonzeros
    {
        return Err(invalid("values", format!("{} given, must be as many as the indices, {nonzeros}", v.len())));
    }
    if let Some(at) = indices.par_iter().position_first(|c| *c as usize >= columns) {
        let row = offsets.partition_point(|o| *o as usize <= at) - 1;
        return Err(invalid("indices", format!("column {} in row {row}, must be below {columns}", indices[at])));
    }
    Ok(())
}

/// Whole columns as words, or two a word.
fn store(indices: &[u32], packed: bool) -> Vec<u32> {
    if indices.is_empty() {
        return vec![0];
    }
    if !packed {
        return indices.to_vec();
    }
    let pack = |pair: &[u32]| pair[0] | pair.get(1).map_or(0, |second| second << 16);
    indices.par_chunks(2).map(pack).collect()
}

impl Csr {
    /// A matrix with `columns` columns: row r has the nonzeros `offsets[r]..offsets[r + 1]`, nonzero j stands in column
    /// `indices[j]`. Columns of a row may come in any order; those that come twice add up. Rows may be empty.
    ///
    /// # Errors
    /// `InvalidArgument`, with the row, for offsets that do not begin at 0, do not ascend or do not end at the number of
    /// indices, for a column that the matrix has not, and for more than 2^32 − 1 nonzeros, no row, no column, or values
    /// of another number; as [`Recording::constant`].
    pub fn new(
        rec: &mut Recording,
        columns: usize,
        offsets: &[u32],
        indices: &[u32],
        values: Values<'_>,
    ) -> Result<Self> {
        check(columns, offsets, indices, values)?;
        let (rows, nonzeros) = (offsets.len() - 1, indices.len());
        let packed = columns <= PACKED_COLUMNS;
        let part = if rec.capabilities().native { NATIVE_PART } else { PART };
        let block = part.max(GROUP_ITEMS);
        // Every array of a piece has an element for some of its items, and at most one more.
        let most = usize::try_from(rec.capabilities().max_tensor_bytes / 4).unwrap_or(usize::MAX);
        let most = (most.min(MOST_ITEMS + 1).saturating_sub(1) / block * block).max(block);
        let mut pieces = Vec::new();
        let (mut row, mut nonzero) = (0, 0);
        while row < rows {
            let items = most.min(rows - row + nonzeros - nonzero);
            let (row_first, nonzero_first) = (row, nonzero);
            let parts = items.div_ceil(part);
            let (mut starts, mut cut) = (Vec::with_capacity(parts + 1), Vec::with_capacity(parts + 1));
            let mut ends = Vec::new();
            for i in 0..=parts {
                starts.push((row - row_first) as u32);
                cut.push(row < rows && nonzero > offsets[row] as usize);
                let mut left = part.min(items.saturating_sub(i * part));
                while left > 0 {
                    let in_row = left.min(offsets[row + 1] as usize - nonzero);
                    nonzero += in_row;
                    left -= in_row;
                    if left > 0 {
                        ends.push((nonzero - nonzero_first + row - row_first) as u32);
                        row += 1;
                        left -= 1;
                    }
                }
            }
            ends.push(NONE);
            let name = |what: &str| match pieces.len() {
                0 => format!("csr {what}"),
                n => format!("csr {what} {n}"),
            };
            let inside = nonzero_first..nonzero;
            let values = match values {
                Values::Each(v) if !inside.is_empty() => rec.constant(name("values"), &v[inside.clone()])?,
                Values::Each(_) => rec.constant(name("values"), &[0.0])?,
                Values::Shared(v) => rec.constant(name("value"), &[v])?,
            };
            let on_device = OnDevice {
                starts: rec.constant(name("starts"), &starts)?,
                ends: rec.constant(name("row ends"), &ends)?,
                columns: rec.constant(name("columns"), &store(&indices[inside], packed))?,
                values,
            };
            pieces.push(Piece { items, row_first, starts, cut, on_device });
        }
        Ok(Self { rows, columns, nonzeros, packed, shared: matches!(values, Values::Shared(_)), part, pieces })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Stored elements, duplicates counted once each.
    pub fn nonzeros(&self) -> usize {
        self.nonzeros
    }

    /// Bytes that it takes on the device.
    pub fn bytes(&self) -> u64 {
        let of = |d: &OnDevice| d.starts.bytes() + d.ends.bytes() + d.columns.bytes() + d.values.bytes();
        self.pieces.iter().map(|p| of(&p.on_device)).sum()
    }

    /// y = A·x, x of as many elements as the matrix has columns, y of as many as it has rows.
    ///
    /// # Errors
    /// `InvalidArgument` for another length; as [`Recording::dispatch`].
    pub fn matvec(&self, rec: &mut Recording, x: Tensor<f32>, y: Tensor<f32>) -> Result<()> {
        use kernel::csr_matvec::{Args, Params, dispatch};
        self.check(x, 1, y)?;
        // The parts whose sums come back: a workgroup's on a GPU.
        let part = if rec.capabilities().native { self.part } else { GROUP_ITEMS };
        let each = part / self.part;
        for piece in &self.pieces {
            let parts = piece.items.div_ceil(part);
            let carry = rec.scratch("csr carry", parts)?;
            let d = piece.on_device;
            let params = Params {
                items: piece.items as u32,
                part: self.part as u32,
                row_first: piece.row_first as u32,
                row_begun: piece.begun(0),
                packed: u32::from(self.packed),
                value_step: u32::from(!self.shared),
            };
            let args = Args { starts: d.starts, ends: d.ends, columns: d.columns, values: d.values, x, y, carry };
            let groups = workgroups(piece.items, GROUP_ITEMS);
            rec.dispatch(dispatch(params, args, groups).work(4 * piece.items as u64))?;
            finish(rec, piece, each, 0..parts, 1, carry, y)?;
        }
        Ok(())
    }

    /// Y = A·X, X columns × `k` and Y rows × `k`, both row-major.
    ///
    /// # Errors
    /// `InvalidArgument` for no column or another length; as [`Recording::dispatch`].
    pub fn matmul(&self, rec: &mut Recording, x: Tensor<f32>, k: usize, y: Tensor<f32>) -> Result<()> {
        use kernel::csr_matmul::{Args, Params, dispatch};
        self.check(x, k, y)?;
        if k == 1 {
            return self.matvec(rec, x, y);
        }
        let largest = rec.capabilities().max_tensor_bytes / 4;
        let most = (largest.min(MOST_CARRIES as u64) as usize / k).max(1);
        for piece in &self.pieces {
            let all = piece.items.div_ceil(self.part);
            let carry = rec.scratch("csr carry", most.min(all) * k)?;
            for first in (0..all).step_by(most) {
                let parts = first..all.min(first + most);
                let d = piece.on_device;
                let params = Params {
                    items: piece.items as u32,
                    part: self.part as u32,
                    part_first: first as u32,
                    part_count: parts.len() as u32,
                    k: k as u32,
                    row_first: piece.row_first as u32,
                    row_begun: piece.begun(first),
                    packed: u32::from(self.packed),
                    value_step: u32::from(!self.shared),
                };
                let args = Args { starts: d.starts, ends: d.ends, columns: d.columns, values: d.values, x, y, carry };
                let items = piece.items.min(parts.end * self.part) - first * self.part;
                let groups = workgroups(parts.len() * k, 256);
                rec.dispatch(dispatch(params, args, groups).work((2 * items * k) as u64))?;
                finish(rec, piece, 1, parts, k, carry, y)?;
            }
        }
        Ok(())
    }

    fn check(&self, x: Tensor<f32>, k: usize, y: Tensor<f32>) -> Result<()> {
        if k == 0 {
            return Err(Error::invalid("sparse product: k", "0 columns, must be at least 1"));
        }
        for (what, x, n, of) in [("x", x, self.columns, "columns"), ("y", y, self.rows, "rows")] {
            if n.checked_mul(k) != Some(x.len()) {
                let by = if k == 1 { String::new() } else { format!(" × {k}") };
                let why = format!("{} elements, must be the {n} {of} of the matrix{by}", x.len());
                return Err(Error::invalid(format!("sparse product: {what}"), why));
            }
        }
        Ok(())
    }
}

/// Adds the sums that parts have of rows they leave unfinished to those rows. `parts` are of `each` parts of the piece.
fn finish(
    rec: &mut Recording,
    piece: &Piece,
    each: usize,
    parts: std::ops::Range<usize>,
    k: usize,
    carry: Tensor<f32>,
    y: Tensor<f32>,
) -> Result<()> {
    use kernel::csr_carry::{Args, KERNEL, KERNEL_WIDE, Params, dispatch};
    let fine = |part: usize| (part * each).min(piece.starts.len() - 1);
    // Rows that end before this stay unfinished by none of these parts.
    let behind = piece.starts[fine(parts.end)];
    let begun = piece.begun(fine(parts.start));
    let mut cuts: Vec<[u32; 4]> = Vec::new();
    let mut last = NONE;
    for part in parts.clone() {
        let at = fine(part + 1);
        let row = piece.starts[at];
        if !piece.cut[at] {
            continue;
        }
        match cuts.last_mut() {
            Some(cut) if last == row => cut[2] += 1,
            _ => {
                let has_rest = row < behind || row == begun;
                let first = (part - parts.start) as u32;
                cuts.push([(piece.row_first + row as usize) as u32, first, 1, u32::from(has_rest)]);
                last = row;
            }
        }
    }
    let (wide, narrow): (Vec<_>, Vec<_>) = cuts.into_iter().partition(|c| c[2] > NARROW);
    for (cuts, kernel, lanes) in [(narrow, &KERNEL, 1), (wide, &KERNEL_WIDE, 64)] {
        if cuts.is_empty() {
            continue;
        }
        let work: u64 = cuts.iter().map(|c| u64::from(c[2]) * 4 * k as u64).sum();
        let (n, groups) = (cuts.len(), workgroups(cuts.len() * k, 256 / lanes));
        let args = Args { cuts: rec.constant("csr cuts", &cuts)?, carry, y };
        let params = Params { n: n as u32, k: k as u32 };
        rec.dispatch(dispatch(params, args, groups).variant(kernel).work(work.max(groups * 256)))?;
    }
    Ok(())
}
