//! What is counted under one process identifier: its files, by kind, and their series.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::count::files::{Files, Naming};
use crate::count::kind::KindOfFile;
use crate::count::notice::Notice;
use crate::count::series::Series;
use crate::count::writer::Writer;
use crate::error::{Error, Result, message};
use crate::format::kind_of_prefix;
use crate::kind::Rule;
use crate::store::MemoryFile;

/// How long series without a file wait before counting makes another attempt to open one.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Of so many files under other identifiers a class keeps the locks: each is a descriptor and a mapping,
/// and an identifier could be another one at each call.
const EARLIER_MAX: usize = 64;

/// What the state knows of one value class.
#[derive(Debug)]
pub(crate) struct ClassState {
    /// What its files are called.
    pub(crate) naming: Naming,
    /// Whether its identifier is the pid.
    pub(crate) by_pid: bool,
    /// The generation of the process that counts in it; see [`crate::sys::fork::generation`].
    pub(crate) generation: u32,
    /// Whether the application has dropped the class, with all of its values.
    is_dropped: Arc<AtomicBool>,
    /// Whether the process has marked itself as dead: its `live*` files stay away then.
    is_marked_dead: bool,
    /// The last trouble with writing files; none once all files can be written. Only the first is logged.
    trouble: Option<Notice>,
    /// Whether files were removed that cannot be made anew.
    misses_files: bool,
    /// The latest files that it had under other identifiers, whose locks it keeps: an identifier may
    /// come back.
    earlier: Vec<PathBuf>,
    kinds: Vec<KindOfFile>,
}

impl ClassState {
    /// A class that has counted nothing.
    pub(crate) fn new(
        identifier: OsString,
        by_pid: bool,
        generation: u32,
        is_dropped: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            naming: Naming { identifier, ..Naming::default() },
            by_pid,
            generation,
            is_dropped: Arc::clone(is_dropped),
            is_marked_dead: false,
            trouble: None,
            misses_files: false,
            earlier: Vec::new(),
            kinds: Vec::new(),
        }
    }

    /// Whether the application has dropped the class, with all of its values.
    pub(crate) fn is_dropped(&self) -> bool {
        self.is_dropped.load(Ordering::Acquire)
    }

    /// The index of the kind whose files begin with `prefix`.
    pub(crate) fn kind(&mut self, prefix: &str) -> usize {
        let known = self.kinds.iter().position(|kind| kind.prefix == prefix);
        known.unwrap_or_else(|| {
            self.kinds.push(KindOfFile::new(prefix));
            self.kinds.len() - 1
        })
    }

    /// The writer of the open file of the kind, if all series with these heads find their place there.
    pub(crate) fn writer_with_room<'a>(
        &self,
        files: &'a mut Files,
        kind: usize,
        heads: &[Box<[u8]>],
    ) -> Option<&'a mut Writer> {
        let kind = &self.kinds[kind];
        let shared = kind.open_path().and_then(|path| files.shared(path))?;
        let may_be_gone = kind.is_live() && self.is_marked_dead;
        let has_room = kind.retry_at.is_none()
            && shared.writer.has_room(heads)
            && (may_be_gone || shared.was_in_place_lately());
        has_room.then_some(&mut shared.writer)
    }

    /// As [`ClassState::series`], if the writer of the kind has room for all.
    pub(crate) fn series_in_place(
        &mut self,
        writer: &mut Writer,
        kind: usize,
        heads: Vec<Box<[u8]>>,
        numbers: &mut u64,
    ) -> Option<Vec<Arc<Series>>> {
        let kind = &mut self.kinds[kind];
        let made = heads.into_iter().map(|head| {
            let series = kind.series(head, numbers)?;
            if !series.attachment.is_attached() {
                series.unwritten().is_dormant = false;
                kind.attach_to(writer, &series).ok()?;
            }
            Some(series)
        });
        made.collect()
    }

    /// The series with each of these heads, for one more value. Those that are not there are made, and
    /// written; none if there is no memory for one.
    pub(crate) fn series(
        &mut self,
        files: &mut Files,
        kind: usize,
        heads: Vec<Box<[u8]>>,
        numbers: &mut u64,
    ) -> Option<Vec<Arc<Series>>> {
        let made = heads.into_iter().map(|head| {
            let series = self.kinds[kind].series(head, numbers)?;
            if !series.attachment.is_attached() {
                self.attach(files, kind, &series);
            }
            Some(series)
        });
        made.collect()
    }

    /// Whether a value without a cell that counts shall make an attempt to get one now.
    pub(crate) fn is_due(&self, kind: usize) -> bool {
        self.kinds[kind].retry_at.is_none_or(|at| Instant::now() >= at)
    }

    /// Attaches a series to a cell, and with it all others of the kind that wait for one.
    pub(crate) fn attach(&mut self, files: &mut Files, kind: usize, series: &Arc<Series>) {
        series.unwritten().is_dormant = false;
        if self.kinds[kind].retry_at.is_some() {
            self.attach_waiting(files, kind);
            return;
        }
        let attached = self
            .open_file(files, kind)
            .and_then(|path| self.kinds[kind].attach(files, &path, series));
        self.note(files, kind, attached);
    }

    /// The path of the open file of a kind that may have exemplars.
    pub(crate) fn path_of_exemplars(&self, kind: usize) -> Option<&Path> {
        self.kinds[kind].path_of_exemplars()
    }

    /// Withdraws a series: its entry is as if it were not there.
    pub(crate) fn withdraw(&self, files: &mut Files, kind: usize, series: &Series) {
        series.withdraw();
        if let Some(path) = &self.kinds[kind].path {
            files.withdraw(path, &series.head);
        }
    }

    /// Attaches all series that wait for a cell. A directory that was removed is made anew if
    /// `remakes`.
    pub(crate) fn attach_all(&mut self, files: &mut Files, remakes: bool) {
        self.naming.directory_was_there &= remakes;
        (0..self.kinds.len()).for_each(|kind| self.attach_waiting(files, kind));
    }

    /// Attaches all series of a kind that wait for a cell.
    fn attach_waiting(&mut self, files: &mut Files, kind: usize) {
        if self.kinds[kind].is_waiting() {
            let attached = self
                .open_file(files, kind)
                .and_then(|path| self.kinds[kind].attach_waiting(files, &path));
            self.note(files, kind, attached);
        }
    }

    /// Opens the file of a kind, unless it is open, and gives its path.
    fn open_file(&mut self, files: &mut Files, kind: usize) -> Result<PathBuf> {
        let kind = &mut self.kinds[kind];
        if let Some(path) = kind.open_path() {
            return Ok(path.to_owned());
        }
        if kind.is_live() && self.is_marked_dead {
            return Err(Error::MarkedDead);
        }
        if let Some(closed) = kind.path.take() {
            if closed.parent() == self.naming.directory.as_deref() && !files.is_removed(&closed) {
                files.reopen(&closed);
                kind.is_open = true;
                return Ok(kind.path.insert(closed).clone());
            }
            files.release(&closed);
        }
        let path = files.open(&mut self.naming, &kind.prefix, !kind.is_live())?;
        kind.is_open = true;
        Ok(kind.path.insert(path).clone())
    }

    /// Notes how an attempt to attach series went.
    fn note(&mut self, files: &mut Files, kind: usize, attempt: Result<()>) {
        let Err(error) = attempt else {
            self.kinds[kind].retry_at = None;
            if self.trouble.is_some()
                && !self.misses_files
                && self.kinds.iter().all(|kind| kind.retry_at.is_none())
            {
                self.trouble = None;
                let path = self.kinds[kind].path.clone().unwrap_or_default();
                files.notices.push(Notice::Recovered { path });
            }
            return;
        };
        if matches!(error, Error::MarkedDead) {
            return;
        }
        self.kinds[kind].retry_at = Some(Instant::now() + RETRY_PAUSE);
        self.complain(files, error);
    }

    /// Has a warning logged that files cannot be written, unless one was logged already.
    fn complain(&mut self, files: &mut Files, error: Error) {
        let notice = match error {
            Error::NoDirectory => Notice::NoDirectory,
            Error::Io { path, source } => {
                let directory = self.naming.directory.as_ref().filter(|path| !path.exists());
                let path = directory.cloned().unwrap_or(path);
                Notice::Trouble { path, reason: message(&source) }
            }
            Error::NoName { ref path } => {
                Notice::Trouble { path: path.clone(), reason: error.to_string() }
            }
            // The caller is told of all other errors.
            _ => return,
        };
        // One warning, not one for each file.
        if self.trouble.is_none() {
            files.notices.push(notice.clone());
        }
        self.trouble = Some(notice);
    }

    /// Begins the files of another process or identifier: all series are written into them, those of
    /// a new process at zero.
    pub(crate) fn begin(&mut self, files: &mut Files, identifier: OsString, generation: u32) {
        self.generation = generation;
        self.is_marked_dead = false;
        self.trouble = None;
        self.misses_files = false;
        self.naming.identifier = identifier;
        self.naming.suffix = 0;
        for index in 0..self.kinds.len() {
            let kind = &mut self.kinds[index];
            kind.retry_at = None;
            // Not written at zero: series that nobody counts in any more.
            kind.prune();
            if let Some(path) = kind.begin(files) {
                if let Some(known) = self.earlier.iter().position(|known| *known == path) {
                    // Its lock is kept already.
                    files.release(&self.earlier.remove(known));
                }
                self.earlier.push(path);
            }
            self.attach_waiting(files, index);
        }
        let surplus = self.earlier.len().saturating_sub(EARLIER_MAX);
        self.earlier.drain(..surplus).for_each(|path| files.release(&path));
    }

    /// Detaches all series, in the child of a fork: their cells and files are the parent's.
    pub(crate) fn forget(&mut self) {
        self.earlier.clear();
        self.kinds.iter_mut().for_each(KindOfFile::forget);
    }

    /// Closes all files, but keeps their locks. Values keep what they hold, and those that count
    /// again continue the files.
    pub(crate) fn close(&mut self, files: &mut Files) {
        self.kinds.iter_mut().for_each(|kind| kind.close(files));
    }

    /// Closes all files and gives up their locks.
    pub(crate) fn end(&mut self, files: &mut Files) {
        for kind in &mut self.kinds {
            kind.close(files);
            if let Some(path) = kind.path.take() {
                files.release(&path);
            }
        }
        for path in self.earlier.drain(..) {
            files.release(&path);
        }
    }

    /// The paths of its open files that are not in `directory`.
    pub(crate) fn paths_outside(&self, directory: &Path) -> Vec<PathBuf> {
        let paths = self.kinds.iter().filter_map(KindOfFile::open_path);
        let is_outside = |path: &&Path| path.parent().is_some_and(|own| !is_same(own, directory));
        paths.filter(is_outside).map(Path::to_owned).collect()
    }

    /// Whether the file at `path` is one of its open ones.
    pub(crate) fn has_open(&self, path: &Path) -> bool {
        self.kinds.iter().any(|kind| kind.open_path() == Some(path))
    }

    /// Opens another file in the place of one that was removed, if it is one of this class's, and
    /// not one that the process itself has deleted. Also gives the rule for entries of its kind.
    pub(crate) fn reopen(&mut self, files: &mut Files, removed: &Path) -> Option<(PathBuf, Rule)> {
        let kind = self.kinds.iter_mut().find(|kind| kind.open_path() == Some(removed))?;
        if kind.is_live() && self.is_marked_dead {
            return None;
        }
        let opened = files.open(&mut self.naming, &kind.prefix, !kind.is_live());
        self.misses_files = opened.is_err();
        let rule = kind_of_prefix(&kind.prefix).rule();
        let path = opened.map_err(|error| self.complain(files, error)).ok()?;
        Some((path, rule))
    }

    /// Detaches the series of a removed file, of whose mapping the caller takes what they hold.
    pub(crate) fn detach(&mut self, path: &Path) {
        for kind in self.kinds.iter().filter(|kind| kind.open_path() == Some(path)) {
            kind.detach();
        }
    }

    /// Attaches the series of the file at `from` to that at `to`, which has the same entries.
    pub(crate) fn move_to(&mut self, files: &mut Files, from: &Path, to: &Path) {
        if let Some(path) = self.earlier.iter_mut().find(|path| *path == from) {
            to.clone_into(path);
        }
        for index in 0..self.kinds.len() {
            let kind = &mut self.kinds[index];
            if kind.path.as_deref() == Some(from) {
                kind.path = Some(to.to_owned());
                if kind.is_open {
                    self.attach_waiting(files, index);
                }
            }
        }
    }

    /// What it has counted for `directory` and no file there holds. `removed` are the removed files
    /// whose entries another class has given already.
    pub(crate) fn unwritten(
        &self,
        files: &Files,
        directory: &Path,
        removed: &mut HashSet<PathBuf>,
    ) -> Vec<MemoryFile> {
        let mut unwritten = Vec::new();
        if !self.naming.directory.as_deref().is_some_and(|own| is_same(own, directory)) {
            return unwritten;
        }
        for kind in self.kinds.iter().filter(|kind| !(kind.is_live() && self.is_marked_dead)) {
            if self.misses_files
                && let Some(path) = kind.open_path()
                && files.is_removed(path)
                && removed.insert(path.to_owned())
            {
                unwritten.extend(files.in_memory(path));
            }
            unwritten.extend(kind.unwritten(files, &self.naming));
        }
        unwritten
    }

    /// Deletes its `live*` files in `directory`: the process says of itself that it is dead.
    pub(crate) fn mark_self_dead(&mut self, files: &mut Files, directory: &Path) {
        let directories = self.kinds.iter().filter_map(|kind| kind.path.as_deref()?.parent());
        let mut own = directories.chain(self.naming.directory.as_deref()).peekable();
        // A process that has not counted yet knows no directory, and may be dead as well.
        if own.peek().is_some() && !own.any(|own| is_same(own, directory)) {
            return;
        }
        self.is_marked_dead = true;
        for kind in self.kinds.iter().filter(|kind| kind.is_live()) {
            if let Some(path) = &kind.path {
                files.unlink(path);
            }
        }
    }
}

/// Whether two paths name one directory.
fn is_same(first: &Path, second: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize();
    first == second || matches!((resolved(first), resolved(second)), (Ok(a), Ok(b)) if a == b)
}
