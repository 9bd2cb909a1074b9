//! Reads the entries of one file.
//!
//! With `read(2)` into one reused buffer, never through a mapping: a file that is cut short under
//! a mapping kills the process with SIGBUS, and reading is faster. `used` is read before the
//! entries, so a file that grows meanwhile gives the entries published when it was opened.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Error, Result};
use crate::format::{self, Damage, Damaged, Entry, HEADER_SIZE, Parsed};
use crate::store::glimpse::{FileState, Glimpse};

/// What the first read asks for: a page has the header, and small files as a whole.
const FIRST_READ: usize = 4 << 10;
/// What the buffer holds at first: the files of a small service fit in.
const FIRST_CHUNK: usize = 64 << 10;
/// What later reads ask for: few system calls, and small enough for the processor's cache.
const CHUNK: usize = 256 << 10;

/// How far a file could be read.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// To its end.
    Complete,
    /// Not at all: it is gone, or an archive has its content, or its process is dead and its entries
    /// count only while the process lives.
    Vanished,
    /// Up to the damage, or not at all.
    Damaged(Damaged),
}

/// Reads files through one buffer.
#[derive(Debug)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    /// Whether it takes a glimpse of each file that it reads by a path.
    glimpses: bool,
    /// What it has seen of the file that it read last.
    pub(super) seen: Option<Glimpse>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: vec![0; FIRST_CHUNK], glimpses: false, seen: None }
    }
}

impl Reader {
    /// A reader that takes a glimpse of each file, too, if it `glimpses`.
    pub(crate) fn new(glimpses: bool) -> Self {
        Self { glimpses, ..Self::default() }
    }

    /// What it has seen of the file that it read last, if it has opened it by a path.
    pub(crate) fn take_seen(&mut self) -> Option<Glimpse> {
        self.seen.take().filter(|_| self.glimpses)
    }

    /// Calls `visit` with the offset and content of each entry of the file at `path`, in order.
    ///
    /// A file of which `is_gone` is true counts as one that is not there. So does a file whose entries
    /// count only while their process lives (`is_live`), if a process of multiprom's that is dead has
    /// left it.
    pub(crate) fn read(
        &mut self,
        path: &Path,
        is_live: bool,
        is_gone: impl FnOnce(&Metadata) -> bool,
        visit: impl FnMut(u64, Entry<'_>),
    ) -> Result<Outcome> {
        match open(path) {
            Ok((_, metadata)) if !metadata.is_file() => {
                return Ok(Outcome::Damaged(Damaged::unread(Damage::NotAFile)));
            }
            Ok((file, metadata)) if is_gone(&metadata) => {
                let mut header = [0; HEADER_SIZE];
                if self.glimpses && read_at(&file, &mut header, 0).is_ok() {
                    self.seen = Some(Glimpse::new(FileState::Spent, &header, &metadata));
                }
                return Ok(Outcome::Vanished);
            }
            Ok((file, metadata)) => {
                let mut seen = Glimpse::new(FileState::Unknown, &[], &metadata);
                let asks = is_live || self.glimpses;
                let is_wanted = |header: &[u8]| {
                    if asks {
                        seen =
                            Glimpse::new(FileState::of_process(&file, header), header, &metadata);
                    }
                    !(is_live && seen.state == FileState::Dead)
                };
                let outcome = self.read_if(is_wanted, &file, visit);
                self.seen = Some(seen);
                outcome
            }
            Err(error) => Err(error),
        }
        .or_else(|error| refused(path, error))
    }

    /// The same for bytes that come from anywhere.
    pub(crate) fn read_entries(
        &mut self,
        file: impl Read,
        visit: impl FnMut(u64, Entry<'_>),
    ) -> io::Result<Outcome> {
        self.read_if(|_| true, file, visit)
    }

    /// The same, if the first bytes of the file say that its entries are wanted.
    fn read_if(
        &mut self,
        is_wanted: impl FnOnce(&[u8]) -> bool,
        mut file: impl Read,
        mut visit: impl FnMut(u64, Entry<'_>),
    ) -> io::Result<Outcome> {
        // buffer[start..end] holds the bytes of the file from `offset` on.
        let (mut start, mut offset) = (0, 0);
        let mut end = read_full(&mut file, &mut self.buffer[..FIRST_READ])?;
        if end == 0 {
            return Ok(Outcome::Complete);
        }
        if !is_wanted(&self.buffer[..end]) {
            return Ok(Outcome::Vanished);
        }
        let Some(used) = format::parse_used(&self.buffer[..end]) else {
            let damage = Damage::ShortHeader { length: end };
            return Ok(Outcome::Damaged(Damaged::at(0, damage)));
        };
        let used_size = match usize::try_from(used) {
            // The file was just created: its writer has yet to fill in the header.
            Ok(0) => return Ok(Outcome::Complete),
            Ok(size) if size >= HEADER_SIZE => size,
            _ => {
                let damage = Damage::BadUsed { used };
                return Ok(Outcome::Damaged(Damaged::at(0, damage)));
            }
        };
        end = end.min(used_size);
        start += HEADER_SIZE;
        offset += HEADER_SIZE;
        while offset < used_size {
            let bytes = self.buffer.get(start..end).unwrap_or_default();
            match format::parse_entry(bytes, used_size - offset) {
                Parsed::Entry(entry, size) => {
                    visit(offset as u64, entry);
                    start += size;
                    offset += size;
                }
                Parsed::Damaged(damage) => {
                    return Ok(Outcome::Damaged(Damaged::at(offset as u64, damage)));
                }
                Parsed::Incomplete(size) => {
                    self.buffer.copy_within(start.min(end)..end, 0);
                    end = end.saturating_sub(start);
                    start = 0;
                    // A key longer than the buffer: grow only as the bytes really come, since a
                    // corrupt length may promise more than the file has.
                    let room = (end + CHUNK).min(size.max(CHUNK)).min(used_size - offset);
                    if room > self.buffer.len() {
                        self.buffer.resize(room, 0);
                    }
                    let wanted = self.buffer.len().min(used_size - offset);
                    let count = read_full(&mut file, &mut self.buffer[end..wanted])?;
                    if count == 0 {
                        let damage = Damage::CutShort { used };
                        return Ok(Outcome::Damaged(Damaged::at(offset as u64, damage)));
                    }
                    end += count;
                }
            }
        }
        Ok(Outcome::Complete)
    }
}

/// An open file from some offset on, wherever its own position is: several readers may share it.
#[derive(Debug)]
pub(crate) struct FromStart<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> FromStart<'a> {
    /// All of `file`.
    pub(crate) fn of(file: &'a File) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Opens a file, which may not be a regular one.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// Reads until `buffer` is full or the file ends, from `offset` on; gives the number of bytes.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    read_full(&mut FromStart { file, offset }, buffer)
}

/// Reads until `buffer` is full or the file ends; gives the number of bytes.
fn read_full(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether `file` was left by a process of multiprom's that does not live any more.
#[cfg_attr(not(feature = "python"), allow(dead_code))] // What the binding calls needs it.
pub(crate) fn is_abandoned(file: &File) -> bool {
    let mut header = [0; HEADER_SIZE];
    read_at(file, &mut header, 0)
        .is_ok_and(|filled| FileState::of_process(file, &header[..filled]) == FileState::Dead)
}

/// What an I/O error means for the file: gone, left out, or the end of the scrape.
pub(crate) fn refused(path: &Path, error: io::Error) -> Result<Outcome> {
    match error.raw_os_error() {
        // NFS says ESTALE of a file that another machine removed.
        Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE) => Ok(Outcome::Vanished),
        // Permanent errors: the file is reported, and the scrape goes on without it.
        Some(
            code @ (libc::EACCES
            | libc::EPERM
            | libc::ELOOP
            | libc::ENXIO
            | libc::EISDIR
            | libc::EOVERFLOW
            | libc::ENAMETOOLONG),
        ) => {
            let damage = Damage::Unreadable { code };
            Ok(Outcome::Damaged(Damaged::unread(damage)))
        }
        // Any other error will pass and says nothing about this file, such as too many open files:
        // a total without the file would be wrong.
        _ => Err(Error::Io { path: path.to_owned(), source: error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{entry, file};
    use std::fs;
    use tempfile::TempDir;

    fn read(content: &[u8]) -> (Vec<(String, f64)>, Outcome) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        fs::write(&path, content).unwrap();
        let mut entries = Vec::new();
        let outcome = Reader::default()
            .read(
                &path,
                false,
                |_| false,
                |_, entry| {
                    entries.push((String::from_utf8(entry.key.to_vec()).unwrap(), entry.value));
                },
            )
            .unwrap();
        (entries, outcome)
    }

    #[test]
    fn entries_in_order_over_many_chunks() {
        let mut entries: Vec<_> = (0..5000u16)
            .map(|i| (format!("key {i:0width$}", width = usize::from(i % 97)), f64::from(i)))
            .collect();
        entries.push(("long".repeat(3 * CHUNK), 1.0));
        entries.push(("last".to_owned(), 2.0));
        let raw: Vec<_> = entries.iter().map(|(key, value)| entry(key, *value, 0.0)).collect();
        let mut content = file(None, &raw);
        content.resize(content.len() + 1000, 0);
        assert_eq!(read(&content), (entries, Outcome::Complete));
    }

    #[test]
    fn empty_files() {
        for content in [&[][..], &[0; 100], &file(None, &[])] {
            assert_eq!(read(content), (vec![], Outcome::Complete));
        }
    }

    #[test]
    fn damage_leaves_the_valid_prefix() {
        let first = entry("first", 1.0, 0.0);
        let offset = Some((HEADER_SIZE + first.len()) as u64);
        let cases = [
            (file(Some(1000), std::slice::from_ref(&first)), Damage::CutShort { used: 1000 }),
            (
                file(None, &[first.clone(), b"{'a': 1}".to_vec()]),
                Damage::BadKeyLength { length: i32::from_ne_bytes(*b"{'a'") },
            ),
            (
                file(None, &[first.clone(), 9i32.to_ne_bytes().to_vec()]),
                Damage::EntryBeyondUsed { size: 32, remaining: 4 },
            ),
        ];
        for (content, damage) in cases {
            let expected =
                (vec![("first".to_owned(), 1.0)], Outcome::Damaged(Damaged { offset, damage }));
            assert_eq!(read(&content), expected);
        }
    }

    #[test]
    fn headers_that_make_no_sense() {
        let cases = [
            (vec![1, 2, 3], Damage::ShortHeader { length: 3 }),
            (file(Some(-1), &[entry("a", 1.0, 0.0)]), Damage::BadUsed { used: -1 }),
            (file(Some(7), &[entry("a", 1.0, 0.0)]), Damage::BadUsed { used: 7 }),
        ];
        for (content, damage) in cases {
            let expected = Outcome::Damaged(Damaged::at(0, damage));
            assert_eq!(read(&content), (vec![], expected));
        }
    }

    #[test]
    fn what_is_not_a_regular_file() {
        let directory = TempDir::new().unwrap();
        let mut reader = Reader::default();
        let visit = |_, _: Entry<'_>| panic!("no entry");
        let not_a_file = Outcome::Damaged(Damaged::unread(Damage::NotAFile));
        assert_eq!(reader.read(directory.path(), false, |_| false, visit).unwrap(), not_a_file);
        let gone = directory.path().join("gone");
        assert_eq!(reader.read(&gone, false, |_| false, visit).unwrap(), Outcome::Vanished);
    }
}
