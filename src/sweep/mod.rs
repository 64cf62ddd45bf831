//! Sweeps: every kernel on every adapter, how fast, and whether it gives what it must.

pub mod cases;
pub mod export;
