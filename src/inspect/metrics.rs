//! What an operator sees, as metrics: families that a scrape of a directory adds to those of its files.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::count;
use crate::format::Damage;
use crate::inspect::listener;
use crate::inspect::removed;
use crate::inspect::usage::{self, Usage};
use crate::kind::MetricType;
use crate::scrape::{Family, Labels, Sample, Samples};
use crate::store::presence::{self, Slot};
use crate::store::{FileState, Glimpse, LeftOut, Reader};

/// What a scrape of the files has found.
#[derive(Debug)]
pub struct Scraped<'a> {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How many samples it gives.
    pub series: usize,
    /// What it left out.
    pub left_out: &'a [LeftOut],
    /// What it has seen of each file.
    pub files: Vec<(&'a Path, Glimpse)>,
}

/// The metrics of the processes that use the directory `path`, of its files and of a scrape of them.
///
/// Whatever cannot be found out is left out: it must not fail a scrape. No thread looks at the processes
/// while the files are read: it would be one of the threads that the scrape shows of this process.
#[must_use]
pub fn metrics(path: &Path, scraped: &Scraped<'_>) -> Vec<Family<'static>> {
    let slots = presence::held_slots(path);
    let occupants = slots.iter().filter_map(|slot| slot.occupant.as_ref());
    removed::tell(occupants, path, &scraped.files);
    let mut families = of_processes(&slots);
    families.extend(of_files(&scraped.files));
    families.extend(of_scrape(scraped));
    families.push(of_memory(path));
    families.push(of_listeners(&slots));
    families.retain(|family| !family.samples.is_empty());
    families
}

/// A family without samples.
fn family(name: &'static str, metric_type: MetricType, help: &'static str) -> Family<'static> {
    let (name, help) = (Cow::Borrowed(name), Cow::Borrowed(help));
    Family { name, help, metric_type, mode: None, samples: Samples::Built(Vec::new()) }
}

/// The name of the samples of a counter or gauge.
pub(super) fn sample_name(family: Cow<'static, str>, metric_type: MetricType) -> Cow<'static, str> {
    if metric_type == MetricType::Counter { format!("{family}_total").into() } else { family }
}

trait Add {
    /// Adds a sample.
    fn add<const N: usize>(&mut self, labels: [(&'static str, &str); N], value: f64);
}

impl Add for Family<'static> {
    fn add<const N: usize>(&mut self, labels: [(&'static str, &str); N], value: f64) {
        let mut owned = labels.map(|(name, value)| (name.into(), value.to_owned().into()));
        // `Labels` takes labels as a key has them, which is sorted by name.
        owned.sort_unstable();
        let name = sample_name(self.name.clone(), self.metric_type);
        let labels = Labels::of_owned(owned.into());
        if let Samples::Built(samples) = &mut self.samples {
            samples.push(Sample { name, labels, value, timestamp: None, exemplar: None });
        }
    }
}

/// One metric of a process: name, type, help and value.
type Measured = (&'static str, MetricType, &'static str, fn(&Usage) -> Option<f64>);

/// As `prometheus_client`'s `ProcessCollector` names them, and two more.
#[allow(clippy::cast_precision_loss)] // Far below 2^53, and a sample is an f64.
const MEASURED: [Measured; 7] = [
    (
        "process_cpu_seconds",
        MetricType::Counter,
        "Total user and system CPU time spent in seconds.",
        |usage| usage.cpu_seconds,
    ),
    (
        "process_resident_memory_bytes",
        MetricType::Gauge,
        "Resident memory size in bytes.",
        |usage| Some(usage.resident_bytes as f64),
    ),
    ("process_virtual_memory_bytes", MetricType::Gauge, "Virtual memory size in bytes.", |usage| {
        Some(usage.virtual_bytes as f64)
    }),
    ("process_open_fds", MetricType::Gauge, "Number of open file descriptors.", |usage| {
        usage.open_descriptors.map(|count| count as f64)
    }),
    ("process_max_fds", MetricType::Gauge, "Maximum number of open file descriptors.", |usage| {
        usage.max_descriptors.map(|count| count as f64)
    }),
    (
        "process_start_time_seconds",
        MetricType::Gauge,
        "Start time of the process since unix epoch in seconds.",
        |usage| Some(usage.start_time),
    ),
    ("process_threads", MetricType::Gauge, "Number of threads.", |usage| {
        Some(usage.threads as f64)
    }),
];

#[allow(clippy::cast_precision_loss)] // As above.
fn of_processes(slots: &[Slot]) -> Vec<Family<'static>> {
    let mut alive = family(
        "multiprom_processes",
        MetricType::Gauge,
        "Living processes of the service, by what they do.",
    );
    let mut hidden = family(
        "multiprom_hidden_processes",
        MetricType::Gauge,
        "Living processes without process_* metrics, as they are in another pid namespace.",
    );
    let mut switches = family(
        "process_context_switches",
        MetricType::Counter,
        "Times that a processor was given up to wait (voluntary), or was taken away (involuntary).",
    );
    let mut measured = MEASURED.map(|(name, metric_type, help, _)| family(name, metric_type, help));
    let mut roles: BTreeMap<&str, usize> = BTreeMap::new();
    let mut hidden_count = 0;
    for slot in slots {
        let occupant = slot.occupant.as_ref();
        let role = occupant.map_or("unknown", |occupant| &occupant.role);
        *roles.entry(role).or_default() += 1;
        let Some(usage) = occupant.and_then(usage::of) else {
            hidden_count += 1;
            continue;
        };
        let worker = slot.number.to_string();
        let labels = [("worker", &*worker), ("role", role)];
        for (family, (.., value)) in measured.iter_mut().zip(MEASURED) {
            if let Some(value) = value(&usage) {
                family.add(labels, value);
            }
        }
        let [worker, role] = labels;
        for (kind, count) in
            [("voluntary", usage.voluntary_switches), ("involuntary", usage.involuntary_switches)]
        {
            switches.add([worker, role, ("type", kind)], count as f64);
        }
    }
    for (role, count) in roles {
        alive.add([("role", role)], count as f64);
    }
    hidden.add([], f64::from(hidden_count));
    measured.into_iter().chain([switches, alive, hidden]).collect()
}

#[allow(clippy::cast_precision_loss)] // As above.
fn of_files(files: &[(&Path, Glimpse)]) -> [Family<'static>; 4] {
    let mut count =
        family("multiprom_files", MetricType::Gauge, "Files in the directory, by their state.");
    let mut used = family(
        "multiprom_used_bytes",
        MetricType::Gauge,
        "Bytes that metrics files say they use, by the state of the file.",
    );
    let mut allocated = family(
        "multiprom_allocated_bytes",
        MetricType::Gauge,
        "Bytes that metrics files take on the disk or in memory, by the state of the file.",
    );
    for state in FileState::ALL {
        let of_state = || files.iter().map(|(_, file)| file).filter(|file| file.state == state);
        let labels = [("state", state.name())];
        count.add(labels, of_state().count() as f64);
        used.add(labels, of_state().map(|file| file.used).sum::<u64>() as f64);
        allocated.add(labels, of_state().map(|file| file.allocated).sum::<u64>() as f64);
    }
    let mut dead = family(
        "multiprom_unfolded_processes",
        MetricType::Gauge,
        "Dead processes whose files are not folded into archives.",
    );
    let of_dead = files.iter().filter(|(_, file)| file.state == FileState::Dead);
    let identifiers: BTreeSet<_> =
        of_dead.filter_map(|(path, file)| file.state.identifier(path)).collect();
    dead.add([], identifiers.len() as f64);
    [count, used, allocated, dead]
}

#[allow(clippy::cast_precision_loss)] // As above.
fn of_scrape(scraped: &Scraped<'_>) -> [Family<'static>; 3] {
    let mut seconds = family(
        "multiprom_scrape_duration_seconds",
        MetricType::Gauge,
        "How long this scrape took to read and merge the files.",
    );
    seconds.add([], scraped.seconds);
    let mut series = family(
        "multiprom_series",
        MetricType::Gauge,
        "Samples that this scrape gives of the files.",
    );
    series.add([], scraped.series as f64);
    let mut left_out = family(
        "multiprom_left_out",
        MetricType::Gauge,
        "Files that this scrape left out, as a whole or in part, by what is wrong with them.",
    );
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for LeftOut { damaged, .. } in scraped.left_out {
        *reasons.entry(reason(&damaged.damage)).or_default() += 1;
    }
    for (reason, count) in reasons {
        left_out.add([("reason", reason)], count as f64);
    }
    [seconds, series, left_out]
}

#[allow(clippy::cast_precision_loss)] // As above.
fn of_memory(path: &Path) -> Family<'static> {
    let mut unwritten = family(
        "multiprom_unwritten_values",
        MetricType::Gauge,
        "Values that the process which is scraped has in its memory, as no file can be written.",
    );
    let mut values = 0_u64;
    for file in count::unwritten(path).files {
        // What is in memory is sound.
        let _ = Reader::default().read_entries(&*file.bytes, |_, entry| {
            values += u64::from(!entry.is_withdrawn());
        });
    }
    unwritten.add([], values as f64);
    unwritten
}

/// What is wrong, as the value of a label.
pub(super) fn reason(damage: &Damage) -> &'static str {
    match damage {
        Damage::ForeignName => "foreign_name",
        Damage::NotAFile => "not_a_file",
        Damage::Unreadable { .. } => "unreadable",
        Damage::ShortHeader { .. } | Damage::BadUsed { .. } | Damage::NoExemplars => "bad_header",
        Damage::CutShort { .. } => "cut_short",
        Damage::BadKeyLength { .. } | Damage::EntryBeyondUsed { .. } => "bad_entry",
        Damage::TornJournal => "torn_journal",
        Damage::KeyNotUtf8 | Damage::KeyNotJson { .. } | Damage::EmptyName => "bad_key",
        Damage::OtherType { .. } | Damage::NoProcess { .. } => "changed_metric",
        Damage::BadBucket { .. } => "bad_bucket",
    }
}

fn of_listeners(slots: &[Slot]) -> Family<'static> {
    let mut backlog = family(
        "gunicorn_backlog_connections",
        MetricType::Gauge,
        "Connections that wait until a worker accepts them, by address.",
    );
    for (address, waiting) in listener::backlogs(slots) {
        backlog.add([("listener", &*address)], f64::from(waiting));
    }
    backlog
}
