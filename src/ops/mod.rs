//! The public face of the kernels: each op checks its arguments and appends commands to a recording.
//!
//! Ops never name a device: they choose variants and tile sizes by the recording's capabilities.

mod fill;

pub use fill::fill;
