//! What ends an operation. Damage, which only costs a file its tail, is in `format`.

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
    /// There are metrics files, and this process may read none of them.
    #[error("{}: {}", path.display(), none_readable(*code, *files))]
    NoneReadable {
        /// The first of them.
        path: PathBuf,
        /// The errno of the attempt to read it.
        code: i32,
        /// How many there are.
        files: usize,
    },
    /// A value has no directory that it could be counted in.
    #[error("PROMETHEUS_MULTIPROC_DIR is not set")]
    NoDirectory,
    /// The process has marked itself as dead, so its live gauges need no file.
    #[error("this process was marked as dead")]
    MarkedDead,
    /// The system has no room for one more handler of forks.
    #[error("forks cannot be noticed: {}", io::Error::from_raw_os_error(*code))]
    NoForkHandler {
        /// The errno.
        code: i32,
    },
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

/// What is the matter where no metrics file can be read.
pub(crate) fn none_readable(code: i32, files: usize) -> String {
    let reason = message(&io::Error::from_raw_os_error(code));
    format!(
        "{reason}: this process can read none of {files} metrics files (let it run as the user of \
         those that write them, or let them write with another umask); the first is"
    )
}

/// What the system says of an error, as Python's `os.strerror` does: without its number.
pub(crate) fn message(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error.raw_os_error().map(|code| format!(" (os error {code})"));
    let message = number.and_then(|number| text.strip_suffix(&number).map(str::to_owned));
    message.unwrap_or(text)
}
