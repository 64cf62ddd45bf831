//! The program as a test runs it.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use spikewave::device::gpu::AdapterReport;
use tempfile::TempDir;

pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub what: String,
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spikewave"));
    command.args(args).stdin(Stdio::null()).env_remove("RUST_LOG");
    // Not the cache folder of whoever runs the tests.
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

pub fn run_command(mut command: Command) -> Run {
    let what = format!("{command:?}");
    let out = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let run = Run { code: out.status.code(), stdout: text(out.stdout), stderr: text(out.stderr), what };
    assert!(
        !run.stderr.contains("panicked") && !run.stderr.contains("RUST_BACKTRACE"),
        "{}:\n{}",
        run.what,
        run.stderr
    );
    run
}

pub fn run(args: &[&str]) -> Run {
    run_command(command(args))
}

impl Run {
    /// It did what it was asked, and printed no error.
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}:\n{}", self.what, self.stderr);
        assert!(!self.stdout.is_empty() && !self.stderr.contains("spikewave:"), "{}:\n{}", self.what, self.stderr);
        self
    }

    /// Standard output is one JSON document and nothing else.
    pub fn json(self) -> Value {
        let run = self.done();
        serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{}: {e}\n{}", run.what, run.stdout))
    }

    /// It failed with this status and one sentence that has these words; nothing on standard output.
    pub fn refused(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}:\n{}{}", self.what, self.stdout, self.stderr);
        assert!(self.stdout.is_empty(), "{}:\n{}", self.what, self.stdout);
        let said: Vec<&str> = self.stderr.lines().filter(|l| l.starts_with("spikewave: ")).collect();
        assert!(said.len() == 1 && self.stderr.trim_end().ends_with(said[0]), "{}:\n{}", self.what, self.stderr);
        for word in words {
            assert!(said[0].contains(word), "{}: no \"{word}\" in: {}", self.what, said[0]);
        }
    }
}

pub fn has_keys(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "no \"{key}\" in {value}");
    }
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// A name that the program takes for each adapter; none where GPU tests are not wanted.
pub fn adapters() -> Vec<String> {
    if std::env::var("SPIKEWAVE_SKIP_GPU_TESTS").is_ok_and(|v| v == "1") {
        return Vec::new();
    }
    spikewave::device::gpu::adapters().iter().map(AdapterReport::choose_by).collect()
}

/// A name that the program takes for a software adapter, likewise.
pub fn software() -> Option<String> {
    if std::env::var("SPIKEWAVE_SKIP_GPU_TESTS").is_ok_and(|v| v == "1") {
        return None;
    }
    spikewave::device::gpu::adapters().iter().find(|a| a.kind == "software").map(AdapterReport::choose_by)
}

/// A picture that is one: signature, a header with a size, and an end.
pub fn assert_png(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.ends_with(b"IEND\xaeB`\x82"), "{}", path.display());
    let size = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert!(bytes[12..16] == *b"IHDR" && size(16) >= 600 && size(20) >= 400, "{} x {}", size(16), size(20));
    assert!(bytes.len() > 20_000, "{} bytes", bytes.len());
}

/// Names in a folder.
pub fn listed(folder: &TempDir) -> Vec<String> {
    let names = std::fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
