//! The public face of the kernels: each op checks its arguments and appends commands to a recording.
//!
//! Ops never name a device: they choose variants and tile sizes by the recording's capabilities.

mod correlate;
mod fill;
mod peak;
mod refine;
mod spectral_weight;
mod weighted_power;
mod welch;

pub use correlate::{Correlate, correlate};
pub use fill::fill;
pub use peak::{CoincidentPeaks, Peaks, coincident_peak, peak};
pub use refine::{REFINED, refine};
pub use spectral_weight::{Bins, Weight, spectral_weight};
pub use weighted_power::weighted_power;
pub use welch::{Average, WelchWindows, welch, windowed};
mod copy2d;
mod elementwise;
mod fft;
mod fill;
mod reduce;
mod transpose;

pub use copy2d::{Destination, Source, copy2d, pad_rows};
pub use elementwise::{
    Conjugate, abs, add, axpby, complex_abs, complex_axpby, complex_mul, complex_norm_sqr, complex_scale, mul,
    scale_offset, square, sub,
};
pub use fft::{Fft, Pass, Plan, fft, ifft, irfft, plan as fft_plan, rfft};
pub use fill::fill;
pub use reduce::{Reduction, Scan, Summand, argmax, argmin, reduce, scan};
pub use transpose::transpose;
