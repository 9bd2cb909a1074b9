//! The files that this process writes, each once, however many classes count in it.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::count::exemplars::Exemplars;
use crate::count::notice::Notice;
use crate::count::open::{self, Opened, Opening, Taken};
use crate::count::writer::Writer;
use crate::error::{Error, Result};
use crate::format::{ARCHIVE_PID, FileName, archive_name, key_of_head, metrics_file_name};
use crate::store::{MemoryFile, Withdrawals, presence};
use crate::sys::Identity;

/// The number of suffixes that a process tries before it gives up.
const SUFFIXES: u32 = 1000;

/// Of series that are made one right after the other not each looks whether the file is in place,
/// which takes a fifth of the time of making one.
const LOOK_PAUSE: Duration = Duration::from_micros(50);

/// The files of this process, by path.
#[derive(Debug, Default)]
pub(crate) struct Files {
    by_path: HashMap<PathBuf, Shared>,
    /// The directories in which a file was opened since the last call of
    /// [`take_notices`](crate::count::take_notices).
    pub(crate) opened_in: BTreeSet<PathBuf>,
    /// What is to be logged.
    pub(crate) notices: Vec<Notice>,
    /// The files of which much was withdrawn, found since the last call of `take_notices`.
    pub(crate) crowded: BTreeSet<PathBuf>,
}

/// A file that is open or, if all classes that use it have closed it, only locked.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) writer: Writer,
    /// How many classes keep its lock.
    pub(crate) users: usize,
    /// How many of them have it open.
    pub(crate) open: usize,
    /// When the file was last found in place for a series that was made.
    looked_at: Option<Instant>,
    /// The file before it was last written anew. Its lock is kept: a reader that has opened the old
    /// file just now shall see that its process lives.
    before: Option<Writer>,
    /// Where withdrawals from the file get numbers, once one has got one.
    withdrawals: Option<Withdrawals>,
    /// The exemplars of what is counted in it.
    pub(crate) exemplars: Exemplars,
}

impl Shared {
    /// Whether the file is in place, which it is without a look if it was a moment ago.
    pub(crate) fn was_in_place_lately(&mut self) -> bool {
        let now = Instant::now();
        let is_new = self.looked_at.is_some_and(|at| now.duration_since(at) < LOOK_PAUSE);
        is_new || {
            let is_in_place = self.writer.is_in_place();
            self.looked_at = is_in_place.then_some(now);
            is_in_place
        }
    }
}

/// What the files of one process identifier are called.
#[derive(Debug, Clone, Default)]
pub(crate) struct Naming {
    /// Where they are.
    pub(crate) directory: Option<PathBuf>,
    /// Whether the directory was there once, so that it is made anew if it is missing.
    pub(crate) directory_was_there: bool,
    /// The process identifier.
    pub(crate) identifier: OsString,
    /// What is put behind the identifier, because another process has the same; 0 for nothing.
    pub(crate) suffix: u32,
}

impl Naming {
    /// Has files opened in `directory` from now on.
    pub(crate) fn move_to(&mut self, directory: &Path) {
        if self.directory.as_deref() != Some(directory) {
            self.directory = Some(directory.to_owned());
            self.directory_was_there = false;
        }
    }
}

impl Files {
    /// Opens the file of `prefix` for one more class, and gives its path.
    pub(crate) fn open(
        &mut self,
        naming: &mut Naming,
        prefix: &str,
        continues: bool,
    ) -> Result<PathBuf> {
        let directory = naming.directory.clone().ok_or(Error::NoDirectory)?;
        let mut avoided = None;
        // The archives of compaction have the identifier that no process may have.
        let is_reserved = naming.identifier == ARCHIVE_PID;
        let mut suffix = naming.suffix.max(u32::from(is_reserved));
        while suffix < SUFFIXES {
            let path = directory.join(metrics_file_name(prefix, &naming.identifier, suffix));
            let users = match self.by_path.get_mut(&path) {
                Some(shared) if shared.open > 0 || shared.writer.is_in_place() => {
                    shared.users += 1;
                    shared.open += 1;
                    return Ok(path);
                }
                // Every class had closed this file before somebody removed it, so nobody wants what
                // it held. The classes that kept its lock keep that of the new file.
                Some(removed) => removed.users,
                None => 0,
            };
            // A process that has taken a suffix has waited for the name without one already.
            let opening = Opening { continues, waits: suffix == 0 };
            let taken = match open_in(&directory, naming.directory_was_there, &path, opening)? {
                Opened::Ours(writer) => {
                    self.by_path.insert(
                        path.clone(),
                        Shared {
                            writer: *writer,
                            users: users + 1,
                            open: 1,
                            looked_at: None,
                            before: None,
                            withdrawals: None,
                            exemplars: Exemplars::default(),
                        },
                    );
                    naming.directory_was_there = true;
                    self.opened(directory, &naming.identifier);
                    if let Some((taken, avoided)) = avoided {
                        if taken == Taken::Held {
                            naming.suffix = suffix;
                        }
                        self.notices.push(notice(taken, avoided, path.clone()));
                    }
                    return Ok(path);
                }
                Opened::Taken(taken) => taken,
            };
            // The directory may have two paths, so that this process itself holds the lock, having
            // opened the file by the other.
            let same = |shared: &&mut Shared| taken == Taken::Held && shared.writer.writes(&path);
            if let Some(shared) = self.by_path.values_mut().find(same) {
                shared.users += 1;
                shared.open += 1;
                return Ok(shared.writer.path().to_owned());
            }
            avoided.get_or_insert((taken, path));
            suffix += 1;
        }
        Err(Error::NoName {
            path: directory.join(metrics_file_name(prefix, &naming.identifier, 0)),
        })
    }

    /// What is done whenever this process has opened a file in a directory.
    fn opened(&mut self, directory: PathBuf, identifier: &OsStr) {
        presence::hold_if_announced(&directory, identifier);
        self.opened_in.insert(directory);
    }

    /// The writer of the file at `path`, which must be open.
    pub(crate) fn writer(&mut self, path: &Path) -> Option<&mut Writer> {
        self.by_path.get_mut(path).map(|shared| &mut shared.writer)
    }

    /// The file at `path`, which must be open.
    pub(crate) fn shared(&mut self, path: &Path) -> Option<&mut Shared> {
        self.by_path.get_mut(path)
    }

    /// Opens a file again for a class that has closed it, and kept its lock.
    pub(crate) fn reopen(&mut self, path: &Path) {
        if let Some(shared) = self.by_path.get_mut(path) {
            shared.open += 1;
        }
    }

    /// Closes a file for one class, which keeps its lock.
    pub(crate) fn close(&mut self, path: &Path) {
        if let Some(shared) = self.by_path.get_mut(path) {
            shared.open -= 1;
        }
    }

    /// Gives up the lock of a file for one class that has closed it.
    pub(crate) fn release(&mut self, path: &Path) {
        if let Some(shared) = self.by_path.get_mut(path) {
            shared.users -= 1;
            if shared.users == 0 {
                self.by_path.remove(path);
            }
        }
    }

    /// Lets all classes that used the `removed` file use the file at `path`, which one of them has
    /// opened in its place.
    pub(crate) fn take_users(&mut self, path: &Path, removed: &Shared) {
        if let Some(shared) = self.by_path.get_mut(path) {
            // That class is among the users of both files.
            shared.users += removed.users - 1;
            shared.open += removed.open - 1;
        }
    }

    /// Takes a file out of the table that was removed from the disk.
    pub(crate) fn take(&mut self, path: &Path) -> Option<Shared> {
        self.by_path.remove(path)
    }

    /// Puts a file back into the table that could not be written anew.
    pub(crate) fn put_back(&mut self, path: PathBuf, shared: Shared) {
        self.by_path.insert(path, shared);
    }

    /// The identities of all files.
    pub(crate) fn identities(&self) -> Vec<Identity> {
        self.by_path.values().map(|shared| shared.writer.identity()).collect()
    }

    /// The paths of the files that were removed or replaced while they were open.
    pub(crate) fn removed(&self) -> Vec<PathBuf> {
        let is_removed = |shared: &Shared| shared.open > 0 && !shared.writer.is_in_place();
        let removed = self.by_path.iter().filter(|(_, shared)| is_removed(shared));
        removed.map(|(path, _)| path.clone()).collect()
    }

    /// Whether the file at `path` was removed or replaced since this process has opened it.
    pub(crate) fn is_removed(&self, path: &Path) -> bool {
        self.by_path.get(path).is_none_or(|shared| !shared.writer.is_in_place())
    }

    /// The entries of the removed file at `path`, which are in memory still.
    pub(crate) fn in_memory(&self, path: &Path) -> Option<MemoryFile> {
        let shared = self.by_path.get(path)?;
        Some(MemoryFile::of_entries(path.file_name()?.to_owned(), &shared.writer.entries()))
    }

    /// Withdraws the entry with this head from the file at `path`, if it is there.
    pub(crate) fn withdraw(&mut self, path: &Path, head: &[u8]) {
        let Some(shared) = self.by_path.get_mut(path) else { return };
        shared.exemplars.remove(key_of_head(head));
        if shared.withdrawals.is_none() {
            shared.withdrawals = withdrawals_beside(path);
        }
        // Without a number, such as on a full disk, no archive forgets the series.
        let number = || shared.withdrawals.as_ref().map_or(0, Withdrawals::next);
        shared.writer.withdraw(head, number);
        if shared.writer.is_crowded() {
            self.crowded.insert(path.to_owned());
        }
    }

    /// Up to which number it has been heeded what was withdrawn from the file at `path`: all, where
    /// there is no archive that could have anything of it.
    pub(crate) fn heeded(&self, path: &Path) -> u64 {
        let kind = FileName::of_path(path).map(|name| name.kind);
        if !kind.is_some_and(|kind| path.with_file_name(archive_name(kind)).exists()) {
            return u64::MAX;
        }
        let shared = self.by_path.get(path);
        let withdrawals = shared.and_then(|shared| shared.withdrawals.as_ref());
        withdrawals.map_or(0, Withdrawals::heeded)
    }

    /// Puts the writer of a file that was written anew in the place of the one before.
    pub(crate) fn exchange(&mut self, path: &Path, made: Writer) {
        if let Some(shared) = self.by_path.get_mut(path) {
            shared.before = Some(std::mem::replace(&mut shared.writer, made));
        }
    }

    /// Closes all descriptors, in the child of a fork; allocates nothing, as handlers of forks must.
    pub(crate) fn disown(&mut self) {
        for shared in self.by_path.values_mut() {
            shared.writer.disown();
            shared.before.iter_mut().for_each(Writer::disown);
        }
    }

    /// Forgets all files, in the child of a fork.
    pub(crate) fn forget(&mut self) {
        self.by_path.clear();
        self.opened_in.clear();
        self.crowded.clear();
        // The parent logs them.
        self.notices.clear();
    }

    /// Deletes the file at `path` of this process, which goes on counting in the deleted file.
    pub(crate) fn unlink(&mut self, path: &Path) {
        if let Some(writer) = self.writer(path) {
            // `mark_process_dead` deletes it too, and raises if it cannot.
            remove(writer);
        }
    }
}

/// Removes a file if its path still names it, and if that is possible.
pub(crate) fn remove(writer: &Writer) {
    if writer.is_in_place() {
        let _ = fs::remove_file(writer.path());
    }
}

/// Where withdrawals from the file at `path` get numbers.
fn withdrawals_beside(path: &Path) -> Option<Withdrawals> {
    Withdrawals::open(path.parent()?, FileName::of_path(path)?.kind).ok()
}

/// What is to be logged if `own` is written because the file at `path` is not this process's.
fn notice(taken: Taken, path: PathBuf, own: PathBuf) -> Notice {
    match taken {
        Taken::Held => Notice::Collision { path, own },
        Taken::Unusable => Notice::Unusable { path, own },
        Taken::Refused => Notice::Refused { path, own },
    }
}

fn open_in(directory: &Path, was_there: bool, path: &Path, opening: Opening) -> Result<Opened> {
    let opened = open::open(path, opening);
    match opened {
        Err(error) if was_there && !directory.exists() => {
            fs::create_dir_all(directory).map_err(|_| error)?;
            open::open(path, opening)
        }
        opened => opened,
    }
}

/// The directory as it can be found again after a change of the working directory.
pub(crate) fn absolute(directory: &OsStr) -> PathBuf {
    // An empty path is the working directory, as in Python.
    let directory = if directory.is_empty() { OsStr::new(".") } else { directory };
    std::path::absolute(directory).unwrap_or_else(|_| PathBuf::from(directory))
}
