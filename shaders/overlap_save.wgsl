//! y[row, t] = x[row, block, r] + bias, where t·stride is r behind the start of a block of `hop` positions: what
//! overlap-save keeps of blocks of `points`.
//! stage: convolution
//! specialise: n_out, blocks, points, hop, stride, channels, flags
//! import: grid
const ITEMS: u32 = 1024u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// Rows here times positions.
    n: u32,
    n_out: u32,
    blocks: u32,
    points: u32,
    hop: u32,
    stride: u32,
    /// All output channels.
    channels: u32,
    /// First of the rows b · channels + m.
    row: u32,
    /// 1: there is a bias.
    flags: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let first = (p.wg_base + g) * ITEMS + lid;
    for (var k = 0u; k < ITEMS; k += 256u) {
        let i = first + k;
        if (i < p.n) {
            let local = i / p.n_out;
            let at = (i - local * p.n_out) * p.stride;
            let block = at / p.hop;
            var v = x[(local * p.blocks + block) * p.points + at - block * p.hop];
            if ((p.flags & 1u) != 0u) { v += bias[(p.row + local) % p.channels]; }
            y[p.row * p.n_out + i] = v;
        }
    }
}
