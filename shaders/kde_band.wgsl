//! to\[output\] = scale·Σ_t coefficient\[output\]\[t\]·from\[first + t·step\] for 128 slots side by side: a fixed banded kernel
//! along one direction of a grid of nodes, for outputs in groups of four that share a window of nodes.
//!
//! The bound is the reads of nodes, one for 4 multiply-adds; neighbouring groups read the same nodes again, from the
//! cache. A workgroup takes 64 slots and 8 groups.
//! stage: dense
//! import: grid
struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    first_tile: u32,
    /// Lines of nodes to which the same coefficients are applied, and nodes from one to the next.
    lines: u32,
    line: u32,
    /// Nodes from one of a window to the next, and of a whole tile.
    step: u32,
    tile: u32,
    /// Groups of outputs, and nodes of a window.
    groups: u32,
    taps: u32,
    /// Outputs of a line.
    outputs: u32,
    scale: f32,
    /// 0: `to` is \[tile\]\[line\]\[output\]\[128 slots\]; 1: it is \[slot\]\[output\].
    last: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// As in `kde.wgsl`.
@group(0) @binding(1) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> nodes: array<f32>;
/// The first node of each group's window.
@group(0) @binding(3) var<storage, read> windows: array<u32>;
/// The outputs of each group; `outputs` where there is none.
@group(0) @binding(4) var<storage, read> members: array<vec4<u32>>;
/// For each group and node of its window one coefficient an output.
@group(0) @binding(5) var<storage, read> coefficients: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> to: array<f32>;

/// 64 slots × 32 outputs. An odd pitch: neither slots nor outputs side by side share a bank.
const PITCH: u32 = 33u;
var<workgroup> block: array<f32, 2112>;
var<workgroup> names: array<u32, 32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    var wg = p.wg_base + g;
    let group_tiles = (p.groups + 7u) / 8u;
    let group0 = (wg % group_tiles) * 8u;
    wg = wg / group_tiles;
    let half = (wg % 2u) * 64u;
    wg = wg / 2u;
    let line = wg % p.lines;
    let tile = wg / p.lines;
    let head = tiles[2u * (p.first_tile + tile)];
    if (head.y <= half || head.w == 0u) { return; }

    let lane = lid % 64u;
    let row = lid / 64u;
    for (var k = row; k < 8u; k += 4u) {
        let group = min(group0 + k, p.groups - 1u);
        var at = (tile * p.tile + line * p.line + windows[group]) * 128u + half + lane;
        let first = group * p.taps;
        var sum = vec4<f32>();
        for (var t = 0u; t < p.taps; t += 1u) {
            sum += nodes[at] * coefficients[first + t];
            at += p.step * 128u;
        }
        sum *= p.scale;
        if (p.last == 0u) {
            let member = members[group];
            let base = (tile * p.lines + line) * p.outputs;
            let slot = half + lane;
            if (group0 + k < p.groups) {
                if (member.x < p.outputs) { to[(base + member.x) * 128u + slot] = sum.x; }
                if (member.y < p.outputs) { to[(base + member.y) * 128u + slot] = sum.y; }
                if (member.z < p.outputs) { to[(base + member.z) * 128u + slot] = sum.z; }
                if (member.w < p.outputs) { to[(base + member.w) * 128u + slot] = sum.w; }
            }
        } else {
            let b = lane * PITCH + 4u * k;
            block[b] = sum.x;
            block[b + 1u] = sum.y;
            block[b + 2u] = sum.z;
            block[b + 3u] = sum.w;
        }
    }
    if (p.last == 0u) { return; }
    // Outputs side by side are stored by invocations side by side.
    if (lid < 32u) {
        let group = group0 + lid / 4u;
        var name = p.outputs;
        if (group < p.groups) { name = members[group][lid % 4u]; }
        names[lid] = name;
    }
    workgroupBarrier();
    let name = names[lid % 32u];
    for (var s = lid / 32u; s < 64u; s += 8u) {
        if (half + s < head.y && name < p.outputs) {
            to[(head.x + half + s) * p.outputs + name] = block[s * PITCH + lid % 32u];
        }
    }
}
