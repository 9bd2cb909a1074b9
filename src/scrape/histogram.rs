//! Histogram buckets: put together by their bound, and accumulated.

use std::borrow::Cow;
use std::cmp::Ordering;

use hashbrown::HashMap;

use crate::float::{ExponentStyle, Sum, float_to_string};
use crate::format::Key;
use crate::scrape::family::SampleTable;
use crate::scrape::labels::{LabelIndex, Labels};

/// The buckets of one histogram family.
#[derive(Debug)]
pub(crate) struct Buckets<'a, S> {
    index: LabelIndex<'a>,
    sets: Vec<BucketSet<'a, S>>,
}

#[derive(Debug)]
struct BucketSet<'a, S> {
    labels: Labels<'a>,
    /// By bound.
    buckets: Vec<Bucket<'a, S>>,
}

#[derive(Debug)]
struct Bucket<'a, S> {
    bound: f64,
    /// The first key that named the bucket: mostly its texts are those of the sample, and are borrowed.
    key: &'a Key<'a>,
    sum: S,
}

impl<S> Default for Buckets<'_, S> {
    fn default() -> Self {
        Self { index: LabelIndex::default(), sets: Vec::new() }
    }
}

impl<'a, S: Sum> Buckets<'a, S> {
    /// The bucket that `key` names, with this bound, of the histogram with these labels (without
    /// `le`).
    pub(crate) fn bucket(&mut self, labels: &Labels<'a>, bound: f64, key: &'a Key<'a>) -> &mut S {
        let number = self.index.index(labels);
        if number == self.sets.len() {
            self.sets.push(BucketSet { labels: labels.clone(), buckets: Vec::new() });
        }
        let buckets = &mut self.sets[number].buckets;
        // They mostly come in order, so that this appends.
        let place = match buckets.binary_search_by(|bucket| compare(bucket.bound, bound)) {
            Ok(place) => place,
            Err(place) => {
                buckets.insert(place, Bucket { bound, key, sum: S::default() });
                place
            }
        };
        &mut buckets[place].sum
    }

    /// Puts all buckets into `samples`: cumulative and with a `_count`, if `accumulate`.
    ///
    /// False if bits were lost.
    pub(crate) fn finish(
        self,
        family: &str,
        accumulate: bool,
        texts: &mut BoundTexts,
        samples: &mut SampleTable<'a>,
    ) -> bool {
        let (bucket_name, count_name) = (bucket_name(family), count_name(family));
        let mut exact = true;
        for BucketSet { labels, buckets } in self.sets {
            let group = samples.group(&labels);
            let mut total = S::default();
            for Bucket { bound, key, sum } in buckets {
                if !accumulate {
                    total = S::default();
                }
                exact &= total.add_sum(&sum);
                let name = reuse(&key.sample, &bucket_name);
                let le = reuse(key.bound_text().unwrap_or_default(), texts.of(bound));
                let labels = labels.clone().with_bound(le);
                samples.push(group, name, labels, total.value());
            }
            if accumulate {
                samples.set_or_push(group, &count_name, &labels, total.value());
            }
        }
        exact
    }
}

/// The name of the samples that count a histogram's observations.
pub(super) fn count_name(family: &str) -> String {
    format!("{family}_count")
}

/// The name of a histogram's buckets.
pub(super) fn bucket_name(family: &str) -> String {
    format!("{family}_bucket")
}

/// Bounds as text, each written once: most histograms have the same bounds.
#[derive(Debug)]
pub(crate) struct BoundTexts {
    style: ExponentStyle,
    texts: HashMap<u64, String>,
}

impl BoundTexts {
    /// Bounds written in this style.
    pub(crate) fn new(style: ExponentStyle) -> Self {
        Self { style, texts: HashMap::new() }
    }

    pub(super) fn of(&mut self, bound: f64) -> &str {
        let style = self.style;
        let text = || float_to_string(bound, style);
        self.texts.entry(bound.to_bits()).or_insert_with(text)
    }
}

/// The order of bounds. NaN is no bound that a histogram can have; it comes last.
fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// `wanted`, borrowed from `known` if that is the same text.
fn reuse<'a>(known: &'a str, wanted: &str) -> Cow<'a, str> {
    if known == wanted { Cow::Borrowed(known) } else { Cow::Owned(wanted.to_owned()) }
}
