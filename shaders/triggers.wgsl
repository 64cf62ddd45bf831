//! The best coincidence of each window of time: among the samples t and neurons k at which the coincidence neuron
//! spikes, the largest sqrt(a·b), where a and b are the largest evidence of the two detectors in [t − reach, t + reach];
//! the first t, then the first k, of equals. A window without a spike has the score 0.
//! stage: spiking
//! import: grid

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    neurons: u32,
    /// Words of one sample's packed spikes.
    words: u32,
    first: u32,
    end: u32,
    /// Samples of a window.
    window: u32,
    reach: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> spikes: array<u32>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> score: array<f32>;
// Neuron, sample of the largest evidence in a, and in b, and of the spike.
@group(0) @binding(5) var<storage, read_write> where_at: array<u32>;

var<workgroup> best: array<f32, 128>;
// The candidate's order: (t − begin)·neurons + k.
var<workgroup> order: array<u32, 128>;
var<workgroup> at_a: array<u32, 128>;
var<workgroup> at_b: array<u32, 128>;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let wg = p.wg_base + g;
    let begin = p.first + wg * p.window;
    let end = min(begin + p.window, p.end);
    var most = 0.0;
    var most_order = 0xffffffffu;
    var most_a = begin;
    var most_b = begin;
    for (var i = lid; i < (end - begin) * p.neurons; i += 128u) {
        let t = begin + i / p.neurons;
        let k = i % p.neurons;
        if (((spikes[t * p.words + k / 32u] >> (k % 32u)) & 1u) == 1u) {
            var high_a = -1.0;
            var high_b = -1.0;
            var t_a = t;
            var t_b = t;
            let low = max(t, p.first + p.reach) - p.reach;
            let high = min(t + p.reach + 1u, p.end);
            for (var u = low; u < high; u += 1u) {
                let va = a[u * p.neurons + k];
                let vb = b[u * p.neurons + k];
                if (va > high_a) { high_a = va; t_a = u; }
                if (vb > high_b) { high_b = vb; t_b = u; }
            }
            let s = sqrt(max(high_a, 0.0) * max(high_b, 0.0));
            if (s > most) { most = s; most_order = i; most_a = t_a; most_b = t_b; }
        }
    }
    best[lid] = most;
    order[lid] = most_order;
    at_a[lid] = most_a;
    at_b[lid] = most_b;
    workgroupBarrier();
    for (var step = 64u; step > 0u; step = step / 2u) {
        if (lid < step) {
            let other = best[lid + step];
            if (other > best[lid] || (other == best[lid] && order[lid + step] < order[lid])) {
                best[lid] = other;
                order[lid] = order[lid + step];
                at_a[lid] = at_a[lid + step];
                at_b[lid] = at_b[lid + step];
            }
        }
        workgroupBarrier();
    }
    if (lid == 0u) {
        score[wg] = best[0];
        let none = best[0] == 0.0;
        where_at[wg * 4u] = select(order[0] % p.neurons, 0u, none);
        where_at[wg * 4u + 1u] = at_a[0];
        where_at[wg * 4u + 2u] = at_b[0];
        where_at[wg * 4u + 3u] = begin + select(order[0] / p.neurons, 0u, none);
    }
}
