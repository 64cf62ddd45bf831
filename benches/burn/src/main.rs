//! spikewave's dense kernels beside burn's, on one adapter in one run.
//!
//! What is timed is the device's work alone: the inputs lie on the device, a batch of equal calls is handed over, and
//! the clock stops when the device has finished all of them. Batches of the two take turns; each call has a result of
//! its own, which is kept to the end of its batch, so that no call can be left out or joined with another. burn runs
//! with autotuning and fusion, as it is used, after its choices have been made; what it compiles or tries out is not
//! timed, and neither is ours.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use burn_tensor::module::conv1d;
use burn_tensor::ops::ConvOptions;
use burn_tensor::{Device as BurnDevice, DeviceKind, Tensor as BurnTensor, TensorData};
use serde_json::{Value, json};
use spikewave::device::{Choice, Control, Device, DeviceOptions, Prepared};
use spikewave::kernel::Tensor;
use spikewave::ops::{self, Conv1d, Filters, Gemm, Padding, Reduction};
use spikewave::recording::Recording;

type Error = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Error>;

const USAGE: &str = "usage: spikewave-beside-burn [--device ADAPTER] [--rounds N] [--only PART] [--json FILE]";
/// A batch takes at least this long, in seconds, as far as memory and `MOST_CALLS` allow.
const BATCH: f64 = 0.06;
const MOST_CALLS: usize = 16;
/// For the results of a batch.
const MOST_BYTES: usize = 256 << 20;
/// Outputs that are held against f64.
const CHECKED: usize = 2000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Work {
    /// c = a·b, m = n = k.
    Gemm(usize),
    /// Batch, channels in, channels out, taps, length; padded to keep the length.
    Conv(usize, usize, usize, usize, usize),
    Sum(usize),
    /// 2·a + 0.5·b
    Axpby(usize),
    /// a·b
    Mul(usize),
    /// 3·a + 1
    ScaleOffset(usize),
    /// 2·x², one product of a vector with itself
    Square(usize),
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Gemm(_) => "gemm",
            Self::Conv(..) => "conv1d",
            Self::Sum(_) => "sum",
            Self::Axpby(_) => "axpby",
            Self::Mul(_) => "mul",
            Self::ScaleOffset(_) => "scale and offset",
            Self::Square(_) => "square",
        }
    }

    fn shape(self) -> String {
        match self {
            Self::Gemm(n) => format!("{n}"),
            Self::Conv(b, i, o, taps, n) => format!("{b} x {i}->{o}, {taps} taps, {n}"),
            Self::Sum(n) | Self::Axpby(n) | Self::Mul(n) | Self::ScaleOffset(n) | Self::Square(n) => {
                format!("2^{}", n.ilog2())
            }
        }
    }

    /// Operations by the definition: a product and an addition are two.
    fn operations(self) -> f64 {
        match self {
            Self::Gemm(n) => 2.0 * (n as f64).powi(3),
            Self::Conv(b, i, o, taps, n) => 2.0 * (b * i * o * taps) as f64 * n as f64,
            Self::Sum(n) | Self::Mul(n) => n as f64,
            Self::Axpby(n) => 3.0 * n as f64,
            Self::ScaleOffset(n) | Self::Square(n) => 2.0 * n as f64,
        }
    }

    /// Bytes that must move: every input read and every output written once.
    fn bytes(self) -> f64 {
        4.0 * match self {
            Self::Gemm(n) => 3.0 * (n * n) as f64,
            Self::Conv(b, i, o, taps, n) => (b * (i + o) * n + i * o * taps) as f64,
            Self::Sum(n) => n as f64,
            Self::Axpby(n) | Self::Mul(n) => 3.0 * n as f64,
            Self::ScaleOffset(n) | Self::Square(n) => 2.0 * n as f64,
        }
    }

    fn outputs(self) -> usize {
        match self {
            Self::Gemm(n) => n * n,
            Self::Conv(b, _, o, _, n) => b * o * n,
            Self::Sum(_) => 1,
            Self::Axpby(n) | Self::Mul(n) | Self::ScaleOffset(n) | Self::Square(n) => n,
        }
    }

    /// Lengths of the inputs.
    fn inputs(self) -> (usize, usize) {
        match self {
            Self::Gemm(n) => (n * n, n * n),
            Self::Conv(b, i, o, taps, n) => (b * i * n, i * o * taps),
            Self::Axpby(n) | Self::Mul(n) => (n, n),
            Self::Sum(n) | Self::ScaleOffset(n) | Self::Square(n) => (n, 1),
        }
    }

    /// Output `at` in f64.
    fn exact(self, a: &[f32], b: &[f32], at: usize) -> f64 {
        let at64 = |x: &[f32], i: usize| f64::from(x[i]);
        match self {
            Self::Gemm(n) => (0..n).map(|k| at64(a, at / n * n + k) * at64(b, k * n + at % n)).sum(),
            Self::Conv(_, c_in, c_out, taps, n) => {
                let (signal, m, t) = (at / n / c_out, at / n % c_out, at % n);
                let before = (taps - 1) / 2;
                let terms = (0..c_in).flat_map(|c| (0..taps).map(move |j| (c, j)));
                let inside = terms.filter(|(_, j)| (before..before + n).contains(&(t + j)));
                inside
                    .map(|(c, j)| {
                        at64(b, (m * c_in + c) * taps + j) * at64(a, (signal * c_in + c) * n + t + j - before)
                    })
                    .sum()
            }
            Self::Sum(_) => a.iter().map(|v| f64::from(*v)).sum(),
            Self::Axpby(_) => 2.0 * at64(a, at) + 0.5 * at64(b, at),
            Self::Mul(_) => at64(a, at) * at64(b, at),
            Self::ScaleOffset(_) => 3.0 * at64(a, at) + 1.0,
            Self::Square(_) => 2.0 * at64(a, at) * at64(a, at),
        }
    }
}

const ALL: [Work; 22] = [
    Work::Gemm(256),
    Work::Gemm(512),
    Work::Gemm(1024),
    Work::Conv(1, 64, 128, 3, 16_384),
    Work::Conv(1, 64, 128, 5, 8192),
    Work::Conv(1, 64, 128, 9, 8192),
    Work::Conv(4, 64, 128, 5, 4096),
    Work::Conv(1, 128, 256, 3, 8192),
    Work::Conv(1, 128, 256, 5, 4096),
    Work::Conv(1, 128, 256, 9, 4096),
    Work::Conv(2, 128, 256, 3, 4096),
    Work::Conv(1, 1, 1, 65, 1 << 20),
    Work::Sum(1 << 20),
    Work::Sum(1 << 21),
    Work::Sum(1 << 22),
    Work::Sum(1 << 23),
    Work::Sum(1 << 24),
    Work::Axpby(1 << 20),
    Work::Axpby(1 << 22),
    Work::Mul(1 << 22),
    Work::ScaleOffset(1 << 22),
    Work::Square(1 << 22),
];

/// Evenly distributed numbers in −1..1 (splitmix64).
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// One way of doing a piece of work.
trait Side {
    /// A batch of calls, from handing over the first to the end of the last on the device.
    fn batch(&mut self) -> Result<()>;
    /// What a call gives.
    fn result(&mut self) -> Result<Vec<f32>>;
}

struct Ours {
    prepared: Prepared,
    result: Tensor<f32>,
}

impl Ours {
    fn new(device: &Device, work: Work, a: &[f32], b: &[f32], calls: usize) -> Result<Self> {
        let mut rec = device.recording("batch");
        let mut results = Vec::new();
        for call in 0..calls {
            // A state, so that each call has memory of its own.
            results.push(rec.state(format!("result {call}"), &vec![0f32; work.outputs()])?);
        }
        record(&mut rec, work, a, b, &results)?;
        Ok(Self { prepared: device.prepare(&rec)?, result: results[calls - 1] })
    }
}

fn record(rec: &mut Recording, work: Work, a: &[f32], b: &[f32], results: &[Tensor<f32>]) -> Result<()> {
    let x = rec.constant("a", a)?;
    if let Work::Conv(batch, c_in, c_out, taps, n) = work {
        let conv = Conv1d { padding: Padding::Same, ..Conv1d::new(batch, n, c_in, c_out, taps) };
        let filters = Filters::new(rec, conv, b, Some(&vec![0.0; c_out]))?;
        return results.iter().try_for_each(|y| Ok(ops::conv1d(rec, &filters, x, *y)?));
    }
    let second = matches!(work, Work::Gemm(_) | Work::Axpby(_) | Work::Mul(_));
    let b = if second { rec.constant("b", b)? } else { x };
    for y in results {
        match work {
            Work::Gemm(n) => ops::gemm(rec, &Gemm::new(1, n, n, n), x, b, *y)?,
            Work::Sum(_) => ops::reduce(rec, Reduction::Sum, x, 1, *y)?,
            Work::Axpby(_) => ops::axpby(rec, 2.0, x, 0.5, b, *y)?,
            Work::Mul(_) => ops::mul(rec, x, b, 1.0, *y)?,
            Work::ScaleOffset(_) => ops::scale_offset(rec, x, 3.0, 1.0, *y)?,
            Work::Square(_) => ops::square(rec, x, 2.0, *y)?,
            Work::Conv(..) => return Err("recorded above".into()),
        }
    }
    Ok(())
}

impl Side for Ours {
    fn batch(&mut self) -> Result<()> {
        self.prepared.run(&[], &Control::default())?;
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        Ok(self.prepared.read(self.result)?)
    }
}

/// A result of burn's, of whatever rank.
enum Given {
    Vector(BurnTensor<1>),
    Matrix(BurnTensor<2>),
    Signals(BurnTensor<3>),
}

struct Burn {
    device: BurnDevice,
    call: Box<dyn Fn() -> Given>,
    calls: usize,
}

impl Burn {
    fn new(device: &BurnDevice, work: Work, a: &[f32], b: &[f32], calls: usize) -> Self {
        let vector = |v: &[f32]| BurnTensor::<1>::from_data(TensorData::new(v.to_vec(), [v.len()]), device);
        let (a, b) = (vector(a), vector(b));
        let call: Box<dyn Fn() -> Given> = match work {
            Work::Gemm(n) => {
                let (a, b) = (a.reshape([n, n]), b.reshape([n, n]));
                Box::new(move || Given::Matrix(a.clone().matmul(b.clone())))
            }
            Work::Conv(batch, c_in, c_out, taps, n) => {
                let (x, w) = (a.reshape([batch, c_in, n]), b.reshape([c_out, c_in, taps]));
                let bias = vector(&vec![0.0; c_out]);
                let options = ConvOptions::new([1], [(taps - 1) / 2], [1], 1);
                Box::new(move || Given::Signals(conv1d(x.clone(), w.clone(), Some(bias.clone()), options.clone())))
            }
            Work::Sum(_) => Box::new(move || Given::Vector(a.clone().sum())),
            Work::Axpby(_) => Box::new(move || Given::Vector(a.clone().mul_scalar(2.0) + b.clone().mul_scalar(0.5))),
            Work::Mul(_) => Box::new(move || Given::Vector(a.clone() * b.clone())),
            Work::ScaleOffset(_) => Box::new(move || Given::Vector(a.clone().mul_scalar(3.0).add_scalar(1.0))),
            Work::Square(_) => Box::new(move || Given::Vector((a.clone() * a.clone()).mul_scalar(2.0))),
        };
        Self { device: device.clone(), call, calls }
    }

    fn sync(&self) -> Result<()> {
        self.device.sync().map_err(|e| format!("burn: {e:?}").into())
    }
}

impl Side for Burn {
    fn batch(&mut self) -> Result<()> {
        let mut kept = Vec::with_capacity(self.calls);
        for _ in 0..self.calls {
            kept.push((self.call)());
            // Else fusion could join calls, which read the same inputs.
            self.device.flush().map_err(|e| format!("burn: {e:?}"))?;
        }
        self.sync()?;
        black_box(&kept);
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        let data = match (self.call)() {
            Given::Vector(y) => y.into_data(),
            Given::Matrix(y) => y.into_data(),
            Given::Signals(y) => y.into_data(),
        };
        data.try_into_vec::<f32>().map_err(|e| format!("burn: {e:?}").into())
    }
}

/// Wall time and the processor time of all threads, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    wall: f64,
    processor: f64,
}

fn processor() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

fn timed(side: &mut dyn Side, calls: usize) -> Result<Spent> {
    let (wall, cpu) = (Instant::now(), processor());
    side.batch()?;
    let each = |t: f64| t / calls as f64;
    Ok(Spent { wall: each(wall.elapsed().as_secs_f64()), processor: each(processor() - cpu) })
}

/// Runs until three batches in a row bring no better time: pipelines are compiled and choices made by then.
fn warm_up(side: &mut dyn Side, calls: usize) -> Result<f64> {
    let (mut best, mut since, mut left) = (f64::INFINITY, 0, 25);
    while since < 3 && left > 0 {
        let t = timed(side, calls)?.wall;
        (best, since) = if t < 0.97 * best { (t, 0) } else { (best, since + 1) };
        left -= 1;
    }
    Ok(best)
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    let n = x.len();
    if n % 2 == 1 { x[n / 2] } else { (x[n / 2 - 1] + x[n / 2]) / 2.0 }
}

/// Rounds of one batch each, who begins by turns.
fn rounds(one: &mut dyn Side, other: &mut dyn Side, calls: usize, n: usize) -> Result<[Vec<Spent>; 2]> {
    let mut spent = [Vec::new(), Vec::new()];
    for round in 0..n {
        for turn in 0..2 {
            let who = (round + turn) % 2;
            let side: &mut dyn Side = if who == 0 { &mut *one } else { &mut *other };
            spent[who].push(timed(side, calls)?);
        }
    }
    Ok(spent)
}

/// Of two sides: medians of both clocks, and the median of the rounds' ratios other/one with its quartiles.
fn summary(spent: &[Vec<Spent>; 2]) -> (Spent, Spent, [f64; 3], f64) {
    let side = |i: usize| Spent {
        wall: median(spent[i].iter().map(|s| s.wall).collect()),
        processor: median(spent[i].iter().map(|s| s.processor).collect()),
    };
    let mut ratios: Vec<f64> = spent[0].iter().zip(&spent[1]).map(|(one, other)| other.wall / one.wall).collect();
    ratios.sort_by(f64::total_cmp);
    let processor = spent[0].iter().zip(&spent[1]).map(|(one, other)| other.processor / one.processor).collect();
    let n = ratios.len();
    (side(0), side(1), [ratios[n / 4], median(ratios.clone()), ratios[3 * n / 4]], median(processor))
}

/// The relative L2 error of evenly spread outputs.
fn error(work: Work, a: &[f32], b: &[f32], y: &[f32]) -> Result<f64> {
    if y.len() != work.outputs() {
        return Err(format!("{} outputs, must be {}", y.len(), work.outputs()).into());
    }
    let step = y.len().div_ceil(CHECKED);
    // An odd step meets every column.
    let places = (0..y.len()).step_by(step | 1).chain([y.len() - 1]);
    let (mut off, mut size) = (0.0, 0.0);
    for at in places {
        let exact = work.exact(a, b, at);
        off += (f64::from(y[at]) - exact).powi(2);
        size += exact * exact;
    }
    Ok((off / size).sqrt())
}

fn compare(device: &Device, burn: &BurnDevice, work: Work, n: usize) -> Result<Value> {
    let (a, b) = (noise(1, work.inputs().0), noise(2, work.inputs().1));
    // How long a call takes decides how many make a batch.
    let each = warm_up(&mut Ours::new(device, work, &a, &b, 1)?, 1)?;
    let most = (MOST_BYTES / (4 * work.outputs())).clamp(1, MOST_CALLS);
    let calls = ((BATCH / each).ceil() as usize).clamp(1, most);
    let mut ours = Ours::new(device, work, &a, &b, calls)?;
    let mut theirs = Burn::new(burn, work, &a, &b, calls);
    let errors = [error(work, &a, &b, &ours.result_after_a_run()?)?, error(work, &a, &b, &theirs.result()?)?];
    warm_up(&mut ours, calls)?;
    warm_up(&mut theirs, calls)?;
    let (one, other, ratio, processor) = summary(&rounds(&mut ours, &mut theirs, calls, n)?);
    println!(
        "{:<17}{:<27}{:>9.3}{:>9.3}{:>8.2} ({:.2} to {:.2}){:>9.2}{:>10.2}{:>9.2}{:>10.1e}{:>9.1e}",
        work.name(),
        work.shape(),
        one.wall * 1e3,
        other.wall * 1e3,
        ratio[1],
        ratio[0],
        ratio[2],
        processor,
        work.operations() / one.wall * 1e-9,
        work.bytes() / one.wall * 1e-9,
        errors[0],
        errors[1]
    );
    Ok(json!({
        "work": work.name(),
        "shape": work.shape(),
        "calls_in_a_batch": calls,
        "ours_ms": one.wall * 1e3,
        "burn_ms": other.wall * 1e3,
        "ratio": ratio[1],
        "ratio_quartiles": [ratio[0], ratio[2]],
        "ours_processor_ms": one.processor * 1e3,
        "burn_processor_ms": other.processor * 1e3,
        "ratio_of_processor_times": processor,
        "operations": work.operations(),
        "bytes": work.bytes(),
        "ours_error": errors[0],
        "burn_error": errors[1],
    }))
}

impl Ours {
    fn result_after_a_run(&mut self) -> Result<Vec<f32>> {
        self.batch()?;
        self.result()
    }
}

/// The same thing twice: what this measurement calls 1.
fn control(device: &Device, n: usize) -> Result<Value> {
    let work = Work::Gemm(512);
    let (a, b) = (noise(1, work.inputs().0), noise(2, work.inputs().1));
    let side = || Ours::new(device, work, &a, &b, 8);
    let (mut one, mut other) = (side()?, side()?);
    warm_up(&mut one, 8)?;
    warm_up(&mut other, 8)?;
    let (first, second, ratio, processor) = summary(&rounds(&mut one, &mut other, 8, n)?);
    println!(
        "control: ours twice, gemm 512: {:.3} and {:.3} ms, ratio {:.3} ({:.3} to {:.3}), of processor times {:.3}",
        first.wall * 1e3,
        second.wall * 1e3,
        ratio[1],
        ratio[0],
        ratio[2],
        processor
    );
    Ok(json!({ "ratio": ratio[1], "ratio_quartiles": [ratio[0], ratio[2]], "ratio_of_processor_times": processor }))
}

/// What handing over a call costs at most: 1,024 elements added, where the device has next to nothing to do.
fn overhead(device: &Device, burn: &BurnDevice) -> Result<Value> {
    let work = Work::Axpby(1024);
    let (a, b) = (noise(1, 1024), noise(2, 1024));
    let (mut ours, mut theirs) = (Ours::new(device, work, &a, &b, 16)?, Burn::new(burn, work, &a, &b, 16));
    warm_up(&mut ours, 16)?;
    warm_up(&mut theirs, 16)?;
    let (one, other, ..) = summary(&rounds(&mut ours, &mut theirs, 16, 15)?);
    println!("a call with nothing to do, of 16: ours {:.3} ms, burn {:.3} ms", one.wall * 1e3, other.wall * 1e3);
    Ok(json!({ "ours_ms": one.wall * 1e3, "burn_ms": other.wall * 1e3 }))
}

fn arguments() -> Result<HashMap<String, String>> {
    let mut given = HashMap::new();
    let mut args = std::env::args().skip(1);
    while let Some(key) = args.next() {
        let known = ["--device", "--rounds", "--only", "--json"].contains(&key.as_str());
        let value = args.next().filter(|_| known).ok_or_else(|| format!("{key}: {USAGE}"))?;
        given.insert(key, value);
    }
    Ok(given)
}

/// burn's device for the adapter that ours runs on, and the driver as both know it.
fn burn_device(device: &Device) -> Result<(BurnDevice, Value)> {
    let Device::Gpu(gpu) = device else { return Err("the native path is no adapter; give --device".into()) };
    let ours = gpu.adapter();
    let kind = match ours.kind {
        "software" => DeviceKind::Cpu,
        "integrated GPU" => DeviceKind::IntegratedGpu(0),
        "virtual GPU" => DeviceKind::VirtualGpu(0),
        _ => DeviceKind::DiscreteGpu(0),
    };
    let (burn, setup) = BurnDevice::wgpu_options().device_kind(kind).init_with_setup()?;
    let theirs = setup.adapter.get_info();
    if (&theirs.name, &theirs.driver_info) != (&ours.name, &ours.driver_info) {
        let why =
            format!("burn took {} ({}), ours is {} ({})", theirs.name, theirs.driver_info, ours.name, ours.driver_info);
        return Err(format!("{why}; show both one adapter, with VK_ICD_FILENAMES for example").into());
    }
    let compiler = burn.identity().map(|i| format!("{i:?}"));
    let adapter = json!({
        "name": ours.name,
        "backend": ours.backend,
        "driver": ours.driver,
        "driver_info": ours.driver_info,
        "burn_device": compiler,
    });
    Ok((burn, adapter))
}

fn main() -> Result<()> {
    let given = arguments()?;
    let text = |key: &str, default: &str| given.get(key).cloned().unwrap_or_else(|| default.into());
    let n: usize = text("--rounds", "15").parse()?;
    let only = text("--only", "");
    let device = Device::open(&DeviceOptions::new(Choice::Named(text("--device", "vulkan:llvmpipe"))))?;
    let (burn, adapter) = burn_device(&device)?;
    println!("adapter: {} on {}", device.name(), adapter["driver_info"]);
    println!("burn's:  {}", adapter["burn_device"]);
    println!("times in ms of a call, medians of {n} rounds; ratio: burn/ours with quartiles; cpu: of processor times");
    println!(
        "{:<17}{:<27}{:>9}{:>9}{:>8} {:<14}{:>9}{:>10}{:>9}{:>10}{:>9}",
        "work", "shape", "ours", "burn", "ratio", "", "cpu", "Gop/s", "GB/s", "error", "burn's"
    );
    let mut rows = Vec::new();
    for work in ALL {
        if format!("{} {}", work.name(), work.shape()).contains(&only) {
            rows.push(compare(&device, &burn, work, n)?);
        }
    }
    let record = json!({
        "spikewave": env!("CARGO_PKG_VERSION"),
        "burn": "0.22.1",
        "adapter": adapter,
        "threads": std::thread::available_parallelism()?.get(),
        "rounds": n,
        "opt_level": option_env!("CARGO_PROFILE_RELEASE_OPT_LEVEL").unwrap_or("3"),
        // What else the machine does: its runnable threads, over 1, 5 and 15 minutes.
        "load": std::fs::read_to_string("/proc/loadavg").ok(),
        "control": control(&device, n)?,
        "call_with_nothing_to_do": overhead(&device, &burn)?,
        "rows": rows,
    });
    if let Some(file) = given.get("--json") {
        std::fs::write(file, serde_json::to_string_pretty(&record)? + "\n")?;
    }
    Ok(())
}
