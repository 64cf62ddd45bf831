//! The delta modulator: a level follows each channel in steps of the threshold, and every step is a spike.
//!
//! An invocation follows one channel; a workgroup moves tiles of 64 channels by 32 samples through workgroup memory, so
//! that reads are contiguous in time.
//! stage: spiking
//! import: grid pin flush
const CHANNELS: u32 = 64u;
const TILE: u32 = 32u;
/// One more than TILE: a column's elements lie in different banks.
const PITCH: u32 = 33u;

const STRICT: u32 = 1u;
const ROUND: u32 = 2u;
const NORMALISE: u32 = 4u;
const DENSE: u32 = 8u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    channels: u32,
    time: u32,
    /// The samples of this dispatch: `first` is a multiple of 32.
    first: u32,
    count: u32,
    flags: u32,
    threshold: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// [channels, time]
@group(0) @binding(1) var<storage, read> x: array<f32>;
/// [channels], used with NORMALISE.
@group(0) @binding(2) var<storage, read> scale: array<f32>;
/// [channels]; what is not finite takes the channel's next finite sample.
@group(0) @binding(3) var<storage, read_write> level: array<f32>;
/// [channels, 2, ceil(time / 32)] words, or [channels, 2, time] bits of f32 with DENSE.
@group(0) @binding(4) var<storage, read_write> spikes: array<u32>;

var<workgroup> samples: array<f32, 2112>;
var<workgroup> up: array<u32, CHANNELS>;
var<workgroup> down: array<u32, CHANNELS>;

fn has(flag: u32) -> bool {
    return (p.flags & flag) != 0u;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let base = (p.wg_base + g) * CHANNELS;
    let channel = base + lid;
    let live = channel < p.channels;
    let words = (p.time + 31u) / 32u;
    let end = p.first + p.count;

    var at = 0.0;
    var step = p.threshold;
    if (live) {
        at = level[channel];
        if (has(NORMALISE)) { step = flush(pin(step * scale[channel])); }
    }
    at = select(at, flush(at), is_finite(at));
    for (var t = p.first; t < end; t += TILE) {
        let width = min(TILE, end - t);
        for (var j = 0u; j < TILE; j++) {
            let e = j * CHANNELS + lid;
            let row = e / TILE;
            let column = e % TILE;
            if (base + row < p.channels && column < width) {
                samples[row * PITCH + column] = x[(base + row) * p.time + t + column];
            }
        }
        workgroupBarrier();
        var on = 0u;
        var off = 0u;
        if (live) {
            for (var k = 0u; k < width; k++) {
                let raw = samples[lid * PITCH + k];
                if (is_finite(raw)) {
                    let now = flush(raw);
                    if (is_finite(at)) {
                        let higher = pin(at + step);
                        let lower = pin(at - step);
                        let able = step > 0.0;
                        let rises = able && select(now >= higher, now > higher, has(STRICT));
                        let falls = able && !rises && select(now <= lower, now < lower, has(STRICT));
                        on |= select(0u, 1u << k, rises);
                        off |= select(0u, 1u << k, falls);
                        at = select(select(at, lower, falls), higher, rises);
                    } else {
                        at = select(now, flush(round(now)), has(ROUND));
                    }
                }
            }
            if (!has(DENSE)) {
                spikes[channel * 2u * words + t / 32u] = on;
                spikes[(channel * 2u + 1u) * words + t / 32u] = off;
            }
        }
        up[lid] = on;
        down[lid] = off;
        workgroupBarrier();
        if (has(DENSE)) {
            for (var j = 0u; j < TILE; j++) {
                let e = j * CHANNELS + lid;
                let row = e / TILE;
                let column = e % TILE;
                if (base + row < p.channels && column < width) {
                    let to = (base + row) * 2u * p.time + t + column;
                    spikes[to] = select(0u, 0x3f800000u, ((up[row] >> column) & 1u) == 1u);
                    spikes[to + p.time] = select(0u, 0x3f800000u, ((down[row] >> column) & 1u) == 1u);
                }
            }
            workgroupBarrier();
        }
    }
    if (live) { level[channel] = at; }
}
