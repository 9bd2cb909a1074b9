//! Compaction on real directories: what is folded, crashes at each step, races.

mod crash;
mod folding;
mod race;
pub(crate) mod support;
