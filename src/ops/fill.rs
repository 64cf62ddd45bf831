//! Setting every element of a tensor.

use crate::Result;
use crate::kernel::{self, Elem, Tensor, workgroups};
use crate::recording::Recording;

/// Words that a workgroup of `shaders/fill.wgsl` covers.
const ITEMS: usize = 1024;

/// Sets every element of `y` to `value`.
///
/// # Errors
/// As [`Recording::dispatch`].
pub fn fill<T: Elem + Into<Word>>(rec: &mut Recording, y: Tensor<T>, value: T) -> Result<()> {
    let n = y.len();
    let Some(words) = y.cast::<u32>() else { return Err(crate::Error::Internal("not whole words".into())) };
    let params = kernel::fill::Params { n: n as u32, value: value.into().0 };
    rec.dispatch(kernel::fill::dispatch(params, kernel::fill::Args { y: words }, workgroups(n, ITEMS)))
}

/// The bits of a 32-bit element.
#[derive(Debug, Clone, Copy)]
pub struct Word(u32);

impl From<f32> for Word {
    fn from(v: f32) -> Self {
        Self(v.to_bits())
    }
}

impl From<u32> for Word {
    fn from(v: u32) -> Self {
        Self(v)
    }
}

impl From<i32> for Word {
    fn from(v: i32) -> Self {
        Self(v as u32)
    }
}
