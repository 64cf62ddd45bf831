//! `reduce` in the same order, with 32 of its 256 lanes an invocation: for rows of whole fours, and drivers that compute
//! on the CPU, where few invocations that meet seldom are best.
//! stage: dense
//! import: grid pin
// Fours.
const CHUNK: u32 = 1024u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Fours of a row.
    n: u32,
    /// Chunks of a row.
    chunks: u32,
    square: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> lane: array<vec4<f32>, 8>;

// One step of the sum: lanes past the last element add +0, which changes nothing.
fn add(s: vec4<f32>, at: u32, inside: bool) -> vec4<f32> {
    var v = vec4<f32>();
    if (inside) { v = x[at]; }
    if (p.square != 0u) { v = pin4(v * v); }
    return pin4(s + v);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let row = wg / p.chunks;
    let start = (wg - row * p.chunks) * CHUNK;
    let end = row * p.n + min(start + CHUNK, p.n);
    // Lanes 4·lid to 4·lid + 3 of each 32.
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var s6 = vec4<f32>();
    var s7 = vec4<f32>();
    for (var i = row * p.n + start + lid; i < end; i += 64u) {
        s0 = add(s0, i + 0u, i + 0u < end);
        s1 = add(s1, i + 8u, i + 8u < end);
        s2 = add(s2, i + 16u, i + 16u < end);
        s3 = add(s3, i + 24u, i + 24u < end);
        s4 = add(s4, i + 32u, i + 32u < end);
        s5 = add(s5, i + 40u, i + 40u < end);
        s6 = add(s6, i + 48u, i + 48u < end);
        s7 = add(s7, i + 56u, i + 56u < end);
    }
    s0 = pin4(s0 + s4);
    s1 = pin4(s1 + s5);
    s2 = pin4(s2 + s6);
    s3 = pin4(s3 + s7);
    s0 = pin4(s0 + s2);
    s1 = pin4(s1 + s3);
    lane[lid] = pin4(s0 + s1);
    for (var h = 4u; h > 0u; h = h / 2u) {
        workgroupBarrier();
        if (lid < h) { lane[lid] = pin4(lane[lid] + lane[lid + h]); }
    }
    if (lid == 0u) {
        let v = lane[0];
        y[wg] = pin(pin(v.x + v.z) + pin(v.y + v.w));
    }
}
