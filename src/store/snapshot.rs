//! A set of files that is read so that each count is seen once, whatever compaction does beside it.
//!
//! No lock is taken. The archives are opened first, then the other files are read, without those
//! that an archive's journal names; then a look tells whether an archive has changed meanwhile. If
//! so, a file that was to be read may have been folded into it, and all is read once more. See
//! `docs/compaction.md` for why that is enough.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::format::{Damage, Damaged, Entry, FileName, archive_name, has_archive_name};
use crate::kind::FOLDABLE;
use crate::order::sort_by_bytes;
use crate::store::archive::{self, Archive};
use crate::store::directory::{self, Listing};
use crate::store::journal::Mark;
use crate::store::memory_file::UnwrittenFiles;
use crate::store::reader::{self, Outcome, Reader};
use crate::store::report::LeftOut;
use crate::sys::{Identity, lock};

/// So many readings are tried before one asks for the compaction lock.
const ROUNDS: u32 = 3;
/// How long a reading waits for the compaction lock before it tries once more without the lock.
const LOCK_WAIT: Duration = Duration::from_millis(200);
/// After so long a reading gives up: a scrape that fails for once is better than a wrong one.
const GIVE_UP: Duration = Duration::from_secs(8);
/// How the names of archives end: told without parsing every name.
const ARCHIVE_END: &[u8] = b"_compacted.db";

/// Where the files of a snapshot come from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// All of a directory.
    Directory(PathBuf),
    /// All of a directory, and what this process could not write there, which the function gives.
    DirectoryAndMemory(PathBuf, fn(&Path) -> UnwrittenFiles),
    /// Those that the caller names. An archive that is not among them is none of its business.
    List(Vec<PathBuf>),
}

/// The files of one reading.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// The files, in order.
    pub(crate) files: Vec<PathBuf>,
    /// What is in the directory but no metrics file, and journals that are torn.
    pub(crate) left_out: Vec<LeftOut>,
    /// The files of exemplars in the directory.
    pub(crate) exemplars: Vec<PathBuf>,
    /// The files with the names of archives.
    archives: Vec<Candidate>,
    /// The marks of files that may be spent, by their places.
    spent: HashMap<u32, Vec<Mark>>,
    /// The directory, if the files are all of one.
    directory: Option<PathBuf>,
    /// What this process could not write.
    unwritten: UnwrittenFiles,
    /// The files that are in memory only, by their places: indices into `unwritten`.
    in_memory: HashMap<u32, usize>,
}

/// A file with the name of an archive.
#[derive(Debug)]
struct Candidate {
    place: u32,
    archive: Option<Archive>,
    identity: Option<Identity>,
}

impl Snapshot {
    /// The files as they are now.
    pub(crate) fn take(origin: &Origin) -> Result<Self> {
        let mut snapshot = match origin {
            Origin::Directory(path) => Self::of_directory(path)?,
            Origin::DirectoryAndMemory(path, unwritten) => {
                // Before the directory is listed: a file that is made now is in the list.
                let unwritten = unwritten(path);
                let mut snapshot = Self::of_directory(path)?;
                snapshot.add(path, unwritten);
                snapshot
            }
            Origin::List(files) => Self { files: files.clone(), ..Self::default() },
        };
        snapshot.open_archives()?;
        Ok(snapshot)
    }

    fn of_directory(path: &Path) -> Result<Self> {
        let Listing { files, left_out, exemplars } = directory::list(path)?;
        let directory = Some(path.to_owned());
        Ok(Self { files, left_out, exemplars, directory, ..Self::default() })
    }

    /// Puts what this process could not write among the files, by name.
    fn add(&mut self, directory: &Path, unwritten: UnwrittenFiles) {
        if unwritten.files.is_empty() {
            return;
        }
        let of_disk = self.files.drain(..).map(|path| (path, None));
        let mut files: Vec<_> = of_disk.collect();
        for (index, file) in unwritten.files.iter().enumerate() {
            files.push((directory.join(&file.name), Some(index)));
        }
        // What this process could not write into a file stays behind the file.
        sort_by_bytes(&mut files, |(path, _)| path.as_os_str().as_encoded_bytes());
        for (place, (path, in_memory)) in (0..).zip(files) {
            self.files.push(path);
            self.in_memory.extend(in_memory.map(|index| (place, index)));
        }
        self.unwritten = unwritten;
    }

    /// The files that are on the disk, with their places.
    fn on_disk(&self) -> impl Iterator<Item = (u32, &PathBuf)> {
        (0..).zip(&self.files).filter(|(place, _)| !self.in_memory.contains_key(place))
    }

    fn open_archives(&mut self) -> Result<()> {
        let mut archives = Vec::new();
        for (place, path) in self.on_disk() {
            if path.as_os_str().as_bytes().ends_with(ARCHIVE_END) && has_archive_name(path) {
                let (archive, identity) = archive::look(path)?;
                archives.push(Candidate { place, archive, identity });
            }
        }
        self.archives = archives;
        let mut marks: HashMap<_, Vec<Mark>> = HashMap::new();
        for Candidate { place, archive, .. } in &self.archives {
            let Some(archive) = archive else { continue };
            match &archive.journal {
                Ok(journal) => journal.iter().for_each(|mark| {
                    marks.entry(mark.name.clone()).or_default().push(mark.clone());
                }),
                Err(damage) => self.left_out.push(LeftOut {
                    path: self.files[*place as usize].clone(),
                    damaged: Damaged::at(archive.used(), damage.clone()),
                    entries: 0,
                }),
            }
        }
        if !marks.is_empty() {
            for (place, path) in (0..).zip(&self.files) {
                if let Some(marks) = path.file_name().and_then(|name| marks.get(name)) {
                    self.spent.insert(place, marks.clone());
                }
            }
        }
        Ok(())
    }

    /// Whether the file at this place is an archive.
    pub(crate) fn is_archive(&self, place: u32) -> bool {
        self.archive(place).is_some()
    }

    fn archive(&self, place: u32) -> Option<&Archive> {
        self.archives
            .iter()
            .find(|candidate| candidate.place == place)
            .and_then(|candidate| candidate.archive.as_ref())
    }

    /// Calls `visit` with the offset and content of each entry of the file at this place, in order.
    ///
    /// An archive is the one that was opened, whatever is at its path by now.
    pub(crate) fn read(
        &self,
        place: u32,
        reader: &mut Reader,
        visit: impl FnMut(u64, Entry<'_>),
    ) -> Result<Outcome> {
        let path = &self.files[place as usize];
        let io_error = |source| Error::Io { path: path.clone(), source };
        if let Some(index) = self.in_memory.get(&place) {
            let bytes = &*self.unwritten.files[*index].bytes;
            return reader.read_entries(bytes, visit).map_err(io_error);
        }
        if let Some(archive) = self.archive(place) {
            reader.seen = Some(archive.glimpse());
            return reader.read_entries(archive.bytes(), visit).map_err(io_error);
        }
        reader.read(path, is_live(path), |metadata| self.is_spent(place, metadata), visit)
    }

    /// Whether an archive has absorbed the file at this place, of which this is the metadata.
    fn is_spent(&self, place: u32, metadata: &Metadata) -> bool {
        let marks = self.spent.get(&place);
        marks.is_some_and(|marks| marks.iter().any(|mark| mark.is(metadata)))
    }

    /// Fails if there are files and none can be read: a scrape without any metric would look like that
    /// of a sound service.
    pub(crate) fn check_readable(&self, left_out: &[LeftOut], vanished: &[u32]) -> Result<()> {
        let code_of = |path: &PathBuf| {
            left_out.iter().find_map(|left_out| match left_out.damaged.damage {
                Damage::Unreadable { code } if left_out.path == *path => Some(code),
                _ => None,
            })
        };
        let is_unreadable =
            |left_out: &&LeftOut| matches!(left_out.damaged.damage, Damage::Unreadable { .. });
        let files = left_out.iter().filter(is_unreadable).count();
        // A file with a foreign name was never a metrics file.
        let is_named = |(_, path): &(u32, &PathBuf)| FileName::of_path(path).is_some();
        if files == 0 || files + vanished.len() < self.on_disk().filter(is_named).count() {
            return Ok(());
        }
        let first = self.files.iter().find_map(|path| Some((path.clone(), code_of(path)?)));
        let Some((path, code)) = first else { return Ok(()) };
        Err(Error::NoneReadable { path, code, files })
    }

    /// The files that count, for code that reads them by itself: no archive among them has absorbed
    /// them, and the process of a file lives whose entries count only while it lives.
    #[cfg_attr(not(feature = "python"), allow(dead_code))] // The binding calls it.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Path> {
        let is_gone = |place: u32, path: &Path| {
            let spent = self.spent.contains_key(&place)
                && fs::metadata(path).is_ok_and(|metadata| self.is_spent(place, &metadata));
            let is_file = |metadata: &Metadata| metadata.is_file();
            spent
                || is_live(path)
                    && reader::open(path).is_ok_and(|(file, metadata)| {
                        is_file(&metadata) && reader::is_abandoned(&file)
                    })
        };
        let files = (0..).zip(&self.files);
        files.filter(move |(place, path)| !is_gone(*place, path)).map(|(_, path)| &**path)
    }

    /// Whether each count was seen once: nothing was written or folded while the files were read.
    pub(crate) fn is_current(&self) -> Result<bool> {
        Ok(self.unwritten.is_current() && self.has_current_archives()?)
    }

    /// Whether the archives are still those that were opened, and all that there are.
    fn has_current_archives(&self) -> Result<bool> {
        for Candidate { place, identity, .. } in &self.archives {
            if archive::identity_at(&self.files[*place as usize])? != *identity {
                return Ok(false);
            }
        }
        let Some(directory) = &self.directory else { return Ok(true) };
        if self.archives.is_empty() && fs::symlink_metadata(lock::path(directory)).is_err() {
            // No lock file: no compaction has ever run here. This one look is all that a directory
            // without archives costs.
            return Ok(true);
        }
        for kind in FOLDABLE {
            let name = archive_name(kind);
            let is_listed = |candidate: &Candidate| {
                self.files[candidate.place as usize].file_name().is_some_and(|file| *file == *name)
            };
            // What is no regular file is never listed.
            let is_file =
                |path: PathBuf| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
            if !self.archives.iter().any(is_listed) && is_file(directory.join(name)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether the entries of the file at `path` count only while their process lives.
fn is_live(path: &Path) -> bool {
    FileName::of_path(path).is_some_and(|name| name.kind.is_live())
}

/// Reads the files of `origin` with `read`, until no compaction came in between.
pub(crate) fn read<T>(
    origin: &Origin,
    read: impl FnMut(&Snapshot) -> Result<T>,
) -> Result<(Snapshot, T)> {
    read_for(GIVE_UP, origin, read)
}

/// The same, but gives up after `timeout`, though not before one reading has asked for the lock.
///
/// `read` may run code of the program, which may fork: the child does not keep the lock.
pub(crate) fn read_for<T, E: From<Error>>(
    timeout: Duration,
    origin: &Origin,
    mut read: impl FnMut(&Snapshot) -> Result<T, E>,
) -> Result<(Snapshot, T), E> {
    let deadline = Instant::now() + timeout;
    for round in 0.. {
        let lock = match origin {
            Origin::Directory(path) | Origin::DirectoryAndMemory(path, _) if round >= ROUNDS => {
                // An error means that this user may not lock: the next reading may still be undisturbed.
                lock::existing_directory(path, LOCK_WAIT).ok().flatten()
            }
            _ => None,
        };
        let snapshot = Snapshot::take(origin)?;
        let process = lock.is_some().then(process::id);
        let result = read(&snapshot);
        if process.is_some_and(|process| process != process::id()) {
            // This is a child that `read` has forked, where `sys/fork.rs` has closed the descriptor
            // of the lock: dropping the lock could close another file that has the number by now.
            std::mem::forget(lock);
            return Ok((snapshot, result?));
        }
        let result = result?;
        // Under the lock no compaction runs. If something else replaces archives, once more would
        // not help.
        let is_alone = lock.is_some() && snapshot.unwritten.is_current();
        if is_alone || snapshot.is_current()? {
            return Ok((snapshot, result));
        }
        if round >= ROUNDS && Instant::now() >= deadline {
            break;
        }
    }
    let path = match origin {
        Origin::Directory(path) | Origin::DirectoryAndMemory(path, _) => path.clone(),
        Origin::List(files) => files.first().cloned().unwrap_or_default(),
    };
    let source = io::Error::new(io::ErrorKind::TimedOut, "compaction never paused for a reading");
    Err(E::from(Error::Io { path, source }))
}

impl From<Vec<PathBuf>> for Origin {
    fn from(files: Vec<PathBuf>) -> Self {
        Self::List(files)
    }
}

impl From<&Path> for Origin {
    fn from(path: &Path) -> Self {
        Self::Directory(path.to_owned())
    }
}
