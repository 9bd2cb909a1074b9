//! Compaction on real directories: what is folded, crashes at each step, races.

mod crash;
mod damage;
mod folding;
mod limits;
mod race;
mod sums;
pub(crate) mod support;
mod switched;
mod withdrawn;
