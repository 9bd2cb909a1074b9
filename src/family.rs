//! Merged families, as a scrape gives them, and the order of their samples.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::slice::SliceIndex;

use crate::key::Label;
use crate::metric::MetricType;
use crate::number;

/// A family and its merged samples.
#[derive(Debug, Clone, PartialEq)]
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
    pub samples: Vec<Sample<'a>>,
}

impl Family<'_> {
    /// Keeps the samples whose names are `wanted`; false if none is left.
    pub fn restrict(&mut self, wanted: impl Fn(&str) -> bool) -> bool {
        self.samples.retain(|sample| wanted(&sample.name));
        !self.samples.is_empty()
    }
}

/// One merged sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Name, with suffixes.
    pub name: Cow<'a, str>,
    /// The labels.
    pub labels: Labels<'a>,
    /// The value.
    pub value: f64,
}

impl Sample<'_> {
    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Sample<'static> {
        Sample {
            name: Cow::Owned(self.name.into_owned()),
            labels: self.labels.into_owned(),
            value: self.value,
        }
    }
}

/// A set of labels: those of a key, but perhaps one that merging hides and one that it adds.
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    /// Labels of the key, sorted by name.
    own: Cow<'a, [Label]>,
    /// The name of a label that is left out.
    hidden: Option<&'static str>,
    /// `le` or `pid`.
    added: Option<(&'static str, Cow<'a, str>)>,
}

impl<'a> Labels<'a> {
    /// The labels of a key, sorted by name, as they are.
    #[must_use]
    pub fn new(own: impl Into<Cow<'a, [Label]>>) -> Self {
        Self { own: own.into(), hidden: None, added: None }
    }

    /// The same without the label `name`.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.hidden = Some(name);
        self
    }

    /// The same with the label `name`, which takes the place of an own one of that name.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'a, str>>) -> Self {
        self.hidden = Some(name);
        self.added = Some((name, value.into()));
        self
    }

    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Labels<'static> {
        Labels {
            own: Cow::Owned(self.own.into_owned()),
            hidden: self.hidden,
            added: self.added.map(|(name, value)| (name, Cow::Owned(value.into_owned()))),
        }
    }

    /// The labels, the added one last, as `prometheus_client`'s samples have them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.visible(..).chain(self.added())
    }

    /// The labels sorted by name, as the text formats have them.
    pub fn sorted(&self) -> impl Iterator<Item = (&str, &str)> {
        let place = self.added.as_ref().map_or(self.own.len(), |(added, _)| {
            self.own.partition_point(|(name, _)| **name < **added)
        });
        self.visible(..place).chain(self.added()).chain(self.visible(place..))
    }

    fn visible(
        &self,
        range: impl SliceIndex<[Label], Output = [Label]>,
    ) -> impl Iterator<Item = (&str, &str)> {
        self.own[range]
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .filter(|(name, _)| self.hidden != Some(*name))
    }

    fn identity(&self) -> impl Iterator<Item = (&str, &str)> {
        let hidden = if self.added.is_some() { None } else { self.hidden };
        let own = self.own.iter().map(|(name, value)| (&**name, &**value));
        own.filter(move |(name, _)| hidden != Some(*name)).chain(self.added())
    }

    fn added(&self) -> Option<(&str, &str)> {
        self.added.as_ref().map(|(name, value)| (*name, value.as_ref()))
    }
}

/// Whether two samples are one: as in `prometheus_client`, where an own label that the added one
/// overwrites still tells them apart.
impl PartialEq for Labels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.identity().eq(other.identity())
    }
}

impl Eq for Labels<'_> {}

impl Hash for Labels<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().for_each(|label| label.hash(state));
    }
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
pub struct SampleTable<'a> {
    groups: LabelIndex<'a>,
    /// For each group the samples that can be found again by name.
    members: Vec<Vec<usize>>,
    /// For each sample its group.
    group_of: Vec<usize>,
    samples: Vec<Sample<'a>>,
}

impl<'a> SampleTable<'a> {
    /// The index of the sample, and whether it is new: then its value is 0.
    pub fn place(&mut self, labels: &Labels<'a>, name: &'a str) -> (usize, bool) {
        let group = self.group(labels);
        let found = self.members[group].iter().find(|&&index| self.samples[index].name == name);
        if let Some(&index) = found {
            return (index, false);
        }
        let index = self.push(group, Cow::Borrowed(name), labels.clone(), 0.0);
        self.members[group].push(index);
        (index, true)
    }

    /// Adds the cumulative buckets of one set of labels, which has none yet, and perhaps sets its
    /// count.
    pub fn add_buckets(
        &mut self,
        family: &str,
        labels: &Labels<'a>,
        buckets: impl IntoIterator<Item = (f64, f64)>,
        count: Option<f64>,
    ) {
        let group = self.group(labels);
        for (bound, value) in buckets {
            let labels = labels.clone().with("le", number::float_to_string(bound));
            self.push(group, format!("{family}_bucket").into(), labels, value);
        }
        let Some(count) = count else { return };
        let name = format!("{family}_count");
        let found = self.members[group].iter().find(|&&index| self.samples[index].name == *name);
        match found {
            Some(&index) => self.samples[index].value = count,
            None => {
                self.push(group, name.into(), labels.clone(), count);
            }
        }
    }

    /// The value of the sample with this index.
    #[must_use]
    pub fn value(&self, index: usize) -> f64 {
        self.samples[index].value
    }

    /// Sets the value of the sample with this index.
    pub fn set(&mut self, index: usize, value: f64) {
        self.samples[index].value = value;
    }

    /// The samples, in order.
    #[must_use]
    pub fn finish(self, order: SampleOrder) -> Vec<Sample<'a>> {
        match order {
            SampleOrder::Flat => self.samples,
            SampleOrder::Grouped => {
                let mut samples: Vec<_> = self.group_of.into_iter().zip(self.samples).collect();
                // Stable: within a group the order stays.
                samples.sort_by_key(|(group, _)| *group);
                samples.into_iter().map(|(_, sample)| sample).collect()
            }
        }
    }

    fn group(&mut self, labels: &Labels<'a>) -> usize {
        let group = self.groups.index(labels);
        if group == self.members.len() {
            self.members.push(Vec::new());
        }
        group
    }

    fn push(&mut self, group: usize, name: Cow<'a, str>, labels: Labels<'a>, value: f64) -> usize {
        self.group_of.push(group);
        self.samples.push(Sample { name, labels, value });
        self.samples.len() - 1
    }
}

/// Sets of labels, numbered by first sight.
#[derive(Debug, Default)]
pub struct LabelIndex<'a> {
    last: Option<(Labels<'a>, usize)>,
    numbers: HashMap<Labels<'a>, usize>,
}

impl<'a> LabelIndex<'a> {
    /// The number of `labels`; the next free one if they are new.
    pub fn index(&mut self, labels: &Labels<'a>) -> usize {
        // The samples of one set of labels mostly come together.
        if let Some((last, number)) = &self.last
            && last == labels
        {
            return *number;
        }
        let next = self.numbers.len();
        let number = *self.numbers.entry(labels.clone()).or_insert(next);
        self.last = Some((labels.clone(), number));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(labels: &[(&str, &str)]) -> Vec<Label> {
        labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn an_added_label_is_last_in_the_sample_and_sorted_in_the_text() {
        let own = own(&[("a", "1"), ("z", "2")]);
        let labels = Labels::new(&own).with("pid", "7");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("z", "2"), ("pid", "7")]);
        assert_eq!(labels.sorted().collect::<Vec<_>>(), [("a", "1"), ("pid", "7"), ("z", "2")]);
    }

    #[test]
    fn an_added_label_overwrites_an_own_one() {
        let own = own(&[("a", "1"), ("pid", "mine")]);
        let labels = Labels::new(&own).with("pid", "7");
        assert_eq!(labels.sorted().collect::<Vec<_>>(), [("a", "1"), ("pid", "7")]);
        assert_eq!(Labels::new(&own).without("pid").sorted().collect::<Vec<_>>(), [("a", "1")]);
    }

    #[test]
    fn grouped_and_flat_order() {
        let (a, b) = (own(&[("l", "a")]), own(&[("l", "b")]));
        let (a, b) = (Labels::new(&a), Labels::new(&b));
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
