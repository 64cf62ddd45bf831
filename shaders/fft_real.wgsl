//! What turns complex transforms into real ones: `count` rows of `n` real points and ⌊n/2⌋ + 1 bins.
//!
//! Even `n`: the points are packed into n/2 complex ones, whose transform Z and the bins X are related by
//! X_k = ½(Z_k + Z̄_{m−k}) − ½i·W_n^k·(Z_k − Z̄_{m−k}), m = n/2 (Sorensen et al. 1987). Odd `n`: by the complex transform.
//! The native twin also runs a transform as a whole.
//! stage: dense
//! import: grid
const ITEMS: u32 = 1024u;
/// Roots in the fine table.
const FINE: u32 = 1024u;

/// Z to bins.
const SPLIT: u32 = 0u;
/// Bins to 2Z.
const MERGE: u32 = 1u;
/// Real points to complex ones.
const WIDEN: u32 = 2u;
/// All n bins to the first ⌊n/2⌋ + 1.
const HALVE: u32 = 3u;
/// The first ⌊n/2⌋ + 1 bins to all n.
const MIRROR: u32 = 4u;
/// Complex points to their real parts.
const NARROW: u32 = 5u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    count: u32,
    mode: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
/// For SPLIT and MERGE: FINE roots W_n^k, then the coarse roots W_n^(FINE·k).
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;

fn mul(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

fn pair(i: u32) -> vec2<f32> {
    return vec2<f32>(x[2u * i], x[2u * i + 1u]);
}

fn put(i: u32, v: vec2<f32>) {
    y[2u * i] = v.x * p.scale;
    y[2u * i + 1u] = v.y * p.scale;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let half = p.n / 2u;
    let bins = half + 1u;
    // Outputs a row.
    var width = p.n;
    if (p.mode == MERGE) { width = half; }
    if (p.mode == SPLIT || p.mode == HALVE) { width = bins; }
    let first = (p.wg_base + g) * ITEMS + lid;
    for (var step = 0u; step < ITEMS; step += 256u) {
        let i = first + step;
        if (i >= width * p.count) { break; }
        let row = i / width;
        let k = i % width;
        switch (p.mode) {
            case SPLIT: {
                let at = row * half;
                let a = pair(at + k % half);
                let r = pair(at + (half - k) % half);
                let b = vec2<f32>(r.x, -r.y);
                if (k == 0u) {
                    put(i, vec2<f32>(a.x + a.y, 0.0));
                } else if (k == half) {
                    put(i, vec2<f32>(a.x - a.y, 0.0));
                } else {
                    let w = mul(table[FINE + k / FINE], table[k % FINE]);
                    let d = mul(w, a - b);
                    put(i, 0.5 * (a + b + vec2<f32>(d.y, -d.x)));
                }
            }
            case MERGE: {
                let at = row * bins;
                var a = pair(at + k);
                let r = pair(at + half - k);
                var b = vec2<f32>(r.x, -r.y);
                var w = vec2<f32>(1.0, 0.0);
                if (k == 0u) {
                    // The imaginary parts of the edge bins are taken as 0.
                    a.y = 0.0;
                    b.y = 0.0;
                } else {
                    w = mul(table[FINE + k / FINE], table[k % FINE]);
                }
                let d = mul(vec2<f32>(w.x, -w.y), a - b);
                put(i, a + b + vec2<f32>(-d.y, d.x));
            }
            case WIDEN: {
                put(i, vec2<f32>(x[i], 0.0));
            }
            case HALVE: {
                var v = pair(row * p.n + k);
                if (k == 0u) { v.y = 0.0; }
                put(i, v);
            }
            case MIRROR: {
                let at = row * bins;
                if (k == 0u) {
                    put(i, vec2<f32>(x[2u * at], 0.0));
                } else if (k < bins) {
                    put(i, pair(at + k));
                } else {
                    let v = pair(at + p.n - k);
                    put(i, vec2<f32>(v.x, -v.y));
                }
            }
            default: {
                y[i] = x[2u * i] * p.scale;
            }
        }
    }
}
