//! One file, one directory, and one consistent set of files.
//!
//! `reader` reads the entries of one file and takes a `glimpse` of what it is, `archive` opens what dead
//! processes counted, with the `journal` of the files that went into it, and `directory` lists what is
//! there. `snapshot` reads a set of files so that each count is seen once, whatever compaction does
//! beside it. What has to be left out on the way is a `report`, never an error. `presence` says who uses
//! a directory, a `memory_file` has what a process could not write into a file, `exemplars` reads what is
//! beside the metrics files, and `withdrawals` gives the numbers of withdrawn series, by which a
//! compaction knows those that it has to heed.

mod archive;
mod directory;
mod exemplars;
mod glimpse;
mod journal;
mod memory_file;
// Only the binding frees a slot and names a role.
#[cfg_attr(not(feature = "python"), allow(dead_code))]
pub(crate) mod presence;
mod reader;
mod report;
mod snapshot;
mod withdrawals;

pub(crate) use archive::{Archive, identity_at, is_spent};
pub(crate) use directory::{Listing, is_absence, list as list_directory, list_open};
pub(crate) use exemplars::{read as read_exemplars, rooms as rooms_of_exemplars};
pub(crate) use glimpse::{FileState, Glimpse};
#[cfg(test)]
pub(crate) use journal::TICK;
pub(crate) use journal::{Mark, clear as clear_journal, encode as encode_journal};
pub(crate) use memory_file::{MemoryFile, UnwrittenFiles};
pub(crate) use presence::{Occupant, Role};
pub(crate) use reader::{FromStart, Outcome, Reader, open as open_file, read_at, refused};
pub(crate) use report::{LeftOut, Skipped};
#[cfg(feature = "python")]
pub(crate) use snapshot::read_for as read_consistently_for;
pub(crate) use snapshot::{Origin, Snapshot, read as read_consistently};
pub(crate) use withdrawals::{Unheeded, WITHDRAWALS_FILE, Withdrawals, unheeded_in};
