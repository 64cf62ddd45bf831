//! Proves every shader and writes the kernels' contracts. A defect fails the build, with file and line.

#[path = "src/kernel/compile.rs"]
mod compile;

use std::path::Path;

/// The commit that is built: as `SPIKEWAVE_COMMIT` says, or a published package, or git, with `+changes` where the source
/// differs from it; else `unknown`.
fn commit() -> String {
    if let Ok(commit) = std::env::var("SPIKEWAVE_COMMIT") {
        return commit.trim().into();
    }
    // {"git": {"sha1": "..."}, ...}
    if let Ok(package) = std::fs::read_to_string(".cargo_vcs_info.json")
        && let Some((_, rest)) = package.split_once("\"sha1\"")
        && let Some(commit) = rest.split('"').nth(1)
    {
        return commit.chars().take(7).collect();
    }
    let git = |args: &[&str]| -> Option<String> {
        let out = std::process::Command::new("git").args(args).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    // Not what the source has only been unpacked into.
    let ours = git(&["ls-files", "--error-unmatch", "build.rs"]);
    let Some(commit) = ours.and_then(|_| git(&["rev-parse", "--short", "HEAD"])) else { return "unknown".into() };
    let changed = git(&["status", "--porcelain", "--", "src", "shaders", "build.rs", "Cargo.toml", "Cargo.lock"]);
    if changed.is_some_and(|files| files.is_empty()) { commit } else { format!("{commit}+changes") }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=shaders");
    println!("cargo:rerun-if-changed=src/kernel/compile.rs");
    println!("cargo:rerun-if-changed=build.rs");
    // Of which source this is: asked again whenever the source changes.
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-env-changed=SPIKEWAVE_COMMIT");
    println!("cargo:rustc-env=SPIKEWAVE_COMMIT={}", commit());
    // tests/contracts.rs runs this program on broken shaders.
    println!("cargo:rustc-env=SPIKEWAVE_BUILD_SCRIPT={}", std::env::current_exe()?.display());
    let out = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    let out = Path::new(&out);
    // What an earlier build left must not outlive a defect.
    for name in ["kernels.rs", "twins.rs"] {
        if let Err(e) = std::fs::remove_file(out.join(name))
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return Err(e.into());
        }
    }
    let mut kernels = Vec::new();
    let mut defects = Vec::new();
    for file in compile::shader_files(Path::new("shaders"))? {
        match compile::kernel(&file, Path::new("shaders/shared")) {
            Ok(kernel) => kernels.push(kernel),
            Err(found) => defects.push(found),
        }
    }
    if !defects.is_empty() {
        for defect in &defects {
            eprintln!("{defect}");
            println!("cargo:warning={defect}");
        }
        return Err(format!("{} shader(s) with defects", defects.len()).into());
    }
    std::fs::write(out.join("kernels.rs"), compile::contracts(&kernels))?;
    std::fs::write(out.join("twins.rs"), compile::twins(&kernels))?;
    Ok(())
}
