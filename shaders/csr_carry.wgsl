//! Adds to the rows that parts of a sparse product leave unfinished what those parts have of them, in order and with
//! the rounding errors kept beside the sum.
//! stage: spiking
//! import: grid pin
//! variant: wide LANES=64u
// Invocations that share one sum.
const LANES: u32 = 1u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Rows to finish.
    n: u32,
    /// Columns.
    k: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// The row, its first part, how many parts, and whether y has the rest of the row (1) or nothing (0).
@group(0) @binding(1) var<storage, read> cuts: array<vec4<u32>>;
/// For each part the sums of the row that it leaves unfinished.
@group(0) @binding(2) var<storage, read> carry: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let item = (p.wg_base + g) * (256u / LANES) + lid / LANES;
    let lane = lid % LANES;
    let column = item % p.k;
    let inside = item / p.k < p.n;
    var cut = vec4<u32>();
    if (inside) { cut = cuts[item / p.k]; }
    var sum = 0.0;
    var lost = 0.0;
    for (var i = lane; i < cut.z; i += LANES) {
        let v = carry[(cut.y + i) * p.k + column];
        let s = pin(sum + v);
        let kept = pin(s - sum);
        lost += pin(pin(sum - pin(s - kept)) + pin(v - kept));
        sum = s;
    }
    sums[lid] = sum + lost;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (lane < step) { sums[lid] += sums[lid + step]; }
        workgroupBarrier();
    }
    if (inside && lane == 0u) {
        let to = cut.x * p.k + column;
        var total = sums[lid];
        if (cut.w == 1u) { total += y[to]; }
        y[to] = total;
    }
}
