//! Every system call with which compaction changes a directory, or depends on its state.
//!
//! All go through here, each with the name of its step, so that a test can stop the world before
//! any of them, and cannot forget one.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::archive::Archive;
use crate::journal;
use crate::lock::{self, Locked};
use crate::reader;

/// The permissions that an archive may have: it is no program.
const MODE_MASK: u32 = 0o666;
/// The permission of everybody to read.
const READABLE_BY_ALL: u32 = 0o004;

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
    /// Lock the directory.
    LockDirectory,
    /// Remove what was being written when another compaction was killed.
    RemoveStray,
    /// Open the archive and read its journal.
    OpenArchive,
    /// Lock a file that the journal names.
    LockSpent,
    /// Delete a file that the journal names.
    DeleteSpent,
    /// Open a file that may be a dead process's.
    OpenDead,
    /// Lock it.
    LockDead,
    /// Read it, or the archive.
    Read,
    /// Delete a dead process's file whose content counts no more.
    DeleteDead,
    /// Create the new archive under its temporary name.
    CreateTemporary,
    /// Write the entries of the new archive.
    WriteEntries,
    /// Write its journal.
    WriteJournal,
    /// Rename it over the old archive.
    Commit,
    /// Remove it instead, because something failed.
    RemoveTemporary,
    /// Delete a file that the new archive absorbed.
    DeleteAbsorbed,
    /// Delete what an earlier run of a server left.
    DeleteLeftover,
    /// Open the archive to clear its journal.
    OpenJournal,
    /// Clear the journal.
    ClearJournal,
}

/// What each step has to pass.
pub(crate) trait Gate {
    /// Called right before a step; an error makes the step fail.
    fn pass(&mut self, step: Step, path: &Path) -> io::Result<()>;

    /// Lets time pass.
    fn wait(&mut self, time: Duration);
}

/// A gate that is always open.
#[derive(Debug)]
pub(crate) struct Open;

impl Gate for Open {
    fn pass(&mut self, _step: Step, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

/// The file system, behind a gate.
#[derive(Debug)]
pub(crate) struct Disk<G> {
    /// The gate.
    pub(crate) gate: G,
}

impl<G: Gate> Disk<G> {
    /// Locks the directory; none if another holds it for all of `wait`.
    pub(crate) fn lock_directory(
        &mut self,
        path: &Path,
        wait: Duration,
    ) -> io::Result<Option<Locked>> {
        self.gate.pass(Step::LockDirectory, path)?;
        lock::directory(path, wait)
    }

    /// Opens what is at the path of an archive.
    pub(crate) fn open_archive(&mut self, path: &Path) -> io::Result<Option<Archive>> {
        self.gate.pass(Step::OpenArchive, path)?;
        Archive::open(path)
    }

    /// Opens a file that may be a dead process's.
    pub(crate) fn open_dead(&mut self, path: &Path) -> io::Result<(File, Metadata)> {
        self.gate.pass(Step::OpenDead, path)?;
        reader::open(path)
    }

    /// Locks a file that was opened at `path`.
    pub(crate) fn lock(
        &mut self,
        step: Step,
        file: File,
        path: &Path,
    ) -> io::Result<Option<Locked>> {
        self.gate.pass(step, path)?;
        Locked::take(file, path)
    }

    /// Reads the `used` bytes of a file into `bytes`.
    pub(crate) fn read(
        &mut self,
        path: &Path,
        file: &File,
        used: usize,
        bytes: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.gate.pass(Step::Read, path)?;
        bytes.resize(used, 0);
        let filled = journal::read_at(file, bytes, 0)?;
        bytes.truncate(filled);
        Ok(())
    }

    /// Creates a file that only one can create, with the owner and permissions of another.
    pub(crate) fn create(&mut self, path: &Path, like: &Metadata) -> io::Result<File> {
        self.gate.pass(Step::CreateTemporary, path)?;
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (like.uid(), like.gid())
            && fchown(&file, Some(like.uid()), Some(like.gid())).is_err()
            && like.mode() & READABLE_BY_ALL == 0
        {
            // Whoever could read the files could not read the archive: their scrapes would fall.
            let message = "the archive could not be given to the owner of the files";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        file.set_permissions(Permissions::from_mode(like.mode() & MODE_MASK))?;
        Ok(file)
    }

    /// Writes the next bytes of a new file.
    ///
    /// Nothing is synced to the disk: metrics do not outlive the machine's run.
    pub(crate) fn write(
        &mut self,
        step: Step,
        path: &Path,
        mut file: &File,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.gate.pass(step, path)?;
        file.write_all(bytes)
    }

    /// Renames a new archive over the old one.
    pub(crate) fn commit(&mut self, temporary: &Path, archive: &Path) -> io::Result<()> {
        self.gate.pass(Step::Commit, archive)?;
        fs::rename(temporary, archive)
    }

    /// Deletes a file; one that is not there any more is deleted.
    pub(crate) fn delete(&mut self, step: Step, path: &Path) -> io::Result<()> {
        self.gate.pass(step, path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Clears the journal of the archive at `path`.
    pub(crate) fn clear_journal(&mut self, path: &Path, used: u64) -> io::Result<()> {
        self.gate.pass(Step::OpenJournal, path)?;
        let file = File::options().write(true).open(path)?;
        self.gate.pass(Step::ClearJournal, path)?;
        journal::clear(&file, used)
    }
}
