//! The public face of the kernels: each op checks its arguments and appends commands to a recording.
//!
//! Ops never name a device: they choose variants and tile sizes by the recording's capabilities.

mod copy2d;
mod elementwise;
mod fft;
mod fill;
pub mod lif;
mod reduce;
mod temporal_contrast;
mod transpose;

pub use copy2d::{Destination, Source, copy2d, pad_rows};
pub use elementwise::{
    Conjugate, abs, add, axpby, complex_abs, complex_axpby, complex_mul, complex_norm_sqr, complex_scale, mul,
    scale_offset, square, sub,
};
pub use fft::{Fft, Pass, Plan, fft, ifft, irfft, plan as fft_plan, rfft};
pub use fill::fill;
pub use reduce::{Reduction, Scan, Summand, argmax, argmin, reduce, scan};
pub use temporal_contrast::{
    Events, First, Start, StepForward, TemporalContrast, difference_std, event_words, step_forward, temporal_contrast,
};
pub use transpose::transpose;
