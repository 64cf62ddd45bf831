//! The rounds of Philox on many counters at once.

/// Ten rounds of each of `L` counters. Words are the low halves of elements, whose high halves do not matter: so do
/// the vector units multiply.
#[inline(always)]
pub(super) fn rounds<const L: usize>(words: &mut [[u64; L]; 4], mut key: [u32; 2]) {
    const LOW: u64 = 0xffff_ffff;
    let [a, b, c, d] = words;
    for _ in 0..10 {
        let (k0, k1) = (u64::from(key[0]), u64::from(key[1]));
        for i in 0..L {
            let p0 = (a[i] & LOW) * 0xD251_1F53;
            let p1 = (c[i] & LOW) * 0xCD9E_8D57;
            a[i] = p1 >> 32 ^ b[i] ^ k0;
            b[i] = p1;
            c[i] = p0 >> 32 ^ d[i] ^ k1;
            d[i] = p0;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
}
