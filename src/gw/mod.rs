//! Gravitational waves: strain, conditioning, templates, search and the spiking detector.

pub mod bank;
pub mod condition;
mod density;
pub mod detect;
pub mod exact;
pub mod figure;
pub mod filter;
pub mod plot;
pub mod search;
pub mod spectrum;
pub mod strain;
pub mod synthetic;
pub mod waveform;
pub mod whiten;
