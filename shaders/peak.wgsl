//! The largest |z|² of each part of each row, and where it is; the first of equals. A part is `part` samples of
//! the search range [first, end).
//! stage: temporal
//! import: grid

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Samples of a row.
    n: u32,
    first: u32,
    end: u32,
    parts: u32,
    part: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> z: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> power: array<f32>;
@group(0) @binding(3) var<storage, read_write> at: array<u32>;

var<workgroup> best: array<f32, 256>;
var<workgroup> best_at: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let row = wg / p.parts;
    let begin = p.first + (wg % p.parts) * p.part;
    let end = min(begin + p.part, p.end);
    var most = -1.0;
    var most_at = begin;
    for (var i = begin + lid; i < end; i += 256u) {
        let v = z[row * p.n + i];
        let e = v.x * v.x + v.y * v.y;
        if (e > most) { most = e; most_at = i; }
    }
    best[lid] = most;
    best_at[lid] = most_at;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step = step / 2u) {
        if (lid < step) {
            let other = best[lid + step];
            if (other > best[lid] || (other == best[lid] && best_at[lid + step] < best_at[lid])) {
                best[lid] = other;
                best_at[lid] = best_at[lid + step];
            }
        }
        workgroupBarrier();
    }
    if (lid == 0u) {
        power[wg] = best[0];
        at[wg] = best_at[0];
    }
}
