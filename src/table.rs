//! The merged entries of all files of one kind.

use std::path::Path;

use crate::column::{AnyColumn, Column};
use crate::error::Result;
use crate::key::Key;
use crate::key_index::{Cursor, KeyIndex};
use crate::left_out::Skipped;
use crate::metric::{Kind, MetricType};
use crate::reader::{Outcome, Reader};

/// The merged entries of all files of one kind.
#[derive(Debug)]
pub(crate) struct Table {
    metric_type: MetricType,
    mode: Box<str>,
    /// The values, by the numbers of their keys.
    pub column: AnyColumn,
    keys: Keys,
}

/// The keys of a table.
#[derive(Debug, Default)]
struct Keys {
    index: KeyIndex,
    /// For each key when it was first seen, and what it says; none if it is damaged.
    parsed: Vec<Option<(u64, Key)>>,
    /// Whether any key is damaged: spares a look at each entry.
    any_damaged: bool,
}

/// The table for files of this kind.
#[must_use]
pub(crate) fn for_kind<'a>(tables: &'a mut Vec<Table>, kind: Kind<'_>) -> &'a mut Table {
    let place = tables.iter().position(|table| table.kind() == kind).unwrap_or_else(|| {
        tables.push(Table {
            metric_type: kind.metric_type,
            mode: kind.mode.into(),
            keys: Keys::default(),
            column: AnyColumn::new(kind.rule()),
        });
        tables.len() - 1
    });
    &mut tables[place]
}

impl Table {
    /// The kind of the files.
    #[must_use]
    pub(crate) fn kind(&self) -> Kind<'_> {
        Kind { metric_type: self.metric_type, mode: &self.mode }
    }

    /// The keys that are sound: when each was first seen, its number, and what it says.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u64, u32, &Key)> {
        let numbered = (0..).zip(&self.keys.parsed);
        numbered
            .filter_map(|(number, parsed)| parsed.as_ref().map(|(seen, key)| (*seen, number, key)))
    }

    /// Merges the file at `path`, of process `pid`; `clock` ticks for each new key.
    pub(crate) fn read(
        &mut self,
        reader: &mut Reader,
        path: &Path,
        pid: &str,
        clock: &mut u64,
        skipped: &mut Skipped,
    ) -> Result<Outcome> {
        let Self { keys, column, metric_type, .. } = self;
        let pass = Pass { reader, path, metric_type: *metric_type, clock, skipped };
        match column {
            AnyColumn::Sums(column) => pass.read(keys, column),
            AnyColumn::Minima(column) => pass.read(keys, column),
            AnyColumn::Maxima(column) => pass.read(keys, column),
            AnyColumn::MostRecent(column) => pass.read(keys, column),
            AnyColumn::PerProcess(column) => {
                column.begin(pid);
                pass.read(keys, column)
            }
        }
    }
}

/// The reading of one file into a table.
struct Pass<'a> {
    reader: &'a mut Reader,
    path: &'a Path,
    metric_type: MetricType,
    clock: &'a mut u64,
    skipped: &'a mut Skipped,
}

impl Pass<'_> {
    /// Compiled once for each column type, so that an entry costs no dispatch.
    fn read(self, keys: &mut Keys, column: &mut impl Column) -> Result<Outcome> {
        let Self { reader, path, metric_type, clock, skipped } = self;
        let mut cursor = Cursor::default();
        reader.read(path, |offset, entry| {
            let number = keys.index.number(&mut cursor, entry.key);
            if number as usize == keys.parsed.len() {
                *clock += 1;
                let parsed = Key::parse(entry.key, metric_type).ok().map(|key| (*clock, key));
                keys.any_damaged |= parsed.is_none();
                keys.parsed.push(parsed);
            }
            if keys.any_damaged
                && keys.parsed[number as usize].is_none()
                && let Err(damage) = Key::parse(entry.key, metric_type)
            {
                skipped.add(offset, &damage);
            }
            column.add(number, entry.value, entry.timestamp);
        })
    }
}
