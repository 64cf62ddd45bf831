//! `binary`, four neighbours at a time: for rows that are whole fours. Variant `rows`: b is one row of a, or several.
//! stage: basic
//! import: grid pin fours
//! variant: rows ROWS=true
const ROWS: bool = false;

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
    let first = first_four(p.wg_base + g, lid);
    for (var k = 0u; k < RUN; k += SIDE) {
        let i = first + k;
        if (i < p.n) {
            var j = i;
            // Not asked of a parameter: drivers that mask branches divide all the same, which takes a tenth of the time.
            if (ROWS) { j = i % p.row; }
            let u = a[i];
            let v = b[j];
            var r = p.alpha * pin4(u * v);
            if (p.mode == 0u) { r = pin4(p.alpha * u) + pin4(p.beta * v); }
            y[i] = r;
        }
    }
}
