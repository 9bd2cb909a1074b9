//! The files that this process writes, each once, however many value classes count in it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::count::notice::Notice;
use crate::count::open::{self, Opened, Opening, Taken};
use crate::count::writer::{Left, Writer};
use crate::error::{Error, Result};
use crate::format;
use crate::format::{ARCHIVE_PID, FileName, archive_name, kind_of_prefix, metrics_file_name};
use crate::store::{Reader, presence};
use crate::sys::Identity;

/// So many suffixes a process tries before it gives up.
const SUFFIXES: u32 = 1000;

/// The open files, by path.
#[derive(Debug, Default)]
pub(crate) struct Files {
    open: HashMap<PathBuf, Shared>,
    /// The files that were closed, by path: they are this process's own.
    closed: HashMap<PathBuf, Closed>,
    /// The directories in which a file was opened since somebody asked.
    pub(crate) opened_in: BTreeSet<PathBuf>,
    /// What is to be logged.
    pub(crate) notices: Vec<Notice>,
}

/// A file and how many use it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) writer: Writer,
    pub(crate) users: usize,
    /// Whose it is, as the process calls itself.
    identifier: OsString,
    /// What the process has put behind its identifier; 0 for nothing, which is how it should be.
    suffix: u32,
}

/// A file that was closed.
#[derive(Debug)]
struct Closed {
    identity: Identity,
    identifier: OsString,
    suffix: u32,
    /// Its series, if an archive adds up what they held.
    left: HashMap<Box<[u8]>, Left>,
}

/// What the files of one process identifier are called.
#[derive(Debug, Clone, Default)]
pub(crate) struct Naming {
    /// Where they are.
    pub(crate) directory: Option<PathBuf>,
    /// Whether the directory was there once, so that it is made anew if it is missing.
    pub(crate) directory_was_there: bool,
    /// Whose they are.
    pub(crate) identifier: OsString,
    /// What is put behind that, because another process has the same; 0 for nothing.
    pub(crate) suffix: u32,
}

impl Files {
    /// Opens the file of `prefix` for one more user, and gives its path.
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
            if let Some(shared) = self.open.get_mut(&path) {
                shared.users += 1;
                return Ok(path);
            }
            // Whoever has a name of its own waited for the first file, and need not do so again; what
            // this process has closed only a compaction can hold.
            let own = self.closed.get(&path).map(|closed| closed.identity);
            let waits = suffix == 0 || own.is_some();
            let opening = Opening { continues, own, waits };
            let taken = match open_in(&directory, naming.directory_was_there, &path, opening)? {
                Opened::Ours(mut writer) => {
                    if let Some(closed) = self.closed.remove(&path) {
                        follow(&mut writer, closed, prefix);
                    }
                    let identifier = naming.identifier.clone();
                    let shared = Shared { writer: *writer, users: 1, identifier, suffix };
                    self.open.insert(path.clone(), shared);
                    naming.directory_was_there = true;
                    // If there can be no slot now, the next file that is opened tries again.
                    let _ = presence::hold(&directory, Some(&naming.identifier), None);
                    self.opened_in.insert(directory);
                    if let Some((taken, path_of_other)) = avoided {
                        let (path, own) = (path_of_other, path.clone());
                        self.notices.push(match taken {
                            Taken::Held => {
                                naming.suffix = suffix;
                                Notice::Collision { path, own }
                            }
                            Taken::Unusable => Notice::Unusable { path, own },
                            Taken::Refused => Notice::Refused { path, own },
                        });
                    }
                    return Ok(path);
                }
                Opened::Taken(taken) => taken,
            };
            // A directory may have two paths: then it is this process that holds the lock.
            let same = |shared: &&mut Shared| taken == Taken::Held && shared.writer.writes(&path);
            if let Some(shared) = self.open.values_mut().find(same) {
                shared.users += 1;
                return Ok(shared.writer.path().to_owned());
            }
            avoided.get_or_insert((taken, path));
            suffix += 1;
        }
        Err(Error::NoName {
            path: directory.join(metrics_file_name(prefix, &naming.identifier, 0)),
        })
    }

    /// The writer of the file at `path`, which must be open.
    pub(crate) fn writer(&mut self, path: &Path) -> Option<&mut Writer> {
        self.open.get_mut(path).map(|shared| &mut shared.writer)
    }

    /// Gives up a file: closes it if nobody else here uses it.
    pub(crate) fn close(&mut self, path: &Path) {
        if let Some(shared) = self.open.get_mut(path) {
            shared.users -= 1;
            if shared.users == 0
                && let Some(Shared { writer, identifier, suffix, .. }) = self.open.remove(path)
            {
                let is_added_up =
                    FileName::of_path(path).is_some_and(|name| name.kind.is_added_up());
                let left = if is_added_up { writer.left() } else { HashMap::new() };
                let identity = writer.identity();
                let closed = Closed { identity, identifier, suffix, left };
                self.closed.insert(path.to_owned(), closed);
            }
        }
    }

    /// Has the headers of closed files of these identifiers say that `prometheus_client` writes them.
    pub(crate) fn hand_over_closed(&self, identifiers: &HashSet<OsString>) {
        for (path, Closed { identity, identifier, suffix, .. }) in &self.closed {
            if *suffix == 0 && identifiers.contains(identifier) {
                // What cannot be opened nobody will continue.
                let _ = open::hand_over_closed(path, *identity);
            }
        }
    }

    /// Forgets what was left in closed files of an identifier that nobody counts under any more.
    pub(crate) fn forget_left(&mut self, identifier: &OsStr) {
        let same = self.closed.values_mut().filter(|closed| closed.identifier == identifier);
        same.for_each(|closed| closed.left = HashMap::new());
    }

    /// Counts in more users of an open file.
    pub(crate) fn add_users(&mut self, path: &Path, users: usize) {
        if let Some(shared) = self.open.get_mut(path) {
            shared.users += users;
        }
    }

    /// Takes a file out of the table that is there no more.
    pub(crate) fn take(&mut self, path: &Path) -> Option<Shared> {
        self.open.remove(path)
    }

    /// Puts such a file back.
    pub(crate) fn put_back(&mut self, path: PathBuf, shared: Shared) {
        self.open.insert(path, shared);
    }

    /// Which files are open, whatever their names.
    pub(crate) fn identities(&self) -> Vec<Identity> {
        self.open.values().map(|shared| shared.writer.identity()).collect()
    }

    /// The paths of the open files that are not where they were made.
    pub(crate) fn removed(&self) -> Vec<PathBuf> {
        let removed = self.open.iter().filter(|(_, shared)| !shared.writer.is_in_place());
        removed.map(|(path, _)| path.clone()).collect()
    }

    /// Gives up all descriptors, in the child of a fork: only closes, and allocates nothing.
    pub(crate) fn disown(&mut self) {
        self.open.values_mut().for_each(|shared| shared.writer.disown());
    }

    /// Forgets all files, in the child of a fork.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
        self.closed.clear();
        self.opened_in.clear();
        // Those are the parent's to log.
        self.notices.clear();
    }

    /// Deletes the file at `path` of this process, which goes on counting in what is no more there.
    pub(crate) fn unlink(&mut self, path: &Path) {
        if self.writer(path).is_some_and(|writer| writer.is_in_place()) {
            // Whoever cannot delete a file has told so, or will at the next scrape.
            let _ = fs::remove_file(path);
        }
    }
}

/// Has a writer go on from what was left in an earlier file of its name.
fn follow(writer: &mut Writer, closed: Closed, prefix: &str) {
    let is_same = writer.identity() == closed.identity;
    let is_here = |writer: &Writer, head: &[u8]| is_same && writer.knows(head);
    let mut archived = HashSet::new();
    if !closed.left.keys().all(|head| is_here(writer, head)) {
        let path = writer.path().with_file_name(archive_name(kind_of_prefix(prefix)));
        // What cannot be read is not there.
        let _ = Reader::default().read(
            &path,
            |_| false,
            |_, entry| {
                archived.extend(format::entry_head(entry.key));
            },
        );
    }
    for (head, left) in closed.left {
        if is_here(writer, &head) {
            writer.follow(head, left.folded);
        } else if archived.contains(&head) {
            writer.follow(head, left.folded + left.held);
        }
        // Else somebody has removed it.
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
    // As in Python's paths, nothing is where the process is.
    let directory = if directory.is_empty() { OsStr::new(".") } else { directory };
    std::path::absolute(directory).unwrap_or_else(|_| PathBuf::from(directory))
}
