//! A correlation evaluated at single times from its spectrum: for query q = (row, t) and i in 0..9,
//! z[9q + i] = Σ_k x[k]·w[k]·conj(h[row·stride + k])·exp(2πi k (t + i − 4)/n) for k < keep; n ≤ 2^20.
//!
//! Bins are taken in blocks of 32. The shift i − 4 turns a block by the phase of its centre, and by its first moment to
//! first order: what is left out is at most (2π·4·16/n)²/2 of a block's sum of magnitudes, 4.7e-6 at n = 131072.
//! stage: temporal
//! import: grid
const BLOCK: u32 = 32u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Samples of the full series.
    n: u32,
    stride: u32,
    keep: u32,
    /// 2π/n.
    step: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> h: array<vec2<f32>>;
// exp(2πi m/n) = turn[m / 1024] · turn[ceil(n / 1024) + m % 1024].
@group(0) @binding(4) var<storage, read> turn: array<vec2<f32>>;
// (row, t) of each query, and a workgroup for each. Row 0xffffffff asks for nothing.
@group(0) @binding(5) var<storage, read> query: array<u32>;
@group(0) @binding(6) var<storage, read_write> z: array<vec2<f32>>;

var<workgroup> inner: array<vec2<f32>, 32>;
var<workgroup> sums: array<vec2<f32>, 256>;

fn mul(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

// a·b mod n without overflow for a, b < n ≤ 2^20.
fn mul_mod(a: u32, b: u32) -> u32 {
    return (((a * (b >> 10u)) % p.n) * 1024u + a * (b & 1023u)) % p.n;
}

fn phase(m: u32) -> vec2<f32> {
    return mul(turn[m / 1024u], turn[(p.n + 1023u) / 1024u + m % 1024u]);
}

fn conj(a: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x, -a.y);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let q = p.wg_base + g;
    let row = query[q * 2u];
    let t = query[q * 2u + 1u] % p.n;
    let asked = row != 0xffffffffu;
    if (lid < BLOCK) { inner[lid] = phase(mul_mod(lid % p.n, t)); }
    workgroupBarrier();
    var total: array<vec2<f32>, 9>;
    for (var i = 0u; i < 9u; i += 1u) { total[i] = vec2<f32>(0.0, 0.0); }
    let blocks = (p.keep + BLOCK - 1u) / BLOCK;
    for (var block = lid; block < select(0u, blocks, asked); block += 256u) {
        let first = block * BLOCK;
        var sum = vec2<f32>(0.0, 0.0);
        var moment = vec2<f32>(0.0, 0.0);
        for (var j = 0u; j < BLOCK; j += 1u) {
            let k = first + j;
            if (k < p.keep) {
                let a = x[k] * w[k];
                let b = h[row * p.stride + k];
                let s = mul(vec2<f32>(a.x * b.x + a.y * b.y, a.y * b.x - a.x * b.y), inner[j]);
                sum += s;
                moment += s * (f32(j) - 16.0);
            }
        }
        let start = phase(mul_mod(first % p.n, t));
        sum = mul(sum, start);
        moment = mul(vec2<f32>(-moment.y, moment.x), start) * p.step;
        let u1 = phase((first + BLOCK / 2u) % p.n);
        let u2 = mul(u1, u1);
        let u3 = mul(u2, u1);
        let u4 = mul(u2, u2);
        total[0] += mul(sum - 4.0 * moment, conj(u4));
        total[1] += mul(sum - 3.0 * moment, conj(u3));
        total[2] += mul(sum - 2.0 * moment, conj(u2));
        total[3] += mul(sum - 1.0 * moment, conj(u1));
        total[4] += sum;
        total[5] += mul(sum + 1.0 * moment, u1);
        total[6] += mul(sum + 2.0 * moment, u2);
        total[7] += mul(sum + 3.0 * moment, u3);
        total[8] += mul(sum + 4.0 * moment, u4);
    }
    for (var i = 0u; i < 9u; i += 1u) {
        sums[lid] = total[i];
        workgroupBarrier();
        for (var step = 128u; step > 0u; step = step / 2u) {
            if (lid < step) { sums[lid] += sums[lid + step]; }
            workgroupBarrier();
        }
        if (lid == 0u) { z[q * 9u + i] = sums[0]; }
        workgroupBarrier();
    }
}
