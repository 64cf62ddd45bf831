//! Files: HDF5, NPY, NPZ, NIR, SONATA.

mod atomic;
mod fingerprint;
pub mod hdf5;
pub mod nir;
pub mod npy;
pub mod npz;
pub(crate) mod ron_text;
pub mod sonata;

pub use atomic::{same_file, write_atomically, write_target};
pub use fingerprint::Fingerprint;
