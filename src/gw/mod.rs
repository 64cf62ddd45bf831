//! Gravitational waves: strain, conditioning, templates, search and the spiking detector.

pub mod condition;
pub mod plot;
pub mod strain;
pub mod synthetic;
pub mod waveform;
