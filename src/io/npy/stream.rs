//! A table that is written over hours, and goes on where it was when it was killed.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Dtype, Element, Header};
use crate::io::{Fingerprint, write_target};
use crate::{Error, Result};

/// Writes a (rows × columns) float32 NPY file of any size, rows in order, and resumes one that was left unfinished.
///
/// The rows go to `NAME.partial`; `NAME.partial.journal` has a line for every append with the sign of its numbers. When
/// all rows are there the file takes its name. Whatever ends the program before, no file of that name appears, and
/// [`Self::open`] with the same fingerprint goes on behind the last append that reached the disk whole.
#[derive(Debug)]
pub struct NpyStream {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    journal_path: PathBuf,
    journal: File,
    rows: usize,
    columns: usize,
    done: usize,
}

impl NpyStream {
    /// Begins `path` (what it points to, if it is a symbolic link), or goes on with it. `fingerprint` stands for all that the numbers depend on
    /// ([`Fingerprint`]).
    ///
    /// # Errors
    /// `InvalidArgument` for no columns or a shape that does not fit memory addresses. `File` if the files cannot be
    /// written, if `path` is not a regular file, if another process writes them now, or if what is there was begun with another shape or fingerprint.
    pub fn open(path: impl AsRef<Path>, rows: usize, columns: usize, fingerprint: u64) -> Result<Self> {
        let path = write_target(path)?;
        let header = Header::new(Dtype::F32, &[rows, columns])
            .filter(|_| columns > 0)
            .ok_or_else(|| Error::invalid("shape", format!("{rows} rows of {columns} columns cannot be written")))?;
        let beside = |end: &str| {
            let mut name: OsString = path.clone().into();
            name.push(end);
            PathBuf::from(name)
        };
        let (partial, journal_path) = (beside(".partial"), beside(".partial.journal"));
        let cannot = |e: std::io::Error| {
            let why = format!("cannot be written ({e}); choose a folder that exists, is writable and has room");
            Error::file(&path, why)
        };
        let open = |p: &Path| File::options().read(true).write(true).create(true).truncate(false).open(p);
        let file = open(&partial).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::file(partial, "is being written by another process")),
            // File systems that know no locks.
            Err(TryLockError::Error(e)) => log::warn!("{} cannot be locked: {e}", partial.display()),
        }
        let journal = open(&journal_path).map_err(cannot)?;
        let mut stream = Self { path, partial, file, journal_path, journal, rows, columns, done: 0 };
        let title = format!("spikewave rows 1 {rows} {columns} {fingerprint:016x}\n");
        if stream.file.metadata().map_err(|e| stream.failed(&e))?.len() == 0 {
            stream.begin(&header, &title).map_err(|e| stream.failed(&e))?;
        } else {
            stream.resume(&header, &title)?;
        }
        Ok(stream)
    }

    fn begin(&mut self, header: &Header, title: &str) -> std::io::Result<()> {
        // The journal first: a partial file is never without one.
        self.journal.set_len(0)?;
        self.journal.write_all(title.as_bytes())?;
        self.file.write_all(&header.bytes())
    }

    fn resume(&mut self, header: &Header, title: &str) -> Result<()> {
        let unread = |e: std::io::Error| Error::file(&self.partial, format_args!("cannot be read ({e})"));
        let of_another = || {
            let why = "is the unfinished result of other input or options; delete it, or write to another name";
            Error::file(&self.partial, why)
        };
        let mut journal = BufReader::new(&self.journal);
        let mut line = String::new();
        // A journal is text; one that is not was not written here.
        if journal.read_line(&mut line).is_err() || line != title {
            return Err(of_another());
        }
        let mut journal_end = line.len() as u64;
        let mut file = BufReader::with_capacity(1 << 16, &self.file);
        let mut start = vec![0; header.length];
        let whole_header = match file.read_exact(&mut start) {
            Ok(()) if start == header.bytes() => true,
            Ok(()) => return Err(of_another()),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => false,
            Err(e) => return Err(unread(e)),
        };
        if whole_header {
            let (done, bytes) = whole_rows(&mut file, &mut journal, self.rows, self.columns).map_err(unread)?;
            self.done = done;
            journal_end += bytes;
        }
        self.cut(header, journal_end).map_err(|e| self.failed(&e))
    }

    /// Cuts off what is not whole, and stands at the end.
    fn cut(&mut self, header: &Header, journal_end: u64) -> std::io::Result<()> {
        if self.done == 0 {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&header.bytes())?;
        }
        let end = header.length as u64 + 4 * (self.done as u64 * self.columns as u64);
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end))?;
        self.journal.set_len(journal_end)?;
        self.journal.seek(SeekFrom::Start(journal_end))?;
        Ok(())
    }

    /// What a failed write is called, and how to go on.
    fn failed(&self, error: &std::io::Error) -> Error {
        let partial = self.partial.display();
        let why = format!(
            "cannot be written ({error}); {} of {} rows are in {partial}: make room and run the same again to go on",
            self.done, self.rows
        );
        Error::file(&self.path, why)
    }

    /// The file that holds the rows until all are there.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Rows that are written, which is the row to go on with.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Appends whole rows (row-major).
    ///
    /// # Errors
    /// `InvalidArgument` for a part of a row or more rows than there are; `File` if they cannot be written, after which
    /// the file can still be resumed.
    pub fn append(&mut self, values: &[f32]) -> Result<()> {
        let rows = values.len() / self.columns;
        if !values.len().is_multiple_of(self.columns) || rows > self.rows - self.done {
            let why = format!("{} values after {} of {} rows of {}", values.len(), self.done, self.rows, self.columns);
            return Err(Error::invalid("rows", why));
        }
        if rows == 0 {
            return Ok(());
        }
        let mut sign = Fingerprint::default();
        values.iter().for_each(|v| sign.word(v.to_bits()));
        let line = format!("{} {:016x}\n", self.done + rows, sign.value());
        f32::write_to(values, &mut self.file)
            .and_then(|()| self.journal.write_all(line.as_bytes()))
            .map_err(|e| self.failed(&e))?;
        self.done += rows;
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// `InvalidArgument` if rows are missing; `File` if the disk refuses.
    pub fn finish(self) -> Result<()> {
        if self.done != self.rows {
            return Err(Error::invalid("rows", format!("{} of {} are written", self.done, self.rows)));
        }
        self.file.sync_all().and_then(|()| std::fs::rename(&self.partial, &self.path)).map_err(|e| self.failed(&e))?;
        // A journal without its file is begun anew.
        _ = std::fs::remove_file(&self.journal_path);
        Ok(())
    }
}

/// Rows up to the first line or the first rows that are not whole, and the bytes of the lines that vouch for them.
fn whole_rows(
    file: &mut impl Read,
    journal: &mut impl BufRead,
    rows: usize,
    columns: usize,
) -> std::io::Result<(usize, u64)> {
    let (mut done, mut bytes) = (0, 0);
    let mut line = String::new();
    let mut row = vec![0u8; 4 * columns];
    loop {
        line.clear();
        if journal.read_line(&mut line).is_err() || !line.ends_with('\n') {
            return Ok((done, bytes));
        }
        let mut words = line.split_whitespace();
        let until = words.next().and_then(|w| w.parse::<usize>().ok()).filter(|n| *n > done && *n <= rows);
        let sign = words.next().and_then(|w| u64::from_str_radix(w, 16).ok());
        let (Some(until), Some(sign)) = (until, sign) else { return Ok((done, bytes)) };
        let mut found = Fingerprint::default();
        for _ in done..until {
            match file.read_exact(&mut row) {
                Ok(()) => row.chunks_exact(4).for_each(|b| found.word(word(b))),
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok((done, bytes)),
                Err(e) => return Err(e),
            }
        }
        if found.value() != sign {
            return Ok((done, bytes));
        }
        done = until;
        bytes += line.len() as u64;
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |w, b| w << 8 | u32::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::npy;
    use std::fs;

    const COLUMNS: usize = 7;

    fn table(rows: usize) -> Vec<f32> {
        (0..rows * COLUMNS).map(|i| (i as f32).sqrt()).collect()
    }

    fn files(folder: &tempfile::TempDir) -> Vec<String> {
        let names = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<String> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_whole_file_appears_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ll.npy");
        let values = table(20);
        let mut stream = NpyStream::open(&path, 20, COLUMNS, 5).unwrap();
        for part in values.chunks(3 * COLUMNS) {
            assert!(!path.exists());
            stream.append(part).unwrap();
        }
        assert!(stream.append(&values[..COLUMNS]).is_err());
        stream.finish().unwrap();
        assert_eq!(files(&folder), ["ll.npy"]);
        assert_eq!(npy::read::<f32>(&path).unwrap(), (vec![20, COLUMNS], values));
    }

    #[test]
    fn an_unfinished_file_goes_on_where_it_was_whatever_was_torn() {
        let values = table(20);
        let chunk = 3 * COLUMNS;
        // What a crash can leave: all well; a part of a chunk; a line without its rows; half a line; a changed number;
        // no header.
        type Damage = fn(&Path, &Path);
        let damages: [(Damage, usize); 6] = [
            (|_, _| {}, 9),
            (|partial, _| append_to(partial, &[1, 2, 3, 4, 5]), 9),
            (|partial, _| cut_off(partial, 10), 6),
            (|_, journal| cut_off(journal, 1), 6),
            (
                |partial, _| {
                    let mut bytes = fs::read(partial).unwrap();
                    bytes[128 + 4 * 4 * COLUMNS] ^= 1;
                    fs::write(partial, bytes).unwrap();
                },
                3,
            ),
            (|partial, _| File::options().write(true).open(partial).unwrap().set_len(40).unwrap(), 0),
        ];
        for (i, (damage, expected)) in damages.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ll.npy");
            let mut stream = NpyStream::open(&path, 20, COLUMNS, 5).unwrap();
            values.chunks(chunk).take(3).for_each(|part| stream.append(part).unwrap());
            drop(stream);
            damage(&folder.path().join("ll.npy.partial"), &folder.path().join("ll.npy.partial.journal"));
            let mut stream = NpyStream::open(&path, 20, COLUMNS, 5).unwrap();
            assert_eq!(stream.done(), expected, "damage {i}");
            // Other chunks than before.
            values[expected * COLUMNS..].chunks(4 * COLUMNS).for_each(|part| stream.append(part).unwrap());
            stream.finish().unwrap();
            assert_eq!(npy::read::<f32>(&path).unwrap().1, values, "damage {i}");
            assert_eq!(files(&folder), ["ll.npy"]);
        }
    }

    fn append_to(path: &Path, bytes: &[u8]) {
        File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
    }

    fn cut_off(path: &Path, bytes: u64) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
    }

    #[test]
    fn other_work_is_never_mixed_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ll.npy");
        let mut stream = NpyStream::open(&path, 20, COLUMNS, 5).unwrap();
        stream.append(&table(4)).unwrap();
        let says = |e: Error| e.to_string();
        assert!(says(NpyStream::open(&path, 20, COLUMNS, 5).unwrap_err()).contains("another process"));
        drop(stream);
        for (rows, columns, fingerprint) in [(20, COLUMNS, 6), (21, COLUMNS, 5), (20, COLUMNS + 1, 5)] {
            let error = says(NpyStream::open(&path, rows, columns, fingerprint).unwrap_err());
            assert!(error.contains("delete it") && error.contains("ll.npy.partial"), "{error}");
        }
        fs::remove_file(folder.path().join("ll.npy.partial.journal")).unwrap();
        assert!(says(NpyStream::open(&path, 20, COLUMNS, 5).unwrap_err()).contains("delete it"));
        fs::remove_file(folder.path().join("ll.npy.partial")).unwrap();
        assert_eq!(NpyStream::open(&path, 20, COLUMNS, 5).unwrap().done(), 0);
    }

    #[test]
    fn rows_that_are_missing_are_not_given_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ll.npy");
        let mut stream = NpyStream::open(&path, 20, COLUMNS, 5).unwrap();
        stream.append(&table(19)).unwrap();
        assert!(stream.append(&[0.0; 3]).is_err());
        assert!(stream.finish().is_err() && !path.exists());
        let absent = folder.path().join("absent/ll.npy");
        assert!(NpyStream::open(absent, 20, COLUMNS, 5).unwrap_err().to_string().contains("choose a folder"));
    }

    /// The kernel refuses every write, as a full disk does.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_one_sentence_and_the_file_stays_resumable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ll.npy");
        let values = table(20);
        let mut stream = NpyStream::open(&path, 20, COLUMNS, 5).unwrap();
        stream.append(&values[..5 * COLUMNS]).unwrap();
        let file = std::mem::replace(&mut stream.file, File::options().write(true).open("/dev/full").unwrap());
        let error = stream.append(&values[5 * COLUMNS..10 * COLUMNS]).unwrap_err().to_string();
        assert!(error.contains("No space left") && error.contains("5 of 20 rows") && !error.contains('\n'), "{error}");
        drop((stream, file));
        let mut stream = NpyStream::open(&path, 20, COLUMNS, 5).unwrap();
        assert_eq!(stream.done(), 5);
        stream.append(&values[5 * COLUMNS..]).unwrap();
        stream.finish().unwrap();
        assert_eq!(npy::read::<f32>(&path).unwrap().1, values);
    }
}
