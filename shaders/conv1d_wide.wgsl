//! `conv1d` with stride and dilation 1, for drivers that compute on the CPU: an invocation computes 8 channels × 16
//! positions without workgroup memory. It slides along the signal, one sample a tap, and all invocations of a workgroup
//! read the same filters, which such a driver then reads once. The part of the sum is whole channels.
//! stage: convolution
//! import: grid
const TILE_N: u32 = 128u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n_in: u32,
    n_out: u32,
    /// Channels of one group.
    c_in: u32,
    c_out: u32,
    groups: u32,
    taps: u32,
    pad: u32,
    /// The channels that this dispatch adds.
    c_first: u32,
    c_count: u32,
    /// 1: there is a bias; 2: y holds the sum so far.
    flags: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
/// Panels of 8 channels, as two fours a term.
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// Sample `at` of a row. Before the first it wraps, and is beyond the last as an unsigned number.
fn sample(row: u32, at: u32) -> f32 {
    var v = 0.0;
    if (at < p.n_in) { v = x[row + at]; }
    return v;
}

fn samples(row: u32, at: u32) -> vec4<f32> {
    return vec4<f32>(sample(row, at), sample(row, at + 1u), sample(row, at + 2u), sample(row, at + 3u));
}

fn held(at: u32, t: u32) -> vec4<f32> {
    var v = vec4<f32>();
    if (t < p.n_out) { v.x = y[at]; }
    if (t + 1u < p.n_out) { v.y = y[at + 1u]; }
    if (t + 2u < p.n_out) { v.z = y[at + 2u]; }
    if (t + 3u < p.n_out) { v.w = y[at + 3u]; }
    return v;
}

// What the outputs of channel m of a group at positions t to t + 15 start from.
fn begin(m: u32, t: u32, group: u32, y0: u32) -> mat4x4<f32> {
    var s = mat4x4<f32>();
    if (m < p.c_out) {
        if ((p.flags & 2u) != 0u) {
            let at = (y0 + m) * p.n_out + t;
            s = mat4x4<f32>(held(at, t), held(at + 4u, t + 4u), held(at + 8u, t + 8u), held(at + 12u, t + 12u));
        } else if ((p.flags & 1u) != 0u) {
            let v = vec4<f32>(bias[group * p.c_out + m]);
            s = mat4x4<f32>(v, v, v, v);
        }
    }
    return s;
}

fn put(at: u32, t: u32, v: vec4<f32>) {
    if (t < p.n_out) { y[at] = v.x; }
    if (t + 1u < p.n_out) { y[at + 1u] = v.y; }
    if (t + 2u < p.n_out) { y[at + 2u] = v.z; }
    if (t + 3u < p.n_out) { y[at + 3u] = v.w; }
}

fn finish(m: u32, t: u32, y0: u32, v: mat4x4<f32>) {
    if (m >= p.c_out) { return; }
    let at = (y0 + m) * p.n_out + t;
    put(at, t, v[0]);
    put(at + 4u, t + 4u, v[1]);
    put(at + 8u, t + 8u, v[2]);
    put(at + 12u, t + 12u, v[3]);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    var wg = p.wg_base + g;
    let panels = (p.c_out + 7u) / 8u;
    let tiles = (p.n_out + TILE_N - 1u) / TILE_N;
    let panel = wg % panels;
    wg = wg / panels;
    let t = (wg % tiles) * TILE_N + lid * 16u;
    wg = wg / tiles;
    let group = wg % p.groups;
    let b = wg / p.groups;

    let taps = p.taps;
    let n_in = p.n_in;
    let y0 = (b * p.groups + group) * p.c_out;
    let m = panel * 8u;
    var s0 = begin(m, t, group, y0);
    var s1 = begin(m + 1u, t, group, y0);
    var s2 = begin(m + 2u, t, group, y0);
    var s3 = begin(m + 3u, t, group, y0);
    var s4 = begin(m + 4u, t, group, y0);
    var s5 = begin(m + 5u, t, group, y0);
    var s6 = begin(m + 6u, t, group, y0);
    var s7 = begin(m + 7u, t, group, y0);
    let first = t - p.pad;
    var row = ((b * p.groups + group) * p.c_in + p.c_first) * n_in;
    var term = ((group * panels + panel) * p.c_in + p.c_first) * taps * 2u;
    for (var c = 0u; c < p.c_count; c += 1u) {
        // One sample behind what the first tap meets: every tap slides by one.
        var v0 = samples(row, first - 1u);
        var v1 = samples(row, first + 3u);
        var v2 = samples(row, first + 7u);
        var v3 = samples(row, first + 11u);
        var next = first + 15u;
        for (var j = 0u; j < taps; j += 1u) {
            v0 = vec4<f32>(v0.yzw, v1.x);
            v1 = vec4<f32>(v1.yzw, v2.x);
            v2 = vec4<f32>(v2.yzw, v3.x);
            v3 = vec4<f32>(v3.yzw, sample(row, next));
            let v = mat4x4<f32>(v0, v1, v2, v3);
            let low = w[term];
            let high = w[term + 1u];
            s0 += low.x * v;
            s1 += low.y * v;
            s2 += low.z * v;
            s3 += low.w * v;
            s4 += high.x * v;
            s5 += high.y * v;
            s6 += high.z * v;
            s7 += high.w * v;
            next += 1u;
            term += 2u;
        }
        row += n_in;
    }
    finish(m, t, y0, s0);
    finish(m + 1u, t, y0, s1);
    finish(m + 2u, t, y0, s2);
    finish(m + 3u, t, y0, s3);
    finish(m + 4u, t, y0, s4);
    finish(m + 5u, t, y0, s5);
    finish(m + 6u, t, y0, s6);
    finish(m + 7u, t, y0, s7);
}
