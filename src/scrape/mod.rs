//! Many files to one set of families, as `prometheus_client` merges them.
//!
//! `scan` reads the files into one `table` for each kind of file, where `keys` finds the number of
//! an entry's key by its bytes and a `column` takes the value. Then each key is looked at once
//! (`heads`, `parsed`), and `merge` makes each family in the first of three ways that gives
//! `prometheus_client`'s result: `direct` and `runs`, where each key is a sample of its own, as
//! nearly always; `build`, by name and labels (`family`, `labels`, `histogram`), where several keys
//! may name one series; `by_entry`, entry by entry, where only their order tells.

mod build;
mod by_entry;
mod column;
mod direct;
mod draft;
mod exemplars;
mod family;
mod heads;
mod histogram;
mod keys;
mod labels;
mod merge;
mod parsed;
mod runs;
mod samples;
mod scan;
mod states;
mod table;
mod totals;

pub use crate::float::ExponentStyle;
#[cfg(feature = "python")]
pub(crate) use by_entry::{Unmerged, UnmergedFamily, read_unmerged};
pub(crate) use column::AnyColumn;
pub use family::{Family, MergeOptions, SampleOrder};
pub(crate) use keys::Cursor;
pub use labels::Labels;
pub use merge::{Merge, ParsedMerge};
pub use samples::{Sample, Samples};
#[cfg(test)]
pub(crate) use scan::scan;
pub(crate) use table::{Entries, Table};
