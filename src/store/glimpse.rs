//! What a reader sees of a file besides its entries: what the file is to the service, and its room.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::path::Path;

use crate::format::{self, FileName, MAGIC_WRITER};
use crate::sys::{allocated, lock, without_common_locks};

/// What a file is to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// A living process counts in it.
    Live,
    /// Its process is dead.
    Dead,
    /// Nobody can tell whether its process lives: `prometheus_client` wrote it, or locks of other hosts
    /// are not seen here.
    Unknown,
    /// What dead processes counted.
    Archive,
    /// An archive has its content; the next compaction deletes it.
    Spent,
    /// It is no metrics file.
    Foreign,
}

impl FileState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Live, Self::Dead, Self::Unknown, Self::Archive, Self::Spent, Self::Foreign];

    /// Its name, as JSON and metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
            Self::Archive => "archive",
            Self::Spent => "spent",
            Self::Foreign => "foreign",
        }
    }

    /// The state of a process's `file`, which begins with `header`, if no archive has absorbed the file.
    ///
    /// Multiprom's writer locks its file before it writes the header, and as long as it lives: to ask for
    /// the lock is one system call. Files of `prometheus_client`'s writer do not tell, nor do those on a
    /// file system where the lock may be that of another host.
    pub(crate) fn of_process(file: &File, header: &[u8]) -> Self {
        if format::parse_magic(header) != Some(MAGIC_WRITER) {
            Self::Unknown
        } else if lock::while_free(file, || ()).is_none() {
            Self::Live
        } else if without_common_locks(file).is_some() {
            Self::Unknown
        } else {
            Self::Dead
        }
    }

    /// What a file of this state is named after: the pid of its process, or what a custom process
    /// identifier gave; none if it is an archive or no metrics file.
    pub(crate) fn identifier(self, path: &Path) -> Option<&OsStr> {
        let is_of_process = !matches!(self, Self::Archive | Self::Foreign);
        FileName::of_path(path).map(|name| name.pid).filter(|_| is_of_process)
    }
}

/// A file without its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glimpse {
    /// Its state.
    pub(crate) state: FileState,
    /// The bytes that its header says are used; 0 if the header cannot be believed.
    pub(crate) used: u64,
    /// The bytes that it takes on the disk, its exemplars included.
    pub(crate) allocated: u64,
}

impl Glimpse {
    /// A file that begins with `header`.
    pub(crate) fn new(state: FileState, header: &[u8], metadata: &Metadata) -> Self {
        let used = format::parse_used(header).and_then(|used| u64::try_from(used).ok());
        let used = used.unwrap_or_default().min(metadata.len());
        Self { state, used, allocated: allocated(metadata) }
    }

    /// A file that is no metrics file, and is never opened.
    pub(crate) const FOREIGN: Self = Self { state: FileState::Foreign, used: 0, allocated: 0 };
}
