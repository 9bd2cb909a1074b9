//! An open directory. What is done in it is done in that one, whatever its path names by now: a
//! deployment may switch a link, or mount or rename a directory, at any moment.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::sys::fork::ClosedInChild;
use crate::sys::{Descriptor, Identity, file_system};

/// Opens a directory so that it can be searched; it need not be readable for that.
#[cfg(target_os = "linux")]
const SEARCHED: libc::c_int = libc::O_DIRECTORY | libc::O_PATH;
#[cfg(not(target_os = "linux"))]
const SEARCHED: libc::c_int = libc::O_DIRECTORY;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    // Dropped before the file is closed: its number may be that of another file then.
    _closed_in_child: ClosedInChild,
    file: Descriptor,
    path: PathBuf,
}

/// A name in a directory.
#[derive(Debug)]
pub(crate) struct Name {
    /// The name.
    pub(crate) name: OsString,
    /// Whether it is that of a regular file, and not of a link to one.
    pub(crate) is_file: bool,
}

impl Directory {
    /// Opens the directory that `path` names now.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).custom_flags(SEARCHED).open(path)?;
        let file = Descriptor::new(file)?;
        Ok(Self { _closed_in_child: ClosedInChild::new(&file), file, path: path.to_owned() })
    }

    /// The path by which the directory was opened: for messages, and to make the paths of its files.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its owner and permissions.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.file.unchecked().metadata()
    }

    /// The name of its file system, if the locks of some processes that use it may not be seen by all.
    pub(crate) fn without_common_locks(&self) -> Option<&'static str> {
        file_system::without_common_locks(self.file.unchecked())
    }

    /// All names in it, in no order.
    pub(crate) fn names(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened =
            retry_on_intr(|| fs::openat(self.file.unchecked(), ".", flags, Mode::empty()))?;
        for entry in Dir::new(opened)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let name = OsStr::from_bytes(name);
            let is_file = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => self.stat(name)?.is_some_and(|(_, is_file)| is_file),
                file_type => file_type.is_file(),
            };
            names.push(Name { name: OsString::from_vec(name.as_bytes().to_vec()), is_file });
        }
        Ok(names)
    }

    /// Opens the file `name`. A link is refused; a FIFO is not waited for (`O_NONBLOCK`).
    pub(crate) fn open_file(&self, name: &OsStr, access: OFlags) -> io::Result<File> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.open_at(name, flags, Mode::empty())
    }

    /// Creates the file `name`, which nothing may have yet, for its owner only.
    pub(crate) fn create_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        self.open_at(name, flags, Mode::RUSR | Mode::WUSR)
    }

    fn open_at(&self, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<File> {
        Ok(retry_on_intr(|| fs::openat(self.file.unchecked(), name, flags, mode))?.into())
    }

    /// The identity of what `name` names, itself and not by a link; none if there is no such file.
    pub(crate) fn identity_of(&self, name: &OsStr) -> io::Result<Option<Identity>> {
        Ok(self.stat(name)?.map(|(identity, _)| identity))
    }

    /// The same, and whether it is a regular file.
    fn stat(&self, name: &OsStr) -> io::Result<Option<(Identity, bool)>> {
        match fs::statat(self.file.unchecked(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
                // Not on every system.
                // CAST: as std's `MetadataExt` does.
                let identity = (stat.st_dev as u64, stat.st_ino as u64);
                Ok(Some((identity, FileType::from_raw_mode(stat.st_mode).is_file())))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::STALE) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether `name` names the file of this identity, itself and not by a link.
    pub(crate) fn has(&self, name: &OsStr, identity: Identity) -> io::Result<bool> {
        Ok(self.identity_of(name)? == Some(identity))
    }

    /// Renames a file of the directory over another.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(self.file.unchecked(), from, self.file.unchecked(), to)?)
    }

    /// Deletes the file `name`, or the link.
    pub(crate) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(self.file.unchecked(), name, AtFlags::empty())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::identity;
    use std::fs as by_path;
    use tempfile::TempDir;

    /// A link to a directory with a file `name`, and another such directory.
    fn linked() -> (TempDir, PathBuf) {
        let parent = TempDir::new().unwrap();
        for name in ["first", "second"] {
            by_path::create_dir(parent.path().join(name)).unwrap();
            by_path::write(parent.path().join(name).join("name"), name).unwrap();
        }
        let link = parent.path().join("link");
        switch(&link, "first");
        (parent, link)
    }

    fn switch(link: &Path, to: &str) {
        let _ = by_path::remove_file(link);
        std::os::unix::fs::symlink(to, link).unwrap();
    }

    #[test]
    fn everything_is_done_in_the_directory_that_was_opened() {
        let (parent, link) = linked();
        let directory = Directory::open(&link).unwrap();
        switch(&link, "second");
        let file = directory.open_file(OsStr::new("name"), OFlags::RDONLY).unwrap();
        assert_eq!(io::read_to_string(&file).unwrap(), "first");
        let own = identity(&file.metadata().unwrap());
        assert!(directory.has(OsStr::new("name"), own).unwrap());
        directory.create_file(OsStr::new("new")).unwrap();
        directory.rename(OsStr::new("new"), OsStr::new("newer")).unwrap();
        directory.remove_file(OsStr::new("name")).unwrap();
        assert!(!directory.has(OsStr::new("name"), own).unwrap());
        let names = directory.names().unwrap();
        assert!(names.len() == 1 && names[0].name == "newer" && names[0].is_file);
        let second = parent.path().join("second");
        assert_eq!(by_path::read_dir(&second).unwrap().count(), 1);
        assert_eq!(by_path::read_to_string(second.join("name")).unwrap(), "second");
    }

    #[test]
    fn what_is_no_regular_file_is_told() {
        let (parent, link) = linked();
        let directory = Directory::open(parent.path()).unwrap();
        let files = directory.names().unwrap();
        assert!(files.len() == 3 && files.iter().all(|name| !name.is_file));
        let name = link.file_name().unwrap();
        assert!(directory.open_file(name, OFlags::RDONLY).is_err());
        let of_link = by_path::symlink_metadata(&link).unwrap();
        assert_eq!(directory.identity_of(name).unwrap(), Some(identity(&of_link)));
        assert!(Directory::open(&parent.path().join("first/name")).is_err());
    }
}
