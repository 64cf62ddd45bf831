//! nir
