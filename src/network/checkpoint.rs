//! The state of a simulation in a file.

use std::path::Path;

use super::Simulation;
use crate::io::npz::{self, Npz};
use crate::{Error, Result};

/// The layout of checkpoints; raised when it changes.
const VERSION: u32 = 1;

impl Simulation {
    /// Writes the state into an NPZ file, from which any device can go on with the same spikes.
    ///
    /// # Errors
    /// `File`, or what befell the device.
    pub fn checkpoint(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let states = self.read_states()?;
        let (fingerprint, step) = (self.fingerprint(), self.step());
        npz::write(path, |npz| {
            npz.array("spikewave_checkpoint", &[1], &[VERSION])?;
            npz.array("network", &[2], &[fingerprint as u32, (fingerprint >> 32) as u32])?;
            npz.array("step", &[1], &[step])?;
            states.iter().try_for_each(|(name, words)| npz.array(name, &[words.len()], words))
        })
    }

    /// Goes on where a checkpoint of the same network was written. Spikes and rates count from there on.
    ///
    /// # Errors
    /// `File` if it is no checkpoint, or one of another network.
    pub fn restore(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut npz = Npz::open(path)?;
        if !npz.has("spikewave_checkpoint") {
            return Err(Error::file(path, "is not a checkpoint of a simulation"));
        }
        let version: Vec<u32> = npz.vector("spikewave_checkpoint")?;
        if version != [VERSION] {
            return Err(Error::file(path, format_args!("is a checkpoint of version {version:?}; this is {VERSION}")));
        }
        let network: Vec<u32> = npz.vector("network")?;
        let own = self.fingerprint();
        if network != [own as u32, (own >> 32) as u32] {
            return Err(Error::file(
                path,
                "is a checkpoint of another network; give the same description, size and seed as when it was written",
            ));
        }
        let step: Vec<u32> = npz.vector("step")?;
        let &[step] = step.as_slice() else {
            return Err(Error::file(path, "\"step\" must be one number"));
        };
        let mut states = Vec::new();
        for (name, len) in self.state_lengths() {
            let words: Vec<u32> = npz.vector(&name)?;
            if words.len() != len {
                return Err(Error::file(path, format_args!("\"{name}\" has {} words, not {len}", words.len())));
            }
            states.push(words);
        }
        self.write_states(step, &states)
    }
}
