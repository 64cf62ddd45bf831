//! `binary`, four neighbours at a time: for rows that are whole fours.
//! stage: basic
//! import: grid pin
// Fours.
const ITEMS: u32 = 256u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Fours.
    n: u32,
    /// Fours of b.
    row: u32,
    mode: u32,
    alpha: f32,
    beta: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let i = (p.wg_base + g) * ITEMS + lid;
    if (i >= p.n) { return; }
    var j = i;
    if (p.row < p.n) { j = i % p.row; }
    let u = a[i];
    let v = b[j];
    var r = p.alpha * pin4(u * v);
    if (p.mode == 0u) { r = pin4(p.alpha * u) + pin4(p.beta * v); }
    y[i] = r;
}
