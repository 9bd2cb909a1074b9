//! One call of compaction: what it shall do, what it has done, and whose files it may take.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::compact::dead::{self, Claim, Dead};
use crate::compact::steps::{Checkpoint, Disk, Step};
use crate::error::Reason;
use crate::format::FileName;
use crate::sys::lock::{self, Locked};

/// What to compact.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only the files of the processes that are named; else of all that are found dead.
    pub named_only: bool,
    /// Whether to delete the files of dead processes' `all` gauges, which are kept else.
    pub drop_all: bool,
    /// How long to wait for another compaction of the directory to end.
    pub wait: Duration,
    /// So many files at most; the next call goes on.
    pub max_files: Option<usize>,
    /// How many bytes of archives and files to read at most, which takes some 5 ms for a MiB. Files of
    /// `prometheus_client`'s writer are folded all the same: nobody else will know that they are a
    /// dead process's.
    pub max_bytes: Option<u64>,
    /// Whether to pass over files that this process has found unfit to be folded before.
    pub remembers: bool,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compaction {
    /// How many processes had files that were folded.
    pub processes: usize,
    /// How many files were folded into archives.
    pub files_folded: usize,
    /// How many were deleted without being folded: of live gauges, empty ones, and dropped ones.
    pub files_deleted: usize,
    /// The size of all files that are gone.
    pub bytes_freed: u64,
    /// What had to be left alone.
    pub left_alone: Vec<LeftAlone>,
    /// Whether there were more files than the call may take.
    pub is_cut_short: bool,
    /// Whether nothing was done because another compaction is at work.
    pub busy: bool,
}

/// A file that had to be left alone, with all that it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftAlone {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// One call under way.
pub(crate) struct Run<'a, C> {
    pub(crate) disk: &'a mut Disk<C>,
    directory: &'a Path,
    lock: &'a Locked,
    pids: &'a [OsString],
    options: &'a Options,
    pub(crate) done: Compaction,
    processes: HashSet<OsString>,
    /// How many bytes may still be read.
    bytes_left: u64,
    /// How many files may still be claimed.
    files_left: usize,
}

impl<'a, C: Checkpoint> Run<'a, C> {
    /// The beginning of a call on a directory that is locked.
    pub(crate) fn new(
        disk: &'a mut Disk<C>,
        directory: &'a Path,
        lock: &'a Locked,
        pids: &'a [OsString],
        options: &'a Options,
    ) -> Self {
        Self {
            disk,
            directory,
            lock,
            pids,
            options,
            done: Compaction::default(),
            processes: HashSet::new(),
            bytes_left: options.max_bytes.unwrap_or(u64::MAX),
            files_left: options.max_files.unwrap_or(usize::MAX),
        }
    }

    /// Fails if the directory may be another's by now: somebody has deleted the lock file.
    pub(crate) fn check_lock(&self) -> io::Result<()> {
        if self.lock.is_at(&lock::path(self.directory))? {
            return Ok(());
        }
        Err(io::Error::other(format!("{} was deleted while it was locked", lock::LOCK_FILE)))
    }

    /// What was done.
    pub(crate) fn finish(self) -> Compaction {
        Compaction { processes: self.processes.len(), ..self.done }
    }

    /// Takes so many bytes of what may be read; false if there are not as many.
    pub(crate) fn may_read(&mut self, bytes: u64) -> bool {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.unwrap_or(self.bytes_left);
        left.is_some()
    }

    /// Whether an archive is known to be damaged.
    pub(crate) fn knows(&self, metadata: &Metadata) -> bool {
        self.options.remembers && dead::is_remembered(metadata)
    }

    /// Claims the file at `path`, if its process is dead and it is not too much for one call.
    ///
    /// The error is that no file can be opened just now, this one or another.
    pub(crate) fn claim(&mut self, path: &Path) -> io::Result<Option<Dead>> {
        let name = FileName::of_path(path).filter(|name| !name.is_archive());
        let Some(FileName { pid, .. }) = name else { return Ok(None) };
        let is_named = self.pids.iter().any(|named| named == pid);
        if self.options.named_only && !is_named {
            return Ok(None);
        }
        if self.files_left == 0 {
            self.done.is_cut_short = true;
            return Ok(None);
        }
        match dead::claim(self.disk, path, is_named, self.options.remembers) {
            Ok(Claim::Dead(dead)) => {
                self.files_left -= 1;
                return Ok(Some(dead));
            }
            Ok(Claim::Other) => {}
            Ok(Claim::LeftAlone(reason)) => self.leave_alone(path, reason),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                return Err(error);
            }
            Err(error) => self.leave_alone(path, error),
        }
        Ok(None)
    }

    /// Notes that so many files that were claimed have yet to wait.
    pub(crate) fn unclaim(&mut self, files: usize) {
        self.files_left = self.files_left.saturating_add(files);
    }

    /// Deletes those of `files` whose processes are dead.
    pub(crate) fn delete_dead(&mut self, files: Vec<&Path>) {
        for path in files {
            match self.claim(path) {
                Ok(Some(dead)) => self.delete(&dead),
                Ok(None) => {}
                Err(error) => return self.leave_alone(path, error),
            }
        }
    }

    /// Deletes a file that is not folded.
    pub(crate) fn delete(&mut self, dead: &Dead) {
        if dead.has_changed() {
            // A writer of prometheus_client, which heeds no lock, has begun with it just now.
            return;
        }
        match self.disk.delete_file(Step::DeleteDead, &dead.path, &dead.metadata) {
            Ok(_) => {
                self.done.files_deleted += 1;
                self.done.bytes_freed += dead.metadata.len();
            }
            Err(error) => self.leave_alone(&dead.path, error),
        }
    }

    /// Notes that a file is in the archive.
    pub(crate) fn folded(&mut self, dead: &Dead) {
        self.done.files_folded += 1;
        let name = FileName::of_path(&dead.path);
        self.processes.extend(name.map(|name| name.pid.to_owned()));
    }

    /// Notes that a file that was claimed is left alone. What is not damaged may be folded as soon as
    /// something else has changed, and shall not keep others from their turn.
    pub(crate) fn give_back(&mut self, dead: &Dead, reason: Reason) {
        if matches!(reason, Reason::Damaged { .. }) {
            dead::remember(&dead.metadata);
        } else {
            self.unclaim(1);
        }
        self.leave_alone(&dead.path, reason);
    }

    /// Notes that a file was left alone.
    pub(crate) fn leave_alone(&mut self, path: &Path, reason: impl Into<Reason>) {
        self.done.left_alone.push(left_alone(path, reason));
    }
}

/// The note that a file was left alone.
pub(crate) fn left_alone(path: &Path, reason: impl Into<Reason>) -> LeftAlone {
    LeftAlone { path: path.to_owned(), reason: reason.into() }
}
