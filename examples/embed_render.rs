//! A host that draws every frame from buffers that spikewave computes: spiral waves on a sheet of 65,536 spiking neurons.
//!
//! ```text
//! cargo run --release --example embed_render -- sheet.png        # the 150th frame as a picture
//! cargo run --release --example embed_render --features winit    # live, in a window
//! ```
//!
//! A frame is one encoder and one submission: two steps of the neurons, then the host's own render pass. Membranes and
//! spikes are buffers of the host, synaptic currents are spikewave's; the fragment shader reads all of them where the
//! kernels left them. Nothing is copied.

use std::error::Error;

use pollster::block_on;
use spikewave::device::{DeviceOptions, Gpu, GpuParts, gpu};
use spikewave::kernel::Tensor;
use spikewave::ops::lif::{Adaptation, Drive, Lif, LifParams, Spikes, Synapse};
use spikewave::ops::{Gemm, gemm};
use spikewave::random::Random;
use spikewave::recording::Recording;
use spikewave::wgpu;

/// Neurons along each side of the sheet, a torus.
const N: usize = 256;
const STEPS_A_FRAME: usize = 2;
const FRAMES: u32 = 150;

/// The recording, ready to run, and how the host draws what it computes.
struct Sheet {
    prepared: gpu::Prepared,
    pipeline: wgpu::RenderPipeline,
    bind_group: wgpu::BindGroup,
}

/// A smooth random field on the torus: 24 plane waves.
fn field(seed: u64) -> impl Fn(usize) -> f64 {
    let mut random = Random::new(seed, 0);
    let waves: Vec<_> = (0..24).map(|_| [random.normal(), random.normal(), random.uniform()]).collect();
    move |i| {
        let (x, y) = ((i % N) as f64 / N as f64, (i / N) as f64 / N as f64);
        let turns = waves.iter().map(|[kx, ky, phase]| (4.0 * kx).round() * x + (4.0 * ky).round() * y + phase);
        turns.map(|t| (std::f64::consts::TAU * t).sin()).sum::<f64>() / 12f64.sqrt()
    }
}

/// What is drawn: two tensors of the host and one of the recording's own.
struct Drawn {
    membrane: Tensor<f32>,
    spikes: Tensor<f32>,
    synaptic: Tensor<f32>,
}

/// Neurons that excite their neighbours, tire and recover.
fn record(rec: &mut Recording) -> Result<Drawn, Box<dyn Error>> {
    let (membrane, spikes) = (rec.host("membrane", N * N)?, rec.host("spikes", N * N)?);
    let tired = field(2);
    let waiting: Vec<u32> = (0..N * N).map(|i| (40.0 * (0.3 - tired(i))).clamp(0.0, 60.0) as u32).collect();
    let waiting = rec.state("refractory", &waiting)?;
    let params = LifParams {
        tau_mem: 8.0.into(),
        t_ref: 12.0.into(),
        offset: 0.85.into(),
        synapse: Some(Synapse { tau: 3.0.into(), gain: 7.0.into(), order: Default::default() }),
        adaptation: Some(Adaptation { tau: 30.0.into(), increment: 0.5.into() }),
        ..LifParams::default()
    };
    let lif = Lif::with_state(rec, &params, membrane, waiting)?;

    // A spike reaches its neighbours by a Gaussian of 1.5 neurons: one matrix blurs columns from the left and rows from
    // the right.
    let weight = |i: usize, j: usize| {
        let distance = i.abs_diff(j).min(N - i.abs_diff(j)) as f32 / 1.5;
        0.266 * (-0.5 * distance * distance).exp()
    };
    let blur: Vec<f32> = (0..N * N).map(|i| weight(i / N, i % N)).collect();
    let blur = rec.constant("blur", &blur)?;
    let (columns, drive) = (rec.scratch("blurred columns", N * N)?, rec.scratch("drive", N * N)?);
    for _ in 0..STEPS_A_FRAME {
        gemm(rec, &Gemm::new(1, N, N, N), blur, spikes, columns)?;
        gemm(rec, &Gemm::new(1, N, N, N), columns, blur, drive)?;
        lif.run(rec, 1, Drive::Constant(drive), Spikes::Dense(spikes), None)?;
    }
    Ok(Drawn { membrane, spikes, synaptic: lif.i_syn().ok_or("the neurons have a synapse")? })
}

impl Sheet {
    fn new(device: &wgpu::Device, queue: &wgpu::Queue, format: wgpu::TextureFormat) -> Result<Self, Box<dyn Error>> {
        let gpu = Gpu::from_wgpu(GpuParts::new(device.clone(), queue.clone()), &DeviceOptions::default())?;
        let mut rec = Recording::new("sheet", gpu.capabilities());
        let drawn = record(&mut rec)?;

        // The host's buffers. Where active neurons meet tired ones, waves break and curl up.
        let buffer = |label| {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
            let size = drawn.membrane.bytes();
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        let (membrane, spikes) = (buffer("membrane"), buffer("spikes"));
        let active = field(1);
        let at_first: Vec<f32> = (0..N * N).map(|i| if active(i) > 0.9 { 1.2 } else { 0.5 }).collect();
        queue.write_buffer(&membrane, 0, bytemuck::cast_slice(&at_first));
        let prepared = gpu.prepare_with(&rec, &[drawn.membrane.on(&membrane), drawn.spikes.on(&spikes)])?;

        let module = device.create_shader_module(wgpu::include_wgsl!("embed_render.wgsl"));
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("sheet"),
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
                targets: &[Some(format.into())],
            }),
            multiview_mask: None,
            cache: None,
        });
        let buffers = [&membrane, &spikes, prepared.buffer(drawn.synaptic)?];
        let bound = (0..).zip(buffers).map(|(binding, buffer)| (binding, buffer.as_entire_binding()));
        let entries: Vec<_> = bound.map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        let layout = pipeline.get_bind_group_layout(0);
        let descriptor = wgpu::BindGroupDescriptor { label: Some("sheet"), layout: &layout, entries: &entries };
        let bind_group = device.create_bind_group(&descriptor);
        Ok(Self { prepared, pipeline, bind_group })
    }

    /// The next steps of the neurons, and a picture of them.
    fn frame(&mut self, encoder: &mut wgpu::CommandEncoder, view: &wgpu::TextureView) -> spikewave::Result<()> {
        self.prepared.encode(encoder, &[])?;
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view,
                depth_slice: None,
                resolve_target: None,
                ops: Default::default(),
            })],
            ..Default::default()
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.draw(0..3, 0..1);
        Ok(())
    }
}

/// The host's device: what the host needs itself, and what spikewave can use.
fn open(adapter: &wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError> {
    println!("on {}", adapter.get_info().name);
    block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: gpu::required_features() | gpu::optional_features(adapter),
        required_limits: gpu::required_limits(adapter),
        ..Default::default()
    }))
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// Draws without a window, and saves the last frame.
fn picture(path: &str) -> Result<(), Box<dyn Error>> {
    const SIDE: u32 = 3 * N as u32;
    let adapter = block_on(instance().request_adapter(&Default::default()))?;
    let (device, queue) = open(&adapter)?;
    let mut sheet = Sheet::new(&device, &queue, wgpu::TextureFormat::Rgba8UnormSrgb)?;
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("picture"),
        size: wgpu::Extent3d { width: SIDE, height: SIDE, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8UnormSrgb,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    });
    let view = texture.create_view(&Default::default());
    let begun = std::time::Instant::now();
    for _ in 0..FRAMES {
        let mut encoder = device.create_command_encoder(&Default::default());
        sheet.frame(&mut encoder, &view)?;
        queue.submit([encoder.finish()]);
        // As a screen would: no frame before the last one is drawn.
        device.poll(wgpu::PollType::wait_indefinitely())?;
    }
    println!("{:.1?} a frame", begun.elapsed() / FRAMES);
    // Not for every frame: it submits and waits.
    sheet.prepared.submitted();
    sheet.prepared.check()?;

    let picture = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("picture"),
        size: u64::from(4 * SIDE * SIDE),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    let layout = wgpu::TexelCopyBufferLayout { bytes_per_row: Some(4 * SIDE), ..Default::default() };
    let target = wgpu::TexelCopyBufferInfo { buffer: &picture, layout };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
    queue.submit([encoder.finish()]);
    picture.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("the device is there"));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let mut pixels = tiny_skia::Pixmap::new(SIDE, SIDE).ok_or("an empty picture")?;
    pixels.data_mut().copy_from_slice(&picture.get_mapped_range(..)?);
    pixels.save_png(path)?;
    println!("saved {path}");
    Ok(())
}

#[cfg(feature = "winit")]
mod window {
    use std::sync::Arc;

    use winit::application::ApplicationHandler;
    use winit::event::WindowEvent;
    use winit::event_loop::{ActiveEventLoop, EventLoop};
    use winit::window::{Window, WindowId};

    use super::*;

    struct Live {
        window: Arc<Window>,
        surface: wgpu::Surface<'static>,
        config: wgpu::SurfaceConfiguration,
        device: wgpu::Device,
        queue: wgpu::Queue,
        sheet: Sheet,
    }

    impl Live {
        fn new(events: &ActiveEventLoop) -> Result<Self, Box<dyn Error>> {
            let attributes = Window::default_attributes().with_title("spikewave: a sheet of neurons");
            let window = Arc::new(events.create_window(attributes)?);
            let instance = instance();
            let surface = instance.create_surface(window.clone())?;
            let options = wgpu::RequestAdapterOptions { compatible_surface: Some(&surface), ..Default::default() };
            let adapter = block_on(instance.request_adapter(&options))?;
            let (device, queue) = open(&adapter)?;
            let size = window.inner_size();
            let config = surface.get_default_config(&adapter, size.width.max(1), size.height.max(1));
            let config = config.ok_or("the adapter cannot draw into this window")?;
            surface.configure(&device, &config);
            let sheet = Sheet::new(&device, &queue, config.format)?;
            Ok(Self { window, surface, config, device, queue, sheet })
        }

        fn draw(&mut self) -> spikewave::Result<()> {
            use wgpu::CurrentSurfaceTexture::{Suboptimal, Success};
            match self.surface.get_current_texture() {
                Success(target) | Suboptimal(target) => {
                    let mut encoder = self.device.create_command_encoder(&Default::default());
                    self.sheet.frame(&mut encoder, &target.texture.create_view(&Default::default()))?;
                    self.queue.submit([encoder.finish()]);
                    self.queue.present(target);
                }
                _ => self.surface.configure(&self.device, &self.config),
            }
            self.window.request_redraw();
            Ok(())
        }
    }

    #[derive(Default)]
    struct App(Option<Live>);

    impl ApplicationHandler for App {
        fn resumed(&mut self, events: &ActiveEventLoop) {
            match Live::new(events) {
                Ok(live) => self.0 = Some(live),
                Err(error) => {
                    eprintln!("{error}");
                    events.exit();
                }
            }
        }

        fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
            let Some(live) = &mut self.0 else { return };
            match event {
                WindowEvent::CloseRequested => events.exit(),
                WindowEvent::Resized(size) => {
                    (live.config.width, live.config.height) = (size.width.max(1), size.height.max(1));
                    live.surface.configure(&live.device, &live.config);
                }
                WindowEvent::RedrawRequested => {
                    if let Err(error) = live.draw() {
                        eprintln!("{error}");
                        events.exit();
                    }
                }
                _ => {}
            }
        }
    }

    pub fn run() -> Result<(), Box<dyn Error>> {
        Ok(EventLoop::new()?.run_app(&mut App::default())?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(path) => picture(&path),
        #[cfg(feature = "winit")]
        None => window::run(),
        #[cfg(not(feature = "winit"))]
        None => Err("give the name of the PNG file to save, or build with --features winit to see a window".into()),
    }
}
