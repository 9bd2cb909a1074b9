//! Histogram buckets: put together by their bound, and accumulated.

use crate::family::{LabelIndex, Labels, SampleTable};
use crate::sum::Sum;

/// The buckets of one histogram family.
#[derive(Debug)]
pub(crate) struct Buckets<'a, S> {
    index: LabelIndex<'a>,
    sets: Vec<BucketSet<'a, S>>,
}

#[derive(Debug)]
struct BucketSet<'a, S> {
    labels: Labels<'a>,
    buckets: Vec<(f64, S)>,
}

impl<S> Default for Buckets<'_, S> {
    fn default() -> Self {
        Self { index: LabelIndex::default(), sets: Vec::new() }
    }
}

impl<'a, S: Sum> Buckets<'a, S> {
    /// The bucket with this bound of the histogram with these labels (without `le`).
    pub(crate) fn bucket(&mut self, labels: &Labels<'a>, bound: f64) -> &mut S {
        let number = self.index.index(labels);
        if number == self.sets.len() {
            self.sets.push(BucketSet { labels: labels.clone(), buckets: Vec::new() });
        }
        let buckets = &mut self.sets[number].buckets;
        // NaN is no bound that a histogram can have; as a key it shall equal itself.
        #[allow(clippy::float_cmp)]
        let same = |other: f64| other == bound || (other.is_nan() && bound.is_nan());
        let place = buckets.iter().position(|(other, _)| same(*other)).unwrap_or_else(|| {
            buckets.push((bound, S::default()));
            buckets.len() - 1
        });
        &mut buckets[place].1
    }

    /// Puts all buckets into `samples`: cumulative and with a `_count`, if `accumulate`.
    ///
    /// False if bits were lost.
    pub(crate) fn finish(
        self,
        family: &str,
        accumulate: bool,
        samples: &mut SampleTable<'a>,
    ) -> bool {
        let mut exact = true;
        for BucketSet { labels, mut buckets } in self.sets {
            // Stable, and NaN last.
            buckets.sort_by(|(a, _), (b, _)| {
                a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
            });
            let mut total = S::default();
            let values: Vec<_> = buckets
                .iter()
                .map(|(bound, sum)| {
                    if !accumulate {
                        total = S::default();
                    }
                    exact &= total.add_sum(sum);
                    (*bound, total.value())
                })
                .collect();
            let count = accumulate.then(|| total.value());
            samples.add_buckets(family, &labels, values, count);
        }
        exact
    }
}
