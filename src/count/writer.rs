//! Writes one file, which no other process writes while this one does.
//!
//! The entry is written first and `used` is published last, so what a reader finds below `used` is
//! whole, wherever the writer was killed. [`crate::count::open`] locks the file.

use std::fs::{File, Metadata};
use std::hash::BuildHasher;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::error::{Error, Result};
use crate::format::{self, HEADER_SIZE, INITIAL_SIZE, MAGIC_STOCK, MAGIC_WRITER};
use crate::store::{Outcome, Reader};
use crate::sys::{self, Identity, Mapping, identity, is_at};

/// A file that this process has locked, and writes.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    /// None in the child of a fork: only the parent may keep the lock.
    file: Option<File>,
    identity: Identity,
    mapping: Arc<Mapping>,
    capacity: usize,
    used: usize,
    /// Where the entries begin, by the hash of their heads. Hash and offset have 32 bits each, so that
    /// a process that makes millions of short-lived series pays a few bytes for each.
    places: HashTable<Place>,
    hasher: DefaultHashBuilder,
}

/// An entry, by the hash of its head.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    offset: u32,
}

impl Place {
    /// A hash of 64 bits: the table uses its lowest and its highest bits.
    fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Writer {
    /// The writer of a file that this process has locked; none if its content cannot be continued
    /// without loss.
    pub(crate) fn new(path: &Path, file: File, metadata: &Metadata) -> io::Result<Option<Self>> {
        let mut places = Vec::new();
        let mut used = HEADER_SIZE;
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
                places.push((head, offset));
            })?;
            if outcome != Outcome::Complete || i32::try_from(used).is_err() {
                return Ok(None);
            }
        }
        // A file of prometheus_client has holes, and storing into a hole may fail.
        let capacity = used.next_power_of_two().max(INITIAL_SIZE);
        sys::reserve(&file, 0, capacity)?;
        let mut writer = Self {
            path: path.to_owned(),
            mapping: Mapping::new(&file, capacity)?,
            file: Some(file),
            identity: identity(metadata),
            capacity,
            used,
            places: HashTable::with_capacity(places.len()),
            hasher: DefaultHashBuilder::default(),
        };
        writer.publish()?;
        for (head, offset) in places {
            if writer.mapping.has(offset, &head) {
                writer.index(&head, offset);
            }
        }
        Ok(Some(writer))
    }

    /// The mapping and the offset of the value of the entry with this head, which is made if need be.
    pub(crate) fn place(&mut self, head: &[u8]) -> Result<(&Arc<Mapping>, usize)> {
        let offset = match self.find(head) {
            Some(offset) => offset,
            None => {
                self.append(head).map_err(|source| Error::Io { path: self.path.clone(), source })?
            }
        };
        Ok((&self.mapping, offset + head.len()))
    }

    /// Whether an entry with this head is there, or fits into the file as it is.
    pub(crate) fn has_room(&self, head: &[u8]) -> bool {
        self.end_of_new(head) <= self.capacity || self.find(head).is_some()
    }

    /// Takes all entries of the file that `other` writes: all of them, or none and an error.
    ///
    /// Where both have an entry that of `other` counts: most likely somebody has put a copy of the
    /// removed file in its place.
    pub(crate) fn take_entries(&mut self, other: &Self) -> Result<()> {
        self.grow(self.used + other.used)
            .map_err(|source| Error::Io { path: self.path.clone(), source })?;
        let bytes = other.entries();
        let mut rest = &bytes[..];
        while let format::Parsed::Entry(entry, size) = format::parse_entry(rest, rest.len()) {
            // UNWRAP: the entry was written with a head.
            let head = format::entry_head(entry.key).unwrap_or_default();
            let (mapping, offset) = self.place(&head)?;
            mapping.cell(offset).set(entry.value, entry.timestamp);
            rest = &rest[size..];
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
        self.file = None;
    }

    fn find(&self, head: &[u8]) -> Option<usize> {
        let hash = self.hash(head);
        let place = self.places.find(Place::spread(hash), |place| {
            place.hash == hash && self.mapping.has(place.offset as usize, head)
        })?;
        Some(place.offset as usize)
    }

    fn append(&mut self, head: &[u8]) -> io::Result<usize> {
        let offset = self.used;
        let end = self.end_of_new(head);
        self.places
            .try_reserve(1, |place| Place::spread(place.hash))
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.grow(end)?;
        // A writer that was killed before it published `used` may have left bytes behind it.
        self.mapping.write(offset, head);
        self.mapping.write(end - format::VALUE_SIZE - format::TIMESTAMP_SIZE, &[0; 16]);
        self.used = end;
        self.publish()?;
        self.index(head, offset);
        Ok(offset)
    }

    /// Where an entry with this head would end behind all others.
    fn end_of_new(&self, head: &[u8]) -> usize {
        self.used + head.len() + format::VALUE_SIZE + format::TIMESTAMP_SIZE
    }

    fn grow(&mut self, end: usize) -> io::Result<()> {
        if i32::try_from(end).is_err() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let capacity = end.next_power_of_two();
        if capacity > self.capacity {
            let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
            // A program that closes all descriptors (`os.closerange`) may have closed this one, and
            // the number may be that of another file by now.
            if identity(&file.metadata()?) != self.identity {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            sys::reserve(file, self.capacity, capacity)?;
            // Values that are attached keep the mapping that they have: both show the same pages.
            self.mapping = Mapping::new(file, capacity)?;
            self.capacity = capacity;
        }
        Ok(())
    }

    fn publish(&self) -> io::Result<()> {
        self.mapping.publish(0, header(self.used)?);
        Ok(())
    }

    fn index(&mut self, head: &[u8], offset: usize) {
        let hash = self.hash(head);
        // If a key is in the file twice, the last entry counts, as in prometheus_client.
        let mapping = &self.mapping;
        let known = self.places.find_mut(Place::spread(hash), |place| {
            place.hash == hash && mapping.has(place.offset as usize, head)
        });
        // CAST: below `used`, which fits into an i32.
        #[allow(clippy::cast_possible_truncation)]
        let place = Place { hash, offset: offset as u32 };
        if let Some(known) = known {
            *known = place;
        } else {
            let spread = |place: &Place| Place::spread(place.hash);
            self.places.insert_unique(Place::spread(hash), place, spread);
        }
    }

    fn hash(&self, head: &[u8]) -> u32 {
        // CAST: half of the hash is as good a hash.
        #[allow(clippy::cast_possible_truncation)]
        let hash = self.hasher.hash_one(head) as u32;
        hash
    }
}

/// The header as a word.
fn header(used: usize) -> io::Result<u64> {
    let used = i32::try_from(used).map_err(|_| io::ErrorKind::FileTooLarge)?;
    Ok(format::header_word(used, MAGIC_WRITER))
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing alone would not do: on Linux a mapping that a value still has keeps the lock.
        if let Some(file) = &self.file {
            // An error says that there is no lock.
            let _ = file.unlock();
        }
    }
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
mod tests {
    use super::testing::{entries, open, set};
    use super::*;
    use crate::count::open::CONTINUING;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use tempfile::TempDir;

    #[test]
    fn entries_over_several_mappings() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let mut writer = open(&path, CONTINUING);
        let expected: Vec<_> =
            (0..3000u16).map(|number| (format!("key {number}"), f64::from(number))).collect();
        for (key, value) in &expected {
            set(&mut writer, key, *value);
        }
        assert_eq!(entries(&path), expected);
        assert!(fs::metadata(&path).unwrap().len().is_power_of_two());
        drop(writer);
        let mut writer = open(&path, CONTINUING);
        set(&mut writer, "key 7", -1.0);
        assert_eq!(entries(&path)[7], ("key 7".to_owned(), -1.0));
        assert_eq!(entries(&path).len(), 3000);
    }

    #[test]
    fn a_sparse_file_gets_its_blocks() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        fs::File::create(&path).unwrap().set_len(INITIAL_SIZE as u64).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().blocks(), 0);
        let _writer = open(&path, CONTINUING);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= INITIAL_SIZE as u64);
    }

    #[test]
    fn a_replacement_takes_all_entries() {
        let directory = TempDir::new().unwrap();
        let [old_path, path] =
            ["counter_1.db", "counter_2.db"].map(|name| directory.path().join(name));
        let mut old = open(&old_path, CONTINUING);
        set(&mut old, "a", 1.0);
        set(&mut old, "b", 2.0);
        fs::remove_file(&old_path).unwrap();
        assert!(!old.is_in_place());
        let mut writer = open(&path, CONTINUING);
        set(&mut writer, "b", 4.0);
        writer.take_entries(&old).unwrap();
        assert_eq!(entries(&path), [("b".to_owned(), 2.0), ("a".to_owned(), 1.0)]);
    }
}
