//! sums\[part\]\[slot\]\[bin\] = Σ_i (2^52·2^(a_is − peak_s))·(2^52·2^(−|x_i − p|²)) over the encoding spikes i of one part,
//! a_is = log2 w_i − |m_i − m_s|²: a matrix product whose two operands are made in workgroup memory, 128 decoding spikes
//! × 128 bins × 16 encoding spikes a step, and are stored nowhere else.
//!
//! The bound is the multiply-adds, one for each (decoding spike, bin, encoding spike), as long as bins and spikes fill
//! the tiles. A step has 64 · 16 of them an invocation beside 16 exponentials, and reads 4 vectors of workgroup memory
//! for each 64: the 32 invocations that run together read 8 neighbouring vectors of one operand and 4 of the other, so
//! no bank is asked twice. Global reads are one vector for each 128 multiply-adds, from the cache.
//! stage: dense
//! import: grid
/// Encoding spikes that are added up before they go to what was added before: many small sums keep the rounding error
/// at the square root of this instead of the square root of all.
const BLOCK: u32 = 1024u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Tiles of slots, used or not.
    tiles: u32,
    /// Slots, from one row of `marks`, `peaks` and `sums` to the next.
    spikes: u32,
    bins: u32,
    /// Dimensions of a position.
    dims: u32,
    /// Encoding spikes of a part.
    part_len: u32,
    /// Rows of `peaks`.
    peak_parts: u32,
    /// Where in `sites` the log2 weights begin, behind the positions.
    weights_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// Two a tile: (first slot, slots, first encoding spike, encoding spikes), (first vector of `encoding`, vectors a spike,
/// bits of the constant, electrode).
@group(0) @binding(1) var<storage, read> tiles: array<vec4<u32>>;
/// A spike's mark in whole vectors, spikes one behind the other.
@group(0) @binding(2) var<storage, read> encoding: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> sites: array<f32>;
@group(0) @binding(4) var<storage, read> centers: array<f32>;
/// The first vectors of all slots, then the second ones.
@group(0) @binding(5) var<storage, read> marks: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> peaks: array<f32>;
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;

/// Row k of a step holds 128 spikes (bins) as 32 vectors; component c of vector q is spike (bin) q + 32·c.
var<workgroup> left: array<vec4<f32>, 512>;
var<workgroup> right: array<vec4<f32>, 512>;

/// 2^52·2^(2h) by halves, each of which is a normal number where the result is; else 0.
fn operand(h: vec4<f32>, inside: bool) -> vec4<f32> {
    // Above 0 only by rounding of large distances, where it must not overflow.
    let e = exp2(min(h, vec4<f32>(4.0)));
    return select(vec4<f32>(), (e * 4503599627370496.0) * e, (h > vec4<f32>(-88.5)) & vec4<bool>(inside));
}

fn put(at: u32, inside: bool, first: bool, v: f32) {
    if (inside) { sums[at] = v + select(sums[at], 0.0, first); }
}

/// Bins `bin` + 32·c of a slot.
fn finish(slot: u32, bin: u32, first: bool, v: vec4<f32>) {
    let at = slot * p.bins + bin;
    put(at, bin < p.bins, first, v.x);
    put(at + 32u, bin + 32u < p.bins, first, v.y);
    put(at + 64u, bin + 64u < p.bins, first, v.z);
    put(at + 96u, bin + 96u < p.bins, first, v.w);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    var wg = p.wg_base + g;
    let bin_tiles = (p.bins + 127u) / 128u;
    let bin0 = (wg % bin_tiles) * 128u;
    wg = wg / bin_tiles;
    let tile = wg % p.tiles;
    let part = wg / p.tiles;
    let head = tiles[2u * tile];
    let more = tiles[2u * tile + 1u];
    let count = head.y;
    let begin = part * p.part_len;
    if (count == 0u || begin >= head.w) { return; }
    let end = min(begin + p.part_len, head.w);
    let quads = more.y;

    // What an invocation makes: vector `lane` of rows `row` and `row + 8` of both operands. Spikes and bins past the
    // end are the last one again, and are not stored.
    let lane = lid % 32u;
    let row = lid / 32u;
    let place = vec4<u32>(lane, lane + 32u, lane + 64u, lane + 96u);
    let slot = head.x + min(place, vec4<u32>(count - 1u));
    let center = min(bin0 + place, vec4<u32>(p.bins - 1u)) * p.dims;
    var peak = vec4<f32>(-3.0e38);
    for (var i = 0u; i < p.peak_parts; i += 1u) {
        let at = slot + i * p.spikes;
        peak = max(peak, vec4<f32>(peaks[at.x], peaks[at.y], peaks[at.z], peaks[at.w]));
    }

    // What it adds up: spikes ty and ty + 16 (each + 32·c) × bins tx and tx + 16.
    let tx = (row % 2u) * 8u + lane % 8u;
    let ty = (row / 2u) * 4u + lane / 8u;
    for (var block = begin; block < end; block += BLOCK) {
        let block_end = min(block + BLOCK, end);
        // Named rather than an array: an array that a loop indexes may end up in memory.
        var s00 = vec4<f32>();
        var s01 = vec4<f32>();
        var s10 = vec4<f32>();
        var s11 = vec4<f32>();
        var s20 = vec4<f32>();
        var s21 = vec4<f32>();
        var s30 = vec4<f32>();
        var s31 = vec4<f32>();
        var s40 = vec4<f32>();
        var s41 = vec4<f32>();
        var s50 = vec4<f32>();
        var s51 = vec4<f32>();
        var s60 = vec4<f32>();
        var s61 = vec4<f32>();
        var s70 = vec4<f32>();
        var s71 = vec4<f32>();
        for (var k0 = block; k0 < block_end; k0 += 16u) {
            let in0 = k0 + row < block_end;
            let in1 = k0 + row + 8u < block_end;
            let i0 = head.z + min(k0 + row, block_end - 1u);
            let i1 = head.z + min(k0 + row + 8u, block_end - 1u);

            var a0 = vec4<f32>();
            var a1 = vec4<f32>();
            let mark0 = more.x + (i0 - head.z) * quads;
            let mark1 = more.x + (i1 - head.z) * quads;
            for (var q = 0u; q < quads; q += 1u) {
                let at = slot + q * p.spikes;
                let ma = marks[at.x];
                let mb = marks[at.y];
                let mc = marks[at.z];
                let md = marks[at.w];
                let e0 = encoding[mark0 + q];
                let e1 = encoding[mark1 + q];
                a0 += vec4<f32>(dot(e0 - ma, e0 - ma), dot(e0 - mb, e0 - mb), dot(e0 - mc, e0 - mc), dot(e0 - md, e0 - md));
                a1 += vec4<f32>(dot(e1 - ma, e1 - ma), dot(e1 - mb, e1 - mb), dot(e1 - mc, e1 - mc), dot(e1 - md, e1 - md));
            }
            let w0 = sites[p.weights_at + i0];
            let w1 = sites[p.weights_at + i1];
            left[lid] = operand(0.5 * ((w0 - a0) - peak), in0);
            left[lid + 256u] = operand(0.5 * ((w1 - a1) - peak), in1);

            var b0 = vec4<f32>();
            var b1 = vec4<f32>();
            for (var k = 0u; k < p.dims; k += 1u) {
                let at = center + k;
                let c = vec4<f32>(centers[at.x], centers[at.y], centers[at.z], centers[at.w]);
                let d0 = sites[i0 * p.dims + k] - c;
                let d1 = sites[i1 * p.dims + k] - c;
                b0 += d0 * d0;
                b1 += d1 * d1;
            }
            right[lid] = operand(-0.5 * b0, in0);
            right[lid + 256u] = operand(-0.5 * b1, in1);
            workgroupBarrier();
            for (var k = 0u; k < 512u; k += 32u) {
                let a = left[k + ty];
                let b = left[k + ty + 16u];
                let u = right[k + tx];
                let v = right[k + tx + 16u];
                s00 += a.x * u;
                s01 += a.x * v;
                s10 += a.y * u;
                s11 += a.y * v;
                s20 += a.z * u;
                s21 += a.z * v;
                s30 += a.w * u;
                s31 += a.w * v;
                s40 += b.x * u;
                s41 += b.x * v;
                s50 += b.y * u;
                s51 += b.y * v;
                s60 += b.z * u;
                s61 += b.z * v;
                s70 += b.w * u;
                s71 += b.w * v;
            }
            workgroupBarrier();
        }
        let first = block == begin;
        // A loop with a choice, and not eight times the same: some drivers' compilers take minutes over the latter.
        for (var r = 0u; r < 8u; r += 1u) {
            var u = s00;
            var v = s01;
            switch r {
                case 1u: { u = s10; v = s11; }
                case 2u: { u = s20; v = s21; }
                case 3u: { u = s30; v = s31; }
                case 4u: { u = s40; v = s41; }
                case 5u: { u = s50; v = s51; }
                case 6u: { u = s60; v = s61; }
                case 7u: { u = s70; v = s71; }
                default: {}
            }
            let line = ty + (r % 4u) * 32u + (r / 4u) * 16u;
            if (line < count) {
                finish(part * p.spikes + head.x + line, bin0 + tx, first, u);
                finish(part * p.spikes + head.x + line, bin0 + tx + 16u, first, v);
            }
        }
    }
}
