//! The exemplars of what is counted in one file, in a file beside it.
//!
//! Exemplars are worth less than counts: where there is no room for them, they are left out.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::count::open;
use crate::format::exemplar::{self, EXEMPLARS_MAX, Exemplar, MAGIC_EXEMPLARS, SEQUENCE_OFFSET};
use crate::format::{HEADER_SIZE, INITIAL_SIZE, header_word};
use crate::sys::{self, Identity, Mapping, identity, is_at};

/// How long the file is taken for in place after a look. A look makes the file if it is not there.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// A file gets blocks in steps of this.
const STEP: usize = 4 << 10;

/// The exemplars beside one file of this process, once it has one.
#[derive(Debug, Default)]
pub(crate) struct Exemplars {
    file: Option<ExemplarFile>,
    looked_at: Option<Instant>,
}

/// A file that this process has made, and writes.
#[derive(Debug)]
struct ExemplarFile {
    path: PathBuf,
    identity: Identity,
    mapping: Arc<Mapping>,
    /// The length of the file.
    capacity: usize,
    /// Up to where the file has blocks.
    reserved: usize,
    used: usize,
    /// The slot of each series that has one, by its key.
    slots: HashMap<Box<[u8]>, Slot>,
    /// Slots that no series has any more.
    free: Vec<Slot>,
}

/// Where a slot is.
#[derive(Debug, Clone, Copy)]
struct Slot {
    offset: usize,
    size: usize,
}

impl Exemplars {
    /// Keeps the exemplar of the series with this key, in the file beside the metrics file at `path`;
    /// `content` is what its slot gets.
    pub(crate) fn set(&mut self, path: &Path, key: &[u8], content: &[u8]) {
        let now = Instant::now();
        if self.looked_at.is_none_or(|at| now.duration_since(at) >= LOOK_PAUSE) {
            self.looked_at = Some(now);
            if self.file.as_ref().is_none_or(|file| !file.is_in_place()) {
                self.file = ExemplarFile::make(path).ok();
            }
        }
        if let Some(file) = &mut self.file {
            // An error means that there is no room, or that somebody has removed the file.
            let _ = file.set(key, content);
        }
    }

    /// As [`set`](Self::set), if the series has a slot with room for the content and the last look was
    /// a moment ago; else false. No system call is made.
    pub(crate) fn try_set(&self, key: &[u8], content: &[u8]) -> bool {
        let is_new = self.looked_at.is_some_and(|at| at.elapsed() < LOOK_PAUSE);
        is_new && self.file.as_ref().is_some_and(|file| file.try_set(key, content))
    }

    /// The exemplar of the series with this key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Exemplar> {
        let file = self.file.as_ref()?;
        let Slot { offset, size } = *file.slots.get(key)?;
        let slot = file.mapping.read(offset, offset + size);
        exemplar::parse(&slot).map(|(_, exemplar)| exemplar)
    }

    /// Forgets the exemplar of the series with this key.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        if let Some(file) = &mut self.file
            && let Some(slot) = file.slots.remove(key)
        {
            file.give_back(slot);
        }
    }
}

impl ExemplarFile {
    /// Makes the file beside the metrics file at `path`, in the place of one that an earlier process of
    /// the same identifier has left.
    fn make(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let path = path.with_file_name(exemplar::name_of(name));
        let _ = fs::remove_file(&path);
        let file = File::create_new(&path)?;
        file.set_len(INITIAL_SIZE as u64)?;
        sys::reserve(&file, 0, STEP)?;
        let made = Self {
            identity: identity(&file.metadata()?),
            mapping: Mapping::new(&file, INITIAL_SIZE)?,
            path,
            capacity: INITIAL_SIZE,
            reserved: STEP,
            used: HEADER_SIZE,
            slots: HashMap::new(),
            free: Vec::new(),
        };
        made.publish()?;
        Ok(made)
    }

    fn is_in_place(&self) -> bool {
        // After an error nobody knows: the file is taken for in place.
        is_at(&self.path, self.identity).unwrap_or(true)
    }

    fn try_set(&self, key: &[u8], content: &[u8]) -> bool {
        let slot = self.slots.get(key).filter(|slot| slot.size >= exemplar::slot_size(content));
        slot.map(|slot| self.mapping.write_whole(slot.offset + SEQUENCE_OFFSET, content)).is_some()
    }

    fn set(&mut self, key: &[u8], content: &[u8]) -> io::Result<()> {
        if self.try_set(key, content) {
            return Ok(());
        }
        if let Some(slot) = self.slots.remove(key) {
            self.give_back(slot);
        }
        let slot = self.take(exemplar::slot_size(content))?;
        self.slots.insert(key.into(), slot);
        self.mapping.write_whole(slot.offset + SEQUENCE_OFFSET, content);
        Ok(())
    }

    /// A slot of at least this size: a free one, or a new one.
    fn take(&mut self, size: usize) -> io::Result<Slot> {
        if let Some(place) = self.free.iter().position(|slot| slot.size >= size) {
            return Ok(self.free.swap_remove(place));
        }
        let slot = Slot { offset: self.used, size };
        self.grow(slot.offset + size)?;
        self.mapping.publish(slot.offset, exemplar::slot_word(size));
        self.used += size;
        self.publish()?;
        Ok(slot)
    }

    fn give_back(&mut self, slot: Slot) {
        self.mapping.write_whole(slot.offset + SEQUENCE_OFFSET, &exemplar::no_content());
        self.free.push(slot);
    }

    /// Makes sure that the file has blocks up to `end`.
    fn grow(&mut self, end: usize) -> io::Result<()> {
        if end <= self.reserved {
            return Ok(());
        }
        if end > EXEMPLARS_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // Opened for this only: most processes need no descriptor for their exemplars.
        let file = open::reopen(&self.path)?;
        if identity(&file.metadata()?) != self.identity {
            return Err(io::ErrorKind::NotFound.into());
        }
        let capacity = end.next_power_of_two().max(self.capacity);
        let reserved = end.next_multiple_of(STEP);
        if capacity > self.capacity {
            file.set_len(capacity as u64)?;
        }
        sys::reserve(&file, self.reserved, reserved)?;
        if capacity > self.capacity {
            self.mapping = Mapping::new(&file, capacity)?;
            self.capacity = capacity;
        }
        self.reserved = reserved;
        Ok(())
    }

    fn publish(&self) -> io::Result<()> {
        let used = i32::try_from(self.used).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.mapping.publish(0, header_word(used, MAGIC_EXEMPLARS));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Outcome, read_exemplars};
    use std::collections::BTreeMap;
    use tempfile::TempDir;

    fn set(exemplars: &mut Exemplars, path: &Path, key: &str, labels: &[(&str, &str)], value: f64) {
        let content = exemplar::content(key.as_bytes(), labels, value, 2.5).unwrap();
        if !exemplars.try_set(key.as_bytes(), &content) {
            exemplars.set(path, key.as_bytes(), &content);
        }
    }

    fn all(path: &Path) -> BTreeMap<String, (String, f64)> {
        let mut found = BTreeMap::new();
        let outcome =
            read_exemplars(&path.with_file_name("counter_1.db.exemplars"), |key, exemplar| {
                let key = String::from_utf8(key.to_vec()).unwrap();
                let Exemplar { labels, value, timestamp } = exemplar;
                assert_eq!(timestamp.to_bits(), 2.5_f64.to_bits());
                assert!(found.insert(key, (labels[0].1.clone(), value)).is_none());
            });
        assert_eq!(outcome.unwrap(), Outcome::Complete);
        found
    }

    #[test]
    fn the_last_of_each_series() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let mut exemplars = Exemplars::default();
        let mut set_text = |key: &str, text: &str, value| {
            set(&mut exemplars, &path, key, &[("trace_id", text)], value);
        };
        let mut expected = BTreeMap::new();
        for number in 0..1000 {
            let (key, text) = (format!("key {number}"), "x".repeat(number % 100));
            set_text(&key, "short", 1.0);
            set_text(&key, &text, 2.0);
            expected.insert(key, (text, 2.0));
        }
        assert_eq!(all(&path), expected);
        let length = || path.with_file_name("counter_1.db.exemplars").metadata().unwrap().len();
        let before = length();
        assert_eq!(exemplars.get(b"key 3").unwrap().labels[0].1, "xxx");
        for number in 0..1000 {
            let key = format!("key {number}");
            exemplars.remove(key.as_bytes());
            assert_eq!(exemplars.get(key.as_bytes()), None);
            expected.remove(&key);
        }
        assert_eq!(all(&path), expected);
        for number in 0..10_000 {
            let key = format!("other {number}");
            set(&mut exemplars, &path, &key, &[("trace_id", "text")], 3.0);
            exemplars.remove(key.as_bytes());
        }
        assert_eq!(length(), before, "slots are used again");
    }

    #[test]
    fn a_file_that_was_removed_is_made_anew_later() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let mut exemplars = Exemplars::default();
        let file = path.with_file_name("counter_1.db.exemplars");
        fs::write(&file, "of an earlier process").unwrap();
        set(&mut exemplars, &path, "key", &[("a", "b")], 1.0);
        assert_eq!(all(&path).len(), 1);
        fs::remove_file(&file).unwrap();
        set(&mut exemplars, &path, "key", &[("a", "b")], 1.0);
        assert!(!file.exists());
        exemplars.looked_at = None;
        set(&mut exemplars, &path, "key", &[("a", "b")], 1.0);
        assert_eq!(all(&path).len(), 1);
        fs::remove_dir_all(directory.path()).unwrap();
        exemplars.looked_at = None;
        set(&mut exemplars, &path, "key", &[("a", "b")], 1.0);
        assert_eq!(exemplars.get(b"key"), None, "there is no directory");
    }

    /// What is read of one slot is what was written at one moment.
    #[test]
    fn no_exemplar_is_torn() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let mut exemplars = Exemplars::default();
        let mut write = |number: u32| {
            let text = format!("{number:0>100}");
            set(&mut exemplars, &path, "key", &[("a", &text)], f64::from(number));
        };
        write(0);
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || (0..200_000).for_each(write));
            let mut seen = 0_u32;
            while !writing.is_finished() {
                for (text, value) in all(&path).into_values() {
                    assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
                    seen += 1;
                }
            }
            assert!(seen > 0);
        });
    }
}
