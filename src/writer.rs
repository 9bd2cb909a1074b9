//! Writes one file, which no other process writes while this one does.
//!
//! The entry is written first and `used` is published last, so what a reader finds below `used` is
//! whole, wherever the writer was killed. The file is locked with `flock` as long as its writer
//! lives: the kernel drops the lock however a process dies, in any pid namespace, so the lock, and
//! not the pid, says who is alive.

use std::fs::{self, File, TryLockError};
use std::hash::BuildHasher;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::archive::{self, Identity};
use crate::error::{Error, Result};
use crate::format::{
    self, HEADER_PADDING_SIZE, HEADER_SIZE, INITIAL_SIZE, MAGIC_STOCK, MAGIC_WRITER, USED_SIZE,
};
use crate::journal;
use crate::lock;
use crate::mapping::{self, Mapping};
use crate::reader::{Outcome, Reader};

/// How often a file that is gone as soon as it is opened is opened again.
const ATTEMPTS: usize = 100;
/// How often a lock is tried that somebody holds, and how long to wait in between: the child of a
/// fork keeps it for some milliseconds only, and so does a compaction, which may fold much at once.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_ATTEMPTS_BESIDE_COMPACTION: u32 = 150;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// What became of the attempt to write a file.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It is ours.
    Ours(Box<Writer>),
    /// Another process holds it, or what is in it could not be continued without loss.
    Taken(Taken),
}

/// Why a file cannot be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Another writer is alive.
    Held,
    /// It is no regular file, damaged, or of a later version.
    Unusable,
}

/// How to open a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    /// Whether entries of an earlier writer are continued; else they are thrown away.
    pub(crate) continues: bool,
    /// A file that this process had open before: it is continued anyway.
    pub(crate) own: Option<Identity>,
    /// Whether to wait some milliseconds for a lock.
    pub(crate) waits: bool,
}

/// A file that is ours to write.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    /// None after a fork: only the parent may keep the lock.
    file: Option<File>,
    identity: Identity,
    mapping: Arc<Mapping>,
    capacity: usize,
    used: usize,
    /// Where the entries begin, by the hash of their heads. Both fit into 32 bits, as in the header:
    /// a process that makes millions of short-lived series pays a few bytes for each.
    entries: HashTable<Place>,
    hasher: DefaultHashBuilder,
    /// What the header says of who writes the file.
    magic: [u8; HEADER_PADDING_SIZE],
}

/// An entry, by the hash of its head.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    offset: u32,
}

impl Place {
    /// A hash of 64 bits, of which the table uses both ends.
    fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Writer {
    /// Opens the file at `path` for writing, or makes it.
    pub(crate) fn open(path: &Path, opening: Opening) -> Result<Opened> {
        Self::try_open(path, opening).map_err(|source| Error::Io { path: path.to_owned(), source })
    }

    fn try_open(path: &Path, opening: Opening) -> io::Result<Opened> {
        for _ in 0..ATTEMPTS {
            let mut options = File::options();
            // Opening a FIFO must not wait for its other end, and a link, where others may write to
            // the directory, could lead to a file of ours that is none of the metrics'.
            let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
            options.read(true).write(true).create(true).custom_flags(flags);
            let file = match options.open(path) {
                Ok(file) => file,
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EISDIR | libc::ENXIO | libc::ELOOP)
                    ) =>
                {
                    return Ok(Opened::Taken(Taken::Unusable));
                }
                Err(error) => return Err(error),
            };
            if !file.metadata()?.is_file() {
                return Ok(Opened::Taken(Taken::Unusable));
            }
            if !lock(&file, path, opening.waits)? {
                return Ok(Opened::Taken(Taken::Held));
            }
            let metadata = file.metadata()?;
            // Between opening and locking its last owner may have removed it.
            if !is_at(path, archive::identity(&metadata))? {
                continue;
            }
            if is_spent(path, &metadata)? {
                // Its counts are in an archive, from a compaction that was killed before it could
                // delete the file: they must not be counted on.
                thread::sleep(journal::remaining_for(&metadata));
                fs::remove_file(path)?;
                continue;
            }
            let continues = opening.continues || opening.own == Some(archive::identity(&metadata));
            if metadata.len() > 0 && !continues {
                // A new file, not the old one emptied: who reads the old one just now shall see
                // all of it or nothing.
                fs::remove_file(path)?;
                continue;
            }
            // Keeps the lock until the file is removed, where there was no room for what we made:
            // prometheus_client cannot read an empty file.
            let made = if metadata.len() == 0 { file.try_clone().ok() } else { None };
            let taken = Self::take(path, file, &metadata);
            if taken.is_err() && made.is_some() {
                let _ = fs::remove_file(path);
            }
            return taken;
        }
        Err(io::Error::other("the file is removed as soon as it is made"))
    }

    /// Takes a file that we have locked.
    fn take(path: &Path, file: File, metadata: &fs::Metadata) -> io::Result<Opened> {
        let mut places = Vec::new();
        let mut used = HEADER_SIZE;
        if metadata.len() > 0 {
            let mut header = [0; HEADER_SIZE];
            let length = io::Read::read(&mut &file, &mut header)?;
            io::Seek::rewind(&mut &file)?;
            let magic = format::parse_magic(&header[..length]);
            if !matches!(magic, Some(MAGIC_STOCK | MAGIC_WRITER)) {
                return Ok(Opened::Taken(Taken::Unusable));
            }
            let outcome = Reader::default().read_entries(&file, |_, entry| {
                // A key that the reader has believed has a head.
                let head = format::entry_head(entry.key).unwrap_or_default();
                let offset = used;
                used += format::entry_size(entry.key.len());
                places.push((head, offset));
            })?;
            if outcome != Outcome::Complete || i32::try_from(used).is_err() {
                return Ok(Opened::Taken(Taken::Unusable));
            }
        }
        // A file of prometheus_client has holes, and storing into a hole may fail.
        let capacity = used.next_power_of_two().max(INITIAL_SIZE);
        mapping::reserve(&file, 0, capacity)?;
        let mut writer = Self {
            path: path.to_owned(),
            mapping: Mapping::new(&file, capacity)?,
            file: Some(file),
            identity: archive::identity(metadata),
            capacity,
            used,
            entries: HashTable::with_capacity(places.len()),
            hasher: DefaultHashBuilder::default(),
            magic: MAGIC_WRITER,
        };
        writer.publish()?;
        for (head, offset) in places {
            if writer.mapping.has(offset, &head) {
                writer.index(&head, offset);
            }
        }
        Ok(Opened::Ours(Box::new(writer)))
    }

    /// Where the value of the entry with this head is, and in which mapping; it is made if need be.
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

    /// Whether an entry with this head is there.
    pub(crate) fn knows(&self, head: &[u8]) -> bool {
        self.find(head).is_some()
    }

    /// Takes all entries of the file that `other` writes: all of them, or none and an error.
    ///
    /// Where both have an entry those of `other` count: most likely the file is a copy of its own that
    /// somebody has put in its place.
    pub(crate) fn take_entries(&mut self, other: &Self) -> Result<()> {
        self.grow(self.used + other.used)
            .map_err(|source| Error::Io { path: self.path.clone(), source })?;
        let bytes = other.mapping.read(HEADER_SIZE, other.used);
        let mut rest = &bytes[..];
        while let format::Parsed::Entry(entry, size) = format::parse_entry(rest, rest.len()) {
            // A key that was written once has a head.
            let head = format::entry_head(entry.key).unwrap_or_default();
            let (mapping, offset) = self.place(&head)?;
            mapping.cell(offset).set(entry.value, entry.timestamp);
            rest = &rest[size..];
        }
        Ok(())
    }

    /// Where the file was made.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still names the file.
    pub(crate) fn is_in_place(&self) -> bool {
        // Only what is known to be gone is gone.
        is_at(&self.path, self.identity).unwrap_or(true)
    }

    /// Whether the file at `path` is the one that is written here, under whatever name.
    pub(crate) fn writes(&self, path: &Path) -> bool {
        is_at(path, self.identity).unwrap_or(false)
    }

    /// Which file it is, whatever its name.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Gives up the descriptor, and with it the lock, which belongs to the parent of this process.
    pub(crate) fn disown(&mut self) {
        self.file = None;
    }

    /// Has the header say that `prometheus_client` writes the file, which will go on without a lock:
    /// with our magic whoever finds it unlocked would take its process for dead.
    pub(crate) fn hand_over(&mut self) {
        self.magic = MAGIC_STOCK;
        // It was published before, so it fits.
        let _ = self.publish();
    }

    fn find(&self, head: &[u8]) -> Option<usize> {
        let hash = self.hash(head);
        let place = self.entries.find(Place::spread(hash), |place| {
            place.hash == hash && self.mapping.has(place.offset as usize, head)
        })?;
        Some(place.offset as usize)
    }

    fn append(&mut self, head: &[u8]) -> io::Result<usize> {
        let offset = self.used;
        let end = self.end_of_new(head);
        self.grow(end)?;
        // What is behind `used` may be left from a writer that was killed before it published.
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
            mapping::reserve(file, self.capacity, capacity)?;
            // Values that are in the file already keep the mapping that they have: both show the
            // same pages.
            self.mapping = Mapping::new(file, capacity)?;
            self.capacity = capacity;
        }
        Ok(())
    }

    fn publish(&self) -> io::Result<()> {
        let used = i32::try_from(self.used).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.mapping.publish(0, format::header_word(used, self.magic));
        Ok(())
    }

    fn index(&mut self, head: &[u8], offset: usize) {
        let hash = self.hash(head);
        // Where a key stands twice the last counts, as in prometheus_client.
        let mapping = &self.mapping;
        let known = self.entries.find_mut(Place::spread(hash), |place| {
            place.hash == hash && mapping.has(place.offset as usize, head)
        });
        // CAST: below `used`, which fits into an i32.
        #[allow(clippy::cast_possible_truncation)]
        let place = Place { hash, offset: offset as u32 };
        if let Some(known) = known {
            *known = place;
        } else {
            let spread = |place: &Place| Place::spread(place.hash);
            self.entries.insert_unique(Place::spread(hash), place, spread);
        }
    }

    fn hash(&self, head: &[u8]) -> u32 {
        // CAST: half of the hash is as good a hash.
        #[allow(clippy::cast_possible_truncation)]
        let hash = self.hasher.hash_one(head) as u32;
        hash
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing alone would not do: what is still mapped keeps the lock.
        if let Some(file) = &self.file {
            // An error says that there is no lock.
            let _ = file.unlock();
        }
    }
}

/// Has the header of the file at `path` say that `prometheus_client` writes it, if it is the one of
/// this identity, which multiprom wrote and closed. One that is spent is deleted.
pub(crate) fn hand_over_closed(path: &Path, identity: Identity) -> io::Result<()> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = File::options().read(true).write(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    // A compaction may be at it; who holds it longer lives, and writes it with multiprom.
    if archive::identity(&metadata) != identity || !lock(&file, path, true)? {
        return Ok(());
    }
    let handed = hand_over_locked(path, &file);
    // Not left to closing: a fork may have copied the descriptor.
    let _ = file.unlock();
    handed
}

fn hand_over_locked(path: &Path, file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !is_at(path, archive::identity(&metadata))? {
        return Ok(());
    }
    if is_spent(path, &metadata)? {
        // Else its counts would be seen twice: what is written to it makes it another file.
        thread::sleep(journal::remaining_for(&metadata));
        return fs::remove_file(path);
    }
    let mut header = [0; HEADER_SIZE];
    file.read_exact_at(&mut header, 0)?;
    if format::parse_magic(&header) == Some(MAGIC_WRITER) {
        file.write_all_at(&MAGIC_STOCK, USED_SIZE as u64)?;
    }
    Ok(())
}

/// Locks the file at `path` for as long as it is open; false if somebody else holds the lock.
fn lock(file: &File, path: &Path, waits: bool) -> io::Result<bool> {
    for attempt in 1.. {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {
                continue;
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // A living writer of the same identifier keeps it; a compaction will let go of it.
        let is_patient = attempt < LOCK_ATTEMPTS
            || attempt < LOCK_ATTEMPTS_BESIDE_COMPACTION
                && path.parent().is_some_and(lock::is_at_work);
        if !waits || !is_patient {
            break;
        }
        thread::sleep(LOCK_PAUSE);
    }
    Ok(false)
}

/// Whether what a file holds that we have locked is in an archive.
fn is_spent(path: &Path, metadata: &fs::Metadata) -> io::Result<bool> {
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) if metadata.len() > 0 => {
            archive::is_spent(directory, name, metadata)
        }
        _ => Ok(false),
    }
}

/// Whether `path` names this file.
fn is_at(path: &Path, identity: Identity) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(archive::identity(&metadata) == identity),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE)
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::MAGIC_ARCHIVE;
    use crate::format::testing::{entry, file, file_of};
    use crate::journal::{self, Mark};
    use std::os::unix::fs::MetadataExt;
    use tempfile::TempDir;

    const CONTINUING: Opening = Opening { continues: true, own: None, waits: false };
    const ANEW: Opening = Opening { continues: false, own: None, waits: false };

    fn open(path: &Path, opening: Opening) -> Writer {
        match Writer::open(path, opening).unwrap() {
            Opened::Ours(writer) => *writer,
            Opened::Taken(taken) => panic!("{taken:?}"),
        }
    }

    fn set(writer: &mut Writer, key: &str, value: f64) {
        let head = format::entry_head(key.as_bytes()).unwrap();
        let (mapping, offset) = writer.place(&head).unwrap();
        mapping.cell(offset).set(value, 0.0);
    }

    fn entries(path: &Path) -> Vec<(String, f64)> {
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
    fn whoever_lives_keeps_its_file() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let writer = open(&path, CONTINUING);
        let second = Writer::open(&path, CONTINUING).unwrap();
        assert!(matches!(second, Opened::Taken(Taken::Held)));
        drop(writer);
        open(&path, CONTINUING);
    }

    /// Writes an archive whose journal names the file, which has one entry.
    fn absorb(path: &Path) {
        let marks = [Mark::new(path.file_name().unwrap(), &fs::metadata(path).unwrap())];
        let mut archive = file_of(MAGIC_ARCHIVE, &[entry("key", 1.0, 0.0)]);
        archive.extend(journal::encode(&marks).unwrap());
        fs::write(path.with_file_name("counter_compacted.db"), archive).unwrap();
    }

    /// Counts in a new file, closes it, and gives what tells it from others.
    fn closed(path: &Path) -> Identity {
        let mut writer = open(path, CONTINUING);
        set(&mut writer, "key", 1.0);
        writer.identity()
    }

    #[test]
    fn a_spent_file_is_not_continued() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        set(&mut open(&path, CONTINUING), "key", 1.0);
        absorb(&path);
        let old = File::open(&path).unwrap();
        let mut writer = open(&path, CONTINUING);
        assert_eq!(entries(&path), []);
        assert_eq!(old.metadata().unwrap().nlink(), 0);
        set(&mut writer, "key", 2.0);
        drop(writer);
        // The journal still names a file of that name, but not this one.
        open(&path, CONTINUING);
        assert_eq!(entries(&path), [("key".to_owned(), 2.0)]);
    }

    #[test]
    fn a_closed_file_is_handed_over_when_it_is_free() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let identity = closed(&path);
        let magic = || fs::read(&path).unwrap()[USED_SIZE..HEADER_SIZE].to_owned();
        hand_over_closed(&path, (identity.0, identity.1 + 1)).unwrap();
        assert_eq!(magic(), MAGIC_WRITER, "another file");
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        thread::scope(|scope| {
            let handed = scope.spawn(|| hand_over_closed(&path, identity));
            thread::sleep(LOCK_PAUSE);
            held.unlock().unwrap();
            handed.join().unwrap().unwrap();
        });
        assert_eq!(magic(), MAGIC_STOCK);
        File::open(&path).unwrap().try_lock().unwrap();
    }

    /// Written to it would be another file than the archive's journal names, and count twice.
    #[test]
    fn a_spent_file_is_not_handed_over() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let identity = closed(&path);
        absorb(&path);
        hand_over_closed(&path, identity).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_compaction_is_waited_for_and_a_living_writer_is_not() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let waiting = Opening { waits: true, ..CONTINUING };
        let folded = open(&path, CONTINUING);
        let compaction = lock::directory(directory.path(), Duration::ZERO).unwrap();
        // Far longer than a living writer of the same identifier is waited for.
        let pause = LOCK_PAUSE * LOCK_ATTEMPTS * 3;
        let opened = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(pause);
                drop((folded, compaction));
            });
            Writer::open(&path, waiting).unwrap()
        });
        assert!(matches!(opened, Opened::Ours(_)));
        let second = Writer::open(&path, waiting).unwrap();
        assert!(matches!(second, Opened::Taken(Taken::Held)));
    }

    #[test]
    fn what_starts_anew_leaves_the_old_file_to_its_readers() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("gauge_liveall_1.db");
        set(&mut open(&path, CONTINUING), "key", 1.0);
        let old = fs::File::open(&path).unwrap();
        let mut writer = open(&path, ANEW);
        assert_eq!(entries(&path), []);
        assert_eq!(old.metadata().unwrap().nlink(), 0);
        set(&mut writer, "key", 2.0);
        let own = Opening { own: Some(writer.identity()), ..ANEW };
        drop(writer);
        open(&path, own);
        assert_eq!(entries(&path), [("key".to_owned(), 2.0)]);
    }

    #[test]
    fn what_cannot_be_continued_is_left_alone() {
        let directory = TempDir::new().unwrap();
        let sound = entry("key", 1.0, 0.0);
        let cases = [
            b"SQLite format 3\0".to_vec(),
            vec![1, 2, 3],
            file(Some(1000), std::slice::from_ref(&sound)),
            file(Some(-8), std::slice::from_ref(&sound)),
        ];
        for (number, content) in cases.iter().enumerate() {
            let path = directory.path().join(format!("counter_{number}.db"));
            fs::write(&path, content).unwrap();
            let opened = Writer::open(&path, CONTINUING).unwrap();
            assert!(matches!(opened, Opened::Taken(Taken::Unusable)), "{content:?}");
            assert_eq!(&fs::read(&path).unwrap(), content);
        }
        let opened = Writer::open(directory.path(), CONTINUING).unwrap();
        assert!(matches!(opened, Opened::Taken(Taken::Unusable)));
        let link = directory.path().join("counter_9.db");
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &link).unwrap();
        let opened = Writer::open(&link, CONTINUING).unwrap();
        assert!(matches!(opened, Opened::Taken(Taken::Unusable)));
        assert!(!directory.path().join("elsewhere").exists());
    }

    #[test]
    fn a_file_that_is_handed_over_says_nothing_of_a_lock() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let magic = || format::parse_magic(&fs::read(&path).unwrap()[..HEADER_SIZE]);
        let mut writer = open(&path, CONTINUING);
        assert_eq!(magic(), Some(MAGIC_WRITER));
        writer.hand_over();
        assert_eq!(magic(), Some(MAGIC_STOCK));
        // Whoever else here counts in it still does not take that back.
        set(&mut writer, "key", 1.0);
        assert_eq!(magic(), Some(MAGIC_STOCK));
        drop(writer);
        assert_eq!(entries(&path), [("key".to_owned(), 1.0)]);
        open(&path, CONTINUING);
        assert_eq!(magic(), Some(MAGIC_WRITER));
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
