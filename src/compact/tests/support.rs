//! Directories, workers that live and die, and gates, for the tests of compaction.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::compact::reason::Reason;
use crate::compact::run::{Compaction, Request, compact_on};
use crate::compact::steps::{Checkpoint, Step};
use crate::count::{CONTINUING, Opened, Writer, open_file};
use crate::float::{ExactSum, Sum};
use crate::format::testing::{entry, file, file_of};
use crate::format::{FileName, HEADER_SIZE, MAGIC_WRITER, entry_head};
use crate::mark;
use crate::scrape::{ExponentStyle, Merge, MergeOptions, SampleOrder};
use crate::store::Withdrawals;
use crate::sys::lock::Locked;
use crate::text::{Format, directory_text};

/// The key of a series without labels.
pub(crate) fn key(name: &str) -> String {
    format!(r#"["{name}", "{name}", {{}}, ""]"#)
}

/// A worker and the file that it holds; dropping it is its death.
pub(crate) struct Worker {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    _lock: Lock,
}

/// What holds the file.
#[allow(dead_code)] // They are held only.
enum Lock {
    Alone(Locked),
    Writer(Box<Writer>),
}

impl Worker {
    /// Starts one that counts in a new file of this name.
    pub(crate) fn start(directory: &Path, name: &str, series: &[(String, f64)]) -> Self {
        let path = directory.join(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let lock = Locked::take(file.try_clone().unwrap(), &path).unwrap().unwrap();
        let entries: Vec<_> = series.iter().map(|(key, value)| entry(key, *value, 1.0)).collect();
        file.write_all_at(&file_of(MAGIC_WRITER, &entries), 0).unwrap();
        file.set_len(1 << 16).unwrap();
        Self { path, file, _lock: Lock::Alone(lock) }
    }

    /// Starts one that counts in a file of this name with multiprom's writer, which goes on in one
    /// that is free and not spent; beside one that is held it takes a name of its own.
    pub(crate) fn open(directory: &Path, name: &str, key: &str, value: f64) -> Self {
        for name in [name, &name.replace(".db", "-1.db")] {
            let path = directory.join(name);
            if let Opened::Ours(mut writer) = open_file(&path, CONTINUING).unwrap() {
                let head = entry_head(key.as_bytes()).unwrap();
                let (mapping, offset) = writer.place(&head).unwrap();
                mapping.cell(offset).add(value);
                let file = File::options().read(true).write(true).open(&path).unwrap();
                return Self { path, file, _lock: Lock::Writer(writer) };
            }
        }
        panic!("both names are held");
    }

    /// Withdraws a series.
    pub(crate) fn withdraw(&self, key: &str) {
        let kind = FileName::of_path(&self.path).unwrap().kind;
        let withdrawals = Withdrawals::open(self.path.parent().unwrap(), kind).unwrap();
        self.write(key, 0.0, mark::withdrawn(withdrawals.next()));
    }

    /// Begins a series anew that was withdrawn by the withdrawal with this number.
    pub(crate) fn begin_anew(&self, key: &str, number: u64, value: f64) {
        self.write(key, value, mark::begun_anew(mark::withdrawn(number)));
    }

    fn write(&self, key: &str, value: f64, timestamp: f64) {
        let content = fs::read(&self.path).unwrap();
        let head = entry_head(key.as_bytes()).unwrap();
        let place = content.windows(head.len()).position(|bytes| bytes == &*head).unwrap();
        let numbers = [value, timestamp].map(f64::to_ne_bytes).concat();
        self.file.write_all_at(&numbers, (place + head.len()) as u64).unwrap();
    }

    /// Adds to the file's only series.
    pub(crate) fn add(&self, key: &str, value: f64) {
        let place = (HEADER_SIZE + entry(key, 0.0, 0.0).len() - 16) as u64;
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, place).unwrap();
        let sum = f64::from_ne_bytes(bytes) + value;
        self.file.write_all_at(&sum.to_ne_bytes(), place).unwrap();
    }
}

/// The values of all samples, by name, as a scrape shows them.
pub(crate) fn totals(directory: &Path) -> BTreeMap<String, f64> {
    totals_of(&Merge::of_directory(directory).unwrap())
}

/// The values of all samples, by name.
pub(crate) fn totals_of(merge: &Merge) -> BTreeMap<String, f64> {
    let parsed = merge.parse(OPTIONS).unwrap();
    let families = parsed.families(&mut Vec::new()).unwrap();
    let samples = families.iter().flat_map(|family| family.samples.iter());
    samples.map(|sample| (sample.name.to_string(), sample.value)).collect()
}

/// A scrape as text, in which nothing is lost by the map of [`totals`].
pub(crate) fn text(directory: &Path) -> String {
    let escaping = crate::text::Escaping::from_name("underscores").unwrap();
    directory_text(directory, OPTIONS, None, Format::Prometheus, escaping).unwrap().0
}

pub(crate) const OPTIONS: MergeOptions = MergeOptions {
    accumulate: true,
    order: SampleOrder::Grouped,
    exponents: ExponentStyle::TwoDigits,
};

/// The exact sum.
pub(crate) fn exact(values: &[f64]) -> f64 {
    let mut sum = ExactSum::default();
    for value in values {
        sum.add(*value);
    }
    sum.value()
}

/// The names of all files of a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Folds everything that is dead, without waiting for the clock: nobody is killed here.
pub(crate) fn sweep(directory: &Path) -> Compaction {
    let mut checkpoint = Watch { waits: false, ..Watch::new(|_| false) };
    compact_on(&mut checkpoint, directory, &Request::default()).unwrap()
}

/// Counts steps, does something before each, and makes some fail.
pub(crate) struct Watch<F> {
    /// The steps so far.
    pub(crate) seen: Vec<Step>,
    /// Called before each step with its number; says whether it fails.
    pub(crate) before: F,
    /// Whether waiting waits.
    pub(crate) waits: bool,
    /// The steps after which it waited.
    pub(crate) waited_after: Vec<Step>,
}

impl<F: FnMut(usize) -> bool> Watch<F> {
    pub(crate) fn new(before: F) -> Self {
        Self { seen: Vec::new(), before, waits: true, waited_after: Vec::new() }
    }
}

impl<F: FnMut(usize) -> bool> Checkpoint for Watch<F> {
    fn pass(&mut self, step: Step, _path: &Path) -> io::Result<()> {
        let number = self.seen.len();
        self.seen.push(step);
        if (self.before)(number) {
            return Err(io::Error::other("stopped by the test"));
        }
        Ok(())
    }

    fn wait(&mut self, time: Duration) {
        self.waited_after.extend(self.seen.last());
        if self.waits {
            std::thread::sleep(time);
        }
    }
}

pub(crate) const LOCK: &str = ".multiprom.lock";

pub(crate) fn stock(directory: &Path, name: &str, value: f64) {
    fs::write(directory.join(name), file(None, &[entry(&key("c"), value, 0.0)])).unwrap();
}

pub(crate) fn dead(directory: &Path, name: &str, value: f64) {
    drop(Worker::start(directory, name, &[(key("c"), value)]));
}

/// The request that names these processes as dead.
pub(crate) fn naming(pids: &[&str]) -> Request {
    Request { pids: pids.iter().map(OsString::from).collect(), ..Request::default() }
}

/// Makes an archive of a hundred series: for what fifteen processes of [`dead`] hold it is not worth to
/// write it anew, unless it counts as small.
pub(crate) fn large_archive(directory: &Path) {
    let series: Vec<_> = (0..100).map(|number| (key(&format!("a{number}")), 1.0)).collect();
    drop(Worker::start(directory, "counter_0.db", &series));
    sweep(directory);
}

/// The request that lets files wait, for which no archive is small.
pub(crate) fn patient() -> Request {
    Request { small_archive: 0, ..Request::default() }
}

pub(crate) fn reasons(done: &Compaction) -> Vec<(&str, &Reason)> {
    let left_alone = done.left_alone.iter();
    left_alone
        .map(|left| (left.path.file_name().unwrap().to_str().unwrap(), &left.reason))
        .collect()
}
