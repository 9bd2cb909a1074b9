//! What an operator sees of a directory: who lives, which files are there and why, what is wrong, and
//! what the processes cost.
//!
//! [`inspect`] looks at all of it at once: each `process` and how it is known to live, each `file` and
//! whether it counts, each `family` and the labels that make it large. `json` is the same as JSON text.
//! `usage` is what the kernel says of a process. [`watch`] looks only at what moves: at what each
//! process uses and has counted.

mod directory;
mod family;
mod file;
mod json;
mod process;
mod usage;
mod watch;

pub use directory::{Inspection, inspect};
pub use family::FamilySize;
pub use file::{FileSeen, FileState};
pub use process::{Evidence, Life, ProcessSeen};
pub use usage::Usage;
pub use watch::{ProcessCounts, Watch, watch};
