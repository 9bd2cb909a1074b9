//! What each process has counted of each metric so far: two looks give rates.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::error::Result;
use crate::format::{FileName, Key};
use crate::inspect::process::{self, ProcessSeen};
use crate::kind::MetricType;
use crate::store::{Reader, Snapshot, read_consistently};

/// What a process has counted.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessCounts {
    /// What its files are named after; none for the archives, which have what the dead counted.
    pub identifier: Option<String>,
    /// How far each metric has been counted, all series together: a counter by its value, a histogram
    /// or summary by its observations.
    pub counts: BTreeMap<String, f64>,
}

/// A directory at one moment.
#[derive(Debug)]
pub struct Watch {
    /// The processes that hold or held a slot.
    pub processes: Vec<ProcessSeen>,
    /// What each process with files has counted.
    pub counts: Vec<ProcessCounts>,
}

/// Looks at what moves in the directory `path`, and changes nothing there.
///
/// # Errors
///
/// If the directory cannot be listed, or a file cannot be read for a reason that will pass.
pub fn watch(path: &Path) -> Result<Watch> {
    let slots = process::slots(path)?;
    let (_, counts) = read_consistently(&path.into(), counts)?;
    Ok(Watch { processes: process::processes(slots, &[]), counts })
}

fn counts(snapshot: &Snapshot) -> Result<Vec<ProcessCounts>> {
    let mut reader = Reader::default();
    let mut families = Families::default();
    // Sums of families by their numbers. Rates need no exact sums.
    let mut found: BTreeMap<Option<String>, Vec<f64>> = BTreeMap::new();
    for (place, path) in (0..).zip(&snapshot.files) {
        let Some(name) = FileName::of_path(path) else { continue };
        let metric_type = name.kind.metric_type;
        if !is_counted(metric_type) {
            continue;
        }
        let is_archive = snapshot.is_archive(place);
        let identifier = (!is_archive).then(|| name.pid.to_string_lossy().into_owned());
        let sums = found.entry(identifier).or_default();
        // What a file lacks, the scrape reports.
        snapshot.read(place, &mut reader, |_, entry| {
            if let Some(family) = families.number(entry.key, metric_type) {
                sums.resize(sums.len().max(family + 1), 0.0);
                sums[family] += entry.value;
            }
        })?;
    }
    let named = |(identifier, sums): (_, Vec<f64>)| {
        let counts = families.names.iter().cloned().zip(sums).filter(|(_, sum)| *sum != 0.0);
        ProcessCounts { identifier, counts: counts.collect() }
    };
    Ok(found.into_iter().map(named).collect())
}

fn is_counted(metric_type: MetricType) -> bool {
    matches!(metric_type, MetricType::Counter | MetricType::Histogram | MetricType::Summary)
}

/// The families of keys that count something. Each key is parsed once.
#[derive(Debug, Default)]
struct Families {
    names: Vec<String>,
    by_key: HashMap<Box<[u8]>, Option<usize>>,
}

impl Families {
    /// The number of the family that an entry counts; none if it counts nothing, such as a sum.
    fn number(&mut self, key: &[u8], metric_type: MetricType) -> Option<usize> {
        if let Some(known) = self.by_key.get(key) {
            return *known;
        }
        let number = self.parse(key, metric_type);
        self.by_key.insert(key.into(), number);
        number
    }

    fn parse(&mut self, key: &[u8], metric_type: MetricType) -> Option<usize> {
        let key = Key::parse(key, metric_type).ok()?;
        let suffix = key.sample.strip_prefix(&*key.family)?;
        let wanted = match metric_type {
            // In files each bucket has only the observations above the bound before it.
            MetricType::Histogram => "_bucket",
            MetricType::Summary => "_count",
            _ => "_total",
        };
        if suffix != wanted && !(suffix.is_empty() && metric_type == MetricType::Counter) {
            return None;
        }
        let place = self.names.iter().position(|name| *name == key.family);
        Some(place.unwrap_or_else(|| {
            self.names.push(key.family.into_owned());
            self.names.len() - 1
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::{entry, file_of};
    use crate::format::{MAGIC_ARCHIVE, MAGIC_STOCK, MAGIC_WRITER};
    use std::fs;
    use tempfile::TempDir;

    fn key(sample: &str, labels: &str) -> String {
        let family = sample.split('_').next().unwrap();
        format!(r#"["{family}", "{sample}", {{{labels}}}, ""]"#)
    }

    #[test]
    fn each_process_has_its_counts() {
        let directory = TempDir::new().unwrap();
        let write = |name: &str, magic, entries: &[(String, f64)]| {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| entry(key, *value, 0.0)).collect();
            fs::write(directory.path().join(name), file_of(magic, &entries)).unwrap();
        };
        let (get, post) = (r#""method": "GET""#, r#""method": "POST""#);
        let requests = [
            (key("requests_total", get), 2.0),
            (key("requests_total", post), 3.0),
            (key("requests_created", post), 1e9),
        ];
        write("counter_1.db", MAGIC_WRITER, &requests);
        write("counter_b.db", MAGIC_STOCK, &requests[..1]);
        write("counter_compacted.db", MAGIC_ARCHIVE, &requests);
        let seconds = [
            (key("seconds_sum", ""), 50.0),
            (key("seconds_bucket", r#""le": "1.0""#), 4.0),
            (key("seconds_bucket", r#""le": "+Inf""#), 1.0),
        ];
        write("histogram_1.db", MAGIC_WRITER, &seconds);
        let sizes = [(key("sizes_sum", ""), 50.0), (key("sizes_count", ""), 7.0)];
        write("summary_1.db", MAGIC_WRITER, &sizes);
        write("gauge_max_1.db", MAGIC_WRITER, &[(key("gauge", ""), 9.0)]);
        write("counter_2.db", MAGIC_WRITER, &[("no key".to_owned(), 9.0)]);
        let seen = watch(directory.path()).unwrap();
        assert!(seen.processes.is_empty());
        let counts: Vec<_> = seen
            .counts
            .iter()
            .map(|process| {
                let counts = process.counts.iter().map(|(name, count)| (name.as_str(), *count));
                (process.identifier.as_deref(), counts.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            counts,
            [
                (None, vec![("requests", 5.0)]),
                (Some("1"), vec![("requests", 5.0), ("seconds", 5.0), ("sizes", 7.0)]),
                (Some("2"), vec![]),
                (Some("b"), vec![("requests", 2.0)]),
            ]
        );
    }

    #[test]
    fn a_missing_directory_has_counted_nothing() {
        let seen = watch(Path::new("/gone")).unwrap();
        assert!(seen.processes.is_empty() && seen.counts.is_empty());
    }
}
