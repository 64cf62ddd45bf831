//! Cuts windows out of a series and tapers them: y[s·n + i] = x[starts[s] + i] · window[i].
//! stage: temporal
//! import: grid
const ITEMS: u32 = 1024u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Samples of a window.
    n: u32,
    /// Samples in all windows.
    total: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> window: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let first = (p.wg_base + g) * ITEMS + lid;
    for (var k = 0u; k < ITEMS; k += 256u) {
        let i = first + k;
        if (i < p.total) {
            let at = i % p.n;
            y[i] = x[starts[i / p.n] + at] * window[at];
        }
    }
}
