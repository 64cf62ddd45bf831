// Dawn, the WebGPU of Chromium, as a second opinion on every kernel. WEBGPU is the unpacked npm package "webgpu".
//
// usage: node dawn.mjs uniformity WEBGPU FOLDER    Tint, Dawn's compiler, reads FOLDER/*.wgsl; it needs no driver. Other
//                                                  than naga it refuses barriers in control flow that is not uniform.
//        node dawn.mjs replay WEBGPU FOLDER        Dawn runs the problems of src/sweep/export.rs on the first Vulkan
//                                                  driver there is; results are compared with the native path's.
//
// Prints points as a sweep keeps them: a JSON object a line, with the kernels and how far results deviate, in units of
// what is allowed.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { join, resolve } from 'node:path';

const [mode, webgpu, folder] = process.argv.slice(2);
if (!['uniformity', 'replay'].includes(mode) || !folder) {
  console.error('usage: node dawn.mjs uniformity|replay WEBGPU FOLDER');
  process.exit(2);
}
const { create, globals } = await import(join(resolve(webgpu), 'index.js'));
const { GPUBufferUsage: Usage, GPUMapMode, GPUShaderStage } = globals;

/** Bytes of the uniform at binding 0. */
const PARAMS_BYTES = 64;

/** Dawn's instance and adapter: they must outlive what is made of them, and the garbage collector does not know. */
let gpu, adapter;

async function open(backend) {
  gpu = create([`backend=${backend}`]);
  adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error(`Dawn has no adapter for ${backend} that it takes`);
  const { description, device, vendor } = adapter.info;
  console.error(`Dawn on ${description || device || vendor || backend}`);
  return adapter.requestDevice();
}

/** What `make` returns, or the error that Dawn has about it. */
async function checked(device, what, make) {
  device.pushErrorScope('validation');
  device.pushErrorScope('internal');
  device.pushErrorScope('out-of-memory');
  const made = await make();
  const errors = [await device.popErrorScope(), await device.popErrorScope(), await device.popErrorScope()];
  const error = errors.find((e) => e);
  if (error) throw new Error(`${what}: ${error.message.split('\n')[0]}`);
  return made;
}

/** Prints a point of a sweep; returns whether it is right. */
function point(name, kernels, deviation, detail) {
  const status = detail ? 'failed' : deviation <= 1 ? 'right' : 'wrong';
  const known = { line: 'point', adapter: mode, case: name, kernels, status };
  console.log(JSON.stringify({ ...known, deviation: Number.isFinite(deviation) ? deviation : null, detail }));
  return status === 'right';
}

async function uniformity() {
  const lines = readFileSync(join(folder, 'kernels.tsv'), 'utf8').trim().split('\n');
  const device = await open('null');
  let failed = 0;
  for (const [label, hash] of lines.map((line) => line.split('\t'))) {
    const code = readFileSync(join(folder, `${label}.wgsl`), 'utf8');
    const detail = await checked(device, label, () => device.createShaderModule({ code })).then(
      async (module) => {
        const said = (await module.getCompilationInfo()).messages.find((m) => m.type !== 'info');
        return said && `line ${said.lineNum}: ${said.message}`;
      },
      (error) => error.message,
    );
    if (!point('uniformity', [{ label, hash }], 0, detail)) {
      failed++;
      console.error(`${label}: ${detail}`);
    }
  }
  device.destroy();
  return failed;
}

/** How far `got` is from `expected` in units of what is allowed: the model of src/sweep/cases/mod.rs. */
function deviation(expected, got, within) {
  if (Buffer.compare(expected, got) === 0) return 0;
  if (within === null) return Infinity;
  const [e, g] = [expected, got].map((b) => new Float32Array(b.buffer, b.byteOffset, b.byteLength / 4));
  const largest = e.reduce((most, v) => (Number.isFinite(v) ? Math.max(most, Math.abs(v)) : most), 0);
  let worst = 0;
  for (let i = 0; i < e.length; i++) {
    if (e[i] === g[i] || (Number.isNaN(e[i]) && Number.isNaN(g[i]))) continue;
    const off = Math.abs(e[i] - g[i]) / (within * largest);
    worst = off >= 0 ? Math.max(worst, off) : Infinity;
  }
  return worst;
}

/** A reader of pieces of a file, each in memory of its own, as Float32Array asks for aligned offsets. */
function pieces(path) {
  const file = openSync(path, 'r');
  const read = (at, bytes) => {
    const piece = Buffer.from(new ArrayBuffer(bytes));
    if (readSync(file, piece, 0, bytes, at) !== bytes) throw new Error(`${path} ends before ${at + bytes}`);
    return piece;
  };
  return { read, close: () => closeSync(file) };
}

/** Layouts and pipelines of all kernels, each made at its first use. */
function compiler(device, kernels) {
  const made = new Map();
  return async (label) => {
    if (!made.has(label)) {
      const { wgsl, bindings } = kernels[label];
      const entry = (binding, type) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } });
      const types = bindings.map((b) => (b.writes ? 'storage' : 'read-only-storage'));
      const entries = ['uniform', ...types].map((type, i) => entry(i, type));
      const pipeline = await checked(device, label, () => {
        const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
        const module = device.createShaderModule({ code: wgsl });
        return device.createComputePipelineAsync({ layout, compute: { module, entryPoint: 'main' } });
      });
      made.set(label, pipeline);
    }
    return made.get(label);
  };
}

/** Runs a problem; returns what each of its results is, in their order. */
async function run(device, compile, data, problem) {
  const buffers = [];
  const buffer = (size, usage) => buffers[buffers.push(device.createBuffer({ size, usage })) - 1];
  const tensors = problem.tensors.map(({ bytes, at }) => {
    const tensor = buffer(bytes, Usage.STORAGE | Usage.COPY_SRC | Usage.COPY_DST);
    // What nothing has written is NaN, so that a kernel that reads it is found.
    device.queue.writeBuffer(tensor, 0, at === null ? new Uint8Array(bytes).fill(0xff) : data.read(at, bytes));
    return tensor;
  });
  const kept = new Map();
  const encoder = device.createCommandEncoder();
  for (const step of problem.steps) {
    const [[kind, s]] = Object.entries(step);
    if (kind === 'dispatch') {
      const pipeline = await compile(s.kernel);
      const params = buffer(PARAMS_BYTES, Usage.UNIFORM | Usage.COPY_DST);
      device.queue.writeBuffer(params, 0, new Uint32Array(s.params));
      const bound = [params, ...s.tensors.map((t) => tensors[t])];
      const entries = bound.map((b, binding) => ({ binding, resource: { buffer: b } }));
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
      pass.dispatchWorkgroups(...s.grid);
      pass.end();
    } else if (kind === 'copy') {
      encoder.copyBufferToBuffer(tensors[s.from], s.from_byte, tensors[s.to], s.to_byte, s.bytes);
    } else if (kind === 'clear') {
      encoder.clearBuffer(tensors[s.tensor]);
    } else if (kind === 'download') {
      const size = problem.tensors[s.tensor].bytes;
      const readback = buffer(size, Usage.MAP_READ | Usage.COPY_DST);
      encoder.copyBufferToBuffer(tensors[s.tensor], 0, readback, 0, size);
      kept.set(s.tensor, readback);
    } else {
      throw new Error(`unknown step "${kind}"`);
    }
  }
  device.queue.submit([encoder.finish()]);
  const results = [];
  for (const { tensor } of problem.results) {
    const readback = kept.get(tensor);
    await readback.mapAsync(GPUMapMode.READ);
    results.push(Buffer.from(readback.getMappedRange().slice(0)));
    readback.unmap();
  }
  buffers.forEach((b) => b.destroy());
  return results;
}

async function replay() {
  const { kernels, problems } = JSON.parse(readFileSync(join(folder, 'problems.json'), 'utf8'));
  const device = await open('vulkan');
  const compile = compiler(device, kernels);
  const data = pieces(join(folder, 'problems.bin'));
  let failed = 0;
  for (const problem of problems) {
    const name = `${problem.case} ${problem.variant} ${problem.size}`;
    const used = new Set(problem.steps.flatMap((s) => (s.dispatch ? [s.dispatch.kernel] : [])));
    let [off, detail] = [0, undefined];
    try {
      const results = await checked(device, name, () => run(device, compile, data, problem));
      problem.results.forEach(({ at, bytes, within }, i) => {
        off = Math.max(off, deviation(data.read(at, bytes), results[i], within));
      });
    } catch (error) {
      detail = error.message;
    }
    if (!point(name, [...used].map((label) => ({ label, hash: kernels[label].hash })), off, detail)) {
      failed++;
      console.error(`${name}: ${detail ?? `${off} times the deviation that is allowed`}`);
    }
  }
  console.error(`${problems.length} problems, ${failed} with other results`);
  data.close();
  device.destroy();
  return failed;
}

// Dawn leaves threads behind: exit rather than wait for them.
process.exit((await (mode === 'replay' ? replay() : uniformity())) ? 1 : 0);
