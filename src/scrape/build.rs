//! Puts series together by name and labels, where several keys may name one series.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::float::{DoubleDouble, Sum};
use crate::format::{Key, PID_LABEL};
use crate::kind::MetricType;
use crate::order::sort_by_number;
use crate::scrape::column::{AnyColumn, MostRecent, PerProcess, Record, Sums};
use crate::scrape::family::{MergeOptions, SampleTable};
use crate::scrape::histogram::BoundTexts;
use crate::scrape::labels::{LabelIndex, Labels};
use crate::scrape::samples::Sample;
use crate::scrape::states;
use crate::scrape::table::Table;
use crate::scrape::totals::Totals;

/// The keys of one family of one kind.
#[derive(Debug)]
pub(crate) struct ParsedKeys<'a> {
    /// The family's name.
    pub(crate) name: Cow<'a, str>,
    /// The table of the keys.
    pub(crate) table: &'a Table,
    /// The keys and their numbers, in the order in which they were first seen.
    pub(crate) keys: Vec<(u32, Key<'a>)>,
    /// The values of each process, if the rule keeps them apart.
    pub(crate) records: Vec<Record>,
}

impl<'a> ParsedKeys<'a> {
    /// The samples; none if only merging entry by entry is exact.
    #[must_use]
    pub(crate) fn samples(
        &'a self,
        options: MergeOptions,
        texts: &mut BoundTexts,
    ) -> Option<Vec<Sample<'a>>> {
        match &self.table.column {
            AnyColumn::Sums(column) => {
                Some(self.totals(column, options.accumulate, texts)?.finish(options.order))
            }
            AnyColumn::Minima(column) => self.gauges(&column.values, options),
            AnyColumn::Maxima(column) => self.gauges(&column.values, options),
            AnyColumn::MostRecent(column) if self.is_of(MetricType::StateSet) => {
                let time = |number: u32| column.values[number as usize].timestamp;
                let entries = self.keys.iter().map(|(number, key)| (key, time(*number)));
                Some(states::samples(&self.name, entries).finish(options.order))
            }
            AnyColumn::MostRecent(column) => self.most_recent(column, options),
            AnyColumn::PerProcess(column) => self.per_process(column),
        }
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
        &'a self,
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
        let (table, is_exact) = totals.finish(&self.name, accumulate, texts);
        is_exact.then_some(table)
    }

    /// For other rules the order of entries counts, which is lost when several keys name a series.
    fn gauges(&'a self, values: &[f64], options: MergeOptions) -> Option<Vec<Sample<'a>>> {
        let mut table = SampleTable::with_capacity(self.keys.len());
        for (number, key) in &self.keys {
            let value = values[*number as usize];
            if value == 0.0 && self.is_of(MetricType::Info) {
                // No process says this any more.
                continue;
            }
            let (index, is_new) = table.place(&self.labels(key), &key.sample);
            if !is_new {
                return None;
            }
            table.set(index, value);
        }
        Some(table.finish(options.order))
    }

    fn is_of(&self, metric_type: MetricType) -> bool {
        self.table.kind().metric_type == metric_type
    }

    fn most_recent(
        &'a self,
        column: &MostRecent,
        options: MergeOptions,
    ) -> Option<Vec<Sample<'a>>> {
        let mut keys: Vec<_> = self
            .keys
            .iter()
            .map(|(number, key)| (column.values[*number as usize], key))
            .filter(|(latest, _)| latest.first_set > 0)
            .collect();
        sort_by_number(&mut keys, |(latest, _)| latest.first_set);
        let mut table = SampleTable::with_capacity(self.keys.len());
        for (latest, key) in keys {
            let (index, is_new) = table.place(&self.labels(key), &key.sample);
            if !is_new {
                return None;
            }
            table.set(index, latest.value);
            table.date(index, latest.timestamp);
        }
        Some(table.finish(options.order))
    }

    fn per_process(&'a self, column: &'a PerProcess) -> Option<Vec<Sample<'a>>> {
        let mut labels = LabelIndex::default();
        let unique = (0..).zip(&self.keys).all(|(place, (_, key))| {
            // Each key must have labels of its own: then each record is a sample and a group.
            labels.index(&Labels::new(&key.labels)) == place
        });
        if !unique || column.repeated {
            return None;
        }
        let keys: HashMap<u32, &'a Key<'a>> =
            self.keys.iter().map(|(number, key)| (*number, key)).collect();
        let samples = self.records.iter().filter_map(|record| {
            let key = *keys.get(&record.number)?;
            Some(Sample {
                name: Cow::Borrowed(&*key.sample),
                labels: Labels::new(&key.labels).with_pid(column.pid(*record)),
                value: record.value,
                timestamp: None,
                exemplar: None,
            })
        });
        Some(samples.collect())
    }
}
