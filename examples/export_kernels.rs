//! Writes every kernel and variant, for other compilers to look at, and problems with their results, for other
//! implementations of WebGPU to replay: `scripts/lanes` hands them to spirv-val, DXC, Tint and Dawn.
//!
//! ```text
//! cargo run --example export_kernels FOLDER
//! ```
//!
//! `LABEL.wgsl` is the kernel's text; `LABEL.spv`, `.hlsl` and `.msl` are naga's translations of it, with the options that
//! wgpu's backends give to naga when they compile it: as devices run it, and as `LABEL.checked.*` with every check in place
//! (`DeviceOptions::checked`). Kernels have no override constants, so there is nothing to resolve. `kernels.tsv` has the
//! labels with the hashes of the texts; `problems.json` and `problems.bin` are described in `src/sweep/export.rs`.

use std::error::Error;
use std::path::{Path, PathBuf};

use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use spikewave::kernel::{self, Kernel};

/// Indices stay inside their arrays, whatever the driver promises.
const BOUNDS: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Restrict,
    buffer: BoundsCheckPolicy::Restrict,
    image_load: BoundsCheckPolicy::Restrict,
    binding_array: BoundsCheckPolicy::Unchecked,
};

fn spirv(module: &naga::Module, info: &ModuleInfo, checked: bool) -> Result<Vec<u8>, spv::Error> {
    use spv::ZeroInitializeWorkgroupMemoryMode::{None, Polyfill};
    let options = spv::Options {
        // What Vulkan 1.1 takes.
        lang_version: (1, 3),
        flags: spv::WriterFlags::LABEL_VARYINGS,
        bounds_check_policies: BOUNDS,
        zero_initialize_workgroup_memory: if checked { Polyfill } else { None },
        force_loop_bounding: checked,
        ..Default::default()
    };
    let words = spv::write_vec(module, info, &options, Option::None)?;
    Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
}

fn hlsl(module: &naga::Module, info: &ModuleInfo, checked: bool) -> Result<String, hlsl::Error> {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        zero_initialize_workgroup_memory: checked,
        restrict_indexing: true,
        force_loop_bounding: checked,
        ..Default::default()
    };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default()).write(module, info, None)?;
    Ok(text)
}

fn msl(module: &naga::Module, info: &ModuleInfo, checked: bool) -> Result<String, msl::Error> {
    let options = msl::Options {
        lang_version: (2, 4),
        fake_missing_bindings: true,
        bounds_check_policies: BOUNDS,
        zero_initialize_workgroup_memory: checked,
        force_loop_bounding: checked,
        ..Default::default()
    };
    msl::write_string(module, info, &options, &msl::PipelineOptions::default()).map(|(text, _)| text)
}

fn export(folder: &Path, kernel: &Kernel) -> Result<(), Box<dyn Error>> {
    let module = naga::front::wgsl::parse_str(kernel.wgsl)?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module)?;
    std::fs::write(folder.join(format!("{}.wgsl", kernel.label())), kernel.wgsl)?;
    for (checked, ending) in [(false, ""), (true, ".checked")] {
        let file = |language: &str| folder.join(format!("{}{ending}.{language}", kernel.label()));
        std::fs::write(file("spv"), spirv(&module, &info, checked)?)?;
        std::fs::write(file("hlsl"), hlsl(&module, &info, checked)?)?;
        std::fs::write(file("msl"), msl(&module, &info, checked)?)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("usage: export_kernels FOLDER")?.into();
    std::fs::create_dir_all(&folder)?;
    for kernel in kernel::ALL {
        export(&folder, kernel).map_err(|e| format!("{}: {e}", kernel.label()))?;
    }
    let list: String = kernel::ALL.iter().map(|k| format!("{}\t{:016x}\n", k.label(), k.hash)).collect();
    std::fs::write(folder.join("kernels.tsv"), list)?;
    let problems = spikewave::sweep::export::export(&folder)?;
    println!("{} kernels and variants, {problems} problems in {}", kernel::ALL.len(), folder.display());
    Ok(())
}
