//! How a transform is cut into passes: plain data, planned without a device.

use crate::{Error, Result};

/// The longest transform of one pass: two of them fill 16 KiB of workgroup memory.
const MAX_PASS: usize = 1024;

/// Invocations of a workgroup of `shaders/fft.wgsl`.
const INVOCATIONS: usize = 256;

/// One dispatch of `shaders/fft.wgsl`, whose parameters are named alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Points of each of its transforms.
    pub n: usize,
    /// The radices of its stages, whose product is `n`.
    pub radices: Vec<u32>,
    /// Transforms a workgroup.
    pub group: usize,
    /// Transforms columns in place and twiddles them; else rows, stored transposed.
    pub columns: bool,
    /// The inner dimension: the columns' stride, or the first pass's length.
    pub c1: usize,
    /// The middle dimension: 1, or the second pass's length in the last of three.
    pub c2: usize,
}

/// How a complex transform of one length is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// By one to three passes.
    Passes(Vec<Pass>),
    /// As a convolution with a chirp, by transforms of length `m` (Bluestein 1970).
    Bluestein {
        /// At least 2n − 1.
        m: usize,
        /// The passes of length `m`.
        passes: Vec<Pass>,
    },
}

/// Whether `n` has no prime factor but 2, 3 and 5.
fn is_smooth(mut n: usize) -> bool {
    for f in [2, 3, 5] {
        while n.is_multiple_of(f) {
            n /= f;
        }
    }
    n == 1
}

/// The radices of a smooth length: as few stages as there can be.
fn radices(mut n: usize) -> Vec<u32> {
    let mut out = Vec::new();
    for r in [5, 3] {
        while n.is_multiple_of(r) {
            out.push(r as u32);
            n /= r;
        }
    }
    let mut twos = n.trailing_zeros();
    while twos > 0 {
        // 16 is 4·4: two light stages in place of 8·2.
        let bits = if twos == 4 || twos == 2 { 2 } else { twos.min(3) };
        out.push(1 << bits);
        twos -= bits;
    }
    out
}

impl Pass {
    fn new(n: usize, columns: bool, c1: usize, c2: usize) -> Self {
        let radices = radices(n);
        let most = |r: &u32| INVOCATIONS * (8 / *r as usize) * *r as usize / n;
        let most = radices.iter().map(most).min().unwrap_or(INVOCATIONS).clamp(1, INVOCATIONS);
        Self { n, group: 1 << most.ilog2(), radices, columns, c1, c2 }
    }
}

/// The passes of a smooth length, if three are enough: equal shares as far as the factors allow, since short passes
/// take more columns at a time and so read memory in longer runs.
fn passes(n: usize) -> Option<Vec<Pass>> {
    if n <= MAX_PASS {
        return Some(vec![Pass::new(n, false, 1, 1)]);
    }
    let divisors = |n: usize| (2..=MAX_PASS).filter(move |d| n.is_multiple_of(*d));
    let halves =
        |n: usize| divisors(n).filter(|a| n / a <= MAX_PASS).min_by_key(|a| (*a).max(n / a)).map(|a| (a, n / a));
    if let Some((a, b)) = halves(n) {
        return Some(vec![Pass::new(a, true, b, 1), Pass::new(b, false, a, 1)]);
    }
    divisors(n)
        .filter_map(|a| halves(n / a).map(|(b, c)| (a, b, c)))
        .min_by_key(|&(a, b, c)| a.max(b).max(c))
        .map(|(a, b, c)| vec![Pass::new(a, true, b * c, 1), Pass::new(b, true, c, 1), Pass::new(c, false, a, b)])
}

/// Plans a complex transform of `n` points.
///
/// # Errors
/// `InvalidArgument` for 0 and for more than 2^24 points.
pub fn plan(n: usize) -> Result<Plan> {
    let too_long = || Error::invalid("transform length", format!("{n}; at most 2^24 points"));
    if n == 0 {
        return Err(Error::invalid("transform length", "0; at least one point"));
    }
    if n > 1 << 24 {
        return Err(too_long());
    }
    if is_smooth(n) {
        return passes(n).map(Plan::Passes).ok_or_else(too_long);
    }
    // The shortest length of the fewest passes.
    let least = 2 * n - 1;
    let candidates = (least..=2 * least).filter(|m| is_smooth(*m)).filter_map(|m| passes(m).map(|p| (m, p)));
    candidates.min_by_key(|(m, p)| (p.len(), *m)).map(|(m, passes)| Plan::Bluestein { m, passes }).ok_or_else(too_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(n: usize, passes: &[Pass]) {
        assert_eq!(passes.iter().map(|p| p.n).product::<usize>(), n);
        for (i, p) in passes.iter().enumerate() {
            assert!(p.n <= MAX_PASS && p.radices.len() <= 8, "{p:?}");
            assert_eq!(p.radices.iter().product::<u32>() as usize, p.n);
            assert!(p.group.is_power_of_two() && p.group <= INVOCATIONS && p.n * p.group <= 2048, "{p:?}");
            for r in &p.radices {
                let r = *r as usize;
                assert!([2, 3, 4, 5, 8].contains(&r));
                assert!(p.n * p.group / r <= INVOCATIONS * (8 / r), "more butterflies than registers: {p:?}");
            }
            assert_eq!(p.columns, i + 1 < passes.len());
        }
        match passes {
            [a] => assert_eq!((a.c1, a.c2), (1, 1)),
            [a, b] => assert_eq!((a.c1, a.c2, b.c1, b.c2), (b.n, 1, a.n, 1)),
            [a, b, c] => assert_eq!((a.c1, a.c2, b.c1, b.c2, c.c1, c.c2), (b.n * c.n, 1, c.n, 1, a.n, b.n)),
            _ => panic!("{} passes", passes.len()),
        }
    }

    #[test]
    fn every_smooth_length_to_a_million() {
        let mut deepest = 0;
        for n in (1..=1usize << 20).filter(|n| is_smooth(*n)) {
            let Ok(Plan::Passes(passes)) = plan(n) else { panic!("{n} has no passes") };
            check(n, &passes);
            deepest = deepest.max(passes.len());
        }
        assert_eq!(deepest, 3);
    }

    #[test]
    fn other_lengths_take_the_chirp() {
        for n in [7, 11, 97, 127, 509, 511, 514, 1009, 65_537, 524_287, 999_983, 1_048_573] {
            let Ok(Plan::Bluestein { m, passes }) = plan(n) else { panic!("{n} is not smooth") };
            assert!(m >= 2 * n - 1);
            check(m, &passes);
        }
    }

    #[test]
    fn known_plans() {
        let pass =
            |n, radices: &[u32], group, columns, c1, c2| Pass { n, radices: radices.to_vec(), group, columns, c1, c2 };
        assert_eq!(plan(1).unwrap(), Plan::Passes(vec![pass(1, &[], 256, false, 1, 1)]));
        assert_eq!(plan(16).unwrap(), Plan::Passes(vec![pass(16, &[4, 4], 128, false, 1, 1)]));
        assert_eq!(
            plan(131_072).unwrap(),
            Plan::Passes(vec![pass(256, &[8, 8, 4], 8, true, 512, 1), pass(512, &[8, 8, 8], 4, false, 256, 1)])
        );
        assert_eq!(
            plan(1 << 20).unwrap(),
            Plan::Passes(vec![
                pass(1024, &[8, 8, 4, 4], 2, true, 1024, 1),
                pass(1024, &[8, 8, 4, 4], 2, false, 1024, 1)
            ])
        );
    }

    #[test]
    fn lengths_out_of_range() {
        assert!(plan(0).is_err());
        assert!(plan((1 << 24) + 1).is_err());
    }
}
