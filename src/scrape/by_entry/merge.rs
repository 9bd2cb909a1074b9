//! Merges unmerged families entry by entry, exactly as `prometheus_client` does.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::float::ExactSum;
use crate::format::PID_LABEL;
use crate::kind::{MetricType, Rule};
use crate::scrape::by_entry::read::{UnmergedFamily, UnmergedSample};
use crate::scrape::family::{Family, MergeOptions, SampleTable};
use crate::scrape::histogram::BoundTexts;
use crate::scrape::labels::Labels;
use crate::scrape::samples::{Sample, Samples};
use crate::scrape::states;
use crate::scrape::totals::Totals;

/// Merges a family.
#[must_use]
pub(crate) fn merge(
    family: &UnmergedFamily,
    options: MergeOptions,
    texts: &mut BoundTexts,
) -> Family<'static> {
    let table = match family.rule() {
        Rule::Sum => add_up(family, options.accumulate, texts),
        _ if family.metric_type == MetricType::StateSet => {
            let entries = family.samples.iter().map(|sample| (&*sample.key, sample.timestamp));
            states::samples(&family.name, entries)
        }
        rule => choose(family, rule),
    };
    let samples = table.finish(options.order).into_iter();
    Family {
        name: Cow::Owned(family.name.to_string()),
        help: Cow::Owned(family.help.to_string()),
        metric_type: family.metric_type,
        mode: family.mode.as_ref().map(|mode| Cow::Owned(mode.to_string())),
        samples: Samples::Built(samples.map(Sample::into_owned).collect()),
    }
}

/// Merges a family whose entries are added up.
fn add_up<'a>(
    family: &'a UnmergedFamily,
    accumulate: bool,
    texts: &mut BoundTexts,
) -> SampleTable<'a> {
    let has_buckets = family.metric_type == MetricType::Histogram;
    let mut totals: Totals<'a, ExactSum> = Totals::with_capacity(0);
    for sample in &family.samples {
        let UnmergedSample { key, value, low, .. } = sample;
        let bound = key.bound.filter(|_| has_buckets);
        totals.sum(labels(family, Rule::Sum, sample), key, bound).add_pair(*value, *low);
    }
    let (table, _always_exact) = totals.finish(&family.name, accumulate, texts);
    table
}

/// Merges a family of which one entry gives the value of a series.
fn choose(family: &UnmergedFamily, rule: Rule) -> SampleTable<'_> {
    let mut table = SampleTable::default();
    let mut timestamps: HashMap<(Labels<'_>, &str), f64> = HashMap::new();
    for sample in &family.samples {
        let UnmergedSample { key, value, timestamp, .. } = sample;
        if *value == 0.0 && family.metric_type == MetricType::Info {
            // The process does not say this any more.
            continue;
        }
        let labels = labels(family, rule, sample);
        if rule == Rule::MostRecent {
            let latest = timestamps.entry((labels.clone(), &*key.sample)).or_default();
            if *latest < *timestamp {
                *latest = *timestamp;
            } else {
                continue;
            }
        }
        let (index, is_new) = table.place(&labels, &key.sample);
        let current = table.value(index);
        let replaces = match rule {
            Rule::Min => is_new || *value < current,
            Rule::Max => is_new || *value > current,
            Rule::Sum | Rule::MostRecent | Rule::PerProcess => true,
        };
        if replaces {
            table.set(index, *value);
            if rule == Rule::MostRecent {
                table.date(index, *timestamp);
            }
        }
    }
    table
}

/// The labels of the series that an entry counts in.
fn labels<'a>(family: &UnmergedFamily, rule: Rule, sample: &'a UnmergedSample) -> Labels<'a> {
    let labels = Labels::new(&sample.key.labels);
    match &sample.pid {
        _ if family.metric_type == MetricType::Gauge && rule != Rule::PerProcess => {
            labels.without(PID_LABEL)
        }
        Some(pid) => labels.with_pid(&**pid),
        None => labels,
    }
}
