//! What can be wrong with a file, and where: what is reported, and never ends an operation.

use std::io;

use crate::error::message;
use crate::format::HEADER_SIZE;
use crate::kind::MetricType;

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
    #[error("unreadable: {}", message(&io::Error::from_raw_os_error(*code)))]
    Unreadable {
        /// The errno.
        code: i32,
    },
    /// The file ends within its header.
    #[error("the file ends within its header: {length} of {} bytes are there", HEADER_SIZE)]
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
    /// The file has the name of a file of exemplars, and is none.
    #[error("no file of exemplars")]
    NoExemplars,
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
    /// Entries of a metric in files of another type than the metric has.
    #[error(
        "metric '{family}' has changed its type, {} in this file, {} in scrapes: remove the files of \
         the old version, or empty the directory when the service starts",
        found.name(),
        metric_type.name()
    )]
    OtherType {
        /// The metric's name.
        family: String,
        /// Its type.
        metric_type: MetricType,
        /// The type of the file.
        found: MetricType,
    },
    /// Entries of an archive, of a gauge that shows a value for each process.
    #[error(
        "gauge '{family}' has changed its mode: scrapes show a value for each process, and this file \
         has one of several dead processes together; remove the files of the old version, or empty \
         the directory when the service starts"
    )]
    NoProcess {
        /// The metric's name.
        family: String,
    },
    /// A histogram bucket whose bound is no number.
    #[error("a bucket whose le is {le:?}, not a number")]
    BadBucket {
        /// The label's value.
        le: String,
    },
}
