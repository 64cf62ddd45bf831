//! Spiking networks: populations of point neurons, sparse projections with delays, and their simulation.
//!
//! A [`Network`] is a description: plain data that can be written as RON. Times are in ms, rates in spikes/s, potentials
//! in mV, currents in pA, capacitances in pF, conductances in nS; weights are in pA, mV or nS, as the target's neurons
//! take them. A negative weight is inhibitory.

mod check;
mod checkpoint;
mod choice;
mod connect;
mod distribution;
mod draw;
mod file;
pub mod lattice;
mod model;
pub mod models;
mod parameters;
pub mod plot;
mod raster;
mod simulation;
mod sonata;

pub use crate::ops::{IafCondExp, IafPscDelta, IafPscExp, Izhikevich, Stdp, StdpRule};
pub use choice::Trial;
pub use connect::{BuildOptions, Connectivity, Layout};
pub use distribution::Distribution;
pub use model::{Edges, Input, Network, Neuron, Population, Probe, Projection, Rule, Variable};
pub use raster::Raster;
pub use simulation::{PhaseTime, Record, Simulation, SimulationOptions, SimulationPlan, steps_of};
