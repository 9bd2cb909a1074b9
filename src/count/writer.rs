//! Writes one file, which no other process writes while this one does.
//!
//! The entry is written first and `used` is published last, so what a reader finds below `used` is
//! whole, wherever the writer was killed. [`crate::count::open`] locks the file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::count::index::Index;
use crate::count::open;
use crate::error::{Error, Result};
use crate::format::{self, HEADER_SIZE, INITIAL_SIZE, MAGIC_STOCK, MAGIC_WRITER};
use crate::kind::Rule;
use crate::mark;
use crate::store::{Outcome, Reader};
use crate::sys::{self, Descriptor, Identity, Mapping, identity, is_at, lock};

/// A file of up to 64 KiB gets blocks in steps of this.
const SMALL_STEP: usize = 4 << 10;
/// A larger file gets blocks in steps of a part of its length.
const STEPS_OF_LARGE_FILE: usize = 16;
/// A file is not written anew if less than this is withdrawn, in bytes.
const LITTLE: usize = 256 << 10;

/// A file that this process has locked, and writes.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    /// None in the child of a fork: only the parent may keep the lock.
    file: Option<Descriptor>,
    identity: Identity,
    mapping: Arc<Mapping>,
    /// The mapping that keeps the lock, after the program has closed the descriptor.
    keeps_lock: Option<Arc<Mapping>>,
    /// The length of the file.
    capacity: usize,
    /// Up to where the file has blocks. The rest is a hole, as in the files of `prometheus_client`: a
    /// store there could raise SIGBUS on a full disk.
    reserved: usize,
    used: usize,
    index: Index,
    /// How many bytes the entries of withdrawn series have, without values and timestamps.
    withdrawn: usize,
    /// How many of these there were when the file could not be written anew without them.
    needed: usize,
}

impl Writer {
    /// The writer of a file that this process has locked; none if its content cannot be continued
    /// without loss.
    pub(crate) fn new(path: &Path, file: File, metadata: &Metadata) -> io::Result<Option<Self>> {
        let mut places = Vec::new();
        let mut used = HEADER_SIZE;
        let mut withdrawn = 0;
        if metadata.len() == 0 {
            // Before anything else: prometheus_client cannot read an empty file, which would stay if
            // this process were killed here.
            file.write_all_at(&header(used)?.to_ne_bytes(), 0)?;
        } else {
            let mut header = [0; HEADER_SIZE];
            let length = io::Read::read(&mut &file, &mut header)?;
            io::Seek::rewind(&mut &file)?;
            let magic = format::parse_magic(&header[..length]);
            if !matches!(magic, Some(MAGIC_STOCK | MAGIC_WRITER)) {
                return Ok(None);
            }
            let outcome = Reader::default().read_entries(&file, |_, entry| {
                // UNWRAP: the reader gives only keys of a length that has a head.
                let head = format::entry_head(entry.key).unwrap_or_default();
                let offset = used;
                used += format::entry_size(entry.key.len());
                if entry.is_withdrawn() {
                    withdrawn += head.len();
                }
                places.push((head, offset));
            })?;
            if outcome != Outcome::Complete || i32::try_from(used).is_err() {
                return Ok(None);
            }
        }
        let capacity = used.next_power_of_two().max(INITIAL_SIZE);
        lengthen(&file, capacity)?;
        let reserved = reservation(used);
        sys::reserve(&file, 0, reserved)?;
        let mut writer = Self {
            path: path.to_owned(),
            mapping: Mapping::new(&file, capacity)?,
            file: Some(Descriptor::new(file)?),
            identity: identity(metadata),
            keeps_lock: None,
            capacity,
            reserved,
            used,
            index: Index::with_capacity(places.len()),
            withdrawn,
            needed: 0,
        };
        writer.publish()?;
        for (head, offset) in places {
            if writer.mapping.has(offset, &head) {
                writer.index.insert(&writer.mapping, &head, offset);
            }
        }
        Ok(Some(writer))
    }

    /// The mapping and the offset of the value of the entry with this head, which is made if need be.
    pub(crate) fn place(&mut self, head: &[u8]) -> Result<(&Arc<Mapping>, usize)> {
        let hash = self.index.hash(head);
        let known = self.index.find_hashed(&self.mapping, head, hash);
        let offset = known
            .map_or_else(|| self.append(head, hash), Ok)
            .map_err(|source| Error::Io { path: self.path.clone(), source })?;
        let place = offset + head.len();
        let cell = self.mapping.cell(place);
        let timestamp = cell.timestamp();
        if mark::is_withdrawn(timestamp) {
            cell.mark(mark::begun_anew(timestamp));
            self.withdrawn = self.withdrawn.saturating_sub(head.len());
        }
        Ok((&self.mapping, place))
    }

    /// Withdraws the entry with this head, if there is one, and then asks for the `number` of that.
    /// Nobody may count in the entry any more.
    pub(crate) fn withdraw(&mut self, head: &[u8], number: impl FnOnce() -> u64) {
        let Some(offset) = self.index.find(&self.mapping, head) else { return };
        let cell = self.mapping.cell(offset + head.len());
        if !mark::is_withdrawn(cell.timestamp()) {
            self.withdrawn += head.len();
        }
        // A compaction that finds the number in use finds the entry withdrawn.
        cell.mark(mark::withdrawn(mark::UNNUMBERED));
        cell.mark(mark::withdrawn(number()));
    }

    /// Whether so much of the file is withdrawn that it should be written anew.
    pub(crate) fn is_crowded(&self) -> bool {
        self.withdrawn > (self.needed + LITTLE).max(self.used / 3)
    }

    /// Notes that the file cannot be written anew without what is withdrawn.
    pub(crate) fn note_needed(&mut self) {
        self.needed = self.withdrawn;
    }

    /// How many bytes of the file are in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Whether entries with these heads fit into the file as it is, or are all there.
    pub(crate) fn has_room(&self, heads: &[Box<[u8]>]) -> bool {
        let size: usize = heads.iter().map(|head| size_of_entry(head)).sum();
        self.used + size <= self.reserved
            || heads.iter().all(|head| self.index.find(&self.mapping, head).is_some())
    }

    /// Makes room for entries with these heads at once, if the file has no entry yet: after a fork a
    /// child writes all series of the process.
    pub(crate) fn make_room<'a>(&mut self, heads: impl Iterator<Item = &'a [u8]>) {
        if self.used == HEADER_SIZE {
            let size: usize = heads.map(size_of_entry).sum();
            // Without room for all, as many entries as there is room for are written one by one.
            let _ = self.grow(HEADER_SIZE + size);
        }
    }

    /// Takes all entries of the file that `other` writes: all of them, or none and an error.
    ///
    /// Where both have an entry, they become one by `rule`; without a rule that of `other` counts.
    pub(crate) fn take_entries(&mut self, other: &Self, rule: Option<Rule>) -> Result<()> {
        self.grow(self.used + other.used)
            .map_err(|source| Error::Io { path: self.path.clone(), source })?;
        let bytes = other.entries();
        let mut rest = &bytes[..];
        let mut taken = Vec::new();
        while let format::Parsed::Entry(entry, size) = format::parse_entry(rest, rest.len()) {
            rest = &rest[size..];
            if entry.is_withdrawn() {
                continue;
            }
            // UNWRAP: the entry was written with a head.
            let head = format::entry_head(entry.key).unwrap_or_default();
            let is_new = self.index.find(&self.mapping, &head).is_none();
            taken.push((self.place(&head)?.1, rule.filter(|_| !is_new), entry));
        }
        // Values are merged when nothing can fail any more: another attempt would add them once more.
        for (offset, rule, entry) in taken {
            let rule = rule.unwrap_or(Rule::PerProcess);
            self.mapping.cell(offset).merge(rule, entry.value, entry.time());
        }
        Ok(())
    }

    /// The bytes of all entries.
    pub(crate) fn entries(&self) -> Vec<u8> {
        self.mapping.read(HEADER_SIZE, self.used)
    }

    /// Where the file was made.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still names the file.
    pub(crate) fn is_in_place(&self) -> bool {
        // After an error nobody knows: the file is taken for in place.
        is_at(&self.path, self.identity).unwrap_or(true)
    }

    /// Whether the file at `path` is the one that is written here, under whatever name.
    pub(crate) fn writes(&self, path: &Path) -> bool {
        is_at(path, self.identity).unwrap_or(false)
    }

    /// The device and inode of the file.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Closes the descriptor, in the child of a fork: the lock belongs to the parent.
    pub(crate) fn disown(&mut self) {
        if let Some(file) = self.file.take() {
            file.close();
        }
    }

    fn append(&mut self, head: &[u8], hash: u32) -> io::Result<usize> {
        let offset = self.used;
        let end = offset + size_of_entry(head);
        self.index.try_reserve().ok_or(io::ErrorKind::OutOfMemory)?;
        self.grow(end)?;
        // A writer that was killed before it published `used` may have left bytes behind it.
        self.mapping.write(offset, head);
        self.mapping.write(end - format::VALUE_SIZE - format::TIMESTAMP_SIZE, &[0; 16]);
        self.used = end;
        self.publish()?;
        self.index.insert_new(hash, offset);
        Ok(offset)
    }

    /// Makes sure that the file has blocks up to `end`.
    fn grow(&mut self, end: usize) -> io::Result<()> {
        if i32::try_from(end).is_err() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if end <= self.reserved {
            return Ok(());
        }
        let capacity = end.next_power_of_two().max(self.capacity);
        let reserved = reservation(end);
        self.keep_open()?;
        let file = self.file.as_ref().and_then(Descriptor::file).ok_or(io::ErrorKind::NotFound)?;
        if capacity > self.capacity {
            lengthen(file, capacity)?;
        }
        sys::reserve(file, self.reserved, reserved)?;
        if capacity > self.capacity {
            // Values that are attached keep the mapping that they have: both show the same pages.
            self.mapping = Mapping::new(file, capacity)?;
            self.capacity = capacity;
        }
        self.reserved = reserved;
        Ok(())
    }

    /// Opens the file again if the program has closed its descriptor.
    fn keep_open(&mut self) -> io::Result<()> {
        if self.file.as_ref().is_none_or(|file| file.file().is_some()) {
            return Ok(());
        }
        let file = open::reopen(&self.path)?;
        let descriptor = Descriptor::new(file)?;
        if descriptor.identity() != self.identity {
            return Err(io::ErrorKind::NotFound.into());
        }
        // On Linux the mapping of the closed descriptor has the lock still, so that this fails.
        let _ = lock::try_lock(descriptor.unchecked());
        self.keeps_lock.get_or_insert_with(|| Arc::clone(&self.mapping));
        self.file = Some(descriptor);
        Ok(())
    }

    /// Takes all entries out of a file that has another place by now, where the lock is about to be
    /// given up: its entries were taken over, and must not be counted twice.
    pub(crate) fn empty_if_moved(&mut self) {
        let file = self.file.as_ref().and_then(Descriptor::file);
        let links = file.and_then(|file| file.metadata().ok()).map(|metadata| metadata.nlink());
        if links != Some(0) {
            self.used = HEADER_SIZE;
            // An error is impossible: the header's size fits into a header.
            let _ = self.publish();
        }
    }

    fn publish(&self) -> io::Result<()> {
        self.mapping.publish(0, header(self.used)?);
        Ok(())
    }
}

/// The size of an entry with this head.
fn size_of_entry(head: &[u8]) -> usize {
    head.len() + format::VALUE_SIZE + format::TIMESTAMP_SIZE
}

/// The header as a word.
pub(crate) fn header(used: usize) -> io::Result<u64> {
    let used = i32::try_from(used).map_err(|_| io::ErrorKind::FileTooLarge)?;
    Ok(format::header_word(used, MAGIC_WRITER))
}

/// Up to where a file gets blocks whose entries end at `end`: a little more, so that not each entry
/// costs a system call, and little enough that small files take no more room than those of
/// `prometheus_client`.
fn reservation(end: usize) -> usize {
    let large_step = end.next_power_of_two() / STEPS_OF_LARGE_FILE;
    end.next_multiple_of(if end <= INITIAL_SIZE { SMALL_STEP } else { large_step })
}

/// Makes the file at least `length` bytes long, without blocks.
fn lengthen(file: &File, length: usize) -> io::Result<()> {
    let length = length as u64;
    if file.metadata()?.len() < length { file.set_len(length) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::count::open::{self, Opened, Opening};

    /// Opens or makes the file at `path`.
    pub(crate) fn open(path: &Path, opening: Opening) -> Writer {
        match open::open(path, opening).unwrap() {
            Opened::Ours(writer) => *writer,
            Opened::Taken(taken) => panic!("{taken:?}"),
        }
    }

    /// Sets the value of an entry.
    pub(crate) fn set(writer: &mut Writer, key: &str, value: f64) {
        let head = format::entry_head(key.as_bytes()).unwrap();
        let (mapping, offset) = writer.place(&head).unwrap();
        mapping.cell(offset).set(value, 0.0);
    }

    /// The keys and values of a file.
    pub(crate) fn entries(path: &Path) -> Vec<(String, f64)> {
        let mut entries = Vec::new();
        let outcome = Reader::default().read(
            path,
            false,
            |_| false,
            |_, entry| {
                entries.push((String::from_utf8(entry.key.to_vec()).unwrap(), entry.value));
            },
        );
        assert_eq!(outcome.unwrap(), Outcome::Complete);
        entries
    }
}

#[cfg(test)]
mod tests;
