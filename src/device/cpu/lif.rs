//! Twin of `shaders/lif.wgsl`: the same operations in the same order on blocks of neurons in vector registers.

use rayon::prelude::*;

use super::lanes::{Lanes, Plain, on_best_lanes};
use crate::kernel::lif::{Host, Params};

const ROWS: usize = 10;

const CONSTANT_DRIVE: u32 = 1;
const STRICT: u32 = 2;
const SUBTRACT: u32 = 4;
const SYNAPSE: u32 = 8;
const PREVIOUS_CURRENT: u32 = 16;
const ADAPTATION: u32 = 32;
const DENSE: u32 = 64;
const TRACE: u32 = 128;

/// Neurons of a tile: their spikes of one step are one cache line.
const TILE: usize = 512;
/// Steps whose spikes are kept as bits (8 KiB) before they go to memory.
const CHUNK: usize = 128;
/// Vectors of a block: enough that one neuron's chain of dependent operations hides behind the others'.
const BLOCK: usize = 4;
/// Neuron steps for which a thread is worth waking.
const LEAST_WORK: usize = 1 << 16;

/// The tensors as raw memory: tiles write disjoint neurons of every row.
#[derive(Clone, Copy)]
struct Job<'a> {
    p: &'a Params,
    current: *const f32,
    table: *const f32,
    v: *mut f32,
    refractory: *mut u32,
    i_syn: *mut f32,
    adaptation: *mut f32,
    spikes: *mut u32,
    trace: *mut f32,
}

// SAFETY: threads read shared memory and write disjoint neurons.
unsafe impl Send for Job<'_> {}
// SAFETY: as above.
unsafe impl Sync for Job<'_> {}

pub(super) fn run(p: &Params, a: Host<'_>) {
    let (n, rows) = (p.neurons as usize, (p.first_step + p.steps) as usize);
    let optional = |flag: u32, len: usize, needed: usize| p.flags & flag == 0 || len >= needed;
    // The op has made them so; raw pointers follow.
    assert!(a.v.len() >= n && a.refractory.len() >= n, "state is shorter than the population");
    assert!(a.current.len() >= if p.flags & CONSTANT_DRIVE != 0 { n } else { rows * n }, "drive is too short");
    assert!(a.table.len() >= ROWS + p.each.count_ones() as usize * n, "parameter table is too short");
    assert!(optional(SYNAPSE, a.i_syn.len(), n) && optional(ADAPTATION, a.adaptation.len(), n), "state is too short");
    assert!(optional(TRACE, a.trace.len(), rows * n), "trace is too short");
    assert!(a.spikes.len() >= rows * if p.flags & DENSE != 0 { n } else { n.div_ceil(32) }, "spikes are too short");
    let job = Job {
        p,
        current: a.current.as_ptr(),
        table: a.table.as_ptr(),
        v: a.v.as_mut_ptr(),
        refractory: a.refractory.as_mut_ptr(),
        i_syn: a.i_syn.as_mut_ptr(),
        adaptation: a.adaptation.as_mut_ptr(),
        spikes: a.spikes.as_mut_ptr(),
        trace: a.trace.as_mut_ptr(),
    };
    let tiles_a_thread = (LEAST_WORK / (TILE * p.steps.max(1) as usize)).max(1);
    (0..n.div_ceil(TILE)).into_par_iter().with_min_len(tiles_a_thread).for_each(|i| {
        let first = i * TILE;
        tile(&job, first, TILE.min(n - first));
    });
}

on_best_lanes! {
    /// All steps of `count` neurons from `first` on.
    fn tile = tile_on(job: &Job<'_>, first: usize, count: usize)
}

/// # Safety
/// As [`Lanes`]; the job's tensors hold these neurons, and no other thread touches them.
#[inline(always)]
unsafe fn tile_on<L: Lanes>(job: &Job<'_>, first: usize, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match (job.p.flags & SYNAPSE != 0, job.p.flags & ADAPTATION != 0) {
            (false, false) => tile_of::<L, false, false>(job, first, count),
            (true, false) => tile_of::<L, true, false>(job, first, count),
            (false, true) => tile_of::<L, false, true>(job, first, count),
            (true, true) => tile_of::<L, true, true>(job, first, count),
        }
    }
}

/// # Safety
/// As [`tile_on`].
#[inline(always)]
unsafe fn tile_of<L: Lanes, const SYNAPTIC: bool, const ADAPTIVE: bool>(job: &Job<'_>, first: usize, count: usize) {
    let p = job.p;
    let (row_words, packed) = ((p.neurons as usize).div_ceil(32), p.flags & DENSE == 0);
    let words = count.div_ceil(32);
    let mut fired = [[0u64; TILE / 64]; CHUNK];
    for t in (0..p.steps as usize).step_by(CHUNK) {
        let steps = CHUNK.min(p.steps as usize - t);
        let row = p.first_step as usize + t;
        fired[..steps].fill([0; TILE / 64]);
        let mut i = 0;
        // SAFETY: the caller's promise; blocks stay below `count`.
        unsafe {
            while i + BLOCK * L::N <= count {
                block::<L, BLOCK, SYNAPTIC, ADAPTIVE>(job, first, i, row, &mut fired[..steps]);
                i += BLOCK * L::N;
            }
            while i < count {
                block::<Plain<1>, 1, SYNAPTIC, ADAPTIVE>(job, first, i, row, &mut fired[..steps]);
                i += 1;
            }
            if packed {
                for (k, bits) in fired[..steps].iter().enumerate() {
                    let to = job.spikes.add((row + k) * row_words + first / 32);
                    for word in 0..words {
                        to.add(word).write((bits[word / 2] >> (word % 2 * 32)) as u32);
                    }
                }
            }
        }
    }
}

/// `fired.len()` steps of `B` vectors of neurons from `first + i` on.
///
/// # Safety
/// As [`tile_on`].
#[inline(always)]
unsafe fn block<L: Lanes, const B: usize, const SYNAPTIC: bool, const ADAPTIVE: bool>(
    job: &Job<'_>,
    first: usize,
    i: usize,
    row: usize,
    fired: &mut [[u64; TILE / 64]],
) {
    let p = job.p;
    let n = p.neurons as usize;
    let at = first + i;
    let has = |flag: u32| p.flags & flag != 0;
    // SAFETY: the caller's promise.
    unsafe {
        // Closures do not inherit a caller's target features; macros do.
        macro_rules! each {
            (|$u:ident| $e:expr) => {{
                let mut out = [L::splat(0.0); B];
                for $u in 0..B {
                    out[$u] = $e;
                }
                out
            }};
        }
        macro_rules! parameter {
            ($row:expr) => {{
                let own = ROWS + (p.each & ((1 << $row) - 1)).count_ones() as usize * n + at;
                let shared = L::splat(*job.table.add($row));
                if p.each >> $row & 1 == 0 { [shared; B] } else { each!(|u| L::load(job.table.add(own + u * L::N))) }
            }};
        }
        macro_rules! start {
            ($from:expr, $otherwise:ident) => {
                each!(|u| {
                    let x = L::load($from.add(at + u * L::N));
                    L::select(L::finite(x), L::flush(x), $otherwise[u])
                })
            };
        }
        let zero = [L::splat(0.0); B];
        let one = L::splat(1.0);
        let (alpha, gain, v_rest) = (parameter!(0), parameter!(1), parameter!(2));
        let (v_threshold, reset) = (parameter!(3), parameter!(4));
        let silent_f = parameter!(5);
        let (syn_decay, syn_gain) = if SYNAPTIC { (parameter!(6), parameter!(7)) } else { (zero, zero) };
        let (adapt_decay, increment) = if ADAPTIVE { (parameter!(8), parameter!(9)) } else { (zero, zero) };
        let mut membrane = start!(job.v, v_rest);
        let mut synaptic = if SYNAPTIC { start!(job.i_syn, zero) } else { zero };
        let mut adapted = if ADAPTIVE { start!(job.adaptation, zero) } else { zero };
        let mut silent = [L::to_u(zero[0]); B];
        let mut waiting = silent;
        for u in 0..B {
            silent[u] = L::to_u(silent_f[u]);
            waiting[u] = L::load_u(job.refractory.add(at + u * L::N));
        }
        let constant = has(CONSTANT_DRIVE);
        let (strict, subtract, previous) = (has(STRICT), has(SUBTRACT), has(PREVIOUS_CURRENT));
        let (dense, traced) = (has(DENSE), has(TRACE));
        let mut x = if constant { each!(|u| L::load(job.current.add(at + u * L::N))) } else { zero };
        let mut driven = each!(|u| L::flush(L::mul(gain[u], x[u])));

        for (k, fired) in fired.iter_mut().enumerate() {
            let row_at = (row + k) * n + at;
            if !constant {
                x = each!(|u| L::load(job.current.add(row_at + u * L::N)));
                if !SYNAPTIC {
                    driven = each!(|u| L::flush(L::mul(gain[u], x[u])));
                }
            }
            let mut bits = 0u64;
            for u in 0..B {
                if SYNAPTIC {
                    let before = synaptic[u];
                    let sum = L::add(L::flush(L::mul(syn_decay[u], before)), L::flush(L::mul(syn_gain[u], x[u])));
                    // An input that is not finite gives a sum that is not, unless its gain is zero.
                    let sound = L::and(L::finite(x[u]), L::finite(sum));
                    synaptic[u] = L::select(sound, sum, zero[u]);
                    driven[u] = L::flush(L::mul(gain[u], if previous { before } else { synaptic[u] }));
                }
                let slope = L::add(L::sub(v_rest[u], membrane[u]), driven[u]);
                let moved = L::add(membrane[u], L::flush(L::mul(alpha[u], slope)));
                let sound = L::finite(moved);
                let threshold = if ADAPTIVE { L::add(v_threshold[u], adapted[u]) } else { v_threshold[u] };
                let over = if strict { L::gt(moved, threshold) } else { L::ge(moved, threshold) };
                let active = L::is_zero(waiting[u]);
                let spike = L::and(active, L::and(sound, over));
                waiting[u] = L::select_u(spike, silent[u], L::decrement(waiting[u]));
                let after = if subtract { L::sub(moved, reset[u]) } else { reset[u] };
                let next = L::select(spike, after, L::select(sound, moved, v_rest[u]));
                membrane[u] = L::select(active, next, membrane[u]);
                if ADAPTIVE {
                    let added = L::select(spike, increment[u], zero[u]);
                    adapted[u] = L::add(L::flush(L::mul(adapt_decay[u], adapted[u])), added);
                }
                bits |= L::bits(spike) << (u * L::N);
                if dense {
                    L::store(job.spikes.cast::<f32>().add(row_at + u * L::N), L::select(spike, one, zero[u]));
                }
                if traced {
                    L::store(job.trace.add(row_at + u * L::N), membrane[u]);
                }
            }
            fired[i / 64] |= bits << (i % 64);
        }

        for u in 0..B {
            let at = at + u * L::N;
            L::store(job.v.add(at), membrane[u]);
            L::store_u(job.refractory.add(at), waiting[u]);
            if SYNAPTIC {
                L::store(job.i_syn.add(at), synaptic[u]);
            }
            if ADAPTIVE {
                L::store(job.adaptation.add(at), adapted[u]);
            }
        }
    }
}
