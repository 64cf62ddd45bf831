//! Files that appear whole or not at all.

use crate::{Error, Result};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Deletes the unfinished file when the write is given up, by an error or by unwinding.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes `path` through `fill`, so that the file appears complete or not at all.
///
/// The bytes go to a new file in the same folder, reach the disk, and then take the name; an existing file keeps its
/// contents until that moment. Errors: [`Error::File`] with the reason, and nothing is left behind.
pub fn write_atomically<E: Display>(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut BufWriter<File>) -> std::result::Result<(), E>,
) -> Result<()> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let path = path.as_ref();
    let name = path.file_name().ok_or_else(|| Error::file(path, "is not the name of a file"))?;
    if path.is_dir() {
        return Err(Error::file(path, "is a folder; name a file to write to"));
    }
    let mut unfinished_name = std::ffi::OsString::from(".");
    unfinished_name.push(name);
    unfinished_name.push(format!(".{}-{}.tmp", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
    let unfinished = path.with_file_name(unfinished_name);

    let cannot = |e: std::io::Error| {
        Error::file(
            path,
            format_args!("cannot be written ({e}); choose a folder that exists, is writable and has room"),
        )
    };
    let file = File::options().write(true).create_new(true).open(&unfinished).map_err(cannot)?;
    let mut guard = Unfinished(Some(unfinished.clone()));
    let mut writer = BufWriter::new(file);
    fill(&mut writer).map_err(|e| Error::file(path, format_args!("cannot be written ({e})")))?;
    writer.flush().map_err(cannot)?;
    writer.get_ref().sync_all().map_err(cannot)?;
    drop(writer);
    fs::rename(&unfinished, path).map_err(cannot)?;
    guard.0 = None;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        write_atomically(&path, |w| w.write_all(b"old")).unwrap();
        let error = write_atomically(&path, |w| {
            w.write_all(b"half")?;
            Err(std::io::Error::other("no space left"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("no space left"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent/out");
        let error = write_atomically(&path, |w| w.write_all(b"x")).unwrap_err();
        assert!(error.to_string().contains("absent/out") && error.to_string().contains("choose a folder"), "{error}");
    }
}
