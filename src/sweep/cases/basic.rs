//! Elementwise arithmetic, layout, reductions, and the known answers of the self-test.

use super::Agreement::{Bits, Within};
use super::{Case, Draft};
use crate::kernel::{self, workgroups};
use crate::ops::{self, Conjugate, Reduction, Scan};
use crate::{Error, Result};

/// Sizes of what does little with each element.
const ELEMENTS: &[usize] = &[1 << 12, 1 << 16, 1 << 20, 1 << 22];
/// Rows of reductions, and of prefix sums: even the smallest have rows of several chunks.
const ROWS: usize = 16;
const SCAN_ROWS: usize = 2;

pub const FILL: Case = Case { name: "fill", sizes: ELEMENTS, unit: "elements", variants: &["default"], make: fill };
pub const COPY2D: Case =
    Case { name: "copy2d", sizes: ELEMENTS, unit: "elements", variants: &["shifted", "complex"], make: copy2d };
pub const TRANSPOSE: Case =
    Case { name: "transpose", sizes: ELEMENTS, unit: "elements", variants: &["real", "complex"], make: transpose };
pub const UNARY: Case = Case {
    name: "unary",
    sizes: ELEMENTS,
    unit: "elements",
    variants: &["scale_offset", "abs", "square", "abs_odd"],
    make: unary,
};
pub const BINARY: Case = Case {
    name: "binary",
    sizes: ELEMENTS,
    unit: "elements",
    variants: &["axpby", "mul", "mul_row", "mul_odd"],
    make: binary,
};
pub const COMPLEX_BINARY: Case = Case {
    name: "complex_binary",
    sizes: ELEMENTS,
    unit: "elements",
    variants: &["mul", "mul_conjugate", "axpby"],
    make: complex_binary,
};
pub const COMPLEX_SCALE: Case =
    Case { name: "complex_scale", sizes: ELEMENTS, unit: "elements", variants: &["default"], make: complex_scale };
pub const COMPLEX_ABS: Case =
    Case { name: "complex_abs", sizes: ELEMENTS, unit: "elements", variants: &["norm", "abs"], make: complex_abs };
pub const REDUCE: Case = Case {
    name: "reduce",
    sizes: ELEMENTS,
    unit: "elements",
    variants: &["sum", "sum_squares", "sum_odd", super::WIDE],
    make: reduce,
};
pub const EXTREMUM: Case =
    Case { name: "extremum", sizes: ELEMENTS, unit: "elements", variants: &["argmax", "argmin"], make: extremum };
pub const SCAN: Case = Case { name: "scan", sizes: ELEMENTS, unit: "elements", variants: &["u32", "f32"], make: scan };
pub const CANARY: Case =
    Case { name: "canary", sizes: &[1], unit: "submissions", variants: &["default"], make: canary };
pub const SELFTEST: Case =
    Case { name: "selftest", sizes: &[1000, 70_000], unit: "workgroups", variants: &["default"], make: selftest };

pub const CEILING_COPY: Case = Case {
    name: "ceiling_copy",
    sizes: &[1 << 12, 1 << 20, 1 << 24],
    unit: "elements",
    variants: &["default"],
    make: ceiling_copy,
};
pub const CEILING_MULTIPLY_ADD: Case = Case {
    name: "ceiling_multiply_add",
    sizes: &[16, 1024, 16_384],
    unit: "links of 16 chains of 65,536 invocations",
    variants: &["default"],
    make: ceiling_multiply_add,
};

/// Invocations of the ceiling of arithmetic.
const INVOCATIONS: usize = 1 << 16;
/// Chains of each.
const CHAINS: usize = 16;

fn ceiling_copy(d: &mut Draft, n: usize, _: &str) -> Result<()> {
    use kernel::ceiling_copy::{Args, Params, dispatch};
    let words: Vec<[u32; 4]> = (0..n as u32 / 4).map(|i| [i, !i, i ^ 0x5555, i << 7]).collect();
    let n = words.len();
    let x = d.rec.constant_owned("x", words)?;
    let y = d.rec.scratch("y", n)?;
    d.rec.dispatch(dispatch(Params { n: n as u32 }, Args { x, y }, workgroups(n, 1024)))?;
    d.cost(32 * n, 0);
    d.output(y, Bits)
}

/// With a and b of one, a chain counts its links: no rounding, fused or not.
fn ceiling_multiply_add(d: &mut Draft, links: usize, _: &str) -> Result<()> {
    use kernel::ceiling_multiply_add::{Args, Params, dispatch};
    if links * CHAINS >= 1 << 24 {
        return Err(Error::invalid("size", format!("{links} links; fewer than 2^20")));
    }
    let y = d.rec.scratch("y", INVOCATIONS)?;
    let params = Params { n: INVOCATIONS as u32, links: links as u32, a: 1.0, b: 1.0 };
    let work = (INVOCATIONS * CHAINS * links) as u64;
    d.rec.dispatch(dispatch(params, Args { y }, workgroups(INVOCATIONS, 256)).work(work))?;
    d.cost(4 * INVOCATIONS, 2 * work as usize);
    d.output(y, Bits)
}

fn fill(d: &mut Draft, n: usize, _: &str) -> Result<()> {
    let y = d.rec.scratch("y", n)?;
    ops::fill(&mut d.rec, y, 2.5f32)?;
    d.cost(4 * n, 0);
    d.output(y, Bits)
}

fn copy2d(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    if variant == "complex" {
        let x = d.complex("x", n / 2)?;
        let y = d.rec.scratch("y", n / 2)?;
        ops::pad_rows(&mut d.rec, x, ROWS, 5, y)?;
        d.output(y, Bits)?;
    } else {
        let x = d.noise("x", n)?;
        let y = d.rec.scratch("y", n)?;
        ops::pad_rows(&mut d.rec, x, ROWS, 5, y)?;
        d.output(y, Bits)?;
    }
    d.cost(8 * n, 0);
    Ok(())
}

fn transpose(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    // One side is not a multiple of a tile.
    let rows = 1 << (n.ilog2() / 2);
    d.cost(8 * n, 0);
    if variant == "complex" {
        let x = d.complex("x", n / 2)?;
        let y = d.rec.scratch("y", n / 2)?;
        ops::transpose(&mut d.rec, x, [1, rows, n / 2 / rows], y)?;
        d.output(y, Bits)
    } else {
        let x = d.noise("x", n)?;
        let y = d.rec.scratch("y", n)?;
        ops::transpose(&mut d.rec, x, [1, rows, n / rows], y)?;
        d.output(y, Bits)
    }
}

/// Other kernels take lengths that are whole fours.
fn length(n: usize, variant: &str) -> usize {
    if variant.ends_with("_odd") { n - 1 } else { n }
}

fn unary(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let n = length(n, variant);
    let x = d.noise("x", n)?;
    let y = d.rec.scratch("y", n)?;
    match variant {
        "abs" | "abs_odd" => ops::abs(&mut d.rec, x, y)?,
        "square" => ops::square(&mut d.rec, x, 0.3, y)?,
        _ => ops::scale_offset(&mut d.rec, x, 0.3, 0.7, y)?,
    }
    d.cost(8 * n, if variant.starts_with("abs") { n } else { 2 * n });
    d.output(y, Bits)
}

fn binary(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let n = length(n, variant);
    let row = if variant == "mul_row" { n / ROWS } else { n };
    let (a, b) = (d.noise("a", n)?, d.noise("b", row)?);
    let y = d.rec.scratch("y", n)?;
    match variant {
        "axpby" => ops::axpby(&mut d.rec, 0.3, a, 0.7, b, y)?,
        _ => ops::mul(&mut d.rec, a, b, 1.5, y)?,
    }
    d.cost(4 * (2 * n + row), if variant == "axpby" { 3 * n } else { 2 * n });
    d.output(y, Bits)
}

fn complex_binary(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let n = n / 2;
    let (a, b) = (d.complex("a", n)?, d.complex("b", n)?);
    let y = d.rec.scratch("y", n)?;
    match variant {
        "axpby" => ops::complex_axpby(&mut d.rec, 0.3, a, 0.7, b, y)?,
        "mul" => ops::complex_mul(&mut d.rec, a, b, Conjugate::None, 1.5, y)?,
        _ => ops::complex_mul(&mut d.rec, a, b, Conjugate::Second, 1.5, y)?,
    }
    d.cost(24 * n, if variant == "axpby" { 6 * n } else { 8 * n });
    d.output(y, Bits)
}

fn complex_scale(d: &mut Draft, n: usize, _: &str) -> Result<()> {
    let n = n / 2;
    let (a, b) = (d.complex("a", n)?, d.noise("b", n)?);
    let y = d.rec.scratch("y", n)?;
    ops::complex_scale(&mut d.rec, a, b, 1.5, y)?;
    d.cost(20 * n, 3 * n);
    d.output(y, Bits)
}

fn complex_abs(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let n = n / 2;
    let x = d.complex("x", n)?;
    let y = d.rec.scratch("y", n)?;
    d.cost(12 * n, 4 * n);
    if variant == "abs" {
        ops::complex_abs(&mut d.rec, x, 1.5, y)?;
        // Roots are not rounded alike.
        return d.output(y, Within(6e-7));
    }
    ops::complex_norm_sqr(&mut d.rec, x, 1.5, y)?;
    d.output(y, Bits)
}

fn reduce(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let n = ROWS * length(n / ROWS, variant);
    let x = d.noise("x", n)?;
    let y = d.rec.scratch("y", ROWS)?;
    let squares = variant == "sum_squares";
    let what = if squares { Reduction::SumSquares } else { Reduction::Sum };
    ops::reduce(&mut d.rec, what, x, ROWS, y)?;
    d.cost(4 * n, if squares { 2 * n } else { n });
    d.output(y, Bits)
}

fn extremum(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let x = d.noise("x", n)?;
    let (value, index) = (d.rec.scratch("value", ROWS)?, d.rec.scratch("index", ROWS)?);
    let op = if variant == "argmax" { ops::argmax } else { ops::argmin };
    op(&mut d.rec, x, ROWS, value, index)?;
    d.cost(4 * n, n);
    d.output(value, Bits)?;
    d.output(index, Bits)
}

fn scan(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    d.cost(8 * n, n);
    if variant == "f32" {
        let x = d.noise("x", n)?;
        let y = d.rec.scratch("y", n)?;
        ops::scan(&mut d.rec, Scan::Inclusive, x, SCAN_ROWS, y)?;
        return d.output(y, Bits);
    }
    let x = d.words("x", n, 1)?;
    let y = d.rec.scratch("y", n)?;
    ops::scan(&mut d.rec, Scan::Exclusive, x, SCAN_ROWS, y)?;
    d.output(y, Bits)
}

/// What proves that submissions are carried out, alone.
fn canary(d: &mut Draft, n: usize, _: &str) -> Result<()> {
    use kernel::canary::{Args, Params, dispatch};
    let count = d.rec.scratch("count", 1)?;
    d.rec.clear(count)?;
    for _ in 0..n {
        d.rec.dispatch(dispatch(Params {}, Args { count }, 1))?;
    }
    d.cost(8 * n, n);
    d.output(count, Bits)
}

/// Steps of each loop, below what every driver allows together.
const LOOPS: [u32; 2] = [20_000, 10_000];

/// The known answers with which a device is tested when it is opened, so far as they are the same on all.
fn selftest(d: &mut Draft, groups: usize, _: &str) -> Result<()> {
    use kernel::{selftest_grid, selftest_group, selftest_loop};
    let far = groups * 64;
    let (Ok(groups_word), Ok(n)) = (u32::try_from(groups), u32::try_from(far)) else {
        return Err(Error::invalid("size", format!("{groups} workgroups; fewer than 2^26")));
    };
    let loops = d.rec.scratch("loops", 2)?;
    let params = selftest_loop::Params { first: LOOPS[0], second: LOOPS[1] };
    d.rec.dispatch(selftest_loop::dispatch(params, selftest_loop::Args { y: loops }, 1))?;
    let (seen, far) = (d.rec.scratch("seen", 2)?, d.rec.scratch("far", far)?);
    let tail = d.rec.scratch("tail", 1)?;
    d.rec.clear(seen)?;
    let params = selftest_grid::Params { n, groups: groups_word };
    d.rec.dispatch(selftest_grid::dispatch(params, selftest_grid::Args { seen, far }, groups as u64))?;
    d.rec.copy(far, far.len() - 1, tail, 0, 1)?;
    let x = d.rec.constant("x", &[1.0, f32::NAN, 0.1, 3.0])?;
    let group = d.rec.scratch("group", 262)?;
    let args = selftest_group::Args { x, y: group };
    d.rec.dispatch(selftest_group::dispatch(selftest_group::Params {}, args, workgroups(1, 1)))?;
    d.cost(8 * groups, 2 * (LOOPS[0] + LOOPS[1]) as usize + 2 * groups);
    for tensor in [loops, seen, tail, group] {
        d.output(tensor, Bits)?;
    }
    Ok(())
}
