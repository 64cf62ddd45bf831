// `pin` fixes a value's rounding: no compiler may contract, reassociate or widen across it, since it cannot know that
// p.zero is 0. Plain WGSL arithmetic gives no such promise on any backend.
fn pin(v: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(v) ^ p.zero);
}

fn pin4(v: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(v) ^ vec4<u32>(p.zero));
}

fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}
