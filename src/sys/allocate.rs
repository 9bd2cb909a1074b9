//! The blocks of a file: reserved, so that a full disk is an error and never a signal (SIGBUS), and
//! counted.

#![allow(unsafe_code)]

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// The kernel counts the blocks of a file in this unit, whatever the file system's is.
const BLOCK_SIZE: u64 = 512;

/// How much room a file has on the disk, in bytes: less than its length if it has holes.
pub(crate) fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks() * BLOCK_SIZE
}

/// Makes the file at least `end` bytes long, with blocks for all of them from `start` on.
pub(crate) fn reserve(file: &File, start: usize, end: usize) -> io::Result<()> {
    let to_offset = |size| {
        libc::off_t::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
    };
    let length = to_offset(end - start)?;
    #[cfg(not(target_vendor = "apple"))]
    {
        let start = to_offset(start)?;
        loop {
            // SAFETY: a system call on a descriptor that `file` keeps open; no memory is involved.
            match unsafe { libc::posix_fallocate(file.as_raw_fd(), start, length) } {
                0 => return Ok(()),
                libc::EINTR => {}
                code => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }
    #[cfg(target_vendor = "apple")]
    {
        let mut request = libc::fstore_t {
            fst_flags: libc::F_ALLOCATEALL,
            fst_posmode: libc::F_PEOFPOSMODE,
            fst_offset: 0,
            fst_length: length,
            fst_bytesalloc: 0,
        };
        // SAFETY: the descriptor is open, and the request lives until the call returns.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_PREALLOCATE, &raw mut request) } == -1 {
            return Err(io::Error::last_os_error());
        }
        let size = file.metadata()?.len();
        file.set_len(size.max(end as u64))
    }
}
