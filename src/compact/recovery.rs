//! Deletes spent files, whose counts are in an archive, and clears the archive's journal: after a
//! commit, or after a compaction that was killed between the two.

use std::io;
use std::time::Duration;

use crate::compact::archiving::{ArchivePlace, Archived, Committed};
use crate::compact::reason::Reason;
use crate::compact::run::{Compaction, LeftAlone, left_alone};
use crate::compact::steps::{Checkpoint, Disk, Found, Step};
use crate::format::{Damaged, FileName};
use crate::store::{Archive, Mark};
use crate::sys::allocated;

/// Removes what a killed compaction has written, and deletes the files that it has absorbed.
pub(crate) fn recover<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    place: &ArchivePlace<'_>,
) -> Result<(Archived, Compaction), LeftAlone> {
    disk.delete(Step::RemoveStray, &place.temporary)
        .map_err(|error| left_alone(&place.temporary, error))?;
    let mut archived = Archived { archive: open_archive(disk, place)?, spent: Vec::new() };
    let mut done = Compaction::default();
    let Some(archive) = &archived.archive else { return Ok((archived, done)) };
    let (used, identity) = (archive.used(), archive.identity());
    let marks = match &archive.journal {
        Ok(marks) => marks.clone(),
        Err(damage) => {
            let reason = Reason::Damaged(Damaged::at(used, damage.clone()));
            return Err(left_alone(&place.archive, reason));
        }
    };
    if marks.is_empty() {
        return Ok((archived, done));
    }
    wait_for_tick(disk, &marks);
    for mark in marks {
        match delete_spent(disk, place, &mark) {
            Ok(Some(freed)) => {
                done.bytes_freed += freed;
                continue;
            }
            Ok(None) => {}
            Err(error) => done.leave_alone(&place.directory.join(&mark.name), error),
        }
        archived.spent.push(mark);
    }
    if archived.spent.is_empty() {
        // If it stays it does no harm, as after a commit.
        let _ = disk
            .open_journal(&place.archive, identity)
            .and_then(|file| disk.clear_journal(&place.archive, &file, used));
    }
    Ok((archived, done))
}

fn open_archive<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    place: &ArchivePlace<'_>,
) -> Result<Option<Archive>, LeftAlone> {
    let path = &place.archive;
    match disk.open_archive(path).map_err(|error| left_alone(path, error))? {
        Found::Archive(archive) => Ok(Some(*archive)),
        Found::Nothing => Ok(None),
        Found::Other => Err(left_alone(path, Reason::NotAnArchive)),
    }
}

/// Deletes the file that `mark` names, if it is still there, and gives how many bytes that frees;
/// none if somebody holds it.
fn delete_spent<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    place: &ArchivePlace<'_>,
    mark: &Mark,
) -> io::Result<Option<u64>> {
    let path = place.directory.join(&mark.name);
    let (file, metadata) = match disk.open(Step::OpenSpent, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(0)),
        result => result?,
    };
    if !mark.is(&metadata) {
        // A new file of the same name.
        return Ok(Some(0));
    }
    // A writer may hold it just now: it will find out that the file is spent, and delete it.
    let Some(_file) = disk.lock(Step::LockSpent, file, &path)? else { return Ok(None) };
    let is_deleted = disk.delete_file(Step::DeleteSpent, &path, &metadata)?;
    Ok(Some(if is_deleted { allocated(&metadata) } else { 0 }))
}

/// Deletes the files that the new archive has absorbed, and clears its journal.
///
/// The second result is what is archived now. Its error keeps the rest of the kind from being folded.
pub(crate) fn finish<C: Checkpoint>(
    disk: &mut Disk<'_, C>,
    place: &ArchivePlace<'_>,
    mut spent: Vec<Mark>,
    Committed { file, files, marks, used }: Committed,
) -> (Compaction, Result<Archived, LeftAlone>) {
    let mut done = Compaction { files_folded: files.len(), ..Compaction::default() };
    wait_for_tick(disk, &marks);
    let absorbed = marks.into_iter().skip(spent.len()).collect::<Vec<_>>();
    for (dead, mark) in files.iter().zip(absorbed) {
        let name = FileName::of_path(&dead.path);
        done.processes.extend(name.map(|name| name.pid.to_owned()));
        match disk.delete_file(Step::DeleteAbsorbed, &dead.path, &dead.metadata) {
            Ok(_) => done.bytes_freed += allocated(&dead.metadata),
            Err(error) => {
                done.leave_alone(&dead.path, error);
                spent.push(mark);
            }
        }
    }
    let archived = open_archive(disk, place).map(|archive| Archived { archive, spent });
    if archived.as_ref().is_ok_and(|archived| archived.spent.is_empty()) {
        // By the descriptor through which the archive was written: its path may name another file.
        // A journal that stays does no harm: the files that it names are gone, and no new file can
        // be taken for one of them.
        let _ = disk.clear_journal(&place.archive, &file, used);
    }
    (done, archived)
}

/// Waits until a new file can be told by its time from those with these marks, which are to be
/// deleted now.
fn wait_for_tick<C: Checkpoint>(disk: &mut Disk<'_, C>, marks: &[Mark]) {
    let remaining = marks.iter().map(Mark::remaining).max().unwrap_or_default();
    if remaining > Duration::ZERO {
        disk.checkpoint.wait(remaining);
    }
}
