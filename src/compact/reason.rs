//! Why compaction leaves a file alone, and who should hear of it.

use std::io;

use crate::error::message;
use crate::format::Damaged;

/// Why compaction left a file alone.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// A damaged file is not folded: what of it counts, and the report on it, would go with it.
    #[error("{0}")]
    Damaged(Damaged),
    /// The process was named as dead, but somebody holds its file.
    #[error("a living process holds it")]
    Held,
    /// This process has found out before that the archive is damaged.
    #[error("damaged, as was found before")]
    KnownDamage,
    /// The header says neither multiprom nor `prometheus_client`.
    #[error("written by nobody known")]
    UnknownMagic,
    /// The name of an archive, but no archive.
    #[error("it has the name of an archive but is none")]
    NotAnArchive,
    /// With the archive its content would be for other users to read.
    #[error("not the same users may read it and the archive")]
    OtherReaders,
    /// It is too much for a call that must be quick.
    #[error("the archive or the file is large: a scrape will fold it")]
    TooMuch,
    /// A sum together with that of the archive takes more than the 106 bits that an archive has.
    #[error("its sums are of a size or precision that the archive cannot hold")]
    TooPrecise,
    /// The archive would be larger than the format allows.
    #[error("the archive would be too large")]
    TooLarge,
    /// A system call failed.
    #[error("{}{message}", .code.map(|code| format!("[Errno {code}] ")).unwrap_or_default())]
    Io {
        /// Its errno, if the system gave one.
        code: Option<i32>,
        /// What the system said.
        message: String,
    },
}

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
            | Self::TooLarge => Concern::Lasting,
        }
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::Io { code: error.raw_os_error(), message: message(&error) }
    }
}
