//! Opens a file to write it, so that no other process writes it.
//!
//! Open the file, lock it, and look whether the path still names it; if not, do all three again. The
//! lock (`flock`) is held as long as the writer lives: the kernel drops it however a process dies, in
//! any pid namespace, so the lock, and not the pid, says whether a writer is alive.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::count::writer::Writer;
use crate::error::{Error, Result};
use crate::store;
use crate::sys::{identity, is_at, lock};

/// How often a file is opened again that was deleted between opening and locking it.
const ATTEMPTS: usize = 100;
/// How long to wait for the lock of a file: the child of a fork keeps it for some milliseconds only,
/// until it closes its copy of the descriptor.
const LOCK_WAIT: Duration = Duration::from_millis(40);
/// How long to wait beside a compaction, which holds the files that it folds, and may fold many.
const LOCK_WAIT_BESIDE_COMPACTION: Duration = Duration::from_millis(300);

/// What became of the attempt to write a file.
#[derive(Debug)]
pub(crate) enum Opened {
    /// This process has locked it, and writes it.
    Ours(Box<Writer>),
    /// Another process writes it, or its content cannot be continued without loss.
    Taken(Taken),
}

/// Why this process cannot write a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Another writer is alive.
    Held,
    /// It is no regular file, damaged, or of a later version.
    Unusable,
    /// This process may not write it.
    Refused,
}

/// How to open a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    /// Whether entries of an earlier writer are continued; else the file is made anew.
    pub(crate) continues: bool,
    /// Whether to wait some milliseconds for a lock.
    pub(crate) waits: bool,
}

/// Opens the file at `path` for writing, or makes it.
pub(crate) fn open(path: &Path, opening: Opening) -> Result<Opened> {
    try_open(path, opening).map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn try_open(path: &Path, opening: Opening) -> io::Result<Opened> {
    let mut spent = Vec::new();
    for _ in 0..ATTEMPTS {
        let file = match open_or_make(path)? {
            Ok(file) => file,
            Err(taken) => return Ok(Opened::Taken(taken)),
        };
        if !file.metadata()?.is_file() {
            return Ok(Opened::Taken(Taken::Unusable));
        }
        match lock(&file, path, opening.waits) {
            Ok(true) => {}
            Ok(false) => return Ok(Opened::Taken(Taken::Held)),
            Err(error) => {
                // The file system has no locks. Delete what was made here: prometheus_client cannot
                // read an empty file.
                if file.metadata()?.len() == 0 {
                    let _ = fs::remove_file(path);
                }
                return Err(error);
            }
        }
        let metadata = file.metadata()?;
        // Between opening and locking another process may have removed the file.
        if !is_at(path, identity(&metadata))? {
            continue;
        }
        if is_spent(path, &metadata)? {
            // The counts of the file are in an archive already, from a compaction that was killed
            // before it could delete the file. To continue the file would count them twice.
            fs::remove_file(path)?;
            // While the file is open no other gets its inode.
            spent.push(file);
            continue;
        }
        if metadata.len() > 0 && !opening.continues {
            // Deleted, and not emptied: a scrape that reads the old file just now shall see all of it.
            fs::remove_file(path)?;
            continue;
        }
        // If there is no room for a file that was made here, it is deleted, since prometheus_client
        // cannot read an empty file. `made` keeps the lock until then.
        let made = if metadata.len() == 0 { file.try_clone().ok() } else { None };
        let taken = take(path, file, &metadata);
        if taken.is_err() && made.is_some() {
            let _ = fs::remove_file(path);
        }
        return taken;
    }
    Err(io::Error::other("the file is removed as soon as it is made"))
}

/// Opens the file at `path`, or makes it; says why not if this process cannot write what is there.
fn open_or_make(path: &Path) -> io::Result<std::result::Result<File, Taken>> {
    let mut options = File::options();
    // O_NONBLOCK: opening a FIFO must not wait for its other end. O_NOFOLLOW: in a directory that
    // other users may write to, a link could lead to any file of this user.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    options.read(true).write(true).create(true).custom_flags(flags);
    let error = match options.open(path) {
        Ok(file) => return Ok(Ok(file)),
        Err(error) => error,
    };
    match error.raw_os_error() {
        Some(libc::EISDIR | libc::ENXIO | libc::ELOOP) => Ok(Err(Taken::Unusable)),
        // If nothing is at `path`, it is the directory that refuses.
        Some(libc::EACCES | libc::EPERM) if fs::symlink_metadata(path).is_ok() => {
            Ok(Err(Taken::Refused))
        }
        _ => Err(error),
    }
}

/// Opens a file again whose descriptor the program has closed.
pub(crate) fn reopen(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path)
}

/// Makes a writer for a file that this process has locked.
fn take(path: &Path, file: File, metadata: &fs::Metadata) -> io::Result<Opened> {
    let writer = Writer::new(path, file, metadata)?;
    Ok(writer.map_or(Opened::Taken(Taken::Unusable), |writer| Opened::Ours(Box::new(writer))))
}

/// Locks the file at `path` for as long as it is open; false if another process keeps the lock.
fn lock(file: &File, path: &Path, waits: bool) -> io::Result<bool> {
    // A living writer of the same identifier keeps the lock; a compaction gives it back.
    let is_patient = |waited| {
        let compacts = || path.parent().is_some_and(lock::is_at_work);
        waits && (waited < LOCK_WAIT || waited < LOCK_WAIT_BESIDE_COMPACTION && compacts())
    };
    let locked = lock::poll(is_patient, || Ok(lock::try_lock(file)?.then_some(())))?;
    Ok(locked.is_some())
}

/// Whether an archive has what the file holds, which this process has locked; or a scrape could think
/// so of a new file.
pub(crate) fn is_spent(path: &Path, metadata: &fs::Metadata) -> io::Result<bool> {
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) => store::is_spent(directory, name, metadata),
        _ => Ok(false),
    }
}

/// What tests open files with: they wait for no lock.
#[cfg(test)]
pub(crate) const CONTINUING: Opening = Opening { continues: true, waits: false };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::writer::testing::{entries, open as ours, set};
    use crate::format::MAGIC_ARCHIVE;
    use crate::format::testing::{entry, file, file_of};
    use crate::store::{Mark, encode_journal};
    use crate::sys::Directory;
    use std::os::unix::fs::MetadataExt;
    use std::thread;
    use tempfile::TempDir;

    const ANEW: Opening = Opening { continues: false, ..CONTINUING };

    #[test]
    fn whoever_lives_keeps_its_file() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let writer = ours(&path, CONTINUING);
        let second = open(&path, CONTINUING).unwrap();
        assert!(matches!(second, Opened::Taken(Taken::Held)));
        drop(writer);
        ours(&path, CONTINUING);
    }

    /// Writes an archive whose journal names the file, which has one entry.
    fn absorb(path: &Path) {
        let marks = [Mark::new(path.file_name().unwrap(), &fs::metadata(path).unwrap())];
        let mut archive = file_of(MAGIC_ARCHIVE, &[entry("key", 1.0, 0.0)]);
        archive.extend(encode_journal(&marks).unwrap());
        fs::write(path.with_file_name("counter_compacted.db"), archive).unwrap();
    }

    #[test]
    fn a_spent_file_is_not_continued() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        set(&mut ours(&path, CONTINUING), "key", 1.0);
        absorb(&path);
        let old = File::open(&path).unwrap();
        let mut writer = ours(&path, CONTINUING);
        assert_eq!(entries(&path), []);
        assert_eq!(old.metadata().unwrap().nlink(), 0);
        set(&mut writer, "key", 2.0);
        drop(writer);
        // The journal still names a file of that name, but not this one.
        ours(&path, CONTINUING);
        assert_eq!(entries(&path), [("key".to_owned(), 2.0)]);
    }

    /// The inode of a deleted file is given to a new one on many file systems, and where file times are
    /// whole seconds, they can be equal, too.
    #[test]
    fn a_new_file_never_has_the_inode_of_a_spent_one() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let old = File::create(&path).unwrap();
        absorb(&path);
        let inode = old.metadata().unwrap().ino();
        // As if the inode had been given anew, at another time.
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        drop(old);
        let mut writer = ours(&path, CONTINUING);
        assert_ne!(fs::metadata(&path).unwrap().ino(), inode);
        set(&mut writer, "key", 2.0);
        assert_eq!(entries(&path), [("key".to_owned(), 2.0)]);
    }

    #[test]
    fn a_compaction_is_waited_for_and_a_living_writer_is_not() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("counter_1.db");
        let waiting = Opening { waits: true, ..CONTINUING };
        let folded = ours(&path, CONTINUING);
        let compaction =
            lock::directory(&Directory::open(directory.path()).unwrap(), Duration::ZERO).unwrap();
        // Far longer than a living writer of the same identifier is waited for.
        let pause = LOCK_WAIT * 3;
        let opened = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(pause);
                drop((folded, compaction));
            });
            open(&path, waiting).unwrap()
        });
        assert!(matches!(opened, Opened::Ours(_)));
        let second = open(&path, waiting).unwrap();
        assert!(matches!(second, Opened::Taken(Taken::Held)));
    }

    #[test]
    fn what_starts_anew_leaves_the_old_file_to_its_readers() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("gauge_liveall_1.db");
        set(&mut ours(&path, CONTINUING), "key", 1.0);
        let old = fs::File::open(&path).unwrap();
        let mut writer = ours(&path, ANEW);
        assert_eq!(entries(&path), []);
        assert_eq!(old.metadata().unwrap().nlink(), 0);
        set(&mut writer, "key", 2.0);
        drop(writer);
        assert_eq!(entries(&path), [("key".to_owned(), 2.0)]);
    }

    #[test]
    fn what_cannot_be_continued_is_left_alone() {
        let directory = TempDir::new().unwrap();
        let sound = entry("key", 1.0, 0.0);
        let cases = [
            b"SQLite format 3\0".to_vec(),
            vec![1, 2, 3],
            file(Some(1000), std::slice::from_ref(&sound)),
            file(Some(-8), std::slice::from_ref(&sound)),
        ];
        for (number, content) in cases.iter().enumerate() {
            let path = directory.path().join(format!("counter_{number}.db"));
            fs::write(&path, content).unwrap();
            let opened = open(&path, CONTINUING).unwrap();
            assert!(matches!(opened, Opened::Taken(Taken::Unusable)), "{content:?}");
            assert_eq!(&fs::read(&path).unwrap(), content);
        }
        let opened = open(directory.path(), CONTINUING).unwrap();
        assert!(matches!(opened, Opened::Taken(Taken::Unusable)));
        let link = directory.path().join("counter_9.db");
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &link).unwrap();
        let opened = open(&link, CONTINUING).unwrap();
        assert!(matches!(opened, Opened::Taken(Taken::Unusable)));
        assert!(!directory.path().join("elsewhere").exists());
    }
}
