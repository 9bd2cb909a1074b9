//! What this process has counted and no file holds, as the bytes of the file it would be in.

use std::ffi::OsString;

use crate::format::{HEADER_SIZE, MAGIC_WRITER, header_word};

/// A metrics file that is only in memory, because it cannot be written at the moment.
///
/// A scrape of this process reads it as one more file of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryFile {
    /// The name that the file would have in the directory, such as `counter_7.db`.
    pub name: OsString,
    /// The bytes of the file, up to its `used`.
    pub bytes: Vec<u8>,
}

impl MemoryFile {
    /// A file of this name without entries.
    #[must_use]
    pub(crate) fn new(name: OsString) -> Self {
        Self { name, bytes: vec![0; HEADER_SIZE] }.with_used()
    }

    /// A file of this name with these entries.
    #[must_use]
    pub(crate) fn of_entries(name: OsString, entries: &[u8]) -> Self {
        Self { name, bytes: [&[0; HEADER_SIZE], entries].concat() }.with_used()
    }

    /// Adds an entry; `head` is what stands before its value.
    pub(crate) fn push(&mut self, head: &[u8], value: f64, timestamp: f64) {
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(&value.to_ne_bytes());
        self.bytes.extend_from_slice(&timestamp.to_ne_bytes());
        self.set_used();
    }

    fn with_used(mut self) -> Self {
        self.set_used();
        self
    }

    fn set_used(&mut self) {
        // A file that would be too long for its header is read up to where a file could be.
        let used = i32::try_from(self.bytes.len()).unwrap_or(i32::MAX);
        self.bytes[..HEADER_SIZE].copy_from_slice(&header_word(used, MAGIC_WRITER).to_ne_bytes());
    }
}

/// What this process has counted and no file of a directory holds, at one moment.
#[derive(Debug)]
pub struct UnwrittenFiles {
    /// What a scrape of this process reads as further files.
    pub files: Vec<MemoryFile>,
    /// Gives how often something was moved from memory into a file, so far.
    written: fn() -> u64,
    written_before: u64,
}

impl UnwrittenFiles {
    /// These files; `written` gives how often something was moved from memory into a file, so far.
    /// Nothing may be moved until this returns.
    #[must_use]
    pub fn new(files: Vec<MemoryFile>, written: fn() -> u64) -> Self {
        Self { files, written, written_before: written() }
    }

    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Vec::new(), || 0)
    }

    /// Whether nothing of it was written into a file meanwhile.
    ///
    /// Ask after all files of the directory were read: if not, something may have been read from a
    /// file and from memory, and all has to be read again.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.files.is_empty() || self.written_before == (self.written)()
    }
}

impl Default for UnwrittenFiles {
    fn default() -> Self {
        Self::none()
    }
}
