//! Why compaction leaves a file alone, and who should hear of it.

use std::io;

use crate::error::message;
use crate::format::Damaged;

/// Why compaction left a file alone, or a whole directory. The text says what is the matter and, where
/// somebody should act, what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// A damaged file is not folded: what of it counts, and the report on it, would go with it.
    #[error("{0}")]
    Damaged(Damaged),
    /// The process was named as dead, but somebody holds its file.
    #[error("a living process holds it")]
    Held,
    /// This process has found out before that the archive is damaged.
    #[error("the archive is damaged, as was found before: remove it if its counts may go")]
    KnownDamage,
    /// The header says neither multiprom nor `prometheus_client`.
    #[error(
        "it is named like a metrics file, but neither prometheus_client nor this version of multiprom \
         has written it: move it out of the directory"
    )]
    UnknownMagic,
    /// The name of an archive, but no archive.
    #[error(
        "it is named like the archive that multiprom makes, but is none: move it out of the directory"
    )]
    NotAnArchive,
    /// With the archive its content would be for other users to read.
    #[error(
        "its owner, group or permissions differ from the archive's, which others could read: run all \
         processes as one user and with one umask, or let everybody read the files"
    )]
    OtherReaders,
    /// It is too much for a call that must be quick.
    #[error("the archive or the file is large: a scrape will fold it")]
    TooMuch,
    /// A sum together with that of the archive takes more than the 106 bits that an archive has.
    #[error(
        "its sums are of a size or precision that the archive cannot hold: it counts as it is; remove \
         it if its counts may go"
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
        "it is on {file_system}, where locks of other hosts or mounts may not be seen, so nobody can \
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

/// What to do where this process may not do what it must.
const REFUSAL_ADVICE: &str =
    ": let this process write to the directory, or run all processes as one user";

/// What somebody who has not asked for it should hear of a file that is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Nothing: it may go the next time.
    Passing,
    /// Nothing: every scrape reports it.
    Reported,
    /// That it stays until somebody does something about it.
    Lasting,
}

impl Reason {
    /// What somebody who has not asked for it should hear.
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

    /// Whether the system has refused this process what another may do.
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
