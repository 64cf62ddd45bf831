//! One pass of discrete Fourier transforms of length `n` ≤ 1024: `count` of them, `group` a workgroup, in workgroup
//! memory by the Stockham autosort algorithm (mixed radix 2, 3, 4, 5, 8).
//!
//! With `c1 = c2 = 1` rows of `n` elements become rows of `n` bins: a whole transform. A longer one takes two or three
//! passes (Bailey's four-step scheme): column passes transform with stride `c1` in place and multiply by the twiddle
//! of the position; the last pass transforms rows and stores them transposed, row `lo·c2 + mid` of `c1·c2` to column
//! `lo + c1·mid`. The native twin takes any `n`.
//!
//! The sign is always negative; an inverse transform swaps real and imaginary parts on its way in and out.
//! stage: dense
//! specialise: n, group, radices, c1, c2, flags
//! import: grid
const COLUMNS: u32 = 1u;
const SWAP_IN: u32 = 2u;
const SWAP_OUT: u32 = 4u;
const TWIDDLE: u32 = 8u;
const FILTER: u32 = 16u;
const CONJUGATE: u32 = 32u;

/// Roots in the fine twiddle table.
const FINE: u32 = 1024u;
/// Marks an invocation without a butterfly.
const NONE: u32 = 0xffffffffu;

struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    /// Transforms a workgroup, a power of two; `n · group / radix` is at most 256 · ⌊8 / radix⌋ for every radix.
    group: u32,
    /// Four bits a stage, the first lowest.
    radices: u32,
    count: u32,
    c1: u32,
    c2: u32,
    flags: u32,
    scale: f32,
    /// Elements from one row of `x` to the next.
    from_row: u32,
    /// Elements of such a row that are used; the others are taken as 0.
    keep: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<f32>>;
/// `n` roots W_n^k; for TWIDDLE then FINE roots W^k and the coarse roots W^(FINE·k), W of the column's whole length.
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;
/// For FILTER: factors of the elements kept of a row, multiplied in on loading. Elsewhere anything.
@group(0) @binding(4) var<storage, read> factors: array<vec2<f32>>;

/// Element i of transform j of the group at i · group + j.
var<workgroup> buf: array<vec2<f32>, 2048>;

fn mul(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

/// −i·a.
fn turn(a: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.y, -a.x);
}

/// The place of a butterfly: its first input and output in `buf`, and the step of its twiddle.
struct Site { from_at: u32, to_at: u32, root: u32 }

fn site(b: u32, radix: u32, done: u32) -> Site {
    if (b >= p.n / radix * p.group) { return Site(0u, NONE, 0u); }
    let j = b / p.group;
    let lane = b % p.group;
    let inner = j % done;
    return Site(b, ((j - inner) * radix + inner) * p.group + lane, inner * (p.n / (done * radix)));
}

fn leg(s: Site, r: u32, step: u32) -> vec2<f32> {
    return mul(buf[s.from_at + r * step], table[s.root * r]);
}

fn put(s: Site, r: u32, step: u32, v: vec2<f32>) {
    if (s.to_at != NONE) { buf[s.to_at + r * step] = v; }
}

fn dft2(v: ptr<function, array<vec2<f32>, 8>>, o: u32) {
    let a = (*v)[o];
    let b = (*v)[o + 1u];
    (*v)[o] = a + b;
    (*v)[o + 1u] = a - b;
}

fn dft3(v: ptr<function, array<vec2<f32>, 8>>, o: u32) {
    let a = (*v)[o];
    let s = (*v)[o + 1u] + (*v)[o + 2u];
    // sin(2π/3)
    let d = turn((*v)[o + 1u] - (*v)[o + 2u]) * 0.8660254037844386;
    let m = a - 0.5 * s;
    (*v)[o] = a + s;
    (*v)[o + 1u] = m + d;
    (*v)[o + 2u] = m - d;
}

fn dft4(v: ptr<function, array<vec2<f32>, 8>>, o: u32) {
    let s = (*v)[o] + (*v)[o + 2u];
    let d = (*v)[o] - (*v)[o + 2u];
    let t = (*v)[o + 1u] + (*v)[o + 3u];
    let u = turn((*v)[o + 1u] - (*v)[o + 3u]);
    (*v)[o] = s + t;
    (*v)[o + 1u] = d + u;
    (*v)[o + 2u] = s - t;
    (*v)[o + 3u] = d - u;
}

fn dft5(v: ptr<function, array<vec2<f32>, 8>>) {
    // cos and sin of 2π/5 and 4π/5.
    let c1 = 0.30901699437494745;
    let c2 = -0.8090169943749475;
    let s1 = 0.9510565162951535;
    let s2 = 0.5877852522924731;
    let a = (*v)[0];
    let p1 = (*v)[1] + (*v)[4];
    let m1 = (*v)[1] - (*v)[4];
    let p2 = (*v)[2] + (*v)[3];
    let m2 = (*v)[2] - (*v)[3];
    let e1 = a + c1 * p1 + c2 * p2;
    let e2 = a + c2 * p1 + c1 * p2;
    let o1 = turn(s1 * m1 + s2 * m2);
    let o2 = turn(s2 * m1 - s1 * m2);
    (*v)[0] = a + p1 + p2;
    (*v)[1] = e1 + o1;
    (*v)[2] = e2 + o2;
    (*v)[3] = e2 - o2;
    (*v)[4] = e1 - o1;
}

/// Of legs in the order 0, 2, 4, 6, 1, 3, 5, 7.
fn dft8(v: ptr<function, array<vec2<f32>, 8>>) {
    dft4(v, 0u);
    dft4(v, 4u);
    // √½
    let h = 0.7071067811865476;
    let o1 = (*v)[5];
    let o3 = (*v)[7];
    let b0 = (*v)[4];
    let b1 = h * (o1 + turn(o1));
    let b2 = turn((*v)[6]);
    let b3 = h * (turn(o3) - o3);
    let a0 = (*v)[0];
    let a1 = (*v)[1];
    let a2 = (*v)[2];
    let a3 = (*v)[3];
    (*v)[0] = a0 + b0;
    (*v)[1] = a1 + b1;
    (*v)[2] = a2 + b2;
    (*v)[3] = a3 + b3;
    (*v)[4] = a0 - b0;
    (*v)[5] = a1 - b1;
    (*v)[6] = a2 - b2;
    (*v)[7] = a3 - b3;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let g = grid_index(wid);
    if (g >= p.wg_count) { return; }
    let first = (p.wg_base + g) * p.group;
    let lanes = 256u / p.group;
    let stride = p.c1 * p.c2;
    let whole = p.n * stride;
    let columns = (p.flags & COLUMNS) != 0u;

    // Neighbouring invocations take neighbouring addresses: columns side by side, or elements of a row.
    var lane = select(lid / lanes, lid % p.group, columns);
    var start = select(lid % lanes, lid / p.group, columns);
    var t = first + lane;
    var hi = t / stride;
    var lo = t % p.c1;
    var mid = (t / p.c1) % p.c2;
    {
        let base = select((lo * p.c2 + mid) * p.n, lo, columns);
        let step = select(1u, stride, columns);
        for (var i = start; i < p.n; i += lanes) {
            var v = vec2<f32>(0.0, 0.0);
            let at = base + i * step;
            if (t < p.count && at < p.keep) {
                v = x[hi * p.from_row + at];
                if ((p.flags & CONJUGATE) != 0u) { v.y = -v.y; }
                if ((p.flags & FILTER) != 0u) { v = mul(v, factors[at]); }
                if ((p.flags & SWAP_IN) != 0u) { v = v.yx; }
            }
            buf[i * p.group + lane] = v;
        }
    }
    workgroupBarrier();

    var done = 1u;
    for (var code = p.radices; code != 0u; code >>= 4u) {
        let radix = code & 15u;
        let from_step = p.n / radix * p.group;
        let to_step = done * p.group;
        let s0 = site(lid, radix, done);
        var s1 = s0;
        var s2 = s0;
        var s3 = s0;
        var v: array<vec2<f32>, 8>;
        switch (radix) {
            case 2u: {
                s1 = site(lid + 256u, 2u, done);
                s2 = site(lid + 512u, 2u, done);
                s3 = site(lid + 768u, 2u, done);
                v[0] = buf[s0.from_at];
                v[1] = leg(s0, 1u, from_step);
                v[2] = buf[s1.from_at];
                v[3] = leg(s1, 1u, from_step);
                v[4] = buf[s2.from_at];
                v[5] = leg(s2, 1u, from_step);
                v[6] = buf[s3.from_at];
                v[7] = leg(s3, 1u, from_step);
                dft2(&v, 0u);
                dft2(&v, 2u);
                dft2(&v, 4u);
                dft2(&v, 6u);
            }
            case 3u: {
                s1 = site(lid + 256u, 3u, done);
                v[0] = buf[s0.from_at];
                v[1] = leg(s0, 1u, from_step);
                v[2] = leg(s0, 2u, from_step);
                v[3] = buf[s1.from_at];
                v[4] = leg(s1, 1u, from_step);
                v[5] = leg(s1, 2u, from_step);
                dft3(&v, 0u);
                dft3(&v, 3u);
            }
            case 4u: {
                s1 = site(lid + 256u, 4u, done);
                v[0] = buf[s0.from_at];
                v[1] = leg(s0, 1u, from_step);
                v[2] = leg(s0, 2u, from_step);
                v[3] = leg(s0, 3u, from_step);
                v[4] = buf[s1.from_at];
                v[5] = leg(s1, 1u, from_step);
                v[6] = leg(s1, 2u, from_step);
                v[7] = leg(s1, 3u, from_step);
                dft4(&v, 0u);
                dft4(&v, 4u);
            }
            case 5u: {
                v[0] = buf[s0.from_at];
                v[1] = leg(s0, 1u, from_step);
                v[2] = leg(s0, 2u, from_step);
                v[3] = leg(s0, 3u, from_step);
                v[4] = leg(s0, 4u, from_step);
                dft5(&v);
            }
            default: {
                v[0] = buf[s0.from_at];
                v[1] = leg(s0, 2u, from_step);
                v[2] = leg(s0, 4u, from_step);
                v[3] = leg(s0, 6u, from_step);
                v[4] = leg(s0, 1u, from_step);
                v[5] = leg(s0, 3u, from_step);
                v[6] = leg(s0, 5u, from_step);
                v[7] = leg(s0, 7u, from_step);
                dft8(&v);
            }
        }
        // Everybody has read before anybody writes.
        workgroupBarrier();
        switch (radix) {
            case 2u: {
                put(s0, 0u, to_step, v[0]);
                put(s0, 1u, to_step, v[1]);
                put(s1, 0u, to_step, v[2]);
                put(s1, 1u, to_step, v[3]);
                put(s2, 0u, to_step, v[4]);
                put(s2, 1u, to_step, v[5]);
                put(s3, 0u, to_step, v[6]);
                put(s3, 1u, to_step, v[7]);
            }
            case 3u: {
                put(s0, 0u, to_step, v[0]);
                put(s0, 1u, to_step, v[1]);
                put(s0, 2u, to_step, v[2]);
                put(s1, 0u, to_step, v[3]);
                put(s1, 1u, to_step, v[4]);
                put(s1, 2u, to_step, v[5]);
            }
            case 4u: {
                put(s0, 0u, to_step, v[0]);
                put(s0, 1u, to_step, v[1]);
                put(s0, 2u, to_step, v[2]);
                put(s0, 3u, to_step, v[3]);
                put(s1, 0u, to_step, v[4]);
                put(s1, 1u, to_step, v[5]);
                put(s1, 2u, to_step, v[6]);
                put(s1, 3u, to_step, v[7]);
            }
            case 5u: {
                put(s0, 0u, to_step, v[0]);
                put(s0, 1u, to_step, v[1]);
                put(s0, 2u, to_step, v[2]);
                put(s0, 3u, to_step, v[3]);
                put(s0, 4u, to_step, v[4]);
            }
            default: {
                put(s0, 0u, to_step, v[0]);
                put(s0, 1u, to_step, v[1]);
                put(s0, 2u, to_step, v[2]);
                put(s0, 3u, to_step, v[3]);
                put(s0, 4u, to_step, v[4]);
                put(s0, 5u, to_step, v[5]);
                put(s0, 6u, to_step, v[6]);
                put(s0, 7u, to_step, v[7]);
            }
        }
        workgroupBarrier();
        done *= radix;
    }

    if (stride > 1u) {
        lane = lid % p.group;
        start = lid / p.group;
        t = first + lane;
        hi = t / stride;
        lo = t % p.c1;
        mid = (t / p.c1) % p.c2;
    }
    if (t < p.count) {
        let base = hi * whole + lo + mid * p.c1;
        for (var i = start; i < p.n; i += lanes) {
            var v = buf[i * p.group + lane];
            if ((p.flags & TWIDDLE) != 0u) {
                let k = lo * i;
                v = mul(v, mul(table[p.n + FINE + k / FINE], table[p.n + k % FINE]));
            }
            v *= p.scale;
            if ((p.flags & SWAP_OUT) != 0u) { v = v.yx; }
            y[base + i * stride] = v;
        }
    }
}
