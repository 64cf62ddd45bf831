//! Point neurons of spiking networks.

mod models;

pub use models::{IafCondExp, IafPscDelta, IafPscExp, Izhikevich};
