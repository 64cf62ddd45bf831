//! Files: HDF5, NPY, NIR.

mod atomic;
pub mod hdf5;
pub mod nir;
pub mod npy;

pub use atomic::write_atomically;
