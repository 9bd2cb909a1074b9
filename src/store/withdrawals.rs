//! The numbers of withdrawals: one small file in each directory in which series were withdrawn.
//!
//! For each kind that is foldable the file has two words: how many withdrawals there were, so that the
//! next one gets the number behind that, and up to which number compactions have heeded them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::kind::{FOLDABLE, Kind};
use crate::mark::{NUMBER_MAX, UNNUMBERED};
use crate::store::read_at;
use crate::sys::{self, Mapping};

/// The name of the file: no `*.db`, so that no scrape reads it.
pub(crate) const WITHDRAWALS_FILE: &str = ".multiprom.withdrawn";
/// The size of the file in bytes: a page.
const SIZE: usize = 4 << 10;
const NUMBER_SIZE: usize = size_of::<u64>();
/// What a kind has of the file.
const KIND_SIZE: usize = 2 * NUMBER_SIZE;

/// The numbers of one kind, for a process that withdraws series.
#[derive(Debug)]
pub(crate) struct Withdrawals {
    mapping: Arc<Mapping>,
    place: usize,
}

impl Withdrawals {
    /// Opens the file of `directory`, which is made if need be. Fails, too, for a kind of which no
    /// archive is ever made.
    pub(crate) fn open(directory: &Path, kind: Kind<'_>) -> io::Result<Self> {
        let place = place(kind).ok_or(io::ErrorKind::Unsupported)?;
        let mut options = options();
        options.read(true).write(true).create(true);
        let file = options.open(directory.join(WITHDRAWALS_FILE))?;
        sys::reserve(&file, 0, SIZE)?;
        Ok(Self { mapping: Mapping::new(&file, SIZE)?, place })
    }

    /// The number of one more withdrawal; 0 if the file is damaged, and has no number that a mark can
    /// have.
    pub(crate) fn next(&self) -> u64 {
        let number = self.mapping.count_up(self.place);
        if number <= NUMBER_MAX { number } else { 0 }
    }

    /// Up to which number compactions have heeded withdrawals.
    pub(crate) fn heeded(&self) -> u64 {
        let word = self.mapping.read(self.place + NUMBER_SIZE, self.place + KIND_SIZE);
        word.first_chunk().copied().map_or(0, u64::from_ne_bytes)
    }
}

/// The withdrawals of one kind that are to be heeded, for a compaction: it has locked the directory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Unheeded {
    /// The number of the last that has been heeded.
    heeded: u64,
    /// The number of the last.
    last: u64,
}

impl Unheeded {
    /// Reads from `file`; none if all withdrawals of the kind have been heeded.
    pub(crate) fn read(file: &File, kind: Kind<'_>) -> io::Result<Option<Self>> {
        let Some(place) = place(kind) else { return Ok(None) };
        let mut bytes = [0; KIND_SIZE];
        read_at(file, &mut bytes, place as u64)?;
        let [last, heeded] = numbers(&bytes);
        Ok((heeded != last).then_some(Self { heeded, last }))
    }

    /// Whether this is the number of one of them; see [`mark::number`](crate::mark::number).
    pub(crate) fn has(&self, number: u64) -> bool {
        // A withdrawal without a number has just been made: its number will be one of these, or a higher
        // one.
        number == UNNUMBERED || self.heeded < number && number <= self.last
    }

    /// Notes in `file` that they have been heeded.
    pub(crate) fn note_heeded(&self, file: &File, kind: Kind<'_>) -> io::Result<()> {
        let Some(place) = place(kind) else { return Ok(()) };
        file.write_all_at(&self.last.to_ne_bytes(), (place + NUMBER_SIZE) as u64)
    }
}

/// How many withdrawals there were in the directory, of those kinds of which some are to be heeded.
pub(crate) fn unheeded_in(directory: &Path) -> u64 {
    let mut bytes = [0; FOLDABLE.len() * KIND_SIZE];
    let file = options().read(true).open(directory.join(WITHDRAWALS_FILE));
    if file.and_then(|file| read_at(&file, &mut bytes, 0)).is_err() {
        return 0;
    }
    let kinds = bytes.as_chunks().0.iter().map(numbers);
    kinds.filter(|[last, heeded]| last != heeded).map(|[last, _]| last).fold(0, u64::wrapping_add)
}

/// Options that follow no link, and wait for no FIFO.
fn options() -> OpenOptions {
    let mut options = File::options();
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

fn numbers(kind: &[u8; KIND_SIZE]) -> [u64; 2] {
    let (words, _) = kind.as_chunks();
    [0, 1].map(|index| words.get(index).copied().map_or(0, u64::from_ne_bytes))
}

/// Where the numbers of a kind are; none if it is not foldable.
fn place(kind: Kind<'_>) -> Option<usize> {
    FOLDABLE.iter().position(|foldable| *foldable == kind).map(|index| index * KIND_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::MetricType;
    use std::fs;
    use tempfile::TempDir;

    #[test]
    fn what_is_no_file_has_no_numbers() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join(WITHDRAWALS_FILE);
        let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
        assert!(made.success());
        assert_eq!(unheeded_in(directory.path()), 0);
        assert!(Withdrawals::open(directory.path(), FOLDABLE[0]).is_err());
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert_eq!(unheeded_in(directory.path()), 0);
    }

    #[test]
    fn a_damaged_file_gives_no_number() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let withdrawals = Withdrawals::open(path, FOLDABLE[0]).unwrap();
        for last in [NUMBER_MAX, UNNUMBERED, u64::MAX - 1, u64::MAX] {
            let words = [last, 0].repeat(FOLDABLE.len()).into_iter().flat_map(u64::to_ne_bytes);
            fs::write(path.join("damaged"), words.collect::<Vec<_>>()).unwrap();
            withdrawals.mapping.publish(withdrawals.place, last);
            assert_eq!(withdrawals.next(), 0);
            let file = File::open(path.join("damaged")).unwrap();
            assert!(!Unheeded::read(&file, FOLDABLE[0]).unwrap().unwrap().has(0));
            fs::rename(path.join("damaged"), path.join(WITHDRAWALS_FILE)).unwrap();
            assert_ne!(unheeded_in(path), 0);
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        assert_eq!(unheeded_in(path), 0);
        let [first, second] = [(); 2].map(|()| Withdrawals::open(path, FOLDABLE[0]).unwrap());
        let other = Withdrawals::open(path, FOLDABLE[8]).unwrap();
        assert_eq!([first.next(), second.next(), other.next()], [1, 2, 1]);
        assert_eq!(unheeded_in(path), 3);
        let file = File::options().read(true).write(true).open(path.join(WITHDRAWALS_FILE));
        let file = file.unwrap();
        let read = |index: usize| Unheeded::read(&file, FOLDABLE[index]).unwrap();
        let found = read(0).unwrap();
        assert_eq!(found, Unheeded { heeded: 0, last: 2 });
        assert_eq!(
            [0, 1, 2, 3, UNNUMBERED].map(|n| found.has(n)),
            [false, true, true, false, true]
        );
        assert_eq!(read(5), None);
        assert_eq!(second.next(), 3);
        found.note_heeded(&file, FOLDABLE[0]).unwrap();
        assert_eq!(read(0), Some(Unheeded { heeded: 2, last: 3 }));
        assert_eq!([first.heeded(), other.heeded()], [2, 0]);
        read(0).unwrap().note_heeded(&file, FOLDABLE[0]).unwrap();
        assert_eq!(read(0), None);
        assert_eq!(unheeded_in(path), 1, "of the other kind");
        let all = Kind { metric_type: MetricType::Gauge, mode: "all" };
        assert!(Withdrawals::open(path, all).is_err());
        assert_eq!(Unheeded::read(&file, all).unwrap(), None);
        file.set_len(0).unwrap();
        assert_eq!(read(0), None, "cut short");
        assert_eq!(unheeded_in(path), 0);
    }
}
