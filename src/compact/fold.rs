//! What several files of one kind hold, as the bytes of an archive.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;

use crate::error::{Damage, Error, Reason, Result, message};
use crate::float::ExactSum;
use crate::format::{self, Entry, HEADER_SIZE, Key, MAGIC_ARCHIVE};
use crate::kind::{Kind, MetricType};
use crate::scrape::{AnyColumn, Cursor, Entries, Table};
use crate::store::{Outcome, Reader, Skipped};

/// Few system calls, and little memory.
const WRITTEN_AT_ONCE: usize = 256 << 10;

/// What is wrong with a file that is not folded.
#[derive(Debug, PartialEq)]
pub(crate) struct Unsound {
    /// Where in the file.
    pub(crate) offset: Option<u64>,
    /// What.
    pub(crate) damage: Damage,
}

impl From<Unsound> for Reason {
    fn from(Unsound { offset, damage }: Unsound) -> Self {
        match damage {
            // That may pass.
            Damage::Unreadable { message } => Self::Io { message },
            damage => Self::Damaged { offset, damage },
        }
    }
}

/// Files of one kind under way into an archive.
#[derive(Debug)]
pub(crate) struct Fold {
    /// Its keys can all be parsed.
    table: Table,
    metric_type: MetricType,
    reader: Reader,
    /// The sums that do not fit a pair without loss, by key.
    exact: HashMap<Box<[u8]>, ExactSum>,
}

impl Fold {
    /// Nothing of this kind.
    #[must_use]
    pub(crate) fn new(kind: Kind<'_>) -> Self {
        Self {
            table: Table::new(kind),
            metric_type: kind.metric_type,
            reader: Reader::default(),
            exact: HashMap::new(),
        }
    }

    /// Whether all of a file is sound, which nobody writes to.
    ///
    /// Of a damaged one the valid prefix counts in every scrape, and a damaged key is reported by
    /// every scrape. Both would end with the file, so it stays.
    pub(crate) fn check(&mut self, file: impl Read) -> Result<(), Unsound> {
        let Self { table, reader, metric_type, .. } = self;
        let mut cursor = Cursor::default();
        let mut first = None;
        let outcome = reader.read_entries(file, |offset, entry| {
            if first.is_some() || table.knows(&mut cursor, entry.key) {
                return;
            }
            let damage = Key::check(entry.key, *metric_type).err();
            first = damage.map(|damage| Unsound { offset: Some(offset), damage });
        });
        match outcome {
            Ok(Outcome::Complete) => first.map_or(Ok(()), Err),
            Ok(Outcome::Damaged { offset, damage }) => Err(Unsound { offset, damage }),
            Ok(Outcome::Vanished) => Ok(()),
            Err(error) => {
                let damage = Damage::Unreadable { message: message(&error) };
                Err(Unsound { offset: None, damage })
            }
        }
    }

    /// Adds a file that was checked. After an error this is of no use any more.
    pub(crate) fn add(&mut self, file: impl Read, is_archive: bool) -> io::Result<()> {
        let entries = Checked { reader: &mut self.reader, file, is_archive };
        // Its place and its process matter only for rules that are never folded.
        match self.table.read(entries, OsStr::new(""), 0, &mut Skipped::default()) {
            Ok(Outcome::Complete) => Ok(()),
            Ok(_) => Err(changed()),
            Err(Error::Io { source, .. }) => Err(source),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Whether some sum lost bits, so that all that was added must be recounted, in the same order.
    #[must_use]
    pub(crate) fn is_lossy(&self) -> bool {
        matches!(&self.table.column, AnyColumn::Sums(sums) if sums.lossy.contains(&true))
    }

    /// Recounts a file that was added.
    pub(crate) fn recount(&mut self, file: impl Read, is_archive: bool) -> io::Result<()> {
        let AnyColumn::Sums(sums) = &self.table.column else { return Ok(()) };
        if self.exact.is_empty() {
            let lossy = self.table.keys().zip(&sums.lossy).filter(|(_, lossy)| **lossy);
            self.exact.extend(lossy.map(|(key, _)| (key.into(), ExactSum::default())));
        }
        let exact = &mut self.exact;
        let outcome = self.reader.read_entries(file, |_, entry| {
            if let Some(sum) = exact.get_mut(entry.key) {
                sum.add_pair(entry.value, if is_archive { entry.timestamp } else { 0.0 });
            }
        })?;
        if outcome == Outcome::Complete { Ok(()) } else { Err(changed()) }
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
                AnyColumn::Sums(sums) => match self.exact.get(key) {
                    Some(exact) => exact.pair(),
                    None => sums.sums[number].pair(),
                },
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
    file: R,
    is_archive: bool,
}

impl<R: Read> Entries for Checked<'_, R> {
    fn is_archive(&self) -> bool {
        self.is_archive
    }

    fn read(self, visit: impl FnMut(u64, Entry<'_>)) -> Result<Outcome> {
        let io_error = |source| Error::Io { path: PathBuf::new(), source };
        self.reader.read_entries(self.file, visit).map_err(io_error)
    }
}

/// Somebody writes to a file that is locked, or to an archive.
fn changed() -> io::Error {
    io::Error::other("the file was changed while it was read")
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
        let all = || {
            let files = files.iter().map(|bytes| (&bytes[..], false));
            archive.into_iter().map(|bytes| (bytes, true)).chain(files)
        };
        for (bytes, is_archive) in all() {
            fold.check(bytes).unwrap();
            fold.add(bytes, is_archive).unwrap();
        }
        if fold.is_lossy() {
            all().for_each(|(bytes, is_archive)| fold.recount(bytes, is_archive).unwrap());
        }
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

    #[test]
    fn what_a_pair_cannot_hold_is_recounted() {
        let values = |values: &[f64]| {
            values.iter().map(|value| file(None, &[entry(&key("f"), *value, 0.0)])).collect()
        };
        for (given, expected) in [
            (&[1e305, 1.0, -1e305][..], (1.0, 0.0)),
            (&[1e308, 1e308, -1e308], (f64::INFINITY, 0.0)),
            (&[f64::INFINITY, 1.0], (f64::INFINITY, 0.0)),
        ] {
            let files: Vec<_> = values(given);
            assert_eq!(
                content(&folded(COUNTER, None, &files)),
                [(key("f"), expected.0, expected.1)]
            );
        }
        let nan = content(&folded(COUNTER, None, &values(&[f64::NAN, 1.0])));
        assert!(nan[0].1.is_nan() && nan[0].2 == 0.0);
    }

    #[test]
    fn an_unsound_file_is_found_out() {
        let good = entry(&key("a"), 1.0, 0.0);
        let bad = entry("no json", 1.0, 0.0);
        let mut fold = Fold::new(COUNTER);
        let sound = file(None, std::slice::from_ref(&good));
        fold.check(&sound[..]).unwrap();
        fold.add(&sound[..], false).unwrap();
        for (bytes, offset) in [
            (file(None, &[good.clone(), bad.clone()]), HEADER_SIZE + good.len()),
            (file(None, &[bad.clone(), good.clone()]), HEADER_SIZE),
            (file(Some(1000), std::slice::from_ref(&good)), HEADER_SIZE + good.len()),
            (file(None, &[good.clone(), vec![0; 8]]), HEADER_SIZE + good.len()),
        ] {
            assert_eq!(fold.check(&bytes[..]).unwrap_err().offset, Some(offset as u64));
        }
        assert_eq!(content(&finish(&fold)), [(key("a"), 1.0, 0.0)]);
    }
}
