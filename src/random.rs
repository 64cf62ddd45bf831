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

    /// Uniform in the open interval (0, 1), on a grid of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        let low = u64::from(self.word());
        let bits = u64::from(self.word()) << 32 | low;
        ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
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
}
