//! The executor on a device that a host application owns.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spikewave::device::{Control, DeviceOptions, Gpu, gpu};
use spikewave::recording::Recording;
use spikewave::{Error, ops, wgpu};

/// The host's device on every adapter, its flags for loss and for errors, and the executor on it.
struct Host {
    device: wgpu::Device,
    queue: wgpu::Queue,
    lost: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
    gpu: Gpu,
}

fn hosts() -> Vec<Host> {
    if common::skipped() {
        return Vec::new();
    }
    let backends = wgpu::Backends::PRIMARY.with_env();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    let open = |adapter: &wgpu::Adapter| {
        let descriptor = wgpu::DeviceDescriptor {
            required_features: gpu::optional_features() & adapter.features(),
            required_limits: gpu::required_limits(adapter),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        let (lost, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let flag = lost.clone();
        device.set_device_lost_callback(move |_, _| flag.store(true, Ordering::SeqCst));
        let flag = failed.clone();
        device.on_uncaptured_error(Arc::new(move |_| flag.store(true, Ordering::SeqCst)));
        let options = DeviceOptions { cache_dir: common::cache_dir(), ..DeviceOptions::default() };
        let gpu = Gpu::from_wgpu(device.clone(), queue.clone(), &options).unwrap();
        Host { device, queue, lost, failed, gpu }
    };
    adapters.iter().map(open).collect()
}

fn read(host: &Host, buffer: &wgpu::Buffer, bytes: u64) -> wgpu::Buffer {
    let readback = host.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = host.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &readback, 0, bytes);
    host.queue.submit([encoder.finish()]);
    readback.map_async(wgpu::MapMode::Read, .., |r| r.unwrap());
    host.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    readback
}

#[test]
fn a_recording_runs_inside_the_hosts_encoder() {
    for host in hosts() {
        let n = 1000;
        let mut rec = Recording::new("borrowed", host.gpu.capabilities());
        let x = rec.input::<f32>("x", n).unwrap();
        let y = rec.state("y", &vec![0.0f32; n]).unwrap();
        let z = rec.scratch::<f32>("z", n).unwrap();
        ops::fill(&mut rec, z, 3.0).unwrap();
        rec.copy(x, 0, y, 0, n / 2).unwrap();
        rec.copy(z, 0, y, n / 2, n / 2).unwrap();
        rec.download(y).unwrap();
        let mut prepared = host.gpu.prepare(&rec).unwrap();
        // Two encodings in one submission, each with its own input; between them the host copies the result away.
        let kept = host.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4 * n as u64,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = host.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder, &[x.feed(&vec![1.0; n])]).unwrap();
        encoder.copy_buffer_to_buffer(prepared.buffer(y).unwrap(), 0, &kept, 0, 4 * n as u64);
        prepared.encode(&mut encoder, &[x.feed(&vec![2.0; n])]).unwrap();
        host.queue.submit([encoder.finish()]);
        for (buffer, value) in [(&kept, 1.0f32), (prepared.buffer(y).unwrap(), 2.0)] {
            let readback = read(&host, buffer, 4 * n as u64);
            let view = readback.get_mapped_range(..).unwrap();
            let found: &[f32] = bytemuck::cast_slice(&view);
            assert!(found[..n / 2].iter().all(|v| *v == value) && found[n / 2..].iter().all(|v| *v == 3.0));
        }
        // Without feeds the host writes the input itself, and nothing is created.
        let before = host.gpu.stats();
        host.queue.write_buffer(prepared.buffer(x).unwrap(), 0, bytemuck::cast_slice(&vec![5.0f32; n]));
        let mut encoder = host.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder, &[]).unwrap();
        host.queue.submit([encoder.finish()]);
        let readback = read(&host, prepared.buffer(y).unwrap(), 4);
        assert_eq!(bytemuck::cast_slice::<_, f32>(&readback.get_mapped_range(..).unwrap())[0], 5.0);
        assert_eq!(host.gpu.stats().submissions, before.submissions, "the host submits");
        // Errors come back, not through the host's handler; and the executor's own runs still work beside it.
        let other = Recording::new("other", host.gpu.capabilities()).input::<f32>("x", n).unwrap();
        let mut encoder = host.device.create_command_encoder(&Default::default());
        let data = vec![7.0; n];
        assert!(matches!(prepared.encode(&mut encoder, &[other.feed(&data)]), Err(Error::InvalidArgument { .. })));
        assert!(prepared.buffer(other).is_err());
        let out = prepared.run(&[x.feed(&data)], &Control::default()).unwrap();
        assert_eq!((out.get(y).unwrap()[0], out.get(y).unwrap()[n - 1]), (7.0, 3.0));
        assert!(!host.failed.load(Ordering::SeqCst) && !host.lost.load(Ordering::SeqCst));
    }
}

#[test]
fn scratch_that_shares_memory_is_not_handed_out() {
    for host in hosts() {
        let mut rec = Recording::new("shared", host.gpu.capabilities());
        let a = rec.scratch::<f32>("a", 100).unwrap();
        let b = rec.scratch::<f32>("b", 100).unwrap();
        ops::fill(&mut rec, a, 1.0).unwrap();
        rec.download(a).unwrap();
        ops::fill(&mut rec, b, 2.0).unwrap();
        rec.download(b).unwrap();
        let prepared = host.gpu.prepare(&rec).unwrap();
        let error = prepared.buffer(a).unwrap_err().to_string();
        assert!(error.contains("make it a state"), "{error}");
    }
}

#[test]
fn the_hosts_callbacks_stay_and_its_loss_is_reported() {
    for host in hosts() {
        let mut rec = Recording::new("lost", host.gpu.capabilities());
        let y = rec.scratch::<f32>("y", 100).unwrap();
        ops::fill(&mut rec, y, 1.0).unwrap();
        rec.download(y).unwrap();
        let mut prepared = host.gpu.prepare(&rec).unwrap();
        prepared.run(&[], &Control::default()).unwrap();
        host.device.destroy();
        let _ =
            host.device.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(Duration::from_secs(1)) });
        assert!(host.lost.load(Ordering::SeqCst), "the host's own callback was called");
        // Nobody has told the executor: it finds out by itself, and never returns a result.
        assert!(matches!(prepared.run(&[], &Control::default()), Err(Error::DeviceLost { .. })));
        host.gpu.notify_device_lost("told by the host");
        assert!(matches!(host.gpu.prepare(&rec), Err(Error::DeviceLost { .. })));
    }
}

/// The host and two executors on one device from three threads.
#[test]
fn several_threads_share_one_device() {
    for host in hosts() {
        let options = DeviceOptions { cache_dir: common::cache_dir(), ..DeviceOptions::default() };
        let second = Gpu::from_wgpu(host.device.clone(), host.queue.clone(), &options).unwrap();
        let work = |gpu: &Gpu, value: f32| {
            let mut rec = Recording::new("thread", gpu.capabilities());
            let y = rec.scratch::<f32>("y", 50_000).unwrap();
            ops::fill(&mut rec, y, value).unwrap();
            rec.download(y).unwrap();
            let mut prepared = gpu.prepare(&rec).unwrap();
            for _ in 0..50 {
                let out = prepared.run(&[], &Control::default()).unwrap();
                assert!(out.get(y).unwrap().iter().all(|v| *v == value));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| work(&host.gpu, 1.0));
            scope.spawn(|| work(&host.gpu, 2.0));
            scope.spawn(|| work(&second, 3.0));
            for i in 0..50u32 {
                let buffer = host.device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: 4,
                    usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                });
                host.queue.write_buffer(&buffer, 0, &i.to_le_bytes());
                let readback = read(&host, &buffer, 4);
                assert_eq!(*readback.get_mapped_range(..).unwrap(), i.to_le_bytes());
            }
        });
        assert!(!host.failed.load(Ordering::SeqCst));
    }
}
