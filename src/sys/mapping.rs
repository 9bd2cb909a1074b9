//! Cells of f64 in files that are mapped into memory: the only `unsafe` code of the crate.
//!
//! All memory of a mapping is accessed as atomic words, since other threads and, if a lock is not
//! honoured, other processes write to it too. What makes the mapping sound is said once here:
//!
//! - The file is never cut by us, and its blocks are allocated before it is mapped, so that
//!   neither a store nor a load can raise SIGBUS for want of space.
//! - A cell is used only behind the gate of its slot, and the slot keeps the mapping alive until
//!   the gate was closed and everybody has left. So no cell is used after it was unmapped.
//! - The child of a fork has none of the mappings, and never uses their cells: its generation is
//!   another, and no gate of an older generation lets anybody in.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

use crate::sys::gate::{Gate, Pass};

/// Size of the words that a mapping is accessed by.
const WORD_SIZE: usize = size_of::<u64>();

/// How many forks lie between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The generation of this process: another after each fork.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Says that this process is the child of a fork.
pub(crate) fn begin_generation() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Has these called before each fork of this process, and after it in the parent and in the child.
pub(crate) fn at_fork(
    before: extern "C" fn(),
    in_parent: extern "C" fn(),
    in_child: extern "C" fn(),
) -> io::Result<()> {
    // SAFETY: the three are functions of a module that Python never unloads, so they can be called
    // as long as the process lives; they are safe functions without arguments.
    let status = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) }
}

/// Closes a descriptor that the child of a fork inherited from another thread than its own.
pub(crate) fn close_inherited(descriptor: RawFd) {
    // SAFETY: whoever owned it is a thread of the parent, of which there is no copy here; and no
    // memory is involved.
    unsafe { libc::close(descriptor) };
}

/// Makes the file at least `end` bytes long, with blocks for all of them from `start` on.
pub(crate) fn reserve(file: &File, start: usize, end: usize) -> io::Result<()> {
    let to_offset = |size| {
        libc::off_t::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
    };
    let (start, length) = (to_offset(start)?, to_offset(end - start)?);
    #[cfg(not(target_vendor = "apple"))]
    loop {
        // SAFETY: a system call on a descriptor that `file` keeps open; no memory is involved.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), start, length) } {
            0 => return Ok(()),
            libc::EINTR => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
    #[cfg(target_vendor = "apple")]
    {
        let mut request = libc::fstore_t {
            fst_flags: libc::F_ALLOCATEALL,
            fst_posmode: libc::F_PEOFPOSMODE,
            fst_offset: 0,
            fst_length: length,
            fst_bytesalloc: 0,
        };
        // SAFETY: the descriptor is open, and the request lives until the call returns.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_PREALLOCATE, &raw mut request) } == -1 {
            return Err(io::Error::last_os_error());
        }
        let size = file.metadata()?.len();
        file.set_len(size.max(end as u64))
    }
}

/// A file, mapped shared and writable, for this process only.
///
/// The children of a fork do not inherit it: a mapping keeps its file open, and with it the lock,
/// so that a dead writer would seem to live as long as its children.
#[derive(Debug)]
pub(crate) struct Mapping {
    memory: ManuallyDrop<MmapRaw>,
    /// Of the process that made it.
    generation: u32,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a child other memory may be at its place by now.
        if self.generation == generation() || !cfg!(target_os = "linux") {
            // SAFETY: it is dropped here only, and `self` is not used again.
            unsafe { ManuallyDrop::drop(&mut self.memory) }
        }
    }
}

impl Mapping {
    /// Maps the first `size` bytes of `file`, which must be allocated.
    pub(crate) fn new(file: &File, size: usize) -> io::Result<Arc<Self>> {
        let memory = Self::map(file, size)?;
        // Elsewhere a mapping holds the file, but not its lock.
        #[cfg(all(target_os = "linux", not(miri)))]
        memory.advise(memmap2::Advice::DontFork)?;
        Ok(Arc::new(Self { memory: ManuallyDrop::new(memory), generation: generation() }))
    }

    #[cfg(not(miri))]
    fn map(file: &File, size: usize) -> io::Result<MmapRaw> {
        MmapOptions::new().len(size).map_raw(file)
    }

    /// Miri cannot map files; what it looks for is the same in other memory.
    #[cfg(miri)]
    fn map(_: &File, size: usize) -> io::Result<MmapRaw> {
        MmapOptions::new().len(size).map_anon().map(MmapRaw::from)
    }

    /// Publishes a word; what was written before is seen by whoever sees it.
    pub(crate) fn publish(&self, offset: usize, word: u64) {
        self.word(offset).store(word, Ordering::Release);
    }

    /// Writes `bytes`, whole words.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        for (index, word) in bytes.as_chunks::<WORD_SIZE>().0.iter().enumerate() {
            let word = u64::from_ne_bytes(*word);
            self.word(offset + index * WORD_SIZE).store(word, Ordering::Relaxed);
        }
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

    /// Where the bytes at `offset` are, which begin at a word; panics if they are not in the mapping.
    fn place(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset.is_multiple_of(WORD_SIZE) && offset + size <= self.memory.len());
        // SAFETY: not beyond the mapping, which begins at a page, so that all its words are aligned.
        unsafe { self.memory.as_mut_ptr().add(offset) }
    }
}

/// The value and timestamp of an entry, where they stand in a file.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Cell {
    value: AtomicU64,
    timestamp: AtomicU64,
}

impl Cell {
    /// Adds to the value.
    #[inline]
    pub(crate) fn add(&self, amount: f64) {
        let mut bits = self.value.load(Ordering::Relaxed);
        loop {
            let sum = (f64::from_bits(bits) + amount).to_bits();
            match self.value.compare_exchange_weak(bits, sum, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => bits = now,
            }
        }
        self.date(0.0);
    }

    /// Sets value and timestamp.
    #[inline]
    pub(crate) fn set(&self, value: f64, timestamp: f64) {
        self.value.store(value.to_bits(), Ordering::Relaxed);
        self.date(timestamp);
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> f64 {
        f64::from_bits(self.value.load(Ordering::Relaxed))
    }

    /// The timestamp.
    pub(crate) fn timestamp(&self) -> f64 {
        f64::from_bits(self.timestamp.load(Ordering::Relaxed))
    }

    #[inline]
    fn date(&self, timestamp: f64) {
        // Mostly both are 0: a load is cheaper than a store to memory that others look at.
        let bits = timestamp.to_bits();
        if self.timestamp.load(Ordering::Relaxed) != bits {
            self.timestamp.store(bits, Ordering::Relaxed);
        }
    }
}

/// Where the cell of a series is at the moment, if it is in a file.
#[derive(Debug)]
pub(crate) struct Slot {
    gate: Gate,
    /// Valid while the gate is open, and as long as `mapping` is kept.
    cell: AtomicPtr<Cell>,
    /// Changed only while the gate is closed.
    mapping: Mutex<Option<Arc<Mapping>>>,
}

/// A cell that will stay where it is as long as this is kept.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    cell: &'a Cell,
    _pass: Pass<'a>,
}

impl std::ops::Deref for Entered<'_> {
    type Target = Cell;

    #[inline]
    fn deref(&self) -> &Cell {
        self.cell
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            gate: Gate::new(generation()),
            cell: AtomicPtr::new(ptr::null_mut()),
            mapping: Mutex::new(None),
        }
    }
}

impl Slot {
    /// The cell; none if there is none, or it is that of the process that forked this one.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        let pass = self.gate.enter(generation())?;
        // SAFETY: the gate was open, so `settle` had stored a cell of a mapping that it keeps, and
        // `unsettle` waits for the pass before it gives the mapping up. The cell is aligned and in
        // bounds, as `settle` has checked, and all accesses to it are atomic.
        let cell = unsafe { &*self.cell.load(Ordering::Relaxed) };
        Some(Entered { cell, _pass: pass })
    }

    /// Puts the cell to the entry whose value is at `offset` of `mapping`, after `prepare` has given
    /// it its first value. The slot must be closed, and only one thread may do this at a time.
    pub(crate) fn settle(
        &self,
        mapping: &Arc<Mapping>,
        offset: usize,
        prepare: impl FnOnce(&Cell),
    ) {
        let cell = mapping.cell(offset);
        prepare(cell);
        self.cell.store(ptr::from_ref(cell).cast_mut(), Ordering::Relaxed);
        *self.mapping.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(mapping));
        self.gate.open();
    }

    /// Whether there is a cell of this process.
    pub(crate) fn is_settled(&self) -> bool {
        self.enter().is_some()
    }

    /// Takes the cell away, and gives the value and timestamp that it had.
    ///
    /// None if there was no cell of this process. Only one thread may do this at a time.
    pub(crate) fn unsettle(&self) -> Option<(f64, f64)> {
        let had = self.enter().is_some();
        if had {
            self.gate.close();
        } else {
            self.gate.renew(generation());
        }
        let mut mapping = self.mapping.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = self.cell.swap(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: the gate was open, so this is a cell of the mapping, which is dropped only below.
        let held = had.then(|| unsafe { ((*cell).value(), (*cell).timestamp()) });
        *mapping = None;
        held
    }
}

/// Also run by `make miri`, which sees each access to memory that is not ours to make.
#[cfg(test)]
mod tests {
    use std::thread;

    use tempfile::TempDir;

    use super::*;

    const SIZE: usize = 4096;

    fn mapping(directory: &TempDir, name: &str) -> Arc<Mapping> {
        let mut options = File::options();
        let path = directory.path().join(name);
        let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(SIZE as u64).unwrap();
        Mapping::new(&file, SIZE).unwrap()
    }

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

    /// Threads count in a slot while its cell moves from mapping to mapping, each of which is
    /// unmapped as soon as nobody counts in it.
    #[test]
    #[allow(clippy::float_cmp)] // Whole numbers.
    fn a_cell_moves_under_those_who_count_in_it() {
        let (threads, additions, moves) = if cfg!(miri) { (2, 40, 15) } else { (3, 50_000, 2_000) };
        let directory = TempDir::new().unwrap();
        let slot = Slot::default();
        let uncounted = AtomicU64::new(0);
        slot.settle(&mapping(&directory, "first"), 8, |_| {});
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..additions {
                        match slot.enter() {
                            Some(cell) => cell.add(1.0),
                            None => drop(uncounted.fetch_add(1, Ordering::Relaxed)),
                        }
                    }
                });
            }
            for number in 0..moves {
                let next = mapping(&directory, ["first", "second"][number % 2]);
                let (value, timestamp) = slot.unsettle().unwrap();
                slot.settle(&next, 8 * (1 + number % 100), |cell| cell.set(value, timestamp));
                thread::yield_now();
            }
        });
        let counted = slot.unsettle().unwrap().0;
        let uncounted = f64::from(u32::try_from(uncounted.into_inner()).unwrap());
        assert_eq!(counted + uncounted, f64::from(threads * additions));
        assert!(slot.enter().is_none());
        assert_eq!(slot.unsettle(), None);
    }

    /// What a slot says of the process that forked this one is not followed.
    #[test]
    fn a_cell_of_the_parent_is_not_used() {
        let directory = TempDir::new().unwrap();
        let slot = Slot::default();
        slot.settle(&mapping(&directory, "file"), 8, |cell| cell.set(1.0, 0.0));
        // As if this were the child of a fork, without raising the generation of other tests.
        let gate = Gate::new(generation().wrapping_sub(1));
        gate.open();
        let inherited = Slot { gate, ..Slot::default() };
        inherited.cell.store(ptr::dangling_mut(), Ordering::Relaxed);
        assert!(inherited.enter().is_none());
        assert_eq!(inherited.unsettle(), None);
        assert!(slot.is_settled());
    }
}
