//! Many files to one set of families, as `prometheus_client` merges them.
//!
//! `scan` reads the files into one `table` for each kind of file, where `keys` finds the number of
//! an entry's key by its bytes and a `column` takes the value. Then each key is parsed once and
//! `build` puts series together by name and labels (`family`, `labels`, `histogram`). Where only
//! the order of entries gives `prometheus_client`'s result, `by_entry` merges them one by one.

mod build;
mod by_entry;
pub(crate) mod column;
pub(crate) mod family;
mod histogram;
pub(crate) mod keys;
pub(crate) mod merge;
pub(crate) mod scan;
pub(crate) mod table;

pub use crate::float::ExponentStyle;
#[cfg(feature = "python")]
pub(crate) use by_entry::{Unmerged, UnmergedFamily, read_unmerged};
#[allow(unused_imports)]
pub(crate) use column::AnyColumn;
pub use family::{Family, Labels, Options, Sample, SampleOrder};
#[allow(unused_imports)]
pub(crate) use keys::Cursor;
pub use merge::{Merge, ParsedMerge};
#[cfg(test)]
#[allow(unused_imports)]
pub(crate) use scan::scan;
#[allow(unused_imports)]
pub(crate) use table::{Entries, Table};
