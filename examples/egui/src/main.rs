//! spikewave and egui on one device: a panel draws the raster of neurons straight from the buffer of our kernels.
//!
//! ```text
//! cargo run --release -- raster.png
//! ```
//!
//! An app does the same: egui calls [`CallbackTrait::prepare`] with its encoder, into which our recording goes, and
//! [`CallbackTrait::paint`] with its render pass. One submission a frame, and nothing is copied. This program needs no
//! window; it saves the picture instead.

use std::error::Error;

use egui_wgpu::{Callback, CallbackResources, CallbackTrait, Renderer, RendererOptions, ScreenDescriptor};
use pollster::block_on;
use spikewave::device::{DeviceOptions, Gpu, GpuParts, gpu};
use spikewave::kernel::Tensor;
use spikewave::ops::lif::{Adaptation, Drive, Lif, LifParams, Spikes, spike_words};
use spikewave::ops;
use spikewave::recording::Recording;
use spikewave::wgpu;

const NEURONS: usize = 256;
const STEPS: usize = 360;
const SIZE: [u32; 2] = [1000, 600];
/// egui prefers targets in gamma space, and PNG files are.
const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// What egui keeps for the callback: the recording, ready to run, and how its spikes are drawn.
struct Raster {
    prepared: gpu::Prepared,
    strength: Tensor<f32>,
    pipeline: wgpu::RenderPipeline,
    bind_group: wgpu::BindGroup,
}

impl Raster {
    fn new(gpu: &Gpu, device: &wgpu::Device) -> Result<Self, Box<dyn Error>> {
        // Neurons with more and more drive, over which slow waves run.
        let drive: Vec<f32> = (0..STEPS * NEURONS)
            .map(|i| {
                let (time, place) = ((i / NEURONS) as f32 / STEPS as f32, (i % NEURONS) as f32 / NEURONS as f32);
                let wave = (std::f32::consts::TAU * (3.0 * time + 1.5 * place * place)).sin();
                0.7 + 1.1 * place + 0.55 * wave
            })
            .collect();
        let params = LifParams {
            tau_mem: 12.0.into(),
            t_ref: 2.0.into(),
            adaptation: Some(Adaptation { tau: 60.0.into(), increment: 0.06.into() }),
            ..LifParams::default()
        };
        let mut rec = Recording::new("raster", gpu.capabilities());
        let strength = rec.input("strength", 1)?;
        let spikes = rec.host("spikes", STEPS * spike_words(NEURONS))?;
        let drive = rec.constant("drive", &drive)?;
        let scaled = rec.scratch("scaled drive", drive.len())?;
        ops::mul(&mut rec, drive, strength, 1.0, scaled)?;
        let neurons = Lif::new(&mut rec, NEURONS, &params)?;
        neurons.run(&mut rec, STEPS, Drive::Each(scaled), Spikes::Packed(spikes), None)?;

        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("spikes"),
            size: spikes.bytes(),
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let prepared = gpu.prepare_with(&rec, &[spikes.on(&buffer)])?;
        let module = device.create_shader_module(wgpu::include_wgsl!("raster.wgsl"));
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("raster"),
            layout: None,
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some("corner"),
                compilation_options: Default::default(),
                buffers: &[],
            },
            primitive: Default::default(),
            depth_stencil: None,
            multisample: Default::default(),
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some("shade"),
                compilation_options: Default::default(),
                targets: &[Some(FORMAT.into())],
            }),
            multiview_mask: None,
            cache: None,
        });
        let entry = wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() };
        let layout = pipeline.get_bind_group_layout(0);
        let descriptor = wgpu::BindGroupDescriptor { label: Some("raster"), layout: &layout, entries: &[entry] };
        let bind_group = device.create_bind_group(&descriptor);
        Ok(Self { prepared, strength, pipeline, bind_group })
    }
}

/// One frame's raster, with what the panel's slider says.
struct Paint {
    strength: f32,
}

impl CallbackTrait for Paint {
    fn prepare(
        &self,
        _: &wgpu::Device,
        _: &wgpu::Queue,
        _: &ScreenDescriptor,
        encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        if let Some(raster) = resources.get_mut::<Raster>() {
            let strength = [self.strength];
            let feed = raster.strength.feed(&strength);
            if let Err(error) = raster.prepared.encode(encoder, &[feed]) {
                eprintln!("the raster stays as it was: {error}");
            }
        }
        Vec::new()
    }

    fn paint(
        &self,
        _: egui::PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        if let Some(raster) = resources.get::<Raster>() {
            pass.set_pipeline(&raster.pipeline);
            pass.set_bind_group(0, &raster.bind_group, &[]);
            pass.draw(0..3, 0..1);
        }
    }
}

/// What the app keeps between frames.
struct App {
    adapter: String,
    strength: f32,
}

impl App {
    fn ui(&mut self, ui: &mut egui::Ui) {
        egui::Panel::left("controls").exact_size(220.0).show(ui, |ui| {
            ui.add_space(8.0);
            ui.heading("spikewave in egui");
            ui.label(egui::RichText::new(&self.adapter).weak());
            ui.separator();
            ui.label(format!("{NEURONS} leaky integrate-and-fire neurons, {STEPS} ms a frame"));
            ui.add_space(8.0);
            ui.label("strength of the drive");
            ui.add(egui::Slider::new(&mut self.strength, 0.0..=2.0));
            ui.add_space(8.0);
            ui.label("One device, one encoder, one submission: the panel on the right reads the buffer of the kernels.");
        });
        egui::CentralPanel::default().show(ui, |ui| {
            let rect = ui.available_rect_before_wrap();
            ui.painter().add(Callback::new_paint_callback(rect, Paint { strength: self.strength }));
        });
    }
}

/// One frame of egui with all that its callbacks encode, in one submission.
fn frame(
    context: &egui::Context,
    app: &mut App,
    renderer: &mut Renderer,
    (device, queue): (&wgpu::Device, &wgpu::Queue),
    view: &wgpu::TextureView,
) {
    let screen_rect = egui::Rect::from_min_size(egui::Pos2::ZERO, egui::vec2(SIZE[0] as f32, SIZE[1] as f32));
    let input = egui::RawInput { screen_rect: Some(screen_rect), ..Default::default() };
    let mut output = context.run_ui(input, |ui| app.ui(ui));
    for (id, deltas) in output.textures_delta.set.drain() {
        deltas.iter().for_each(|delta| renderer.update_texture(device, queue, id, delta));
    }
    let jobs = context.tessellate(output.shapes, output.pixels_per_point);
    let screen = ScreenDescriptor { size_in_pixels: SIZE, pixels_per_point: output.pixels_per_point };
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut commands = renderer.update_buffers(device, queue, &mut encoder, &jobs, &screen);
    let pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
        color_attachments: &[Some(wgpu::RenderPassColorAttachment {
            view,
            depth_slice: None,
            resolve_target: None,
            ops: Default::default(),
        })],
        ..Default::default()
    });
    renderer.render(&mut pass.forget_lifetime(), &jobs, &screen);
    commands.push(encoder.finish());
    queue.submit(commands);
    output.textures_delta.free.drain().for_each(|id| renderer.free_texture(&id));
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("give the name of the PNG file to save")?;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapter = block_on(instance.request_adapter(&Default::default()))?;
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: gpu::required_features() | gpu::optional_features(&adapter),
        required_limits: gpu::required_limits(&adapter),
        ..Default::default()
    }))?;
    let mut renderer = Renderer::new(&device, FORMAT, RendererOptions::default());
    let gpu = Gpu::from_wgpu(GpuParts::new(device.clone(), queue.clone()), &DeviceOptions::default())?;
    renderer.callback_resources.insert(Raster::new(&gpu, &device)?);

    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("picture"),
        size: wgpu::Extent3d { width: SIZE[0], height: SIZE[1], depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: FORMAT,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    });
    let view = texture.create_view(&Default::default());
    let (context, mut app) = (egui::Context::default(), App { adapter: gpu.name().into(), strength: 1.0 });
    for _ in 0..3 {
        frame(&context, &mut app, &mut renderer, (&device, &queue), &view);
    }

    // Rows of a texture's copy begin at multiples of 256 bytes.
    let row = (4 * SIZE[0]).next_multiple_of(256);
    let picture = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("picture"),
        size: u64::from(row * SIZE[1]),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let layout = wgpu::TexelCopyBufferLayout { bytes_per_row: Some(row), ..Default::default() };
    let target = wgpu::TexelCopyBufferInfo { buffer: &picture, layout };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
    queue.submit([encoder.finish()]);
    picture.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("the device is there"));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let mut pixels = tiny_skia::Pixmap::new(SIZE[0], SIZE[1]).ok_or("an empty picture")?;
    let view = picture.get_mapped_range(..)?;
    let rows = pixels.data_mut().chunks_exact_mut(4 * SIZE[0] as usize).zip(view.chunks_exact(row as usize));
    rows.for_each(|(to, from)| to.copy_from_slice(&from[..to.len()]));
    pixels.save_png(&path)?;
    println!("on {}: saved {path}", gpu.name());
    Ok(())
}
