//! What can go wrong: errors that end an operation, and damage that only costs a file its tail.

use std::io;
use std::path::PathBuf;

/// An operation that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed in a way that says nothing about the file's content.
    ///
    /// Leaving the file out would let totals fall, which Prometheus takes for a restart: a
    /// scrape that fails for once is the smaller harm.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A value has no directory that it could be counted in.
    #[error("PROMETHEUS_MULTIPROC_DIR is not set")]
    NoDirectory,
    /// The process itself has said that it is dead, so its live gauges need no file.
    #[error("this process was marked as dead")]
    ToldDead,
    /// Other processes hold every name that a file could have.
    #[error("{}: other processes hold this file and all of its other names", path.display())]
    NoName {
        /// The first name.
        path: PathBuf,
    },
    /// No file can have a series with this key.
    #[error("a key (names, labels and help) of {length} bytes cannot be kept in a file")]
    KeyLength {
        /// Of the key, in bytes.
        length: usize,
    },
    /// There is no memory for one more series.
    #[error("no memory for one more series")]
    NoMemory,
}

/// The result of an operation on files.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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

/// What the system says of an error, as Python's `os.strerror` does: without its number.
pub(crate) fn message(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error.raw_os_error().map(|code| format!(" (os error {code})"));
    let message = number.and_then(|number| text.strip_suffix(&number).map(str::to_owned));
    message.unwrap_or(text)
}

/// Damage of a file, and where it is.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("damaged{}: {damage}", .offset.map(|at| format!(" at byte {at}")).unwrap_or_default())]
pub struct Damaged {
    /// Where in the file, in bytes; none if the file was not read.
    pub offset: Option<u64>,
    /// What is wrong.
    pub damage: Damage,
}

impl Damaged {
    /// Damage at this byte of a file.
    #[must_use]
    pub fn at(offset: u64, damage: Damage) -> Self {
        Self { offset: Some(offset), damage }
    }

    /// Damage of a file that was not read.
    #[must_use]
    pub fn unread(damage: Damage) -> Self {
        Self { offset: None, damage }
    }
}

/// Why a file, the rest of a file or an entry was left out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Damage {
    /// The name is not one that a metrics file can have.
    #[error("the name fits no metrics file")]
    ForeignName,
    /// A directory, a link, a FIFO or the like.
    #[error("not a regular file")]
    NotAFile,
    /// Opening or reading was refused.
    #[error("unreadable: {message}")]
    Unreadable {
        /// What the system said.
        message: String,
    },
    /// The file ends within its header.
    #[error("the file ends within its header, after {length} bytes")]
    ShortHeader {
        /// Bytes found.
        length: usize,
    },
    /// The header's `used` cannot be a size.
    #[error("the header says that {used} bytes are used")]
    BadUsed {
        /// The number found.
        used: i32,
    },
    /// The file is shorter than its header says.
    #[error("the file ends here, but its header says that {used} bytes are used")]
    CutShort {
        /// The number in the header.
        used: i32,
    },
    /// A key length that no key has.
    #[error("a key length of {length}")]
    BadKeyLength {
        /// The number found.
        length: i32,
    },
    /// The list of files that an archive absorbed is not whole.
    #[error("the archive's journal is torn")]
    TornJournal,
    /// An entry that ends behind the used part.
    #[error("an entry of {size} bytes, but only {remaining} used bytes remain")]
    EntryBeyondUsed {
        /// Size of the entry, padding and value included.
        size: usize,
        /// Used bytes that remain.
        remaining: usize,
    },
    /// A key that is not UTF-8.
    #[error("a key that is not UTF-8")]
    KeyNotUtf8,
    /// A key that is not the JSON of `[family, sample, {label: value}, help]`.
    #[error("a key that is not [family, sample, {{labels}}, help]: {message}")]
    KeyNotJson {
        /// What the JSON parser said.
        message: String,
    },
    /// A family or sample without a name.
    #[error("a key with an empty name")]
    EmptyName,
    /// A histogram bucket whose bound is no number.
    #[error("a bucket whose le is {le:?}, not a number")]
    BadBucket {
        /// The label's value.
        le: String,
    },
}
