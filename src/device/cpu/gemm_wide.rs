//! Twin of `shaders/gemm_wide.wgsl`: that of `gemm`.

use super::gemm;
use crate::kernel::gemm_wide::{Host, Params};

pub(super) fn run(p: &Params, h: Host<'_>) {
    let (a, b, c) = (h.a.as_flattened(), h.b.as_flattened(), h.c.as_flattened_mut());
    // The same parameters.
    gemm::run(bytemuck::cast_ref(p), crate::kernel::gemm::Host { a, b, c });
}
