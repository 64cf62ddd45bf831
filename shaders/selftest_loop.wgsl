//! Known answer: two loops of `first` and `second` steps of a generator, which no compiler can shorten.
//! stage: basic

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    first: u32,
    second: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

fn step(x: u32) -> u32 { return x * 1664525u + 1013904223u; }

@compute @workgroup_size(1)
fn main() {
    if (p.wg_count == 0u) { return; }
    var x = p.zero;
    for (var i = 0u; i < p.first; i++) { x = step(x); }
    y[0] = x;
    for (var i = 0u; i < p.second; i++) { x = step(x); }
    y[1] = x;
}
