//! waveform
