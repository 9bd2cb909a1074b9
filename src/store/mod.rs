//! One file, one directory, one consistent set of files.

pub(crate) mod archive;
pub mod directory;
pub(crate) mod journal;
pub(crate) mod reader;
pub mod report;
pub(crate) mod snapshot;
