//! Folds the files of dead processes into archives, so that files, bytes and the time of a scrape
//! depend on the living and not on history.
//!
//! `docs/compaction.md` has the protocol, and why no count is ever lost or seen twice.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::compact::kind::KindCompaction;
use crate::compact::run::Run;
pub use crate::compact::run::{Compaction, LeftAlone, Options};
use crate::compact::steps::{Checkpoint, Disk, Unchecked};
use crate::error::{Error, Result};
use crate::format::FileName;
use crate::kind::Kind;
use crate::store::{identity_at, is_absence, list_directory};
use crate::sys::{Identity, lock};

/// Folds the files of dead processes in the directory `path`, but for those among `own`, which this
/// process has open.
///
/// Dead is who wrote with multiprom and does not hold its file any more, and who is in `pids`, by
/// the word of the caller, unless its file is held. A directory that is not there has no files.
///
/// # Errors
///
/// If the directory cannot be locked or listed. Whatever happens to single files is in the result.
pub fn compact(
    path: &Path,
    pids: &[OsString],
    options: &Options,
    own: &[Identity],
) -> Result<Compaction> {
    if pids.is_empty() && !has_others(path, own) {
        return Ok(Compaction::default());
    }
    compact_on(&mut Disk { checkpoint: Unchecked }, path, pids, options)
}

/// Whether the directory `path` has files that are not among `own`: else nothing can be folded there,
/// and not even a lock file is needed.
fn has_others(path: &Path, own: &[Identity]) -> bool {
    let is_own = |file: &Path| {
        identity_at(file).is_ok_and(|found| found.is_some_and(|found| own.contains(&found)))
    };
    // What cannot be listed is told by who tries to fold it.
    !list_directory(path)
        .is_ok_and(|listing| listing.files.iter().all(|file| is_own(file.as_path())))
}

pub(crate) fn compact_on<C: Checkpoint>(
    disk: &mut Disk<C>,
    path: &Path,
    pids: &[OsString],
    options: &Options,
) -> Result<Compaction> {
    let lock = match disk.lock_directory(path, options.wait) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(Compaction { busy: true, ..Compaction::default() }),
        Err(error) if is_absence(&error) => return Ok(Compaction::default()),
        Err(source) => return Err(Error::Io { path: lock::path(path), source }),
    };
    let listing = list_directory(path)?;
    let mut run = Run::new(disk, path, &lock, pids, options);
    for (kind, files) in by_kind(&listing.files) {
        if kind.is_foldable() {
            let mut compaction = KindCompaction::new(path, kind, files);
            if let Err(left_alone) = compaction.run(&mut run) {
                run.done.left_alone.push(left_alone);
            }
        } else if kind.is_live() || options.drop_all {
            run.delete_dead(files);
        }
    }
    Ok(run.finish())
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
