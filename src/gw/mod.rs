//! Gravitational waves: strain, conditioning, templates, search and the spiking detector.

pub mod bank;
pub mod condition;
pub mod strain;
pub mod synthetic;
pub mod waveform;
