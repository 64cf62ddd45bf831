//! Counts the submissions that a device has carried out, so that the host can tell work done from work claimed.
//! stage: basic

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> count: array<u32>;

@compute @workgroup_size(1)
fn main() {
    count[0] = count[0] + 1u + p.zero;
}
