//! Samples that need no more than the keys and the merged values: those of nearly all families.
//!
//! Where all keys of a family are plain and have the same help text, keys of other bytes have other
//! labels, escapes included. So there is nothing to look for: each key is a sample, and the keys of
//! one histogram come together. What is not so is built by name and labels in `build`.

use std::borrow::Cow;
use std::mem;

use crate::kind::MetricType;
use crate::order::sort_by_number;
use crate::scrape::column::{AnyColumn, MostRecent, PerProcess, Record};
use crate::scrape::family::{MergeOptions, SampleOrder};
use crate::scrape::heads::Head;
use crate::scrape::histogram::count_name;
use crate::scrape::labels::Labels;
use crate::scrape::parsed::{Group, ParsedTable};
use crate::scrape::runs::{self, Bounds};
use crate::scrape::samples::Sample;

/// The samples of one family.
#[derive(Debug, Clone)]
pub struct DirectSamples<'a> {
    parsed: &'a ParsedTable<'a>,
    count_name: String,
    values: Chosen<'a>,
}

/// Those values of a family that are wanted.
#[derive(Debug, Clone)]
enum Chosen<'a> {
    Merged(Cow<'a, [Point]>),
    PerProcess(&'a PerProcess, Cow<'a, [Record]>),
}

/// The values of a family's samples, in the order of the exposition.
#[derive(Debug)]
pub(crate) enum Values {
    /// Merged.
    Merged(Vec<Point>),
    /// Of each process.
    PerProcess(Vec<Record>),
}

/// One sample: 16 bytes, since there may be many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// The number of the key whose labels the sample has.
    pub(super) number: u32,
    /// What the sample is of that key.
    pub(super) part: Part,
    /// The value.
    pub(super) value: f64,
}

/// What a sample is of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The sample that the key names.
    Own,
    /// The same, a histogram's bucket.
    Bucket,
    /// The count of the histogram of which the key names the sum.
    Count,
}

/// Why a family has no direct samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Indirect {
    /// Several keys may name one series, or the keys of one histogram do not come together.
    ByLabels,
    /// A sum has lost bits.
    Inexact,
}

impl<'a> DirectSamples<'a> {
    /// The samples of a family of `parsed` that has these values.
    pub(crate) fn new(parsed: &'a ParsedTable<'a>, family: &str, values: &'a Values) -> Self {
        let values = match (values, &parsed.table.column) {
            (Values::PerProcess(records), AnyColumn::PerProcess(column)) => {
                Chosen::PerProcess(column, Cow::Borrowed(records))
            }
            (Values::Merged(values), _) => Chosen::Merged(Cow::Borrowed(values)),
            (Values::PerProcess(_), _) => Chosen::Merged(Cow::Borrowed(&[])),
        };
        Self { parsed, count_name: count_name(family), values }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match &self.values {
            Chosen::Merged(values) => values.len(),
            Chosen::PerProcess(_, records) => records.len(),
        }
    }

    /// The samples.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Sample<'_>> {
        let (values, per_process) = match &self.values {
            Chosen::Merged(values) => (&**values, None),
            Chosen::PerProcess(column, records) => (&[][..], Some((*column, &**records))),
        };
        let merged = values.iter().map(|value| self.merged(*value));
        merged.chain(per_process.into_iter().flat_map(|(column, records)| {
            records.iter().map(|record| Sample {
                name: Cow::Borrowed(&*self.parsed.head(record.number).sample),
                labels: self.labels(record.number).with_pid(column.pid(*record)),
                value: record.value,
                timestamp: None,
                exemplar: None,
            })
        }))
    }

    fn merged(&self, Point { number, part, value }: Point) -> Sample<'_> {
        let (sample, labels) = (&*self.parsed.head(number).sample, self.labels(number));
        let (name, labels) = match part {
            Part::Own => (sample, labels),
            Part::Bucket => (sample, labels.with_own_bound()),
            Part::Count => (&*self.count_name, labels),
        };
        let exemplar = self.parsed.table.exemplars().get(&number);
        let exemplar = exemplar.filter(|_| part != Part::Count).cloned();
        let timestamp = match &self.parsed.table.column {
            AnyColumn::MostRecent(column) => Some(column.values[number as usize].timestamp),
            _ => None,
        };
        Sample { name: Cow::Borrowed(name), labels, value, timestamp, exemplar }
    }

    #[inline]
    fn labels(&self, number: u32) -> Labels<'_> {
        let labels = self.parsed.labels(number);
        if self.parsed.head(number).has_escapes && labels.has_escapes() {
            return Labels::of_owned(labels.unescaped());
        }
        Labels::plain(labels)
    }

    /// Keeps the samples whose names are `wanted`.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        let name = |number: u32| &*self.parsed.head(number).sample;
        match &mut self.values {
            Chosen::Merged(values) => values.to_mut().retain(|value| match value.part {
                Part::Own | Part::Bucket => wanted(name(value.number)),
                Part::Count => wanted(&self.count_name),
            }),
            Chosen::PerProcess(_, records) => {
                records.to_mut().retain(|record| wanted(name(record.number)));
            }
        }
    }
}

/// The values of a family of `parsed`, of which `group` has the keys, and `records` the values of each
/// process, which are taken if the result has them.
pub(crate) fn values<'a>(
    parsed: &ParsedTable<'a>,
    group: &Group,
    records: &mut Vec<Record>,
    options: MergeOptions,
    bounds: &mut Bounds<'a>,
) -> Result<Values, Indirect> {
    let heads: Vec<&Head<'_>> =
        group.heads.iter().map(|head| parsed.head_numbered(*head)).collect();
    let Some(first) = heads.first() else { return Err(Indirect::ByLabels) };
    let metric_type = parsed.table.kind().metric_type;
    // There are few such families, and in some of them not every entry is a sample.
    if matches!(metric_type, MetricType::Info | MetricType::StateSet) {
        return Err(Indirect::ByLabels);
    }
    let is_gauge = metric_type == MetricType::Gauge;
    let is_plain = heads.iter().all(|head| head.is_plain && head.help == first.help);
    if !is_plain || heads.len() > 1 && (is_gauge || options.order == SampleOrder::Flat) {
        return Err(Indirect::ByLabels);
    }
    // A character may be escaped in one key, and stand for itself in another with the same labels.
    if heads.iter().any(|head| head.has_escapes)
        && !group.numbers.iter().all(|number| parsed.labels(*number).is_printable())
    {
        return Err(Indirect::ByLabels);
    }
    if let AnyColumn::PerProcess(column) = &parsed.table.column {
        // The last of a process's files gives its values then, in the place of the first.
        if column.repeated {
            return Err(Indirect::ByLabels);
        }
        return Ok(Values::PerProcess(mem::take(records)));
    }
    // Merging drops `pid`, without which two keys may have the same labels.
    if is_gauge && first.has_pid {
        return Err(Indirect::ByLabels);
    }
    let own = |number: u32, value| Point { number, part: Part::Own, value };
    let of = |values: &[f64]| {
        group.numbers.iter().map(|number| own(*number, values[*number as usize])).collect()
    };
    Ok(Values::Merged(match &parsed.table.column {
        AnyColumn::Sums(column) => runs::values(parsed, group, column, options, bounds)?,
        AnyColumn::Minima(column) => of(&column.values),
        AnyColumn::Maxima(column) => of(&column.values),
        AnyColumn::MostRecent(column) => most_recent(group, column),
        AnyColumn::PerProcess(_) => Vec::new(),
    }))
}

fn most_recent(group: &Group, column: &MostRecent) -> Vec<Point> {
    let latest = |number: u32| column.values[number as usize];
    let mut numbers: Vec<u32> =
        group.numbers.iter().copied().filter(|number| latest(*number).first_set > 0).collect();
    sort_by_number(&mut numbers, |number| latest(*number).first_set);
    let value = |number| Point { number, part: Part::Own, value: latest(number).value };
    numbers.into_iter().map(value).collect()
}
