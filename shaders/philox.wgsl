//! Philox4x32-10 of every counter.
//! stage: spiking
//! import: grid philox

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    key_low: u32,
    key_high: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> counters: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let i = (p.wg_base + g) * 256u + lid;
    if (i < p.n) { y[i] = philox4x32(counters[i], vec2<u32>(p.key_low, p.key_high)); }
}
