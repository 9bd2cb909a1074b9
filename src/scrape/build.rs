//! Puts series together from the merged entries of tables.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::float::{DoubleDouble, Sum};
use crate::format::{Key, PID_LABEL};
use crate::kind::MetricType;
use crate::scrape::column::{AnyColumn, MostRecent, PerProcess, Record, Sums};
use crate::scrape::family::{Family, MergeOptions, Sample, SampleTable};
use crate::scrape::histogram::BoundTexts;
use crate::scrape::labels::{LabelIndex, Labels};
use crate::scrape::table::{ParsedTable, Table};
use crate::scrape::totals::Totals;

/// A family before its samples are built.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// The family's name.
    pub(crate) name: &'a str,
    help: &'a str,
    table: &'a Table,
    /// Its keys and their numbers, in the order in which they were first seen.
    keys: Vec<(u32, &'a Key<'a>)>,
    /// Its values of each process, if the rule keeps them apart.
    records: Vec<Record>,
    /// Whether keys in other tables name the family too: then it is merged entry by entry.
    mixed: bool,
}

/// Drafts of all families, in the order in which the files first name them.
#[must_use]
pub(crate) fn drafts<'a>(tables: &'a [ParsedTable<'a>]) -> Vec<Draft<'a>> {
    let mut keys: Vec<_> = tables
        .iter()
        .flat_map(|parsed| parsed.keys.iter().map(|key| (parsed.table, key)))
        .collect();
    keys.sort_by_key(|(_, (seen, ..))| *seen);
    let mut drafts: Vec<Draft<'a>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut place = 0;
    for (table, (_, number, key)) in keys {
        // The keys of a family mostly come together.
        if drafts.get(place).is_none_or(|draft| draft.name != key.family) {
            place = *places.entry(&key.family).or_insert(drafts.len());
        }
        if place == drafts.len() {
            let (name, help) = (&*key.family, &*key.help);
            let (keys, records) = (Vec::new(), Vec::new());
            drafts.push(Draft { name, help, table, keys, records, mixed: false });
        }
        let draft = &mut drafts[place];
        draft.mixed |= !std::ptr::eq(draft.table, table);
        draft.keys.push((*number, key));
    }
    for ParsedTable { table, .. } in tables {
        if let AnyColumn::PerProcess(column) = &table.column {
            hand_out(column, table, &mut drafts);
        }
    }
    drafts
}

/// Gives each draft of `table` its records. A mixed draft needs none, since it is merged entry by
/// entry; and the numbers of its keys are not all of this table.
fn hand_out(column: &PerProcess, table: &Table, drafts: &mut [Draft<'_>]) {
    let mut places: HashMap<u32, usize> = HashMap::new();
    for (place, draft) in drafts.iter().enumerate() {
        if !draft.mixed && std::ptr::eq(draft.table, table) {
            places.extend(draft.keys.iter().map(|(number, _)| (*number, place)));
        }
    }
    for record in &column.records {
        if let Some(&place) = places.get(&record.number) {
            drafts[place].records.push(*record);
        }
    }
}

impl<'a> Draft<'a> {
    /// The family; none if only merging entry by entry is exact.
    #[must_use]
    pub(crate) fn build(
        &self,
        options: MergeOptions,
        texts: &mut BoundTexts,
    ) -> Option<Family<'a>> {
        if self.mixed {
            return None;
        }
        let kind = self.table.kind();
        let samples = match &self.table.column {
            AnyColumn::Sums(column) => {
                self.totals(column, options.accumulate, texts)?.finish(options.order)
            }
            AnyColumn::Minima(column) => self.gauges(&column.values, options)?,
            AnyColumn::Maxima(column) => self.gauges(&column.values, options)?,
            AnyColumn::MostRecent(column) => self.most_recent(column, options)?,
            AnyColumn::PerProcess(column) => self.per_process(column)?,
        };
        let is_gauge = kind.metric_type == MetricType::Gauge;
        Some(Family {
            name: Cow::Borrowed(self.name),
            help: Cow::Borrowed(self.help),
            metric_type: kind.metric_type,
            mode: is_gauge.then_some(Cow::Borrowed(kind.mode)),
            samples,
        })
    }

    /// The labels of a key whose values lose their process in merging.
    fn labels(&self, key: &'a Key<'a>) -> Labels<'a> {
        let labels = Labels::new(&key.labels);
        match self.table.kind().metric_type {
            MetricType::Gauge => labels.without(PID_LABEL),
            _ => labels,
        }
    }

    /// Sums can be put together in any order: several keys may name one series.
    fn totals(
        &self,
        column: &Sums,
        accumulate: bool,
        texts: &mut BoundTexts,
    ) -> Option<SampleTable<'a>> {
        let has_buckets = self.table.kind().metric_type == MetricType::Histogram;
        let mut totals: Totals<'a, DoubleDouble> = Totals::with_capacity(self.keys.len());
        for (number, key) in &self.keys {
            let number = *number as usize;
            let total = totals.sum(self.labels(key), key, key.bound.filter(|_| has_buckets));
            if column.lossy[number] || !total.add_sum(&column.sums[number]) {
                return None;
            }
        }
        let (table, is_exact) = totals.finish(self.name, accumulate, texts);
        is_exact.then_some(table)
    }

    /// For other rules the order of entries counts, which is lost when several keys name a series.
    fn gauges(&self, values: &[f64], options: MergeOptions) -> Option<Vec<Sample<'a>>> {
        let mut table = SampleTable::with_capacity(self.keys.len());
        for (number, key) in &self.keys {
            let (index, is_new) = table.place(&self.labels(key), &key.sample);
            if !is_new {
                return None;
            }
            table.set(index, values[*number as usize]);
        }
        Some(table.finish(options.order))
    }

    fn most_recent(&self, column: &MostRecent, options: MergeOptions) -> Option<Vec<Sample<'a>>> {
        let mut keys: Vec<_> = self
            .keys
            .iter()
            .map(|(number, key)| (column.values[*number as usize], *key))
            .filter(|(latest, _)| latest.first_set > 0)
            .collect();
        keys.sort_by_key(|(latest, _)| latest.first_set);
        let mut table = SampleTable::with_capacity(self.keys.len());
        for (latest, key) in keys {
            let (index, is_new) = table.place(&self.labels(key), &key.sample);
            if !is_new {
                return None;
            }
            table.set(index, latest.value);
        }
        Some(table.finish(options.order))
    }

    fn per_process(&self, column: &'a PerProcess) -> Option<Vec<Sample<'a>>> {
        let mut labels = LabelIndex::default();
        let unique = (0..).zip(&self.keys).all(|(place, (_, key))| {
            // Each key must have labels of its own: then each record is a sample and a group.
            labels.index(&Labels::new(&key.labels)) == place
        });
        if !unique || column.repeated {
            return None;
        }
        let keys: HashMap<u32, &'a Key<'a>> = self.keys.iter().copied().collect();
        let samples = self.records.iter().filter_map(|record| {
            let key = *keys.get(&record.number)?;
            Some(Sample {
                name: Cow::Borrowed(&*key.sample),
                labels: Labels::new(&key.labels).with_pid(column.pid(*record)),
                value: record.value,
            })
        });
        Some(samples.collect())
    }
}
