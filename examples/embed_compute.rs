//! spikewave inside a host application that owns the GPU: one command encoder holds a compute pass of the host, our
//! recording and another pass of the host, over the host's own buffers, and the data never leave the device.
//!
//! ```text
//! cargo run --release --example embed_compute
//! ```
//!
//! The host writes a chirp, our recording turns it into ON and OFF spikes, and the host counts those.

use pollster::block_on;
use spikewave::device::{DeviceOptions, Gpu, GpuParts, gpu};
use spikewave::ops::{self, Events, TemporalContrast, event_words};
use spikewave::recording::Recording;
use spikewave::wgpu::{self, BufferUsages as Usage};

const N: usize = 65_536;

const HOST: &str = "
@group(0) @binding(0) var<storage, read_write> chirp: array<f32>;
@group(0) @binding(1) var<storage, read_write> events: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>, 2>;
@compute @workgroup_size(64)
fn before(@builtin(global_invocation_id) id: vec3<u32>) {
    let t = f32(id.x) / 65536.0;
    chirp[id.x] = t * sin(200.0 * t * t);
}
@compute @workgroup_size(64)
fn after(@builtin(global_invocation_id) id: vec3<u32>) {
    atomicAdd(&counts[id.x / (arrayLength(&events) / 2u)], countOneBits(events[id.x]));
}";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The host's own device, with what spikewave asks for beside what the host needs itself.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = block_on(instance.request_adapter(&Default::default()))?;
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: gpu::required_features() | gpu::optional_features(&adapter),
        required_limits: gpu::required_limits(&adapter),
        ..Default::default()
    }))?;

    // Lent to spikewave, which submits nothing by itself and leaves the host's callbacks alone. So a host that is told
    // of a loss calls `gpu.notify_device_lost`, and lends its next device by `gpu.rebind`.
    let parts = GpuParts { adapter: Some(adapter), ..GpuParts::new(device.clone(), queue.clone()) };
    let gpu = Gpu::from_wgpu(parts, &DeviceOptions::default())?;

    // Input and output are buffers of the host.
    let words = event_words(N);
    let mut rec = Recording::new("chirp to spikes", gpu.capabilities());
    let x = rec.host::<f32>("chirp", N)?;
    let events = rec.host::<u32>("events", 2 * words)?;
    ops::temporal_contrast(&mut rec, x, 1, &TemporalContrast::new(0.001), Events::Packed(events))?;

    let buffer = |size, usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let chirp_buffer = buffer(x.bytes(), Usage::STORAGE);
    let events_buffer = buffer(events.bytes(), Usage::STORAGE | Usage::COPY_DST);
    let counts = buffer(8, Usage::STORAGE | Usage::COPY_SRC);
    let readback = buffer(8, Usage::MAP_READ | Usage::COPY_DST);
    let mut prepared = gpu.prepare_with(&rec, &[x.on(&chirp_buffer), events.on(&events_buffer)])?;

    // The host's own pipelines, made once.
    let source = wgpu::ShaderSource::Wgsl(HOST.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("host"), source });
    let made = |entry, buffers: &[(u32, &wgpu::Buffer)]| {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry),
            layout: None,
            module: &module,
            entry_point: Some(entry),
            compilation_options: Default::default(),
            cache: None,
        });
        let bound = buffers.iter().map(|(binding, buffer)| (*binding, buffer.as_entire_binding()));
        let entries: Vec<_> = bound.map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        let layout = &pipeline.get_bind_group_layout(0);
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
        (pipeline, group)
    };
    let before = made("before", &[(0, &chirp_buffer)]);
    let after = made("after", &[(1, &events_buffer), (2, &counts)]);
    let host_pass = |encoder: &mut wgpu::CommandEncoder, (pipeline, group): &(_, wgpu::BindGroup), groups: usize| {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, group, &[]);
        pass.dispatch_workgroups(groups as u32, 1, 1);
    };

    // One encoder, one submission; a live host does this every frame.
    let mut encoder = device.create_command_encoder(&Default::default());
    host_pass(&mut encoder, &before, N / 64);
    prepared.encode(&mut encoder, &[])?;
    host_pass(&mut encoder, &after, 2 * words / 64);
    encoder.copy_buffer_to_buffer(&counts, 0, &readback, 0, 8);
    queue.submit([encoder.finish()]);
    // Once a frame: what was encoded is on its way. `prepared.check()` would prove, by a submission of its own, that the
    // driver has carried it out.
    prepared.submitted();

    readback.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("the device is there"));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let found: Vec<u32> = bytemuck::cast_slice(&readback.get_mapped_range(..)?).to_vec();
    println!("on {}: {} ON and {} OFF spikes of {N} samples", gpu.name(), found[0], found[1]);
    Ok(())
}
