//! Files: HDF5, NPY, NIR.

pub mod hdf5;
pub mod nir;
pub mod npy;
