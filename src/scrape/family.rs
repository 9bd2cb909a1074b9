//! Merged families, as a scrape gives them, and the order of their samples.

use std::borrow::Cow;

use hashbrown::HashMap;

pub(crate) use crate::float::ExponentStyle;
use crate::kind::MetricType;
use crate::order::sort_by_number;
use crate::scrape::labels::{LabelIndex, Labels};
use crate::scrape::samples::{Sample, Samples};

/// A family and its merged samples.
#[derive(Debug, Clone)]
pub struct Family<'a> {
    /// Name, without suffixes such as `_total`.
    pub name: Cow<'a, str>,
    /// Help text.
    pub help: Cow<'a, str>,
    /// Type.
    pub metric_type: MetricType,
    /// The mode of the last gauge file that names the family.
    pub mode: Option<Cow<'a, str>>,
    /// Samples, in the order of the exposition.
    pub samples: Samples<'a>,
}

impl Family<'_> {
    /// Keeps the samples whose names are `wanted`; false if none is left.
    pub fn restrict(&mut self, wanted: impl Fn(&str) -> bool) -> bool {
        self.samples.retain(wanted);
        !self.samples.is_empty()
    }
}

/// How to put families together.
#[derive(Debug, Clone, Copy)]
pub struct MergeOptions {
    /// Whether histogram buckets are made cumulative and counted, as the exposition wants it.
    pub accumulate: bool,
    /// The order of samples.
    pub order: SampleOrder,
    /// How bounds of buckets and values are written.
    pub exponents: ExponentStyle,
}

/// In which order a family's samples come; it changed in `prometheus_client` 0.24.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleOrder {
    /// By labels (without `le`), each set of labels where it was first seen.
    Grouped,
    /// Where each sample was first seen.
    Flat,
}

/// Samples under construction: found again by labels and name, kept in order.
#[derive(Debug, Default)]
pub(crate) struct SampleTable<'a> {
    groups: LabelIndex<'a>,
    samples: Vec<Sample<'a>>,
    /// For each sample its group.
    group_of: Vec<usize>,
    /// The samples that can be found again, by group and name.
    named: HashMap<(usize, &'a str), usize>,
}

impl<'a> SampleTable<'a> {
    /// An empty table with room for so many samples.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            samples: Vec::with_capacity(capacity),
            group_of: Vec::with_capacity(capacity),
            ..Self::default()
        }
    }

    /// The index of the sample, and whether it is new: then its value is 0.
    pub(crate) fn place(&mut self, labels: &Labels<'a>, name: &'a str) -> (usize, bool) {
        let group = self.group(labels);
        if let Some(&index) = self.named.get(&(group, name)) {
            return (index, false);
        }
        let index = self.push(group, Cow::Borrowed(name), labels.clone(), 0.0);
        self.named.insert((group, name), index);
        (index, true)
    }

    /// Gives the sample of this group and name its value; adds it if it is new.
    pub(crate) fn set_or_push(
        &mut self,
        group: usize,
        name: &str,
        labels: &Labels<'a>,
        value: f64,
    ) {
        match self.named.get(&(group, name)) {
            Some(&index) => self.set(index, value),
            None => {
                self.push(group, Cow::Owned(name.to_owned()), labels.clone(), value);
            }
        }
    }

    /// The group of samples with these labels; a new one if they are new.
    pub(crate) fn group(&mut self, labels: &Labels<'a>) -> usize {
        self.groups.index(labels)
    }

    /// Adds a sample that will not be looked for again.
    pub(crate) fn push(
        &mut self,
        group: usize,
        name: Cow<'a, str>,
        labels: Labels<'a>,
        value: f64,
    ) -> usize {
        self.group_of.push(group);
        self.samples.push(Sample { name, labels, value, timestamp: None, exemplar: None });
        self.samples.len() - 1
    }

    /// The value of the sample with this index.
    pub(crate) fn value(&self, index: usize) -> f64 {
        self.samples[index].value
    }

    /// Sets the value of the sample with this index.
    pub(crate) fn set(&mut self, index: usize, value: f64) {
        self.samples[index].value = value;
    }

    /// Says when the sample with this index was set.
    pub(crate) fn date(&mut self, index: usize, timestamp: f64) {
        self.samples[index].timestamp = Some(timestamp);
    }

    /// The samples, in order.
    pub(crate) fn finish(self, order: SampleOrder) -> Vec<Sample<'a>> {
        if order == SampleOrder::Flat || self.group_of.is_sorted() {
            return self.samples;
        }
        let mut samples: Vec<_> = self.group_of.into_iter().zip(self.samples).collect();
        sort_by_number(&mut samples, |(group, _)| *group as u64);
        samples.into_iter().map(|(_, sample)| sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grouped_and_flat_order() {
        let own = |value: &'static str| vec![("l".into(), value.into())];
        let (a, b) = (Labels::of_owned(own("a")), Labels::of_owned(own("b")));
        for (order, expected) in [
            (SampleOrder::Grouped, ["f_sum a", "f_count a", "f_sum b"]),
            (SampleOrder::Flat, ["f_sum a", "f_sum b", "f_count a"]),
        ] {
            let mut table = SampleTable::default();
            assert_eq!(table.place(&a, "f_sum"), (0, true));
            assert_eq!(table.place(&b, "f_sum"), (1, true));
            assert_eq!(table.place(&a, "f_count"), (2, true));
            assert_eq!(table.place(&a, "f_sum"), (0, false));
            let samples = table.finish(order).into_iter();
            let names = samples.map(|sample| {
                let (_, value) = sample.labels.iter().next().unwrap();
                format!("{} {value}", sample.name)
            });
            assert_eq!(names.collect::<Vec<_>>(), expected);
        }
    }
}
