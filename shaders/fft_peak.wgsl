//! The largest |x|² of elements `from..to` of each row of `n`, and the first element that has it: a workgroup a row.
//! Squares are compared by their bits, so that a NaN counts as larger than every number wherever it runs.
//! The native twin transforms the row before that if asked, so that transforms need not go through memory.
//! stage: dense
//! import: grid
struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    count: u32,
    from_at: u32,
    to_at: u32,
    scale: f32,
    /// For the native twin: 1 transforms forward, 2 inverse, + 16 with factors, + 32 of conjugates.
    flags: u32,
    /// For the native twin, as in `fft`.
    from_row: u32,
    keep: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> power: array<f32>;
@group(0) @binding(3) var<storage, read_write> at: array<u32>;
/// For the native twin.
@group(0) @binding(4) var<storage, read> factors: array<vec2<f32>>;

var<workgroup> best: array<u32, 256>;
var<workgroup> best_at: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let row = p.wg_base + g;
    var most = 0u;
    var most_at = p.from_at;
    for (var i = p.from_at + lid; i < p.to_at; i += 256u) {
        let v = x[row * p.n + i];
        let m = bitcast<u32>(v.x * v.x + v.y * v.y) & 0x7fffffffu;
        if (m > most) {
            most = m;
            most_at = i;
        }
    }
    best[lid] = most;
    best_at[lid] = most_at;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half >>= 1u) {
        if (lid < half) {
            let m = best[lid + half];
            let m_at = best_at[lid + half];
            if (m > most || (m == most && m_at < most_at)) {
                most = m;
                most_at = m_at;
                best[lid] = m;
                best_at[lid] = m_at;
            }
        }
        workgroupBarrier();
    }
    if (lid == 0u) {
        power[row] = bitcast<f32>(most) * p.scale * p.scale;
        at[row] = most_at;
    }
}
