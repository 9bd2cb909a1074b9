//! Why compaction leaves a file alone, and who should hear of it.

use std::io;

use crate::error::message;
use crate::format::Damaged;

/// Why compaction left a file alone, or a whole directory. The text says what is the matter and, where
/// somebody should act, what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// The file is damaged. It counts with its valid part, and each scrape reports it; folding would
    /// keep the counts and end the reports.
    #[error("{0}")]
    Damaged(Damaged),
    /// The process was named as dead, but somebody holds its file.
    #[error("a living process holds the file")]
    Held,
    /// This process has found out before that the archive is damaged.
    #[error("the archive is damaged, as was found before: remove the archive if its counts may go")]
    KnownDamage,
    /// The header says neither multiprom nor `prometheus_client`.
    #[error(
        "the file is named like a metrics file, but neither prometheus_client nor this version of \
         multiprom has written it: move the file out of the directory"
    )]
    UnknownMagic,
    /// The name of an archive, but no archive.
    #[error(
        "the file is named like an archive of multiprom, but is none: move the file out of the directory"
    )]
    NotAnArchive,
    /// Other users may read the archive than may read the file.
    #[error(
        "the file's owner, group or permissions differ from those of the archive, where other users could \
         read what the file holds: run all processes as one user and with one umask, or let everybody \
         read the files"
    )]
    OtherReaders,
    /// The call must be quick, and to read the archive and the file would take too long.
    #[error("the archive or the file is large: a scrape will fold the file")]
    TooMuch,
    /// A sum together with that of the archive takes more than the 106 bits that an archive has.
    #[error(
        "the file has sums of a size or precision that the archive cannot hold: the file counts as it \
         is; remove the file if its counts may go"
    )]
    TooPrecise,
    /// The archive would be larger than the format allows.
    #[error(
        "the archive would be too large: some label has a new value again and again, such as a \
         request's identifier; take that label away, and empty the directory when the service is \
         stopped"
    )]
    TooLarge,
    /// Processes may use the directory whose locks are not seen here.
    #[error(
        "the directory is on {file_system}, where locks of other hosts or mounts may not be seen, so nobody can \
         tell who is dead: put the directory on a disk of this host or a tmpfs, or call \
         multiprom.compact() if all processes that use it share one kernel and one mount"
    )]
    NoCommonLocks {
        /// The name of the file system.
        file_system: &'static str,
    },
    /// A system call failed.
    #[error(
        "{}{message}{}",
        .code.map(|code| format!("[Errno {code}] ")).unwrap_or_default(),
        if self.is_refusal() { REFUSAL_ADVICE } else { "" }
    )]
    Io {
        /// Its errno, if the system gave one.
        code: Option<i32>,
        /// What the system said.
        message: String,
    },
}

/// What to do where the system refuses this process a step of compaction.
const REFUSAL_ADVICE: &str =
    ": let this process write to the directory, or run all processes as one user";

/// What the log should say of a file that a compaction has left alone which nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Nothing: the next compaction may fold the file.
    Passing,
    /// Nothing: every scrape reports the file.
    Reported,
    /// That the file stays until somebody does something about it.
    Lasting,
}

impl Reason {
    /// What the log should say, if nobody asked for the compaction.
    #[must_use]
    pub fn concern(&self) -> Concern {
        match self {
            Self::Held | Self::TooMuch | Self::Io { .. } => Concern::Passing,
            Self::Damaged(_) | Self::KnownDamage => Concern::Reported,
            Self::UnknownMagic
            | Self::NotAnArchive
            | Self::OtherReaders
            | Self::TooPrecise
            | Self::TooLarge
            | Self::NoCommonLocks { .. } => Concern::Lasting,
        }
    }

    /// Whether the system has refused this process a step that another process may do.
    #[must_use]
    pub(crate) fn is_refusal(&self) -> bool {
        let refusals = [libc::EACCES, libc::EPERM, libc::EROFS];
        matches!(self, Self::Io { code: Some(code), .. } if refusals.contains(code))
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Io { code: error.raw_os_error(), message: message(&error) }
    }
}
