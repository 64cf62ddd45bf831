//! Of which source the program was built.

use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::io::Fingerprint;
use crate::kernel;

/// The commit: as the build was told by `SPIKEWAVE_COMMIT`, else as git says of the folder that the program was built
/// in, with `+changes` if that differs from it, or `before` if the program is older; `unknown` without git.
pub(super) fn commit() -> String {
    if let Some(commit) = option_env!("SPIKEWAVE_COMMIT") {
        return commit.into();
    }
    let git = |args: &[&str]| -> Option<String> {
        let out = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(args).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let Some((commit, time)) = git(&["log", "-1", "--format=%h %ct"])
        .as_deref()
        .and_then(|text| text.split_once(' '))
        .map(|(commit, time)| (commit.to_owned(), time.to_owned()))
    else {
        return "unknown".into();
    };
    let committed = time.parse().ok().map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s));
    let built = std::env::current_exe().and_then(|exe| exe.metadata()?.modified()).ok();
    if let (Some(built), Some(committed)) = (built, committed)
        && built < committed
    {
        return format!("before {commit}");
    }
    let changed = git(&["status", "--porcelain", "--", "src", "shaders", "Cargo.lock"]).is_some_and(|s| !s.is_empty());
    if changed { format!("{commit}+changes") } else { commit }
}

/// A sign of the texts of all kernels.
pub(super) fn shaders() -> String {
    let mut sign = Fingerprint::default();
    for kernel in kernel::ALL {
        sign.text(kernel.label());
        sign.number(kernel.hash);
    }
    format!("{:016x}", sign.value())
}

/// The version of wgpu that the lock file names.
pub(super) fn wgpu_version() -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let version = lock.split("[[package]]").find_map(|package| {
        let mut lines = package.lines().map(str::trim);
        lines.find(|l| *l == "name = \"wgpu\"")?;
        lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
    });
    version.unwrap_or("unknown")
}
