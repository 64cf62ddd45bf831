//! `spikewave gw detect`.
