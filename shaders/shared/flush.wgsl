// Values whose arithmetic is the same everywhere. A value below 1e-30 is set to zero: what is left, and every sum of
// such values (a multiple of 2^-123), is zero or a normal number, so it does not matter whether a driver keeps
// subnormal numbers.
fn flush(v: f32) -> f32 {
    // 0x0da24260 are the bits of 1e-30.
    return select(v, 0.0, (bitcast<u32>(v) & 0x7fffffffu) < 0x0da24260u);
}

fn is_finite(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7f800000u) != 0x7f800000u;
}
