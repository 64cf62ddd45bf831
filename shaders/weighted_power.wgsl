//! norm[b·every + offset] = scale / Σ_k |h[b·stride + k]|²·w[k] over k < keep, for each row b; one workgroup a row.
//! stage: temporal
//! import: grid

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    stride: u32,
    keep: u32,
    every: u32,
    offset: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> h: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let row = p.wg_base + g;
    var sum = 0.0;
    for (var k = lid; k < p.keep; k += 256u) {
        let v = h[row * p.stride + k];
        sum += (v.x * v.x + v.y * v.y) * w[k];
    }
    sums[lid] = sum;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step = step / 2u) {
        if (lid < step) { sums[lid] += sums[lid + step]; }
        workgroupBarrier();
    }
    if (lid == 0u) { norm[row * p.every + p.offset] = p.scale / sums[0]; }
}
