//! Every system call with which compaction changes a directory, or depends on its state.
//!
//! Each call has a named step, so that a test can stop compaction before any of them, and cannot forget
//! one. Only reading the metadata or header of an open file has none: it can fail, but changes nothing.

use std::ffi::OsStr;
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::compact::reason::Reason;
use crate::format::exemplar;
use crate::kind::Kind;
use crate::store::{
    Archive, FromStart, Listing, Unheeded, WITHDRAWALS_FILE, clear_journal, list_open,
};
use crate::sys::lock::{self, Locked};
use crate::sys::{Directory, Identity, identity};

/// The permissions that an archive may have: it is no program.
pub(crate) const MODE_MASK: u32 = 0o666;
/// The permission of everybody to read.
pub(crate) const READABLE_BY_ALL: u32 = 0o004;

macro_rules! steps {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A step of compaction.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Step {
            $($(#[$doc])+ $name,)+
        }

        #[cfg(test)]
        impl Step {
            /// All steps.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

steps! {
    /// Open the directory, in which all later steps are.
    OpenDirectory,
    /// Lock the directory.
    LockDirectory,
    /// List the directory.
    ListDirectory,
    /// Remove what was being written when another compaction was killed.
    RemoveStray,
    /// Open the archive and read its journal.
    OpenArchive,
    /// Open a file that the journal names.
    OpenSpent,
    /// Lock a file that the journal names.
    LockSpent,
    /// Delete a file that the journal names.
    DeleteSpent,
    /// Open the file that says whether series were withdrawn.
    OpenWithdrawals,
    /// Open a file, of a living process too, to see which series were withdrawn.
    OpenLiving,
    /// Note that what was withdrawn is gone from the archive.
    NoteHeeded,
    /// Open a file that may be a dead process's.
    OpenDead,
    /// Lock such a file.
    LockDead,
    /// Read a dead process's file, or the archive.
    Read,
    /// Delete a dead process's file whose content counts no more.
    DeleteDead,
    /// Delete the exemplars beside a file that is about to be deleted, or is gone.
    DeleteExemplars,
    /// Create the new archive under its temporary name.
    CreateTemporary,
    /// Write the entries of the new archive.
    WriteEntries,
    /// Write the journal of the new archive.
    WriteJournal,
    /// Rename the new archive over the old one.
    Commit,
    /// Remove the new archive instead, because something failed.
    RemoveTemporary,
    /// Delete a file that the new archive absorbed.
    DeleteAbsorbed,
    /// Delete what an earlier run of a server left.
    DeleteLeftover,
    /// Open the archive to clear the journal that a killed compaction has left.
    OpenJournal,
    /// Clear the journal.
    ClearJournal,
}

/// What is at the path of an archive.
#[derive(Debug)]
pub(crate) enum Found {
    /// No file, or an empty one.
    Nothing,
    /// The archive.
    Archive(Box<Archive>),
    /// Something else.
    Other,
}

/// What each step has to pass.
pub(crate) trait Checkpoint {
    /// Called right before a step; an error makes the step fail.
    fn pass(&mut self, step: Step, path: &Path) -> io::Result<()>;

    /// Lets time pass.
    fn wait(&mut self, time: Duration);

    /// The file system of a directory whose locks not all processes may see: a test says another.
    fn without_common_locks(&self, directory: &Directory) -> Option<&'static str> {
        directory.without_common_locks()
    }
}

/// In production the steps pass unchecked.
#[derive(Debug)]
pub(crate) struct Unchecked;

impl Checkpoint for Unchecked {
    fn pass(&mut self, _step: Step, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

/// An open directory, behind a checkpoint.
///
/// Of each path only the name counts: it is looked up in the open directory. The path is for messages
/// and for the checkpoint.
#[derive(Debug)]
pub(crate) struct Disk<'c, C> {
    /// What every step has to pass.
    pub(crate) checkpoint: &'c mut C,
    /// The directory in which all steps are, whatever its path names by now.
    pub(crate) directory: Directory,
}

impl<'c, C: Checkpoint> Disk<'c, C> {
    /// Opens the directory that `path` names now.
    pub(crate) fn open_directory(checkpoint: &'c mut C, path: &Path) -> io::Result<Self> {
        checkpoint.pass(Step::OpenDirectory, path)?;
        Ok(Self { checkpoint, directory: Directory::open(path)? })
    }

    /// Locks the directory; none if another holds it for all of `wait`.
    pub(crate) fn lock_directory(&mut self, wait: Duration) -> io::Result<Option<Locked>> {
        self.checkpoint.pass(Step::LockDirectory, self.directory.path())?;
        lock::directory(&self.directory, wait)
    }

    /// Fails if processes may use the directory whose locks are not seen here: then a free lock does
    /// not tell that its writer is dead.
    pub(crate) fn check_locks(&self) -> Result<(), Reason> {
        let file_system = self.checkpoint.without_common_locks(&self.directory);
        file_system.map_or(Ok(()), |file_system| Err(Reason::NoCommonLocks { file_system }))
    }

    /// Lists the metrics files of the directory.
    pub(crate) fn list(&mut self) -> io::Result<Listing> {
        self.checkpoint.pass(Step::ListDirectory, self.directory.path())?;
        list_open(&self.directory)
    }

    /// Opens what is at the path of an archive.
    ///
    /// An empty file counts as no archive: archives are not synced to the disk, so a machine that stops
    /// may leave an empty one.
    pub(crate) fn open_archive(&mut self, path: &Path) -> io::Result<Found> {
        self.checkpoint.pass(Step::OpenArchive, path)?;
        let opened = match self.open_itself(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            result => result?,
        };
        if opened.1.is_file() && opened.1.len() == 0 {
            return Ok(Found::Nothing);
        }
        let archive = Archive::of(path, opened)?;
        Ok(archive.map_or(Found::Other, |archive| Found::Archive(Box::new(archive))))
    }

    /// Opens the file that numbers withdrawals, and gives those of a kind that are to be heeded; none
    /// if there are none, or this process cannot note there what it has heeded.
    pub(crate) fn open_withdrawals(
        &mut self,
        directory: &Path,
        kind: Kind<'_>,
    ) -> io::Result<Option<(File, Unheeded)>> {
        self.checkpoint.pass(Step::OpenWithdrawals, &directory.join(WITHDRAWALS_FILE))?;
        let file = match self.directory.open_file(OsStr::new(WITHDRAWALS_FILE), OFlags::RDWR) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                return Ok(None);
            }
            result => result?,
        };
        Ok(Unheeded::read(&file, kind)?.map(|unheeded| (file, unheeded)))
    }

    /// Notes that these withdrawals have been heeded.
    pub(crate) fn note_heeded(
        &mut self,
        kind: Kind<'_>,
        file: &File,
        unheeded: Unheeded,
    ) -> io::Result<()> {
        self.checkpoint.pass(Step::NoteHeeded, self.directory.path())?;
        unheeded.note_heeded(file, kind)
    }

    /// Opens a file that may be a dead process's.
    pub(crate) fn open(&mut self, step: Step, path: &Path) -> io::Result<(File, Metadata)> {
        self.checkpoint.pass(step, path)?;
        self.open_itself(path)
    }

    fn open_itself(&self, path: &Path) -> io::Result<(File, Metadata)> {
        let file = self.directory.open_file(name(path), OFlags::RDONLY)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }

    /// Locks a file that was opened at `path`.
    pub(crate) fn lock(
        &mut self,
        step: Step,
        file: File,
        path: &Path,
    ) -> io::Result<Option<Locked>> {
        self.checkpoint.pass(step, path)?;
        Locked::take_in(&self.directory, name(path), file)
    }

    /// All of the file that was opened at `path`.
    pub(crate) fn read<'f>(&mut self, path: &Path, file: &'f File) -> io::Result<FromStart<'f>> {
        self.checkpoint.pass(Step::Read, path)?;
        Ok(FromStart::of(file))
    }

    /// Creates a file that only one can create, with the owner and permissions of another.
    pub(crate) fn create(&mut self, path: &Path, like: &Metadata) -> io::Result<File> {
        self.checkpoint.pass(Step::CreateTemporary, path)?;
        let file = self.directory.create_file(name(path))?;
        let given = give(&file, like);
        if given.is_err() {
            // In a sticky directory another user's compaction could not remove it.
            let _ = self.directory.remove_file(name(path));
        }
        given.map(|()| file)
    }

    /// A new file, to write to next.
    ///
    /// Nothing is synced to the disk: metrics do not outlive the machine's run.
    pub(crate) fn write<'f>(
        &mut self,
        step: Step,
        path: &Path,
        file: &'f File,
    ) -> io::Result<&'f File> {
        self.checkpoint.pass(step, path)?;
        Ok(file)
    }

    /// Renames a new archive over the old one.
    pub(crate) fn commit(&mut self, temporary: &Path, archive: &Path) -> io::Result<()> {
        self.checkpoint.pass(Step::Commit, archive)?;
        self.directory.rename(name(temporary), name(archive))
    }

    /// Deletes the file at `path` that has this metadata; false if by now another is there.
    ///
    /// A user may have deleted the file, and a process made a new one of this name.
    pub(crate) fn delete_file(
        &mut self,
        step: Step,
        path: &Path,
        metadata: &Metadata,
    ) -> io::Result<bool> {
        self.checkpoint.pass(step, path)?;
        if !self.directory.has(name(path), identity(metadata))? {
            return Ok(false);
        }
        // Before the file, while nobody else can be the owner of what is beside it.
        let exemplars = path.with_file_name(exemplar::name_of(name(path)));
        let _ = self.delete(Step::DeleteExemplars, &exemplars);
        self.directory.remove_file(name(path)).map(|()| true)
    }

    /// Deletes the files of exemplars among `listed` whose metrics files are gone.
    pub(crate) fn delete_orphans(&mut self, listed: &[PathBuf]) {
        for path in listed {
            let owner = exemplar::owner_of(name(path));
            if owner.is_some_and(|owner| matches!(self.directory.identity_of(owner), Ok(None))) {
                let _ = self.delete(Step::DeleteExemplars, path);
            }
        }
    }

    /// Deletes a file; one that is not there any more is deleted.
    pub(crate) fn delete(&mut self, step: Step, path: &Path) -> io::Result<()> {
        self.checkpoint.pass(step, path)?;
        match self.directory.remove_file(name(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens the archive with this identity, which is at `path`, to clear its journal.
    pub(crate) fn open_journal(&mut self, path: &Path, archive: Identity) -> io::Result<File> {
        self.checkpoint.pass(Step::OpenJournal, path)?;
        let file = self.directory.open_file(name(path), OFlags::RDWR)?;
        if identity(&file.metadata()?) != archive {
            return Err(io::Error::other("another file is there"));
        }
        Ok(file)
    }

    /// Clears the journal of the archive that was opened or written at `path` as `archive`.
    pub(crate) fn clear_journal(
        &mut self,
        path: &Path,
        archive: &File,
        used: u64,
    ) -> io::Result<()> {
        self.checkpoint.pass(Step::ClearJournal, path)?;
        clear_journal(archive, used)
    }
}

/// The name of a file in its directory.
fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// Gives a file that was just created the owner and permissions of another.
fn give(file: &File, like: &Metadata) -> io::Result<()> {
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (like.uid(), like.gid())
        && fchown(file, Some(like.uid()), Some(like.gid())).is_err()
        && like.mode() & READABLE_BY_ALL == 0
    {
        // Users who could read the files could not read the archive: totals in their scrapes would fall.
        let message = "the archive could not be given to the owner of the files";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    file.set_permissions(Permissions::from_mode(like.mode() & MODE_MASK))
}
