//! The spectrum of a correlation: y[b·n + k] = x[k] · w[k] · conj(h[b·stride + k]) for k < keep, else 0.
//! stage: temporal
//! import: grid
const ITEMS: u32 = 1024u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Bins of an output row.
    n: u32,
    rows: u32,
    /// Bins of a template row.
    stride: u32,
    /// Bins that are not zero.
    keep: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> h: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec2<f32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    // Whole workgroups belong to one row, so that a row's bins are read side by side.
    let per_row = (p.n + ITEMS - 1u) / ITEMS;
    let wg = p.wg_base + g;
    let row = wg / per_row;
    if (row >= p.rows) { return; }
    let first = (wg % per_row) * ITEMS + lid;
    for (var i = 0u; i < ITEMS; i += 256u) {
        let k = first + i;
        if (k < p.n) {
            var v = vec2<f32>(0.0, 0.0);
            if (k < p.keep) {
                let a = x[k] * w[k];
                let b = h[row * p.stride + k];
                v = vec2<f32>(a.x * b.x + a.y * b.y, a.y * b.x - a.x * b.y);
            }
            y[row * p.n + k] = v;
        }
    }
}
