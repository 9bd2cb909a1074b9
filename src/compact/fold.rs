//! What several files of one kind hold, as the bytes of an archive.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use crate::compact::reason::Reason;
use crate::error::{Error, Result};
use crate::format::{self, Damaged, Entry, HEADER_SIZE, Key, MAGIC_ARCHIVE};
use crate::kind::{Kind, MetricType};
use crate::scrape::{AnyColumn, Cursor, Entries, Table};
use crate::store::{Outcome, Reader, Skipped};

/// The buffer for an archive that is written: few system calls, and little memory.
const WRITTEN_AT_ONCE: usize = 256 << 10;

/// The entries of several files of one kind, added up.
#[derive(Debug)]
pub(crate) struct Fold {
    /// All of its keys can be parsed: `check` has seen to it.
    table: Table,
    metric_type: MetricType,
    reader: Reader,
    /// The keys of an archive's entries that are left out.
    without: HashSet<Box<[u8]>>,
}

impl Fold {
    /// No entries yet, for files of this kind.
    #[must_use]
    pub(crate) fn new(kind: Kind<'_>) -> Self {
        Self::without(kind, HashSet::new())
    }

    /// The same, where entries of an archive with these keys are left out.
    pub(crate) fn without(kind: Kind<'_>, keys: HashSet<Box<[u8]>>) -> Self {
        Self {
            table: Table::new(kind),
            metric_type: kind.metric_type,
            reader: Reader::default(),
            without: keys,
        }
    }

    /// Checks that all of a file is sound. No process may write to the file meanwhile.
    ///
    /// Of a damaged file the valid prefix counts in every scrape, and every scrape reports a damaged
    /// key. Both would end with the file, so the error says that it stays.
    pub(crate) fn check(&mut self, file: impl Read) -> Result<(), Reason> {
        let Self { table, reader, metric_type, .. } = self;
        let mut cursor = Cursor::default();
        let mut first = None;
        let outcome = reader.read_entries(file, |offset, entry| {
            if first.is_some() || table.knows(&mut cursor, entry.key) {
                return;
            }
            let damage = Key::check(entry.key, *metric_type).err();
            first = damage.map(|damage| Reason::Damaged(Damaged::at(offset, damage)));
        });
        match outcome? {
            Outcome::Complete => first.map_or(Ok(()), Err),
            Outcome::Damaged(damaged) => Err(Reason::Damaged(damaged)),
            Outcome::Vanished => Ok(()),
        }
    }

    /// Adds the file at `path`, which was checked. After an error the fold is of no use any more.
    pub(crate) fn add(&mut self, path: &Path, file: impl Read, is_archive: bool) -> io::Result<()> {
        let without = &self.without;
        let entries = Checked { reader: &mut self.reader, path, file, is_archive, without };
        // The file's place and process matter only for rules that are never folded.
        match self.table.read(entries, OsStr::new(""), 0, &mut Skipped::default()) {
            Ok(Outcome::Complete) => Ok(()),
            // The file is locked, or an archive: no process may write to it.
            Ok(_) => Err(io::Error::other("the file was changed while it was read")),
            Err(Error::Io { source, .. }) => Err(source),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Whether some sum has lost bits: as a pair it is not what scrapes of the files show.
    #[must_use]
    pub(crate) fn is_lossy(&self) -> bool {
        matches!(&self.table.column, AnyColumn::Sums(sums) if sums.lossy.contains(&true))
    }

    /// The size of the archive without its journal; none if it is larger than a file can be.
    #[must_use]
    pub(crate) fn used(&self) -> Option<i32> {
        let size = self.table.keys().map(|key| format::entry_size(key.len())).sum::<usize>();
        i32::try_from(HEADER_SIZE + size).ok()
    }

    /// Writes the archive without its journal, with this size in its header.
    pub(crate) fn write(&self, used: i32, archive: impl Write) -> io::Result<()> {
        let mut archive = BufWriter::with_capacity(WRITTEN_AT_ONCE, archive);
        archive.write_all(&used.to_ne_bytes())?;
        archive.write_all(&MAGIC_ARCHIVE)?;
        for (number, key) in self.table.keys().enumerate() {
            let (value, timestamp) = match &self.table.column {
                AnyColumn::Sums(sums) => sums.sums[number].pair(),
                AnyColumn::Minima(minima) => (minima.values[number], 0.0),
                AnyColumn::Maxima(maxima) => (maxima.values[number], 0.0),
                AnyColumn::MostRecent(column) => {
                    let latest = column.values[number];
                    (latest.value, latest.timestamp)
                }
                AnyColumn::PerProcess(_) => return Err(io::Error::other("never folded")),
            };
            // A key that was read has a head.
            archive.write_all(&format::entry_head(key).unwrap_or_default())?;
            archive.write_all(&value.to_ne_bytes())?;
            archive.write_all(&timestamp.to_ne_bytes())?;
        }
        archive.flush()
    }
}

/// The entries of a file that was checked.
struct Checked<'a, R> {
    reader: &'a mut Reader,
    path: &'a Path,
    file: R,
    is_archive: bool,
    without: &'a HashSet<Box<[u8]>>,
}

impl<R: Read> Entries for Checked<'_, R> {
    fn is_archive(&self) -> bool {
        self.is_archive
    }

    fn read(self, mut visit: impl FnMut(u64, Entry<'_>)) -> Result<Outcome> {
        let io_error = |source| Error::Io { path: self.path.to_owned(), source };
        if !self.is_archive || self.without.is_empty() {
            return self.reader.read_entries(self.file, visit).map_err(io_error);
        }
        let visit_kept = |offset, entry: Entry<'_>| {
            if !self.without.contains(entry.key) {
                visit(offset, entry);
            }
        };
        self.reader.read_entries(self.file, visit_kept).map_err(io_error)
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // Exactness is what is tested.
mod tests {
    use super::*;
    use crate::format::testing::{entry, file};
    use crate::kind::FOLDABLE;

    const COUNTER: Kind<'_> = FOLDABLE[0];

    fn key(name: &str) -> String {
        format!(r#"["{name}", "{name}", {{}}, ""]"#)
    }

    fn folded(kind: Kind<'_>, archive: Option<&[u8]>, files: &[Vec<u8>]) -> Vec<u8> {
        let mut fold = Fold::new(kind);
        let files = files.iter().map(|bytes| (&bytes[..], false));
        for (bytes, is_archive) in archive.into_iter().map(|bytes| (bytes, true)).chain(files) {
            fold.check(bytes).unwrap();
            fold.add(Path::new("counter_1.db"), bytes, is_archive).unwrap();
        }
        assert!(!fold.is_lossy());
        finish(&fold)
    }

    fn finish(fold: &Fold) -> Vec<u8> {
        let mut archive = Vec::new();
        fold.write(fold.used().unwrap(), &mut archive).unwrap();
        assert_eq!(archive.len(), usize::try_from(fold.used().unwrap()).unwrap());
        archive
    }

    fn content(archive: &[u8]) -> Vec<(String, f64, f64)> {
        let mut entries = Vec::new();
        let outcome = Reader::default().read_entries(archive, |_, entry| {
            let key = String::from_utf8(entry.key.to_vec()).unwrap();
            entries.push((key, entry.value, entry.timestamp));
        });
        assert_eq!(outcome.unwrap(), Outcome::Complete);
        entries
    }

    #[test]
    fn sums_are_pairs_in_the_order_of_first_sight() {
        let first = file(None, &[entry(&key("b"), 1.0, 9.0), entry(&key("a"), 0.1, 0.0)]);
        let second = file(None, &[entry(&key("c"), 3.0, 0.0), entry(&key("a"), 0.2, 0.0)]);
        let archive = folded(COUNTER, None, &[first]);
        assert_eq!(content(&archive), [(key("b"), 1.0, 0.0), (key("a"), 0.1, 0.0)]);
        let archive = folded(COUNTER, Some(&archive), &[second]);
        let entries = content(&archive);
        assert_eq!(entries[1].1, 0.1 + 0.2);
        // 0.1 + 0.2 rounds up: by as much.
        assert_eq!(entries[1].2, -f64::EPSILON / 8.0);
        assert_eq!(entries[2], (key("c"), 3.0, 0.0));
    }

    #[test]
    fn gauges_by_their_rules() {
        for (mode, expected) in
            [("min", (1.0, 0.0)), ("max", (3.0, 0.0)), ("mostrecent", (1.0, 20.0))]
        {
            let kind = Kind { metric_type: MetricType::Gauge, mode };
            let files = [(3.0, 10.0), (1.0, 20.0), (2.0, 0.0)];
            let files = files.map(|(value, time)| file(None, &[entry(&key("g"), value, time)]));
            let archive = folded(kind, None, &files[..2]);
            let archive = folded(kind, Some(&archive), &files[2..]);
            assert_eq!(content(&archive), [(key("g"), expected.0, expected.1)], "{mode}");
        }
    }

    fn one_series(values: &[f64]) -> Vec<Vec<u8>> {
        values.iter().map(|value| file(None, &[entry(&key("f"), *value, 0.0)])).collect()
    }

    /// `Summary.observe(float("inf"))` must not keep a file for ever.
    #[test]
    fn infinity_and_nan_are_folded() {
        let infinity = f64::INFINITY;
        for (given, expected) in
            [(&[infinity, 1.0, 0.1][..], infinity), (&[0.1, 0.2, -infinity], -infinity)]
        {
            let archive = folded(COUNTER, None, &one_series(given));
            assert_eq!(content(&archive), [(key("f"), expected, 0.0)]);
            let archive = folded(COUNTER, Some(&archive), &one_series(&[0.1]));
            assert_eq!(content(&archive), [(key("f"), expected, 0.0)]);
        }
        for values in [[f64::NAN, 1.0], [infinity, -infinity]] {
            let archive = content(&folded(COUNTER, None, &one_series(&values)));
            assert!(archive[0].1.is_nan() && archive[0].2 == 0.0);
        }
    }

    #[test]
    fn finite_sums_that_lose_bits_are_found_out() {
        for values in [&[1e305, 1.0, -1e305][..], &[1e308, 1e308], &[1.0, 1e-20, 1e-40]] {
            let mut fold = Fold::new(COUNTER);
            for bytes in one_series(values) {
                fold.add(Path::new("counter_1.db"), &bytes[..], false).unwrap();
            }
            assert!(fold.is_lossy(), "{values:?}");
        }
    }

    #[test]
    fn an_unsound_file_is_found_out() {
        let good = entry(&key("a"), 1.0, 0.0);
        let bad = entry("no json", 1.0, 0.0);
        let mut fold = Fold::new(COUNTER);
        let sound = file(None, std::slice::from_ref(&good));
        fold.check(&sound[..]).unwrap();
        fold.add(Path::new("counter_1.db"), &sound[..], false).unwrap();
        for (bytes, offset) in [
            (file(None, &[good.clone(), bad.clone()]), HEADER_SIZE + good.len()),
            (file(None, &[bad.clone(), good.clone()]), HEADER_SIZE),
            (file(Some(1000), std::slice::from_ref(&good)), HEADER_SIZE + good.len()),
            (file(None, &[good.clone(), vec![0; 8]]), HEADER_SIZE + good.len()),
        ] {
            let reason = fold.check(&bytes[..]).unwrap_err();
            assert!(
                matches!(&reason, Reason::Damaged(found) if found.offset == Some(offset as u64)),
                "{reason:?}"
            );
        }
        assert_eq!(content(&finish(&fold)), [(key("a"), 1.0, 0.0)]);
    }
}
