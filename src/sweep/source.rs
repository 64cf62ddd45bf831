//! Of which source the program was built.

use crate::io::Fingerprint;
use crate::kernel;

/// The commit as the build found it: with `+changes` if the source differed from it; `unknown` if nothing said it.
pub(super) fn commit() -> &'static str {
    env!("SPIKEWAVE_COMMIT")
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
