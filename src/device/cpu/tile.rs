//! The register tile of a matrix product: 8 rows × 48 columns, compiled for each instruction set.
//!
//! The left side is packed, 8 rows side by side for every k. The right side is read where it lies: row k begins at
//! `offsets[k]`, so that rows may overlap, as the taps of a filter over one signal do.

use super::vector::{Plain, Vector};

/// Rows of a packed panel.
pub(super) const ROWS: usize = 8;
/// Columns of a tile: three AVX-512 registers; 8 × 3 accumulators leave 8 of the 32 registers for the operands.
pub(super) const COLS: usize = 48;

/// One product of a packed panel with a part of the right side.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// `[k][left_pitch]`, of which the first [`ROWS`] are this panel.
    pub left: *const f32,
    pub left_pitch: usize,
    /// Start of the right side's rows; [`COLS`] elements from each `right + offsets[k]` must be readable.
    pub right: *const f32,
    /// One for each k.
    pub offsets: &'a [usize],
    /// `rows` × `cols` at a pitch of `pitch`.
    pub out: *mut f32,
    pub pitch: usize,
    pub rows: usize,
    pub cols: usize,
    /// What each row starts from; `None`: from what `out` holds.
    pub start: Option<[f32; ROWS]>,
}

/// Rows that fit the registers beside three columns of them.
const fn rows<V: Vector>() -> usize {
    if V::REGISTERS >= 32 { 8 } else { 4 }
}

/// R × (C registers) from `row` and `col` of the tile on.
#[allow(clippy::needless_range_loop, reason = "rows and columns index several arrays")]
#[inline(always)]
unsafe fn block<V: Vector, const R: usize, const C: usize>(t: &Tile<'_>, row: usize, col: usize) {
    // SAFETY: the caller's promise; a block that the output does not hold whole goes through `edge`.
    unsafe {
        let whole = row + R <= t.rows && col + C * V::N <= t.cols;
        let mut edge = [0f32; ROWS * COLS];
        let out = t.out.add(row * t.pitch + col);
        let (at, pitch) = if whole { (out, t.pitch) } else { (edge.as_mut_ptr(), COLS) };
        let (rows, cols) = (R.min(t.rows - row), (C * V::N).min(t.cols - col));
        let mut acc = [[V::splat(0.0); C]; R];
        if let Some(start) = t.start {
            for r in 0..R {
                acc[r] = [V::splat(start[row + r]); C];
            }
        } else {
            if !whole {
                for r in 0..rows {
                    std::ptr::copy_nonoverlapping(out.add(r * t.pitch), at.add(r * pitch), cols);
                }
            }
            for r in 0..R {
                for c in 0..C {
                    acc[r][c] = V::load(at.add(r * pitch + c * V::N));
                }
            }
        }
        let (left, right) = (t.left.add(row), t.right.add(col));
        for (k, offset) in t.offsets.iter().enumerate() {
            let from = right.add(*offset);
            let mut v = [V::splat(0.0); C];
            for c in 0..C {
                v[c] = V::load(from.add(c * V::N));
            }
            for r in 0..R {
                let w = V::splat(*left.add(k * t.left_pitch + r));
                for c in 0..C {
                    acc[r][c] = acc[r][c].add_product(w, v[c]);
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                acc[r][c].store(at.add(r * pitch + c * V::N));
            }
        }
        if !whole {
            for r in 0..rows {
                std::ptr::copy_nonoverlapping(at.add(r * pitch), out.add(r * t.pitch), cols);
            }
        }
    }
}

#[inline(always)]
unsafe fn columns<V: Vector, const R: usize>(t: &Tile<'_>, row: usize) {
    for col in (0..t.cols).step_by(3 * V::N) {
        // SAFETY: the caller's promise.
        unsafe {
            match (t.cols - col).div_ceil(V::N) {
                1 => block::<V, R, 1>(t, row, col),
                2 => block::<V, R, 2>(t, row, col),
                _ => block::<V, R, 3>(t, row, col),
            }
        }
    }
}

#[inline(always)]
unsafe fn whole<V: Vector>(t: &Tile<'_>) {
    for row in (0..t.rows).step_by(rows::<V>()) {
        // SAFETY: the caller's promise.
        unsafe {
            match t.rows - row {
                1 => columns::<V, 1>(t, row),
                2 => columns::<V, 2>(t, row),
                n if n <= 4 || rows::<V>() == 4 => columns::<V, 4>(t, row),
                _ => columns::<V, 8>(t, row),
            }
        }
    }
}

/// A tile for one instruction set.
pub(super) type Multiply = unsafe fn(&Tile<'_>);

/// The tile for each instruction set that this processor has, the best first.
///
/// Calling one is sound if the tile's pointers reach what [`Tile`] says they do, and nothing else has that output.
fn available() -> Vec<Multiply> {
    let mut all: Vec<Multiply> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m256, __m512};
        #[target_feature(enable = "avx512f")]
        unsafe fn avx512(t: &Tile<'_>) {
            // SAFETY: the caller's promise.
            unsafe { whole::<__m512>(t) }
        }
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2(t: &Tile<'_>) {
            // SAFETY: the caller's promise.
            unsafe { whole::<__m256>(t) }
        }
        if is_x86_feature_detected!("avx512f") {
            all.push(avx512);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            all.push(avx2);
        }
    }
    all.push(whole::<Plain>);
    all
}

/// The best tile for this processor.
pub(super) fn best() -> Multiply {
    available()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_multiplies_every_size() {
        let terms = 11;
        let pitch = COLS + 3;
        let value = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 504.0 - 1.0;
        let left: Vec<f32> = (0..terms * ROWS).map(value).collect();
        let right: Vec<f32> = (0..terms * 5 + COLS).map(|i| value(i + 77)).collect();
        // Rows of the right side overlap, as the taps of a filter do.
        let offsets: Vec<usize> = (0..terms).map(|k| k * 5).collect();
        for multiply in available() {
            for rows in 1..=ROWS {
                for cols in 1..=COLS {
                    for begin in [true, false] {
                        let mut out = vec![0.5f32; ROWS * pitch];
                        let start = begin.then(|| std::array::from_fn(|r| r as f32));
                        let tile = Tile {
                            left: left.as_ptr(),
                            left_pitch: ROWS,
                            right: right.as_ptr(),
                            offsets: &offsets,
                            out: out.as_mut_ptr(),
                            pitch,
                            rows,
                            cols,
                            start,
                        };
                        // SAFETY: the vectors above are as long as the tile reads and writes.
                        unsafe { multiply(&tile) };
                        for (i, got) in out.iter().enumerate() {
                            let (r, c) = (i / pitch, i % pitch);
                            let mut exact = 0.5;
                            if r < rows && c < cols {
                                exact = if begin { r as f64 } else { 0.5 };
                                for k in 0..terms {
                                    exact += f64::from(left[k * ROWS + r]) * f64::from(right[offsets[k] + c]);
                                }
                            }
                            // Twelve roundings of sums below 19.
                            let d = (f64::from(*got) - exact).abs();
                            assert!(d <= 12.0 * 19.0 * 6e-8, "{rows} × {cols}: ({r}, {c}) is {got} for {exact}");
                        }
                    }
                }
            }
        }
    }
}
