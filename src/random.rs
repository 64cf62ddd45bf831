//! Counter-based random numbers: the same seed gives the same numbers on every machine, in any order.
//!
//! Philox4x32-10 of J. Salmon, M. Moraes, R. Dror and D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
//! SC'11, doi:10.1145/2063384.2063405.

/// Ten rounds of Philox: a bijection of the counter, chosen by the key.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let p0 = u64::from(a) * 0xD251_1F53;
        let p1 = u64::from(c) * 0xCD9E_8D57;
        (a, b, c, d) = ((p1 >> 32) as u32 ^ b ^ k0, p1 as u32, (p0 >> 32) as u32 ^ d ^ k1, p0 as u32);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [a, b, c, d]
}

/// What numbers are drawn for. Those of different purposes are independent, and of those of [`Random`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// Parameters of neurons: of a population and parameter, by neuron.
    Neurons = 0x11,
    /// Sources of synapses: of a projection, by synapse or by target.
    Sources = 0x12,
    /// Targets of synapses: of a projection, by source.
    Targets = 0x13,
    /// Targets, weights and delays of synapses: of a projection, by source and synapse.
    Synapses = 0x14,
}

/// Random words that are found by their place: in any order, and by any number of threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    key: [u32; 2],
    stream: u32,
    purpose: Purpose,
}

impl Words {
    /// The words of stream `stream` (of a projection, say) for one purpose.
    pub(crate) fn new(seed: u64, purpose: Purpose, stream: u32) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], stream, purpose }
    }

    /// The four words at a place.
    pub(crate) fn at(&self, row: u32, index: u32) -> [u32; 4] {
        self.again(row, index, 0)
    }

    /// Four words more for the same place: those of attempt number `attempt`, below 2^24; 0 is [`Self::at`].
    pub(crate) fn again(&self, row: u32, index: u32, attempt: u32) -> [u32; 4] {
        philox4x32([index, row, self.stream, (self.purpose as u32) << 24 | attempt], self.key)
    }
}

/// A number below `n` from a uniform word. Probabilities differ by at most 2⁻³².
pub(crate) fn below(word: u32, n: u32) -> u32 {
    ((u64::from(word) * u64::from(n)) >> 32) as u32
}

/// A number in the open interval (0, 1), on a grid of 2⁻⁵², from two uniform words.
pub(crate) fn uniform(low: u32, high: u32) -> f64 {
    let bits = u64::from(high) << 32 | u64::from(low);
    ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// A number in the open interval (0, 1), on a grid of 2⁻³², from one uniform word.
pub(crate) fn coarse_uniform(word: u32) -> f64 {
    (f64::from(word) + 0.5) / (1u64 << 32) as f64
}

/// `2 atanh(z)` = ln((1 + z)/(1 − z)) for |z| < 0.18, by its series.
fn twice_atanh(z: f64) -> f64 {
    let square = z * z;
    let mut sum = 0.0;
    for odd in [23.0, 21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        sum = sum * square + 1.0 / odd;
    }
    2.0 * z * sum
}

/// The natural logarithm of a normal number above zero, to within 1e-15 of itself, by operations that IEEE 754 rounds
/// correctly: the same on every machine, which a mathematical library's is not.
pub(crate) fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & MANTISSA | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    exponent as f64 * std::f64::consts::LN_2 + twice_atanh((m - 1.0) / (m + 1.0))
}

/// ln(1 − x) for x from 0 to below 1, in the same way.
pub(crate) fn ln_complement(x: f64) -> f64 {
    if x < 0.25 { twice_atanh(-x / (2.0 - x)) } else { ln(1.0 - x) }
}

/// The number that a standard normal variable falls below with probability `p`, 0 < p < 1: the same on every machine.
///
/// Algorithm AS 241 (PPND16) of M. J. Wichura, Appl. Statist. 37 (1988), doi:10.2307/2347330; about 1 part in 10¹⁶.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    /// Polynomials from the highest power down.
    fn ratio(numerator: &[f64; 8], denominator: &[f64; 8], r: f64) -> f64 {
        let value = |c: &[f64; 8]| c.iter().fold(0.0, |sum, c| sum * r + c);
        value(numerator) / value(denominator)
    }
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&CENTRE[0], &CENTRE[1], 0.180625 - q * q);
    }
    let r = (-ln(if q < 0.0 { p } else { 1.0 - p })).sqrt();
    let x = if r <= 5.0 { ratio(&FLANK[0], &FLANK[1], r - 1.6) } else { ratio(&TAIL[0], &TAIL[1], r - 5.0) };
    if q < 0.0 { -x } else { x }
}

/// Coefficients of [`normal_quantile`]: |p − 1/2| ≤ 0.425.
const CENTRE: [[f64; 8]; 2] = [
    [
        2509.0809287301227,
        33430.57558358813,
        67265.7709270087,
        45921.95393154987,
        13731.69376550946,
        1971.5909503065513,
        133.14166789178438,
        3.3871328727963665,
    ],
    [
        5226.495278852854,
        28729.085735721943,
        39307.89580009271,
        21213.794301586597,
        5394.196021424751,
        687.1870074920579,
        42.31333070160091,
        1.0,
    ],
];
/// Coefficients of [`normal_quantile`]: p down to exp(−25).
const FLANK: [[f64; 8]; 2] = [
    [
        0.0007745450142783414,
        0.022723844989269184,
        0.2417807251774506,
        1.2704582524523684,
        3.6478483247632045,
        5.769497221460691,
        4.630337846156546,
        1.4234371107496835,
    ],
    [
        1.0507500716444169e-09,
        0.0005475938084995345,
        0.015198666563616457,
        0.14810397642748008,
        0.6897673349851,
        1.6763848301838038,
        2.053191626637759,
        1.0,
    ],
];
/// Coefficients of [`normal_quantile`]: beyond.
const TAIL: [[f64; 8]; 2] = [
    [
        2.0103343992922881e-07,
        2.7115555687434876e-05,
        0.0012426609473880784,
        0.026532189526576124,
        0.29656057182850487,
        1.7848265399172913,
        5.463784911164114,
        6.657904643501103,
    ],
    [
        2.0442631033899397e-15,
        1.421511758316446e-07,
        1.8463183175100548e-05,
        0.0007868691311456133,
        0.014875361290850615,
        0.1369298809227358,
        0.599832206555888,
        1.0,
    ],
];

/// A sequence of random numbers. Sequences of one seed and different streams are independent.
#[derive(Debug, Clone)]
pub struct Random {
    key: [u32; 2],
    stream: u64,
    block: u64,
    words: [u32; 4],
    used: usize,
    spare: Option<f64>,
}

impl Random {
    /// The sequence number `stream` of `seed`, from its beginning.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], stream, block: 0, words: [0; 4], used: 4, spare: None }
    }

    /// Uniform over all 32-bit words.
    pub fn word(&mut self) -> u32 {
        if self.used == 4 {
            let (block, stream) = (self.block, self.stream);
            let counter = [block as u32, (block >> 32) as u32, stream as u32, (stream >> 32) as u32];
            self.words = philox4x32(counter, self.key);
            self.block = self.block.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform in the open interval (0, 1), on a grid of 2⁻⁵².
    pub fn uniform(&mut self) -> f64 {
        let low = self.word();
        uniform(low, self.word())
    }

    /// Normal with mean 0 and variance 1 (Box–Muller; |x| < 8.6).
    pub fn normal(&mut self) -> f64 {
        if let Some(x) = self.spare.take() {
            return x;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (2.0 * std::f64::consts::PI * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_answers() {
        // kat_vectors of Random123, philox4x32 with 10 rounds.
        for (counter, key, expected) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox4x32(counter, key), expected);
        }
    }

    #[test]
    fn moments_and_tails_of_the_normal_distribution() {
        let n = 200_000;
        let mut random = Random::new(7, 0);
        let x: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let moment = |p: i32| x.iter().map(|x| x.powi(p)).sum::<f64>() / f64::from(n);
        // Four standard errors of each.
        let error = 4.0 / f64::from(n).sqrt();
        assert!(moment(1).abs() < error);
        assert!((moment(2) - 1.0).abs() < error * 2f64.sqrt());
        assert!(moment(3).abs() < error * 15f64.sqrt());
        assert!((moment(4) - 3.0).abs() < error * 96f64.sqrt());
        let tail = x.iter().filter(|x| x.abs() > 3.0).count() as f64 / f64::from(n);
        assert!((tail - 0.0027).abs() < error * 0.0027f64.sqrt());
        // Consecutive draws and two streams are uncorrelated.
        let mut other = Random::new(7, 1);
        let across = x.iter().map(|x| x * other.normal()).sum::<f64>() / f64::from(n);
        let along = x.windows(2).map(|x| x[0] * x[1]).sum::<f64>() / f64::from(n);
        assert!(across.abs() < error && along.abs() < error);
    }

    #[test]
    fn logarithms_agree_with_the_library() {
        for i in 1..4000 {
            let x = 2f64.powf(f64::from(i) * 0.25 - 900.0);
            for x in [x, 1.0 / x, 1.0 + 1.0 / f64::from(i), 1.0 - 0.5 / f64::from(i)] {
                assert!((ln(x) - x.ln()).abs() <= 8e-16 * x.ln().abs(), "{x}: {} {}", ln(x), x.ln());
            }
            let p = f64::from(i) / 4000.0;
            for p in [p, p * p * p * p, p * 1e-12] {
                let expected = (-p).ln_1p();
                assert!((ln_complement(p) - expected).abs() <= 8e-16 * expected.abs(), "{p}");
            }
        }
        assert_eq!((ln(1.0), ln_complement(0.0)), (0.0, 0.0));
    }

    #[test]
    fn normal_quantiles_are_the_known_ones() {
        // Values of the mathematical function, to its digits.
        for (p, x) in [
            (0.6, 0.2533471031357997),
            (0.925, 1.4395314709384561),
            (0.9250001, 1.4395321773759004),
            (0.975, 1.9599639845400538),
            (0.999, 3.090232306167813),
            (0.00135, -2.999976992703393),
            (1e-9, -5.9978070150076865),
            (1e-12, -7.034483825301132),
            (1.1102230246251565e-16, -8.209536151601387),
            (1e-300, -37.0470962993612),
        ] {
            let found = normal_quantile(p);
            assert!((found - x).abs() <= 1e-15 * x.abs().max(1.0), "{p}: {found} {x}");
        }
        assert_eq!(normal_quantile(0.5), 0.0);
        // Both ends of the grid of uniform numbers, which are as far from 0 and 1; it rises throughout.
        let (least, most) = (normal_quantile(uniform(0, 0)), normal_quantile(uniform(u32::MAX, u32::MAX)));
        assert!(least == -most && (8.2..8.3).contains(&most), "{least} {most}");
        let ends = (normal_quantile(coarse_uniform(0)), normal_quantile(coarse_uniform(u32::MAX)));
        assert!(ends.0 == -ends.1 && (6.3..6.4).contains(&ends.1), "{ends:?}");
        let x: Vec<f64> = (0..100_000).map(|i| normal_quantile(coarse_uniform(i * 42_949 + 1_000))).collect();
        assert!(x.windows(2).all(|x| x[0] < x[1]));
    }

    #[test]
    fn moments_and_tails_of_normal_draws_by_place() {
        let words = Words::new(5, Purpose::Synapses, 3);
        let n = 200_000u32;
        let x: Vec<f64> = (0..n)
            .map(|i| {
                let [_, low, _, high] = words.at(i / 100, i % 100);
                normal_quantile(uniform(low, high))
            })
            .collect();
        let mean = |f: &dyn Fn(f64) -> f64| x.iter().map(|&x| f(x)).sum::<f64>() / f64::from(n);
        let error = 4.0 / f64::from(n).sqrt();
        assert!(mean(&|x| x).abs() < error);
        assert!((mean(&|x| x * x) - 1.0).abs() < error * 2f64.sqrt());
        assert!(mean(&|x| x.powi(3)).abs() < error * 15f64.sqrt());
        assert!((mean(&|x| x.powi(4)) - 3.0).abs() < error * 96f64.sqrt());
        for (from, p) in [(1.0, 0.317_310_5), (2.0, 0.045_500_26), (3.0, 0.002_699_796)] {
            let found = mean(&|x| f64::from(x.abs() > from));
            assert!((found - p).abs() < error * (p * (1.0 - p)).sqrt(), "{from}: {found}");
        }
    }

    #[test]
    fn words_of_other_places_and_purposes_differ() {
        let mut seen = std::collections::HashSet::new();
        for purpose in [Purpose::Neurons, Purpose::Sources, Purpose::Targets, Purpose::Synapses] {
            for place in 0..81 {
                let (seed, stream, row, index) = (place / 27, place / 9 % 3, place / 3 % 3, place % 3);
                let words = Words::new(u64::from(seed) << 32, purpose, stream);
                assert!(seen.insert(words.at(row, index)) && seen.insert(words.again(row, index, 1)));
            }
        }
        for n in [1, 2, 7, 1000, u32::MAX] {
            assert_eq!((below(0, n), below(u32::MAX, n)), (0, n - 1));
        }
    }
}
