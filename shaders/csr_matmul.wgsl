//! Y = A·X for a sparse matrix by rows and a dense row-major X, in parts of equal work however the rows are spread.
//!
//! An invocation walks one part of the matrix's path (see `csr_matvec.wgsl`) for one column of X: neighbours read
//! neighbouring elements of a row of X.
//! stage: spiking
//! import: grid

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Nonzeros and row ends.
    items: u32,
    /// Items of a part.
    part: u32,
    /// The parts that this dispatch walks.
    part_first: u32,
    part_count: u32,
    /// Columns of X and Y.
    k: u32,
    /// The row of Y that row 0 of this piece of the matrix is.
    row_first: u32,
    /// The row of this piece that earlier parts have begun in Y; 0xffffffff: none.
    row_begun: u32,
    /// 1: two columns a word, the first in the lower half.
    packed: u32,
    /// 1: a value for each nonzero; 0: one for all.
    value_step: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// The row at the start of each part, and behind the last.
@group(0) @binding(1) var<storage, read> starts: array<u32>;
/// Where on the path each row ends; behind the last 0xffffffff.
@group(0) @binding(2) var<storage, read> ends: array<u32>;
@group(0) @binding(3) var<storage, read> columns: array<u32>;
@group(0) @binding(4) var<storage, read> values: array<f32>;
@group(0) @binding(5) var<storage, read> x: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
/// For each part of this dispatch the sums of the row that it leaves unfinished.
@group(0) @binding(7) var<storage, read_write> carry: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let item = (p.wg_base + g) * 256u + lid;
    if (item >= p.part_count * p.k) { return; }
    let column = item % p.k;
    let part = p.part_first + item / p.k;
    let end = min((part + 1u) * p.part, p.items);
    var row = starts[part];
    var row_end = ends[row];
    var sum = 0.0;
    for (var d = part * p.part; d < end; d += 1u) {
        if (d == row_end) {
            let to = (p.row_first + row) * p.k + column;
            if (row == p.row_begun) { sum += y[to]; }
            y[to] = sum;
            sum = 0.0;
            row += 1u;
            row_end = ends[row];
        } else {
            let j = d - row;
            var source = columns[j >> p.packed];
            if (p.packed == 1u) { source = (source >> ((j & 1u) * 16u)) & 0xffffu; }
            sum += values[j * p.value_step] * x[source * p.k + column];
        }
    }
    carry[item] = sum;
}
