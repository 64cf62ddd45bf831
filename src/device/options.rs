//! What a caller asks of a device.

use std::path::PathBuf;
use std::str::FromStr;

use crate::{Error, Result};

/// Which device to open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// A hardware GPU if there is one, else the native CPU path; never a software driver.
    #[default]
    Auto,
    /// The native CPU path.
    Cpu,
    /// A hardware GPU, or an error.
    Gpu,
    /// Any part of an adapter's name or driver, whatever its case; `vulkan:NAME` or `gl:NAME` to say which backend. A name
    /// as the list has it means that one alone.
    Named(String),
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let name = s.trim();
        match &*name.to_lowercase() {
            "" => Err(Error::invalid("device", "it is empty; give auto, cpu, gpu or part of an adapter's name")),
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu),
            _ => Ok(Self::Named(name.into())),
        }
    }
}

/// How to open a device.
#[derive(Debug, Clone, Default)]
pub struct DeviceOptions {
    /// Which.
    pub choice: Choice,
    /// Bytes that may be allocated in all; `None`: a share of what the device has.
    pub memory_budget: Option<u64>,
    /// Threads of the native path and of shader compilation; `None`: all cores.
    pub threads: Option<usize>,
    /// Opens a driver that fails a known answer all the same.
    pub force: bool,
    /// Keeps the shader compiler's bounds checks and loop bounds in every kernel.
    pub checked: bool,
    /// Fills scratch memory with NaN before every run, so that a kernel that reads what it did not write is found.
    pub poison: bool,
    /// Whether long dispatches that are run again and again get kernels with their parameters as constants, compiled in
    /// the background, proved against the generic ones, and used from some later run on; `None`: on devices of this
    /// crate's own, and not on those that a host application lends, for the proof submits.
    pub specialise: Option<bool>,
    /// Where compiled pipelines are kept between starts; `None`: the user's cache folder.
    pub cache_dir: Option<PathBuf>,
}

impl DeviceOptions {
    /// The given device with defaults for the rest.
    pub fn new(choice: Choice) -> Self {
        Self { choice, ..Self::default() }
    }
}

/// Parses a size: `512MiB`, `2GB`, `1.5 GiB`, `4096`.
///
/// # Errors
/// `InvalidArgument` for anything else.
pub fn parse_size(text: &str) -> Result<u64> {
    let bad = || Error::invalid("size", format!("\"{text}\"; write 512MiB, 2GB or a number of bytes from 1 on"));
    let t = text.trim();
    let at = t.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(t.len());
    let number: f64 = t[..at].parse().map_err(|_| bad())?;
    let unit: f64 = match t[at..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024f64.powi(2),
        "gib" => 1024f64.powi(3),
        "tib" => 1024f64.powi(4),
        _ => return Err(bad()),
    };
    let bytes = number * unit;
    if bytes >= 1.0 && bytes < 2f64.powi(63) { Ok(bytes as u64) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512MiB").unwrap(), 512 << 20);
        assert_eq!(parse_size("2GB").unwrap(), 2_000_000_000);
        assert_eq!(parse_size(" 1.5 GiB").unwrap(), 3 << 29);
        assert_eq!(parse_size("4096").unwrap(), 4096);
        for bad in ["", "MiB", "12 parsecs", "-1", "0", "1e3", "99999999999999999999GB", "1.2.3"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn choices() {
        assert_eq!("auto".parse::<Choice>().unwrap(), Choice::Auto);
        assert_eq!("CPU".parse::<Choice>().unwrap(), Choice::Cpu);
        assert_eq!("SwiftShader".parse::<Choice>().unwrap(), Choice::Named("SwiftShader".into()));
        assert!(" ".parse::<Choice>().is_err());
    }
}
