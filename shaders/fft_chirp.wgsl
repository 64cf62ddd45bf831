//! Multiplies rows by factors, on the way to another row length: what Bluestein's algorithm needs before, between and
//! after its two transforms. Row `r` of `to_n` elements becomes x[r·from_n + j]·factors[j]·scale for j < `n`, else 0.
//! stage: dense
//! import: grid
const ITEMS: u32 = 1024u;
const SWAP_IN: u32 = 2u;
const SWAP_OUT: u32 = 4u;
const CONJUGATE: u32 = 32u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    from_n: u32,
    to_n: u32,
    count: u32,
    flags: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> factors: array<vec2<f32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let first = (p.wg_base + g) * ITEMS + lid;
    for (var step = 0u; step < ITEMS; step += 256u) {
        let i = first + step;
        if (i >= p.to_n * p.count) { break; }
        let j = i % p.to_n;
        var v = vec2<f32>(0.0, 0.0);
        if (j < p.n) {
            var a = x[i / p.to_n * p.from_n + j];
            if ((p.flags & CONJUGATE) != 0u) { a.y = -a.y; }
            if ((p.flags & SWAP_IN) != 0u) { a = a.yx; }
            let b = factors[j];
            v = vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x) * p.scale;
            if ((p.flags & SWAP_OUT) != 0u) { v = v.yx; }
        }
        y[i] = v;
    }
}
