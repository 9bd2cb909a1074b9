//! Adds up what keys or entries of one family hold: series by series, and histograms bucket by bucket.

use crate::float::Sum;
use crate::format::{BOUND_LABEL, Key};
use crate::scrape::family::SampleTable;
use crate::scrape::histogram::{BoundTexts, Buckets};
use crate::scrape::labels::Labels;

/// The sums of one family.
#[derive(Debug)]
pub(crate) struct Totals<'a, S> {
    samples: SampleTable<'a>,
    /// For each of the samples its sum.
    sums: Vec<S>,
    buckets: Buckets<'a, S>,
}

impl<'a, S: Sum> Totals<'a, S> {
    /// No sums, with room for so many series.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            samples: SampleTable::with_capacity(capacity),
            sums: Vec::new(),
            buckets: Buckets::default(),
        }
    }

    /// The sum of the series that `key` names, with these labels; of a bucket, if it has a `bound`.
    pub(crate) fn sum(
        &mut self,
        labels: Labels<'a>,
        key: &'a Key<'a>,
        bound: Option<f64>,
    ) -> &mut S {
        if let Some(bound) = bound {
            return self.buckets.bucket(&labels.without(BOUND_LABEL), bound, key);
        }
        let (index, is_new) = self.samples.place(&labels, &key.sample);
        if is_new {
            self.sums.push(S::default());
        }
        &mut self.sums[index]
    }

    /// The samples, and whether no bits were lost.
    pub(crate) fn finish(
        self,
        family: &str,
        accumulate: bool,
        texts: &mut BoundTexts,
    ) -> (SampleTable<'a>, bool) {
        let Self { mut samples, sums, buckets } = self;
        sums.iter().enumerate().for_each(|(index, sum)| samples.set(index, sum.value()));
        let is_exact = buckets.finish(family, accumulate, texts, &mut samples);
        (samples, is_exact)
    }
}
