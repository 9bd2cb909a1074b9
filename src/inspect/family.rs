//! How large a family is, and which labels make it so.

use std::collections::HashSet;

use crate::kind::MetricType;
use crate::order::sort_by_number;
use crate::scrape::Family;

/// The size of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilySize {
    /// Its name, without suffixes such as `_total`.
    pub name: String,
    /// Its type.
    pub metric_type: MetricType,
    /// How many samples a scrape gives of it.
    pub series: usize,
    /// Its labels, and how many values each has; the label with most values first.
    pub labels: Vec<(String, usize)>,
}

/// Measures a family.
pub(crate) fn size(family: &Family<'_>) -> FamilySize {
    let mut values: Vec<(String, HashSet<String>)> = Vec::new();
    for sample in family.samples.iter() {
        for (name, value) in sample.labels.iter() {
            match values.iter_mut().find(|(known, _)| *known == name) {
                Some((_, seen)) if seen.contains(value) => {}
                Some((_, seen)) => {
                    seen.insert(value.to_owned());
                }
                None => values.push((name.to_owned(), HashSet::from([value.to_owned()]))),
            }
        }
    }
    let count = |(name, seen): (String, HashSet<String>)| (name, seen.len());
    let mut labels: Vec<_> = values.into_iter().map(count).collect();
    sort_by_number(&mut labels, |(_, values)| u64::MAX - *values as u64);
    FamilySize {
        name: family.name.clone().into_owned(),
        metric_type: family.metric_type,
        series: family.samples.len(),
        labels,
    }
}
