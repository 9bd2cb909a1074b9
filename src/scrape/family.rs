//! Merged families, as a scrape gives them, and the order of their samples.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::slice::SliceIndex;

use hashbrown::HashMap;

pub(crate) use crate::float::ExponentStyle;
use crate::format::{BOUND_LABEL, Label, PID_LABEL};
use crate::kind::MetricType;

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

/// A set of labels: those of a key, but perhaps one that merging hides, and those that it adds.
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    /// Labels of the key, sorted by name.
    own: OwnLabels<'a>,
    /// The name of an own label that is left out.
    hidden: Option<&'static str>,
    /// An added `pid`; it overwrites an own one.
    pid: Option<Cow<'a, str>>,
    /// An added `le`; an own one is hidden.
    bound: Option<Cow<'a, str>>,
}

/// The labels of a key, perhaps changed. Not a `Cow`, whose lifetimes cannot shrink.
#[derive(Debug, Clone)]
pub(crate) enum OwnLabels<'a> {
    Borrowed(&'a [Label<'a>]),
    Owned(Vec<Label<'a>>),
}

impl<'a> OwnLabels<'a> {
    fn as_slice(&self) -> &[Label<'a>] {
        match self {
            Self::Borrowed(labels) => labels,
            Self::Owned(labels) => labels,
        }
    }
}

impl<'a> Labels<'a> {
    /// The labels of a key, sorted by name, as they are.
    #[must_use]
    pub(crate) fn new(own: OwnLabels<'a>) -> Self {
        Self { own, hidden: None, pid: None, bound: None }
    }

    /// The same without the label `name`.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.hidden = Some(name);
        self
    }

    /// The same with a `pid`, which overwrites an own one.
    #[must_use]
    pub fn with_pid(mut self, pid: impl Into<Cow<'a, str>>) -> Self {
        self.pid = Some(pid.into());
        self
    }

    /// The same with `le`; an own one must be hidden.
    #[must_use]
    pub fn with_bound(mut self, bound: impl Into<Cow<'a, str>>) -> Self {
        self.bound = Some(bound.into());
        self
    }

    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Labels<'static> {
        fn owned(text: &str) -> Cow<'static, str> {
            Cow::Owned(text.to_owned())
        }
        let own = self.own.as_slice().iter();
        Labels {
            own: OwnLabels::Owned(own.map(|(name, value)| (owned(name), owned(value))).collect()),
            hidden: self.hidden,
            pid: self.pid.as_deref().map(owned),
            bound: self.bound.as_deref().map(owned),
        }
    }

    /// The labels as `prometheus_client`'s samples have them: the added ones last, but a `pid` in
    /// the place of the own one that it overwrites.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pid = self.pid();
        let overwrites = pid.is_some() && self.visible(..).any(|(name, _)| name == PID_LABEL);
        self.visible(..)
            .map(move |own| pid.filter(|(name, _)| *name == own.0).unwrap_or(own))
            .chain(pid.filter(|_| !overwrites))
            .chain(self.bound())
    }

    /// The labels sorted by name, as the text formats have them.
    pub fn sorted(&self) -> impl Iterator<Item = (&str, &str)> {
        const { assert!(BOUND_LABEL.as_bytes()[0] < PID_LABEL.as_bytes()[0]) };
        let (pid, bound) = (self.pid(), self.bound());
        let own = self.own.as_slice();
        let place = |added: Option<(&str, &str)>| match added {
            Some((added, _)) => own.partition_point(|(name, _)| **name < *added),
            None => 0,
        };
        let (bound_place, pid_place) = (place(bound), place(pid).max(place(bound)));
        let overwritten = move |name: &str| pid.is_some() && name == PID_LABEL;
        let last = self.visible(pid_place..).filter(move |(name, _)| !overwritten(name));
        self.visible(..bound_place)
            .chain(bound)
            .chain(self.visible(bound_place..pid_place))
            .chain(pid)
            .chain(last)
    }

    /// What tells samples apart, the overwritten label included.
    fn identity(&self) -> impl Iterator<Item = (&str, &str)> {
        self.visible(..).chain(self.pid()).chain(self.bound())
    }

    fn visible(
        &self,
        range: impl SliceIndex<[Label<'a>], Output = [Label<'a>]>,
    ) -> impl Iterator<Item = (&str, &str)> {
        let own = self.own.as_slice()[range].iter().map(|(name, value)| (&**name, &**value));
        own.filter(|(name, _)| self.hidden != Some(*name))
    }

    fn pid(&self) -> Option<(&str, &str)> {
        self.pid.as_deref().map(|pid| (PID_LABEL, pid))
    }

    fn bound(&self) -> Option<(&str, &str)> {
        self.bound.as_deref().map(|bound| (BOUND_LABEL, bound))
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
        self.samples.push(Sample { name, labels, value });
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

    /// The samples, in order.
    pub(crate) fn finish(self, order: SampleOrder) -> Vec<Sample<'a>> {
        if order == SampleOrder::Flat || self.group_of.is_sorted() {
            return self.samples;
        }
        let mut samples: Vec<_> = self.group_of.into_iter().zip(self.samples).collect();
        // Stable: within a group the order stays.
        samples.sort_by_key(|(group, _)| *group);
        samples.into_iter().map(|(_, sample)| sample).collect()
    }
}

/// Up to so many sets of labels are searched one by one: most families have few.
const SEARCHED_SETS: usize = 8;

/// Sets of labels, numbered by first sight.
#[derive(Debug, Default)]
pub(crate) struct LabelIndex<'a> {
    sets: Vec<Labels<'a>>,
    /// The number of the set that was looked for last.
    last: usize,
    /// The number of each set, once there are more than [`SEARCHED_SETS`].
    numbers: HashMap<Labels<'a>, usize>,
}

impl<'a> LabelIndex<'a> {
    /// The number of `labels`; the next free one if they are new.
    pub(crate) fn index(&mut self, labels: &Labels<'a>) -> usize {
        // The samples of one set of labels mostly come together.
        if self.sets.get(self.last) != Some(labels) {
            self.last = self.find(labels).unwrap_or_else(|| self.insert(labels));
        }
        self.last
    }

    fn find(&self, labels: &Labels<'a>) -> Option<usize> {
        if self.sets.len() <= SEARCHED_SETS {
            return self.sets.iter().position(|set| set == labels);
        }
        self.numbers.get(labels).copied()
    }

    fn insert(&mut self, labels: &Labels<'a>) -> usize {
        self.sets.push(labels.clone());
        if self.sets.len() > SEARCHED_SETS {
            let known = self.numbers.len();
            // Skipped first: cloning what is skipped would take quadratic time.
            let unknown = self.sets.iter().zip(0..).skip(known);
            self.numbers.extend(unknown.map(|(set, number)| (set.clone(), number)));
        }
        self.sets.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own<'a>(labels: &[(&'a str, &'a str)]) -> OwnLabels<'a> {
        let labels = labels.iter();
        OwnLabels::Owned(labels.map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn sets_of_labels_keep_their_numbers() {
        let values: Vec<String> = (0..100).map(|value| value.to_string()).collect();
        let mut index = LabelIndex::default();
        for _ in 0..2 {
            for (number, value) in values.iter().enumerate() {
                assert_eq!(index.index(&Labels::new(own(&[("l", value)]))), number);
            }
        }
    }

    #[test]
    fn an_added_label_is_last_in_the_sample_and_sorted_in_the_text() {
        let own = own(&[("a", "1"), ("z", "2")]);
        let labels = Labels::new(own.clone()).with_pid("7");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("z", "2"), ("pid", "7")]);
        assert_eq!(labels.sorted().collect::<Vec<_>>(), [("a", "1"), ("pid", "7"), ("z", "2")]);
    }

    #[test]
    fn an_added_label_overwrites_an_own_one() {
        let own = own(&[("a", "1"), ("pid", "mine"), ("z", "2")]);
        let labels = Labels::new(own.clone()).with_pid("7");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("pid", "7"), ("z", "2")]);
        assert_eq!(labels.sorted().collect::<Vec<_>>(), [("a", "1"), ("pid", "7"), ("z", "2")]);
        assert_eq!(
            Labels::new(own).without("pid").sorted().collect::<Vec<_>>(),
            [("a", "1"), ("z", "2")]
        );
    }

    #[test]
    fn le_and_pid_are_sorted_among_the_own() {
        let own = own(&[("a", "1"), ("le", "mine"), ("m", "2"), ("pid", "mine"), ("z", "3")]);
        let labels = Labels::new(own).without("le").with_pid("7").with_bound("+Inf");
        let sorted = [("a", "1"), ("le", "+Inf"), ("m", "2"), ("pid", "7"), ("z", "3")];
        assert_eq!(labels.sorted().collect::<Vec<_>>(), sorted);
        let as_sample = [("a", "1"), ("m", "2"), ("pid", "7"), ("z", "3"), ("le", "+Inf")];
        assert_eq!(labels.iter().collect::<Vec<_>>(), as_sample);
    }

    #[test]
    fn grouped_and_flat_order() {
        let (a, b) = (own(&[("l", "a")]), own(&[("l", "b")]));
        let (a, b) = (Labels::new(a), Labels::new(b));
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
