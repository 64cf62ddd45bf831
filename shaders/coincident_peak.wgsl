//! The largest network power of each part of each row: |a(t)|²·norm_a + |b(t + d)|²·norm_b over t in the part and
//! |d| ≤ `reach`, and both times; the first t, then the first d, of equals.
//! stage: temporal
//! import: grid
const PART: u32 = 4096u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Samples of a row.
    n: u32,
    first: u32,
    end: u32,
    parts: u32,
    /// Samples between the detectors at the most.
    reach: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec2<f32>>;
// 1/σ² of each row, for a then b.
@group(0) @binding(3) var<storage, read> norm: array<f32>;
@group(0) @binding(4) var<storage, read_write> power: array<f32>;
@group(0) @binding(5) var<storage, read_write> at_a: array<u32>;
@group(0) @binding(6) var<storage, read_write> at_b: array<u32>;

var<workgroup> best: array<f32, 256>;
var<workgroup> best_a: array<u32, 256>;
var<workgroup> best_b: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let row = wg / p.parts;
    let begin = p.first + (wg % p.parts) * PART;
    let end = min(begin + PART, p.end);
    let norm_a = norm[row * 2u];
    let norm_b = norm[row * 2u + 1u];
    var most = -1.0;
    var most_a = begin;
    var most_b = begin;
    for (var t = begin + lid; t < end; t += 256u) {
        let v = a[row * p.n + t];
        let here = (v.x * v.x + v.y * v.y) * norm_a;
        let low = max(t, p.first + p.reach) - p.reach;
        let high = min(t + p.reach + 1u, p.end);
        for (var u = low; u < high; u += 1u) {
            let w = b[row * p.n + u];
            let e = here + (w.x * w.x + w.y * w.y) * norm_b;
            if (e > most) { most = e; most_a = t; most_b = u; }
        }
    }
    best[lid] = most;
    best_a[lid] = most_a;
    best_b[lid] = most_b;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step = step / 2u) {
        if (lid < step) {
            let other = best[lid + step];
            if (other > best[lid] || (other == best[lid] && best_a[lid + step] < best_a[lid])) {
                best[lid] = other;
                best_a[lid] = best_a[lid + step];
                best_b[lid] = best_b[lid + step];
            }
        }
        workgroupBarrier();
    }
    if (lid == 0u) {
        power[wg] = best[0];
        at_a[wg] = best_a[0];
        at_b[wg] = best_b[0];
    }
}
