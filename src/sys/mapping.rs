//! Files that are mapped into memory.
//!
//! All memory of a mapping is accessed as atomic words, since other threads and, if a lock is not
//! honoured, other processes write to it too. What makes mappings sound is said once here:
//!
//! - multiprom never cuts a file short, and reserves its blocks before it is mapped, so that neither
//!   a store nor a load can raise SIGBUS for want of space.
//! - A cell is used only behind the gate of its [`Attachment`](crate::sys::Attachment), which keeps
//!   the mapping until the gate was closed and every thread has left. So no cell is used after it
//!   was unmapped.
//! - The child of a fork has none of the mappings, and never uses their cells: the generation of the
//!   child is another, and a gate of an older generation lets nobody in.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use crate::sys::cell::Cell;
use crate::sys::fork::generation;

/// Size of the words that a mapping is accessed by.
const WORD_SIZE: usize = size_of::<u64>();

/// A file, mapped shared and writable, for this process only.
///
/// The child of a fork does not inherit the mapping: it would keep the file open, and with it the
/// lock, so that a dead parent would seem to live as long as its child.
#[derive(Debug)]
pub(crate) struct Mapping {
    memory: ManuallyDrop<MmapRaw>,
    /// The generation of the process that made the mapping; see [`generation`].
    generation: u32,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In the child of a fork `MADV_DONTFORK` leaves this range unmapped: unmapping it there could
        // hit another mapping. Only Linux has that flag.
        if self.generation == generation() || !cfg!(target_os = "linux") {
            // SAFETY: `memory` is dropped here only, and `self` is not used again.
            unsafe { ManuallyDrop::drop(&mut self.memory) }
        }
    }
}

impl Mapping {
    /// Maps the first `size` bytes of `file`, whose blocks must have been reserved.
    pub(crate) fn new(file: &File, size: usize) -> io::Result<Arc<Self>> {
        let memory = Self::map(file, size)?;
        // Only on Linux does a mapping that a child inherits keep the lock of its file.
        #[cfg(all(target_os = "linux", not(miri)))]
        memory.advise(memmap2::Advice::DontFork)?;
        Ok(Arc::new(Self { memory: ManuallyDrop::new(memory), generation: generation() }))
    }

    #[cfg(not(miri))]
    fn map(file: &File, size: usize) -> io::Result<MmapRaw> {
        MmapOptions::new().len(size).map_raw(file)
    }

    /// Maps memory without a file: miri, which looks for undefined behaviour, cannot map files.
    #[cfg(miri)]
    fn map(_: &File, size: usize) -> io::Result<MmapRaw> {
        MmapOptions::new().len(size).map_anon().map(MmapRaw::from)
    }

    /// Writes one word, last: who reads the new word also reads all that was written before it.
    pub(crate) fn publish(&self, offset: usize, word: u64) {
        self.word(offset).store(word, Ordering::Release);
    }

    /// Adds 1 to the word at `offset`, and gives what it is then.
    pub(crate) fn count_up(&self, offset: usize) -> u64 {
        self.word(offset).fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    /// Writes `bytes`, whole words.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        for (index, word) in bytes.as_chunks::<WORD_SIZE>().0.iter().enumerate() {
            let word = u64::from_ne_bytes(*word);
            self.word(offset + index * WORD_SIZE).store(word, Ordering::Relaxed);
        }
    }

    /// Writes `bytes`, whole words, behind the word at `offset`, which is an odd number meanwhile and
    /// another even one afterwards: so a reader can tell whether it has read them whole. One thread at
    /// a time may call this for a place.
    pub(crate) fn write_whole(&self, offset: usize, bytes: &[u8]) {
        let number = self.word(offset).load(Ordering::Relaxed) | 1;
        self.word(offset).store(number, Ordering::Relaxed);
        // No byte is seen before the odd number.
        fence(Ordering::Release);
        self.write(offset + WORD_SIZE, bytes);
        self.publish(offset, number.wrapping_add(1));
    }

    /// Whether `bytes`, whole words, stand at `offset`.
    pub(crate) fn has(&self, offset: usize, bytes: &[u8]) -> bool {
        offset + bytes.len() <= self.memory.len()
            && bytes.as_chunks::<WORD_SIZE>().0.iter().enumerate().all(|(index, word)| {
                let found = self.word(offset + index * WORD_SIZE).load(Ordering::Relaxed);
                found == u64::from_ne_bytes(*word)
            })
    }

    /// The bytes from `start` to `end`, whole words.
    pub(crate) fn read(&self, start: usize, end: usize) -> Vec<u8> {
        let offsets = (start..end).step_by(WORD_SIZE);
        offsets.flat_map(|offset| self.word(offset).load(Ordering::Relaxed).to_ne_bytes()).collect()
    }

    /// The cell at `offset`: the value and timestamp of an entry.
    pub(crate) fn cell(&self, offset: usize) -> &Cell {
        // SAFETY: the bytes lie in the mapping, which lives as long as `self`, and are aligned as
        // the two words that a `Cell` is. All accesses to them are atomic.
        unsafe { &*self.place(offset, size_of::<Cell>()).cast() }
    }

    /// The word at `offset`; panics if the offset is not that of a word of the mapping.
    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the word lies in the mapping, which lives as long as `self`, and is aligned. All
        // accesses to it are atomic.
        unsafe { AtomicU64::from_ptr(self.place(offset, WORD_SIZE).cast()) }
    }

    /// The address of `size` bytes at `offset`; panics if they do not begin at a word or are not all
    /// in the mapping.
    fn place(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset.is_multiple_of(WORD_SIZE) && offset + size <= self.memory.len());
        // SAFETY: the address is in the mapping, as was just asserted. A mapping begins at a page, so
        // that all its words are aligned.
        unsafe { self.memory.as_mut_ptr().add(offset) }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use tempfile::TempDir;

    use super::*;

    /// Size of the mappings of tests, in bytes.
    pub(in crate::sys) const SIZE: usize = 4096;

    /// Maps a file of `SIZE` bytes.
    pub(in crate::sys) fn mapping(directory: &TempDir, name: &str) -> Arc<Mapping> {
        let mut options = File::options();
        let path = directory.path().join(name);
        let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(SIZE as u64).unwrap();
        Mapping::new(&file, SIZE).unwrap()
    }
}

/// Also run by `make miri`, which finds accesses to memory that is not mapped any more.
#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::testing::{SIZE, mapping};
    use super::*;

    #[test]
    fn words_are_read_as_they_were_written() {
        let directory = TempDir::new().unwrap();
        let mapping = mapping(&directory, "file");
        let bytes: Vec<u8> = (0..32).collect();
        mapping.write(SIZE - 32, &bytes);
        mapping.publish(0, u64::from_ne_bytes(*b"a header"));
        assert_eq!(mapping.read(SIZE - 32, SIZE), bytes);
        assert!(mapping.has(SIZE - 32, &bytes));
        assert!(!mapping.has(SIZE - 24, &bytes[..8]));
        assert!(!mapping.has(SIZE - 16, &bytes), "beyond the end");
        assert_eq!(mapping.read(0, 8), b"a header");
    }

    #[test]
    #[should_panic(expected = "WORD_SIZE")]
    fn a_cell_beyond_the_end_is_refused() {
        let directory = TempDir::new().unwrap();
        let _ = mapping(&directory, "file").cell(SIZE - WORD_SIZE);
    }
}
