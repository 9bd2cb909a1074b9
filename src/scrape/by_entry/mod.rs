//! Merging entry by entry, where only the order of entries gives `prometheus_client`'s result.
//!
//! It serves what merging by the bytes of keys cannot do exactly: a family in files of several
//! kinds, a series under several help texts with a rule that depends on order, a sum that needs
//! more than 106 bits. And it reads files without merging them, for programs that do it themselves.

mod merge;
mod read;
mod types;

pub(super) use merge::merge;
pub(crate) use read::read as read_unmerged;
#[cfg(feature = "python")]
pub(crate) use read::{Unmerged, UnmergedFamily};
