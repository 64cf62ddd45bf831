//! Where the real inputs are.

use std::path::{Path, PathBuf};

/// The file `name` of the gravitational-wave data, or `None` with a word on stderr when the data are not there.
pub fn data(name: &str) -> Option<PathBuf> {
    let root = std::env::var("SPIKEWAVE_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into());
    let path = Path::new(&root).join("gw").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there; set SPIKEWAVE_DATA to the folder that holds gw/", path.display());
    None
}
