//! Sets of labels, as merging leaves and changes those of keys, and their numbers.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::iter;
use std::slice;

use hashbrown::HashMap;

use crate::format::{BOUND_LABEL, Label, PID_LABEL, PlainLabels, PlainLabelsIter};

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
    /// Whether an own `le` is the bound of a bucket.
    has_own_bound: bool,
}

/// The labels of a key, perhaps changed. Not a `Cow`, whose lifetimes cannot shrink.
#[derive(Debug, Clone)]
enum OwnLabels<'a> {
    Plain(PlainLabels<'a>),
    Borrowed(&'a [Label<'a>]),
    Owned(Vec<Label<'a>>),
}

impl OwnLabels<'_> {
    #[inline]
    fn iter(&self) -> OwnIter<'_> {
        match self {
            Self::Plain(labels) => OwnIter::Plain(labels.into_iter()),
            Self::Borrowed(labels) => OwnIter::Parsed(labels.iter()),
            Self::Owned(labels) => OwnIter::Parsed(labels.iter()),
        }
    }
}

enum OwnIter<'a> {
    Plain(PlainLabelsIter<'a>),
    Parsed(slice::Iter<'a, Label<'a>>),
}

impl<'a> Iterator for OwnIter<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Plain(labels) => labels.next(),
            Self::Parsed(labels) => labels.next().map(|(name, value)| (&**name, &**value)),
        }
    }
}

impl<'a> Labels<'a> {
    /// The labels of a key, sorted by name, as they are.
    #[must_use]
    pub(crate) fn new(own: &'a [Label<'a>]) -> Self {
        Self::of(OwnLabels::Borrowed(own))
    }

    /// The same, of a plain key.
    #[must_use]
    pub(crate) fn plain(own: PlainLabels<'a>) -> Self {
        Self::of(OwnLabels::Plain(own))
    }

    /// The same, of labels that belong to no key.
    pub(crate) fn of_owned(own: Vec<Label<'a>>) -> Self {
        Self::of(OwnLabels::Owned(own))
    }

    fn of(own: OwnLabels<'a>) -> Self {
        Self { own, hidden: None, pid: None, bound: None, has_own_bound: false }
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

    /// The same, of a bucket whose bound is the own `le`.
    #[must_use]
    pub(crate) fn with_own_bound(mut self) -> Self {
        self.has_own_bound = true;
        self
    }

    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Labels<'static> {
        fn owned(text: &str) -> Cow<'static, str> {
            Cow::Owned(text.to_owned())
        }
        let own = self.own.iter();
        Labels {
            own: OwnLabels::Owned(own.map(|(name, value)| (owned(name), owned(value))).collect()),
            hidden: self.hidden,
            pid: self.pid.as_deref().map(owned),
            bound: self.bound.as_deref().map(owned),
            has_own_bound: self.has_own_bound,
        }
    }

    /// The same, borrowing from this one.
    #[must_use]
    pub(crate) fn borrowed(&self) -> Labels<'_> {
        Labels {
            own: match &self.own {
                OwnLabels::Plain(labels) => OwnLabels::Plain(*labels),
                OwnLabels::Borrowed(labels) => OwnLabels::Borrowed(labels),
                OwnLabels::Owned(labels) => OwnLabels::Borrowed(labels),
            },
            hidden: self.hidden,
            pid: self.pid.as_deref().map(Cow::Borrowed),
            bound: self.bound.as_deref().map(Cow::Borrowed),
            has_own_bound: self.has_own_bound,
        }
    }

    /// The labels of a plain key, if that is all.
    #[must_use]
    pub(crate) fn as_plain(&self) -> Option<PlainLabels<'a>> {
        match self.own {
            OwnLabels::Plain(labels)
                if self.hidden.is_none() && self.pid.is_none() && self.bound.is_none() =>
            {
                Some(labels)
            }
            _ => None,
        }
    }

    /// The labels as `prometheus_client`'s samples have them: the added ones last, but a `pid` in
    /// the place of the own one that it overwrites. The bound of a bucket is an added one.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pid = self.pid();
        let overwrites = pid.is_some() && self.visible().any(|(name, _)| name == PID_LABEL);
        let is_bound = |name: &str| self.has_own_bound && name == BOUND_LABEL;
        let own_bound = self.has_own_bound.then(|| self.visible()).into_iter().flatten();
        self.visible()
            .filter(move |(name, _)| !is_bound(name))
            .map(move |own| pid.filter(|(name, _)| *name == own.0).unwrap_or(own))
            .chain(pid.filter(|_| !overwrites))
            .chain(self.bound())
            .chain(own_bound.filter(move |(name, _)| is_bound(name)))
    }

    /// The labels sorted by name, as the text formats have them.
    pub fn sorted(&self) -> impl Iterator<Item = (&str, &str)> {
        const { assert!(BOUND_LABEL.as_bytes()[0] < PID_LABEL.as_bytes()[0]) };
        let overwrites = self.pid.is_some();
        let mut own =
            self.visible().filter(move |(name, _)| !(overwrites && *name == PID_LABEL)).peekable();
        let mut added = self.bound().into_iter().chain(self.pid()).peekable();
        iter::from_fn(move || match (own.peek(), added.peek()) {
            (Some((own_name, _)), Some((added_name, _))) if own_name < added_name => own.next(),
            (_, Some(_)) => added.next(),
            _ => own.next(),
        })
    }

    /// What tells samples apart, the overwritten label included.
    fn identity(&self) -> impl Iterator<Item = (&str, &str)> {
        self.visible().chain(self.pid()).chain(self.bound())
    }

    fn visible(&self) -> impl Iterator<Item = (&str, &str)> {
        self.own.iter().filter(|(name, _)| self.hidden != Some(*name))
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
