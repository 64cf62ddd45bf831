//! The one error type of the crate: every variant names a cause that a caller can act on.

use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong, by what the caller can do about it.
///
/// Nothing in this crate panics on input, on a lost device or on a failed allocation: it returns one of these.
///
/// What an error of a run, a read or a write means for the [`Prepared`](crate::device::Prepared) recording:
///
/// | error | the recording | its states | the device |
/// |---|---|---|---|
/// | `InvalidArgument` | can be run again | as they were | unharmed |
/// | `OverBudget`, `OutOfMemory`, `Unsupported`, `Kernel` of `prepare` | was not made; nothing is kept for it | - | unharmed: other recordings run |
/// | `OutOfMemory` of a read or write | can be run again | a read leaves them, a write leaves them undefined | unharmed |
/// | `Cancelled`, `Timeout`, a dropped [`Pending`](crate::device::Pending) | can be run again, and waits for what was submitted | undefined: write them again | unharmed |
/// | `Corrupted` | can be run again | undefined | not to be trusted; [`reopen`](crate::device::Device::reopen) it |
/// | `DeviceLost` | is dead: every call ends with `DeviceLost` | lost | dead, with all recordings; [`reopen`](crate::device::Device::reopen) it |
///
/// Outputs are handed out whole and proved, or not at all. [`survive`](crate::device::survive) does the last two rows.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter matches what was asked for. `known` lists the names that would.
    #[error("no GPU matches \"{wanted}\"; known devices: {known}")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// Every device that could be asked for instead.
        known: String,
    },
    /// The device can never do this; retrying will not help.
    #[error("{what} needs {need}, and the device has {have}")]
    Unsupported {
        /// The operation or tensor.
        what: String,
        /// What it needs.
        need: String,
        /// What there is.
        have: String,
    },
    /// The driver computed a known answer wrongly. Opening can be forced, at the caller's risk.
    #[error(
        "the driver of \"{adapter}\" computes wrongly ({test}: {detail}); choose another device, or force this one"
    )]
    DriverBroken {
        /// Adapter and driver.
        adapter: String,
        /// The known-answer test that failed.
        test: String,
        /// Expected and found.
        detail: String,
    },
    /// An argument is out of its domain.
    #[error("invalid {what}: {why}")]
    InvalidArgument {
        /// The argument's name.
        what: String,
        /// What it is, and what it must be.
        why: String,
    },
    /// The plan does not fit the memory budget. Nothing was allocated.
    #[error("over the memory budget: {} needed, {} of {} in use; the largest tensor is \"{tensor}\" with {}{}",
        crate::bytes(*needed), crate::bytes(*in_use), crate::bytes(*limit), crate::bytes(*tensor_bytes),
        least.map(|l| format!("; the least that would do is {}", crate::bytes_at_least(l))).unwrap_or_default())]
    OverBudget {
        /// Bytes that the plan needs.
        needed: u64,
        /// Bytes that are taken already.
        in_use: u64,
        /// The budget.
        limit: u64,
        /// The plan's largest tensor.
        tensor: String,
        /// Its bytes.
        tensor_bytes: u64,
        /// The smallest budget with which the job can run in tiles, where that is known.
        least: Option<u64>,
    },
    /// The driver or the operating system had no memory left at this moment.
    #[error("out of memory: {} for {what}; close other programs or lower --memory-budget", crate::bytes(*bytes))]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
        /// What for.
        what: String,
    },
    /// A kernel does not compile.
    #[error("kernel {name} ({file}:{line}): {message}")]
    Kernel {
        /// The kernel's name.
        name: String,
        /// Its file.
        file: String,
        /// The line in that file.
        line: u32,
        /// The compiler's words.
        message: String,
    },
    /// The caller's deadline passed. The device may still be working on what it was given; states are undefined.
    #[error("no result after {elapsed:?}")]
    Timeout {
        /// Time waited.
        elapsed: Duration,
    },
    /// The caller cancelled the run. States are undefined, and the next run is right.
    #[error("cancelled")]
    Cancelled,
    /// The device is gone, with every prepared recording and every state on it; open it again.
    #[error("the device was lost ({reason}); open it again")]
    DeviceLost {
        /// The driver's words.
        reason: String,
    },
    /// The device reported success and did not do the work. Results were discarded, states are undefined.
    #[error("the device reported success without doing the work ({detail}); results were discarded")]
    Corrupted {
        /// What was found.
        detail: String,
    },
    /// A file is missing, unreadable, or not what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in the file.
        message: String,
    },
    /// A defect of this crate.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl Error {
    /// An argument out of its domain.
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::InvalidArgument { what: what.into(), why: why.into() }
    }

    /// A file that cannot be used.
    pub fn file(path: impl Into<PathBuf>, message: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), message: message.to_string() }
    }

    /// Adds to a refused budget the least that would do.
    #[must_use]
    pub fn with_least(self, bytes: u64) -> Self {
        match self {
            Self::OverBudget { needed, in_use, limit, tensor, tensor_bytes, .. } => {
                Self::OverBudget { needed, in_use, limit, tensor, tensor_bytes, least: Some(bytes) }
            }
            other => other,
        }
    }

    /// Whether the same call can succeed later without a change of its arguments.
    pub fn is_recoverable(&self) -> bool {
        matches!(
            self,
            Self::OutOfMemory { .. }
                | Self::Timeout { .. }
                | Self::Cancelled
                | Self::DeviceLost { .. }
                | Self::Corrupted { .. }
        )
    }
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;
