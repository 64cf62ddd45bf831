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

/// The most symbolic links that are followed one after another.
const MOST_LINKS: usize = 40;

/// The file that a write to `path` makes or replaces: `path` itself, or what it points to as a symbolic link.
///
/// # Errors
/// `File` for a folder, a device or anything else that is not a regular file, and for links that lead nowhere.
pub fn write_target(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Err(Error::file(path, "is a folder; name a file to write to")),
        Ok(meta) if !meta.is_file() => return Err(Error::file(path, "is not a regular file; name one to write to")),
        _ => {}
    }
    let mut at = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        if !fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_symlink()) {
            return Ok(at);
        }
        let to = fs::read_link(&at).map_err(|e| Error::file(path, format_args!("cannot be followed ({e})")))?;
        at = at.parent().unwrap_or(Path::new("")).join(to);
    }
    Err(Error::file(path, "is a symbolic link to itself; name a file to write to"))
}

/// Whether two paths name one file, through symbolic or hard links too, and even where it does not exist yet.
pub fn same_file(a: impl AsRef<Path>, b: impl AsRef<Path>) -> bool {
    #[cfg(unix)]
    if let (Ok(a), Ok(b)) = (fs::metadata(&a), fs::metadata(&b)) {
        use std::os::unix::fs::MetadataExt;
        return (a.dev(), a.ino()) == (b.dev(), b.ino());
    }
    let place = |path: &Path| {
        let path = write_target(path).unwrap_or_else(|_| path.to_path_buf());
        if let Ok(whole) = fs::canonicalize(&path) {
            return whole;
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match (fs::canonicalize(folder), path.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            _ => path,
        }
    };
    place(a.as_ref()) == place(b.as_ref())
}

/// Removes what writers of this name left when they were killed: unfinished files whose process is gone.
fn remove_leftovers(folder: &Path, prefix: &str) {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of_us = |name: &str| {
            let (process, serial) = name.strip_prefix(prefix)?.strip_suffix(".tmp")?.split_once('-')?;
            serial.parse::<u64>().ok()?;
            process.parse::<u32>().ok()
        };
        let Some(process) = name.to_str().and_then(of_us) else { continue };
        if process == std::process::id() || Path::new("/proc").join(process.to_string()).exists() {
            continue;
        }
        // A process that cannot be seen from here, or where there is no /proc, holds a lock.
        let unlocked = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if unlocked && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes `path` through `fill`, so that the file appears complete or not at all.
///
/// The bytes go to a new file in the same folder, reach the disk, and then take the name; an existing file keeps its
/// contents until that moment, and a symbolic link stays one. What a killed process left unfinished under this name is
/// removed. Errors: [`Error::File`] with the reason, and nothing is left behind; a device, a pipe or a socket is refused.
pub fn write_atomically<E: Display>(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut BufWriter<File>) -> std::result::Result<(), E>,
) -> Result<()> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let path = path.as_ref();
    let target = write_target(path)?;
    let name = target.file_name().ok_or_else(|| Error::file(path, "is not the name of a file"))?;
    let mut unfinished_name = std::ffi::OsString::from(".");
    unfinished_name.push(name);
    unfinished_name.push(".");
    if let (Some(folder), Some(prefix)) = (target.parent(), unfinished_name.to_str()) {
        remove_leftovers(folder, prefix);
    }
    unfinished_name.push(format!("{}-{}.tmp", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
    let unfinished = target.with_file_name(unfinished_name);

    let cannot = |e: std::io::Error| {
        Error::file(
            path,
            format_args!("cannot be written ({e}); choose a folder that exists, is writable and has room"),
        )
    };
    let file = File::options().write(true).create_new(true).open(&unfinished).map_err(cannot)?;
    let mut guard = Unfinished(Some(unfinished.clone()));
    // A sign to others that somebody writes it; file systems without locks do without.
    _ = file.try_lock();
    let mut writer = BufWriter::new(file);
    fill(&mut writer).map_err(|e| Error::file(path, format_args!("cannot be written ({e})")))?;
    writer.flush().map_err(cannot)?;
    writer.get_ref().sync_all().map_err(cannot)?;
    drop(writer);
    fs::rename(&unfinished, &target).map_err(cannot)?;
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

    #[cfg(unix)]
    #[test]
    fn links_stay_and_what_they_point_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("far")).unwrap();
        for (link, to) in [("link", "far/out"), ("second", "link"), ("round", "round")] {
            std::os::unix::fs::symlink(to, path(link)).unwrap();
        }
        for text in [b"one", b"two"] {
            write_atomically(path("second"), |w| w.write_all(text)).unwrap();
            assert_eq!(fs::read(path("far/out")).unwrap(), text);
            assert!(path("link").is_symlink() && path("second").is_symlink());
        }
        fs::hard_link(path("far/out"), path("hard")).unwrap();
        assert!(same_file(path("second"), path("far/../hard")) && !same_file(path("second"), path("third")));
        std::os::unix::fs::symlink("far/none", path("none")).unwrap();
        assert!(same_file(path("none"), path("far/none")) && !same_file(path("none"), path("far/other")));
        let says = |path: &Path| write_atomically(path, |w| w.write_all(b"x")).unwrap_err().to_string();
        assert!(says(&path("round")).contains("link to itself"));
        assert!(says(Path::new("/dev/null")).contains("is not a regular file"));
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        assert!(says(&path("socket")).contains("is not a regular file"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let left =
            [format!(".out.{}-0.tmp", gone.id()), format!(".out.{}-0.tmp", 1), format!(".out2.{}-0.tmp", gone.id())];
        for name in &left {
            fs::write(folder.path().join(name), "half").unwrap();
        }
        let held = File::create(folder.path().join(format!(".out.{}-1.tmp", gone.id()))).unwrap();
        held.lock().unwrap();
        write_atomically(folder.path().join("out"), |w| w.write_all(b"x")).unwrap();
        let there: Vec<bool> = left.iter().map(|name| folder.path().join(name).exists()).collect();
        assert_eq!(there, [false, true, true]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }
}
