//! Transposes batch × rows × cols elements of `words` words (1, 2 or 4) each. A workgroup moves 32 rows of 32 words
//! through workgroup memory, so that both sides touch whole 128-byte runs.
//! stage: dense
//! import: grid
const SIDE: u32 = 32u;
// One word of padding keeps a column's words in different banks.
const PITCH: u32 = 33u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    rows: u32,
    cols: u32,
    words: u32,
    tiles_down: u32,
    tiles_across: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

var<workgroup> tile: array<u32, 1056>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let each = p.tiles_down * p.tiles_across;
    let block = wg / each;
    let t = wg - block * each;
    let down = t / p.tiles_across;
    let row = down * SIDE;
    // Columns of a tile, in elements.
    let side = SIDE / p.words;
    let col = (t - down * p.tiles_across) * side;
    let base = block * p.rows * p.cols * p.words;
    for (var k = lid; k < SIDE * SIDE; k += 256u) {
        let r = k / SIDE;
        let w = k - r * SIDE;
        if (row + r < p.rows && col * p.words + w < p.cols * p.words) {
            tile[r * PITCH + w] = x[base + ((row + r) * p.cols + col) * p.words + w];
        }
    }
    workgroupBarrier();
    let run = SIDE * p.words;
    for (var k = lid; k < SIDE * SIDE; k += 256u) {
        let c = k / run;
        let at = k - c * run;
        let r = at / p.words;
        if (col + c < p.cols && row + r < p.rows) {
            y[base + ((col + c) * p.rows + row) * p.words + at] = tile[r * PITCH + c * p.words + at - r * p.words];
        }
    }
}
