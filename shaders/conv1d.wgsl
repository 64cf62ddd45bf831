//! Cross-correlation of batch × channels × n_in with packed filters, as a matrix product whose right side is gathered
//! from x on the fly: y[b, m, t] = bias[m] + Σ_k w[m, k] · x[b, k / taps, t·stride + (k mod taps)·dilation − pad].
//! A workgroup computes 64 channels × 128 positions, an invocation 8 × 4. Filters lie in panels of 8 channels:
//! w[group, panel, k, 8], with zeros beyond the last channel.
//! stage: convolution
//! specialise: n_in, n_out, c_in, c_out, groups, taps, stride, dilation, pad, flags
//! import: grid
const TILE_M: u32 = 64u;
const TILE_N: u32 = 128u;
const TILE_K: u32 = 16u;
// 72 puts the four values of k that 32 lanes write at once into different banks.
const PITCH: u32 = 72u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n_in: u32,
    n_out: u32,
    /// Channels of one group.
    c_in: u32,
    c_out: u32,
    groups: u32,
    taps: u32,
    stride: u32,
    dilation: u32,
    pad: u32,
    /// The part of the sum that this dispatch adds.
    k_first: u32,
    k_count: u32,
    /// 1: there is a bias; 2: y holds the sum so far.
    flags: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

var<workgroup> left: array<f32, 1152>;
var<workgroup> right: array<f32, 2048>;

// What an output starts from.
fn start(channel: u32, at: u32, inside: bool) -> f32 {
    if (!inside) { return 0.0; }
    if ((p.flags & 2u) != 0u) { return y[at]; }
    if ((p.flags & 1u) != 0u) { return bias[channel]; }
    return 0.0;
}

// The four outputs of an invocation in channel m of a group, at positions t, t + 32, t + 64, t + 96.
fn begin(m: u32, t: u32, group: u32, y0: u32) -> vec4<f32> {
    let at = (y0 + m) * p.n_out + t;
    let c = group * p.c_out + m;
    let row = m < p.c_out;
    return vec4<f32>(
        start(c, at, row && t < p.n_out),
        start(c, at + 32u, row && t + 32u < p.n_out),
        start(c, at + 64u, row && t + 64u < p.n_out),
        start(c, at + 96u, row && t + 96u < p.n_out),
    );
}

fn finish(m: u32, t: u32, y0: u32, v: vec4<f32>) {
    let at = (y0 + m) * p.n_out + t;
    if (m >= p.c_out) { return; }
    if (t < p.n_out) { y[at] = v.x; }
    if (t + 32u < p.n_out) { y[at + 32u] = v.y; }
    if (t + 64u < p.n_out) { y[at + 64u] = v.z; }
    if (t + 96u < p.n_out) { y[at + 96u] = v.w; }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    var wg = p.wg_base + g;
    let tiles_m = (p.c_out + TILE_M - 1u) / TILE_M;
    let tiles_n = (p.n_out + TILE_N - 1u) / TILE_N;
    let m0 = (wg % tiles_m) * TILE_M;
    wg = wg / tiles_m;
    let n0 = (wg % tiles_n) * TILE_N;
    wg = wg / tiles_n;
    let group = wg % p.groups;
    let b = wg / p.groups;

    let tx = lid % 32u;
    let ty = lid / 32u;
    let k_all = p.c_in * p.taps;
    let k_end = p.k_first + p.k_count;
    let panels = (p.c_out + 7u) / 8u;
    let x0 = (b * p.groups + group) * p.c_in * p.n_in;
    let y0 = (b * p.groups + group) * p.c_out;

    // Scalars rather than an array: an array that a loop indexes may end up in memory.
    let m = m0 + ty * 8u;
    let t = n0 + tx;
    var acc0 = begin(m, t, group, y0);
    var acc1 = begin(m + 1u, t, group, y0);
    var acc2 = begin(m + 2u, t, group, y0);
    var acc3 = begin(m + 3u, t, group, y0);
    var acc4 = begin(m + 4u, t, group, y0);
    var acc5 = begin(m + 5u, t, group, y0);
    var acc6 = begin(m + 6u, t, group, y0);
    var acc7 = begin(m + 7u, t, group, y0);

    // Every invocation gathers one position for 8 values of k, and 4 filter values.
    let rn = lid % TILE_N;
    let rk = lid / TILE_N;
    let first = (n0 + rn) * p.stride - p.pad;
    let column = n0 + rn < p.n_out;
    let lr = lid % 8u;
    let lk = (lid / 8u) % TILE_K;
    let lp = lid / 128u;

    for (var k0 = p.k_first; k0 < k_end; k0 += TILE_K) {
        for (var j = 0u; j < 4u; j += 1u) {
            let panel = m0 / 8u + lp + 2u * j;
            let k = k0 + lk;
            var v = 0.0;
            if (panel < panels && k < k_end) { v = w[((group * panels + panel) * k_all + k) * 8u + lr]; }
            left[lk * PITCH + (lp + 2u * j) * 8u + lr] = v;
        }
        for (var j = 0u; j < 8u; j += 1u) {
            let k = k0 + rk + 2u * j;
            let channel = k / p.taps;
            // Before the first sample this wraps, and is beyond n_in as an unsigned number.
            let at = first + (k - channel * p.taps) * p.dilation;
            var v = 0.0;
            if (column && k < k_end && at < p.n_in) { v = x[x0 + channel * p.n_in + at]; }
            right[(rk + 2u * j) * TILE_N + rn] = v;
        }
        workgroupBarrier();
        for (var k = 0u; k < TILE_K; k += 1u) {
            let at = k * TILE_N + tx;
            let v = vec4<f32>(right[at], right[at + 32u], right[at + 64u], right[at + 96u]);
            let from_left = k * PITCH + ty * 8u;
            acc0 += left[from_left] * v;
            acc1 += left[from_left + 1u] * v;
            acc2 += left[from_left + 2u] * v;
            acc3 += left[from_left + 3u] * v;
            acc4 += left[from_left + 4u] * v;
            acc5 += left[from_left + 5u] * v;
            acc6 += left[from_left + 6u] * v;
            acc7 += left[from_left + 7u] * v;
        }
        workgroupBarrier();
    }

    finish(m, t, y0, acc0);
    finish(m + 1u, t, y0, acc1);
    finish(m + 2u, t, y0, acc2);
    finish(m + 3u, t, y0, acc3);
    finish(m + 4u, t, y0, acc4);
    finish(m + 5u, t, y0, acc5);
    finish(m + 6u, t, y0, acc6);
    finish(m + 7u, t, y0, acc7);
}
