//! Typed handles to a recording's tensors.

use std::marker::PhantomData;

use num_complex::Complex32;

/// An element that a kernel can bind: whole words, aligned as words are, so that any tensor's memory holds any of them.
///
/// Other crates cannot add to them:
/// ```compile_fail,E0277
/// #[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
/// #[repr(transparent)]
/// struct Wide(u64);
/// impl spikewave::kernel::Elem for Wide {}
/// ```
pub trait Elem: bytemuck::Pod + Send + Sync + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($t:ty),*) => {
        $(
            impl sealed::Sealed for $t {}
            impl Elem for $t {}
            const _: () = assert!(align_of::<$t>() == 4 && size_of::<$t>().is_multiple_of(4));
        )*
    };
}
elements!(f32, u32, i32, Complex32, [f32; 4], [u32; 4]);

/// A tensor of a recording: a handle, not the data. Valid only in the recording that made it.
#[derive(Debug)]
pub struct Tensor<T> {
    recording: u32,
    index: u32,
    len: usize,
    elem: PhantomData<T>,
}

impl<T> Clone for Tensor<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Tensor<T> {}

impl<T: Elem> Tensor<T> {
    pub(crate) fn new(recording: u32, index: usize, len: usize) -> Self {
        Self { recording, index: index as u32, len, elem: PhantomData }
    }

    /// Elements.
    #[allow(clippy::len_without_is_empty, reason = "a tensor is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        (self.len * size_of::<T>()) as u64
    }

    /// The same bytes as elements of another type; `None` if the length is not a whole number of them.
    pub fn cast<U: Elem>(self) -> Option<Tensor<U>> {
        let bytes = self.len * size_of::<T>();
        bytes.is_multiple_of(size_of::<U>()).then(|| Tensor {
            recording: self.recording,
            index: self.index,
            len: bytes / size_of::<U>(),
            elem: PhantomData,
        })
    }

    /// The handle without its element type.
    pub fn erase(self) -> AnyTensor {
        AnyTensor { recording: self.recording, index: self.index }
    }
}

/// A tensor's handle without its element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnyTensor {
    pub(crate) recording: u32,
    pub(crate) index: u32,
}

impl AnyTensor {
    pub(crate) fn at(self) -> usize {
        self.index as usize
    }
}

/// One input of a run.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    pub(crate) tensor: AnyTensor,
    pub(crate) bytes: &'a [u8],
}

impl<T: Elem> Tensor<T> {
    /// The content of this input for one run.
    pub fn feed(self, data: &[T]) -> Feed<'_> {
        Feed { tensor: self.erase(), bytes: bytemuck::cast_slice(data) }
    }
}
