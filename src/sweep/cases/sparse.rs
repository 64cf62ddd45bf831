//! Products with sparse matrices.

use super::Agreement::{self, Within};
use super::{Case, Draft};
use crate::Result;
use crate::ops::csr::{Csr, Values};

/// Nonzeros of a row, but of the first.
const NONZEROS: usize = 24;
/// Nonzeros of the first row: more than a few parts of it are added up.
const LONG: usize = 30_000;
/// Columns of the dense matrix.
const COLUMNS: usize = 16;
/// Twice 9e-6: all terms are positive, so that the bound in Σ|a||x| is one in the result.
const SPARSE: Agreement = Within(1.8e-5);

pub const CSR_MATVEC: Case = Case {
    name: "csr_matvec",
    sizes: &[1 << 10, 1 << 14, 1 << 17],
    unit: "rows of 24 nonzeros, and one of 30,000",
    variants: &["each", "shared"],
    make: matvec,
};
pub const CSR_MATMUL: Case = Case {
    name: "csr_matmul",
    sizes: &[1 << 10, 1 << 13, 1 << 16],
    unit: "rows of 24 nonzeros, and one of 30,000, times 16 columns",
    variants: &["default"],
    make: matmul,
};

fn matrix(d: &mut Draft, rows: usize, shared: bool) -> Result<Csr> {
    let count = LONG + (rows - 1) * NONZEROS;
    let mut offsets = vec![0];
    offsets.extend((0..rows).map(|row| (LONG + row * NONZEROS) as u32));
    let indices: Vec<u32> = (0..count).map(|_| d.below(rows) as u32).collect();
    let values: Vec<f32> = if shared { Vec::new() } else { (0..count).map(|_| d.number().abs()).collect() };
    let values = if shared { Values::Shared(0.75) } else { Values::Each(&values) };
    Csr::new(&mut d.rec, rows, &offsets, &indices, values)
}

/// A column and a value for each nonzero, and an offset for each row.
fn bytes(matrix: &Csr, shared: bool) -> usize {
    let column = if matrix.columns() <= 1 << 16 { 2 } else { 4 };
    matrix.nonzeros() * (column + if shared { 0 } else { 4 }) + 4 * matrix.rows()
}

fn matvec(d: &mut Draft, rows: usize, variant: &str) -> Result<()> {
    let matrix = matrix(d, rows, variant == "shared")?;
    let x = d.positive("x", rows)?;
    let y = d.rec.scratch("y", rows)?;
    matrix.matvec(&mut d.rec, x, y)?;
    d.cost(bytes(&matrix, variant == "shared") + 8 * rows, 2 * matrix.nonzeros());
    d.output(y, SPARSE)
}

fn matmul(d: &mut Draft, rows: usize, _: &str) -> Result<()> {
    let matrix = matrix(d, rows, false)?;
    let x = d.positive("x", rows * COLUMNS)?;
    let y = d.rec.scratch("y", rows * COLUMNS)?;
    matrix.matmul(&mut d.rec, x, COLUMNS, y)?;
    d.cost(bytes(&matrix, false) + 8 * rows * COLUMNS, 2 * matrix.nonzeros() * COLUMNS);
    d.output(y, SPARSE)
}
