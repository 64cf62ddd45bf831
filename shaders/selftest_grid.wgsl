//! Known answer: every workgroup of a folded grid counts itself, and the last one writes the last word of a large tensor.
//! stage: basic
//! import: grid

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Words of `far`.
    n: u32,
    /// Workgroups in all.
    groups: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// Workgroups, and the sum of their indices.
@group(0) @binding(1) var<storage, read_write> seen: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read_write> far: array<u32>;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) wid: vec3<u32>) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    atomicAdd(&seen[0], 1u);
    atomicAdd(&seen[1], wg);
    if (wg + 1u == p.groups) { far[p.n - 1u] = wg; }
}
