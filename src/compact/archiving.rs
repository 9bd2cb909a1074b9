//! Folds the dead files of one kind into the archive of that kind: select, fold, commit.
//!
//! The order of the steps is what makes this safe; `docs/compaction.md` goes through all of them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::compact::dead::{self, Dead};
use crate::compact::fold::Fold;
use crate::compact::reason::Reason;
use crate::compact::recovery;
use crate::compact::run::{Call, Compaction, LeftAlone, left_alone};
use crate::compact::select::{self, Selection};
use crate::compact::steps::{Checkpoint, Disk, Step};
use crate::compact::withdrawn;
use crate::format::{archive_name, temporary_name};
use crate::kind::Kind;
use crate::store::{Archive, Mark, encode_journal};

/// The directory and the archive of one kind in it.
pub(crate) struct ArchivePlace<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) kind: Kind<'a>,
    pub(crate) archive: PathBuf,
    pub(crate) temporary: PathBuf,
}

/// What is archived before a batch is folded.
pub(crate) struct Archived {
    pub(crate) archive: Option<Archive>,
    /// The files that are in the archive but could not be deleted yet.
    pub(crate) spent: Vec<Mark>,
}

/// What a batch has become.
enum Folded {
    /// Nothing: all of its files are left alone.
    Nothing,
    /// Sums that an archive cannot hold without losing bits. Smaller batches tell whose they are.
    Lossy(Vec<Dead>),
    /// The new archive.
    Committed(Committed),
}

/// A new archive, which is in place.
pub(crate) struct Committed {
    /// The archive.
    pub(crate) file: File,
    /// The files that are new in it.
    pub(crate) files: Vec<Dead>,
    /// Of the spent files that are still there, and of those absorbed.
    pub(crate) marks: Vec<Mark>,
    /// Where its journal begins.
    pub(crate) used: u64,
}

/// Finishes what a killed compaction left, then folds the files of the dead.
///
/// `files` are those in the directory that are of this kind.
pub(crate) fn compact_kind<C: Checkpoint>(
    call: &mut Call<'_, '_, C>,
    kind: Kind<'_>,
    files: Vec<&Path>,
) -> Compaction {
    let directory = call.directory;
    let (archive, temporary) = (archive_name(kind), temporary_name(kind));
    let (archive, temporary) = (directory.join(archive), directory.join(temporary));
    let place = ArchivePlace { directory, kind, archive, temporary };
    let mut done = Compaction::default();
    if let Err(left_alone) = compact_at(call, &place, files.into(), &mut done) {
        done.left_alone.push(left_alone);
    }
    done
}

/// Runs the stages and adds up what they have done.
///
/// The error is what keeps the rest of the kind from being folded.
fn compact_at<C: Checkpoint>(
    call: &mut Call<'_, '_, C>,
    place: &ArchivePlace<'_>,
    files: VecDeque<&Path>,
    done: &mut Compaction,
) -> Result<(), LeftAlone> {
    let all: Vec<&Path> = files.iter().copied().collect();
    // Before anything is folded: files of the dead tell of it, too.
    let withdrawals = withdrawn::look(call.disk, place, &all)
        .map_err(|error| left_alone(&place.archive, error))?;
    let archived = fold_files(call, place, files, withdrawals.is_some(), done)?;
    if let Some(withdrawals) = withdrawals {
        let is_last = !done.is_cut_short;
        done.add(withdrawn::heed(call, place, archived, &all, withdrawals, is_last)?);
    }
    Ok(())
}

/// Recovers, and folds the files of the dead: those that [`select::next_batch`] selects.
fn fold_files<C: Checkpoint>(
    call: &mut Call<'_, '_, C>,
    place: &ArchivePlace<'_>,
    mut files: VecDeque<&Path>,
    folds_all: bool,
    done: &mut Compaction,
) -> Result<Archived, LeftAlone> {
    let (mut archived, recovered) = recovery::recover(call.disk, place)?;
    done.add(recovered);
    if let Some(archive) = &archived.archive
        && call.request.skips_known
        && dead::is_remembered(archive.metadata())
    {
        return Err(left_alone(&place.archive, Reason::KnownDamage));
    }
    // The halves of batches that were too much for the pairs of an archive.
    let mut halves: Vec<Vec<Dead>> = Vec::new();
    loop {
        let batch = match halves.pop() {
            Some(half) => half,
            None if files.is_empty() => return Ok(archived),
            None => {
                let Selection { batch, done: selected } =
                    select::next_batch(call, &archived, &mut files, folds_all);
                done.add(selected);
                batch
            }
        };
        let (like, batch, left_out) = select::choose(call, place, &archived, batch);
        done.left_alone.extend(left_out);
        let Some(like) = like else { continue };
        // Created before anything is read: where the directory cannot be written, nothing is read in
        // vain.
        let temporary = call
            .disk
            .create(&place.temporary, &like)
            .map_err(|error| left_alone(&place.archive, error))?;
        let (folded, left_out) = fold(call, place, &archived, batch, temporary);
        done.left_alone.extend(left_out);
        match folded {
            Ok(Folded::Committed(committed)) => {
                let (finished, next) =
                    recovery::finish(call.disk, place, archived.spent, committed);
                done.add(finished);
                archived = next?;
                continue;
            }
            Ok(Folded::Lossy(mut batch)) if batch.len() > 1 => {
                halves.push(batch.split_off(batch.len() / 2));
                halves.push(batch);
            }
            Ok(Folded::Lossy(batch)) => {
                let lossy =
                    batch.iter().map(|dead| select::give_back(call, dead, Reason::TooPrecise));
                done.left_alone.extend(lossy);
            }
            Ok(Folded::Nothing) => {}
            Err(left_alone) => {
                let _ = call.disk.delete(Step::RemoveTemporary, &place.temporary);
                return Err(left_alone);
            }
        }
        // Nothing was committed. The next compaction would remove the file too.
        let _ = call.disk.delete(Step::RemoveTemporary, &place.temporary);
    }
}

/// Folds the sound files of the batch into `temporary` and makes that the archive; the others are
/// left alone.
fn fold<C: Checkpoint>(
    call: &mut Call<'_, '_, C>,
    place: &ArchivePlace<'_>,
    archived: &Archived,
    batch: Vec<Dead>,
    temporary: File,
) -> (Result<Folded, LeftAlone>, Vec<LeftAlone>) {
    let mut fold = Fold::new(place.kind);
    let mut files: Vec<Dead> = Vec::new();
    let mut left_out = Vec::new();
    for dead in batch {
        if let Err(reason) = select::check(call.disk, &dead, &mut fold) {
            left_out.push(select::give_back(call, &dead, reason));
            continue;
        }
        // The archive is added before the first file, so that its keys come first; and not at all if no
        // file is sound.
        let is_first = files.is_empty();
        let added =
            if is_first { add_archive(call.disk, place, archived, &mut fold) } else { Ok(()) };
        if let Err(left_alone) = added.and_then(|()| add(call.disk, &dead, &mut fold)) {
            return (Err(left_alone), left_out);
        }
        files.push(dead);
    }
    let folded = if files.is_empty() {
        Ok(Folded::Nothing)
    } else if fold.is_lossy() {
        Ok(Folded::Lossy(files))
    } else {
        commit(call, place, &archived.spent, &fold, files, temporary).map(Folded::Committed)
    };
    (folded, left_out)
}

/// Adds the archive, if there is one.
pub(crate) fn add_archive<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    place: &ArchivePlace<'_>,
    archived: &Archived,
    fold: &mut Fold,
) -> Result<(), LeftAlone> {
    let Some(archive) = &archived.archive else { return Ok(()) };
    let path = &place.archive;
    let failed = |error: io::Error| left_alone(path, error);
    if let Err(reason) = fold.check(disk.read(path, archive.file()).map_err(failed)?) {
        if matches!(reason, Reason::Damaged(_)) {
            dead::remember(archive.metadata());
        }
        return Err(left_alone(path, reason));
    }
    let file = disk.read(path, archive.file()).map_err(failed)?;
    fold.add(path, file, true).map_err(failed)
}

fn add<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    dead: &Dead,
    fold: &mut Fold,
) -> Result<(), LeftAlone> {
    disk.read(&dead.path, &dead.file)
        .and_then(|file| fold.add(&dead.path, file, false))
        .map_err(|error| left_alone(&dead.path, error))
}

/// Writes what was folded to `temporary`, with a journal that names `files`, and renames it over the
/// archive.
pub(crate) fn commit<C: Checkpoint>(
    call: &mut Call<'_, '_, C>,
    place: &ArchivePlace<'_>,
    spent: &[Mark],
    fold: &Fold,
    files: Vec<Dead>,
    temporary: File,
) -> Result<Committed, LeftAlone> {
    let absorbed = files.iter().map(|dead| {
        let name = dead.path.file_name().unwrap_or_default();
        Mark::new(name, &dead.metadata)
    });
    let marks: Vec<Mark> = spent.iter().cloned().chain(absorbed).collect();
    let too_large = || left_alone(&place.archive, Reason::TooLarge);
    let journal = encode_journal(&marks).ok_or_else(too_large)?;
    let used = fold.used().ok_or_else(too_large)?;
    let path = &place.temporary;
    call.disk
        .write(Step::WriteEntries, path, &temporary)
        .and_then(|file| fold.write(used, file))
        .and_then(|()| call.disk.write(Step::WriteJournal, path, &temporary))
        .and_then(|mut file| file.write_all(&journal))
        .and_then(|()| call.check_lock())
        .and_then(|()| call.disk.commit(path, &place.archive))
        .map_err(|error| left_alone(&place.archive, error))?;
    // CAST: the size of a header at least.
    Ok(Committed { file: temporary, files, marks, used: u64::from(used.cast_unsigned()) })
}
