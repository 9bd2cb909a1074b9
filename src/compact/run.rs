//! One call of compaction: the directory is locked, and each kind of file is compacted.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::compact::archiving;
use crate::compact::dead::{self, Dead, Selected};
use crate::compact::reason::Reason;
use crate::compact::steps::{Checkpoint, Disk, Step, Unchecked};
use crate::error::{Error, Result};
use crate::format::FileName;
use crate::kind::Kind;
use crate::store::{identity_at, is_absence, list_directory, unheeded_in};
use crate::sys::lock::{self, Locked};
use crate::sys::{Identity, allocated};

/// Whether the locks of all processes that use a directory are seen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locks {
    /// The caller has asked for a compaction, and says so with that.
    Trusted,
    /// The file system must be one on which they are: else nothing is done.
    Checked,
}

/// What a call may do.
#[derive(Debug, Clone)]
pub struct Request {
    /// Processes that are dead by the word of the caller.
    pub pids: Vec<OsString>,
    /// Whether to open only the files of the processes that are named.
    pub named_only: bool,
    /// Whether to delete the files of dead processes' `all` gauges, which are kept else.
    pub drop_all: bool,
    /// How long to wait for another compaction of the directory to end.
    pub wait: Duration,
    /// How many files to fold or delete at most; the next call goes on.
    pub max_files: usize,
    /// How many bytes of archives and files to read at most, which takes some 5 ms for a MiB. Files
    /// of `prometheus_client`'s writer are folded all the same: only this caller knows that their
    /// process is dead.
    pub max_bytes: u64,
    /// Up to this size an archive is written anew for a single file of the dead. For a larger one
    /// files wait until they hold half as much or are 16, see `compact/worth.rs`; but not files of
    /// `prometheus_client`'s writer, for the same reason.
    pub small_archive: u64,
    /// Whether the file system must be one on which the locks of all processes are seen.
    pub locks: Locks,
    /// Whether to pass over files that this process has found unfit to be folded before.
    pub skips_known: bool,
}

impl Default for Request {
    /// All files of the dead, without waiting.
    fn default() -> Self {
        Self {
            pids: Vec::new(),
            named_only: false,
            drop_all: false,
            wait: Duration::ZERO,
            max_files: usize::MAX,
            max_bytes: u64::MAX,
            small_archive: u64::MAX,
            locks: Locks::Trusted,
            skips_known: false,
        }
    }
}

/// What may still be done of a request.
#[derive(Debug)]
pub(crate) struct Budget {
    /// How many files may still be folded or deleted.
    pub(crate) files: usize,
    /// How many bytes may still be read.
    pub(crate) bytes: u64,
}

impl Budget {
    /// Takes `bytes`; false if there are not as many.
    pub(crate) fn take_bytes(&mut self, bytes: u64) -> bool {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }

    /// Gives back what was taken for so many files.
    pub(crate) fn return_files(&mut self, files: usize) {
        self.files = self.files.saturating_add(files);
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compaction {
    /// The processes that had files that were folded.
    pub processes: BTreeSet<OsString>,
    /// How many files were folded into archives.
    pub files_folded: usize,
    /// How many were deleted without being folded: those whose entries count only while their process
    /// lives, empty ones, and dropped ones.
    pub files_deleted: usize,
    /// The room on the disk that all files had that are gone, in bytes.
    pub bytes_freed: u64,
    /// The processes whose files are folded later, when it is worth writing an archive anew.
    pub postponed: BTreeSet<OsString>,
    /// What had to be left alone.
    pub left_alone: Vec<LeftAlone>,
    /// Whether there were more files than the request allows.
    pub is_cut_short: bool,
    /// Whether nothing was done because another compaction is at work.
    pub busy: bool,
}

impl Compaction {
    /// Adds what was done besides.
    pub(crate) fn add(&mut self, other: Self) {
        self.processes.extend(other.processes);
        self.files_folded += other.files_folded;
        self.files_deleted += other.files_deleted;
        self.bytes_freed += other.bytes_freed;
        self.postponed.extend(other.postponed);
        self.left_alone.extend(other.left_alone);
        self.is_cut_short |= other.is_cut_short;
        self.busy |= other.busy;
    }

    /// Adds that the file at `path` was left alone.
    pub(crate) fn leave_alone(&mut self, path: &Path, reason: impl Into<Reason>) {
        self.left_alone.push(left_alone(path, reason));
    }
}

/// A file that had to be left alone, with all that it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftAlone {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// The note that a file was left alone.
pub(crate) fn left_alone(path: &Path, reason: impl Into<Reason>) -> LeftAlone {
    LeftAlone { path: path.to_owned(), reason: reason.into() }
}

/// Folds the files of dead processes in the directory `path`, but for those among `own`, which this
/// process has open.
///
/// A process is dead that wrote with multiprom and does not hold its file any more, or that the
/// request names, unless somebody holds its file. A directory that is not there has no files.
///
/// # Errors
///
/// If the directory cannot be locked or listed. Whatever happens to single files is in the result.
pub fn compact(path: &Path, request: &Request, own: &[Identity]) -> Result<Compaction> {
    if request.pids.is_empty() && !has_others(path, own) && unheeded_in(path) == 0 {
        return Ok(Compaction::default());
    }
    compact_on(&mut Unchecked, path, request)
}

/// Whether the directory `path` has files that are not among `own`: else nothing can be folded there,
/// and not even a lock file is needed.
fn has_others(path: &Path, own: &[Identity]) -> bool {
    let is_own = |file: &Path| {
        identity_at(file).is_ok_and(|found| found.is_some_and(|found| own.contains(&found)))
    };
    // Where the directory cannot be listed, the compaction fails and says why.
    !list_directory(path)
        .is_ok_and(|listing| listing.files.iter().all(|file| is_own(file.as_path())))
}

pub(crate) fn compact_on<C: Checkpoint>(
    checkpoint: &mut C,
    path: &Path,
    request: &Request,
) -> Result<Compaction> {
    let mut disk = match Disk::open_directory(checkpoint, path) {
        Err(error) if is_absence(&error) => return Ok(Compaction::default()),
        result => result.map_err(|source| Error::Io { path: path.to_owned(), source })?,
    };
    if request.locks == Locks::Checked
        && let Err(reason) = disk.check_locks()
    {
        return Ok(Compaction {
            left_alone: vec![left_alone(path, reason)],
            ..Compaction::default()
        });
    }
    let lock = match disk.lock_directory(request.wait) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(Compaction { busy: true, ..Compaction::default() }),
        Err(error) if is_absence(&error) => return Ok(Compaction::default()),
        Err(source) => return Err(Error::Io { path: lock::path(path), source }),
    };
    let listing = disk.list().map_err(|source| Error::Io { path: path.to_owned(), source })?;
    disk.delete_orphans(&listing.exemplars);
    let mut call = Call {
        disk: &mut disk,
        directory: path,
        lock: &lock,
        request,
        budget: Budget { files: request.max_files, bytes: request.max_bytes },
    };
    let mut done = Compaction::default();
    for (kind, files) in by_kind(&listing.files) {
        if kind.is_foldable() {
            done.add(archiving::compact_kind(&mut call, kind, files));
        } else if kind.is_live() || request.drop_all {
            done.add(delete_dead(&mut call, files));
        }
    }
    Ok(done)
}

/// What all stages of one call need. What they have done they return.
pub(crate) struct Call<'a, 'c, C> {
    pub(crate) disk: &'a mut Disk<'c, C>,
    pub(crate) directory: &'a Path,
    lock: &'a Locked,
    pub(crate) request: &'a Request,
    pub(crate) budget: Budget,
}

impl<C: Checkpoint> Call<'_, '_, C> {
    /// Fails if somebody has deleted the lock file: another compaction may have locked a new one.
    pub(crate) fn check_lock(&self) -> io::Result<()> {
        if self.lock.is_in(&self.disk.directory, OsStr::new(lock::LOCK_FILE))? {
            return Ok(());
        }
        Err(io::Error::other(format!("{} was deleted while it was locked", lock::LOCK_FILE)))
    }

    /// Takes the file at `path` if its process is dead; see [`dead::select`].
    pub(crate) fn select(&mut self, path: &Path, named_only: bool) -> io::Result<Selected> {
        dead::select(self.disk, path, self.request, named_only, &mut self.budget)
    }
}

/// Deletes those of `files` whose processes are dead.
fn delete_dead<C: Checkpoint>(call: &mut Call<'_, '_, C>, files: Vec<&Path>) -> Compaction {
    let mut done = Compaction::default();
    for path in files {
        match call.select(path, call.request.named_only) {
            Ok(Selected::Dead(dead)) => done.add(delete(call.disk, &dead)),
            Ok(Selected::Other) => {}
            Ok(Selected::BeyondBudget) => done.is_cut_short = true,
            Ok(Selected::LeftAlone(reason)) => done.leave_alone(path, reason),
            Err(error) => {
                // No other file can be opened either.
                done.leave_alone(path, error);
                break;
            }
        }
    }
    done
}

/// Deletes a dead process's file that is not folded.
pub(crate) fn delete<C: Checkpoint>(disk: &mut Disk<'_, C>, dead: &Dead) -> Compaction {
    let mut done = Compaction::default();
    if dead.has_changed() {
        // A writer of `prometheus_client`, which heeds no lock, has begun to write it just now.
        return done;
    }
    match disk.delete_file(Step::DeleteDead, &dead.path, &dead.metadata) {
        Ok(_) => {
            done.files_deleted = 1;
            done.bytes_freed = allocated(&dead.metadata);
        }
        Err(error) => done.leave_alone(&dead.path, error),
    }
    done
}

/// The files of each kind, in the order given.
fn by_kind(files: &[PathBuf]) -> Vec<(Kind<'_>, Vec<&Path>)> {
    let mut kinds: Vec<(Kind<'_>, Vec<&Path>)> = Vec::new();
    for path in files {
        let Some(FileName { kind, .. }) = FileName::of_path(path) else { continue };
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, files)) => files.push(path),
            None => kinds.push((kind, vec![path])),
        }
    }
    kinds
}
