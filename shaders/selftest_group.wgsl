//! Known answers: values passed through workgroup memory across a barrier, and arithmetic that must not be rearranged.
//! stage: basic
//! import: pin

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// 1, a NaN, 0.1, 3.
@group(0) @binding(1) var<storage, read> x: array<f32>;
/// 256 invocations in reverse; then whether each `x` is a NaN; then (1 + 1e8) − 1e8 and 0.1 · 3 − 0.3, as bits.
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

var<workgroup> shared_words: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lid: u32) {
    if (p.wg_count == 0u) { return; }
    shared_words[lid] = lid;
    workgroupBarrier();
    y[lid] = shared_words[255u - lid];
    if (lid < 4u) { y[256u + lid] = select(0u, 1u, is_nan(x[lid])); }
    if (lid == 0u) {
        y[260] = bitcast<u32>(pin(pin(x[0] + 1e8) - 1e8));
        y[261] = bitcast<u32>(pin(pin(x[2] * x[3]) - 0.3));
    }
}
