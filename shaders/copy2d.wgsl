//! Copies batch × rows × cols words between strided layouts. Word (b, r, c) comes from position
//! first + r·x_stride + c of block b of the source; positions outside 0..valid give zero.
//! stage: basic
//! import: grid
const ITEMS: u32 = 1024u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// batch · rows · cols.
    n: u32,
    rows: u32,
    cols: u32,
    first: i32,
    valid: u32,
    x_offset: u32,
    x_batch: u32,
    x_stride: u32,
    y_offset: u32,
    y_batch: u32,
    y_stride: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let start = (p.wg_base + g) * ITEMS + lid;
    for (var k = 0u; k < ITEMS; k += 256u) {
        let i = start + k;
        if (i < p.n) {
            let line = i / p.cols;
            let c = i - line * p.cols;
            let b = line / p.rows;
            let r = line - b * p.rows;
            // Wrapping arithmetic: a position before the first is beyond `valid` as an unsigned number.
            let at = bitcast<u32>(p.first) + r * p.x_stride + c;
            var v = 0u;
            if (at < p.valid) { v = x[p.x_offset + b * p.x_batch + at]; }
            y[p.y_offset + b * p.y_batch + r * p.y_stride + c] = v;
        }
    }
}
