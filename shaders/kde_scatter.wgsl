//! nodes\[tile\]\[row\]\[column\]\[slot\] = Σ_i 2^52·2^(a_is − peak_s) · β(y_i − row) · β(x_i − column), the mark kernels of the
//! encoding spikes i scattered onto a grid of B-spline nodes, a_is = log2 w_i − |m_i − m_s|².
//!
//! A workgroup owns the nodes of 128 slots × 4 node rows × `columns` node columns and looks at every spike that reaches
//! them, some of which neighbours look at too: nothing is added by two invocations. Spikes lie sorted by cell, columns
//! of cells first, so that those of one column are one range; a finished column moves out of the registers.
//!
//! The bound is the arithmetic: for each spike and slot 2 operations a mark dimension, an exponential and 4·TAPS
//! multiply-adds beside 3 vectors of workgroup memory and a mark, all read once for the invocations that run together.
//! stage: dense
//! import: grid
//! variant: cubic TAPS=4u
/// Nodes that a spike reaches in a direction: 4 of a cubic, 6 of a quintic spline.
const TAPS: u32 = 6u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// The first tile of this dispatch.
    first_tile: u32,
    /// Slots, from one row of `marks` and `peaks` to the next.
    spikes: u32,
    /// Rows of `peaks`.
    peak_parts: u32,
    /// The electrode whose cells come first in `offsets`.
    first_electrode: u32,
    /// Cells in x, and in y (1 for one dimension).
    cells_x: u32,
    cells_y: u32,
    /// Nodes that a spike reaches in y: TAPS, or 1 for positions of one dimension, whose grid has one row.
    taps_y: u32,
    /// Node columns of the grid, and of a workgroup.
    pitch: u32,
    columns: u32,
    /// The spikes that this dispatch adds, counted among those that a workgroup looks at.
    first: u32,
    range: u32,
    /// TAPS.
    taps: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// As in `kde.wgsl`, and so are `encoding`, `marks` and `peaks`.
@group(0) @binding(1) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> encoding: array<vec4<f32>>;
/// A spike's place: fraction of its cell in x and in y, cell in y, log2 weight.
@group(0) @binding(3) var<storage, read> places: array<vec4<f32>>;
/// For each electrode where the spikes of each cell begin, counted from the electrode's first, and the end; the cell in
/// y counts fastest.
@group(0) @binding(4) var<storage, read> offsets: array<u32>;
@group(0) @binding(5) var<storage, read> marks: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> peaks: array<f32>;
@group(0) @binding(7) var<storage, read_write> nodes: array<f32>;

/// What 64 spikes give to 6 node columns, and their log2 weights.
var<workgroup> left: array<vec4<f32>, 64>;
var<workgroup> right: array<vec4<f32>, 64>;
/// What they give to 4 node rows.
var<workgroup> down: array<vec4<f32>, 64>;

/// B-spline at the nodes around a point, at fraction t of its cell: a cubic by its four pieces, and from it by de Boor's
/// recurrence a quintic. All terms are positive.
fn taps(t: f32) -> array<f32, 6> {
    let u = 1.0 - t;
    var w = array<f32, 6>(
        u * u * u / 6.0,
        (1.0 + 3.0 * u * (1.0 + u * t)) / 6.0,
        (1.0 + 3.0 * t * (1.0 + t * u)) / 6.0,
        t * t * t / 6.0,
        0.0,
        0.0,
    );
    if (TAPS == 6u) {
        let a = 0.25 * u * w[0];
        let b = 0.25 * ((t + 3.0) * w[0] + (2.0 - t) * w[1]);
        let c = 0.25 * ((t + 2.0) * w[1] + (3.0 - t) * w[2]);
        let d = 0.25 * ((t + 1.0) * w[2] + (4.0 - t) * w[3]);
        let e = 0.25 * t * w[3];
        w[0] = 0.2 * u * a;
        w[1] = 0.2 * ((t + 4.0) * a + (2.0 - t) * b);
        w[2] = 0.2 * ((t + 3.0) * b + (3.0 - t) * c);
        w[3] = 0.2 * ((t + 2.0) * c + (4.0 - t) * d);
        w[4] = 0.2 * ((t + 1.0) * d + (5.0 - t) * e);
        w[5] = 0.2 * t * e;
    }
    return w;
}

/// 2^52·2^(2h) by halves, each of which is a normal number where the result is; else 0.
fn operand(h: f32) -> f32 {
    // Above 0 only by rounding of large distances, where it must not overflow.
    let e = exp2(min(h, 4.0));
    return select(0.0, (e * 4503599627370496.0) * e, h > -88.5);
}

fn put(at: u32, inside: bool, v: f32) {
    if (!inside) { return; }
    if (p.first == 0u) { nodes[at] = v; } else { nodes[at] += v; }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    var wg = p.wg_base + g;
    let rows = p.cells_y + p.taps_y - 1u;
    let column_tiles = (p.pitch + p.columns - 1u) / p.columns;
    let row_tiles = (rows + 3u) / 4u;
    let column0 = (wg % column_tiles) * p.columns;
    wg = wg / column_tiles;
    let row0 = (wg % row_tiles) * 4u;
    let tile = wg / row_tiles;
    let head = tiles[2u * (p.first_tile + tile)];
    let more = tiles[2u * (p.first_tile + tile) + 1u];
    let count = head.y;
    if (count == 0u || head.w == 0u) { return; }
    let quads = more.y;
    let slot = head.x + min(lid, count - 1u);
    let mark = marks[slot];
    var peak = -3.0e38;
    for (var i = 0u; i < p.peak_parts; i += 1u) { peak = max(peak, peaks[slot + i * p.spikes]); }

    // The cells whose spikes reach these nodes.
    let low = max(row0, p.taps_y - 1u) - (p.taps_y - 1u);
    let high = min(row0 + 4u, p.cells_y);
    let cells = (more.w - p.first_electrode) * (p.cells_x * p.cells_y + 1u);
    let end = min(column0 + p.columns, p.pitch);

    // Component k belongs to node row `row0` + k, variable j to node column `column` + j.
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var seen = 0u;
    for (var column = max(column0, TAPS - 1u) - (TAPS - 1u); column < end; column += 1u) {
        if (column < p.cells_x && low < high) {
            let at = cells + column * p.cells_y;
            let begin = offsets[at + low];
            let n = offsets[at + high] - begin;
            let start = clamp(p.first, seen, seen + n) - seen;
            let stop = clamp(p.first + p.range, seen, seen + n) - seen;
            seen += n;
            for (var i0 = begin + start; i0 < begin + stop; i0 += 64u) {
                let here = min(begin + stop - i0, 64u);
                let place = places[head.z + i0 + min(lid % 64u, here - 1u)];
                if (lid < 64u) {
                    let w = taps(place.x);
                    left[lid] = vec4<f32>(w[0], w[1], w[2], w[3]);
                    right[lid] = vec4<f32>(w[4], w[5], place.w, 0.0);
                } else {
                    // Between three zeros before and behind, read from where the four rows begin.
                    var w = array<f32, 12>();
                    if (p.taps_y == 1u) {
                        w[3] = 1.0;
                    } else {
                        let v = taps(place.y);
                        w[3] = v[0];
                        w[4] = v[1];
                        w[5] = v[2];
                        w[6] = v[3];
                        w[7] = v[4];
                        w[8] = v[5];
                    }
                    let k = min(row0 + 3u - u32(place.z), 8u);
                    down[lid - 64u] = vec4<f32>(w[k], w[k + 1u], w[k + 2u], w[k + 3u]);
                }
                workgroupBarrier();
                for (var j = 0u; j < here; j += 1u) {
                    let at = more.x + (i0 + j) * quads;
                    let e = encoding[at] - mark;
                    var d = dot(e, e);
                    for (var q = 1u; q < quads; q += 1u) {
                        let e = encoding[at + q] - marks[slot + q * p.spikes];
                        d += dot(e, e);
                    }
                    let l = left[j];
                    let r = right[j];
                    let a = operand(0.5 * ((r.z - d) - peak)) * down[j];
                    s0 += a * l.x;
                    s1 += a * l.y;
                    s2 += a * l.z;
                    s3 += a * l.w;
                    if (TAPS == 6u) {
                        s4 += a * r.x;
                        s5 += a * r.y;
                    }
                }
                workgroupBarrier();
            }
        }
        let at = ((tile * rows + row0) * p.pitch + column) * 128u + lid;
        let inside = column >= column0;
        put(at, inside, s0.x);
        put(at + p.pitch * 128u, inside && row0 + 1u < rows, s0.y);
        put(at + p.pitch * 256u, inside && row0 + 2u < rows, s0.z);
        put(at + p.pitch * 384u, inside && row0 + 3u < rows, s0.w);
        s0 = s1;
        s1 = s2;
        s2 = s3;
        s3 = s4;
        s4 = s5;
        s5 = vec4<f32>();
    }
}
