//! Sweeps: every kernel on every adapter, how fast, and whether it gives what it must.
//!
//! [`run`] takes a [`Config`] and fills a folder with `points.jsonl`, a line a point, `report.md` and pictures; what is
//! there already is not run again. Each point is checked against the native path by the agreement that its
//! [case](cases) states: a wrong result has no time. [`compare`](compare()) tells what became slower from one folder to
//! another, [`agreement`](agreement()) which kernels agree in which folders.
//!
//! **Times** are medians. Kernels are timed by the device's timestamps from the first dispatch of a run to the end of the
//! last one (on the native path by the wall clock around each), without transfers; the wall clock goes from the call to
//! the results; on the native path it is that of a run that times its kernels. Samples of less than 20 µs are means of up to
//! 100 runs. Ceilings are those of a kernel that only copies 64 MiB and of one that only multiplies and adds, measured
//! on the same device in the same run.

mod agreement;
pub mod cases;
mod ceiling;
mod compare;
mod config;
pub mod export;
mod figure;
mod machine;
pub mod record;
mod report;
mod run;
mod source;

pub use agreement::{Agreements, Column, agreement};
pub use compare::{Change, Comparison, compare};
pub use config::{BUILT_IN, Build, Config, Job, LEAST_SAMPLES, Selection};
pub use run::{Options, Summary, run};
