//! One file, one directory, and one consistent set of files.
//!
//! `reader` reads the entries of one file, `archive` opens what dead processes counted, with the
//! `journal` of the files that went into it, and `directory` lists what is there. `snapshot` reads
//! a set of files so that each count is seen once, whatever compaction does beside it. What has to
//! be left out on the way is a `report`, never an error.

pub(crate) mod archive;
pub(crate) mod directory;
pub(crate) mod journal;
pub(crate) mod reader;
pub(crate) mod report;
pub(crate) mod snapshot;

#[allow(unused_imports)]
pub(crate) use archive::{Archive, identity_at, is_spent};
#[allow(unused_imports)]
pub(crate) use directory::{Listing, is_absence, list as list_directory, remove_gauge_files};
#[allow(unused_imports)]
pub(crate) use journal::{
    Mark, TICK, clear as clear_journal, encode as encode_journal, read_at,
    remaining_for as time_to_deletion,
};
#[allow(unused_imports)]
pub(crate) use reader::{FromStart, Outcome, Reader, open_itself};
pub(crate) use report::LeftOut;
pub(crate) use report::Skipped;
#[allow(unused_imports)]
pub(crate) use snapshot::{Origin, Snapshot, read as read_consistently, unspent};
