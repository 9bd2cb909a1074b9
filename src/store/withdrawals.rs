//! How often series of a directory were withdrawn, and up to when compactions have heeded that.
//!
//! One small file that every process maps which withdraws a series. For each kind that is foldable it
//! has 32 bytes, all f64: how often a series was withdrawn, 0, how many of these a compaction has
//! heeded, and when that was, in seconds after the machine's start.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::kind::{FOLDABLE, Kind};
use crate::sys::{self, Mapping, monotonic_time};

/// The name of the file: no `*.db`, so that no scrape reads it.
pub(crate) const WITHDRAWALS_FILE: &str = ".multiprom.withdrawn";
/// The size of the file in bytes: a page.
const SIZE: usize = 4 << 10;
/// What a kind has of it.
const KIND_SIZE: usize = 4 * NUMBER_SIZE;
const NUMBER_SIZE: usize = size_of::<f64>();
/// Where a kind's numbers begin that tell what compactions have heeded.
const HEEDED: usize = 2 * NUMBER_SIZE;

/// The file, as who withdraws series uses it.
#[derive(Debug)]
pub(crate) struct Withdrawals(Arc<Mapping>);

impl Withdrawals {
    /// Opens the file of `directory`, which is made if need be.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(directory.join(WITHDRAWALS_FILE))?;
        // Not in two steps: another process may read it at any moment.
        sys::reserve(&file, 0, SIZE)?;
        Ok(Self(Mapping::new(&file, SIZE)?))
    }

    /// Notes that a series of this kind was withdrawn, after its entry says so.
    pub(crate) fn note(&self, kind: Kind<'_>) {
        if let Some(place) = place(kind) {
            self.0.cell(place).add(1.0);
        }
    }

    /// Up to when compactions have heeded what was withdrawn of this kind.
    pub(crate) fn heeded_at(&self, kind: Kind<'_>) -> f64 {
        place(kind).map_or(0.0, |place| of_this_boot(self.0.cell(place + HEEDED).timestamp()))
    }
}

/// What the file tells of one kind, for who has locked the directory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Withdrawn {
    /// How often a series was withdrawn.
    pub(crate) count: f64,
    /// How many of these have been heeded.
    pub(crate) heeded: f64,
    /// When that was.
    pub(crate) heeded_at: f64,
}

impl Withdrawn {
    /// Reads what `file` tells of a kind.
    pub(crate) fn read(file: &File, kind: Kind<'_>) -> io::Result<Option<Self>> {
        let Some(place) = place(kind) else { return Ok(None) };
        let mut bytes = [0; KIND_SIZE];
        crate::store::read_at(file, &mut bytes, place as u64)?;
        let number =
            |index: usize| bytes.as_chunks().0.get(index).copied().map_or(0.0, f64::from_ne_bytes);
        Ok(Some(Self { count: number(0), heeded: number(2), heeded_at: of_this_boot(number(3)) }))
    }

    /// Whether all has been heeded.
    pub(crate) fn is_heeded(&self) -> bool {
        self.count.to_bits() == self.heeded.to_bits()
    }

    /// Notes that what is told here was heeded at `now`.
    pub(crate) fn note_heeded(&self, file: &File, kind: Kind<'_>, now: f64) -> io::Result<()> {
        let Some(place) = place(kind) else { return Ok(()) };
        let bytes = [self.count.to_ne_bytes(), now.to_ne_bytes()].concat();
        file.write_all_at(&bytes, (place + HEEDED) as u64)
    }
}

/// How often series of the directory were withdrawn, of all kinds; 0 where none ever was.
pub(crate) fn withdrawals_in(directory: &Path) -> f64 {
    let Ok(bytes) = std::fs::read(directory.join(WITHDRAWALS_FILE)) else { return 0.0 };
    let kinds = bytes.chunks_exact(KIND_SIZE).take(FOLDABLE.len());
    kinds.filter_map(|kind| kind.first_chunk().copied().map(f64::from_ne_bytes)).sum()
}

/// Where the numbers of a kind are; none if it is not foldable.
fn place(kind: Kind<'_>) -> Option<usize> {
    FOLDABLE.iter().position(|foldable| *foldable == kind).map(|index| index * KIND_SIZE)
}

/// A time of the clock; 0 in the place of one from before the machine's last start.
fn of_this_boot(time: f64) -> f64 {
    if time <= monotonic_time() { time } else { 0.0 }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // Whole numbers, and times that are only copied.
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn kinds_are_told_apart() {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        assert_eq!(withdrawals_in(path), 0.0);
        let [first, second] = [(); 2].map(|()| Withdrawals::open(path).unwrap());
        first.note(FOLDABLE[0]);
        second.note(FOLDABLE[0]);
        second.note(FOLDABLE[8]);
        assert_eq!(withdrawals_in(path), 3.0);
        let file = File::options().read(true).write(true).open(path.join(WITHDRAWALS_FILE));
        let file = file.unwrap();
        let read = |index: usize| Withdrawn::read(&file, FOLDABLE[index]).unwrap().unwrap();
        assert_eq!(read(0), Withdrawn { count: 2.0, heeded: 0.0, heeded_at: 0.0 });
        assert_eq!(read(5).count, 0.0);
        let now = monotonic_time();
        read(0).note_heeded(&file, FOLDABLE[0], now).unwrap();
        second.note(FOLDABLE[0]);
        assert_eq!(read(0), Withdrawn { count: 3.0, heeded: 2.0, heeded_at: now });
        assert_eq!(first.heeded_at(FOLDABLE[0]), now);
        assert_eq!(first.heeded_at(FOLDABLE[8]), 0.0);
        let all = Kind { metric_type: crate::kind::MetricType::Gauge, mode: "all" };
        first.note(all);
        assert_eq!(Withdrawn::read(&file, all).unwrap(), None);
        read(8).note_heeded(&file, FOLDABLE[8], now + 1e9).unwrap();
        assert_eq!(read(8).heeded_at, 0.0, "of an earlier start of the machine");
        file.set_len(0).unwrap();
        assert_eq!(read(0).count, 0.0, "cut short");
        assert_eq!(withdrawals_in(path), 0.0);
    }
}
