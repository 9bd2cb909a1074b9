//! The files of a directory, and why each is there.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::format::{self, Damage, FileName, HEADER_SIZE, MAGIC_ARCHIVE, has_archive_name};
use crate::kind::Kind;
use crate::order::sort_by_bytes;
use crate::store::{
    Archive, FileState, FromStart, Glimpse, LeftOut, Listing, Mark, Outcome, Reader,
    list_directory, open_file, read_at, refused, rooms_of_exemplars,
};
use crate::sys::allocated;

/// A file of a directory.
#[derive(Debug, Clone)]
pub struct FileSeen {
    /// Where it is.
    pub path: PathBuf,
    /// Its state.
    pub state: FileState,
    /// Whether a scrape counts what is in it, as far as it is sound.
    pub is_counted: bool,
    /// The bytes that its header says are used; 0 if the header cannot be believed.
    pub used: u64,
    /// Its size in bytes, holes included.
    pub size: u64,
    /// The bytes that it takes on the disk, its exemplars included.
    pub allocated: u64,
    /// When it was last written to, where the file system keeps that: Unix time in seconds.
    pub modified: i64,
    /// How many entries it has, but for those whose series were withdrawn.
    pub entries: u64,
    /// What a scrape leaves out of it, and why.
    pub problems: Vec<LeftOut>,
}

impl FileSeen {
    /// The kind of its entries; none if it is no metrics file.
    #[must_use]
    pub fn kind(&self) -> Option<Kind<'_>> {
        Some(FileName::of_path(&self.path)?.kind)
    }

    /// What it is named after: the pid of its process, or what a custom process identifier gave; none
    /// if it is an archive or no metrics file.
    #[must_use]
    pub fn identifier(&self) -> Option<&OsStr> {
        self.state.identifier(&self.path)
    }

    /// Whether compaction would fold it into an archive, or delete it.
    #[must_use]
    pub fn is_foldable(&self) -> bool {
        // A metric that has another type in other files is no damage of this one.
        let is_harmless = |problem: &LeftOut| {
            matches!(problem.damaged.damage, Damage::OtherType { .. } | Damage::NoProcess { .. })
        };
        let is_sound = self.problems.iter().all(is_harmless);
        let can_go = |kind: Kind<'_>| kind.is_foldable() && is_sound || kind.is_live();
        self.state == FileState::Dead && self.kind().is_some_and(can_go)
    }

    /// Whether it is of gauges that keep a series for each process, also of the dead: such a file is
    /// never folded.
    #[must_use]
    pub fn is_of_one_process(&self) -> bool {
        self.kind().is_some_and(|kind| !kind.is_foldable() && !kind.is_live())
    }

    fn new(path: PathBuf, state: FileState, metadata: Option<&Metadata>) -> Self {
        Self {
            path,
            state,
            is_counted: false,
            used: 0,
            size: metadata.map_or(0, Metadata::len),
            allocated: metadata.map_or(0, allocated),
            modified: metadata.map_or(0, MetadataExt::mtime),
            entries: 0,
            problems: Vec::new(),
        }
    }
}

/// The files of the directory `path`, by name.
///
/// # Errors
///
/// If the directory cannot be listed, or no file can be opened just now.
pub(crate) fn look(path: &Path) -> Result<Vec<FileSeen>> {
    let Listing { files, left_out, exemplars } = list_directory(path)?;
    let marks = marks(&files);
    let mut reader = Reader::default();
    let mut seen = Vec::with_capacity(files.len() + left_out.len());
    for path in &files {
        seen.extend(look_at(path, &marks, &mut reader)?);
    }
    for foreign in left_out {
        let metadata = foreign.path.symlink_metadata().ok();
        let mut file = FileSeen::new(foreign.path.clone(), FileState::Foreign, metadata.as_ref());
        file.problems.push(foreign);
        seen.push(file);
    }
    sort_by_bytes(&mut seen, |file| file.path.as_os_str().as_encoded_bytes());
    add_exemplars(&mut seen, &exemplars);
    Ok(seen)
}

/// Adds the room that files of exemplars take to that of the files beside which they are, which are in
/// the order of their paths.
fn add_exemplars(seen: &mut [FileSeen], exemplars: &[PathBuf]) {
    for (owner, room) in rooms_of_exemplars(exemplars) {
        let place = seen.binary_search_by(|file| file.path.as_os_str().cmp(owner.as_os_str()));
        if let Ok(place) = place {
            seen[place].allocated += room;
        }
    }
}

/// What the journals of archives among `files` name.
fn marks(files: &[PathBuf]) -> Vec<Mark> {
    let archives = files.iter().filter(|path| has_archive_name(path));
    let journals = archives.filter_map(|path| Archive::open(path).ok()??.journal.ok());
    journals.flatten().collect()
}

/// One file; none if it has just gone.
fn look_at(path: &Path, marks: &[Mark], reader: &mut Reader) -> Result<Option<FileSeen>> {
    let (file, metadata) = match open_file(path) {
        Ok(opened) => opened,
        Err(error) => {
            let problem = LeftOut::after_reading(path, refused(path, error)?);
            return Ok(problem.map(|problem| {
                let metadata = path.symlink_metadata().ok();
                let mut file =
                    FileSeen::new(path.to_owned(), FileState::Unknown, metadata.as_ref());
                file.problems.push(problem);
                file
            }));
        }
    };
    let mut seen = opened(path.to_owned(), &file, &metadata, marks);
    let is_archive = seen.state == FileState::Archive;
    let outcome = reader
        .read_entries(FromStart::of(&file), |_, entry| {
            seen.entries += u64::from(is_archive || !entry.is_withdrawn());
        })
        .or_else(|error| refused(path, error))?;
    if outcome == Outcome::Vanished {
        return Ok(None);
    }
    seen.problems.extend(LeftOut::after_reading(path, outcome));
    Ok(Some(seen))
}

/// An open file, without a look at its entries.
fn opened(path: PathBuf, file: &File, metadata: &Metadata, marks: &[Mark]) -> FileSeen {
    let mut header = [0; HEADER_SIZE];
    let filled = read_at(file, &mut header, 0).unwrap_or_default();
    let header = &header[..filled];
    let name = FileName::of_path(&path);
    let is_named = |mark: &&Mark| Some(&*mark.name) == path.file_name();
    let state = if marks.iter().filter(is_named).any(|mark| mark.is(metadata)) {
        FileState::Spent
    } else if format::parse_magic(header) == Some(MAGIC_ARCHIVE)
        && name.is_some_and(|name| name.is_archive())
    {
        FileState::Archive
    } else {
        FileState::of_process(file, header)
    };
    let is_live = name.is_some_and(|name| name.kind.is_live());
    let Glimpse { used, allocated, .. } = Glimpse::new(state, header, metadata);
    FileSeen {
        is_counted: state != FileState::Spent && !(state == FileState::Dead && is_live),
        used,
        allocated,
        ..FileSeen::new(path, state, Some(metadata))
    }
}
