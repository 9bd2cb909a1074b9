//! Many files to one set of families.

pub(crate) mod build;
pub(crate) mod by_entry;
pub(crate) mod column;
pub mod family;
pub(crate) mod histogram;
pub(crate) mod keys;
pub mod merge;
pub(crate) mod scan;
pub(crate) mod table;
