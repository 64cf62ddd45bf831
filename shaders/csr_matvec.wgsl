//! y = A·x for a sparse matrix by rows, in parts of equal work however its rows are spread.
//!
//! The matrix is walked along a path of `items`: each row's nonzeros, then the row's end. Every workgroup takes 2048
//! items and every invocation 8 of them, so that neither a row with all the nonzeros nor a million empty rows keeps one
//! of them longer than the others. Item d of row r is nonzero d − r. The sum of the row that a part leaves unfinished
//! goes to `carry`; `csr_carry` adds it to the row.
//! stage: spiking
//! import: grid
const PART: u32 = 2048u;
const EACH: u32 = 8u;
const NONE: u32 = 0xffffffffu;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Nonzeros and row ends.
    items: u32,
    /// Items from one entry of `starts` to the next: divides 2048.
    part: u32,
    /// The row of y that row 0 of this piece of the matrix is.
    row_first: u32,
    /// The row of this piece that an earlier piece has begun in y; 0xffffffff: none.
    row_begun: u32,
    /// 1: two columns a word, the first in the lower half.
    packed: u32,
    /// 1: a value for each nonzero; 0: one for all.
    value_step: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// The row at the start of each part, and behind the last.
@group(0) @binding(1) var<storage, read> starts: array<u32>;
/// Where on the path each row ends.
@group(0) @binding(2) var<storage, read> ends: array<u32>;
@group(0) @binding(3) var<storage, read> columns: array<u32>;
@group(0) @binding(4) var<storage, read> values: array<f32>;
@group(0) @binding(5) var<storage, read> x: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> carry: array<f32>;

// The part's products, then its row ends counted from the part's start.
var<workgroup> stage: array<u32, 2304>;
var<workgroup> sums: array<f32, 256>;
var<workgroup> ended: array<u32, 256>;

// A gap every 8 words: invocations that each walk 8 neighbours go to different banks.
fn at(i: u32) -> u32 {
    return i + (i >> 3u);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let first = wg * PART;
    let n = min(PART, p.items - first);
    let parts = (p.items + p.part - 1u) / p.part;
    let per_group = PART / p.part;
    let row0 = starts[wg * per_group];
    let rows = starts[min((wg + 1u) * per_group, parts)] - row0;
    let nonzeros = n - rows;
    let nonzero0 = first - row0;
    for (var i = lid; i < nonzeros; i += 256u) {
        let j = nonzero0 + i;
        var column = columns[j >> p.packed];
        if (p.packed == 1u) { column = (column >> ((j & 1u) * 16u)) & 0xffffu; }
        stage[at(i)] = bitcast<u32>(values[j * p.value_step] * x[column]);
    }
    for (var i = lid; i < rows; i += 256u) {
        stage[at(nonzeros + i)] = ends[row0 + i] - first;
    }
    workgroupBarrier();

    let begin = min(lid * EACH, n);
    let end = min(begin + EACH, n);
    // The rows that end before `begin`.
    var row = 0u;
    var most = rows;
    while (row < most) {
        let middle = (row + most) / 2u;
        if (stage[at(nonzeros + middle)] < begin) { row = middle + 1u; } else { most = middle; }
    }
    var sum = 0.0;
    var head = 0.0;
    var head_row = NONE;
    for (var d = begin; d < end; d += 1u) {
        var ends_here = false;
        if (row < rows) { ends_here = stage[at(nonzeros + row)] == d; }
        if (ends_here) {
            // What the invocations before have of the first row is not known yet.
            if (head_row == NONE) {
                head = sum;
                head_row = row0 + row;
            } else {
                y[p.row_first + row0 + row] = sum;
            }
            sum = 0.0;
            row += 1u;
        } else {
            sum += bitcast<f32>(stage[at(d - row)]);
        }
    }

    // Sums of the rows left unfinished, each from the last row end on.
    sums[lid] = sum;
    ended[lid] = select(1u, 0u, head_row == NONE);
    workgroupBarrier();
    for (var step = 1u; step < 256u; step *= 2u) {
        var s = sums[lid];
        var e = ended[lid];
        if (lid >= step && e == 0u) {
            s += sums[lid - step];
            e = ended[lid - step];
        }
        workgroupBarrier();
        sums[lid] = s;
        ended[lid] = e;
        workgroupBarrier();
    }
    if (head_row != NONE) {
        if (lid > 0u) { head += sums[lid - 1u]; }
        if (head_row == p.row_begun) { head += y[p.row_first + head_row]; }
        y[p.row_first + head_row] = head;
    }
    if (lid == 255u) { carry[wg] = sums[lid]; }
}
