//! What an operator sees of a directory: who lives, which files are there and why, what is wrong, and
//! what the processes cost.
//!
//! [`inspect`] looks at all of it at once: each `process` and how it is known to live, each `file` and
//! whether it counts, each `family` and the labels that make it large. `json` is the same as JSON text.
//! `usage` is what the kernel says of a process. [`mod@watch`] looks only at what moves: at what each
//! process uses and has counted.
//!
//! [`metrics()`] is what of that a scrape shows beside the application's metrics, and `added` puts it
//! there. What multiprom counts itself, such as workers that ended, is `counted` in files like those of
//! an application. A `listener` is a socket at which connections wait. `removed` tells the log of processes
//! whose files are gone.

mod added;
mod counted;
mod directory;
mod family;
mod file;
mod json;
mod listener;
mod metrics;
mod process;
mod removed;
mod usage;
mod watch;

pub use added::{Style, add, count_samples};
pub use counted::{
    count_exit, count_folds, count_request, count_spawned, say_ending, set_configured,
    try_count_request,
};
pub use directory::{Inspection, inspect};
pub use family::FamilySize;
pub use file::FileSeen;
pub use listener::watch_listeners;
pub use metrics::{Scraped, metrics};
pub use process::{Evidence, Life, ProcessSeen};
pub use usage::Usage;
pub use watch::{ProcessCounts, Watch, watch};
