//! y = f(a, b) for every complex element; b may be one row of `row` elements that every row of a meets.
//! Modes: 0 alpha·a + beta·b, 1 alpha·(a·b), 2 alpha·(a·conj(b)), 3 alpha·(conj(a)·b).
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
@group(0) @binding(1) var<storage, read> a: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec2<f32>>;

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
            var u = a[i];
            var v = b[j];
            var r: vec2<f32>;
            if (p.mode == 0u) {
                r = vec2<f32>(
                    pin(p.alpha * u.x) + pin(p.beta * v.x),
                    pin(p.alpha * u.y) + pin(p.beta * v.y),
                );
            } else {
                if (p.mode == 2u) { v.y = -v.y; }
                if (p.mode == 3u) { u.y = -u.y; }
                r = vec2<f32>(
                    p.alpha * pin(pin(u.x * v.x) - pin(u.y * v.y)),
                    p.alpha * pin(pin(u.x * v.y) + pin(u.y * v.x)),
                );
            }
            y[i] = r;
        }
    }
}
