//! y = f(a, b) for every element; b may be one row of `row` elements that every row of a meets.
//! Modes: 0 alpha·a + beta·b, 1 alpha·(a·b).
//! stage: basic
//! import: grid pin
const ITEMS: u32 = 1024u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    /// Elements of b.
    row: u32,
    mode: u32,
    alpha: f32,
    beta: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let first = (p.wg_base + g) * ITEMS + lid;
    for (var k = 0u; k < ITEMS; k += 256u) {
        let i = first + k;
        if (i < p.n) {
            var j = i;
            if (p.row < p.n) { j = i % p.row; }
            let u = a[i];
            let v = b[j];
            var r = p.alpha * pin(u * v);
            if (p.mode == 0u) { r = pin(p.alpha * u) + pin(p.beta * v); }
            y[i] = r;
        }
    }
}
