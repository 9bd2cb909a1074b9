//! Which file a path names, whatever was renamed or deleted meanwhile.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The device and inode of a file: no other file has them while this one is open.
pub(crate) type Identity = (u64, u64);

/// The identity of a file.
#[must_use]
pub(crate) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Whether `path` names the file of this identity, itself and not by a link.
pub(crate) fn is_at(path: &Path, identity: Identity) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(self::identity(&metadata) == identity),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE) => Ok(false),
            _ => Err(error),
        },
    }
}
