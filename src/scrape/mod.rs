//! Many files to one set of families, as `prometheus_client` merges them.
//!
//! `scan` reads the files into one `table` for each kind of file, where `keys` finds the number of
//! an entry's key by its bytes and a `column` takes the value. Then each key is parsed once and
//! `build` puts series together by name and labels (`family`, `labels`, `histogram`). Where only
//! the order of entries gives `prometheus_client`'s result, `by_entry` merges them one by one.

mod build;
mod by_entry;
mod column;
mod family;
mod histogram;
mod keys;
mod labels;
mod merge;
mod scan;
mod table;
mod totals;

pub use crate::float::ExponentStyle;
#[cfg(feature = "python")]
pub(crate) use by_entry::{Unmerged, UnmergedFamily, read_unmerged};
pub(crate) use column::AnyColumn;
pub use family::{Family, MergeOptions, Sample, SampleOrder};
pub(crate) use keys::Cursor;
pub use labels::Labels;
pub use merge::{Merge, ParsedMerge};
#[cfg(test)]
pub(crate) use scan::scan;
pub(crate) use table::{Entries, Table};
