// A raster of packed spikes: steps from left to right, neurons from the bottom up.
const STEPS = 360u;
const NEURONS = 256u;
const WORDS = NEURONS / 32u;

@group(0) @binding(0) var<storage, read> spikes: array<u32>;

struct Corner { @builtin(position) at: vec4f, @location(0) uv: vec2f }

@vertex fn corner(@builtin(vertex_index) i: u32) -> Corner {
    let uv = vec2f(f32(i & 1u), f32(i >> 1u)) * 2.0;
    return Corner(vec4f(uv * 2.0 - 1.0, 0.0, 1.0), uv);
}

@fragment fn shade(in: Corner) -> @location(0) vec4f {
    let step = min(u32(in.uv.x * f32(STEPS)), STEPS - 1u);
    let neuron = min(u32(in.uv.y * f32(NEURONS)), NEURONS - 1u);
    // A spike lights up and fades, as on a phosphor screen.
    var glow = 0.0;
    for (var back = 0u; back <= min(step, 7u); back++) {
        let word = spikes[(step - back) * WORDS + neuron / 32u];
        glow = max(glow, f32((word >> (neuron % 32u)) & 1u) * exp2(-0.7 * f32(back)));
    }
    let low = vec3f(0.20, 0.85, 0.95);
    let high = vec3f(1.0, 0.62, 0.22);
    let dark = vec3f(0.043, 0.055, 0.09);
    return vec4f(mix(dark, mix(low, high, in.uv.y), glow), 1.0);
}
