//! Proves every shader and writes the kernels' contracts. A defect fails the build, with file and line.

#[path = "src/kernel/compile.rs"]
mod compile;

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=shaders");
    println!("cargo:rerun-if-changed=src/kernel/compile.rs");
    println!("cargo:rerun-if-changed=build.rs");
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
