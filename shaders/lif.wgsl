//! Leaky integrate-and-fire neurons over many steps, their state in registers.
//!
//! An invocation owns a neuron. Spikes leave as bits, 32 neurons a word, by a 32 x 32 transposition in workgroup memory
//! every 32 steps, or as f32.
//! stage: spiking
//! import: grid pin flush
const GROUP: u32 = 256u;
/// Rows of `table`, see `src/ops/lif.rs`.
const ROWS: u32 = 10u;

const CONSTANT_DRIVE: u32 = 1u;
const STRICT: u32 = 2u;
const SUBTRACT: u32 = 4u;
const SYNAPSE: u32 = 8u;
const PREVIOUS_CURRENT: u32 = 16u;
const ADAPTATION: u32 = 32u;
const DENSE: u32 = 64u;
const TRACE: u32 = 128u;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    neurons: u32,
    steps: u32,
    /// The row of `current`, `spikes` and `trace` that belongs to the first step.
    first_step: u32,
    /// Bit r: row r of `table` has a value a neuron.
    each: u32,
    flags: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
/// [steps, neurons], or [neurons] for a constant drive.
@group(0) @binding(1) var<storage, read> current: array<f32>;
/// The shared value of every row, then the rows that have a value a neuron.
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;
/// Steps for which the neuron is still not integrated.
@group(0) @binding(4) var<storage, read_write> refractory: array<u32>;
/// Used with SYNAPSE.
@group(0) @binding(5) var<storage, read_write> i_syn: array<f32>;
/// Used with ADAPTATION.
@group(0) @binding(6) var<storage, read_write> adaptation: array<f32>;
/// [steps, ceil(neurons / 32)] words, or [steps, neurons] bits of f32 with DENSE.
@group(0) @binding(7) var<storage, read_write> spikes: array<u32>;
/// [steps, neurons] membrane after the reset, used with TRACE.
@group(0) @binding(8) var<storage, read_write> trace: array<f32>;

var<workgroup> words: array<u32, GROUP>;

fn parameter(row: u32, i: u32) -> f32 {
    if (((p.each >> row) & 1u) == 0u) { return table[row]; }
    return table[ROWS + countOneBits(p.each & ((1u << row) - 1u)) * p.neurons + i];
}

fn has(flag: u32) -> bool {
    return (p.flags & flag) != 0u;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let first = (p.wg_base + g) * GROUP;
    let i = first + lid;
    let live = i < p.neurons;
    // An invocation past the end computes with neuron 0's parameters and stores nothing.
    let own = select(0u, i, live);
    let alpha = parameter(0u, own);
    let gain = parameter(1u, own);
    let v_rest = parameter(2u, own);
    let v_threshold = parameter(3u, own);
    let reset = parameter(4u, own);
    let silent = u32(parameter(5u, own));

    var membrane = v[own];
    membrane = select(v_rest, flush(membrane), is_finite(membrane));
    var waiting = refractory[own];
    var synaptic = 0.0;
    var syn_decay = 0.0;
    var syn_gain = 0.0;
    if (has(SYNAPSE)) {
        syn_decay = parameter(6u, own);
        syn_gain = parameter(7u, own);
        let kept = i_syn[own];
        synaptic = select(0.0, flush(kept), is_finite(kept));
    }
    var adapted = 0.0;
    var adapt_decay = 0.0;
    var increment = 0.0;
    if (has(ADAPTATION)) {
        adapt_decay = parameter(8u, own);
        increment = parameter(9u, own);
        let kept = adaptation[own];
        adapted = select(0.0, flush(kept), is_finite(kept));
    }
    var x = current[own];
    let row_words = (p.neurons + 31u) / 32u;

    for (var t = 0u; t < p.steps; t += 32u) {
        let count = min(32u, p.steps - t);
        let row = p.first_step + t;
        var fired = 0u;
        for (var k = 0u; k < count; k++) {
            if (!has(CONSTANT_DRIVE)) { x = current[(row + k) * p.neurons + own]; }
            var drive = x;
            if (has(SYNAPSE)) {
                let before = synaptic;
                synaptic = pin(flush(pin(syn_decay * before)) + flush(pin(syn_gain * x)));
                if (!is_finite(x) || !is_finite(synaptic)) { synaptic = 0.0; }
                drive = select(synaptic, before, has(PREVIOUS_CURRENT));
            }
            let gap = pin(v_rest - membrane);
            let slope = pin(gap + flush(pin(gain * drive)));
            let moved = pin(membrane + flush(pin(alpha * slope)));
            let sound = is_finite(drive) && is_finite(moved);
            let threshold = pin(v_threshold + adapted);
            let over = select(moved >= threshold, moved > threshold, has(STRICT));
            let active_now = waiting == 0u;
            let spike = active_now && sound && over;
            waiting = select(waiting - min(waiting, 1u), silent, spike);
            if (active_now) { membrane = select(v_rest, moved, sound); }
            if (spike) { membrane = select(reset, pin(moved - reset), has(SUBTRACT)); }
            adapted = pin(flush(pin(adapt_decay * adapted)) + select(0.0, increment, spike));
            fired |= select(0u, 1u << k, spike);
            if (live && has(DENSE)) { spikes[(row + k) * p.neurons + i] = select(0u, 0x3f800000u, spike); }
            if (live && has(TRACE)) { trace[(row + k) * p.neurons + i] = membrane; }
        }
        if (!has(DENSE)) {
            words[lid] = select(0u, fired, live);
            workgroupBarrier();
            // Of each 32 invocations, number k gathers step k of their 32 neurons.
            let k = lid % 32u;
            let base = lid - k;
            if (k < count && first + base < p.neurons) {
                var word = 0u;
                for (var j = 0u; j < 32u; j++) { word |= ((words[base + j] >> k) & 1u) << j; }
                spikes[(row + k) * row_words + (first + base) / 32u] = word;
            }
            workgroupBarrier();
        }
    }

    if (live) {
        v[i] = membrane;
        refractory[i] = waiting;
        if (has(SYNAPSE)) { i_syn[i] = synaptic; }
        if (has(ADAPTATION)) { adaptation[i] = adapted; }
    }
}
