//! The public face of the kernels: each op checks its arguments and appends commands to a recording.
//!
//! Ops never name a device: they choose variants and tile sizes by the recording's capabilities.

mod conv1d;
mod copy2d;
mod elementwise;
mod fill;
mod reduce;
mod transpose;

pub use conv1d::{Conv1d, Filters, Padding, conv1d};
pub use copy2d::{Destination, Source, copy2d, pad_rows};
pub use elementwise::{
    Conjugate, abs, add, axpby, complex_abs, complex_axpby, complex_mul, complex_norm_sqr, complex_scale, mul,
    scale_offset, square, sub,
};
pub use fill::fill;
pub use reduce::{Reduction, Scan, Summand, argmax, argmin, reduce, scan};
pub use transpose::transpose;
