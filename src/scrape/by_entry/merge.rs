//! Merges unmerged families entry by entry, exactly as `prometheus_client` does.
//!
//! [`crate::scrape::merge`] merges by the bytes of keys, before it knows which series they name. Where
//! that is not enough (a family in files of several kinds, a series under several help texts with
//! a rule that depends on order, a sum that needs more than 106 bits), it hands over to here.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::float::{ExactSum, Sum};
use crate::format::{BOUND_LABEL, PID_LABEL};
use crate::kind::{Kind, MetricType, Rule};
use crate::scrape::by_entry::read::{UnmergedFamily, UnmergedSample};
use crate::scrape::family::{Family, Labels, MergeOptions, OwnLabels, Sample, SampleTable};
use crate::scrape::histogram::{BoundTexts, Buckets};

/// Merges a family.
#[must_use]
pub(crate) fn merge(
    family: &UnmergedFamily,
    options: MergeOptions,
    texts: &mut BoundTexts,
) -> Family<'static> {
    let table = if family.metric_type == MetricType::Histogram {
        merge_histogram(family, options.accumulate, texts)
    } else {
        let mode = family.mode.as_deref().unwrap_or_default();
        merge_samples(family, Kind { metric_type: family.metric_type, mode }.rule())
    };
    Family {
        name: Cow::Owned(family.name.to_string()),
        help: Cow::Owned(family.help.to_string()),
        metric_type: family.metric_type,
        mode: family.mode.as_ref().map(|mode| Cow::Owned(mode.to_string())),
        samples: table.finish(options.order).into_iter().map(Sample::into_owned).collect(),
    }
}

fn merge_samples(family: &UnmergedFamily, rule: Rule) -> SampleTable<'_> {
    let drops_pid = family.metric_type == MetricType::Gauge && rule != Rule::PerProcess;
    let mut table = SampleTable::default();
    let mut sums: Vec<ExactSum> = Vec::new();
    let mut timestamps: HashMap<(Labels<'_>, &str), f64> = HashMap::new();
    for UnmergedSample { key, pid, value, low, timestamp } in &family.samples {
        let labels = Labels::new(OwnLabels::Borrowed(&key.labels));
        let labels = match pid {
            _ if drops_pid => labels.without(PID_LABEL),
            Some(pid) => labels.with_pid(&**pid),
            None => labels,
        };
        if rule == Rule::MostRecent {
            let latest = timestamps.entry((labels.clone(), &*key.sample)).or_default();
            if *latest < *timestamp {
                *latest = *timestamp;
            } else {
                continue;
            }
        }
        let (index, is_new) = table.place(&labels, &key.sample);
        if is_new {
            sums.push(ExactSum::default());
        }
        let current = table.value(index);
        let replaces = match rule {
            Rule::Sum => {
                sums[index].add_pair(*value, *low);
                false
            }
            Rule::Min => is_new || *value < current,
            Rule::Max => is_new || *value > current,
            Rule::MostRecent | Rule::PerProcess => true,
        };
        if replaces {
            table.set(index, *value);
        }
    }
    if rule == Rule::Sum {
        sums.iter().enumerate().for_each(|(index, sum)| table.set(index, sum.value()));
    }
    table
}

fn merge_histogram<'a>(
    family: &'a UnmergedFamily,
    accumulate: bool,
    texts: &mut BoundTexts,
) -> SampleTable<'a> {
    let mut table = SampleTable::default();
    let mut sums: Vec<ExactSum> = Vec::new();
    let mut buckets: Buckets<'a, ExactSum> = Buckets::default();
    for UnmergedSample { key, pid, value, low, .. } in &family.samples {
        let labels = Labels::new(OwnLabels::Borrowed(&key.labels));
        let labels = match pid {
            Some(pid) => labels.with_pid(&**pid),
            None => labels,
        };
        if let Some(bound) = key.bound {
            buckets.bucket(&labels.without(BOUND_LABEL), bound, key).add_pair(*value, *low);
            continue;
        }
        let (index, is_new) = table.place(&labels, &key.sample);
        if is_new {
            sums.push(ExactSum::default());
        }
        sums[index].add_pair(*value, *low);
    }
    sums.iter().enumerate().for_each(|(index, sum)| table.set(index, sum.value()));
    let _always_exact = buckets.finish(&family.name, accumulate, texts, &mut table);
    table
}
