//! Selects the files that go into an archive together: dead processes' files of one kind, which the same
//! users may read.

use std::collections::VecDeque;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::compact::archiving::{ArchivePlace, Archived};
use crate::compact::dead::{self, Dead, Selected};
use crate::compact::fold::Fold;
use crate::compact::reason::Reason;
use crate::compact::run::{self, Call, Compaction, LeftAlone, left_alone};
use crate::compact::steps::{Checkpoint, Disk, MODE_MASK, READABLE_BY_ALL};
use crate::compact::worth;
use crate::format::FileName;
use crate::store::Archive;

/// At most this many files go into an archive together: all of them are open and locked at once.
const BATCH: usize = 64;

/// Files that can be folded, and what was done with the others.
pub(crate) struct Selection {
    pub(crate) batch: Vec<Dead>,
    pub(crate) done: Compaction,
}

/// Selects the next dead files that have something to fold; deletes empty ones.
///
/// If it is not worth yet to write the archive anew for them, none is selected, and their processes
/// are among those that are postponed. If the call `folds_all`, no file waits for others, and also
/// those of processes are selected that the request does not name.
///
/// Where this process has not one descriptor left, `files` is empty afterwards.
pub(crate) fn next_batch<C: Checkpoint>(
    call: &mut Call<'_, '_, C>,
    archived: &Archived,
    files: &mut VecDeque<&Path>,
    folds_all: bool,
) -> Selection {
    let named_only = call.request.named_only && !folds_all;
    let mut done = Compaction::default();
    let mut batch = Vec::new();
    let mut paths = Vec::new();
    let mut is_short_of_descriptors = false;
    while batch.len() < BATCH
        && let Some(path) = files.pop_front()
    {
        let dead = match call.select(path, named_only) {
            Ok(Selected::Dead(dead)) => dead,
            Ok(Selected::Other) => continue,
            Ok(Selected::BeyondBudget) => {
                done.is_cut_short = true;
                continue;
            }
            Ok(Selected::LeftAlone(reason)) => {
                done.leave_alone(path, reason);
                continue;
            }
            Err(error) if batch.is_empty() => {
                done.leave_alone(path, error);
                files.clear();
                break;
            }
            Err(_) => {
                // The process has no descriptor left. Closing half of these files lets its other
                // threads open files too.
                is_short_of_descriptors = true;
                let kept = batch.len().div_ceil(2);
                call.budget.return_files(batch.len() - kept);
                batch.truncate(kept);
                paths.push(path);
                paths.drain(kept..).rev().for_each(|path| files.push_front(path));
                break;
            }
        };
        let name = path.file_name().unwrap_or_default();
        if archived.spent.iter().any(|mark| mark.name == name && mark.is(&dead.metadata)) {
            // The archive has the counts of this file already, but the file could not be deleted.
            call.budget.return_files(1);
        } else if dead.is_empty() {
            done.add(run::delete(call.disk, &dead));
        } else {
            batch.push(dead);
            paths.push(path);
        }
    }
    // More files than these could not be opened later either.
    if !is_short_of_descriptors
        && !folds_all
        && !is_worth_it(call.request.small_archive, archived, &batch)
    {
        call.budget.return_files(batch.len());
        for dead in batch.drain(..) {
            done.postponed.extend(FileName::of_path(&dead.path).map(|name| name.pid.to_owned()));
        }
    }
    Selection { batch, done }
}

/// Whether the archive shall be written anew now for these files; see [`worth`].
fn is_worth_it(small_archive: u64, archived: &Archived, batch: &[Dead]) -> bool {
    let Some(archive) = &archived.archive else { return true };
    // Files that other users may read are left alone, however many wait.
    let fitting = batch.iter().filter(|dead| have_same_readers(&dead.metadata, archive.metadata()));
    let (files, bytes) =
        fitting.fold((0, 0), |(files, bytes), dead| (files + 1, bytes + dead.used()));
    batch.iter().any(|dead| !dead.is_ours)
        || worth::is_worth_it(small_archive, archive.used(), bytes, files)
}

/// Chooses which files of the batch can go into the archive now; the others are left alone.
///
/// The first result has the owner and the permissions for the new archive; none if no file can go
/// into it.
pub(crate) fn choose<C: Checkpoint>(
    call: &mut Call<'_, '_, C>,
    place: &ArchivePlace<'_>,
    archived: &Archived,
    batch: Vec<Dead>,
) -> (Option<Metadata>, Vec<Dead>, Vec<LeftAlone>) {
    let mut unread = archived.archive.as_ref().map_or(0, Archive::used);
    // If all of these files are too much together, none is taken: otherwise each death would write a
    // large archive anew for a few of the files that wait.
    let held: u64 = batch.iter().filter(|dead| dead.is_ours).map(Dead::used).sum();
    let is_too_much = unread > call.request.small_archive && unread + held > call.budget.bytes;
    let mut like = archived.archive.as_ref().map(|archive| archive.metadata().clone());
    let mut chosen: Vec<Dead> = Vec::new();
    let mut left_out = Vec::new();
    for dead in batch {
        if dead.is_ours {
            if is_too_much || !call.budget.take_bytes(unread + dead.used()) {
                left_out.push(give_back(call, &dead, Reason::TooMuch));
                continue;
            }
            // The archive is read once for all files of the batch.
            unread = 0;
        }
        match &like {
            Some(like) if have_same_readers(&dead.metadata, like) => chosen.push(dead),
            Some(_) => left_out.push(give_back(call, &dead, Reason::OtherReaders)),
            // A damaged file must not decide who may read the archive.
            None => match check(call.disk, &dead, &mut Fold::new(place.kind)) {
                Ok(()) => {
                    like = Some(dead.metadata.clone());
                    chosen.push(dead);
                }
                Err(reason) => left_out.push(give_back(call, &dead, reason)),
            },
        }
    }
    (like.filter(|_| !chosen.is_empty()), chosen, left_out)
}

/// Whether all of a dead process's file is sound.
pub(crate) fn check<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    dead: &Dead,
    fold: &mut Fold,
) -> Result<(), Reason> {
    fold.check(disk.read(&dead.path, &dead.file)?)
}

/// Leaves a file alone that was selected, and gives the note on that.
///
/// A file that can never be folded as it is, is remembered. Any other file may be folded later without
/// being changed; it does not count as one of the files that the request allows.
pub(crate) fn give_back<C>(call: &mut Call<'_, '_, C>, dead: &Dead, reason: Reason) -> LeftAlone {
    if matches!(reason, Reason::Damaged(_) | Reason::TooPrecise) {
        dead::remember(&dead.metadata);
    } else {
        call.budget.return_files(1);
    }
    left_alone(&dead.path, reason)
}

/// Whether just the same users may read both files, or all may.
fn have_same_readers(one: &Metadata, other: &Metadata) -> bool {
    let readers = |of: &Metadata| (of.uid(), of.gid(), of.mode() & MODE_MASK);
    readers(one) == readers(other) || one.mode() & other.mode() & READABLE_BY_ALL != 0
}
