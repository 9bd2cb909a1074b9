//! The series of one kind of file, such as `counter` or `gauge_livesum`.

use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::count::files::{Files, Naming};
use crate::count::series::Series;
use crate::count::writer::Writer;
use crate::error::Result;
use crate::format::{kind_of_prefix, metrics_file_name};
use crate::kind::Rule;
use crate::store::MemoryFile;

/// The table of series is not pruned while it has fewer.
const FEW: usize = 64;

/// One kind of file of a class, and the series that are counted in it.
#[derive(Debug)]
pub(crate) struct KindOfFile {
    /// What the names of its files begin with.
    pub(crate) prefix: String,
    /// The file that was opened last: its lock is held, whether it is open or closed.
    pub(crate) path: Option<PathBuf>,
    /// Whether that file is open: series are attached to it.
    pub(crate) is_open: bool,
    /// When to make another attempt to attach series, if the last one failed.
    pub(crate) retry_at: Option<Instant>,
    /// The series that could not be attached then: the next attempt begins with it, so that an
    /// attempt that fails costs the same however many series wait.
    blocked: Weak<Series>,
    /// By the hash of their heads. Also those that the application has dropped, until they are
    /// pruned: dropping a value takes no lock.
    series: HashTable<Arc<Series>>,
    /// The number of series at which the table is pruned: twice what was left the last time.
    prune_at: usize,
    hasher: DefaultHashBuilder,
}

impl KindOfFile {
    /// A kind without a file or a series.
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            path: None,
            is_open: false,
            retry_at: None,
            blocked: Weak::new(),
            series: HashTable::new(),
            prune_at: FEW,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Whether its files count only while their process lives.
    pub(crate) fn is_live(&self) -> bool {
        kind_of_prefix(&self.prefix).is_live()
    }

    /// The path of the file, if it is open and OpenMetrics has exemplars of its samples.
    pub(crate) fn path_of_exemplars(&self) -> Option<&Path> {
        self.open_path().filter(|_| kind_of_prefix(&self.prefix).has_exemplars())
    }

    /// The path of the file, if it is open.
    pub(crate) fn open_path(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.is_open)
    }

    /// The series with this head, which is made if need be; none if there is no memory for it.
    /// `numbers` is the number of the series that was made last.
    pub(crate) fn series(&mut self, head: Box<[u8]>, numbers: &mut u64) -> Option<Arc<Series>> {
        let hash = self.hasher.hash_one(&head);
        if let Some(known) = self.series.find(hash, |series| series.head == head) {
            return Some(Arc::clone(known));
        }
        if self.series.len() >= self.prune_at {
            self.prune();
        }
        let hasher = &self.hasher;
        let hash_of = |series: &Arc<Series>| hasher.hash_one(&series.head);
        // The largest of all allocations: a process at its limit of memory shall not end here.
        self.series.try_reserve(1, hash_of).ok()?;
        *numbers += 1;
        let made = Arc::new(Series::new(head, *numbers));
        self.series.insert_unique(hash, Arc::clone(&made), hash_of);
        Some(made)
    }

    /// Drops the series that no value has any more, but for those that no file holds wholly.
    pub(crate) fn prune(&mut self) {
        self.series.retain(|series| Arc::strong_count(series) > 1 || series.unwritten().is_any());
        self.prune_at = FEW.max(2 * self.series.len());
    }

    /// Whether series wait for a cell.
    pub(crate) fn is_waiting(&self) -> bool {
        self.blocked.upgrade().is_some_and(|series| series.is_waiting())
            || self.series.iter().any(|series| series.is_waiting())
    }

    /// Attaches all series that wait to cells of the file at `path`.
    pub(crate) fn attach_waiting(&mut self, files: &mut Files, path: &Path) -> Result<()> {
        // It may have been withdrawn since.
        if let Some(blocked) = self.blocked.upgrade().filter(|series| series.is_waiting()) {
            self.attach(files, path, &blocked)?;
        }
        self.prune();
        let waiting = self.waiting();
        if let Some(writer) = files.writer(path) {
            writer.make_room(waiting.iter().map(|series| &*series.head));
        }
        waiting.iter().try_for_each(|series| self.attach(files, path, series))
    }

    /// The series that wait for a cell, in the order in which they were made.
    fn waiting(&self) -> Vec<Arc<Series>> {
        let waiting = self.series.iter().filter(|series| series.is_waiting());
        let mut waiting: Vec<_> = waiting.cloned().collect();
        waiting.sort_unstable_by_key(|series| series.number);
        waiting
    }

    /// What the series that wait for a cell hold and no file does; none if no series waits.
    pub(crate) fn unwritten(&self, files: &Files, naming: &Naming) -> Option<MemoryFile> {
        // No series waits unless the last attempt to attach all of them has failed.
        let waiting = if self.retry_at.is_some() { self.waiting() } else { Vec::new() };
        if waiting.is_empty() {
            return None;
        }
        let is_summed = kind_of_prefix(&self.prefix).rule() == Rule::Sum;
        let is_there = self.path.as_deref().is_some_and(|path| {
            path.parent() == naming.directory.as_deref() && !files.is_removed(path)
        });
        let name = metrics_file_name(&self.prefix, &naming.identifier, naming.suffix);
        let mut unwritten = MemoryFile::new(name);
        for series in waiting {
            let (value, timestamp) = series.unwritten().beyond_file(is_summed, is_there);
            unwritten.push(&series.head, value, timestamp);
        }
        Some(unwritten)
    }

    /// Attaches a series to its cell in the file at `path`.
    pub(crate) fn attach(
        &mut self,
        files: &mut Files,
        path: &Path,
        series: &Arc<Series>,
    ) -> Result<()> {
        // Not there if it was removed, and another class could not replace it: the next attempt
        // opens it again.
        files.writer(path).map_or(Ok(()), |writer| self.attach_to(writer, series))
    }

    /// Attaches a series to its cell in the file that is written here.
    pub(crate) fn attach_to(&mut self, writer: &mut Writer, series: &Arc<Series>) -> Result<()> {
        self.blocked = Arc::downgrade(series);
        let (mapping, offset) = writer.place(&series.head)?;
        self.blocked = Weak::new();
        series.attach(mapping, offset);
        Ok(())
    }

    /// Detaches all series.
    pub(crate) fn detach(&self) {
        for series in &self.series {
            series.attachment.detach();
        }
    }

    /// Closes the file, but keeps its lock.
    pub(crate) fn close(&mut self, files: &mut Files) {
        self.stop(files);
        self.series.iter().for_each(|series| series.close());
    }

    fn stop(&mut self, files: &mut Files) {
        self.blocked = Weak::new();
        if let Some(path) = self.open_path() {
            files.close(path);
        }
        self.is_open = false;
    }

    /// Closes the file, for one of another process or identifier, and gives its path.
    pub(crate) fn begin(&mut self, files: &mut Files) -> Option<PathBuf> {
        self.stop(files);
        self.detach();
        self.series.iter().for_each(|series| series.begin());
        self.path.take()
    }

    /// Forgets the file and what no file holds, in the child of a fork: both are the parent's.
    pub(crate) fn forget(&mut self) {
        self.path = None;
        self.is_open = false;
        self.blocked = Weak::new();
        self.series.iter().for_each(|series| series.forget());
    }
}
