//! The entries of a file whose series were withdrawn.
//!
//! Of each series the latest of them says when it was withdrawn, until a compaction has heeded that:
//! so a series that begins anew gets another entry. The one before the latest is spare then.

use crate::count::index::Index;
use crate::sys::Mapping;

/// A file is not written anew for less than this, in bytes.
const LITTLE: usize = 256 << 10;

/// The withdrawn entries of one file.
#[derive(Debug, Default)]
pub(crate) struct Withdrawn {
    latest: Index,
    spare: Index,
    /// The size of all of them, in bytes, without values and timestamps.
    size: usize,
    /// Of this size a look found that the file cannot be written without them yet.
    needed: usize,
}

impl Withdrawn {
    /// Adds the entry with this head at `offset`.
    pub(crate) fn add(&mut self, mapping: &Mapping, head: &[u8], offset: usize) {
        if let Some(before) = self.latest.remove(mapping, head) {
            self.spare.insert(mapping, head, before);
        }
        self.latest.insert(mapping, head, offset);
        self.size += head.len();
    }

    /// Takes an entry with this head that need not say any more when the series was withdrawn.
    pub(crate) fn take_spare(&mut self, mapping: &Mapping, head: &[u8]) -> Option<usize> {
        let offset = self.spare.remove(mapping, head)?;
        self.size = self.size.saturating_sub(head.len());
        Some(offset)
    }

    /// Whether the entry with this head at `offset` is the latest.
    pub(crate) fn is_latest(&self, mapping: &Mapping, head: &[u8], offset: usize) -> bool {
        self.latest.find(mapping, head) == Some(offset)
    }

    /// Whether they take most of a file of which `used` bytes are in use.
    pub(crate) fn is_crowding(&self, used: usize) -> bool {
        self.size > (self.needed + LITTLE).max(used / 3)
    }

    /// Notes that the file cannot be written without them yet.
    pub(crate) fn note_needed(&mut self) {
        self.needed = self.size;
    }
}
