//! Locks on a directory and on its files.
//!
//! `flock(2)`: the kernel drops it however a process ends, in any pid namespace. But a fork beside it
//! copies the descriptor, and with it the lock; so the child closes what is held here at once.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::store::{identity, is_at};
use crate::sys::mapping;

/// The file whose lock is the directory's: whoever compacts holds it. It is never deleted, as two
/// could hold it then, and no `*.db`, so that nobody reads it.
pub(crate) const LOCK_FILE: &str = ".multiprom.lock";
/// How often a lock is tried that another holds.
const TRY_EVERY: Duration = Duration::from_millis(1);

/// No descriptor.
const NONE: RawFd = -1;
/// The descriptors whose locks are held, for the child of a fork in another thread: no thread that
/// compacts forks, so nobody in the child uses them. A compaction needs 66; beyond these places a
/// lock lasts as long as the child if the parent is killed before it drops it.
static HELD: [AtomicI32; 256] = [const { AtomicI32::new(NONE) }; 256];

/// A locked file.
#[derive(Debug)]
pub(crate) struct Locked {
    file: File,
    /// Its place in [`HELD`].
    place: Option<&'static AtomicI32>,
}

impl Locked {
    /// Locks the file at `path`, which was opened as `file`.
    ///
    /// None if another holds it, or if by now another file is at `path`.
    pub(crate) fn take(file: File, path: &Path) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let place = hold(file.as_raw_fd());
        let locked = Self { file, place };
        let is_there = locked.is_at(path)?;
        Ok(is_there.then_some(locked))
    }

    /// Whether it is at `path`.
    pub(crate) fn is_at(&self, path: &Path) -> io::Result<bool> {
        is_at(path, identity(&self.file.metadata()?))
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // Before it is closed: its number may be another file's then.
            place.store(NONE, Ordering::Release);
        }
        // Not left to closing: a fork in another thread may have copied the descriptor, and the
        // lock would last as long as that child. What cannot be unlocked is not locked.
        let _ = self.file.unlock();
    }
}

fn hold(descriptor: RawFd) -> Option<&'static AtomicI32> {
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
    // No lock for this: a fork could come in just here.
    if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
        // Without it all is well as long as no parent is killed beside its child.
        let _ = mapping::at_fork(nothing, nothing, close_held);
    }
    HELD.iter().find(|place| {
        place.compare_exchange(NONE, descriptor, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    })
}

extern "C" fn nothing() {}

extern "C" fn close_held() {
    for place in &HELD {
        let descriptor = place.swap(NONE, Ordering::AcqRel);
        if descriptor != NONE {
            mapping::close_inherited(descriptor);
        }
    }
}

/// Where the lock file of a directory is.
pub(crate) fn path(directory: &Path) -> PathBuf {
    directory.join(LOCK_FILE)
}

/// Locks the directory `path` against compaction; none if another holds it for all of `wait`.
pub(crate) fn directory(path: &Path, wait: Duration) -> io::Result<Option<Locked>> {
    let lock_path = self::path(path);
    poll(&lock_path, wait, || match open(&lock_path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(&lock_path, path),
        result => result,
    })
}

/// Opens the lock file. No link, which could lead anywhere where others may write to the directory,
/// and no FIFO, which would be waited for.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("the lock file is no regular file"))
}

/// Makes the lock file, so that whoever can read the directory can lock it.
fn create(path: &Path, directory: &Path) -> io::Result<File> {
    let directory = fs::metadata(directory)?;
    // Only what was made here is given away.
    let file = match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        // Another was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return open(path),
        Err(error) => return Err(error),
    };
    // The owner is refused to whoever is not root, and the group to whoever is not in it.
    let (owner, group) = (Some(directory.uid()), Some(directory.gid()));
    let _ = fchown(&file, owner, group).or_else(|_| fchown(&file, None, group));
    file.set_permissions(Permissions::from_mode(0o600 | directory.mode() & 0o666))?;
    Ok(file)
}

/// The same, but makes no lock file: where there is none nobody compacts.
pub(crate) fn existing_directory(path: &Path, wait: Duration) -> io::Result<Option<Locked>> {
    let path = self::path(path);
    poll(&path, wait, || open(&path))
}

/// Whether somebody compacts the directory `path` just now.
pub(crate) fn is_at_work(path: &Path) -> bool {
    matches!(existing_directory(path, Duration::ZERO), Ok(None))
}

fn poll(
    path: &Path,
    wait: Duration,
    open: impl Fn() -> io::Result<File>,
) -> io::Result<Option<Locked>> {
    let deadline = Instant::now() + wait;
    loop {
        if let Some(locked) = Locked::take(open()?, path)? {
            return Ok(Some(locked));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(TRY_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn one_at_a_time() {
        let parent = TempDir::new().unwrap();
        let path = parent.path();
        assert!(existing_directory(path, Duration::ZERO).is_err());
        assert!(!is_at_work(path));
        let first = directory(path, Duration::ZERO).unwrap();
        assert!(first.is_some());
        assert!(is_at_work(path));
        assert!(directory(path, Duration::from_millis(2)).unwrap().is_none());
        assert!(existing_directory(path, Duration::ZERO).unwrap().is_none());
        drop(first);
        assert!(!is_at_work(path));
        assert!(existing_directory(path, Duration::ZERO).unwrap().is_some());
    }

    /// Anybody may have put it there, in a directory that everybody may write to.
    #[test]
    fn no_link_is_followed() {
        let parent = TempDir::new().unwrap();
        let path = parent.path();
        std::os::unix::fs::symlink(path.join("elsewhere"), path.join(LOCK_FILE)).unwrap();
        assert!(directory(path, Duration::ZERO).is_err());
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
        assert!(directory(parent.path(), Duration::ZERO).is_err());
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
