//! The merged entries of all files of one kind.

use std::collections::HashMap;
use std::ffi::OsStr;

use crate::error::Result;
use crate::format::{Damage, Entry, Key};
use crate::kind::{Kind, MetricType};
use crate::scrape::column::{AnyColumn, Column};
use crate::scrape::keys::{Cursor, KeyIndex};
use crate::store::{Outcome, Skipped};

/// The entries of one file, to be read once.
pub(crate) trait Entries {
    /// Whether the file is an archive, whose sums are pairs.
    fn is_archive(&self) -> bool;

    /// Calls `visit` with the offset and content of each entry, in order.
    fn read(self, visit: impl FnMut(u64, Entry<'_>)) -> Result<Outcome>;
}

/// The merged entries of all files of one kind.
#[derive(Debug)]
pub(crate) struct Table {
    metric_type: MetricType,
    mode: Box<str>,
    /// The values, by the numbers of their keys.
    pub column: AnyColumn,
    keys: KeyIndex,
    /// For each key when it was first seen: the file's place, and behind it a running number.
    first_seen: Vec<u64>,
}

impl Table {
    /// An empty table for files of this kind.
    #[must_use]
    pub(crate) fn new(kind: Kind<'_>) -> Self {
        Self {
            metric_type: kind.metric_type,
            mode: kind.mode.into(),
            column: AnyColumn::new(kind.rule()),
            keys: KeyIndex::default(),
            first_seen: Vec::new(),
        }
    }

    /// The kind of the files.
    #[must_use]
    pub(crate) fn kind(&self) -> Kind<'_> {
        Kind { metric_type: self.metric_type, mode: &self.mode }
    }

    /// The bytes of the keys, in the order of their numbers.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.keys()
    }

    /// Whether it has a key, which is the next that `cursor` meets.
    pub(crate) fn knows(&self, cursor: &mut Cursor, key: &[u8]) -> bool {
        self.keys.find(cursor, key).is_some()
    }

    /// Parses the keys.
    pub(crate) fn parse(&self) -> ParsedTable<'_> {
        let mut parsed = ParsedTable {
            table: self,
            keys: Vec::with_capacity(self.first_seen.len()),
            damaged: HashMap::new(),
        };
        for ((number, bytes), seen) in (0..).zip(self.keys.keys()).zip(&self.first_seen) {
            match Key::parse(bytes, self.metric_type) {
                Ok(key) => parsed.keys.push((*seen, number, key)),
                Err(damage) => {
                    parsed.damaged.insert(bytes, damage);
                }
            }
        }
        parsed
    }

    /// Merges the entries of a file of process `pid`, which has this place among all files.
    pub(crate) fn read(
        &mut self,
        entries: impl Entries,
        pid: &OsStr,
        place: u32,
        skipped: &mut Skipped,
    ) -> Result<Outcome> {
        let Self { keys, first_seen, column, metric_type, .. } = self;
        let metric_type = *metric_type;
        let pass = Pass { entries, keys, first_seen, place, metric_type, skipped };
        match column {
            AnyColumn::Sums(column) => pass.read(column),
            AnyColumn::Minima(column) => pass.read(column),
            AnyColumn::Maxima(column) => pass.read(column),
            AnyColumn::MostRecent(column) => pass.read(column),
            AnyColumn::PerProcess(column) => {
                column.begin(&pid.to_string_lossy());
                pass.read(column)
            }
        }
    }
}

impl Table {
    /// Adds the sums of another table of this kind, whose files come behind those of this table.
    pub(crate) fn absorb(&mut self, other: &Self) {
        let (AnyColumn::Sums(sums), AnyColumn::Sums(added)) = (&mut self.column, &other.column)
        else {
            debug_assert!(false, "only sums are read in parts");
            return;
        };
        let mut cursor = Cursor::default();
        for ((key, seen), (sum, lossy)) in
            other.keys.keys().zip(&other.first_seen).zip(added.sums.iter().zip(&added.lossy))
        {
            let Some(number) = self.keys.number(&mut cursor, key) else { continue };
            if number as usize == self.first_seen.len() {
                self.first_seen.push(*seen);
            }
            sums.add_part(number, sum, *lossy);
        }
    }
}

/// The reading of one file into a table.
struct Pass<'a, E> {
    entries: E,
    keys: &'a mut KeyIndex,
    first_seen: &'a mut Vec<u64>,
    place: u32,
    metric_type: MetricType,
    skipped: &'a mut Skipped,
}

impl<E: Entries> Pass<'_, E> {
    /// Compiled once for each column type, so that an entry costs no dispatch.
    fn read(self, column: &mut impl Column) -> Result<Outcome> {
        let Self { entries, keys, first_seen, place, metric_type, skipped } = self;
        let is_archive = entries.is_archive();
        let mut cursor = Cursor::default();
        let mut clock = u64::from(place) << u32::BITS;
        entries.read(|offset, entry| {
            let Some(number) = keys.number(&mut cursor, entry.key) else {
                if let Err(damage) = Key::parse(entry.key, metric_type) {
                    skipped.add(offset, &damage);
                }
                return;
            };
            if number as usize == first_seen.len() {
                clock += 1;
                first_seen.push(clock);
            }
            if is_archive {
                column.add_archived(number, entry.value, entry.timestamp);
            } else {
                column.add(number, entry.value, entry.timestamp);
            }
        })
    }
}

/// The keys of a table, parsed.
#[derive(Debug)]
pub(crate) struct ParsedTable<'a> {
    /// The table.
    pub(crate) table: &'a Table,
    /// The keys that are sound: when each was first seen, its number, and what it says.
    pub(crate) keys: Vec<(u64, u32, Key<'a>)>,
    /// What is wrong with the other keys, by their bytes.
    pub(crate) damaged: HashMap<&'a [u8], Damage>,
}
