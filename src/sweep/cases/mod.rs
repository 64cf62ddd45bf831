//! What a sweep runs: a case for every kernel, through the op that it belongs to where there is one.
//!
//! A [`Case`] makes a [`Problem`] of a size for a device's capabilities: a recording with seeded inputs, what it gives and
//! how closely devices must agree on that. Problems give the same at every run: what they keep from run to run they set
//! back first. The native path's results are the reference; tests of the ops hold those against f64.

mod basic;
mod dense;
mod density;
mod gravitational;
mod network;
mod sparse;
mod spectral;
mod spiking;

use num_complex::Complex32;

use crate::device::{Feed, Outputs};
use crate::kernel::{AnyTensor, Elem, Tensor};
use crate::random::Random;
use crate::recording::{Capabilities, Command, Recording};
use crate::{Error, Result};

/// The variant that takes the kernels that are made for software drivers, on every GPU.
const WIDE: &str = "wide";
/// The seed of all inputs.
const SEED: u64 = 20_150_914;

/// How closely two devices must agree on a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Agreement {
    /// Bit for bit.
    Bits,
    /// f32 that differ by at most so much of the largest magnitude in the tensor: twice the error that the op states.
    Within(f64),
}

impl Agreement {
    /// How far `got` is from `expected` in units of what is allowed: up to 1 they agree. Infinite where they differ and
    /// must not, where one is NaN and the other is not, or in length.
    pub fn deviation(self, expected: &[u8], got: &[u8]) -> f64 {
        if expected == got {
            return 0.0;
        }
        let Self::Within(allowed) = self else { return f64::INFINITY };
        if expected.len() != got.len() || !expected.len().is_multiple_of(4) {
            return f64::INFINITY;
        }
        let values = |bytes: &'_ [u8]| -> Vec<f64> {
            bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
        };
        let (expected, got) = (values(expected), values(got));
        let largest = expected.iter().filter(|v| v.is_finite()).fold(0.0, |most: f64, v| most.max(v.abs()));
        let mut worst = 0f64;
        for (e, g) in expected.iter().zip(&got) {
            if e == g || e.is_nan() && g.is_nan() {
                continue;
            }
            let off = (e - g).abs() / (allowed * largest);
            // NaN too.
            worst = if off >= 0.0 { worst.max(off) } else { f64::INFINITY };
        }
        worst
    }
}

/// A recording that a device can run, and what is known of it.
#[derive(Debug)]
pub struct Problem {
    /// The commands; every output is downloaded.
    pub recording: Recording,
    /// The inputs of every run.
    pub feeds: Vec<(AnyTensor, Vec<u8>)>,
    /// What it gives, in the same order and with the same lengths for all capabilities.
    pub outputs: Vec<(AnyTensor, Agreement)>,
    /// Bytes that any method has to read and write at least: inputs once, results once, and what a step in time keeps
    /// once for each step.
    pub bytes: u64,
    /// Additions, multiplications and the like that the definition takes, or the usual count of the fast method; 0 where
    /// that depends on the data.
    pub operations: u64,
}

impl Problem {
    /// What to run the recording with.
    pub fn feeds(&self) -> Vec<Feed<'_>> {
        self.feeds.iter().map(|(tensor, bytes)| Feed { tensor: *tensor, bytes }).collect()
    }

    /// The kernels that it dispatches, with their variants, each once, in the order of first use.
    pub fn kernels(&self) -> Vec<&'static crate::kernel::Kernel> {
        let mut kernels: Vec<&'static crate::kernel::Kernel> = Vec::new();
        for dispatch in self.recording.dispatches() {
            if !kernels.contains(&dispatch.kernel()) {
                kernels.push(dispatch.kernel());
            }
        }
        kernels
    }

    /// The bytes of every output of a run, in the order of [`Self::outputs`].
    ///
    /// # Errors
    /// `InvalidArgument` for the outputs of another recording.
    pub fn results<'a>(&self, outputs: &'a Outputs) -> Result<Vec<&'a [u8]>> {
        self.outputs.iter().map(|(tensor, _)| outputs.bytes(*tensor)).collect()
    }
}

/// A family of problems that differ in size.
#[derive(Debug)]
pub struct Case {
    /// Its name in configurations and reports.
    pub name: &'static str,
    /// The sizes that it is made for, ascending.
    pub sizes: &'static [usize],
    /// What a size counts.
    pub unit: &'static str,
    /// What it can do otherwise, the usual first; all of them give what [`Problem`] says.
    pub variants: &'static [&'static str],
    make: fn(&mut Draft, usize, &str) -> Result<()>,
}

impl Case {
    /// The problem of one of its variants and a size.
    ///
    /// # Errors
    /// `InvalidArgument` for a variant that it has not; what the ops refuse.
    pub fn problem(&self, capabilities: &Capabilities, size: usize, variant: &str) -> Result<Problem> {
        if !self.variants.contains(&variant) {
            let why = format!("\"{variant}\"; {} has {}", self.name, self.variants.join(", "));
            return Err(Error::invalid("variant", why));
        }
        // Not on the native path, whose results stay those of the usual kernels' twins.
        let software = capabilities.software || variant == WIDE && !capabilities.native;
        let mut draft = Draft {
            rec: Recording::new(self.name, &Capabilities { software, ..capabilities.clone() }),
            random: Random::new(SEED, 0),
            feeds: Vec::new(),
            outputs: Vec::new(),
            bytes: 0,
            operations: 0,
        };
        (self.make)(&mut draft, size, variant)?;
        let Draft { rec: recording, feeds, outputs, bytes, operations, .. } = draft;
        Ok(Problem { recording, feeds, outputs, bytes, operations })
    }
}

/// The case of this name.
pub fn find(name: &str) -> Option<&'static Case> {
    ALL.iter().find(|case| case.name == name)
}

/// A problem in the making.
struct Draft {
    rec: Recording,
    random: Random,
    feeds: Vec<(AnyTensor, Vec<u8>)>,
    outputs: Vec<(AnyTensor, Agreement)>,
    bytes: u64,
    operations: u64,
}

impl Draft {
    /// A number in −1..1 on a grid of 2^-23: the same on every machine.
    fn number(&mut self) -> f32 {
        (self.random.word() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.random.word()) * n as u64) >> 32) as usize
    }

    /// As many numbers in −1..1.
    fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }

    /// A constant of numbers in −1..1.
    fn noise(&mut self, name: &str, n: usize) -> Result<Tensor<f32>> {
        let content = self.numbers(n);
        self.rec.constant_owned(name, content)
    }

    /// A constant of numbers in 0..1.
    fn positive(&mut self, name: &str, n: usize) -> Result<Tensor<f32>> {
        let content: Vec<f32> = (0..n).map(|_| self.number().abs()).collect();
        self.rec.constant_owned(name, content)
    }

    /// A constant of complex numbers, both parts in −1..1.
    fn complex(&mut self, name: &str, n: usize) -> Result<Tensor<Complex32>> {
        let content: Vec<Complex32> = (0..n).map(|_| Complex32::new(self.number(), self.number())).collect();
        self.rec.constant_owned(name, content)
    }

    /// A constant of random words, of whose bits one in 2^`rare` is set.
    fn words(&mut self, name: &str, n: usize, rare: u32) -> Result<Tensor<u32>> {
        let content: Vec<u32> = (0..n).map(|_| (0..rare).fold(u32::MAX, |w, _| w & self.random.word())).collect();
        self.rec.constant_owned(name, content)
    }

    /// The content of an input.
    fn feed<T: Elem>(&mut self, tensor: Tensor<T>, content: &[T]) {
        self.feeds.push((tensor.erase(), bytemuck::cast_slice(content).to_vec()));
    }

    /// A result.
    fn output<T: Elem>(&mut self, tensor: Tensor<T>, agreement: Agreement) -> Result<()> {
        self.rec.download(tensor)?;
        self.outputs.push((tensor.erase(), agreement));
        Ok(())
    }

    /// Results that the recording downloads already.
    fn downloaded(&mut self, agreement: Agreement) {
        for command in &self.rec.commands {
            if let Command::Download(tensor) = command {
                self.outputs.push((*tensor, agreement));
            }
        }
    }

    /// Sets a state back to what it holds at first: before the kernels that change it.
    fn reset(&mut self, state: Tensor<u32>) -> Result<()> {
        let Some((bytes, _)) = self.rec.info(state.erase())?.given() else {
            return Err(Error::Internal("a state without content".into()));
        };
        let content: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
        let first = self.rec.constant_owned("first state", content)?;
        self.rec.copy(first, 0, state, 0, state.len())
    }

    /// What it takes at least.
    fn cost(&mut self, bytes: usize, operations: usize) {
        (self.bytes, self.operations) = (bytes as u64, operations as u64);
    }
}

/// Every case. Together they dispatch every kernel.
pub static ALL: &[Case] = &[
    basic::FILL,
    basic::COPY2D,
    basic::TRANSPOSE,
    basic::UNARY,
    basic::BINARY,
    basic::COMPLEX_BINARY,
    basic::COMPLEX_SCALE,
    basic::COMPLEX_ABS,
    basic::REDUCE,
    basic::EXTREMUM,
    basic::SCAN,
    basic::CANARY,
    basic::SELFTEST,
    basic::CEILING_COPY,
    basic::CEILING_MULTIPLY_ADD,
    dense::GEMM,
    dense::CONV1D,
    dense::CONV1D_LONG,
    spectral::FFT,
    spectral::FFT_CHIRP,
    spectral::FFT_REAL,
    spectral::FFT_PEAK,
    spectral::WELCH,
    spectral::SPECTRAL_WEIGHT,
    gravitational::WEIGHTED_POWER,
    gravitational::COINCIDENT_PEAK,
    gravitational::TRIGGERS,
    spiking::TEMPORAL_CONTRAST,
    spiking::STEP_FORWARD,
    spiking::EVENT_DRIVE,
    spiking::LIF,
    network::NEURONS,
    network::SOURCES,
    network::POISSON_DRIVE,
    network::PROBE,
    network::PROPAGATE,
    network::STDP,
    sparse::CSR_MATVEC,
    sparse::CSR_MATMUL,
    density::KDE,
    density::KDE_MASS,
];

#[cfg(test)]
mod tests;
