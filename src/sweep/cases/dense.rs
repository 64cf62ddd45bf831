//! Products of matrices, and convolutions.

use super::Agreement::Within;
use super::{Case, Draft};
use crate::Result;
use crate::ops::{self, Conv1d, Filters, Gemm, Method, Padding};

pub const GEMM: Case = Case {
    name: "gemm",
    sizes: &[64, 256, 512, 1024],
    unit: "rows and columns",
    variants: &["plain", "transposed", super::WIDE],
    make: gemm,
};
pub const CONV1D: Case = Case {
    name: "conv1d",
    sizes: &[128, 1024, 4096],
    unit: "samples of 64 channels, to 128 by 3 taps",
    variants: &["constant", "computed", "strided", super::WIDE],
    make: conv1d,
};
pub const CONV1D_LONG: Case = Case {
    name: "conv1d_long",
    sizes: &[2048, 16_384, 131_072],
    unit: "samples of 4 channels, to 4 by 255 taps",
    variants: &["overlap_save", "direct"],
    make: conv1d_long,
};

/// Sums of `terms` products of independent numbers in an order of the device's own: the relative L2 error of each is
/// 3e-8·√terms, and single values are within three times that of the largest.
fn sums(terms: usize) -> super::Agreement {
    Within(1e-7 * (terms as f64).sqrt())
}

fn gemm(d: &mut Draft, n: usize, variant: &str) -> Result<()> {
    let (a, b) = (d.noise("a", n * n)?, d.noise("b", n * n)?);
    let c = d.rec.scratch("c", n * n)?;
    let transposed = variant == "transposed";
    let product = Gemm { transpose_a: transposed, transpose_b: transposed, ..Gemm::new(1, n, n, n) };
    ops::gemm(&mut d.rec, &product, a, b, c)?;
    d.cost(12 * n * n, 2 * n * n * n);
    d.output(c, sums(n))
}

fn conv1d(d: &mut Draft, length: usize, variant: &str) -> Result<()> {
    let stride = if variant == "strided" { 2 } else { 1 };
    let conv = Conv1d { padding: Padding::Explicit(1, 1), stride, ..Conv1d::new(1, length, 64, 128, 3) };
    let n_out = conv.output_length()?;
    let weight = d.numbers(128 * 64 * 3);
    let bias = d.numbers(128);
    let filters = if variant == "computed" {
        let (weight, bias) = (d.rec.constant_owned("weight", weight)?, d.rec.constant_owned("bias", bias)?);
        Filters::from_tensor_with_method(&mut d.rec, conv, Method::Direct, weight, Some(bias))?
    } else {
        Filters::with_method(&mut d.rec, conv, Method::Direct, &weight, Some(&bias))?
    };
    let x = d.noise("x", 64 * length)?;
    let y = d.rec.scratch("y", 128 * n_out)?;
    ops::conv1d(&mut d.rec, &filters, x, y)?;
    d.cost(4 * (64 * length + 128 * n_out + 128 * 64 * 3), 2 * 128 * 64 * 3 * n_out);
    d.output(y, sums(64 * 3))
}

fn conv1d_long(d: &mut Draft, length: usize, variant: &str) -> Result<()> {
    let (channels, taps) = (4, 255);
    let conv = Conv1d { padding: Padding::Same, ..Conv1d::new(1, length, channels, channels, taps) };
    let weight = d.numbers(channels * channels * taps);
    let method = if variant == "direct" { Method::Direct } else { Method::OverlapSave(1024) };
    let filters = Filters::with_method(&mut d.rec, conv, method, &weight, None)?;
    let x = d.noise("x", channels * length)?;
    let y = d.rec.scratch("y", channels * length)?;
    ops::conv1d(&mut d.rec, &filters, x, y)?;
    let operations = match method {
        Method::Direct => 2 * channels * channels * taps * length,
        // Blocks there and back by 2.5·n·log2 n, and a product of each pair of channels in each bin.
        Method::OverlapSave(points) => {
            let blocks = length.div_ceil(points - taps + 1);
            let transform = 5 * points * points.ilog2() as usize / 2;
            blocks * (2 * channels * transform + 8 * channels * channels * (points / 2 + 1))
        }
    };
    d.cost(4 * (2 * channels * length + weight.len()), operations);
    d.output(y, sums(channels * taps))
}
