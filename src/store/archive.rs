//! Archives: what dead processes counted, a file for each kind.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;

use crate::error::Result;
use crate::format::{self, Damage, FileName, HEADER_SIZE, MAGIC_ARCHIVE, archive_name};
use crate::store::glimpse::{FileState, Glimpse};
use crate::store::journal::{self, Mark};
use crate::store::reader::{self, FromStart};
use crate::sys::{Identity, allocated, identity};

/// An open archive.
///
/// The entries of an archive never change: compaction writes a new file and renames it over the old
/// one. While the old one is open no new file can have its inode, so that a look at the path tells
/// whether the archive was replaced.
#[derive(Debug)]
pub(crate) struct Archive {
    file: File,
    metadata: Metadata,
    used: u64,
    /// The files that the archive has absorbed and that may still be there.
    pub(crate) journal: Result<Vec<Mark>, Damage>,
}

impl Archive {
    /// Opens the archive at `path`; none if the file there is no archive.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        Self::of(path, reader::open(path)?)
    }

    /// The archive that was opened at `path`; none if the file is no archive.
    pub(crate) fn of(path: &Path, (file, metadata): (File, Metadata)) -> io::Result<Option<Self>> {
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut header = [0; HEADER_SIZE];
        let filled = reader::read_at(&file, &mut header, 0)?;
        if filled < HEADER_SIZE || format::parse_magic(&header) != Some(MAGIC_ARCHIVE) {
            return Ok(None);
        }
        let used = format::parse_used(&header).and_then(|used| u64::try_from(used).ok());
        let used = used.filter(|used| *used >= HEADER_SIZE as u64);
        let (used, journal) = match used {
            Some(used) => {
                (used, journal::read(&file, used)?.and_then(|marks| of_kind(path, marks)))
            }
            None => (0, Err(Damage::TornJournal)),
        };
        Ok(Some(Self { file, metadata, used, journal }))
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> FromStart<'_> {
        FromStart::of(&self.file)
    }

    /// What a reader sees of it besides its entries.
    pub(crate) fn glimpse(&self) -> Glimpse {
        let used = self.used.min(self.metadata.len());
        Glimpse { state: FileState::Archive, used, allocated: allocated(&self.metadata) }
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// What tells the archive from other files.
    pub(crate) fn identity(&self) -> Identity {
        identity(&self.metadata)
    }

    /// The file's owner and permissions.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Where its journal begins.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }
}

/// The marks of a journal, if they name files that can have gone into the archive at `path`: in a
/// directory that several users may write to, any of them could write a journal, and the compaction
/// of another user deletes what the journal names.
fn of_kind(path: &Path, marks: Vec<Mark>) -> Result<Vec<Mark>, Damage> {
    let kind = FileName::of_path(path).map(|name| name.kind);
    let is_sound = |mark: &Mark| {
        let name = FileName::parse(&mark.name).filter(|name| !name.is_archive());
        name.is_some_and(|name| Some(name.kind) == kind)
    };
    if marks.iter().all(is_sound) { Ok(marks) } else { Err(Damage::TornJournal) }
}

/// Whether the file that is called `name` in `directory` is spent: its content is in an archive, and
/// a process that wants to count under this name must delete the file and make a new one, which must
/// have another inode. So is a new file without content, if it has the inode of a spent one.
///
/// Ask this after locking the file, and before changing the file. While the lock is held, do not
/// ask again: compaction keeps a file locked from before it reads the file until it has deleted it.
/// The question costs one failing `open` where there is no archive.
pub(crate) fn is_spent(directory: &Path, name: &OsStr, metadata: &Metadata) -> io::Result<bool> {
    let Some(FileName { kind, .. }) = FileName::parse(name) else { return Ok(false) };
    let archive = match Archive::open(&directory.join(archive_name(kind))) {
        Ok(archive) => archive,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let marks = archive.and_then(|archive| archive.journal.ok()).unwrap_or_default();
    // A new file may get the inode of the deleted one. Where file times are whole seconds it may get
    // its time, too, at once or when it is written to.
    let is_new = metadata.len() == 0;
    let is = |mark: &Mark| mark.is(metadata) || is_new && mark.has_inode_of(metadata);
    Ok(marks.iter().any(|mark| mark.name == name && is(mark)))
}

/// Opens what may be an archive for reading: the archive, if it is one, and what is at `path`.
pub(crate) fn look(path: &Path) -> Result<(Option<Archive>, Option<Identity>)> {
    match Archive::open(path) {
        Ok(Some(archive)) => {
            let identity = archive.identity();
            Ok((Some(archive), Some(identity)))
        }
        Ok(None) => Ok((None, identity_at(path)?)),
        // Whether that ends the reading is decided as for any file.
        Err(error) => reader::refused(path, error).and(Ok((None, identity_at(path)?))),
    }
}

/// What is at `path`, if anything.
pub(crate) fn identity_at(path: &Path) -> Result<Option<Identity>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(identity(&metadata))),
        Err(error) => reader::refused(path, error).map(|_| None),
    }
}
