//! Lets an archive forget series that were withdrawn: those that no living process has.
//!
//! All files of the dead have been folded before, or stay whatever is done. So what is not in the
//! archive is of processes that live.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::compact::archiving::{self, ArchivePlace, Archived};
use crate::compact::fold::Fold;
use crate::compact::recovery;
use crate::compact::run::{Call, Compaction, LeftAlone, left_alone};
use crate::compact::steps::{Checkpoint, Disk, Step};
use crate::format::{Entry, has_archive_name};
use crate::store::{Reader, Unheeded};

/// The keys of series.
type Keys = HashSet<Box<[u8]>>;

/// What was withdrawn and is to be heeded.
pub(crate) struct Withdrawals {
    /// The series; none if a file may not be read, which may have any series.
    keys: Keys,
    /// Where it is noted that this was heeded.
    file: File,
    unheeded: Unheeded,
}

/// Looks which series were withdrawn; none if all was heeded before. `files` are all of the kind.
pub(crate) fn look<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    place: &ArchivePlace<'_>,
    files: &[&Path],
) -> io::Result<Option<Withdrawals>> {
    let Some((file, unheeded)) = disk.open_withdrawals(place.directory, place.kind)? else {
        return Ok(None);
    };
    let mut keys = Keys::new();
    for path in files.iter().filter(|path| !has_archive_name(path)) {
        let can_be_read = read(disk, path, |entry| {
            if has_new(&unheeded, &entry) {
                keys.insert(entry.key.into());
            }
        })?;
        if !can_be_read {
            keys.clear();
            break;
        }
    }
    Ok(Some(Withdrawals { keys, file, unheeded }))
}

/// Writes the archive anew without the series that were withdrawn, if it has any that no living
/// process has; and notes that all was heeded, if this `is_last`.
pub(crate) fn heed<C: Checkpoint>(
    call: &mut Call<'_, '_, C>,
    place: &ArchivePlace<'_>,
    archived: Archived,
    files: &[&Path],
    withdrawals: Withdrawals,
    is_last: bool,
) -> Result<Compaction, LeftAlone> {
    let failed = |error: io::Error| left_alone(&place.archive, error);
    let mut done = Compaction::default();
    let keys = find(call.disk, place, &archived, files, &withdrawals).map_err(failed)?;
    if let Some(archive) = archived.archive.as_ref().filter(|_| !keys.is_empty()) {
        let temporary = call.disk.create(&place.temporary, archive.metadata()).map_err(failed)?;
        let mut fold = Fold::without(place.kind, keys);
        let committed =
            archiving::add_archive(call.disk, place, &archived, &mut fold).and_then(|()| {
                archiving::commit(call, place, &archived.spent, &fold, Vec::new(), temporary)
            });
        if committed.is_err() {
            let _ = call.disk.delete(Step::RemoveTemporary, &place.temporary);
        }
        let (finished, next) = recovery::finish(call.disk, place, archived.spent, committed?);
        done.add(finished);
        next?;
    }
    if is_last {
        // Killed before this, the next compaction does the same once more.
        let Withdrawals { file, unheeded, .. } = withdrawals;
        call.disk.note_heeded(place.kind, &file, unheeded).map_err(failed)?;
    }
    Ok(done)
}

/// Finds the series in the archive that were withdrawn, and that no process has.
fn find<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    place: &ArchivePlace<'_>,
    archived: &Archived,
    files: &[&Path],
    withdrawals: &Withdrawals,
) -> io::Result<Keys> {
    let mut keys = Keys::new();
    let Some(archive) = archived.archive.as_ref().filter(|_| !withdrawals.keys.is_empty()) else {
        return Ok(keys);
    };
    // Mostly it has none of them.
    Reader::default().read_entries(disk.read(&place.archive, archive.file())?, |_, entry| {
        keys.extend(withdrawals.keys.get(entry.key).cloned());
    })?;
    let is_spent = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        archived.spent.iter().any(|mark| mark.name == name)
    };
    for path in files.iter().filter(|path| !has_archive_name(path) && !is_spent(path)) {
        if keys.is_empty() {
            break;
        }
        let can_be_read = read(disk, path, |entry| {
            // Its process has the series, and is not the one that has withdrawn it.
            if !entry.is_withdrawn() && !has_new(&withdrawals.unheeded, &entry) {
                keys.remove(entry.key);
            }
        })?;
        if !can_be_read {
            keys.clear();
        }
    }
    Ok(keys)
}

/// Whether an entry tells of a withdrawal that is to be heeded.
fn has_new(unheeded: &Unheeded, entry: &Entry<'_>) -> bool {
    entry.withdrawal().is_some_and(|number| unheeded.has(number))
}

/// Reads a file that a living process may write; false if this process may not read it.
fn read<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    path: &Path,
    mut visit: impl FnMut(Entry<'_>),
) -> io::Result<bool> {
    let (file, _) = match disk.open(Step::OpenLiving, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        result => result?,
    };
    Reader::default().read_entries(disk.read(path, &file)?, |_, entry| visit(entry))?;
    Ok(true)
}
