//! y = f(x) for every element. Modes: 0 scale·x + offset, 1 |x|, 2 scale·x².
//! stage: basic
//! import: grid pin
const ITEMS: u32 = 1024u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    mode: u32,
    scale: f32,
    offset: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let first = (p.wg_base + g) * ITEMS + lid;
    for (var k = 0u; k < ITEMS; k += 256u) {
        let i = first + k;
        if (i < p.n) {
            let v = x[i];
            var r = abs(v);
            if (p.mode == 0u) { r = pin(p.scale * v) + p.offset; }
            if (p.mode == 2u) { r = p.scale * pin(v * v); }
            y[i] = r;
        }
    }
}
