//! Families before their samples are made: how to make them is decided here.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::format::Key;
use crate::kind::MetricType;
use crate::order::sort_by_number;
use crate::scrape::build::ParsedKeys;
use crate::scrape::column::{AnyColumn, Record};
use crate::scrape::direct::{self, DirectSamples, Indirect, Values};
use crate::scrape::family::{Family, MergeOptions};
use crate::scrape::histogram::BoundTexts;
use crate::scrape::parsed::{Group, ParsedTable};
use crate::scrape::runs::Bounds;
use crate::scrape::samples::Samples;

/// A family before its samples are made.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// The family's name.
    pub(crate) name: Cow<'a, str>,
    help: Cow<'a, str>,
    /// Which of the tables has the keys.
    table: usize,
    content: Content<'a>,
}

/// What the samples are made of.
#[derive(Debug)]
enum Content<'a> {
    /// Keys, each a sample of its own, and values.
    Direct(Values),
    /// Keys of which several may name one series.
    Keys(ParsedKeys<'a>),
    /// Entries: only merging them one by one is exact.
    Entries,
}

/// Drafts of all families, in the order in which the files first name them.
#[must_use]
pub(crate) fn drafts<'a>(tables: &[ParsedTable<'a>], options: MergeOptions) -> Vec<Draft<'a>> {
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for (table, parsed) in tables.iter().enumerate() {
        groups.extend(parsed.groups().into_iter().map(|group| (table, group)));
    }
    let first_seen = |(table, group): &(usize, Group)| {
        let (file, entry) = group
            .numbers
            .first()
            .map_or_else(Default::default, |first| tables[*table].table.first_seen(*first));
        u64::from(file) << 32 | u64::from(entry)
    };
    sort_by_number(&mut groups, first_seen);
    let records = records_of(tables, &groups);
    let mut bounds = Bounds::new(options.exponents);
    let mut drafts: Vec<Draft<'a>> = Vec::with_capacity(groups.len());
    let mut places: HashMap<Cow<'a, str>, usize> = HashMap::new();
    for ((table, group), mut records) in groups.into_iter().zip(records) {
        let parsed = &tables[table];
        let Some(first) = group.numbers.first().map(|first| parsed.head(*first)) else { continue };
        let place = *places.entry(first.family.clone()).or_insert(drafts.len());
        if let Some(draft) = drafts.get_mut(place) {
            // Keys in several tables.
            draft.content = Content::Entries;
            continue;
        }
        let (name, help) = (first.family.clone(), first.help.clone());
        let content = match direct::values(parsed, &group, &mut records, options, &mut bounds) {
            Ok(values) => Content::Direct(values),
            Err(Indirect::Inexact) => Content::Entries,
            Err(Indirect::ByLabels) => Content::Keys(ParsedKeys {
                name: name.clone(),
                table: parsed.table,
                keys: keys(parsed, &group),
                records,
            }),
        };
        drafts.push(Draft { name, help, table, content });
    }
    drafts
}

/// For each of the groups the values of each process, if the rule keeps them apart.
fn records_of(tables: &[ParsedTable<'_>], groups: &[(usize, Group)]) -> Vec<Vec<Record>> {
    let mut records: Vec<Vec<Record>> = groups.iter().map(|_| Vec::new()).collect();
    for (table, parsed) in tables.iter().enumerate() {
        let AnyColumn::PerProcess(column) = &parsed.table.column else { continue };
        // For each key its group.
        let mut group_of: Vec<Option<usize>> = Vec::new();
        group_of.resize(parsed.len(), None);
        for (place, (_, group)) in groups.iter().enumerate().filter(|(_, group)| group.0 == table) {
            group.numbers.iter().for_each(|number| group_of[*number as usize] = Some(place));
        }
        for record in &column.records {
            if let Some(place) = group_of[record.number as usize] {
                records[place].push(*record);
            }
        }
    }
    records
}

/// The keys of a group, parsed.
fn keys<'a>(parsed: &ParsedTable<'a>, group: &Group) -> Vec<(u32, Key<'a>)> {
    let metric_type = parsed.table.kind().metric_type;
    let numbers = group.numbers.iter();
    // None of them is damaged: a group has sound keys only.
    let key = |number: u32| Key::parse(parsed.table.key(number), metric_type).ok();
    numbers.filter_map(|number| Some((*number, key(*number)?))).collect()
}

impl<'a> Draft<'a> {
    /// The family, whose keys are in `tables`; none if only merging entry by entry is exact.
    #[must_use]
    pub(crate) fn family(
        &'a self,
        tables: &'a [ParsedTable<'a>],
        options: MergeOptions,
        texts: &mut BoundTexts,
    ) -> Option<Family<'a>> {
        let parsed = &tables[self.table];
        let samples = match &self.content {
            Content::Direct(values) => {
                Samples::Direct(DirectSamples::new(parsed, &self.name, values))
            }
            Content::Keys(keys) => Samples::Built(keys.samples(options, texts)?),
            Content::Entries => return None,
        };
        let kind = parsed.table.kind();
        let is_gauge = kind.metric_type == MetricType::Gauge;
        Some(Family {
            name: Cow::Borrowed(&*self.name),
            help: Cow::Borrowed(&*self.help),
            metric_type: kind.metric_type,
            mode: is_gauge.then_some(Cow::Borrowed(kind.mode)),
            samples,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::float::ExponentStyle;
    use crate::format::testing::{entry, file};
    use crate::scrape::family::SampleOrder;
    use crate::scrape::samples::Sample;
    use crate::scrape::scan::scan;
    use crate::store::{Origin, Snapshot};

    const OPTIONS: MergeOptions = MergeOptions {
        accumulate: true,
        order: SampleOrder::Grouped,
        exponents: ExponentStyle::TwoDigits,
    };
    const KINDS: [&str; 6] =
        ["counter", "histogram", "gauge_max", "gauge_livesum", "gauge_mostrecent", "gauge_all"];

    /// All that can be seen of a sample.
    type Seen = (String, Vec<(String, String)>, Vec<(String, String)>, u64);

    fn seen(sample: &Sample<'_>) -> Seen {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let labels = sample.labels.iter().map(owned).collect();
        let sorted = sample.labels.sorted().map(owned).collect();
        (sample.name.to_string(), labels, sorted, sample.value.to_bits())
    }

    fn scanned<T>(kind: &str, files: &[Vec<String>], check: impl Fn(&[ParsedTable<'_>]) -> T) -> T {
        let directory = TempDir::new().unwrap();
        let mut value = 0.0;
        for (process, keys) in files.iter().enumerate() {
            let entries = keys.iter().map(|key| {
                value += 1.0;
                entry(key, value, value)
            });
            let content = file(None, &entries.collect::<Vec<_>>());
            fs::write(directory.path().join(format!("{kind}_{process}.db")), content).unwrap();
        }
        let snapshot = Snapshot::take(&Origin::from(directory.path())).unwrap();
        let tables = scan(&snapshot, false).unwrap().tables;
        check(&tables.iter().map(ParsedTable::new).collect::<Vec<_>>())
    }

    /// Why the families have no direct samples; those that have are compared with those by labels.
    fn check(kind: &str, files: &[Vec<String>], options: MergeOptions) -> Vec<Option<Indirect>> {
        scanned(kind, files, |tables| {
            let groups: Vec<_> = tables[0].groups().into_iter().map(|group| (0, group)).collect();
            let records = records_of(tables, &groups);
            let groups = groups.iter().zip(&records);
            let found = groups.map(|((_, group), records)| {
                let parsed = &tables[0];
                let mut bounds = Bounds::new(options.exponents);
                let mut taken = records.clone();
                let values = match direct::values(parsed, group, &mut taken, options, &mut bounds) {
                    Ok(values) => values,
                    Err(indirect) => return Some(indirect),
                };
                let name = &parsed.head(group.numbers[0]).family;
                let direct = DirectSamples::new(parsed, name, &values);
                let keys = ParsedKeys {
                    name: name.clone(),
                    table: parsed.table,
                    keys: keys(parsed, group),
                    records: records.clone(),
                };
                let mut texts = BoundTexts::new(options.exponents);
                let by_labels = keys.samples(options, &mut texts).unwrap();
                let direct: Vec<_> = direct.iter().map(|sample| seen(&sample)).collect();
                assert_eq!(direct, by_labels.iter().map(seen).collect::<Vec<_>>());
                None
            });
            found.collect()
        })
    }

    fn key(sample: &str, labels: &[(&str, &str)]) -> String {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!(r#""{name}": "{value}""#)).collect();
        format!(r#"["f", "{sample}", {{{}}}, "help"]"#, labels.join(", "))
    }

    /// The keys of a histogram, as `prometheus_client` writes them.
    fn histogram(labels: &[(&str, &str)]) -> Vec<String> {
        let bounds = ["0.5", "1.0", "+Inf"].iter();
        let mut keys = vec![key("f_sum", labels)];
        keys.extend(bounds.map(|bound| {
            let mut labels = labels.to_vec();
            labels.push(("le", bound));
            labels.sort_unstable();
            key("f_bucket", &labels)
        }));
        keys
    }

    #[test]
    fn what_prometheus_client_writes_is_direct() {
        for labels in [&[][..], &[("a", "1")], &[("z", "1")], &[("a", "1"), ("z", "le")]] {
            let mut keys = histogram(labels);
            for value in ["} }, {", r#"\u00e9\", \"le\": \""#].iter().filter(|_| !labels.is_empty())
            {
                let other: Vec<_> = labels.iter().map(|(name, _)| (*name, *value)).collect();
                keys.extend(histogram(&other));
            }
            let files = [histogram(labels), keys];
            assert_eq!(check("histogram", &files, OPTIONS), [None], "{labels:?}");
            let simple = [vec![key("f_total", labels)], vec![key("f_total", &[("pid", "1")])]];
            assert_eq!(check("counter", &simple, OPTIONS), [None]);
            assert_eq!(check("gauge_all", &simple, OPTIONS), [None]);
            let summary = vec![key("f_count", labels), key("f_sum", labels)];
            assert_eq!(check("summary", &[summary.clone(), summary], OPTIONS), [None]);
        }
    }

    #[test]
    fn what_could_name_a_series_twice_is_not() {
        let a = histogram(&[("a", "1")]);
        let b = histogram(&[("a", "2")]);
        let bound = |le| key("f_bucket", &[("a", "1"), ("le", le)]);
        let help = |text| key("f_sum", &[("a", "3")]).replace("help", text);
        for keys in [
            [&a[..2], &b[..2], &a[2..], &b[2..]].concat(),
            [&a[1..], &a[..1]].concat(),
            [&a[..2], &[bound("0.50")]].concat(),
            [&a[..1], &[bound("1.0"), bound("0.5")]].concat(),
            [&a[..], &[key("f_count", &[("a", "1")])]].concat(),
            [&a[..], &[help("other")]].concat(),
            [&a[..], &[key("f_sum", &[("a", r"\u00E9")])]].concat(),
            vec![help("\u{e9}"), help(r"\u00e9")],
            [histogram(&[("a", r"\u00e9")]), histogram(&[("a", "\u{e9}")])].concat(),
        ] {
            let indirect = [Some(Indirect::ByLabels)];
            assert_eq!(
                check("histogram", std::slice::from_ref(&keys), OPTIONS),
                indirect,
                "{keys:?}"
            );
        }
        let pids = vec![key("f", &[("pid", "1")]), key("f", &[("pid", "2")])];
        assert_eq!(check("gauge_max", &[pids], OPTIONS), [Some(Indirect::ByLabels)]);
    }

    fn any_key() -> impl Strategy<Value = String> {
        let value =
            |values: &'static [&'static str]| prop::option::of(prop::sample::select(values));
        let samples = &["f_sum", "f_bucket", "f_bucket", "f_total"][..];
        let labels = (
            value(&["1", "", r"\n", r"\u00e9", r"\u00E9", "\u{e9}", r"\u007f", "\u{7f}"]),
            value(&["0.5", "0.50", "1.0", "+Inf", r"1.0\n"]),
            value(&["1"]),
            value(&["1", "2"]),
        );
        (prop::sample::select(samples), labels).prop_map(|(sample, (a, le, pid, z))| {
            let labels = [("a", a), ("le", le), ("pid", pid), ("z", z)];
            let labels = labels.into_iter().filter_map(|(name, value)| Some((name, value?)));
            key(sample, &labels.collect::<Vec<_>>())
        })
    }

    proptest! {
        #[test]
        fn direct_samples_are_those_by_labels(
            kind in prop::sample::select(&KINDS[..]),
            files in prop::collection::vec(prop::collection::vec(any_key(), 0..6), 1..3),
            accumulate: bool,
            is_grouped: bool,
        ) {
            let order = if is_grouped { SampleOrder::Grouped } else { SampleOrder::Flat };
            check(kind, &files, MergeOptions { accumulate, order, ..OPTIONS });
        }
    }
}
