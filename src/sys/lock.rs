//! Locks on a directory and on its files.
//!
//! A lock is `flock(2)`: the kernel drops it however a process ends, in any pid namespace. But a fork
//! in another thread copies the descriptor, and with it the lock; so the child closes its copies at
//! once.

use std::ffi::OsStr;
use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::sys::descriptor::Descriptor;
use crate::sys::fork::ClosedInChild;
use crate::sys::{Directory, identity};

/// The file whose lock a process holds while it compacts the directory. It is never deleted: two
/// processes could hold the lock then, of the old file and of the new one. It is no `*.db`, so that
/// no scrape reads it.
pub(crate) const LOCK_FILE: &str = ".multiprom.lock";
/// The pause between two attempts to get a lock that another process holds.
const TRY_EVERY: Duration = Duration::from_millis(1);
/// So many attempts are made beside readers, which hold a lock for some microseconds (`while_free`).
const ATTEMPTS_BESIDE_READERS: u32 = 40;

/// A locked file.
#[derive(Debug)]
pub(crate) struct Locked {
    // Dropped before the file is closed: its number may be that of another file then.
    _closed_in_child: ClosedInChild,
    // Dropping this gives up the lock.
    file: Descriptor,
}

impl Locked {
    /// Locks the file at `path`, which was opened as `file`.
    ///
    /// None if another holds the lock, or if by now another file is at `path`.
    pub(crate) fn take(file: File, path: &Path) -> io::Result<Option<Self>> {
        let Some(locked) = Self::try_take(file)? else { return Ok(None) };
        Ok(identity::is_at(path, locked.file.identity())?.then_some(locked))
    }

    /// The same for the file that was opened as `name` in `directory`.
    pub(crate) fn take_in(
        directory: &Directory,
        name: &OsStr,
        file: File,
    ) -> io::Result<Option<Self>> {
        let Some(locked) = Self::try_take(file)? else { return Ok(None) };
        Ok(locked.is_in(directory, name)?.then_some(locked))
    }

    fn try_take(file: File) -> io::Result<Option<Self>> {
        if !try_lock(&file)? {
            return Ok(None);
        }
        let file = Descriptor::new(file)?;
        Ok(Some(Self { _closed_in_child: ClosedInChild::new(&file), file }))
    }

    /// Whether the file is called `name` in `directory`.
    pub(crate) fn is_in(&self, directory: &Directory, name: &OsStr) -> io::Result<bool> {
        directory.has(name, self.file.identity())
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        self.file.unchecked()
    }
}

/// Locks `file` until it is closed or unlocked; false if another process or file object holds the
/// lock. A reader that only looks whether somebody holds the lock is not taken for a holder.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    let mut attempts = 0;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {
                attempts += 1;
                let is_held = while_free(file, || ()).is_none();
                if is_held || attempts == ATTEMPTS_BESIDE_READERS {
                    return Ok(false);
                }
                thread::sleep(TRY_EVERY);
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// What `look` finds while no process holds the lock of `file`, and none can take the lock; none if
/// one holds it, or if the file system does not tell.
///
/// The lock that is taken for this is a shared one, so that two processes that look at once do not
/// take each other for the holder.
pub(crate) fn while_free<T>(file: &File, look: impl FnOnce() -> T) -> Option<T> {
    file.try_lock_shared().ok()?;
    let found = look();
    // As when `Locked` is dropped: closing alone would not do.
    let _ = file.unlock();
    Some(found)
}

/// Makes an attempt each millisecond until one gives something, or `is_patient` says no when told
/// how long the attempts last already.
pub(crate) fn poll<T>(
    is_patient: impl Fn(Duration) -> bool,
    attempt: impl Fn() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let start = Instant::now();
    loop {
        if let Some(found) = attempt()? {
            return Ok(Some(found));
        }
        if !is_patient(start.elapsed()) {
            return Ok(None);
        }
        thread::sleep(TRY_EVERY);
    }
}

/// Where the lock file of a directory is.
pub(crate) fn path(directory: &Path) -> PathBuf {
    directory.join(LOCK_FILE)
}

/// Locks the directory against compaction; none if another holds it for all of `wait`.
pub(crate) fn directory(directory: &Directory, wait: Duration) -> io::Result<Option<Locked>> {
    let name = OsStr::new(LOCK_FILE);
    poll(
        |waited| waited < wait,
        || Locked::take_in(directory, name, open_or_create(directory, name)?),
    )
}

/// Opens a lock file, or makes it, so that every user who can read the directory can lock it.
pub(crate) fn open_or_create(directory: &Directory, name: &OsStr) -> io::Result<File> {
    match open_in(directory, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(directory, name),
        result => result,
    }
}

/// Opens a lock file. A link is refused (`O_NOFOLLOW`): in a directory that other users may write
/// to it could lead anywhere. A FIFO is not waited for (`O_NONBLOCK`), and then refused.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    regular(File::options().read(true).custom_flags(flags).open(path)?)
}

/// Opens a lock file of a directory, as [`open`] does.
pub(crate) fn open_in(directory: &Directory, name: &OsStr) -> io::Result<File> {
    regular(directory.open_file(name, OFlags::RDONLY)?)
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("the lock file is no regular file"))
}

/// Makes the lock file, so that every user who can read the directory can lock it.
fn create(directory: &Directory, name: &OsStr) -> io::Result<File> {
    // Fails if a file is there already, whose owner must not be changed.
    let file = match directory.create_file(name) {
        Ok(file) => file,
        // Another process has just made it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return open_in(directory, name);
        }
        Err(error) => return Err(error),
    };
    let directory = directory.metadata()?;
    // Only root may set the owner, and only a member of a group that group: then it stays as it is.
    let (owner, group) = (Some(directory.uid()), Some(directory.gid()));
    let _ = fchown(&file, owner, group).or_else(|_| fchown(&file, None, group));
    file.set_permissions(Permissions::from_mode(0o600 | directory.mode() & 0o666))?;
    Ok(file)
}

/// Locks the directory as [`directory`] does, but makes no lock file: where there is none, nobody
/// compacts.
pub(crate) fn existing_directory(path: &Path, wait: Duration) -> io::Result<Option<Locked>> {
    let path = self::path(path);
    poll(|waited| waited < wait, || Locked::take(open(&path)?, &path))
}

/// Whether a process compacts the directory `path` just now.
pub(crate) fn is_at_work(path: &Path) -> bool {
    matches!(existing_directory(path, Duration::ZERO), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    #[test]
    fn one_at_a_time() {
        let parent = TempDir::new().unwrap();
        let path = parent.path();
        assert!(existing_directory(path, Duration::ZERO).is_err());
        assert!(!is_at_work(path));
        let first = directory(&Directory::open(path).unwrap(), Duration::ZERO).unwrap();
        assert!(first.is_some());
        assert!(is_at_work(path));
        assert!(
            directory(&Directory::open(path).unwrap(), Duration::from_millis(2)).unwrap().is_none()
        );
        assert!(existing_directory(path, Duration::ZERO).unwrap().is_none());
        drop(first);
        assert!(!is_at_work(path));
        assert!(existing_directory(path, Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn a_process_that_looks_is_no_holder() {
        let parent = TempDir::new().unwrap();
        let path = parent.path().join("counter_1.db");
        fs::write(&path, "").unwrap();
        let [first, second, third] = [(); 3].map(|()| File::open(&path).unwrap());
        assert_eq!(while_free(&first, || while_free(&second, || 1)), Some(Some(1)));
        thread::scope(|scope| {
            let (looking, looks) = std::sync::mpsc::channel();
            scope.spawn(move || {
                while_free(&first, || {
                    looking.send(()).unwrap();
                    thread::sleep(Duration::from_millis(5));
                })
            });
            looks.recv().unwrap();
            assert!(try_lock(&second).unwrap());
        });
        assert_eq!(while_free(&third, || ()), None);
        assert!(!try_lock(&third).unwrap());
        drop(second);
        assert_eq!(while_free(&third, || ()), Some(()));
        assert!(File::open(&path).unwrap().try_lock().is_ok());
    }

    /// Anybody may have put it there, in a directory that everybody may write to.
    #[test]
    fn no_link_is_followed() {
        let parent = TempDir::new().unwrap();
        let path = parent.path();
        std::os::unix::fs::symlink(path.join("elsewhere"), path.join(LOCK_FILE)).unwrap();
        assert!(directory(&Directory::open(path).unwrap(), Duration::ZERO).is_err());
        assert!(!path.join("elsewhere").exists());
        fs::write(path.join("elsewhere"), "").unwrap();
        assert!(existing_directory(path, Duration::ZERO).is_err());
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let parent = TempDir::new().unwrap();
        let path = parent.path().join(LOCK_FILE);
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(directory(&Directory::open(parent.path()).unwrap(), Duration::ZERO).is_err());
        assert!(!is_at_work(parent.path()));
    }

    #[test]
    fn another_file_of_the_same_name_is_not_locked() {
        let parent = TempDir::new().unwrap();
        let path = parent.path().join("counter_1.db");
        fs::write(&path, "").unwrap();
        let old = File::open(&path).unwrap();
        fs::rename(&path, parent.path().join("old")).unwrap();
        assert!(Locked::take(old, &path).unwrap().is_none());
        fs::write(&path, "").unwrap();
        let old = File::open(parent.path().join("old")).unwrap();
        assert!(Locked::take(old, &path).unwrap().is_none());
        assert!(Locked::take(File::open(&path).unwrap(), &path).unwrap().is_some());
    }
}
