//! Multiplies and adds in registers, 16 independent chains an invocation: the ceiling of arithmetic.
//! stage: basic
//! import: grid

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Invocations that count.
    n: u32,
    /// Links of a chain v <- a·v + b.
    links: u32,
    a: f32,
    b: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// The sum of each invocation's chains, all of which begin at 0.
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let i = (p.wg_base + g) * 256u + lid;
    if (i >= p.n) { return; }
    let a = vec4<f32>(p.a);
    let b = vec4<f32>(p.b);
    // Different to a compiler, so that it computes all four.
    var v0 = vec4<f32>(f32(p.zero));
    var v1 = vec4<f32>(f32(p.zero & 1u));
    var v2 = vec4<f32>(f32(p.zero & 2u));
    var v3 = vec4<f32>(f32(p.zero & 4u));
    for (var k = 0u; k < p.links; k++) {
        v0 = fma(v0, a, b);
        v1 = fma(v1, a, b);
        v2 = fma(v2, a, b);
        v3 = fma(v3, a, b);
    }
    let sum = (v0 + v1) + (v2 + v3);
    y[i] = (sum.x + sum.y) + (sum.z + sum.w);
}
