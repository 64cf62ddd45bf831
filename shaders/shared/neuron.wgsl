// What all neuron kernels share: their bindings, the tile that a workgroup has, its input, its parameters and its spikes.
// See src/ops/neurons/mod.rs for the layout of `table` and `state`.

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    /// The recording's step.
    k: u32,
    /// Steps of the recording.
    steps: u32,
    /// Length of the index space of neurons.
    stride: u32,
    /// Slots of the ring, a power of two.
    slots: u32,
    planes: u32,
    /// 1: `drive` holds input of each step.
    driven: u32,
    /// Length of a row of `state`.
    neurons: u32,
    /// Where in `table` the populations begin, and the words of each.
    populations: u32,
    population_words: u32,
    /// A kernel's own.
    options: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> clock: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> ring: array<u32>;
@group(0) @binding(5) var<storage, read> drive: array<i32>;
@group(0) @binding(6) var<storage, read_write> raster: array<u32>;
@group(0) @binding(7) var<storage, read_write> spikes: array<atomic<u32>>;

/// Words of a tile, and of a population before its parameter rows.
const TILE_WORDS = 4u;
const POPULATION_HEAD = 4u;
/// The row of `state` that counts a neuron's spikes.
const COUNT_ROW = 0u;

struct Tile {
    /// The neuron's index, and its place in the rows of `state`.
    neuron: u32,
    own: u32,
    /// Its place within the population.
    within: u32,
    /// An invocation behind the tile's end computes as the tile's first neuron and stores nothing.
    live: bool,
    /// Where in `table` the population is.
    population: u32,
    /// Bit r: parameter row r has a value a neuron.
    each: u32,
    /// Neurons of the tile.
    count: u32,
    first: u32,
}

fn tile_of(wg: u32, lid: u32) -> Tile {
    let at = wg * TILE_WORDS;
    var t: Tile;
    t.first = table[at];
    t.count = table[at + 1u];
    t.population = p.populations + table[at + 2u] * p.population_words;
    t.live = lid < t.count;
    let i = select(0u, lid, t.live);
    t.neuron = t.first + i;
    t.own = table[at + 3u] + i;
    t.each = table[t.population];
    t.within = t.neuron - table[t.population + 2u];
    return t;
}

/// What one unit of input is: 2^-exponent.
fn unit(t: Tile) -> f32 {
    return bitcast<f32>(table[t.population + 3u]);
}

/// Where in `table` the population's lists begin.
fn lists(t: Tile) -> u32 {
    return table[t.population + 1u];
}

fn word(t: Tile, row: u32) -> u32 {
    let shared_word = table[t.population + POPULATION_HEAD + row];
    if (((t.each >> row) & 1u) == 0u) { return shared_word; }
    return table[shared_word + t.within];
}

fn parameter(t: Tile, row: u32) -> f32 {
    return bitcast<f32>(word(t, row));
}

fn state_at(t: Tile, row: u32) -> u32 {
    return row * p.neurons + t.own;
}

fn load(t: Tile, row: u32) -> f32 {
    return bitcast<f32>(state[state_at(t, row)]);
}

/// Only for a neuron that is live.
fn store(t: Tile, row: u32, value: f32) {
    state[state_at(t, row)] = bitcast<u32>(value);
}

/// A parameter of two rows, a sum of two f32.
fn pair(t: Tile, row: u32) -> vec2<f32> {
    return vec2<f32>(parameter(t, row), parameter(t, row + 1u));
}

/// A state of two rows, likewise.
fn load_pair(t: Tile, row: u32) -> vec2<f32> {
    return vec2<f32>(load(t, row), load(t, row + 1u));
}

/// Only for a neuron that is live.
fn store_pair(t: Tile, row: u32, value: vec2<f32>) {
    store(t, row, value.x);
    store(t, row + 1u, value.y);
}

/// Takes the input of a plane that arrives at the end of this step; leaves zero.
fn take(t: Tile, plane: u32) -> i32 {
    let slot = (clock[0] + p.k) & (p.slots - 1u);
    let at = (slot * p.planes + plane) * p.stride + t.neuron;
    var sum = 0i;
    if (t.live) {
        let waiting = ring[at];
        if (waiting != 0u) { ring[at] = 0u; }
        sum = bitcast<i32>(waiting);
        if (p.driven == 1u) { sum += drive[(plane * p.steps + p.k) * p.stride + t.neuron]; }
    }
    return sum;
}

/// Both planes in one sum.
fn take_all(t: Tile) -> i32 {
    var sum = take(t, 0u);
    if (p.planes == 2u) { sum += take(t, 1u); }
    return sum;
}

/// An integer times a power of two as the sum of two f32, the first the nearest; nothing is lost.
fn exact(x: i32, scale: f32) -> vec2<f32> {
    let high = f32(x >> 12u) * 4096.0;
    let low = f32(x & 4095i);
    let sum = pin(high + low);
    let rest = pin(low - pin(sum - high));
    return vec2<f32>(pin(sum * scale), pin(rest * scale));
}

/// a + b, and what rounding took from it (Knuth).
fn two_sum(a: f32, b: f32) -> vec2<f32> {
    let s = pin(a + b);
    let bb = pin(s - a);
    return vec2<f32>(s, pin(pin(a - pin(s - bb)) + pin(b - bb)));
}

/// Zero below 1e-15: a state's floor. With coefficients of at least 1e-15, products are then zero or above 1e-30, and
/// every sum is zero or a normal number, so it does not matter whether a driver keeps subnormal numbers.
fn settle(v: f32) -> f32 {
    // 0x26901d7d are the bits of 1e-15.
    return select(v, 0.0, (bitcast<u32>(v) & 0x7fffffffu) < 0x26901d7du);
}

/// A sum of two f32 after `x' = x + input − fall·x`.
fn decayed(x: vec2<f32>, fall: vec2<f32>, input: vec2<f32>) -> vec2<f32> {
    let high = pin(input.x - pin(fall.x * x.x));
    let low = pin(pin(input.y + x.y) - pin(fall.y * x.x));
    let sum = two_sum(x.x, pin(high + low));
    return vec2<f32>(settle(sum.x), sum.y);
}

var<workgroup> fired: array<atomic<u32>, 8>;
var<workgroup> list_at: u32;

/// Writes the tile's spikes to the raster and the list, and counts them. All invocations call it.
fn emit(t: Tile, lid: u32, spike: bool) {
    if (lid < 8u) { atomicStore(&fired[lid], 0u); }
    workgroupBarrier();
    let hit = spike && t.live;
    if (hit) { atomicOr(&fired[lid / 32u], 1u << (lid % 32u)); }
    workgroupBarrier();
    if (lid < 8u) {
        let bits = atomicLoad(&fired[lid]);
        if (bits != 0u) { raster[(p.k * p.stride + t.first) / 32u + lid] = bits; }
    }
    if (lid == 0u) {
        var total = 0u;
        for (var i = 0u; i < 8u; i += 1u) { total += countOneBits(atomicLoad(&fired[i])); }
        if (total != 0u) { list_at = atomicAdd(&spikes[p.k], total); }
    }
    workgroupBarrier();
    if (hit) {
        var place = list_at;
        for (var i = 0u; i < lid / 32u; i += 1u) { place += countOneBits(atomicLoad(&fired[i])); }
        place += countOneBits(atomicLoad(&fired[lid / 32u]) & ((1u << (lid % 32u)) - 1u));
        atomicStore(&spikes[p.steps + place], t.neuron);
        state[state_at(t, COUNT_ROW)] += 1u;
    }
}
