//! Spikes where a signal's first difference reaches a threshold: ON upwards, OFF downwards, for one to four thresholds.
//!
//! An invocation looks at one sample; a workgroup writes the words of 256 samples of one channel.
//! stage: spiking
//! import: grid pin flush
const GROUP: u32 = 256u;

const STRICT: u32 = 1u;
const FROM_ZERO: u32 = 2u;
const NORMALISE: u32 = 4u;
const DENSE: u32 = 8u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    time: u32,
    /// Workgroups of a channel.
    groups: u32,
    /// Thresholds in use.
    count: u32,
    flags: u32,
    threshold_0: f32, threshold_1: f32, threshold_2: f32, threshold_3: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// [channels, time]
@group(0) @binding(1) var<storage, read> x: array<f32>;
/// [channels], used with NORMALISE.
@group(0) @binding(2) var<storage, read> scale: array<f32>;
/// [channels, 2 * count, ceil(time / 32)] words, or [channels, 2 * count, time] bits of f32 with DENSE.
@group(0) @binding(3) var<storage, read_write> spikes: array<u32>;

/// Of each sample, bit 2k: ON at threshold k, bit 2k + 1: OFF.
var<workgroup> marks: array<u32, GROUP>;

fn has(flag: u32) -> bool {
    return (p.flags & flag) != 0u;
}

fn threshold(k: u32) -> f32 {
    switch k {
        case 0u: { return p.threshold_0; }
        case 1u: { return p.threshold_1; }
        case 2u: { return p.threshold_2; }
        default: { return p.threshold_3; }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let channel = wg / p.groups;
    let group = wg % p.groups;
    let t = group * GROUP + lid;
    let rows = 2u * p.count;

    var mark = 0u;
    if (t < p.time) {
        let now = x[channel * p.time + t];
        var before = select(now, 0.0, has(FROM_ZERO));
        if (t > 0u) { before = x[channel * p.time + t - 1u]; }
        let d = pin(flush(now) - flush(before));
        let sound = is_finite(now) && is_finite(before) && is_finite(d);
        for (var k = 0u; k < p.count; k++) {
            var level = threshold(k);
            if (has(NORMALISE)) { level = flush(pin(level * scale[channel])); }
            let on = select(d >= level, d > level, has(STRICT));
            let off = select(-d >= level, -d > level, has(STRICT));
            // A channel without variation has the level 0, and is silent.
            let able = sound && level > 0.0;
            mark |= select(0u, 1u << (2u * k), able && on) | select(0u, 2u << (2u * k), able && off);
        }
        if (has(DENSE)) {
            for (var r = 0u; r < rows; r++) {
                spikes[(channel * rows + r) * p.time + t] = select(0u, 0x3f800000u, ((mark >> r) & 1u) == 1u);
            }
        }
    }
    if (has(DENSE)) { return; }
    marks[lid] = mark;
    workgroupBarrier();
    let words = (p.time + 31u) / 32u;
    let r = lid / 8u;
    let word = group * 8u + lid % 8u;
    if (r < rows && word < words) {
        var bits = 0u;
        for (var j = 0u; j < 32u; j++) { bits |= ((marks[(lid % 8u) * 32u + j] >> r) & 1u) << j; }
        spikes[(channel * rows + r) * words + word] = bits;
    }
}
