//! The bytes of a file, the text of a key and the name of a file: no I/O here.

mod entry;
pub(crate) mod file_name;
pub(crate) mod key;

pub(crate) use entry::*;
