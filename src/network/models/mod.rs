//! Networks of the literature, ready to simulate.

mod brunel;
mod microcircuit;
mod vogels_abbott;

pub use brunel::{BrunelOptions, BrunelState, brunel};
pub use microcircuit::{Drive, InitialPotential, MicrocircuitOptions, microcircuit};
pub use vogels_abbott::{VogelsAbbottOptions, coba, cuba};

use crate::{Error, Result};

/// The scaled size of a population: rounded to the nearest whole number, halves to the even one.
fn scaled(population: &str, neurons: u32, scale: f64) -> Result<u32> {
    if !(scale > 0.0 && scale.is_finite()) {
        return Err(Error::invalid("scale", format!("{scale}; a number above zero")));
    }
    let size = (f64::from(neurons) * scale).round_ties_even();
    if size < 1.0 {
        return Err(Error::invalid("scale", format!("{scale} leaves no neuron of population {population}")));
    }
    // The rows of a network have 32-bit indices.
    if size > f64::from(u32::MAX / 64) {
        return Err(Error::invalid("scale", format!("{scale} makes {size} neurons of population {population}")));
    }
    Ok(size as u32)
}
