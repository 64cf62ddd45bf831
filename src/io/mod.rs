//! Files: HDF5, NPY, NPZ, NIR.

mod atomic;
mod fingerprint;
pub mod hdf5;
pub mod nir;
pub mod npy;
pub mod npz;

pub use atomic::write_atomically;
pub use fingerprint::Fingerprint;
