//! Where the real inputs are.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};

/// The file `name` of the gravitational-wave data, or `None` with a word on stderr when the data are not there.
pub fn data(name: &str) -> Option<PathBuf> {
    find("gw", name)
}

/// The file `name` of the decoding sessions, likewise.
pub fn kde(name: &str) -> Option<PathBuf> {
    find("kde", name)
}

fn find(folder: &str, name: &str) -> Option<PathBuf> {
    let root = std::env::var("SPIKEWAVE_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into());
    let path = Path::new(&root).join(folder).join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there; set SPIKEWAVE_DATA to the folder that holds {folder}/", path.display());
    None
}
