//! What a kernel is: its contract, reflected from its shader by the build step.
//!
//! `shaders/NAME.wgsl` becomes the module `kernel::NAME` with `KERNEL` (and `KERNEL_<VARIANT>`), the parameter struct
//! `Params`, the tensors it binds (`Args`, by name and element type), the same tensors as its native twin sees them
//! (`Host`), and `dispatch`. A shader that is not valid, not portable or not translatable fails the build.

mod tensor;

pub use tensor::{AnyTensor, Elem, Feed, Tensor};

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The names of the warmup stages that kernels belong to. The sixth stage is the application's own plan.
pub const STAGES: [&str; 6] = ["basic", "dense", "temporal", "convolution", "spiking and sparse", "application"];

/// Storage buffers that a kernel binds at most: the build step refuses more.
pub(crate) const MAX_BINDINGS: usize = 8;

/// Kernels that ops take on software drivers only.
const SOFTWARE: [&str; 3] = ["conv1d_wide", "gemm_wide", "reduce_wide"];

/// How a kernel uses a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads only.
    Read,
    /// Reads and writes, or writes only.
    ReadWrite,
}

/// A storage buffer that a kernel binds, at group 0, binding `index + 1`.
#[derive(Debug)]
pub struct Binding {
    /// The name in the shader.
    pub name: &'static str,
    /// How it is used.
    pub access: Access,
    /// Bytes of one element.
    pub elem_bytes: u32,
}

/// A parameter that can be a constant of a kernel's text.
#[derive(Debug)]
pub struct Field {
    /// The name in the shader.
    pub name: &'static str,
    /// Its first byte behind the grid.
    pub offset: u32,
    /// `i32`, else `u32`.
    pub signed: bool,
}

/// The contract of one variant of a kernel.
#[derive(Debug)]
pub struct Kernel {
    /// The shader's file name without its ending.
    pub name: &'static str,
    /// Empty for the portable default.
    pub variant: &'static str,
    /// `name` or `name.variant`.
    pub(crate) label: &'static str,
    /// The shader's file, for messages.
    pub file: &'static str,
    /// The whole text, imports included.
    pub wgsl: &'static str,
    /// Invocations a workgroup.
    pub workgroup_size: [u32; 3],
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Storage buffers in binding order.
    pub bindings: &'static [Binding],
    /// Bytes of the parameter struct, with the grid's 16.
    pub params_bytes: u32,
    /// Index into [`STAGES`].
    pub stage: usize,
    /// The text with `p_FIELD` for every `p.FIELD` of `fields`; empty for a kernel that is not specialised.
    pub template: &'static str,
    /// The parameters that [`specialised`](Self::specialised) makes constants of its text.
    pub fields: &'static [Field],
    /// FNV-1a of the text.
    pub hash: u64,
}

impl Kernel {
    /// `name` or `name.variant`.
    pub fn label(&self) -> &'static str {
        self.label
    }

    /// Whether ops may take it on such a device: some kernels are for software drivers only.
    pub fn is_for(&self, software: bool) -> bool {
        software || !SOFTWARE.contains(&self.name)
    }

    /// What the `fields` are in these parameters (without the grid), as words.
    pub(crate) fn values(&self, params: &[u8]) -> Vec<u32> {
        let word = |f: &Field| params.get(f.offset as usize..).and_then(|b| b.first_chunk()).copied();
        self.fields.iter().map(|f| word(f).map_or(0, u32::from_le_bytes)).collect()
    }

    /// The text in which the `fields` are constants with these values, as words; it computes what the kernel computes
    /// from parameters that hold them.
    pub fn specialised(&self, values: &[u32]) -> String {
        let mut text = self.template.to_owned();
        for (field, value) in self.fields.iter().zip(values) {
            let (ty, value) = if field.signed { ("i32", i64::from(*value as i32)) } else { ("u32", i64::from(*value)) };
            text += &format!("const p_{}: {ty} = {ty}({value});\n", field.name);
        }
        text
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.variant) == (other.name, other.variant)
    }
}

/// A kernel applied to tensors: plain data, run by a device.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pub(crate) kernel: &'static Kernel,
    /// The parameters after the grid.
    pub(crate) params: Vec<u8>,
    pub(crate) args: Vec<AnyTensor>,
    pub(crate) workgroups: u64,
    /// Elementary operations, the measure by which a long dispatch is cut into slices; `None`: estimated from the sizes.
    pub(crate) work: Option<u64>,
}

impl Dispatch {
    pub(crate) fn new(kernel: &'static Kernel, params: &[u8], args: Vec<AnyTensor>, workgroups: u64) -> Self {
        Self { kernel, params: params.to_vec(), args, workgroups, work: None }
    }

    /// Uses another variant of the same kernel. Variants of one shader share their bindings and parameters.
    #[must_use]
    pub fn variant(mut self, kernel: &'static Kernel) -> Self {
        debug_assert_eq!(self.kernel.name, kernel.name, "a variant belongs to its kernel");
        if self.kernel.name == kernel.name {
            self.kernel = kernel;
        }
        self
    }

    /// States the elementary operations (multiply-adds, loads) of the whole dispatch.
    #[must_use]
    pub fn work(mut self, operations: u64) -> Self {
        self.work = Some(operations);
        self
    }

    /// The kernel.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }
}

/// The workgroups that cover `items` with `per_group` items each.
pub fn workgroups(items: usize, per_group: usize) -> u64 {
    items.div_ceil(per_group) as u64
}
