//! Prometheus metrics of many processes, merged from the files that they share.
//!
//! Rooms, one folder each. Imports point down only, in this order:
//!
//! | rooms | what lives there |
//! | --- | --- |
//! | `error`, `kind`, `float`, `mark`, `order` | what can go wrong; types, modes and rules; exact sums, f64 to text; what says that a series was withdrawn; sorting |
//! | `sys`, `format` | memory and the kernel; bytes and text of files, and what can be wrong with them |
//! | `store` | one file, one directory, one consistent set of files |
//! | `scrape`, `count` | many files to one set of families; what an application counts in |
//! | `text`, `compact` | families to text; dead files to one archive |
//! | `inspect` | what an operator sees of a directory |
//! | `python` | the binding, with the `python` feature |
//!
//! Without the `python` feature this is plain Rust.

#[cfg(not(unix))]
compile_error!(
    "multiprom needs POSIX files: it runs on Linux, and is written for macOS, but was never run there"
);

pub mod compact;
pub mod count;
pub mod error;
mod float;
mod format;
pub mod inspect;
pub mod kind;
mod mark;
mod order;
#[cfg(feature = "python")]
mod python;
pub mod scrape;
mod store;
mod sys;
pub mod text;
