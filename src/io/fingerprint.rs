//! A short sign of content, to notice that it is not the same content any more.

/// 64 bits that tell contents apart, but no secret: FNV-1a (Fowler, Noll and Vo) over words of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Adds a word.
    pub fn word(&mut self, word: u32) {
        self.0 = (self.0 ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3);
    }

    /// Adds a number, such as a length: two lists are then told from one that holds both.
    pub fn number(&mut self, n: u64) {
        self.word(n as u32);
        self.word((n >> 32) as u32);
    }

    /// Adds numbers by their bits, and how many they are.
    pub fn f32s(&mut self, values: &[f32]) {
        self.number(values.len() as u64);
        values.iter().for_each(|v| self.word(v.to_bits()));
    }

    /// Adds numbers by their bits, and how many they are.
    pub fn f64s(&mut self, values: &[f64]) {
        self.number(values.len() as u64);
        values.iter().for_each(|v| self.number(v.to_bits()));
    }

    /// Adds a text and its length.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        text.bytes().for_each(|b| self.word(u32::from(b)));
    }

    /// The sign of all that was added.
    pub fn value(self) -> u64 {
        // Words near the end reach the low bits late; one round of mixing (MurmurHash3) lets every bit count.
        let x = (self.0 ^ self.0 >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x ^ x >> 33
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_shows() {
        let of = |a: &[f32], b: &[f32], text: &str| {
            let mut f = Fingerprint::default();
            f.f32s(a);
            f.f32s(b);
            f.text(text);
            f.value()
        };
        let all = [
            of(&[1.0, 2.0], &[3.0], "x"),
            of(&[1.0], &[2.0, 3.0], "x"),
            of(&[2.0, 1.0], &[3.0], "x"),
            of(&[1.0, 2.0], &[-3.0], "x"),
            of(&[1.0, 2.0], &[3.0], "y"),
            of(&[-0.0, 2.0], &[3.0], "x"),
            of(&[0.0, 2.0], &[3.0], "x"),
        ];
        assert!((0..all.len()).all(|i| !all[..i].contains(&all[i])));
        assert_eq!(all[0], of(&[1.0, 2.0], &[3.0], "x"));
    }
}
