//! Problems of a sweep as plain data, so that another implementation of WebGPU can replay them and compare results.
//!
//! [`export`] writes two files into a folder:
//! - `problems.bin`: contents of tensors and expected results, little-endian words one after another;
//! - `problems.json`: `kernels` by label, and `problems`: tensors, what runs over them in order, and the results. `at` is
//!   where in `problems.bin` something begins, in bytes. A tensor without `at` is undefined until a step writes it.
//!
//! A kernel binds a uniform of 64 bytes at binding 0 of group 0 (the words of `params`, then zeros) and its tensors from
//! binding 1 on. `scripts/dawn.mjs` is a reader of 150 lines.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::cases::{self, Agreement, Case, Problem};
use crate::device::{Control, Device, DeviceOptions};
use crate::kernel::{Access, Dispatch, Kernel};
use crate::recording::{Capabilities, Command, Recording};
use crate::{Error, Result};

/// Workgroups in one dimension of a grid; more are folded into rows.
const MAX_GRID: u64 = 65_535;

#[derive(Serialize)]
struct Document {
    kernels: BTreeMap<&'static str, KernelText>,
    problems: Vec<ProblemData>,
}

#[derive(Serialize)]
struct KernelText {
    /// Its name, without the variant.
    kernel: &'static str,
    /// Of the text, as in the sweep's records.
    hash: String,
    wgsl: &'static str,
    bindings: Vec<BindingData>,
}

#[derive(Serialize)]
struct BindingData {
    writes: bool,
    /// Of one element.
    bytes: u32,
}

#[derive(Serialize)]
struct ProblemData {
    case: &'static str,
    variant: &'static str,
    size: usize,
    tensors: Vec<TensorData>,
    steps: Vec<Step>,
    results: Vec<ResultData>,
}

#[derive(Serialize)]
struct TensorData {
    name: String,
    bytes: u64,
    at: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Dispatch {
        kernel: &'static str,
        params: Vec<u32>,
        tensors: Vec<usize>,
        grid: [u64; 2],
    },
    Copy {
        from: usize,
        from_byte: u64,
        to: usize,
        to_byte: u64,
        bytes: u64,
    },
    Clear {
        tensor: usize,
    },
    /// Keeps what the tensor holds at this point, to be compared.
    Download {
        tensor: usize,
    },
}

#[derive(Serialize)]
struct ResultData {
    tensor: usize,
    bytes: u64,
    /// The native path's result.
    at: u64,
    /// f32 that may differ by so much of the largest magnitude; `null`: the same bits.
    within: Option<f64>,
}

/// The binary file as it grows.
struct Data<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Data<W> {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<u64> {
        self.out.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(self.bytes - bytes.len() as u64)
    }
}

/// A dispatch as submitted: its slices, each with the grid's parameters before its own.
fn dispatches(recording: &Recording, dispatch: &Dispatch) -> impl Iterator<Item = Step> {
    let tensors: Vec<usize> = dispatch.args.iter().map(|t| t.at()).collect();
    let own: Vec<u32> = bytemuck::pod_collect_to_vec(&dispatch.params);
    let kernel = dispatch.kernel.label();
    recording.slices(dispatch).map(move |(base, count, _)| {
        let row = count.clamp(1, MAX_GRID);
        // Workgroups are numbered by words, which ops ensure.
        let mut params = vec![base as u32, count as u32, row as u32, 0];
        params.extend(&own);
        Step::Dispatch { kernel, params, tensors: tensors.clone(), grid: [row, count.div_ceil(row)] }
    })
}

fn steps(recording: &Recording) -> Vec<Step> {
    let mut steps = Vec::new();
    for command in &recording.commands {
        match command {
            Command::Dispatch(dispatch) => steps.extend(dispatches(recording, dispatch)),
            Command::Copy { from, from_byte, to, to_byte, bytes } => steps.push(Step::Copy {
                from: from.at(),
                from_byte: *from_byte,
                to: to.at(),
                to_byte: *to_byte,
                bytes: *bytes,
            }),
            Command::Clear(tensor) => steps.push(Step::Clear { tensor: tensor.at() }),
            Command::Download(tensor) => steps.push(Step::Download { tensor: tensor.at() }),
            // Inputs are there from the start: nothing can have written them before they are uploaded.
            Command::Upload(_) => {}
        }
    }
    steps
}

/// One variant of a case at its smallest size; its results are the native path's.
fn problem(
    (case, variant): (&'static Case, &'static str),
    portable: &Problem,
    native: &Device,
    data: &mut Data<impl Write>,
    failed: impl Fn(std::io::Error) -> Error + Copy,
) -> Result<ProblemData> {
    let size = case.sizes[0];
    let reference = case.problem(native.capabilities(), size, variant)?;
    let outputs = native.prepare(&reference.recording)?.run(&reference.feeds(), &Control::default())?;

    let recording = &portable.recording;
    let mut tensors = Vec::new();
    for (i, info) in recording.tensors.iter().enumerate() {
        let fed = portable.feeds.iter().find(|(tensor, _)| tensor.at() == i).map(|(_, bytes)| bytes.as_slice());
        let content = info.given().map(|(bytes, _)| bytes).or(fed);
        let at = content.map(|bytes| data.append(bytes)).transpose().map_err(failed)?;
        tensors.push(TensorData { name: info.name.clone(), bytes: info.bytes, at });
    }
    let mut results = Vec::new();
    for ((tensor, agreement), expected) in portable.outputs.iter().zip(reference.results(&outputs)?) {
        let within = match agreement {
            Agreement::Bits => None,
            Agreement::Within(share) => Some(*share),
        };
        let at = data.append(expected).map_err(failed)?;
        results.push(ResultData { tensor: tensor.at(), bytes: expected.len() as u64, at, within });
    }
    Ok(ProblemData { case: case.name, variant, size, tensors, steps: steps(recording), results })
}

fn text(kernel: &'static Kernel) -> (&'static str, KernelText) {
    let binding =
        |b: &crate::kernel::Binding| BindingData { writes: b.access == Access::ReadWrite, bytes: b.elem_bytes };
    let bindings = kernel.bindings.iter().map(binding).collect();
    let hash = format!("{:016x}", kernel.hash);
    (kernel.label(), KernelText { kernel: kernel.name, hash, wgsl: kernel.wgsl, bindings })
}

/// Writes every variant of every case at its smallest size into a folder; returns how many problems that are.
///
/// # Errors
/// `File` when the folder cannot be written; what running the problems on the native path gives.
pub fn export(folder: &Path) -> Result<usize> {
    let (json, binary) = (folder.join("problems.json"), folder.join("problems.bin"));
    let cannot = |path: &Path| {
        let path = path.to_path_buf();
        move |e: std::io::Error| Error::file(&path, e.to_string())
    };
    std::fs::create_dir_all(folder).map_err(cannot(folder))?;
    let failed = cannot(&binary);
    let mut data = Data { out: BufWriter::new(std::fs::File::create(&binary).map_err(&failed)?), bytes: 0 };
    let native = Device::open(&DeviceOptions::new(crate::device::Choice::Cpu))?;
    let mut document = Document { kernels: BTreeMap::new(), problems: Vec::new() };
    for case in cases::ALL {
        for variant in case.variants {
            let portable = case.problem(&Capabilities::default(), case.sizes[0], variant)?;
            document.problems.push(problem((case, variant), &portable, &native, &mut data, &failed)?);
            document.kernels.extend(portable.kernels().into_iter().map(text));
        }
    }
    data.out.flush().map_err(&failed)?;
    let out = BufWriter::new(std::fs::File::create(&json).map_err(cannot(&json))?);
    serde_json::to_writer(out, &document).map_err(|e| cannot(&json)(e.into()))?;
    Ok(document.problems.len())
}
