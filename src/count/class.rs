//! The files of one process identifier, and the series that are counted in them.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::hash::BuildHasher;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::count::files::{Files, Naming};
use crate::count::notice::Notice;
use crate::count::series::{Private, Series};
use crate::error::{Error, Result, message};
use crate::format::{kind_of_prefix, metrics_file_name};

/// How long values that have no file wait before counting makes another attempt at one.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// All that is counted under one process identifier.
#[derive(Debug)]
pub(crate) struct Worker {
    /// What its files are called.
    pub(crate) naming: Naming,
    /// Whether its identifier is the pid.
    pub(crate) by_pid: bool,
    /// Of which process it is; see [`crate::sys::fork::generation`].
    pub(crate) generation: u32,
    /// Whether the process was told that it is dead: its `live*` files stay away then.
    told_dead: bool,
    /// What was last logged about files that cannot be written, until they can.
    trouble: Option<Notice>,
    /// Whether files were removed that cannot be made anew.
    misses_files: bool,
    /// The first suffix that it may take: not 0, its identifier alone, if that is the name of files
    /// that `prometheus_client` writes in this process.
    first_suffix: u32,
    /// The identifiers that it had before in this process.
    pub(crate) identifiers: HashSet<OsString>,
    kinds: Vec<Kind>,
    hasher: DefaultHashBuilder,
}

/// One kind of file, such as `counter` or `gauge_livesum`.
#[derive(Debug)]
struct Kind {
    prefix: String,
    /// The file, if it is open.
    home: Option<PathBuf>,
    series: HashTable<Arc<Series>>,
    /// What dropped values held that no file holds yet, by head.
    orphans: HashMap<Box<[u8]>, Private>,
    /// When to try again, if there was trouble.
    retry_at: Option<Instant>,
    /// The first series that found no place then: the next attempt begins with it, so that one that
    /// fails costs the same however many wait.
    stuck: Option<Arc<Series>>,
}

impl Kind {
    fn is_live(&self) -> bool {
        kind_of_prefix(&self.prefix).is_live()
    }

    /// Takes the cells away.
    fn leave(&self) {
        for series in &self.series {
            series.attachment.detach();
        }
    }

    /// The series in the order in which they were made.
    fn in_order(&self) -> Vec<Arc<Series>> {
        let mut series: Vec<_> = self.series.iter().cloned().collect();
        series.sort_unstable_by_key(|series| series.number);
        series
    }
}

impl Worker {
    /// A worker that has counted nothing.
    pub(crate) fn new(identifier: OsString, by_pid: bool, generation: u32) -> Self {
        Self {
            by_pid,
            naming: Naming { identifier, ..Naming::default() },
            generation,
            told_dead: false,
            trouble: None,
            misses_files: false,
            first_suffix: 0,
            identifiers: HashSet::new(),
            kinds: Vec::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// The index of the kind whose files begin with `prefix`.
    pub(crate) fn kind(&mut self, prefix: &str) -> usize {
        let known = self.kinds.iter().position(|kind| kind.prefix == prefix);
        known.unwrap_or_else(|| {
            self.kinds.push(Kind {
                prefix: prefix.to_owned(),
                home: None,
                series: HashTable::new(),
                orphans: HashMap::new(),
                retry_at: None,
                stuck: None,
            });
            self.kinds.len() - 1
        })
    }

    /// Whether a series with this head finds its place in the open file of the kind.
    pub(crate) fn has_room(&self, files: &mut Files, kind: usize, head: &[u8]) -> bool {
        let kind = &self.kinds[kind];
        kind.retry_at.is_none()
            && kind.orphans.is_empty()
            && kind.home.as_deref().and_then(|path| files.writer(path)).is_some_and(|writer| {
                writer.has_room(head) && (writer.is_in_place() || kind.is_live() && self.told_dead)
            })
    }

    /// The series with this head, for one more value. It is made, and written, if need be.
    ///
    /// None if there is no memory for it.
    pub(crate) fn series(
        &mut self,
        files: &mut Files,
        kind: usize,
        head: Box<[u8]>,
        number: u64,
    ) -> Option<Arc<Series>> {
        let hash = self.hasher.hash_one(&head);
        let known = self.kinds[kind].series.find(hash, |series| series.head == head).cloned();
        let series = if let Some(known) = known {
            known
        } else {
            let hasher = &self.hasher;
            let table = &mut self.kinds[kind].series;
            // Of all allocations this is the large one: a process at its limit shall not end here.
            table.try_reserve(1, |series| hasher.hash_one(&series.head)).ok()?;
            // What a dropped value of the series holds still is this one's.
            let orphan = self.kinds[kind].orphans.remove(&head);
            let made = Arc::new(Series::new(head, number, orphan.unwrap_or_default()));
            let table = &mut self.kinds[kind].series;
            table.insert_unique(hash, Arc::clone(&made), |series| hasher.hash_one(&series.head));
            made
        };
        series.private().values += 1;
        if !series.attachment.is_attached() {
            self.settle_one(files, kind, &series);
        }
        Some(series)
    }

    /// Forgets a value of a series, but not what it counted.
    pub(crate) fn drop_value(&mut self, kind: usize, series: &Series) {
        let mut private = series.private();
        private.values -= 1;
        if private.values > 0 {
            return;
        }
        let kind = &mut self.kinds[kind];
        let hash = self.hasher.hash_one(&series.head);
        if kind.stuck.as_deref().is_some_and(|stuck| std::ptr::eq(stuck, series)) {
            kind.stuck = None;
        }
        if let Ok(found) =
            kind.series.find_entry(hash, |known| std::ptr::eq(&raw const **known, series))
        {
            found.remove();
        }
        if private.is_pending() {
            kind.orphans.entry(series.head.clone()).or_default().join(&private);
        }
    }

    /// Whether counting in a value without a cell shall try to find one for it now.
    pub(crate) fn is_due(&self, kind: usize) -> bool {
        self.kinds[kind].retry_at.is_none_or(|at| Instant::now() >= at)
    }

    /// Gives a series its cell, and with it all others of the kind that wait for one.
    pub(crate) fn settle_one(&mut self, files: &mut Files, kind: usize, series: &Arc<Series>) {
        series.private().dormant = false;
        if self.kinds[kind].retry_at.is_some() || !self.kinds[kind].orphans.is_empty() {
            self.settle(files, kind);
            return;
        }
        let settled =
            self.home(files, kind).and_then(|path| self.settle_at(files, kind, &path, series));
        self.note(files, kind, settled);
    }

    /// Gives cells to all series of a kind that should have one, and files to what values held that
    /// were dropped.
    fn settle(&mut self, files: &mut Files, kind: usize) {
        let Kind { series, orphans, stuck, .. } = &self.kinds[kind];
        if orphans.is_empty()
            && !stuck.iter().chain(series.iter()).any(|series| series.is_waiting())
        {
            return;
        }
        let settled = self.try_settle(files, kind);
        self.note(files, kind, settled);
    }

    fn try_settle(&mut self, files: &mut Files, kind: usize) -> Result<()> {
        let path = self.home(files, kind)?;
        if let Some(stuck) = self.kinds[kind].stuck.clone() {
            self.settle_at(files, kind, &path, &stuck)?;
        }
        for series in self.kinds[kind].in_order().iter().filter(|series| series.is_waiting()) {
            self.settle_at(files, kind, &path, series)?;
        }
        while let Some(head) = self.kinds[kind].orphans.keys().next().cloned() {
            let Some(writer) = files.writer(&path) else { break };
            let folded = writer.folded(&head);
            let (mapping, offset) = writer.place(&head)?;
            if let Some(mut private) = self.kinds[kind].orphans.remove(&head) {
                private.move_to(mapping.cell(offset), false, folded);
            }
        }
        Ok(())
    }

    fn settle_at(
        &mut self,
        files: &mut Files,
        kind: usize,
        path: &Path,
        series: &Arc<Series>,
    ) -> Result<()> {
        // Not there if another worker's trouble took it away; the next attempt opens it again.
        let Some(writer) = files.writer(path) else { return Ok(()) };
        let kind = &mut self.kinds[kind];
        // Of other kinds no archive adds up what a closed file held, so that all of it moves.
        let is_whole = !kind_of_prefix(&kind.prefix).is_added_up() && !writer.knows(&series.head);
        let folded = writer.folded(&series.head);
        kind.stuck = Some(Arc::clone(series));
        let (mapping, offset) = writer.place(&series.head)?;
        kind.stuck = None;
        series.fold(folded);
        series.attachment.attach(mapping, offset, |cell| {
            series.private().move_to(cell, is_whole, folded);
        });
        Ok(())
    }

    /// The path of the open file of a kind.
    fn home(&mut self, files: &mut Files, kind: usize) -> Result<PathBuf> {
        let kind = &mut self.kinds[kind];
        if let Some(path) = &kind.home {
            return Ok(path.clone());
        }
        if kind.is_live() && self.told_dead {
            return Err(Error::ToldDead);
        }
        let path = files.open(&mut self.naming, &kind.prefix, !kind.is_live())?;
        kind.home = Some(path.clone());
        Ok(path)
    }

    /// Notes how an attempt at a file went.
    fn note(&mut self, files: &mut Files, kind: usize, attempt: Result<()>) {
        let Err(error) = attempt else {
            self.kinds[kind].retry_at = None;
            if self.trouble.is_some()
                && !self.misses_files
                && self.kinds.iter().all(|kind| kind.retry_at.is_none())
            {
                self.trouble = None;
                let path = self.kinds[kind].home.clone().unwrap_or_default();
                files.notices.push(Notice::Recovered { path });
            }
            return;
        };
        if matches!(error, Error::ToldDead) {
            return;
        }
        self.kinds[kind].retry_at = Some(Instant::now() + RETRY_PAUSE);
        self.complain(files, error);
    }

    /// Has it logged that files cannot be written, unless that is known.
    fn complain(&mut self, files: &mut Files, error: Error) {
        let notice = match error {
            // Of those it is the caller who is told.
            Error::ToldDead | Error::KeyLength { .. } | Error::NoMemory => return,
            Error::NoDirectory => Notice::NoDirectory,
            Error::Io { path, source } => {
                let directory = self.naming.directory.as_ref().filter(|path| !path.exists());
                let path = directory.cloned().unwrap_or(path);
                Notice::Trouble { path, reason: message(&source) }
            }
            Error::NoName { ref path } => {
                Notice::Trouble { path: path.clone(), reason: error.to_string() }
            }
        };
        // One warning, not one for each file.
        if self.trouble.is_none() {
            files.notices.push(notice.clone());
        }
        self.trouble = Some(notice);
    }

    /// Begins the files of another process or identifier: all series are in them, those of a new
    /// process at zero.
    pub(crate) fn begin(&mut self, files: &mut Files, identifier: OsString, generation: u32) {
        let is_forked = self.generation != generation;
        self.generation = generation;
        self.told_dead = false;
        self.trouble = None;
        self.misses_files = false;
        if is_forked {
            self.identifiers.clear();
        } else {
            self.identifiers.insert(mem::take(&mut self.naming.identifier));
        }
        self.naming.identifier = identifier;
        self.naming.suffix = self.first_suffix;
        for index in 0..self.kinds.len() {
            let kind = &mut self.kinds[index];
            kind.retry_at = None;
            kind.stuck = None;
            if is_forked {
                // What the parent holds in memory is the parent's.
                kind.orphans.clear();
            }
            if let Some(path) = kind.home.take() {
                kind.leave();
                files.close(&path);
            }
            kind.series.iter().for_each(|series| series.begin());
            self.settle(files, index);
        }
    }

    /// Takes all cells away that are those of the process that this one was forked from.
    pub(crate) fn forget(&mut self) {
        for kind in &mut self.kinds {
            kind.home = None;
            kind.stuck = None;
            kind.series.iter().for_each(|series| series.forget());
        }
    }

    /// Closes all files; values keep what they hold, and those that count again open others.
    pub(crate) fn close(&mut self, files: &mut Files) {
        for kind in &mut self.kinds {
            kind.stuck = None;
            kind.series.iter().for_each(|series| series.close());
            if let Some(path) = kind.home.take() {
                files.close(&path);
            }
        }
    }

    /// Closes all files, for `prometheus_client` to continue those of its name: two writers would
    /// damage them, so a value that counts here again does so in a file with a name of its own.
    pub(crate) fn hand_over(&mut self, files: &mut Files) {
        for kind in &self.kinds {
            let Some(path) = &kind.home else { continue };
            let name = metrics_file_name(&kind.prefix, &self.naming.identifier, 0);
            if path.file_name() == Some(&name)
                && let Some(writer) = files.writer(path)
            {
                writer.hand_over();
            }
        }
        self.close(files);
        self.first_suffix = 1;
        self.naming.suffix = self.naming.suffix.max(self.first_suffix);
    }

    /// Makes another attempt for all that waits for a file; a directory that was removed is made anew
    /// if `remakes`.
    pub(crate) fn settle_all(&mut self, files: &mut Files, remakes: bool) {
        self.naming.directory_was_there &= remakes;
        (0..self.kinds.len()).for_each(|kind| self.settle(files, kind));
    }

    /// Its open files that are not in `directory`.
    pub(crate) fn homes_outside(&self, directory: &Path) -> Vec<PathBuf> {
        let homes = self.kinds.iter().filter_map(|kind| kind.home.clone());
        homes.filter(|home| home.parent().is_some_and(|home| !is_same(home, directory))).collect()
    }

    /// Whether the file at `path` is one of its open ones.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.kinds.iter().any(|kind| kind.home.as_deref() == Some(path))
    }

    /// Opens another file in the place of one that was removed, if it is one of this worker's, and
    /// not one that the process itself had deleted.
    pub(crate) fn reopen(&mut self, files: &mut Files, removed: &Path) -> Option<PathBuf> {
        let kind = self.kinds.iter_mut().find(|kind| kind.home.as_deref() == Some(removed))?;
        if kind.is_live() && self.told_dead {
            return None;
        }
        let opened = files.open(&mut self.naming, &kind.prefix, !kind.is_live());
        self.misses_files = opened.is_err();
        opened.map_err(|error| self.complain(files, error)).ok()
    }

    /// Takes the cells of a removed file away; what they hold was or will be read from its mapping.
    pub(crate) fn leave(&mut self, path: &Path) {
        for kind in self.kinds.iter().filter(|kind| kind.home.as_deref() == Some(path)) {
            kind.leave();
        }
    }

    /// Moves what was in the file at `from` to that at `to`.
    pub(crate) fn move_home(&mut self, files: &mut Files, from: &Path, to: &Path) {
        for index in 0..self.kinds.len() {
            if self.kinds[index].home.as_deref() == Some(from) {
                self.kinds[index].home = Some(to.to_owned());
                self.settle(files, index);
            }
        }
    }

    /// Deletes its `live*` files in `directory`: the process says of itself that it is dead.
    pub(crate) fn tell_dead(&mut self, files: &mut Files, directory: &Path) {
        let homes = self.kinds.iter().filter_map(|kind| kind.home.as_deref()?.parent());
        let mut own = homes.chain(self.naming.directory.as_deref()).peekable();
        // A process that has not counted yet may be dead as well.
        if own.peek().is_some() && !own.any(|own| is_same(own, directory)) {
            return;
        }
        self.told_dead = true;
        for kind in self.kinds.iter().filter(|kind| kind.is_live()) {
            if let Some(path) = &kind.home {
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
