//! The public face of the kernels: each op checks its arguments and appends commands to a recording.
//!
//! Ops never name a device: they choose variants and tile sizes by the recording's capabilities.

mod bus;
mod coincident_peak;
mod conv1d;
mod copy2d;
pub mod csr;
mod elementwise;
mod event_drive;
mod fft;
mod fill;
mod gemm;
mod kde;
mod kde_grid;
pub mod lif;
mod neurons;
mod poisson;
mod probe;
mod propagate;
mod reduce;
mod spectral_weight;
mod stdp;
mod synapses;
mod temporal_contrast;
mod transpose;
mod triggers;
mod weighted_power;
mod welch;

pub use bus::{Bus, MAX_DELAY};
pub use coincident_peak::{CoincidentPeaks, coincident_peak};
pub use conv1d::{Conv1d, Filters, Method, Padding, conv1d};
pub use copy2d::{Destination, Source, copy2d, pad_rows};
pub use elementwise::{
    Conjugate, abs, add, axpby, complex_abs, complex_axpby, complex_mul, complex_norm_sqr, complex_scale, mul,
    scale_offset, square, sub,
};
pub use event_drive::event_drive;
pub use fft::{Fft, Pass, Plan, fft, ifft, irfft, plan as fft_plan, rfft};
pub use fill::fill;
pub use gemm::{Gemm, gemm};
pub use kde::{KDE_SCALE, Kde, KdeCapacity, KdeElectrode, KdeInputs, KdeMass, KdeMassInputs, KdeModel, KdeRows};
pub use kde_grid::GridSpec;
pub(crate) use neurons::rounded;
pub use neurons::{
    IafCondExp, IafPscDelta, IafPscExp, Izhikevich, NeuronModel, NeuronPopulation, NeuronVariable, Neurons, Rewrite,
    StateAt,
};
pub use poisson::{MAX_POISSON_MEAN, PoissonInput, PoissonTable, poisson_drive};
pub use probe::StateProbe;
pub use propagate::Synapses;
pub use reduce::{Reduction, Scan, Summand, argmax, argmin, reduce, scan};
pub use spectral_weight::{Bins, Weight, spectral_weight};
pub use stdp::{PlasticSynapses, PlasticTable, Stdp, StdpRule};
pub use synapses::{Delays, SynapseTable, Targets, Weights};
pub use temporal_contrast::{
    Events, First, Start, StepForward, TemporalContrast, difference_std, event_words, step_forward, temporal_contrast,
};
pub use transpose::transpose;
pub use triggers::{Triggers, triggers};
pub use weighted_power::weighted_power;
pub use welch::{Average, WelchWindows, welch, welch_average, windowed};
