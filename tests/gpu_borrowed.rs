//! The executor on a device that a host application owns.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spikewave::device::{Choice, Control, Device, DeviceOptions, Gpu, GpuParts, Readiness, gpu};
use spikewave::kernel::{self, Tensor};
use spikewave::recording::Recording;
use spikewave::wgpu::{self, BufferUsages as Usage};
use spikewave::{Error, ops};

/// The host's device on every adapter, its flags for loss and for errors, and the executor on it.
struct Host {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    lost: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
    gpu: Gpu,
}

fn options() -> DeviceOptions {
    DeviceOptions { cache_dir: common::cache_dir(), ..DeviceOptions::default() }
}

fn every_adapter() -> Vec<wgpu::Adapter> {
    if common::skipped() {
        return Vec::new();
    }
    let backends = wgpu::Backends::PRIMARY.with_env();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    pollster::block_on(instance.enumerate_adapters(backends))
}

/// A device with what the executor asks for, as a host would open it.
fn open(adapter: &wgpu::Adapter) -> (wgpu::Device, wgpu::Queue) {
    let descriptor = wgpu::DeviceDescriptor {
        required_features: Device::required_features() | Device::optional_features(adapter),
        required_limits: Device::required_limits(adapter),
        ..Default::default()
    };
    pollster::block_on(adapter.request_device(&descriptor)).unwrap()
}

fn hosts() -> Vec<Host> {
    let host = |adapter: wgpu::Adapter| {
        let (device, queue) = open(&adapter);
        let (lost, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let flag = lost.clone();
        device.set_device_lost_callback(move |_, _| flag.store(true, Ordering::SeqCst));
        let flag = failed.clone();
        device.on_uncaptured_error(Arc::new(move |_| flag.store(true, Ordering::SeqCst)));
        let parts = GpuParts { adapter: Some(adapter.clone()), ..GpuParts::new(device.clone(), queue.clone()) };
        let gpu = Gpu::from_wgpu(parts, &options()).unwrap();
        Host { adapter, device, queue, lost, failed, gpu }
    };
    every_adapter().into_iter().map(host).collect()
}

impl Host {
    fn parts(&self) -> GpuParts {
        GpuParts::new(self.device.clone(), self.queue.clone())
    }

    fn buffer(&self, bytes: u64, usage: Usage) -> wgpu::Buffer {
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
        self.device.create_buffer(&descriptor)
    }

    /// A storage buffer with this content at its head, for copies too.
    fn filled(&self, data: &[f32], bytes: u64) -> wgpu::Buffer {
        let buffer = self.buffer(bytes, Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST);
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(data));
        buffer
    }

    fn floats(&self, buffer: &wgpu::Buffer) -> Vec<f32> {
        bytemuck::cast_slice(&read(self, buffer, buffer.size()).get_mapped_range(..).unwrap()).to_vec()
    }

    fn submit(&self, encode: impl FnOnce(&mut wgpu::CommandEncoder)) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encode(&mut encoder);
        self.queue.submit([encoder.finish()]);
    }

    /// Nothing reached the host's handlers.
    fn unharmed(&self) {
        assert!(!self.failed.load(Ordering::SeqCst) && !self.lost.load(Ordering::SeqCst));
    }
}

fn read(host: &Host, buffer: &wgpu::Buffer, bytes: u64) -> wgpu::Buffer {
    let readback = host.buffer(bytes, Usage::MAP_READ | Usage::COPY_DST);
    host.submit(|encoder| encoder.copy_buffer_to_buffer(buffer, 0, &readback, 0, bytes));
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
        let kept = host.buffer(4 * n as u64, Usage::COPY_DST | Usage::COPY_SRC);
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
        prepared.submitted();
        let out = prepared.run(&[x.feed(&data)], &Control::default()).unwrap();
        assert_eq!((out.get(y).unwrap()[0], out.get(y).unwrap()[n - 1]), (7.0, 3.0));
        host.unharmed();
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
        let second = Gpu::from_wgpu(host.parts(), &options()).unwrap();
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
                let buffer = host.buffer(4, Usage::COPY_SRC | Usage::COPY_DST);
                host.queue.write_buffer(&buffer, 0, &i.to_le_bytes());
                let readback = read(&host, &buffer, 4);
                assert_eq!(*readback.get_mapped_range(..).unwrap(), i.to_le_bytes());
            }
        });
        assert!(!host.failed.load(Ordering::SeqCst));
    }
}

/// `y = 2 x + c`, `kept = kept + y`, over buffers of the host for `x` and `y`.
struct Frame {
    rec: Recording,
    x: Tensor<f32>,
    y: Tensor<f32>,
    kept: Tensor<f32>,
}

impl Frame {
    fn new(gpu: &Gpu, c: &[f32]) -> Self {
        let n = c.len();
        let mut rec = Recording::new("frame", gpu.capabilities());
        let x = rec.host::<f32>("x", n).unwrap();
        let y = rec.host::<f32>("y", n).unwrap();
        let c = rec.constant("c", c).unwrap();
        let kept = rec.state("kept", &vec![100.0f32; n]).unwrap();
        let twice = rec.scratch::<f32>("twice", n).unwrap();
        ops::scale_offset(&mut rec, x, 2.0, 0.0, twice).unwrap();
        ops::add(&mut rec, twice, c, y).unwrap();
        let sum = rec.scratch::<f32>("sum", n).unwrap();
        ops::add(&mut rec, kept, y, sum).unwrap();
        rec.copy(sum, 0, kept, 0, n).unwrap();
        Self { rec, x, y, kept }
    }
}

#[test]
fn opening_and_preparing_and_encoding_submit_nothing_and_poll_nothing() {
    for host in hosts() {
        // A callback of work that is done runs at the next poll or submission, whoever makes it.
        let done = Arc::new(AtomicBool::new(false));
        let flag = done.clone();
        host.submit(|encoder| encoder.clear_buffer(&host.filled(&[0.0], 4), 0, None));
        host.queue.on_submitted_work_done(move || flag.store(true, Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(50));
        let poisoned = DeviceOptions { poison: true, ..options() };
        let gpu = Gpu::from_wgpu(host.parts(), &poisoned).unwrap();
        // More than one upload buffer of first contents.
        let n = (5 << 20) / 4;
        let frame = Frame::new(&gpu, &vec![1.0; n]);
        gpu.request(kernel::ALL).unwrap();
        let buffer = || host.buffer(4 * n as u64, Usage::STORAGE);
        let mut prepared = gpu.prepare_with(&frame.rec, &[frame.x.on(&buffer()), frame.y.on(&buffer())]).unwrap();
        let mut encoder = host.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder, &[]).unwrap();
        assert_eq!((gpu.stats().submissions, done.load(Ordering::SeqCst)), (0, false), "nobody polled or submitted");
        host.device.poll(wgpu::PollType::Poll).unwrap();
        assert!(done.load(Ordering::SeqCst), "a poll would have been seen");
        drop((encoder, prepared, gpu));
        host.unharmed();
    }
}

#[test]
fn first_contents_travel_with_the_first_encoding_and_count_until_then() {
    for host in hosts() {
        let n = (5 << 20) / 4;
        let c: Vec<f32> = (0..n).map(|i| (i % 1000) as f32).collect();
        let frame = Frame::new(&host.gpu, &c);
        let (x, y) = (host.filled(&vec![3.0; n], 4 * n as u64), host.filled(&[], 4 * n as u64));
        let mut prepared = host.gpu.prepare_with(&frame.rec, &[frame.x.on(&x), frame.y.on(&y)]).unwrap();
        let plan = prepared.plan().peak_bytes();
        let leased = |gpu: &Gpu| gpu.stats().memory.leased_bytes;
        let waiting = leased(&host.gpu) - plan;
        assert!((8 * n as u64..8 * n as u64 + 4096 * 4).contains(&waiting), "{waiting} bytes wait");
        host.submit(|encoder| {
            prepared.encode(encoder, &[]).unwrap();
            assert_eq!(leased(&host.gpu), plan, "they went with the encoder");
            prepared.encode(encoder, &[]).unwrap();
        });
        prepared.submitted();
        assert!(host.floats(&y).iter().zip(&c).all(|(y, c)| *y == 6.0 + c));
        let kept = prepared.read(frame.kept).unwrap();
        assert!(kept.iter().zip(&c).all(|(kept, c)| *kept == 112.0 + 2.0 * c), "the second does not begin anew");
        prepared.check().unwrap();
        drop(prepared);
        assert_eq!(leased(&host.gpu), 0);
        // With a run, a read or a write of our own they travel with that.
        let mut run = host.gpu.prepare_with(&frame.rec, &[frame.x.on(&x), frame.y.on(&y)]).unwrap();
        run.run(&[], &Control::default()).unwrap();
        assert!(run.read(frame.kept).unwrap().iter().zip(&c).all(|(kept, c)| *kept == 106.0 + c));
        let mut read = host.gpu.prepare_with(&frame.rec, &[frame.x.on(&x), frame.y.on(&y)]).unwrap();
        assert!(read.read(frame.kept).unwrap().iter().all(|kept| *kept == 100.0));
        let mut write = host.gpu.prepare_with(&frame.rec, &[frame.x.on(&x), frame.y.on(&y)]).unwrap();
        write.write(frame.kept, &vec![1.0; n]).unwrap();
        write.profile(&[], &Control::default()).unwrap();
        assert!(write.read(frame.kept).unwrap().iter().zip(&c).all(|(kept, c)| *kept == 7.0 + c));
        // What is dropped without having been encoded is given back.
        drop((run, read, write));
        drop(host.gpu.prepare_with(&frame.rec, &[frame.x.on(&x), frame.y.on(&y)]).unwrap());
        assert_eq!(leased(&host.gpu), 0);
        host.unharmed();
    }
}

#[test]
fn first_contents_that_do_not_fit_the_budget_are_refused() {
    for host in hosts() {
        let n = (4 << 20) / 4;
        let gpu = Gpu::from_wgpu(host.parts(), &DeviceOptions { memory_budget: Some(6 << 20), ..options() }).unwrap();
        let mut rec = Recording::new("large", gpu.capabilities());
        let c = rec.constant("c", &vec![1.0f32; n]).unwrap();
        rec.download(c).unwrap();
        let error = gpu.prepare(&rec).unwrap_err();
        assert!(matches!(error, Error::OverBudget { .. }), "{error}");
        assert_eq!(gpu.stats().memory.leased_bytes, 0);
    }
}

#[test]
fn host_buffers_are_used_in_place_by_kernels_copies_clears_and_downloads() {
    for host in hosts() {
        let n = 1000;
        let mut rec = Recording::new("in place", host.gpu.capabilities());
        let x = rec.host::<f32>("x", n).unwrap();
        let y = rec.host::<f32>("y", n).unwrap();
        let z = rec.host::<f32>("z", n).unwrap();
        ops::scale_offset(&mut rec, x, 10.0, 0.5, y).unwrap();
        rec.clear(z).unwrap();
        rec.copy(y, 0, z, n / 2, n / 2).unwrap();
        rec.download(z).unwrap();
        let plan = rec.plan();
        let named: Vec<_> =
            plan.hosts.iter().map(|h| (h.name.as_str(), h.written, h.copied_from, h.copied_to)).collect();
        assert_eq!(named, [("x", false, false, false), ("y", true, true, false), ("z", true, true, true)]);
        assert_eq!(plan.hosts.iter().map(|h| h.bytes).sum::<u64>(), 12 * n as u64);
        // x and z are parts of one buffer, between other data of the host.
        let data: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let alignment = u64::from(host.device.limits().min_storage_buffer_offset_alignment);
        let at = (4 * n as u64).next_multiple_of(alignment);
        let xz = host.filled(&vec![-1.0; 3 * at as usize / 4], 3 * at);
        host.queue.write_buffer(&xz, 0, bytemuck::cast_slice(&data));
        let y_buffer = host.buffer(4 * n as u64, Usage::STORAGE | Usage::COPY_SRC);
        let before = host.gpu.stats().memory.leased_bytes;
        let mut prepared = host.gpu.prepare_with(&rec, &[z.at(&xz, at), x.on(&xz), y.on(&y_buffer)]).unwrap();
        assert_eq!(prepared.plan().peak_bytes(), plan.slots.iter().map(|s| s.bytes).sum::<u64>());
        assert!(host.gpu.stats().memory.leased_bytes - before < 12 * n as u64 + 16_384, "the host's do not count");
        let out = prepared.run(&[], &Control::default()).unwrap();
        let expected: Vec<f32> =
            (0..n).map(|i| if i < n / 2 { 0.0 } else { (i - n / 2) as f32 * 10.0 + 0.5 }).collect();
        assert_eq!(out.get(z).unwrap(), expected);
        let found = host.floats(&xz);
        let (at, end) = (at as usize / 4, at as usize / 4 + n);
        assert_eq!((&found[..n], &found[at..end]), (&data[..], &expected[..]));
        assert!(found[n..at].iter().chain(&found[end..]).all(|v| *v == -1.0), "the host's other data stay");
        assert!(prepared.buffer(y).is_err() && prepared.read(y).is_err(), "the host has them already");
        host.unharmed();
    }
}

#[test]
fn a_recording_encodes_itself_and_buffers_can_be_swapped_frame_by_frame() {
    for host in hosts() {
        let n = 256;
        let frame = Frame::new(&host.gpu, &vec![1.0; n]);
        let x: Vec<_> = (0..2).map(|i| host.filled(&vec![i as f32; n], 4 * n as u64)).collect();
        let y: Vec<_> = (0..2).map(|_| host.filled(&vec![-1.0; n], 4 * n as u64)).collect();
        let buffers = |i: usize| [frame.x.on(&x[i]), frame.y.on(&y[i])];
        let mut encoder = host.device.create_command_encoder(&Default::default());
        let mut prepared = frame.rec.encode(&host.gpu, &mut encoder, &buffers(0), &[]).unwrap();
        prepared.rebind_host(&buffers(1)).unwrap();
        let made = host.gpu.stats().bind_groups_created;
        // Only x, which is looked at in a bind group and is read by one kernel of three.
        prepared.rebind_host(&buffers(0)[..1]).unwrap();
        assert_eq!(host.gpu.stats().bind_groups_created - made, 2);
        prepared.rebind_host(&buffers(0)[..1]).unwrap();
        assert_eq!(host.gpu.stats().bind_groups_created - made, 2, "nothing is new");
        prepared.encode(&mut encoder, &[]).unwrap();
        host.queue.submit([encoder.finish()]);
        // The first frame kept its buffers: both have x[0] = 0.
        for y in &y {
            assert_eq!(host.floats(y), vec![1.0; n]);
        }
        prepared.rebind_host(&buffers(1)).unwrap();
        // A refusal leaves them as they were.
        let error = prepared.rebind_host(&[frame.y.on(&x[1])]).unwrap_err().to_string();
        assert!(error.contains("it overlaps with \"y\""), "{error}");
        host.submit(|encoder| prepared.encode(encoder, &[]).unwrap());
        assert_eq!((host.floats(&y[1]), host.floats(&x[1])), (vec![3.0; n], vec![1.0; n]));
        prepared.submitted();
        prepared.check().unwrap();
        host.unharmed();
    }
}

#[test]
fn buffers_that_cannot_be_used_are_refused_with_the_reason() {
    for host in hosts() {
        let n = 256;
        let bytes = 4 * n as u64;
        let frame = Frame::new(&host.gpu, &vec![1.0; n]);
        let (x, y) = (host.filled(&[], bytes), host.filled(&[], 4096));
        let refused = |buffers: &[gpu::HostBuffer<'_>], what: &str| {
            let error = host.gpu.prepare_with(&frame.rec, buffers).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
            assert!(error.to_string().contains(what), "{what}: {error}");
            assert_eq!(host.gpu.stats().memory.leased_bytes, 0);
        };
        let error = host.gpu.prepare(&frame.rec).unwrap_err().to_string();
        assert!(error.contains("invalid buffer of \"x\": none is given"), "{error}");
        refused(&[frame.x.on(&x)], "\"y\": none is given");
        refused(&[frame.x.on(&x), frame.y.on(&y), frame.x.on(&y)], "\"x\": it is given twice");
        refused(&[frame.kept.on(&x)], "\"kept\": the tensor is not one of Recording::host");
        let other = Recording::new("other", host.gpu.capabilities()).host::<f32>("x", n).unwrap();
        refused(&[other.on(&x)], "another recording");
        let small = host.filled(&[], bytes - 4);
        refused(&[frame.x.on(&small)], "the tensor has 1024 bytes from byte 0 on, and the buffer has 1020");
        refused(&[frame.y.at(&y, 3328)], "has 1024 bytes from byte 3328 on, and the buffer has 4096");
        refused(&[frame.y.at(&y, u64::MAX - 255)], "and the buffer has 4096");
        let alignment = host.device.limits().min_storage_buffer_offset_alignment;
        refused(&[frame.y.at(&y, 4)], &format!("the offset is 4, and must be a multiple of {alignment}"));
        let no_storage = host.buffer(bytes, Usage::COPY_SRC | Usage::COPY_DST);
        refused(&[frame.x.on(&no_storage)], "it needs the usages STORAGE, and has COPY_SRC | COPY_DST");
        refused(&[frame.x.on(&y), frame.y.on(&y)], "it overlaps with \"y\", and one of them is written");
        let mapped = host.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: Usage::STORAGE | Usage::COPY_DST,
            mapped_at_creation: true,
        });
        refused(&[frame.x.on(&mapped), frame.y.on(&y)], "\"x\": it is mapped; unmap it first");
        let gone = host.filled(&[], bytes);
        gone.destroy();
        refused(&[frame.x.on(&gone), frame.y.on(&y)], "of another device, or destroyed");
        let (foreign, _queue) = open(&host.adapter);
        let descriptor =
            wgpu::BufferDescriptor { label: None, size: bytes, usage: Usage::STORAGE, mapped_at_creation: false };
        let foreign = foreign.create_buffer(&descriptor);
        refused(&[frame.x.on(&foreign), frame.y.on(&y)], "\"x\": of another device, or destroyed");

        // Taken away after it was checked.
        let mut prepared = host.gpu.prepare_with(&frame.rec, &[frame.x.on(&x), frame.y.on(&y)]).unwrap();
        x.destroy();
        let error = prepared.run(&[], &Control::default()).unwrap_err().to_string();
        assert!(error.contains("mapped or destroyed after the recording was prepared"), "{error}");
        prepared.rebind_host(&[frame.x.on(&host.filled(&vec![1.0; n], bytes))]).unwrap();
        prepared.run(&[], &Control::default()).unwrap();
        drop(prepared);

        // Reading and writing one buffer in one command, even apart, and copying within one.
        let mut rec = Recording::new("apart", host.gpu.capabilities());
        let a = rec.host::<f32>("a", n).unwrap();
        let b = rec.host::<f32>("b", n).unwrap();
        ops::scale_offset(&mut rec, a, 2.0, 0.0, b).unwrap();
        let error = host.gpu.prepare_with(&rec, &[a.on(&y), b.at(&y, 2048)]).unwrap_err().to_string();
        assert!(error.contains("one command reads one of them and writes the other"), "{error}");
        let mut rec = Recording::new("copy", host.gpu.capabilities());
        let a = rec.host::<f32>("a", n).unwrap();
        let b = rec.host::<f32>("b", n).unwrap();
        rec.copy(a, 0, b, 0, n).unwrap();
        let error = host.gpu.prepare_with(&rec, &[a.on(&y), b.at(&y, 2048)]).unwrap_err().to_string();
        assert!(error.contains("one command reads one of them and writes the other"), "{error}");
        let (copies, storage) = (host.filled(&[], bytes), host.buffer(4096, Usage::STORAGE));
        let error = host.gpu.prepare_with(&rec, &[a.on(&copies), b.on(&storage)]).unwrap_err().to_string();
        assert!(error.contains("it needs the usages COPY_DST | STORAGE, and has STORAGE"), "{error}");
        host.unharmed();
    }
}

#[test]
fn encoded_work_is_proved_and_work_that_was_dropped_is_found() {
    for host in hosts() {
        let n = 256;
        let frame = Frame::new(&host.gpu, &vec![1.0; n]);
        let (x, y) = (host.filled(&vec![1.0; n], 1024), host.filled(&[], 1024));
        let mut prepared = host.gpu.prepare_with(&frame.rec, &[frame.x.on(&x), frame.y.on(&y)]).unwrap();
        // Until the first contents are known to be on their way, nothing of ours may overtake them.
        let mut encoder = host.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder, &[]).unwrap();
        for error in [
            prepared.run(&[], &Control::default()).unwrap_err(),
            prepared.read(frame.kept).unwrap_err(),
            prepared.write(frame.kept, &vec![0.0; n]).unwrap_err(),
            prepared.check().unwrap_err(),
        ] {
            assert!(error.to_string().contains("call submitted()"), "{error}");
        }
        host.queue.submit([encoder.finish()]);
        prepared.submitted();
        prepared.check().unwrap();
        // Encoded and not yet announced: fine before and after the submission.
        let mut encoder = host.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder, &[]).unwrap();
        prepared.check().unwrap();
        host.queue.submit([encoder.finish()]);
        prepared.check().unwrap();
        assert_eq!(prepared.read(frame.kept).unwrap(), vec![106.0; n]);
        // Announced and never submitted.
        let mut encoder = host.device.create_command_encoder(&Default::default());
        prepared.encode(&mut encoder, &[]).unwrap();
        drop(encoder);
        prepared.submitted();
        let error = prepared.check().unwrap_err();
        assert_eq!(error, Error::Corrupted { detail: "2 of 3 encodings took effect".into() });
        prepared.check().expect("it counts on");
        prepared.run(&[], &Control::default()).unwrap();
        assert_eq!(prepared.read(frame.kept).unwrap(), vec![109.0; n]);
        host.unharmed();
    }
}

/// wgpu's no-op backend carries out nothing and reports success.
#[test]
fn a_device_that_does_nothing_is_found_out() {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let gpu = Gpu::from_wgpu(GpuParts::new(device.clone(), queue.clone()), &options()).unwrap();
    let mut rec = Recording::new("noop", gpu.capabilities());
    let x = rec.host::<f32>("x", 64).unwrap();
    ops::fill(&mut rec, x, 1.0).unwrap();
    let descriptor =
        wgpu::BufferDescriptor { label: None, size: 256, usage: Usage::STORAGE, mapped_at_creation: false };
    let buffer = device.create_buffer(&descriptor);
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut prepared = rec.encode(&gpu, &mut encoder, &[x.on(&buffer)], &[]).unwrap();
    queue.submit([encoder.finish()]);
    prepared.submitted();
    let error = prepared.check().unwrap_err();
    assert_eq!(error, Error::Corrupted { detail: "0 of 1 encodings took effect".into() });
    assert!(matches!(prepared.run(&[], &Control::default()), Err(Error::Corrupted { .. })));
    assert!(gpu.self_test().is_err());
}

#[test]
fn a_lent_device_is_cautious_until_it_is_tested() {
    for host in hosts() {
        assert!(host.gpu.is_lent() && host.gpu.quirks().is_empty());
        assert_eq!(host.gpu.capabilities().max_loop, 60_000);
        let own = DeviceOptions { choice: Choice::Named(host.gpu.adapter().choose_by()), ..options() };
        let Device::Gpu(own) = Device::open(&own).unwrap() else { panic!("a GPU was named") };
        assert!(!own.is_lent());
        assert_eq!(host.gpu.self_test().unwrap(), own.quirks());
        assert_eq!(host.gpu.capabilities().max_loop, own.capabilities().max_loop);
        let submitted = host.gpu.stats().submissions;
        assert!(submitted > 0);
        host.gpu.self_test().unwrap();
        assert_eq!(host.gpu.stats().submissions, submitted, "once is enough");
        assert_eq!(host.gpu.stats().memory.leased_bytes + host.gpu.stats().memory.idle_bytes, 0);
        host.unharmed();
    }
}

#[test]
fn a_device_that_lacks_something_is_refused_with_all_of_it() {
    for adapter in every_adapter() {
        let descriptor = wgpu::DeviceDescriptor {
            required_limits: wgpu::Limits {
                max_storage_buffers_per_shader_stage: 4,
                max_compute_invocations_per_workgroup: 128,
                ..gpu::required_limits(&adapter)
            },
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        let error = Device::from_wgpu(GpuParts::new(device, queue), &options()).unwrap_err().to_string();
        for part in [
            "needs max_storage_buffers_per_shader_stage of at least 8, max_compute_invocations_per_workgroup of at least 256",
            "has max_storage_buffers_per_shader_stage of 4, max_compute_invocations_per_workgroup of 128",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn after_a_loss_the_host_binds_another_device() {
    for host in hosts() {
        let n = 256;
        let frame = Frame::new(&host.gpu, &vec![1.0; n]);
        let (x, y) = (host.filled(&vec![1.0; n], 1024), host.filled(&[], 1024));
        let mut old = host.gpu.prepare_with(&frame.rec, &[frame.x.on(&x), frame.y.on(&y)]).unwrap();
        let unasked = kernel::ALL.iter().find(|k| host.gpu.readiness(k) == Readiness::Cold).unwrap();
        host.device.destroy();
        host.gpu.notify_device_lost("the host saw it");
        let (device, queue) = open(&host.adapter);
        let gpu = host.gpu.rebind(GpuParts::new(device.clone(), queue.clone())).unwrap();
        assert_eq!((host.gpu.generation(), gpu.generation()), (0, 1));
        for kernel in frame.rec.dispatches().map(|d| d.kernel()) {
            assert_ne!(gpu.readiness(kernel), Readiness::Cold, "{} is asked for again", kernel.label());
        }
        assert_eq!(gpu.readiness(unasked), Readiness::Cold);
        assert_eq!(gpu.capabilities().budget_bytes, host.gpu.capabilities().budget_bytes.max(1 << 30));
        let mut encoder = device.create_command_encoder(&Default::default());
        for error in [
            old.encode(&mut encoder, &[]).unwrap_err(),
            old.run(&[], &Control::default()).unwrap_err(),
            old.check().unwrap_err(),
        ] {
            assert_eq!(error, Error::DeviceLost { reason: "the host saw it".into() });
        }
        // The same recording, on the new device.
        let next = Host { device, queue, gpu, adapter: host.adapter, lost: host.lost, failed: host.failed };
        let (x, y) = (next.filled(&vec![1.0; n], 1024), next.filled(&[], 1024));
        let mut prepared = next.gpu.prepare_with(&frame.rec, &[frame.x.on(&x), frame.y.on(&y)]).unwrap();
        next.submit(|encoder| prepared.encode(encoder, &[]).unwrap());
        assert_eq!(next.floats(&y), vec![3.0; n]);
    }
    if let Some(adapter) = common::adapters().first() {
        let own = Device::open(&DeviceOptions { choice: Choice::Named(adapter.choose_by()), ..options() }).unwrap();
        let Device::Gpu(own) = own else { panic!("a GPU was named") };
        let (device, queue) = open(&every_adapter()[0]);
        let error = own.rebind(GpuParts::new(device, queue)).unwrap_err().to_string();
        assert!(error.contains("the executor's own"), "{error}");
    }
}

#[test]
fn the_native_path_refuses_host_buffers_and_encoders() {
    let cpu = Device::open(&DeviceOptions::new(Choice::Cpu)).unwrap();
    let mut rec = cpu.recording("host");
    let x = rec.host::<f32>("x", 4).unwrap();
    ops::fill(&mut rec, x, 1.0).unwrap();
    let error = cpu.prepare(&rec).unwrap_err().to_string();
    assert!(error.contains("\"x\" is in a GPU buffer of the host application"), "{error}");
    let mut prepared = cpu.prepare(&cpu.recording("empty")).unwrap();
    let (device, _queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let descriptor = wgpu::BufferDescriptor { label: None, size: 16, usage: Usage::STORAGE, mapped_at_creation: false };
    let error = cpu.prepare_with(&rec, &[x.on(&device.create_buffer(&descriptor))]).unwrap_err().to_string();
    assert!(error.contains("the native path cannot use GPU buffers"), "{error}");
    let mut encoder = device.create_command_encoder(&Default::default());
    let error = prepared.encode(&mut encoder, &[]).unwrap_err().to_string();
    assert!(error.contains("needs a recording that is prepared on a GPU"), "{error}");
}
