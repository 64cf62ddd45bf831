//! y[row, block, f] = Σ_c x[b, c, block, f] · conj(w[m, c, f]) for rows (b, m) of a batch of channels, where c runs over
//! the channels of m's group. An invocation has one bin of four blocks, which share the filters' values.
//! stage: convolution
//! specialise: bins, blocks, c_in, c_out, groups
//! import: grid
const BLOCKS: u32 = 4u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    bins: u32,
    blocks: u32,
    /// Channels of one group.
    c_in: u32,
    c_out: u32,
    groups: u32,
    /// First of the rows b · channels + m.
    row: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> w: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec2<f32>>;

fn product(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x + a.y * b.y, a.y * b.x - a.x * b.y);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    var wg = p.wg_base + g;
    let tiles = (p.bins + 63u) / 64u;
    let f = (wg % tiles) * 64u + lid;
    wg = wg / tiles;
    let quads = (p.blocks + BLOCKS - 1u) / BLOCKS;
    let block = (wg % quads) * BLOCKS;
    let local = wg / quads;
    if (f >= p.bins) { return; }
    let channels = p.groups * p.c_out;
    let b = (p.row + local) / channels;
    let m = (p.row + local) % channels;
    let first = (b * p.groups + m / p.c_out) * p.c_in;
    // Blocks past the last repeat it, and are not written.
    let step1 = min(1u, p.blocks - 1u - block) * p.bins;
    let step2 = min(2u, p.blocks - 1u - block) * p.bins;
    let step3 = min(3u, p.blocks - 1u - block) * p.bins;
    var s0 = vec2<f32>();
    var s1 = vec2<f32>();
    var s2 = vec2<f32>();
    var s3 = vec2<f32>();
    for (var c = 0u; c < p.c_in; c += 1u) {
        let v = w[(m * p.c_in + c) * p.bins + f];
        let at = ((first + c) * p.blocks + block) * p.bins + f;
        s0 += product(x[at], v);
        s1 += product(x[at + step1], v);
        s2 += product(x[at + step2], v);
        s3 += product(x[at + step3], v);
    }
    let at = (local * p.blocks + block) * p.bins + f;
    y[at] = s0;
    if (block + 1u < p.blocks) { y[at + p.bins] = s1; }
    if (block + 2u < p.blocks) { y[at + 2u * p.bins] = s2; }
    if (block + 3u < p.blocks) { y[at + 3u * p.bins] = s3; }
}
