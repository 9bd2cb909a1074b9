//! Values of one file kind under construction: one column entry a key, fed entry by entry.

use std::sync::Arc;

use hashbrown::HashSet;

use crate::float::{DoubleDouble, Sum};
use crate::kind::Rule;

/// Takes the values of the entries.
pub(crate) trait Column {
    /// Takes an entry of the key with this number; new keys come with the next free number.
    fn add(&mut self, number: u32, value: f64, timestamp: f64);

    /// Takes an entry of an archive, where the timestamp of a sum is the sum's low half.
    #[inline]
    fn add_archived(&mut self, number: u32, value: f64, timestamp: f64) {
        self.add(number, value, timestamp);
    }
}

/// A column, by its rule.
#[derive(Debug)]
pub(crate) enum AnyColumn {
    /// [`Rule::Sum`]
    Sums(Sums),
    /// [`Rule::Min`]
    Minima(Extremes<true>),
    /// [`Rule::Max`]
    Maxima(Extremes<false>),
    /// [`Rule::MostRecent`]
    MostRecent(MostRecent),
    /// [`Rule::PerProcess`]
    PerProcess(PerProcess),
}

impl AnyColumn {
    /// An empty column.
    #[must_use]
    pub(crate) fn new(rule: Rule) -> Self {
        match rule {
            Rule::Sum => Self::Sums(Sums::default()),
            Rule::Min => Self::Minima(Extremes::default()),
            Rule::Max => Self::Maxima(Extremes::default()),
            Rule::MostRecent => Self::MostRecent(MostRecent::default()),
            Rule::PerProcess => Self::PerProcess(PerProcess::default()),
        }
    }
}

/// Sums.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    /// The sum of each key.
    pub sums: Vec<DoubleDouble>,
    /// Whether the sum of each key lost bits.
    pub lossy: Vec<bool>,
}

impl Sums {
    /// Adds the sum of other files, which may have lost bits.
    pub(crate) fn add_part(&mut self, number: u32, sum: &DoubleDouble, lossy: bool) {
        let index = self.make_room(number);
        if !self.sums[index].add_sum(sum) || lossy {
            self.lossy[index] = true;
        }
    }

    #[inline]
    fn make_room(&mut self, number: u32) -> usize {
        let index = number as usize;
        if index == self.sums.len() {
            self.sums.push(DoubleDouble::default());
            self.lossy.push(false);
        }
        index
    }
}

impl Column for Sums {
    #[inline]
    fn add(&mut self, number: u32, value: f64, _timestamp: f64) {
        let index = self.make_room(number);
        if !self.sums[index].add(value) {
            self.lossy[index] = true;
        }
    }

    #[inline]
    fn add_archived(&mut self, number: u32, value: f64, timestamp: f64) {
        self.add(number, value, 0.0);
        if timestamp != 0.0 {
            self.add(number, timestamp, 0.0);
        }
    }
}

/// The smallest or the largest values. As in `prometheus_client`, a first NaN stays.
#[derive(Debug, Default)]
pub(crate) struct Extremes<const SMALLEST: bool> {
    /// The value of each key.
    pub values: Vec<f64>,
}

impl<const SMALLEST: bool> Column for Extremes<SMALLEST> {
    #[inline]
    fn add(&mut self, number: u32, value: f64, _timestamp: f64) {
        let Some(current) = self.values.get_mut(number as usize) else {
            return self.values.push(value);
        };
        if if SMALLEST { value < *current } else { value > *current } {
            *current = value;
        }
    }
}

/// The values with the latest timestamps.
#[derive(Debug, Default)]
pub(crate) struct MostRecent {
    /// The value of each key.
    pub values: Vec<Latest>,
    set_count: u64,
}

/// The value of one key that was set last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Latest {
    /// The value.
    pub value: f64,
    /// When it was set; 0 if it never was.
    pub timestamp: f64,
    /// When the key was first found set, counted over all keys: `prometheus_client`'s order. 0 if it
    /// was never set; it is left out then.
    pub first_set: u64,
}

impl Column for MostRecent {
    #[inline]
    fn add(&mut self, number: u32, value: f64, timestamp: f64) {
        let index = number as usize;
        if index == self.values.len() {
            self.values.push(Latest::default());
        }
        let latest = &mut self.values[index];
        if latest.timestamp < timestamp {
            if latest.first_set == 0 {
                self.set_count += 1;
                latest.first_set = self.set_count;
            }
            latest.timestamp = timestamp;
            latest.value = value;
        }
    }
}

/// A value for each key and process.
#[derive(Debug, Default)]
pub(crate) struct PerProcess {
    /// Values, in the order of files and entries.
    pub records: Vec<Record>,
    /// Whether some process has several files: then its last values count, but in the place of the
    /// first, which these records do not show.
    pub repeated: bool,
    pids: Vec<Arc<str>>,
    known_pids: HashSet<Arc<str>>,
    /// For each key its last record.
    last: Vec<usize>,
}

/// A value of one key in one process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// The key.
    pub number: u32,
    pid: u32,
    /// The value.
    pub value: f64,
}

impl PerProcess {
    /// Begins a file of process `pid`.
    pub(crate) fn begin(&mut self, pid: &str) {
        let pid: Arc<str> = pid.into();
        self.repeated |= !self.known_pids.insert(Arc::clone(&pid));
        self.pids.push(pid);
    }

    /// The process that holds a record.
    #[must_use]
    pub(crate) fn pid(&self, record: Record) -> &str {
        &self.pids[record.pid as usize]
    }
}

impl Column for PerProcess {
    #[inline]
    fn add(&mut self, number: u32, value: f64, _timestamp: f64) {
        // CAST: one for each file of a directory.
        #[allow(clippy::cast_possible_truncation)]
        let pid = self.pids.len().saturating_sub(1) as u32;
        let next = self.records.len();
        match self.last.get_mut(number as usize) {
            // A key that stands twice in a file: the last value, in the place of the first.
            Some(last) if self.records[*last].pid == pid => {
                self.records[*last].value = value;
                return;
            }
            Some(last) => *last = next,
            None => self.last.push(next),
        }
        self.records.push(Record { number, pid, value });
    }
}
