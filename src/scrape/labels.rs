//! Sets of labels, as merging leaves and changes those of keys, and their numbers.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::slice::SliceIndex;

use hashbrown::HashMap;

use crate::format::{BOUND_LABEL, Label, PID_LABEL};

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
enum OwnLabels<'a> {
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
    pub(crate) fn new(own: &'a [Label<'a>]) -> Self {
        Self { own: OwnLabels::Borrowed(own), hidden: None, pid: None, bound: None }
    }

    /// The same, of labels that belong to no key.
    #[cfg(test)]
    pub(crate) fn of_owned(own: Vec<Label<'a>>) -> Self {
        Self { own: OwnLabels::Owned(own), hidden: None, pid: None, bound: None }
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

    fn own<'a>(labels: &[(&'a str, &'a str)]) -> Vec<Label<'a>> {
        labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn sets_of_labels_keep_their_numbers() {
        let values: Vec<String> = (0..100).map(|value| value.to_string()).collect();
        let mut index = LabelIndex::default();
        for _ in 0..2 {
            for (number, value) in values.iter().enumerate() {
                assert_eq!(index.index(&Labels::of_owned(own(&[("l", value)]))), number);
            }
        }
    }

    #[test]
    fn an_added_label_is_last_in_the_sample_and_sorted_in_the_text() {
        let own = own(&[("a", "1"), ("z", "2")]);
        let labels = Labels::of_owned(own.clone()).with_pid("7");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("z", "2"), ("pid", "7")]);
        assert_eq!(labels.sorted().collect::<Vec<_>>(), [("a", "1"), ("pid", "7"), ("z", "2")]);
    }

    #[test]
    fn an_added_label_overwrites_an_own_one() {
        let own = own(&[("a", "1"), ("pid", "mine"), ("z", "2")]);
        let labels = Labels::of_owned(own.clone()).with_pid("7");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("pid", "7"), ("z", "2")]);
        assert_eq!(labels.sorted().collect::<Vec<_>>(), [("a", "1"), ("pid", "7"), ("z", "2")]);
        assert_eq!(
            Labels::of_owned(own).without("pid").sorted().collect::<Vec<_>>(),
            [("a", "1"), ("z", "2")]
        );
    }

    #[test]
    fn le_and_pid_are_sorted_among_the_own() {
        let own = own(&[("a", "1"), ("le", "mine"), ("m", "2"), ("pid", "mine"), ("z", "3")]);
        let labels = Labels::of_owned(own).without("le").with_pid("7").with_bound("+Inf");
        let sorted = [("a", "1"), ("le", "+Inf"), ("m", "2"), ("pid", "7"), ("z", "3")];
        assert_eq!(labels.sorted().collect::<Vec<_>>(), sorted);
        let as_sample = [("a", "1"), ("m", "2"), ("pid", "7"), ("z", "3"), ("le", "+Inf")];
        assert_eq!(labels.iter().collect::<Vec<_>>(), as_sample);
    }
}
