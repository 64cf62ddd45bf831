//! Clusterless decoding: the position of an animal from spikes that nobody has sorted.
//!
//! An [`EncodingModel`] is fitted to spikes with their waveform features and the position at which they occurred.
//! From it [`Likelihood`] computes the log likelihood of every position in every time bin, and [`state_space`] the
//! posterior over time. Names and meaning are those of non_local_detector; where this module departs from it on
//! purpose, an option restores its behaviour.
//!
//! Method: X. Deng, D. F. Liu, K. Kay, L. M. Frank, U. T. Eden, "Clusterless decoding of position from multiunit
//! activity using a marked point process filter", Neural Computation 27 (2015), doi:10.1162/NECO_a_00744.

mod data;
mod density;
mod likelihood;
mod local;
mod model;
pub mod plot;
mod results;
mod session;
pub mod simulate;
pub mod state_space;

pub use data::{BinEdges, Environment, Spikes, TimeBins, Trajectory};
pub use likelihood::{GridReport, Likelihood, LikelihoodOptions, LikelihoodPlan, Method, REFERENCE_FLOOR, RunReport};
pub use local::LocalLikelihood;
pub use model::{Bandwidth, EPS, EncodingElectrode, EncodingModel, FitOptions, LocalRates};
pub use results::{Difference, PositionError, most_likely_bins};
pub use session::Session;
