//! `unary`, four neighbours at a time: for lengths that are whole fours.
//! stage: basic
//! import: grid pin fours
struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Fours.
    n: u32,
    mode: u32,
    scale: f32,
    offset: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let first = first_four(p.wg_base + g, lid);
    for (var k = 0u; k < RUN; k += SIDE) {
        let i = first + k;
        if (i < p.n) {
            let v = x[i];
            var r = abs(v);
            if (p.mode == 0u) { r = pin4(p.scale * v) + p.offset; }
            if (p.mode == 2u) { r = p.scale * pin4(v * v); }
            y[i] = r;
        }
    }
}
