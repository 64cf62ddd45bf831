// A triangle that covers the target, and the sheet of neurons on it: a torus, drawn without seams.
const N = 256i;

@group(0) @binding(0) var<storage, read> membrane: array<f32>;
@group(0) @binding(1) var<storage, read> spikes: array<f32>;
@group(0) @binding(2) var<storage, read> synaptic: array<f32>;

struct Corner { @builtin(position) at: vec4f, @location(0) uv: vec2f }

@vertex fn corner(@builtin(vertex_index) i: u32) -> Corner {
    let uv = vec2f(f32(i & 1u), f32(i >> 1u)) * 2.0;
    return Corner(vec4f(uv * 2.0 - 1.0, 0.0, 1.0), uv);
}

fn neuron(p: vec2i) -> vec3f {
    let i = (p.y & (N - 1)) * N + (p.x & (N - 1));
    return vec3f(membrane[i], synaptic[i], spikes[i]);
}

@fragment fn shade(in: Corner) -> @location(0) vec4f {
    let at = in.uv * f32(N) - 0.5;
    let p = vec2i(floor(at));
    let f = fract(at);
    let below = mix(neuron(p), neuron(p + vec2i(1, 0)), f.x);
    let above = mix(neuron(p + vec2i(0, 1)), neuron(p + vec2i(1, 1)), f.x);
    let found = mix(below, above, f.y);
    // Blue: how far the membranes have recovered; red to gold: what drives them; white: spikes.
    let recovered = clamp(found.x, 0.0, 1.0);
    let driven = found.y / (found.y + 2.5);
    let sea = mix(vec3f(0.002, 0.003, 0.012), vec3f(0.008, 0.085, 0.20), recovered * recovered);
    let fire = mix(vec3f(0.55, 0.01, 0.16), vec3f(1.0, 0.42, 0.05), driven) * driven * 1.5;
    return vec4f(mix(sea, fire, smoothstep(0.02, 0.5, driven)) + found.z * vec3f(0.8, 0.75, 0.6), 1.0);
}
