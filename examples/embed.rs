//! spikewave inside a host application that owns the GPU: one command encoder holds the host's kernel, our recording and
//! the host's copy, and the data never leave the device.
//!
//! ```text
//! cargo run --release --example embed
//! ```
//!
//! The host's shader writes a chirp into our input tensor; our recording turns it into ON and OFF spikes.

use pollster::block_on;
use spikewave::device::{DeviceOptions, Gpu, gpu};
use spikewave::ops::{self, Events, TemporalContrast, event_words};
use spikewave::recording::Recording;
use spikewave::wgpu;

const N: usize = 65_536;

const CHIRP: &str = "
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let t = f32(id.x) / 65536.0;
    x[id.x] = t * sin(200.0 * t * t);
}";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The host's own setup. It asks for what spikewave can use, beside what it needs itself.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    let adapter = block_on(instance.request_adapter(&options))?;
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: gpu::optional_features() & adapter.features(),
        required_limits: gpu::required_limits(&adapter),
        ..Default::default()
    }))?;

    // Lent to spikewave, which tests it and compiles its kernels on it. The host keeps its callbacks.
    let executor = Gpu::from_wgpu(device.clone(), queue.clone(), &DeviceOptions::default())?;
    println!("on {} ({:?}), {} quirks", executor.name(), adapter.get_info().backend, executor.quirks().len());

    // A state has memory of its own, which the host may read.
    let mut rec = Recording::new("chirp to spikes", executor.capabilities());
    let x = rec.input::<f32>("chirp", N)?;
    let words = event_words(N);
    let events = rec.state("events", &vec![0u32; 2 * words])?;
    ops::temporal_contrast(&mut rec, x, 1, &TemporalContrast::new(0.001), Events::Packed(events))?;
    let mut prepared = executor.prepare(&rec)?;

    // The host's kernel writes straight into the recording's input.
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("host"),
        source: wgpu::ShaderSource::Wgsl(CHIRP.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("host"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let resource = prepared.buffer(x)?.as_entire_binding();
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("host"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource }],
    });
    let bytes = events.bytes();
    let readback = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("host"),
        size: bytes,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });

    // One encoder, one submission.
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &bind_group, &[]);
    pass.dispatch_workgroups(N as u32 / 64, 1, 1);
    drop(pass);
    prepared.encode(&mut encoder, &[])?;
    encoder.copy_buffer_to_buffer(prepared.buffer(events)?, 0, &readback, 0, bytes);
    queue.submit([encoder.finish()]);

    readback.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("the device is there"));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let view = readback.get_mapped_range(..)?;
    let spikes = |row: usize| -> u32 {
        let row = &view[row * words * 4..][..words * 4];
        row.iter().map(|byte| byte.count_ones()).sum()
    };
    println!("{} ON and {} OFF spikes of {N} samples", spikes(0), spikes(1));
    Ok(())
}
