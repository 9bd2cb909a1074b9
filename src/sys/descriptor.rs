//! An open file that is kept for long: its descriptor is checked before it is used.
//!
//! A program may close descriptors that are not its own (`os.closerange` in code that makes a daemon).
//! The number is that of no file then, or of another file that the program has opened since, which
//! must not be made longer, locked or closed here.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use crate::sys::identity::{Identity, identity};

/// An open file, with what tells it from others. Dropping it gives up its lock (`flock`).
#[derive(Debug)]
pub(crate) struct Descriptor {
    file: ManuallyDrop<File>,
    identity: Identity,
}

impl Descriptor {
    /// Keeps a file that was just opened.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let identity = identity(&file.metadata()?);
        Ok(Self { file: ManuallyDrop::new(file), identity })
    }

    /// The device and inode of the file.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The file; none if the program has closed the descriptor.
    pub(crate) fn file(&self) -> Option<&File> {
        is_that_of(self.file.as_raw_fd(), self.identity).then_some(&*self.file)
    }

    /// The file, for somebody who uses it within the call that has opened it.
    pub(crate) fn unchecked(&self) -> &File {
        &self.file
    }

    /// Closes the descriptor in the child of a fork, where the lock is that of the parent.
    pub(crate) fn close(self) {
        close_if(self.file.as_raw_fd(), self.identity);
        std::mem::forget(self);
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let Some(file) = self.file() {
            // Closing alone would not do: a mapping keeps the lock, and so does a child that another
            // thread is just forking. An error says that there is no lock.
            let _ = file.unlock();
            // SAFETY: `file` is dropped here only, and `self` is not used again.
            unsafe { ManuallyDrop::drop(&mut self.file) }
        }
    }
}

/// Whether a descriptor is that of the file with this identity.
fn is_that_of(descriptor: RawFd, identity: Identity) -> bool {
    // SAFETY: `fstat` fails if the descriptor is not open; `ManuallyDrop` keeps it from being closed.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) });
    file.metadata().is_ok_and(|metadata| self::identity(&metadata) == identity)
}

/// Closes a descriptor if it is that of the file with this identity; nothing may use it later.
pub(super) fn close_if(descriptor: RawFd, identity: Identity) {
    if is_that_of(descriptor, identity) {
        // SAFETY: no memory is involved. The descriptor is that of a file of this module's callers,
        // who give it up.
        unsafe { libc::close(descriptor) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, TryLockError};

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_number_that_is_another_file_is_left_alone() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("own");
        let descriptor = Descriptor::new(File::create(&path).unwrap()).unwrap();
        descriptor.file().unwrap().try_lock().unwrap();
        let theirs = File::create(directory.path().join("theirs")).unwrap();
        theirs.try_lock().unwrap();
        let number = descriptor.unchecked().as_raw_fd();
        // SAFETY: both are open; `dup2` closes the first, as a program would that does not own it.
        assert_eq!(unsafe { libc::dup2(theirs.as_raw_fd(), number) }, number);
        assert!(descriptor.file().is_none());
        drop(descriptor);
        let reopened = File::open(directory.path().join("theirs")).unwrap();
        assert!(matches!(reopened.try_lock(), Err(TryLockError::WouldBlock)));
        // SAFETY: the copy that was made above.
        assert_eq!(unsafe { libc::close(number) }, 0);
        assert!(fs::metadata(&path).is_ok());
    }

    #[test]
    fn dropping_gives_up_the_lock_and_closing_does_not() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("own");
        let file = File::create(&path).unwrap();
        file.try_lock().unwrap();
        let copy = file.try_clone().unwrap();
        let other = File::open(&path).unwrap();
        Descriptor::new(file).unwrap().close();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(Descriptor::new(copy).unwrap());
        other.try_lock().unwrap();
    }
}
