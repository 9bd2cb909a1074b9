//! The merged entries of all files of one kind.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::error::Result;
use crate::format::{Entry, Key, exemplar::Exemplar};
use crate::kind::{Kind, MetricType};
use crate::scrape::column::{AnyColumn, Column};
use crate::scrape::exemplars::Exemplars;
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
    exemplars: Exemplars,
    /// The places of the files that brought new keys, each with the number of the first of them.
    arrivals: Vec<Arrival>,
}

/// New keys of one file.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// The number of the first key.
    first: u32,
    /// The file's place among all.
    place: u32,
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
            exemplars: Exemplars::new(),
            arrivals: Vec::new(),
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

    /// The bytes of the key with this number.
    #[inline]
    pub(crate) fn key(&self, number: u32) -> &[u8] {
        self.keys.key(number as usize)
    }

    /// Keeps an exemplar of the series with this key, if the series is known and no newer one is.
    pub(crate) fn add_exemplar(&mut self, key: &[u8], exemplar: Exemplar) {
        let Some(number) = self.keys.find(&mut Cursor::default(), key) else { return };
        let known = self.exemplars.get(&number);
        if known.is_none_or(|known| known.timestamp < exemplar.timestamp) {
            self.exemplars.insert(number, Arc::new(exemplar));
        }
    }

    /// Keeps the exemplars of the series whose keys are `wanted`.
    pub(crate) fn retain_exemplars(&mut self, wanted: impl Fn(&[u8]) -> bool) {
        let Self { exemplars, keys, .. } = self;
        exemplars.retain(|number, _| wanted(keys.key(*number as usize)));
    }

    /// All exemplars.
    pub(crate) fn exemplars(&self) -> &Exemplars {
        &self.exemplars
    }

    /// When a key was first seen, for comparison with keys of any table of the same files.
    pub(crate) fn first_seen(&self, number: u32) -> (u32, u32) {
        let behind = self.arrivals.partition_point(|arrival| arrival.first <= number);
        let arrival = behind.checked_sub(1).and_then(|index| self.arrivals.get(index));
        (arrival.map_or(0, |arrival| arrival.place), number)
    }

    /// Merges the entries of a file of process `pid`, which has this place among all files.
    pub(crate) fn read(
        &mut self,
        entries: impl Entries,
        pid: &OsStr,
        place: u32,
        skipped: &mut Skipped,
    ) -> Result<Outcome> {
        let Self { keys, arrivals, column, metric_type, .. } = self;
        let metric_type = *metric_type;
        let pass = Pass { entries, keys, arrivals, place, metric_type, skipped };
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
        for ((key, theirs), (sum, lossy)) in
            other.keys.keys().zip(0..).zip(added.sums.iter().zip(&added.lossy))
        {
            let known = self.keys.len();
            let Some(number) = self.keys.number(&mut cursor, key) else { continue };
            if number as usize == known {
                note(&mut self.arrivals, number, other.first_seen(theirs).0);
            }
            sums.add_part(number, sum, *lossy);
        }
    }
}

/// The reading of one file into a table.
struct Pass<'a, E> {
    entries: E,
    keys: &'a mut KeyIndex,
    arrivals: &'a mut Vec<Arrival>,
    place: u32,
    metric_type: MetricType,
    skipped: &'a mut Skipped,
}

impl<E: Entries> Pass<'_, E> {
    /// Compiled once for each column type, so that an entry costs no dispatch.
    fn read(self, column: &mut impl Column) -> Result<Outcome> {
        let Self { entries, keys, arrivals, place, metric_type, skipped } = self;
        let is_archive = entries.is_archive();
        let mut cursor = Cursor::default();
        let known = keys.len();
        entries.read(|offset, entry| {
            if !is_archive && entry.is_withdrawn() {
                return;
            }
            let Some(number) = keys.number(&mut cursor, entry.key) else {
                if let Err(damage) = Key::parse(entry.key, metric_type) {
                    skipped.add(offset, &damage);
                }
                return;
            };
            if number as usize == known {
                note(arrivals, number, place);
            }
            if is_archive {
                column.add_archived(number, entry.value, entry.timestamp);
            } else {
                column.add(number, entry.value, entry.timestamp);
            }
        })
    }
}

/// Notes that the key with this number is new, and came with the file at this place.
fn note(arrivals: &mut Vec<Arrival>, number: u32, place: u32) {
    if arrivals.last().is_none_or(|last| last.place != place) {
        arrivals.push(Arrival { first: number, place });
    }
}
