//! What the log says of the files that values are counted in, for whoever operates the service.

use std::path::PathBuf;

/// Something that is worth a line in the log, once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// Values cannot be counted in a file at the moment.
    #[error(
        "cannot write metrics to {path:?} ({reason}): this process counts them in memory until it can \
         be written; until then its own scrapes have them, and those of other processes do not"
    )]
    Trouble {
        /// The file, or the directory if that is missing.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// No directory is known.
    #[error(
        "PROMETHEUS_MULTIPROC_DIR is not set: metrics are counted in memory, where no scrape of \
         another process sees them"
    )]
    NoDirectory,
    /// All that was counted in memory is in a file now.
    #[error("metrics are written to {path:?} again; nothing that was counted is lost")]
    Recovered {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes the file that this one would write.
    #[error(
        "another process writes {path:?}, so this one writes {own:?}; give each process an \
         identifier of its own (containers that share a volume have the same pids: give each a \
         directory of its own, or pass process_identifier to MultiProcessValue)"
    )]
    Collision {
        /// The file of the other process.
        path: PathBuf,
        /// The file written instead.
        own: PathBuf,
    },
    /// The file that this process would continue is damaged or foreign.
    #[error("{path:?} is damaged or no metrics file, so it is left alone and {own:?} is written")]
    Unusable {
        /// The file left alone.
        path: PathBuf,
        /// The file written instead.
        own: PathBuf,
    },
    /// This process may not write the file that it would continue.
    #[error(
        "{path:?} belongs to another user, and this process may not write it, so {own:?} is written"
    )]
    Refused {
        /// The file left alone.
        path: PathBuf,
        /// The file written instead.
        own: PathBuf,
    },
    /// Files were removed while they were written.
    #[error(
        "{path:?} was removed while this process counted in it: it is written anew with all that it \
         held, and so is each other file of this process that is missing"
    )]
    Removed {
        /// The first of the files.
        path: PathBuf,
    },
    /// What the Python code has to say.
    #[error("{text}")]
    Given {
        /// The line.
        text: String,
    },
}

impl Notice {
    /// Whether something is wrong, so that somebody should act.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        !matches!(self, Self::Recovered { .. })
    }
}
