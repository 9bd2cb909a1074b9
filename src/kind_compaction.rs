//! Folds the dead files of one kind into the archive of that kind.
//!
//! The order of the steps is what makes this safe; `docs/compaction.md` goes through all of them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::archive::Archive;
use crate::compaction_run::{LeftAlone, Run, left_alone};
use crate::dead::Dead;
use crate::disk::{Gate, Step};
use crate::error::Reason;
use crate::filename;
use crate::fold::{Fold, Unsound};
use crate::journal::{self, Mark};
use crate::metric::Kind;
use crate::reader;

/// So many files go into an archive at once: all of them are held open and locked.
const BATCH: usize = 128;

/// The clock of file times advances at least so often.
const TICK: Duration = Duration::from_millis(12);

/// The entries of a new archive, and the files that are new in it.
type AddedUp = (Vec<u8>, Vec<Dead>);

/// The compaction of one kind.
pub(crate) struct KindCompaction<'a> {
    directory: &'a Path,
    kind: Kind<'a>,
    files: Vec<&'a Path>,
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
            files,
            archive_path: directory.join(filename::archive(kind)),
            temporary_path: directory.join(filename::temporary(kind)),
            archive: None,
            spent: Vec::new(),
        }
    }

    /// Finishes what a killed compaction left, then folds the files of the dead.
    ///
    /// The error is what keeps the whole kind from being folded.
    pub(crate) fn run<G: Gate>(&mut self, run: &mut Run<'_, G>) -> Result<(), LeftAlone> {
        self.recover(run)?;
        let mut files = std::mem::take(&mut self.files).into_iter();
        loop {
            let batch = self.claim(run, &mut files);
            if batch.is_empty() {
                return Ok(());
            }
            self.fold(run, batch)?;
        }
    }

    fn recover<G: Gate>(&mut self, run: &mut Run<'_, G>) -> Result<(), LeftAlone> {
        run.disk
            .delete(Step::RemoveStray, &self.temporary_path)
            .map_err(|error| left_alone(&self.temporary_path, error))?;
        self.open_archive(run)?;
        let Some(archive) = &self.archive else { return Ok(()) };
        let used = archive.used();
        let marks = match &archive.journal {
            Ok(marks) => marks.clone(),
            Err(damage) => {
                return Err(
                    self.damaged_archive(Unsound { offset: Some(used), damage: damage.clone() })
                );
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

    fn open_archive<G: Gate>(&mut self, run: &mut Run<'_, G>) -> Result<(), LeftAlone> {
        let path = &self.archive_path;
        self.archive = match run.disk.open_archive(path) {
            Ok(Some(archive)) => Some(archive),
            Ok(None) => return Err(left_alone(path, Reason::NotAnArchive)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(left_alone(path, error)),
        };
        Ok(())
    }

    /// Deletes the file that `mark` names, if it is still there; false if somebody holds it.
    fn delete_spent<G: Gate>(&self, run: &mut Run<'_, G>, mark: &Mark) -> io::Result<bool> {
        let path = self.directory.join(&mark.name);
        let (file, metadata) = match reader::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            result => result?,
        };
        if !mark.is(&metadata) {
            // A new file of the same name.
            return Ok(true);
        }
        // A writer may just look at it; it will find out that the file is spent, and delete it.
        let Some(_file) = run.disk.lock(Step::LockSpent, file, &path)? else { return Ok(false) };
        run.disk.delete(Step::DeleteSpent, &path)?;
        run.done.bytes_freed += metadata.len();
        Ok(true)
    }

    /// Claims the next dead files that have something to fold; deletes empty ones.
    fn claim<G: Gate>(
        &mut self,
        run: &mut Run<'_, G>,
        files: &mut impl Iterator<Item = &'a Path>,
    ) -> Vec<Dead> {
        let mut batch = Vec::new();
        for path in files {
            let Some(dead) = run.claim(path) else { continue };
            let name = path.file_name().unwrap_or_default();
            if self.spent.iter().any(|mark| mark.name == name && mark.is(&dead.metadata)) {
                // It is in the archive already and cannot be deleted.
                continue;
            }
            if dead.is_empty() {
                run.delete(&dead);
                continue;
            }
            batch.push(dead);
            if batch.len() == BATCH {
                break;
            }
        }
        batch
    }

    fn fold<G: Gate>(&mut self, run: &mut Run<'_, G>, batch: Vec<Dead>) -> Result<(), LeftAlone> {
        let Some((entries, absorbed)) = self.add_up(run, batch)? else { return Ok(()) };
        let new = absorbed.iter().map(|dead| {
            let name = dead.path.file_name().unwrap_or_default();
            Mark::new(name, &dead.metadata)
        });
        let marks: Vec<Mark> = self.spent.iter().cloned().chain(new).collect();
        let journal = journal::encode(&marks)
            .ok_or_else(|| left_alone(&self.archive_path, Reason::TooLarge))?;
        let used = entries.len() as u64;
        self.write(run, &absorbed, &entries, &journal).map_err(|error| {
            // What was not renamed is nothing: the next compaction would remove it too.
            let _ = run.disk.delete(Step::RemoveTemporary, &self.temporary_path);
            left_alone(&self.archive_path, error)
        })?;
        wait_for_tick(run, &marks);
        for (dead, mark) in absorbed.iter().zip(marks.into_iter().skip(self.spent.len())) {
            run.folded(dead);
            match run.disk.delete(Step::DeleteAbsorbed, &dead.path) {
                Ok(()) => run.done.bytes_freed += dead.metadata.len(),
                Err(error) => {
                    run.leave_alone(&dead.path, error);
                    self.spent.push(mark);
                }
            }
        }
        self.clear_journal(run, used);
        self.open_archive(run)
    }

    /// The archive's entries with those of the sound files of the batch, and these files.
    fn add_up<G: Gate>(
        &self,
        run: &mut Run<'_, G>,
        batch: Vec<Dead>,
    ) -> Result<Option<AddedUp>, LeftAlone> {
        let mut fold = Fold::new(self.kind);
        let mut bytes = Vec::new();
        if self.read_archive(run, &mut bytes)? {
            fold.add(&bytes, true).map_err(|unsound| self.damaged_archive(unsound))?;
        }
        let mut absorbed = Vec::new();
        for dead in batch {
            let read = run.disk.read(&dead.path, &dead.file, dead.size(), &mut bytes);
            let added = read.map_err(Reason::from).and_then(|()| {
                fold.add(&bytes, false)
                    .map_err(|Unsound { offset, damage }| Reason::Damaged { offset, damage })
            });
            match added {
                Ok(()) => absorbed.push(dead),
                Err(reason) => run.give_back(&dead, reason),
            }
        }
        if absorbed.is_empty() {
            return Ok(None);
        }
        if fold.is_lossy() {
            if self.read_archive(run, &mut bytes)? {
                fold.recount(&bytes, true);
            }
            for dead in &absorbed {
                run.disk
                    .read(&dead.path, &dead.file, dead.size(), &mut bytes)
                    .map_err(|error| left_alone(&dead.path, error))?;
                fold.recount(&bytes, false);
            }
        }
        let entries =
            fold.finish().ok_or_else(|| left_alone(&self.archive_path, Reason::TooLarge))?;
        Ok(Some((entries, absorbed)))
    }

    /// Reads the archive into `bytes`; false if there is none.
    fn read_archive<G: Gate>(
        &self,
        run: &mut Run<'_, G>,
        bytes: &mut Vec<u8>,
    ) -> Result<bool, LeftAlone> {
        let Some(archive) = &self.archive else { return Ok(false) };
        // CAST: it comes from an i32 that is not negative.
        let used = usize::try_from(archive.used()).unwrap_or(usize::MAX);
        run.disk
            .read(&self.archive_path, archive.file(), used, bytes)
            .map_err(|error| left_alone(&self.archive_path, error))?;
        Ok(true)
    }

    /// Writes the new archive and makes it the archive.
    fn write<G: Gate>(
        &self,
        run: &mut Run<'_, G>,
        absorbed: &[Dead],
        entries: &[u8],
        journal: &[u8],
    ) -> io::Result<()> {
        let archive = self.archive.as_ref().map(Archive::metadata);
        let Some(like) = archive.or(absorbed.first().map(|dead| &dead.metadata)) else {
            return Ok(());
        };
        let path = &self.temporary_path;
        let file = run.disk.create(path, like)?;
        run.disk.write(Step::WriteEntries, path, &file, entries)?;
        run.disk.write(Step::WriteJournal, path, &file, journal)?;
        run.disk.commit(path, &self.archive_path)
    }

    /// Clears the journal, if all files that it names are gone.
    fn clear_journal<G: Gate>(&self, run: &mut Run<'_, G>, used: u64) {
        if self.spent.is_empty() {
            // A journal that stays does no harm: what it names is not there any more, and no new
            // file can be taken for it.
            let _ = run.disk.clear_journal(&self.archive_path, used);
        }
    }

    fn damaged_archive(&self, Unsound { offset, damage }: Unsound) -> LeftAlone {
        left_alone(&self.archive_path, Reason::Damaged { offset, damage })
    }
}

/// Waits until a new file can be told by its time from those with these marks, which are to be
/// deleted now: it may get the inode of one of them at once, and file times advance in ticks.
fn wait_for_tick<G: Gate>(run: &mut Run<'_, G>, marks: &[Mark]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // CAST: u128 nanoseconds since 1970 fit into i128 for long.
    let now = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
    let latest = marks.iter().map(Mark::changed_nanoseconds).max().unwrap_or_default();
    let tick = TICK.as_nanos().cast_signed();
    // A time in the future was made by another clock, which says nothing.
    if (-tick..tick).contains(&(now - latest)) {
        let remaining = u64::try_from(latest + tick - now).unwrap_or_default();
        run.disk.gate.wait(Duration::from_nanos(remaining));
    }
}
