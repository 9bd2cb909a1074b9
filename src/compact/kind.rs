//! Folds the dead files of one kind into the archive of that kind.
//!
//! The order of the steps is what makes this safe; `docs/compaction.md` goes through all of them.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::compact::dead::{self, Dead};
use crate::compact::fold::{Fold, Unsound};
use crate::compact::run::{LeftAlone, Run, left_alone};
use crate::compact::steps::{Checkpoint, Found, MODE_MASK, READABLE_BY_ALL, Step};
use crate::error::Reason;
use crate::format::{archive_name, temporary_name};
use crate::kind::Kind;
use crate::store::{Archive, Mark, encode_journal};

/// So many files go into an archive at once: all of them are held open and locked.
const BATCH: usize = 64;

/// What goes into a new archive, and the files that are new in it.
type AddedUp = (Fold, Vec<Dead>);

/// What is in a new archive that was not in the old one.
struct Absorbed {
    files: Vec<Dead>,
    /// Of the spent files that are still there, and of those absorbed.
    marks: Vec<Mark>,
    /// Where the new archive's journal begins.
    used: u64,
}

/// The compaction of one kind.
pub(crate) struct KindCompaction<'a> {
    directory: &'a Path,
    kind: Kind<'a>,
    files: VecDeque<&'a Path>,
    archive_path: PathBuf,
    temporary_path: PathBuf,
    archive: Option<Archive>,
    /// The files that are in the archive but could not be deleted yet.
    spent: Vec<Mark>,
}

impl<'a> KindCompaction<'a> {
    /// Of `files`, which are in `directory` and of this kind.
    pub(crate) fn new(directory: &'a Path, kind: Kind<'a>, files: Vec<&'a Path>) -> Self {
        Self {
            directory,
            kind,
            files: files.into(),
            archive_path: directory.join(archive_name(kind)),
            temporary_path: directory.join(temporary_name(kind)),
            archive: None,
            spent: Vec::new(),
        }
    }

    /// Finishes what a killed compaction left, then folds the files of the dead.
    ///
    /// The error is what keeps the whole kind from being folded.
    pub(crate) fn run<C: Checkpoint>(&mut self, run: &mut Run<'_, C>) -> Result<(), LeftAlone> {
        self.recover(run)?;
        if self.archive.as_ref().is_some_and(|archive| run.knows(archive.metadata())) {
            return Err(left_alone(&self.archive_path, Reason::KnownDamage));
        }
        while !self.files.is_empty() {
            let batch = self.claim(run)?;
            self.fold(run, batch)?;
        }
        Ok(())
    }

    fn recover<C: Checkpoint>(&mut self, run: &mut Run<'_, C>) -> Result<(), LeftAlone> {
        run.disk
            .delete(Step::RemoveStray, &self.temporary_path)
            .map_err(|error| left_alone(&self.temporary_path, error))?;
        self.open_archive(run)?;
        let Some(archive) = &self.archive else { return Ok(()) };
        let used = archive.used();
        let marks = match &archive.journal {
            Ok(marks) => marks.clone(),
            Err(damage) => {
                return Err(left_alone(
                    &self.archive_path,
                    Unsound { offset: Some(used), damage: damage.clone() },
                ));
            }
        };
        if marks.is_empty() {
            return Ok(());
        }
        wait_for_tick(run, &marks);
        for mark in marks {
            let is_gone = self.delete_spent(run, &mark).unwrap_or_else(|error| {
                run.leave_alone(&self.directory.join(&mark.name), error);
                false
            });
            if !is_gone {
                self.spent.push(mark);
            }
        }
        self.clear_journal(run, used);
        Ok(())
    }

    fn open_archive<C: Checkpoint>(&mut self, run: &mut Run<'_, C>) -> Result<(), LeftAlone> {
        let path = &self.archive_path;
        self.archive = match run.disk.open_archive(path).map_err(|error| left_alone(path, error))? {
            Found::Archive(archive) => Some(*archive),
            Found::Nothing => None,
            Found::Other => return Err(left_alone(path, Reason::NotAnArchive)),
        };
        Ok(())
    }

    /// Deletes the file that `mark` names, if it is still there; false if somebody holds it.
    fn delete_spent<C: Checkpoint>(&self, run: &mut Run<'_, C>, mark: &Mark) -> io::Result<bool> {
        let path = self.directory.join(&mark.name);
        let (file, metadata) = match run.disk.open(Step::OpenSpent, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            result => result?,
        };
        if !mark.is(&metadata) {
            // A new file of the same name.
            return Ok(true);
        }
        // A writer may just look at it; it will find out that the file is spent, and delete it.
        let Some(_file) = run.disk.lock(Step::LockSpent, file, &path)? else { return Ok(false) };
        if run.disk.delete_file(Step::DeleteSpent, &path, &metadata)? {
            run.done.bytes_freed += metadata.len();
        }
        Ok(true)
    }

    /// Claims the next dead files that have something to fold; deletes empty ones.
    ///
    /// The error is that there is no descriptor to open even one of them with.
    fn claim<C: Checkpoint>(&mut self, run: &mut Run<'_, C>) -> Result<Vec<Dead>, LeftAlone> {
        let mut batch = Vec::new();
        let mut paths = Vec::new();
        while batch.len() < BATCH
            && let Some(path) = self.files.pop_front()
        {
            let dead = match run.claim(path) {
                Ok(Some(dead)) => dead,
                Ok(None) => continue,
                Err(error) if batch.is_empty() => return Err(left_alone(path, error)),
                Err(_) => {
                    // Half of them, so that others can open files too.
                    let kept = batch.len().div_ceil(2);
                    run.unclaim(batch.len() - kept);
                    batch.truncate(kept);
                    paths.push(path);
                    paths.drain(kept..).rev().for_each(|path| self.files.push_front(path));
                    break;
                }
            };
            let name = path.file_name().unwrap_or_default();
            if self.spent.iter().any(|mark| mark.name == name && mark.is(&dead.metadata)) {
                // It is in the archive already and cannot be deleted.
                run.unclaim(1);
                continue;
            }
            if dead.is_empty() {
                run.delete(&dead);
                continue;
            }
            batch.push(dead);
            paths.push(path);
        }
        Ok(batch)
    }

    fn fold<C: Checkpoint>(
        &mut self,
        run: &mut Run<'_, C>,
        batch: Vec<Dead>,
    ) -> Result<(), LeftAlone> {
        let Some((like, batch)) = self.choose(run, batch) else { return Ok(()) };
        // Created first: who may not do so shall not read everything in vain.
        let temporary = run
            .disk
            .create(&self.temporary_path, &like)
            .map_err(|error| left_alone(&self.archive_path, error))?;
        let absorbed = self.absorb(run, batch, &temporary);
        if !matches!(absorbed, Ok(Some(_))) {
            // What was not renamed is nothing: the next compaction would remove it too.
            let _ = run.disk.delete(Step::RemoveTemporary, &self.temporary_path);
        }
        let Some(Absorbed { files, marks, used }) = absorbed? else { return Ok(()) };
        wait_for_tick(run, &marks);
        for (dead, mark) in files.iter().zip(marks.into_iter().skip(self.spent.len())) {
            run.folded(dead);
            match run.disk.delete_file(Step::DeleteAbsorbed, &dead.path, &dead.metadata) {
                Ok(_) => run.done.bytes_freed += dead.metadata.len(),
                Err(error) => {
                    run.leave_alone(&dead.path, error);
                    self.spent.push(mark);
                }
            }
        }
        // Opened first: what is cleared is what was written.
        self.open_archive(run)?;
        self.clear_journal(run, used);
        Ok(())
    }

    /// Chooses what of the batch can go into the archive now, and the file whose owner and
    /// permissions that shall have; none if nothing can.
    fn choose<C: Checkpoint>(
        &self,
        run: &mut Run<'_, C>,
        batch: Vec<Dead>,
    ) -> Option<(Metadata, Vec<Dead>)> {
        let mut archived = self.archive.as_ref().map_or(0, Archive::used);
        let mut like = self.archive.as_ref().map(|archive| archive.metadata().clone());
        let mut chosen: Vec<Dead> = Vec::new();
        for dead in batch {
            if dead.is_ours {
                if !run.may_read(archived + dead.used()) {
                    run.give_back(&dead, Reason::TooMuch);
                    continue;
                }
                // The archive is read once for all.
                archived = 0;
            }
            match &like {
                Some(like) if have_same_readers(&dead.metadata, like) => chosen.push(dead),
                Some(_) => run.give_back(&dead, Reason::OtherReaders),
                // What is damaged must not decide who may read the archive.
                None => match check(run, &dead, &mut Fold::new(self.kind)) {
                    Ok(()) => {
                        like = Some(dead.metadata.clone());
                        chosen.push(dead);
                    }
                    Err(reason) => run.give_back(&dead, reason),
                },
            }
        }
        like.filter(|_| !chosen.is_empty()).map(|like| (like, chosen))
    }

    /// Makes `temporary` the archive, with the sound files of the batch in it, if there are any.
    fn absorb<C: Checkpoint>(
        &self,
        run: &mut Run<'_, C>,
        batch: Vec<Dead>,
        temporary: &File,
    ) -> Result<Option<Absorbed>, LeftAlone> {
        let Some((fold, files)) = self.add_up(run, batch)? else { return Ok(None) };
        let new = files.iter().map(|dead| {
            let name = dead.path.file_name().unwrap_or_default();
            Mark::new(name, &dead.metadata)
        });
        let marks: Vec<Mark> = self.spent.iter().cloned().chain(new).collect();
        let too_large = || left_alone(&self.archive_path, Reason::TooLarge);
        let journal = encode_journal(&marks).ok_or_else(too_large)?;
        let used = fold.used().ok_or_else(too_large)?;
        let path = &self.temporary_path;
        run.disk
            .write(Step::WriteEntries, path, temporary)
            .and_then(|file| fold.write(used, file))
            .and_then(|()| run.disk.write(Step::WriteJournal, path, temporary))
            .and_then(|mut file| file.write_all(&journal))
            .and_then(|()| run.check_lock())
            .and_then(|()| run.disk.commit(path, &self.archive_path))
            .map_err(|error| left_alone(&self.archive_path, error))?;
        // CAST: the size of a header at least.
        Ok(Some(Absorbed { files, marks, used: u64::from(used.cast_unsigned()) }))
    }

    /// The archive's entries with those of the sound files of the batch, and these files.
    fn add_up<C: Checkpoint>(
        &self,
        run: &mut Run<'_, C>,
        batch: Vec<Dead>,
    ) -> Result<Option<AddedUp>, LeftAlone> {
        let mut fold = Fold::new(self.kind);
        let mut files: Vec<Dead> = Vec::new();
        for dead in batch {
            let failed = |error: io::Error| left_alone(&dead.path, error);
            if let Err(reason) = check(run, &dead, &mut fold) {
                run.give_back(&dead, reason);
                continue;
            }
            if files.is_empty() {
                // Now that there is something to add to it. Its keys come first.
                self.add_archive(run, &mut fold)?;
            }
            let file = run.disk.read(&dead.path, &dead.file).map_err(failed)?;
            fold.add(file, false).map_err(failed)?;
            files.push(dead);
        }
        if files.is_empty() {
            return Ok(None);
        }
        if fold.is_lossy() {
            self.recount(run, &files, &mut fold)?;
        }
        Ok(Some((fold, files)))
    }

    fn add_archive<C: Checkpoint>(
        &self,
        run: &mut Run<'_, C>,
        fold: &mut Fold,
    ) -> Result<(), LeftAlone> {
        let Some(archive) = &self.archive else { return Ok(()) };
        let path = &self.archive_path;
        let failed = |error: io::Error| left_alone(path, error);
        let checked = fold.check(run.disk.read(path, archive.file()).map_err(failed)?);
        if let Err(unsound) = checked {
            let reason = Reason::from(unsound);
            if matches!(reason, Reason::Damaged { .. }) {
                dead::remember(archive.metadata());
            }
            return Err(left_alone(path, reason));
        }
        let file = run.disk.read(path, archive.file()).map_err(failed)?;
        fold.add(file, true).map_err(failed)
    }

    /// Reads everything once more, in the same order, for the sums that lost bits.
    fn recount<C: Checkpoint>(
        &self,
        run: &mut Run<'_, C>,
        files: &[Dead],
        fold: &mut Fold,
    ) -> Result<(), LeftAlone> {
        let archive = self.archive.iter().map(|it| (&*self.archive_path, it.file(), true));
        let files = files.iter().map(|dead| (&*dead.path, &*dead.file, false));
        for (path, file, is_archive) in archive.chain(files) {
            run.disk
                .read(path, file)
                .and_then(|file| fold.recount(file, is_archive))
                .map_err(|error| left_alone(path, error))?;
        }
        Ok(())
    }

    /// Clears the journal, if all files that it names are gone.
    fn clear_journal<C: Checkpoint>(&self, run: &mut Run<'_, C>, used: u64) {
        if let Some(archive) = self.archive.as_ref().filter(|_| self.spent.is_empty()) {
            // A journal that stays does no harm: what it names is not there any more, and no new
            // file can be taken for it.
            let _ = run.disk.clear_journal(&self.archive_path, archive.identity(), used);
        }
    }
}

/// Waits until a new file can be told by its time from those with these marks, which are to be
/// deleted now.
fn wait_for_tick<C: Checkpoint>(run: &mut Run<'_, C>, marks: &[Mark]) {
    let remaining = marks.iter().map(Mark::remaining).max().unwrap_or_default();
    if remaining > Duration::ZERO {
        run.disk.checkpoint.wait(remaining);
    }
}

/// Whether all of a dead process's file is sound.
fn check<C: Checkpoint>(run: &mut Run<'_, C>, dead: &Dead, fold: &mut Fold) -> Result<(), Reason> {
    let file = run.disk.read(&dead.path, &dead.file)?;
    Ok(fold.check(file)?)
}

/// Whether just the same users may read both files, or all may.
fn have_same_readers(one: &Metadata, other: &Metadata) -> bool {
    let readers = |of: &Metadata| (of.uid(), of.gid(), of.mode() & MODE_MASK);
    readers(one) == readers(other) || one.mode() & other.mode() & READABLE_BY_ALL != 0
}
