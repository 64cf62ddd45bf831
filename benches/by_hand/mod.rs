//! What the engine is measured against: many small dispatches as a programmer would write them for this case only.

use spikewave::recording::{Capabilities, Recording};
use spikewave::{kernel, ops, wgpu};

/// Dispatches of a replay, and the tensors that they take in turn.
pub const DISPATCHES: usize = 1000;
pub const TENSORS: usize = 10;
pub const WORDS: usize = 1024;

/// The same work for the engine, and the tensor that is downloaded.
pub fn recording(capabilities: &Capabilities) -> (Recording, kernel::Tensor<u32>) {
    let mut rec = Recording::new("replay", capabilities);
    let tensors: Vec<_> =
        (0..TENSORS).map(|i| rec.state(format!("t{i}"), &[0u32; WORDS]).expect("a small tensor")).collect();
    for i in 0..DISPATCHES {
        ops::fill(&mut rec, tensors[i % TENSORS], i as u32).expect("a valid op");
    }
    rec.download(tensors[TENSORS - 1]).expect("it is written");
    (rec, tensors[TENSORS - 1])
}

/// Prepared pipelines and bind groups, in a loop that knows what it runs: a bind group and a buffer of parameters for
/// each dispatch. (The engine has a bind group for each dispatch and one buffer with all parameters.)
pub struct ByHand {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    bind_groups: Vec<wgpu::BindGroup>,
    tensors: Vec<wgpu::Buffer>,
    readback: wgpu::Buffer,
}

impl ByHand {
    pub fn new(adapter: &wgpu::Adapter) -> Self {
        let descriptor = wgpu::DeviceDescriptor::default();
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("the adapter opens");
        let kernel = &kernel::fill::KERNEL;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(kernel.wgsl.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        let buffer = |size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        use wgpu::BufferUsages as U;
        let bytes = 4 * WORDS as u64;
        let tensors: Vec<_> = (0..TENSORS).map(|_| buffer(bytes, U::STORAGE | U::COPY_SRC)).collect();
        let readback = buffer(bytes, U::MAP_READ | U::COPY_DST);
        let layout = pipeline.get_bind_group_layout(0);
        let bind_groups = (0..DISPATCHES).map(|i| {
            let params = buffer(64, U::UNIFORM | U::COPY_DST);
            let words = [0, 1, 1, 0, WORDS as u32, i as u32];
            queue.write_buffer(&params, 0, bytemuck::cast_slice(&words));
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &layout,
                entries: &[
                    wgpu::BindGroupEntry { binding: 0, resource: params.as_entire_binding() },
                    wgpu::BindGroupEntry { binding: 1, resource: tensors[i % TENSORS].as_entire_binding() },
                ],
            })
        });
        let bind_groups = bind_groups.collect();
        Self { bind_groups, pipeline, tensors, readback, device, queue }
    }

    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        for bind_group in &self.bind_groups {
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
    }

    /// The last word of the last tensor.
    pub fn run(&self) -> u32 {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        self.encode(&mut encoder);
        encoder.copy_buffer_to_buffer(&self.tensors[TENSORS - 1], 0, &self.readback, 0, 4 * WORDS as u64);
        self.queue.submit([encoder.finish()]);
        self.readback.map_async(wgpu::MapMode::Read, .., |r| r.expect("the mapping succeeds"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device works");
        let value = {
            let view = self.readback.get_mapped_range(..).expect("it is mapped");
            let words: Vec<u32> = bytemuck::cast_slice(&view).to_vec();
            words[WORDS - 1]
        };
        self.readback.unmap();
        value
    }
}

/// Every adapter of the native graphics interfaces.
pub fn adapters() -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    pollster::block_on(instance.enumerate_adapters(backends))
}
