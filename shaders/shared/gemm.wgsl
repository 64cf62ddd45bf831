// What the matrix products are given.

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    m: u32,
    n: u32,
    k: u32,
    /// The part of the sum that this dispatch adds.
    k_first: u32,
    k_count: u32,
    /// Elements from one matrix to the next; 0: all share one.
    a_batch: u32,
    b_batch: u32,
    alpha: f32,
    beta: f32,
    /// 1: a is stored k × m; 2: b is stored n × k (neither in `gemm_wide`); 4: c holds values to keep.
    flags: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
