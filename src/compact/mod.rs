//! Dead files to one archive.

pub mod compaction;
pub(crate) mod dead;
pub(crate) mod fold;
pub(crate) mod kind;
pub mod leftovers;
pub(crate) mod run;
pub(crate) mod steps;

#[cfg(test)]
pub(crate) mod tests;
