//! Standard deviation of each channel's first difference. One workgroup a channel; every sum in a fixed order.
//!
//! Differences are scaled by the power of two of the largest first, so that squares neither overflow nor vanish.
//! Square root and division are Newton iterations on pinned products: drivers round their own differently.
//! stage: spiking
//! import: grid pin flush
const GROUP: u32 = 256u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    time: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// [channels, time]
@group(0) @binding(1) var<storage, read> x: array<f32>;
/// [channels]
@group(0) @binding(2) var<storage, read_write> deviation: array<f32>;

var<workgroup> integers: array<u32, GROUP>;
var<workgroup> floats: array<f32, GROUP>;

struct Difference { value: f32, sound: bool }

fn difference(i: u32) -> Difference {
    let d = pin(flush(x[i]) - flush(x[i - 1u]));
    let sound = is_finite(x[i]) && is_finite(x[i - 1u]) && is_finite(d);
    return Difference(select(0.0, d, sound), sound);
}

/// The sum of `floats`, the same for all invocations.
fn sum(lid: u32) -> f32 {
    workgroupBarrier();
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        if (lid < half) { floats[lid] = pin(floats[lid] + floats[lid + half]); }
        workgroupBarrier();
    }
    let total = floats[0];
    workgroupBarrier();
    return total;
}

/// 1 / sqrt(a) for a positive normal number.
fn inverse_root(a: f32) -> f32 {
    let half = pin(0.5 * a);
    var y = bitcast<f32>(0x5f3759dfu - (bitcast<u32>(a) >> 1u));
    for (var k = 0u; k < 4u; k++) {
        y = pin(y * pin(1.5 - pin(pin(half * y) * y)));
    }
    return y;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let channel = p.wg_base + g;
    let row = channel * p.time;

    var largest = 0u;
    var count = 0u;
    for (var i = lid + 1u; i < p.time; i += GROUP) {
        let d = difference(row + i);
        largest = max(largest, bitcast<u32>(d.value) & 0x7fffffffu);
        count += select(0u, 1u, d.sound);
    }
    integers[lid] = largest;
    workgroupBarrier();
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        if (lid < half) { integers[lid] = max(integers[lid], integers[lid + half]); }
        workgroupBarrier();
    }
    largest = integers[0];
    workgroupBarrier();
    integers[lid] = count;
    workgroupBarrier();
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        if (lid < half) { integers[lid] += integers[lid + half]; }
        workgroupBarrier();
    }
    count = integers[0];

    // 2^(127 - e) and its inverse, both normal numbers.
    let exponent = clamp(largest >> 23u, 1u, 253u);
    let scale = bitcast<f32>((254u - exponent) << 23u);
    let unscale = bitcast<f32>(exponent << 23u);
    let per_root = inverse_root(f32(max(count, 1u)));

    var part = 0.0;
    for (var i = lid + 1u; i < p.time; i += GROUP) {
        part = pin(part + flush(pin(difference(row + i).value * scale)));
    }
    floats[lid] = part;
    let mean = flush(pin(pin(sum(lid) * per_root) * per_root));

    part = 0.0;
    for (var i = lid + 1u; i < p.time; i += GROUP) {
        let d = difference(row + i);
        let away = pin(flush(pin(d.value * scale)) - mean);
        part = pin(part + select(0.0, flush(pin(away * away)), d.sound));
    }
    floats[lid] = part;
    let squares = sum(lid);
    if (lid == 0u) {
        var spread = 0.0;
        if (squares > 0.0) {
            spread = pin(pin(squares * inverse_root(squares)) * per_root);
            spread = flush(pin(spread * unscale));
        }
        deviation[channel] = spread;
    }
}
