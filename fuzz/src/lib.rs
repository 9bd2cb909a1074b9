//! What both targets share: a directory of metrics files, and what a scrape of it says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use multiprom::compact::{self, Compaction, Request};
use multiprom::scrape::{self, ExponentStyle, SampleOrder};
use multiprom::text::{Escaping, Format, directory_text};
use tempfile::TempDir;

/// Values by the names and labels of their samples.
pub type Samples = BTreeMap<String, f64>;

const OPTIONS: scrape::MergeOptions = scrape::MergeOptions {
    accumulate: true,
    order: SampleOrder::Grouped,
    exponents: ExponentStyle::TwoDigits,
};

/// A directory in which only dead processes have files, all of one kind.
pub struct Directory {
    directory: TempDir,
    kind: &'static str,
}

impl Directory {
    /// An empty directory.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        let memory = Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => TempDir::new_in(memory),
            false => TempDir::new(),
        };
        Self { directory: directory.unwrap(), kind }
    }

    /// Writes the file of the process with this number.
    pub fn write(&self, process: usize, content: &[u8]) {
        let path = self.directory.path().join(format!("{}_{process}.db", self.kind));
        fs::write(&path, content).unwrap();
        // Compaction waits for the clock behind files that were changed just now.
        let before = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
    }

    /// Writes the exemplars beside that file.
    pub fn write_exemplars(&self, process: usize, content: &[u8]) {
        let name = format!("{}_{process}.db.exemplars", self.kind);
        fs::write(self.directory.path().join(name), content).unwrap();
    }

    /// Scrapes it with its exemplars.
    #[must_use]
    pub fn open_text(&self) -> String {
        let (format, escaping) = (Format::OpenMetrics, Escaping::AllowUtf8);
        directory_text(self.directory.path(), OPTIONS, None, format, escaping).unwrap().0
    }

    /// Scrapes it. A scrape never fails because of what a file holds.
    #[must_use]
    pub fn samples(&self) -> Samples {
        let (format, escaping) = (Format::Prometheus, Escaping::AllowUtf8);
        let (text, _) =
            directory_text(self.directory.path(), OPTIONS, None, format, escaping).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let mut values = Samples::new();
        for line in samples {
            let (series, value) = line.rsplit_once(' ').unwrap();
            values.insert(series.to_owned(), value.parse().unwrap());
        }
        values
    }

    /// Folds the files of the processes with these numbers.
    pub fn fold(&self, processes: impl Iterator<Item = usize>) -> Compaction {
        let pids: Vec<OsString> = processes.map(|number| number.to_string().into()).collect();
        let wait = Duration::from_secs(1);
        let request = Request { pids, named_only: true, wait, ..Request::default() };
        compact::compact(self.directory.path(), &request, &[]).unwrap()
    }
}

/// Fails unless both scrapes say the same. Zeros are equal, and so are NaNs.
pub fn assert_same(before: &Samples, after: &Samples) {
    let names = |samples: &Samples| samples.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after));
    for (name, value) in before {
        let now = after[name];
        assert!(
            *value == now || value.is_nan() && now.is_nan(),
            "{name} was {value:?} and is {now:?}"
        );
    }
}

/// A file with these entries, as `prometheus_client` writes it.
#[must_use]
pub fn file<'a>(entries: impl Iterator<Item = (&'a str, f64, f64)>) -> Vec<u8> {
    let mut content = vec![0; 8];
    for (key, value, timestamp) in entries {
        // The length of the key, the key, and spaces fill a multiple of eight bytes.
        let padding = 8 - (4 + key.len()) % 8;
        content.extend(i32::try_from(key.len()).unwrap().to_ne_bytes());
        content.extend(key.as_bytes());
        content.resize(content.len() + padding, b' ');
        content.extend(value.to_ne_bytes());
        content.extend(timestamp.to_ne_bytes());
    }
    let used = i32::try_from(content.len()).unwrap();
    content[..4].copy_from_slice(&used.to_ne_bytes());
    content
}
