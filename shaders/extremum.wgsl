//! The largest (or smallest) of rows × n values in chunks of 4096, with its index in the row: the lowest of equals,
//! −0 equal to +0, and a NaN before every number. Values are bits of f32; after the first level `xi` holds their
//! indices.
//! stage: dense
//! import: grid
const CHUNK: u32 = 4096u;
const LANES: u32 = 256u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    /// Chunks of a row.
    chunks: u32,
    /// 1 for the smallest.
    smallest: u32,
    /// 1 if the index of an element is its position.
    position: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> xi: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;
@group(0) @binding(4) var<storage, read_write> yi: array<u32>;

var<workgroup> keys: array<u32, LANES>;
var<workgroup> places: array<u32, LANES>;

// Larger for the element to prefer; comparisons of floats are not to be trusted with NaN.
fn rank(bits: u32) -> u32 {
    if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0xffffffffu; }
    var k = bits | 0x80000000u;
    if ((bits & 0x80000000u) != 0u && bits != 0x80000000u) { k = ~bits; }
    if (p.smallest != 0u) { k = ~k; }
    return k;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let row = wg / p.chunks;
    let start = (wg - row * p.chunks) * CHUNK;
    let end = min(start + CHUNK, p.n);
    let first = row * p.n;
    // Rank 0 belongs to no float.
    var key = 0u;
    var place = start;
    for (var i = start + lid; i < end; i += LANES) {
        let k = rank(x[first + i]);
        if (k > key) { key = k; place = i; }
    }
    keys[lid] = key;
    places[lid] = place;
    for (var h = LANES / 2u; h > 0u; h = h / 2u) {
        workgroupBarrier();
        if (lid < h) {
            let k = keys[lid + h];
            let q = places[lid + h];
            if (k > keys[lid] || (k == keys[lid] && q < places[lid])) {
                keys[lid] = k;
                places[lid] = q;
            }
        }
    }
    if (lid == 0u) {
        let at = places[0];
        y[wg] = x[first + at];
        if (p.position != 0u) { yi[wg] = at; } else { yi[wg] = xi[first + at]; }
    }
}
